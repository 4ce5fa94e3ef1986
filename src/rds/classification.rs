//! The one table of RDS' error codes: what each means for a retry, for the status, and for a person.
//!
//! Sources: the error tables of `ResetAccountPassword`, `DescribeDBInstanceAttribute`, `DescribeAccounts` and their
//! sibling account actions in RDS' API reference, those of the RPC gateway, and the retry lists of the official
//! Terraform provider.
//! Codes decide, never the HTTP status alone: `IncorrectDBInstanceLockMode` comes with 404 and
//! `InvalidDBInstanceId.NotFound` with 400.

use Class::{InstanceBusy, PersonNeeded, Throttled, Transient};
use Pattern::{Exact, Prefix, Suffix};
use Reason::{
    AccessDenied, AccountNotAvailable, AccountNotFound, AccountNotSupported, ClockSkew,
    CredentialsUnavailable, InstanceLocked, InstanceNotFound, InstanceNotRunning, PasswordInvalid,
    RdsUnavailable, Rejected,
};

/// Stands for a code that cannot be shown, and in metrics for every code that is not in the table.
pub const OTHER: &str = "other";

/// How soon another try may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A passing fault: soon.
    Transient,
    /// Too many requests: when the cloud says so.
    Throttled,
    /// The instance, or its account, is in a state that ends by itself.
    InstanceBusy,
    /// Somebody has to change something first.
    PersonNeeded,
    /// What is missing may be created at any moment: a resource and what it names are often applied together.
    Awaited,
}

/// What stands in the way, as a condition's reason names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are the explanation; the sentences are in the table"
)]
pub enum Reason {
    InstanceNotRunning,
    InstanceLocked,
    InstanceNotFound,
    AccountNotFound,
    AccountNotAvailable,
    AccountLocked,
    AccountNotSupported,
    AccessDenied,
    CredentialsUnavailable,
    Throttled,
    RdsUnavailable,
    EndpointNotFound,
    ClockSkew,
    Rejected,
    PasswordInvalid,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::InstanceNotRunning,
        Self::InstanceLocked,
        Self::InstanceNotFound,
        Self::AccountNotFound,
        Self::AccountNotAvailable,
        Self::AccountLocked,
        Self::AccountNotSupported,
        Self::AccessDenied,
        Self::CredentialsUnavailable,
        Self::Throttled,
        Self::RdsUnavailable,
        Self::EndpointNotFound,
        Self::ClockSkew,
        Self::Rejected,
        Self::PasswordInvalid,
    ];

    /// The name, as in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InstanceNotRunning => "InstanceNotRunning",
            Self::InstanceLocked => "InstanceLocked",
            Self::InstanceNotFound => "InstanceNotFound",
            Self::AccountNotFound => "AccountNotFound",
            Self::AccountNotAvailable => "AccountNotAvailable",
            Self::AccountLocked => "AccountLocked",
            Self::AccountNotSupported => "AccountNotSupported",
            Self::AccessDenied => "AccessDenied",
            Self::CredentialsUnavailable => "CredentialsUnavailable",
            Self::Throttled => "Throttled",
            Self::RdsUnavailable => "RdsUnavailable",
            Self::EndpointNotFound => "EndpointNotFound",
            Self::ClockSkew => "ClockSkew",
            Self::Rejected => "Rejected",
            Self::PasswordInvalid => "PasswordInvalid",
        }
    }
}

/// Which codes an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This code.
    Exact(&'static str),
    /// Every code that begins with these letters; the star at the end is part of the text.
    Prefix(&'static str),
    /// Every code that ends with these letters; the star at the beginning is part of the text.
    Suffix(&'static str),
}

impl Pattern {
    /// The pattern as it is written in documentation and metrics: `Throttling*`, `*.NotFound`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Exact(text) | Prefix(text) | Suffix(text) => text,
        }
    }

    pub(crate) fn matches(self, code: &str) -> bool {
        match self {
            Exact(text) => code == text,
            Prefix(text) => code.starts_with(text.trim_end_matches('*')),
            Suffix(text) => code.ends_with(text.trim_start_matches('*')),
        }
    }

    /// An exact code goes before a pattern, and a longer pattern before a shorter one.
    fn precision(self) -> (bool, usize) {
        (matches!(self, Exact(_)), self.label().len())
    }
}

/// Codes that mean the same.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The codes.
    pub codes: &'static [Pattern],
    /// When another try may help.
    pub class: Class,
    /// What a condition says is in the way.
    pub reason: Reason,
    /// What it means and what to do, in our own words.
    pub explanation: &'static str,
}

