//! How a call can fail, without a word that the cloud wrote.

use std::{borrow::Cow, fmt, time::Duration};

use thiserror::Error;

use super::{
    classification::{
        self, ASKED_TO_WAIT, HIDDEN_CODE, NO_CODE, UNKNOWN_REFUSAL, UNKNOWN_SERVER_FAULT,
    },
    endpoint::Host,
    identifier::Secrets,
    requested_wait::RequestedWait,
    signature::MalformedCredentials,
};
pub use super::{
    classification::{Class, Entry, Pattern, Reason, TABLE, metric_labels},
    identifier::{Code, RequestId},
};

/// A call that did not succeed.
///
/// It holds no text from the cloud and none from the HTTP library, which could carry a URL; so it can be logged and
/// shown as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error(transparent)]
    Credentials(#[from] MalformedCredentials),
    /// No answer.
    #[error("{}", .0.explanation(.1))]
    Transport(Transport, Host),
    /// An answer that RDS does not give.
    #[error("{} (HTTP {status})", unreadable(.host))]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// The host that was called.
        host: Host,
    },
    /// RDS said no.
    #[error("{0}")]
    Refused(Refusal),
}

fn unreadable(host: &Host) -> String {
    format!(
        "the answer of {host} is not one of RDS, so something on the way may have answered in its place; the operator tries again"
    )
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// No connection: the lookup of the name failed, refused, no route, or too slow.
    Connect,
    /// No connection: DNS says that there is no host of this name, or that it has no address.
    NoSuchHost,
    /// A connection, but no trust: the certificate is not valid for this host.
    Tls,
    /// Sent, and no complete answer within the time allowed.
    Timeout,
    /// Broken while sending or receiving.
    Broken,
}

