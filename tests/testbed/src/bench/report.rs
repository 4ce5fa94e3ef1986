//! The figures: as a table, as JSON, and as plots.

use std::fmt::{Arguments, Write as _};
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use procfs::Current as _;
use serde::{Deserialize, Serialize};

use super::plot::{self, Axis, Plot, Scale, Series};
use super::process::Usage;
use super::{Scenario, Size};

/// The file of all figures.
const RESULTS: &str = "results.json";

/// All that was measured, by one run or by several.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// In the order of the scenarios.
    sections: Vec<Section>,
}

/// What one scenario has measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Section {
    scenario: Scenario,
    conditions: Conditions,
    figures: Vec<Figure>,
    curves: Vec<Curve>,
}

/// When and on what it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Conditions {
    /// When the run began.
    date: Timestamp,
    processor: String,
    cores: usize,
    memory_mebibytes: u64,
    kernel: String,
    /// Whether the figures say nothing, since there were too few of each.
    quick: bool,
}

/// One line of the table.
#[derive(Debug, Serialize, Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: Unit,
    /// See [the bench](super).
    floor: Option<f64>,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
    Mebibytes,
    Count,
}

/// A line of a plot.
#[derive(Debug, Serialize, Deserialize)]
struct Curve {
    picture: Picture,
    name: String,
    points: Vec<(f64, f64)>,
}

/// The plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Picture {
    /// How many of the single changes arrive within a time.
    SingleChange,
    /// How long a burst takes, by its size.
    Burst,
    /// How long a restart takes, by the number of resources.
    Restart,
    /// How much memory is needed, by the number of resources.
    MemoryByResources,
    /// How much memory is needed, by the number of Secrets that concern nobody.
    MemoryBySecrets,
}

impl Picture {
    const ALL: [Self; 5] = [
        Self::SingleChange,
        Self::Burst,
        Self::Restart,
        Self::MemoryByResources,
        Self::MemoryBySecrets,
    ];

    fn file(self) -> &'static str {
        match self {
            Self::SingleChange => "single-change.svg",
            Self::Burst => "burst.svg",
            Self::Restart => "restart.svg",
            Self::MemoryByResources => "memory-by-resources.svg",
            Self::MemoryBySecrets => "memory-by-secrets.svg",
        }
    }

    fn plot(self, series: Vec<Series>) -> Plot {
        use Scale::{Linear, Logarithmic};
        let (title, x, y) = match self {
            Self::SingleChange => (
                "One change, with no latency of the cloud",
                ("milliseconds since the Secret was written", Logarithmic),
                ("share of the changes", Linear),
            ),
            Self::Burst => (
                "All Secrets changed at once",
                ("resources", Logarithmic),
                ("seconds until the last is Ready", Logarithmic),
            ),
            Self::Restart => (
                "A restart with all in sync",
                ("resources", Logarithmic),
                ("seconds until ready", Logarithmic),
            ),
            Self::MemoryByResources => (
                "Resident memory, all in sync",
                ("resources", Logarithmic),
                ("MiB", Linear),
            ),
            Self::MemoryBySecrets => (
                "Resident memory with 20 resources",
                ("Secrets of 4 KiB that concern nobody", Linear),
                ("MiB", Linear),
            ),
        };
        let axis = |(label, scale): (&str, Scale)| Axis {
            label: label.to_owned(),
            scale,
        };
        Plot {
            title: title.to_owned(),
            x: axis(x),
            y: axis(y),
            series,
        }
    }
}

/// Measured times, in milliseconds.
#[derive(Default)]
pub(super) struct Distribution(Vec<f64>);

impl Distribution {
    pub(super) fn add(&mut self, time: SignedDuration) {
        self.0.push(time.as_secs_f64() * 1000.0);
    }

