//! Of several resources that name the same account, one owns it: only that one's value is ever sent. The others say that they
//! stand back and not for whom, and one of them takes over once the owner is gone.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{CustomResourceExt as _, Resource as _, ResourceExt as _};
use rds_password_operator::api::{DatabaseAccountPassword, Trigger};
use rds_simulator::{Account, Action, Instance, Password, Target};
use serde_json::json;
use testbed::bed::{ACCOUNT, INITIAL_PASSWORD, INSTANCE, NAMESPACE};
use testbed::operator::PATIENCE;
use testbed::proxy::{Exchange, Matcher, Verb};
use testbed::{Operator, Testbed, condition, reason};

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");

/// Words that stand nowhere else, so that they are found where they are told.
const OWNERS_NAMESPACE: &str = "hidden-namespace";
const OWNER: &str = "hidden-owner";

const OWNERS_PASSWORD: &str = "Owner#Password1";
const OTHERS_PASSWORD: &str = "Other#Password1";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_owns_the_account_and_the_other_is_not_told_whose_it_is() -> Result<()> {
    for namespace in [NAMESPACE, OWNERS_NAMESPACE] {
        let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
        owner_and_other(&bed, namespace).await?;

        let other = bed.resources().get("other").await?;
        for (type_, expected) in [
            ("Ready", Some("Conflict")),
            ("PasswordSynced", Some("Conflict")),
            ("SecretReady", Some("Valid")),
            ("Stalled", Some("Conflict")),
            ("Reconciling", None),
        ] {
            assert_eq!(reason(&other, type_), expected, "{type_}");
        }
        let event = bed.wait_for_event("other", "NotReset").await?;
        for told in [
            serde_yaml_ng::to_string(&other)?,
            serde_yaml_ng::to_string(&event)?,
        ] {
            ensure!(!told.contains("hidden"), "{told}");
        }

        // The other's value goes nowhere, whatever it is; the owner's goes where it should.
        bed.rotate("others-db", "Other#Password2").await?;
        bed.request_reset("other", "now").await?;
        bed.settle().await?;
        assert_eq!(resets(&bed), 1);
        rotate_in(&bed, namespace, "owners-db", "Owner#Password2").await?;
        bed.wait_for_password("Owner#Password2").await?;
        bed.wait_for_reason("other", "Conflict").await?;
        assert_eq!(resets(&bed), 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_takes_over_when_the_owner_is_deleted() -> Result<()> {
    for namespace in [NAMESPACE, OWNERS_NAMESPACE] {
        let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
        owner_and_other(&bed, namespace).await?;
        resources_in(&bed, namespace)
            .delete(OWNER, &DeleteParams::default())
            .await?;
        takes_over_once(&bed, Trigger::Created).await?;
    }
    Ok(())
}

/// A resource whose deletion waits for a finalizer is on its way out, and changes no database any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_being_deleted_gives_the_account_up() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    owner_and_other(&bed, NAMESPACE).await?;
    let finalizers = json!({ "metadata": { "finalizers": ["example.com/keep"] } });
    bed.patch(OWNER, finalizers).await?;
    bed.delete(OWNER).await?;
    takes_over_once(&bed, Trigger::Created).await?;
    bed.rotate("owners-db", "Owner#Password2").await?;
    bed.settle().await?;
    assert_eq!(resets(&bed), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_takes_over_when_the_owner_moves_to_another_account() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    owner_and_other(&bed, NAMESPACE).await?;
    let reports = Account::new("reports", INITIAL_PASSWORD);
    bed.rds.add_account(INSTANCE, reports)?;
    bed.patch(OWNER, json!({ "spec": { "accountName": "reports" } }))
        .await?;
    takes_over_once(&bed, Trigger::Created).await?;
    bed.wait_until_ready(OWNER).await?;
    assert!(bed.rds.login(INSTANCE, "reports", OWNERS_PASSWORD));
    assert_eq!(resets(&bed), 3);
    Ok(())
}

/// Age alone gives nobody an account that another one keeps.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_resource_that_is_edited_onto_a_kept_account_does_not_get_it() -> Result<()> {
    let (bed, first) = Testbed::start_with_operator(OPERATOR).await?;
    older_and_keeper(&bed).await?;
    onto_the_kept_account(&bed).await?;
    bed.wait_for_reason("older", "Conflict").await?;
    bed.settle().await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Keeper#Password1"));
    bed.wait_until_ready("keeper").await?;

    // Nor after a restart, where everybody is new to the operator.
    first.terminate().await?;
    let second = bed.operator().await?.start().await?;
    second.wait_until_leading().await?;
    bed.settle().await?;
    assert_eq!(resets(&bed), 2);

    bed.delete("keeper").await?;
    let older = bed.wait_until_ready("older").await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Older#Password1"));
    assert_eq!(last_trigger(&older), Some(Trigger::SpecChanged));
    assert_eq!(resets(&bed), 3);
    Ok(())
}

/// The account becomes another one's while a reset waits, for so short a time that its look at the Secret is still good.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_becomes_another_ones_during_the_wait_is_not_reset() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let proxy = bed.proxy().await?;
    let operator = bed.operator_at(&proxy.url(), None).await?.start().await?;
    operator.wait_until_leading().await?;
    older(&bed).await?;

    let look = Target::from(Action::DescribeDBInstanceAttribute).instance(INSTANCE);
    let look = bed.rds.pause(look);
    bed.create_secret("others-db", OTHERS_PASSWORD).await?;
    bed.create(&bed.resource("other", "others-db")).await?;
    look.wait_for_held(1, PATIENCE).await?;
    let before = proxy.exchanges().len();
    onto_the_kept_account(&bed).await?;
    // Once its new owner is looked at, the operator knows of it.
    let reads = Matcher::resource("secrets").verb(Verb::Get);
    let reads = reads.name("olders-db");
    let is_known = |exchanges: &[Exchange]| {
        let since = exchanges.iter().skip(before);
        since.into_iter().any(|it| reads.matches(&it.request))
    };
    proxy.wait_for(PATIENCE, is_known).await?;
    look.release();

    bed.wait_until_ready("older").await?;
    bed.wait_for_reason("other", "Conflict").await?;
    let history = bed.rds.password_history(INSTANCE, ACCOUNT);
    let history: Vec<&str> = history.iter().map(Password::expose).collect();
    assert_eq!(history, ["Older#Password1"]);
    Ok(())
}

/// Who had the account before and comes back to it must not take it for unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_another_ones_meanwhile_is_reset_again() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    // Whether the first sees the other own the account or not.
    for (round, sees_the_other) in [(1, true), (2, false)] {
        owner_and_other(&bed, NAMESPACE).await?;
        let before = resets(&bed);
        bed.patch(OWNER, json!({ "spec": { "accountName": "nobody" } }))
            .await?;
        bed.wait_for_reason(OWNER, "AccountNotFound").await?;
        bed.wait_until_ready("other").await?;
        assert!(bed.rds.login(INSTANCE, ACCOUNT, OTHERS_PASSWORD));

        let back = json!({ "spec": { "accountName": ACCOUNT } });
        if sees_the_other {
            bed.patch(OWNER, back).await?;
            bed.wait_for_reason(OWNER, "Conflict").await?;
            bed.delete("other").await?;
        } else {
            bed.delete("other").await?;
            bed.settle().await?;
            bed.patch(OWNER, back).await?;
        }
        bed.wait_until_ready(OWNER).await?;
        ensure!(
            bed.rds.login(INSTANCE, ACCOUNT, OWNERS_PASSWORD),
            "round {round}: Ready without a reset"
        );
        // The other's, the one on the account that is not there, and this one.
        assert_eq!(resets(&bed), before + 3);
        bed.delete(OWNER).await?;
        bed.delete_secret("owners-db").await?;
        bed.delete_secret("others-db").await?;
    }
    Ok(())
}

