//! What needs no cluster: the schema of the values, what they change, and the operator's flags.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::Helm;

use crate::OPERATOR;
use crate::rendered::{RELEASE, Rendered};
use crate::values::{at, chart, defaults, file, leaves, required, with};

/// How many Helms run at once: each takes a tenth of a second of a core.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn lint_finds_nothing() -> Result<()> {
    let helm = Helm::offline().await?;
    for values in [required(), file("everything")?, file("otherwise")?] {
        helm.lint(chart(), &values).await?;
    }
    Ok(())
}

/// A value that changes nothing would be one that somebody sets in vain. One that is refused has an effect too.
#[tokio::test(flavor = "multi_thread")]
async fn every_value_has_an_effect() -> Result<()> {
    let helm = Helm::offline().await?;
    let helm = &helm;
    let bases = [file("everything")?, file("otherwise")?];
    let mut rendered = Vec::new();
    for base in &bases {
        rendered.push(helm.template(RELEASE, chart(), base).await?);
    }
    let mut changes = Vec::new();
    for (pointer, default) in leaves(&defaults()?) {
        let set = bases.iter().zip(&rendered).find(|(base, _)| {
            base.pointer(&pointer)
                .is_some_and(|value| *value != default)
        });
        match (set, &default) {
            // Back to the default.
            (Some((base, rendered)), _) => changes.push((pointer, default, base, rendered)),
            // A switch that is on in all of them, turned off.
            (None, Value::Bool(on)) => {
                changes.push((pointer, Value::Bool(!on), &bases[0], &rendered[0]));
            }
            (None, _) => panic!("tests/chart/values sets {pointer} to nothing but its default"),
        }
    }
    let without_effect: Vec<String> = stream::iter(changes)
        .map(async |(pointer, value, base, rendered)| {
            let mut values = with(base.clone(), &at(&pointer, Value::Null));
            // In its place: a map would be merged with the one that is there.
            *values.pointer_mut(&pointer)? = value;
            match helm.template(RELEASE, chart(), &values).await {
                Ok(text) if text == *rendered => Some(pointer),
                _ => None,
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |pointer| pointer)
        .collect()
        .await;
    assert_eq!(without_effect, Vec::<String>::new());
    Ok(())
}

/// See `values/refused.yaml`.
#[derive(Deserialize)]
struct Refused {
    set: Value,
    says: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_errors_are_refused() -> Result<()> {
    let helm = Helm::offline().await?;
    let helm = &helm;
    let refused: Vec<Refused> = serde_json::from_value(file("refused")?)?;
    let wrong: Vec<String> = stream::iter(refused)
        .map(async |Refused { set, says }| {
            let values = with(required(), &set);
            let said = match helm.template(RELEASE, chart(), &values).await {
                Ok(_) => return Some(format!("{set} is taken")),
                Err(refusal) => format!("{refusal:#}"),
            };
            let silent = says.iter().find(|word| !said.contains(*word));
            silent.map(|word| format!("{set} is refused without {word:?}: {said}"))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert_eq!(wrong, Vec::<String>::new());
    Ok(())
}

/// The flags of `rds-password-operator run` and the environment variables that take their place.
fn flags() -> Result<BTreeMap<String, String>> {
    let help = Command::new(OPERATOR).args(["run", "--help"]).output()?;
    let help = String::from_utf8(help.stdout)?;
    let mut flags = BTreeMap::new();
    let mut flag = None;
    for line in help.lines().map(str::trim_start) {
        if let Some(name) = line.strip_prefix("--") {
            flag = name.split_whitespace().next().map(str::to_owned);
        }
        let variable = line.strip_prefix("[env: ").and_then(|rest| {
            let end = rest.find(['=', ']'])?;
            Some(rest[..end].to_owned())
        });
        if let (Some(flag), Some(variable)) = (&flag, variable) {
            flags.insert(flag.clone(), variable);
        }
    }
    Ok(flags)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_has_a_value() -> Result<()> {
    let helm = Helm::offline().await?;
    let flags = flags()?;
    ensure!(flags.len() > 15, "the help is not understood: {flags:?}");
    let mut given = BTreeSet::new();
    for name in ["everything", "otherwise"] {
        // By a value of its own, not by this way around.
        let values = with(file(name)?, &json!({ "extraArgs": [], "extraEnv": [] }));
        let container = Rendered::with(&helm, &values).await?.container()?;
        for argument in container.args.iter().flatten().skip(1) {
            let flag = argument.strip_prefix("--").context("not a flag")?;
            let flag = flag.split('=').next().unwrap_or_default();
            ensure!(flags.contains_key(flag), "there is no flag --{flag}");
            given.insert(flag.to_owned());
        }
        for variable in container.env.iter().flatten() {
            let by_variable = flags.iter().filter(|(_, name)| **name == variable.name);
            given.extend(by_variable.map(|(flag, _)| flag.clone()));
        }
    }
    let missing: Vec<&String> = flags.keys().filter(|&flag| !given.contains(flag)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    Ok(())
}

/// The program understands its command line, whatever the values. It ends because there is no cluster, not before.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_takes_its_arguments() -> Result<()> {
    let helm = Helm::offline().await?;
    for values in [required(), file("everything")?, file("otherwise")?] {
        let container = Rendered::with(&helm, &values).await?.container()?;
        let arguments = container.args.unwrap_or_default();
        let output = Command::new(OPERATOR)
            .args(&arguments)
            .env_clear()
            .env("POD_NAMESPACE", RELEASE.namespace)
            .env("KUBECONFIG", "/nowhere/kubeconfig")
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            said.contains("/nowhere/kubeconfig"),
            "{arguments:?}: {}: {said}",
            output.status
        );
    }
    Ok(())
}

/// What is over the whole cluster then is for users.
#[tokio::test(flavor = "multi_thread")]
async fn no_roles_of_the_operator_over_the_cluster_in_a_namespaced_scope() -> Result<()> {
    let helm = Helm::offline().await?;
    let scope = json!({ "scope": { "watchNamespaces": ["shop"] } });
    let namespaced = Rendered::with(&helm, &with(required(), &scope)).await?;
    let roles: Vec<String> = namespaced
        .names()
        .into_iter()
        .filter(|name| name.contains("Role"))
        .collect();
    let expected = [
        "ClusterRole/rds-password-operator-edit",
        "ClusterRole/rds-password-operator-view",
        "Role/rds-password-operator in rds-password-operator",
        "Role/rds-password-operator-watch in shop",
        "RoleBinding/rds-password-operator in rds-password-operator",
        "RoleBinding/rds-password-operator-watch in shop",
    ];
    assert_eq!(roles, expected);
    Ok(())
}

/// Every alert can be left out and given another severity, by its name.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_changed_by_name() -> Result<()> {
    let helm = Helm::offline().await?;
    let rules = |rendered: &Rendered| -> Result<BTreeMap<String, Value>> {
        let rule = rendered
            .of_kind("PrometheusRule")
            .next()
            .context("no PrometheusRule")?;
        let groups = rule.data["spec"]["groups"]
            .as_array()
            .context("no groups")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules
            .flatten()
            .filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule.clone())))
            .collect())
    };
    let on = with(
        required(),
        &at("/metrics/prometheusRule/enabled", json!(true)),
    );
    let all = rules(&Rendered::with(&helm, &on).await?)?;
    let mut names = all.keys();
    let (first, second) = (
        names.next().context("no alert")?,
        names.next().context("one alert")?,
    );
    let change = json!({ "metrics": { "prometheusRule": {
        "disabled": [first],
        "severities": { second: "page" },
        "ruleLabels": { "team": "databases" },
    } } });
    let changed = rules(&Rendered::with(&helm, &with(on, &change)).await?)?;
    assert_eq!(changed.len(), all.len() - 1);
    assert!(!changed.contains_key(first));
    assert_eq!(changed[second]["labels"]["severity"], "page");
    assert!(
        changed
            .values()
            .all(|rule| rule["labels"]["team"] == "databases")
    );
    // A template of Prometheus in an annotation is not one of Helm.
    assert_eq!(changed[second]["annotations"], all[second]["annotations"]);
    Ok(())
}

/// Helm's own renderings are the same each time: what differs would be an upgrade that nobody asked for.
#[tokio::test(flavor = "multi_thread")]
async fn rendering_is_repeatable() -> Result<()> {
    let helm = Helm::offline().await?;
    let helm = &helm;
    let values = file("everything")?;
    let values = &values;
    let texts: Vec<String> = stream::iter(0..3)
        .map(async |_| helm.template(RELEASE, chart(), values).await)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
    Ok(())
}
