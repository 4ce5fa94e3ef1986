//! SIGTERM: resets that are under way end, are written down, and the lease is handed over.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use rds_simulator::{Account, Action, Call, Fault, Instance};
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::operator::OperatorBuilder;
use testbed::proxy::{Matcher, Verb};
use testbed::{Testbed, install};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_under_way_ends_and_is_written_down() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let pause = bed.rds.pause(Action::ResetAccountPassword);
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    pause.wait_for_held(1, PATIENCE).await?;

    let stopping = tokio::spawn(operator.terminate());
    let leases = Api::<Lease>::namespaced(bed.client.clone(), install::OPERATOR);
    let lease = leases.get("rds-password-operator").await?;
    let holder = lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default();
    ensure!(
        !holder.is_empty(),
        "the lease is held while the reset is under way"
    );
    pause.release();

    let (status, log) = stopping.await??;
    ensure!(status.success(), "ended with {status}:\n{log}");
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    let resource = bed.resources().get("orders-app").await?;
    let reset = resource
        .status
        .and_then(|status| status.last_reset)
        .context("not written down")?;
    assert_eq!(reset.request_id, bed.resets()[0].request_id);
    assert_eq!(bed.resets().len(), 1);
    let lease = leases.get("rds-password-operator").await?;
    let holder = lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default();
    ensure!(holder.is_empty(), "the lease is released: {holder}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_waits_is_given_up() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let pause = bed.rds.pause(Action::DescribeDBInstanceAttribute);
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    pause.wait_for_held(1, PATIENCE).await?;

    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "ended with {status}:\n{log}");
    pause.release();
    ensure!(bed.resets().is_empty(), "nothing is sent after SIGTERM");

    let _operator = bed.operator().await?.start().await?;
    bed.wait_until_ready("orders-app").await?;
    assert_eq!(bed.resets().len(), 1);
    Ok(())
}

async fn replica(bed: &Testbed) -> Result<OperatorBuilder> {
    Ok(bed.operator().await?.lease_that_outlasts_the_test())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_replica_takes_over_at_once() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let first = replica(&bed).await?.start().await?;
    first.wait_until_leading().await?;
    let second = replica(&bed).await?.start().await?;
    second.wait_until_ready().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    first.terminate().await?;
    second.wait_until_leading().await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    Ok(())
}

/// Events are sent with nothing in hand, and the next leader need not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_do_not_hold_up_the_hand_over() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let first = bed.operator_at(&proxy.url(), None).await?;
    let first = first.lease_that_outlasts_the_test().start().await?;
    first.wait_until_leading().await?;
    let second = replica(&bed).await?.start().await?;
    second.wait_until_ready().await?;
    let events = proxy.hold(Matcher::resource("events").verb(Verb::Create));
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    events.wait_for_held(1, PATIENCE).await?;

    let stopping = tokio::spawn(first.terminate());
    second.wait_until_leading().await?;
    assert_eq!(events.held(), 1, "it was given up first");
    events.release();
    ended_in_time(stopping.await??)
}

/// A resource, its Secret, and its account.
struct Member {
    name: String,
    instance: String,
    account: String,
    password: String,
}

