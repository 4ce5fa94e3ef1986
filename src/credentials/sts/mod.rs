//! The Security Token Service, version `2015-04-01`: temporary credentials for a RAM role.
//!
//! Source: <https://www.alibabacloud.com/help/en/ram/developer-reference/api-sts-2015-04-01-assumerole> and
//! `…-assumerolewithoidc`. Everything but the common parameters travels in the body, above all the OIDC token.

mod refusal;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use self::refusal::refused;
use super::error::{CredentialsError, Kind, SourceName};
use super::http::{Http, HttpError, exchange};
use super::issued::{IssuedCredentials, TemporaryKey};
use super::text::plain;
use crate::rds::endpoint::{Endpoint, Region};
use crate::rds::identifier::Secrets;
use crate::rds::signature::{ApiRequest, SignatureMethod, Signer, encode_pairs};

const API_VERSION: &str = "2015-04-01";

const ASSUME_ROLE: &str = "AssumeRole";
const ASSUME_ROLE_WITH_OIDC: &str = "AssumeRoleWithOIDC";

/// For the whole answer; the official SDKs' value.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the credentials of a role live unless something else is asked for: STS' own default, and the longest that
/// every role allows.
const DEFAULT_DURATION: Duration = Duration::from_secs(3600);

/// STS issues nothing that lives shorter.
const SHORTEST_DURATION: Duration = Duration::from_secs(900);

/// Names the operator in the cloud's audit log.
const DEFAULT_SESSION_NAME: &str = "rds-password-operator";

const CHECK: &str = "--sts-endpoint, ALIBABA_CLOUD_STS_REGION and ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED, DNS, proxy and network policies";

/// A role to be assumed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// `acs:ram::<account>:role/<name>`.
    pub arn: String,
    /// Names the session in the cloud's audit log.
    pub session_name: SessionName,
    /// How long the credentials shall live: an hour, unless the role allows more.
    pub duration: Duration,
    /// A policy that narrows the role's permissions further.
    pub policy: Option<String>,
    /// What a trust policy of another account may ask for; only `AssumeRole` knows it.
    pub external_id: Option<String>,
}

impl Role {
    /// A role as it is mostly assumed.
    #[must_use]
    pub fn new(arn: impl Into<String>, session_name: SessionName) -> Self {
        Self {
            arn: arn.into(),
            session_name,
            duration: DEFAULT_DURATION,
            policy: None,
            external_id: None,
        }
    }

    /// Asks for another lifetime. `None` if STS issues none so short.
    pub(super) fn lasting(self, seconds: u64) -> Option<Self> {
        let duration = Duration::from_secs(seconds);
        (duration >= SHORTEST_DURATION).then_some(Self { duration, ..self })
    }

    fn parameters<'a>(&'a self, seconds: &'a str) -> Vec<(&'static str, &'a str)> {
        let mut parameters = vec![
            ("RoleArn", self.arn.as_str()),
            ("RoleSessionName", &self.session_name.0),
            ("DurationSeconds", seconds),
        ];
        if let Some(policy) = &self.policy {
            parameters.push(("Policy", policy));
        }
        parameters
    }
}

/// Names a session in the cloud's audit log: 2 to 64 of letters, digits and `.@-_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionName(String);

impl SessionName {
    /// `None` if STS would not take it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let right = (2..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".@-_".contains(&byte));
        right.then(|| Self(text.to_owned()))
    }
}

impl Default for SessionName {
    fn default() -> Self {
        Self(DEFAULT_SESSION_NAME.to_owned())
    }
}

/// STS' endpoint. The global one where no region is named, and the one inside a VPC only where one is, as there is no global
/// one.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "no region that Region lets pass breaks a host name"
)]
pub fn endpoint_of(region: Option<&Region>, in_vpc: bool) -> Endpoint {
    let host = match region {
        Some(region) if in_vpc => format!("sts-vpc.{region}.aliyuncs.com"),
        Some(region) => format!("sts.{region}.aliyuncs.com"),
        None => "sts.aliyuncs.com".to_owned(),
    };
    format!("https://{host}")
        .parse()
        .expect("a region fits into a URL")
}

/// Is told of each call that has ended: its action, its code (`OK` for a success, else one of [`labels`]), and how long it
/// took.
pub type CallObserver = Arc<dyn Fn(&'static str, &'static str, Duration) + Send + Sync>;

/// Every code that a [`CallObserver`] can be told of, but for `OK`: those of STS, and one for each failure without a code.
pub fn labels() -> impl Iterator<Item = &'static str> {
    refusal::labels().chain([
        "connect",
        "no_such_host",
        "tls",
        "timeout",
        "broken",
        UNREADABLE,
    ])
}

