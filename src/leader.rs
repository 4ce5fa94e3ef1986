//! Which of the replicas works, and how a pass makes sure of it right before it resets a password.

use std::time::{Duration, Instant};

use k8s_controller::LeaderElection;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use thiserror::Error;

/// The name of the Lease.
pub const LEASE_NAME: &str = "rds-password-operator";

/// How old a look at the Lease may be when a reset is sent. A process that was paused, for longer than its lease even, wakes
/// up in the middle of whatever it did; two seconds is far below the time in which another replica can take over (client-go's
/// lease lasts 15 s), and far above what a GET takes.
pub const FRESH_FOR: Duration = Duration::from_secs(2);

/// Timings of the election. The lease must outlast the renew deadline, and that the retry period.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// How long the others wait after the last renewal before they take over.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How often a candidate looks and the leader renews.
    pub retry_period: Duration,
}

/// This process as a candidate.
#[derive(Clone)]
pub struct Candidate {
    election: LeaderElection,
    leases: Api<Lease>,
    identity: String,
}

impl Candidate {
    /// A candidate named `identity`, which no other process may ever have had: a restarted one must not take its
    /// predecessor's lease for its own.
    ///
    /// `client` should have short timeouts and no retries of its own, since a slow answer is worth less than the next try.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, identity: &str, timings: Timings) -> Self {
        let election = LeaderElection::new(client.clone(), namespace, LEASE_NAME, identity)
            .with_lease_duration(timings.lease_duration)
            .with_renew_deadline(timings.renew_deadline)
            .with_retry_period(timings.retry_period);
        Self {
            election,
            leases: Api::namespaced(client.clone(), namespace),
            identity: identity.to_owned(),
        }
    }

    /// Waits for the lease, then runs `work` under it. `None`: the lease was lost, and `work` was dropped.
    pub async fn lead<F: Future>(&self, work: F) -> Option<F::Output> {
        self.election.with_lease(work).await
    }

    /// Whether this process stands by as it should: it can read the Lease, and somebody holds it.
    ///
    /// # Errors
    /// What keeps it from leading although nobody else does.
    pub async fn standing(&self) -> Result<(), NotStanding> {
        let lease = tokio::time::timeout(FRESH_FOR, self.leases.get_opt(LEASE_NAME))
            .await
            .map_err(|_| NotStanding::Unreachable)?;
        let spec = match lease {
            Ok(lease) => lease.and_then(|lease| lease.spec),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(NotStanding::Forbidden);
            }
            Err(_) => return Err(NotStanding::Unreachable),
        };
        match spec.and_then(|spec| spec.holder_identity) {
            Some(holder) if !holder.is_empty() => Ok(()),
            _ => Err(NotStanding::NobodyLeads),
        }
    }

    /// Gives the lease up, if it is held.
    pub async fn release(&self) {
        self.election.release().await;
    }
}

/// Why this process neither leads nor stands by for a leader. The texts are what `/readyz` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotStanding {
    /// RBAC denies it.
    #[error(
        "the operator's ServiceAccount may not get the lease: it needs the operator's Role (deploy/rbac.yaml, or rbac.create of the chart)"
    )]
    Forbidden,
    /// Nobody holds it: as for a moment at every start, and for ever where it may not be created or updated.
    #[error(
        "nobody holds the lease, and this process has not taken it yet; if that lasts, it may not create or update it, and needs the operator's Role (deploy/rbac.yaml, or rbac.create of the chart)"
    )]
    NobodyLeads,
    /// No answer.
    #[error("the API server could not be reached")]
    Unreachable,
}

/// The right to send a reset.
#[derive(Clone)]
pub enum Leadership {
    /// By a Lease, which is looked at before each reset.
    ByLease(Box<Candidate>),
    /// Leader election is turned off: there is only one process.
    Alone,
}

/// The Lease was seen to be this process' own, a moment ago.
pub struct Proof {
    began: Instant,
}

/// There is no right to send a reset now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotLeader {
    /// Another process holds the Lease, or nobody.
    #[error("this process no longer holds the lease")]
    Lost,
    /// The Lease could not be read in time.
    #[error("the lease could not be read within {} s", FRESH_FOR.as_secs())]
    Unknown,
}

impl Leadership {
    /// Reads the Lease from etcd (a GET without `resourceVersion` is a quorum read).
    ///
    /// # Errors
    /// Where the Lease is not this process' own, or cannot be read in time.
    pub async fn prove(&self) -> Result<Proof, NotLeader> {
        let began = Instant::now();
        let Self::ByLease(candidate) = self else {
            return Ok(Proof { began });
        };
        let lease = tokio::time::timeout(FRESH_FOR, candidate.leases.get(LEASE_NAME))
            .await
            .map_err(|_| NotLeader::Unknown)?
            .map_err(|_| NotLeader::Unknown)?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        if holder.as_deref() == Some(candidate.identity.as_str()) {
            Ok(Proof { began })
        } else {
            Err(NotLeader::Lost)
        }
    }
}

impl Proof {
    /// Whether the look is recent enough to send a reset on.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.began.elapsed() < FRESH_FOR
    }
}
