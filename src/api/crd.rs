//! The CustomResourceDefinition as `kubectl apply` takes it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::DatabaseAccountPassword;

/// The CustomResourceDefinition of `DatabaseAccountPassword`.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = DatabaseAccountPassword::crd();
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            // A new object has no status, and kstatus takes an object without one for Current. With a generation that cannot
            // match it is InProgress until the operator has looked.
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
        }
    }
    crd
}

/// [`crd`] as YAML: the content of `crds/databaseaccountpasswords.yaml`.
///
/// # Errors
/// When the definition cannot be rendered, which would be a fault of the types in this module.
pub fn crd_yaml() -> Result<String, serde_yaml_ng::Error> {
    serde_yaml_ng::to_string(&crd())
}
