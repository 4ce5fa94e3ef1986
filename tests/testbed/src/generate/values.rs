//! What `values.yaml` says: its values, and of each what the comment before it tells.

use anyhow::{Context as _, Result, bail, ensure};
use serde_yaml_ng::{Mapping, Value};

/// A value that a user sets.
pub(super) struct Entry {
    /// Its key, below those that hold it.
    pub(super) path: Vec<String>,
    /// The table that it belongs to.
    pub(super) section: String,
    /// What it is, in Markdown.
    pub(super) description: String,
    /// What its JSON schema says beyond its default's type.
    pub(super) schema: Mapping,
    /// Its default.
    pub(super) default: Value,
}

/// All of the file.
pub(super) struct Values {
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
    /// Schemas that others refer to.
    pub(super) definitions: Mapping,
}

/// What the lines of a comment belong to.
#[derive(PartialEq)]
enum Part {
    Remark,
    Description,
    Schema,
    Definitions,
}

/// Comments read so far that no value has taken yet.
struct Comments {
    part: Part,
    section: String,
    description: String,
    schema: String,
    definitions: String,
}

impl Comments {
    /// A mark begins a part, and the same mark ends it.
    fn toggle(&mut self, part: Part) {
        self.part = if self.part == part {
            Part::Remark
        } else {
            part
        };
    }

    fn line(&mut self, line: &str) {
        if line == "@schema" {
            self.toggle(Part::Schema);
        } else if line == "@definitions" {
            self.toggle(Part::Definitions);
        } else if let Some(section) = line.strip_prefix("@section ") {
            section.clone_into(&mut self.section);
        } else if let Some(description) = line.strip_prefix("-- ") {
            self.part = Part::Description;
            description.clone_into(&mut self.description);
        } else {
            let (text, separator) = match self.part {
                Part::Remark => return,
                Part::Description => (&mut self.description, ' '),
                Part::Schema => (&mut self.schema, '\n'),
                Part::Definitions => (&mut self.definitions, '\n'),
            };
            text.push(separator);
            text.push_str(line);
        }
    }

    /// An empty line: what was said concerned nothing.
    fn end(&mut self) {
        self.part = Part::Remark;
        self.description.clear();
        self.schema.clear();
    }
}

/// Reads the file.
///
/// A value is a key with a comment of its own, or one that holds no other key. The keys below it are its content.
pub(super) fn parse(text: &str) -> Result<Values> {
    let tree: Value = serde_yaml_ng::from_str(text)?;
    let mut comments = Comments {
        part: Part::Remark,
        section: String::new(),
        description: String::new(),
        schema: String::new(),
        definitions: String::new(),
    };
    let mut entries = Vec::new();
    let mut holders: Vec<(usize, String)> = Vec::new();
    let mut content_of: Option<usize> = None;
    for line in text.lines() {
        let rest = line.trim_start();
        let indent = line.len() - rest.len();
        if rest.is_empty() {
            comments.end();
            continue;
        }
        if content_of.is_some_and(|value| indent > value) {
            continue;
        }
        content_of = None;
        if let Some(comment) = rest.strip_prefix('#') {
            comments.line(comment.strip_prefix(' ').unwrap_or(comment));
            continue;
        }
        let (key, _) = rest.split_once(':').context(line.to_owned())?;
        holders.retain(|(holder, _)| *holder < indent);
        let path: Vec<String> = holders
            .iter()
            .map(|(_, key)| key.clone())
            .chain([key.to_owned()])
            .collect();
        let default = path
            .iter()
            .try_fold(&tree, |tree, key| tree.get(key))
            .with_context(|| format!("{} is not where it seems to be", path.join(".")))?;
        let has_content = default.as_mapping().is_some_and(|map| !map.is_empty());
        if has_content && comments.description.is_empty() && comments.schema.is_empty() {
            holders.push((indent, key.to_owned()));
            continue;
        }
        let schema = match comments.schema.as_str() {
            "" => Mapping::new(),
            schema => serde_yaml_ng::from_str(schema).with_context(|| path.join("."))?,
        };
        entries.push(Entry {
            path,
            section: comments.section.clone(),
            description: comments.description.clone(),
            schema,
            default: default.clone(),
        });
        comments.end();
        content_of = Some(indent);
    }
    ensure!(!entries.is_empty(), "no values");
    if let Some(entry) = entries.iter().find(|entry| entry.section.is_empty()) {
        bail!("{} stands before the first @section", entry.path.join("."));
    }
    Ok(Values {
        entries,
        definitions: serde_yaml_ng::from_str(&comments.definitions)?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let entries = parse(&format!(
            "# @section All\n# @definitions\n# {{}}\n# @definitions\n\n{text}"
        ));
        let entries = entries.unwrap().entries;
        entries.iter().map(|entry| entry.path.join(".")).collect()
    }

    #[test]
    fn a_key_with_a_comment_is_a_value_and_one_without_holds_values() {
        let text = "image:\n  # -- Tag.\n  tag: ''\nresources:\n  limits:\n    memory: 1\n# -- Probe.\nprobe:\n  period: 1\nlast: 1\n";
        let expected = ["image.tag", "resources.limits.memory", "probe", "last"];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn a_description_may_have_lines_and_stands_beside_a_schema() {
        let text = "# @section All\n# -- How many,\n# in words.\n# @schema\n# minimum: 1\n# @schema\nreplicas: 2\n\n# @definitions\n# {}\n# @definitions\n";
        let values = parse(text).unwrap();
        let [entry] = values.entries.as_slice() else {
            unreachable!("one value");
        };
        assert_eq!(entry.description, "How many, in words.");
        assert_eq!(entry.schema.get("minimum"), Some(&Value::from(1)));
        assert_eq!(entry.default, Value::from(2));
    }

    #[test]
    fn what_stands_apart_concerns_nothing() {
        let text = "# @section All\n# -- Of nothing.\n\nreplicas: 2\n# @definitions\n# {}\n# @definitions\n";
        let values = parse(text).unwrap();
        assert!(
            values
                .entries
                .iter()
                .all(|entry| entry.description.is_empty())
        );
    }
}