/// All known codes.
pub static TABLE: &[Entry] = &[
    // ------------------------------------------------------------------ passing faults
    Entry {
        codes: &[
            Exact("ServiceUnavailable"),
            Exact("InternalError"),
            Exact("UnknownError"),
            Exact("ExternalFailure"),
            Exact("RequestMetaDataFailed"),
            Exact("InvokeProxyFailure"),
            Exact("IO.Exception"),
            Exact("ConnectTimeoutRetryLater"),
            Prefix("Timeout*"),
            Exact("Account.QueryError"),
        ],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS had a fault of its own; the operator tries again",
    },
    Entry {
        codes: &[
            Exact("SqlExcutionFailed"),
            Exact("SqlExecuteFailedOrTimeout"),
            Exact("NetworkOrSqlTimeoutError"),
            Exact("LockTimeout"),
            Exact("InstanceConnectTimeoutFault"),
        ],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS could not run the change in the database in time; the operator tries again; if it lasts, look at the instance's load",
    },
    Entry {
        codes: &[Exact("ConcurrentLimit")],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS is working on too many requests at once; the operator tries again",
    },
    Entry {
        codes: &[Exact("SignatureNonceUsed")],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS had seen this request before, so something on the way sent it twice; the operator tries again with a new one",
    },
    // ------------------------------------------------------------------ too many requests
    Entry {
        codes: &[Prefix("Throttling*"), Exact("Rejected.Throttling")],
        class: Throttled,
        reason: Reason::Throttled,
        explanation: "the cloud account makes more requests than RDS allows; the operator waits and tries again",
    },
    // ------------------------------------------------------------------ the instance is busy
    Entry {
        codes: &[
            Exact("OperationDenied.DBInstanceStatus"),
            Exact("OperationDenied.DBStatus"),
            Exact("OperationDenied.DBClusterStatus"),
            Exact("IncorrectDBInstanceState"),
            Exact("InvalidDBInstanceStatus.NotSupport"),
            Exact("DbRestoring"),
            Exact("DbossGeneralError"),
            Prefix("GeneralIns.*"),
        ],
        class: InstanceBusy,
        reason: InstanceNotRunning,
        explanation: "the instance is not in a state in which RDS changes accounts; the operator waits until it is running",
    },
    Entry {
        codes: &[
            Exact("ConcurrentTaskExceeded"),
            Exact("OperationDenied.OutofUsage"),
        ],
        class: InstanceBusy,
        reason: RdsUnavailable,
        explanation: "the instance is busy with other tasks; the operator waits for them",
    },
    Entry {
        codes: &[Exact("Database.ConnectError")],
        class: InstanceBusy,
        reason: RdsUnavailable,
        explanation: "RDS could not connect to the database; the operator waits; if it lasts, look at the instance's state and its connections",
    },
    Entry {
        codes: &[Exact("IncorrectDBInstanceLockMode")],
        class: InstanceBusy,
        reason: InstanceLocked,
        explanation: "the instance is locked, usually for a full disk or an expired subscription; free space or renew it; the operator waits until it is unlocked",
    },
    Entry {
        codes: &[
            Exact("IncorrectAccountStatus"),
            Exact("OperationDenied.AccountStatus"),
            Exact("AccountActionForbidden"),
        ],
        class: InstanceBusy,
        reason: AccountNotAvailable,
        explanation: "the account is being changed or is locked; the operator waits until it is available",
    },
    // ------------------------------------------------------------------ somebody has to act: the target
    Entry {
        codes: &[
            Exact("InvalidDBInstanceId.NotFound"),
            Exact("InvalidDBInstanceName.NotFound"),
            Exact("InvalidResource.NotFound"),
            Exact("DataNotExist"),
        ],
        class: PersonNeeded,
        reason: InstanceNotFound,
        explanation: "RDS does not know this instance; check its id, its region, and that the credentials are of the cloud account that owns it",
    },
    Entry {
        codes: &[
            Exact("InvalidAccountName.NotFound"),
            Exact("Abs.InvalidAccount.NotFound"),
        ],
        class: PersonNeeded,
        reason: AccountNotFound,
        explanation: "the instance has no account of this name; check the name, or create the account",
    },
    Entry {
        codes: &[Prefix("InvalidCharacter.*")],
        class: PersonNeeded,
        reason: AccountNotFound,
        explanation: "RDS finds characters in the account's name that no account can have; check the name",
    },
    Entry {
        codes: &[
            Exact("IncorrectAccount"),
            Exact("IncorrectAccountType"),
            Exact("IncorrectAccountPrivilegeType"),
            Exact("OperationDenied.AccountMode"),
        ],
        class: PersonNeeded,
        reason: AccountNotSupported,
        explanation: "RDS does not reset the password of this kind of account; accounts that were created by SQL have to be changed by SQL",
    },
    Entry {
        codes: &[
            Exact("IncorrectDBInstanceType"),
            Exact("GdnRole.NotSupport"),
        ],
        class: PersonNeeded,
        reason: AccountNotSupported,
        explanation: "RDS does not manage accounts on this kind of instance; name the primary instance instead of a read-only or secondary one",
    },
    Entry {
        codes: &[Prefix("InvalidAccountPassword.*")],
        class: PersonNeeded,
        reason: PasswordInvalid,
        explanation: "RDS does not take this password, though it obeys the documented rules; write another one to the Secret",
    },
    Entry {
        codes: &[Exact("Account.UpdateError")],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "the database itself refused the password, usually by a password policy or plugin of the instance; write one that it takes to the Secret, or change the policy",
    },
    Entry {
        codes: &[Exact("OrderStatus.UnPaid")],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "an order for this instance is not paid; pay or cancel it",
    },
    // ------------------------------------------------------------------ somebody has to act: the identity
    Entry {
        codes: &[
            Prefix("Forbidden*"),
            Prefix("NoPermission*"),
            Exact("InvalidUserOperatorPermission"),
        ],
        class: PersonNeeded,
        reason: AccessDenied,
        explanation: "the credentials lack a permission; allow rds:ResetAccountPassword, rds:DescribeDBInstanceAttribute and rds:DescribeAccounts on this instance in RAM",
    },
    Entry {
        codes: &[Prefix("InvalidAccessKeyId.*")],
        class: PersonNeeded,
        reason: AccessDenied,
        explanation: "the AccessKey does not exist or is disabled; give the operator a valid one",
    },
    Entry {
        codes: &[Exact("SignatureDoesNotMatch"), Exact("IncompleteSignature")],
        class: PersonNeeded,
        reason: AccessDenied,
        explanation: "the AccessKey's secret does not belong to its id; correct the credentials",
    },
    Entry {
        codes: &[
            Prefix("InvalidSecurityToken.*"),
            Exact("MissingSecurityToken"),
        ],
        class: PersonNeeded,
        reason: CredentialsUnavailable,
        explanation: "the temporary credentials' security token is expired, missing or of another AccessKey; renew it at its source",
    },
    Entry {
        codes: &[Prefix("InvalidTimeStamp.*")],
        class: PersonNeeded,
        reason: ClockSkew,
        explanation: "the clock of the operator's node is more than 15 minutes off; correct it (NTP)",
    },
    // ------------------------------------------------------------------ somebody has to act: the request
    Entry {
        codes: &[
            Prefix("MissingParameter*"),
            Prefix("InvalidParameter*"),
            Exact("InvalideStatus.Format"),
            Exact("NotInFlowController"),
        ],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "RDS does not take the request as it is; check instance and account name; if they are right, ask RDS' support with the request id",
    },
    Entry {
        codes: &[
            Exact("Request.NotFound"),
            Exact("HostInfo.NotFound"),
            Suffix("*.NotFound"),
        ],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "RDS did not find something that the request needs; check instance id, region and account name",
    },
];

