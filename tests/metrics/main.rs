//! `/metrics` of the real binary: what it tells is true, in the format that scrapers read, and bounded.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

mod exposition;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_password_operator::controller::outcome::Outcome;
use rds_password_operator::controller::trigger::WATCHED_KINDS;
use rds_password_operator::credentials::{SourceName, sts};
use rds_password_operator::metrics::resets::{ResetResult, SUCCEEDED};
use rds_password_operator::metrics::{cloud, fleet};
use rds_password_operator::rds::classification::Reason;
use rds_password_operator::rds::error::CallError;
use rds_simulator::{Account, Action, Fault, Instance, Role, Target};
use serde_json::json;
use testbed::bed::{
    ACCESS_KEY_ID, ACCESS_KEY_SECRET, ACCOUNT, INITIAL_PASSWORD, INSTANCE, NAMESPACE,
};
use testbed::operator::{OperatorBuilder, PATIENCE};
use testbed::proxy::Matcher;
use testbed::{Operator, Testbed};
use tokio::time::{Instant, sleep};

use exposition::Exposition;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// The series of the resource that most tests have.
const ORDERS: [(&str, &str); 2] = [("namespace", NAMESPACE), ("name", "orders-app")];

/// All values of the labels whose set is closed.
fn is_allowed(metric: &str, label: &str, value: &str) -> bool {
    let metric = metric.trim_start_matches("rds_password_operator_");
    match (metric, label) {
        (_, "le" | "namespace" | "name" | "version") => true,
        ("passes_total", "outcome") => Outcome::LABELS.contains(&value),
        ("resets_total", "trigger") => {
            serde_json::from_value::<rds_password_operator::api::Trigger>(json!(value)).is_ok()
        }
        ("resets_total", "result") => ResetResult::ALL
            .iter()
            .any(|result| result.as_str() == value),
        ("resets_total", "reason") => {
            value == SUCCEEDED || Reason::ALL.iter().any(|reason| reason.as_str() == value)
        }
        ("resources" | "oldest_pending_change_age_seconds", "reason") => {
            fleet::reasons().any(|reason| reason == value)
        }
        (_, "action") => [
            "ResetAccountPassword",
            "DescribeDBInstanceAttribute",
            "DescribeAccounts",
            "AssumeRole",
            "AssumeRoleWithOIDC",
        ]
        .contains(&value),
        (_, "code") => [cloud::OK]
            .into_iter()
            .chain(CallError::labels())
            .chain(sts::labels())
            .any(|code| code == value),
        (_, "source") => SourceName::IN_ORDER
            .into_iter()
            .chain([SourceName::ServiceAccount, SourceName::Secret])
            .any(|source| source.as_str() == value),
        ("credential_refreshes_total", "result") => ["success", "failure"].contains(&value),
        (_, "watch") => WATCHED_KINDS.contains(&value),
        _ => false,
    }
}

/// One scrape. Its form, the values of its labels and its silence are checked each time.
async fn scrape(operator: &Operator) -> Result<Exposition> {
    let (status, text) = operator.get("/metrics").await?;
    ensure!(status == 200, "{status}");
    // Every password of these tests begins with it.
    ensure!(!text.contains("Canary"), "{text}");
    ensure!(!text.contains(ACCESS_KEY_SECRET), "{text}");
    let found = Exposition::parse(&text).with_context(|| text.clone())?;
    for sample in found.samples() {
        for (label, value) in &sample.labels {
            ensure!(is_allowed(&sample.name, label, value), "{sample:?}");
        }
    }
    Ok(found)
}

