//! What becomes of a reset depends on the account too: there may be none, it may not be ready for one, and it may take a while
//! until it can be used with the new password. Looking at it is an extra: where that fails, a success stays a success.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::{
    Attempt, DatabaseAccountPassword, DatabaseAccountPasswordStatus, Reset,
};
use rds_simulator::{AccessKey, Account, Action, Call, DenialCode, Fault, Instance, Timeline};
use serde_json::json;
use testbed::bed::{ACCESS_KEY_ID, ACCESS_KEY_SECRET, ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::{Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

fn status(resource: &DatabaseAccountPassword) -> Result<&DatabaseAccountPasswordStatus> {
    resource.status.as_ref().context("no status")
}

fn attempt(resource: &DatabaseAccountPassword) -> Result<&Attempt> {
    let attempt = status(resource)?.last_attempt.as_ref();
    attempt.context("no lastAttempt")
}

fn last_reset(resource: &DatabaseAccountPassword) -> Result<&Reset> {
    let reset = status(resource)?.last_reset.as_ref();
    reset.context("no lastReset")
}

/// Whether the last try was made for this request.
fn told_by(resource: &DatabaseAccountPassword, request: &str) -> bool {
    attempt(resource)
        .is_ok_and(|attempt| attempt.request.as_deref() == Some(request) && attempt.code.is_some())
}

fn looks(bed: &Testbed) -> Vec<Call> {
    let mut calls = bed.calls();
    calls.retain(|call| {
        call.is(Action::DescribeAccounts) && call.instance.as_deref() == Some(INSTANCE)
    });
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_reset_needs_a_person() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.rds.add_account(
        INSTANCE,
        Account::new("made-by-sql", INITIAL_PASSWORD).created_by_sql(),
    )?;
    for (name, expected, code, message) in [
        (
            "nobody",
            "AccountNotFound",
            "InvalidAccountName.NotFound",
            "check the name, or create the account",
        ),
        (
            "made-by-sql",
            "AccountNotSupported",
            "IncorrectAccount",
            "accounts that were created by SQL have to be changed by SQL",
        ),
    ] {
        let mut resource = bed.resource(name, "orders-db");
        name.clone_into(&mut resource.spec.account_name);
        bed.create(&resource).await?;
        bed.wait_for_reason(name, expected).await?;
        // Not one that is created in these minutes.
        bed.make_old(name).await?;
        bed.request_reset(name, "old").await?;
        let stalled = bed
            .wait_for(name, "stalled", |resource| {
                reason(resource, "Stalled") == Some(expected) && told_by(resource, "old")
            })
            .await?;
        for type_ in ["PasswordSynced", "Stalled"] {
            assert_eq!(reason(&stalled, type_), Some(expected), "{name}");
        }
        assert_eq!(reason(&stalled, "Reconciling"), None, "{name}");
        assert_eq!(reason(&stalled, "InstanceReady"), Some("Running"), "{name}");
        let ready = condition(&stalled, "Ready").context("no Ready")?;
        for part in [message, code] {
            assert!(ready.message.contains(part), "{ready:?}");
        }
        // What a support ticket needs.
        let attempt = attempt(&stalled)?;
        let resets = bed.resets();
        let call = resets.last().context("no reset")?;
        assert_eq!(attempt.code.as_deref(), Some(code));
        assert_eq!(attempt.request_id.as_ref(), Some(&call.request_id));
        let wait = attempt.next_time.0.duration_since(attempt.time.0);
        assert!(wait.as_secs() >= 15, "{name}: {attempt:?}");
        let event = bed.wait_for_event(name, "ResetFailed").await?;
        let note = event.note.context("an Event without a note")?;
        assert!(
            note.contains(expected) && note.contains(message),
            "{name}: {note}"
        );
    }
    bed.settle().await?;
    let calls = bed.resets();
    let resets = |name: &str| {
        let of_account = |call: &&Call| call.account.as_deref() == Some(name);
        calls.iter().filter(of_account).count()
    };
    assert_eq!((resets("nobody"), resets("made-by-sql")), (2, 2));

    // The person creates it, and says so.
    bed.rds
        .add_account(INSTANCE, Account::new("nobody", INITIAL_PASSWORD))?;
    bed.request_reset("nobody", "created").await?;
    let ready = bed.wait_until_ready("nobody").await?;
    ensure!(bed.rds.login(INSTANCE, "nobody", "First#Password1"));
    assert_eq!(status(&ready)?.last_attempt, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_comes_with_the_account_and_without_a_second_reset() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds
        .set_account_status_after_reset(INSTANCE, ACCOUNT, Some(Timeline::of("Unavailable")))?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;

    let waiting = bed
        .wait_for_reason("orders-app", "AccountNotAvailable")
        .await?;
    assert_eq!(reason(&waiting, "Reconciling"), Some("AccountNotAvailable"));
    assert_eq!(reason(&waiting, "Stalled"), None);
    let [reset] = &bed.resets()[..] else {
        anyhow::bail!("not one reset: {:#?}", bed.calls())
    };
    let recorded = last_reset(&waiting)?;
    assert_eq!(
        recorded.request_id, reset.request_id,
        "what RDS accepted is recorded at once"
    );
    assert_eq!(status(&waiting)?.pending_since, None, "it is applied");
    let next_time = attempt(&waiting)?.next_time.0;
    let event = bed.wait_for_event("orders-app", "PasswordReset").await?;
    let note = event.note.context("an Event without a note")?;
    assert!(note.contains(&reset.request_id), "{note}");

    bed.rds.set_account_status(INSTANCE, ACCOUNT, "Available")?;
    let ready = bed.wait_until_ready("orders-app").await?;
    let looks = looks(&bed);
    let [_, again] = &looks[..] else {
        anyhow::bail!("not two looks at the account: {looks:#?}")
    };
    assert!(again.arrived >= next_time, "{next_time} {again:?}");
    assert_eq!(bed.resets().len(), 1, "{:#?}", bed.calls());
    assert_eq!(last_reset(&ready)?, recorded);
    assert_eq!(status(&ready)?.last_attempt, None);
    assert_eq!(status(&ready)?.history.len(), 1);
    Ok(())
}

/// A reset of another account takes so long that the status says so in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_comes_to_be_named_is_reset_once_however_long_it_takes() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds
        .add_account(INSTANCE, Account::new("reports", INITIAL_PASSWORD))?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let pause = bed.rds.pause(Action::ResetAccountPassword);
    bed.patch(
        "orders-app",
        json!({ "spec": { "accountName": "reports" } }),
    )
    .await?;
    bed.wait_for_reason("orders-app", "Pending").await?;
    pause.release();
    let ready = bed.wait_until_ready("orders-app").await?;
    bed.settle().await?;
    let resets = bed.resets().into_iter();
    let resets: Vec<Call> = resets
        .filter(|call| call.account.as_deref() == Some("reports"))
        .collect();
    let [reset] = &resets[..] else {
        anyhow::bail!("not one reset: {resets:#?}")
    };
    assert_eq!(last_reset(&ready)?.request_id, reset.request_id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_being_changed_is_waited_for() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds
        .set_account_status(INSTANCE, ACCOUNT, "Unavailable")?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;

    let waiting = bed
        .wait_for_reason("orders-app", "AccountNotAvailable")
        .await?;
    assert_eq!(reason(&waiting, "Reconciling"), Some("AccountNotAvailable"));
    assert_eq!(
        attempt(&waiting)?.code.as_deref(),
        Some("IncorrectAccountStatus")
    );
    assert_eq!(status(&waiting)?.last_reset, None, "RDS refused it");
    let next_time = attempt(&waiting)?.next_time.0;

    bed.rds.set_account_status(INSTANCE, ACCOUNT, "Available")?;
    let ready = bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    let resets = bed.resets();
    let [refused, accepted] = &resets[..] else {
        anyhow::bail!("not two resets: {:#?}", bed.calls())
    };
    assert!(!refused.took_effect && accepted.arrived >= next_time);
    assert_eq!(last_reset(&ready)?.request_id, accepted.request_id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_stays_one_where_the_account_cannot_be_looked_at() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    // Whoever may only reset must not be held back by that.
    let key = AccessKey::new(ACCESS_KEY_ID, ACCESS_KEY_SECRET);
    bed.rds.add_access_key(key.clone().denied(
        DenialCode::NoPermission,
        Some(Action::DescribeAccounts),
        None,
    ));
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    assert_eq!(looks(&bed)[0].code.as_deref(), Some("NoPermission"));
    bed.rds.add_access_key(key);

    let faults = [
        Fault::error(403, "IncorrectDBInstanceType", "Not supported."),
        Fault::error(503, "ServiceUnavailable", "Try later."),
        Fault::garbage(200, "text/html", "<html>welcome</html>"),
        Fault::close_connection(),
        Fault::hang(),
        // The last one, since it stops all calls for a while.
        Fault::throttled("Throttling.User", Duration::from_millis(500)),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let described = format!("{fault:?}");
        bed.rds.journal().clear();
        bed.rds
            .add_fault(fault.on(Action::DescribeAccounts).times(1));
        let password = format!("Rotated#Password{number}");
        bed.rotate("orders-db", &password).await?;
        let ready = bed
            .wait_for("orders-app", &described, |resource| {
                let resets = bed.resets();
                let reset = last_reset(resource).ok();
                reason(resource, "Ready") == Some("InSync")
                    && reset.map(|reset| &reset.request_id)
                        == resets.last().map(|call| &call.request_id)
            })
            .await?;
        ensure!(bed.rds.login(INSTANCE, ACCOUNT, &password), "{described}");
        assert_eq!(
            reason(&ready, "PasswordSynced"),
            Some("Reset"),
            "{described}"
        );
        assert_eq!(status(&ready)?.last_attempt, None, "{described}");
    }

    bed.settle().await?;
    let of_account = |call: &&Call| call.account.as_deref() == Some(ACCOUNT);
    let calls = bed.calls();
    assert_eq!(
        calls.iter().filter(of_account).count(),
        2,
        "one reset, one look and no more: {calls:#?}"
    );
    Ok(())
}

/// The account is locked by a person: nothing but a person ends that, so it is told as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_found_locked_needs_a_person_and_no_other_reset() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds
        .set_account_status_after_reset(INSTANCE, ACCOUNT, Some(Timeline::of("Lock")))?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;

    let locked = bed.wait_for_reason("orders-app", "AccountLocked").await?;
    for type_ in ["PasswordSynced", "Stalled"] {
        assert_eq!(reason(&locked, type_), Some("AccountLocked"));
    }
    assert_eq!(reason(&locked, "Reconciling"), None);
    let ready = condition(&locked, "Ready").context("no Ready")?;
    assert!(ready.message.contains("UnlockAccount"), "{ready:?}");
    let recorded = last_reset(&locked)?.clone();
    assert_eq!(status(&locked)?.pending_since, None, "it is applied");
    let tried = attempt(&locked)?;
    let wait = tried.next_time.0.duration_since(tried.time.0).as_secs();
    assert!((15..=31).contains(&wait), "{tried:?}");

    // The person unlocks it; the next look finds that, and resets nothing. The look is due now.
    bed.rds.set_account_status(INSTANCE, ACCOUNT, "Available")?;
    bed.patch_status(
        "orders-app",
        json!({ "lastAttempt": { "nextTime": tried.time } }),
    )
    .await?;
    let ready = bed.wait_until_ready("orders-app").await?;
    assert_eq!(last_reset(&ready)?, &recorded);
    assert_eq!(status(&ready)?.last_attempt, None);
    assert_eq!(bed.resets().len(), 1, "{:#?}", bed.calls());
    Ok(())
}

/// RDS refuses to reset a locked account with the code that it has for one that is being changed.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_locked_before_needs_a_person() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds.set_account_status(INSTANCE, ACCOUNT, "Lock")?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;

    let locked = bed.wait_for_reason("orders-app", "AccountLocked").await?;
    assert_eq!(reason(&locked, "Stalled"), Some("AccountLocked"));
    let refused = attempt(&locked)?;
    assert_eq!(refused.code.as_deref(), Some("IncorrectAccountStatus"));
    let wait = refused.next_time.0.duration_since(refused.time.0).as_secs();
    assert!((15..=31).contains(&wait), "{refused:?}");
    ensure!(
        status(&locked)?.pending_since.is_some(),
        "it is not applied"
    );

    bed.rds.set_account_status(INSTANCE, ACCOUNT, "Available")?;
    bed.request_reset("orders-app", "unlocked").await?;
    bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));
    Ok(())
}

