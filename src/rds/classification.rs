//! The one table of RDS' error codes: what each means for a retry, for the status, and for a person.
//!
//! Sources: the error tables of `ResetAccountPassword`, `DescribeDBInstanceAttribute`, `DescribeAccounts` and their
//! sibling account actions in RDS' API reference
//! (<https://www.alibabacloud.com/help/en/rds/developer-reference/api-rds-2014-08-15-resetaccountpassword>, with the messages
//! that `GrantAccountPrivilege` and `ModifyAccountDescription` document for the codes that all of them share), those of the
//! RPC gateway, and the retry lists of the official Terraform provider.
//! Codes decide, never the HTTP status alone: `IncorrectDBInstanceLockMode` comes with 404 and
//! `InvalidDBInstanceId.NotFound` with 400.
//!
//! Real codes are often longer than documented ones: `IncorrectDBInstanceType.ChildDBInstanceNotSupport`. Such a code means
//! what its family means, which is the known code that it continues after a dot; where there are several, the longest.

use Class::{InstanceBusy, PersonNeeded, Throttled, Transient};
use Pattern::{Family, Wildcard};
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
    /// This code, and every longer one that continues it after a dot.
    Family(&'static str),
    /// Every code that begins with what is before the one star of the text, and ends with what is after it.
    Wildcard(&'static str),
}

impl Pattern {
    /// The pattern as it is written in documentation and metrics: `Throttling*`, `*.NotFound`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Family(text) | Wildcard(text) => text,
        }
    }

    pub(crate) fn matches(self, code: &str) -> bool {
        let (start, end) = self.literals();
        let Some(rest) = code.strip_prefix(start) else {
            return false;
        };
        match self {
            Family(_) => rest.is_empty() || rest.starts_with('.'),
            Wildcard(_) => rest.ends_with(end),
        }
    }

    /// What a code begins and ends with.
    fn literals(self) -> (&'static str, &'static str) {
        match self {
            Family(text) => (text, ""),
            Wildcard(text) => text.split_once('*').unwrap_or((text, "")),
        }
    }

    /// A longer known beginning goes before a shorter one, and only then a longer known end.
    fn precision(self) -> (usize, usize) {
        let (start, end) = self.literals();
        (start.len(), end.len())
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
            Family("ServiceUnavailable"),
            Family("InternalError"),
            Family("UnknownError"),
            Family("ExternalFailure"),
            Family("RequestMetaDataFailed"),
            Family("InvokeProxyFailure"),
            Family("IO.Exception"),
            Family("ConnectTimeoutRetryLater"),
            Wildcard("Timeout*"),
            Family("Account.QueryError"),
            Family("System.SaleValidateFailed"),
            Family("CommodityServiceCalling.Exception"),
            Family("Price.CommoditySys"),
        ],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS had a fault of its own; the operator tries again",
    },
    Entry {
        codes: &[
            Family("SqlExcutionFailed"),
            Family("SqlExecuteFailedOrTimeout"),
            Family("NetworkOrSqlTimeoutError"),
            Family("LockTimeout"),
            Family("InstanceConnectTimeoutFault"),
        ],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS could not run the change in the database in time; the operator tries again; if it lasts, look at the instance's load",
    },
    Entry {
        codes: &[Family("ConcurrentLimit")],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS is working on too many requests at once; the operator tries again",
    },
    Entry {
        codes: &[Family("SignatureNonceUsed")],
        class: Transient,
        reason: RdsUnavailable,
        explanation: "RDS had seen this request before, so something on the way sent it twice; the operator tries again with a new one",
    },
    // ------------------------------------------------------------------ too many requests
    Entry {
        codes: &[Wildcard("Throttling*"), Family("Rejected.Throttling")],
        class: Throttled,
        reason: Reason::Throttled,
        explanation: TOO_MANY_REQUESTS,
    },
    // ------------------------------------------------------------------ the instance is busy
    Entry {
        codes: &[
            Family("OperationDenied.DBInstanceStatus"),
            Family("OperationDenied.DBStatus"),
            Family("OperationDenied.DBClusterStatus"),
            // Of the primary instance, of a read-only one, and what else there may be.
            Wildcard("OperationDenied.*InstanceStatus"),
            Wildcard("OperationDenied.*InstanceState"),
            Family("IncorrectDBInstanceState"),
            Family("InvalidDBInstanceState"),
            Family("InvalidDBInstanceStatus"),
            // RDS spells it so: "The instance status does not support this operation."
            Family("InvalideStatus"),
            Family("DbRestoring"),
            Family("DbossGeneralError"),
            Family("GeneralIns"),
        ],
        class: InstanceBusy,
        reason: InstanceNotRunning,
        explanation: "the instance is not in a state in which RDS changes accounts; the operator waits until it is running",
    },
    Entry {
        codes: &[
            Family("ConcurrentTaskExceeded"),
            Family("OperationDenied.OutofUsage"),
        ],
        class: InstanceBusy,
        reason: RdsUnavailable,
        explanation: "the instance is busy with other tasks; the operator waits for them",
    },
    Entry {
        codes: &[Family("Database.ConnectError")],
        class: InstanceBusy,
        reason: RdsUnavailable,
        explanation: "RDS could not connect to the database; the operator waits; if it lasts, look at the instance's state and its connections",
    },
    Entry {
        codes: &[Family("IncorrectDBInstanceLockMode")],
        class: InstanceBusy,
        reason: InstanceLocked,
        explanation: "the instance is locked, usually for a full disk or an expired subscription; free space or renew it; the operator waits until it is unlocked",
    },
    Entry {
        codes: &[
            Family("IncorrectAccountStatus"),
            Family("OperationDenied.AccountStatus"),
            Family("AccountActionForbidden"),
        ],
        class: InstanceBusy,
        reason: AccountNotAvailable,
        explanation: "the account is being changed or is locked; the operator waits until it is available",
    },
    // ------------------------------------------------------------------ somebody has to act: the target
    Entry {
        codes: &[
            Family("InvalidDBInstanceId.NotFound"),
            Family("InvalidDBInstanceName.NotFound"),
            Family("InvalidDBInstanceId"),
            Family("InvalidDBInstanceName"),
            Family("InvalidDBInstance"),
            Family("InvalidResource.NotFound"),
            Family("DataNotExist"),
        ],
        class: PersonNeeded,
        reason: InstanceNotFound,
        explanation: "RDS does not know this instance; check its id, its region, and that the credentials are of the cloud account that owns it",
    },
    Entry {
        codes: &[
            Family("InvalidAccountName.NotFound"),
            Family("Abs.InvalidAccount.NotFound"),
        ],
        class: PersonNeeded,
        reason: AccountNotFound,
        explanation: "the instance has no account of this name; check the name, or create the account",
    },
    Entry {
        codes: &[Family("InvalidAccountName"), Family("InvalidCharacter")],
        class: PersonNeeded,
        reason: AccountNotFound,
        explanation: "RDS does not take the account's name, as no account can have such a name; check it",
    },
    Entry {
        codes: &[
            Family("IncorrectAccount"),
            Family("IncorrectAccountType"),
            Family("IncorrectAccountPrivilegeType"),
            Family("OperationDenied.AccountMode"),
            Family("OperationDenied.AccountType"),
        ],
        class: PersonNeeded,
        reason: AccountNotSupported,
        explanation: "RDS does not reset the password of this kind of account; accounts that were created by SQL have to be changed by SQL",
    },
    Entry {
        codes: &[
            Family("IncorrectDBInstanceType"),
            Family("IncorrectDBInstanceCharacterType"),
            Family("IncorrectCharacterType"),
            Family("IncorrectTargetClasscode"),
            Wildcard("OperationDenied.*InstanceType"),
            Family("GdnRole.NotSupport"),
        ],
        class: PersonNeeded,
        reason: AccountNotSupported,
        explanation: "RDS does not manage accounts on this kind of instance; name the primary instance instead of a read-only or secondary one",
    },
    Entry {
        codes: &[
            Family("IncorrectDBInstanceEngine"),
            Family("IncorrectDBType"),
            Family("IncorrectEngineVersion"),
            Family("IncorrectMinorVersion"),
            Family("InstanceEngineType.NotSupport"),
            Family("Api.NotSupport"),
        ],
        class: PersonNeeded,
        reason: AccountNotSupported,
        explanation: "RDS does not do this with the instance's engine, or not with its version; upgrade the minor engine version, or change the account by SQL",
    },
    Entry {
        codes: &[Family("InvalidAccountPassword")],
        class: PersonNeeded,
        reason: PasswordInvalid,
        explanation: "RDS does not take this password, though it obeys the documented rules; write another one to the Secret",
    },
    Entry {
        codes: &[Family("Account.UpdateError")],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "the database itself refused the password, usually by a password policy or plugin of the instance; write one that it takes to the Secret, or change the policy",
    },
    Entry {
        codes: &[
            Family("KmsApiError"),
            Family("InvalidClusterKms"),
            Family("InvalidKmsKey"),
        ],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "the instance cannot use its encryption key; enable the key in KMS, and authorize RDS in RAM to use it",
    },
    Entry {
        codes: &[Family("OperationDenied")],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "RDS does not do this with the instance or the account as it is now; the code says what is in the way",
    },
    Entry {
        codes: &[
            Family("OrderStatus.UnPaid"),
            Family("Order.InstHasUnpaidOrder"),
        ],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "an order for this instance is not paid; pay or cancel it",
    },
    // The shop's codes, which many actions list.
    Entry {
        codes: &[
            Family("Risk"),
            Family("Order"),
            Family("Price"),
            Family("Pay"),
            Family("pay"),
            Family("Commodity"),
            Family("BasicInfoUncompleted"),
            Family("InsufficientAvailableQuota"),
            Family("noAvailablePaymentMethod"),
            Family("ContainForbiddenLabelError"),
            Family("RegionDissolvedEOM"),
            Wildcard("RegionEndTimeDissolved*"),
        ],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "something of the cloud account itself is in the way: an order, a payment, a check of the account, or a region that is closed; see its console, or ask Alibaba Cloud's support",
    },
    // ------------------------------------------------------------------ somebody has to act: the identity
    Entry {
        codes: &[
            Wildcard("Forbidden*"),
            Wildcard("NoPermission*"),
            Family("InvalidUserOperatorPermission"),
            // "Sorry,no permission."
            Family("NotInFlowController"),
        ],
        class: PersonNeeded,
        reason: AccessDenied,
        explanation: "the credentials lack a permission; allow rds:ResetAccountPassword, rds:DescribeDBInstanceAttribute and rds:DescribeAccounts on this instance in RAM",
    },
    Entry {
        codes: &[Family("InvalidAccessKeyId")],
        class: PersonNeeded,
        reason: AccessDenied,
        explanation: "the AccessKey does not exist or is disabled; give the operator a valid one",
    },
    Entry {
        codes: &[
            Family("SignatureDoesNotMatch"),
            Family("IncompleteSignature"),
        ],
        class: PersonNeeded,
        reason: AccessDenied,
        explanation: "the AccessKey's secret does not belong to its id; correct the credentials",
    },
    Entry {
        codes: &[
            Family("InvalidSecurityToken"),
            Family("MissingSecurityToken"),
        ],
        class: PersonNeeded,
        reason: CredentialsUnavailable,
        explanation: "the temporary credentials' security token is expired, missing or of another AccessKey; renew it at its source",
    },
    Entry {
        codes: &[Family("InvalidTimeStamp")],
        class: PersonNeeded,
        reason: ClockSkew,
        explanation: "the clock of the operator's node is more than 15 minutes off; correct it (NTP)",
    },
    // ------------------------------------------------------------------ somebody has to act: the request
    Entry {
        codes: &[
            Wildcard("Missing*"),
            Wildcard("InvalidParameter*"),
            Family("InvalidParam"),
            Family("Parameters"),
            Family("RequiredParam"),
        ],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "RDS does not take the request as it is; check instance and account name; if they are right, ask RDS' support with the request id",
    },
    Entry {
        codes: &[
            Family("Request.NotFound"),
            Family("HostInfo.NotFound"),
            Wildcard("*.NotFound"),
        ],
        class: PersonNeeded,
        reason: Rejected,
        explanation: "RDS did not find something that the request needs; check instance id, region and account name",
    },
];

