//! A cluster as the chart finds it, and what is said about all of its objects.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde_json::json;
use testbed::bed::{ACCESS_KEY_ID, ACCESS_KEY_SECRET};
use testbed::{Helm, Node, Testbed, install};

use crate::OPERATOR;
use crate::rendered::{RELEASE, Rendered, name_of};

/// A namespace where a pod may be anything, and one of these tests is.
pub(crate) const PRIVILEGED: &str = "privileged";

/// The Secret with the operator's AccessKey.
pub(crate) const ACCESS_KEY: &str = "access-key";

/// An API server with controllers, a node, Helm, and the namespace that the chart is installed in, where pods have to be
/// restricted.
pub(crate) struct Cluster {
    pub(crate) bed: Testbed,
    pub(crate) helm: Helm,
    _node: Node,
}

impl Cluster {
    pub(crate) async fn start(namespaces: &[&str]) -> Result<Self> {
        let bed = Testbed::start_with_controllers(OPERATOR).await?;
        let node = Node::join(bed.client.clone()).await?;
        let enforce = |level: &str| {
            BTreeMap::from([(
                "pod-security.kubernetes.io/enforce".to_owned(),
                level.to_owned(),
            )])
        };
        let restricted = enforce("restricted");
        create_namespace(&bed, RELEASE.namespace, restricted).await?;
        create_namespace(&bed, PRIVILEGED, enforce("privileged")).await?;
        for namespace in namespaces {
            create_namespace(&bed, namespace, BTreeMap::new()).await?;
        }
        let key: Secret = serde_json::from_value(json!({
            "metadata": { "name": ACCESS_KEY },
            "stringData": { "accessKeyId": ACCESS_KEY_ID, "accessKeySecret": ACCESS_KEY_SECRET },
        }))?;
        Api::namespaced(bed.client.clone(), RELEASE.namespace)
            .create(&PostParams::default(), &key)
            .await?;
        Ok(Self {
            helm: Helm::on(&bed.control_plane).await?,
            bed,
            _node: node,
        })
    }

    /// The API server takes every object, with no field that it does not know, and the pod too.
    pub(crate) async fn validate(&self, rendered: &Rendered, namespace: &str) -> Result<()> {
        for object in &rendered.0 {
            install::validate(&self.bed.client, object)
                .await
                .with_context(|| name_of(object))?;
        }
        self.create_pod(rendered, namespace, |_| {}).await
    }

    /// Has the pod of the Deployment admitted, without storing it.
    pub(crate) async fn create_pod(
        &self,
        rendered: &Rendered,
        namespace: &str,
        change: impl FnOnce(&mut Pod),
    ) -> Result<()> {
        let template = rendered.pod_template()?;
        let mut pod = Pod {
            metadata: template.metadata.unwrap_or_default(),
            spec: template.spec,
            ..Pod::default()
        };
        pod.metadata.name = Some("dry-run".to_owned());
        if let Some(spec) = &mut pod.spec
            && namespace != RELEASE.namespace
        {
            spec.service_account_name = None;
            // That account's default is to mount a token, and this one's to wait for it.
            spec.automount_service_account_token = Some(false);
        }
        change(&mut pod);
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pods = Api::<Pod>::namespaced(self.bed.client.clone(), namespace);
        pods.create(&dry_run, &pod).await?;
        Ok(())
    }
}

async fn create_namespace(
    bed: &Testbed,
    name: &str,
    labels: BTreeMap<String, String>,
) -> Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    Api::all(bed.client.clone())
        .create(&PostParams::default(), &namespace)
        .await?;
    Ok(())
}

/// Names of objects, in order.
pub(crate) fn names<'a, K: kube::Resource + 'a>(
    objects: impl IntoIterator<Item = &'a K>,
) -> Vec<String> {
    let mut names: Vec<String> = objects.into_iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}
