//! OIDC tokens: whether one proves what it claims.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind, jwk::Jwk};
use serde::Deserialize;

use super::token_signature;
use crate::{answer::ApiError, ram::oidc_provider::OidcProvider};

/// The algorithms that are taken. The error table names HS256 as unknown; which ones are known is not documented, these are
/// what Kubernetes signs with.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) expires: Timestamp,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rejection {
    Empty,
    NotThreeParts,
    NotBase64,
    Algorithm(String),
    Content,
    Issuer,
    Signature,
    Expired,
    NotYetValid,
    Audience,
}

impl Rejection {
    pub(super) fn into_error(self) -> ApiError {
        let (code, message) = match self {
            Self::Empty => ("Invalid", "The OIDCToken can not empty.".to_owned()),
            Self::NotThreeParts => (
                "Invalid",
                "The number of Jwt field should be divided into 3 parts with '.' .".to_owned(),
            ),
            Self::NotBase64 => (
                "Invalid",
                "Cannot decode base64 encoded response(format invalided).".to_owned(),
            ),
            Self::Algorithm(name) => (
                "Invalid",
                format!("The algorithm {name} that be specified in Jwt header is unknown."),
            ),
            Self::Content => (
                "Invalid",
                "The Jwt content is invalid that cannot be recognized.".to_owned(),
            ),
            Self::Issuer => (
                "IssuerNotMatch",
                "The issuer in the OIDC Token doesn't match the OIDC Provider registered."
                    .to_owned(),
            ),
            Self::Signature => (
                "InvalidSignature",
                "OIDC token validate failed: invalid signature.".to_owned(),
            ),
            Self::Expired => ("Expired", "This JsonWebToken is expired.".to_owned()),
            // Not documented.
            Self::NotYetValid => ("Invalid", "This JsonWebToken is not valid yet.".to_owned()),
            Self::Audience => ("AudienceNotMatch", "Invalid audience.".to_owned()),
        };
        ApiError::new(401, format!("AuthenticationFail.OIDCToken.{code}"), message)
    }
}

/// The claims as they are written. Kubernetes writes its times as whole seconds.
#[derive(Deserialize)]
struct RawClaims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: i64,
    nbf: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Checks that a token was signed by the provider, is of its issuer and for its audience, and is valid at this time of the
/// cloud's clock.
pub(super) fn verify(
    token: &str,
    provider: &OidcProvider,
    cloud_time: Timestamp,
) -> Result<Claims, Rejection> {
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, _] = parts[..] else {
        return Err(Rejection::NotThreeParts);
    };
    let header = decode_json(header)?;
    // Read by hand: the library's own type has no algorithm `none` to name in the answer.
    let algorithm = header["alg"].as_str().unwrap_or_default();
    let algorithm = ALGORITHMS
        .into_iter()
        .find(|known| format!("{known:?}") == algorithm)
        .ok_or_else(|| Rejection::Algorithm(algorithm.to_owned()))?;
    let claimed: RawClaims =
        serde_json::from_value(decode_json(payload)?).map_err(|_| Rejection::Content)?;
    if claimed.iss != provider.issuer {
        return Err(Rejection::Issuer);
    }
    let claims = verify_signature(token, provider, header["kid"].as_str(), algorithm)?;
    let expires = Timestamp::from_second(claims.exp).map_err(|_| Rejection::Content)?;
    if cloud_time >= expires {
        return Err(Rejection::Expired);
    }
    if claims
        .nbf
        .is_some_and(|second| cloud_time.as_second() < second)
    {
        return Err(Rejection::NotYetValid);
    }
    let audiences = match claims.aud {
        OneOrMany::One(audience) => vec![audience],
        OneOrMany::Many(audiences) => audiences,
    };
    if !audiences
        .iter()
        .any(|audience| provider.client_ids.contains(audience))
    {
        return Err(Rejection::Audience);
    }
    Ok(Claims {
        issuer: claims.iss,
        subject: claims.sub,
        audiences,
        expires,
    })
}

/// The claims, if a key of the provider has signed them.
fn verify_signature(
    token: &str,
    provider: &OidcProvider,
    key_id: Option<&str>,
    algorithm: Algorithm,
) -> Result<RawClaims, Rejection> {
    token_signature::prepare();
    let mut validation = Validation::new(algorithm);
    // The library compares with this machine's clock, not with the cloud's; times and audience are checked above.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let may_have_signed = |key: &&Jwk| key_id.is_none() || key.common.key_id.as_deref() == key_id;
    for key in provider.keys.keys.iter().filter(may_have_signed) {
        let Ok(key) = DecodingKey::from_jwk(key) else {
            continue;
        };
        match jsonwebtoken::decode(token, &key, &validation) {
            Ok(data) => return Ok(data.claims),
            Err(error) => match error.kind() {
                ErrorKind::Base64(_) => return Err(Rejection::NotBase64),
                ErrorKind::Json(_) => return Err(Rejection::Content),
                _ => {}
            },
        }
    }
    Err(Rejection::Signature)
}

fn decode_json(part: &str) -> Result<serde_json::Value, Rejection> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Rejection::NotBase64)?;
    serde_json::from_slice(&bytes).map_err(|_| Rejection::Content)
}

/// The subject that a token claims, true or not.
pub(crate) fn claimed_subject(token: &str) -> Option<String> {
    let claims = decode_json(token.split('.').nth(1)?).ok()?;
    claims["sub"].as_str().map(str::to_owned)
}
