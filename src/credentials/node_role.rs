//! The role of the ECS instance that the process runs on, from the metadata service.
//!
//! Every pod of the node reaches that service, and the role usually is the node's own. So it is used only where
//! `--allow-node-role` says so, also where a profile or file names it.
//!
//! Source: <https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata>.

use std::time::Duration;

use reqwest::Method as HttpMethod;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::{CredentialsError, Kind, SourceName};
use super::host::Host;
use super::http::{Answer, Http, HttpError, exchange};
use super::issued::{IssuedCredentials, TemporaryKey};
use super::method::Method;
use super::settings::{MetadataEndpoint, Settings};
use super::text::plain;
use crate::rds::endpoint;

const DISABLED: &str = "ALIBABA_CLOUD_ECS_METADATA_DISABLED";
const ROLE_NAME: &str = "ALIBABA_CLOUD_ECS_METADATA";
const V1_DISABLED: &str = "ALIBABA_CLOUD_IMDSV1_DISABLED";

/// The service is on the node itself; the official SDKs wait as long.
const TIMEOUT: Duration = Duration::from_secs(1);

/// For the three requests of one refresh.
const TOKEN_LIVES_FOR: &str = "60";

const CHECK: &str = "that the process runs on an ECS instance and that network policies let it reach 100.100.100.200";

pub(super) fn is_configured(host: &Host, settings: &Settings) -> bool {
    settings.allow_node_role && !host.is_true(DISABLED)
}

/// `role_name` is what a profile or file says; the node knows the name itself.
pub(super) fn method(
    host: &Host,
    settings: &Settings,
    origin: SourceName,
    role_name: Option<String>,
) -> Result<Method, CredentialsError> {
    let wrong = |explanation| CredentialsError::misconfigured(origin, explanation);
    if !settings.allow_node_role {
        return Err(wrong(
            "the role of the node is used only with --allow-node-role, since every pod of the node can have it; give the operator an identity of its own, or set the flag",
        ));
    }
    if host.is_true(DISABLED) {
        return Err(wrong(
            "the role of the node is turned off by ALIBABA_CLOUD_ECS_METADATA_DISABLED in the operator's environment",
        ));
    }
    let role_name = role_name.or_else(|| host.variable(ROLE_NAME));
    if role_name.as_deref().is_some_and(|name| !is_role_name(name)) {
        return Err(wrong(
            "the name of the node's role has 1 to 64 letters, digits, dots, hyphens and underscores only; correct ALIBABA_CLOUD_ECS_METADATA or the profile's ram_role_name",
        ));
    }
    Ok(Method::NodeRole {
        role_name,
        allow_v1: !host.is_true(V1_DISABLED),
    })
}

/// It becomes part of a path.
fn is_role_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

/// Asks the metadata service.
pub(super) async fn obtain(
    http: &Http,
    endpoint: &MetadataEndpoint,
    origin: SourceName,
    role_name: Option<&str>,
    allow_v1: bool,
) -> Result<IssuedCredentials, CredentialsError> {
    let service = Service {
        http,
        endpoint,
        origin,
        token: token(http, endpoint, origin, allow_v1).await?,
    };
    let role_name = match role_name {
        Some(name) => name.to_owned(),
        None => service.role_name().await?,
    };
    service.credentials(&role_name).await
}

/// The token of version 2. `None` stands for version 1: only a service that answers, and knows no tokens, is asked without
/// one, so that a lost answer is no way to be talked down.
async fn token(
    http: &Http,
    endpoint: &MetadataEndpoint,
    origin: SourceName,
    allow_v1: bool,
) -> Result<Option<Zeroizing<String>>, CredentialsError> {
    let url = endpoint.at("/latest/api/token");
    let host = endpoint::Host::of(&url);
    let request = http
        .to_url(&url)
        .request(HttpMethod::PUT, url)
        .header("X-aliyun-ecs-metadata-token-ttl-seconds", TOKEN_LIVES_FOR);
    let answer = ask(origin, &host, request).await?;
    let text = str::from_utf8(&answer.body).map(str::trim);
    match (answer.status, text) {
        (200, Ok(text)) if is_token(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        (400..=499, _) if allow_v1 => Ok(None),
        (400..=499, _) => Err(CredentialsError::misconfigured(
            origin,
            "the metadata service gives no token (IMDSv2), and ALIBABA_CLOUD_IMDSV1_DISABLED forbids to ask without one; turn IMDSv2 on for the ECS instance",
        )),
        _ => Err(fault(origin)),
    }
}

/// Fit for a header.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

struct Service<'a> {
    http: &'a Http,
    endpoint: &'a MetadataEndpoint,
    origin: SourceName,
    token: Option<Zeroizing<String>>,
}