/// The code of an answer that is none of STS.
const UNREADABLE: &str = "unreadable";

/// Calls STS. A clone shares everything.
#[derive(Clone)]
pub struct StsClient {
    http: Http,
    observer: CallObserver,
}

impl StsClient {
    pub(super) fn with(http: Http, observer: CallObserver) -> Self {
        Self { http, observer }
    }

    /// `AssumeRole`, signed with another `AccessKey`, in the name of `origin`.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub async fn assume_role(
        &self,
        origin: SourceName,
        endpoint: &Endpoint,
        signer: &Signer<'_>,
        role: &Role,
    ) -> Result<IssuedCredentials, CredentialsError> {
        let seconds = role.duration.as_secs().to_string();
        let mut form = role.parameters(&seconds);
        if let Some(external_id) = &role.external_id {
            form.push(("ExternalId", external_id));
        }
        let url = endpoint.url("");
        let request = ApiRequest {
            host: url.authority(),
            action: ASSUME_ROLE,
            version: API_VERSION,
            parameters: &form,
        };
        // The method that is proven for STS; there is no password to keep out of a URL.
        let request = SignatureMethod::HmacSha1
            .sign(&request, signer)
            .map_err(|error| CredentialsError::misconfigured(origin, error.to_string()))?;
        let key = signer.credentials;
        let token = key.security_token.as_ref();
        let secrets = [
            key.access_key_secret.expose_secret(),
            token.map_or("", SecretString::expose_secret),
        ];
        let secrets = Secrets(&secrets);
        let answer = self.send(origin, endpoint, &request.query, request.body, &secrets);
        self.observed(ASSUME_ROLE, answer).await
    }

    /// `AssumeRoleWithOIDC`: anonymous, the token is what proves something. It names the holder to the OIDC provider
    /// `provider_arn` of RAM.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub async fn assume_role_with_oidc(
        &self,
        origin: SourceName,
        endpoint: &Endpoint,
        now: Timestamp,
        role: &Role,
        provider_arn: &str,
        token: &SecretString,
    ) -> Result<IssuedCredentials, CredentialsError> {
        let seconds = role.duration.as_secs().to_string();
        let mut form = role.parameters(&seconds);
        form.push(("OIDCProviderArn", provider_arn));
        form.push(("OIDCToken", token.expose_secret()));
        // STS takes whole seconds in UTC.
        let timestamp = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let query = [
            ("Action", ASSUME_ROLE_WITH_OIDC),
            ("Version", API_VERSION),
            ("Format", "JSON"),
            ("Timestamp", &timestamp),
        ];
        let secrets = [token.expose_secret()];
        let secrets = Secrets(&secrets);
        let (query, body) = (encode_pairs(&query), encode_pairs(&form));
        let answer = self.send(origin, endpoint, &query, body, &secrets);
        self.observed(ASSUME_ROLE_WITH_OIDC, answer).await
    }

    async fn observed(
        &self,
        action: &'static str,
        answer: impl Future<Output = Result<IssuedCredentials, (&'static str, CredentialsError)>>,
    ) -> Result<IssuedCredentials, CredentialsError> {
        let began = Instant::now();
        let answer = answer.await;
        let code = answer.as_ref().err().map_or("OK", |(code, _)| code);
        (self.observer)(action, code, began.elapsed());
        answer.map_err(|(_, error)| error)
    }

    /// An error comes with its code for the observer.
    async fn send(
        &self,
        origin: SourceName,
        endpoint: &Endpoint,
        query: &str,
        body: Zeroizing<String>,
        secrets: &Secrets<'_>,
    ) -> Result<IssuedCredentials, (&'static str, CredentialsError)> {
        let request = self
            .http
            .to(endpoint)
            .post(endpoint.url(query))
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            // Zeroed when it is sent. The copies in the buffers of the HTTP and TLS libraries are not.
            .body(Bytes::from_owner(body));
        let answer = match exchange(request, TIMEOUT).await {
            Ok(answer) => answer,
            Err(HttpError::Transport(transport)) => {
                let error = CredentialsError::unreachable(
                    origin,
                    "STS",
                    &endpoint.name(),
                    transport,
                    CHECK,
                );
                return Err((transport.label(), error));
            }
            Err(HttpError::TooLong) => return Err(not_sts(origin, endpoint)),
        };
        let content = parse(&answer.body).ok_or_else(|| not_sts(origin, endpoint))?;
        if let Some(code) = content.code {
            return Err(refused(
                origin,
                &code,
                content.request_id.as_deref(),
                (answer.status, answer.wait),
                secrets,
            ));
        }
        content
            .credentials
            .filter(|_| (200..300).contains(&answer.status))
            .map(|key| key.issued(origin))
            .transpose()
            .map_err(|error| (UNREADABLE, error))?
            .flatten()
            .ok_or_else(|| not_sts(origin, endpoint))
    }
}

