//! Which source is the source: the first that is configured, or the one that is pinned. Decided without asking any of them.

use std::str::FromStr;

use thiserror::Error;

use super::error::{CredentialsError, Kind, SourceName};
use super::host::Host;
use super::method::Method;
use super::settings::Settings;
use super::{environment, file, node_role, oidc, profile, uri};

/// No source of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("write environment, oidc, profile, file, uri or node-role")]
pub struct SourceNameError;

impl FromStr for SourceName {
    type Err = SourceNameError;

    fn from_str(text: &str) -> Result<Self, SourceNameError> {
        let named = |name: &Self| name.as_str() == text;
        Self::IN_ORDER
            .into_iter()
            .find(named)
            .ok_or(SourceNameError)
    }
}

/// The source.
pub(super) fn select(host: &Host, settings: &Settings) -> Result<SourceName, CredentialsError> {
    let is_configured = |source: &SourceName| match source {
        SourceName::Environment => environment::is_configured(host),
        SourceName::Oidc => oidc::is_configured(host),
        SourceName::Profile => profile::is_configured(host),
        SourceName::File => file::is_configured(host),
        SourceName::Uri => uri::is_configured(host),
        SourceName::NodeRole => node_role::is_configured(host, settings),
        SourceName::ServiceAccount | SourceName::Secret | SourceName::Chain => false,
    };
    match settings.pinned {
        Some(pinned) if is_configured(&pinned) => Ok(pinned),
        Some(pinned) => Err(not_configured(pinned)),
        None => SourceName::IN_ORDER
            .into_iter()
            .find(is_configured)
            .ok_or_else(|| not_configured(SourceName::Chain)),
    }
}

/// Reads the source's configuration.
pub(super) fn method_of(
    source: SourceName,
    host: &Host,
    settings: &Settings,
) -> Result<Method, CredentialsError> {
    match source {
        SourceName::Environment => environment::method(host),
        SourceName::Oidc => oidc::method(host, settings),
        SourceName::Profile => profile::method(host, settings),
        SourceName::File => file::method(host, settings),
        SourceName::Uri => uri::method(host),
        SourceName::NodeRole => node_role::method(host, settings, source, None),
        SourceName::ServiceAccount | SourceName::Secret | SourceName::Chain => {
            Err(not_configured(source))
        }
    }
}

