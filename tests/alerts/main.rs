//! The alerts fire when a person is needed and are quiet otherwise, and what they and the dashboard ask for is there.
#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is a test module as a whole"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rds_password_operator::api::{
    InstanceReadyReason, PasswordSyncedReason, ReadyReason, SecretReadyReason,
};
use rds_password_operator::controller::status::{is_stalled, ready_reason};
use rds_password_operator::rds::classification::TABLE;
use serde_json::Value;
use testbed::promtool;

const ALERTS: &str = "charts/rds-password-operator/files/alerts.yaml";
const DASHBOARD: &str = "charts/rds-password-operator/files/dashboard.json";
const OPERATIONS: &str = "docs/operations.md";
const PREFIX: &str = "rds_password_operator_";

/// Labels that Prometheus gives every series of a target.
const OF_THE_TARGET: [&str; 2] = ["namespace", "job"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("no text at {pointer} of {value}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn alerts() -> Result<Vec<Value>> {
    let rules: Value = serde_yaml_ng::from_str(&read(ALERTS)?)?;
    let groups = list(&rules, "/groups");
    let alerts: Vec<Value> = groups
        .iter()
        .flat_map(|group| list(group, "/rules"))
        .cloned()
        .collect();
    ensure!(!alerts.is_empty(), "no alerts");
    Ok(alerts)
}

fn alert(name: &str) -> Result<Value> {
    alerts()?
        .into_iter()
        .find(|alert| alert["alert"] == name)
        .with_context(|| format!("no alert {name}"))
}

/// The panels of the dashboard, rows included.
fn panels() -> Result<Vec<Value>> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?)?;
    let panels = list(&dashboard, "/panels").to_vec();
    ensure!(!panels.is_empty(), "no panels");
    Ok(panels)
}

fn is_row(panel: &Value) -> bool {
    panel["type"] == "row"
}

/// Every expression of the dashboard's panels, with the panel's title.
fn queries() -> Result<Vec<(String, String)>> {
    let mut queries = Vec::new();
    for panel in panels()?.iter().filter(|panel| !is_row(panel)) {
        let title = text(panel, "/title")?;
        let targets = list(panel, "/targets");
        ensure!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            queries.push((title.to_owned(), text(target, "/expr")?.to_owned()));
        }
    }
    Ok(queries)
}

/// Every expression of the runbooks: the lines of their blocks `promql`.
fn runbook_queries() -> Result<Vec<(String, String)>> {
    let operations = read(OPERATIONS)?;
    let blocks = operations.split("```promql\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let queries: Vec<_> = blocks
        .flat_map(str::lines)
        .map(|line| (format!("{OPERATIONS}: {line}"), line.to_owned()))
        .collect();
    ensure!(!queries.is_empty(), "no queries in {OPERATIONS}");
    Ok(queries)
}

/// What begins with a letter or `_`, from the beginning of `text` on.
fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    text.split_at(end.unwrap_or(text.len())).0
}

/// The operator's metrics that an expression reads, each with the labels that it chooses them by.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    expression
        .match_indices(PREFIX)
        .map(|(start, _)| {
            let rest = expression.split_at(start).1;
            let metric = word(rest);
            let matchers = rest
                .split_at(metric.len())
                .1
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'))
                .map_or("", |(matchers, _)| matchers);
            let labels = matchers.split(',').map(|matcher| word(matcher.trim()));
            let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
            (metric.to_owned(), labels.collect())
        })
        .collect()
}

/// The metrics of `docs/api.md`, each with its labels.
fn documented() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let api = read("docs/api.md")?;
    let (_, rest) = api
        .split_once("<!-- table: metrics -->")
        .context("no table of metrics")?;
    let rows = rest.trim_start().lines();
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let in_backticks = |cell: &str| -> Vec<String> {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let mut metrics = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, labels, ..] = cells.as_slice() else {
            anyhow::bail!("not a row of metrics: {row}");
        };
        let labels: BTreeSet<String> = in_backticks(labels).into_iter().collect();
        for name in in_backticks(name) {
            metrics.insert(name, labels.clone());
        }
    }
    Ok(metrics)
}

