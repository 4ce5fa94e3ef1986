//! The way of one request: noted, admitted, held or struck by a fault, carried out, answered.

use std::convert::Infallible;

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::{
    action::Service,
    answer::{Answer, ApiError, Format},
    endpoint::Endpoint,
    fault::{Fault, FaultId, Features, Kind, Point},
    journal::Outcome,
    request::{HttpRequest, ParsedRequest},
    shared::Shared,
    wire::WireAnswer,
    work::{self, Admitted},
};

/// The client's presence: it ends with the connection, and nothing is ever sent.
pub(crate) type Client = oneshot::Receiver<Infallible>;

/// The way of one request. `None` closes the connection.
pub(crate) async fn handle(
    request: HttpRequest,
    endpoint: &Endpoint,
    shared: &Shared,
    mut client: Client,
) -> Option<WireAnswer> {
    let request = ParsedRequest::parse(request);
    let request_id = request_id(rand::random());
    let (number, admitted) = shared.update(|state| {
        let now = Timestamp::now();
        let number = state.journal.begin(now, &request, &request_id);
        let action = endpoint.action(&request);
        state
            .secrets
            .extend(request.parameter("OIDCToken").map(str::to_owned));
        let key_role = request
            .access_key_id()
            .and_then(|id| state.access_keys.role_of(id))
            .map(str::to_owned);
        let admitted = endpoint.admit(state, now, &request);
        let given_role = || admitted.as_ref().ok()?.role.clone();
        state.journal.note(number, |call| {
            if let Some(action) = action {
                action.name().clone_into(&mut call.action);
            }
            call.role = call.role.take().or(key_role).or_else(given_role);
        });
        (number, admitted)
    });
    let way = Way {
        shared,
        service: endpoint.service(&request),
        format: endpoint.format(&request),
        request: &request,
        number,
        request_id: &request_id,
    };
    let answer = match admitted {
        Ok(admitted) => way.carry_out(&admitted, &mut client).await,
        Err(error) => Some(way.error(error)),
    };
    let client_is_gone = matches!(client.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    shared.update(|state| {
        state.journal.note(number, |call| {
            call.finished = Some(Timestamp::now());
            call.status = answer.as_ref().map(|answer| answer.status);
            call.code = answer
                .as_ref()
                .and_then(|answer| answer.code.clone())
                .map(|code| match &call.password {
                    Some(password) => code.replace(password.expose(), "<password>"),
                    None => code,
                });
            call.outcome = match &answer {
                _ if client_is_gone => Outcome::ClientGone,
                Some(answer) if !answer.truncated => Outcome::Answered,
                _ => Outcome::Cut,
            };
        });
    });
    answer
}

/// What is known of a request on its way.
struct Way<'a> {
    shared: &'a Shared,
    service: Service,
    format: Format,
    request: &'a ParsedRequest,
    number: u64,
    request_id: &'a str,
}

impl Way<'_> {
    async fn carry_out(&self, admitted: &Admitted, client: &mut Client) -> Option<WireAnswer> {
        let fault = self
            .shared
            .update(|state| state.faults.take(self.features(admitted)));
        let (before, after) = match fault {
            Some((id, fault)) if fault.after_effect => (None, Some((id, fault))),
            other => (other, None),
        };
        self.hold(Point::BeforeEffect, admitted).await;
        if let Some(fault) = before
            && let Strike::Instead(answer) = self.strike(fault, None, client).await
        {
            return answer;
        }
        let performed = self.shared.update(|state| {
            work::perform(
                state,
                Timestamp::now(),
                admitted,
                self.number,
                self.request_id,
                &mut rand::rng(),
            )
        });
        let answer = match performed {
            Ok(answer) => WireAnswer::new(&answer, self.format),
            Err(error) => self.error(error),
        };
        self.hold(Point::AfterEffect, admitted).await;
        match after {
            None => Some(answer),
            Some(fault) => match self.strike(fault, Some(answer), client).await {
                Strike::Instead(answer) | Strike::Continue(answer) => answer,
            },
        }
    }

    fn features<'a>(&'a self, admitted: &'a Admitted) -> Features<'a> {
        Features {
            access_key: self.request.access_key_id(),
            ..admitted.features()
        }
    }

    /// Waits as long as a pause holds requests at this point.
    async fn hold(&self, point: Point, admitted: &Admitted) {
        let ticket = self
            .shared
            .update(|state| state.faults.arrive(point, self.features(admitted)));
        if let Some(ticket) = ticket {
            self.shared
                .wait_until(|state| state.faults.may_go(ticket).then_some(()))
                .await;
        }
    }

    /// Lets a fault happen, to the right answer if there is one already.
    async fn strike(
        &self,
        (id, fault): (FaultId, Fault),
        answer: Option<WireAnswer>,
        client: &mut Client,
    ) -> Strike {
        tokio::time::sleep(fault.delay).await;
        match fault.kind {
            Kind::Delay => Strike::Continue(answer),
            Kind::Error(error) => Strike::Instead(Some(self.error(error))),
            Kind::EchoPart {
                status,
                code,
                request_id,
            } => {
                let password = self.password();
                let error = ApiError::new(status, code(password), "echo");
                let answer = Answer::error(
                    error,
                    self.service,
                    &request_id(password),
                    self.request.host(),
                );
                Strike::Instead(Some(WireAnswer::new(&answer, self.format)))
            }
            Kind::EchoPassword { status } => {
                let password = self.password();
                let message = format!("DB Operation Failed:Password '{password}' was rejected.");
                Strike::Instead(Some(self.error(ApiError::new(
                    status,
                    format!("Rejected.{password}"),
                    message,
                ))))
            }
            Kind::EchoToken { status } => {
                let token = self
                    .request
                    .parameter("OIDCToken")
                    .or_else(|| self.request.security_token())
                    .unwrap_or_default();
                let message = format!("The token '{token}' was rejected.");
                Strike::Instead(Some(self.error(ApiError::new(
                    status,
                    "TokenRejected",
                    message,
                ))))
            }
            Kind::Close => Strike::Instead(None),
            Kind::Hang => {
                tokio::select! {
                    () = self.shared.wait_until(|state| (!state.faults.is_set(id)).then_some(())) => {}
                    _ = client => {}
                }
                Strike::Instead(None)
            }
            Kind::Garbage {
                status,
                content_type,
                body,
            } => Strike::Instead(Some(WireAnswer {
                status,
                code: None,
                content_type,
                headers: Vec::new(),
                body,
                truncated: false,
            })),
            Kind::Truncate => Strike::Instead(answer.map(|answer| WireAnswer {
                truncated: true,
                ..answer
            })),
        }
    }

    /// The password that was sent, or none.
    fn password(&self) -> &str {
        let password = self.request.password.as_ref();
        password.map_or("", |password| password.expose())
    }

    fn error(&self, error: ApiError) -> WireAnswer {
        WireAnswer::new(
            &Answer::error(error, self.service, self.request_id, self.request.host()),
            self.format,
        )
    }
}

/// How a request goes on after a fault.
enum Strike {
    /// As it would have.
    Continue(Option<WireAnswer>),
    /// It ends with this answer, or with a closed connection.
    Instead(Option<WireAnswer>),
}

/// A request id as RDS has them: a random UUID in upper case.
fn request_id(random: u128) -> String {
    // Version 4, variant 1 (RFC 9562).
    let id = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{id:032X}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_random_uuids_in_upper_case() {
        assert_eq!(
            request_id(u128::MAX),
            "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF"
        );
        assert_eq!(request_id(0), "00000000-0000-4000-8000-000000000000");
    }
}
