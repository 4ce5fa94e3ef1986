//! Users of the cluster, what they are allowed, and how they are refused.

use std::fmt::Debug;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use rds_password_operator::api::{API_GROUP, DatabaseAccountPassword, REQUESTED_AT_ANNOTATION};
use serde_json::{Value, json};
use testbed::bed::NAMESPACE;
use testbed::{Testbed, wait_until};

/// The Secret that the resources of these tests name.
pub(crate) const SECRET: &str = "orders-db";

/// What somebody may be allowed to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// `resource` or `resource/subresource`.
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
}

pub(crate) const fn reset(instance: &str) -> Right<'_> {
    Right {
        verb: "reset",
        group: API_GROUP,
        resource: "rdsinstances",
        name: instance,
    }
}

pub(crate) const fn get_secret(name: &str) -> Right<'_> {
    Right {
        verb: "get",
        group: "",
        resource: "secrets",
        name,
    }
}

pub(crate) const fn create_token(service_account: &str) -> Right<'_> {
    Right {
        verb: "create",
        group: "",
        resource: "serviceaccounts/token",
        name: service_account,
    }
}

/// A user who may do with resources what `edit` allows.
pub(crate) struct Person<'a> {
    bed: &'a Testbed,
    name: &'a str,
    pub(crate) client: Client,
}

impl<'a> Person<'a> {
    pub(crate) async fn new(bed: &'a Testbed, name: &'a str) -> Result<Self> {
        let client = bed.control_plane.client_as(name, &[]).await?;
        let person = Self { bed, name, client };
        for role in ["rds-password-operator-view", "rds-password-operator-edit"] {
            person.bind("ClusterRole", role, NAMESPACE).await?;
        }
        for verb in ["get", "deletecollection"] {
            let right = Right {
                verb,
                group: API_GROUP,
                resource: "databaseaccountpasswords",
                name: "",
            };
            wait_until_allowed(&person.client, NAMESPACE, right).await?;
        }
        Ok(person)
    }

    /// With rights in the tests' namespace.
    pub(crate) async fn with(
        bed: &'a Testbed,
        name: &'a str,
        rights: &[Right<'_>],
    ) -> Result<Self> {
        let person = Self::new(bed, name).await?;
        for &right in rights {
            person.grant(right).await?;
        }
        Ok(person)
    }

    pub(crate) async fn grant(&self, right: Right<'_>) -> Result<()> {
        self.grant_in(NAMESPACE, right).await
    }

    /// Grants a right and waits until the API server knows.
    pub(crate) async fn grant_in(&self, namespace: &str, right: Right<'_>) -> Result<()> {
        let name = self.role_name(right);
        let role = role(&name, right)?;
        // It is still there where the right was taken away before.
        Api::<Role>::namespaced(self.bed.client.clone(), namespace)
            .entry(&name)
            .await?
            .or_insert(|| role)
            .commit(&PostParams::default())
            .await?;
        self.bind("Role", &name, namespace).await?;
        wait_until_allowed(&self.client, namespace, right).await
    }

    /// Takes a right away again, and waits until the API server knows.
    pub(crate) async fn revoke(&self, right: Right<'_>) -> Result<()> {
        let binding = self.binding_name(&self.role_name(right));
        Api::<RoleBinding>::namespaced(self.bed.client.clone(), NAMESPACE)
            .delete(&binding, &DeleteParams::default())
            .await?;
        wait_until(format!("{right:?} is revoked"), async || {
            Ok(!is_allowed(&self.client, NAMESPACE, right).await?)
        })
        .await
    }

    fn role_name(&self, right: Right<'_>) -> String {
        format!("{}-{}-{}", self.name, right.verb, right.name)
    }

    fn binding_name(&self, role: &str) -> String {
        format!("{}-{role}", self.name)
    }

    pub(crate) async fn bind(&self, kind: &str, role: &str, namespace: &str) -> Result<()> {
        let name = self.binding_name(role);
        let subject = json!({
            "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.name,
        });
        bind(&self.bed.client, namespace, &name, (kind, role), &subject).await
    }

    pub(crate) fn resources(&self) -> Api<DatabaseAccountPassword> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) async fn create(&self, resource: &DatabaseAccountPassword) -> Answer {
        self.resources()
            .create(&PostParams::default(), resource)
            .await
    }