/// Scrapes until it is as described.
async fn scrape_until(
    operator: &Operator,
    what: &str,
    condition: impl Fn(&Exposition) -> bool,
) -> Result<Exposition> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = scrape(operator).await?;
        if condition(&found) {
            return Ok(found);
        }
        ensure!(
            Instant::now() < deadline,
            "never {what}: {:#?}",
            found
                .samples()
                .filter(|sample| !sample.labels.contains_key("le"))
                .map(|sample| (&sample.name, &sample.labels, sample.value))
                .collect::<Vec<_>>()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// A cluster whose one resource is in sync.
async fn in_sync(operator: OperatorBuilder, bed: &Testbed) -> Result<Operator> {
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "Canary#1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    Ok(operator)
}

fn success(trigger: &str) -> [(&str, &str); 3] {
    [
        ("trigger", trigger),
        ("result", "success"),
        ("reason", "Reset"),
    ]
}

/// An instance of its own with a Secret and a resource of the same name.
async fn add(bed: &Testbed, name: &str) -> Result<()> {
    let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
    bed.rds.add_instance(Instance::new(name).account(account));
    bed.create_secret(name, "Canary#1").await?;
    let mut resource = bed.resource(name, name);
    name.clone_into(&mut resource.spec.instance_id);
    bed.create(&resource).await?;
    Ok(())
}

fn last_reset(resource: &DatabaseAccountPassword) -> Result<f64> {
    let status = resource.status.as_ref().context("no status")?;
    let reset = status.last_reset.as_ref().context("no lastReset")?;
    Ok(reset.time.0.as_duration().as_secs_f64())
}

#[tokio::test(flavor = "multi_thread")]
async fn before_and_after_a_rotation_and_a_deletion() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    let before = scrape(&operator).await?;
    assert_eq!(before.value("leader", &[]), Some(1.0));
    assert_eq!(before.value("build_info", &[]), Some(1.0));
    for reason in fleet::reasons() {
        let count = before.value("resources", &[("reason", reason)]);
        assert_eq!(count, Some(0.0), "{reason} is there from the start");
    }
    for (name, value) in [
        ("stalled_resources", Some(0.0)),
        ("pending_changes", Some(0.0)),
        ("oldest_pending_change_age_seconds", Some(0.0)),
        ("request_budget_calls_per_second", Some(1000.0)),
        ("request_budget_waiting", Some(0.0)),
        ("request_budget_closed", Some(0.0)),
        ("secret_change_to_reset_seconds_count", Some(0.0)),
        ("resets_total", None),
        ("resource_ready", None),
        ("credentials_usable", None),
    ] {
        assert_eq!(before.value(name, &[]), value, "{name}");
    }

    bed.create_secret("orders-db", "Canary#1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    let created = scrape_until(&operator, "counted", |found| {
        found.value("resets_total", &success("Created")) == Some(1.0)
    })
    .await?;
    let count = created.value("secret_change_to_reset_seconds_count", &[]);
    assert_eq!(count, Some(0.0), "no Secret changed");

    bed.rotate("orders-db", "Canary#2").await?;
    bed.wait_for_password("Canary#2").await?;
    bed.settle().await?;
    let resource = bed.wait_until_ready("orders-app").await?;
    // That of the settling comes to the same.
    let after = scrape_until(&operator, "counted", |found| {
        found.value("resets_total", &success("SecretChanged")) == Some(2.0)
            && found.value("resources", &[("reason", "InSync")]) == Some(2.0)
            && found.value("resource_last_reset_timestamp_seconds", &ORDERS)
                == last_reset(&resource).ok()
    })
    .await?;
    assert_eq!(after.value("resets_total", &success("Created")), Some(2.0));
    assert_eq!(after.value("resets_total", &[]), Some(4.0));
    let count = after.value("secret_change_to_reset_seconds_count", &[]);
    assert_eq!(count, Some(2.0), "one for each changed value");
    let sum = after.value("secret_change_to_reset_seconds_sum", &[]);
    let sum = sum.context("no sum")?;
    ensure!(sum > 0.0 && sum < PATIENCE.as_secs_f64(), "{sum}");
    assert_eq!(after.value("resource_ready", &ORDERS), Some(1.0));
    assert_eq!(after.value("resources", &[]), Some(2.0));
    let resets = [("action", "ResetAccountPassword"), ("code", "OK")];
    let calls = after.value("cloud_call_duration_seconds_count", &resets);
    assert_eq!(calls, Some(4.0));
    let turns = after.value("instance_turn_wait_seconds_count", &[]);
    assert_eq!(turns, Some(4.0), "one for each reset");
    let calls = after.value("cloud_call_duration_seconds_count", &[]);
    let waits = after.value("request_budget_wait_seconds_count", &[]);
    assert_eq!(waits, calls, "one for each call");
    let key = [("source", "environment"), ("result", "success")];
    ensure!(after.value("credential_refreshes_total", &key) >= Some(1.0));
    assert_eq!(after.value("credentials_usable", &[]), Some(1.0));
    let expiry = after.value("credentials_expiry_timestamp_seconds", &[]);
    assert_eq!(expiry, None, "the AccessKey has no end");

    bed.delete("orders-app").await?;
    let deleted = scrape_until(&operator, "gone", |found| {
        found.value("resources", &[]) == Some(1.0)
    })
    .await?;
    for name in ["resource_ready", "resource_last_reset_timestamp_seconds"] {
        assert_eq!(deleted.value(name, &ORDERS), None, "{name}");
    }
    Ok(())
}

