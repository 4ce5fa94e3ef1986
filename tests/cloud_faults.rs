//! When the cloud fails, the status says how and until when, the same value is tried again at the right time, and "in sync" is
//! never said while the database may hold another value.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rds_password_operator::api::{
    Attempt, DatabaseAccountPassword, DatabaseAccountPasswordStatus, Reset,
};
use rds_simulator::{
    AccessKey, Account, Action, Call, DenialCode, Fault, Instance, SignedDuration, Target,
    Timestamp, WaitHeaders,
};
use testbed::bed::{ACCESS_KEY_ID, ACCESS_KEY_SECRET, ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::{Operator, Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// Longer than anything takes, so that only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

/// In every message that the cloud writes here. Nothing of it may be passed on.
const CANARY: &str = "cloud-canary";

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

fn error(http_status: u16, code: &str) -> Fault {
    Fault::error(http_status, code, CANARY)
}

/// A cluster in which the Secret's first value has been applied.
async fn in_sync() -> Result<(Testbed, testbed::Operator)> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = start(&bed).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    bed.rds.journal().clear();
    Ok((bed, operator))
}

/// How long the operator counts on a reset that had no answer. None comes late here: `tests/late.rs` is about those.
const SETTLING: Duration = Duration::from_secs(1);

async fn start(bed: &Testbed) -> Result<testbed::Operator> {
    let settling = format!("{}s", SETTLING.as_secs());
    let operator = bed.operator().await?.flag("reset-settling-time", settling);
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;
    Ok(operator)
}

/// Waits until no reset of this resource can come late any more, so that the next value is settled by its first reset.
async fn until_nothing_is_open(resource: &DatabaseAccountPassword) -> Result<()> {
    let sends = status(resource)?.unanswered_sends.iter();
    if let Some(time) = sends.map(|send| send.time.0).max() {
        let wait = (time + SETTLING).duration_since(Timestamp::now());
        tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
    }
    Ok(())
}

/// An instance of its own with a Secret and a resource of the same name, for the account that each instance has.
async fn add(bed: &Testbed, name: &str, password: &str) -> Result<()> {
    let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
    bed.rds.add_instance(Instance::new(name).account(account));
    bed.create_secret(name, password).await?;
    let mut resource = bed.resource(name, name);
    name.clone_into(&mut resource.spec.instance_id);
    bed.create(&resource).await?;
    Ok(())
}

/// Where RDS did not answer, the message and the line of the try in the log say which host was called.
async fn assert_names_the_host(
    bed: &Testbed,
    operator: &Operator,
    resource: &DatabaseAccountPassword,
) -> Result<()> {
    let url = bed.rds.url();
    let host = url.strip_prefix("http://").context("no http://")?;
    let ready = condition(resource, "Ready").context("no Ready")?;
    ensure!(ready.message.contains(host), "{host}: {ready:?}");
    let line = format!("\"request_id\":\"\",\"host\":\"{host}\"");
    operator.wait_for_log(&line).await
}

/// Waits until a try has failed for this reason.
async fn failed(bed: &Testbed, name: &str, expected: &str) -> Result<DatabaseAccountPassword> {
    bed.wait_for(name, expected, |resource| {
        reason(resource, "Ready") == Some(expected) && attempt(resource).is_ok()
    })
    .await
}

fn assert_waits(resource: &DatabaseAccountPassword, expected: &str) -> Result<()> {
    assert_eq!(reason(resource, "Reconciling"), Some(expected));
    assert_eq!(reason(resource, "Stalled"), None);
    assert!(status(resource)?.pending_since.is_some());
    assert_silent(resource)
}

fn assert_silent(resource: &DatabaseAccountPassword) -> Result<()> {
    let text = serde_json::to_string(resource)?;
    ensure!(!text.contains(CANARY), "the cloud's words: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_value_is_sent_again_when_the_header_says() -> Result<()> {
    let (bed, _operator) = in_sync().await?;
    let time_left = Duration::from_secs(3);
    bed.rds.add_fault(
        Fault::throttled("Throttling.User", time_left)
            .on(Action::ResetAccountPassword)
            .times(1),
    );
    bed.rotate("orders-db", "Second#Password2").await?;
    let throttled = failed(&bed, "orders-app", "Throttled").await?;
    assert_waits(&throttled, "Throttled")?;
    assert_eq!(reason(&throttled, "PasswordSynced"), Some("Throttled"));
    let attempt = attempt(&throttled)?;
    assert_eq!(attempt.code.as_deref(), Some("Throttling.User"));
    let [refused] = &bed.resets()[..] else {
        bail!("not one reset: {:#?}", bed.calls())
    };
    let opens = refused.finished.context("not finished")? + time_left;
    assert!(attempt.next_time.0 >= opens, "{attempt:?} {refused:?}");

    // The limit is the cloud account's, so others have to wait too.
    add(&bed, "rm-other", "Other#Password1").await?;
    let ready = bed.wait_until_ready("orders-app").await?;
    bed.wait_until_ready("rm-other").await?;
    let calls = bed.calls();
    let later: Vec<&Call> = calls
        .iter()
        .filter(|call| call.number > refused.number)
        .collect();
    assert!(later.iter().all(|call| call.arrived >= opens), "{later:#?}");
    let resets = bed.resets();
    let own: Vec<&Call> = resets
        .iter()
        .filter(|call| call.instance.as_deref() == Some(INSTANCE))
        .collect();
    let [_, again] = &own[..] else {
        bail!("not two resets: {own:#?}")
    };
    assert!(again.arrived >= attempt.next_time.0, "{attempt:?} {own:#?}");
    assert_eq!(last_reset(&ready)?.request_id, again.request_id);
    Ok(())
}

/// `x-acs-retry-after`, in milliseconds, is read before the older headers, and makes an answer a throttled one, whatever its
/// code: <https://github.com/aliyun/aliyun-cli>, `throttlingRetryDelay` and its test.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_says_when_to_come_back_is_obeyed_whatever_its_code() -> Result<()> {
    let (bed, _operator) = in_sync().await?;
    let (three_seconds, a_moment) = (Duration::from_secs(3), Duration::from_millis(700));
    let cases = [
        (
            "Throttling.Api",
            three_seconds,
            Fault::throttled_by(WaitHeaders::RetryAfter, "Throttling.Api", three_seconds),
        ),
        (
            "InternalError",
            three_seconds,
            error(500, "InternalError").retry_after(three_seconds),
        ),
        (
            "Brand.NewCode",
            a_moment,
            error(400, "Brand.NewCode").retry_after(a_moment),
        ),
        // The older header alone would take longer than this test has time.
        (
            "Throttling.User",
            a_moment,
            Fault::throttled("Throttling.User", 2 * PATIENCE).retry_after(a_moment),
        ),
    ];
    for (number, (code, wait, fault)) in cases.into_iter().enumerate() {
        bed.rds.journal().clear();
        bed.rds
            .add_fault(fault.on(Action::ResetAccountPassword).times(1));
        let password = format!("Rotated#Password{number}");
        bed.rotate("orders-db", &password).await?;
        bed.wait_for_password(&password).await?;
        let ready = bed.wait_until_ready("orders-app").await?;
        let [_, failed, ..] = &status(&ready)?.history[..] else {
            bail!("{code}: no failure: {ready:#?}")
        };
        assert_eq!(failed.outcome.0, "Throttled", "{code}");
        assert_eq!(failed.code.as_deref(), Some(code));
        assert_silent(&ready)?;

        let calls = bed.calls();
        let refused = calls.iter().position(|call| !call.succeeded());
        let (before, later) = calls.split_at(refused.context("nothing was refused")? + 1);
        let refused = before.last().context("nothing was refused")?;
        let opens = refused.finished.context("not finished")? + wait;
        assert!(
            later.iter().all(|call| call.arrived >= opens),
            "{code}: {calls:#?}"
        );
        // Half as long again for chance, a second since the status tells whole ones, and much for a slow machine.
        let closes = opens + wait + PATIENCE / 3;
        let reset = later
            .iter()
            .find(|call| call.is(Action::ResetAccountPassword));
        let reset = reset.context("not sent again")?;
        assert!(reset.arrived < closes, "{code}: {calls:#?}");
        until_nothing_is_open(&ready).await?;
    }
    Ok(())
}

/// Codes that say that the instance is busy: no person is asked for anything, and the value is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_busy_is_waited_for() -> Result<()> {
    let (bed, _operator) = in_sync().await?;
    for code in [
        "InvalideStatus.Format",
        "OperationDenied.PrimaryDBInstanceStatus",
    ] {
        let name = format!("rm-{}", code.to_lowercase().replace('.', "-"));
        let resets = Target::from(Action::ResetAccountPassword).instance(&name);
        bed.rds.add_fault(error(400, code).on(resets).times(1));
        add(&bed, &name, "First#Password1").await?;
        let waiting = failed(&bed, &name, "InstanceNotRunning").await?;
        assert_waits(&waiting, "InstanceNotRunning")?;
        assert_eq!(attempt(&waiting)?.code.as_deref(), Some(code));
        bed.wait_until_ready(&name).await?;
        ensure!(bed.rds.login(&name, ACCOUNT, "First#Password1"));
    }
    Ok(())
}

