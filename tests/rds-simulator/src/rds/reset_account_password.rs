//! `ResetAccountPassword`:
//! <https://alibabacloud.com/help/zh/rds/developer-reference/api-rds-2014-08-15-resetaccountpassword>.

use jiff::Timestamp;

use super::{errors, instance::Instance, password_rules};
use crate::{
    answer::{ApiError, Fields},
    request::ParsedRequest,
    secret::Password,
};

#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) account: String,
    pub(crate) password: Password,
}

impl Parameters {
    pub(super) fn parse(request: &ParsedRequest) -> Result<Self, ApiError> {
        let account = request.required("AccountName")?.to_owned();
        let password = request.required("AccountPassword")?;
        if !password_rules::are_kept_by(password) {
            return Err(ApiError::new(
                400,
                "InvalidAccountPassword.Format",
                "Specified account password is not valid.",
            ));
        }
        Ok(Self {
            account,
            password: Password::new(password),
        })
    }
}

pub(super) fn perform(
    parameters: &Parameters,
    instance: Option<&mut Instance>,
    now: Timestamp,
) -> Result<Fields, ApiError> {
    let instance = instance.ok_or_else(errors::instance_not_found)?;
    if instance
        .lock_mode
        .as_deref()
        .is_some_and(|mode| mode != "Unlock")
    {
        return Err(errors::incorrect_lock_mode());
    }
    if instance.status.peek(now) != "Running" {
        return Err(ApiError::new(
            403,
            "OperationDenied.DBInstanceStatus",
            "The current status of the specified instance does not support this operation.",
        ));
    }
    if instance.lacks_account_management() {
        return Err(errors::incorrect_instance_type());
    }
    let account = instance.account_mut(&parameters.account).ok_or_else(|| {
        ApiError::new(
            404,
            "InvalidAccountName.NotFound",
            "Specified account name does not exist.",
        )
    })?;
    if account.created_by_sql {
        return Err(ApiError::new(
            400,
            "IncorrectAccount",
            "Current DB instance account does not support this operation.",
        ));
    }
    if account.status.peek(now) != "Available" {
        return Err(ApiError::new(
            400,
            "IncorrectAccountStatus",
            "Current account status does not support this operation.",
        ));
    }
    account.password = parameters.password.clone();
    account.history.push(parameters.password.clone());
    if let Some(status) = &account.after_reset {
        account.status = status.restarted();
        account.status.peek(now);
    }
    Ok(Fields::new())
}
