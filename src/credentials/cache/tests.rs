#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use futures::future::join_all;
use secrecy::SecretString;
use tokio::sync::{Notify, Semaphore};

use super::super::error::{Kind, SourceName};
use super::*;

/// A cloud that counts, and whose clock is set by hand.
#[derive(Default)]
struct Issuer {
    now: AtomicI64,
    fetches: AtomicUsize,
    /// Whether it answers, and how many fetches may.
    held: Option<Semaphore>,
    came: Notify,
    broken: AtomicUsize,
}

type Fetched = Result<IssuedCredentials, CredentialsError>;

impl Issuer {
    fn holding() -> Self {
        Self {
            held: Some(Semaphore::new(0)),
            ..Self::default()
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_second(self.now.load(Ordering::SeqCst)).unwrap()
    }

    /// The `n`th credentials have the id `n`, and live for an hour.
    async fn issue(self: Arc<Self>) -> Fetched {
        let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
        self.came.notify_one();
        if let Some(held) = &self.held {
            held.acquire().await.unwrap().forget();
        }
        if self.broken.load(Ordering::SeqCst) > 0 {
            return Err(CredentialsError::new(
                SourceName::Uri,
                Kind::Transient,
                "no",
            ));
        }
        Ok(IssuedCredentials {
            origin: SourceName::Uri,
            credentials: Credentials {
                access_key_id: number.to_string(),
                access_key_secret: SecretString::from("secret"),
                security_token: None,
            },
            expiration: Some(self.time() + Duration::from_secs(3600)),
        })
    }

    fn release(&self, count: usize) {
        self.held.as_ref().unwrap().add_permits(count);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn cache(issuer: &Arc<Issuer>) -> Arc<Cache<&'static str>> {
    let clock = issuer.clone();
    Arc::new(Cache::new(move || clock.time(), || 0.0))
}

async fn get(cache: &Arc<Cache<&'static str>>, issuer: &Arc<Issuer>) -> Result<String, Kind> {
    let credentials = cache.get(&"key", || issuer.clone().issue()).await;
    credentials
        .map(|credentials| credentials.access_key_id.clone())
        .map_err(|error| error.kind())
}

#[tokio::test]
async fn many_callers_make_one_fetch() {
    let issuer = Arc::new(Issuer::holding());
    let cache = cache(&issuer);
    assert!(cache.at_hand(&"key").is_none());
    let callers = join_all((0..100).map(|_| get(&cache, &issuer)));
    let (ids, ()) = tokio::join!(callers, async {
        issuer.came.notified().await;
        issuer.release(1);
    });
    assert!(ids.iter().all(|id| id.as_deref() == Ok("1")));
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(cache.at_hand(&"key").unwrap().access_key_id, "1");
}

#[tokio::test]
async fn each_key_has_its_own() {
    let issuer = Arc::new(Issuer::default());
    let cache = cache(&issuer);
    for (key, id) in [("a", "1"), ("b", "2"), ("a", "1")] {
        let credentials = cache.get(&key, || issuer.clone().issue()).await.unwrap();
        assert_eq!(credentials.access_key_id, id);
    }
}

#[tokio::test]
async fn a_renewal_holds_nobody_up_and_comes_once() {
    let issuer = Arc::new(Issuer::holding());
    let cache = cache(&issuer);
    issuer.release(1);
    assert_eq!(get(&cache, &issuer).await.as_deref(), Ok("1"));
    issuer.came.notified().await;
    issuer.now.store(2700, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(get(&cache, &issuer).await.as_deref(), Ok("1"));
    }
    issuer.came.notified().await;
    assert_eq!(issuer.fetches(), 2);
    issuer.release(1);
    while get(&cache, &issuer).await.as_deref() != Ok("2") {
        tokio::task::yield_now().await;
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn two_hours_take_three_fetches() {
    let issuer = Arc::new(Issuer::default());
    let cache = cache(&issuer);
    for second in (0..7200).step_by(10) {
        issuer.now.store(second, Ordering::SeqCst);
        assert!(get(&cache, &issuer).await.is_ok());
        // Lets the renewal run.
        tokio::task::yield_now().await;
    }
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn a_failure_is_told_to_all_and_not_repeated_at_once() {
    let issuer = Arc::new(Issuer::default());
    let cache = cache(&issuer);
    issuer.broken.store(1, Ordering::SeqCst);
    let answers = join_all((0..10).map(|_| get(&cache, &issuer))).await;
    assert!(answers.iter().all(|answer| *answer == Err(Kind::Transient)));
    assert_eq!(issuer.fetches(), 1);
    issuer.broken.store(0, Ordering::SeqCst);
    issuer.now.store(1, Ordering::SeqCst);
    assert_eq!(get(&cache, &issuer).await.as_deref(), Ok("2"));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_keep_the_others_waiting() {
    let issuer = Arc::new(Issuer::holding());
    let cache = cache(&issuer);
    let first = tokio::spawn({
        let (cache, issuer) = (cache.clone(), issuer.clone());
        async move { get(&cache, &issuer).await }
    });
    issuer.came.notified().await;
    first.abort();
    let (second, ()) = tokio::join!(get(&cache, &issuer), async {
        issuer.came.notified().await;
        issuer.release(1);
    });
    assert_eq!(second.as_deref(), Ok("2"));
}

#[tokio::test]
async fn rejected_credentials_are_replaced() {
    let issuer = Arc::new(Issuer::default());
    let cache = cache(&issuer);
    assert!(cache.invalidate(&"key", "1"));
    assert_eq!(get(&cache, &issuer).await.as_deref(), Ok("1"));
    assert!(cache.invalidate(&"key", "1"));
    assert!(cache.at_hand(&"key").is_none());
    assert_eq!(get(&cache, &issuer).await.as_deref(), Ok("2"));
    assert!(!cache.invalidate(&"key", "2"));
    assert_eq!(get(&cache, &issuer).await.as_deref(), Ok("2"));
}

#[tokio::test]
async fn the_number_of_identities_is_bounded_and_the_newest_is_kept() {
    let issuer = Arc::new(Issuer::default());
    let clock = issuer.clone();
    let cache = Arc::new(Cache::bounded(
        10,
        IDLE_IS_KEPT,
        move || clock.time(),
        || 0.0,
    ));
    for key in 0..100 {
        cache.get(&key, || issuer.clone().issue()).await.unwrap();
        cache.entries.run_pending_tasks();
        assert!(cache.at_hand(&key).is_some());
    }
    assert!(cache.entries.entry_count() <= 10);
}

#[tokio::test]
async fn idle_identities_leave() {
    let issuer = Arc::new(Issuer::default());
    let clock = issuer.clone();
    let idle = Duration::from_millis(1);
    let cache = Arc::new(Cache::bounded(10, idle, move || clock.time(), || 0.0));
    let held = cache.get(&1, || issuer.clone().issue()).await.unwrap();
    // Only the test holds them in the end: the secret is gone from the cache.
    while Arc::strong_count(&held) > 1 {
        cache.entries.run_pending_tasks();
        tokio::task::yield_now().await;
    }
    assert!(cache.at_hand(&1).is_none());
}

/// Credentials that have expired when they come are none.
#[tokio::test]
async fn the_observer_is_told_how_each_fetch_ended() {
    let issuer = Arc::new(Issuer::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let (clock, telling) = (issuer.clone(), told.clone());
    let cache = Cache::new(move || clock.time(), || 0.0).observed_by(move |key, refresh| {
        let result = refresh.result.clone().map_err(|error| error.kind());
        telling.lock().unwrap().push((*key, refresh.source, result));
    });
    let cache = Arc::new(cache);
    let end = Timestamp::from_second(3600).ok();

    get(&cache, &issuer).await.unwrap();
    get(&cache, &issuer).await.unwrap();
    cache.invalidate(&"key", "1");
    issuer.broken.store(1, Ordering::SeqCst);
    get(&cache, &issuer).await.unwrap_err();
    let expired = || async {
        Ok(IssuedCredentials {
            origin: SourceName::Oidc,
            expiration: Some(Timestamp::UNIX_EPOCH),
            credentials: Credentials {
                access_key_id: "old".to_owned(),
                access_key_secret: SecretString::from("secret"),
                security_token: None,
            },
        })
    };
    cache.get(&"other", expired).await.unwrap_err();
    assert_eq!(
        *told.lock().unwrap(),
        [
            ("key", SourceName::Uri, Ok(end)),
            ("key", SourceName::Uri, Err(Kind::Transient)),
            ("other", SourceName::Oidc, Err(Kind::Misconfigured)),
        ]
    );
}
