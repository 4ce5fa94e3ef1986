//! How many requests one cloud account makes in one region.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::{
    sync::{self, Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until},
};

use super::LimitSettings;

/// A rate, and beside it a gate that the cloud's throttling closes (a rate limiter's quota cannot change).
pub(super) struct RequestBudget {
    /// Held by the one that is next. The lock is fair, which neither the rate limiter nor the gate is.
    next: sync::Mutex<()>,
    rate: DefaultDirectRateLimiter,
    gate: Mutex<Gate>,
    /// Told at each closing.
    closing: Notify,
}

impl RequestBudget {
    pub(super) fn new(settings: LimitSettings) -> Self {
        let quota = Quota::per_second(settings.requests_per_second).allow_burst(settings.burst);
        Self {
            next: sync::Mutex::new(()),
            rate: RateLimiter::direct(quota),
            gate: Mutex::default(),
            closing: Notify::new(),
        }
    }

    pub(super) fn close(&self, now: Instant, period: Duration) {
        self.gate().close(now, period);
        self.closing.notify_waiters();
    }

    /// Waits until it is closed, if it is not.
    pub(super) async fn closed(&self) {
        let mut closing = pin!(self.closing.notified());
        // From here on no closing is missed, and one before is seen.
        closing.as_mut().enable();
        if !self.is_closed(Instant::now()) {
            closing.await;
        }
    }

    pub(super) fn is_closed(&self, now: Instant) -> bool {
        self.gate().closed_until(now).is_some()
    }

    /// Waits for the rate, for an open gate, and for a slot.
    ///
    /// The place in front is kept until there is a slot: else, while all slots are taken, callers would pass the rate one
    /// by one, gather, and all be let go at once. `None` stands for slots that are closed, which they never are.
    pub(super) async fn place_and_slot(
        &self,
        slots: &Arc<Semaphore>,
    ) -> Option<OwnedSemaphorePermit> {
        let _place = self.next.lock().await;
        while let Err(not_yet) = self.rate.check() {
            sleep(not_yet.wait_time_from(DefaultClock::default().now())).await;
        }
        loop {
            self.opened().await;
            let slot = Arc::clone(slots).acquire_owned().await.ok();
            // It may have closed while the slot was waited for; and a slot must not be held up by one closed budget.
            if self.gate().closed_until(Instant::now()).is_none() {
                return slot;
            }
        }
    }

    /// Waits for the rate alone, for who has a slot already; not where the gate is closed. Returns whether it is open.
    pub(super) async fn rate_unless_closed(&self) -> bool {
        while !self.is_closed(Instant::now()) {
            match self.rate.check() {
                Ok(()) => return true,
                Err(not_yet) => sleep(not_yet.wait_time_from(DefaultClock::default().now())).await,
            }
        }
        false
    }

    /// Waits until it is open, if it is not.
    pub(super) async fn opened(&self) {
        loop {
            // It can be closed for longer while this sleeps.
            let closed_until = self.gate().closed_until(Instant::now());
            match closed_until {
                Some(end) => sleep_until(end).await,
                None => return,
            }
        }
    }

    fn gate(&self) -> impl std::ops::DerefMut<Target = Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Open, or closed until a moment.
#[derive(Default)]
struct Gate {
    end: Option<Instant>,
}

impl Gate {
    /// An earlier closing that ends later stands.
    fn close(&mut self, now: Instant, period: Duration) {
        self.end = self.end.max(Some(now + period));
    }

    fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.end.filter(|end| *end > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gate_opens_at_its_end() {
        let now = Instant::now();
        let mut gate = Gate::default();
        assert_eq!(gate.closed_until(now), None);
        gate.close(now, Duration::from_secs(2));
        let end = now + Duration::from_secs(2);
        assert_eq!(gate.closed_until(now), Some(end));
        assert_eq!(gate.closed_until(end - Duration::from_nanos(1)), Some(end));
        assert_eq!(gate.closed_until(end), None);
    }

    proptest! {
        /// In whatever order closings come, the one that ends last decides.
        #[test]
        fn the_latest_end_stands(closings in proptest::collection::vec((0..100_u64, 0..100_u64), 1..8)) {
            let start = Instant::now();
            let mut gate = Gate::default();
            for (at, period) in &closings {
                gate.close(start + Duration::from_secs(*at), Duration::from_secs(*period));
            }
            let last = closings.iter().map(|(at, period)| at + period).max();
            let last = start + Duration::from_secs(last.unwrap_or_default());
            prop_assert_eq!(gate.end, Some(last));
            prop_assert_eq!(gate.closed_until(last), None);
        }
    }
}
