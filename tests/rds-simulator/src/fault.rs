//! What goes wrong on demand.

use std::time::Duration;

use crate::{
    action::Action,
    answer::ApiError,
    throttle::{self, WaitHeaders},
};

/// Which requests a [`Fault`] or a pause concerns. What is not named matches everything.
#[derive(Debug, Clone, Default)]
pub struct Target {
    action: Option<Action>,
    instance: Option<String>,
    account: Option<String>,
    role: Option<String>,
    access_key: Option<String>,
}

/// What a [`Target`] looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Features<'a> {
    pub(crate) action: Action,
    pub(crate) instance: Option<&'a str>,
    pub(crate) account: Option<&'a str>,
    /// ARN of the role that is asked for, or whose key is used.
    pub(crate) role: Option<&'a str>,
    /// Id of the access key that it is signed with.
    pub(crate) access_key: Option<&'a str>,
}

impl Target {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Only requests of this action.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    /// Only requests for this instance.
    #[must_use]
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.instance = Some(id.into());
        self
    }

    /// Only requests for this account.
    #[must_use]
    pub fn account(mut self, name: impl Into<String>) -> Self {
        self.account = Some(name.into());
        self
    }

    /// Only requests for a key of this role (by ARN), or with one.
    #[must_use]
    pub fn role(mut self, arn: impl Into<String>) -> Self {
        self.role = Some(arn.into());
        self
    }

    /// Only requests that are signed with this access key (by id).
    #[must_use]
    pub fn access_key(mut self, id: impl Into<String>) -> Self {
        self.access_key = Some(id.into());
        self
    }

    fn matches(&self, request: Features<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        self.action.is_none_or(|wanted| wanted == request.action)
            && is(&self.instance, request.instance)
            && is(&self.account, request.account)
            && is(&self.role, request.role)
            && is(&self.access_key, request.access_key)
    }
}

impl From<Action> for Target {
    fn from(action: Action) -> Self {
        Self::any().action(action)
    }
}

/// Something that goes wrong with matching requests. Only a request that RDS would have carried out (signature, nonce,
/// parameters and permission are right) meets one, so a fault never hides a client's own mistake.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) kind: Kind,
    /// Whether it happens once the action has taken effect, instead of preventing it.
    pub(crate) after_effect: bool,
    pub(crate) delay: Duration,
    target: Target,
    remaining: Option<u32>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Nothing beside the delay.
    Delay,
    Error(ApiError),
    EchoPassword {
        status: u16,
    },
    EchoPart {
        status: u16,
        code: fn(&str) -> String,
        request_id: fn(&str) -> String,
    },
    EchoToken {
        status: u16,
    },
    Close,
    Hang,
    Garbage {
        status: u16,
        content_type: String,
        body: String,
    },
    Truncate,
}

impl Fault {
    /// The request is carried out, but later.
    #[must_use]
    pub fn delay(time: Duration) -> Self {
        Self::new(Kind::Delay).delayed(time)
    }