    pub(super) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / count(self.0.len())
    }

    /// The smallest time that this share of all does not exceed.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let reached = (1..=sorted.len())
            .zip(&sorted)
            .find(|(number, _)| count(*number) >= share * count(sorted.len()));
        reached.map_or(f64::NAN, |(_, time)| *time)
    }

    /// How large a share takes no longer than each of the times.
    pub(super) fn shares(&self) -> Vec<(f64, f64)> {
        let sorted = self.sorted();
        let all = count(sorted.len());
        (1..)
            .zip(sorted)
            .map(|(number, time)| (time, count(number) / all))
            .collect()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts up to 2^53")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

/// Says on standard error how far the run is.
pub(super) fn progress(text: Arguments<'_>) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Conditions {
    pub(super) fn now(size: Size) -> Result<Self> {
        let processor = procfs::CpuInfo::current()?;
        let memory = procfs::Meminfo::current()?;
        Ok(Self {
            date: Timestamp::now(),
            processor: processor.model_name(0).unwrap_or("unknown").to_owned(),
            cores: processor.num_cores(),
            memory_mebibytes: memory.mem_total / (1024 * 1024),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            quick: size == Size::Quick,
        })
    }

    fn line(&self) -> String {
        let Self {
            date,
            processor,
            cores,
            memory_mebibytes,
            kernel,
            quick,
        } = self;
        format!(
            "{}, {cores} cores of {processor}, {} GiB, Linux {kernel}{}.",
            date.strftime("%Y-%m-%d"),
            memory_mebibytes.div_ceil(1024),
            if *quick {
                "; a quick run, whose figures say nothing"
            } else {
                ""
            },
        )
    }
}

impl Section {
    pub(super) fn new(scenario: Scenario, conditions: Conditions) -> Self {
        Self {
            scenario,
            conditions,
            figures: Vec::new(),
            curves: Vec::new(),
        }
    }

    /// Adds a line to the table.
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        (value, unit): (f64, Unit),
        floor: Option<f64>,
    ) {
        let figure = Figure {
            name: name.into(),
            value,
            unit,
            floor,
        };
        progress(format_args!("  {}", figure.line()));
        self.figures.push(figure);
    }

    /// Adds the memory of an operator that has rested.
    pub(super) fn add_memory(&mut self, of: &str, usage: &Usage, floor: Option<f64>) {
        for (name, value) in [("at rest", usage.resident), ("at its peak", usage.peak)] {
            let name = format!("{of}: memory {name}");
            self.add(name, (value, Unit::Mebibytes), floor);
        }
    }

    /// Adds what an operator has needed since its start.
    pub(super) fn add_usage(&mut self, of: &str, usage: &Usage) {
        let memory = (usage.peak, Unit::Mebibytes);
        self.add(format!("{of}: peak memory"), memory, None);
        let time = (usage.processor_seconds, Unit::Seconds);
        self.add(
            format!("{of}: processor seconds since the start"),
            time,
            None,
        );
    }

    /// Adds a line to a plot.
    pub(super) fn draw(&mut self, picture: Picture, name: &str, points: Vec<(f64, f64)>) {
        self.curves.push(Curve {
            picture,
            name: name.to_owned(),
            points,
        });
    }
}

impl Report {
    pub(super) fn push(&mut self, section: Section) {
        // It may be there from an earlier run.
        self.sections.retain(|it| it.scenario != section.scenario);
        self.sections.push(section);
    }

    /// Takes over from an earlier run what this one has not measured. A quick run and a full one share nothing.
    fn complete(&mut self, earlier: Self) {
        let is_quick = self.sections.iter().any(|section| section.conditions.quick);
        let measured: Vec<Scenario> = self.sections.iter().map(|it| it.scenario).collect();
        let mut sections = earlier.sections;
        sections.retain(|section| {
            section.conditions.quick == is_quick && !measured.contains(&section.scenario)
        });
        self.sections.extend(sections);
        self.sections.sort_by_key(|section| section.scenario);
    }

    /// The table, in Markdown, with the conditions before each section that they begin with.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut conditions = String::new();
        for section in &self.sections {
            let of_section = section.conditions.line();
            // Writing to a String cannot fail.
            if of_section != conditions {
                let blank = if table.is_empty() { "" } else { "\n" };
                let _ = writeln!(table, "{blank}{of_section}");
                conditions = of_section;
            }
            let _ = write!(
                table,
                "\n| {} | measured | floor | ratio |\n| --- | ---: | ---: | ---: |\n",
                section.scenario.title()
            );
            for figure in &section.figures {
                let _ = writeln!(table, "{}", figure.line());
            }
        }
        table
    }

    /// Writes `results.json` and the plots into a directory, with what is there of an earlier run and was not measured now.
    ///
    /// # Errors
    /// When it cannot be written, or a plot cannot be drawn.
    pub fn write(&mut self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        // What cannot be read was written by another version of this program.
        if let Ok(earlier) = fs::read_to_string(directory.join(RESULTS))
            && let Ok(earlier) = serde_json::from_str(&earlier)
        {
            self.complete(earlier);
        }
        let json = serde_json::to_string_pretty(self)?;
        fs::write(directory.join(RESULTS), json + "\n")?;
        for picture in Picture::ALL {
            let curves = self.sections.iter().flat_map(|section| &section.curves);
            let series: Vec<Series> = curves
                .filter(|curve| curve.picture == picture)
                .map(|curve| Series {
                    name: curve.name.clone(),
                    points: curve.points.clone(),
                })
                .collect();
            if !series.is_empty() {
                fs::write(
                    directory.join(picture.file()),
                    plot::svg(&picture.plot(series))?,
                )?;
            }
        }
        Ok(())
    }
}

impl Figure {
    fn line(&self) -> String {
        let floor = self
            .floor
            .map_or_else(String::new, |floor| self.unit.text(floor));
        let ratio = self
            .floor
            .filter(|floor| *floor > 0.0)
            .map_or_else(String::new, |floor| format!("{:.2}", self.value / floor));
        format!(
            "| {} | {} | {floor} | {ratio} |",
            self.name,
            self.unit.text(self.value)
        )
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count => format!("{value:.2}"),
        }
    }
}
