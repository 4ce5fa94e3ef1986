//! Sends one signed request and reads its answer. Retries, waiting and sharing are the callers' affair.

use std::{fmt, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Client, Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
    redirect, retry,
};
use secrecy::ExposeSecret;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    credentials::Credentials,
    endpoint::Endpoint,
    error::{CallError, RequestId, Transport},
    identifier::Secrets,
    password::Password,
    response::{ACCOUNTS_PER_PAGE, AccountStatus, Answer, DbInstance, time_left},
    signature,
};

/// RDS' version of the API (that of ECS, `2014-05-26`, looks much the same).
const API_VERSION: &str = "2014-08-15";

/// Real answers have a few KiB; 200 accounts with their privileges stay far below this.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// A server that closes an idle connection at the very moment at which a request is sent makes that request's outcome
/// unknown. So idle connections are closed here first, well before load balancers do it (usually after 60 s).
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// How long to wait for the cloud.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For a read's whole answer.
    pub read: Duration,
    /// For a reset's whole answer. Longer than for a read: RDS runs SQL in the instance for it, and giving up early
    /// only turns a success into an unknown outcome.
    pub reset: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // The official SDKs' values for a connection and an answer.
            connect: Duration::from_secs(5),
            read: Duration::from_secs(10),
            reset: Duration::from_secs(20),
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

/// Makes a request unique: RDS refuses one that it has seen.
pub struct Nonce(pub(crate) String);

impl Nonce {
    /// From random bytes, fresh for each send.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// With what, and as of when, one request is signed.
pub struct Signer<'a> {
    /// Whose request it is.
    pub credentials: &'a Credentials,
    /// The time of sending; RDS takes 15 minutes of difference.
    pub now: Timestamp,
    /// Not used before.
    pub nonce: Nonce,
}

/// Sends requests to RDS' API. A clone shares the connections.
#[derive(Clone)]
pub struct RdsClient {
    /// Refuses `http://`, and uses a proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`), as is usual: TLS
    /// goes through it unopened.
    encrypted: Client,
    /// For an endpoint on this machine itself. Never through a proxy, which would read the password.
    loopback: Client,
    timeouts: Timeouts,
}

impl fmt::Debug for RdsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdsClient")
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl RdsClient {
    /// Sets the client up. The process must have installed rustls' default cryptographic provider before.
    ///
    /// # Errors
    /// If there is no such provider, or no certificate authorities to trust.
    pub fn new(timeouts: Timeouts) -> Result<Self, ClientError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ClientError::NoCryptographicProvider);
        }
        let builder = || {
            Client::builder()
                .user_agent(concat!("rds-password-operator/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(timeouts.connect)
                .pool_idle_timeout(IDLE_CONNECTION)
                // A redirect would send the signed request, password included, to a host that nobody configured.
                .redirect(redirect::Policy::none())
                // Each send needs a nonce and a timestamp of its own.
                .retry(retry::never())
                .referer(false)
        };
        Ok(Self {
            encrypted: builder()
                .https_only(true)
                .build()
                .map_err(ClientError::Setup)?,
            loopback: builder().no_proxy().build().map_err(ClientError::Setup)?,
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
    ) -> Result<RequestId, CallError> {
        let request = Request {
            action: "ResetAccountPassword",
            parameters: &[
                ("DBInstanceId", instance_id),
                ("AccountName", account_name),
                ("AccountPassword", password.expose()),
            ],
            timeout: self.timeouts.reset,
        };
        let answer = self.send(endpoint, &signer, &request).await?;
        answer.accepted(&Secrets(&[password.expose(), token(signer.credentials)]))
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
        answer.db_instance(instance_id, &Secrets(&[token(signer.credentials)]))
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
        answer.account(account_name, &Secrets(&[token(signer.credentials)]))
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
        let response = client
            .post(endpoint.url(&request.signed_query(signer)))
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            // Zeroed when it is sent. The copies in the buffers of the HTTP and TLS libraries are not.
            .body(Bytes::from_owner(signature::encode_pairs(
                request.parameters,
            )))
            .timeout(request.timeout)
            .send()
            .await
            .map_err(|error| transport(&error))?;
        read(response).await
    }
}

/// An action and its own parameters, which go into the body.
struct Request<'a> {
    action: &'a str,
    parameters: &'a [(&'a str, &'a str)],
    timeout: Duration,
}

impl Request<'_> {
    /// The query: the parameters that all actions have, and the signature over these and the action's own.
    fn signed_query(&self, signer: &Signer<'_>) -> Zeroizing<String> {
        // RDS takes whole seconds in UTC.
        let timestamp = signer.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut query = vec![
            ("Action", self.action),
            ("Version", API_VERSION),
            // XML otherwise.
            ("Format", "JSON"),
            ("AccessKeyId", &signer.credentials.access_key_id),
            ("SignatureMethod", signature::METHOD),
            ("SignatureVersion", signature::VERSION),
            ("SignatureNonce", &signer.nonce.0),
            ("Timestamp", &timestamp),
        ];
        if let Some(token) = &signer.credentials.security_token {
            query.push(("SecurityToken", token.expose_secret()));
        }
        let signature = signature::sign(
            "POST",
            &[query.as_slice(), self.parameters].concat(),
            signer.credentials.access_key_secret.expose_secret(),
        );
        query.push(("Signature", &signature));
        signature::encode_pairs(&query)
    }
}

