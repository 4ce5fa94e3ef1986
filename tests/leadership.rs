//! Of several replicas one works, and one that does not know yet that it has been replaced does no harm.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, DeleteParams};
use rds_password_operator::api::{DatabaseAccountPassword, Trigger};
use rds_password_operator::leader::FRESH_FOR;
use rds_simulator::{Account, Action, Call, Fault, Instance};
use serde_json::json;
use testbed::bed::{
    ACCOUNT, INITIAL_PASSWORD, INSTANCE, until_the_lease_is_looked_at_anew, wait_until,
};
use testbed::install;
use testbed::operator::OperatorBuilder;
use testbed::proxy::{ApiProxy, Matcher, Verb};
use testbed::{Testbed, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with a resource in sync, whose operator reaches the API server through a proxy.
async fn in_sync_behind_a_proxy() -> Result<(Testbed, ApiProxy, testbed::Operator)> {
    in_sync_with(OperatorBuilder::short_lease).await
}

async fn in_sync_with(
    lease: impl FnOnce(OperatorBuilder) -> OperatorBuilder,
) -> Result<(Testbed, ApiProxy, testbed::Operator)> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?;
    let operator = lease(briefly_unsettled(operator)).start().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    Ok((bed, proxy, operator))
}

/// Another replica, which leads once the lease of the other one has run out.
async fn successor(bed: &Testbed) -> Result<testbed::Operator> {
    let operator = briefly_unsettled(bed.operator().await?);
    operator.short_lease().start().await
}

/// What an old leader has sent may come late: for a second here instead of minutes after its time-out.
fn briefly_unsettled(operator: OperatorBuilder) -> OperatorBuilder {
    operator.flag("reset-settling-time", "1s")
}

/// Another resource, for an account of an instance of its own.
async fn another_in_sync(bed: &Testbed) -> Result<()> {
    let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
    bed.rds.add_instance(Instance::new("rm-2").account(account));
    bed.create_secret("reports-db", "First#Password1").await?;
    let mut other = bed.resource("reports", "reports-db");
    "rm-2".clone_into(&mut other.spec.instance_id);
    bed.create(&other).await?;
    bed.wait_until_ready("reports").await?;
    Ok(())
}

async fn wait_until_the_other_has(bed: &Testbed, password: &str) -> Result<()> {
    let has_it = async || Ok(bed.rds.login("rm-2", ACCOUNT, password));
    wait_until("the other is rotated", has_it).await
}

fn passwords(bed: &Testbed) -> Vec<String> {
    let history = bed.rds.password_history(INSTANCE, ACCOUNT);
    history
        .iter()
        .map(|password| password.expose().to_owned())
        .collect()
}

/// Rotates, and stops the leader when RDS has carried the reset out, before it reads the answer. Returns that reset.
async fn stop_within_a_reset(bed: &Testbed, leader: &testbed::Operator) -> Result<Call> {
    let pause = bed.rds.pause_after_effect(Action::ResetAccountPassword);
    bed.rotate("orders-db", "Second#Password2").await?;
    pause.wait_for_held(1, PATIENCE).await?;
    let reset = bed.resets().pop().context("no reset")?;
    leader.pause()?;
    pause.release();
    Ok(reset)
}

/// Whether the status says that a value is about to be sent.
fn is_intended(resource: &DatabaseAccountPassword) -> bool {
    let status = resource.status.as_ref();
    let attempt = status.and_then(|status| status.last_attempt.as_ref());
    attempt.is_some_and(|attempt| attempt.outcome_unknown)
}

