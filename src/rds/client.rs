//! Sends one signed request and reads its answer. Retries, waiting and sharing are the callers' affair.

use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::{
    Client, ClientBuilder, Response, Url,
    header::{ACCEPT, HeaderValue},
    redirect, retry,
};
use rustls::pki_types::InvalidDnsNameError;
use secrecy::ExposeSecret;
use thiserror::Error;
use zeroize::Zeroizing;

pub use super::signature::{Nonce, Signer};
use super::{
    credentials::Credentials,
    endpoint::Endpoint,
    error::{CallError, RequestId, Transport},
    identifier::Secrets,
    password::Password,
    requested_wait::RequestedWait,
    resolver::{LookupError, SystemResolver},
    response::{ACCOUNTS_PER_PAGE, AccountStatus, Answer, DbInstance},
    signature::{ApiRequest, SignatureMethod, SignedRequest},
};

/// RDS' version of the API (that of ECS, `2014-05-26`, looks much the same).
const API_VERSION: &str = "2014-08-15";

/// Real answers have a few KiB; 200 accounts with their privileges stay far below this.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// A server that closes an idle connection at the very moment at which a request is sent makes that request's outcome
/// unknown. So idle connections are closed here first, well before load balancers do it (usually after 60 s).
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// The longest time-out of a reset. An instance that needs longer is not helped by more patience, and its turn is held up for that long.
pub const LONGEST_RESET_TIMEOUT: Duration = Duration::from_secs(120);

/// How long to wait for the cloud.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For a read's whole answer.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // The official SDKs' values for a connection and an answer.
            connect: Duration::from_secs(5),
            read: Duration::from_secs(10),
        }
    }
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The process did not install one for rustls.
    #[error("no cryptographic provider is installed for TLS")]
    NoCryptographicProvider,
    /// For instance no certificate authorities on this machine.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(#[source] reqwest::Error),
}

/// Sends requests to RDS' API. A clone shares the connections.
#[derive(Clone)]
pub struct RdsClient {
    /// Refuses `http://`, and uses a proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`), as is usual: TLS
    /// goes through it unopened.
    encrypted: Client,
    /// For an endpoint on this machine itself. Never through a proxy, which would read the password.
    loopback: Client,
    signature_method: SignatureMethod,
    timeouts: Timeouts,
}

impl fmt::Debug for RdsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdsClient")
            .field("signature_method", &self.signature_method)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// The HTTP clients of everything that carries a secret: one for `https` alone, and one for addresses that may be called
/// without. `configure` adds timeouts and the like.
///
/// # Errors
/// If there is no cryptographic provider, or no certificate authorities to trust.
pub(crate) fn http_clients(
    configure: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<(Client, Client), ClientError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(ClientError::NoCryptographicProvider);
    }
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("rds-password-operator/", env!("CARGO_PKG_VERSION")))
            // A redirect would send the signed request, password included, to a host that nobody configured.
            .redirect(redirect::Policy::none())
            // Each send needs a nonce and a timestamp of its own.
            .retry(retry::never())
            .dns_resolver(SystemResolver)
            .referer(false);
        configure(builder)
    };
    let build = |builder: ClientBuilder| builder.build().map_err(ClientError::Setup);
    Ok((
        build(builder().https_only(true))?,
        build(builder().no_proxy())?,
    ))
}

impl RdsClient {
    /// Sets the client up. The process must have installed rustls' default cryptographic provider before.
    ///
    /// # Errors
    /// If there is no such provider, or no certificate authorities to trust.
    pub fn new(signature_method: SignatureMethod, timeouts: Timeouts) -> Result<Self, ClientError> {
        let (encrypted, loopback) = http_clients(|builder| {
            builder
                .connect_timeout(timeouts.connect)
                .pool_idle_timeout(IDLE_CONNECTION)
        })?;
        Ok(Self {
            encrypted,
            loopback,
            signature_method,
            timeouts,
        })
    }

