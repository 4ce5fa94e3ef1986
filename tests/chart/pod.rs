//! What a kubelet makes of the operator's pod: a process with its arguments, its environment and its files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{EnvVar, Pod, PodSpec, Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};
use serde_json::Value;
use testbed::operator::OperatorBuilder;
use testbed::{Operator, Testbed};

/// The pods of a namespace that are not being deleted.
pub(crate) async fn pods(bed: &Testbed, namespace: &str) -> Result<Vec<Pod>> {
    let pods = Api::<Pod>::namespaced(bed.client.clone(), namespace);
    let mut pods = pods.list(&ListParams::default()).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(pods)
}

/// How much the audit log holds, for [`ensure_nothing_was_forbidden`].
pub(crate) fn audited(bed: &Testbed) -> Result<usize> {
    Ok(fs::read_to_string(bed.control_plane.audit_log())?.len())
}

/// A ServiceAccount has not asked for anything that it has no right to, since the audit log was that long.
pub(crate) fn ensure_nothing_was_forbidden(
    bed: &Testbed,
    (namespace, name): (&str, &str),
    since: usize,
) -> Result<()> {
    let user = format!("system:serviceaccount:{namespace}:{name}");
    let log = fs::read_to_string(bed.control_plane.audit_log())?;
    let (mut requests, mut forbidden) = (0, Vec::new());
    // The last line may be half written.
    for line in log[since..].lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if entry["user"]["username"] == *user {
            requests += 1;
            if entry["responseStatus"]["code"] == 403 {
                forbidden.push(entry["requestURI"].to_string());
            }
        }
    }
    ensure!(requests > 0, "{user} has asked for nothing");
    ensure!(forbidden.is_empty(), "{user} may not: {forbidden:?}");
    Ok(())
}

/// Runs the operator as one of its pods says, on a port of its own: there is one network for all.
pub(crate) async fn run(bed: &Testbed, pod: &Pod, files: &Path) -> Result<Operator> {
    let namespace = pod.namespace().context("a pod without namespace")?;
    let spec = pod.spec.as_ref().context("a pod without spec")?;
    let container = spec.containers.first().context("no container")?;
    let account = spec.service_account_name.as_deref().context("no account")?;
    let certificate_authority = bed.control_plane.certificate_authority();
    let mut operator = bed
        .operator_as(
            (&namespace, account),
            (&bed.control_plane.server(), Some(&certificate_authority)),
        )
        .await?;
    let mut arguments = container.args.iter().flatten();
    assert_eq!(arguments.next().map(String::as_str), Some("run"));
    for argument in arguments {
        operator = operator.argument(argument);
    }
    operator = operator.flag("listen", "127.0.0.1:0");
    let mounted = mount(bed, &namespace, spec, files).await?;
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(bed, &namespace, variable).await? {
            operator = set(operator, &variable.name, &value, &mounted);
        }
    }
    let operator = operator.start().await?;
    operator.wait_until_leading().await?;
    Ok(operator)
}

fn set(
    operator: OperatorBuilder,
    name: &str,
    value: &str,
    mounted: &[(PathBuf, PathBuf)],
) -> OperatorBuilder {
    let file = mounted.iter().find(|(path, _)| path == Path::new(value));
    match file {
        Some((_, file)) => operator.env(name, file.as_os_str()),
        None => operator.env(name, value),
    }
}

/// Writes the tokens that are projected into the container: where it sees them, and where they are.
async fn mount(
    bed: &Testbed,
    namespace: &str,
    spec: &PodSpec,
    files: &Path,
) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut mounted = Vec::new();
    let container = spec.containers.first().context("no container")?;
    for mount in container.volume_mounts.iter().flatten() {
        let volume = spec.volumes.iter().flatten();
        let volume = volume
            .filter(|volume| volume.name == mount.name)
            .find_map(|volume| volume.projected.as_ref());
        let sources = volume.and_then(|projected| projected.sources.as_ref());
        let tokens = sources.into_iter().flatten();
        for token in tokens.filter_map(|source| source.service_account_token.as_ref()) {
            let request = TokenRequest {
                spec: TokenRequestSpec {
                    audiences: token.audience.clone().into_iter().collect(),
                    expiration_seconds: token.expiration_seconds,
                    bound_object_ref: None,
                },
                ..TokenRequest::default()
            };
            let account = spec.service_account_name.as_deref().unwrap_or("default");
            let accounts = Api::<ServiceAccount>::namespaced(bed.client.clone(), namespace);
            let issued = accounts
                .create_token_request(account, &PostParams::default(), &request)
                .await?;
            let file = files.join(&mount.name);
            fs::write(&file, issued.status.context("no token")?.token)?;
            mounted.push((Path::new(&mount.mount_path).join(&token.path), file));
        }
    }
    Ok(mounted)
}

async fn value_of(bed: &Testbed, namespace: &str, variable: &EnvVar) -> Result<Option<String>> {
    let Some(source) = &variable.value_from else {
        return Ok(variable.value.clone());
    };
    if let Some(field) = &source.field_ref {
        assert_eq!(field.field_path, "metadata.namespace");
        return Ok(Some(namespace.to_owned()));
    }
    let Some(reference) = &source.secret_key_ref else {
        bail!(
            "{}: a source that no kubelet of these tests knows",
            variable.name
        );
    };
    let secret = Api::<Secret>::namespaced(bed.client.clone(), namespace)
        .get(&reference.name)
        .await?;
    match secret.data.unwrap_or_default().remove(&reference.key) {
        Some(value) => Ok(Some(String::from_utf8(value.0)?)),
        None if reference.optional == Some(true) => Ok(None),
        None => bail!("{} has no key {}", reference.name, reference.key),
    }
}
