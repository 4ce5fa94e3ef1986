//! An instance that takes no reset is looked at once for all of its accounts, and these go on together.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt;
use kube::api::ListParams;
use rds_password_operator::api::{Attempt, DatabaseAccountPassword};
use rds_password_operator::rds::limit::{ANY_OTHER_STATE_IS_KEPT, RUNNING_IS_KEPT};
use rds_simulator::{Action, Call, Instance, Timestamp};
use testbed::Testbed;
use testbed::proxy::{Matcher, Verb};
use testbed::wait_until;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
const PATIENCE: Duration = Duration::from_secs(60);

/// One instance for all, so that nothing else is called for.
const CROWDED: &str = "rm-crowded";
const ACCOUNTS: usize = 30;

fn member(bed: &Testbed, number: usize, secret: &str) -> Result<DatabaseAccountPassword> {
    bed.add_account(&format!("account-{number}"), CROWDED, secret)
}

/// The accounts of one instance, with the passwords of one Secret.
async fn a_crowd(bed: &Testbed, status: &'static str) -> Result<()> {
    bed.rds.add_instance(Instance::new(CROWDED).status(status));
    bed.create_secret("password", "First#Password1").await?;
    let crowd = (0..ACCOUNTS).map(|number| member(bed, number, "password"));
    bed.create_all(&crowd.collect::<Result<Vec<_>>>()?).await
}

fn looks(bed: &Testbed) -> Vec<Call> {
    let mut calls = bed.calls();
    calls.retain(is_a_look);
    calls
}

fn is_a_look(call: &Call) -> bool {
    call.is(Action::DescribeDBInstanceAttribute)
}

/// What the statuses tell, while all of them wait for the same time.
struct Waiting {
    until: Timestamp,
    /// In the order of the names.
    attempts: Vec<Attempt>,
}

/// Waits until all wait for the same time, which is after `earlier` and ahead.
async fn all_wait(bed: &Testbed, earlier: Timestamp) -> Result<Waiting> {
    let mut waiting = None;
    wait_until("all accounts wait for the same time", async || {
        let mut resources = bed.resources().list(&ListParams::default()).await?.items;
        resources.sort_by_key(ResourceExt::name_any);
        let attempt =
            |resource: &DatabaseAccountPassword| resource.status.as_ref()?.last_attempt.clone();
        let attempts: Vec<Attempt> = resources.iter().filter_map(attempt).collect();
        let times: BTreeSet<Timestamp> =
            attempts.iter().map(|attempt| attempt.next_time.0).collect();
        let until = times.first().copied().unwrap_or(earlier);
        let are_all = attempts.len() == resources.len() && times.len() == 1;
        if are_all && until > earlier && until > Timestamp::now() {
            waiting = Some(Waiting { until, attempts });
        }
        Ok(waiting.is_some())
    })
    .await?;
    waiting.context("they do not wait")
}

fn are_all(waiting: &Waiting, condition: impl Fn(&Attempt) -> bool) -> bool {
    waiting.attempts.iter().all(condition)
}

