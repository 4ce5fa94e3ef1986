//! RDS instances and their accounts.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{ram::DEFAULT_CLOUD_ACCOUNT, secret::Password, timeline::Timeline};

/// An RDS instance. Unless told otherwise: `MySQL` 8.0, `HighAvailability`, in cn-hangzhou, `Running`, unlocked.
#[derive(Clone)]
pub struct Instance {
    pub(crate) id: String,
    pub(crate) cloud_account: String,
    pub(crate) region: String,
    pub(crate) engine: String,
    pub(crate) engine_version: String,
    pub(crate) category: String,
    pub(crate) status: Timeline,
    pub(crate) lock_mode: Option<String>,
    pub(crate) described: bool,
    pub(crate) numbers: bool,
    pub(crate) accounts: BTreeMap<String, Account>,
}

impl Instance {
    /// A running instance without accounts.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            cloud_account: DEFAULT_CLOUD_ACCOUNT.to_owned(),
            region: "cn-hangzhou".to_owned(),
            engine: "MySQL".to_owned(),
            engine_version: "8.0".to_owned(),
            category: "HighAvailability".to_owned(),
            status: Timeline::of("Running"),
            lock_mode: Some("Unlock".to_owned()),
            described: true,
            numbers: false,
            accounts: BTreeMap::new(),
        }
    }

    /// `DBInstanceStatus`, such as `Running` or `Rebooting`.
    #[must_use]
    pub fn status(mut self, status: impl Into<Timeline>) -> Self {
        self.status = status.into();
        self
    }

    /// `LockMode`, such as `Unlock` or `LockByDiskQuota`; `None` leaves the member out.
    #[must_use]
    pub fn lock_mode(mut self, mode: Option<&str>) -> Self {
        self.lock_mode = mode.map(str::to_owned);
        self
    }

    /// `Engine` (`MySQL`, `PostgreSQL`, `SQLServer`, `MariaDB`) and `EngineVersion`.
    #[must_use]
    pub fn engine(mut self, engine: impl Into<String>, version: impl Into<String>) -> Self {
        self.engine = engine.into();
        self.engine_version = version.into();
        self
    }

    /// `Category`, such as `Basic`, `HighAvailability`, `cluster` or `AlwaysOn`.
    #[must_use]
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.category = category.into();
        self
    }

    /// `RegionId`.
    #[must_use]
    pub fn region(mut self, id: impl Into<String>) -> Self {
        self.region = id.into();
        self
    }

    /// The instance belongs to another cloud account, and only that one's access keys see it.
    #[must_use]
    pub fn cloud_account(mut self, id: impl Into<String>) -> Self {
        self.cloud_account = id.into();
        self
    }

    /// `DescribeDBInstanceAttribute` answers with an empty list for it, as the API may do.
    #[must_use]
    pub fn omitted_from_descriptions(mut self) -> Self {
        self.described = false;
        self
    }

    /// `Port`, `EngineVersion`, `PrivExceeded` and other members are numbers instead of strings; the documented samples
    /// have both.
    #[must_use]
    pub fn numbers_in_json(mut self) -> Self {
        self.numbers = true;
        self
    }

    /// Adds an account, or replaces the one with its name.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.accounts.insert(account.name.clone(), account);
        self
    }

    /// Lets all timelines begin.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.status.peek(now);
        for account in self.accounts.values_mut() {
            account.status.peek(now);
        }
    }

    /// Whether an account of this name is meant by `name`: SQL Server's logins ignore case, in the collations that RDS offers by
    /// default.
    pub(crate) fn means(engine: &str, account: &str, name: &str) -> bool {
        account == name || engine == "SQLServer" && account.eq_ignore_ascii_case(name)
    }

    /// The account that is meant by `name`.
    pub(crate) fn account_mut(&mut self, name: &str) -> Option<&mut Account> {
        let engine = &self.engine;
        let mut accounts = self.accounts.values_mut();
        accounts.find(|account| Self::means(engine, &account.name, name))
    }

    /// SQL Server 2017 clusters support neither `DescribeAccounts` nor `ResetAccountPassword`.
    pub(crate) fn lacks_account_management(&self) -> bool {
        self.engine == "SQLServer"
            && self.engine_version.starts_with("2017")
            && matches!(self.category.as_str(), "cluster" | "AlwaysOn")
    }
}

/// An account of an instance. Unless told otherwise: `Available`, and again so after each reset.
#[derive(Clone)]
pub struct Account {
    pub(crate) name: String,
    pub(crate) password: Password,
    pub(crate) kind: String,
    pub(crate) status: Timeline,
    pub(crate) after_reset: Option<Timeline>,
    pub(crate) created_by_sql: bool,
    pub(crate) history: Vec<Password>,
}

impl Account {
    /// An available account of type `Normal`.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: Password::new(password),
            kind: "Normal".to_owned(),
            status: Timeline::of("Available"),
            after_reset: None,
            created_by_sql: false,
            history: Vec::new(),
        }
    }

    /// `AccountStatus`: `Available`, `Unavailable` or `Lock`.
    #[must_use]
    pub fn status(mut self, status: impl Into<Timeline>) -> Self {
        self.status = status.into();
        self
    }

    /// What `AccountStatus` does after each reset, from that moment on.
    #[must_use]
    pub fn status_after_reset(mut self, status: impl Into<Timeline>) -> Self {
        self.after_reset = Some(status.into());
        self
    }

    /// `AccountType`: `Normal`, `Super` or `Sysadmin`.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// The account was created by SQL: the API refuses to reset its password.
    #[must_use]
    pub fn created_by_sql(mut self) -> Self {
        self.created_by_sql = true;
        self
    }
}
