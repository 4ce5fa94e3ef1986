//! Why there are no credentials, in words that say what to fix and where.
//!
//! The texts are our own and stable, as they go into conditions: nothing that a server or a file holds is in them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::rds::classification::{Class, Reason};
use crate::rds::endpoint::Host;
use crate::rds::error::Transport;
use crate::rds::identifier::{Code, RequestId};

/// Where credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceName {
    /// An `AccessKey` in the environment.
    Environment,
    /// A role that an OIDC token in a file assumes, such as ACK's RRSA sets up.
    Oidc,
    /// A profile of the `aliyun` command line tool.
    Profile,
    /// The credentials file of the SDKs.
    File,
    /// A URI that answers with temporary credentials.
    Uri,
    /// The role of the ECS instance that the process runs on.
    NodeRole,
    /// The role of a ServiceAccount that a resource names.
    ServiceAccount,
    /// An `AccessKey` in a Secret that a resource names.
    Secret,
    /// The choice among all of them.
    Chain,
}

impl SourceName {
    /// The sources in the order in which they are asked.
    ///
    /// It is that of the official SDKs' default chain, but for the URI: they ask it last, after an ECS role that hardly ever
    /// says no. Whoever sets a URI means it.
    pub const IN_ORDER: [Self; 6] = [
        Self::Environment,
        Self::Oidc,
        Self::Profile,
        Self::File,
        Self::Uri,
        Self::NodeRole,
    ];

    /// The name, as `--credentials-source` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Oidc => "oidc",
            Self::Profile => "profile",
            Self::File => "file",
            Self::Uri => "uri",
            Self::NodeRole => "node-role",
            Self::ServiceAccount => "service-account",
            Self::Secret => "secret",
            Self::Chain => "none",
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No source is configured, or not the one that was asked for.
    NotConfigured,
    /// What is configured cannot work.
    Misconfigured,
    /// The cloud refuses: a trust policy, an audience, an expired token, an unknown role, a key that is no more.
    Denied,
    /// The clock of the node is off.
    ClockSkew,
    /// Too many requests.
    Throttled,
    /// A passing fault.
    Transient,
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{explanation} (credentials source: {origin})")]
pub struct CredentialsError {
    origin: SourceName,
    kind: Kind,
    explanation: Cow<'static, str>,
    code: Option<Code>,
    request_id: Option<RequestId>,
    /// Boxed, so that a result is small.
    host: Option<Box<Host>>,
    retry_after: Option<Duration>,
}

impl CredentialsError {
    /// `explanation` says what to fix and where, without anything that a server or a file wrote.
    #[must_use]
    pub fn new(origin: SourceName, kind: Kind, explanation: impl Into<Cow<'static, str>>) -> Self {
        Self {
            origin,
            kind,
            explanation: explanation.into(),
            code: None,
            request_id: None,
            host: None,
            retry_after: None,
        }
    }

    /// Something to correct in the configuration.
    #[must_use]
    pub fn misconfigured(origin: SourceName, explanation: impl Into<Cow<'static, str>>) -> Self {
        Self::new(origin, Kind::Misconfigured, explanation)
    }

    /// No answer from `server` at `host`. `check` says what to look at.
    pub(super) fn unreachable(
        origin: SourceName,
        server: &str,
        host: &Host,
        transport: Transport,
        check: &str,
    ) -> Self {
        let what = match transport {
            Transport::Connect => format!("{server} could not be reached at {host}"),
            Transport::NoSuchHost => format!(
                "{server} could not be reached, since there is no host {host}: DNS has no address of that name"
            ),
            Transport::Tls => format!("the connection to {server} at {host} is not trustworthy"),
            Transport::Timeout => format!("{server} did not answer in time at {host}"),
            Transport::Broken => {
                format!("the connection to {server} at {host} broke before the answer came")
            }
        };
        let explanation = format!("{what}; the operator tries again; if it lasts, check {check}");
        Self::new(origin, Kind::Transient, explanation).called_in_vain(host)
    }

    /// With the host from which no answer came that says why.
    pub(super) fn called_in_vain(self, host: &Host) -> Self {
        Self {
            host: Some(Box::new(host.clone())),
            ..self
        }
    }

    /// With what the answer had that may be shown.
    pub(super) fn answered(
        self,
        code: Option<Code>,
        request_id: Option<RequestId>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self {
            code,
            request_id,
            retry_after,
            ..self
        }
    }

    /// The source that failed.
    #[must_use]
    pub fn origin(&self) -> SourceName {
        self.origin
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How soon another try may help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.kind {
            Kind::NotConfigured | Kind::Misconfigured | Kind::Denied | Kind::ClockSkew => {
                Class::PersonNeeded
            }
            Kind::Throttled => Class::Throttled,
            Kind::Transient => Class::Transient,
        }
    }

    /// What stands in the way, as a condition names it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.kind {
            Kind::Denied => Reason::AccessDenied,
            Kind::ClockSkew => Reason::ClockSkew,
            Kind::NotConfigured | Kind::Misconfigured | Kind::Throttled | Kind::Transient => {
                Reason::CredentialsUnavailable
            }
        }
    }

    /// The cloud's code, where it can be shown.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        self.code.as_ref()
    }

    /// The cloud's name for the request, where it looks like one.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        self.request_id.as_ref()
    }

    /// The host that was called, where no answer came from it that says why.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.host.as_deref()
    }

    /// How long the cloud wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_text_names_the_source_and_nothing_that_changes() {
        let error = CredentialsError::new(SourceName::Oidc, Kind::Denied, "no").answered(
            None,
            Some(RequestId::for_test("D4D4BE8A")),
            None,
        );
        assert_eq!(error.to_string(), "no (credentials source: oidc)");
    }

    #[rstest]
    #[case(
        Kind::NotConfigured,
        Class::PersonNeeded,
        Reason::CredentialsUnavailable
    )]
    #[case(
        Kind::Misconfigured,
        Class::PersonNeeded,
        Reason::CredentialsUnavailable
    )]
    #[case(Kind::Denied, Class::PersonNeeded, Reason::AccessDenied)]
    #[case(Kind::ClockSkew, Class::PersonNeeded, Reason::ClockSkew)]
    #[case(Kind::Throttled, Class::Throttled, Reason::CredentialsUnavailable)]
    #[case(Kind::Transient, Class::Transient, Reason::CredentialsUnavailable)]
    fn kinds(#[case] kind: Kind, #[case] class: Class, #[case] reason: Reason) {
        let error = CredentialsError::new(SourceName::Uri, kind, "no");
        assert_eq!((error.class(), error.reason()), (class, reason));
    }
}
