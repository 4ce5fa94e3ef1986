//! Which of the replicas works, and how a pass makes sure of it right before it resets a password.

use std::time::{Duration, Instant};

use k8s_controller::LeaderElection;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Client;
use kube::api::Api;
use moka::Expiry;
use moka::future::Cache;
use thiserror::Error;

use crate::api_server::ApiServerError;

/// The name of the Lease.
pub const LEASE_NAME: &str = "rds-password-operator";

/// How old a look at the Lease may be when a reset is sent. A process that was paused, for longer than its lease even, wakes
/// up in the middle of whatever it did; two seconds is far below the time in which another replica can take over (client-go's
/// lease lasts 15 s), and far above what a GET takes.
pub const FRESH_FOR: Duration = Duration::from_secs(2);

/// For how long, from when it began, a look at the Lease serves whoever asks: one GET for all resets that go out together. A
/// twentieth of [`FRESH_FOR`], so a look that somebody else began leaves as good as all of that time to what comes before the
/// reset is sent; and many times what a GET takes, so that a burst of resets makes ten a second.
pub const SHARED_FOR: Duration = Duration::from_millis(100);

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

/// How many retry periods after its end somebody should have taken a lease over: a candidate looks after one and a half at the
/// latest, and may have to look twice.
const RETRIES_TO_TAKE_OVER: u32 = 4;

/// This process as a candidate.
#[derive(Clone)]
pub struct Candidate {
    election: LeaderElection,
    leases: Api<Lease>,
    identity: String,
    timings: Timings,
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
            timings,
        }
    }

    /// Waits for the lease, then runs `work` under it. `None`: the lease was lost, and `work` was dropped.
    pub async fn lead<F: Future>(&self, work: F) -> Option<F::Output> {
        self.election.with_lease(work).await
    }

    /// A look-out for this candidate, which has not looked yet.
    #[must_use]
    pub fn lookout(&self) -> Lookout {
        let Timings {
            lease_duration,
            retry_period,
            ..
        } = self.timings;
        Lookout {
            leases: self.leases.clone(),
            renewals: Renewals {
                seen: None,
                patience: lease_duration + retry_period * RETRIES_TO_TAKE_OVER,
            },
        }
    }

    /// The right of a term that is about to begin: nothing that was seen of the Lease before counts in it.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership::ByLease {
            candidate: Box::new(self.clone()),
            looks: Cache::builder().expire_after(SharedFor).build(),
        }
    }

    /// Reads the Lease from etcd (a GET without `resourceVersion` is a quorum read).
    async fn look(&self) -> Result<Proof, NotLeader> {
        let began = Instant::now();
        let lease = tokio::time::timeout(FRESH_FOR, self.leases.get(LEASE_NAME))
            .await
            .map_err(|_| NotLeader::Unknown)?
            .map_err(|error| NotLeader::Unreadable(ApiServerError::of(&error)))?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        if holder.as_deref() == Some(self.identity.as_str()) {
            Ok(Proof { began })
        } else {
            Err(NotLeader::Lost)
        }
    }

    /// Gives the lease up, if it is held.
    pub async fn release(&self) {
        self.election.release().await;
    }
}

/// Looks whether somebody leads while this process stands by.
pub struct Lookout {
    leases: Api<Lease>,
    renewals: Renewals,
}

impl Lookout {
    /// Whether this process stands by as it should: it can read the Lease, and somebody holds and renews it.
    ///
    /// # Errors
    /// What keeps it from leading although nobody else does.
    pub async fn look(&mut self) -> Result<(), NotStanding> {
        let lease = tokio::time::timeout(FRESH_FOR, self.leases.get_opt(LEASE_NAME))
            .await
            .map_err(|_| NotStanding::ApiServer(ApiServerError::Unreachable))?;
        match lease {
            Ok(lease) => {
                let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
                self.renewals.saw(spec, Instant::now())
            }
            Err(kube::Error::Api(status)) if status.code == 403 => Err(NotStanding::Forbidden),
            Err(error) => Err(NotStanding::ApiServer(ApiServerError::of(&error))),
        }
    }
}

/// Since when the Lease has not changed. Measured here, as the election does, since the holder's clock may be another one.
struct Renewals {
    seen: Option<(LeaseSpec, Instant)>,
    /// How long it may stay as it is.
    patience: Duration,
}

