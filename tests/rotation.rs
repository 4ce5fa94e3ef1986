//! A changed Secret reaches the database, and the status tells the truth about it.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::jiff::Timestamp;
use rds_password_operator::controller::observe::REUSED_FOR;
use rds_simulator::{Account, Action, Instance, Password, Target};
use testbed::bed::{
    ACCOUNT, INITIAL_PASSWORD, INSTANCE, until_the_lease_is_looked_at_anew, wait_until,
};
use testbed::operator::PATIENCE;
use testbed::proxy::{Exchange, Matcher, Verb};
use testbed::{Testbed, condition};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

#[tokio::test(flavor = "multi_thread")]
async fn first_reset_and_rotation() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;

    let secret = bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let resource = bed.wait_until_ready("orders-app").await?;

    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    ensure!(!bed.rds.login(INSTANCE, ACCOUNT, INITIAL_PASSWORD));
    let status = resource.status.clone().context("no status")?;
    let reset = status.last_reset.context("no lastReset")?;
    let [call] = &bed.resets()[..] else {
        anyhow::bail!("not one reset: {:#?}", bed.resets())
    };
    assert_eq!(
        reset.request_id, call.request_id,
        "the RequestId is that of the call"
    );
    assert_eq!(format!("{:?}", reset.trigger), "Created");
    assert_eq!(Some(reset.secret.uid), secret.metadata.uid);
    assert!(!call.password_in_url);
    assert_eq!(status.observed_generation, resource.metadata.generation);
    for (type_, expected) in [
        ("SecretReady", "Valid"),
        ("InstanceReady", "Running"),
        ("PasswordSynced", "Reset"),
    ] {
        assert_eq!(
            condition(&resource, type_).map(|condition| &*condition.reason),
            Some(expected),
            "{type_}"
        );
    }
    assert!(
        condition(&resource, "Reconciling").is_none() && condition(&resource, "Stalled").is_none()
    );

    bed.rotate("orders-db", "Second#Password2").await?;
    let resource = bed
        .wait_for("orders-app", "reset again", |resource| {
            resource
                .status
                .as_ref()
                .is_some_and(|status| status.history.len() == 2)
        })
        .await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "Second#Password2"));
    let reset = resource
        .status
        .and_then(|status| status.last_reset)
        .context("no lastReset")?;
    assert_eq!(format!("{:?}", reset.trigger), "SecretChanged");

    // One rotation: the instance within the last seconds was known, so a reset and a look at the account.
    let calls = bed.calls();
    let actions = |action| calls.iter().filter(|call| call.is(action)).count();
    assert_eq!(actions(Action::ResetAccountPassword), 2);
    assert_eq!(actions(Action::DescribeAccounts), 2);
    assert!(
        calls
            .iter()
            .all(|call| call.succeeded() && !call.password_in_url)
    );

    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "SIGTERM ends it with {status}:\n{log}");
    Ok(())
}

/// What an ordinary rotation asks of the API server: this, and no more. Where this machine was busy for so long that the first
/// look was too old, another rotation is tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_costs_four_requests_and_an_event() -> Result<()> {
    const TRIES: usize = 20;
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed
        .operator()
        .await?
        .lease_without_renewals()
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    let expected = BTreeMap::from([
        ("events", 1),
        ("get leases rds-password-operator", 1),
        ("get secrets orders-db", 1),
        ("update databaseaccountpasswords/status orders-app", 2),
    ]);
    let mut cost = BTreeMap::new();
    for number in 0..TRIES {
        bed.settle().await?;
        until_the_lease_is_looked_at_anew().await;
        let since = Timestamp::now();
        bed.rotate("orders-db", &format!("Rotated#Password{number}"))
            .await?;
        wait_until("the Event", async || {
            Ok(cost_since(&bed, since)?.contains_key("events"))
        })
        .await?;
        cost = cost_since(&bed, since)?;
        // What comes late belongs to it as well, but for the looks at the Lease, of which what is settled needs some.
        bed.settle().await?;
        for (request, count) in cost_since(&bed, since)? {
            if !request.contains("leases") {
                cost.insert(request, count);
            }
        }
        if cost
            .iter()
            .map(|(request, count)| (&**request, *count))
            .eq(expected.clone())
        {
            return Ok(());
        }
    }
    anyhow::bail!("{TRIES} rotations have each cost something else, the last one {cost:#?}")
}