fn not_configured(source: SourceName) -> CredentialsError {
    let explanation = match source {
        SourceName::Environment => {
            "--credentials-source asks for the environment; set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in the operator's environment"
        }
        SourceName::Oidc => {
            "--credentials-source asks for OIDC; set ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN and ALIBABA_CLOUD_OIDC_TOKEN_FILE in the operator's environment, as RRSA does"
        }
        SourceName::Profile => {
            "--credentials-source asks for a CLI profile; mount ~/.aliyun/config.json or name a file in ALIBABA_CLOUD_CONFIG_FILE, and do not set ALIBABA_CLOUD_CLI_PROFILE_DISABLED"
        }
        SourceName::File => {
            "--credentials-source asks for a credentials file; mount ~/.alibabacloud/credentials or name a file in ALIBABA_CLOUD_CREDENTIALS_FILE"
        }
        SourceName::Uri => {
            "--credentials-source asks for a credentials URI; set ALIBABA_CLOUD_CREDENTIALS_URI in the operator's environment"
        }
        SourceName::NodeRole => {
            "--credentials-source asks for the role of the node; set --allow-node-role as well, and do not set ALIBABA_CLOUD_ECS_METADATA_DISABLED"
        }
        SourceName::ServiceAccount | SourceName::Secret | SourceName::Chain => {
            "the operator has no cloud credentials; give it an identity by RRSA (ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN and ALIBABA_CLOUD_OIDC_TOKEN_FILE), an AccessKey (ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET), a CLI profile, a credentials file or a credentials URI; the role of the node is used only with --allow-node-role"
        }
    };
    CredentialsError::new(source, Kind::NotConfigured, explanation)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use rstest::rstest;

    use super::super::host::fake::{NONE, host};
    use super::*;

    const KEY: &[(&str, &str)] = &[
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "i"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"),
    ];
    const RRSA: &[(&str, &str)] = &[
        ("ALIBABA_CLOUD_ROLE_ARN", "r"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "p"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "/token"),
    ];
    const CREDENTIALS_URI: &[(&str, &str)] =
        &[("ALIBABA_CLOUD_CREDENTIALS_URI", "http://localhost/")];
    const PROFILE_FILE: &[(&str, &str)] = &[("/home/.aliyun/config.json", "not even JSON")];
    const CREDENTIALS_FILE: &[(&str, &str)] = &[("/home/.alibabacloud/credentials", "")];

    fn all() -> Host {
        host(
            &[KEY, RRSA, CREDENTIALS_URI].concat(),
            &[PROFILE_FILE, CREDENTIALS_FILE].concat(),
        )
    }

    fn select_from(host: &Host, allow_node_role: bool) -> Result<SourceName, CredentialsError> {
        let settings = Settings {
            allow_node_role,
            ..Settings::for_test()
        };
        select(host, &settings)
    }

    /// Each is configured together with all that come after it.
    #[rstest]
    #[case(&[KEY, RRSA, CREDENTIALS_URI], &[PROFILE_FILE, CREDENTIALS_FILE], SourceName::Environment)]
    #[case(&[RRSA, CREDENTIALS_URI], &[PROFILE_FILE, CREDENTIALS_FILE], SourceName::Oidc)]
    #[case(&[CREDENTIALS_URI], &[PROFILE_FILE, CREDENTIALS_FILE], SourceName::Profile)]
    #[case(&[CREDENTIALS_URI], &[CREDENTIALS_FILE], SourceName::File)]
    #[case(&[CREDENTIALS_URI], &[], SourceName::Uri)]
    #[case(&[], &[], SourceName::NodeRole)]
    fn in_order(
        #[case] variables: &[&[(&str, &str)]],
        #[case] files: &[&[(&str, &str)]],
        #[case] source: SourceName,
    ) {
        let host = host(&variables.concat(), &files.concat());
        assert_eq!(select_from(&host, true), Ok(source));
    }

    #[rstest]
    fn pinned_among_all(
        #[values(
            SourceName::Environment,
            SourceName::Oidc,
            SourceName::Profile,
            SourceName::File,
            SourceName::Uri,
            SourceName::NodeRole
        )]
        source: SourceName,
    ) {
        let pinned = Settings {
            pinned: Some(source),
            allow_node_role: true,
            ..Settings::for_test()
        };
        assert_eq!(select(&all(), &pinned), Ok(source));
        let nothing = Settings {
            allow_node_role: false,
            ..pinned
        };
        let error = select(&host(&[], NONE), &nothing).unwrap_err();
        assert_eq!(
            (error.origin(), error.kind()),
            (source, Kind::NotConfigured)
        );
        assert!(error.to_string().contains("--credentials-source"));
        assert_eq!(source.as_str().parse(), Ok(source));
    }

    /// The broken one is the source, whatever comes after it.
    #[rstest]
    #[case(&[("ALIBABA_CLOUD_ACCESS_KEY_ID", "i")], &[], SourceName::Environment)]
    #[case(&[("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "/token")], &[], SourceName::Oidc)]
    #[case(&[], &[PROFILE_FILE], SourceName::Profile)]
    #[case(&[("ALIBABA_CLOUD_CONFIG_FILE", "/none")], &[], SourceName::Profile)]
    #[case(&[], &[CREDENTIALS_FILE], SourceName::File)]
    #[case(&[("ALIBABA_CLOUD_CREDENTIALS_FILE", "/none")], &[], SourceName::File)]
    #[case(&[("ALIBABA_CLOUD_CREDENTIALS_URI", "nonsense")], &[], SourceName::Uri)]
    fn no_fall_through(
        #[case] variables: &[(&str, &str)],
        #[case] files: &[&[(&str, &str)]],
        #[case] source: SourceName,
    ) {
        let settings = Settings {
            allow_node_role: true,
            ..Settings::for_test()
        };
        let host = host(variables, &files.concat());
        assert_eq!(select(&host, &settings), Ok(source));
        let error = method_of(source, &host, &settings).err().unwrap();
        assert_eq!(
            (error.origin(), error.kind()),
            (source, Kind::Misconfigured)
        );
    }

    #[rstest]
    #[case(&[])]
    #[case(&[("ALIBABA_CLOUD_ECS_METADATA", "node")])]
    #[case(&[("ALIBABA_CLOUD_ROLE_ARN", "r")])]
    fn nothing(#[case] variables: &[(&str, &str)]) {
        let error = select_from(&host(variables, NONE), false).unwrap_err();
        assert_eq!(
            (error.origin(), error.kind()),
            (SourceName::Chain, Kind::NotConfigured)
        );
    }

    #[rstest]
    fn no_other_names(#[values("", "none", "chain", "Environment", "node_role")] text: &str) {
        assert_eq!(text.parse::<SourceName>(), Err(SourceNameError));
    }
}