fn tells_of(resource: &DatabaseAccountPassword, reset: &Call) -> bool {
    let history = resource.status.iter().flat_map(|status| &status.history);
    let mut ids = history.filter_map(|it| it.request_id.as_ref());
    ids.any(|id| *id == reset.request_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let first = bed.operator().await?.short_lease().start().await?;
    first.wait_until_leading().await?;
    let second = bed.operator().await?.short_lease().start().await?;
    second.wait_until_ready().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let _log = first.kill();
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    second.wait_until_leading().await?;
    assert_eq!(
        bed.resets().len(),
        2,
        "one for each value: {:#?}",
        bed.resets()
    );
    Ok(())
}

/// The leader stands still between its last look at the Lease and the sending of an older value, until another one has taken
/// over and sent a newer one. What it read of the Lease before, it must not believe any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_sends_nothing() -> Result<()> {
    let (bed, proxy, old) = in_sync_behind_a_proxy().await?;

    bed.settle().await?;
    until_the_lease_is_looked_at_anew().await;
    // The pass writes down what it is about to send, and reads the Lease; that answer comes to a process that stands still.
    let looks = proxy.hold(Matcher::resource("leases").verb(Verb::Get));
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for("orders-app", "about to be reset", is_intended)
        .await?;
    // The next renewal looks at the Lease as well, and no other before that one has its answer.
    looks.wait_for_held(2, PATIENCE).await?;
    old.pause()?;
    looks.release();

    let new = successor(&bed).await?;
    new.wait_until_leading().await?;
    bed.wait_for_password("Second#Password2").await?;
    bed.rotate("orders-db", "Third#Password3").await?;
    bed.wait_for_password("Third#Password3").await?;
    old.resume()?;
    old.wait_for_log("the leadership was lost").await?;
    bed.settle().await?;

    assert_eq!(
        passwords(&bed).last().map(String::as_str),
        Some("Third#Password3")
    );
    assert_eq!(
        bed.resets()
            .iter()
            .filter(|call| call.account.as_deref() == Some(ACCOUNT))
            .count(),
        3
    );
    Ok(())
}

/// The Lease is read while what is about to be sent is written down. Where that has to be written once more, a pass looks at its
/// resource first, which may take long; those that share its look at the Lease do not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_the_lease_that_nobody_goes_on_with_holds_up_nobody() -> Result<()> {
    let (bed, proxy, _operator) = in_sync_behind_a_proxy().await?;
    another_in_sync(&bed).await?;
    until_the_lease_is_looked_at_anew().await;

    let of_the_kind = Matcher::resource("databaseaccountpasswords");
    let reads = proxy.hold(of_the_kind.verb(Verb::Get).name("orders-app"));
    let writes = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    let writes = proxy.hold(writes.name("orders-app"));
    let looks = proxy.hold(Matcher::resource("leases").verb(Verb::Get));
    bed.rotate("orders-db", "Second#Password2").await?;
    writes.wait_for_held(1, PATIENCE).await?;
    bed.patch(
        "orders-app",
        json!({ "metadata": { "labels": { "team": "a" } } }),
    )
    .await?;
    bed.rotate("reports-db", "Second#Password2").await?;
    bed.wait_for("reports", "about to be reset", is_intended)
        .await?;
    writes.release();
    reads.wait_for_held(1, PATIENCE).await?;
    looks.release();
    wait_until_the_other_has(&bed, "Second#Password2").await?;
    assert_eq!(passwords(&bed), ["First#Password1"]);
    assert_eq!(reads.held(), 1);
    reads.release();
    bed.wait_for_password("Second#Password2").await?;
    Ok(())
}

/// The answer to a look at the Lease is slow, and one that came late to it has a Secret in its hand that is fresher than that
/// look. What was seen of the Lease is too old to send on all the same, so it is looked at once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_look_at_the_lease_grows_old_for_all() -> Result<()> {
    let (bed, proxy, _operator) = in_sync_with(OperatorBuilder::lease_without_renewals).await?;
    another_in_sync(&bed).await?;
    until_the_lease_is_looked_at_anew().await;
    let matcher = Matcher::resource("leases").verb(Verb::Get);
    let looks = || {
        let exchanges = proxy.exchanges();
        let looks = exchanges.iter().filter(|it| matcher.matches(&it.request));
        looks.count()
    };
    let before = looks();

    let hold = proxy.hold(matcher.clone());
    bed.rotate("orders-db", "Second#Password2").await?;
    hold.wait_for_held(1, PATIENCE).await?;
    let began = Instant::now();
    // It is the passing of time that is tried here.
    tokio::time::sleep(FRESH_FOR / 2).await;
    let writes = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    let writes = proxy.hold(writes.name("reports"));
    bed.rotate("reports-db", "Second#Password2").await?;
    writes.wait_for_held(1, PATIENCE).await?;
    hold.release();
    bed.wait_for_password("Second#Password2").await?;
    tokio::time::sleep(FRESH_FOR.saturating_sub(began.elapsed())).await;
    writes.release();
    wait_until_the_other_has(&bed, "Second#Password2").await?;
    assert!(looks() - before >= 2, "it was sent on an old look");
    Ok(())
}