/// One after the other within the resolution of Kubernetes' times, so that chance decides who counts as the older.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_are_created_at_once_one_owns_the_account() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    let names: Vec<String> = (0..8).map(|number| format!("orders-{number}")).collect();
    for name in &names {
        bed.create_secret(name, &format!("Password#{name}")).await?;
    }
    futures::future::try_join_all(
        names
            .iter()
            .map(async |name| bed.create(&bed.resource(name, name)).await),
    )
    .await?;
    let mut owners = Vec::new();
    for name in &names {
        let settled = |resource: &DatabaseAccountPassword| {
            matches!(reason(resource, "Ready"), Some("InSync" | "Conflict"))
        };
        bed.wait_for(name, "settled", settled).await?;
    }
    bed.settle().await?;
    for name in &names {
        let resource = bed.resources().get(name).await?;
        match reason(&resource, "Ready") {
            Some("InSync") => owners.push(name),
            ready => assert_eq!(ready, Some("Conflict"), "{name}"),
        }
    }
    let [owner] = &owners[..] else {
        anyhow::bail!("in sync are {owners:?}")
    };
    assert!(
        bed.rds
            .login(INSTANCE, ACCOUNT, &format!("Password#{owner}"))
    );
    Ok(())
}

/// What another namespace holds may not be known yet. Until it is, nobody takes an account that they never reset; who has reset
/// theirs goes on, since a namespace that cannot be listed must not stop the others.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_in_a_namespace_that_is_not_listed_yet_keeps_the_account() -> Result<()> {
    let (bed, first) = Testbed::start_with_operator(OPERATOR).await?;
    owner_and_other(&bed, OWNERS_NAMESPACE).await?;
    // In sync, to see that the operator works.
    bed.settle().await?;
    first.terminate().await?;

    let proxy = bed.proxy().await?;
    let lists = Matcher::resource(&DatabaseAccountPassword::plural(&()))
        .verb(Verb::List)
        .path(OWNERS_NAMESPACE);
    let hold = proxy.hold(lists);
    let second = bed
        .operator_at(&proxy.url(), None)
        .await?
        .argument(format!("--watch-namespace={NAMESPACE}"))
        .argument(format!("--watch-namespace={OWNERS_NAMESPACE}"))
        .start()
        .await?;
    hold.wait_for_held(1, PATIENCE).await?;
    let settled = bed.resources().list(&ListParams::default()).await?;
    let settled = settled
        .iter()
        .find(|resource| resource.spec.account_name == "settle")
        .context("none that it settled with")?;
    bed.rotate(&settled.name_any(), "Settle#Password3").await?;
    bed.rds
        .journal()
        .wait_for(PATIENCE, |_| {
            bed.rds
                .login(&settled.spec.instance_id, "settle", "Settle#Password3")
        })
        .await?;
    assert_eq!(resets(&bed), 1);
    hold.release();
    second.wait_until_ready().await?;
    bed.settle().await?;
    bed.wait_for_reason("other", "Conflict").await?;
    assert_eq!(resets(&bed), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_resource_owns_its_account_and_stops_nobody() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    let resources = without_schema(&bed).await?;
    bed.create_secret("owners-db", OWNERS_PASSWORD).await?;
    let mut owner = serde_json::to_value(bed.resource(OWNER, "owners-db"))?;
    owner["spec"]["suspend"] = json!("yes");
    let owner = resources
        .create(&PostParams::default(), &serde_json::from_value(owner)?)
        .await?;
    after_the_second_of(&owner.metadata).await?;
    bed.create_secret("others-db", OTHERS_PASSWORD).await?;
    bed.create(&bed.resource("other", "others-db")).await?;
    bed.wait_for_reason("other", "Conflict").await?;

    // It is told of by name, and all others go on, also where the list is read anew.
    told_of(&operator).await?;
    bed.settle().await?;
    operator.terminate().await?;
    let operator = bed.operator().await?.start().await?;
    operator.wait_until_leading().await?;
    told_of(&operator).await?;
    bed.settle().await?;
    assert_eq!(resets(&bed), 0);
    assert!(bed.rds.login(INSTANCE, ACCOUNT, INITIAL_PASSWORD));

    resources.delete(OWNER, &DeleteParams::default()).await?;
    bed.wait_until_ready("other").await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, OTHERS_PASSWORD));
    let (_, metrics) = operator.get("/metrics").await?;
    assert!(!metrics.contains(OWNER), "{metrics}");
    Ok(())
}

