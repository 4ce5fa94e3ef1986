//! Resources in the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::Value;
use testbed::Testbed;
use testbed::bed::NAMESPACE;
use testbed::install::repository_file;

use crate::OPERATOR;

pub(crate) const RECIPES: &str = "docs/recipes.md";

/// The API groups of other projects, whose definitions this repository does not have.
const FOREIGN: [&str; 8] = [
    "alibabacloud.com",
    "argoproj.io",
    "external-secrets.io",
    "generators.external-secrets.io",
    "helm.toolkit.fluxcd.io",
    "kustomize.config.k8s.io",
    "kustomize.toolkit.fluxcd.io",
    "source.toolkit.fluxcd.io",
];

/// What is certainly in the recipes, so that nobody has to wonder whether anything was checked.
const CHECKED: [&str; 7] = [
    "ConfigMap",
    "CronJob",
    "DatabaseAccountPassword",
    "Deployment",
    "Role",
    "RoleBinding",
    "ServiceAccount",
];

/// The documents of a page's blocks of YAML.
pub(crate) fn documents(page: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(repository_file(page)).with_context(|| page.to_owned())?;
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    blocks
        .flat_map(serde_yaml_ng::Deserializer::from_str)
        .map(|document| Value::deserialize(document).with_context(|| page.to_owned()))
        .collect()
}

/// The one document of this kind and name in the recipes.
pub(crate) fn document(kind: &str, name: &str) -> Result<Value> {
    let mut found: Vec<Value> = documents(RECIPES)?
        .into_iter()
        .filter(|document| document["kind"] == kind && document["metadata"]["name"] == name)
        .collect();
    ensure!(found.len() == 1, "{} of {kind} {name}", found.len());
    found.pop().context("one was there")
}

/// Applies a resource as `kubectl apply --server-side --validate=strict` does.
pub(crate) async fn apply(client: &Client, document: &Value, dry_run: bool) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(document.clone())?;
    let types = object.types.as_ref().context("a resource without kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (kind, capabilities) = pinned_kind(client, &kind).await?;
    let api = api(client, &kind, &capabilities.scope, &object);
    let parameters = PatchParams {
        dry_run,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("recipes")
    };
    api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
        .await
        .with_context(|| format!("{document:#}"))?;
    Ok(())
}

fn api(
    client: &Client,
    kind: &ApiResource,
    scope: &Scope,
    object: &DynamicObject,
) -> Api<DynamicObject> {
    match (scope, object.namespace()) {
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), &namespace, kind)
        }
        (Scope::Namespaced, None) => Api::namespaced_with(client.clone(), NAMESPACE, kind),
        (Scope::Cluster, _) => Api::all_with(client.clone(), kind),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_resource_of_the_documentation() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let mut namespaces = BTreeSet::from([NAMESPACE.to_owned()]);
    let mut checked = BTreeMap::<String, usize>::new();
    let mut pages = vec!["README.md".to_owned()];
    for page in fs::read_dir(repository_file("docs"))? {
        let page = page?;
        if page.file_type()?.is_file() {
            pages.push(format!("docs/{}", page.file_name().to_string_lossy()));
        }
    }
    for page in pages {
        for document in documents(&page)? {
            // A part of a resource, or a file of another kind.
            let (Some(version), Some(kind)) =
                (document["apiVersion"].as_str(), document["kind"].as_str())
            else {
                continue;
            };
            let group = version.split_once('/').map_or("", |(group, _)| group);
            if FOREIGN.contains(&group) {
                continue;
            }
            if let Some(namespace) = document["metadata"]["namespace"].as_str()
                && namespaces.insert(namespace.to_owned())
            {
                bed.create_namespace(namespace).await?;
            }
            apply(&bed.client, &document, true)
                .await
                .with_context(|| page.clone())?;
            *checked.entry(kind.to_owned()).or_default() += 1;
        }
    }
    for kind in CHECKED {
        assert!(checked.contains_key(kind), "no {kind}, but {checked:?}");
    }
    Ok(())
}
