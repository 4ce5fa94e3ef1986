//! Draws lines over two axes, as an SVG document that needs no font and looks the same on a light and a dark page.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{
    KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter,
};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// In pixels.
const SIZE: (u32, u32) = (720, 420);
/// Between the drawing and the picture's edge, in pixels.
const MARGIN: i32 = 20;
/// Of a line of text, in pixels.
const LINE_HEIGHT: i32 = 20;
/// The length of the line beside a name in the legend, and its distance from the name, in pixels.
const SAMPLE: (i32, i32) = (24, 6);
/// An axis has a value written beside it at most so many times.
const TICKS: usize = 9;
/// An axis has at most so many fine lines: more would be a grey area.
const FINE_LINES: usize = 60;
/// A line of at most so many points shows each: it is made of single measurements, not of a distribution.
const MARKED: usize = 20;

/// Those of Okabe and Ito, which people of any colour vision can tell apart, without the yellow: it is too pale on white.
/// <https://jfly.uni-koeln.de/color/>
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const TEXT: RGBColor = RGBColor(36, 41, 47);
const AXIS: RGBColor = RGBColor(110, 119, 129);
const GRID: RGBColor = RGBColor(222, 225, 229);
const FINE_GRID: RGBColor = RGBColor(242, 243, 245);

/// What is drawn.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// One direction of a plot.
pub(super) struct Axis {
    /// What is measured, with its unit.
    pub(super) label: String,
    pub(super) scale: Scale,
}

/// How an axis places its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal differences are equally long. Begins at zero, so that a line's height shows its value.
    Linear,
    /// Equal ratios are equally long. Values up to zero have no place and are left out.
    Logarithmic,
}

/// One line, through its points in their order.
pub(super) struct Series {
    /// As the legend says.
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// The plot as an SVG document. The same plot gives the same text.
///
/// # Errors
/// When there is no point to draw, or more series than colours.
pub(super) fn svg(plot: &Plot) -> Result<String> {
    let mut text = String::new();
    let picture = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    draw(plot, &picture)?;
    picture.present()?;
    drop(picture);
    Ok(text)
}

type Picture<'a> = DrawingArea<SVGBackend<'a>, Shift>;

struct Line<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
    colour: RGBColor,
}

fn draw(plot: &Plot, picture: &Picture) -> Result<()> {
    let lines = lines(plot)?;
    let points = || lines.iter().flat_map(|line| &line.points);
    let (Some(x), Some(y)) = (
        Coordinate::over(plot.x.scale, points().map(|(x, _)| *x)),
        Coordinate::over(plot.y.scale, points().map(|(_, y)| *y)),
    ) else {
        bail!("The plot {:?} has no point to draw.", plot.title);
    };

    picture.fill(&WHITE)?;
    let title = ("sans-serif", 20, FontStyle::Bold, &TEXT).into_text_style(picture);
    picture.draw_text(&plot.title, &title, (MARGIN, MARGIN))?;
    let top = legend(picture, &lines, 2 * MARGIN + LINE_HEIGHT)?;

    let mut chart = ChartBuilder::on(picture)
        .margin_top(top)
        .margin_left(MARGIN)
        .margin_right(2 * MARGIN)
        .margin_bottom(MARGIN)
        .x_label_area_size(2 * LINE_HEIGHT + 4)
        .y_label_area_size(3 * LINE_HEIGHT)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(&plot.x.label)
        .y_desc(&plot.y.label)
        .label_style(("sans-serif", 16, &TEXT))
        .axis_desc_style(("sans-serif", 17, &TEXT))
        .set_all_tick_mark_size(4)
        .axis_style(AXIS)
        .bold_line_style(GRID)
        .light_line_style(FINE_GRID)
        .draw()?;
    for Line { points, colour, .. } in lines {
        if points.len() <= MARKED {
            let marks = points.iter().map(|at| Circle::new(*at, 4, colour.filled()));
            chart.draw_series(marks)?;
        }
        chart.draw_series([PathElement::new(points, colour.stroke_width(2))])?;
    }
    Ok(())
}

/// The series with what of them can be drawn.
fn lines(plot: &Plot) -> Result<Vec<Line<'_>>> {
    ensure!(
        plot.series.len() <= COLOURS.len(),
        "The plot {:?} has {} series, and {} can be told apart.",
        plot.title,
        plot.series.len(),
        COLOURS.len(),
    );
    let shown = |(x, y): &(f64, f64)| plot.x.scale.shows(*x) && plot.y.scale.shows(*y);
    let coloured = plot.series.iter().zip(COLOURS);
    let lines = coloured.map(|(series, colour)| Line {
        name: &series.name,
        points: series.points.iter().copied().filter(shown).collect(),
        colour,
    });
    Ok(lines.collect())
}

