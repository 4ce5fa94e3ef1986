//! The Kubernetes API of this operator: the kind `DatabaseAccountPassword`, its status and the words of its conditions.
//!
//! Types only. The Rust types are the source; `crds/` holds what [`crd()`] renders.

#![expect(
    unreachable_pub,
    reason = "KubeSchema derives a public copy of each type inside a function"
)]

mod conditions;
mod crd;
mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use conditions::{
    ConditionType, InstanceReadyReason, PasswordSyncedReason, ReadyReason, SecretReadyReason,
};
pub use crd::{crd, crd_yaml};
pub use status::{
    Attempt, DatabaseAccountPasswordStatus, FinishedTry, HISTORY_LIMIT, Reset, SecretVersion,
    StoredFingerprint, Trigger, TryOutcome, UnansweredSend,
};

/// The API group of the kind and of the virtual resource `rdsinstances`.
pub const API_GROUP: &str = "rds.password-operator.dev";

/// Any new value of this annotation asks for one reset, even if the password is in sync, and ahead of any back-off.
pub const REQUESTED_AT_ANNOTATION: &str = "rds.password-operator.dev/requested-at";

/// Keeps the password of one account of an ApsaraDB RDS instance equal to a value in a Secret.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "rds.password-operator.dev",
    version = "v1alpha1",
    kind = "DatabaseAccountPassword",
    plural = "databaseaccountpasswords",
    singular = "databaseaccountpassword",
    shortname = "dap",
    category = "rds",
    namespaced,
    status = "DatabaseAccountPasswordStatus",
    doc = "Keeps the password of one account of an ApsaraDB RDS instance equal to a value in a Secret. When the value changes, the operator calls ResetAccountPassword.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instanceId"),
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.accountName"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Last-Reset",
        type_ = "date",
        json_path = ".status.lastReset.time"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Request-Id",
        type_ = "string",
        json_path = ".status.lastReset.requestId",
        priority = 1
    ),
    printcolumn(
        name = "Next-Attempt",
        type_ = "string",
        json_path = ".status.lastAttempt.nextTime",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::duplicated_attributes,
    reason = "each printcolumn has its own type and priority"
)]
pub struct DatabaseAccountPasswordSpec {
    /// The RDS instance (`DBInstanceId`), for example `rm-uf6wjk5xxxxxxx`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9-]+$')")
        .message("instanceId must be the instance's ID as the RDS console shows it, for example rm-uf6wjk5xxxxxxx: lower-case letters, digits and hyphens; not its name or its connection address"))]
    pub instance_id: String,

    /// The database account (`AccountName`) whose password is kept. It must exist already.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[!-~]+$')")
        .message("accountName must be the account's name as the RDS console shows it: printable ASCII without spaces"))]
    pub account_name: String,

    /// The instance's region, for example `cn-shanghai`. The operator's `--region` where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9-]+$')")
        .message("regionId must be a region ID such as cn-shanghai: lower-case letters, digits and hyphens; not an endpoint"))]
    pub region_id: Option<String>,

    /// Where the password is: a key of a Secret in the same namespace.
    pub password_secret_ref: PasswordSecretRef,

    /// Whose cloud identity makes the calls for this resource: the operator's own where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsReference>,

    /// While true, no cloud call is made for this resource; its status still tells whether the Secret would be usable.
    #[serde(default)]
    pub suspend: bool,
}

/// A key of a Secret in the resource's own namespace.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("passwordSecretRef.name must be the name of a Secret in the same namespace: lower-case letters, digits, hyphens and dots; it cannot name another namespace"))]
    pub name: String,

    /// The key of the Secret's `data` that holds the password.
    #[serde(default = "default_secret_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')")
        .message("passwordSecretRef.key must be a key of the Secret's data: letters, digits, hyphens, underscores and dots"))]
    pub key: String,
}

fn default_secret_key() -> String {
    "password".to_owned()
}