    /// `ResetAccountPassword`: returns RDS' name for the request that it accepted. Sending the same value twice does
    /// no harm.
    ///
    /// # Errors
    /// See [`CallError`]; above all [`CallError::outcome_unknown`], after which the password may be the new one.
    pub async fn reset_account_password(
        &self,
        endpoint: &Endpoint,
        signer: Signer<'_>,
        instance_id: &str,
        account_name: &str,
        password: &Password,
        timeout: Duration,
    ) -> Result<RequestId, CallError> {
        let request = Request {
            action: "ResetAccountPassword",
            parameters: &[
                ("DBInstanceId", instance_id),
                ("AccountName", account_name),
                ("AccountPassword", password.expose()),
            ],
            timeout,
        };
        let answer = self.send(endpoint, &signer, &request).await?;
        let [secret, token] = secrets(signer.credentials);
        answer.accepted(&Secrets(&[password.expose(), secret, token]))
    }

    /// `DescribeDBInstanceAttribute`: an instance's state.
    ///
    /// # Errors
    /// See [`CallError`]. An instance that the answer does not list is [`Gone`](super::response::InstanceStatus::Gone).
    pub async fn describe_db_instance_attribute(
        &self,
        endpoint: &Endpoint,
        signer: Signer<'_>,
        instance_id: &str,
    ) -> Result<DbInstance, CallError> {
        let request = Request {
            action: "DescribeDBInstanceAttribute",
            parameters: &[("DBInstanceId", instance_id)],
            timeout: self.timeouts.read,
        };
        let answer = self.send(endpoint, &signer, &request).await?;
        answer.db_instance(instance_id, &Secrets(&secrets(signer.credentials)))
    }

    /// `DescribeAccounts`: the state of one account.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn describe_accounts(
        &self,
        endpoint: &Endpoint,
        signer: Signer<'_>,
        instance_id: &str,
        account_name: &str,
    ) -> Result<AccountStatus, CallError> {
        let request = Request {
            action: "DescribeAccounts",
            parameters: &[
                ("DBInstanceId", instance_id),
                ("AccountName", account_name),
                ("PageSize", ACCOUNTS_PER_PAGE),
            ],
            timeout: self.timeouts.read,
        };
        let answer = self.send(endpoint, &signer, &request).await?;
        answer.account(account_name, &Secrets(&secrets(signer.credentials)))
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        signer: &Signer<'_>,
        request: &Request<'_>,
    ) -> Result<Answer, CallError> {
        let client = if endpoint.is_encrypted() {
            &self.encrypted
        } else {
            &self.loopback
        };
        let request_to_sign = ApiRequest {
            host: endpoint.host(),
            action: request.action,
            version: API_VERSION,
            parameters: request.parameters,
        };
        let SignedRequest {
            query,
            headers,
            body,
        } = self.signature_method.sign(&request_to_sign, signer)?;
        let response = client
            .post(endpoint.url(&query))
            .headers(headers)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            // Zeroed when it is sent. The copies in the buffers of the HTTP and TLS libraries, and theirs of the URL,
            // are not.
            .body(Bytes::from_owner(body))
            .timeout(request.timeout)
            .send()
            .await
            .map_err(|error| lost(&error, endpoint))?;
        read(response, endpoint).await
    }
}

/// An action and its own parameters.
struct Request<'a> {
    action: &'a str,
    parameters: &'a [(&'a str, &'a str)],
    timeout: Duration,
}

/// What a request is signed with. The secret is not sent, and no answer has a reason to hold a part of it.
fn secrets(credentials: &Credentials) -> [&str; 2] {
    let token = credentials.security_token.as_ref();
    [
        credentials.access_key_secret.expose_secret(),
        token.map_or("", |token| token.expose_secret()),
    ]
}

