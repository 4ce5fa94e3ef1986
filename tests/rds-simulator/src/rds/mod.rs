//! RDS, API version 2014-08-15: its instances and the actions on them.

mod describe_accounts;
mod describe_db_instance_attribute;
mod errors;
pub(crate) mod instance;
mod password_rules;
mod reset_account_password;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::instance::Instance;
use crate::{
    answer::{ApiError, Fields},
    request::ParsedRequest,
};

/// The API's version. (2014-05-26 is ECS'.)
pub(crate) const VERSION: &str = "2014-08-15";

/// The actions that the simulator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// `ResetAccountPassword`
    ResetAccountPassword,
    /// `DescribeDBInstanceAttribute`
    DescribeDBInstanceAttribute,
    /// `DescribeAccounts`
    DescribeAccounts,
}

impl Action {
    const ALL: [Self; 3] = [
        Self::ResetAccountPassword,
        Self::DescribeDBInstanceAttribute,
        Self::DescribeAccounts,
    ];

    /// The API's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ResetAccountPassword => "ResetAccountPassword",
            Self::DescribeDBInstanceAttribute => "DescribeDBInstanceAttribute",
            Self::DescribeAccounts => "DescribeAccounts",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// All instances, by id.
pub(crate) type Instances = BTreeMap<String, Instance>;

/// An action's parameters, checked.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) instance: String,
    pub(crate) operation: Operation,
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    ResetAccountPassword(reset_account_password::Parameters),
    DescribeDBInstanceAttribute,
    DescribeAccounts(describe_accounts::Parameters),
}

impl Call {
    /// Reads and checks an action's parameters. Those that it does not know are ignored, as the API does.
    pub(crate) fn parse(action: Action, request: &ParsedRequest) -> Result<Self, ApiError> {
        let instance = request.required("DBInstanceId")?.to_owned();
        let operation = match action {
            Action::ResetAccountPassword => {
                Operation::ResetAccountPassword(reset_account_password::Parameters::parse(request)?)
            }
            Action::DescribeDBInstanceAttribute => Operation::DescribeDBInstanceAttribute,
            Action::DescribeAccounts => {
                Operation::DescribeAccounts(describe_accounts::Parameters::parse(request)?)
            }
        };
        Ok(Self {
            instance,
            operation,
        })
    }

    pub(crate) fn action(&self) -> Action {
        match self.operation {
            Operation::ResetAccountPassword(_) => Action::ResetAccountPassword,
            Operation::DescribeDBInstanceAttribute => Action::DescribeDBInstanceAttribute,
            Operation::DescribeAccounts(_) => Action::DescribeAccounts,
        }
    }

    /// Carries the action out for a caller of this cloud account, to whom the instances of others do not exist.
    pub(crate) fn perform(
        &self,
        instances: &mut Instances,
        cloud_account: &str,
        now: Timestamp,
    ) -> Result<Fields, ApiError> {
        let instance = instances
            .get_mut(&self.instance)
            .filter(|instance| instance.cloud_account == cloud_account);
        match &self.operation {
            Operation::ResetAccountPassword(parameters) => {
                reset_account_password::perform(parameters, instance, now)
            }
            Operation::DescribeDBInstanceAttribute => {
                describe_db_instance_attribute::perform(instance, now)
            }
            Operation::DescribeAccounts(parameters) => {
                describe_accounts::perform(parameters, instance, now)
            }
        }
    }
}
