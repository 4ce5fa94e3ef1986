//! What kustomize makes of a generated Secret and of the resource that refers to it, and of `deploy/`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::crd_yaml;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::bed::INSTANCE;
use testbed::install::repository_file;
use testbed::{Testbed, kustomize};

use crate::OPERATOR;
use crate::examples::{RECIPES, apply, documents};

/// The component, as the recipe names it.
const COMPONENT: &str =
    "https://github.com/rds-password-operator/rds-password-operator//deploy/kustomize?ref=<tag>";

const RESOURCE: &str = "DatabaseAccountPassword";

/// The kustomization of the recipe, with the component of this working copy beside it.
fn recipe() -> Result<Value> {
    let mut found = documents(RECIPES)?
        .into_iter()
        .filter(|document| document["apiVersion"] == "kustomize.config.k8s.io/v1beta1");
    let mut kustomization = found.next().context("no kustomization in the recipes")?;
    assert_eq!(kustomization["components"], json!([COMPONENT]));
    kustomization["components"] = json!(["../component"]);
    Ok(kustomization)
}

/// The resource that goes with every recipe.
fn resource() -> Result<Value> {
    let mut found = documents(RECIPES)?
        .into_iter()
        .filter(|document| document["kind"] == RESOURCE);
    let mut resource = found.next().context("no resource in the recipes")?;
    assert_eq!(resource["spec"]["passwordSecretRef"]["name"], "orders-db");
    resource["spec"]["instanceId"] = INSTANCE.into();
    Ok(resource)
}

/// Directories with a kustomization each, beside the component.
fn directories(all: &[(&str, &Value)], resource: (&str, &Value)) -> Result<TempDir> {
    let root = tempfile::tempdir()?;
    copy(
        &repository_file("deploy/kustomize"),
        &root.path().join("component"),
    )?;
    for (name, kustomization) in all {
        let directory = root.path().join(name);
        fs::create_dir(&directory)?;
        fs::write(
            directory.join("kustomization.yaml"),
            kustomization.to_string(),
        )?;
        fs::write(
            directory.join("orders-db.env"),
            "password=Generated#Password1\n",
        )?;
        fs::write(directory.join("team-key.env"), "accessKeyId=testid\n")?;
    }
    let (directory, resource) = resource;
    let file = root.path().join(directory).join("orders-app.yaml");
    fs::write(file, resource.to_string())?;
    Ok(root)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The name of the one resource of this kind whose name begins so.
fn name_of(built: &[Value], kind: &str, beginning: &str) -> Result<String> {
    let names: Vec<&str> = built
        .iter()
        .filter(|object| object["kind"] == kind)
        .filter_map(|object| object["metadata"]["name"].as_str())
        .filter(|name| name.starts_with(beginning))
        .collect();
    ensure!(names.len() == 1, "{kind} {beginning}: {names:?}");
    Ok(names[0].to_owned())
}

fn only<'a>(built: &'a [Value], kind: &str) -> Result<&'a Value> {
    let found = built.iter().find(|object| object["kind"] == kind);
    found.with_context(|| format!("no {kind} in {built:?}"))
}

/// The recipe to the letter, through to the database.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_finds_a_generated_secret() -> Result<()> {
    let (bed, _operator) = Testbed::start_with_operator(OPERATOR).await?;
    let resource = resource()?;
    let root = directories(&[("shop", &recipe()?)], ("shop", &resource))?;
    let shop = root.path().join("shop");
    let built = tokio::task::spawn_blocking(move || kustomize::build(&shop)).await??;
    for object in &built {
        apply(&bed.client, object, false).await?;
    }
    bed.wait_until_ready("orders-app").await?;
    bed.wait_for_password("Generated#Password1").await?;
    Ok(())
}

/// The resource is in a base that knows nothing of the component, and the overlay generates all that it refers to.
#[tokio::test]
async fn references_of_a_resource_in_a_base() -> Result<()> {
    let mut resource = resource()?;
    resource["spec"]["credentials"] = json!({ "secretRef": { "name": "team-key" } });
    let base = json!({ "resources": ["orders-app.yaml"] });
    let mut overlay = recipe()?;
    overlay["resources"] = json!(["../base"]);
    overlay["namePrefix"] = json!("test-");
    overlay["secretGenerator"]
        .as_array_mut()
        .context("no generator")?
        .push(json!({ "name": "team-key", "envs": ["team-key.env"] }));
    let root = directories(
        &[("base", &base), ("overlay", &overlay)],
        ("base", &resource),
    )?;
    let built = kustomize::build(&root.path().join("overlay"))?;
    let spec = &only(&built, RESOURCE)?["spec"];
    let password = name_of(&built, "Secret", "test-orders-db-")?;
    assert_eq!(spec["passwordSecretRef"]["name"], password);
    let key = name_of(&built, "Secret", "test-team-key-")?;
    assert_eq!(spec["credentials"]["secretRef"]["name"], key);
    Ok(())
}