fn not_sts(origin: SourceName, endpoint: &Endpoint) -> (&'static str, CredentialsError) {
    let host = endpoint.name();
    let explanation = format!(
        "the answer of {host} is not one of STS, so something on the way may have answered in its place; the operator tries again; if it lasts, check --sts-endpoint and proxy"
    );
    let error = CredentialsError::new(origin, Kind::Transient, explanation).called_in_vain(&host);
    (UNREADABLE, error)
}

#[derive(Deserialize)]
struct Content {
    // Some gateways write the names in lower case.
    #[serde(default, rename = "Code", alias = "code", deserialize_with = "plain")]
    code: Option<String>,
    #[serde(
        default,
        rename = "RequestId",
        alias = "requestId",
        deserialize_with = "plain"
    )]
    request_id: Option<String>,
    #[serde(default, rename = "Credentials")]
    credentials: Option<TemporaryKey>,
}

fn parse(body: &Zeroizing<Vec<u8>>) -> Option<Content> {
    // Serde would also take a list for a structure.
    let object = body.trim_ascii_start().starts_with(b"{");
    object.then(|| serde_json::from_slice(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::rds::near_json::near;

    #[rstest]
    #[case(None, false, "https://sts.aliyuncs.com")]
    #[case(None, true, "https://sts.aliyuncs.com")]
    #[case(Some("cn-shanghai"), false, "https://sts.cn-shanghai.aliyuncs.com")]
    #[case(Some("cn-shanghai"), true, "https://sts-vpc.cn-shanghai.aliyuncs.com")]
    fn endpoints(#[case] region: Option<&str>, #[case] in_vpc: bool, #[case] endpoint: &str) {
        let region: Option<Region> = region.and_then(|region| region.parse().ok());
        assert_eq!(endpoint_of(region.as_ref(), in_vpc).to_string(), endpoint);
    }

    #[rstest]
    #[case("ab", true)]
    #[case("rds.password@operator-1_2", true)]
    #[case("a", false)]
    #[case("", false)]
    #[case("with space", false)]
    #[case("überall", false)]
    fn session_names(#[case] text: &str, #[case] right: bool) {
        assert_eq!(SessionName::new(text).is_some(), right);
        assert!(SessionName::new(&"a".repeat(64)).is_some());
        assert!(SessionName::new(&"a".repeat(65)).is_none());
    }

    #[test]
    fn the_shortest_lifetime() {
        let role = || Role::new("arn", SessionName::default());
        assert!(role().lasting(899).is_none());
        assert!(role().lasting(900).is_some());
    }

    proptest! {
        #[test]
        fn no_region_leaves_the_domain(region in "[a-z0-9-]{1,64}", in_vpc: bool) {
            if let Ok(region) = region.parse::<Region>() {
                let endpoint = endpoint_of(Some(&region), in_vpc).to_string();
                prop_assert!(endpoint.ends_with(".aliyuncs.com"));
            }
        }

        #[test]
        fn no_answer_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&Zeroizing::new(body));
        }

        /// Whatever is answered: without all four parts there are no credentials, and what there are do not print themselves.
        #[test]
        fn what_is_nearly_an_answer_is_one_or_none(body in near(
            serde_json::json!({ "RequestId": "1-2", "Credentials": {
                "AccessKeyId": "STS.1", "AccessKeySecret": "canary-secret", "SecurityToken": "canary-token",
                "Expiration": "2026-11-24T08:00:00Z",
            } }),
            &["", "Code", "2026-11-24T08:00:00Z", "Credentials", "canary"],
        )) {
            let content = parse(&Zeroizing::new(body.to_string().into_bytes()));
            let issued = content
                .and_then(|content| content.credentials)
                .and_then(|key| key.issued(SourceName::Oidc).ok().flatten());
            if let Some(issued) = issued {
                let told = format!("{issued:?}");
                prop_assert!(!told.contains("canary-secret") && !told.contains("canary-token"));
                let key = &body["Credentials"];
                for part in ["AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration"] {
                    prop_assert!(key.is_array() || !key[part].is_null(), "{}", part);
                }
            }
        }
    }
}
