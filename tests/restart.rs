//! Whoever begins to lead finds in the statuses what is in sync, and reads no Secret again that nobody has touched since. What
//! was changed while nobody led is found all the same, also where the Secrets cannot be listed.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use rstest::rstest;
use serde_json::json;
use testbed::Testbed;
use testbed::bed::{INSTANCE, NAMESPACE};
use testbed::operator::OperatorBuilder;
use testbed::proxy::{ApiProxy, Exchange, Matcher, Verb};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

const FIRST: &str = "First#Password1";
const SECOND: &str = "Second#Password2";

/// Passes that found nothing to do.
const IN_SYNC: &str = r#"rds_password_operator_passes_total{outcome="InSync"}"#;

const RESOURCES: &str = "databaseaccountpasswords";

/// More than the tests' patience is long.
const ALWAYS: usize = 10_000;

#[derive(Clone, Copy, Debug)]
enum Start {
    Again,
    AsTheNextLeader,
}

#[rstest]
#[case::a_restart(Start::Again)]
#[case::a_change_of_the_leader(Start::AsTheNextLeader)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_that_nobody_has_touched(#[case] start: Start) -> Result<()> {
    let (bed, first) = Testbed::start_with_operator(OPERATOR).await?;
    let names: Vec<String> = (0..12).map(|number| format!("orders-{number}")).collect();
    for name in &names {
        create_in(&bed, NAMESPACE, name).await?;
    }
    for name in &names {
        bed.wait_until_ready(name).await?;
    }
    bed.settle().await?;

    let (proxy, calls) = (bed.proxy().await?, bed.calls().len());
    let builder = bed.operator_at(&proxy.url(), None).await?;
    let operator = match start {
        Start::Again => {
            first.terminate().await?;
            builder.start().await?
        }
        Start::AsTheNextLeader => {
            let second = builder.start().await?;
            second.wait_until_ready().await?;
            first.terminate().await?;
            second
        }
    };
    operator.wait_until_leading().await?;
    // With the one that it settled with, which is in sync as well.
    operator.wait_for_metric(IN_SYNC, 13.0).await?;
    assert_eq!(bed.calls().len(), calls, "{:#?}", &bed.calls()[calls..]);
    assert_eq!(reads(&proxy, ""), [""; 0]);
    assert_eq!(writes(&proxy), [""; 0]);

    // It was quick to see that, because it asked in this order.
    let exchanges = proxy.exchanges();
    let lists = |resource| {
        let list = Matcher::resource(resource).verb(Verb::List);
        move |exchange: &Exchange| list.matches(&exchange.request)
    };
    let last_of_resources = exchanges.iter().rposition(lists(RESOURCES));
    let first_of_secrets = exchanges.iter().position(lists("secrets"));
    assert!(last_of_resources.context("no list")? < first_of_secrets.context("no list")?);

    // It has an ear for what comes.
    bed.rotate("orders-3", SECOND).await?;
    bed.wait_for_login((INSTANCE, "orders-3"), SECOND).await?;
    bed.settle().await?;
    let read = reads(&proxy, "orders-");
    assert!(read.iter().all(|name| name == "orders-3"), "{read:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_while_nobody_led_is_read_once_and_applied() -> Result<()> {
    let bed = in_sync(&["labelled", "rotated", "deleted", "requested", "untouched"]).await?;
    let label = json!({ "metadata": { "labels": { "team": "a" } } });
    bed.patch_secret("labelled", label).await?;
    bed.rotate("rotated", SECOND).await?;
    bed.delete_secret("deleted").await?;
    bed.request_reset("requested", "now").await?;
    let labelled = bed.resources().get("labelled").await?;
    let resets = bed.resets().len();

    let proxy = bed.proxy().await?;
    let _operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    bed.wait_for_login((INSTANCE, "rotated"), SECOND).await?;
    bed.wait_for_reason("deleted", "SecretNotFound").await?;
    bed.wait_for("requested", "reset", |resource| {
        let status = resource.status.as_ref();
        status.is_some_and(|status| status.last_handled_request.is_some())
    })
    .await?;
    bed.settle().await?;
    assert_eq!(reads(&proxy, "labelled"), ["labelled"]);
    assert_eq!(
        bed.resources().get("labelled").await?.resource_version(),
        labelled.resource_version(),
        "nothing is written for a label"
    );
    assert_eq!(reads(&proxy, "untouched"), [""; 0]);
    let accounts: Vec<Option<String>> = bed.resets()[resets..]
        .iter()
        .map(|call| call.account.clone())
        .filter(|account| account.as_deref() != Some("settle"))
        .collect();
    assert_eq!(accounts.len(), 2, "{accounts:?}");
    Ok(())
}

/// What is in the way of the first list of Secrets, or of those who read them.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    SecretsMayNotBeListed,
    SecretsFailOnce,
    ResourcesFailOnce,
}