/// An Event is created, or counted with the one before.
fn cost_since(bed: &Testbed, since: Timestamp) -> Result<BTreeMap<String, usize>> {
    let mut cost = BTreeMap::new();
    for (request, count) in bed.operators_requests(since)? {
        let is_event = request.contains("events");
        let is_watch = request.starts_with("watch");
        if !is_watch {
            let request = if is_event {
                "events".to_owned()
            } else {
                request
            };
            *cost.entry(request).or_default() += count;
        }
    }
    Ok(cost)
}

/// Resets that go out together share one look at the Lease.
#[tokio::test(flavor = "multi_thread")]
async fn many_rotations_share_their_looks_at_the_lease() -> Result<()> {
    const MANY: usize = 8;
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?;
    let operator = operator.lease_without_renewals().start().await?;
    operator.wait_until_leading().await?;
    let names: Vec<String> = (0..MANY).map(|number| format!("rm-{number}")).collect();
    for name in &names {
        let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
        bed.rds.add_instance(Instance::new(name).account(account));
        bed.create_secret(name, "First#Password1").await?;
        let mut resource = bed.resource(name, name);
        resource.spec.instance_id.clone_from(name);
        bed.create(&resource).await?;
    }
    for name in &names {
        bed.wait_until_ready(name).await?;
    }

    until_the_lease_is_looked_at_anew().await;
    let count = |exchanges: &[Exchange], matcher: &Matcher| {
        let requests = exchanges.iter().map(|exchange| &exchange.request);
        requests.filter(|request| matcher.matches(request)).count()
    };
    let writes = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    let looks = Matcher::resource("leases").verb(Verb::Get);
    let before = proxy.exchanges().len();
    let resets = bed.resets().len();
    let hold = proxy.hold(looks.clone());
    try_join_all(
        names
            .iter()
            .map(|name| bed.rotate(name, "Second#Password2")),
    )
    .await?;
    // Each writes down what it is about to send while it waits for the look.
    let all_wait = |exchanges: &[Exchange]| count(&exchanges[before..], &writes) >= MANY;
    proxy.wait_for(PATIENCE, all_wait).await?;
    hold.release();
    wait_until("all rotated", async || {
        let rotated = |name: &String| bed.rds.login(name, ACCOUNT, "Second#Password2");
        Ok(names.iter().all(rotated))
    })
    .await?;
    assert_eq!(bed.resets().len() - resets, MANY);
    let looks = count(&proxy.exchanges()[before..], &looks);
    ensure!(looks * 2 <= MANY, "{looks} looks for {MANY} resets");
    Ok(())
}

/// Whoever had to wait for long looks at the Secret again, whatever the watch tells, and sends what it has by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_changed_during_the_wait_is_not_sent() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let look = bed.rds.pause(Action::DescribeDBInstanceAttribute);
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    look.wait_for_held(1, PATIENCE).await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    // It is the passing of time that is tried here.
    tokio::time::sleep(REUSED_FOR).await;
    look.release();
    only_the_second_is_sent(&bed).await
}

/// However short the wait was: another resource that reads the Secret shows that the watch has told.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_watch_tells_has_changed_is_not_sent() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
    bed.rds
        .add_instance(Instance::new("rm-other").account(account));
    let mut other = bed.resource("other", "orders-db");
    "rm-other".clone_into(&mut other.spec.instance_id);
    bed.create(&other).await?;
    bed.wait_until_ready("other").await?;

    let look = bed.rds.pause(Target::any().instance(INSTANCE));
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    look.wait_for_held(1, PATIENCE).await?;
    let reads = Matcher::resource("secrets").verb(Verb::Get);
    let count = |exchanges: &[Exchange]| {
        let requests = exchanges.iter().map(|exchange| &exchange.request);
        requests.filter(|request| reads.matches(request)).count()
    };
    let before = count(&proxy.exchanges());
    bed.rotate("orders-db", "Second#Password2").await?;
    proxy
        .wait_for(PATIENCE, |exchanges| count(exchanges) > before)
        .await?;
    look.release();
    only_the_second_is_sent(&bed).await
}

async fn only_the_second_is_sent(bed: &Testbed) -> Result<()> {
    bed.wait_for_password("Second#Password2").await?;
    bed.settle().await?;
    let history = bed.rds.password_history(INSTANCE, ACCOUNT);
    let history: Vec<&str> = history.iter().map(Password::expose).collect();
    assert_eq!(history, ["Second#Password2"]);
    Ok(())
}
