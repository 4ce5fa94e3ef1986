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
    pub(crate) fn reset_account_password(request: &ParsedRequest) -> Result<Self, ApiError> {
        Self::parse(request, |request| {
            reset_account_password::Parameters::parse(request).map(Operation::ResetAccountPassword)
        })
    }

    pub(crate) fn describe_db_instance_attribute(
        request: &ParsedRequest,
    ) -> Result<Self, ApiError> {
        Self::parse(request, |_| Ok(Operation::DescribeDBInstanceAttribute))
    }

    pub(crate) fn describe_accounts(request: &ParsedRequest) -> Result<Self, ApiError> {
        Self::parse(request, |request| {
            describe_accounts::Parameters::parse(request).map(Operation::DescribeAccounts)
        })
    }

    /// Reads and checks an action's parameters. Those that it does not know are ignored, as the API does.
    fn parse(
        request: &ParsedRequest,
        operation: impl FnOnce(&ParsedRequest) -> Result<Operation, ApiError>,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            instance: request.required("DBInstanceId")?.to_owned(),
            operation: operation(request)?,
        })
    }

    /// The account that it is about, if it is about one.
    pub(crate) fn account(&self) -> Option<&str> {
        match &self.operation {
            Operation::ResetAccountPassword(parameters) => Some(&parameters.account),
            Operation::DescribeDBInstanceAttribute => None,
            Operation::DescribeAccounts(parameters) => parameters.account.as_deref(),
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
