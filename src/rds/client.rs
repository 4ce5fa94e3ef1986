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
            // The official SDKs' value.
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
pub struct Nonce(String);

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
fn transport(error: &reqwest::Error) -> CallError {
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
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.into_iter().any(|cause| {
        // An I/O error does not name the error within it as its source.
        let inner = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause.is::<rustls::Error>()
            || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
    })
}