/// Writes the names side by side above the chart, where they hide no line, in as many rows as they need. Returns where the
/// chart may begin.
fn legend(picture: &Picture, lines: &[Line], mut y: i32) -> Result<i32> {
    let (sample, gap) = SAMPLE;
    let style = ("sans-serif", 16, &TEXT)
        .into_text_style(picture)
        .pos(Pos::new(HPos::Left, VPos::Center));
    let right = i32::try_from(SIZE.0)? - MARGIN;
    let mut x = MARGIN;
    for line in lines {
        let name = match line.points.as_slice() {
            [] => format!("{} (no data)", line.name),
            _ => line.name.to_owned(),
        };
        let width = sample + gap + i32::try_from(picture.estimate_text_size(&name, &style)?.0)?;
        if x > MARGIN && x + width > right {
            (x, y) = (MARGIN, y + LINE_HEIGHT);
        }
        let dash = vec![(x, y), (x + sample, y)];
        picture.draw(&PathElement::new(dash, line.colour.stroke_width(3)))?;
        picture.draw_text(&name, &style, (x + sample + gap, y))?;
        x += width + MARGIN;
    }
    Ok(y + LINE_HEIGHT + 4)
}

impl Scale {
    /// Whether a value has a place. What is beyond all that is ever measured has none: it would overflow in the arithmetic.
    fn shows(self, value: f64) -> bool {
        let measurable = 1e-12..1e15;
        match self {
            Self::Linear => value == 0.0 || measurable.contains(&value.abs()),
            Self::Logarithmic => measurable.contains(&value),
        }
    }

    /// Where a value is, in a unit in which equal differences are equally long.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
        }
    }
}

/// An axis from its first to its last tick.
struct Coordinate {
    scale: Scale,
    ends: Range<f64>,
    /// Where a value is written.
    ticks: Vec<f64>,
    /// Where there is a line only.
    fine: Vec<f64>,
}

impl Coordinate {
    /// Over all of the values; none if there is no value.
    fn over(scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let low = values.clone().reduce(f64::min)?;
        let high = values.reduce(f64::max)?;
        let ticks = match scale {
            Scale::Linear => linear_ticks(low, high),
            Scale::Logarithmic => logarithmic_ticks(low, high),
        };
        let ends = *ticks.first()?..*ticks.last()?;
        let fine = match scale {
            Scale::Linear => Vec::new(),
            Scale::Logarithmic => around(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], &ends),
        };
        let every = ticks.len().div_ceil(TICKS);
        Some(Self {
            scale,
            ends,
            ticks: ticks.into_iter().step_by(every).collect(),
            fine: if fine.len() <= FINE_LINES {
                fine
            } else {
                Vec::new()
            },
        })
    }
}

/// From zero over all that is measured, in steps of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let (low, high) = match (low.min(0.0), high.max(0.0)) {
        (0.0, 0.0) => (0.0, 1.0),
        ends => ends,
    };
    // Rounding outwards adds a tick at either end.
    let inside = RangedCoordf64::from(low..high).key_points(TICKS - 2);
    let step = match inside.as_slice() {
        [first, second, ..] => second - first,
        _ => high - low,
    };
    // A value may miss the tick that it is on by a rounding error, which must not cost a whole step.
    let slack = 1e-9;
    let numbers = (low / step + slack).floor()..=(high / step - slack).ceil();
    // More than the ticks that there can be, of which one is zero.
    (-20..=20)
        .map(f64::from)
        .filter(|number| numbers.contains(number))
        .map(|number| number * step)
        .collect()
}

/// 1, 2 and 5 times the powers of ten, or these alone where that is too much.
fn logarithmic_ticks(low: f64, high: f64) -> Vec<f64> {
    let (low, high) = if low < high {
        (low, high)
    } else {
        (low / 2.0, high * 2.0)
    };
    let ticks = around(&[1.0, 2.0, 5.0], &(low..high));
    if ticks.len() <= TICKS {
        ticks
    } else {
        around(&[1.0], &(low..high))
    }
}

