use std::time::Duration;

use rds_simulator::{Action, Fault, Throttle};

use crate::client::{PASSWORD, Rpc, reset, simulator};

#[tokio::test]
async fn one_request_too_many() {
    let rds = simulator().await;
    rds.add_throttle(Throttle::action(
        Action::ResetAccountPassword,
        1,
        Duration::from_secs(3600),
    ));
    assert_eq!(reset(PASSWORD).send(&rds).await.unwrap().status, 200);
    let refused = reset("Another#1").send(&rds).await.unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "Throttling.Api")
    );
    let header = refused.headers["x-ratelimit-user-api"].to_str().unwrap();
    let time_left = header
        .strip_prefix("Limit:1,Remain:0,TimeLeft:")
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    assert!(
        (3_000_000..=3_600_000).contains(&time_left.parse::<u64>().unwrap()),
        "{header}"
    );
    assert_eq!(rds.password_of("rm-1", "app").as_deref(), Some(PASSWORD));
    // Other actions have limits of their own.
    let describe = Rpc::post("DescribeAccounts", &[("DBInstanceId", "rm-1")])
        .send(&rds)
        .await
        .unwrap();
    assert_eq!(describe.status, 200);
    rds.clear_throttles();
    assert_eq!(reset("Another#1").send(&rds).await.unwrap().status, 200);
}

#[tokio::test]
async fn codes_headers_and_status_can_be_chosen() {
    let rds = simulator().await;
    let hour = Duration::from_secs(3600);
    rds.add_throttle(
        Throttle::user(1, hour)
            .code("Throttling")
            .status(429)
            .without_headers(),
    );
    reset(PASSWORD).send(&rds).await.unwrap();
    let refused = reset(PASSWORD).send(&rds).await.unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "Throttling")
    );
    assert!(
        refused
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("x-ratelimit"))
    );
}

#[tokio::test]
async fn a_scripted_refusal() {
    let rds = simulator().await;
    rds.add_fault(Fault::throttled("Throttling.User", Duration::from_secs(2)).times(1));
    let refused = reset(PASSWORD).send(&rds).await.unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "Throttling.User")
    );
    assert_eq!(
        refused.headers["x-ratelimit-user"],
        "Limit:1,Remain:0,TimeLeft:2000,Reset:2000"
    );
    assert_eq!(reset(PASSWORD).send(&rds).await.unwrap().status, 200);
}
