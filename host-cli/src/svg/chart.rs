//! A chart of measurements beside their ceilings: a line of medians a series, a whisker from least to most at each, and
//! the ceilings as a dashed line in the same colour.

use std::fmt::{self, Write};

use super::{Axis, GRID, INK, QUIET, begin, line, path, text};

/// What a chart shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// Below it: machine, date, commit.
    pub caption: &'a str,
    /// What grows from left to right, with its unit.
    pub x: &'a str,
    /// What was measured, with its unit.
    pub y: &'a str,
    /// Each step to the right is a factor, with ticks at the measurements.
    pub log_x: bool,
    /// Each step upwards is a factor.
    pub log_y: bool,
    /// The lines.
    pub series: Vec<Series>,
}

/// The measurements of a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Of rising `x`.
    pub points: Vec<Point>,
}

/// A measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// What it was measured at.
    pub x: f64,
    /// Half of the repeats were no less, half no more.
    pub median: f64,
    /// Of the repeats.
    pub least: f64,
    /// Of the repeats.
    pub most: f64,
    /// What the machine does at best.
    pub ceiling: f64,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 88.0;
const BOTTOM: f64 = 84.0;

/// One a line, told apart by eyes that do not see all colours too; then from the start again.
const COLOURS: [&str; 6] = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#6e7781", "#cf222e"];
/// Least distance between two ticks of factors.
const APART: f64 = 44.0;

/// The picture, a whole SVG document.
pub fn svg(chart: &Chart<'_>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(chart, &mut out);
    out
}

