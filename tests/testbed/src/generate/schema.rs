//! `values.schema.json`, by which Helm refuses values that the chart does not know.

use anyhow::{Context as _, Result, ensure};
use serde_yaml_ng::{Mapping, Value};

use super::values::{Entry, Values};

/// The schema, in the draft that every Helm 3 and 4 knows.
pub(super) fn of(values: &Values) -> Result<String> {
    let mut properties = Mapping::new();
    for entry in &values.entries {
        let path = entry.path.join(".");
        insert(&mut properties, &entry.path, leaf(entry).context(path)?)?;
    }
    // Helm itself puts these here where another chart depends on this one.
    for (key, type_, description) in [
        (
            "global",
            "object",
            "Values of a parent chart for all its charts; nothing is read from them.",
        ),
        (
            "enabled",
            "boolean",
            "A parent chart's condition for this one; nothing is read from it.",
        ),
    ] {
        let schema = [("description", description), ("type", type_)];
        properties.insert(key.into(), mapping(schema).into());
    }
    let mut schema = mapping([
        ("$schema", "http://json-schema.org/draft-07/schema#"),
        ("title", "Values of the chart rds-password-operator"),
        ("type", "object"),
    ]);
    schema.insert("additionalProperties".into(), false.into());
    schema.insert("definitions".into(), values.definitions.clone().into());
    schema.insert("properties".into(), properties.into());
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn mapping<const N: usize>(pairs: [(&str, &str); N]) -> Mapping {
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// Puts the schema of a value below those of the keys that hold it.
fn insert(properties: &mut Mapping, path: &[String], leaf: Mapping) -> Result<()> {
    let (key, below) = path.split_first().context("a value without a key")?;
    if below.is_empty() {
        properties.insert(key.as_str().into(), leaf.into());
        return Ok(());
    }
    let holder = properties.entry(key.as_str().into()).or_insert_with(|| {
        let mut holder = mapping([("type", "object")]);
        holder.insert("additionalProperties".into(), false.into());
        holder.insert("properties".into(), Mapping::new().into());
        holder.into()
    });
    let properties = holder
        .get_mut("properties")
        .and_then(Value::as_mapping_mut)
        .with_context(|| format!("{key} is a value and holds values"))?;
    insert(properties, below, leaf)
}

fn leaf(entry: &Entry) -> Result<Mapping> {
    let mut schema = Mapping::new();
    ensure!(!entry.description.is_empty(), "say what it is for");
    schema.insert("description".into(), entry.description.as_str().into());
    // In this draft, what stands beside a reference says nothing.
    if !entry.schema.contains_key("$ref") && !entry.schema.contains_key("type") {
        let type_ = match &entry.default {
            Value::Bool(_) => "boolean",
            Value::Number(number) if !number.is_f64() => "integer",
            Value::String(_) => "string",
            Value::Sequence(_) => "array",
            Value::Mapping(_) => "object",
            other => anyhow::bail!("no type is known for the default {other:?}"),
        };
        schema.insert("type".into(), type_.into());
        ensure!(
            type_ != "array" || entry.schema.contains_key("items"),
            "say what the items are"
        );
        ensure!(
            type_ != "object" || entry.schema.contains_key("additionalProperties"),
            "say which properties are allowed"
        );
    }
    schema.extend(entry.schema.clone());
    Ok(schema)
}
