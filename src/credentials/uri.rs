//! A URI that answers with temporary credentials, such as that of a side container.

use std::time::Duration;

use reqwest::Url;

use super::error::{CredentialsError, Kind, SourceName};
use super::host::Host;
use super::http::{Http, HttpError, exchange};
use super::issued::{IssuedCredentials, TemporaryKey};
use super::method::Method;
use crate::rds::endpoint::{self, Endpoint};

const URI: &str = "ALIBABA_CLOUD_CREDENTIALS_URI";

/// For the whole answer; the official SDKs' value.
const TIMEOUT: Duration = Duration::from_secs(10);

const ORIGIN: SourceName = SourceName::Uri;

pub(super) fn is_configured(host: &Host) -> bool {
    host.variable(URI).is_some()
}

/// The answer holds an `AccessKey`, so it comes through TLS or does not leave this machine (which for a pod is the pod).
pub(super) fn method(host: &Host) -> Result<Method, CredentialsError> {
    let uri = host.variable(URI).unwrap_or_default();
    Url::parse(&uri)
        .ok()
        .filter(is_allowed)
        .map(Method::Uri)
        .ok_or_else(|| {
            CredentialsError::misconfigured(
                ORIGIN,
                "ALIBABA_CLOUD_CREDENTIALS_URI in the operator's environment must be an https:// URL, or an http:// URL of this machine itself (127.0.0.1, [::1], localhost)",
            )
        })
}

fn is_allowed(url: &Url) -> bool {
    // What an endpoint may be is decided in one place; path, query and user are this URL's own.
    let origin = url.origin().ascii_serialization();
    origin.parse::<Endpoint>().is_ok()
}

/// Asks the URI.
pub(super) async fn obtain(http: &Http, uri: &Url) -> Result<IssuedCredentials, CredentialsError> {
    let request = http.to_url(uri).get(uri.clone());
    let answer = exchange(request, TIMEOUT)
        .await
        .map_err(|error| match error {
            HttpError::Transport(transport) => CredentialsError::unreachable(
                ORIGIN,
                "the server of the credentials URI",
                &endpoint::Host::of(uri),
                transport,
                "ALIBABA_CLOUD_CREDENTIALS_URI and that server",
            ),
            HttpError::TooLong => no_credentials(uri),
        })?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .ok()
            .map(|key: TemporaryKey| key.issued(ORIGIN))
            .transpose()?
            .flatten()
            .ok_or_else(|| no_credentials(uri)),
        401 | 403 | 404 => Err(CredentialsError::new(
            ORIGIN,
            Kind::Denied,
            "the server of the credentials URI refuses to give credentials; check ALIBABA_CLOUD_CREDENTIALS_URI and that server",
        )),
        429 => Err(CredentialsError::new(
            ORIGIN,
            Kind::Throttled,
            "the server of the credentials URI is asked too often; the operator waits and tries again",
        )),
        _ => Err(no_credentials(uri)),
    }
}

fn no_credentials(uri: &Url) -> CredentialsError {
    let host = endpoint::Host::of(uri);
    let explanation = format!(
        "the answer of the credentials URI at {host} is not AccessKeyId, AccessKeySecret, SecurityToken and Expiration; the operator tries again; if it lasts, check ALIBABA_CLOUD_CREDENTIALS_URI and its server"
    );
    CredentialsError::new(ORIGIN, Kind::Transient, explanation).called_in_vain(&host)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::host::fake::{NONE, host};
    use super::*;

    #[rstest]
    #[case("https://credentials.example/a?b=c", true)]
    #[case("http://127.0.0.1:6666/a", true)]
    #[case("http://localhost:6666", true)]
    #[case("http://[::1]/a", true)]
    #[case("http://credentials.example/a", false)]
    #[case("http://127.0.0.1@evil.example/a", false)]
    #[case("file:///etc/passwd", false)]
    #[case("credentials.example", false)]
    fn uris(#[case] uri: &str, #[case] taken: bool) {
        let host = host(&[(URI, uri)], NONE);
        assert!(is_configured(&host));
        assert_eq!(method(&host).is_ok(), taken);
    }

    #[test]
    fn the_uri_is_not_repeated() {
        let error = method(&host(&[(URI, "http://user:canary@h/canary")], NONE)).err();
        assert!(error.is_some_and(|error| !format!("{error} {error:?}").contains("canary")));
    }
}