impl Renewals {
    fn saw(&mut self, spec: LeaseSpec, now: Instant) -> Result<(), NotStanding> {
        let is_held = spec
            .holder_identity
            .as_ref()
            .is_some_and(|holder| !holder.is_empty());
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => {
                self.seen = Some((spec, now));
                now
            }
        };
        if !is_held {
            Err(NotStanding::NobodyLeads)
        } else if now.duration_since(since) >= self.patience {
            Err(NotStanding::Expired)
        } else {
            Ok(())
        }
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
    /// Its holder renews it no longer, and nobody takes it over.
    #[error(
        "whoever holds the lease has not renewed it for longer than it lasts, and this process has not taken it over; it may not update it, and needs the operator's Role (deploy/rbac.yaml, or rbac.create of the chart), or the API server takes no writes; the log says which"
    )]
    Expired,
    /// The API server cannot be asked.
    #[error(transparent)]
    ApiServer(ApiServerError),
}

/// The right to send a reset, in one term. Made by [`Candidate::leadership`].
pub enum Leadership {
    /// By a Lease: each reset needs a look at it, no older than [`FRESH_FOR`].
    ByLease {
        /// Whose the Lease should be.
        candidate: Box<Candidate>,
        /// The look that is shared, if there is one.
        looks: Cache<(), Proof>,
    },
    /// Leader election is turned off: there is only one process.
    Alone,
}

/// The Lease was seen to be this process' own, a moment ago.
#[derive(Clone, Copy)]
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
    /// The API server did not give it.
    #[error("the lease could not be read: {0}")]
    Unreadable(ApiServerError),
}

impl Leadership {
    /// Looks at the Lease, or takes part in a look of somebody else that is under way, or began a moment ago. What fails is told
    /// to all who wait for it, and not kept.
    ///
    /// # Errors
    /// Where the Lease is not this process' own, or cannot be read in time.
    pub async fn prove(&self) -> Result<Proof, NotLeader> {
        match self {
            Self::ByLease { candidate, looks } => looks
                .try_get_with((), candidate.look())
                .await
                .map_err(|error| *error),
            Self::Alone => Ok(Proof {
                began: Instant::now(),
            }),
        }
    }
}

/// A look is as old as its beginning, however long its answer took.
struct SharedFor;

impl Expiry<(), Proof> for SharedFor {
    fn expire_after_create(&self, (): &(), proof: &Proof, now: Instant) -> Option<Duration> {
        Some(SHARED_FOR.saturating_sub(now.duration_since(proof.began)))
    }
}