/// SQL Server takes a reset by a name in another case, and lists the account as it was created.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_listed_in_another_case_is_named() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds.add_instance(
        Instance::new("rm-sqlserver")
            .engine("SQLServer", "2019_std_ha")
            .account(Account::new("app_user", INITIAL_PASSWORD)),
    );
    bed.create_secret("orders-db", "First#Password1").await?;
    let resource = |name: &str, account: &str| {
        let mut resource = bed.resource(name, "orders-db");
        "rm-sqlserver".clone_into(&mut resource.spec.instance_id);
        account.clone_into(&mut resource.spec.account_name);
        resource
    };
    bed.create(&resource("orders-app", "App_User")).await?;
    let missing = bed.wait_for_reason("orders-app", "AccountNotFound").await?;
    let ready = condition(&missing, "Ready").context("no Ready")?;
    let message = "RDS lists no account of exactly this name; it lists app_user";
    assert!(ready.message.contains(message), "{ready:?}");
    // It may be renamed by whoever has just created it.
    assert_eq!(reason(&missing, "Reconciling"), Some("AccountNotFound"));
    bed.make_old("orders-app").await?;
    bed.wait_for("orders-app", "stalled", |resource| {
        reason(resource, "Stalled") == Some("AccountNotFound")
    })
    .await?;

    // It is one account, whatever the case.
    bed.create(&resource("other", "app_user")).await?;
    bed.wait_for_reason("other", "Conflict").await?;
    assert_eq!(bed.resets().len(), 1);

    bed.patch(
        "orders-app",
        json!({ "spec": { "accountName": "app_user" } }),
    )
    .await?;
    bed.wait_until_ready("orders-app").await?;
    bed.wait_for_reason("other", "Conflict").await?;
    ensure!(bed.rds.login("rm-sqlserver", "app_user", "First#Password1"));
    Ok(())
}

