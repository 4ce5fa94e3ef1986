//! `deploy/`: what the chart renders, for those who install without Helm.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{CHART, COMMAND, Generated};
use crate::helm::{Helm, Release};
use crate::install::OPERATOR;

/// A file, and what it has of the chart.
struct File {
    path: &'static str,
    /// What stands at its top.
    head: &'static str,
    /// Names of templates, in the file's order.
    templates: &'static [&'static str],
}

const FILES: &[File] = &[
    File {
        path: "deploy/crd.yaml",
        head: "# The definition of DatabaseAccountPassword.\n",
        templates: &["customresourcedefinition"],
    },
    File {
        path: "deploy/rbac.yaml",
        head: "# What the operator may do: the ServiceAccount, and the rights that it needs and no others.\n\
               apiVersion: v1\n\
               kind: Namespace\n\
               metadata:\n  \
                 name: rds-password-operator\n  \
                 labels:\n    \
                   pod-security.kubernetes.io/enforce: restricted\n\
               ---\n",
        templates: &[
            "serviceaccount",
            "clusterrole",
            "clusterrolebinding",
            "role",
            "rolebinding",
        ],
    },
    File {
        path: "deploy/user-roles.yaml",
        head: "",
        templates: &["users-clusterrole"],
    },
    File {
        path: "deploy/admission.yaml",
        head: "# The policy for tokens holds the user name of the ServiceAccount in rbac.yaml: to install under another one, change both.\n\n",
        templates: &[
            "policy-instances",
            "policy-secrets",
            "policy-service-accounts",
            "policy-tokens",
            "policy-bindings",
        ],
    },
    File {
        path: "deploy/deployment.yaml",
        head: "# Without a region and without credentials: samples/overlay adds them.\n",
        templates: &["deployment", "poddisruptionbudget"],
    },
    File {
        path: "deploy/network.yaml",
        head: "",
        templates: &["service", "networkpolicy"],
    },
    File {
        path: "deploy/monitoring/servicemonitor.yaml",
        head: "",
        templates: &["servicemonitor"],
    },
    File {
        path: "deploy/monitoring/prometheusrule.yaml",
        head: "",
        templates: &["prometheusrule"],
    },
    File {
        path: "deploy/monitoring/dashboard.yaml",
        head: "",
        templates: &["dashboard"],
    },
];

/// What only Helm has a use for, and the region, which every user has to set: the operator does not start without one.
const LEFT_OUT: &[&str] = &[
    "app.kubernetes.io/managed-by: Helm",
    "helm.sh/chart: ",
    "- --region=",
];

pub(super) async fn files() -> Result<Vec<Generated>> {
    let values = json!({
        "region": "left-out",
        // An annotation that Helm alone reads.
        "crds": { "keep": false },
        "metrics": {
            "serviceMonitor": { "enabled": true },
            "prometheusRule": { "enabled": true },
            "dashboard": { "enabled": true },
        },
    });
    let release = Release {
        name: OPERATOR,
        namespace: OPERATOR,
    };
    let rendered = Helm::offline()
        .await?
        .template(release, CHART, &values)
        .await?;
    let mut documents = by_template(&rendered)?;
    let mut files = Vec::new();
    for file in FILES {
        let mut texts = Vec::new();
        for template in file.templates {
            let documents = documents.remove(*template);
            texts.extend(documents.with_context(|| format!("{template}.yaml renders nothing"))?);
        }
        let text = texts.join("---\n");
        files.push(Generated {
            path: file.path.to_owned(),
            text: format!("{}{}{text}", made_of(), file.head),
        });
    }
    ensure!(
        documents.is_empty(),
        "no file of deploy/ has what these templates render: {:?}",
        documents.keys()
    );
    for directory in ["deploy", "deploy/monitoring"] {
        files.push(kustomization(directory)?);
    }
    Ok(files)
}

fn made_of() -> String {
    format!("# Made from {CHART}: `{COMMAND}`.\n\n")
}

/// The documents that each template renders.
fn by_template(rendered: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut documents: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for document in rendered.split("---\n# Source: ").skip(1) {
        let (source, text) = document.split_once('\n').context("an empty document")?;
        let (_, template) = source.rsplit_once('/').context(source.to_owned())?;
        let template = template.trim_end_matches(".yaml").to_owned();
        let mut kept = String::new();
        for line in text.trim_end().lines() {
            if !LEFT_OUT
                .iter()
                .any(|start| line.trim_start().starts_with(start))
            {
                writeln!(kept, "{line}")?;
            }
        }
        documents.entry(template).or_default().push(kept);
    }
    Ok(documents)
}

/// The list of the files of a directory, for `kubectl apply -k`.
fn kustomization(directory: &str) -> Result<Generated> {
    let mut text = made_of();
    text.push_str(if directory == "deploy" {
        "# Apply an overlay that names the region, the credentials and the image, as samples/overlay does: without, the pods exit\n\
         # and say that --region is missing. `kubectl delete -k` would delete the definition, and with it every resource.\n"
    } else {
        "# For the Prometheus operator, and Grafana with its sidecar.\n"
    });
    text.push_str("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n");
    text.push_str("resources:\n");
    for file in FILES {
        let name = file.path.strip_prefix(directory).map(|name| &name[1..]);
        if let Some(name) = name.filter(|name| !name.contains('/')) {
            writeln!(text, "  - {name}")?;
        }
    }
    Ok(Generated {
        path: format!("{directory}/kustomization.yaml"),
        text,
    })
}