/// The reasons that a matcher `reason=~"…"` of the expression lists.
fn reasons_in(expression: &str) -> BTreeSet<&str> {
    expression
        .split("reason=~\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .flat_map(|list| list.split('|'))
        .collect()
}

/// Every reason that `Ready` can have but those that mean no failure.
fn reasons() -> impl Iterator<Item = ReadyReason> {
    let secret = SecretReadyReason::ALL.iter().copied();
    let instance = InstanceReadyReason::ALL.iter().copied();
    let password = PasswordSyncedReason::ALL.iter().copied();
    secret
        .map(ReadyReason::Secret)
        .chain(instance.map(ReadyReason::Instance))
        .chain(password.map(ReadyReason::Password))
}

#[test]
fn the_rules_are_sound() -> Result<()> {
    promtool::check_rules(&repository().join(ALERTS)).map(drop)
}

fn rule_tests() -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(repository().join("tests/alerts"))?;
    let files = files
        .map(|file| Ok(file?.path()))
        .collect::<Result<Vec<_>>>()?;
    let is_yaml = |file: &PathBuf| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    };
    Ok(files.into_iter().filter(is_yaml).collect())
}

#[test]
fn each_alert_fires_when_it_should_and_not_next_to_that() -> Result<()> {
    let mut tests = String::new();
    for file in rule_tests()? {
        tests += &fs::read_to_string(&file)?;
        promtool::test_rules(&file)?;
    }
    for alert in alerts()? {
        let name = text(&alert, "/alert")?;
        ensure!(
            tests.contains(&format!("alertname: {name}\n"))
                || tests.contains(&format!("alertname=\"{name}\",alertstate=\"firing\"")),
            "no test expects {name} to fire"
        );
    }
    Ok(())
}

#[test]
fn whoever_is_woken_is_told_what_to_do() -> Result<()> {
    let operations = read(OPERATIONS)?;
    let base = format!("{}/blob/main/{OPERATIONS}", env!("CARGO_PKG_REPOSITORY"));
    for alert in alerts()? {
        let name = text(&alert, "/alert")?;
        let severity = text(&alert, "/labels/severity")?;
        ensure!(
            ["critical", "warning"].contains(&severity),
            "{name}: {severity}"
        );
        text(&alert, "/for")?;
        text(&alert, "/annotations/summary")?;
        let description = text(&alert, "/annotations/description")?;
        ensure!(description.contains("First: "), "{name}: {description}");
        // As the anchor is made of a heading.
        let url = format!("{base}#{}", name.to_lowercase());
        ensure!(text(&alert, "/annotations/runbook_url")? == url, "{url}");
        let heading = format!("\n### {name}\n");
        ensure!(
            operations.matches(&heading).count() == 1,
            "{OPERATIONS} has to have one section {name}"
        );
        let row = format!("| [{name}](#{}) | {severity} |", name.to_lowercase());
        ensure!(operations.contains(&row), "no row {row}");
    }
    Ok(())
}

