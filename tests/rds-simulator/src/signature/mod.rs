//! The two signature methods of Alibaba Cloud's APIs.

pub(crate) mod acs3;
pub(crate) mod rpc;

use crate::answer::ApiError;

/// A signature is wrong. The real API answers with the whole text that it signed, which for RPC holds every parameter,
/// a password too; clients have to cope with that, so the simulator does it as well.
pub(crate) fn does_not_match(string_to_sign: &str) -> ApiError {
    ApiError::new(
        400,
        "SignatureDoesNotMatch",
        format!(
            "Specified signature is not matched with our calculation. server string to sign is:{string_to_sign}"
        ),
    )
}