    /// An error answer.
    pub fn error(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::Error(ApiError::new(status, code, message)))
    }

    /// The answer to a request that was one too many, with the headers that tell for how long (to the millisecond).
    #[must_use]
    pub fn throttled(code: &str, time_left: Duration) -> Self {
        Self::throttled_by(WaitHeaders::Both, code, time_left)
    }

    /// The same with other headers.
    #[must_use]
    pub fn throttled_by(headers: WaitHeaders, code: &str, time_left: Duration) -> Self {
        let name = if code == "Throttling.User" {
            throttle::USER_HEADER
        } else {
            throttle::USER_API_HEADER
        };
        let time_left = i128::try_from(time_left.as_millis()).unwrap_or(i128::MAX);
        let headers = throttle::wait_headers(headers, name, 1, time_left);
        Self::new(Kind::Error(throttle::throttled(400, code, headers)))
    }

    /// An error answer has the header `x-acs-retry-after` as well, in place of one that it has already.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        if let Kind::Error(error) = &mut self.kind {
            let name = throttle::RETRY_AFTER_HEADER;
            error.headers.retain(|(present, _)| *present != name);
            error.headers.push((name, time.as_millis().to_string()));
        }
        self
    }

    /// An error answer whose `Code` and `RequestId` are made from the password that was sent, as those of a cloud that is
    /// careless with it could be.
    #[must_use]
    pub fn echo_part(
        status: u16,
        code: fn(&str) -> String,
        request_id: fn(&str) -> String,
    ) -> Self {
        Self::new(Kind::EchoPart {
            status,
            code,
            request_id,
        })
    }

    /// An error answer whose `Code` and `Message` contain the password that was sent, as RDS' free-text codes could.
    #[must_use]
    pub fn echo_password(status: u16) -> Self {
        Self::new(Kind::EchoPassword { status })
    }

    /// An error answer whose `Message` contains the token that was sent: the OIDC token, or else the security token.
    #[must_use]
    pub fn echo_token(status: u16) -> Self {
        Self::new(Kind::EchoToken { status })
    }

    /// The TCP connection is closed without an answer.
    #[must_use]
    pub fn close_connection() -> Self {
        Self::new(Kind::Close)
    }

    /// The request is held without an answer until the fault is cleared (then the connection is closed) or the client
    /// gives up.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// An answer that no RDS would give, such as a proxy's HTML page.
    pub fn garbage(status: u16, content_type: impl Into<String>, body: impl Into<String>) -> Self {
        Self::new(Kind::Garbage {
            status,
            content_type: content_type.into(),
            body: body.into(),
        })
    }

    /// The action takes effect, and the connection breaks in the middle of the answer's body.
    #[must_use]
    pub fn truncated_body() -> Self {
        Self::new(Kind::Truncate).after_effect()
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            after_effect: false,
            delay: Duration::ZERO,
            target: Target::any(),
            remaining: None,
        }
    }

    /// Concerns only these requests; all without it.
    #[must_use]
    pub fn on(mut self, target: impl Into<Target>) -> Self {
        self.target = target.into();
        self
    }

    /// Happens after the action has taken effect: the client does not learn of its success. Without it the action has no
    /// effect (but for a delay and a truncated body).
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.after_effect = true;
        self
    }

    /// Happens to this many requests; until cleared without it.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.remaining = Some(times);
        self
    }

    /// Waits first.
    #[must_use]
    pub fn delayed(mut self, time: Duration) -> Self {
        self.delay = time;
        self
    }
}

/// Names a fault, to clear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

/// Names a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PauseId(u64);

/// A point of a request's way at which it can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeEffect,
    AfterEffect,
}

struct Pause {
    id: PauseId,
    target: Target,
    point: Point,
    /// How many requests have come here.
    arrived: u64,
    /// How many of them may go on.
    released: u64,
}

/// A request's place in the queue of a pause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pause: PauseId,
    number: u64,
}