const TOO_MANY_REQUESTS: &str =
    "the cloud account makes more requests than RDS allows; the operator waits and tries again";

/// An answer that asks to be left alone for a time, whatever its code.
pub(super) static ASKED_TO_WAIT: Entry = Entry {
    codes: &[],
    class: Throttled,
    reason: Reason::Throttled,
    explanation: TOO_MANY_REQUESTS,
};

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

/// A text of the database in place of a code, as `ResetAccountPassword` documents it (code `%s`, message
/// `DB Operation Failed:%s.`). Users met SQL Server's password policy there: "Password validation failed. The password was
/// changed less than 1 days ago".
pub(super) static NO_CODE: Entry = Entry {
    codes: &[],
    class: PersonNeeded,
    reason: Rejected,
    explanation: "RDS gave no code, only a text, which is not shown; the usual cause is a password policy of the database (SQL Server); change the value or the policy, or ask RDS' support with the RequestId",
};

/// A code that the table does not know and that is not shown.
pub(super) static HIDDEN_CODE: Entry = Entry {
    codes: &[],
    class: PersonNeeded,
    reason: Rejected,
    explanation: "RDS refused the request with a code that is not shown, as it is malformed or holds a part of a secret; ask RDS' support with the RequestId",
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

/// How many characters at the beginning of a code are those of its pattern in the table, and so not the cloud's own.
pub(super) fn known_beginning(code: &str) -> usize {
    best_match(code).map_or(0, |(pattern, _)| pattern.literals().0.len())
}

fn best_match(code: &str) -> Option<(Pattern, &'static Entry)> {
    most_precise(TABLE, |entry| entry.codes, code)
}

/// The entry of a table with the most precise pattern that a code matches.
pub(crate) fn most_precise<E>(
    table: &'static [E],
    codes: impl Fn(&'static E) -> &'static [Pattern],
    code: &str,
) -> Option<(Pattern, &'static E)> {
    table
        .iter()
        .flat_map(|entry| codes(entry).iter().map(move |pattern| (*pattern, entry)))
        .filter(|(pattern, _)| pattern.matches(code))
        .max_by_key(|(pattern, _)| pattern.precision())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    /// What is told of answers whose code is not in the table.
    const OUTSIDE: [&Entry; 5] = [
        &UNKNOWN_REFUSAL,
        &UNKNOWN_SERVER_FAULT,
        &NO_CODE,
        &HIDDEN_CODE,
        &ASKED_TO_WAIT,
    ];

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
    #[case("NotInFlowController", PersonNeeded, AccessDenied)]
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
    #[case("InvalideStatus.Format", InstanceBusy, InstanceNotRunning)]
    #[case("IncorrectDBInstanceCharacterType", PersonNeeded, AccountNotSupported)]
    #[case("IncorrectTargetClasscode", PersonNeeded, AccountNotSupported)]
    #[case("IncorrectMinorVersion", PersonNeeded, AccountNotSupported)]
    #[case("Api.NotSupport", PersonNeeded, AccountNotSupported)]
    #[case("InvalidClusterKms", PersonNeeded, Rejected)]
    #[case("KmsApiError", PersonNeeded, Rejected)]
    #[case("InvalidParam", PersonNeeded, Rejected)]
    #[case("Parameters.Invalid", PersonNeeded, Rejected)]
    #[case("RequiredParam.NotFound", PersonNeeded, Rejected)]
    #[case("Risk.RiskControlRejection", PersonNeeded, Rejected)]
    #[case("Order.ComboInstanceNotAllowOperate", PersonNeeded, Rejected)]
    #[case("Price.PricingPlanResultNotFound", PersonNeeded, Rejected)]
    #[case("Price.CommoditySys", Transient, RdsUnavailable)]
    #[case("Pay.InsufficientBalance", PersonNeeded, Rejected)]
    #[case("OperationDenied.AccountType", PersonNeeded, AccountNotSupported)]
    #[case("Request.NotFound", PersonNeeded, Rejected)]
    #[case("HostInfo.NotFound", PersonNeeded, Rejected)]
    #[case("InvalidDBInstanceStatus.NotSupport", InstanceBusy, InstanceNotRunning)]
    #[case("Account.QueryError", Transient, RdsUnavailable)]
    #[case("InvalidSomethingNew.NotFound", PersonNeeded, Rejected)]
    fn known_codes(#[case] code: &str, #[case] class: Class, #[case] reason: Reason) {
        let entry = find(code).unwrap();
        assert_eq!((entry.class, entry.reason), (class, reason));
    }

    /// Longer codes than the documented ones, and the known code whose meaning each has.
    #[rstest]
    #[case(
        "IncorrectDBInstanceType.ChildDBInstanceNotSupport",
        "IncorrectDBInstanceType",
        AccountNotSupported
    )]
    #[case(
        "OperationDenied.PrimaryDBInstanceStatus",
        "OperationDenied.*InstanceStatus",
        InstanceNotRunning
    )]
    #[case(
        "OperationDenied.ReadDBInstanceStatus",
        "OperationDenied.*InstanceStatus",
        InstanceNotRunning
    )]
    #[case(
        "OperationDenied.MasterDBInstanceState",
        "OperationDenied.*InstanceState",
        InstanceNotRunning
    )]
    #[case(
        "OperationDenied.DBInstanceType",
        "OperationDenied.*InstanceType",
        AccountNotSupported
    )]
    #[case(
        "OperationDenied.AccountStatus.Locked",
        "OperationDenied.AccountStatus",
        AccountNotAvailable
    )]
    #[case("OperationDenied", "OperationDenied", Rejected)]
    #[case("OperationDenied.SomethingNew", "OperationDenied", Rejected)]
    #[case("InvalidAccountName.Malformed", "InvalidAccountName", AccountNotFound)]
    #[case("InvalidAccountName.Format", "InvalidAccountName", AccountNotFound)]
    #[case("InvalidAccountName", "InvalidAccountName", AccountNotFound)]
    #[case("InvalidAccountPassword", "InvalidAccountPassword", PasswordInvalid)]
    #[case(
        "InvalidDBInstanceId.Malformed",
        "InvalidDBInstanceId",
        InstanceNotFound
    )]
    #[case("InvalidDBInstance.NotFound", "InvalidDBInstance", InstanceNotFound)]
    #[case("IncorrectAccount.NotFound", "IncorrectAccount", AccountNotSupported)]
    #[case("InternalError.Database.NotFound", "InternalError", RdsUnavailable)]
    #[case("MissingAccountName", "Missing*", Rejected)]
    #[case("Throttling.User.PerSecond", "Throttling*", Reason::Throttled)]
    fn a_longer_code_belongs_to_its_longest_known_family(
        #[case] code: &str,
        #[case] family: &str,
        #[case] reason: Reason,
    ) {
        assert_eq!(label_of(code), family);
        assert_eq!(find(code).unwrap().reason, reason);
    }

    #[test]
    fn every_known_code_has_a_family() {
        for entry in TABLE {
            for pattern in entry.codes {
                let Family(code) = pattern else { continue };
                let member = format!("{code}.SomethingNew");
                assert_eq!(label_of(&member), *code);
            }
        }
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
                let stars = pattern.label().matches('*').count();
                assert_eq!(
                    stars,
                    usize::from(matches!(pattern, Wildcard(_))),
                    "{pattern:?}"
                );
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
        for entry in TABLE.iter().chain(OUTSIDE) {
            assert!(Reason::ALL.contains(&entry.reason), "{:?}", entry.reason);
        }
    }

    #[test]
    fn explanations_are_one_line_of_plain_text() {
        for explanation in TABLE.iter().chain(OUTSIDE).map(|entry| entry.explanation) {
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