/// These multiples of the powers of ten, from the last that is not above the range to the first that is not below it.
fn around(multiples: &[f64], range: &Range<f64>) -> Vec<f64> {
    let all: Vec<f64> = (-14..=17)
        .flat_map(|power| multiples.iter().map(move |by| by * 10_f64.powi(power)))
        .collect();
    let first = all.partition_point(|step| *step <= range.start);
    let last = all.partition_point(|step| *step < range.end);
    let count = (last + 1).saturating_sub(first.saturating_sub(1));
    all.into_iter()
        .skip(first.saturating_sub(1))
        .take(count)
        .collect()
}

impl Ranged for Coordinate {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        let ends = self.scale.place(self.ends.start)..self.scale.place(self.ends.end);
        RangedCoordf64::from(ends).map(&self.scale.place(*value), pixels)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.ticks.clone(),
            KeyPointWeight::Any => self.fine.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.ends.clone()
    }
}

impl ValueFormatter<f64> for Coordinate {
    fn format_ext(&self, value: &f64) -> String {
        short(*value)
    }
}

/// A value beside an axis: 0.5, 20, 10k.
fn short(value: f64) -> String {
    let (value, prefix) = match value.abs() {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Ticks are multiples of a step: 3 * 0.1 is not to be shown as 0.30000000000000004.
    let digits = format!("{value:.6e}");
    let value: f64 = digits.parse().unwrap_or(value);
    if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:e}")
    } else {
        format!("{value}{prefix}")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::Scale::{Linear, Logarithmic};
    use super::*;

    type Points = Vec<(f64, f64)>;

    fn plot(scales: (Scale, Scale), lines: &[Points]) -> Plot {
        let axis = |label: &str, scale| Axis {
            label: label.to_owned(),
            scale,
        };
        Plot {
            title: "How long & how much".to_owned(),
            x: axis("time in ms", scales.0),
            y: axis("memory <MiB>", scales.1),
            series: (1..)
                .zip(lines)
                .map(|(number, points)| Series {
                    name: format!("line \"{number}\""),
                    points: points.clone(),
                })
                .collect(),
        }
    }

    /// The names of the elements, whose tags must match and whose text must be escaped.
    fn elements(document: &str) -> Vec<&str> {
        let (mut open, mut names) = (Vec::new(), Vec::new());
        for part in document.trim().split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap();
            assert!(open.len() + names.len() == 0 || !open.is_empty(), "{part}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{part}");
            for entity in part.split('&').skip(1) {
                let (name, _) = entity.split_once(';').unwrap();
                assert!(["amp", "lt", "gt", "quot", "apos"].contains(&name));
            }
            assert!(!text.contains('>'), "{part}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
                continue;
            }
            let name = tag.split([' ', '/']).next().unwrap();
            names.push(name);
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert_eq!(open, Vec::<&str>::new());
        names
    }

    /// An attribute of every element of a name.
    fn attributes<'a>(document: &'a str, element: &str, attribute: &str) -> Vec<&'a str> {
        let (element, attribute) = (format!("<{element} "), format!(" {attribute}=\""));
        document
            .lines()
            .filter(|line| line.starts_with(&element))
            .map(|line| {
                let (_, rest) = line.split_once(&attribute).unwrap();
                rest.split('"').next().unwrap()
            })
            .collect()
    }

    /// Where the points' marks are.
    fn marks(document: &str) -> Vec<(i32, i32)> {
        let all = |name| {
            attributes(document, "circle", name)
                .into_iter()
                .map(|at| at.parse().unwrap())
        };
        all("cx").zip(all("cy")).collect()
    }

    #[test]
    fn shows_all_that_it_is_given() {
        let lines = [vec![(1.0, 2.0), (10.0, 3.0)], vec![(5.0, 5.0)], vec![]];
        let document = svg(&plot((Logarithmic, Linear), &lines)).unwrap();
        for text in [
            "How long &amp; how much",
            "time in ms",
            "memory &lt;MiB&gt;",
            "line &quot;1&quot;",
            "line &quot;2&quot;",
            "line &quot;3&quot; (no data)",
        ] {
            assert!(document.lines().any(|line| line == text), "{text}");
        }
        assert_eq!(marks(&document).len(), 3);
    }

    #[test]
    fn is_a_picture_that_needs_nothing_else_and_has_its_own_background() {
        let document = svg(&plot((Linear, Linear), &[vec![(1.0, 2.0), (3.0, 4.0)]])).unwrap();
        let names = elements(&document);
        assert_eq!(names.first(), Some(&"svg"));
        assert_eq!(attributes(&document, "svg", "viewBox"), ["0 0 720 420"]);
        assert!(!names.contains(&"image") && !names.contains(&"style"));
        let fonts = attributes(&document, "text", "font-family");
        assert!(!fonts.is_empty() && fonts.iter().all(|font| *font == "sans-serif"));
        let background = document.lines().nth(1).unwrap();
        for attribute in [
            "width=\"720\"",
            "height=\"420\"",
            "opacity=\"1\"",
            "fill=\"#FFFFFF\"",
        ] {
            assert!(background.contains(attribute), "{background}");
        }
    }

    #[test]
    fn is_the_same_for_the_same_plot() {
        let draw = || {
            svg(&plot(
                (Logarithmic, Logarithmic),
                &[vec![(1.0, 0.3), (70.0, 9.0)]],
            ))
        };
        assert_eq!(draw().unwrap(), draw().unwrap());
    }

    #[test]
    fn a_mark_is_where_its_values_are() {
        let points = vec![(1.0, 0.0), (10.0, 50.0), (100.0, 100.0)];
        let document = svg(&plot((Logarithmic, Linear), &[points])).unwrap();
        let [first, second, third] = marks(&document).try_into().unwrap();
        assert!(first.0 < second.0 && first.1 > second.1);
        assert!(((second.0 - first.0) - (third.0 - second.0)).abs() <= 1);
        assert!(((first.1 - second.1) - (second.1 - third.1)).abs() <= 1);
    }

    #[test]
    fn a_distribution_is_a_line_without_marks() {
        let points = (1..=200).map(|n| (f64::from(n), f64::from(n))).collect();
        let document = svg(&plot((Logarithmic, Linear), &[points])).unwrap();
        assert_eq!(marks(&document), []);
        let line = attributes(&document, "polyline", "points")
            .into_iter()
            .max_by_key(|points| points.len());
        assert_eq!(line.unwrap().split_whitespace().count(), 200);
    }

    #[test]
    fn each_line_has_its_own_colour() {
        let lines = vec![vec![(1.0, 1.0)]; COLOURS.len()];
        let document = svg(&plot((Linear, Linear), &lines)).unwrap();
        let colours: BTreeSet<&str> = attributes(&document, "circle", "fill")
            .into_iter()
            .collect();
        assert_eq!(colours.len(), COLOURS.len());
    }

    #[test]
    fn many_names_take_more_rows_and_stay_inside() {
        let mut plot = plot((Linear, Linear), &vec![vec![(1.0, 1.0)]; 7]);
        for series in &mut plot.series {
            series.name = "the operator, back to back, to the reset".to_owned();
        }
        let document = svg(&plot).unwrap();
        let rows: BTreeSet<&str> = document
            .lines()
            .zip(document.lines().skip(1))
            .filter(|(_, text)| text.starts_with("the operator"))
            .map(|(tag, _)| tag.split(" y=\"").nth(1).unwrap())
            .collect();
        assert_eq!(rows.len(), 4);
    }

    #[rstest]
    #[case::no_series(vec![])]
    #[case::no_points(vec![vec![], vec![]])]
    #[case::no_place_on_a_logarithmic_axis(vec![vec![(0.0, 1.0), (-1.0, 1.0)]])]
    #[case::no_numbers(vec![vec![(1.0, f64::NAN), (f64::INFINITY, 1.0), (1e300, -1e300)]])]
    fn nothing_to_draw_is_an_error(#[case] lines: Vec<Points>) {
        let error = svg(&plot((Logarithmic, Linear), &lines)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The plot \"How long & how much\" has no point to draw."
        );
    }

    #[test]
    fn more_lines_than_colours_is_an_error() {
        let error = svg(&plot((Linear, Linear), &vec![vec![(1.0, 1.0)]; 8])).unwrap_err();
        assert!(error.to_string().contains("8 series, and 7"), "{error}");
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        let whole = vec![(1.0, 1.0), (10.0, 2.0)];
        let odd = vec![
            (0.0, 1.0),
            (1.0, 1.0),
            (5.0, f64::NAN),
            (-1.0, 7.0),
            (10.0, 2.0),
        ];
        let draw = |points| svg(&plot((Logarithmic, Linear), &[points])).unwrap();
        assert_eq!(draw(odd), draw(whole));
    }

    /// All pairs of small, common and large values.
    fn pairs() -> impl Iterator<Item = (f64, f64)> {
        const VALUES: [f64; 8] = [0.0, 1e-12, 0.001, 0.3, 1.0, 12.0, 1e6, 9e14];
        VALUES
            .into_iter()
            .flat_map(|low| VALUES.map(|high| (low, high)))
    }

    #[rstest]
    fn any_values_make_a_picture_that_stays_inside(
        #[values(Linear, Logarithmic)] x: Scale,
        #[values(Linear, Logarithmic)] y: Scale,
        #[values(1.0, -1.0)] sign: f64,
    ) {
        for (low, high) in pairs() {
            let points = vec![(low, low * sign), (high, high), (2.0, 3.0)];
            let document = svg(&plot((x, y), &[points])).unwrap();
            elements(&document);
            for (x, y) in marks(&document) {
                assert!((20..=700).contains(&x), "{low} {high}: {x}");
                assert!((60..=400).contains(&y), "{low} {high}: {y}");
            }
        }
    }

    #[rstest]
    fn the_ticks_are_few_and_reach_over_all_values(
        #[values(Linear, Logarithmic)] scale: Scale,
        #[values(1.0, -1.0)] sign: f64,
    ) {
        for (low, high) in pairs() {
            let low = low * sign;
            if !(scale.shows(low) && scale.shows(high)) {
                continue;
            }
            let axis = Coordinate::over(scale, [low, high].into_iter()).unwrap();
            assert!((2..=TICKS).contains(&axis.ticks.len()), "{low} {high}");
            // No pixel is so small.
            let slack = (axis.ends.end - axis.ends.start) * 1e-6;
            assert!(axis.ends.start - slack <= low.min(high), "{low} {high}");
            assert!(axis.ends.end + slack >= low.max(high), "{low} {high}");
        }
    }

    #[rstest]
    #[case(Linear, 0.0, 0.0, "0 0.2 0.4 0.6 0.8 1")]
    #[case(Linear, 0.005, 1.0, "0 0.2 0.4 0.6 0.8 1")]
    #[case(Linear, 14.0, 33.0, "0 5 10 15 20 25 30 35")]
    #[case(Linear, 0.0, 20_000.0, "0 5k 10k 15k 20k")]
    #[case(Linear, 0.1, 0.3, "0 0.05 0.1 0.15 0.2 0.25 0.3")]
    #[case(Linear, -5.0, 12.0, "-5 0 5 10 15")]
    #[case(Linear, -3.0, -1.0, "-3 -2.5 -2 -1.5 -1 -0.5 0")]
    #[case(Linear, -0.3, 0.3, "-0.3 -0.2 -0.1 0 0.1 0.2 0.3")]
    #[case(Linear, 0.0, 5e-6, "0 1e-6 2e-6 3e-6 4e-6 5e-6")]
    #[case(Linear, -5e-6, 0.0, "-5e-6 -4e-6 -3e-6 -2e-6 -1e-6 0")]
    #[case(Logarithmic, 100.0, 10_000.0, "100 200 500 1k 2k 5k 10k")]
    #[case(Logarithmic, 0.41, 88.0, "0.2 0.5 1 2 5 10 20 50 100")]
    #[case(Logarithmic, 0.001, 40.0, "0.001 0.01 0.1 1 10 100")]
    #[case(Logarithmic, 1.0, 1e6, "1 10 100 1k 10k 100k 1M")]
    #[case(Logarithmic, 1e-6, 1e10, "1e-6 1e-4 0.01 1 100 10k 1M 100M 10G")]
    #[case(Logarithmic, 12.0, 12.0, "5 10 20 50")]
    #[case(Logarithmic, 10.0, 10.0, "5 10 20")]
    fn ticks_are_few_and_round(
        #[case] scale: Scale,
        #[case] low: f64,
        #[case] high: f64,
        #[case] expected: &str,
    ) {
        let axis = Coordinate::over(scale, [low, high].into_iter()).unwrap();
        let ticks: Vec<String> = axis.ticks.iter().map(|tick| short(*tick)).collect();
        assert_eq!(ticks.join(" "), expected);
    }

    #[rstest]
    #[case::each_multiple_of_two_powers_and_the_end(Logarithmic, 1.0, 100.0, 19)]
    #[case::too_many(Logarithmic, 1e-6, 1e10, 0)]
    #[case::none_needed(Linear, 0.0, 100.0, 0)]
    fn fine_lines_are_drawn_where_there_is_room(
        #[case] scale: Scale,
        #[case] low: f64,
        #[case] high: f64,
        #[case] count: usize,
    ) {
        let axis = Coordinate::over(scale, [low, high].into_iter()).unwrap();
        assert_eq!(axis.fine.len(), count);
    }
}