/// A cloud identity of the resource's own namespace: exactly one of the two.
///
/// There is no role ARN here: whoever may write a resource could name any role that trusts the operator.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.serviceAccountName) != has(self.secretRef)")
    .message("credentials must name exactly one of serviceAccountName and secretRef"))]
pub struct CredentialsReference {
    /// A ServiceAccount whose annotations name a RAM role. The operator asks for a token of it and assumes the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("credentials.serviceAccountName must be the name of a ServiceAccount in the same namespace: lower-case letters, digits, hyphens and dots"))]
    pub service_account_name: Option<String>,

    /// A Secret that holds an AccessKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<AccessKeySecretRef>,
}

/// A Secret of the resource's own namespace that holds an AccessKey.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct AccessKeySecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("credentials.secretRef.name must be the name of a Secret in the same namespace: lower-case letters, digits, hyphens and dots; it cannot name another namespace"))]
    pub name: String,

    /// The key of the Secret's `data` that holds the AccessKey's ID.
    #[serde(default = "default_access_key_id_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')")
        .message("credentials.secretRef.accessKeyIdKey must be a key of the Secret's data: letters, digits, hyphens, underscores and dots"))]
    pub access_key_id_key: String,

    /// The key of the Secret's `data` that holds the AccessKey's secret.
    #[serde(default = "default_access_key_secret_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')")
        .message("credentials.secretRef.accessKeySecretKey must be a key of the Secret's data: letters, digits, hyphens, underscores and dots"))]
    pub access_key_secret_key: String,

    /// The key of the Secret's `data` that holds the security token, where the AccessKey is a temporary one: it need not be there.
    #[serde(default = "default_security_token_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')")
        .message("credentials.secretRef.securityTokenKey must be a key of the Secret's data: letters, digits, hyphens, underscores and dots"))]
    pub security_token_key: String,
}

fn default_access_key_id_key() -> String {
    "accessKeyId".to_owned()
}

fn default_access_key_secret_key() -> String {
    "accessKeySecret".to_owned()
}

fn default_security_token_key() -> String {
    "securityToken".to_owned()
}

/// What a reset changes: one account of one RDS instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// `DBInstanceId`.
    pub instance_id: String,
    /// `AccountName`.
    pub account_name: String,
}

impl Target {
    /// The spelling by which it is decided which resources name the same account: names of accounts that differ in upper and lower
    /// case only count as one.
    ///
    /// SQL Server does not tell such names apart, in the collations that RDS offers by default, and RDS takes upper case for `MySQL`
    /// alone. Which engine an instance has is not known before it is asked. Two resources for two accounts of one name but for case
    /// are rare, and the second one is told of the conflict; two for one account would reset it in turns.
    ///
    /// Source: parameter `AccountName` of
    /// <https://www.alibabacloud.com/help/en/rds/apsaradb-rds-for-sql-server/api-rds-2014-08-15-createaccount-sqlserver>.
    #[must_use]
    pub fn without_case(&self) -> Self {
        Self {
            instance_id: self.instance_id.clone(),
            account_name: self.account_name.to_ascii_lowercase(),
        }
    }

    /// Whether these names are of this account, [without case](Self::without_case).
    #[must_use]
    pub fn is_named_by(&self, instance_id: &str, account_name: &str) -> bool {
        self.instance_id == instance_id && self.account_name.eq_ignore_ascii_case(account_name)
    }
}

impl DatabaseAccountPasswordSpec {
    /// The account that this spec names.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            instance_id: self.instance_id.clone(),
            account_name: self.account_name.clone(),
        }
    }
}

impl DatabaseAccountPassword {
    /// The value of [`REQUESTED_AT_ANNOTATION`], where it is set.
    #[must_use]
    pub fn request(&self) -> Option<&str> {
        request_of(&self.metadata)
    }
}

/// The value of [`REQUESTED_AT_ANNOTATION`] in this metadata, where it is set and not empty.
#[must_use]
pub fn request_of(metadata: &ObjectMeta) -> Option<&str> {
    metadata
        .annotations
        .as_ref()?
        .get(REQUESTED_AT_ANNOTATION)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}