#[test]
fn what_is_asked_for_is_exported() -> Result<()> {
    let documented = documented()?;
    let alerts = alerts()?;
    let alerts = alerts
        .iter()
        .map(|alert| {
            Ok((
                text(alert, "/alert")?.to_owned(),
                text(alert, "/expr")?.to_owned(),
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut unknown = BTreeSet::new();
    let expressions = alerts
        .into_iter()
        .chain(queries()?)
        .chain(runbook_queries()?);
    for (place, expression) in expressions {
        let selectors = selectors(&expression);
        let of_prometheus = expression.starts_with("up{");
        ensure!(
            of_prometheus || !selectors.is_empty(),
            "{place} asks for nothing"
        );
        for (metric, labels) in selectors {
            // What a histogram has series of.
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| metric.strip_suffix(suffix))
                .unwrap_or(&metric);
            let Some(known) = documented.get(family) else {
                unknown.insert(metric);
                continue;
            };
            let unlabelled = labels.iter().filter(|label| {
                let of_the_target = OF_THE_TARGET.contains(&label.as_str());
                // `le` is a histogram's own.
                !of_the_target && !known.contains(*label) && *label != "le"
            });
            unknown.extend(unlabelled.map(|label| format!("{metric}{{{label}}}")));
        }
    }
    ensure!(unknown.is_empty(), "not in docs/api.md: {unknown:?}");
    Ok(())
}

#[test]
fn the_reasons_are_those_of_the_operator() -> Result<()> {
    let stalled = alert("RdsPasswordOperatorResourcesStalled")?;
    let stalled = reasons_in(text(&stalled, "/expr")?);
    let real = reasons().filter(|reason| is_stalled(*reason));
    let real = real.map(ReadyReason::as_str).chain(["Undecodable"]);
    assert_eq!(stalled, real.collect(), "what waits for a person");

    let failing = alert("RdsPasswordOperatorResetsFailing")?;
    let failing = reasons_in(text(&failing, "/expr")?);
    let real = TABLE
        .iter()
        .map(|entry| ready_reason(entry.reason))
        .filter(|reason| !is_stalled(*reason))
        .map(ReadyReason::as_str)
        .filter(|reason| *reason != PasswordSyncedReason::Throttled.as_str());
    assert_eq!(failing, real.collect(), "what passes by itself");

    let all: BTreeSet<&str> = reasons().map(ReadyReason::as_str).collect();
    for name in [
        "RdsPasswordOperatorChangePending",
        "RdsPasswordOperatorFleetFailing",
    ] {
        let alert = alert(name)?;
        let reasons = reasons_in(text(&alert, "/expr")?);
        ensure!(!reasons.is_empty(), "{name} has no reasons");
        let unknown: Vec<_> = reasons.difference(&all).collect();
        ensure!(unknown.is_empty(), "{name}: {unknown:?}");
    }
    Ok(())
}

/// As recording rules, since that is what promtool checks.
#[test]
fn dashboard_and_runbooks_ask_in_promql() -> Result<()> {
    let queries = queries()?.into_iter().chain(runbook_queries()?);
    let rules: Vec<Value> = queries
        .enumerate()
        .map(|(number, (place, expression))| {
            serde_json::json!({
                "record": format!("query:of:{number}"),
                // What Grafana puts in.
                "expr": expression.replace("$__rate_interval", "5m"),
                "labels": { "place": place },
            })
        })
        .collect();
    let rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("dashboard-{}.yaml", std::process::id()));
    fs::write(&file, serde_yaml_ng::to_string(&rules)?)?;
    let checked = promtool::check_rules(&file);
    fs::remove_file(&file)?;
    checked.map(drop)
}

#[test]
fn the_dashboard_can_be_imported_and_read() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?)?;
    ensure!(dashboard["id"].is_null(), "an id is given at the import");
    ensure!(
        !text(&dashboard, "/uid")?.is_empty() && text(&dashboard, "/uid")?.len() <= 40,
        "Grafana takes a uid of at most 40 characters"
    );
    let variables = list(&dashboard, "/templating/list");
    let variables: BTreeSet<&str> = variables
        .iter()
        .map(|variable| text(variable, "/name"))
        .collect::<Result<_>>()?;
    assert_eq!(variables, ["datasource", "job", "namespace"].into());

    let panels = panels()?;
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let title = text(panel, "/title")?;
        let number = |pointer: &str| {
            let number = panel.pointer(pointer).and_then(Value::as_u64);
            number.with_context(|| format!("{title} has no {pointer}"))
        };
        ensure!(ids.insert(number("/id")?), "{title} has another's id");
        let (x, y) = (number("/gridPos/x")?, number("/gridPos/y")?);
        let (width, height) = (number("/gridPos/w")?, number("/gridPos/h")?);
        ensure!(
            width > 0 && height > 0 && x + width <= 24,
            "{title} is outside of the grid"
        );
        for column in x..x + width {
            for line in y..y + height {
                ensure!(taken.insert((column, line)), "{title} covers another panel");
            }
        }
        if is_row(panel) {
            ensure!(title.ends_with('?'), "a row is a question: {title}");
            continue;
        }
        ensure!(!text(panel, "/description")?.is_empty(), "{title}");
        ensure!(!text(panel, "/fieldConfig/defaults/unit")?.is_empty());
        for place in [std::slice::from_ref(panel), list(panel, "/targets")].concat() {
            let source = text(&place, "/datasource/uid")?;
            ensure!(source == "${datasource}", "{title} asks {source}");
        }
    }
    let shown = panels.iter().filter(|panel| !is_row(panel)).count();
    ensure!(shown <= 20, "{shown} panels are too many to look at");
    Ok(())
}
