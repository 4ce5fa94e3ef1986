//! Nothing is sent to an instance that cannot take it: the operator says so, waits, and goes on by itself.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::{
    Attempt, DatabaseAccountPassword, DatabaseAccountPasswordStatus, StoredFingerprint,
};
use rds_simulator::{Account, Action, Call, Instance, Timeline, Timestamp};
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::{Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

fn status(resource: &DatabaseAccountPassword) -> Result<&DatabaseAccountPasswordStatus> {
    resource.status.as_ref().context("no status")
}

fn attempt(resource: &DatabaseAccountPassword) -> Result<&Attempt> {
    let attempt = status(resource)?.last_attempt.as_ref();
    attempt.context("no lastAttempt")
}

/// The looks at the instance that the tests speak of.
fn looks(bed: &Testbed) -> Vec<Call> {
    let mut calls = bed.calls();
    calls.retain(|call| {
        call.is(Action::DescribeDBInstanceAttribute) && call.instance.as_deref() == Some(INSTANCE)
    });
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_waits_until_the_instance_runs() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.rds.set_instance_status(INSTANCE, "Rebooting")?;
    bed.create_secret("orders-db", "First#Password1").await?;
    // The API has whole seconds.
    let created = Timestamp::from_second(Timestamp::now().as_second())?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;

    let waiting = bed
        .wait_for_reason("orders-app", "InstanceNotRunning")
        .await?;
    let seen = Timestamp::now();
    assert_eq!(reason(&waiting, "SecretReady"), Some("Valid"));
    assert_eq!(
        reason(&waiting, "InstanceReady"),
        Some("InstanceNotRunning")
    );
    assert_eq!(reason(&waiting, "PasswordSynced"), Some("Pending"));
    assert_eq!(reason(&waiting, "Reconciling"), Some("InstanceNotRunning"));
    assert_eq!(reason(&waiting, "Stalled"), None);
    let pending_since = status(&waiting)?.pending_since.clone();
    let since = pending_since.as_ref().context("no pendingSince")?.0;
    assert!(
        (created..=seen).contains(&since),
        "{created} {since} {seen}"
    );
    let first = attempt(&waiting)?;
    let [look] = &looks(&bed)[..] else {
        anyhow::bail!("not one look at the instance: {:#?}", bed.calls())
    };
    assert_eq!(first.request_id.as_ref(), Some(&look.request_id));
    assert!((created..=seen).contains(&first.time.0), "{first:?}");
    assert!(first.next_time.0 > look.arrived, "{first:?} {look:?}");
    let event = bed
        .wait_for_event("orders-app", "WaitingForInstance")
        .await?;
    let note = event.note.context("an Event without a note")?;
    assert!(note.contains("not Running but Rebooting"), "{note}");

    // Everything else goes on meanwhile.
    bed.settle().await?;

    // A newer value is looked at ahead of the older one's time, and waits as well; the wait is still the same wait.
    bed.rotate("orders-db", "Second#Password2").await?;
    let first: StoredFingerprint = first.fingerprint.clone();
    let waiting = bed
        .wait_for("orders-app", "waiting with the newer value", |resource| {
            attempt(resource).is_ok_and(|attempt| attempt.fingerprint != first)
        })
        .await?;
    assert_eq!(
        reason(&waiting, "Ready"),
        Some("InstanceNotRunning"),
        "{waiting:#?}"
    );
    assert_eq!(status(&waiting)?.pending_since, pending_since);
    let second = attempt(&waiting)?;
    assert_eq!(second.failures, 1, "each value has its own back-off");
    let known = looks(&bed).len();

    bed.rds.set_instance_status(INSTANCE, "Running")?;
    let ready = bed.wait_until_ready("orders-app").await?;
    let looks = looks(&bed);
    let [next] = &looks[known..] else {
        anyhow::bail!("not one look more than {known}: {looks:#?}")
    };
    assert!(
        next.arrived >= second.next_time.0,
        "looked before nextTime: {second:?} {next:?}"
    );
    assert_eq!(
        bed.rds.password_history(INSTANCE, ACCOUNT),
        ["Second#Password2"],
        "the value of that time is sent, and no older one"
    );
    assert_eq!(reason(&ready, "InstanceReady"), Some("Running"));
    assert_eq!(status(&ready)?.pending_since, None);
    assert_eq!(status(&ready)?.last_attempt, None);
    let history: Vec<&str> = status(&ready)?
        .history
        .iter()
        .map(|finished| &*finished.outcome.0)
        .collect();
    assert_eq!(history, ["Reset", "InstanceNotRunning"]);
    Ok(())
}

/// An instance that takes no reset, and what is told of it.
struct Case {
    id: &'static str,
    /// `None`: the cloud knows no such instance.
    instance: Option<Instance>,
    reason: &'static str,
    message: &'static str,
}

impl Case {
    fn new(
        id: &'static str,
        change: impl FnOnce(Instance) -> Instance,
        reason: &'static str,
        message: &'static str,
    ) -> Self {
        Self {
            id,
            instance: Some(change(sound(id))),
            reason,
            message,
        }
    }
}

fn sound(id: &str) -> Instance {
    Instance::new(id).account(Account::new(ACCOUNT, INITIAL_PASSWORD))
}

/// Those that end by themselves.
fn passing() -> Vec<Case> {
    let status = |status: &'static str| move |it: Instance| it.status(status);
    let lock = |mode: &'static str| move |it: Instance| it.lock_mode(Some(mode));
    let not_running = "InstanceNotRunning";
    let locked = "InstanceLocked";
    vec![
        Case::new(
            "rm-rebooting",
            status("Rebooting"),
            not_running,
            "not Running but Rebooting",
        ),
        Case::new(
            "rm-changing",
            status("DBInstanceClassChanging"),
            not_running,
            "not Running but DBInstanceClassChanging",
        ),
        Case::new(
            "rm-in-a-new-state",
            status("INS_MAINTAINING"),
            not_running,
            "not Running but INS_MAINTAINING",
        ),
        Case::new(
            "rm-in-no-state",
            status("SHRINKING<script>"),
            not_running,
            "not Running but an unknown state",
        ),
        Case::new(
            "rm-in-a-state-like-the-password",
            status("x_First"),
            not_running,
            "not Running but x_First",
        ),
        Case::new(
            "rm-in-the-passwords-state",
            status("PASSWORD_1"),
            not_running,
            "not Running but an unknown state",
        ),
        Case::new(
            "rm-full",
            lock("LockByDiskQuota"),
            locked,
            "locked (LockByDiskQuota)",
        ),
        Case::new(
            "rm-with-a-new-lock",
            lock("LockBySomething"),
            locked,
            "locked (LockBySomething)",
        ),
        Case::new(
            "rm-with-no-lock",
            lock("Lock by something"),
            locked,
            "locked (an unknown lock)",
        ),
    ]
}

/// Those that need a person.
fn gone() -> Vec<Case> {
    let reason = "InstanceNotFound";
    vec![
        Case {
            id: "rm-never-was",
            instance: None,
            reason,
            message: "RDS does not know this instance; check its id, its region",
        },
        Case::new(
            "rm-of-another",
            |it| it.cloud_account("2"),
            reason,
            "the credentials are of the cloud account that owns it",
        ),
        Case::new(
            "rm-deleting",
            |it| it.status("Deleting"),
            reason,
            "RDS has no such instance for this cloud identity",
        ),
        Case::new(
            "rm-released",
            |it| it.status("Released"),
            reason,
            "check spec.instanceId, the region and the RAM policy",
        ),
        Case::new(
            "rm-omitted",
            Instance::omitted_from_descriptions,
            reason,
            "RDS has no such instance for this cloud identity",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_obstacle_is_told_and_nothing_is_sent_before_it_is_gone() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let (passing, gone) = (passing(), gone());
    for case in passing.iter().chain(&gone) {
        if let Some(instance) = &case.instance {
            bed.rds.add_instance(instance.clone());
        }
        let mut resource = bed.resource(case.id, "orders-db");
        resource.spec.instance_id = case.id.to_owned();
        bed.create(&resource).await?;
    }
    // They may be created in these minutes, until they are known to be missing for longer.
    for case in &gone {
        let resource = bed.wait_for_reason(case.id, case.reason).await?;
        assert_eq!(reason(&resource, "Reconciling"), Some(case.reason));
        assert_eq!(reason(&resource, "Stalled"), None, "{}", case.id);
        bed.make_old(case.id).await?;
        bed.wait_for(case.id, "stalled", |resource| {
            reason(resource, "Stalled") == Some(case.reason)
        })
        .await?;
    }
    for (cases, present, absent) in [
        (&passing, "Reconciling", "Stalled"),
        (&gone, "Stalled", "Reconciling"),
    ] {
        for case in cases {
            let resource = bed.wait_for_reason(case.id, case.reason).await?;
            let ready = condition(&resource, "Ready").context("no Ready")?;
            assert!(ready.message.contains(case.message), "{ready:?}");
            for type_ in ["InstanceReady", present] {
                assert_eq!(reason(&resource, type_), Some(case.reason), "{}", case.id);
            }
            assert_eq!(reason(&resource, absent), None, "{}", case.id);
            assert!(status(&resource)?.pending_since.is_some(), "{}", case.id);
        }
    }
    assert!(bed.resets().is_empty(), "{:#?}", bed.resets());

    for case in passing.iter().chain(&gone) {
        bed.rds.add_instance(sound(case.id));
    }
    for case in &passing {
        bed.wait_until_ready(case.id).await?;
    }
    for case in &gone {
        bed.request_reset(case.id, "now").await?;
        bed.wait_until_ready(case.id).await?;
    }
    for case in passing.iter().chain(&gone) {
        ensure!(bed.rds.login(case.id, ACCOUNT, "First#Password1"));
    }
    assert_eq!(bed.resets().len(), passing.len() + gone.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_stops_after_the_look_at_it_is_waited_for() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    // It is Running when it is looked at, and not any more when the reset comes; RDS refuses that.
    let flapping = Timeline::of("Running").for_reads(1).then("SSL_MODIFYING");
    bed.rds.set_instance_status(INSTANCE, flapping)?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let waiting = bed
        .wait_for_reason("orders-app", "InstanceNotRunning")
        .await?;
    let refused = attempt(&waiting)?.clone();
    assert_eq!(
        refused.code.as_deref(),
        Some("OperationDenied.DBInstanceStatus")
    );
    assert_eq!(reason(&waiting, "Reconciling"), Some("InstanceNotRunning"));
    ensure!(!refused.outcome_unknown, "a refusal leaves no doubt");
    bed.rds.set_instance_status(INSTANCE, "Running")?;

    let ready = bed.wait_until_ready("orders-app").await?;
    let resets = bed.resets();
    let [first, second] = &resets[..] else {
        anyhow::bail!("not two resets: {:#?}", bed.calls())
    };
    assert!(!first.took_effect && second.took_effect);
    assert_eq!(refused.request_id.as_ref(), Some(&first.request_id));
    let looks = looks(&bed);
    assert_eq!(looks.len(), 2, "what was known of it is not believed again");
    assert!(looks[1].arrived >= refused.next_time.0);
    assert_eq!(status(&ready)?.last_attempt, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_goes_after_the_first_reset_takes_no_other() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let ready = bed.wait_until_ready("orders-app").await?;
    let first = status(&ready)?.last_reset.clone();

    bed.rds.set_lock_mode(INSTANCE, Some("LockByExpiration"))?;
    bed.rotate("orders-db", "Second#Password2").await?;
    let locked = bed.wait_for_reason("orders-app", "InstanceLocked").await?;
    assert_eq!(status(&locked)?.last_reset, first, "what was done is kept");
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, "First#Password1"));

    bed.rds.remove_instance(INSTANCE);
    bed.rotate("orders-db", "Third#Password3").await?;
    bed.wait_for_reason("orders-app", "InstanceNotFound")
        .await?;
    bed.make_old("orders-app").await?;
    let gone = bed
        .wait_for("orders-app", "stalled", |resource| {
            reason(resource, "Stalled") == Some("InstanceNotFound")
        })
        .await?;
    assert_eq!(status(&gone)?.last_reset, first);

    // Restored from a backup, under another id.
    bed.rds.add_instance(sound("rm-restored"));
    let patch = serde_json::json!({ "spec": { "instanceId": "rm-restored" } });
    bed.patch("orders-app", patch).await?;
    let ready = bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login("rm-restored", ACCOUNT, "Third#Password3"));
    let reset = status(&ready)?
        .last_reset
        .as_ref()
        .context("no lastReset")?;
    assert_eq!(format!("{:?}", reset.trigger), "SpecChanged");
    Ok(())
}

/// A pipeline creates the instance a little later than the resource, and a restart of the operator comes in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_created_a_little_later_is_waited_for() -> Result<()> {
    let (bed, first) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    "rm-later".clone_into(&mut resource.spec.instance_id);
    bed.create(&resource).await?;
    let missing = bed
        .wait_for_reason("orders-app", "InstanceNotFound")
        .await?;
    let known_since = status(&missing)?.observed_generation_time.clone();
    ensure!(known_since.is_some(), "{missing:#?}");
    first.terminate().await?;
    let second = bed.operator().await?.start().await?;
    second.wait_until_leading().await?;

    // The second operator has looked as well, and knows since when the spec has been there.
    let again = bed
        .wait_for("orders-app", "tried again", |resource| {
            attempt(resource).is_ok_and(|attempt| attempt.failures > 1)
        })
        .await?;
    assert_eq!(status(&again)?.observed_generation_time, known_since);
    assert_eq!(reason(&again, "Reconciling"), Some("InstanceNotFound"));
    assert_eq!(reason(&again, "Stalled"), None);
    let looked = attempt(&again)?;
    let wait = looked.next_time.0.duration_since(looked.time.0).as_secs();
    assert!((7..=16).contains(&wait), "{looked:?}");

    bed.rds.add_instance(sound("rm-later"));
    bed.wait_until_ready("orders-app").await?;
    ensure!(bed.rds.login("rm-later", ACCOUNT, "First#Password1"));
    Ok(())
}

/// Another spec is a new one: what it names may be about to be created, whatever was missing before.
#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_spec_is_waited_for_anew() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let mut resource = bed.resource("orders-app", "orders-db");
    "rm-mistyped".clone_into(&mut resource.spec.instance_id);
    bed.create(&resource).await?;
    bed.wait_for_reason("orders-app", "InstanceNotFound")
        .await?;
    bed.make_old("orders-app").await?;
    bed.request_reset("orders-app", "again").await?;
    // At first it joins the look that is planned already, 15 s ahead at most. The next wait is one for a person.
    bed.wait_for("orders-app", "stalled", |resource| {
        let waits_for_a_person = attempt(resource).is_ok_and(|attempt| {
            let wait = attempt.next_time.0.duration_since(attempt.time.0);
            attempt.request.as_deref() == Some("again") && wait.as_secs() >= 15
        });
        reason(resource, "Stalled") == Some("InstanceNotFound") && waits_for_a_person
    })
    .await?;

    let patch = serde_json::json!({ "spec": { "instanceId": "rm-later" } });
    bed.patch("orders-app", patch).await?;
    bed.wait_for("orders-app", "reconciling", |resource| {
        reason(resource, "Reconciling") == Some("InstanceNotFound")
            && reason(resource, "Stalled").is_none()
    })
    .await?;
    bed.rds.add_instance(sound("rm-later"));
    bed.wait_until_ready("orders-app").await?;
    Ok(())
}
