//! `AssumeRoleWithOIDC`: a session for whoever has a token of an identity provider that the role trusts. Nobody signs it.

use jiff::Timestamp;

use super::{assumed::Assumed, errors, parameters::SessionRequest, token};
use crate::{
    answer::ApiError,
    ram::{
        arn,
        oidc_provider::OidcProviders,
        role::{Roles, TokenIdentity},
        temporary_key::Grant,
    },
    request::ParsedRequest,
};

/// Of a token, in characters.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 4..=20_000;

/// Whether the token that was sent gives a right to the session, at this time of the cloud's clock.
///
/// In which order the real service checks is not documented; that it looks at the provider's ARN first was seen.
pub(crate) fn admit(
    request: &ParsedRequest,
    providers: &OidcProviders,
    roles: &Roles,
    cloud_time: Timestamp,
) -> Result<Assumed, ApiError> {
    let provider = request
        .parameter("OIDCProviderArn")
        .ok_or_else(|| errors::missing("OIDCProviderArn"))?;
    if arn::parse(provider, "oidc-provider").is_none() {
        return Err(errors::provider_arn());
    }
    let session = SessionRequest::parse(request, errors::missing)?;
    let token = request
        .parameter("OIDCToken")
        .ok_or_else(|| token::Rejection::Empty.into_error())?;
    if !TOKEN_LENGTH.contains(&token.len()) {
        // Not documented; the family's code for a wrong parameter.
        return Err(errors::wrongly_formed("OIDCToken"));
    }
    let provider = providers
        .get(provider)
        .ok_or_else(errors::no_such_provider)?;
    let claims =
        token::verify(token, provider, cloud_time).map_err(token::Rejection::into_error)?;
    let role = roles
        .get(&session.role)
        .ok_or_else(|| errors::no_such_role(&session.role))?;
    let identity = TokenIdentity {
        provider: &provider.arn,
        issuer: &claims.issuer,
        audiences: &claims.audiences,
        subject: &claims.subject,
    };
    if !role.lets_in_token(identity) {
        return Err(errors::token_not_trusted());
    }
    Ok(Assumed {
        grant: Grant::new(role, session.name.as_str(), session.duration_for(role)?),
        token: Some(claims),
    })
}