fn token(credentials: &Credentials) -> &str {
    credentials
        .security_token
        .as_ref()
        .map_or("", |token| token.expose_secret())
}

async fn read(mut response: Response) -> Result<Answer, CallError> {
    let status = response.status().as_u16();
    let time_left = time_left(
        ["x-ratelimit-user-api", "x-ratelimit-user"]
            .iter()
            .flat_map(|name| response.headers().get_all(*name))
            .filter_map(|value| value.to_str().ok()),
    );
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(CallError::Unreadable { status });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        time_left,
        body,
    })
}

/// Keeps the kind of a failure and nothing of its text.
pub(crate) fn transport(error: &reqwest::Error) -> CallError {
    CallError::Transport(if error.is_connect() && is_about_tls(error) {
        Transport::Tls
    } else if error.is_connect() {
        Transport::Connect
    } else if error.is_timeout() {
        Transport::Timeout
    } else {
        Transport::Broken
    })
}

fn is_about_tls(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
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
    false
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{collections::BTreeMap, io};

    use futures::FutureExt;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::SecretString;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::rds::error::Class;

    const PASSWORD: &str = "Aa1!@#$%^&*()_+-=";
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

    fn client(timeouts: Timeouts) -> RdsClient {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        RdsClient::new(timeouts).unwrap()
    }

    async fn reset(
        client: &RdsClient,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<RequestId, CallError> {
        let signer = Signer {
            credentials,
            now: "2026-11-24T08:00:00.9Z".parse().unwrap(),
            nonce: Nonce::from_random([7; 16]),
        };
        let password = Password::from_bytes(PASSWORD.as_bytes()).unwrap();
        client
            .reset_account_password(endpoint, signer, "rm-1", "app", &password)
            .await
    }

    /// Resets against a server that answers so; the request, and the outcome.
    async fn exchange(
        answer: impl Into<Vec<u8>>,
        credentials: &Credentials,
    ) -> ((String, String), Result<RequestId, CallError>) {
        let server = OneAnswer::new(answer).await;
        let endpoint = server.endpoint();
        let client = client(Timeouts::default());
        tokio::join!(server.serve(), reset(&client, &endpoint, credentials))
    }

    fn decode(pairs: &str) -> BTreeMap<String, String> {
        let decode = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        pairs
            .split('&')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    #[rstest]
    #[case(None)]
    #[case(Some("token/+="))]
    #[tokio::test]
    async fn the_password_is_in_the_body_and_all_is_signed(#[case] security_token: Option<&str>) {
        let ((head, body), _) = exchange(YES, &credentials(security_token)).await;

        let request_line = head.lines().next().unwrap();
        let query = request_line
            .strip_prefix("POST /?")
            .and_then(|rest| rest.strip_suffix(" HTTP/1.1"))
            .unwrap();
        let mut query = decode(query);
        let signature = query.remove("Signature").unwrap();
        let mut expected = BTreeMap::from(
            [
                ("AccessKeyId", "testid"),
                ("Action", "ResetAccountPassword"),
                ("Format", "JSON"),
                ("SignatureMethod", "HMAC-SHA1"),
                ("SignatureNonce", "07070707070707070707070707070707"),
                ("SignatureVersion", "1.0"),
                ("Timestamp", "2026-11-24T08:00:00Z"),
                ("Version", "2014-08-15"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        if let Some(token) = security_token {
            expected.insert("SecurityToken".to_owned(), token.to_owned());
        }
        assert_eq!(query, expected);

        let body = decode(&body);
        assert_eq!(
            body.iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect::<Vec<_>>(),
            [
                ("AccountName", "app"),
                ("AccountPassword", PASSWORD),
                ("DBInstanceId", "rm-1")
            ]
        );
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/x-www-form-urlencoded"));
        let encoded = signature::encode_pairs(&[("", PASSWORD)]).to_ascii_lowercase();
        assert!(!head.contains(encoded.trim_start_matches('=')) && !head.contains("aa1!"));

        let all: Vec<_> = query
            .iter()
            .chain(&body)
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(signature, signature::sign("POST", &all, "testsecret"));
    }

    #[rstest]
    #[case::nothing("", CallError::Transport(Transport::Broken))]
    #[case::not_http("SSH-2.0-OpenSSH\r\n", CallError::Transport(Transport::Broken))]
    #[case::cut_short(&YES[..YES.len() - 1], CallError::Transport(Transport::Broken))]
    #[case::empty("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", CallError::Unreadable { status: 200 })]
    #[case::page("HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\n<html>", CallError::Unreadable { status: 403 })]
    #[tokio::test]
    async fn no_proper_answer_is_a_passing_fault(#[case] answer: &str, #[case] error: CallError) {
        let (_, outcome) = exchange(answer, &credentials(None)).await;
        assert_eq!(outcome, Err(error.clone()));
        assert_eq!(
            (error.class(), error.outcome_unknown()),
            (Class::Transient, true)
        );
    }

    #[rstest]
    #[case::announced(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LONGEST_ANSWER + 1))]
    #[case::not_announced("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned())]
    #[tokio::test]
    async fn a_longer_answer_is_not_read_to_its_end(#[case] head: String) {
        let answer = head + r#"{"RequestId":"1"}"# + &" ".repeat(LONGEST_ANSWER);
        let (_, outcome) = exchange(answer, &credentials(None)).await;
        assert_eq!(outcome, Err(CallError::Unreadable { status: 200 }));
    }

    #[tokio::test]
    async fn the_longest_answer_is_read() {
        let body = r#"{"RequestId":"1"}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}{}",
            " ".repeat(LONGEST_ANSWER - body.len())
        );
        let (_, outcome) = exchange(answer, &credentials(None)).await;
        assert_eq!(outcome.unwrap().as_str(), "1");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = elsewhere.local_addr().unwrap();
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{location}/\r\ncontent-length: 0\r\n\r\n"
        );
        let (_, outcome) = exchange(answer, &credentials(None)).await;
        assert_eq!(outcome, Err(CallError::Unreadable { status: 307 }));
        assert!(elsewhere.accept().now_or_never().is_none());
    }

    #[tokio::test]
    async fn throttling_says_for_how_long() {
        let body = r#"{"Code":"Throttling.User","Message":"denied","RequestId":"R-1"}"#;
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\n\
             x-ratelimit-user-api: Limit:1,Remain:0,TimeLeft:2000,Reset:1\r\n\
             X-RateLimit-User: Limit:9,Remain:0,TimeLeft:3500,Reset:1\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (_, outcome) = exchange(answer, &credentials(None)).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.class(), Class::Throttled);
        assert_eq!(error.retry_after(), Some(Duration::from_millis(3500)));
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap())
            .parse()
            .unwrap();
        let client = client(Timeouts {
            reset: Duration::from_millis(100),
            ..Timeouts::default()
        });
        let outcome = reset(&client, &endpoint, &credentials(None)).await;
        assert_eq!(outcome, Err(CallError::Transport(Transport::Timeout)));
    }

    #[tokio::test]
    async fn a_closed_port_is_told_apart() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap())
            .parse()
            .unwrap();
        drop(server);
        let error = reset(&client(Timeouts::default()), &endpoint, &credentials(None)).await;
        let error = error.unwrap_err();
        assert_eq!(error, CallError::Transport(Transport::Connect));
        assert!(!error.outcome_unknown());
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
        let client = client(Timeouts::default());
        let credentials = credentials(None);
        let (sent, outcome) =
            tokio::join!(answer_in_clear, reset(&client, &endpoint, &credentials));
        assert_eq!(outcome, Err(CallError::Transport(Transport::Tls)));
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
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_answer_makes_it_panic_or_tell_the_password(answer in answers()) {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (_, outcome) = runtime.block_on(exchange(answer, &credentials(None)));
            let shown = match outcome {
                Ok(id) => format!("{id} {id:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(PASSWORD), "it is told");
        }
    }
}
