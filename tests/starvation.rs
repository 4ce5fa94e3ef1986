//! Who cannot get on does not hold up those who can.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::ListParams;
use rds_password_operator::api::DatabaseAccountPassword;
use rds_simulator::{Action, Call, Fault, Instance, Target};
use testbed::bed::{INSTANCE, with_access_key};
use testbed::proxy::{Matcher, Verb};
use testbed::{Testbed, reason, wait_until};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(60);

/// How many resources cannot get on, and how many can.
const STUCK: usize = 100;
const OTHERS: usize = 10;

const CROWDED: &str = "rm-crowded";
const THROTTLED_KEY: &str = "throttled-key";

/// Resources with an instance each. Their names come last, and so they are looked at last.
fn others(bed: &Testbed) -> Result<Vec<DatabaseAccountPassword>> {
    let one = |number| {
        let instance = format!("rm-other-{number}");
        bed.rds.add_instance(Instance::new(&instance));
        bed.add_account(&format!("other-{number}"), &instance, "password")
    };
    (0..OTHERS).map(one).collect()
}

async fn until_all_are_ready(bed: &Testbed, resources: &[DatabaseAccountPassword]) -> Result<()> {
    for resource in resources {
        let name = resource.metadata.name.as_deref();
        bed.wait_until_ready(name.context("no name")?).await?;
    }
    Ok(())
}

/// Accounts of one instance, `crowd-0` and so on, whose resources read one Secret.
async fn create_crowd(bed: &Testbed, size: usize, instance: &str, secret: &str) -> Result<()> {
    let crowd =
        (0..size).map(|number| bed.add_account(&format!("crowd-{number}"), instance, secret));
    bed.create_all(&crowd.collect::<Result<Vec<_>>>()?).await
}

/// A hundred accounts of one instance, and ten instances with one.
async fn a_crowded_instance(bed: &Testbed) -> Result<Vec<DatabaseAccountPassword>> {
    bed.create_secret("password", "First#Password1").await?;
    bed.rds.add_instance(Instance::new(CROWDED));
    create_crowd(bed, STUCK, CROWDED, "password").await?;
    let others = others(bed)?;
    bed.create_all(&others).await?;
    Ok(others)
}

fn is_of(instance: &str) -> impl Fn(&&Call) -> bool {
    move |call| call.instance.as_deref() == Some(instance)
}

/// All share one request budget, which hands out one place after the other.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_run_takes_one_place_for_all_its_accounts() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let others = a_crowded_instance(&bed).await?;
    bed.rds.set_instance_status(CROWDED, "Rebooting")?;
    let builder = bed.operator().await?.flag("rds-qps", "5");
    let _operator = builder.flag("concurrency", "2").start().await?;
    until_all_are_ready(&bed, &others).await?;

    let calls = bed.calls();
    let is_a_reset = |call: &Call| call.is(Action::ResetAccountPassword);
    let last = calls.iter().rposition(is_a_reset).context("no reset")?;
    let (of_the_crowd, of_others): (Vec<_>, Vec<_>) =
        calls[..last].iter().partition(is_of(CROWDED));
    // One read at a time waits in the budget's queue, and all others stand in it as well.
    ensure!(
        of_the_crowd.len() <= of_others.len(),
        "{} calls for {STUCK} accounts that wait, {} for {OTHERS} that do not: {calls:#?}",
        of_the_crowd.len(),
        of_others.len(),
    );
    for number in 0..STUCK {
        bed.wait_for_reason(&format!("crowd-{number}"), "InstanceNotRunning")
            .await?;
    }
    ensure!(bed.resets().iter().filter(is_of(CROWDED)).count() == 0);
    Ok(())
}

/// There are two slots for calls in all.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_answer_takes_one_slot_for_all_its_accounts() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let others = a_crowded_instance(&bed).await?;
    let pause = bed.rds.pause(Target::any().instance(CROWDED));
    let builder = bed.operator().await?.flag("concurrency", "2");
    let _operator = builder.start().await?;
    pause.wait_for_held(1, PATIENCE).await?;
    until_all_are_ready(&bed, &others).await?;
    ensure!(bed.resets().iter().filter(is_of(CROWDED)).count() == 0);
    pause.release();
    Ok(())
}

