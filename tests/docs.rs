//! The documentation says what the code says: each table that lists something of the code lists all of it, and nothing else.
#![expect(clippy::tests_outside_test_module, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::CommandFactory as _;
use rds_password_operator::api::{
    ConditionType, DatabaseAccountPassword, InstanceReadyReason, PasswordSyncedReason,
    REQUESTED_AT_ANNOTATION, ReadyReason, SecretReadyReason, crd,
};
use rds_password_operator::cli::Cli;
use rds_password_operator::controller::outcome::Outcome;
use rds_password_operator::controller::schedule;
use rds_password_operator::controller::status::{Grace, grace, is_stalled};
use rds_password_operator::controller::trigger::WATCHED_KINDS;
use rds_password_operator::credentials::{SourceName, sts};
use rds_password_operator::metrics::resets::{ResetResult, SUCCEEDED};
use rds_password_operator::metrics::{self, Metrics, cloud, fleet};
use rds_password_operator::rds::classification::{Class, Reason, TABLE};
use rds_password_operator::rds::error::CallError;
use serde_json::{Value, json};

const README: &str = "README.md";
const API: &str = "docs/api.md";
const ARCHITECTURE: &str = "docs/architecture.md";
const DEPENDENCIES: &str = "docs/dependencies.md";
const OPERATIONS: &str = "docs/operations.md";
#[cfg(target_os = "linux")]
const PERFORMANCE: &str = "docs/performance.md";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())
}

/// The rows of the table after `<!-- table: NAME -->`, cell by cell, without its head.
fn table(path: &str, name: &str) -> Result<Vec<Vec<String>>> {
    let text = read(path)?;
    let marker = format!("<!-- table: {name} -->");
    let (_, rest) = text
        .split_once(&marker)
        .with_context(|| format!("{path} has no {marker}"))?;
    let rows = rest
        .trim_start()
        .lines()
        .take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    ensure!(rows.len() > 2, "the table {name} of {path} is empty");
    Ok(rows.into_iter().skip(2).collect())
}

/// The cells of a row. A bar inside a cell is written `\|`.
fn cells(row: &str) -> Vec<String> {
    let row = row.replace(r"\|", "\0");
    row.trim()
        .trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().replace('\0', "|"))
        .collect()
}

/// What a cell writes in backticks.
fn words(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The words of the first column.
fn first_words(path: &str, name: &str) -> Result<Vec<String>> {
    let rows = table(path, name)?;
    Ok(rows
        .iter()
        .filter_map(|row| row.first())
        .flat_map(|cell| words(cell))
        .collect())
}

/// Compares two lists of words, each of which has to be there once.
fn assert_same(documented: Vec<String>, real: impl IntoIterator<Item = impl Into<String>>) {
    let count = documented.len();
    let documented: BTreeSet<String> = documented.into_iter().collect();
    let real: BTreeSet<String> = real.into_iter().map(Into::into).collect();
    let missing: Vec<_> = real.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&real).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not documented: {missing:?}; documented, but not there: {invented:?}"
    );
    assert_eq!(count, documented.len(), "something is documented twice");
}

/// Compares a table with the one that the code gives, and says what to write.
fn assert_generated(path: &str, name: &str, head: &str, rows: &[Vec<String>]) -> Result<()> {
    let mut expected = format!("{head}\n");
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', r"\|")).collect();
        writeln!(expected, "| {} |", cells.join(" | "))?;
    }
    assert!(
        table(path, name).is_ok_and(|table| table == rows),
        "the table {name} of {path} should be\n{expected}"
    );
    Ok(())
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Transient => "transient",
        Class::Throttled => "throttled",
        Class::InstanceBusy => "instance busy",
        Class::PersonNeeded => "person needed",
        Class::Awaited => "awaited",
    }
}

fn code(text: impl std::fmt::Display) -> String {
    format!("`{text}`")
}

