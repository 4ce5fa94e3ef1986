//! A node that runs no containers.

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// The one node that there is.
pub const NODE: &str = "node-1";

/// Says of each pod what a scheduler and a kubelet say of one whose containers run and pass their probes: it is bound to
/// the node, it is ready, and when it is deleted it is gone at once. So Deployments become available. Ends when dropped.
pub struct Node {
    task: JoinHandle<()>,
}

impl Node {
    /// Adds the node to the cluster.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn join(client: Client) -> Result<Self> {
        let node: NodeObject = serde_json::from_value(json!({ "metadata": { "name": NODE } }))?;
        Api::<NodeObject>::all(client.clone())
            .create(&PostParams::default(), &node)
            .await?;
        let task = tokio::spawn(async move {
            let pods = Api::<Pod>::all(client.clone());
            let mut pods = watcher(pods, watcher::Config::default())
                .default_backoff()
                .applied_objects()
                .boxed();
            loop {
                // A watch that fails begins anew, and so does a pod that could not be written: its next event comes.
                if let Ok(Some(pod)) = pods.try_next().await {
                    let _ = answer(&client, &pod).await;
                }
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(client: &Client, pod: &Pod) -> Result<()> {
    let name = pod.name_any();
    let pods = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    if pod.metadata.deletion_timestamp.is_some() {
        pods.delete(&name, &DeleteParams::default().grace_period(0))
            .await?;
        return Ok(());
    }
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.node_name.is_none() {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "name": name },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        let _: Value = pods
            .create_subresource("binding", &name, &PostParams::default(), &binding)
            .await?;
        // The binding is a change of the pod, so it is seen again.
        return Ok(());
    }
    if pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        != Some("Pending")
    {
        return Ok(());
    }
    let now = Timestamp::now();
    let condition = |type_| json!({ "type": type_, "status": "True", "lastTransitionTime": now });
    let containers = spec.containers.iter().map(|container| {
        json!({
            "name": container.name,
            "image": container.image,
            "imageID": "",
            "ready": true,
            "started": true,
            "restartCount": 0,
            "state": { "running": { "startedAt": now } },
        })
    });
    // Nobody connects to it.
    let address = format!("10.0.{}.{}", rand::random::<u8>(), rand::random::<u8>());
    let conditions = ["Initialized", "Ready", "ContainersReady"].map(condition);
    let status = json!({ "status": {
        "phase": "Running",
        "startTime": now,
        "hostIP": "127.0.0.1",
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "conditions": conditions,
        "containerStatuses": containers.collect::<Vec<_>>(),
    } });
    pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    Ok(())
}
