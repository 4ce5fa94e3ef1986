//! The names of the resources that have to be looked at, until the controller takes them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::Notify;

use super::index::{Concerned, ObjectName};

/// A set of names with one taker. A name that is in it twice is looked at once, so it never holds more than the resources
/// that there are, and putting a name in never waits.
#[derive(Clone, Default)]
pub struct Wakes {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    names: Mutex<BTreeSet<ObjectName>>,
    changed: Notify,
}

impl Wakes {
    /// Adds names.
    pub fn add(&self, names: Concerned) {
        if names.is_empty() {
            return;
        }
        self.lock().extend(names);
        // Keeps one permit while nobody waits, so that a name cannot be missed between a look and the wait after it.
        self.shared.changed.notify_one();
    }

    /// The names, one by one as they come. For one taker.
    pub fn take(&self) -> impl Stream<Item = ObjectName> + Send + use<> {
        unfold(self.clone(), |wakes| async move {
            loop {
                let first = wakes.lock().pop_first();
                if let Some(name) = first {
                    return Some((name, wakes));
                }
                wakes.shared.changed.notified().await;
            }
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<ObjectName>> {
        // A set of names is whole after any panic.
        self.shared
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests;