/// As many accounts on one instance as there are instances with one account, each with a resource that is due.
async fn fleet(bed: &Testbed, half: usize) -> Result<Vec<Member>> {
    bed.rds.add_instance(Instance::new("rm-many"));
    let members: Vec<Member> = (0..2 * half)
        .map(|number| {
            let alone = number % 2 == 0;
            let account = if alone {
                ACCOUNT.to_owned()
            } else {
                format!("app{number}")
            };
            let instance = if alone {
                format!("rm-{number}")
            } else {
                "rm-many".to_owned()
            };
            Member {
                name: format!("orders-{number}"),
                instance,
                account,
                password: format!("Fleet#Password{number}"),
            }
        })
        .collect();
    for member in &members {
        if member.instance != "rm-many" {
            bed.rds.add_instance(Instance::new(&member.instance));
        }
        let account = Account::new(&member.account, INITIAL_PASSWORD);
        bed.rds.add_account(&member.instance, account)?;
    }
    stream::iter(&members)
        .map(async |member: &Member| {
            bed.create_secret(&member.name, &member.password).await?;
            let mut resource = bed.resource(&member.name, &member.name);
            resource.spec.instance_id.clone_from(&member.instance);
            resource.spec.account_name.clone_from(&member.account);
            bed.create(&resource).await
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(members)
}

/// The resets that the cloud has received, by instance and account.
fn resets_by_account(bed: &Testbed) -> BTreeMap<(String, String), Vec<Call>> {
    let mut resets = BTreeMap::<_, Vec<Call>>::new();
    for call in bed.resets() {
        let account = call.account.clone().unwrap_or_default();
        let key = (call.instance.clone().unwrap_or_default(), account);
        resets.entry(key).or_default().push(call);
    }
    resets
}

/// The `RequestId` that a resource's status has for its last reset.
async fn recorded(bed: &Testbed, member: &Member) -> Result<Option<String>> {
    let resource = bed.resources().get(&member.name).await?;
    let last_reset = resource.status.and_then(|status| status.last_reset);
    Ok(last_reset.map(|reset| reset.request_id))
}

/// Makes sure that a process that has ended wrote down each reset that the cloud has received, and no other; returns how many.
async fn all_is_written_down(bed: &Testbed, fleet: &[Member]) -> Result<usize> {
    let resets = resets_by_account(bed);
    for member in fleet {
        let key = (member.instance.clone(), member.account.clone());
        let received: Vec<String> = resets
            .get(&key)
            .into_iter()
            .flatten()
            .map(|call| call.request_id.clone())
            .collect();
        let recorded: Vec<String> = recorded(bed, member).await?.into_iter().collect();
        assert_eq!(recorded, received, "{}", member.name);
    }
    Ok(resets.len())
}

/// Waits until a replica has applied what is left, and makes sure that each reset of all was made once.
async fn the_rest_is_applied_once(bed: &Testbed, fleet: &[Member]) -> Result<()> {
    for member in fleet {
        bed.wait_until_ready(&member.name).await?;
        let history = bed.rds.password_history(&member.instance, &member.account);
        assert_eq!(history, [member.password.as_str()], "{}", member.name);
    }
    all_is_written_down(bed, fleet).await?;
    assert_eq!(bed.resets().len(), fleet.len());
    Ok(())
}

fn ended_in_time((status, log): (std::process::ExitStatus, String)) -> Result<()> {
    ensure!(status.success(), "ended with {status}:\n{log}");
    ensure!(!log.contains("the grace period is over"), "{log}");
    Ok(())
}

/// All answers are held. Every slot is taken by a reset that RDS has carried out, the others wait for a slot or their turn.
#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_resets_none_is_lost_or_doubled() -> Result<()> {
    const SLOTS: u32 = 10;
    let bed = Testbed::start(OPERATOR).await?;
    let pause = bed.rds.pause_after_effect(Action::ResetAccountPassword);
    let fleet = fleet(&bed, 25).await?;
    let first = replica(&bed)
        .await?
        .flag("concurrency", SLOTS.to_string())
        .start()
        .await?;
    pause.wait_for_held(SLOTS.into(), PATIENCE).await?;
    let second = replica(&bed).await?.start().await?;
    second.wait_until_ready().await?;

    first.ask_to_end()?;
    first.wait_for_log("stopping: no new passes").await?;
    pause.release();
    ended_in_time(first.terminate().await?)?;
    // What waited for one of the slots got it, and did not use it any more.
    assert_eq!(all_is_written_down(&bed, &fleet).await?, SLOTS as usize);

    second.wait_until_leading().await?;
    the_rest_is_applied_once(&bed, &fleet).await
}

/// Each answer takes its time. When SIGTERM comes, some resets are done, some are under way, some wait.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_slow_resets_end_where_they_are() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let slow = Fault::delay(Duration::from_millis(300)).on(Action::ResetAccountPassword);
    bed.rds.add_fault(slow);
    let fleet = fleet(&bed, 25).await?;
    let first = replica(&bed)
        .await?
        .flag("concurrency", "4")
        .start()
        .await?;
    let second = replica(&bed).await?.start().await?;
    bed.rds
        .journal()
        .wait_for(PATIENCE, |calls| {
            let resets = calls
                .iter()
                .filter(|call| call.is(Action::ResetAccountPassword));
            resets.filter(|call| call.finished.is_some()).count() >= 5
        })
        .await?;

    first.ask_to_end()?;
    ended_in_time(first.terminate().await?)?;
    let sent = all_is_written_down(&bed, &fleet).await?;
    ensure!((5..fleet.len()).contains(&sent), "{sent} in the middle");

    second.wait_until_leading().await?;
    the_rest_is_applied_once(&bed, &fleet).await
}

/// Neither RDS nor the API server answers any more, not even for the lease.
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_time_where_everything_hangs_and_the_next_one_repairs() -> Result<()> {
    const GRACE: Duration = Duration::from_secs(8);
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let pause = bed.rds.pause_after_effect(Action::ResetAccountPassword);
    let fleet = fleet(&bed, 5).await?;
    let operator = bed
        .operator_at(&proxy.url(), None)
        .await?
        .flag("shutdown-grace", format!("{}s", GRACE.as_secs()))
        .flag("lease-duration", "12s")
        .flag("lease-renew-deadline", "11s")
        .flag("lease-retry-period", "1s")
        .start()
        .await?;
    // One for each instance.
    pause.wait_for_held(6, PATIENCE).await?;
    let hold = proxy.hold(Matcher::any());

    let asked = Instant::now();
    operator.ask_to_end()?;
    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "ended with {status}:\n{log}");
    assert_eq!(log.matches("the grace period is over").count(), 1, "{log}");
    // Far from where a second grace period, or the time that the requests of the lease have, would lead.
    ensure!(asked.elapsed() < GRACE + GRACE / 2, "{:?}", asked.elapsed());

    hold.release();
    pause.release();
    let _next = bed.operator().await?.start().await?;
    for member in &fleet {
        bed.wait_until_ready(&member.name).await?;
        ensure!(
            bed.rds
                .login(&member.instance, &member.account, &member.password),
            "{}",
            member.name
        );
        let recorded = recorded(&bed, member).await?.context("not written down")?;
        let resets = bed.resets();
        ensure!(
            resets
                .iter()
                .any(|call| call.request_id == recorded && call.succeeded()),
            "{recorded} of {}: {resets:#?}",
            member.name
        );
    }
    Ok(())
}

/// Each of the reads would take ten seconds to be given up, and there are more of them than are made at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_sent_nothing_does_not_hold_it_up() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    fleet(&bed, 60).await?;
    let hold = proxy.hold(Matcher::resource("secrets").verb(Verb::Get).path("/shop/"));
    let builder = bed.operator_at(&proxy.url(), None).await?;
    let operator = builder
        .lease_that_outlasts_the_test()
        .flag("shutdown-grace", "300s")
        .start()
        .await?;
    hold.wait_for_held(16, PATIENCE).await?;
    ended_in_time(operator.terminate().await?)?;
    hold.release();

    let next = replica(&bed).await?.start().await?;
    next.wait_until_leading().await
}
