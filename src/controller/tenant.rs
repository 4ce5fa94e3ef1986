//! Credentials of a resource's own namespace: a ServiceAccount's RAM role, or an AccessKey in a Secret.
//!
//! The role is not named by the resource. Its author could name any role that trusts the operator; a token of the
//! ServiceAccount, instead, opens a role only where that role's own trust policy names this ServiceAccount.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use secrecy::{ExposeSecret as _, SecretString};

use crate::api::AccessKeySecretRef;
use crate::credentials::sts::{Role, SessionName, StsClient};
use crate::credentials::{CredentialsError, IssuedCredentials, Kind, PartNames, SourceName};
use crate::rds::credentials::Credentials;
use crate::rds::endpoint::Endpoint;
use crate::secret;

/// The audience of the tokens: STS takes no other, and the operator may ask for no other (`deploy/admission.yaml`).
pub const AUDIENCE: &str = "sts.aliyuncs.com";

/// The RAM role that a ServiceAccount may assume, as a full ARN.
pub const ROLE_ARN_ANNOTATION: &str = "rds.password-operator.dev/role-arn";

/// The OIDC provider of RAM that knows the cluster, as a full ARN. Needed where it is not the one of the operator itself.
pub const PROVIDER_ARN_ANNOTATION: &str = "rds.password-operator.dev/oidc-provider-arn";

/// ACK's own annotation: the role by its name alone, in the account of the OIDC provider
/// (<https://www.alibabacloud.com/help/en/ack/ack-managed-and-ack-dedicated/user-guide/use-rrsa-to-authorize-pods-to-access-different-cloud-services>).
pub const ROLE_NAME_ANNOTATION: &str = "pod-identity.alibabacloud.com/role-name";

/// The shortest life that the API server gives a token. It is used at once, and once.
const TOKEN_SECONDS: i64 = 600;

/// As long as any read of the Kubernetes API.
const KUBERNETES_TIMEOUT: Duration = Duration::from_secs(10);

const FROM_SERVICE_ACCOUNT: SourceName = SourceName::ServiceAccount;
const FROM_SECRET: SourceName = SourceName::Secret;

/// Where STS is, and which OIDC provider knows the cluster.
#[derive(Clone)]
pub struct TokenExchange {
    /// Calls STS.
    pub sts: StsClient,
    /// STS' endpoint.
    pub endpoint: Endpoint,
    /// The operator's own OIDC provider, for ServiceAccounts that name none.
    pub provider_arn: Option<String>,
}

/// Assumes the role of a ServiceAccount, with a token of it.
///
/// # Errors
/// With what to do about it, for the author of the resource or whoever runs the cluster.
pub async fn assume_role(
    client: &Client,
    exchange: &TokenExchange,
    namespace: &str,
    name: &str,
) -> Result<IssuedCredentials, CredentialsError> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let account = within(accounts.get(name))
        .await
        .map_err(|failure| failure.explained("get the ServiceAccount"))?;
    let annotations = account.metadata.annotations.unwrap_or_default();
    let annotation = |name: &str| annotations.get(name).map(String::as_str);
    let (role_arn, provider_arn) = arns(annotation, exchange.provider_arn.as_deref())?;

    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![AUDIENCE.to_owned()],
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let parameters = PostParams::default();
    let issued = within(accounts.create_token_request(name, &parameters, &request))
        .await
        .map_err(|failure| failure.explained("create a token of the ServiceAccount"))?;
    let token = issued.status.map(|status| SecretString::from(status.token));
    let token = token.ok_or_else(|| {
        let kind = Kind::Transient;
        CredentialsError::new(FROM_SERVICE_ACCOUNT, kind, "the API server issued no token")
    })?;
    let role = Role::new(role_arn, session_name(namespace, name));
    exchange
        .sts
        .assume_role_with_oidc(
            FROM_SERVICE_ACCOUNT,
            &exchange.endpoint,
            Timestamp::now(),
            &role,
            &provider_arn,
            &token,
        )
        .await
}

