//! Puts the parts together, and takes them down in order.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_controller::events::{EventRecorder, Reporter};
use kube::Client;
use rand::RngExt as _;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::cli::RunArguments;
use crate::controller::cloud::Cloud;
use crate::controller::events::Events;
use crate::controller::trigger::{Scopes, watch_resources, watch_secrets};
use crate::controller::unanswered::{Memory, ResetTiming};
use crate::controller::{self, Context, Process};
use crate::credentials::{Host, OperatorCredentials, Settings};
use crate::fingerprint::{self, KeyStoreError, Keyring};
use crate::health::Health;
use crate::kubernetes::{self, OnUnauthorized};
use crate::leader::{Candidate, Leadership, Timings};
use crate::metrics::{self, Metrics};
use crate::rds::client::{ClientError, RdsClient, Timeouts};
use crate::rds::endpoint::Endpoints;
use crate::rds::limit::{LimitSettings, Limits};
use crate::server;
use crate::shutdown::Shutdown;

/// Names the operator in Events.
const CONTROLLER_NAME: &str = "rds.password-operator.dev/databaseaccountpassword";

/// How often a process that does not lead makes sure that another does. Client-go's candidates look at the lease as often.
const ELECTION_LOOK: Duration = Duration::from_secs(2);

/// What `/readyz` calls the election.
const LEASE: &str = "lease";