/// The old leader stands still while it writes down what it is about to send, and that arrives when another one has found the
/// Secret turned back, and so nothing to do. Whether it will be sent, nobody can know.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_arrives_late_is_looked_at() -> Result<()> {
    let (bed, proxy, old) = in_sync_behind_a_proxy().await?;
    bed.settle().await?;
    let writes = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    let writes = proxy.hold(writes);
    bed.rotate("orders-db", "Second#Password2").await?;
    writes.wait_for_held(1, PATIENCE).await?;
    old.pause()?;
    bed.rotate("orders-db", "First#Password1").await?;
    let new = successor(&bed).await?;
    new.wait_until_leading().await?;
    bed.settle().await?;
    assert_eq!(passwords(&bed), ["First#Password1"]);

    writes.release();
    bed.wait_for("orders-app", "sent again", |resource| {
        let Some(status) = &resource.status else {
            return false;
        };
        status.history.len() == 2 && status.last_attempt.is_none() && status.pending_since.is_none()
    })
    .await?;
    old.resume()?;
    old.wait_for_log("the leadership was lost").await?;
    bed.settle().await?;
    bed.wait_until_ready("orders-app").await?;
    // Once where it may have been sent, and once more at most, when that can no longer come late.
    let passwords = passwords(&bed);
    assert!((2..=3).contains(&passwords.len()), "{passwords:?}");
    assert!(passwords.iter().all(|value| value == "First#Password1"));
    Ok(())
}

/// A reset of the old leader is at RDS when it stands still, and its answer is read, or seen to be lost, after another one has
/// reset the account. Nobody can know which of the two RDS carried out last, so the newest value is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn two_resets_that_overlap_are_followed_by_a_third() -> Result<()> {
    for is_answer_lost in [false, true] {
        let (bed, _proxy, old) = in_sync_behind_a_proxy().await?;
        if is_answer_lost {
            let lost = Fault::close_connection().after_effect();
            bed.rds
                .add_fault(lost.on(Action::ResetAccountPassword).times(1));
        }
        stop_within_a_reset(&bed, &old).await?;

        let new = successor(&bed).await?;
        new.wait_until_leading().await?;
        bed.rotate("orders-db", "Third#Password3").await?;
        bed.wait_for_password("Third#Password3").await?;
        // The one of the old leader may come late.
        bed.wait_for_reason("orders-app", "Unsettled").await?;
        old.resume()?;

        let resource = bed
            .wait_for("orders-app", "reset once more", |resource| {
                let reset = resource
                    .status
                    .as_ref()
                    .and_then(|status| status.last_reset.as_ref());
                let is_again = reset.is_some_and(|reset| {
                    reset.trigger == Trigger::Overlapped && reset.fingerprint.is_some()
                });
                is_again && reason(resource, "Ready") == Some("InSync")
            })
            .await?;
        let ready = testbed::condition(&resource, "Ready").context("no Ready")?;
        assert_eq!(ready.reason, "InSync");
        assert_eq!(
            passwords(&bed).last().map(String::as_str),
            Some("Third#Password3")
        );
    }
    Ok(())
}

/// A reset of the old leader is at RDS when it stands still, and the resource names another account by the time that it goes
/// on. What the new leader wrote of that one stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_word_of_an_account_that_is_named_no_longer_takes_nothing_back() -> Result<()> {
    let (bed, _proxy, old) = in_sync_behind_a_proxy().await?;
    bed.rds
        .add_account(INSTANCE, Account::new("reports", INITIAL_PASSWORD))?;
    let late = stop_within_a_reset(&bed, &old).await?;

    let new = successor(&bed).await?;
    new.wait_until_leading().await?;
    bed.patch(
        "orders-app",
        json!({ "spec": { "accountName": "reports" } }),
    )
    .await?;
    let moved = bed.wait_until_ready("orders-app").await?;
    let resets = bed.resets().len();
    old.resume()?;

    let told = bed
        .wait_for("orders-app", "told of the late reset", |resource| {
            tells_of(resource, &late)
        })
        .await?;
    let (before, after) = (
        moved.status.context("no status")?,
        told.status.context("no status")?,
    );
    assert_eq!(after.last_reset, before.last_reset);
    assert_eq!(after.observed_generation, before.observed_generation);
    assert_eq!(after.conditions, before.conditions);
    bed.settle().await?;
    let ours = bed.resets().into_iter();
    let ours = ours.filter(|call| call.instance.as_deref() == Some(INSTANCE));
    assert_eq!(ours.count(), resets, "{:#?}", bed.resets());
    Ok(())
}

