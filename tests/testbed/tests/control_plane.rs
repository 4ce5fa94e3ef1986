//! The control plane of the tests is a real one, can be restarted, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use k8s_openapi::{
    api::{
        authentication::v1::TokenRequest,
        core::v1::{ConfigMap, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, Resource,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind, NamespaceResourceScope},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testbed::ControlPlane;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

const NAMESPACE: &str = "default";

/// Far longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the child of `ends_when_its_process_is_killed` says what it has started.
const CHILD_VARIABLE: &str = "TESTBED_CONTROL_PLANE_CHILD";

#[tokio::test]
async fn refuses_what_a_rule_of_a_custom_resource_forbids() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.client();
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let name = "bridges.test.example.com";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": name },
        "spec": {
            "group": "test.example.com",
            "scope": "Namespaced",
            "names": { "kind": "Bridge", "plural": "bridges", "singular": "bridge" },
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "properties": { "spec": {
                        "type": "object",
                        "properties": { "lanes": { "type": "integer" } },
                        "x-kubernetes-validations": [
                            { "rule": "self.lanes % 2 == 0", "message": "lanes come in pairs" },
                        ],
                    } },
                } },
            }],
        },
    });
    apply(&definitions, name, definition).await.unwrap();
    let established = await_condition(definitions, name, is_crd_established());
    timeout(PATIENCE, established).await.unwrap().unwrap();

    let kind = GroupVersionKind::gvk("test.example.com", "v1", "Bridge");
    let resource = ApiResource::from_gvk(&kind);
    let bridges = Api::<DynamicObject>::namespaced_with(client, NAMESPACE, &resource);
    let bridge = |lanes| {
        json!({
            "apiVersion": "test.example.com/v1",
            "kind": "Bridge",
            "metadata": { "name": "tower" },
            "spec": { "lanes": lanes },
        })
    };
    let refused = apply(&bridges, "tower", bridge(3)).await.unwrap_err();
    assert!(
        refused.to_string().contains("lanes come in pairs"),
        "{refused}"
    );
    let taken = apply(&bridges, "tower", bridge(4)).await.unwrap();
    assert_eq!(taken.data["spec"]["lanes"], 4);
}

#[tokio::test]
async fn a_restart_keeps_objects_tokens_and_port() {
    let mut control_plane = ControlPlane::start().await.unwrap();
    let admin = control_plane.client();
    create::<ConfigMap>(&admin, json!({ "metadata": { "name": "kept" } })).await;
    create::<ServiceAccount>(&admin, json!({ "metadata": { "name": "reader" } })).await;
    let token = Api::<ServiceAccount>::namespaced(admin.clone(), NAMESPACE)
        .create_token_request("reader", &PostParams::default(), &TokenRequest::default())
        .await
        .unwrap()
        .status
        .unwrap()
        .token;

    let mut config = admin_config(&control_plane).await;
    config.auth_info.token = Some(token.into());
    let reader = Client::try_from(config).unwrap();
    let read = async || {
        let config_maps = Api::<ConfigMap>::namespaced(reader.clone(), NAMESPACE);
        config_maps.get("kept").await
    };
    let denied = read().await.unwrap_err();
    assert!(
        matches!(&denied, kube::Error::Api(status) if status.is_forbidden()),
        "{denied}"
    );
    let role = json!({
        "metadata": { "name": "reader" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }],
    });
    create::<Role>(&admin, role).await;
    let binding = json!({
        "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": NAMESPACE }],
    });
    create::<RoleBinding>(&admin, binding).await;
    // The authorizer learns of it by a watch.
    wait_until(async || read().await.is_ok()).await;
    let uid = read().await.unwrap().metadata.uid.unwrap();

    let server = control_plane.server();
    control_plane.stop().unwrap();
    assert!(!answers(&server).await);
    control_plane.start_again().await.unwrap();
    assert_eq!(control_plane.server(), server);
    assert_eq!(read().await.unwrap().metadata.uid.unwrap(), uid);

    let audit_log = fs::read_to_string(control_plane.audit_log()).unwrap();
    let seen: Vec<(String, u64)> = audit_log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["user"]["username"] == "system:serviceaccount:default:reader")
        .map(|event| {
            let verb = event["verb"].as_str().unwrap().to_owned();
            (verb, event["responseStatus"]["code"].as_u64().unwrap())
        })
        .collect();
    assert!(seen.contains(&("get".to_owned(), 403)), "{seen:?}");
    assert_eq!(seen.last(), Some(&("get".to_owned(), 200)));
}

#[tokio::test]
async fn leaves_nothing_behind_when_dropped() {
    let control_plane = ControlPlane::start().await.unwrap();
    let server = control_plane.server();
    let directory: PathBuf = control_plane.kubeconfig().parent().unwrap().to_owned();
    assert!(answers(&server).await && directory.exists());
    drop(control_plane);
    assert!(!answers(&server).await && !directory.exists());
}

#[tokio::test]
async fn ends_when_its_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("started");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored"])
        .env(CHILD_VARIABLE, &report)
        // Its own temporary files have nobody to remove them.
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(async || report.exists() || child.try_wait().unwrap().is_some()).await;
    let server = fs::read_to_string(&report).unwrap();
    assert!(answers(&server).await);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(async || !answers(&server).await).await;
}

#[tokio::test]
#[ignore = "is the process that ends_when_its_process_is_killed kills"]
async fn child() {
    let report = env::var_os(CHILD_VARIABLE).unwrap();
    let report = Path::new(&report);
    let control_plane = ControlPlane::start().await.unwrap();
    let unfinished = report.with_extension("unfinished");
    fs::write(&unfinished, control_plane.server()).unwrap();
    fs::rename(unfinished, report).unwrap();
    std::future::pending::<()>().await;
}

async fn admin_config(control_plane: &ControlPlane) -> Config {
    let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap()
}

async fn apply<K>(api: &Api<K>, name: &str, object: Value) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let parameters = PatchParams::apply("test");
    api.patch(name, &parameters, &Patch::Apply(object)).await
}

async fn create<K>(client: &Client, object: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    let api = Api::<K>::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn answers(server: &str) -> bool {
    let address = server.trim_start_matches("https://");
    TcpStream::connect(address).await.is_ok()
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
}