    pub(crate) async fn replace(&self, resource: &DatabaseAccountPassword) -> Answer {
        self.resources()
            .replace(&resource.name_any(), &PostParams::default(), resource)
            .await
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.resources()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// As `kubectl apply --server-side --force-conflicts` does.
    pub(crate) async fn apply(&self, resource: &DatabaseAccountPassword) -> Answer {
        let mut resource = resource.clone();
        resource.metadata.managed_fields = None;
        resource.metadata.resource_version = None;
        self.resources()
            .patch(
                &resource.name_any(),
                &PatchParams::apply(self.name).force(),
                &Patch::Apply(&resource),
            )
            .await
    }

    pub(crate) async fn merge(&self, name: &str, patch: &Value) -> Answer {
        self.resources()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// The sentence that tells this person which right they lack.
    pub(crate) fn lacks(&self, right: Right<'_>) -> String {
        lacks(self.name, right)
    }
}

pub(crate) type Answer = kube::Result<DatabaseAccountPassword>;

pub(crate) fn lacks(user: &str, right: Right<'_>) -> String {
    let Right {
        verb,
        group,
        resource,
        name,
    } = right;
    let group = match group {
        "" => String::new(),
        group => format!(" of the API group \"{group}\""),
    };
    format!(
        "denied request: user \"{user}\" needs the verb \"{verb}\" on the resource \"{resource}\"{group} with the name \"{name}\" \
         in namespace \"{NAMESPACE}\""
    )
}

/// The API server forbids it, and says why.
pub(crate) fn ensure_refused<T: Debug>(
    answer: kube::Result<T>,
    sentence: &str,
    what: impl Debug,
) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) => {
            ensure!(
                status.code == 403 && status.message.contains(sentence),
                "{what:?} is refused, but not with {sentence:?}: {status:#?}"
            );
            Ok(())
        }
        answer => bail!("{what:?} is not refused: {answer:#?}"),
    }
}

pub(crate) fn role(name: &str, right: Right<'_>) -> Result<Role> {
    Ok(serde_json::from_value(json!({
        "metadata": { "name": name },
        "rules": [{
            "apiGroups": [right.group],
            "resources": [right.resource],
            "resourceNames": [right.name],
            "verbs": [right.verb],
        }],
    }))?)
}

pub(crate) async fn bind(
    client: &Client,
    namespace: &str,
    name: &str,
    (kind, role): (&str, &str),
    subject: &Value,
) -> Result<()> {
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [subject],
    }))?;
    Api::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &binding)
        .await?;
    Ok(())
}

/// The API server's authorizer learns of Roles through a watch.
pub(crate) async fn wait_until_allowed(
    client: &Client,
    namespace: &str,
    right: Right<'_>,
) -> Result<()> {
    wait_until(format!("{right:?} in {namespace}"), async || {
        is_allowed(client, namespace, right).await
    })
    .await
}

pub(crate) async fn is_allowed(client: &Client, namespace: &str, right: Right<'_>) -> Result<bool> {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource)),
        None => (right.resource, None),
    };
    let question: SelfSubjectAccessReview = serde_json::from_value(json!({
        "spec": { "resourceAttributes": {
            "namespace": namespace,
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "name": right.name,
        } },
    }))?;
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &question)
        .await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// A resource that names the cloud identity to use.
pub(crate) fn with_credentials(
    mut resource: DatabaseAccountPassword,
    credentials: Value,
) -> Result<DatabaseAccountPassword> {
    resource.spec.credentials = Some(serde_json::from_value(credentials)?);
    Ok(resource)
}

pub(crate) fn request(value: impl Into<Value>) -> Value {
    let value: Value = value.into();
    json!({ "metadata": { "annotations": { REQUESTED_AT_ANNOTATION: value } } })
}
