//! What leaves the value as it is calls no cloud API, not even to read, and where nothing differs writes no status.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_password_operator::fingerprint::{KEY_BYTES, KEY_SECRET_NAME};
use rds_simulator::{Account, Call, Instance};
use serde_json::json;
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE};
use testbed::install;
use testbed::proxy::{Matcher, Verb};
use testbed::{ApiProxy, Operator, Testbed, condition};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

const PASSWORD: &str = "First#Password1";

/// Passes that found nothing to do.
const IN_SYNC: &str = r#"rds_password_operator_passes_total{outcome="InSync"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_the_secret_that_leave_the_value_alone() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    let before = in_sync(&bed).await?;
    let calls = calls(&bed);

    for (what, patch) in [
        (
            "label",
            json!({ "metadata": { "labels": { "team": "a" } } }),
        ),
        (
            "annotation",
            json!({ "metadata": { "annotations": { "note": "b" } } }),
        ),
        (
            "another key",
            json!({ "stringData": { "username": "app" } }),
        ),
        (
            "another key's value",
            json!({ "stringData": { "username": "c" } }),
        ),
        (
            "another key removed",
            json!({ "data": { "username": null } }),
        ),
        (
            "label removed",
            json!({ "metadata": { "labels": { "team": null } } }),
        ),
    ] {
        pass_after(&operator, || async {
            bed.patch_secret("orders-db", patch).await.map(drop)
        })
        .await
        .context(what)?;
    }
    bed.settle().await?;
    unchanged(&bed, &before).await?;
    assert_eq!(self::calls(&bed), calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_the_resource_beside_its_spec() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, _operator) = behind_proxy(&bed).await?;
    in_sync(&bed).await?;
    let (calls, reads) = (calls(&bed), reads(&proxy, "orders-db"));

    for patch in [
        json!({ "metadata": { "labels": { "team": "a" } } }),
        json!({ "metadata": { "annotations": { "note": "b", "example.com/requested-at": "1" } } }),
        json!({ "metadata": { "finalizers": ["example.com/keep"] } }),
        json!({ "metadata": { "finalizers": null, "labels": { "team": null } } }),
    ] {
        bed.patch("orders-app", patch).await?;
    }
    let before = bed.resources().get("orders-app").await?;
    bed.settle().await?;
    unchanged(&bed, &before).await?;
    assert_eq!(self::calls(&bed), calls);
    assert_eq!(self::reads(&proxy, "orders-db"), reads, "a pass was woken");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_written_wakes_nobody() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let (proxy, _operator) = behind_proxy(&bed).await?;
    in_sync(&bed).await?;
    let reads = reads(&proxy, "orders-db");

    bed.rotate("orders-db", "Second#Password2").await?;
    bed.wait_for("orders-app", "reset again", |resource| {
        resource
            .status
            .as_ref()
            .is_some_and(|status| status.history.len() == 2)
    })
    .await?;
    let calls = calls(&bed);
    bed.settle().await?;
    assert_eq!(self::calls(&bed), calls);
    // One to decide on, and where this machine was busy, one right before the reset. The status that followed has led to none.
    let reads_then = self::reads(&proxy, "orders-db");
    ensure!((1..=2).contains(&(reads_then - reads)), "{reads_then}");

    // Somebody else's writing is looked at once, since it may be untrue, and is no cause either.
    let patch = Patch::Merge(json!({ "status": { "history": null } }));
    let parameters = PatchParams::default();
    let before = bed
        .resources()
        .patch_status("orders-app", &parameters, &patch)
        .await?;
    bed.settle().await?;
    unchanged(&bed, &before).await?;
    assert_eq!(self::calls(&bed), calls);
    assert_eq!(self::reads(&proxy, "orders-db"), reads_then + 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_created_again_with_the_same_value() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    let before = in_sync(&bed).await?;
    let calls = calls(&bed);

    // So quickly that the operator never sees it missing.
    pass_after(&operator, || async {
        operator.pause()?;
        bed.delete_secret("orders-db").await?;
        bed.create_secret("orders-db", PASSWORD).await?;
        operator.resume()
    })
    .await?;
    unchanged(&bed, &before).await?;

    bed.delete_secret("orders-db").await?;
    bed.wait_for_reason("orders-app", "SecretNotFound").await?;
    bed.create_secret("orders-db", PASSWORD).await?;
    let after = bed.wait_until_ready("orders-app").await?;
    bed.settle().await?;
    assert_eq!(self::calls(&bed), calls);
    let (before, after) = (before.status, after.status);
    let [before, after] = [before, after].map(Option::unwrap_or_default);
    assert_eq!(after.last_reset, before.last_reset);
    assert_eq!(after.history, before.history);
    assert_eq!(after.pending_since, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_names_the_same_account_and_value_in_other_words() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    in_sync(&bed).await?;
    let calls = calls(&bed);
    bed.create_secret("orders-db-v2", PASSWORD).await?;
    let both_keys = json!({ "stringData": { "again": PASSWORD } });
    bed.patch_secret("orders-db-v2", both_keys).await?;

    for patch in [
        json!({ "spec": { "regionId": "cn-shanghai" } }),
        json!({ "spec": { "passwordSecretRef": { "name": "orders-db-v2" } } }),
        json!({ "spec": { "passwordSecretRef": { "key": "again" } } }),
    ] {
        let edited = bed.patch("orders-app", patch).await?;
        bed.wait_for("orders-app", "observed", |resource| {
            let observed = resource.status.as_ref().map(|it| it.observed_generation);
            observed == Some(edited.metadata.generation)
        })
        .await?;
        let resource = bed.wait_until_ready("orders-app").await?;
        assert!(condition(&resource, "Reconciling").is_none());
    }
    bed.settle().await?;
    assert_eq!(self::calls(&bed), calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart() -> Result<()> {
    let (bed, first) = Testbed::start_with_operator(OPERATOR).await?;
    let before = in_sync(&bed).await?;
    let calls = calls(&bed);

    let (status, log) = first.terminate().await?;
    ensure!(status.success(), "{log}");
    let second = start_with_short_lease(&bed).await?;
    second.wait_for_metric(IN_SYNC, 1.0).await?;
    bed.settle().await?;
    unchanged(&bed, &before).await?;

    // Its successor waits until the lease has run out.
    let _ = second.kill();
    let third = start_with_short_lease(&bed).await?;
    third.wait_for_metric(IN_SYNC, 1.0).await?;
    bed.settle().await?;
    unchanged(&bed, &before).await?;
    assert_eq!(self::calls(&bed), calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_leader() -> Result<()> {
    let (bed, first) = Testbed::start_with_operator(OPERATOR).await?;
    let before = in_sync(&bed).await?;
    let calls = calls(&bed);

    let second = bed.operator().await?.start().await?;
    second.wait_until_ready().await?;
    first.terminate().await?;
    second.wait_until_leading().await?;
    second.wait_for_metric(IN_SYNC, 1.0).await?;
    bed.settle().await?;
    unchanged(&bed, &before).await?;
    assert_eq!(self::calls(&bed), calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the count is a result of its own")]
async fn a_restart_with_a_hundred_resources() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    let names = try_join_all((0..10).flat_map(|instance| {
        let bed = &bed;
        bed.rds.add_instance((0..10).fold(
            Instance::new(format!("rm-{instance}")),
            |instance, account| {
                instance.account(Account::new(format!("app{account}"), INITIAL_PASSWORD))
            },
        ));
        (0..10).map(move |account| async move {
            let name = format!("orders-{instance}-{account}");
            bed.create_secret(&name, PASSWORD).await?;
            let mut resource = bed.resource(&name, &name);
            resource.spec.instance_id = format!("rm-{instance}");
            resource.spec.account_name = format!("app{account}");
            bed.create(&resource).await?;
            bed.wait_until_ready(&name).await?;
            anyhow::Ok(name)
        })
    }))
    .await?;
    bed.settle().await?;
    let versions = versions(&bed).await?;
    operator.terminate().await?;
    let calls_before = bed.calls().len();

    let (proxy, operator) = behind_proxy(&bed).await?;
    // With the one that it settled with.
    operator.wait_for_metric(IN_SYNC, 101.0).await?;
    let made = bed.calls().len() - calls_before;
    println!(
        "cloud calls for a restart with {} resources in sync: {made}",
        names.len()
    );
    assert_eq!(made, 0);
    let read: usize = names.iter().map(|name| reads(&proxy, name)).sum();
    assert_eq!(read, 0, "of the values of Secrets");
    let calls = calls(&bed);
    bed.settle().await?;
    assert_eq!(self::calls(&bed), calls);
    assert_eq!(self::versions(&bed).await?, versions);
    Ok(())
}

/// With another key the same value has another fingerprint.
#[tokio::test(flavor = "multi_thread")]
async fn another_fingerprint_key() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    in_sync(&bed).await?;
    let calls = calls(&bed);
    let keys = Api::<Secret>::namespaced(bed.client.clone(), install::OPERATOR);
    let edit = |data| Patch::Merge(json!({ "data": data }));
    let parameters = PatchParams::default();

    // Rotated, with the old key still there.
    let old = last_key(&bed).await?;
    let new = BASE64_STANDARD.encode([7; KEY_BYTES]);
    let both = json!({ "rotated": new, "current": BASE64_STANDARD.encode("rotated") });
    keys.patch(KEY_SECRET_NAME, &parameters, &edit(both))
        .await?;
    let operator = restarted(&bed, operator).await?;
    bed.settle().await?;
    assert_eq!(last_key(&bed).await?, "rotated");

    // And the old one gone: nobody needs it any more.
    let without_old = edit(json!({ old: null }));
    keys.patch(KEY_SECRET_NAME, &parameters, &without_old)
        .await?;
    let operator = restarted(&bed, operator).await?;
    bed.settle().await?;

    // Lost, with a Secret that nobody has touched since.
    keys.delete(KEY_SECRET_NAME, &DeleteParams::default())
        .await?;
    let _operator = restarted(&bed, operator).await?;
    bed.settle().await?;
    assert_ne!(last_key(&bed).await?, "rotated");
    bed.wait_until_ready("orders-app").await?;
    assert_eq!(self::calls(&bed), calls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_is_deleted() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    in_sync(&bed).await?;
    let calls = calls(&bed);
    bed.delete("orders-app").await?;
    bed.rotate("orders-db", "Second#Password2").await?;
    bed.delete_secret("orders-db").await?;
    bed.settle().await?;
    assert_eq!(self::calls(&bed), calls);
    assert!(bed.rds.login(INSTANCE, ACCOUNT, PASSWORD));
    Ok(())
}

/// The resource, once it is in sync and everything that its creation has started has ended.
async fn in_sync(bed: &Testbed) -> Result<DatabaseAccountPassword> {
    bed.create_secret("orders-db", PASSWORD).await?;
    bed.create(&bed.resource("orders-app", "orders-db")).await?;
    bed.wait_until_ready("orders-app").await?;
    bed.settle().await?;
    bed.wait_until_ready("orders-app").await
}

/// Does something that wakes a pass over a resource in sync, and waits until that pass has ended.
async fn pass_after<F: Future<Output = Result<()>>>(
    operator: &Operator,
    change: impl FnOnce() -> F,
) -> Result<()> {
    let passes = operator.metric(IN_SYNC).await?;
    change().await?;
    operator.wait_for_metric(IN_SYNC, passes + 1.0).await
}

/// Fails where the status was written, or anything else of the resource.
async fn unchanged(bed: &Testbed, before: &DatabaseAccountPassword) -> Result<()> {
    let after = bed.resources().get(&before.name_any()).await?;
    ensure!(
        after.resource_version() == before.resource_version(),
        "it was\n{}\nand is\n{}",
        serde_yaml_ng::to_string(before)?,
        serde_yaml_ng::to_string(&after)?
    );
    Ok(())
}

/// How many calls were made, but for those of the settling.
fn calls(bed: &Testbed) -> usize {
    let settles = |call: &Call| {
        let instance = call.instance.as_deref();
        instance.is_some_and(|instance| instance.starts_with("rm-settle"))
    };
    bed.calls().iter().filter(|call| !settles(call)).count()
}

/// How often the operator has read the value of a Secret: each pass does, but for the first after a start.
fn reads(proxy: &ApiProxy, secret: &str) -> usize {
    let read = Matcher::resource("secrets").verb(Verb::Get).name(secret);
    let exchanges = proxy.exchanges();
    exchanges
        .iter()
        .filter(|it| read.matches(&it.request))
        .count()
}

/// The resourceVersions of all resources but those of the settling.
async fn versions(bed: &Testbed) -> Result<BTreeMap<String, Option<String>>> {
    let resources = bed.resources().list(&ListParams::default()).await?;
    let ours = resources
        .iter()
        .filter(|it| it.spec.account_name != "settle");
    Ok(ours
        .map(|it| (it.name_any(), it.resource_version()))
        .collect())
}

/// An operator that leads, and the proxy that sees what it asks of the API server.
async fn behind_proxy(bed: &Testbed) -> Result<(ApiProxy, Operator)> {
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    Ok((proxy, operator))
}

/// The same as [`Testbed::operator`] after a graceful end, once it has looked at everything.
async fn restarted(bed: &Testbed, operator: Operator) -> Result<Operator> {
    let (status, log) = operator.terminate().await?;
    ensure!(status.success(), "{log}");
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    operator.wait_for_metric(IN_SYNC, 1.0).await?;
    Ok(operator)
}

/// The key of the fingerprint of the value that was applied.
async fn last_key(bed: &Testbed) -> Result<String> {
    let status = bed.resources().get("orders-app").await?.status;
    let reset = status.and_then(|status| status.last_reset);
    let fingerprint = reset.and_then(|reset| reset.fingerprint);
    Ok(fingerprint.context("no fingerprint")?.key_id)
}

async fn start_with_short_lease(bed: &Testbed) -> Result<Operator> {
    let operator = bed
        .operator()
        .await?
        .flag("lease-duration", "3s")
        .flag("lease-renew-deadline", "2s")
        .flag("lease-retry-period", "200ms")
        .start()
        .await?;
    operator.wait_until_leading().await?;
    Ok(operator)
}
