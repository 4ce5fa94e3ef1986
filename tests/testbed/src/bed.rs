//! A cluster with the operator installed, a cloud with one instance, and the words that tests speak in.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt as _};
use rds_password_operator::api::{
    CredentialsReference, DatabaseAccountPassword, DatabaseAccountPasswordSpec, PasswordSecretRef,
    REQUESTED_AT_ANNOTATION,
};
use rds_password_operator::leader::SHARED_FOR;
use rds_simulator::{AccessKey, Account, Action, Call, Instance, RdsSimulator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::ControlPlane;
use crate::audit::{Audit, Request};
use crate::install::{self, OPERATOR};
use crate::operator::{Operator, OperatorBuilder, PATIENCE, POLL};
use crate::proxy::ApiProxy;

/// The namespace of the tests' own objects.
pub const NAMESPACE: &str = "shop";

/// The instance that is there from the start, its account, and the password that this has at first.
pub const INSTANCE: &str = "rm-shop";
/// See [`INSTANCE`].
pub const ACCOUNT: &str = "app";
/// See [`INSTANCE`].
pub const INITIAL_PASSWORD: &str = "Initial#Password0";

/// The access key that the operator gets.
pub const ACCESS_KEY_ID: &str = "testid";
/// Its secret: must never be seen anywhere.
pub const ACCESS_KEY_SECRET: &str = "canary-access-key-secret";

/// How many requests write at once, where there are many: enough to keep an API server on two cores busy.
const WRITERS: usize = 16;

/// Everything that the operator runs against.
pub struct Testbed {
    /// The Kubernetes API.
    pub control_plane: ControlPlane,
    /// The cloud API.
    pub rds: RdsSimulator,
    /// With the rights of the cluster's administrator.
    pub client: Client,
    binary: PathBuf,
    directory: TempDir,
    operators: AtomicUsize,
}

impl Testbed {
    /// Starts an API server and an RDS simulator and installs the operator, which does not run yet. `binary` is the operator's.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn start(binary: impl AsRef<Path>) -> Result<Self> {
        let bed = Self::start_bare(binary).await?;
        tokio::try_join!(
            install::install_crd(&bed.client),
            install::install_rbac(&bed.client),
            install::install_user_roles(&bed.client),
            install::install_admission(&bed.client),
        )?;
        bed.create_namespace(NAMESPACE).await?;
        Ok(bed)
    }

    /// As [`Self::start`], with nothing installed.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn start_bare(binary: impl AsRef<Path>) -> Result<Self> {
        Self::start_on(ControlPlane::start(), binary).await
    }

    /// As [`Self::start_bare`], with the controllers that make pods of a Deployment and what else Kubernetes does by itself.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn start_with_controllers(binary: impl AsRef<Path>) -> Result<Self> {
        Self::start_on(ControlPlane::start_with_controllers(), binary).await
    }

    async fn start_on(
        control_plane: impl Future<Output = Result<ControlPlane>>,
        binary: impl AsRef<Path>,
    ) -> Result<Self> {
        let (control_plane, rds) =
            tokio::try_join!(control_plane, async { Ok(RdsSimulator::start().await?) })?;
        rds.add_access_key(AccessKey::new(ACCESS_KEY_ID, ACCESS_KEY_SECRET));
        rds.add_instance(Instance::new(INSTANCE).account(Account::new(ACCOUNT, INITIAL_PASSWORD)));
        Ok(Self {
            client: control_plane.client(),
            control_plane,
            rds,
            binary: binary.as_ref().to_owned(),
            directory: tempfile::tempdir()?,
            operators: AtomicUsize::new(0),
        })
    }

    /// As [`Self::start`], with one operator that leads already.
    ///
    /// # Errors
    /// When any of it fails.
    pub async fn start_with_operator(binary: impl AsRef<Path>) -> Result<(Self, Operator)> {
        let bed = Self::start(binary).await?;
        let operator = bed.operator().await?.start().await?;
        operator.wait_until_leading().await?;
        Ok((bed, operator))
    }

    /// An operator with the token of its own service account, which reaches the API server directly.
    ///
    /// # Errors
    /// When there is no token to be had.
    pub async fn operator(&self) -> Result<OperatorBuilder> {
        let certificate_authority = self.control_plane.certificate_authority();
        self.operator_at(&self.control_plane.server(), Some(&certificate_authority))
            .await
    }

    /// A proxy in front of the API server.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn proxy(&self) -> Result<ApiProxy> {
        let certificate_authority = self.control_plane.certificate_authority();
        ApiProxy::start(&self.control_plane.server(), &certificate_authority).await
    }

    /// An operator that reaches the API server at another address, such as a proxy's.
    ///
    /// # Errors
    /// When there is no token to be had.
    pub async fn operator_at(
        &self,
        server: &str,
        certificate_authority: Option<&Path>,
    ) -> Result<OperatorBuilder> {
        let builder = self
            .operator_as((OPERATOR, OPERATOR), (server, certificate_authority))
            .await?;
        Ok(builder
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", ACCESS_KEY_SECRET)
            .flag("region", "cn-shanghai")
            .flag("rds-endpoint", self.rds.url())
            .flag("rds-qps", "1000")
            .flag("listen", "127.0.0.1:0")
            .flag("log-format", "json")
            .flag("log-level", "trace"))
    }

    /// As [`Self::operator`], with other entries of the kubeconfig: of the cluster and of the user, where these are given.
    ///
    /// # Errors
    /// When there is no token to be had, or the kubeconfig cannot be written.
    pub async fn operator_with(
        &self,
        cluster: impl IntoIterator<Item = (&str, Value)>,
        user: Option<Value>,
    ) -> Result<OperatorBuilder> {
        let builder = self.operator().await?;
        let number = self.operators.fetch_add(1, Ordering::Relaxed);
        let path = format!("operator-{number}.kubeconfig");
        let path = self.directory.path().join(path);
        let mut entries = json!({
            "server": self.control_plane.server(),
            "certificate-authority": self.control_plane.certificate_authority(),
        });
        for (name, value) in cluster {
            entries[name] = value;
        }
        let user = match user {
            Some(user) => user,
            None => json!({ "token": self.token().await? }),
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "operator",
            "contexts": [{
                "name": "operator",
                "context": { "cluster": "operator", "user": "operator", "namespace": OPERATOR },
            }],
            "clusters": [{ "name": "operator", "cluster": entries }],
            "users": [{ "name": "operator", "user": user }],
        });
        fs::write(&path, config.to_string())?;
        Ok(builder.env("KUBECONFIG", path))
    }

    /// A token of the operator's ServiceAccount.
    ///
    /// # Errors
    /// When the API server issues none.
    pub async fn token(&self) -> Result<String> {
        install::issue_token(&self.client, (OPERATOR, OPERATOR)).await
    }

    /// An operator with the token of a ServiceAccount (namespace and name), without flags and cloud credentials.
    ///
    /// # Errors
    /// When there is no token to be had.
    pub async fn operator_as(
        &self,
        identity: (&str, &str),
        server: (&str, Option<&Path>),
    ) -> Result<OperatorBuilder> {
        let number = self.operators.fetch_add(1, Ordering::Relaxed);
        let kubeconfig = self
            .directory
            .path()
            .join(format!("operator-{number}.kubeconfig"));
        install::write_kubeconfig(&self.client, identity, server, &kubeconfig).await?;
        let builder = OperatorBuilder::new(&self.binary, self.directory.path(), number)?;
        Ok(builder.env("KUBECONFIG", kubeconfig))
    }

    /// Gives the cloud an AccessKey of this ID, and the tests' namespace a Secret of the same name with it, for
    /// [`with_access_key`].
    ///
    /// # Errors
    /// When the API server refuses the Secret.
    pub async fn create_access_key(&self, id: &str) -> Result<()> {
        let data = [("accessKeyId", id), ("accessKeySecret", "s")];
        let data = data.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(id.to_owned()),
                ..ObjectMeta::default()
            },
            string_data: Some(BTreeMap::from(data)),
            ..Secret::default()
        };
        self.secrets()
            .create(&PostParams::default(), &secret)
            .await?;
        self.rds.add_access_key(AccessKey::new(id, "s"));
        Ok(())
    }

    /// A directory that is removed with this, for whatever a test writes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The Secrets of the tests' namespace.
    #[must_use]
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The resources of the tests' namespace.
    #[must_use]
    pub fn resources(&self) -> Api<DatabaseAccountPassword> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(())
    }

    /// Creates a Secret with the value under the key `password`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_secret(&self, name: &str, password: &str) -> Result<Secret> {
        self.create_secret_of_bytes(name, password.as_bytes()).await
    }

    /// As [`Self::create_secret`], for a value that need not be text.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_secret_of_bytes(&self, name: &str, value: &[u8]) -> Result<Secret> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(
                "password".to_owned(),
                ByteString(value.to_vec()),
            )])),
            ..Secret::default()
        };
        Ok(self
            .secrets()
            .create(&PostParams::default(), &secret)
            .await?)
    }

    /// Puts another value under the key `password`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn rotate(&self, secret: &str, password: &str) -> Result<Secret> {
        self.patch_secret(secret, json!({ "stringData": { "password": password } }))
            .await
    }

    /// Merges into a Secret.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn patch_secret(&self, secret: &str, patch: Value) -> Result<Secret> {
        Ok(self
            .secrets()
            .patch(secret, &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }

    /// Deletes a Secret.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn delete_secret(&self, secret: &str) -> Result<()> {
        self.secrets()
            .delete(secret, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// A resource for the account that is there from the start; not created yet.
    #[must_use]
    pub fn resource(&self, name: &str, secret: &str) -> DatabaseAccountPassword {
        let mut resource = DatabaseAccountPassword::new(
            name,
            DatabaseAccountPasswordSpec {
                instance_id: INSTANCE.to_owned(),
                account_name: ACCOUNT.to_owned(),
                region_id: None,
                password_secret_ref: PasswordSecretRef {
                    name: secret.to_owned(),
                    key: "password".to_owned(),
                },
                credentials: None,
                suspend: false,
            },
        );
        resource.metadata.namespace = Some(NAMESPACE.to_owned());
        resource
    }

    /// Adds an account of this name to an instance that is there. Returns a resource of the same name for it; not created yet.
    ///
    /// # Errors
    /// When there is no such instance.
    pub fn add_account(
        &self,
        name: &str,
        instance: &str,
        secret: &str,
    ) -> Result<DatabaseAccountPassword> {
        self.rds
            .add_account(instance, Account::new(name, INITIAL_PASSWORD))?;
        let mut resource = self.resource(name, secret);
        instance.clone_into(&mut resource.spec.instance_id);
        name.clone_into(&mut resource.spec.account_name);
        Ok(resource)
    }

    /// Creates many resources, several at a time.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn create_all(&self, resources: &[DatabaseAccountPassword]) -> Result<()> {
        for_each(resources, async |resource: &DatabaseAccountPassword| {
            self.create(resource).await?;
            Ok(())
        })
        .await
    }

    /// Creates a resource, in the namespace that it names.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create(
        &self,
        resource: &DatabaseAccountPassword,
    ) -> Result<DatabaseAccountPassword> {
        let namespace = resource
            .namespace()
            .context("a resource without namespace")?;
        let api = Api::<DatabaseAccountPassword>::namespaced(self.client.clone(), &namespace);
        Ok(api.create(&PostParams::default(), resource).await?)
    }

    /// Merges into a resource.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn patch(&self, name: &str, patch: Value) -> Result<DatabaseAccountPassword> {
        Ok(self
            .resources()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }

    /// Asks for a reset by the annotation.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn request_reset(&self, name: &str, value: &str) -> Result<()> {
        let annotations = json!({ REQUESTED_AT_ANNOTATION: value });
        self.patch(name, json!({ "metadata": { "annotations": annotations } }))
            .await?;
        Ok(())
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.resources()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until a resource is as described, and returns it.
    ///
    /// # Errors
    /// When that takes too long, with the resource as it is then.
    pub async fn wait_for(
        &self,
        name: &str,
        what: impl Debug,
        condition: impl Fn(&DatabaseAccountPassword) -> bool,
    ) -> Result<DatabaseAccountPassword> {
        self.wait_for_in(NAMESPACE, name, what, condition).await
    }

    /// As [`Self::wait_for`], for a resource in any namespace.
    ///
    /// # Errors
    /// When that takes too long, with the resource as it is then.
    pub async fn wait_for_in(
        &self,
        namespace: &str,
        name: &str,
        what: impl Debug,
        condition: impl Fn(&DatabaseAccountPassword) -> bool,
    ) -> Result<DatabaseAccountPassword> {
        let resources = Api::<DatabaseAccountPassword>::namespaced(self.client.clone(), namespace);
        let found = await_condition(
            resources.clone(),
            name,
            |resource: Option<&DatabaseAccountPassword>| resource.is_some_and(&condition),
        );
        if let Ok(found) = tokio::time::timeout(PATIENCE, found).await {
            return found?.context("the resource is gone");
        }
        let last = resources.get_opt(name).await;
        let last = last.map(|last| last.map(|last| serde_yaml_ng::to_string(&last)));
        Err(anyhow!(
            "{name} did not become {what:?}; it is\n{last:?}\nand the calls were {:#?}",
            self.calls()
        ))
    }

    /// Waits until a resource is `Ready` for its current generation, and no reset is under way: during one, `Ready` speaks of the
    /// value before.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_until_ready(&self, name: &str) -> Result<DatabaseAccountPassword> {
        self.wait_for(name, "InSync", |resource| {
            let status = resource.status.as_ref();
            status.is_some_and(|status| status.last_attempt.is_none())
                && condition(resource, "Ready").is_some_and(|ready| {
                    ready.reason == "InSync"
                        && ready.observed_generation == resource.metadata.generation
                })
        })
        .await
    }

    /// Waits until a resource's `Ready` has this reason for its current generation.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_for_reason(
        &self,
        name: &str,
        reason: &str,
    ) -> Result<DatabaseAccountPassword> {
        self.wait_for(name, reason, |resource| {
            condition(resource, "Ready").is_some_and(|ready| {
                ready.reason == reason && ready.observed_generation == resource.metadata.generation
            })
        })
        .await
    }

    /// Rotates, and tells how long it took until the reset arrived: from before the change is sent, so with the API server's part.
    ///
    /// # Errors
    /// When the Secret cannot be changed, or the account does not get the password.
    pub async fn time_to_arrival(&self, secret: &str, password: &str) -> Result<SignedDuration> {
        let began = Timestamp::now();
        self.rotate(secret, password).await?;
        self.wait_for_password(password).await?;
        let resets = self.resets();
        let mut sent = resets.iter().rev();
        let reset = sent.find(|call| {
            call.password
                .as_ref()
                .is_some_and(|sent| *sent == *password)
        });
        Ok(reset.context("no reset")?.arrived.duration_since(began))
    }

    /// Waits until the account that is there from the start has this password.
    ///
    /// # Errors
    /// When that takes too long, with the calls that came instead.
    pub async fn wait_for_password(&self, password: &str) -> Result<()> {
        self.wait_for_login((INSTANCE, ACCOUNT), password).await
    }

    /// Waits until an account of an instance has this password.
    ///
    /// # Errors
    /// When that takes too long, with the calls that came instead.
    pub async fn wait_for_login(
        &self,
        (instance, account): (&str, &str),
        password: &str,
    ) -> Result<()> {
        let waited = self
            .rds
            .journal()
            .wait_for(PATIENCE, |_| self.rds.login(instance, account, password))
            .await;
        waited.map(|_| ()).with_context(|| {
            format!(
                "the account does not have the password; the calls were {:#?}",
                self.calls()
            )
        })
    }

    /// The calls that the cloud has received.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.rds.journal().calls()
    }

    /// The resets that the cloud has received, whether or not it accepted them.
    #[must_use]
    pub fn resets(&self) -> Vec<Call> {
        self.calls()
            .into_iter()
            .filter(|call| call.is(Action::ResetAccountPassword))
            .collect()
    }

    /// What the operator has asked of the API server since then and how often, from the audit log: such as
    /// `update databaseaccountpasswords/status orders-app`. That for [`settle`](Self::settle) is left out.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn operators_requests(&self, since: Timestamp) -> Result<BTreeMap<String, usize>> {
        let mut requests = BTreeMap::new();
        for request in Audit::whole(&self.control_plane).requests()? {
            if request.received < since || request.name.starts_with("rm-settle") {
                continue;
            }
            let slash = if request.subresource.is_empty() {
                ""
            } else {
                "/"
            };
            let Request {
                verb,
                resource,
                subresource,
                name,
                ..
            } = request;
            let request = format!("{verb} {resource}{slash}{subresource} {name}");
            *requests.entry(request).or_default() += 1;
        }
        Ok(requests)
    }

    /// The operator's Events about objects in the tests' namespace.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn events(&self) -> Result<Vec<Event>> {
        let events = Api::<Event>::namespaced(self.client.clone(), NAMESPACE);
        Ok(events.list(&ListParams::default()).await?.items)
    }

    /// Waits until the operator has published an Event of this reason about a resource.
    ///
    /// # Errors
    /// When that takes too long, with the Events that there are.
    pub async fn wait_for_event(&self, resource: &str, reason: &str) -> Result<Event> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events().await?;
            let found = events.iter().find(|event| {
                let name = event.regarding.as_ref().and_then(|it| it.name.as_deref());
                name == Some(resource) && event.reason.as_deref() == Some(reason)
            });
            if let Some(event) = found {
                return Ok(event.clone());
            }
            ensure!(
                Instant::now() < deadline,
                "no Event {reason} about {resource}, but {events:#?}"
            );
            sleep(POLL).await;
        }
    }

    /// Makes sure that the operator has looked at everything that was changed before: a Secret that is changed after all of
    /// it is applied. So a test can say that nothing happened, without waiting for a time.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn settle(&self) -> Result<()> {
        let number = self.calls().len();
        let instance = format!("rm-settle-{number}");
        self.rds.add_instance(
            Instance::new(&instance).account(Account::new("settle", INITIAL_PASSWORD)),
        );
        self.create_secret(&instance, "Settle#Password1").await?;
        let mut resource = self.resource(&instance, &instance);
        resource.spec.instance_id.clone_from(&instance);
        "settle".clone_into(&mut resource.spec.account_name);
        self.create(&resource).await?;
        self.wait_until_ready(&instance).await?;
        // Its own change comes through the watch of the Secrets, after those that came before.
        self.rotate(&instance, "Settle#Password2").await?;
        let rotated = self
            .rds
            .journal()
            .wait_for(PATIENCE, |_| {
                self.rds.login(&instance, "settle", "Settle#Password2")
            })
            .await;
        rotated.context("the operator does not settle")?;
        let ready = self.wait_until_ready(&instance).await?;
        ensure!(ready.status.is_some(), "a ready resource has a status");
        Ok(())
    }
}

