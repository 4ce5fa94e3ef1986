//! Values of the chart.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testbed::install::repository_file;

/// The chart.
pub(crate) fn chart() -> PathBuf {
    repository_file("charts/rds-password-operator")
}

/// The chart's defaults.
pub(crate) fn defaults() -> Result<Value> {
    read(&chart().join("values.yaml"))
}

/// What has no default.
pub(crate) fn required() -> Value {
    json!({ "region": "cn-hangzhou" })
}

/// Values of this directory.
pub(crate) fn file(name: &str) -> Result<Value> {
    read(&repository_file(&format!("tests/chart/values/{name}.yaml")))
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_yaml_ng::from_str(&text).with_context(|| path.display().to_string())
}

/// Values with others put over them, as Helm does.
pub(crate) fn with(mut values: Value, others: &Value) -> Value {
    merge(&mut values, others);
    values
}

fn merge(values: &mut Value, others: &Value) {
    match (values, others) {
        (Value::Object(values), Value::Object(others)) => {
            for (key, other) in others {
                merge(values.entry(key).or_insert(Value::Null), other);
            }
        }
        (value, other) => *value = other.clone(),
    }
}

/// A value at a JSON pointer, with the maps around it.
pub(crate) fn at(pointer: &str, value: Value) -> Value {
    pointer
        .trim_start_matches('/')
        .rsplit('/')
        .fold(value, |value, key| json!({ key: value }))
}

/// What is neither a map, nor within a list: JSON pointers and values.
pub(crate) fn leaves(values: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect_leaves(values, String::new(), &mut found);
    found
}

fn collect_leaves(values: &Value, pointer: String, found: &mut Vec<(String, Value)>) {
    match values {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                collect_leaves(value, format!("{pointer}/{key}"), found);
            }
        }
        leaf => found.push((pointer, leaf.clone())),
    }
}
