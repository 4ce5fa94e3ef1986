//! `DescribeAccounts`:
//! <https://www.alibabacloud.com/help/en/apsaradb-for-rds/latest/api-doc-rds-2014-08-15-api-doc-describeaccounts>.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    errors,
    instance::{Account, Instance},
};
use crate::{
    answer::{ApiError, Fields},
    request::ParsedRequest,
};

const DEFAULT_PAGE_SIZE: usize = 30;

#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) account: Option<String>,
    page_size: usize,
    /// From 1.
    page_number: usize,
}

impl Parameters {
    pub(super) fn parse(request: &ParsedRequest) -> Result<Self, ApiError> {
        Ok(Self {
            account: request.parameter("AccountName").map(str::to_owned),
            page_size: number(request, "PageSize", DEFAULT_PAGE_SIZE, 30..=200)?,
            page_number: number(request, "PageNumber", 1, 1..=i32::MAX as usize)?,
        })
    }
}

fn number(
    request: &ParsedRequest,
    name: &str,
    default: usize,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<usize, ApiError> {
    let Some(text) = request.parameter(name) else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| {
        ApiError::new(
            400,
            format!("Invalid{name}"),
            format!("Specified parameter {name} is not valid."),
        )
    })
}

pub(super) fn perform(
    parameters: &Parameters,
    instance: Option<&mut Instance>,
    now: Timestamp,
) -> Result<Fields, ApiError> {
    let instance = instance.ok_or_else(|| {
        ApiError::new(
            404,
            "InvalidDBInstanceName.NotFound",
            "The database instance does not exist.",
        )
    })?;
    if matches!(
        instance.status.peek(now),
        "Creating" | "Deleting" | "Released" | "Restoring" | "Stopped"
    ) {
        return Err(ApiError::new(
            400,
            "InvalidDBInstanceStatus.NotSupport",
            "Current DB instance status is not supported to query account list.",
        ));
    }
    if instance.lacks_account_management() {
        return Err(errors::incorrect_instance_type());
    }
    let Instance {
        id,
        engine,
        numbers,
        accounts,
        ..
    } = instance;
    let skipped = (parameters.page_number - 1).saturating_mul(parameters.page_size);
    let wanted = |account: &&mut Account| {
        parameters
            .account
            .as_ref()
            .is_none_or(|name| Instance::means(engine, &account.name, name))
    };
    let page = accounts
        .values_mut()
        .filter(wanted)
        .skip(skipped)
        .take(parameters.page_size);
    let page: Vec<_> = page
        .map(|account| describe(account, id, engine, *numbers, now))
        .collect();
    let mut fields = Fields::new();
    fields.insert("Accounts".to_owned(), json!({ "DBInstanceAccount": page }));
    Ok(fields)
}

fn describe(
    account: &mut Account,
    instance: &str,
    engine: &str,
    numbers: bool,
    now: Timestamp,
) -> Value {
    let mut members = json!({
        "DBInstanceId": instance,
        "AccountName": account.name,
        "AccountStatus": account.status.read(now),
        "AccountType": account.kind,
        "AccountDescription": "",
        "PrivExceeded": if numbers { json!(0) } else { json!("0") },
        "DatabasePrivileges": { "DatabasePrivilege": [] },
    });
    if let ("PostgreSQL", Value::Object(members)) = (engine, &mut members) {
        for (name, value) in [
            ("ValidUntil", ""),
            ("CreateDB", "t"),
            ("CreateRole", "t"),
            ("Replication", "f"),
            ("BypassRLS", "f"),
        ] {
            members.insert(name.to_owned(), value.into());
        }
    }
    members
}