impl Proof {
    /// Whether the look is recent enough to send a reset on.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.began.elapsed() < FRESH_FOR
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use axum::http::{Request, Response};
    use futures::FutureExt as _;
    use futures::future::join_all;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;
    use kube::client::Body;
    use rstest::rstest;
    use serde_json::json;
    use tokio::sync::Semaphore;
    use tower::service_fn;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A Lease that was renewed at this second.
    fn held(second: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some("a".to_owned()),
            renew_time: Timestamp::from_second(second).ok().map(MicroTime),
            ..LeaseSpec::default()
        }
    }

    fn released(holder: Option<&str>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            ..LeaseSpec::default()
        }
    }

    /// What is seen, and after how many seconds; and what the last look leads to. The patience is 23 s.
    #[rstest]
    #[case::first_look(&[(held(0), 0)], Ok(()))]
    #[case::renewed_long_ago_by_its_holders_clock(&[(held(-100_000), 0)], Ok(()))]
    #[case::not_renewed_for_a_while(&[(held(0), 0), (held(0), 22)], Ok(()))]
    #[case::expired(&[(held(0), 0), (held(0), 22), (held(0), 23)], Err(NotStanding::Expired))]
    #[case::renewed(&[(held(0), 0), (held(1), 22), (held(1), 44)], Ok(()))]
    #[case::renewed_after_all(&[(held(0), 0), (held(0), 50), (held(1), 52)], Ok(()))]
    #[case::expired_again(&[(held(0), 0), (held(1), 22), (held(1), 45)], Err(NotStanding::Expired))]
    #[case::nobody(&[(released(None), 0)], Err(NotStanding::NobodyLeads))]
    #[case::given_back(&[(held(0), 0), (released(Some("")), 2)], Err(NotStanding::NobodyLeads))]
    fn standing_by(#[case] looks: &[(LeaseSpec, u64)], #[case] expected: Result<(), NotStanding>) {
        let start = Instant::now();
        let mut renewals = Renewals {
            seen: None,
            patience: Duration::from_secs(23),
        };
        let last = looks
            .iter()
            .map(|(spec, seconds)| {
                renewals.saw(spec.clone(), start + Duration::from_secs(*seconds))
            })
            .last();
        assert_eq!(last, Some(expected));
    }

    /// An API server that has one Lease.
    struct ApiServer {
        holder: &'static str,
        requests: Arc<AtomicUsize>,
        /// Answers that may be given.
        answers: Arc<Semaphore>,
    }

    impl ApiServer {
        fn new(holder: &'static str) -> Self {
            Self {
                holder,
                requests: Arc::default(),
                answers: Arc::new(Semaphore::new(0)),
            }
        }

        fn answers_at_once(holder: &'static str) -> Self {
            let server = Self::new(holder);
            server.answers.add_permits(100);
            server
        }

        fn requests(&self) -> usize {
            self.requests.load(SeqCst)
        }

        /// A candidate of this name.
        fn candidate(&self, identity: &str) -> Candidate {
            let (holder, requests) = (self.holder, self.requests.clone());
            let answers = self.answers.clone();
            let service = service_fn(move |_: Request<Body>| {
                requests.fetch_add(1, SeqCst);
                let answers = answers.clone();
                async move {
                    answers.acquire().await.unwrap().forget();
                    let lease = json!({
                        "apiVersion": "coordination.k8s.io/v1",
                        "kind": "Lease",
                        "metadata": { "name": LEASE_NAME },
                        "spec": { "holderIdentity": holder },
                    });
                    Ok::<_, Infallible>(Response::new(Body::from(lease.to_string().into_bytes())))
                }
            });
            let second = Duration::from_secs(1);
            let timings = Timings {
                lease_duration: 15 * second,
                renew_deadline: 10 * second,
                retry_period: 2 * second,
            };
            Candidate::new(&Client::new(service, "ns"), "ns", identity, timings)
        }
    }

    #[tokio::test]
    async fn one_look_serves_all_who_ask_in_its_time() {
        let server = ApiServer::new("a");
        let leadership = server.candidate("a").leadership();
        let mut first = Box::pin(leadership.prove());
        assert!((&mut first).now_or_never().is_none());
        let mut others = join_all((0..20).map(|_| leadership.prove()));
        assert!((&mut others).now_or_never().is_none());
        server.answers.add_permits(1);
        let (first, others) = tokio::join!(first, others);
        let began = first.unwrap().began;
        assert!(others.iter().all(|it| it.as_ref().unwrap().began == began));
        assert_eq!(server.requests(), 1);

        // And once it is over, another one is made.
        server.answers.add_permits(100);
        while leadership.prove().await.as_ref().unwrap().began == began {
            assert!(began.elapsed() < PATIENCE, "it serves for ever");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(began.elapsed() >= SHARED_FOR);
        assert_eq!(server.requests(), 2);
    }

    /// Its time has passed when its answer comes: whoever waited for it is told, and nobody else.
    #[tokio::test]
    async fn a_look_is_as_old_as_its_beginning() {
        let server = ApiServer::new("a");
        let leadership = server.candidate("a").leadership();
        let mut first = Box::pin(leadership.prove());
        assert!((&mut first).now_or_never().is_none());
        // It is the passing of time that is tried here.
        tokio::time::sleep(SHARED_FOR).await;
        server.answers.add_permits(2);
        let first = first.await.unwrap();
        let second = leadership.prove().await.unwrap();
        assert!(second.began > first.began + SHARED_FOR);
        assert_eq!(server.requests(), 2);
    }

    #[rstest]
    #[case(0, 100)]
    #[case(30, 70)]
    #[case(100, 0)]
    #[case(1900, 0)]
    fn what_an_answer_took_is_not_left(#[case] took: u64, #[case] left: u64) {
        let began = Instant::now();
        let now = began + Duration::from_millis(took);
        let time = SharedFor.expire_after_create(&(), &Proof { began }, now);
        assert_eq!(time, Some(Duration::from_millis(left)));
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_wait_and_not_kept() {
        let server = ApiServer::new("another");
        let leadership = server.candidate("a").leadership();
        let asked = join_all((0..5).map(|_| leadership.prove()));
        let answer = async { server.answers.add_permits(1) };
        let (proofs, ()) = tokio::join!(asked, answer);
        assert!(
            proofs
                .iter()
                .all(|it| it.as_ref().is_err_and(|it| *it == NotLeader::Lost))
        );
        assert_eq!(server.requests(), 1);
        server.answers.add_permits(1);
        assert!(leadership.prove().await.is_err());
        assert_eq!(server.requests(), 2);
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_the_look_to_the_next() {
        let server = ApiServer::new("a");
        let leadership = server.candidate("a").leadership();
        let mut gives_up = Box::pin(leadership.prove());
        assert!((&mut gives_up).now_or_never().is_none());
        let mut next = Box::pin(leadership.prove());
        assert!((&mut next).now_or_never().is_none());
        let then = Instant::now();
        drop(gives_up);
        server.answers.add_permits(1);
        assert!(next.await.unwrap().began >= then);
    }

    #[tokio::test]
    async fn a_new_term_looks_for_itself() {
        let server = ApiServer::answers_at_once("a");
        let candidate = server.candidate("a");
        for term in 1..=3 {
            let leadership = candidate.leadership();
            assert!(leadership.prove().await.is_ok());
            assert_eq!(server.requests(), term);
        }
    }
}
