use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::{StreamExt as _, poll};
use tokio::time::timeout;

use super::*;

fn name(number: usize) -> ObjectName {
    ObjectName {
        namespace: "shop".to_owned(),
        name: format!("{number:04}"),
    }
}

#[tokio::test]
async fn a_name_is_taken_once_however_often_it_was_added() {
    let wakes = Wakes::default();
    wakes.add([name(1)].into());
    wakes.add([name(1), name(2)].into());
    let mut taken = pin!(wakes.take());
    assert_eq!(taken.next().await, Some(name(1)));
    assert_eq!(taken.next().await, Some(name(2)));
    assert_eq!(poll!(taken.next()), Poll::Pending);
    // Taken is looked at: a change that comes afterwards is another one.
    wakes.add([name(1)].into());
    assert_eq!(taken.next().await, Some(name(1)));
}

#[tokio::test]
async fn no_names_wake_nobody() {
    let wakes = Wakes::default();
    wakes.add(Concerned::new());
    let mut taken = pin!(wakes.take());
    assert_eq!(poll!(taken.next()), Poll::Pending);
}

/// A term of leadership ends and its taker with it; what it had not taken is there for the next one.
#[tokio::test]
async fn names_outlive_their_taker() {
    let wakes = Wakes::default();
    {
        let mut waiting = pin!(wakes.take());
        assert_eq!(poll!(waiting.next()), Poll::Pending);
        wakes.add([name(1)].into());
    }
    assert_eq!(pin!(wakes.take()).next().await, Some(name(1)));
}

/// On several threads, so that names come at any point between a look and the wait after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_name_is_missed() {
    const ADDERS: usize = 4;
    const NAMES: usize = 500;
    let wakes = Wakes::default();
    let adders: Vec<_> = (0..ADDERS)
        .map(|adder| {
            let wakes = wakes.clone();
            tokio::spawn(async move {
                for number in 0..NAMES {
                    wakes.add([name(adder * NAMES + number)].into());
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let all = wakes.take().take(ADDERS * NAMES).collect();
    // Far longer than it takes; a name that is missed would be waited for without end.
    let mut taken: Vec<_> = timeout(Duration::from_secs(60), all).await.unwrap();
    taken.sort();
    assert_eq!(taken, (0..ADDERS * NAMES).map(name).collect::<Vec<_>>());
    for adder in adders {
        adder.await.unwrap();
    }
}