#[test]
fn error_codes() -> Result<()> {
    let rows: Vec<Vec<String>> = TABLE
        .iter()
        .map(|entry| {
            let codes: Vec<String> = entry
                .codes
                .iter()
                .map(|pattern| code(pattern.label()))
                .collect();
            vec![
                codes.join(", "),
                class(entry.class).to_owned(),
                code(entry.reason.as_str()),
                entry.explanation.to_owned(),
            ]
        })
        .collect();
    let head =
        "| Code | Class | Reason | What it means and what to do |\n| --- | --- | --- | --- |";
    assert_generated(API, "error codes", head, &rows)
}

#[test]
fn back_off() -> Result<()> {
    let classes = [
        Class::Transient,
        Class::Throttled,
        Class::InstanceBusy,
        Class::PersonNeeded,
        Class::Awaited,
    ];
    let documented = table(API, "back-off")?;
    let documented: Vec<&[String]> = documented.iter().filter_map(|row| row.get(..3)).collect();
    let real = classes.map(|class_| {
        let (first, longest) = schedule::bounds(class_);
        [class(class_).to_owned(), written(first), written(longest)]
    });
    assert_eq!(documented, real);
    Ok(())
}

fn written(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// Every reason, of which condition it is, and what `Ready` is accompanied by while it has this reason (`None`: it never has,
/// or is as it should be).
fn reasons() -> Vec<(String, &'static str, Option<ReadyReason>)> {
    let secret = SecretReadyReason::ALL.iter().map(|&reason| {
        let stands = reason != SecretReadyReason::Valid;
        let ready = stands.then_some(ReadyReason::Secret(reason));
        (reason.to_string(), "SecretReady", ready)
    });
    let instance = InstanceReadyReason::ALL.iter().map(|&reason| {
        let stands = !matches!(
            reason,
            InstanceReadyReason::Running | InstanceReadyReason::NotAsked
        );
        let ready = stands.then_some(ReadyReason::Instance(reason));
        (reason.to_string(), "InstanceReady", ready)
    });
    let password = PasswordSyncedReason::ALL.iter().map(|&reason| {
        let stands = reason != PasswordSyncedReason::Reset;
        let ready = stands.then_some(ReadyReason::Password(reason));
        (reason.to_string(), "PasswordSynced", ready)
    });
    let own = [ReadyReason::InSync, ReadyReason::Suspended]
        .map(|reason| (reason.to_string(), "Ready", None));
    own.into_iter()
        .chain(secret)
        .chain(instance)
        .chain(password)
        .collect()
}

#[test]
fn condition_reasons() -> Result<()> {
    let documented: Vec<Vec<String>> = table(API, "reasons")?
        .into_iter()
        .map(|row| row.into_iter().take(3).collect())
        .collect();
    let real: Vec<Vec<String>> = reasons()
        .into_iter()
        .map(|(reason, type_, ready)| {
            let beside = match ready {
                None => String::new(),
                Some(ready) if is_stalled(ready) => match grace(ready) {
                    None => code(ConditionType::Stalled),
                    Some(Grace::OfSpec(time) | Grace::OfChange(time)) => format!(
                        "{}, after {} {}",
                        code(ConditionType::Reconciling),
                        written(time),
                        code(ConditionType::Stalled)
                    ),
                },
                Some(_) => code(ConditionType::Reconciling),
            };
            vec![code(reason), code(type_), beside]
        })
        .collect();
    assert_eq!(documented, real);
    Ok(())
}

#[test]
fn reasons_in_the_readme() -> Result<()> {
    let real = reasons()
        .into_iter()
        .filter(|(_, _, ready)| ready.is_some());
    let real = real
        .map(|(reason, ..)| reason)
        .chain([ReadyReason::Suspended.to_string()]);
    assert_same(first_words(README, "reasons")?, real);
    Ok(())
}

#[test]
fn condition_types() -> Result<()> {
    let real = ConditionType::ALL.iter().map(ToString::to_string);
    assert_same(first_words(API, "conditions")?, real);
    Ok(())
}

/// The parts of the definition's only version.
fn version() -> Result<Value> {
    let crd = serde_json::to_value(crd())?;
    Ok(crd["spec"]["versions"][0].clone())
}

/// The paths of all fields below a schema. Standard ones, as a condition's, are not followed.
fn fields(schema: &Value, path: &str, found: &mut Vec<String>) {
    let properties = &schema["properties"];
    let items = &schema["items"]["properties"];
    match (properties.as_object(), items.as_object()) {
        (Some(properties), _) => {
            for (name, schema) in properties {
                fields(schema, &format!("{path}.{name}"), found);
            }
        }
        (_, Some(items)) if !path.ends_with(".conditions") => {
            for (name, schema) in items {
                fields(schema, &format!("{path}[].{name}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_field() -> Result<()> {
    let schema = &version()?["schema"]["openAPIV3Schema"]["properties"];
    for part in ["spec", "status"] {
        let mut real = Vec::new();
        fields(&schema[part], part, &mut real);
        assert_same(first_words(API, part)?, real);
    }
    Ok(())
}

#[test]
fn triggers() -> Result<()> {
    let version = version()?;
    let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
    let trigger = &status["properties"]["lastReset"]["properties"]["trigger"]["enum"];
    let real: Vec<String> = serde_json::from_value(trigger.clone())?;
    assert_same(first_words(API, "triggers")?, real);
    Ok(())
}

#[test]
fn printer_columns() -> Result<()> {
    let version = version()?;
    let columns = version["additionalPrinterColumns"]
        .as_array()
        .context("no columns")?;
    let rows: Vec<Vec<String>> = columns
        .iter()
        .map(|column| {
            let text = |name: &str| column[name].as_str().unwrap_or_default().to_owned();
            let wide = if column["priority"] == 1 { "yes" } else { "" };
            vec![text("name"), code(text("jsonPath")), wide.to_owned()]
        })
        .collect();
    let head = "| Column | Field | Only with `-o wide` |\n| --- | --- | --- |";
    assert_generated(API, "printer columns", head, &rows)
}

/// The metrics with a sample of each.
fn metrics_with_samples() -> Result<Metrics> {
    let metrics = Metrics::new(metrics::Settings {
        has_resource_series: true,
        calls_per_second: NonZeroU32::MIN,
        closed_budgets: Box::new(|| 0),
    });
    metrics.pass("InSync");
    metrics
        .resets
        .finished("Created", ResetResult::Success, SUCCEEDED);
    metrics.cloud.called("AssumeRole", "OK", Duration::ZERO);
    metrics.credentials.refreshed("oidc", true);
    metrics.credentials.own_obtained(Some(jiff::Timestamp::MAX));
    metrics.watches.failed("Secret");
    let resource: DatabaseAccountPassword = serde_json::from_value(json!({
        "apiVersion": "rds.password-operator.dev/v1alpha1",
        "kind": "DatabaseAccountPassword",
        "metadata": { "name": "orders-app", "namespace": "shop" },
        "spec": {
            "instanceId": "rm-1",
            "accountName": "app",
            "passwordSecretRef": { "name": "orders-db" },
        },
        "status": { "lastReset": {
            "time": "2026-11-24T08:00:00Z",
            "requestId": "1",
            "trigger": "Created",
            "instanceId": "rm-1",
            "accountName": "app",
            "secret": { "uid": "1", "resourceVersion": "1", "key": "password" },
        } },
    }))?;
    let decoded = fleet::State::of(&resource);
    let named = |name: &str, state| fleet::Resource {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        state,
    };
    // For as long as the process leads, which is to the end here.
    std::mem::forget(metrics.lead());
    let _watch = metrics.watches.begin("Secret");
    metrics.fleet.add(move || {
        vec![
            named("orders-app", decoded),
            named("orders-old", fleet::State::Undecodable),
        ]
    });
    Ok(metrics)
}

/// The names of all metrics, as a query writes them, with the names of their labels.
fn metrics_and_labels() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = metrics_with_samples()?.render()?;
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("no type")?;
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            current = format!("{name}{suffix}");
            found.entry(current.clone()).or_default();
        } else if let Some((_, labels)) = line.split_once('{') {
            let (labels, _) = labels.split_once('}').context("no end of the labels")?;
            let names = labels.split(',').filter_map(|label| label.split_once('='));
            let names = names.map(|(name, _)| name.to_owned());
            let of_the_current = found.entry(current.clone()).or_default();
            of_the_current.extend(names.filter(|name| name != "le"));
        }
    }
    Ok(found)
}

#[test]
fn metrics() -> Result<()> {
    let mut documented = BTreeMap::new();
    for row in table(API, "metrics")? {
        let [name, labels, _, query] = &row[..] else {
            anyhow::bail!("not four cells: {row:?}")
        };
        let (name, query) = (words(name).concat(), words(query).concat());
        let labels: BTreeSet<String> = words(labels).into_iter().collect();
        ensure!(query.contains(&name), "the query of {name} is {query}");
        ensure!(documented.insert(name, labels).is_none(), "twice: {row:?}");
    }
    assert_eq!(documented, metrics_and_labels()?);
    Ok(())
}

/// Every value of each label with a closed set.
#[test]
fn metric_labels() -> Result<()> {
    const OPEN: [&str; 3] = ["namespace", "name", "version"];
    fn texts(values: impl IntoIterator<Item = &'static str>) -> BTreeSet<String> {
        values.into_iter().map(str::to_owned).collect()
    }
    let conditions: BTreeSet<String> = reasons().into_iter().map(|(reason, ..)| reason).collect();
    let triggers: BTreeSet<String> = first_words(API, "triggers")?.into_iter().collect();
    let codes: BTreeSet<String> = first_words(API, "error codes")?.into_iter().collect();
    let reset_reasons = Reason::ALL.map(Reason::as_str);
    let reset_reasons = texts(reset_reasons.into_iter().chain([SUCCEEDED]));
    let all_codes = texts(
        [cloud::OK]
            .into_iter()
            .chain(CallError::labels())
            .chain(sts::labels()),
    );
    let sources = SourceName::IN_ORDER.into_iter();
    let sources = sources.chain([
        SourceName::ServiceAccount,
        SourceName::Secret,
        SourceName::Chain,
    ]);
    let results = ResetResult::ALL.map(ResetResult::as_str);
    let actions = [
        "ResetAccountPassword",
        "DescribeDBInstanceAttribute",
        "DescribeAccounts",
        "AssumeRole",
        "AssumeRoleWithOIDC",
    ];
    let real = |metric: &str, label: &str| {
        Some(match (metric, label) {
            ("passes_total", "outcome") => texts(Outcome::LABELS),
            ("resets_total", "trigger") => triggers.clone(),
            ("resets_total", "result") => texts(results),
            ("resets_total", "reason") => reset_reasons.clone(),
            ("resources" | "oldest_pending_change_age_seconds", "reason") => {
                texts(fleet::reasons())
            }
            ("cloud_call_duration_seconds", "action") => texts(actions),
            ("cloud_call_duration_seconds", "code") => all_codes.clone(),
            ("credential_refreshes_total", "source") => {
                texts(sources.clone().map(SourceName::as_str))
            }
            ("credential_refreshes_total", "result") => texts(["success", "failure"]),
            ("watch_age_seconds" | "watch_errors_total", "watch") => texts(WATCHED_KINDS),
            _ => return None,
        })
    };
    let rows = table(API, "metric labels")?;
    for (metric, labels) in metrics_and_labels()? {
        for label in labels.iter().filter(|label| !OPEN.contains(&&***label)) {
            let metric_name = metric.trim_start_matches("rds_password_operator_");
            let real = real(metric_name, label).with_context(|| format!("{label} of {metric}"))?;
            // Those of another table of the same document are not repeated.
            let elsewhere = match (metric_name, &**label) {
                (_, "trigger") => &triggers,
                (_, "reason") => &conditions,
                (_, "code") => &codes,
                _ => &BTreeSet::new(),
            };
            let mut of_the_label = rows.iter().filter(|row| {
                let cell = |index: usize| row.get(index).map(|cell| words(cell).concat());
                cell(0).as_ref() == Some(label) && cell(1).as_ref() == Some(&metric)
            });
            let row = of_the_label
                .next()
                .with_context(|| format!("{label} of {metric}"))?;
            let values = row.get(2).map(|cell| words(cell)).unwrap_or_default();
            let new = real.difference(elsewhere).cloned();
            let named: Vec<String> = values
                .into_iter()
                .filter(|value| !value.starts_with("status."))
                .filter(|value| !(elsewhere.contains(value) && real.contains(value)))
                .collect();
            assert_same(named, new);
        }
    }
    Ok(())
}

#[test]
fn flags() -> Result<()> {
    let command = Cli::command();
    let run = command
        .find_subcommand("run")
        .context("no subcommand run")?;
    let rows: Vec<Vec<String>> = run
        .get_arguments()
        // Hidden ones are for tests.
        .filter(|argument| argument.get_id() != "help" && !argument.is_hide_set())
        .map(|argument| {
            let flag = format!("--{}", argument.get_long().unwrap_or_default());
            let variable = argument.get_env().map(|name| code(name.display()));
            let defaults = argument.get_default_values().iter();
            let default: Vec<String> = defaults.map(|value| code(value.display())).collect();
            let default = if argument.is_required_set() {
                "required".to_owned()
            } else {
                default.join(" ")
            };
            // In a terminal, backticks are only in the way.
            let help = argument
                .get_help()
                .map(|help| help.to_string().replace('`', ""));
            vec![
                code(flag),
                variable.unwrap_or_default(),
                default,
                help.unwrap_or_default(),
            ]
        })
        .collect();
    let head = "| Flag | Variable | Default | |\n| --- | --- | --- | --- |";
    assert_generated(README, "flags", head, &rows)
}

/// Which modules of this crate each module uses, from their `crate::` paths.
fn module_uses() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    let source = repository().join("src");
    for file in files(&source, "rs")? {
        let relative = file.strip_prefix(&source)?;
        let top = relative.iter().next().context("a file has a name")?;
        let module = top.to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let others = uses.entry(module.clone()).or_default();
        let text = fs::read_to_string(&file)?;
        // The program itself is another crate.
        let text = text
            .replace("rds_password_operator::{", "crate::{")
            .replace("rds_password_operator::", "crate::");
        for path in text.split("crate::").skip(1) {
            let name = |path: &str| -> String {
                path.chars()
                    .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
                    .collect()
            };
            match path.strip_prefix('{').and_then(|list| list.split_once('}')) {
                Some((list, _)) => others.extend(list.split(',').map(|path| name(path.trim()))),
                None => drop(others.insert(name(path))),
            }
        }
        others.remove(&module);
    }
    Ok(uses)
}

fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn who_knows_whom() -> Result<()> {
    let documented: BTreeMap<String, BTreeSet<String>> = table(ARCHITECTURE, "modules")?
        .iter()
        .map(|row| {
            let cell = |index: usize| row.get(index).map(|cell| words(cell)).unwrap_or_default();
            Ok((
                cell(0).first().context("a row without a module")?.clone(),
                cell(1).into_iter().collect(),
            ))
        })
        .collect::<Result<_>>()?;
    assert_eq!(documented, module_uses()?);
    Ok(())
}

#[test]
fn dependencies() -> Result<()> {
    for (manifest, name) in [
        ("Cargo.toml", "operator"),
        ("tests/rds-simulator/Cargo.toml", "simulator"),
        ("tests/testbed/Cargo.toml", "testbed"),
    ] {
        let text = read(manifest)?;
        let mut real = BTreeSet::new();
        let mut is_dependency = false;
        for line in text.lines() {
            if let Some(section) = line.strip_prefix('[') {
                is_dependency =
                    section.ends_with("dependencies]") && !section.starts_with("workspace");
            } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_dependency) {
                real.insert(name.to_owned());
            }
        }
        // The crates of this workspace are explained where they are.
        real.retain(|name| {
            !["rds-password-operator", "rds-simulator", "testbed"].contains(&&**name)
        });
        assert_same(first_words(DEPENDENCIES, name)?, real);
    }
    let text = read("tests/control-plane/go.mod")?;
    let (_, required) = text
        .split_once("require (")
        .context("go.mod requires nothing")?;
    let required = required.split(')').next().unwrap_or_default();
    let direct = required
        .lines()
        .filter(|line| !line.contains("// indirect"));
    let modules = direct.filter_map(|line| line.split_whitespace().next());
    assert_same(first_words(DEPENDENCIES, "control plane")?, modules);
    Ok(())
}

fn documents() -> Result<Vec<PathBuf>> {
    let mut found = files(&repository().join("docs"), "md")?;
    found.push(repository().join(README));
    Ok(found)
}

/// Resources in examples are ones that this version takes.
#[test]
fn examples() -> Result<()> {
    let mut number = 0;
    for file in documents()? {
        let text = fs::read_to_string(&file)?;
        for example in text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
        {
            if !example.contains("kind: DatabaseAccountPassword\n") {
                continue;
            }
            number += 1;
            serde_yaml_ng::from_str::<DatabaseAccountPassword>(example)
                .with_context(|| format!("{}:\n{example}", file.display()))?;
        }
    }
    ensure!(number >= 2, "no examples");
    Ok(())
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    for file in documents()? {
        let text = fs::read_to_string(&file)?;
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = file
                .parent()
                .context("a file is in a directory")?
                .join(path);
            ensure!(target.exists(), "{} links to {link}", file.display());
        }
    }
    Ok(())
}

