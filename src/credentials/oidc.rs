//! A role that an OIDC token in a file assumes. ACK's RRSA sets the variables and mounts the token.

use std::path::Path;

use secrecy::SecretString;

use super::error::{CredentialsError, SourceName};
use super::host::Host;
use super::method::Method;
use super::settings::{Settings, StsRegion};
use super::sts::{Role, SessionName};

pub(super) const ROLE_ARN: &str = "ALIBABA_CLOUD_ROLE_ARN";
pub(super) const ROLE_SESSION_NAME: &str = "ALIBABA_CLOUD_ROLE_SESSION_NAME";
pub(super) const PROVIDER_ARN: &str = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN";
pub(super) const TOKEN_FILE: &str = "ALIBABA_CLOUD_OIDC_TOKEN_FILE";

/// STS takes tokens of 4 to 20,000 characters.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 4..=20_000;

/// The token is what this source alone needs: a role's ARN serves profiles, a provider's ARN whoever assumes roles with
/// other tokens.
pub(super) fn is_configured(host: &Host) -> bool {
    host.variable(TOKEN_FILE).is_some()
}

pub(super) fn method(host: &Host, settings: &Settings) -> Result<Method, CredentialsError> {
    let origin = SourceName::Oidc;
    let required = |name: &'static str| {
        host.variable(name).ok_or_else(|| {
            CredentialsError::misconfigured(
                origin,
                format!("the OIDC settings are incomplete: {name} is not set in the operator's environment"),
            )
        })
    };
    Ok(Method::AssumeRoleWithOidc {
        role: Role::new(required(ROLE_ARN)?, session_name(host, origin, None)?),
        provider_arn: required(PROVIDER_ARN)?,
        token_file: required(TOKEN_FILE)?.into(),
        endpoint: settings.sts_endpoint(host, origin, &StsRegion::default())?,
    })
}

/// The name that is configured, else that of the environment, else the operator's own.
pub(super) fn session_name(
    host: &Host,
    origin: SourceName,
    configured: Option<String>,
) -> Result<SessionName, CredentialsError> {
    match configured.or_else(|| host.variable(ROLE_SESSION_NAME)) {
        None => Ok(SessionName::default()),
        Some(name) => SessionName::new(&name).ok_or_else(|| {
            CredentialsError::misconfigured(
                origin,
                "the role session name has 2 to 64 letters, digits and .@-_ only; correct it in the profile or in ALIBABA_CLOUD_ROLE_SESSION_NAME",
            )
        }),
    }
}

/// Reads the token, anew each time: the kubelet replaces it long before it expires.
pub(super) fn read_token(
    host: &Host,
    origin: SourceName,
    path: &Path,
) -> Result<SecretString, CredentialsError> {
    let wrong = |explanation| CredentialsError::misconfigured(origin, explanation);
    let content = host.read(path).map_err(|_| {
        wrong("the OIDC token's file cannot be read; check ALIBABA_CLOUD_OIDC_TOKEN_FILE (or the profile's oidc_token_file) and the projected volume that it names")
    })?;
    str::from_utf8(&content)
        .ok()
        .map(str::trim)
        .filter(|token| TOKEN_LENGTH.contains(&token.len()))
        .map(SecretString::from)
        .ok_or_else(|| {
            wrong("the OIDC token's file holds no token; check ALIBABA_CLOUD_OIDC_TOKEN_FILE (or the profile's oidc_token_file)")
        })
}

#[cfg(test)]
#[expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret as _;

    use super::super::host::fake::{NONE, host};
    use super::*;

    const ALL: [(&str, &str); 3] = [
        (ROLE_ARN, "acs:ram::1:role/a"),
        (PROVIDER_ARN, "acs:ram::1:oidc-provider/b"),
        (TOKEN_FILE, "/token"),
    ];

    fn role_of(variables: &[(&str, &str)]) -> Role {
        match method(&host(variables, NONE), &Settings::for_test()) {
            Ok(Method::AssumeRoleWithOidc { role, .. }) => role,
            other => panic!("not this source: {:?}", other.err()),
        }
    }

    #[test]
    fn from_rrsas_variables() {
        let host = host(&ALL, NONE);
        assert!(is_configured(&host));
        let Ok(Method::AssumeRoleWithOidc {
            role,
            provider_arn,
            token_file,
            endpoint,
        }) = method(&host, &Settings::for_test())
        else {
            panic!("not this source");
        };
        assert_eq!(role, Role::new("acs:ram::1:role/a", SessionName::default()));
        assert_eq!(provider_arn, "acs:ram::1:oidc-provider/b");
        assert_eq!(token_file, Path::new("/token"));
        assert_eq!(endpoint.to_string(), "https://sts.aliyuncs.com");
    }

    #[test]
    fn the_session_can_be_named() {
        let named = [ALL.as_slice(), &[(ROLE_SESSION_NAME, "team-a")]].concat();
        assert_eq!(
            role_of(&named).session_name,
            SessionName::new("team-a").unwrap()
        );
        let wrong = [ALL.as_slice(), &[(ROLE_SESSION_NAME, "team a")]].concat();
        let error = method(&host(&wrong, NONE), &Settings::for_test())
            .err()
            .unwrap();
        assert!(error.to_string().contains(ROLE_SESSION_NAME));
    }

    #[rstest]
    #[case(&[TOKEN_FILE], ROLE_ARN)]
    #[case(&[TOKEN_FILE, PROVIDER_ARN], ROLE_ARN)]
    #[case(&[TOKEN_FILE, ROLE_ARN], PROVIDER_ARN)]
    fn what_is_missing_is_named(#[case] set: &[&str], #[case] missing: &str) {
        let set: Vec<_> = ALL
            .into_iter()
            .filter(|(name, _)| set.contains(name))
            .collect();
        let host = host(&set, NONE);
        assert!(is_configured(&host));
        let error = method(&host, &Settings::for_test()).err().unwrap();
        assert!(error.to_string().contains(missing), "{error}");
    }

    #[test]
    fn without_a_token_it_is_no_source() {
        assert!(!is_configured(&host(&ALL[..2], NONE)));
    }

    #[rstest]
    #[case::as_it_is("abcd", Some("abcd"))]
    #[case::with_a_line_end("abcd\n", Some("abcd"))]
    #[case::empty("\n", None)]
    #[case::too_short("abc", None)]
    fn tokens(#[case] content: &str, #[case] token: Option<&str>) {
        let host = host(&[], &[("/token", content)]);
        let read = read_token(&host, SourceName::Oidc, Path::new("/token"));
        assert_eq!(read.as_ref().ok().map(SecretString::expose_secret), token);
        assert!(read_token(&host, SourceName::Oidc, Path::new("/other")).is_err());
    }

    #[test]
    fn a_token_has_20000_characters_at_most() {
        for (length, taken) in [(20_000, true), (20_001, false)] {
            let host = host(&[], &[("/token", "a".repeat(length))]);
            let read = read_token(&host, SourceName::Oidc, Path::new("/token"));
            assert_eq!(read.is_ok(), taken);
        }
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(content in prop::collection::vec(any::<u8>(), 0..64)) {
            let host = host(&[], &[("/token", content)]);
            let _ = read_token(&host, SourceName::Oidc, Path::new("/token"));
        }
    }
}
