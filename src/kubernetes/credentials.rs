//! Credentials that the API server no longer accepts.
//!
//! kube reads a file with a token again once in 50 s (kube-client 5.0.0, `TokenFile`), and runs a credential plugin again only
//! when its token is about to expire. A token may become invalid earlier: with its ServiceAccount. So, as client-go does, a 401
//! makes the credentials anew (`ResetTokenOlderThan` in
//! <https://github.com/kubernetes/client-go/blob/master/transport/token_source.go>, and `maybeRefreshCreds` in
//! <https://github.com/kubernetes/client-go/blob/master/plugin/pkg/client/auth/exec/exec.go>).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Request, Response, StatusCode};
use kube::client::Body;
use kube::{Client, Config};
use tracing::{info, warn};

use crate::api_server::ApiServerError;
use crate::proxy;

/// Called for each answer that refuses the credentials.
pub type OnUnauthorized = Arc<dyn Fn() + Send + Sync>;

/// How long after the credentials were made anew they may be made anew again. A token that is in the file already is taken at
/// once, and one that comes later is taken this much later, or with the next request.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// A client whose credentials are made anew where the API server refuses them. A clone is the same client.
#[derive(Clone)]
pub(super) struct RenewedClient(Arc<Shared>);

struct Shared {
    config: Config,
    on_unauthorized: OnUnauthorized,
    state: Mutex<State>,
}

struct State {
    client: Client,
    /// When the credentials were last made anew.
    renewed: Option<Instant>,
    /// Whether they are being made anew. A credential plugin may hang, and takes a thread and a process for so long.
    is_renewing: bool,
    is_refused: bool,
}

impl RenewedClient {
    pub(super) fn new(config: Config, on_unauthorized: OnUnauthorized) -> kube::Result<Self> {
        let state = State {
            client: proxy::client(config.clone())?,
            renewed: None,
            is_renewing: false,
            is_refused: false,
        };
        Ok(Self(Arc::new(Shared {
            config,
            on_unauthorized,
            state: Mutex::new(state),
        })))
    }

    /// As kube's client. A request that is refused is not sent again: what asks for it tries again by itself.
    pub(super) async fn send(&self, request: Request<Body>) -> kube::Result<Response<Body>> {
        let client = self.state().client.clone();
        let answer = client.send(request).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.refused();
        } else {
            self.accepted();
        }
        Ok(answer)
    }

    fn accepted(&self) {
        if std::mem::take(&mut self.state().is_refused) {
            info!("the API server accepts the operator's credentials again");
        }
    }

    fn refused(&self) {
        (self.0.on_unauthorized)();
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_refused, true) {
            warn!(
                error = %ApiServerError::Unauthorized,
                "the operator's credentials are read again from where the kubeconfig or the pod has them"
            );
        }
        let now = Instant::now();
        let is_recent = |renewed| now.duration_since(renewed) < AT_MOST_EVERY;
        if !state.is_renewing && !state.renewed.is_some_and(is_recent) {
            state.renewed = Some(now);
            state.is_renewing = true;
            // Apart from the request, since a credential plugin is a process that is waited for.
            let client = self.clone();
            tokio::task::spawn_blocking(move || client.renew());
        }
    }

    /// Makes the client anew, and with it its credentials. Where that fails, as without the file, the old ones are kept.
    fn renew(&self) {
        let client = proxy::client(self.0.config.clone());
        let mut state = self.state();
        state.is_renewing = false;
        if let Ok(client) = client {
            state.client = client;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so the state is whole after any panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    /// An API server that accepts the token `new`, and no other.
    async fn api_server() -> String {
        let answer = |headers: HeaderMap| async move {
            match headers.get("authorization") {
                Some(token) if token == "Bearer new" => StatusCode::OK,
                _ => StatusCode::UNAUTHORIZED,
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/")
    }

    async fn status(client: &RenewedClient, url: &str) -> StatusCode {
        let request = Request::get(url).body(Body::empty()).unwrap();
        client.send(request).await.unwrap().status()
    }

    /// kube alone would go on with the token that it has for 50 s.
    #[tokio::test]
    async fn a_401_reads_the_file_with_the_token_again() {
        let url = api_server().await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "old").unwrap();
        let mut config = Config::new(url.parse().unwrap());
        config.auth_info.token_file = Some(file.display().to_string());
        let refusals = Arc::new(AtomicUsize::new(0));
        let counted = refusals.clone();
        let on_unauthorized = Arc::new(move || {
            counted.fetch_add(1, SeqCst);
        });
        let client = RenewedClient::new(config, on_unauthorized).unwrap();

        std::fs::write(&file, "new").unwrap();
        let began = Instant::now();
        while status(&client, &url).await != StatusCode::OK {
            assert!(began.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(refusals.load(SeqCst) >= 1);
        assert!(!client.state().is_refused);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_keeps_the_client() {
        let url = api_server().await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "old").unwrap();
        let mut config = Config::new(url.parse().unwrap());
        config.auth_info.token_file = Some(file.display().to_string());
        let client = RenewedClient::new(config, Arc::new(|| ())).unwrap();
        std::fs::remove_file(&file).unwrap();
        client.renew();
        assert_eq!(status(&client, &url).await, StatusCode::UNAUTHORIZED);
        std::fs::write(&file, "new").unwrap();
        client.renew();
        assert_eq!(status(&client, &url).await, StatusCode::OK);
    }
}
