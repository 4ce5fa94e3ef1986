//! What all callers share, so that they do not harm each other, the instances, or the cloud account's budget.
//!
//! There is one order, and who holds something never waits for what comes before it:
//!
//! 1. [`Limits::turn`]: one reset in flight for each instance, in the order of asking.
//! 2. [`Limits::instance`]: its state, read once for all who ask within a moment. The read takes a permit of its own.
//! 3. [`Limits::permit`]: a place in the request budget, and last of all one of the overall slots. [`Limits::keep_for_another`]
//!    keeps the slot for a second request.
//!
//! Who has a turn waits for no budget that is closed, but gives the turn back ([`Limits::permit_unless_closed`]) and waits
//! without it ([`Limits::opened`]): other identities may have accounts on the same instance.

mod budget;
mod turn;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use moka::{Expiry, future::Cache};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

pub use self::turn::InstanceTurn;
use self::{budget::RequestBudget, turn::Turns};
use super::{
    endpoint::Region,
    response::{DbInstance, InstanceStatus},
};

/// For so long a running instance is believed to be running. Long enough for all accounts of an instance whose Secrets
/// change together; short enough that hardly any reset is sent to an instance that has stopped meanwhile (RDS refuses
/// those, which does no harm).
pub const RUNNING_IS_KEPT: Duration = Duration::from_secs(3);

/// Any other state is kept for less, since it is what callers wait to see the end of; yet long enough for many accounts
/// that ask at once.
pub const ANY_OTHER_STATE_IS_KEPT: Duration = Duration::from_secs(1);

const SMALLEST_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
const LARGEST_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// A budget is never closed for longer; the longest wait that the cloud asks for.
const LONGEST_CLOSING: Duration = Duration::from_secs(120);

/// A budget that nobody used for so long is forgotten; by then its gate is open again.
const IDLE_BUDGET_IS_KEPT: Duration = Duration::from_secs(600);

/// How much is allowed.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Requests a second, for each budget, in the long run.
    pub requests_per_second: NonZeroU32,
    /// Requests at once after a pause, for each budget.
    pub burst: NonZeroU32,
    /// Requests under way at any time, over all budgets.
    pub concurrency: NonZeroU32,
}

impl LimitSettings {
    /// The burst follows from the rate: a second's worth, but at least the three calls that one rotation takes, so that
    /// a single one never waits, and never so many that they look like a flood.
    #[must_use]
    pub fn new(requests_per_second: NonZeroU32, concurrency: NonZeroU32) -> Self {
        Self {
            requests_per_second,
            burst: requests_per_second.clamp(SMALLEST_BURST, LARGEST_BURST),
            concurrency,
        }
    }
}

/// Names a request budget: one for each cloud identity and region, so that one that is throttled does not hold up the others.
/// RDS counts requests for each cloud account with all its users and roles, which nobody here can tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BudgetKey {
    /// Whose requests: anything that is the same for the same cloud identity.
    pub identity: Arc<str>,
    /// Where they go.
    pub region: Region,
}

/// An instance, as one identity sees it: what one may see, another one may not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenInstance {
    /// Who sees it, and where.
    pub budget: BudgetKey,
    /// Its `DBInstanceId`.
    pub instance_id: String,
}

impl SeenInstance {
    /// The instance of this id.
    #[must_use]
    pub fn new(budget: &BudgetKey, instance_id: &str) -> Self {
        Self {
            budget: budget.clone(),
            instance_id: instance_id.to_owned(),
        }
    }
}

/// The limits that all callers of one process share.
pub struct Limits {
    settings: LimitSettings,
    turns: Turns,
    /// Without a capacity: a full cache may decline a new entry, and every caller would then have a budget to itself.
    budgets: Cache<BudgetKey, Arc<RequestBudget>>,
    instances: Cache<SeenInstance, DbInstance>,
    slots: Arc<Semaphore>,
}

/// Leave to send one request; give it back (drop it) when the answer is there.
#[must_use = "dropping it gives the slot back"]
pub struct Permit {
    _slot: Option<OwnedSemaphorePermit>,
    waited: Duration,
}