async fn read(mut response: Response, endpoint: &Endpoint) -> Result<Answer, CallError> {
    let status = response.status().as_u16();
    let wait = RequestedWait::of(response.headers());
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| lost(&error, endpoint))?
    {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            let host = endpoint.name();
            return Err(CallError::Unreadable { status, host });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        host: endpoint.name(),
        status,
        wait,
        body,
    })
}

fn lost(error: &reqwest::Error, endpoint: &Endpoint) -> CallError {
    CallError::Transport(transport(error), endpoint.name())
}

/// Keeps the kind of a failure and nothing of its text, which names the URL.
pub(crate) fn transport(error: &reqwest::Error) -> Transport {
    let host = error.url().and_then(Url::host_str).unwrap_or_default();
    let is_absent = cause::<LookupError>(error).is_some_and(|error| error.is_absence_of(host))
        // Nor is there a host whose name is none of DNS, which TLS finds first.
        || cause::<InvalidDnsNameError>(error).is_some();
    if error.is_connect() && cause::<rustls::Error>(error).is_some() {
        Transport::Tls
    } else if error.is_connect() && is_absent {
        Transport::NoSuchHost
    } else if error.is_connect() {
        Transport::Connect
    } else if error.is_timeout() {
        Transport::Timeout
    } else {
        Transport::Broken
    }
}

