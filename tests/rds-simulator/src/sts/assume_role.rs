//! `AssumeRole`: a session for whoever has a key of an account that the role trusts.

use super::{assumed::Assumed, errors, parameters::SessionRequest};
use crate::{
    action::Action,
    answer::ApiError,
    ram::{access_key::AccessKey, role::Roles, temporary_key::Grant},
    request::ParsedRequest,
};

/// Whether the caller, whose signature is right, may have the session.
pub(crate) fn admit(
    request: &ParsedRequest,
    caller: &AccessKey,
    roles: &Roles,
) -> Result<Assumed, ApiError> {
    // As for RDS, the API's gateway names a parameter that is absent.
    let session = SessionRequest::parse(request, ApiError::missing)?;
    caller.authorize(roles, Action::AssumeRole, None, &session.role)?;
    let role = roles
        .get(&session.role)
        .ok_or_else(|| errors::no_such_role(&session.role))?;
    if !role.lets_in_account(&caller.cloud_account, request.parameter("ExternalId")) {
        return Err(errors::caller_not_trusted(&caller.id));
    }
    Ok(Assumed {
        grant: Grant::new(role, session.name.as_str(), session.duration_for(role)?),
        token: None,
    })
}