#[test]
fn the_annotation() -> Result<()> {
    ensure!(read(API)?.contains(&code(REQUESTED_AT_ANNOTATION)));
    Ok(())
}

#[test]
fn the_definition_is_current() -> Result<()> {
    assert_eq!(
        read("crds/databaseaccountpasswords.yaml")?,
        rds_password_operator::api::crd_yaml()?,
        "write what `rds-password-operator crd` prints to crds/databaseaccountpasswords.yaml"
    );
    Ok(())
}

/// Whoever is woken finds the same reasons as whoever reads the README.
#[test]
fn reasons_in_the_operations_manual() -> Result<()> {
    let rows = table(OPERATIONS, "reasons")?;
    for row in &rows {
        let empty = row.iter().any(String::is_empty);
        ensure!(row.len() == 4 && !empty, "a cell is missing: {row:?}");
    }
    assert_same(
        first_words(OPERATIONS, "reasons")?,
        first_words(README, "reasons")?,
    );
    Ok(())
}

/// The anchor that a heading gets: lower case, hyphens for spaces, no other punctuation.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn sections_that_the_operations_manual_names() -> Result<()> {
    let text = read(OPERATIONS)?;
    // A link may be broken over two lines.
    let links = text.split("](").skip(1);
    let links = links.filter_map(|rest| rest.split(')').next());
    let links: Vec<(&str, &str)> = links
        .filter(|link| !link.contains("://"))
        .filter_map(|link| link.split_once('#'))
        .collect();
    ensure!(links.len() > 20, "hardly a link");
    for (file, section) in links {
        let file = match file {
            "" => OPERATIONS.to_owned(),
            file => format!("docs/{file}"),
        };
        let there = read(&file)?
            .lines()
            .any(|line| line.starts_with('#') && anchor(line) == section);
        ensure!(there, "{file} has no section {section}");
    }
    Ok(())
}

/// The bench writes the figures down beside the plots (`--output docs/performance`).
#[cfg(target_os = "linux")]
#[test]
fn performance_has_the_figures_that_were_measured() -> Result<()> {
    let results = read("docs/performance/results.json")?;
    let report: testbed::bench::report::Report = serde_json::from_str(&results)?;
    let table = report.table();
    ensure!(
        read(PERFORMANCE)?.contains(table.trim()),
        "{PERFORMANCE} must have this:\n\n{table}"
    );
    Ok(())
}
