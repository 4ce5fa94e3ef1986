//! Credentials of several identities, fetched once for all who need them.
//!
//! They are renewed ahead of their end while everybody goes on with those at hand, by one fetch at a time for each identity.
//! A fetch that fails takes nothing away that is still good, and is not repeated at once.

mod state;

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use tokio::sync::{self, OwnedMutexGuard};
use tracing::warn;

use self::state::{Look, State};
use super::error::{CredentialsError, SourceName};
use super::issued::IssuedCredentials;
use crate::rds::credentials::Credentials;

/// Far more identities than a cluster has; it bounds what somebody who writes resources at will can fill the memory with.
const MOST_IDENTITIES: u64 = 10_000;

/// An identity that nobody used for so long leaves, and its secrets with it. As long as credentials usually live, so that
/// nothing is fetched again that could have been kept.
const IDLE_IS_KEPT: Duration = Duration::from_secs(3600);

/// How a fetch ended.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// Where the credentials come from, or should have come from.
    pub source: SourceName,
    /// When they expire, `None` for those without an end that is known; or why there are none.
    pub result: Result<Option<Timestamp>, CredentialsError>,
}

impl Refresh {
    fn of(fetched: &Result<IssuedCredentials, CredentialsError>) -> Self {
        Self {
            source: match fetched {
                Ok(issued) => issued.origin,
                Err(error) => error.origin(),
            },
            result: match fetched {
                Ok(issued) => Ok(issued.expiration),
                Err(error) => Err(error.clone()),
            },
        }
    }
}

/// Is told whose fetch has ended, and how.
type Observer<K> = Box<dyn Fn(&K, &Refresh) + Send + Sync>;

/// Credentials by identity. `K` names one.
pub struct Cache<K> {
    entries: moka::sync::Cache<K, Arc<Entry>>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// In [0, 1).
    jitter: Box<dyn Fn() -> f64 + Send + Sync>,
    observer: Observer<K>,
}

#[derive(Default)]
struct Entry {
    state: Mutex<State>,
    /// Held by the one that fetches.
    turn: Arc<sync::Mutex<()>>,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Cache<K> {
    /// Empty. `now` is the wall clock, since that is what credentials expire by; `jitter` is in [0, 1).
    #[must_use]
    pub fn new(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        jitter: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self::bounded(MOST_IDENTITIES, IDLE_IS_KEPT, now, jitter)
    }

    fn bounded(
        most: u64,
        idle_is_kept: Duration,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        jitter: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            entries: moka::sync::Cache::builder()
                .max_capacity(most)
                .time_to_idle(idle_is_kept)
                // The default would rather decline a new identity, which then would be fetched for every call.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            now: Box::new(now),
            jitter: Box::new(jitter),
            observer: Box::new(|_, _| {}),
        }
    }

    /// Tells `observer` of each fetch that has ended.
    #[must_use]
    pub fn observed_by(self, observer: impl Fn(&K, &Refresh) + Send + Sync + 'static) -> Self {
        Self {
            observer: Box::new(observer),
            ..self
        }
    }

    /// The credentials of an identity: those at hand, else what `fetch` gives, which at most one caller runs at a time.
    ///
    /// Credentials whose end comes near are renewed in a task of their own; nobody waits for that.
    ///
    /// # Errors
    /// What `fetch` failed with, now or a moment ago.
    pub async fn get<F>(
        self: &Arc<Self>,
        key: &K,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Arc<Credentials>, CredentialsError>
    where
        F: Future<Output = Result<IssuedCredentials, CredentialsError>> + Send + 'static,
    {
        let entry = self.entries.get_with(key.clone(), Arc::default);
        let look = entry.state().look((self.now)());
        match look {
            Look::Good(credentials) => return Ok(credentials),
            Look::Due(credentials) => {
                if let Ok(turn) = entry.turn.clone().try_lock_owned() {
                    let (cache, key, fetch) = (self.clone(), key.clone(), fetch());
                    tokio::spawn(async move { cache.renew(&key, &entry, turn, fetch).await });
                }
                return Ok(credentials);
            }
            Look::Failed(error) => return Err(error),
            Look::Nothing => {}
        }
        let _turn = entry.turn.lock().await;
        // Whoever had the turn before may have fetched, or failed to.
        let look = entry.state().look((self.now)());
        match look {
            Look::Good(credentials) | Look::Due(credentials) => Ok(credentials),
            Look::Failed(error) => Err(error),
            Look::Nothing => {
                let fetched = fetch().await;
                self.settle(key, &entry, fetched)
            }
        }
    }

    /// Credentials that are at hand and good, without waiting for anything.
    #[must_use]
    pub fn at_hand(&self, key: &K) -> Option<Arc<Credentials>> {
        match self.entries.get(key)?.state().look((self.now)()) {
            Look::Good(credentials) | Look::Due(credentials) => Some(credentials),
            Look::Failed(_) | Look::Nothing => None,
        }
    }

    /// Drops credentials that the cloud rejected. Returns whether it makes sense to get others and to ask once more: not if
    /// others were rejected a moment ago, or the cloud would be asked twice for every try.
    pub fn invalidate(&self, key: &K, access_key_id: &str) -> bool {
        let now = (self.now)();
        self.entries
            .get(key)
            .is_none_or(|entry| entry.state().invalidate(access_key_id, now))
    }

    async fn renew(
        &self,
        key: &K,
        entry: &Entry,
        _turn: OwnedMutexGuard<()>,
        fetch: impl Future<Output = Result<IssuedCredentials, CredentialsError>>,
    ) {
        if let Err(error) = self.settle(key, entry, fetch.await) {
            warn!(%error, "credentials could not be renewed; those at hand are used until they expire");
        }
    }

    fn settle(
        &self,
        key: &K,
        entry: &Entry,
        fetched: Result<IssuedCredentials, CredentialsError>,
    ) -> Result<Arc<Credentials>, CredentialsError> {
        let (now, jitter) = ((self.now)(), (self.jitter)());
        let mut refresh = Refresh::of(&fetched);
        let settled = entry.state().settle(fetched, now, jitter);
        if let Err(error) = &settled {
            // What was issued may have expired already.
            refresh.result = Err(error.clone());
        }
        (self.observer)(key, &refresh);
        settled
    }
}

#[cfg(test)]
mod tests;
