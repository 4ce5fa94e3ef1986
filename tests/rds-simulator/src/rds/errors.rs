//! Errors that several actions share.

use crate::answer::ApiError;

/// Documented as 400 with another text; this is what the API was seen to answer
/// (<https://github.com/aliyun/terraform-provider-alicloud/issues/4776>).
pub(super) fn instance_not_found() -> ApiError {
    ApiError::new(
        404,
        "InvalidDBInstanceId.NotFound",
        "DBInstanceIdentifier does not refer to an existing DB instance.",
    )
}

/// A 404 that does not mean "not found".
pub(super) fn incorrect_lock_mode() -> ApiError {
    ApiError::new(
        404,
        "IncorrectDBInstanceLockMode",
        "Current DB instance lock mode does not support this operation.",
    )
}

pub(super) fn incorrect_instance_type() -> ApiError {
    ApiError::new(
        403,
        "IncorrectDBInstanceType",
        "Current DB instance type does not support this operation.",
    )
}
