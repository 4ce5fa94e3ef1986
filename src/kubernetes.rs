//! The clients of the Kubernetes API, and how long they wait.
//!
//! Both without kube's retries, of which there would be up to fifteen, as far apart as a `Retry-After` says: a pass that fails
//! comes again, and so does a try to renew the lease.

mod credentials;

use std::time::Duration;

use axum::http::StatusCode;
use kube::config::InferConfigError;
use kube::{Client, Config};
use tower::{BoxError, service_fn};

use crate::api_server::ApiServerError;
use crate::leader::Timings;
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

/// The kubeconfig, or the pod's ServiceAccount.
///
/// # Errors
/// Where there is neither.
pub async fn config() -> Result<Config, InferConfigError> {
    let mut config = Config::infer().await?;
    config.default_retry = false;
    // Otherwise the time in which a pooled connection was idle would count against the answer.
    config.reset_reader_on_write = true;
    Ok(config)
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