/// A newer version of the operator may have written what this one cannot decode. Going back must not hand accounts over.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_became_undecodable_keeps_its_account() -> Result<()> {
    let (bed, operator) = Testbed::start_with_operator(OPERATOR).await?;
    older_and_keeper(&bed).await?;
    let resources = without_schema(&bed).await?;
    let edit = |suspend| Patch::Merge(json!({ "spec": { "suspend": suspend } }));
    let parameters = PatchParams::default();
    resources
        .patch("keeper", &parameters, &edit(json!("yes")))
        .await?;
    operator.wait_for_log("cannot decode").await?;

    onto_the_kept_account(&bed).await?;
    bed.wait_for_reason("older", "Conflict").await?;
    bed.rotate("keepers-db", "Keeper#Password2").await?;
    bed.settle().await?;
    assert!(bed.rds.login(INSTANCE, ACCOUNT, "Keeper#Password1"));
    assert_eq!(resets(&bed), 2);

    resources
        .patch("keeper", &parameters, &edit(json!(false)))
        .await?;
    bed.wait_for_password("Keeper#Password2").await?;
    bed.wait_until_ready("keeper").await?;
    bed.wait_for_reason("older", "Conflict").await?;
    assert_eq!(resets(&bed), 3);
    let (_, metrics) = operator.get("/metrics").await?;
    assert!(!metrics.contains("undecodable_resources{"), "{metrics}");
    Ok(())
}

