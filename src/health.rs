//! Whether the process does its work: what `/readyz` tells. A missing permission or definition must never look like idleness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What stands between this process and its work. Cheap to clone; all clones share one state.
#[derive(Clone, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_stopping: bool,
    is_leader: bool,
    /// What is not in order, by the part that it concerns.
    obstacles: BTreeMap<String, Obstacle>,
}

struct Obstacle {
    text: String,
    until: Option<Instant>,
}

impl Obstacle {
    fn stands(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Health {
    /// This process leads from now on, or does so no longer. A process that stands by has nothing to watch.
    pub fn set_leader(&self, is_leader: bool) {
        let mut state = self.lock();
        state.is_leader = is_leader;
        if !is_leader {
            state.obstacles.clear();
        }
    }

    /// Whether this process leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.lock().is_leader
    }

    /// The process is about to end.
    pub fn set_stopping(&self) {
        self.lock().is_stopping = true;
    }

    /// `part` is not in order, for this reason: until it is cleared, or for as long as it `lasts`. Whether that is news.
    #[expect(
        clippy::must_use_candidate,
        reason = "not everyone who says it writes a log"
    )]
    pub fn set_obstacle(&self, part: &str, text: &str, lasts: Option<Duration>) -> bool {
        let until = lasts.map(|lasts| Instant::now() + lasts);
        let obstacle = Obstacle {
            text: text.to_owned(),
            until,
        };
        let old = self.lock().obstacles.insert(part.to_owned(), obstacle);
        old.is_none_or(|old| old.text != text || !old.stands())
    }

    /// `part` is in order. Whether that is news.
    #[expect(
        clippy::must_use_candidate,
        reason = "not everyone who says it writes a log"
    )]
    pub fn clear_obstacle(&self, part: &str) -> bool {
        self.lock().obstacles.remove(part).is_some()
    }

    /// Nothing, or what is not in order.
    ///
    /// # Errors
    /// A line for each obstacle.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.lock();
        if state.is_stopping {
            return Err("stopping".to_owned());
        }
        let lines: Vec<String> = state
            .obstacles
            .iter()
            .filter(|(_, obstacle)| obstacle.stands())
            .map(|(part, obstacle)| format!("{part}: {}", obstacle.text))
            .collect();
        if lines.is_empty() {
            Ok(())
        } else {
            Err(lines.join("\n"))
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so the state is whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