/// The first cause of this type.
fn cause<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An I/O error does not name the error within it as its source, and they come nested.
        let within = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match within {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io;

    use futures::FutureExt;
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::SecretString;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::rds::{
        error::{Class, Reason},
        signature,
    };
    use SignatureMethod::{Acs3HmacSha256, HmacSha1};

    const PASSWORD: &str = "Aa1!@#$%^&*()_+-=";
    const RESET_TIMEOUT: Duration = Duration::from_secs(20);
    const YES: &str = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"RequestId\":\"1\"}";

    /// A server that reads one request, answers with these bytes, and closes the connection.
    struct OneAnswer {
        listener: TcpListener,
        answer: Vec<u8>,
    }

    impl OneAnswer {
        async fn new(answer: impl Into<Vec<u8>>) -> Self {
            Self {
                listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
                answer: answer.into(),
            }
        }

        fn endpoint(&self) -> Endpoint {
            format!("http://{}", self.listener.local_addr().unwrap())
                .parse()
                .unwrap()
        }

        /// Returns the request's head and body.
        async fn serve(self) -> (String, String) {
            let (mut connection, _) = self.listener.accept().await.unwrap();
            let request = read_request(&mut connection).await.unwrap();
            // The client may have hung up already, over an answer that it does not want to the end.
            let _: io::Result<()> = connection.write_all(&self.answer).await;
            let _: io::Result<()> = connection.shutdown().await;
            request
        }
    }

    async fn read_request(connection: &mut TcpStream) -> io::Result<(String, String)> {
        let mut text = String::new();
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    return Ok((head.to_owned(), body.to_owned()));
                }
            }
            let mut buffer = [0; 4096];
            let read = connection.read(&mut buffer).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.push_str(str::from_utf8(&buffer[..read]).unwrap());
        }
    }

    fn credentials(security_token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "testid".to_owned(),
            access_key_secret: SecretString::from("testsecret"),
            security_token: security_token.map(SecretString::from),
        }
    }

    fn client(signature_method: SignatureMethod, timeouts: Timeouts) -> RdsClient {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        RdsClient::new(signature_method, timeouts).unwrap()
    }

    fn signer(credentials: &Credentials) -> Signer<'_> {
        Signer {
            credentials,
            now: "2026-11-24T08:00:00.9Z".parse().unwrap(),
            nonce: Nonce::from_random([7; 16]),
        }
    }

    async fn reset(
        client: &RdsClient,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<RequestId, CallError> {
        let password = Password::from_bytes(PASSWORD.as_bytes()).unwrap();
        client
            .reset_account_password(
                endpoint,
                signer(credentials),
                "rm-1",
                "app",
                &password,
                RESET_TIMEOUT,
            )
            .await
    }

    /// Resets against a server that answers so; the request, and the outcome.
    async fn exchange(
        answer: impl Into<Vec<u8>>,
        signature_method: SignatureMethod,
    ) -> ((String, String), Result<RequestId, CallError>) {
        let server = OneAnswer::new(answer).await;
        let endpoint = server.endpoint();
        let client = client(signature_method, Timeouts::default());
        let credentials = credentials(None);
        tokio::join!(server.serve(), reset(&client, &endpoint, &credentials))
    }

    #[rstest]
    #[tokio::test]
    async fn what_is_signed_is_sent(
        #[values(HmacSha1, Acs3HmacSha256)] method: SignatureMethod,
        #[values(None, Some("token/+="))] security_token: Option<&str>,
    ) {
        let server = OneAnswer::new(YES).await;
        let endpoint = server.endpoint();
        let host = server.listener.local_addr().unwrap().to_string();
        let client = client(method, Timeouts::default());
        let credentials = credentials(security_token);
        let ((head, body), _) =
            tokio::join!(server.serve(), reset(&client, &endpoint, &credentials));

        let request = ApiRequest {
            host: &host,
            action: "ResetAccountPassword",
            version: "2014-08-15",
            parameters: &[
                ("DBInstanceId", "rm-1"),
                ("AccountName", "app"),
                ("AccountPassword", PASSWORD),
            ],
        };
        let signed = method.sign(&request, &signer(&credentials)).unwrap();
        let (request_line, headers) = head.split_once("\r\n").unwrap();
        assert_eq!(request_line, format!("POST /?{} HTTP/1.1", *signed.query));
        assert_eq!(body, *signed.body);
        let mut sent: Vec<_> = headers
            .lines()
            .map(|line| line.split_once(": ").unwrap())
            .filter(|(name, _)| !["accept", "user-agent"].contains(name))
            .collect();
        sent.sort_unstable();
        let length = body.len().to_string();
        let mut expected: Vec<_> = signed
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .chain([("host", host.as_str()), ("content-length", &length)])
            .collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(sent, expected);
        assert!(headers.contains("accept: application/json"));
    }

    #[rstest]
    #[case::in_the_body(HmacSha1, false)]
    #[case::in_the_url(Acs3HmacSha256, true)]
    #[tokio::test]
    async fn the_password_travels_in_one_place(
        #[case] method: SignatureMethod,
        #[case] in_the_url: bool,
    ) {
        let ((head, body), _) = exchange(YES, method).await;
        let (url, headers) = head.split_once("\r\n").unwrap();
        let has =
            |text: &str| text.contains("AccountPassword=Aa1%21%40%23%24%25%5E%26%2A%28%29_%2B-%3D");
        assert_eq!(
            (has(url), has(&body), headers.contains("Aa1")),
            (in_the_url, !in_the_url, false)
        );
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_sent_are_told() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap())
            .parse()
            .unwrap();
        let client = client(Acs3HmacSha256, Timeouts::default());
        let error = reset(&client, &endpoint, &credentials(Some("to\nken"))).await;
        let error = error.unwrap_err();
        assert_eq!(error.reason(), Reason::CredentialsUnavailable);
        assert!(error.credentials_rejected() && !error.outcome_unknown());
        assert!(server.accept().now_or_never().is_none());
    }

    #[rstest]
    #[case::nothing("", "broken")]
    #[case::not_http("SSH-2.0-OpenSSH\r\n", "broken")]
    #[case::cut_short(&YES[..YES.len() - 1], "broken")]
    #[case::empty("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "unreadable")]
    #[case::page(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\n<html>",
        "unreadable"
    )]
    #[tokio::test]
    async fn no_proper_answer_is_a_passing_fault(#[case] answer: &str, #[case] label: &str) {
        let (_, outcome) = exchange(answer, HmacSha1).await;
        let error = outcome.unwrap_err();
        assert_eq!(
            (error.label(), error.class(), error.outcome_unknown()),
            (label, Class::Transient, true)
        );
        assert!(error.host().unwrap().to_string().starts_with("127.0.0.1:"));
    }

    #[rstest]
    #[case::announced(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LONGEST_ANSWER + 1))]
    #[case::not_announced("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned())]
    #[tokio::test]
    async fn a_longer_answer_is_not_read_to_its_end(#[case] head: String) {
        let answer = head + r#"{"RequestId":"1"}"# + &" ".repeat(LONGEST_ANSWER);
        let (_, outcome) = exchange(answer, HmacSha1).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.label(), error.status()), ("unreadable", Some(200)));
    }

    #[tokio::test]
    async fn the_longest_answer_is_read() {
        let body = r#"{"RequestId":"1"}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}{}",
            " ".repeat(LONGEST_ANSWER - body.len())
        );
        let (_, outcome) = exchange(answer, HmacSha1).await;
        assert_eq!(outcome.unwrap().as_str(), "1");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = elsewhere.local_addr().unwrap();
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{location}/\r\ncontent-length: 0\r\n\r\n"
        );
        let (_, outcome) = exchange(answer, HmacSha1).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.label(), error.status()), ("unreadable", Some(307)));
        assert!(elsewhere.accept().now_or_never().is_none());
    }

    #[rstest]
    #[case::the_older_headers("Throttling.User", "", 3500)]
    #[case::the_newer_one_first("Throttling.User", "x-acs-retry-after: 700\r\n", 700)]
    #[case::the_newer_one_makes_it_so("InternalError", "X-Acs-Retry-After: 700\r\n", 700)]
    #[tokio::test]
    async fn throttling_says_for_how_long(
        #[case] code: &str,
        #[case] header: &str,
        #[case] milliseconds: u64,
    ) {
        let body = format!(r#"{{"Code":"{code}","Message":"denied","RequestId":"R-1"}}"#);
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\n{header}\
             x-ratelimit-user-api: Limit:1,Remain:0,TimeLeft:2000,Reset:1\r\n\
             X-RateLimit-User: Limit:9,Remain:0,TimeLeft:3500,Reset:1\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (_, outcome) = exchange(answer, HmacSha1).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.class(), Class::Throttled);
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_millis(milliseconds))
        );
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap())
            .parse()
            .unwrap();
        let client = client(HmacSha1, Timeouts::default());
        let credentials = credentials(None);
        let password = Password::from_bytes(PASSWORD.as_bytes()).unwrap();
        let outcome = client
            .reset_account_password(
                &endpoint,
                signer(&credentials),
                "rm-1",
                "app",
                &password,
                Duration::from_millis(100),
            )
            .await;
        assert_eq!(
            outcome,
            Err(CallError::Transport(Transport::Timeout, endpoint.name()))
        );
    }

    #[tokio::test]
    async fn a_closed_port_is_told_apart() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap())
            .parse()
            .unwrap();
        drop(server);
        let error = reset(
            &client(HmacSha1, Timeouts::default()),
            &endpoint,
            &credentials(None),
        )
        .await;
        let error = error.unwrap_err();
        assert_eq!(
            error,
            CallError::Transport(Transport::Connect, endpoint.name())
        );
        assert!(!error.outcome_unknown());
    }

    /// A region that no DNS can have an address for, so that the system says so without asking a name server.
    #[tokio::test]
    async fn a_host_that_does_not_exist_is_told_apart() {
        let region = "a".repeat(64).parse().unwrap();
        let endpoint = Endpoint::of_region(&region, crate::rds::endpoint::Network::Vpc);
        // Through no proxy, which would do the lookup.
        let client = RdsClient {
            encrypted: client(HmacSha1, Timeouts::default()).loopback,
            ..client(HmacSha1, Timeouts::default())
        };
        let error = reset(&client, &endpoint, &credentials(None)).await;
        let error = error.unwrap_err();
        assert_eq!(
            error,
            CallError::Transport(Transport::NoSuchHost, endpoint.name())
        );
        assert_eq!(error.reason(), Reason::EndpointNotFound);
        assert!(!error.outcome_unknown());
    }

    /// Only the absence of the host that was to be called is told as that. The names are answered without a name server.
    #[rstest]
    #[case::looked_up(None, "http://HOST/", Transport::NoSuchHost)]
    #[case::no_name_for_tls(None, "https://HOST/", Transport::NoSuchHost)]
    #[case::a_proxy_that_is_not_there(
        Some("http://HOST:1/"),
        "http://other.example/",
        Transport::Connect
    )]
    #[tokio::test]
    async fn which_host_is_not_there(
        #[case] proxy: Option<&str>,
        #[case] url: &str,
        #[case] expected: Transport,
    ) {
        let with_host = |url: &str| url.replace("HOST", &format!("rds.{}.example", "a".repeat(64)));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let proxy = proxy.map(|proxy| reqwest::Proxy::all(with_host(proxy)).unwrap());
        let client = Client::builder().no_proxy().dns_resolver(SystemResolver);
        let client = match proxy {
            Some(proxy) => client.proxy(proxy),
            None => client,
        };
        let client = client.build().unwrap();
        let error = client.get(with_host(url)).send().await.unwrap_err();
        assert_eq!(transport(&error), expected, "{error:?}");
    }

    #[tokio::test]
    async fn a_server_without_tls_gets_nothing_over_https() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", server.local_addr().unwrap())
            .parse()
            .unwrap();
        let answer_in_clear = async {
            let (mut connection, _) = server.accept().await.unwrap();
            connection.write_all(YES.as_bytes()).await.unwrap();
            let mut sent = Vec::new();
            connection.read_to_end(&mut sent).await.unwrap();
            sent
        };
        let client = client(HmacSha1, Timeouts::default());
        let credentials = credentials(None);
        let (sent, outcome) =
            tokio::join!(answer_in_clear, reset(&client, &endpoint, &credentials));
        assert_eq!(
            outcome,
            Err(CallError::Transport(Transport::Tls, endpoint.name()))
        );
        assert!(!String::from_utf8_lossy(&sent).contains("Action"));
    }

    /// Bytes that could be an answer: none at all, headers of all kinds, or an error that repeats the password.
    fn answers() -> impl Strategy<Value = Vec<u8>> {
        let anything = proptest::collection::vec(any::<u8>(), 0..300);
        let nearly = (100..600_u16, proptest::collection::vec(any::<u8>(), 0..100)).prop_map(
            |(status, body)| {
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                [head.into_bytes(), body].concat()
            },
        );
        let echo = (200..600_u16, "[A-Za-z.]{0,12}", "[A-Za-z.]{0,12}").prop_map(
            |(status, before, after)| {
                let echo = format!("{before}{PASSWORD}{after}");
                let body =
                    format!(r#"{{"Code":"{echo}","Message":"{echo}","RequestId":"{echo}"}}"#);
                format!(
                    "HTTP/1.1 {status} {PASSWORD}\r\nx-echo: {PASSWORD}\r\nlocation: {PASSWORD}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            },
        );
        prop_oneof![anything, nearly, echo]
    }

    proptest! {
        #[test]
        fn a_url_keeps_the_query_that_was_signed(name in any::<String>(), value in any::<String>()) {
            let endpoint: Endpoint = "https://rds.aliyuncs.com".parse().unwrap();
            let query = signature::encode_pairs(&[(&name, &value)]);
            let url = endpoint.url(&query);
            prop_assert_eq!(url.query(), Some(query.as_str()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_answer_makes_it_panic_or_tell_the_password(
            answer in answers(),
            method in prop_oneof![Just(HmacSha1), Just(Acs3HmacSha256)],
        ) {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (_, outcome) = runtime.block_on(exchange(answer, method));
            let shown = match outcome {
                Ok(id) => format!("{id} {id:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(PASSWORD), "it is told");
        }
    }
}