/// Resource, Secret and component are in a base, and an overlay that knows nothing of them gives it a prefix.
#[tokio::test]
async fn references_under_a_prefix() -> Result<()> {
    let mut resource = resource()?;
    resource["spec"]["credentials"] = json!({ "serviceAccountName": "shop-rds" });
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "shop-rds" },
    });
    let mut base = recipe()?;
    base["resources"] = json!(["orders-app.yaml", "account.yaml"]);
    let overlay = json!({ "namePrefix": "test-", "resources": ["../base"] });
    let root = directories(
        &[("base", &base), ("overlay", &overlay)],
        ("base", &resource),
    )?;
    fs::write(root.path().join("base/account.yaml"), account.to_string())?;
    let built = kustomize::build(&root.path().join("overlay"))?;
    let spec = &only(&built, RESOURCE)?["spec"];
    let password = name_of(&built, "Secret", "test-orders-db-")?;
    assert_eq!(spec["passwordSecretRef"]["name"], password);
    assert_eq!(spec["credentials"]["serviceAccountName"], "test-shop-rds");
    Ok(())
}

/// Every field of the definition that names a Secret or a ServiceAccount is in the component.
#[test]
fn the_component_has_every_reference() -> Result<()> {
    let definition: Value = serde_yaml_ng::from_str(&crd_yaml()?)?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut references = BTreeSet::new();
    collect(&schema["properties"]["spec"], "spec", &mut references);
    ensure!(references.len() >= 3, "{references:?}");

    let text = fs::read_to_string(repository_file("deploy/kustomize/references.yaml"))?;
    let component: Value = serde_yaml_ng::from_str(&text)?;
    let group = &definition["spec"]["group"];
    let mut known = BTreeSet::new();
    for referred in component["nameReference"].as_array().into_iter().flatten() {
        for field in referred["fieldSpecs"].as_array().into_iter().flatten() {
            assert_eq!((&field["group"], &field["kind"]), (group, &json!(RESOURCE)));
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let kind = text(&referred["kind"]).context("no kind")?;
            known.insert((kind, text(&field["path"]).context("no path")?));
        }
    }
    assert_eq!(references, known);
    Ok(())
}

/// The fields below `schema` that name another object, each with the kind of that, by the names that Kubernetes gives such fields.
fn collect(schema: &Value, path: &str, references: &mut BTreeSet<(String, String)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        if name.to_lowercase().ends_with("secretref") {
            references.insert(("Secret".to_owned(), format!("{path}/name")));
        } else if name == "serviceAccountName" {
            references.insert(("ServiceAccount".to_owned(), path.clone()));
        }
        collect(property, &path, references);
    }
}

/// Each has the resources of its files, and kustomize finds nothing wrong with them.
#[tokio::test]
async fn deploy_builds() -> Result<()> {
    for directory in ["deploy", "deploy/monitoring"] {
        let built = kustomize::build(&repository_file(directory))?;
        let file = repository_file(&format!("{directory}/kustomization.yaml"));
        let kustomization: Value = serde_yaml_ng::from_str(&fs::read_to_string(file)?)?;
        let mut written = 0;
        for name in kustomization["resources"].as_array().into_iter().flatten() {
            let name = name.as_str().context("a resource without a name")?;
            let file = repository_file(&format!("{directory}/{name}"));
            let text = fs::read_to_string(file)?;
            written += text
                .lines()
                .filter(|line| line.starts_with("kind: "))
                .count();
        }
        ensure!(written > 0);
        assert_eq!(built.len(), written, "{directory}");
    }
    Ok(())
}

/// The overlay works where its head says that it does: copied beside `deploy`.
#[tokio::test]
async fn the_overlay_builds() -> Result<()> {
    let root = tempfile::tempdir()?;
    symlink(
        repository_file("deploy").canonicalize()?,
        root.path().join("deploy"),
    )?;
    let overlay = root.path().join("overlay");
    copy(&repository_file("deploy/samples/overlay"), &overlay)?;
    let built = kustomize::build(&overlay)?;
    let container = &only(&built, "Deployment")?["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["image"],
        "registry.example.com/rds-password-operator:0.1.0"
    );
    let environment = container["env"].as_array().context("no variables")?;
    ensure!(
        environment.contains(&json!({ "name": "ALIBABA_CLOUD_REGION_ID", "value": "cn-shanghai" }))
    );
    Ok(())
}
