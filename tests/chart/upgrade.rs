//! An upgrade from the values and the definition of before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use testbed::bed::NAMESPACE;

use crate::cluster::Cluster;
use crate::rendered::RELEASE;
use crate::values::{chart, file, with};

const DEFINITION: &str = "databaseaccountpasswords.rds.password-operator.dev";

/// A field of the definition that an older one is without.
const NEWER_FIELD: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend";

/// Somebody keeps the values of the first version, all of them, and installed it when the kind had a field less.
#[tokio::test(flavor = "multi_thread")]
async fn the_definition_is_upgraded_and_resources_survive() -> Result<()> {
    let cluster = Cluster::start(&[NAMESPACE]).await?;
    let (bed, helm) = (&cluster.bed, &cluster.helm);
    let older = older_chart(helm.directory())?;
    let values = with(file("earlier")?, &json!({ "region": "cn-hangzhou" }));
    helm.install(RELEASE, &older, &values).await?;
    let definitions = Api::<CustomResourceDefinition>::all(bed.client.clone());
    let before = definitions.get(DEFINITION).await?;
    assert!(!has_newer_field(&before)?);
    let resource = bed.create(&bed.resource("orders-app", "orders-db")).await?;

    helm.upgrade(RELEASE, chart(), &values).await?;
    let after = definitions.get(DEFINITION).await?;
    assert!(has_newer_field(&after)?);
    assert_eq!(after.uid(), before.uid(), "it was never deleted");
    let kept = bed.resources().get("orders-app").await?;
    assert_eq!(kept.uid(), resource.uid());
    assert_eq!(kept.spec, resource.spec);
    // Served at once, by the same API server.
    let suspended = bed
        .patch("orders-app", json!({ "spec": { "suspend": true } }))
        .await?;
    ensure!(suspended.spec.suspend, "the field is not stored");

    // What the values say is what runs: without an upgrade of theirs, nothing rolls.
    let deployments = Api::<Deployment>::namespaced(bed.client.clone(), RELEASE.namespace);
    let generation = deployments.get(RELEASE.name).await?.metadata.generation;
    helm.upgrade(RELEASE, chart(), &values).await?;
    assert_eq!(
        deployments.get(RELEASE.name).await?.metadata.generation,
        generation
    );
    let more = with(values, &json!({ "rds": { "queriesPerSecond": 77 } }));
    helm.upgrade(RELEASE, chart(), &more).await?;
    let deployment = serde_json::to_value(deployments.get(RELEASE.name).await?)?;
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = arguments.as_array().context("no arguments")?;
    ensure!(arguments.contains(&json!("--rds-qps=77")), "{arguments:?}");
    Ok(())
}

fn has_newer_field(definition: &CustomResourceDefinition) -> Result<bool> {
    Ok(serde_json::to_value(definition)?
        .pointer(NEWER_FIELD)
        .is_some())
}

/// A copy of the chart whose definition is without the field.
fn older_chart(directory: &Path) -> Result<PathBuf> {
    let copy = directory.join("older-chart");
    copy_directory(&chart(), &copy)?;
    let path = copy.join("files/databaseaccountpasswords.yaml");
    let text = fs::read_to_string(&path)?;
    let mut definition: Value = serde_yaml_ng::from_str(&text)?;
    let (parent, field) = NEWER_FIELD.rsplit_once('/').context("no parent")?;
    definition
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .context("no such place in the definition")?
        .remove(field)
        .context("no such field in the definition")?;
    fs::write(&path, serde_yaml_ng::to_string(&definition)?)?;
    Ok(copy)
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_directory(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
