//! How the sources talk HTTP: no redirects, no retries, small answers, and nothing of an error's text.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url};
use zeroize::Zeroizing;

use crate::rds::client::{ClientError, http_clients, transport};
use crate::rds::endpoint::Endpoint;
use crate::rds::error::Transport;
use crate::rds::requested_wait::RequestedWait;

/// The official SDKs' value.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A security token has no documented limit; real answers have 1 to 4 KiB.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Sends requests of the sources.
#[derive(Clone)]
pub(super) struct Http {
    /// Takes TLS only, through a proxy that the environment names.
    encrypted: Client,
    /// For this machine itself and for the metadata service, which no proxy could reach in its place.
    direct: Client,
}

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: u16,
    /// What the headers ask for.
    pub(super) wait: RequestedWait,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpError {
    /// None came.
    Transport(Transport),
    /// It is far too long for what was asked.
    TooLong,
}

impl Http {
    pub(super) fn new() -> Result<Self, ClientError> {
        let (encrypted, direct) = http_clients(|builder| {
            builder
                .connect_timeout(CONNECT_TIMEOUT)
                // Minutes lie between two requests, so that a connection that is kept would mostly be found closed.
                .pool_max_idle_per_host(0)
        })?;
        Ok(Self { encrypted, direct })
    }

    /// The client for an endpoint.
    pub(super) fn to(&self, endpoint: &Endpoint) -> &Client {
        if endpoint.is_encrypted() {
            &self.encrypted
        } else {
            &self.direct
        }
    }

    /// The client for a URL that was found to be allowed.
    pub(super) fn to_url(&self, url: &Url) -> &Client {
        if url.scheme() == "https" {
            &self.encrypted
        } else {
            &self.direct
        }
    }
}

/// Sends a request, and reads its answer within `timeout`.
pub(super) async fn exchange(
    request: RequestBuilder,
    timeout: Duration,
) -> Result<Answer, HttpError> {
    let lost = |error: reqwest::Error| HttpError::Transport(transport(&error));
    let mut response = request.timeout(timeout).send().await.map_err(lost)?;
    let status = response.status().as_u16();
    let wait = RequestedWait::of(response.headers());
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(HttpError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, wait, body })
}