/// A resource that has reset the account, and one that came later.
async fn owner_and_other(bed: &Testbed, namespace: &str) -> Result<()> {
    if namespace != NAMESPACE {
        bed.create_namespace(namespace).await?;
    }
    create_secret_in(bed, namespace, "owners-db", OWNERS_PASSWORD).await?;
    let mut owner = bed.resource(OWNER, "owners-db");
    owner.metadata.namespace = Some(namespace.to_owned());
    bed.create(&owner).await?;
    bed.wait_for_in(namespace, OWNER, "ready", |resource| {
        reason(resource, "Ready") == Some("InSync")
    })
    .await?;
    bed.create_secret("others-db", OTHERS_PASSWORD).await?;
    bed.create(&bed.resource("other", "others-db")).await?;
    bed.wait_for_reason("other", "Conflict").await?;
    ensure!(bed.rds.login(INSTANCE, ACCOUNT, OWNERS_PASSWORD));
    Ok(())
}

async fn takes_over_once(bed: &Testbed, trigger: Trigger) -> Result<()> {
    let other = bed.wait_until_ready("other").await?;
    assert!(condition(&other, "Stalled").is_none());
    assert_eq!(last_trigger(&other), Some(trigger));
    bed.wait_for_password(OTHERS_PASSWORD).await?;
    bed.settle().await?;
    let history = bed.rds.password_history(INSTANCE, ACCOUNT);
    let history: Vec<&str> = history.iter().map(Password::expose).collect();
    assert_eq!(history, [OWNERS_PASSWORD, OTHERS_PASSWORD]);
    Ok(())
}

/// Two in sync: `older` keeps another account, `keeper` the one that the tests are about. The keeper is younger by the clock.
async fn older_and_keeper(bed: &Testbed) -> Result<()> {
    older(bed).await?;
    bed.create_secret("keepers-db", "Keeper#Password1").await?;
    bed.create(&bed.resource("keeper", "keepers-db")).await?;
    bed.wait_until_ready("keeper").await?;
    Ok(())
}