/// Why the operator did not start, or ended otherwise than asked to.
#[derive(Debug, Error)]
pub enum RunError {
    /// There is no cluster to be found, or no way to it.
    #[error(transparent)]
    Kubeconfig(#[from] kubernetes::ConfigError),
    /// The Kubernetes client could not be made.
    #[error("the Kubernetes client could not be made: {}", kubernetes::client_error(.0))]
    Client(#[source] kube::Error),
    /// The RDS client could not be made.
    #[error("the RDS client could not be made: {0}")]
    RdsClient(#[from] ClientError),
    /// The address is taken, or not this host's.
    #[error("--listen {0}: {1}")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// Signals could not be received.
    #[error("signals cannot be received: {0}")]
    Signal(#[source] std::io::Error),
    /// The server of probes and metrics ended by itself.
    #[error("the server of /livez, /readyz and /metrics ended")]
    Server,
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// As [`RunError`] says. What may pass by itself, such as an API server that is away, is waited for instead.
pub async fn run(arguments: RunArguments, timings: Timings) -> Result<(), RunError> {
    let config = kubernetes::config().await?;
    let namespace = arguments
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let identity = identity();
    let limits = Arc::new(Limits::new(LimitSettings::new(
        arguments.rds_qps,
        arguments.concurrency,
    )));
    let metrics = Arc::new(Metrics::new(metrics::Settings {
        has_resource_series: !arguments.no_resource_metrics,
        calls_per_second: arguments.rds_qps,
        closed_budgets: {
            let limits = limits.clone();
            Box::new(move || limits.closed_budgets())
        },
    }));
    let on_unauthorized: OnUnauthorized = {
        let metrics = metrics.clone();
        Arc::new(move || metrics.watches.unauthorized())
    };
    let client = kubernetes::client(config.clone(), on_unauthorized.clone());
    let client = client.map_err(RunError::Client)?;
    let health = Health::default();
    let cloud = cloud(&arguments, client.clone(), limits, metrics.clone())?;
    let cloud = Arc::new(cloud);
    let reporter = Reporter {
        controller: CONTROLLER_NAME.to_owned(),
        instance: Some(identity.clone()),
    };
    let process = Process {
        events: Arc::new(Events::new(EventRecorder::new(client.clone(), reporter))),
        client,
        cloud,
        metrics: metrics.clone(),
        health: health.clone(),
        unanswered: Arc::new(Memory::new(ResetTiming {
            timeout: arguments.reset_timeout,
            settling: arguments.reset_settling_time,
        })),
        passes: TaskTracker::new(),
    };
    let candidate = if arguments.no_leader_election {
        None
    } else {
        let client = kubernetes::lease_client(config, timings, on_unauthorized);
        let client = client.map_err(RunError::Client)?;
        Some(Candidate::new(&client, &namespace, &identity, timings))
    };

    let listener = server::listen(arguments.listen)
        .map_err(|error| RunError::Listen(arguments.listen, error))?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving /livez, /readyz and /metrics");
    }
    let ended = CancellationToken::new();
    let _ended_at_last = ended.clone().drop_guard();
    let server = tokio::spawn(server::serve(listener, health.clone(), metrics, ended));
    let shutdown = Shutdown::new(arguments.shutdown_grace);
    let not_ready = move || {
        info!("stopping: no new passes");
        health.set_stopping();
    };
    shutdown.at_signals(not_ready).map_err(RunError::Signal)?;
    let term = Term {
        process: &process,
        scopes: &arguments.watch_namespaces,
        namespace: &namespace,
        shutdown: &shutdown,
    };
    let ended = tokio::select! {
        () = terms(&term, candidate) => Ok(()),
        _ = server => Err(RunError::Server),
        () = shutdown.is_over() => {
            warn!("the lease could not be handed over in time; another replica takes over when it runs out");
            Ok(())
        }
    };
    // After the lease is given up: nobody waits for Events.
    tokio::select! {
        () = process.events.finish() => {}
        () = shutdown.is_over() => {}
    }
    ended
}

/// One term of leadership after the other, until the shutdown.
async fn terms(term: &Term<'_>, candidate: Option<Candidate>) {
    let Some(candidate) = candidate else {
        return term.work(Leadership::Alone).await;
    };
    while !term.shutdown.is_asked() {
        let work = term.work(candidate.leadership());
        tokio::select! {
            // A term that has begun ends in its own way.
            worked = candidate.lead(work) => match worked {
                // All passes have ended, or had their time.
                Some(()) if term.shutdown.is_asked() => return,
                Some(()) => {}
                None => {
                    warn!("the leadership was lost: no new passes; joining the election again");
                    term.process.health.set_leader(false);
                }
            },
            () = term.shutdown_while_standing_by() => candidate.release().await,
            () = term.tell_of_the_election(&candidate) => {}
        }
    }
    // Passes of a term that was lost may still be writing down what they did.
    term.finish_passes().await;
}

/// What a term of leadership needs.
struct Term<'a> {
    process: &'a Process,
    scopes: &'a [String],
    namespace: &'a str,
    shutdown: &'a Shutdown,
}

impl Term<'_> {
    /// Watches and reconciles until the shutdown, and lets the passes end. Dropped when the leadership is lost, which cancels
    /// every pass that has sent nothing.
    async fn work(&self, leadership: Leadership) {
        self.reconcile(leadership).await;
        self.finish_passes().await;
    }

    async fn reconcile(&self, leadership: Leadership) {
        let Process {
            health, metrics, ..
        } = self.process;
        let scopes = Scopes::of(self.scopes);
        scopes.not_listed_yet(health);
        health.set_leader(true);
        // The next look at the election would say so too, but up to two seconds later.
        health.clear_obstacle(LEASE);
        let _leading = metrics.lead();
        let Some(keyring) = self.keyring().await else {
            return;
        };
        let stop = self.shutdown.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let context = Arc::new(Context::new(self.process, keyring, leadership, stop));
        let controllers = scopes.iter().map(|scope| {
            let (reader, watch) = watch_resources(context.clone(), scopes.clone(), scope);
            let controller = controller::run(context.clone(), reader, scope.wakes.clone());
            let secrets = watch_secrets(context.clone(), scopes.clone(), scope.clone());
            async move {
                tokio::select! {
                    () = controller => {}
                    ((), ()) = async { tokio::join!(watch, secrets) } => {}
                }
            }
        });
        let controllers = join_all(controllers);
        tokio::select! {
            _ = controllers => {}
            () = self.shutdown.asked() => {}
        }
    }

    /// The keyring, which needs the API server and a permission, and is waited for like everything that may pass.
    async fn keyring(&self) -> Option<Keyring> {
        const PART: &str = "fingerprint key";
        let Process { client, health, .. } = self.process;
        let mut wait = Duration::from_millis(500);
        loop {
            let bytes = Zeroizing::new(rand::random());
            let id = format!("{:08x}", rand::random::<u32>());
            let loaded = fingerprint::load_or_create(client, self.namespace, bytes, id);
            let error: KeyStoreError = tokio::select! {
                loaded = loaded => match loaded {
                    Ok(keyring) => {
                        health.clear_obstacle(PART);
                        return Some(keyring);
                    }
                    Err(error) => error,
                },
                () = self.shutdown.asked() => return None,
            };
            if health.set_obstacle(PART, &error.to_string(), None) {
                error!(%error, "no fingerprint key: nothing can be compared, so nothing is reset");
            }
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(rand::rng().random_range(0.5..1.0))) => {}
                () = self.shutdown.asked() => return None,
            }
            wait = (wait * 2).min(Duration::from_secs(30));
        }
    }