/// A code that the table does not know, in an answer that blames the server (HTTP 5xx).
pub(super) static UNKNOWN_SERVER_FAULT: Entry = Entry {
    codes: &[],
    class: Transient,
    reason: RdsUnavailable,
    explanation: "RDS had a fault that the operator does not know; it tries again",
};

/// A code that the table does not know, in any other answer.
pub(super) static UNKNOWN_REFUSAL: Entry = Entry {
    codes: &[],
    class: PersonNeeded,
    reason: Rejected,
    explanation: "RDS refused the request for a reason that the operator does not know; look its code up in the API's error centre",
};

/// The most precise entry for a code, whatever the HTTP status.
pub(super) fn find(code: &str) -> Option<&'static Entry> {
    best_match(code).map(|(_, entry)| entry)
}

/// For metrics: the pattern that a code matches, or `other`.
pub(super) fn label_of(code: &str) -> &'static str {
    best_match(code).map_or(OTHER, |(pattern, _)| pattern.label())
}

/// Every label that a code can have in metrics.
pub fn metric_labels() -> impl Iterator<Item = &'static str> {
    TABLE
        .iter()
        .flat_map(|entry| entry.codes)
        .map(|pattern| pattern.label())
        .chain([OTHER])
}

fn best_match(code: &str) -> Option<(Pattern, &'static Entry)> {
    TABLE
        .iter()
        .flat_map(|entry| entry.codes.iter().map(move |pattern| (*pattern, entry)))
        .filter(|(pattern, _)| pattern.matches(code))
        .max_by_key(|(pattern, _)| pattern.precision())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    /// Every code that the documentation or a real answer names, the members of each family one by one.
    #[rstest]
    #[case("InvalidTimeStamp.Expired", PersonNeeded, ClockSkew)]
    #[case("InvalidTimeStamp.Format", PersonNeeded, ClockSkew)]
    #[case("SignatureNonceUsed", Transient, RdsUnavailable)]
    #[case("SignatureDoesNotMatch", PersonNeeded, AccessDenied)]
    #[case("IncompleteSignature", PersonNeeded, AccessDenied)]
    #[case("InvalidAccessKeyId.NotFound", PersonNeeded, AccessDenied)]
    #[case("InvalidAccessKeyId.Inactive", PersonNeeded, AccessDenied)]
    #[case("InvalidSecurityToken.Expired", PersonNeeded, CredentialsUnavailable)]
    #[case("InvalidSecurityToken.Malformed", PersonNeeded, CredentialsUnavailable)]
    #[case(
        "InvalidSecurityToken.MismatchWithAccessKey",
        PersonNeeded,
        CredentialsUnavailable
    )]
    #[case("MissingSecurityToken", PersonNeeded, CredentialsUnavailable)]
    #[case("Account.UpdateError", PersonNeeded, Rejected)]
    #[case("Database.ConnectError", InstanceBusy, RdsUnavailable)]
    #[case("GdnRole.NotSupport", PersonNeeded, AccountNotSupported)]
    #[case("InvalidAccountPassword.Format", PersonNeeded, PasswordInvalid)]
    #[case("InvalidAccountPassword.Malformed", PersonNeeded, PasswordInvalid)]
    #[case("IncorrectAccountStatus", InstanceBusy, AccountNotAvailable)]
    #[case("IncorrectAccount", PersonNeeded, AccountNotSupported)]
    #[case("DbRestoring", InstanceBusy, InstanceNotRunning)]
    #[case("SqlExcutionFailed", Transient, RdsUnavailable)]
    #[case("SqlExecuteFailedOrTimeout", Transient, RdsUnavailable)]
    #[case("ConcurrentLimit", Transient, RdsUnavailable)]
    #[case("IO.Exception", Transient, RdsUnavailable)]
    #[case("GeneralIns.Creating", InstanceBusy, InstanceNotRunning)]
    #[case("GeneralIns.Maintaining", InstanceBusy, InstanceNotRunning)]
    #[case("GeneralIns.Switching", InstanceBusy, InstanceNotRunning)]
    #[case("DbossGeneralError", InstanceBusy, InstanceNotRunning)]
    #[case("InvalidDBInstanceId.NotFound", PersonNeeded, InstanceNotFound)]
    #[case("InvalidDBInstanceName.NotFound", PersonNeeded, InstanceNotFound)]
    #[case("InvalidResource.NotFound", PersonNeeded, InstanceNotFound)]
    #[case("DataNotExist", PersonNeeded, InstanceNotFound)]
    #[case("Abs.InvalidAccount.NotFound", PersonNeeded, AccountNotFound)]
    #[case("InvalidAccountName.NotFound", PersonNeeded, AccountNotFound)]
    #[case("InvalidCharacter.DbOrAccount", PersonNeeded, AccountNotFound)]
    #[case("IncorrectDBInstanceState", InstanceBusy, InstanceNotRunning)]
    #[case("IncorrectDBInstanceType", PersonNeeded, AccountNotSupported)]
    #[case("IncorrectAccountType", PersonNeeded, AccountNotSupported)]
    #[case("IncorrectAccountPrivilegeType", PersonNeeded, AccountNotSupported)]
    #[case("OperationDenied.AccountMode", PersonNeeded, AccountNotSupported)]
    #[case("OperationDenied.DBInstanceStatus", InstanceBusy, InstanceNotRunning)]
    #[case("OperationDenied.DBClusterStatus", InstanceBusy, InstanceNotRunning)]
    #[case("OperationDenied.DBStatus", InstanceBusy, InstanceNotRunning)]
    #[case("OperationDenied.OutofUsage", InstanceBusy, RdsUnavailable)]
    #[case("OperationDenied.AccountStatus", InstanceBusy, AccountNotAvailable)]
    #[case("AccountActionForbidden", InstanceBusy, AccountNotAvailable)]
    #[case("OrderStatus.UnPaid", PersonNeeded, Rejected)]
    #[case("InvalidUserOperatorPermission", PersonNeeded, AccessDenied)]
    #[case("NotInFlowController", PersonNeeded, Rejected)]
    #[case("IncorrectDBInstanceLockMode", InstanceBusy, InstanceLocked)]
    #[case("NetworkOrSqlTimeoutError", Transient, RdsUnavailable)]
    #[case("ExternalFailure", Transient, RdsUnavailable)]
    #[case("RequestMetaDataFailed", Transient, RdsUnavailable)]
    #[case("InvokeProxyFailure", Transient, RdsUnavailable)]
    #[case("Forbidden.RAM", PersonNeeded, AccessDenied)]
    #[case("Forbidden", PersonNeeded, AccessDenied)]
    #[case("NoPermission", PersonNeeded, AccessDenied)]
    #[case("Throttling", Throttled, Reason::Throttled)]
    #[case("Throttling.User", Throttled, Reason::Throttled)]
    #[case("Throttling.Api", Throttled, Reason::Throttled)]
    #[case("Rejected.Throttling", Throttled, Reason::Throttled)]
    #[case("ServiceUnavailable", Transient, RdsUnavailable)]
    #[case("InternalError", Transient, RdsUnavailable)]
    #[case("UnknownError", Transient, RdsUnavailable)]
    #[case("LockTimeout", Transient, RdsUnavailable)]
    #[case("InstanceConnectTimeoutFault", Transient, RdsUnavailable)]
    #[case("ConcurrentTaskExceeded", InstanceBusy, RdsUnavailable)]
    #[case("MissingParameter", PersonNeeded, Rejected)]
    #[case("InvalidParameter", PersonNeeded, Rejected)]
    #[case("ConnectTimeoutRetryLater", Transient, RdsUnavailable)]
    #[case("TimeoutRetryLater", Transient, RdsUnavailable)]
    #[case("InvalideStatus.Format", PersonNeeded, Rejected)]
    #[case("Request.NotFound", PersonNeeded, Rejected)]
    #[case("HostInfo.NotFound", PersonNeeded, Rejected)]
    #[case("InvalidDBInstanceStatus.NotSupport", InstanceBusy, InstanceNotRunning)]
    #[case("Account.QueryError", Transient, RdsUnavailable)]
    #[case("InvalidSomethingNew.NotFound", PersonNeeded, Rejected)]
    fn known_codes(#[case] code: &str, #[case] class: Class, #[case] reason: Reason) {
        let entry = find(code).unwrap();
        assert_eq!((entry.class, entry.reason), (class, reason));
    }

    #[rstest]
    fn unknown_codes(
        #[values(
            "",
            "DB Operation Failed",
            "NotFound",
            "throttling",
            "XForbidden",
            "InternalErrorX",
            "XInternalError"
        )]
        code: &str,
    ) {
        assert!(find(code).is_none());
        assert_eq!(label_of(code), OTHER);
    }

    #[test]
    fn every_pattern_is_listed_once_and_reached() {
        let mut seen = BTreeSet::new();
        for entry in TABLE {
            for pattern in entry.codes {
                assert!(seen.insert(pattern.label()), "{pattern:?} twice");
                let example = pattern.label().replace('*', "X");
                assert_eq!(label_of(&example), pattern.label());
            }
        }
        assert_eq!(metric_labels().count(), seen.len() + 1);
    }

    #[test]
    fn every_reason_is_listed_once() {
        let listed: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(listed.len(), Reason::ALL.len());
        for entry in TABLE
            .iter()
            .chain([&UNKNOWN_REFUSAL, &UNKNOWN_SERVER_FAULT])
        {
            assert!(Reason::ALL.contains(&entry.reason), "{:?}", entry.reason);
        }
    }

    #[test]
    fn explanations_are_one_line_of_plain_text() {
        for explanation in TABLE
            .iter()
            .chain([&UNKNOWN_REFUSAL, &UNKNOWN_SERVER_FAULT])
            .map(|entry| entry.explanation)
        {
            assert!(
                explanation.is_ascii() && explanation.len() < 200,
                "{explanation}"
            );
            assert!(
                !explanation.ends_with('.') && !explanation.contains('\n'),
                "{explanation}"
            );
        }
    }
}
