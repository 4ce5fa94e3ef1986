//! Faults and pauses.

use std::{sync::Arc, time::Duration};

use rds_simulator::{Action, Fault, Outcome, RdsSimulator, Target};
use tokio::task::JoinHandle;

use crate::client::{Answer, PASSWORD, PATIENCE, Rpc, reset, simulator};

fn send(rds: &Arc<RdsSimulator>, request: Rpc) -> JoinHandle<reqwest::Result<Answer>> {
    let rds = Arc::clone(rds);
    tokio::spawn(async move { request.send(&rds).await })
}

fn password(rds: &RdsSimulator) -> String {
    rds.password_of("rm-1", "app").unwrap()
}

#[tokio::test]
async fn a_paused_reset_waits_for_its_release() {
    let rds = Arc::new(simulator().await);
    let pause = rds.pause(Action::ResetAccountPassword);
    let request = send(&rds, reset(PASSWORD));
    pause.wait_for_held(1, PATIENCE).await.unwrap();
    assert_eq!(password(&rds), "Initial#1");
    assert_eq!(rds.journal().calls()[0].outcome, Outcome::UnderWay);
    pause.release();
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    assert_eq!(password(&rds), PASSWORD);
}

#[tokio::test]
async fn a_reset_paused_after_its_effect_has_changed_the_password() {
    let rds = Arc::new(simulator().await);
    let pause = rds.pause_after_effect(
        Target::from(Action::ResetAccountPassword)
            .instance("rm-1")
            .account("app"),
    );
    let request = send(&rds, reset(PASSWORD));
    pause.wait_for_held(1, PATIENCE).await.unwrap();
    assert_eq!(password(&rds), PASSWORD);
    let call = &rds.journal().calls()[0];
    assert!(call.took_effect && call.outcome == Outcome::UnderWay);
    drop(pause);
    assert_eq!(request.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn a_pause_releases_in_the_order_of_arrival() {
    let rds = Arc::new(simulator().await);
    let pause = rds.pause(Action::ResetAccountPassword);
    let first = send(&rds, reset("First##11"));
    pause.wait_for_held(1, PATIENCE).await.unwrap();
    let second = send(&rds, reset("Second#22"));
    pause.wait_for_held(2, PATIENCE).await.unwrap();
    assert!(pause.release_one());
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    assert_eq!((password(&rds).as_str(), pause.held()), ("First##11", 1));
    assert!(pause.release_one());
    assert_eq!(second.await.unwrap().unwrap().status, 200);
    assert_eq!((password(&rds).as_str(), pause.held()), ("Second#22", 0));
    assert!(!pause.release_one());
}

#[tokio::test]
async fn a_held_reset_is_carried_out_even_if_its_client_has_gone() {
    let rds = Arc::new(simulator().await);
    let pause = rds.pause(Action::ResetAccountPassword);
    let request = send(&rds, reset(PASSWORD));
    pause.wait_for_held(1, PATIENCE).await.unwrap();
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    pause.release();
    let calls = rds
        .journal()
        .wait_for(PATIENCE, |calls| calls[0].outcome != Outcome::UnderWay)
        .await
        .unwrap();
    assert!(calls[0].took_effect);
    assert_eq!(password(&rds), PASSWORD);
}

#[tokio::test]
async fn a_hanging_request_ends_with_its_client() {
    let rds = Arc::new(simulator().await);
    rds.add_fault(Fault::hang());
    let request = send(&rds, reset(PASSWORD));
    rds.journal()
        .wait_for(PATIENCE, |calls| calls.len() == 1)
        .await
        .unwrap();
    request.abort();
    let calls = rds
        .journal()
        .wait_for(PATIENCE, |calls| calls[0].outcome != Outcome::UnderWay)
        .await
        .unwrap();
    assert_eq!(
        (calls[0].outcome, calls[0].took_effect),
        (Outcome::ClientGone, false)
    );
    assert_eq!(password(&rds), "Initial#1");
}

#[tokio::test]
async fn a_hanging_request_ends_when_the_fault_is_cleared() {
    let rds = Arc::new(simulator().await);
    let fault = rds.add_fault(
        Fault::hang()
            .after_effect()
            .on(Action::ResetAccountPassword),
    );
    let request = send(&rds, reset(PASSWORD));
    rds.journal()
        .wait_for(PATIENCE, |calls| calls.iter().any(|call| call.took_effect))
        .await
        .unwrap();
    assert_eq!(rds.journal().calls()[0].outcome, Outcome::UnderWay);
    rds.clear_fault(fault);
    assert!(request.await.unwrap().is_err());
    assert_eq!(rds.journal().calls()[0].outcome, Outcome::Cut);
}

#[tokio::test]
async fn a_connection_is_closed_before_or_after_the_effect() {
    let rds = simulator().await;
    rds.add_fault(Fault::close_connection().times(1));
    assert!(reset(PASSWORD).send(&rds).await.is_err());
    assert_eq!(password(&rds), "Initial#1");
    rds.add_fault(Fault::close_connection().after_effect().times(1));
    assert!(reset(PASSWORD).send(&rds).await.is_err());
    assert_eq!(password(&rds), PASSWORD);
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

#[tokio::test]
async fn a_truncated_answer_has_a_head_and_half_a_body() {
    let rds = simulator().await;
    rds.add_fault(Fault::truncated_body());
    let response = reset(PASSWORD).response(&rds).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.content_length().unwrap() > 10);
    assert!(response.text().await.is_err());
    assert_eq!(password(&rds), PASSWORD);
    assert_eq!(rds.journal().calls()[0].outcome, Outcome::Cut);
}

#[tokio::test]
async fn errors_happen_before_or_after_the_effect() {
    let rds = simulator().await;
    rds.add_fault(Fault::error(503, "ServiceUnavailable", "Not now.").times(2));
    for _ in 0..2 {
        let answer = reset(PASSWORD).send(&rds).await.unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "ServiceUnavailable")
        );
    }
    assert_eq!(password(&rds), "Initial#1");
    rds.add_fault(
        Fault::error(500, "InternalError", "")
            .after_effect()
            .times(1),
    );
    assert_eq!(
        reset(PASSWORD).send(&rds).await.unwrap().code(),
        "InternalError"
    );
    assert_eq!(password(&rds), PASSWORD);
    assert_eq!(reset("Another#1").send(&rds).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_error_echoes_the_password_but_the_journal_does_not() {
    let rds = simulator().await;
    rds.add_fault(Fault::echo_password(400));
    let answer = reset("Canary2026").send(&rds).await.unwrap();
    assert_eq!(answer.code(), "Rejected.Canary2026");
    assert!(
        answer.json()["Message"]
            .as_str()
            .unwrap()
            .contains("Canary2026")
    );
    let calls = rds.journal().calls();
    assert_eq!(calls[0].code.as_deref(), Some("Rejected.<password>"));
    assert!(!format!("{calls:?}").contains("Canary2026"));
}

#[tokio::test]
async fn garbage_and_delay() {
    let rds = simulator().await;
    rds.add_fault(Fault::garbage(502, "text/html", "<html>Bad Gateway</html>").times(1));
    let answer = reset(PASSWORD).send(&rds).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (502, "<html>Bad Gateway</html>")
    );
    assert_eq!(answer.headers["content-type"], "text/html");
    assert_eq!(password(&rds), "Initial#1");
    rds.add_fault(Fault::delay(Duration::from_millis(50)).times(1));
    assert_eq!(reset(PASSWORD).send(&rds).await.unwrap().status, 200);
    let call = rds.journal().calls().pop().unwrap();
    assert!(
        call.finished
            .unwrap()
            .duration_since(call.arrived)
            .as_millis()
            >= 50
    );
}

#[tokio::test]
async fn a_fault_does_not_hide_a_clients_own_mistake() {
    let rds = simulator().await;
    rds.add_fault(Fault::hang());
    let mut request = reset(PASSWORD);
    request.secret = "wrong".to_owned();
    assert_eq!(
        request.send(&rds).await.unwrap().code(),
        "SignatureDoesNotMatch"
    );
}

#[tokio::test]
async fn a_dropped_simulator_closes_its_connections_and_its_port() {
    let rds = simulator().await;
    let address = rds.address();
    let journal = rds.journal();
    rds.add_fault(Fault::hang());
    let request = reset(PASSWORD).prepare(&rds);
    let pending = tokio::spawn(request.send());
    journal
        .wait_for(PATIENCE, |calls| calls.len() == 1)
        .await
        .unwrap();
    drop(rds);
    assert!(pending.await.unwrap().is_err());
    // The listener is closed by its own task, a moment later.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(journal.calls().len(), 1);
}

#[tokio::test]
async fn a_wait_that_fails_tells_what_there_was() {
    let rds = simulator().await;
    reset(PASSWORD).send(&rds).await.unwrap();
    let error = rds
        .journal()
        .wait_for(Duration::from_millis(1), |calls| calls.len() > 1)
        .await
        .unwrap_err();
    assert_eq!(error.calls.len(), 1);
    let text = error.to_string();
    assert!(
        text.contains("ResetAccountPassword") && !text.contains(PASSWORD),
        "{text}"
    );
}