/// As after a restart, only that the queue of first looks does not move at all. Who has its turn and a permit does not stand in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_look_before_a_reset_waits_for_no_first_look() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let _operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    let pause = bed.rds.pause(Action::DescribeDBInstanceAttribute);
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    pause.wait_for_held(1, PATIENCE).await?;

    let looks = proxy.hold(Matcher::resource("secrets").verb(Verb::Get).name("held"));
    create_crowd(&bed, 2 * STUCK, INSTANCE, "held").await?;
    looks.wait_for_held(16, PATIENCE).await?;
    pause.release();
    // Each look ends after 10 s, and so the whole queue after two minutes.
    bed.wait_until_ready("orders-app").await?;
    looks.release();
    Ok(())
}

/// Very many have something to tell, and the API server takes none of it. Who has its turn and a permit does not stand in that queue.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_waits_for_nobodys_status() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let _operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    bed.create_secret("orders-db", "First#Password1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;

    let statuses = Matcher::resource("databaseaccountpasswords/status").verb(Verb::Update);
    let statuses = proxy.hold(statuses.path("/crowd-"));
    create_crowd(&bed, 2 * STUCK, INSTANCE, "not-there").await?;
    statuses.wait_for_held(16, PATIENCE).await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    // Each write ends after 10 s, and so the whole queue after two minutes.
    bed.wait_for_password("Second#Password2").await?;
    statuses.release();
    Ok(())
}

async fn create_the_throttled_key(bed: &Testbed) -> Result<()> {
    bed.create_access_key(THROTTLED_KEY).await?;
    // For longer than the tests' patience.
    let for_good = Fault::throttled("Throttling.User", Duration::from_secs(120));
    bed.rds
        .add_fault(for_good.on(Target::any().access_key(THROTTLED_KEY)));
    Ok(())
}

/// There is one slot for calls in all, and the throttled resources come first, on the others' instances too.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_throttled_holds_up_no_other_one() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    bed.create_secret("password", "First#Password1").await?;
    create_the_throttled_key(&bed).await?;
    let others = others(&bed)?;
    let throttled = (0..STUCK).map(|number| {
        let instance = match number % 2 {
            0 => format!("rm-other-{}", number % OTHERS),
            _ => format!("rm-throttled-{}", number % OTHERS),
        };
        if number < OTHERS && number % 2 == 1 {
            bed.rds.add_instance(Instance::new(&instance));
        }
        with_access_key(
            bed.add_account(&format!("crowd-{number}"), &instance, "password")?,
            THROTTLED_KEY,
        )
    });
    bed.create_all(&throttled.collect::<Result<Vec<_>>>()?)
        .await?;
    let builder = bed.operator().await?.flag("concurrency", "1");
    let _operator = builder.start().await?;
    let is_throttled = |call: &Call| call.code.as_deref() == Some("Throttling.User");
    bed.rds
        .journal()
        .wait_for(PATIENCE, |calls| calls.iter().any(is_throttled))
        .await?;

    bed.create_all(&others).await?;
    until_all_are_ready(&bed, &others).await?;
    // Before their common Secret changes, as a change waits for its own turn.
    wait_until("who was throttled says so", async || {
        let listed = bed.resources().list(&ListParams::default()).await?;
        Ok(listed
            .iter()
            .any(|resource| reason(resource, "Ready") == Some("Throttled")))
    })
    .await?;
    bed.rotate("password", "Second#Password2").await?;
    let is_rotated = |other: &DatabaseAccountPassword| {
        let spec = &other.spec;
        bed.rds
            .login(&spec.instance_id, &spec.account_name, "Second#Password2")
    };
    bed.rds
        .journal()
        .wait_for(PATIENCE, |_| others.iter().all(is_rotated))
        .await?;
    // They wait as they were asked to.
    let throttled = bed.calls().into_iter().filter(is_throttled).count();
    ensure!(throttled <= 5, "{throttled} calls");
    Ok(())
}
