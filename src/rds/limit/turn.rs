//! One after the other, for each instance.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{self, OwnedMutexGuard},
    time::Instant,
};

/// The instances for which somebody has the turn or waits for it.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<String, Queue>>>);

#[derive(Default)]
struct Queue {
    /// Fair: first come, first served.
    turn: Arc<sync::Mutex<()>>,
    /// Whoever has the turn or waits for it.
    members: usize,
}

/// The right to change accounts of an instance; the next one has it when this is dropped.
#[must_use = "dropping it ends the turn"]
pub struct InstanceTurn {
    // Dropped in this order: the turn ends before the membership.
    _turn: OwnedMutexGuard<()>,
    _membership: Membership,
    waited: Duration,
}

impl InstanceTurn {
    /// How long the caller waited for it.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Turns {
    pub(super) async fn wait(&self, instance_id: &str) -> InstanceTurn {
        let asked = Instant::now();
        let (turn, membership) = self.join(instance_id);
        InstanceTurn {
            _turn: turn.lock_owned().await,
            _membership: membership,
            waited: asked.elapsed(),
        }
    }

    fn join(&self, instance_id: &str) -> (Arc<sync::Mutex<()>>, Membership) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(instance_id.to_owned()).or_default();
        queue.members += 1;
        let membership = Membership {
            turns: self.clone(),
            instance_id: instance_id.to_owned(),
        };
        (Arc::clone(&queue.turn), membership)
    }
}

/// Counts somebody in, and out again when it is dropped, also by one who gives up waiting; the last one out removes the
/// queue.
struct Membership {
    turns: Turns,
    instance_id: String,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut queues = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get_mut(&self.instance_id) {
            queue.members -= 1;
            if queue.members == 0 {
                queues.remove(&self.instance_id);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use futures::{FutureExt, StreamExt, stream::FuturesUnordered};

    use super::*;

    fn queues(turns: &Turns) -> usize {
        turns.0.lock().unwrap().len()
    }

    #[tokio::test]
    async fn turns_of_an_instance_are_taken_in_the_order_of_asking() {
        let turns = Turns::default();
        let first = turns.wait("rm-1").await;
        let mut waiting: FuturesUnordered<_> = (0..100)
            .map(|n| turns.wait("rm-1").map(move |turn| (n, turn)))
            .collect();
        assert!(waiting.next().now_or_never().is_none(), "the turn is taken");
        drop(first);
        for expected in 0..100 {
            let (n, turn) = waiting.next().await.unwrap();
            assert_eq!(n, expected);
            assert!(
                waiting.next().now_or_never().flatten().is_none(),
                "one at a time"
            );
            drop(turn);
        }
        assert_eq!(queues(&turns), 0);
    }

    #[tokio::test]
    async fn instances_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let _one = turns.wait("rm-1").await;
        assert!(turns.wait("rm-2").now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        let turns = Turns::default();
        let turn = turns.wait("rm-1").await;
        let mut gives_up = Box::pin(turns.wait("rm-1"));
        assert!((&mut gives_up).now_or_never().is_none());
        drop(gives_up);
        assert_eq!(queues(&turns), 1);
        drop(turn);
        assert_eq!(queues(&turns), 0);
        assert!(turns.wait("rm-1").now_or_never().is_some());
    }
}
