use std::time::Duration;

use rds_simulator::{Action, Fault, Throttle, WaitHeaders};

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
    assert!(refused.headers.contains_key("x-acs-retry-after"));
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
            .headers(WaitHeaders::None),
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
            .all(|name| !name.as_str().starts_with("x-ratelimit") && name != "x-acs-retry-after")
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
    assert_eq!(refused.headers["x-acs-retry-after"], "2000");
    assert_eq!(reset(PASSWORD).send(&rds).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_script_chooses_the_headers() {
    let rds = simulator().await;
    let two_seconds = Duration::from_secs(2);
    for (headers, retry_after, rate_limit) in [
        (WaitHeaders::Both, true, true),
        (WaitHeaders::RetryAfter, true, false),
        (WaitHeaders::TimeLeft, false, true),
        (WaitHeaders::None, false, false),
    ] {
        let fault = Fault::throttled_by(headers, "Throttling.Api", two_seconds);
        rds.add_fault(fault.times(1));
        let refused = reset(PASSWORD).send(&rds).await.unwrap();
        let has = |name| refused.headers.contains_key(name);
        assert_eq!(
            (has("x-acs-retry-after"), has("x-ratelimit-user-api")),
            (retry_after, rate_limit)
        );
    }
    let milliseconds = Duration::from_millis(700);
    let error = Fault::error(500, "InternalError", "no").retry_after(milliseconds);
    let throttled = Fault::throttled("Throttling.Api", two_seconds).retry_after(milliseconds);
    for fault in [error, throttled] {
        rds.add_fault(fault.times(1));
        let refused = reset(PASSWORD).send(&rds).await.unwrap();
        let values: Vec<_> = refused
            .headers
            .get_all("x-acs-retry-after")
            .iter()
            .collect();
        assert_eq!(values, ["700"]);
    }
}
