//! Reads OpenMetrics' text format, strictly: whatever a scraper could stumble over is an error.
//!
//! Source: <https://prometheus.io/docs/specs/om/open_metrics_spec/#text-format>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

/// The metrics of one scrape.
pub(crate) struct Exposition {
    families: BTreeMap<String, Family>,
}

#[derive(Default)]
struct Family {
    type_: String,
    samples: Vec<Sample>,
}

/// One line with a value.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The name, suffix included.
    pub(crate) name: String,
    /// The labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The value.
    pub(crate) value: f64,
}

impl Exposition {
    /// Reads the text.
    ///
    /// # Errors
    /// When it is not as the specification wants it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.strip_suffix("# EOF\n").context("no end")?;
        let mut families = BTreeMap::<String, Family>::new();
        let mut current = String::new();
        for line in lines.lines() {
            if let Some(description) = line.strip_prefix("# ") {
                let (keyword, rest) = description.split_once(' ').context("no keyword")?;
                let (name, rest) = rest.split_once(' ').context(description.to_owned())?;
                if name != current {
                    ensure!(!families.contains_key(name), "{name} is in two pieces");
                    name.clone_into(&mut current);
                }
                let family = families.entry(current.clone()).or_default();
                ensure!(
                    family.samples.is_empty(),
                    "{line}: after the samples of its family"
                );
                match keyword {
                    "HELP" => ensure!(!rest.is_empty()),
                    "TYPE" => rest.clone_into(&mut family.type_),
                    "UNIT" => ensure!(name.ends_with(&format!("_{rest}")), "{line}"),
                    _ => bail!("{line}"),
                }
            } else {
                let sample = sample(line).with_context(|| line.to_owned())?;
                let family = families.get_mut(&current).context("no family")?;
                let suffix = sample.name.strip_prefix(&current);
                let suffix = suffix.with_context(|| format!("{line} is not of {current}"))?;
                let suffixes: &[&str] = match &*family.type_ {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    "info" => &["_info"],
                    other => bail!("{current} is a {other}"),
                };
                ensure!(suffixes.contains(&suffix), "{line}: {}", family.type_);
                family.samples.push(sample);
            }
        }
        for (name, family) in &families {
            check(family).with_context(|| name.clone())?;
        }
        Ok(Self { families })
    }

    /// All samples.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }

    /// The sum over all samples of this name (without the operator's prefix) that have these labels among theirs; `None` if
    /// there are none.
    #[must_use]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let name = format!("rds_password_operator_{name}");
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.get(*label).map(String::as_str) == Some(*value)
        };
        let mut found = self
            .samples()
            .filter(|sample| sample.name == name && labels.iter().all(|label| has(sample, label)))
            .map(|sample| sample.value)
            .peekable();
        found.peek()?;
        Some(found.sum())
    }
}

fn sample(line: &str) -> Result<Sample> {
    let (head, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = match head.split_once('{') {
        None => (head, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').context("no end of labels")?),
    };
    let mut found = BTreeMap::new();
    // No value here has a quote, a comma or a backslash in it, or this fails.
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (label, value) = label.split_once('=').context("no label")?;
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        let value = value.context("no quotes")?.to_owned();
        ensure!(!value.contains(['"', '\\']), "{value}");
        ensure!(found.insert(label.to_owned(), value).is_none(), "{label}");
    }
    let value: f64 = value.parse()?;
    ensure!(value.is_finite(), "{value}");
    Ok(Sample {
        name: name.to_owned(),
        labels: found,
        value,
    })
}

fn check(family: &Family) -> Result<()> {
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        ensure!(
            seen.insert((&sample.name, &sample.labels)),
            "{sample:?} is there twice"
        );
    }
    ensure!(!family.samples.is_empty(), "no sample");
    if family.type_ == "histogram" {
        buckets(&family.samples)?;
    }
    Ok(())
}

/// The buckets of each histogram grow, and the last one holds all.
fn buckets(samples: &[Sample]) -> Result<()> {
    let mut last = BTreeMap::<BTreeMap<String, String>, (f64, f64)>::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        let Some(bound) = labels.remove("le") else {
            continue;
        };
        let bound: f64 = bound.parse()?;
        let (before, count) = last
            .get(&labels)
            .copied()
            .unwrap_or((f64::NEG_INFINITY, 0.0));
        ensure!(before < bound && count <= sample.value, "{sample:?}");
        last.insert(labels, (bound, sample.value));
    }
    for sample in samples
        .iter()
        .filter(|sample| sample.name.ends_with("_count"))
    {
        let all = last.get(&sample.labels).context("no buckets")?;
        ensure!(*all == (f64::INFINITY, sample.value), "{sample:?}: {all:?}");
    }
    Ok(())
}
