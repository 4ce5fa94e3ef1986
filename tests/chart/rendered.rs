//! What the chart renders.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use testbed::Helm;
use testbed::helm::Release;

use crate::values::chart;

/// The release that the tests install: its objects are named as those of `deploy/`.
pub(crate) const RELEASE: Release<'static> = Release {
    name: "rds-password-operator",
    namespace: "rds-password-operator",
};

/// All objects that are rendered.
pub(crate) struct Rendered(pub(crate) Vec<DynamicObject>);

impl Rendered {
    pub(crate) async fn with(helm: &Helm, values: &Value) -> Result<Self> {
        let text = helm.template(RELEASE, &chart(), values).await?;
        let mut objects = Vec::new();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let value = Value::deserialize(document)?;
            // What is left of a template with nothing but a comment in it.
            if !value.is_null() {
                objects.push(serde_json::from_value(value)?);
            }
        }
        Ok(Self(objects))
    }

    /// The objects of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &DynamicObject> {
        self.0.iter().filter(move |object| {
            let types = object.types.as_ref();
            types.is_some_and(|types| types.kind == kind)
        })
    }

    /// The first object of a kind, for kinds that have one.
    pub(crate) fn only<K: DeserializeOwned>(&self, kind: &str) -> Result<K> {
        let object = self.of_kind(kind).next();
        let object = object.with_context(|| format!("no {kind} is rendered"))?;
        Ok(serde_json::from_value(serde_json::to_value(object)?)?)
    }

    /// Kind and name of all objects, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.iter().map(name_of).collect();
        names.sort();
        names
    }

    /// The pods of the Deployment.
    pub(crate) fn pod_template(&self) -> Result<PodTemplateSpec> {
        let deployment: Deployment = self.only("Deployment")?;
        Ok(deployment.spec.context("no spec")?.template)
    }

    /// The operator's container.
    pub(crate) fn container(&self) -> Result<Container> {
        let spec = self.pod_template()?.spec.context("a pod without spec")?;
        spec.containers.into_iter().next().context("no container")
    }
}

/// `Kind/name`, and the namespace where there is one.
pub(crate) fn name_of(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("", |types| &types.kind);
    let name = object.name_any();
    match object.namespace() {
        Some(namespace) => format!("{kind}/{name} in {namespace}"),
        None => format!("{kind}/{name}"),
    }
}