/// What the database wrote in place of a code, and codes and `RequestId`s that hold a part of the password.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_code_or_holds_a_part_of_the_password_is_shown_nowhere() -> Result<()> {
    // Twenty characters, of which sixteen stand before the mark.
    const PASSWORD: &str = "Sixteen0Of7Twent!Xyz";
    const TEXT: &str = "Password validation failed. The password was changed less than 1 days ago";
    fn letters(password: &str) -> String {
        password.replace('!', "")
    }
    fn sixteen(password: &str) -> String {
        password.chars().take(16).collect()
    }
    fn reversed(password: &str) -> String {
        sixteen(password).chars().rev().collect()
    }
    let (bed, operator) = in_sync().await?;
    let said = "RDS gave no code";
    let hidden = "a code that is not shown";
    let cases = [
        ("rm-text", Fault::error(400, TEXT, CANARY), said, true),
        (
            "rm-letters",
            Fault::echo_part(400, letters, letters),
            hidden,
            false,
        ),
        (
            "rm-sixteen",
            Fault::echo_part(400, sixteen, sixteen),
            hidden,
            false,
        ),
        (
            "rm-reversed",
            Fault::echo_part(400, reversed, reversed),
            hidden,
            false,
        ),
        // The code is known, and what follows it is not.
        (
            "rm-family",
            Fault::echo_part(
                400,
                |password| format!("Account.UpdateError.{}", sixteen(password)),
                reversed,
            ),
            "the database itself refused the password",
            false,
        ),
    ];
    let secrets = [
        letters(PASSWORD),
        sixteen(PASSWORD),
        reversed(PASSWORD),
        TEXT.to_owned(),
    ];
    for (name, fault, message, has_request_id) in cases {
        let resets = Target::from(Action::ResetAccountPassword).instance(name);
        bed.rds.add_fault(fault.on(resets));
        add(&bed, name, PASSWORD).await?;
        let stalled = failed(&bed, name, "Rejected").await?;
        assert_eq!(reason(&stalled, "Stalled"), Some("Rejected"), "{name}");
        let ready = condition(&stalled, "Ready").context("no Ready")?;
        assert!(ready.message.contains(message), "{name}: {ready:?}");
        let attempt = attempt(&stalled)?;
        assert_eq!(attempt.code, None, "{name}");
        assert_eq!(attempt.request_id.is_some(), has_request_id, "{name}");
        if has_request_id {
            let resets = bed.resets();
            let of_instance = |call: &&Call| call.instance.as_deref() == Some(name);
            let ids: Vec<_> = (resets.iter().filter(of_instance))
                .map(|call| call.request_id.as_str())
                .collect();
            for part in ["password policy of the database", "SQL Server"] {
                assert!(ready.message.contains(part), "{name}: {ready:?}");
            }
            ensure!(
                ids.iter()
                    .any(|id| ready.message.contains(&format!("RequestId {id}"))),
                "{name}: {ready:?}, {ids:?}"
            );
        }
        let event = bed.wait_for_event(name, "ResetFailed").await?;
        let shown = format!(
            "{} {}",
            serde_json::to_string(&stalled)?,
            serde_json::to_string(&event)?
        );
        for secret in &secrets {
            ensure!(!shown.contains(secret.as_str()), "{name}: {shown}");
        }
    }
    let log = operator.log();
    for secret in secrets.iter().map(String::as_str).chain([CANARY]) {
        ensure!(!log.contains(secret), "{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_without_a_header_holds_up_a_newer_value_too() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds.add_fault(
        error(429, "Throttling")
            .on(Action::DescribeDBInstanceAttribute)
            .times(1),
    );
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let throttled = failed(&bed, "orders-app", "Throttled").await?;
    assert_waits(&throttled, "Throttled")?;
    let attempt = attempt(&throttled)?;
    assert!(attempt.next_time.0 > attempt.time.0, "{attempt:?}");

    // It need not wait for the older one's time, but for the cloud's.
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_until_ready("orders-app").await?;
    let calls = bed.calls();
    let (refused, later) = calls.split_first().context("no call")?;
    let opens = refused.finished.context("not finished")? + Duration::from_secs(2);
    assert!(later.iter().all(|call| call.arrived >= opens), "{calls:#?}");
    let history = bed.rds.password_history(INSTANCE, ACCOUNT);
    assert_eq!(history, ["Second#Password2"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_told_and_the_same_value_sent_again() -> Result<()> {
    let (bed, operator) = in_sync().await?;
    let unavailable = error(503, "ServiceUnavailable");
    let page = format!("<html>{CANARY}</html>");
    // Those that prevent the effect: known, unknown with a status that blames the server, and answers that are none of RDS.
    let before = [
        ("503", unavailable.clone(), Some("ServiceUnavailable")),
        ("500", error(500, "Brand.NewFault"), Some("Brand.NewFault")),
        ("502", Fault::garbage(502, "text/html", &page), None),
        ("garbage", Fault::garbage(200, "text/html", &page), None),
        ("nothing", Fault::garbage(200, "application/json", ""), None),
        ("cut before", Fault::close_connection(), None),
    ];
    // And those that only hide it.
    let after = [
        ("cut after", Fault::close_connection().after_effect(), None),
        ("cut within", Fault::truncated_body(), None),
        (
            "503 after",
            unavailable.after_effect(),
            Some("ServiceUnavailable"),
        ),
    ];
    let faults = (before.into_iter().map(|fault| (fault, false)))
        .chain(after.into_iter().map(|fault| (fault, true)));
    for (number, ((name, fault, code), takes_effect)) in faults.enumerate() {
        bed.rds.journal().clear();
        bed.rds
            .add_fault(fault.on(Action::ResetAccountPassword).times(1));
        let password = format!("Rotated#Password{number}");
        bed.rotate("orders-db", &password).await?;
        let waiting = failed(&bed, "orders-app", "RdsUnavailable").await?;
        assert_waits(&waiting, "RdsUnavailable").context(name)?;
        if code.is_none() {
            let named = assert_names_the_host(&bed, &operator, &waiting).await;
            named.context(name)?;
        }
        let attempt = attempt(&waiting)?;
        assert_eq!(attempt.code.as_deref(), code, "{name}");
        assert!(
            attempt.outcome_unknown,
            "{name}: the database may have it or not"
        );

        let ready = bed.wait_until_ready("orders-app").await?;
        let resets = bed.resets();
        let [first, second] = &resets[..] else {
            bail!("{name}: not two resets: {resets:#?}")
        };
        assert_eq!(first.took_effect, takes_effect, "{name}");
        assert!(second.succeeded(), "{name}: {second:?}");
        for call in [first, second] {
            let sent = call.password.as_ref().context("no password")?;
            assert_eq!(sent, &password.as_str(), "{name}: the same value again");
        }
        assert!(second.arrived >= attempt.next_time.0, "{name}");
        assert_eq!(last_reset(&ready)?.request_id, second.request_id, "{name}");
        assert_eq!(status(&ready)?.last_attempt, None, "{name}");
        assert_eq!(status(&ready)?.pending_since, None, "{name}");
        until_nothing_is_open(&ready).await?;
    }
    ensure!(!operator.log().contains(CANARY), "{}", operator.log());
    Ok(())
}

/// A lost answer leaves the database with the new value; going back to the old one is then a change as well.
async fn lose_the_answer_to_a_second_value(bed: &Testbed) -> Result<()> {
    // Three times: the operator then waits for two seconds at least, in which the Secret can change before the next try.
    bed.rds.add_fault(
        Fault::close_connection()
            .after_effect()
            .on(Action::ResetAccountPassword)
            .times(3),
    );
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for("orders-app", "failed three times", |resource| {
        attempt(resource).is_ok_and(|attempt| attempt.failures == 3)
    })
    .await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "Second#Password2"));
    Ok(())
}

async fn assert_applied_again(bed: &Testbed) -> Result<()> {
    let ready = bed.wait_until_ready("orders-app").await?;
    ensure!(
        bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"),
        "in sync is said, and the database has another value: {ready:#?}"
    );
    let resets = bed.resets();
    let reset = resets.last().context("no reset")?;
    assert_eq!(last_reset(&ready)?.request_id, reset.request_id);
    assert_eq!(status(&ready)?.last_attempt, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_answer_the_former_value_is_sent_again() -> Result<()> {
    let (bed, _operator) = in_sync().await?;
    lose_the_answer_to_a_second_value(&bed).await?;
    // By way of no value at all, which must not make the operator forget.
    bed.rotate("orders-db", "").await?;
    bed.wait_for_reason("orders-app", "PasswordInvalid").await?;
    bed.rotate("orders-db", "First#Password1").await?;
    assert_applied_again(&bed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_forget_a_lost_answer() -> Result<()> {
    let (bed, operator) = in_sync().await?;
    lose_the_answer_to_a_second_value(&bed).await?;
    operator.terminate().await?;
    bed.rotate("orders-db", "First#Password1").await?;
    let _operator = start(&bed).await?;
    assert_applied_again(&bed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_does_not_answer_is_given_up_and_tried_again() -> Result<()> {
    let (bed, operator) = in_sync().await?;
    // One resource's instance cannot be looked at, and another's password is not answered for.
    for target in [
        Target::from(Action::DescribeDBInstanceAttribute).instance("rm-looked-at"),
        Target::from(Action::ResetAccountPassword).instance("rm-reset"),
    ] {
        bed.rds.add_fault(Fault::hang().on(target).times(1));
    }
    for name in ["rm-looked-at", "rm-reset"] {
        add(&bed, name, "Hanging#Password1").await?;
        // Before there is any answer.
        bed.wait_for_reason(name, "Pending").await?;
    }
    // Nobody else is held up.
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for_password("Second#Password2").await?;
    for name in ["rm-looked-at", "rm-reset"] {
        let waiting = failed(&bed, name, "RdsUnavailable").await?;
        assert_waits(&waiting, "RdsUnavailable")?;
        let ready = condition(&waiting, "Ready").context("no Ready")?;
        assert!(
            ready.message.contains("RDS did not answer in time"),
            "{ready:?}"
        );
        assert_names_the_host(&bed, &operator, &waiting).await?;
        bed.wait_until_ready(name).await?;
        ensure!(bed.rds.login(name, ACCOUNT, "Hanging#Password1"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_reset_is_under_way_nobody_is_told_that_an_older_value_is_in_sync() -> Result<()> {
    let (bed, _operator) = in_sync().await?;
    bed.rds
        .add_account(INSTANCE, Account::new("reports", INITIAL_PASSWORD))?;
    bed.create_secret("reports-db", "First#Reports1").await?;
    let mut second = bed.resource("reports-app", "reports-db");
    "reports".clone_into(&mut second.spec.account_name);
    bed.create(&second).await?;
    bed.wait_until_ready("reports-app").await?;

    // One reset is under way, and the other waits for its turn.
    let pause = bed.rds.pause(Action::ResetAccountPassword);
    bed.rotate("orders-db", "Second#Password2").await?;
    pause.wait_for_held(1, PATIENCE).await?;
    bed.rotate("reports-db", "Second#Reports2").await?;
    for name in ["orders-app", "reports-app"] {
        let waiting = bed.wait_for_reason(name, "Pending").await?;
        assert_waits(&waiting, "Pending")?;
    }
    assert_eq!(pause.held(), 1, "one at a time for each instance");
    pause.release();
    for name in ["orders-app", "reports-app"] {
        bed.wait_until_ready(name).await?;
    }
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "Second#Password2"));
    ensure!(bed.rds.login(INSTANCE, "reports", "Second#Reports2"));
    Ok(())
}

/// Something that a person has to put right, and what the status says of it.
struct Grievance {
    name: &'static str,
    cause: Box<dyn Fn(&Testbed)>,
    reason: &'static str,
    code: &'static str,
    message: &'static str,
    /// Whether the password was sent before it was noticed.
    is_sent: bool,
}

fn key() -> AccessKey {
    AccessKey::new(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn grievances() -> Vec<Grievance> {
    let denied = |code, action| {
        move |bed: &Testbed| {
            let key = key().denied(code, Some(action), None);
            bed.rds.add_access_key(key);
        }
    };
    let answered = |http_status, code| {
        move |bed: &Testbed| {
            let fault = error(http_status, code).on(Action::ResetAccountPassword);
            bed.rds.add_fault(fault);
        }
    };
    let ahead = |minutes: i64| {
        move |bed: &Testbed| {
            bed.rds
                .set_clock_skew(SignedDuration::from_secs(minutes * 60));
        }
    };
    vec![
        Grievance {
            name: "rm-may-not-be-reset",
            cause: Box::new(denied(
                DenialCode::ForbiddenRam,
                Action::ResetAccountPassword,
            )),
            reason: "AccessDenied",
            code: "Forbidden.RAM",
            message: "allow rds:ResetAccountPassword, rds:DescribeDBInstanceAttribute and rds:DescribeAccounts",
            is_sent: true,
        },
        Grievance {
            name: "rm-may-not-be-seen",
            cause: Box::new(denied(
                DenialCode::NoPermission,
                Action::DescribeDBInstanceAttribute,
            )),
            reason: "AccessDenied",
            code: "NoPermission",
            message: "allow rds:ResetAccountPassword",
            is_sent: false,
        },
        Grievance {
            name: "rm-with-a-disabled-key",
            cause: Box::new(|bed| bed.rds.add_access_key(key().inactive())),
            reason: "AccessDenied",
            code: "InvalidAccessKeyId.Inactive",
            message: "the AccessKey does not exist or is disabled",
            is_sent: false,
        },
        Grievance {
            name: "rm-with-an-unknown-key",
            cause: Box::new(|bed| bed.rds.remove_access_key(ACCESS_KEY_ID)),
            reason: "AccessDenied",
            code: "InvalidAccessKeyId.NotFound",
            message: "the AccessKey does not exist or is disabled",
            is_sent: false,
        },
        Grievance {
            name: "rm-with-a-wrong-secret",
            cause: Box::new(|bed| {
                bed.rds
                    .add_access_key(AccessKey::new(ACCESS_KEY_ID, "another"));
            }),
            reason: "AccessDenied",
            code: "SignatureDoesNotMatch",
            message: "the AccessKey's secret does not belong to its id; correct the credentials",
            is_sent: false,
        },
        Grievance {
            name: "rm-in-the-past",
            cause: Box::new(ahead(16)),
            reason: "ClockSkew",
            code: "InvalidTimeStamp.Expired",
            message: "the clock of the operator's node is more than 15 minutes off",
            is_sent: false,
        },
        Grievance {
            name: "rm-in-the-future",
            cause: Box::new(ahead(-16)),
            reason: "ClockSkew",
            code: "InvalidTimeStamp.Expired",
            message: "correct it (NTP)",
            is_sent: false,
        },
        Grievance {
            name: "rm-with-a-policy",
            cause: Box::new(answered(400, "Account.UpdateError")),
            reason: "Rejected",
            code: "Account.UpdateError",
            message: "the database itself refused the password",
            is_sent: true,
        },
        Grievance {
            name: "rm-with-more-rules",
            cause: Box::new(answered(400, "InvalidAccountPassword.Reused")),
            reason: "PasswordInvalid",
            code: "InvalidAccountPassword.Reused",
            message: "RDS does not take this password, though it obeys the documented rules",
            is_sent: true,
        },
        Grievance {
            name: "rm-of-another-kind",
            cause: Box::new(answered(
                403,
                "IncorrectDBInstanceType.ChildDBInstanceNotSupport",
            )),
            reason: "AccountNotSupported",
            code: "IncorrectDBInstanceType.ChildDBInstanceNotSupport",
            message: "RDS does not manage accounts on this kind of instance",
            is_sent: true,
        },
        Grievance {
            name: "rm-of-another-type",
            cause: Box::new(answered(403, "OperationDenied.DBInstanceType")),
            reason: "AccountNotSupported",
            code: "OperationDenied.DBInstanceType",
            message: "RDS does not manage accounts on this kind of instance",
            is_sent: true,
        },
        Grievance {
            name: "rm-without-such-a-name",
            cause: Box::new(answered(400, "InvalidAccountName.Malformed")),
            reason: "AccountNotFound",
            code: "InvalidAccountName.Malformed",
            message: "RDS does not take the account's name",
            is_sent: true,
        },
        Grievance {
            name: "rm-with-a-new-code",
            cause: Box::new(answered(403, "Brand.NewCode")),
            reason: "Rejected",
            code: "Brand.NewCode",
            message: "for a reason that the operator does not know",
            is_sent: true,
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_to_put_right_is_named_and_a_new_value_overtakes_the_wait() -> Result<()>
{
    let (bed, operator) = in_sync().await?;
    for grievance in &grievances() {
        let Grievance {
            name,
            reason: expected,
            code,
            ..
        } = *grievance;
        bed.rds.journal().clear();
        (grievance.cause)(&bed);
        add(&bed, name, "First#Password1").await?;
        let stalled = failed(&bed, name, expected).await?;
        // What the resource names may still be created: it is new.
        let is_awaited = expected == "AccountNotFound";
        let told = |type_| reason(&stalled, type_).is_some_and(|reason| reason == expected);
        assert_eq!(told("Stalled"), !is_awaited, "{name}");
        assert_eq!(told("Reconciling"), is_awaited, "{name}");
        assert_silent(&stalled)?;
        let ready = condition(&stalled, "Ready").context("no Ready")?;
        for part in [grievance.message, code] {
            assert!(ready.message.contains(part), "{name}: {ready:?}");
        }
        let event = bed.wait_for_event(name, "ResetFailed").await?;
        assert!(event.note.context("no note")?.contains(expected), "{name}");
        let calls = bed.calls();
        let last = calls.last().context("no call")?;
        let attempt = attempt(&stalled)?;
        assert_eq!(attempt.code.as_deref(), Some(code), "{name}");
        assert_eq!(attempt.request_id.as_ref(), Some(&last.request_id));
        assert!(!attempt.outcome_unknown, "{name}: a refusal is one");
        assert_eq!(!bed.resets().is_empty(), grievance.is_sent, "{name}");

        // It is put right. The operator cannot see that, but it sees a new value, long before it would have looked.
        bed.rds.add_access_key(key());
        bed.rds.clear_faults();
        bed.rds.set_clock_skew(SignedDuration::ZERO);
        bed.rotate(name, "Second#Password2").await?;
        let ready = bed.wait_until_ready(name).await?;
        ensure!(bed.rds.login(name, ACCOUNT, "Second#Password2"), "{name}");
        let resets = bed.resets();
        let reset = resets.last().context("no reset")?;
        assert!(
            reset.arrived < attempt.next_time.0,
            "{name}: {reset:?} {attempt:?}"
        );
        assert_eq!(last_reset(&ready)?.request_id, reset.request_id, "{name}");
    }
    ensure!(!operator.log().contains(CANARY), "{}", operator.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_another_version_of_the_secret_nor_a_restart_shortens_the_wait() -> Result<()> {
    let (bed, operator) = in_sync().await?;
    // One of each condition that can be in the way.
    let cases = [
        ("rm-denied", "AccessDenied", "Forbidden.RAM"),
        (
            "rm-refused",
            "PasswordInvalid",
            "InvalidAccountPassword.Reused",
        ),
        (
            "rm-gone",
            "InstanceNotFound",
            "InvalidDBInstanceId.NotFound",
        ),
    ];
    let mut stalled = Vec::new();
    for (name, expected, code) in cases {
        let resets = Target::from(Action::ResetAccountPassword).instance(name);
        bed.rds.add_fault(error(403, code).on(resets));
        add(&bed, name, "First#Password1").await?;
        stalled.push((name, failed(&bed, name, expected).await?));
    }

    // Each of these makes the operator look again, and only look: what it would send is what was refused.
    let label = serde_json::json!({ "metadata": { "labels": { "team": "orders" } } });
    for (name, _) in &stalled {
        bed.patch_secret(name, label.clone()).await?;
    }
    bed.settle().await?;
    operator.terminate().await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    bed.settle().await?;

    for (name, before) in &stalled {
        let refused = attempt(before)?;
        let calls = bed.calls();
        let later: Vec<&Call> = calls
            .iter()
            .filter(|call| call.instance.as_deref() == Some(name))
            .skip_while(|call| Some(&call.request_id) != refused.request_id.as_ref())
            .skip(1)
            .collect();
        let early = later.iter().find(|call| call.arrived < refused.next_time.0);
        assert!(early.is_none(), "before {refused:?}: {early:#?}");
        if later.is_empty() {
            let after = bed.resources().get(name).await?;
            assert_eq!(status(&after)?, status(before)?, "{name}: told as before");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_are_named_by_their_variables() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (id, secret, token) = (
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "ALIBABA_CLOUD_SECURITY_TOKEN",
    );
    let with = async || anyhow::Ok(bed.operator().await?.without_access_key());
    let expired = AccessKey::new("STS.testid", ACCESS_KEY_SECRET)
        .security_token("token-canary", Timestamp::now() - Duration::from_secs(1));
    bed.rds.add_access_key(expired);
    let cases = [
        ("rm-without-any", with().await?, vec![id, secret], false),
        (
            "rm-without-secret",
            with().await?.env(id, ACCESS_KEY_ID).env(secret, ""),
            vec![secret],
            false,
        ),
        (
            "rm-without-id",
            with().await?.env(secret, ACCESS_KEY_SECRET),
            vec![id],
            false,
        ),
        (
            "rm-with-an-old-token",
            with()
                .await?
                .env(id, "STS.testid")
                .env(secret, ACCESS_KEY_SECRET)
                .env(token, "token-canary"),
            vec!["security token is expired", "InvalidSecurityToken.Expired"],
            true,
        ),
    ];
    for (name, operator, parts, is_called) in cases {
        bed.rds.journal().clear();
        let operator = operator.start().await?;
        operator.wait_until_leading().await?;
        add(&bed, name, "First#Password1").await?;
        let stalled = failed(&bed, name, "CredentialsUnavailable").await?;
        let synced = condition(&stalled, "PasswordSynced").context("no PasswordSynced")?;
        assert_eq!(reason(&stalled, "Stalled"), Some("CredentialsUnavailable"));
        for part in parts {
            assert!(synced.message.contains(part), "{name}: {synced:?}");
        }
        assert_eq!(!bed.calls().is_empty(), is_called, "{name}");
        assert!(bed.resets().is_empty(), "{name}: nothing was sent");
        let (_, log) = operator.terminate().await?;
        let resource = serde_json::to_string(&stalled)?;
        for canary in [ACCESS_KEY_SECRET, "token-canary"] {
            ensure!(!log.contains(canary), "{name}: {log}");
            ensure!(!resource.contains(canary), "{name}: {resource}");
        }
    }
    Ok(())
}
