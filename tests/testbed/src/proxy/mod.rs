//! The network between a client and the API server, and what can go wrong in it.

mod request;
mod server;
mod state;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use hyper::body::Bytes;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub use self::request::{ApiRequest, Matcher, Verb};
pub use self::state::Exchange;

use self::server::Proxy;
use self::state::{Answer, Effect, ScriptId, State};

/// A reverse proxy in front of an API server. Clients reach it at [`url`](Self::url) over plain HTTP; it passes on what
/// they send, their token with it, and sends back each piece of an answer as it comes.
///
/// What goes wrong is scripted, takes effect at once, and lasts until [`mend`](Self::mend) unless it is for a number of
/// requests. A request is held first; then a scripted answer goes ahead of a refusal, so that after
/// [`cut_watches`](Self::cut_watches) the next watch can be answered by script. Of several scripted answers, the oldest
/// comes first.
///
/// Dropping it closes its port and all connections.
pub struct ApiProxy {
    proxy: Arc<Proxy>,
    address: SocketAddr,
    accepting: AbortHandle,
}

/// What an API server says with this HTTP status.
#[must_use]
pub fn failure(code: u16) -> Value {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "scripted",
        "reason": reason,
        "code": code,
    })
}

impl ApiProxy {
    /// Starts one on a free port of 127.0.0.1, for the API server at this URL, whose certificate is signed with the one in
    /// this PEM file.
    ///
    /// # Errors
    /// When the file is not as it should be, or no port can be opened.
    pub async fn start(server: &str, certificate_authority: &Path) -> Result<Self> {
        // Without a provider, reqwest's builder panics; it is as well if there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = fs::read(certificate_authority)
            .with_context(|| format!("cannot read {}", certificate_authority.display()))?;
        let upstream = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&certificate)?])
            // What is answered is for the client to see, a redirect too.
            .redirect(Policy::none())
            // The environment may name a proxy for what is far away.
            .no_proxy()
            .http1_only()
            .build()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let proxy = Arc::new(Proxy {
            upstream,
            server: server.trim_end_matches('/').to_owned(),
            state: watch::Sender::new(State::default()),
        });
        let accepting = tokio::spawn(server::serve(listener, Arc::clone(&proxy))).abort_handle();
        Ok(Self {
            proxy,
            address,
            accepting,
        })
    }

    /// Where clients reach it, such as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts the network: resets all connections, and each new one as soon as it is there.
    pub fn cut(&self) {
        self.proxy.update(State::cut);
    }

    /// Breaks off the lists and watches of a resource such as `secrets`, and closes the connection of each that is asked
    /// for later. All else goes on, reading single objects of that resource included.
    pub fn cut_watches(&self, resource: &str) {
        self.proxy.update(|state| state.cut_watches(resource));
    }

    /// Answers the next `times` matching requests with this status and JSON instead of passing them on. A watch gets this
    /// text for its events, and ends after it.
    pub fn answer_instead(
        &self,
        matcher: Matcher,
        times: usize,
        status: u16,
        body: impl Into<Bytes>,
    ) {
        let body = body.into();
        let answer = Answer { status, body };
        self.add(
            matcher,
            Effect::Answer {
                left: times,
                answer,
            },
        );
    }

    /// Answers so many requests itself, with what an API server says that refuses or fails.
    pub fn refuse(&self, matcher: Matcher, times: usize, code: u16) {
        self.answer_instead(matcher, times, code, failure(code).to_string());
    }

    /// Passes the next `times` matching requests on, and closes their connections instead of answering: what they ask for
    /// is done, and the client does not learn of it.
    pub fn lose_answer(&self, matcher: Matcher, times: usize) {
        self.add(matcher, Effect::LoseAnswer { left: times });
    }

    /// Changes the body of each answer to a matching request. Watches stay as they are.
    pub fn rewrite(&self, matcher: Matcher, edit: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) {
        self.add(matcher, Effect::Rewrite(Arc::new(edit)));
    }

    /// Holds matching requests before they are passed on, until released. One whose client goes away is never passed on.
    #[must_use = "dropping a hold releases its requests"]
    pub fn hold(&self, matcher: Matcher) -> Hold {
        Hold {
            script: self.add(matcher, Effect::Hold),
            proxy: Arc::clone(&self.proxy),
        }
    }

    /// Ends everything that was scripted: from now on all is passed on, held requests included.
    pub fn mend(&self) {
        self.proxy.update(State::mend);
    }

    /// All requests since the start, in the order of arrival.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.proxy.state.borrow().exchanges().to_vec()
    }

    /// Waits until the requests so far are as described, and returns them. The condition must not call the proxy.
    ///
    /// # Errors
    /// When that takes longer than `limit`, with the requests as they are then.
    pub async fn wait_for(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&[Exchange]) -> bool,
    ) -> Result<Vec<Exchange>> {
        wait_until(&self.proxy, limit, |state| condition(state.exchanges())).await?;
        Ok(self.exchanges())
    }

    fn add(&self, matcher: Matcher, effect: Effect) -> ScriptId {
        self.proxy.update(|state| state.add(matcher, effect))
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        // A connection that is being accepted meanwhile is not let in either.
        self.cut();
    }
}

/// Requests that are held, see [`ApiProxy::hold`]. Dropping it releases them.
pub struct Hold {
    script: ScriptId,
    proxy: Arc<Proxy>,
}

impl Hold {
    /// How many requests are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.proxy.state.borrow().held(self.script)
    }

    /// Waits until so many requests are held.
    ///
    /// # Errors
    /// When that takes longer than `limit`, with the requests as they are then.
    pub async fn wait_for_held(&self, requests: usize, limit: Duration) -> Result<()> {
        wait_until(&self.proxy, limit, |state| {
            state.held(self.script) >= requests
        })
        .await
    }

    /// Passes the held requests on, and holds no more.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.proxy.update(|state| state.remove(self.script));
    }
}

async fn wait_until(
    proxy: &Proxy,
    limit: Duration,
    mut condition: impl FnMut(&State) -> bool,
) -> Result<()> {
    let mut state = proxy.state.subscribe();
    let fulfilled = async {
        // It cannot fail: the sender is borrowed here. Its answer holds the state's lock, and goes at once.
        let _ = state.wait_for(|state| condition(state)).await;
    };
    timeout(limit, fulfilled).await.map_err(|_| {
        let exchanges = proxy.state.borrow().exchanges().to_vec();
        anyhow!("not seen within {limit:?}; the requests so far: {exchanges:#?}")
    })
}