/// The old leader's reset is written down when a new one has already told that the resource is suspended: that is said again.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_word_of_an_older_spec_is_looked_at_again() -> Result<()> {
    let (bed, _proxy, old) = in_sync_behind_a_proxy().await?;
    let late = stop_within_a_reset(&bed, &old).await?;

    // Before another one leads, which would reset it.
    bed.patch("orders-app", json!({ "spec": { "suspend": true } }))
        .await?;
    let new = successor(&bed).await?;
    new.wait_until_leading().await?;
    let suspended = bed.wait_for_reason("orders-app", "Suspended").await?;
    old.resume()?;

    let generation = suspended.metadata.generation;
    bed.wait_for("orders-app", "looked at again", |resource| {
        let status = resource.status.as_ref();
        status.is_some_and(|status| status.observed_generation == generation)
            && tells_of(resource, &late)
            && testbed::condition(resource, "Suspended").is_some()
    })
    .await?;
    Ok(())
}

/// The lease is lost while a reset is at RDS. The reset is written down all the same, and no other is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_under_way_is_written_down_without_the_lease() -> Result<()> {
    let (bed, proxy, operator) = in_sync_behind_a_proxy().await?;
    let pause = bed.rds.pause(Action::ResetAccountPassword);
    bed.rotate("orders-db", "Second#Password2").await?;
    pause.wait_for_held(1, PATIENCE).await?;
    proxy.refuse(Matcher::resource("leases"), usize::MAX, 500);
    operator.wait_for_log("the leadership was lost").await?;
    pause.release();

    let resource = bed
        .wait_for("orders-app", "written down", |resource| {
            resource
                .status
                .as_ref()
                .is_some_and(|status| status.history.len() == 2)
        })
        .await?;
    let reset = resource
        .status
        .and_then(|status| status.last_reset)
        .context("no lastReset")?;
    assert_eq!(reset.request_id, bed.resets()[1].request_id);
    proxy.mend();
    operator.wait_until_leading().await?;
    bed.settle().await?;
    assert_eq!(
        bed.resets()
            .iter()
            .filter(|call| call.account.as_deref() == Some(ACCOUNT))
            .count(),
        2
    );
    Ok(())
}

/// The ServiceAccount is deleted and created anew, which ends the token of the running leader. Nobody leads until the token is
/// another one; that is taken from the same file, and then the same process leads again.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_was_created_anew_is_told_and_its_new_token_taken() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let token = bed.directory().join("token");
    fs::write(&token, bed.token().await?)?;
    let user = json!({ "tokenFile": token });
    let operator = bed.operator_with([], Some(user)).await?;
    let operator = operator.short_lease().start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let accounts = Api::<ServiceAccount>::namespaced(bed.client.clone(), install::OPERATOR);
    accounts
        .delete(install::OPERATOR, &DeleteParams::default())
        .await?;
    install::install_rbac(&bed.client).await?;
    operator.wait_for_log("the leadership was lost").await?;
    let sentence = "lease: the API server does not accept the operator's credentials (HTTP status 401 Unauthorized): its ServiceAccount was deleted or created anew, or its token has expired; restart the pods once the ServiceAccount is there, or correct the kubeconfig";
    let is_told = async || Ok(operator.get("/readyz").await? == (503, format!("{sentence}\n")));
    wait_until("the 401 in /readyz", is_told).await?;
    let unauthorized = "rds_password_operator_kubernetes_unauthorized_total ";
    assert!(operator.metric(unauthorized).await? > 0.0);
    let log = operator.log();
    assert!(
        log.contains(sentence.trim_start_matches("lease: ")),
        "{log}"
    );
    for misleading in ["not permitted to access", "could not be reached"] {
        assert!(!log.contains(misleading), "{misleading}: {log}");
    }
    bed.rotate("orders-db", "Second#Password2").await?;
    assert_eq!(passwords(&bed), ["First#Password1"]);

    fs::write(&token, bed.token().await?)?;
    operator.wait_until_leading().await?;
    bed.wait_for_password("Second#Password2").await?;
    operator
        .wait_for_log("accepts the operator's credentials again")
        .await?;
    Ok(())
}
