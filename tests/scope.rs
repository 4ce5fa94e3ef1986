//! With `--watch-namespace`, the named namespaces are served and no others.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use rds_password_operator::api::DatabaseAccountPassword;
use rds_simulator::{Account, Call, Instance};
use testbed::Testbed;
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, NAMESPACE};
use testbed::operator::OperatorBuilder;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// A Secret and a resource of the same name in a namespace, for an instance of its own.
async fn create_in(bed: &Testbed, namespace: &str, password: &str) -> Result<()> {
    let instance = format!("rm-{namespace}");
    let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
    bed.rds
        .add_instance(Instance::new(&instance).account(account));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("orders".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            "password".to_owned(),
            ByteString(password.as_bytes().to_vec()),
        )])),
        ..Secret::default()
    };
    Api::<Secret>::namespaced(bed.client.clone(), namespace)
        .create(&PostParams::default(), &secret)
        .await?;
    let mut resource = bed.resource("orders", "orders");
    resource.metadata.namespace = Some(namespace.to_owned());
    resource.spec.instance_id = instance;
    bed.create(&resource).await?;
    Ok(())
}

fn over(operator: OperatorBuilder, namespaces: &[&str]) -> OperatorBuilder {
    namespaces.iter().fold(operator, |operator, namespace| {
        operator.argument(format!("--watch-namespace={namespace}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_namespaces_are_served() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    for namespace in ["team-a", "team-b"] {
        bed.create_namespace(namespace).await?;
        create_in(&bed, namespace, "First#Password1").await?;
    }
    let operator = over(bed.operator().await?, &["team-a", NAMESPACE])
        .start()
        .await?;
    operator.wait_until_leading().await?;
    bed.settle().await?;

    assert!(bed.rds.login("rm-team-a", ACCOUNT, "First#Password1"));
    assert!(
        bed.rds.login("rm-team-b", ACCOUNT, INITIAL_PASSWORD),
        "nobody watches team-b"
    );
    let resources = Api::<DatabaseAccountPassword>::namespaced(bed.client.clone(), "team-b");
    let status = resources.get("orders").await?.status;
    assert!(status.is_none_or(|status| status.conditions.is_empty()));
    Ok(())
}

/// One namespace's watch tells that an account's owner is gone; the one that takes over is in another namespace.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_handed_over_between_namespaces() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    bed.create_namespace("team-a").await?;
    let operator = over(bed.operator().await?, &["team-a", NAMESPACE])
        .start()
        .await?;
    operator.wait_until_leading().await?;
    create_in(&bed, "team-a", "First#Password1").await?;
    let journal = bed.rds.journal();
    let reset = |_: &[Call]| bed.rds.login("rm-team-a", ACCOUNT, "First#Password1");
    journal.wait_for(Duration::from_secs(60), reset).await?;

    bed.create_secret("orders", "Second#Password2").await?;
    let mut resource = bed.resource("orders", "orders");
    resource.spec.instance_id = "rm-team-a".to_owned();
    bed.create(&resource).await?;
    bed.wait_for_reason("orders", "Conflict").await?;
    let owners = Api::<DatabaseAccountPassword>::namespaced(bed.client.clone(), "team-a");
    owners
        .delete("orders", &kube::api::DeleteParams::default())
        .await?;

    bed.wait_until_ready("orders").await?;
    assert!(bed.rds.login("rm-team-a", ACCOUNT, "Second#Password2"));
    assert_eq!(bed.resets().len(), 2);
    Ok(())
}
