//! Installs the operator as a user does: the definition and the rights that are kept in the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, pinned_kind};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::json;

use crate::operator::PATIENCE;

/// The namespace and the name that `deploy/` installs under.
pub const OPERATOR: &str = "rds-password-operator";

/// The definition, and the one name in it.
pub const CRD_FILE: &str = "crds/databaseaccountpasswords.yaml";
const CRD_NAME: &str = "databaseaccountpasswords.rds.password-operator.dev";

/// The rights of the operator's ServiceAccount.
pub const RBAC_FILE: &str = "deploy/rbac.yaml";

/// A file of the repository.
#[must_use]
pub fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// Applies the definition and waits until it is served.
///
/// # Errors
/// When the API server refuses it.
pub async fn install_crd(client: &Client) -> Result<()> {
    apply_file(client, &repository_file(CRD_FILE)).await?;
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let established = await_condition(crds, CRD_NAME, is_crd_established());
    tokio::time::timeout(PATIENCE, established)
        .await
        .context("the definition is not served")??;
    Ok(())
}

/// Applies the namespace, the ServiceAccount and its rights.
///
/// # Errors
/// When the API server refuses them.
pub async fn install_rbac(client: &Client) -> Result<()> {
    apply_file(client, &repository_file(RBAC_FILE)).await
}

/// Applies all objects of a file, as `kubectl apply --server-side` does.
///
/// # Errors
/// When one of them is refused.
pub async fn apply_file(client: &Client, path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let object = DynamicObject::deserialize(document)?;
        apply(client, &object)
            .await
            .with_context(|| format!("{} of {}", object.name_any(), path.display()))?;
    }
    Ok(())
}

async fn apply(client: &Client, object: &DynamicObject) -> Result<()> {
    let types: TypeMeta = object.types.clone().context("an object without kind")?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
        (Scope::Namespaced, namespace) => Api::namespaced_with(
            client.clone(),
            namespace.as_deref().unwrap_or("default"),
            &resource,
        ),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    let parameters = PatchParams::apply("testbed").force();
    api.patch(&object.name_any(), &parameters, &Patch::Apply(object))
        .await?;
    Ok(())
}

/// Writes a kubeconfig for a ServiceAccount, with a token that the API server issues.
///
/// # Errors
/// When there is no token, or the file cannot be written.
pub async fn write_kubeconfig(
    client: &Client,
    (namespace, service_account): (&str, &str),
    (server, certificate_authority): (&str, Option<&Path>),
    path: &Path,
) -> Result<()> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let issued = accounts
        .create_token_request(service_account, &PostParams::default(), &request)
        .await?;
    let token = issued
        .status
        .context("a token request without a token")?
        .token;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "operator",
        "contexts": [{
            "name": "operator",
            "context": { "cluster": "operator", "user": "operator", "namespace": namespace },
        }],
        "clusters": [{
            "name": "operator",
            "cluster": { "server": server, "certificate-authority": certificate_authority },
        }],
        "users": [{ "name": "operator", "user": { "token": token } }],
    });
    fs::write(path, config.to_string())?;
    Ok(())
}
