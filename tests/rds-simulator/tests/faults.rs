//! Faults and pauses over HTTP.

#![allow(clippy::unwrap_used, reason = "a test")]

mod client;

use std::sync::Arc;

use client::{PASSWORD, PATIENCE, reset, simulator};
use rds_simulator::{Action, Fault, Outcome};

#[tokio::test]
async fn a_paused_reset_waits_for_its_release() {
    let rds = Arc::new(simulator().await);
    let pause = rds.pause(Action::ResetAccountPassword);
    let request = tokio::spawn({
        let rds = Arc::clone(&rds);
        async move { reset(PASSWORD).send(&rds).await.unwrap() }
    });
    pause.wait_for_held(1, PATIENCE).await.unwrap();
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some("Initial#1"));
    assert_eq!(rds.journal().calls()[0].outcome, Outcome::UnderWay);
    pause.release();
    assert_eq!(request.await.unwrap().status, 200);
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some(PASSWORD));
}

#[tokio::test]
async fn a_connection_is_closed_before_or_after_the_effect() {
    let rds = simulator().await;
    rds.add_fault(Fault::close_connection().times(1));
    assert!(reset(PASSWORD).send(&rds).await.is_err());
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some("Initial#1"));
    rds.add_fault(Fault::close_connection().after_effect().times(1));
    assert!(reset(PASSWORD).send(&rds).await.is_err());
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some(PASSWORD));
    let calls = rds.journal().calls();
    assert_eq!(
        calls
            .iter()
            .map(|call| call.took_effect)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert!(
        calls
            .iter()
            .all(|call| call.outcome == Outcome::Cut && call.status.is_none())
    );
}