/// Waits until the Lease is looked at anew for the next reset: what was seen of it for the last one serves no longer.
pub async fn until_the_lease_is_looked_at_anew() {
    sleep(SHARED_FOR).await;
}

/// Does something for each, as fast as an API server takes it.
pub(crate) async fn for_each<T>(
    all: impl IntoIterator<Item = T>,
    act: impl AsyncFn(T) -> Result<()>,
) -> Result<()> {
    stream::iter(all)
        .map(|one| act(one))
        .buffer_unordered(WRITERS)
        .try_for_each(async |()| Ok(()))
        .await
}

/// The reason of a condition of a resource.
#[must_use]
pub fn reason<'a>(resource: &'a DatabaseAccountPassword, type_: &str) -> Option<&'a str> {
    Some(&*condition(resource, type_)?.reason)
}

/// Waits until something is so.
///
/// # Errors
/// When it is not within [`PATIENCE`], or cannot be told.
pub async fn wait_until(
    what: impl Display,
    mut is_so: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await? {
        ensure!(Instant::now() < deadline, "in vain waited for: {what}");
        sleep(POLL).await;
    }
    Ok(())
}

/// The resource, whose calls are made with the AccessKey in this Secret.
///
/// # Errors
/// When the reference is not one of the kind.
pub fn with_access_key(
    mut resource: DatabaseAccountPassword,
    secret: &str,
) -> Result<DatabaseAccountPassword> {
    resource.spec.credentials = Some(CredentialsReference {
        service_account_name: None,
        secret_ref: Some(serde_json::from_value(json!({ "name": secret }))?),
    });
    Ok(resource)
}

/// A condition of a resource.
#[must_use]
pub fn condition<'a>(
    resource: &'a DatabaseAccountPassword,
    type_: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    resource
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
}