impl Permit {
    /// How long the caller waited for it.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Limits {
    /// Nothing used, all gates open.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        let slots = usize::try_from(settings.concurrency.get()).unwrap_or(usize::MAX);
        Self {
            settings,
            turns: Turns::default(),
            budgets: Cache::builder().time_to_idle(IDLE_BUDGET_IS_KEPT).build(),
            instances: Cache::builder().expire_after(TimeToLive).build(),
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Waits until nobody else changes accounts of this instance, first come, first served.
    ///
    /// RDS changes one account of an instance after the other; and an instance with many accounts has one place at a time
    /// in the budget's queue this way, as every other instance has.
    pub async fn turn(&self, instance_id: &str) -> InstanceTurn {
        self.turns.wait(instance_id).await
    }

    /// The instance's state: what was read a moment ago, or the outcome of `read`, which is run once for all who ask at
    /// the same time. A failure is told to those, and not kept.
    ///
    /// `read` takes a [`Permit`] itself, and its caller must not hold one: it may wait for someone else's `read`.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn instance<F, E>(
        &self,
        budget: &BudgetKey,
        instance_id: &str,
        read: F,
    ) -> Result<DbInstance, E>
    where
        F: Future<Output = Result<DbInstance, E>>,
        E: Clone + Send + Sync + 'static,
    {
        let instance = SeenInstance::new(budget, instance_id);
        let state = self.instances.try_get_with(instance, read).await;
        state.map_err(Arc::unwrap_or_clone)
    }

    /// Makes the next [`Limits::instance`] read again: for when RDS refused a reset for the instance's state, so that
    /// what is kept here is known to be wrong.
    pub async fn forget_instance(&self, budget: &BudgetKey, instance_id: &str) {
        self.instances
            .invalidate(&SeenInstance::new(budget, instance_id))
            .await;
    }

    /// Waits for a place in the budget, then for a slot.
    ///
    /// Whatever has to be fresh when the request is sent is read after this, with the permit in hand, or a moment before:
    /// nothing is waited for later. Who holds a permit must not ask for a second one, but may
    /// [keep it for another request](Self::keep_for_another).
    pub async fn permit(&self, budget: &BudgetKey) -> Permit {
        let asked = Instant::now();
        let budget = self.budget(budget).await;
        let slot = budget.place_and_slot(&self.slots).await;
        Permit {
            _slot: slot,
            waited: asked.elapsed(),
        }
    }

    /// As [`Limits::permit`], for one who must not wait while the budget is closed: `None` once it is.
    pub async fn permit_unless_closed(&self, budget: &BudgetKey) -> Option<Permit> {
        let closing = self.budget(budget).await;
        tokio::select! {
            biased;
            () = closing.closed() => None,
            permit = self.permit(budget) => Some(permit),
        }
    }

    /// Lets the holder of a permit, whose answer is there, send another request with it. `None` where the budget is closed.
    ///
    /// It passes by who waits for a permit, of whom none has a slot: what is begun is ended before more is begun. Nobody can
    /// wait for it in a circle, since the rate is a matter of time, and a closed gate is not waited for.
    pub async fn keep_for_another(&self, budget: &BudgetKey, permit: Permit) -> Option<Permit> {
        let asked = Instant::now();
        let is_open = self.budget(budget).await.rate_unless_closed().await;
        is_open.then(|| Permit {
            waited: asked.elapsed(),
            ..permit
        })
    }

    /// Waits until the budget is open. It may be closed again right after.
    pub async fn opened(&self, budget: &BudgetKey) {
        self.budget(budget).await.opened().await;
    }

    /// Lets nobody send within this budget for so long; for an answer that says that there were too many requests.
    /// Two minutes at most; requests that are already under way are not held up; an earlier closing that ends later stands.
    pub async fn close(&self, budget: &BudgetKey, period: Duration) {
        self.budget(budget)
            .await
            .close(Instant::now(), period.min(LONGEST_CLOSING));
    }

    /// How many budgets are closed now.
    #[must_use]
    pub fn closed_budgets(&self) -> usize {
        let now = Instant::now();
        let budgets = self.budgets.iter();
        budgets.filter(|(_, budget)| budget.is_closed(now)).count()
    }

    async fn budget(&self, key: &BudgetKey) -> Arc<RequestBudget> {
        let new = async { Arc::new(RequestBudget::new(self.settings)) };
        self.budgets.get_with_by_ref(key, new).await
    }
}

/// How long an instance's state is kept, by what it is.
struct TimeToLive;