/// Waits until a change is no longer told what the last look has seen, which is kept for so long. Returns how many there were.
async fn none_is_shared(bed: &Testbed, kept: Duration) -> Result<usize> {
    let looks = looks(bed);
    let last = looks.last().context("no look")?;
    let seen = last.finished.context("a look that is under way")?;
    // The operator has the answer a moment later.
    let out_of_date = seen + kept + Duration::from_secs(1);
    wait_until("the last look is out of date", async || {
        Ok(Timestamp::now() >= out_of_date)
    })
    .await?;
    Ok(looks.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planned_time_has_one_look_for_all_accounts() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    a_crowd(&bed, "Running").await?;
    for number in 0..ACCOUNTS {
        bed.wait_until_ready(&format!("account-{number}")).await?;
    }
    bed.rds.set_instance_status(CROWDED, "Rebooting")?;
    none_is_shared(&bed, RUNNING_IS_KEPT).await?;
    bed.rotate("password", "Second#Password2").await?;

    let first = all_wait(&bed, Timestamp::UNIX_EPOCH).await?;
    let mut last = all_wait(&bed, first.until).await?;
    let polls = |waiting: &Waiting| -> BTreeSet<u32> {
        let pairs = waiting.attempts.iter().zip(&first.attempts);
        pairs
            .map(|(after, before)| after.failures - before.failures)
            .collect()
    };
    while !polls(&last).iter().all(|polls| *polls >= 2) {
        last = all_wait(&bed, last.until).await?;
    }
    let between: Vec<Call> = looks(&bed)
        .into_iter()
        .filter(|look| (first.until..last.until).contains(&look.arrived))
        .collect();
    let polls = polls(&last);
    ensure!(polls.len() == 1, "not together: {polls:?}");
    ensure!(
        between.len() == usize::try_from(polls.first().copied().unwrap_or_default())?,
        "{polls:?} polls, but {between:#?}"
    );
    // What each status tells is that very look.
    for attempt in &last.attempts {
        let told = between.last().map(|look| &look.request_id);
        ensure!(attempt.request_id.as_ref() == told, "{attempt:?}");
    }

    let (known, resets) = (looks(&bed).len(), bed.resets().len());
    bed.rds.set_instance_status(CROWDED, "Running")?;
    for number in 0..ACCOUNTS {
        bed.wait_until_ready(&format!("account-{number}")).await?;
    }
    let (looks, resets) = (looks(&bed).split_off(known), bed.resets().split_off(resets));
    ensure!(resets.len() == ACCOUNTS, "{resets:#?}");
    let begin = looks.first().context("no look")?.arrived;
    ensure!(begin >= last.until, "a look before its time: {looks:#?}");
    // The first is for all of them; and one more as often as it is out of date, however slow this machine is.
    let end = resets.last().context("no reset")?.arrived;
    let took = Duration::try_from(end.duration_since(begin))?;
    let out_of_date = usize::try_from(took.as_secs() / RUNNING_IS_KEPT.as_secs())?;
    ensure!(looks.len() <= 1 + out_of_date, "in {took:?}: {looks:#?}");

    // That outage is over: the next one begins with short waits. Its first is 5 s at most, the other's next would be 20 at least.
    bed.rds.set_instance_status(CROWDED, "Rebooting")?;
    none_is_shared(&bed, RUNNING_IS_KEPT).await?;
    bed.rotate("password", "Third#Password3").await?;
    let another = all_wait(&bed, last.until).await?;
    let wait = |attempt: &Attempt| another.until.duration_since(attempt.time.0).as_secs();
    let shortest = another.attempts.iter().map(wait).min();
    ensure!(shortest.is_some_and(|wait| wait <= 12), "{shortest:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_an_outage_is_tried_at_once_and_then_waits_with_the_others() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    a_crowd(&bed, "Rebooting").await?;
    bed.create_secret("late", "First#Password1").await?;
    bed.create(&member(&bed, ACCOUNTS, "late")?).await?;
    // Far enough apart for a change to fall between two planned times.
    let mut waiting = all_wait(&bed, Timestamp::UNIX_EPOCH).await?;
    while !are_all(&waiting, |attempt| attempt.failures >= 3) {
        waiting = all_wait(&bed, waiting.until).await?;
    }

    let known = none_is_shared(&bed, ANY_OTHER_STATE_IS_KEPT).await?;
    bed.rotate("late", "Second#Password2").await?;
    let name = format!("account-{ACCOUNTS}");
    let late = bed
        .wait_for(&name, "tried with its new value", |resource| {
            let status = resource.status.as_ref();
            status
                .and_then(|status| status.last_attempt.as_ref())
                .is_some_and(|attempt| attempt.failures == 1)
        })
        .await?;
    let attempt = late.status.and_then(|status| status.last_attempt);
    let attempt = attempt.context("no lastAttempt")?;
    let looks = looks(&bed);
    let own = &looks.get(known).context("no look of its own")?;
    ensure!(attempt.request_id.as_ref() == Some(&own.request_id));
    ensure!(own.arrived < waiting.until, "not at once: {own:?}");
    ensure!(attempt.next_time.0 == waiting.until, "{attempt:?}");

    // Found running, by a change of its own again, it does not wait for the others.
    let known = none_is_shared(&bed, ANY_OTHER_STATE_IS_KEPT).await?;
    bed.rds.set_instance_status(CROWDED, "Running")?;
    bed.rotate("late", "Third#Password3").await?;
    bed.wait_until_ready(&name).await?;
    ensure!(bed.rds.login(CROWDED, &name, "Third#Password3"));
    let own = self::looks(&bed).split_off(known);
    let own = own.first().context("no look")?;
    ensure!(own.arrived < waiting.until, "not at once: {own:?}");
    for number in 0..ACCOUNTS {
        bed.wait_until_ready(&format!("account-{number}")).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_accounts_together_and_their_waits_long() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.short_lease().start().await?;
    a_crowd(&bed, "Rebooting").await?;
    let mut waiting = all_wait(&bed, Timestamp::UNIX_EPOCH).await?;
    while !are_all(&waiting, |attempt| attempt.failures >= 2) {
        waiting = all_wait(&bed, waiting.until).await?;
    }
    let _log = operator.kill();
    let known = looks(&bed).len();

    let _operator = bed.operator().await?.short_lease().start().await?;
    let again = all_wait(&bed, waiting.until).await?;
    let looks = looks(&bed).split_off(known);
    let [look] = &looks[..] else {
        anyhow::bail!("not one look: {looks:#?}")
    };
    // The third wait at least, which is 10 s or more; a first one is no longer than 5, and rounded up.
    let wait = again.until.duration_since(look.arrived);
    ensure!(wait.as_secs() >= 10, "{wait}");
    Ok(())
}

/// However long it takes until an account has read its Secret.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_goes_by_what_the_others_saw() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    a_crowd(&bed, "Rebooting").await?;
    bed.create_secret("late", "First#Password1").await?;
    bed.create(&member(&bed, ACCOUNTS, "late")?).await?;
    let mut waiting = all_wait(&bed, Timestamp::UNIX_EPOCH).await?;
    while !are_all(&waiting, |attempt| attempt.failures >= 2) {
        waiting = all_wait(&bed, waiting.until).await?;
    }

    let known = looks(&bed).len();
    let late = proxy.hold(Matcher::resource("secrets").verb(Verb::Get).name("late"));
    late.wait_for_held(1, PATIENCE).await?;
    bed.rds
        .journal()
        .wait_for(PATIENCE, |calls| {
            let looks = calls.iter().filter(|call| is_a_look(call));
            looks.filter(|look| look.finished.is_some()).count() > known
        })
        .await?;
    ensure!(none_is_shared(&bed, ANY_OTHER_STATE_IS_KEPT).await? == known + 1);
    late.release();
    let again = all_wait(&bed, waiting.until).await?;
    let looks = looks(&bed);
    ensure!(looks.len() == known + 1, "{:#?}", &looks[known..]);
    ensure!(are_all(&again, |attempt| {
        attempt.request_id.as_ref() == Some(&looks[known].request_id)
    }));
    Ok(())
}