/// Reads an AccessKey.
///
/// # Errors
/// With what to do about it.
pub async fn read_access_key(
    client: &Client,
    namespace: &str,
    reference: &AccessKeySecretRef,
) -> Result<IssuedCredentials, CredentialsError> {
    let wrong = |text: String| CredentialsError::misconfigured(FROM_SECRET, text);
    let name = &reference.name;
    let snapshot = secret::read(client, namespace, name)
        .await
        .map_err(|error| {
            let kind = if error.is_transient() {
                Kind::Transient
            } else {
                Kind::Misconfigured
            };
            let text = format!("the Secret {name:?} of spec.credentials cannot be read: {error}");
            CredentialsError::new(FROM_SECRET, kind, text)
        })?;
    let snapshot = snapshot.ok_or_else(|| {
        wrong(format!(
            "there is no Secret {name:?} in this namespace, which spec.credentials names"
        ))
    })?;
    let value = |key: &str| {
        let value = snapshot.value(key).ok().flatten()?;
        let text = std::str::from_utf8(&value).ok()?.trim();
        (!text.is_empty()).then(|| SecretString::from(text))
    };
    let needed = |key: &str| {
        value(key).ok_or_else(|| {
            wrong(format!(
                "the Secret {name:?} of spec.credentials has no text under the key {key:?}"
            ))
        })
    };
    let id = needed(&reference.access_key_id_key)?;
    let secret = needed(&reference.access_key_secret_key)?;
    let token = value(&reference.security_token_key);
    let token = token.as_ref().map(SecretString::expose_secret);
    let credentials = Credentials::new(id.expose_secret(), secret.expose_secret(), token).map_err(
        |malformed| {
            let named =
                |key: &str| format!("the key {key:?} of the Secret {name:?} of spec.credentials");
            PartNames {
                id: &named(&reference.access_key_id_key),
                secret: &named(&reference.access_key_secret_key),
                token: &named(&reference.security_token_key),
            }
            .explain(FROM_SECRET, malformed)
        },
    )?;
    Ok(IssuedCredentials::without_expiration(
        FROM_SECRET,
        credentials,
    ))
}

/// The role and the provider, from a ServiceAccount's annotations and the operator's own provider. Pure.
fn arns<'a>(
    annotation: impl Fn(&str) -> Option<&'a str>,
    own_provider_arn: Option<&str>,
) -> Result<(String, String), CredentialsError> {
    let wrong = |text: String| CredentialsError::misconfigured(FROM_SERVICE_ACCOUNT, text);
    let provider_arn = annotation(PROVIDER_ARN_ANNOTATION).or(own_provider_arn).ok_or_else(|| {
        wrong(format!(
            "no OIDC provider is known: annotate the ServiceAccount with {PROVIDER_ARN_ANNOTATION}, or start the operator with --oidc-provider-arn"
        ))
    })?;
    let account = account_of(provider_arn).ok_or_else(|| {
        wrong(format!(
            "the OIDC provider's ARN must be like acs:ram::123456789012:oidc-provider/NAME; correct {PROVIDER_ARN_ANNOTATION} or --oidc-provider-arn"
        ))
    })?;
    let role_arn = match (
        annotation(ROLE_ARN_ANNOTATION),
        annotation(ROLE_NAME_ANNOTATION),
    ) {
        (Some(arn), _) if is_role_arn(arn) => arn.to_owned(),
        (Some(_), _) => {
            return Err(wrong(format!(
                "the ServiceAccount's annotation {ROLE_ARN_ANNOTATION} must be like acs:ram::123456789012:role/NAME"
            )));
        }
        (None, Some(name)) if is_name(name) => format!("acs:ram::{account}:role/{name}"),
        (None, Some(_)) => {
            return Err(wrong(format!(
                "the ServiceAccount's annotation {ROLE_NAME_ANNOTATION} must be the name of a RAM role: letters, digits, dots, hyphens and underscores"
            )));
        }
        (None, None) => {
            return Err(wrong(format!(
                "the ServiceAccount names no RAM role: annotate it with {ROLE_NAME_ANNOTATION} or {ROLE_ARN_ANNOTATION}"
            )));
        }
    };
    Ok((role_arn, provider_arn.to_owned()))
}

/// The account in `acs:ram::ACCOUNT:oidc-provider/NAME`.
fn account_of(provider_arn: &str) -> Option<&str> {
    let (account, name) = provider_arn
        .strip_prefix("acs:ram::")?
        .split_once(":oidc-provider/")?;
    (is_account(account) && is_name(name)).then_some(account)
}