/// Nothing that changes a Secret but not its value counts as a change.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_is_no_change() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = in_sync(bed.operator().await?, &bed).await?;
    let label = json!({ "metadata": { "labels": { "team": "orders" } } });
    bed.patch_secret("orders-db", label).await?;
    bed.settle().await?;
    bed.request_reset("orders-app", "now").await?;
    let found = scrape_until(&operator, "requested", |found| {
        found.value("resets_total", &success("Requested")) == Some(1.0)
    })
    .await?;
    let count = found.value("secret_change_to_reset_seconds_count", &[]);
    assert_eq!(count, Some(1.0), "that of the settling");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_nobody_leads_is_measured_by_the_next_one() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = in_sync(bed.operator().await?, &bed).await?;
    operator.terminate().await?;
    bed.rotate("orders-db", "Canary#2").await?;
    let operator = bed.operator().await?.start().await?;
    bed.wait_for_password("Canary#2").await?;
    // Nobody knows since when; at least it is told that it was.
    let measured = scrape_until(&operator, "measured", |found| {
        found.value("secret_change_to_reset_seconds_count", &[]) == Some(1.0)
            && found.value("resets_total", &success("SecretChanged")) == Some(1.0)
    })
    .await?;
    let le = [("le", "1800.0")];
    let young = measured.value("secret_change_to_reset_seconds_bucket", &le);
    assert_eq!(young, Some(1.0));
    bed.wait_until_ready("orders-app").await?;

    // One that was found and not applied by the one before counts from then.
    let unavailable = Fault::error(503, "ServiceUnavailable", "no");
    let unavailable = bed
        .rds
        .add_fault(unavailable.on(Action::ResetAccountPassword));
    bed.rotate("orders-db", "Canary#3").await?;
    bed.wait_for_reason("orders-app", "RdsUnavailable").await?;
    operator.terminate().await?;
    bed.rds.clear_fault(unavailable);
    pending_for_two_hours(&bed).await?;
    let operator = bed.operator().await?.start().await?;
    bed.wait_for_password("Canary#3").await?;
    let measured = scrape_until(&operator, "measured", |found| {
        found.value("secret_change_to_reset_seconds_count", &[]) == Some(1.0)
    })
    .await?;
    let sum = measured.value("secret_change_to_reset_seconds_sum", &[]);
    ensure!(sum >= Some(7200.0), "{sum:?}");
    Ok(())
}

/// Sets back since when the status says that a change is pending.
async fn pending_for_two_hours(bed: &Testbed) -> Result<()> {
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = Patch::Merge(json!({ "status": { "pendingSince": since } }));
    let parameters = PatchParams::default();
    bed.resources()
        .patch_status("orders-app", &parameters, &patch)
        .await?;
    Ok(())
}

/// The time since the first change that the reset has brought in, with all failed tries.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_counts_and_its_time_is_part_of_the_measure() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = in_sync(bed.operator().await?, &bed).await?;
    let lost = Fault::close_connection().on(Action::ResetAccountPassword);
    let lost = bed.rds.add_fault(lost);
    bed.rotate("orders-db", "Canary#2").await?;
    let unknown = [("result", "unknown"), ("reason", "RdsUnavailable")];
    let pending = scrape_until(&operator, "two failures", |found| {
        found.value("resets_total", &unknown) >= Some(2.0)
            && found.value("oldest_pending_change_age_seconds", &[]) > Some(1.0)
            && found.value("resources", &[("reason", "RdsUnavailable")]) == Some(1.0)
    })
    .await?;
    assert_eq!(pending.value("pending_changes", &[]), Some(1.0));
    assert_eq!(pending.value("stalled_resources", &[]), Some(0.0));
    assert_eq!(pending.value("resource_ready", &ORDERS), Some(0.0));
    let broken = [("action", "ResetAccountPassword"), ("code", "broken")];
    let calls = pending.value("cloud_call_duration_seconds_count", &broken);
    ensure!(calls >= Some(2.0), "{calls:?}");
    let count = pending.value("secret_change_to_reset_seconds_count", &[]);
    assert_eq!(count, Some(0.0), "not applied yet");

    bed.rds.clear_fault(lost);
    let applied = scrape_until(&operator, "applied", |found| {
        found.value("secret_change_to_reset_seconds_count", &[]) == Some(1.0)
            && found.value("pending_changes", &[]) == Some(0.0)
    })
    .await?;
    let took = applied.value("secret_change_to_reset_seconds_sum", &[]);
    // The second failure came at half a second at the earliest, and another wait followed.
    ensure!(took >= Some(0.5), "{took:?}");
    let age = applied.value("oldest_pending_change_age_seconds", &[]);
    assert_eq!(age, Some(0.0));
    Ok(())
}