/// One that has reset an account of another instance, and is older than whatever is created then.
async fn older(bed: &Testbed) -> Result<()> {
    let account = Account::new(ACCOUNT, INITIAL_PASSWORD);
    bed.rds
        .add_instance(Instance::new("rm-old").account(account));
    bed.create_secret("olders-db", "Older#Password1").await?;
    let mut older = bed.resource("older", "olders-db");
    "rm-old".clone_into(&mut older.spec.instance_id);
    let older = bed.create(&older).await?;
    bed.wait_until_ready("older").await?;
    after_the_second_of(&older.metadata).await
}

async fn onto_the_kept_account(bed: &Testbed) -> Result<()> {
    bed.patch("older", json!({ "spec": { "instanceId": INSTANCE } }))
        .await?;
    Ok(())
}

/// Kubernetes keeps the time of creation in whole seconds: waits until what is created now is younger.
async fn after_the_second_of(metadata: &ObjectMeta) -> Result<()> {
    let created = metadata.creation_timestamp.as_ref().context("no time")?;
    let next = created.0.as_second() + 1;
    while Timestamp::now().as_second() < next {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// How often the cloud was asked for a reset, but for those of the settling.
fn resets(bed: &Testbed) -> usize {
    let resets = bed.resets();
    let settles = |account: Option<&str>| account == Some("settle");
    resets
        .iter()
        .filter(|call| !settles(call.account.as_deref()))
        .count()
}

fn last_trigger(resource: &DatabaseAccountPassword) -> Option<Trigger> {
    let reset = resource.status.as_ref()?.last_reset.as_ref()?;
    Some(reset.trigger)
}

fn resources_in(bed: &Testbed, namespace: &str) -> Api<DatabaseAccountPassword> {
    Api::namespaced(bed.client.clone(), namespace)
}

async fn create_secret_in(
    bed: &Testbed,
    namespace: &str,
    name: &str,
    password: &str,
) -> Result<()> {
    let value = ByteString(password.as_bytes().to_vec());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("password".to_owned(), value)])),
        ..Secret::default()
    };
    Api::namespaced(bed.client.clone(), namespace)
        .create(&PostParams::default(), &secret)
        .await?;
    Ok(())
}

async fn rotate_in(bed: &Testbed, namespace: &str, name: &str, password: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "stringData": { "password": password } }));
    Api::<Secret>::namespaced(bed.client.clone(), namespace)
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// The resources, after the definition was replaced by one that lets everything in, as that of another version might.
async fn without_schema(bed: &Testbed) -> Result<Api<DynamicObject>> {
    let definitions = Api::<CustomResourceDefinition>::all(bed.client.clone());
    let name = DatabaseAccountPassword::crd_name();
    let mut definition = definitions.get(name).await?;
    for version in &mut definition.spec.versions {
        version.schema = serde_json::from_value(json!({ "openAPIV3Schema": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        } }))?;
    }
    definitions
        .replace(name, &PostParams::default(), &definition)
        .await?;

    let kind = ApiResource::erase::<DatabaseAccountPassword>(&());
    let resources = Api::namespaced_with(bed.client.clone(), NAMESPACE, &kind);
    let mut trial = serde_json::to_value(bed.resource("trial", "trial"))?;
    trial["spec"]["suspend"] = json!("yes");
    let trial: DynamicObject = serde_json::from_value(trial)?;
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    // The API server takes a new schema into use when it has seen it.
    let in_use = async {
        while resources.create(&dry_run, &trial).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, in_use)
        .await
        .context("the definition without a schema is not in use")?;
    Ok(resources)
}

/// Waits until the metric and the log name the owner.
async fn told_of(operator: &Operator) -> Result<()> {
    let metric = format!(
        r#"rds_password_operator_undecodable_resources{{namespace="{NAMESPACE}",name="{OWNER}"}}"#
    );
    operator.wait_for_metric(&metric, 1.0).await?;
    operator.wait_for_log("cannot decode").await?;
    let log = operator.log();
    let told = log
        .lines()
        .any(|line| line.contains("cannot decode") && line.contains(OWNER));
    ensure!(told, "{log}");
    Ok(())
}