fn is_role_arn(arn: &str) -> bool {
    arn.strip_prefix("acs:ram::")
        .and_then(|rest| rest.split_once(":role/"))
        .is_some_and(|(account, name)| is_account(account) && is_name(name))
}

fn is_account(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name as RAM takes it for roles and providers, up to 64 characters
/// (<https://www.alibabacloud.com/help/en/ram/developer-reference/api-ram-2015-05-01-createrole>).
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Tells whose session it is in the cloud's audit log, as far as there is room for it.
fn session_name(namespace: &str, name: &str) -> SessionName {
    let mut text = format!("{namespace}.{name}");
    text.truncate(64);
    SessionName::new(&text).unwrap_or_default()
}

/// Why the Kubernetes API did not do what was asked.
enum Failure {
    Status(u16),
    Unreachable,
}

impl Failure {
    fn explained(&self, what: &str) -> CredentialsError {
        let (kind, text) = match self {
            Self::Status(404) => (
                Kind::Misconfigured,
                "there is no ServiceAccount of the name in spec.credentials.serviceAccountName in this namespace".to_owned(),
            ),
            Self::Status(403) => (
                Kind::Denied,
                format!("the operator may not {what} in this namespace: give it the Role that deploy/samples/tenant.yaml shows"),
            ),
            Self::Status(status) => (
                Kind::Transient,
                format!("the operator could not {what}: the API server answered with HTTP status {status}"),
            ),
            Self::Unreachable => (
                Kind::Transient,
                format!("the operator could not {what}: the API server could not be reached"),
            ),
        };
        CredentialsError::new(FROM_SERVICE_ACCOUNT, kind, text)
    }
}

/// The answer in time. None of the error's own words are kept: the answer to a token request holds a token.
async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(KUBERNETES_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Failure::Status(status.code)),
        Ok(Err(_)) | Err(_) => Err(Failure::Unreachable),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PROVIDER: &str = "acs:ram::1234567890:oidc-provider/ack-rrsa-c1";

    #[rstest]
    #[case::by_name(&[(ROLE_NAME_ANNOTATION, "orders")], Some(PROVIDER), Some(("acs:ram::1234567890:role/orders", PROVIDER)))]
    #[case::by_arn(&[(ROLE_ARN_ANNOTATION, "acs:ram::99:role/orders")], Some(PROVIDER), Some(("acs:ram::99:role/orders", PROVIDER)))]
    #[case::the_arn_counts(&[(ROLE_ARN_ANNOTATION, "acs:ram::99:role/a"), (ROLE_NAME_ANNOTATION, "b")], Some(PROVIDER), Some(("acs:ram::99:role/a", PROVIDER)))]
    #[case::own_provider(
        &[(ROLE_NAME_ANNOTATION, "orders"), (PROVIDER_ARN_ANNOTATION, "acs:ram::7:oidc-provider/p")],
        Some(PROVIDER),
        Some(("acs:ram::7:role/orders", "acs:ram::7:oidc-provider/p"))
    )]
    #[case::no_provider(&[(ROLE_NAME_ANNOTATION, "orders")], None, None)]
    #[case::no_role(&[], Some(PROVIDER), None)]
    #[case::name_with_a_colon(&[(ROLE_NAME_ANNOTATION, "a:role/b")], Some(PROVIDER), None)]
    #[case::arn_of_something_else(&[(ROLE_ARN_ANNOTATION, "acs:ram::99:user/a")], Some(PROVIDER), None)]
    #[case::provider_of_something_else(&[(ROLE_NAME_ANNOTATION, "a")], Some("acs:ram::1:role/a"), None)]
    fn role_and_provider(
        #[case] annotations: &[(&str, &str)],
        #[case] own_provider: Option<&str>,
        #[case] expected: Option<(&str, &str)>,
    ) {
        let annotation = |name: &str| {
            let found = annotations.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| *value)
        };
        let found = arns(annotation, own_provider).ok();
        let expected = expected.map(|(role, provider)| (role.to_owned(), provider.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn long_names_make_a_session_name_too() {
        let long = "a".repeat(63);
        assert_ne!(session_name(&long, &long), SessionName::default());
        assert_eq!(
            session_name("shop", "orders"),
            SessionName::new("shop.orders").unwrap_or_default()
        );
    }
}