    /// Passes that have sent a reset run to their end; the others have given up.
    async fn finish_passes(&self) {
        let passes = &self.process.passes;
        passes.close();
        if tokio::time::timeout_at(self.shutdown.end_of_passes(), passes.wait())
            .await
            .is_err()
        {
            error!(
                left = passes.len(),
                "the grace period is over; a reset may have been sent and not written down, and will be sent again"
            );
        }
        passes.reopen();
    }

    /// Says in `/readyz` what keeps this process from the election. The election itself tells only the log.
    async fn tell_of_the_election(&self, candidate: &Candidate) {
        let health = &self.process.health;
        health.set_obstacle(LEASE, "not looked at yet", None);
        let mut lookout = candidate.lookout();
        loop {
            let standing = if health.is_leader() {
                Ok(())
            } else {
                lookout.look().await
            };
            match standing {
                // It may have become the leader in the meantime.
                Err(obstacle) if !health.is_leader() => {
                    health.set_obstacle(LEASE, &obstacle.to_string(), None);
                }
                _ => {
                    health.clear_obstacle(LEASE);
                }
            }
            tokio::time::sleep(ELECTION_LOOK).await;
        }
    }

    async fn shutdown_while_standing_by(&self) {
        self.shutdown.asked().await;
        if self.process.health.is_leader() {
            std::future::pending::<()>().await;
        }
    }
}

fn cloud(
    arguments: &RunArguments,
    kubernetes: Client,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
) -> Result<Cloud, RunError> {
    let settings = Settings {
        pinned: arguments.credentials_source,
        allow_node_role: arguments.allow_node_role,
        sts_endpoint: arguments.sts_endpoint.clone(),
        metadata_endpoint: arguments.metadata_endpoint.clone(),
        region: arguments.region.clone(),
    };
    let observer = {
        let metrics = metrics.clone();
        Arc::new(move |action, code, took| metrics.cloud.called(action, code, took))
    };
    let operator =
        OperatorCredentials::new(Host::of_this_process(), settings)?.observed_by(observer);
    match operator.source() {
        Ok(source) => info!(%source, "cloud credentials"),
        Err(error) => warn!(%error, "no cloud credentials"),
    }
    let endpoints = Endpoints::new(
        arguments.region.clone(),
        &arguments.allowed_regions,
        arguments.rds_network,
        arguments.rds_endpoint.clone(),
    );
    Ok(Cloud::new(
        RdsClient::new(arguments.rds_signature, Timeouts::default())?,
        kubernetes,
        (operator, arguments.oidc_provider_arn.clone()),
        limits,
        endpoints,
        metrics,
    ))
}

/// The pod's name and something that no other process ever had, since a container that restarts keeps the name.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "rds-password-operator".to_owned());
    format!("{host}_{:016x}", rand::random::<u64>())
}