impl Expiry<SeenInstance, DbInstance> for TimeToLive {
    fn expire_after_create(
        &self,
        _instance: &SeenInstance,
        state: &DbInstance,
        _now: std::time::Instant,
    ) -> Option<Duration> {
        Some(match state.status {
            InstanceStatus::Running if state.obstacle().is_none() => RUNNING_IS_KEPT,
            _ => ANY_OTHER_STATE_IS_KEPT,
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use futures::{
        FutureExt,
        future::{join_all, pending},
    };
    use proptest::prelude::*;
    use tokio::{sync::oneshot, task::yield_now};

    use super::*;
    use crate::rds::{
        endpoint::Host,
        error::{CallError, RequestId, Transport},
        identifier::Secrets,
        response::Lock,
        word::Word,
    };

    const PLENTY: u32 = 1_000_000;

    fn limits(requests_per_second: u32, burst: u32, concurrency: u32) -> Limits {
        Limits::new(LimitSettings {
            requests_per_second: requests_per_second.try_into().unwrap(),
            burst: burst.try_into().unwrap(),
            concurrency: concurrency.try_into().unwrap(),
        })
    }

    fn key(identity: &str, region: &str) -> BudgetKey {
        BudgetKey {
            identity: identity.into(),
            region: region.parse().unwrap(),
        }
    }

    fn instance(status: InstanceStatus, lock: Lock) -> DbInstance {
        DbInstance {
            status,
            lock,
            request_id: RequestId::new("1", &Secrets(&[])).unwrap(),
        }
    }

    fn running() -> DbInstance {
        instance(InstanceStatus::Running, Lock::Unlocked)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is what a read gives")]
    fn known(state: DbInstance) -> Result<DbInstance, CallError> {
        Ok(state)
    }

    #[test]
    fn a_burst_is_enough_for_one_rotation_and_no_flood() {
        for (rate, burst) in [(1, 3), (3, 3), (7, 7), (10, 10), (5000, 10)] {
            let settings = LimitSettings::new(rate.try_into().unwrap(), NonZeroU32::MIN);
            assert_eq!(
                (settings.requests_per_second.get(), settings.burst.get()),
                (rate, burst)
            );
        }
    }

    #[test]
    fn any_concurrency_is_taken() {
        let limits = limits(1, 1, u32::MAX);
        assert!(limits.slots.available_permits() > 1_000_000);
    }

    #[tokio::test]
    async fn beyond_the_burst_the_rate_decides() {
        let limits = limits(20, 5, 100);
        let key = key("a", "cn-shanghai");
        let start = Instant::now();
        for _ in 0..15 {
            drop(limits.permit(&key).await);
        }
        // Ten of them had to wait a twentieth of a second each; how much longer it took depends on the machine.
        assert!(
            start.elapsed() >= Duration::from_millis(490),
            "{:?}",
            start.elapsed()
        );
        assert!(limits.permit(&key).await.waited() > Duration::ZERO);
    }

    #[tokio::test]
    async fn budgets_do_not_share_their_rate_or_their_gate() {
        let limits = limits(1, 1, 100);
        let used = key("a", "cn-shanghai");
        drop(limits.permit(&used).await);
        assert_eq!(limits.closed_budgets(), 0);
        limits.close(&used, Duration::from_secs(3600)).await;
        assert_eq!(limits.closed_budgets(), 1);
        assert!(limits.permit(&used).now_or_never().is_none());
        for other in [key("b", "cn-shanghai"), key("a", "cn-beijing")] {
            drop(limits.permit(&other).await);
        }
    }

    #[tokio::test]
    async fn a_closed_budget_lets_nobody_through_until_it_opens() {
        let limits = limits(PLENTY, PLENTY, 100);
        let key = key("a", "cn-shanghai");
        let start = Instant::now();
        limits.close(&key, Duration::from_millis(300)).await;
        limits.close(&key, Duration::from_millis(10)).await;
        let permit = limits.permit(&key).await;
        assert!(start.elapsed() >= Duration::from_millis(300));
        assert!(permit.waited() > Duration::ZERO);
    }

    #[tokio::test]
    async fn a_budget_that_closes_while_a_slot_is_waited_for_takes_no_slot() {
        let limits = limits(PLENTY, PLENTY, 1);
        let (closing, other) = (key("a", "cn-shanghai"), key("b", "cn-shanghai"));
        let slot = limits.permit(&other).await;
        let mut waiting = Box::pin(limits.permit(&closing));
        assert!((&mut waiting).now_or_never().is_none());
        limits.close(&closing, Duration::from_secs(3600)).await;
        drop(slot);
        assert!((&mut waiting).now_or_never().is_none(), "it is closed");
        drop(limits.permit(&other).await);
    }

    #[tokio::test]
    async fn who_has_a_permit_goes_on_before_those_who_wait_for_one() {
        let limits = limits(1000, 1, 1);
        let key = key("a", "cn-shanghai");
        let permit = limits.permit(&key).await;
        let mut waiting = Box::pin(limits.permit(&key));
        assert!((&mut waiting).now_or_never().is_none());
        let permit = limits.keep_for_another(&key, permit).await.unwrap();
        assert!(
            (&mut waiting).now_or_never().is_none(),
            "there is one slot, and it is kept"
        );
        limits.close(&key, Duration::from_secs(3600)).await;
        assert!(limits.keep_for_another(&key, permit).await.is_none());
        assert_eq!(limits.slots.available_permits(), 1);
    }

    #[tokio::test]
    async fn another_request_takes_its_time_of_the_rate() {
        let limits = limits(20, 1, 1);
        let key = key("a", "cn-shanghai");
        let start = Instant::now();
        let mut permit = limits.permit(&key).await;
        for _ in 0..4 {
            permit = limits.keep_for_another(&key, permit).await.unwrap();
        }
        assert!(
            start.elapsed() >= Duration::from_millis(190),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn who_may_not_wait_for_a_closed_budget_does_not() {
        let limits = limits(PLENTY, 1, 1);
        let (key, other) = (key("a", "cn-shanghai"), key("b", "cn-shanghai"));
        assert!(limits.permit_unless_closed(&key).await.is_some());
        assert!(limits.opened(&key).now_or_never().is_some());
        // It closes while a slot is waited for, behind others.
        let slot = limits.permit(&other).await;
        let mut others = Box::pin(limits.permit(&key));
        assert!((&mut others).now_or_never().is_none());
        let mut waiting = Box::pin(limits.permit_unless_closed(&key));
        assert!((&mut waiting).now_or_never().is_none());
        limits.close(&key, Duration::from_secs(3600)).await;
        assert!(
            waiting
                .now_or_never()
                .is_some_and(|permit| permit.is_none())
        );
        drop((slot, others));
        // And where it was closed before.
        let late = limits.permit_unless_closed(&key).now_or_never();
        assert!(late.is_some_and(|permit| permit.is_none()));
        assert!(limits.opened(&key).now_or_never().is_none());
        assert!(
            limits.permit(&other).now_or_never().is_some(),
            "no slot is lost"
        );
    }

    #[tokio::test]
    async fn there_are_never_more_at_once_than_slots() {
        let limits = limits(PLENTY, PLENTY, 3);
        let keys = [
            key("a", "cn-shanghai"),
            key("b", "cn-shanghai"),
            key("c", "cn-beijing"),
        ];
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        join_all((0..60).map(|n| {
            let (limits, key, now, most) = (&limits, &keys[n % keys.len()], &now, &most);
            async move {
                let _permit = limits.permit(key).await;
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                yield_now().await;
                now.fetch_sub(1, SeqCst);
            }
        }))
        .await;
        assert_eq!(most.into_inner(), 3);
    }

    #[tokio::test]
    async fn a_budget_is_handed_out_in_the_order_of_asking() {
        let limits = limits(200, 1, 100);
        let key = key("a", "cn-shanghai");
        let served = std::sync::Mutex::new(Vec::new());
        join_all((0..10).map(|n| {
            let (limits, key, served) = (&limits, &key, &served);
            async move {
                let _permit = limits.permit(key).await;
                served.lock().unwrap().push(n);
            }
        }))
        .await;
        assert_eq!(served.into_inner().unwrap(), (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_instance_is_read_once_for_all_who_ask() {
        let limits = limits(PLENTY, PLENTY, 1);
        let key = key("a", "cn-shanghai");
        let reads = AtomicUsize::new(0);
        let answers = join_all((0..500).map(|_| {
            limits.instance(&key, "rm-1", async {
                let _permit = limits.permit(&key).await;
                reads.fetch_add(1, SeqCst);
                yield_now().await;
                known(running())
            })
        }))
        .await;
        assert!(answers.iter().all(|answer| *answer == Ok(running())));
        assert_eq!(reads.into_inner(), 1);
    }

    #[tokio::test]
    async fn another_instance_or_identity_reads_for_itself() {
        let limits = limits(PLENTY, PLENTY, 1);
        let stopped = || {
            instance(
                InstanceStatus::NotRunning(Word::for_test("Stopped")),
                Lock::Unlocked,
            )
        };
        let (one, other) = (key("a", "cn-shanghai"), key("b", "cn-shanghai"));
        let read = |state: DbInstance| async { known(state) };
        assert_eq!(
            limits.instance(&one, "rm-1", read(running())).await,
            Ok(running())
        );
        assert_eq!(
            limits.instance(&one, "rm-2", read(stopped())).await,
            Ok(stopped())
        );
        assert_eq!(
            limits.instance(&other, "rm-1", read(stopped())).await,
            Ok(stopped())
        );
    }

    #[tokio::test]
    async fn a_forgotten_instance_is_read_again() {
        let limits = limits(PLENTY, PLENTY, 1);
        let key = key("a", "cn-shanghai");
        limits
            .instance(&key, "rm-1", async { known(running()) })
            .await
            .unwrap();
        limits.forget_instance(&key, "rm-1").await;
        let stopped = instance(
            InstanceStatus::NotRunning(Word::for_test("Stopped")),
            Lock::Unlocked,
        );
        let again = limits
            .instance(&key, "rm-1", async { known(stopped.clone()) })
            .await;
        assert_eq!(again, Ok(stopped));
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_wait_and_not_kept() {
        let limits = limits(PLENTY, PLENTY, 1);
        let key = key("a", "cn-shanghai");
        let failure = CallError::Transport(Transport::Connect, Host::for_test("rds.aliyuncs.com"));
        let (fail, failed) = oneshot::channel::<()>();
        let first = limits.instance(&key, "rm-1", async {
            failed.await.unwrap();
            Err(failure.clone())
        });
        let second = limits.instance(&key, "rm-1", async { known(running()) });
        let ask = async {
            yield_now().await;
            fail.send(()).unwrap();
        };
        let (first, second, ()) = tokio::join!(first, second, ask);
        assert_eq!((first, second), (Err(failure.clone()), Err(failure)));
        assert_eq!(
            limits
                .instance(&key, "rm-1", async { known(running()) })
                .await,
            Ok(running())
        );
    }

    #[tokio::test]
    async fn a_reader_that_gives_up_leaves_the_read_to_the_next() {
        let limits = limits(PLENTY, PLENTY, 1);
        let key = key("a", "cn-shanghai");
        let mut gives_up =
            Box::pin(limits.instance(&key, "rm-1", pending::<Result<DbInstance, CallError>>()));
        assert!((&mut gives_up).now_or_never().is_none());
        let mut next = Box::pin(limits.instance(&key, "rm-1", async { known(running()) }));
        assert!((&mut next).now_or_never().is_none());
        drop(gives_up);
        assert_eq!(next.await, Ok(running()));
    }

    /// The whole order, by many at once, with one slot: if anybody waited for what comes earlier, this would not end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_order_does_not_deadlock() {
        let limits = Arc::new(limits(PLENTY, PLENTY, 1));
        let tasks = (0..200).map(|n| {
            let limits = Arc::clone(&limits);
            tokio::spawn(async move {
                let key = key(["a", "b"][n % 2], "cn-shanghai");
                let instance_id = format!("rm-{}", n % 5);
                let _turn = limits.turn(&instance_id).await;
                let state = limits
                    .instance(&key, &instance_id, async {
                        let _permit = limits.permit(&key).await;
                        yield_now().await;
                        known(running())
                    })
                    .await;
                assert_eq!(state, Ok(running()));
                let _permit = limits.permit(&key).await;
                if n % 10 == 0 {
                    limits.close(&key, Duration::from_millis(1)).await;
                    limits.forget_instance(&key, &instance_id).await;
                }
                yield_now().await;
            })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
    }

    #[test]
    fn only_a_usable_instance_is_kept_for_long() {
        let kept = |state: &DbInstance| {
            let instance = SeenInstance::new(&key("a", "cn-shanghai"), "rm-1");
            TimeToLive.expire_after_create(&instance, state, std::time::Instant::now())
        };
        assert_eq!(kept(&running()), Some(RUNNING_IS_KEPT));
        for state in [
            instance(
                InstanceStatus::Running,
                Lock::Locked(Word::for_test("ManualLock")),
            ),
            instance(
                InstanceStatus::NotRunning(Word::for_test("Rebooting")),
                Lock::Unlocked,
            ),
            instance(InstanceStatus::Unknown, Lock::Unlocked),
            instance(InstanceStatus::Gone, Lock::Unlocked),
        ] {
            assert_eq!(kept(&state), Some(ANY_OTHER_STATE_IS_KEPT));
        }
    }

    proptest! {
        /// Whoever asks and gives up while waiting takes nothing along: the others still get all slots.
        #[test]
        fn giving_up_loses_no_slot(give_up in proptest::collection::vec(any::<bool>(), 1..30)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let limits = limits(PLENTY, PLENTY, 2);
                let key = key("a", "cn-shanghai");
                let held = [limits.permit(&key).await, limits.permit(&key).await];
                let mut waiting = Vec::new();
                for gives_up in give_up {
                    let mut asks = Box::pin(limits.permit(&key));
                    assert!((&mut asks).now_or_never().is_none());
                    if !gives_up {
                        waiting.push(asks);
                    }
                }
                drop(held);
                for permit in waiting {
                    drop(permit.await);
                }
                assert_eq!(limits.slots.available_permits(), 2);
            });
        }
    }
}
