//! The clients of the Kubernetes API, and how long they wait.
//!
//! Both without kube's retries, of which there would be up to fifteen, as far apart as a `Retry-After` says: a pass that fails
//! comes again, and so does a try to renew the lease.

mod credentials;

use std::time::Duration;

use axum::http::StatusCode;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;
use tower::{BoxError, service_fn};
use tracing::info;

use crate::api_server::ApiServerError;
use crate::leader::Timings;
use crate::proxy::{self, ProxyError};
use credentials::RenewedClient;

pub use credentials::OnUnauthorized;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take to begin. This is for lists and watches, which have no deadline in kube; everything else has a
/// shorter one where it is asked. Far more than a page of a list takes, and than a request waits in the API server's queues
/// (a quarter of its own minute).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer may pause. Longer than a watch, which may be silent for all of its life (180 s) and five seconds more.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(190);

/// Why the cluster is not known.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is neither a kubeconfig that can be used nor a ServiceAccount.
    #[error(
        "no kubeconfig and no ServiceAccount to reach a cluster with: kubeconfig: {}; ServiceAccount: {service_account}",
        told(.kubeconfig)
    )]
    NoCluster {
        /// Why there is no kubeconfig.
        kubeconfig: KubeconfigError,
        /// Why there is no ServiceAccount.
        service_account: InClusterError,
    },
    /// The server of the kubeconfig is behind a proxy that is none.
    #[error("the API server cannot be reached: {0}")]
    Proxy(#[from] ProxyError),
}

/// kube's words, but where they may quote the file, which holds keys and tokens.
fn told(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => {
            "it is not what a kubeconfig is; check it with `kubectl config view`".to_owned()
        }
        KubeconfigError::ParseProxyUrl(_) => {
            "proxy-url, or HTTPS_PROXY in the environment, is not the URL of a proxy".to_owned()
        }
        error => error.to_string(),
    }
}

/// kube's words for why a client could not be made, but where they quote what a program of the kubeconfig printed, which may be
/// a token.
#[must_use]
pub fn client_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(_) => "the kubeconfig's user cannot log in, by its exec plugin, its auth-provider or its token file; `kubectl get --raw /readyz` with this kubeconfig shows why".to_owned(),
        error => error.to_string(),
    }
}

/// The kubeconfig, or the pod's ServiceAccount.
///
/// A kubeconfig comes with the proxy that kubectl would take. For a ServiceAccount there is none: the API server's address is
/// inside the cluster, where `HTTPS_PROXY` is for what is outside.
///
/// # Errors
/// Where there is neither, or the proxy is none.
pub async fn config() -> Result<Config, ConfigError> {
    let mut config = match of_kubeconfig().await {
        Ok((mut config, proxy_url)) => {
            let variable = |name: &str| std::env::var(name).ok();
            let proxy = proxy::proxy_for(&config.cluster_url, proxy_url.as_deref(), variable)?;
            if let Some(proxy) = &proxy {
                info!(
                    proxy = proxy::shown(proxy),
                    "the API server is reached by a proxy"
                );
            }
            config.proxy_url = proxy;
            config
        }
        Err(kubeconfig) => {
            Config::incluster().map_err(|service_account| ConfigError::NoCluster {
                kubeconfig,
                service_account,
            })?
        }
    };
    config.apply_debug_overrides();
    config.default_retry = false;
    // Otherwise the time in which a pooled connection was idle would count against the answer.
    config.reset_reader_on_write = true;
    Ok(config)
}

/// kube's configuration, and the `proxy-url` of the cluster. What kube makes of that is left out: see [`crate::proxy`].
async fn of_kubeconfig() -> Result<(Config, Option<String>), KubeconfigError> {
    let kubeconfig = Kubeconfig::read()?;
    let proxy_url = proxy_url(&kubeconfig);
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok((config, proxy_url))
}

/// That of the cluster of the current context.
fn proxy_url(kubeconfig: &Kubeconfig) -> Option<String> {
    let context = kubeconfig.current_context.as_ref()?;
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| named.name == *context)?;
    let cluster = &context.context.as_ref()?.cluster;
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| named.name == *cluster)?;
    cluster.cluster.as_ref()?.proxy_url.clone()
}

/// The client for everything but the lease.
///
/// # Errors
/// As kube's.
pub fn client(mut config: Config, on_unauthorized: OnUnauthorized) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(PAUSE_TIMEOUT);
    let namespace = config.default_namespace.clone();
    let patient = RenewedClient::new(config, on_unauthorized)?;
    let service = service_fn(move |request| {
        let patient = patient.clone();
        async move {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, patient.send(request)).await?;
            Ok::<_, BoxError>(answer?)
        }
    });
    Ok(Client::new(service, namespace))
}

/// The client for the lease. Three tries fit into the renew deadline, so that one slow answer does not cost the leadership.
///
/// # Errors
/// As kube's.
pub fn lease_client(
    mut config: Config,
    timings: Timings,
    on_unauthorized: OnUnauthorized,
) -> kube::Result<Client> {
    let timeout = timings.renew_deadline / 3;
    config.connect_timeout = Some(timeout);
    config.read_timeout = Some(timeout);
    config.write_timeout = Some(timeout);
    let namespace = config.default_namespace.clone();
    let renewed = RenewedClient::new(config, on_unauthorized)?;
    let service = service_fn(move |request| {
        let renewed = renewed.clone();
        async move {
            let answer = renewed.send(request).await;
            // The election logs an error of its client as it is, and that of TLS is several causes deep.
            let answer = answer.map_err(|error| match ApiServerError::of(&error) {
                error @ ApiServerError::Tls(_) => BoxError::from(error),
                _ => error.into(),
            })?;
            // The election takes a 401 for a missing right to the lease, and says so in the log.
            if answer.status() == StatusCode::UNAUTHORIZED {
                return Err(ApiServerError::Unauthorized.into());
            }
            Ok::<_, BoxError>(answer)
        }
    });
    Ok(Client::new(service, namespace))
}