#[rstest]
#[case(Trouble::SecretsMayNotBeListed)]
#[case(Trouble::SecretsFailOnce)]
#[case(Trouble::ResourcesFailOnce)]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_holds_nobody_up(#[case] trouble: Trouble) -> Result<()> {
    let bed = in_sync(&["rotated", "untouched"]).await?;
    bed.rotate("rotated", SECOND).await?;

    let proxy = bed.proxy().await?;
    let list = |resource| Matcher::resource(resource).verb(Verb::List);
    match trouble {
        Trouble::SecretsMayNotBeListed => proxy.refuse(list("secrets"), ALWAYS, 403),
        Trouble::SecretsFailOnce => proxy.refuse(list("secrets"), 1, 500),
        Trouble::ResourcesFailOnce => proxy.refuse(list(RESOURCES), 1, 500),
    }
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    bed.wait_for_login((INSTANCE, "rotated"), SECOND).await?;
    operator.wait_for_metric(IN_SYNC, 1.0).await?;
    bed.wait_until_ready("rotated").await?;

    proxy.mend();
    operator.wait_until_ready().await?;
    bed.rotate("untouched", SECOND).await?;
    bed.wait_for_login((INSTANCE, "untouched"), SECOND).await?;
    bed.settle().await
}

/// It neither goes on nor fails, for longer than anybody should wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_stands_still_holds_nobody_up() -> Result<()> {
    let bed = in_sync(&["rotated", "untouched"]).await?;
    bed.rotate("rotated", SECOND).await?;
    let proxy = bed.proxy().await?;
    let list = proxy.hold(Matcher::resource("secrets").verb(Verb::List));
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    bed.wait_for_login((INSTANCE, "rotated"), SECOND).await?;
    operator.wait_for_metric(IN_SYNC, 1.0).await?;
    let failed = r#"rds_password_operator_watch_errors_total{watch="Secret"} "#;
    assert!(operator.metric(failed).await? < 1.0, "it still waits");
    list.release();
    bed.settle().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_listed_costs_the_others_nothing() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    bed.create_namespace("team-a").await?;
    let both = |operator: OperatorBuilder| {
        let arguments = ["team-a", NAMESPACE].map(|name| format!("--watch-namespace={name}"));
        arguments
            .into_iter()
            .fold(operator, OperatorBuilder::argument)
    };
    let first = both(bed.operator().await?).start().await?;
    first.wait_until_leading().await?;
    for (namespace, name) in [("team-a", "theirs"), (NAMESPACE, "ours")] {
        create_in(&bed, namespace, name).await?;
        bed.wait_for_login((INSTANCE, name), FIRST).await?;
        bed.wait_for_in(namespace, name, "without a try", |resource| {
            let status = resource.status.as_ref();
            status.is_some_and(|it| it.last_reset.is_some() && it.last_attempt.is_none())
        })
        .await?;
    }
    first.terminate().await?;

    let proxy = bed.proxy().await?;
    let list = Matcher::resource("secrets").verb(Verb::List);
    proxy.refuse(list.path("/team-a/"), ALWAYS, 403);
    // It does not become ready.
    let operator = both(bed.operator_at(&proxy.url(), None).await?);
    let operator = operator.start().await?;
    operator.wait_for_metric(IN_SYNC, 2.0).await?;
    bed.settle().await?;
    assert_eq!(reads(&proxy, "ours"), [""; 0]);
    assert_eq!(reads(&proxy, "theirs"), ["theirs"]);
    Ok(())
}

/// Resources of these names that are in sync, each with its Secret and account, and no operator any more.
async fn in_sync(names: &[&str]) -> Result<Testbed> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    for name in names {
        create_in(&bed, NAMESPACE, name).await?;
    }
    for name in names {
        bed.wait_until_ready(name).await?;
    }
    operator.terminate().await?;
    Ok(bed)
}

/// An account, a Secret and a resource of this name.
async fn create_in(bed: &Testbed, namespace: &str, name: &str) -> Result<()> {
    let value = ByteString(FIRST.as_bytes().to_vec());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("password".to_owned(), value)])),
        ..Secret::default()
    };
    Api::<Secret>::namespaced(bed.client.clone(), namespace)
        .create(&PostParams::default(), &secret)
        .await?;
    let mut resource = bed.add_account(name, INSTANCE, name)?;
    resource.metadata.namespace = Some(namespace.to_owned());
    bed.create(&resource).await?;
    Ok(())
}

/// The Secrets that the operator has read whose names begin like this, but for the fingerprint key's.
fn reads(proxy: &ApiProxy, prefix: &str) -> Vec<String> {
    let read = Matcher::resource("secrets").verb(Verb::Get);
    let exchanges = proxy.exchanges().into_iter();
    let requests = exchanges.map(|exchange| exchange.request);
    requests
        .filter(|request| {
            read.matches(request) && request.namespace.as_deref() != Some("rds-password-operator")
        })
        .filter_map(|request| request.name)
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// What the operator has written, but for its Lease.
fn writes(proxy: &ApiProxy) -> Vec<String> {
    let exchanges = proxy.exchanges().into_iter();
    let requests = exchanges.map(|exchange| exchange.request);
    requests
        .filter(|request| !matches!(request.verb, Verb::Get | Verb::List | Verb::Watch))
        .filter(|request| request.resource.as_deref() != Some("leases"))
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}