/// All faults and pauses of now.
#[derive(Default)]
pub(crate) struct Faults {
    next_id: u64,
    scripted: Vec<(FaultId, Fault)>,
    pauses: Vec<Pause>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) -> FaultId {
        let id = FaultId(self.take_id());
        self.scripted.push((id, fault));
        id
    }

    pub(crate) fn clear(&mut self, id: FaultId) {
        self.scripted.retain(|(known, _)| *known != id);
    }

    pub(crate) fn clear_all(&mut self) {
        self.scripted.clear();
    }

    /// Whether it was not cleared yet, also if it has happened as often as it should.
    pub(crate) fn is_set(&self, id: FaultId) -> bool {
        self.scripted.iter().any(|(known, _)| *known == id)
    }

    /// The oldest fault that concerns this request, and counts it.
    pub(crate) fn take(&mut self, request: Features<'_>) -> Option<(FaultId, Fault)> {
        let (id, fault) = self
            .scripted
            .iter_mut()
            .find(|(_, fault)| fault.remaining != Some(0) && fault.target.matches(request))?;
        if let Some(remaining) = &mut fault.remaining {
            *remaining -= 1;
        }
        Some((*id, fault.clone()))
    }

    pub(crate) fn pause(&mut self, target: Target, point: Point) -> PauseId {
        let id = PauseId(self.take_id());
        self.pauses.push(Pause {
            id,
            target,
            point,
            arrived: 0,
            released: 0,
        });
        id
    }

    /// Queues a request that has come to `point`, if a pause holds it there.
    pub(crate) fn arrive(&mut self, point: Point, request: Features<'_>) -> Option<Ticket> {
        let pause = self
            .pauses
            .iter_mut()
            .find(|pause| pause.point == point && pause.target.matches(request))?;
        pause.arrived += 1;
        Some(Ticket {
            pause: pause.id,
            number: pause.arrived,
        })
    }

    pub(crate) fn may_go(&self, ticket: Ticket) -> bool {
        self.pauses
            .iter()
            .find(|pause| pause.id == ticket.pause)
            .is_none_or(|pause| ticket.number <= pause.released)
    }

    /// How many requests a pause holds.
    pub(crate) fn held(&self, id: PauseId) -> u64 {
        self.pauses
            .iter()
            .find(|pause| pause.id == id)
            .map_or(0, |pause| pause.arrived - pause.released)
    }

    /// Lets the one go that was held first; false if none was held.
    pub(crate) fn release_one(&mut self, id: PauseId) -> bool {
        let pause = self
            .pauses
            .iter_mut()
            .find(|pause| pause.id == id && pause.released < pause.arrived);
        pause.map(|pause| pause.released += 1).is_some()
    }

    /// Lets all go and ends the pause.
    pub(crate) fn end_pause(&mut self, id: PauseId) {
        self.pauses.retain(|pause| pause.id != id);
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Action = Action::ResetAccountPassword;

    fn features<'a>(action: Action, instance: &'a str, account: Option<&'a str>) -> Features<'a> {
        Features {
            action,
            instance: Some(instance),
            account,
            role: None,
            access_key: Some("id"),
        }
    }

    #[test]
    fn a_fault_happens_as_often_as_it_should_to_whom_it_should() {
        let mut faults = Faults::default();
        let first = faults.add(
            Fault::hang()
                .on(Target::from(RESET).instance("rm-1").account("app"))
                .times(2),
        );
        let second = faults.add(Fault::close_connection().on(RESET));
        let mut take = |action, instance, account| {
            faults
                .take(features(action, instance, account))
                .map(|(id, _)| id)
        };
        assert_eq!(take(Action::DescribeAccounts, "rm-1", Some("app")), None);
        assert_eq!(take(RESET, "rm-1", Some("app")), Some(first));
        assert_eq!(take(RESET, "rm-2", Some("app")), Some(second));
        assert_eq!(take(RESET, "rm-1", None), Some(second));
        assert_eq!(take(RESET, "rm-1", Some("app")), Some(first));
        assert_eq!(take(RESET, "rm-1", Some("app")), Some(second));
        assert!(faults.is_set(first));
        faults.clear(second);
        assert!(faults.take(features(RESET, "rm-2", None)).is_none());
    }

    #[test]
    fn a_fault_can_be_for_one_access_key() {
        let mut faults = Faults::default();
        let another = Target::from(RESET).access_key("another");
        faults.add(Fault::close_connection().on(another));
        assert!(faults.take(features(RESET, "rm-1", None)).is_none());
        let its = faults.add(Fault::close_connection().on(Target::any().access_key("id")));
        let taken = faults.take(features(RESET, "rm-1", None));
        assert_eq!(taken.map(|(id, _)| id), Some(its));
    }

    #[test]
    fn a_pause_lets_go_in_order() {
        let mut faults = Faults::default();
        let pause = faults.pause(RESET.into(), Point::BeforeEffect);
        assert!(
            faults
                .arrive(Point::AfterEffect, features(RESET, "rm-1", None))
                .is_none()
        );
        let mut tickets = (0..3)
            .filter_map(|_| faults.arrive(Point::BeforeEffect, features(RESET, "rm-1", None)))
            .collect::<Vec<_>>();
        assert_eq!(faults.held(pause), 3);
        assert!(faults.release_one(pause));
        assert_eq!(
            tickets
                .iter()
                .map(|ticket| faults.may_go(*ticket))
                .collect::<Vec<_>>(),
            [true, false, false]
        );
        faults.end_pause(pause);
        assert!(tickets.drain(..).all(|ticket| faults.may_go(ticket)));
    }
}