impl Service<'_> {
    async fn role_name(&self) -> Result<String, CredentialsError> {
        let answer = self.get("").await?;
        str::from_utf8(&answer.body)
            .ok()
            .and_then(|text| text.lines().next())
            .map(str::trim)
            .filter(|name| is_role_name(name))
            .map(str::to_owned)
            .ok_or_else(|| no_role(self.origin))
    }

    async fn credentials(&self, role_name: &str) -> Result<IssuedCredentials, CredentialsError> {
        let answer = self.get(role_name).await?;
        // Twice, since a flattened structure would be buffered, secret and all.
        serde_json::from_slice::<Outcome>(&answer.body)
            .ok()
            .filter(Outcome::is_success)
            .and_then(|_| serde_json::from_slice::<TemporaryKey>(&answer.body).ok())
            .map(|key| key.issued(self.origin))
            .transpose()?
            .flatten()
            .ok_or_else(|| fault(self.origin))
    }

    async fn get(&self, role_name: &str) -> Result<Answer, CredentialsError> {
        let url = self.endpoint.at(&format!(
            "/latest/meta-data/ram/security-credentials/{role_name}"
        ));
        let host = endpoint::Host::of(&url);
        let mut request = self.http.to_url(&url).get(url);
        if let Some(token) = &self.token {
            request = request.header("X-aliyun-ecs-metadata-token", token.as_str());
        }
        let answer = ask(self.origin, &host, request).await?;
        match answer.status {
            200 => Ok(answer),
            404 => Err(no_role(self.origin)),
            401 | 403 => Err(CredentialsError::misconfigured(
                self.origin,
                "the metadata service refuses the request; it may be closed for this ECS instance, or take requests with a token (IMDSv2) only",
            )),
            _ => Err(fault(self.origin)),
        }
    }
}

async fn ask(
    origin: SourceName,
    host: &endpoint::Host,
    request: reqwest::RequestBuilder,
) -> Result<Answer, CredentialsError> {
    exchange(request, TIMEOUT)
        .await
        .map_err(|error| match error {
            HttpError::Transport(transport) => CredentialsError::unreachable(
                origin,
                "the metadata service",
                host,
                transport,
                CHECK,
            ),
            HttpError::TooLong => fault(origin),
        })
}

fn no_role(origin: SourceName) -> CredentialsError {
    CredentialsError::misconfigured(
        origin,
        "the ECS instance has no such RAM role; attach one to it, or correct its name in ALIBABA_CLOUD_ECS_METADATA or in the profile",
    )
}

fn fault(origin: SourceName) -> CredentialsError {
    CredentialsError::new(
        origin,
        Kind::Transient,
        "the metadata service did not answer with credentials; the operator tries again; if it lasts, look at the RAM role of the ECS instance",
    )
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default, rename = "Code", deserialize_with = "plain")]
    code: Option<String>,
}

impl Outcome {
    fn is_success(&self) -> bool {
        self.code.as_deref().is_none_or(|code| code == "Success")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::host::fake::{NONE, host};
    use super::*;

    fn settings(allow_node_role: bool) -> Settings {
        Settings {
            allow_node_role,
            ..Settings::for_test()
        }
    }

    #[rstest]
    #[case(false, &[], false)]
    #[case(true, &[], true)]
    #[case(true, &[(DISABLED, "True")], false)]
    #[case(true, &[(DISABLED, "no")], true)]
    #[case(false, &[(ROLE_NAME, "role")], false)]
    fn only_where_it_is_allowed(
        #[case] allowed: bool,
        #[case] variables: &[(&str, &str)],
        #[case] configured: bool,
    ) {
        let (host, settings) = (host(variables, NONE), settings(allowed));
        assert_eq!(is_configured(&host, &settings), configured);
        let method = method(&host, &settings, SourceName::Profile, Some("r".to_owned()));
        assert_eq!(method.is_ok(), configured);
    }

    #[rstest]
    #[case(None, &[], None, true)]
    #[case(None, &[(ROLE_NAME, "node")], Some("node"), true)]
    #[case(Some("profile"), &[(ROLE_NAME, "node")], Some("profile"), true)]
    #[case(None, &[(V1_DISABLED, "true")], None, false)]
    fn names_and_versions(
        #[case] configured: Option<&str>,
        #[case] variables: &[(&str, &str)],
        #[case] name: Option<&str>,
        #[case] v1: bool,
    ) {
        let configured = configured.map(str::to_owned);
        let found = method(
            &host(variables, NONE),
            &settings(true),
            SourceName::NodeRole,
            configured,
        );
        assert!(matches!(
            found,
            Ok(Method::NodeRole { role_name, allow_v1 }) if role_name.as_deref() == name && allow_v1 == v1
        ));
    }

    #[rstest]
    #[case("role", true)]
    #[case("Role_1.a-b", true)]
    #[case("", false)]
    #[case("..", false)]
    #[case("a/b", false)]
    #[case("a?b", false)]
    fn role_names(#[case] name: &str, #[case] right: bool) {
        assert_eq!(is_role_name(name), right);
    }

    #[rstest]
    #[case("http://100.100.100.200", true)]
    #[case("http://100.100.100.200/", true)]
    #[case("http://127.0.0.1:8080", true)]
    #[case("http://[::1]:8080", true)]
    #[case("https://127.0.0.1:8080", false)]
    #[case("http://100.100.100.201", false)]
    #[case("http://100.100.100.200:80@evil.example", false)]
    #[case("http://evil.example", false)]
    #[case("http://127.0.0.1/path", false)]
    #[case("100.100.100.200", false)]
    fn endpoints(#[case] text: &str, #[case] taken: bool) {
        assert_eq!(text.parse::<MetadataEndpoint>().is_ok(), taken);
    }
}
