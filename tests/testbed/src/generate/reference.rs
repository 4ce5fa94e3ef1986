//! The tables of values in the chart's `README.md`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_yaml_ng::{Mapping, Value};

use super::values::Values;

const BEGIN: &str = "<!-- values: made from values.yaml -->\n";
const END: &str = "<!-- /values -->\n";

/// The text with the tables between the two marks.
pub(super) fn put_into(readme: &str, values: &Values) -> Result<String> {
    let (before, rest) = readme
        .split_once(BEGIN)
        .with_context(|| format!("no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no {END}"))?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", tables(values)?))
}

fn tables(values: &Values) -> Result<String> {
    let mut text = String::new();
    let mut section = "";
    for entry in &values.entries {
        if entry.section != section {
            section = &entry.section;
            write!(
                text,
                "\n### {section}\n\n| Value | Default | |\n| --- | --- | --- |\n"
            )?;
        }
        let default = serde_json::to_string(&entry.default)?.replace('|', r"\|");
        let choices = choices(&entry.schema)?;
        let description = format!("{}{choices}", entry.description).replace('|', r"\|");
        let path = entry.path.join(".");
        writeln!(text, "| `{path}` | `{default}` | {description} |")?;
    }
    text.push('\n');
    Ok(text)
}

/// The values that can be chosen from, where there are only some.
fn choices(schema: &Mapping) -> Result<String> {
    let Some(choices) = schema.get("enum").and_then(Value::as_sequence) else {
        return Ok(String::new());
    };
    let choices: Vec<String> = choices
        .iter()
        .filter(|choice| choice.as_str() != Some(""))
        .map(|choice| Ok(format!("`{}`", serde_json::to_string(choice)?)))
        .collect::<Result<_>>()?;
    Ok(format!(" One of {}.", choices.join(", ")))
}