/// While a value is on its way to RDS, the Secret changes again. That change waits for its pass, and this time counts as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_from_when_the_watch_told_of_it() -> Result<()> {
    const HELD: Duration = Duration::from_secs(2);
    let bed = Testbed::start(OPERATOR).await?;
    let operator = in_sync(bed.operator().await?, &bed).await?;
    let reset = Target::from(Action::ResetAccountPassword).instance(INSTANCE);
    let pause = bed.rds.pause(reset);
    bed.rotate("orders-db", "Canary#2").await?;
    pause.wait_for_held(1, PATIENCE).await?;
    bed.rotate("orders-db", "Canary#3").await?;
    // From here on the operator knows of both.
    bed.settle().await?;
    let settled = scrape(&operator).await?;
    let others = settled.value("secret_change_to_reset_seconds_sum", &[]);
    sleep(HELD).await;
    pause.release();
    bed.wait_for_password("Canary#3").await?;
    let applied = scrape_until(&operator, "applied", |found| {
        found.value("secret_change_to_reset_seconds_count", &[]) == Some(3.0)
    })
    .await?;
    let sum = applied.value("secret_change_to_reset_seconds_sum", &[]);
    let both = sum.context("no sum")? - others.context("no sum")?;
    ensure!(both >= 2.0 * HELD.as_secs_f64(), "{both}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stalled_and_what_is_suspended() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = in_sync(bed.operator().await?, &bed).await?;
    bed.make_old("orders-app").await?;
    let refusal = Fault::error(404, "InvalidAccountName.NotFound", "no");
    let refusal = bed.rds.add_fault(refusal.on(Action::ResetAccountPassword));
    bed.rotate("orders-db", "Canary#2").await?;
    let tried = [
        ("trigger", "SecretChanged"),
        ("result", "failure"),
        ("reason", "AccountNotFound"),
    ];
    scrape_until(&operator, "stalled", |found| {
        found.value("resets_total", &tried) >= Some(1.0)
            && found.value("stalled_resources", &[]) == Some(1.0)
            && found.value("resources", &[("reason", "AccountNotFound")]) == Some(1.0)
            && found.value("pending_changes", &[]) == Some(1.0)
            && found.value("oldest_pending_change_age_seconds", &[]) > Some(0.0)
    })
    .await?;

    // Nobody waits for what is suspended.
    bed.patch("orders-app", json!({ "spec": { "suspend": true } }))
        .await?;
    let suspended = scrape_until(&operator, "suspended", |found| {
        found.value("resources", &[("reason", "Suspended")]) == Some(1.0)
    })
    .await?;
    assert_eq!(suspended.value("pending_changes", &[]), Some(1.0));
    assert_eq!(suspended.value("stalled_resources", &[]), Some(0.0));
    let age = suspended.value("oldest_pending_change_age_seconds", &[]);
    assert_eq!(age, Some(0.0));
    pending_for_two_hours(&bed).await?;

    // Nor does that time count once it is resumed.
    bed.rds.clear_fault(refusal);
    bed.patch("orders-app", json!({ "spec": { "suspend": false } }))
        .await?;
    bed.wait_until_ready("orders-app").await?;
    let resumed = scrape_until(&operator, "resumed", |found| {
        found.value("secret_change_to_reset_seconds_count", &[]) == Some(1.0)
    })
    .await?;
    let le = [("le", "1800.0")];
    let buckets = resumed.value("secret_change_to_reset_seconds_bucket", &le);
    assert_eq!(buckets, Some(1.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_budget_is_closed_and_calls_wait() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = in_sync(bed.operator().await?, &bed).await?;
    let throttled = Fault::throttled("Throttling.User", Duration::from_secs(10));
    bed.rds
        .add_fault(throttled.on(Action::ResetAccountPassword).times(1));
    bed.rotate("orders-db", "Canary#2").await?;
    let failed = [("result", "failure"), ("reason", "Throttled")];
    scrape_until(&operator, "closed", |found| {
        found.value("request_budget_closed", &[]) == Some(1.0)
            && found.value("resets_total", &failed) == Some(1.0)
    })
    .await?;
    add(&bed, "rm-other").await?;
    scrape_until(&operator, "waiting", |found| {
        found.value("request_budget_waiting", &[]) >= Some(1.0)
            && found.value("request_budget_closed", &[]) == Some(1.0)
    })
    .await?;
    bed.wait_until_ready("rm-other").await?;
    bed.wait_until_ready("orders-app").await?;
    let open = scrape_until(&operator, "open", |found| {
        found.value("request_budget_closed", &[]) == Some(0.0)
            && found.value("request_budget_waiting", &[]) == Some(0.0)
    })
    .await?;
    let waited = open.value("request_budget_wait_seconds_sum", &[]);
    ensure!(waited > Some(0.0), "{waited:?}");
    let code = [("action", "ResetAccountPassword"), ("code", "Throttling*")];
    let calls = open.value("cloud_call_duration_seconds_count", &code);
    assert_eq!(calls, Some(1.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_sts_and_credentials_with_an_end() -> Result<()> {
    const ROLE: &str = "acs:ram::1000000000000001:role/operator";
    let bed = Testbed::start(OPERATOR).await?;
    let profile = json!({ "current": "default", "profiles": [{
        "name": "default",
        "mode": "RamRoleArn",
        "access_key_id": ACCESS_KEY_ID,
        "access_key_secret": ACCESS_KEY_SECRET,
        "ram_role_arn": ROLE,
        "ram_session_name": "operator",
    }] });
    let file = bed.directory().join("profile");
    fs::write(&file, profile.to_string())?;
    let operator = bed
        .operator()
        .await?
        .without_access_key()
        .env("ALIBABA_CLOUD_CONFIG_FILE", &file)
        .flag("sts-endpoint", bed.rds.url())
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "Canary#1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    // There is no such role yet.
    let failed = [("source", "profile"), ("result", "failure")];
    let refused = [("action", "AssumeRole"), ("code", "EntityNotExist.Role")];
    let without = scrape_until(&operator, "refused", |found| {
        found.value("credential_refreshes_total", &failed) >= Some(1.0)
            && found.value("cloud_call_duration_seconds_count", &refused) >= Some(1.0)
    })
    .await?;
    assert_eq!(without.value("credentials_usable", &[]), Some(0.0));
    let expiry = without.value("credentials_expiry_timestamp_seconds", &[]);
    assert_eq!(expiry, None);

    bed.rds
        .add_role(Role::new(ROLE).trusts_account("1000000000000001"));
    bed.request_reset("orders-app", "the role is there").await?;
    bed.wait_until_ready("orders-app").await?;
    let found = scrape(&operator).await?;
    let accepted = [("action", "AssumeRole"), ("code", "OK")];
    let calls = found.value("cloud_call_duration_seconds_count", &accepted);
    assert_eq!(calls, Some(1.0));
    let obtained = [("source", "profile"), ("result", "success")];
    let refreshes = found.value("credential_refreshes_total", &obtained);
    assert_eq!(refreshes, Some(1.0));
    assert_eq!(found.value("credentials_usable", &[]), Some(1.0));
    let expiry = found.value("credentials_expiry_timestamp_seconds", &[]);
    let now = jiff::Timestamp::now().as_duration().as_secs_f64();
    let left = expiry.context("no end")? - now;
    ensure!(left > 0.0 && left <= 3600.0, "{left}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oidc_token_that_sts_refuses() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let token = bed.directory().join("token");
    fs::write(&token, "no.token.atall")?;
    let account = "acs:ram::1000000000000001";
    let operator = bed
        .operator()
        .await?
        .without_access_key()
        .env("ALIBABA_CLOUD_ROLE_ARN", format!("{account}:role/operator"))
        .env(
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
            format!("{account}:oidc-provider/cluster"),
        )
        .env("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &token)
        .flag("sts-endpoint", bed.rds.url())
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.create_secret("orders-db", "Canary#1").await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    let action = [("action", "AssumeRoleWithOIDC")];
    let failed = [("source", "oidc"), ("result", "failure")];
    let found = scrape_until(&operator, "refused", |found| {
        found.value("cloud_call_duration_seconds_count", &action) >= Some(1.0)
            && found.value("credential_refreshes_total", &failed) >= Some(1.0)
    })
    .await?;
    assert_eq!(found.value("credentials_usable", &[]), Some(0.0));
    let accepted = [("action", "AssumeRoleWithOIDC"), ("code", "OK")];
    let calls = found.value("cloud_call_duration_seconds_count", &accepted);
    assert_eq!(calls, None);
    Ok(())
}

/// The metrics that only a leader has.
const OF_THE_LEADER: [&str; 8] = [
    "resources",
    "stalled_resources",
    "pending_changes",
    "oldest_pending_change_age_seconds",
    "resource_ready",
    "resource_last_reset_timestamp_seconds",
    "undecodable_resources",
    "watch_age_seconds",
];

fn of_the_leader(found: &Exposition) -> BTreeSet<&'static str> {
    let has = |name: &&str| found.value(name, &[]).is_some();
    OF_THE_LEADER.into_iter().filter(has).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_tells_of_resources_and_watches() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let first = bed.operator_at(&proxy.url(), None).await?.short_lease();
    let first = in_sync(first, &bed).await?;
    let second = bed.operator().await?.short_lease().start().await?;
    second.wait_until_ready().await?;
    let leads = scrape_until(&first, "in sync", |found| {
        found.value("resource_ready", &ORDERS) == Some(1.0)
    })
    .await?;
    assert_eq!(of_the_leader(&leads).len(), OF_THE_LEADER.len() - 1);
    let stands_by = scrape(&second).await?;
    assert_eq!(stands_by.value("leader", &[]), Some(0.0));
    assert_eq!(of_the_leader(&stands_by), BTreeSet::new());

    // It loses the lease, and lives on.
    proxy.refuse(Matcher::resource("leases"), usize::MAX, 500);
    let lost = scrape_until(&first, "lost", |found| {
        found.value("leader", &[]) == Some(0.0)
    })
    .await?;
    assert_eq!(of_the_leader(&lost), BTreeSet::new());
    let gained = scrape_until(&second, "gained", |found| {
        found.value("leader", &[]) == Some(1.0)
            && found.value("resource_ready", &ORDERS) == Some(1.0)
    })
    .await?;
    assert_eq!(of_the_leader(&gained).len(), OF_THE_LEADER.len() - 1);
    assert_eq!(of_the_leader(&scrape(&first).await?), BTreeSet::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_resource_metrics() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.argument("--no-resource-metrics");
    let operator = in_sync(operator, &bed).await?;
    let found = scrape_until(&operator, "in sync", |found| {
        found.value("resources", &[("reason", "InSync")]) == Some(1.0)
    })
    .await?;
    let named: Vec<_> = found
        .samples()
        .filter(|sample| sample.labels.contains_key("name"))
        .collect();
    ensure!(named.is_empty(), "{named:?}");
    let (_, text) = operator.get("/metrics").await?;
    for name in ["orders-app", NAMESPACE, INSTANCE] {
        ensure!(!text.contains(name), "{text}");
    }
    Ok(())
}

/// Seconds since a watch was heard.
fn age(found: &Exposition, watch: &str) -> Option<f64> {
    found.value("watch_age_seconds", &[("watch", watch)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_not_heard_grows_old() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = in_sync(bed.operator_at(&proxy.url(), None).await?, &bed).await?;
    proxy.cut_watches("secrets");
    let cut = scrape_until(&operator, "old", |found| age(found, "Secret") > Some(3.0)).await?;
    let errors = cut.value("watch_errors_total", &[("watch", "Secret")]);
    ensure!(errors >= Some(1.0), "{errors:?}");
    // The other one is not silent: an event is heard.
    let patched = Instant::now();
    let label = json!({ "metadata": { "labels": { "team": "orders" } } });
    bed.patch("orders-app", label).await?;
    scrape_until(&operator, "heard", |found| {
        let since = Some(patched.elapsed().as_secs_f64());
        age(found, "DatabaseAccountPassword") < since && age(found, "Secret") > since
    })
    .await?;
    let mended = Instant::now();
    proxy.mend();
    scrape_until(&operator, "heard again", |found| {
        age(found, "Secret") < Some(mended.elapsed().as_secs_f64())
    })
    .await?;
    Ok(())
}
