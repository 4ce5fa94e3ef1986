//! SIGTERM and SIGINT, and until when there is time for what they end.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The part of the grace period that the hand-over of the lease has to itself: two requests, which take milliseconds.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Of a short grace period it is no more than this part.
const HAND_OVER_PART: u32 = 4;

/// The end of the process, once somebody asks for it. All clones are of the same one.
#[derive(Clone)]
pub struct Shutdown {
    token: CancellationToken,
    asked: Arc<OnceLock<Instant>>,
    grace: Duration,
}

impl Shutdown {
    /// Nobody has asked yet. From when somebody does, there is `grace` until the process has ended.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            token: CancellationToken::new(),
            asked: Arc::default(),
            grace,
        }
    }

    /// Asks at SIGTERM and SIGINT, and calls `first` right before.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub fn at_signals(&self, first: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            first();
            shutdown.ask();
        });
        Ok(())
    }

    fn ask(&self) {
        self.asked.get_or_init(Instant::now);
        self.token.cancel();
    }

    /// Waits until somebody has asked.
    pub async fn asked(&self) {
        self.token.cancelled().await;
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Cancelled when somebody asks, and by whoever has it.
    #[must_use]
    pub fn child_token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// Until when passes may end: the grace period without the time that the hand-over of the lease needs. If nobody has asked
    /// yet, as if it were now.
    #[must_use]
    pub fn end_of_passes(&self) -> Instant {
        let hand_over = HAND_OVER.min(self.grace / HAND_OVER_PART);
        self.end().unwrap_or_else(|| Instant::now() + self.grace) - hand_over
    }

    /// Waits until the grace period is over.
    pub async fn is_over(&self) {
        self.token.cancelled().await;
        if let Some(end) = self.end() {
            sleep_until(end).await;
        }
    }

    fn end(&self) -> Option<Instant> {
        self.asked.get().map(|asked| *asked + self.grace)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::default(25_000, 23_000)]
    #[case::short(2_000, 1_500)]
    #[case::shortest(1, 0)]
    fn the_hand_over_has_its_time(#[case] grace: u64, #[case] passes: u64) {
        let shutdown = Shutdown::new(Duration::from_millis(grace));
        shutdown.ask();
        let asked = shutdown.asked.get().copied();
        let left = asked.map(|asked| shutdown.end_of_passes() - asked);
        assert_eq!(left.map(|left| left.as_millis()), Some(passes.into()));
    }

    #[tokio::test]
    async fn there_is_one_end_however_often_somebody_asks() {
        let shutdown = Shutdown::new(Duration::from_secs(1000));
        assert!(shutdown.is_over().now_or_never().is_none() && !shutdown.is_asked());
        shutdown.ask();
        let end = shutdown.end_of_passes();
        shutdown.clone().ask();
        assert_eq!(shutdown.end_of_passes(), end);
        assert!(shutdown.is_asked() && shutdown.child_token().is_cancelled());
        assert!(shutdown.is_over().now_or_never().is_none());
    }

    #[tokio::test]
    async fn it_is_over_when_the_grace_period_is() {
        let shutdown = Shutdown::new(Duration::from_millis(50));
        shutdown.ask();
        let asked = Instant::now();
        shutdown.is_over().await;
        assert!(asked.elapsed() >= Duration::from_millis(49));
    }
}
