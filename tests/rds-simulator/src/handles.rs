//! What a test waits with: the journal, and requests that are held.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{fault::PauseId, journal::Call, shared::Shared};

/// What was waited for did not happen in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not seen within {waited:?}; the calls so far: {calls:#?}")]
pub struct WaitTimeout {
    /// For how long.
    pub waited: Duration,
    /// What the journal holds instead.
    pub calls: Vec<Call>,
}

/// Reads what has happened.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

impl Journal {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// All calls since the start or the last [`Journal::clear`], in the order of arrival, those under way included.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.read(|state| state.journal.calls().to_vec())
    }

    /// Forgets all calls.
    pub fn clear(&self) {
        self.shared.update(|state| state.journal.clear());
    }

    /// Waits until the calls satisfy a condition, and returns them.
    ///
    /// # Errors
    /// [`WaitTimeout`] with the calls there were, if they do not within `limit`.
    pub async fn wait_for(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&[Call]) -> bool,
    ) -> Result<Vec<Call>, WaitTimeout> {
        let satisfied = async {
            let mut seen = None;
            loop {
                // The condition runs outside the lock: it may ask the simulator something.
                let calls = self
                    .shared
                    .wait_until(|state| {
                        let revision = state.journal.revision();
                        (seen != Some(revision)).then(|| {
                            seen = Some(revision);
                            state.journal.calls().to_vec()
                        })
                    })
                    .await;
                if condition(&calls) {
                    return calls;
                }
            }
        };
        timeout(limit, satisfied).await.map_err(|_| WaitTimeout {
            waited: limit,
            calls: self.calls(),
        })
    }
}

/// Requests that are held, see [`RdsSimulator::pause`](crate::RdsSimulator::pause). Dropping it releases them and ends the pause.
pub struct Pause {
    id: PauseId,
    journal: Journal,
}

impl Pause {
    pub(crate) fn new(id: PauseId, journal: Journal) -> Self {
        Self { id, journal }
    }

    /// How many requests are held now, those included whose clients have gone.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.journal.shared.read(|state| state.faults.held(self.id))
    }

    /// Waits until so many requests are held.
    ///
    /// # Errors
    /// [`WaitTimeout`] if they are not within `limit`.
    pub async fn wait_for_held(&self, requests: u64, limit: Duration) -> Result<(), WaitTimeout> {
        let held = self
            .journal
            .shared
            .wait_until(|state| (state.faults.held(self.id) >= requests).then_some(()));
        timeout(limit, held).await.map_err(|_| WaitTimeout {
            waited: limit,
            calls: self.journal.calls(),
        })
    }

    /// Lets the request go that was held first, and holds on to the others and to those that come; false if none was held.
    #[expect(
        clippy::must_use_candidate,
        reason = "releasing is the point, the answer is a by-product"
    )]
    pub fn release_one(&self) -> bool {
        self.journal
            .shared
            .update(|state| state.faults.release_one(self.id))
    }

    /// Lets all requests go and holds no more.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.journal
            .shared
            .update(|state| state.faults.end_pause(self.id));
    }
}