fn draw(chart: &Chart<'_>, out: &mut String) -> fmt::Result {
    let points = || chart.series.iter().flat_map(|series| &series.points).filter(|point| drawn(chart, point));
    let x = Scale::new(chart.log_x, points().map(|point| point.x), LEFT, WIDTH - RIGHT);
    let heights = points().flat_map(|point| [point.least, point.most, point.ceiling]);
    // What is no factor begins at nothing, so that heights can be compared.
    let base = (!chart.log_y).then_some(0.0);
    let y = Scale::new(chart.log_y, heights.chain(base), HEIGHT - BOTTOM, TOP).rounded();

    begin(out, WIDTH, HEIGHT, chart.title)?;
    text(out, LEFT, 28.0, "start", INK, r#" font-size="17" font-weight="600""#, chart.title)?;
    text(out, LEFT, TOP - 14.0, "start", QUIET, "", chart.y)?;
    text(out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 42.0, "middle", QUIET, "", chart.x)?;
    text(out, LEFT, HEIGHT - 12.0, "start", QUIET, r#" font-size="11""#, chart.caption)?;
    for (at, label) in y.ticks(&[]) {
        line(out, (LEFT, at), (WIDTH - RIGHT, at), GRID)?;
        text(out, LEFT - 8.0, at + 4.5, "end", QUIET, "", &label)?;
    }
    let floor = HEIGHT - BOTTOM;
    let mut measured: Vec<f64> = points().map(|point| point.x).collect();
    measured.sort_by(f64::total_cmp);
    measured.dedup();
    for (at, label) in x.ticks(&measured) {
        line(out, (at, floor), (at, floor + 5.0), QUIET)?;
        text(out, at, floor + 20.0, "middle", QUIET, "", &label)?;
    }
    line(out, (LEFT, floor), (WIDTH - RIGHT, floor), QUIET)?;

    let mut right = legend(out, WIDTH - RIGHT, QUIET, r#" stroke-dasharray="6 4""#, "ceiling")?;
    let coloured: Vec<_> = chart.series.iter().zip(COLOURS.into_iter().cycle()).collect();
    // From the right, so the first one is the last to be put down.
    for (series, colour) in coloured.iter().rev() {
        right = legend(out, right, colour, "", &series.name)?;
    }
    for (series, colour) in coloured {
        let points: Vec<_> = series.points.iter().filter(|point| drawn(chart, point)).collect();
        let along = |height: fn(&Point) -> f64| -> Vec<(f64, f64)> {
            points.iter().map(|point| (x.value(point.x), y.value(height(point)))).collect()
        };
        let style = |more: &str| format!(r#"stroke="{colour}" {more}"#);
        path(
            out,
            &along(|point| point.ceiling),
            &x.axis,
            &y.axis,
            &style(r#"stroke-width="1.5" stroke-dasharray="6 4" stroke-opacity="0.7""#),
        )?;
        path(out, &along(|point| point.median), &x.axis, &y.axis, &style(r#"stroke-width="2""#))?;
        for point in &points {
            let at = x.place(point.x);
            line(out, (at, y.place(point.least)), (at, y.place(point.most)), colour)?;
            writeln!(
                out,
                r##"<circle cx="{at:.1}" cy="{:.1}" r="3.5" fill="{colour}" stroke="#ffffff"/>"##,
                y.place(point.median)
            )?;
            // A single point has no line to be seen by.
            if points.len() == 1 {
                let high = y.place(point.ceiling);
                line(out, (at - 12.0, high), (at + 12.0, high), colour)?;
            }
        }
    }
    writeln!(out, "</svg>")
}

/// Whether a point can be in the picture.
fn drawn(chart: &Chart<'_>, point: &Point) -> bool {
    let all = [point.x, point.median, point.least, point.most, point.ceiling];
    let heights = &all[1..];
    all.iter().all(|value| value.is_finite())
        && (!chart.log_x || point.x > 0.0)
        && (!chart.log_y || heights.iter().all(|height| *height > 0.0))
}

/// A line of the legend, which ends at `right`; returns where the next one ends.
fn legend(out: &mut String, right: f64, colour: &str, dashes: &str, name: &str) -> Result<f64, fmt::Error> {
    let y = 52.0;
    text(out, right, y + 4.5, "end", INK, "", name)?;
    // Letters of 13 pixels are about 7 wide.
    let from = right - 7.0 * name.chars().count() as f64 - 30.0;
    writeln!(
        out,
        r#"<line x1="{from:.1}" y1="{y}" x2="{:.1}" y2="{y}" stroke="{colour}" stroke-width="2"{dashes}/>"#,
        from + 22.0
    )?;
    Ok(from - 16.0)
}

/// An axis, of values or of their logarithms.
struct Scale {
    log: bool,
    axis: Axis,
}

impl Scale {
    fn new(log: bool, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let axis = Axis::new(values.map(|value| if log { value.log2() } else { value }), from, to);
        Self { log, axis }
    }

    /// Ends at ticks; of factors, where it ends.
    fn rounded(self) -> Self {
        if self.log { self } else { Self { axis: self.axis.rounded(), ..self } }
    }

    /// What the axis places.
    fn value(&self, value: f64) -> f64 {
        if self.log { value.log2() } else { value }
    }

    fn place(&self, value: f64) -> f64 {
        self.axis.place(self.value(value))
    }

    /// Places and labels: of factors, `wanted` where they are not too close, or, without, powers of ten, and 2 and 5
    /// times them.
    fn ticks(&self, wanted: &[f64]) -> Vec<(f64, String)> {
        if !self.log {
            return self.axis.ticks(6).map(|tick| (self.axis.place(tick), self.axis.label(tick, 6))).collect();
        }
        let (low, high) = (self.axis.low.exp2(), self.axis.high.exp2());
        let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
        // In between only where there are few.
        let factors: &[f64] = if high / low > 300.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let round = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
        let candidates = if wanted.is_empty() { round.collect() } else { wanted.to_vec() };
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for value in candidates.into_iter().filter(|value| (low * 0.999..=high * 1.001).contains(value)) {
            let at = self.place(value);
            let room = if self.axis.from < self.axis.to { APART } else { APART / 2.0 };
            if ticks.last().is_none_or(|(last, _)| (at - last).abs() >= room) {
                ticks.push((at, label(value)));
            }
        }
        ticks
    }
}

/// A number with as many digits as tell it apart; thousands as `k`, millions as `M`.
fn label(value: f64) -> String {
    let (value, suffix) = match value {
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = (1.0 - value.abs().log10().floor()).clamp(0.0, 3.0) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}