/// The list has no such account, though RDS took the reset: it was deleted, or is created in these minutes.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_listed_is_looked_at_until_it_is() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    let empty = json!({ "RequestId": "D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD",
        "Accounts": { "DBInstanceAccount": [] } });
    let empty = Fault::garbage(200, "application/json", empty.to_string());
    bed.rds
        .add_fault(empty.on(Action::DescribeAccounts).times(1));
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let missing = bed.wait_for_reason("orders-app", "AccountNotFound").await?;
    assert_eq!(reason(&missing, "Reconciling"), Some("AccountNotFound"));
    let ready = condition(&missing, "Ready").context("no Ready")?;
    assert!(
        ready.message.contains("check spec.accountName"),
        "{ready:?}"
    );
    let looked = attempt(&missing)?;
    let wait = looked.next_time.0.duration_since(looked.time.0).as_secs();
    assert!((7..=16).contains(&wait), "{looked:?}");
    bed.wait_until_ready("orders-app").await?;
    assert_eq!(bed.resets().len(), 1, "{:#?}", bed.calls());
    Ok(())
}

/// A pipeline creates the account a little later than the resource.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_created_a_little_later_is_waited_for() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    "later".clone_into(&mut resource.spec.account_name);
    bed.create(&resource).await?;
    let missing = bed.wait_for_reason("orders-app", "AccountNotFound").await?;
    assert_eq!(reason(&missing, "Reconciling"), Some("AccountNotFound"));
    assert_eq!(reason(&missing, "Stalled"), None);
    bed.rds
        .add_account(INSTANCE, Account::new("later", INITIAL_PASSWORD))?;
    bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login(INSTANCE, "later", "First#Password1"));
    Ok(())
}