impl Transport {
    fn explanation(self, host: &Host) -> String {
        match self {
            Self::Connect => format!(
                "RDS could not be reached at {host}; the operator tries again; if it lasts, check endpoint, DNS, proxy and network policies"
            ),
            Self::NoSuchHost => format!(
                "there is no host {host}: DNS has no address of that name; check spec.regionId, and the operator's --region, --rds-network and --rds-endpoint; the operator tries again"
            ),
            Self::Tls => format!(
                "the connection to RDS at {host} is not trustworthy; check endpoint, proxy and the certificate authorities of the image"
            ),
            Self::Timeout => {
                format!("RDS did not answer in time at {host}; the operator tries again")
            }
            Self::Broken => format!(
                "the connection to RDS at {host} broke before the answer came; the operator tries again"
            ),
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::NoSuchHost => "no_such_host",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// RDS' answer when it does not do what was asked.
#[derive(Clone, Debug)]
pub struct Refusal {
    code: Code,
    /// What the answer means as a whole.
    entry: &'static Entry,
    request_id: Option<RequestId>,
    status: u16,
    retry_after: Option<Duration>,
    outcome_unknown: bool,
}

impl Refusal {
    /// `code` and `request_id` are as the cloud wrote them; `secrets` is what the request held, `wait` what the answer's
    /// headers ask for.
    pub(super) fn new(
        code: &str,
        request_id: Option<&str>,
        status: u16,
        wait: RequestedWait,
        secrets: &Secrets<'_>,
    ) -> Self {
        let shown = Code::new(code, secrets);
        let by_code = classification::find(code).unwrap_or(if (500..600).contains(&status) {
            &UNKNOWN_SERVER_FAULT
        } else if shown.is_shown() {
            &UNKNOWN_REFUSAL
        } else if is_a_text(code) {
            &NO_CODE
        } else {
            &HIDDEN_CODE
        });
        let entry = if wait.is_of_a_throttled_answer() {
            &ASKED_TO_WAIT
        } else {
            by_code
        };
        Self {
            code: shown,
            entry,
            request_id: request_id.and_then(|text| RequestId::new(text, secrets)),
            status,
            // The older headers may come with any answer, and then tell of a limit that was not reached.
            retry_after: wait.duration().filter(|_| entry.class == Class::Throttled),
            outcome_unknown: by_code.class == Class::Transient,
        }
    }

    /// What it means and what to do. Where nothing can be shown of the code, the request's id is all that support has.
    fn explanation(&self) -> Cow<'static, str> {
        let has_no_code = [&NO_CODE, &HIDDEN_CODE]
            .iter()
            .any(|entry| std::ptr::eq(*entry, self.entry));
        match &self.request_id {
            Some(id) if has_no_code => {
                Cow::Owned(format!("{} (RequestId {id})", self.entry.explanation))
            }
            _ => Cow::Borrowed(self.entry.explanation),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RDS refused the request")?;
        if self.code.is_shown() {
            write!(f, " with {}", self.code)?;
        }
        write!(f, ": {}", self.explanation())
    }
}

/// Whether it is a sentence of some kind, and no code.
fn is_a_text(code: &str) -> bool {
    !code.bytes().all(|byte| byte.is_ascii_graphic())
}

impl PartialEq for Refusal {
    fn eq(&self, other: &Self) -> bool {
        // The entry follows from the code that was written, which is not kept when it cannot be shown.
        (
            &self.code,
            &self.request_id,
            self.status,
            self.retry_after,
            self.outcome_unknown,
        ) == (
            &other.code,
            &other.request_id,
            other.status,
            other.retry_after,
            other.outcome_unknown,
        ) && std::ptr::eq(self.entry, other.entry)
    }
}

impl Eq for Refusal {}

impl CallError {
    /// How soon another try may help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Credentials(_) => Class::PersonNeeded,
            Self::Transport(..) | Self::Unreadable { .. } => Class::Transient,
            Self::Refused(refusal) => refusal.entry.class,
        }
    }

    /// What stands in the way.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Credentials(_) => Reason::CredentialsUnavailable,
            Self::Transport(Transport::NoSuchHost, _) => Reason::EndpointNotFound,
            Self::Transport(..) | Self::Unreadable { .. } => Reason::RdsUnavailable,
            Self::Refused(refusal) => refusal.entry.reason,
        }
    }

    /// What it means and what to do, fit for a condition's message: the same text for the same cause, but for the request's
    /// id, which is told where there is no code that can be shown.
    #[must_use]
    pub fn explanation(&self) -> Cow<'static, str> {
        match self {
            Self::Credentials(_) => MalformedCredentials::EXPLANATION.into(),
            Self::Transport(transport, host) => transport.explanation(host).into(),
            Self::Unreadable { host, .. } => unreadable(host).into(),
            Self::Refused(refusal) => refusal.explanation(),
        }
    }

    /// The host that was called in vain: RDS did not answer there.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        match self {
            Self::Transport(_, host) | Self::Unreadable { host, .. } => Some(host),
            Self::Credentials(_) | Self::Refused(_) => None,
        }
    }

    /// RDS' code, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Refused(refusal) => Some(&refusal.code),
            Self::Credentials(_) | Self::Transport(..) | Self::Unreadable { .. } => None,
        }
    }

    /// For metrics: one of [`CallError::labels`].
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "credentials",
            Self::Transport(transport, _) => transport.label(),
            Self::Unreadable { .. } => "unreadable",
            Self::Refused(refusal) => refusal.code.label(),
        }
    }

    /// All labels that there are: those of the table, and one for each failure without a code.
    pub fn labels() -> impl Iterator<Item = &'static str> {
        metric_labels().chain([
            "credentials",
            "connect",
            "no_such_host",
            "tls",
            "timeout",
            "broken",
            "unreadable",
        ])
    }

    /// RDS' name for the request, if its answer had one.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Refused(refusal) => refusal.request_id.as_ref(),
            Self::Credentials(_) | Self::Transport(..) | Self::Unreadable { .. } => None,
        }
    }

    /// The HTTP status, if there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Credentials(_) | Self::Transport(..) => None,
            Self::Unreadable { status, .. } => Some(*status),
            Self::Refused(refusal) => Some(refusal.status),
        }
    }

    /// How long the cloud wants to be left alone; 120 seconds at most.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Credentials(_) | Self::Transport(..) | Self::Unreadable { .. } => None,
        }
    }

    /// Whether what was asked may have been done all the same: the answer was lost, or tells of a fault midway.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Credentials(_)
            | Self::Transport(Transport::Connect | Transport::NoSuchHost | Transport::Tls, _) => {
                false
            }
            Self::Transport(Transport::Timeout | Transport::Broken, _)
            | Self::Unreadable { .. } => true,
            Self::Refused(refusal) => refusal.outcome_unknown,
        }
    }

    /// Whether cached temporary credentials should be dropped and fetched again.
    #[must_use]
    pub fn credentials_rejected(&self) -> bool {
        // Other credentials would only be one more request.
        self.class() != Class::Throttled
            && matches!(
                self.label(),
                "credentials"
                    | "InvalidSecurityToken"
                    | "MissingSecurityToken"
                    | "InvalidAccessKeyId"
            )
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn lost(transport: Transport) -> CallError {
        CallError::Transport(transport, Host::for_test("rds.aliyuncs.com"))
    }

    fn unreadable(status: u16) -> CallError {
        CallError::Unreadable {
            status,
            host: Host::for_test("rds.aliyuncs.com"),
        }
    }

    fn refused(code: &str, status: u16) -> CallError {
        let id = Some("D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD");
        CallError::Refused(Refusal::new(
            code,
            id,
            status,
            RequestedWait::None,
            &Secrets(&["Secret12word"]),
        ))
    }

    const RETRY_AFTER: RequestedWait = RequestedWait::RetryAfter(Duration::from_millis(700));
    const TIME_LEFT: RequestedWait = RequestedWait::TimeLeft(Duration::from_secs(2));

    fn refused_with(code: &str, status: u16, wait: RequestedWait) -> CallError {
        CallError::Refused(Refusal::new(code, None, status, wait, &Secrets(&[])))
    }

    #[rstest]
    #[case(
        refused("IncorrectDBInstanceLockMode", 404),
        Class::InstanceBusy,
        Reason::InstanceLocked
    )]
    #[case(
        refused("InvalidDBInstanceId.NotFound", 400),
        Class::PersonNeeded,
        Reason::InstanceNotFound
    )]
    #[case(refused("NeverSeen", 404), Class::PersonNeeded, Reason::Rejected)]
    #[case(refused("NeverSeen", 503), Class::Transient, Reason::RdsUnavailable)]
    #[case(
        refused("Forbidden.RAM", 500),
        Class::PersonNeeded,
        Reason::AccessDenied
    )]
    #[case(lost(Transport::Timeout), Class::Transient, Reason::RdsUnavailable)]
    #[case(
        lost(Transport::NoSuchHost),
        Class::Transient,
        Reason::EndpointNotFound
    )]
    #[case(unreadable(403), Class::Transient, Reason::RdsUnavailable)]
    #[case(
        CallError::Credentials(MalformedCredentials),
        Class::PersonNeeded,
        Reason::CredentialsUnavailable
    )]
    fn classes(#[case] error: CallError, #[case] class: Class, #[case] reason: Reason) {
        assert_eq!((error.class(), error.reason()), (class, reason));
    }

    #[rstest]
    #[case(refused("InternalError", 500), true)]
    #[case(refused("OperationDenied.DBInstanceStatus", 403), false)]
    #[case(refused("InvalidAccountPassword.Format", 400), false)]
    #[case(CallError::Credentials(MalformedCredentials), false)]
    #[case(lost(Transport::Connect), false)]
    #[case(lost(Transport::NoSuchHost), false)]
    #[case(lost(Transport::Tls), false)]
    #[case(lost(Transport::Timeout), true)]
    #[case(lost(Transport::Broken), true)]
    #[case(unreadable(200), true)]
    fn only_some_failures_leave_no_doubt(#[case] error: CallError, #[case] unknown: bool) {
        assert_eq!(error.outcome_unknown(), unknown);
    }

    #[rstest]
    #[case("InvalidSecurityToken.Expired", true)]
    #[case("MissingSecurityToken", true)]
    #[case("InvalidAccessKeyId.NotFound", true)]
    #[case("Forbidden.RAM", false)]
    #[case("SignatureDoesNotMatch", false)]
    fn stale_credentials(#[case] code: &str, #[case] rejected: bool) {
        assert_eq!(refused(code, 400).credentials_rejected(), rejected);
    }

    #[rstest]
    #[case("Throttling.User", TIME_LEFT, Some(2000))]
    #[case("InternalError", TIME_LEFT, None)]
    #[case("Throttling.User", RETRY_AFTER, Some(700))]
    #[case("InternalError", RETRY_AFTER, Some(700))]
    #[case("NeverSeen", RETRY_AFTER, Some(700))]
    #[case("DB Operation Failed", RETRY_AFTER, Some(700))]
    #[case("Throttling.User", RequestedWait::None, None)]
    fn only_throttling_says_when_to_come_back(
        #[case] code: &str,
        #[case] wait: RequestedWait,
        #[case] milliseconds: Option<u64>,
    ) {
        let error = refused_with(code, 400, wait);
        assert_eq!(error.retry_after(), milliseconds.map(Duration::from_millis));
    }

    /// As the official clients have it: the header makes an answer a throttled one, whatever its code. But what the code says
    /// of the request's effect holds.
    #[rstest]
    #[case("Throttling.Api", 400, false)]
    #[case("NeverSeen", 400, false)]
    #[case("InvalidAccountPassword.Format", 400, false)]
    #[case("InvalidSecurityToken.Expired", 400, false)]
    #[case("InternalError", 500, true)]
    #[case("NeverSeen", 503, true)]
    fn whatever_asks_to_wait_is_throttled(
        #[case] code: &str,
        #[case] status: u16,
        #[case] outcome_unknown: bool,
    ) {
        let error = refused_with(code, status, RETRY_AFTER);
        assert_eq!(
            (error.class(), error.reason()),
            (Class::Throttled, Reason::Throttled)
        );
        assert_eq!(error.code().map(Code::as_str), Some(code));
        assert!(
            error
                .explanation()
                .contains("more requests than RDS allows")
        );
        assert_eq!(error.outcome_unknown(), outcome_unknown);
        assert!(!error.credentials_rejected());
        assert_ne!(error, refused_with(code, status, RequestedWait::None));
    }

    #[rstest]
    #[case::sql_server(
        "Password validation failed. The password was changed less than 1 days ago",
        400
    )]
    #[case::documented("DB Operation Failed:%s.", 400)]
    #[case::another_language("\u{5bc6}\u{7801}\u{65e0}\u{6548}", 403)]
    #[case::two_lines("line\nline", 400)]
    fn a_text_in_place_of_the_code(#[case] text: &str, #[case] status: u16) {
        let error = refused(text, status);
        assert_eq!(
            (error.class(), error.reason()),
            (Class::PersonNeeded, Reason::Rejected)
        );
        assert!(!error.outcome_unknown());
        assert_eq!(error.code().map(Code::is_shown), Some(false));
        let told = error.explanation();
        for part in [
            "RDS gave no code",
            "password policy of the database",
            "SQL Server",
            "RequestId D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!format!("{error} {error:?}").contains(text));
        assert!(!format!("{error} {told}").contains("look its code up"));
    }

    #[rstest]
    #[case::of_a_secret("Brand.Secret12wor", 400)]
    #[case::malformed("Brand_New<Code>", 400)]
    fn a_code_that_is_not_shown(#[case] code: &str, #[case] status: u16) {
        let told = refused(code, status).explanation();
        assert!(told.contains("a code that is not shown"), "{told}");
        assert!(told.contains("RequestId D4D4BE8A"), "{told}");
        assert!(!told.contains("Brand"), "{told}");
    }

    #[test]
    fn without_a_request_id_none_is_told() {
        let error = refused_with("a text", 400, RequestedWait::None);
        assert!(error.explanation().ends_with("with the RequestId"));
    }

    #[test]
    fn a_refusal_shows_code_and_explanation_only() {
        assert_eq!(
            refused("OrderStatus.UnPaid", 403).to_string(),
            "RDS refused the request with OrderStatus.UnPaid: an order for this instance is not paid; pay or cancel it"
        );
        let hidden = refused("Forbidden.Secret12word", 403);
        assert!(hidden.to_string().starts_with("RDS refused the request: "));
        assert!(!format!("{hidden} {hidden:?}").contains("Secret12word"));
        assert_eq!(hidden.reason(), Reason::AccessDenied);
    }

    #[test]
    fn every_label_is_listed() {
        for error in [
            refused("Throttling.User", 400),
            refused("NeverSeen", 400),
            CallError::Credentials(MalformedCredentials),
            lost(Transport::Connect),
            lost(Transport::NoSuchHost),
            lost(Transport::Tls),
            lost(Transport::Timeout),
            lost(Transport::Broken),
            unreadable(200),
        ] {
            assert!(CallError::labels().any(|label| label == error.label()));
        }
    }

    /// Whatever went wrong on the way: the host that was called stands in the text, and there is none where RDS answered.
    #[rstest]
    #[case(lost(Transport::Connect))]
    #[case(lost(Transport::NoSuchHost))]
    #[case(lost(Transport::Tls))]
    #[case(lost(Transport::Timeout))]
    #[case(lost(Transport::Broken))]
    #[case(unreadable(502))]
    fn what_failed_on_the_way_names_the_host(#[case] error: CallError) {
        assert_eq!(
            error.host().map(ToString::to_string).as_deref(),
            Some("rds.aliyuncs.com")
        );
        for text in [error.to_string(), error.explanation().into_owned()] {
            assert!(text.contains("rds.aliyuncs.com"), "{text}");
        }
        assert_eq!(refused("InternalError", 500).host(), None);
    }
}
