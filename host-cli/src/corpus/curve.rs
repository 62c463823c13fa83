//! The curve of a training run, as an SVG picture.
//!
//! Training loss of every step, faint, and smoothed over it; loss on the documents held out, as points; the learning rate,
//! if it is given, below in a strip of its own. Text and lines have colours that read on white, which the picture brings.

use std::fmt::{self, Write};

use crate::svg::{self, Axis, GRID, INK, QUIET, line, path, text};

/// What a training run has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// What loss is counted in: "bits per character", "nats per token".
    pub unit: &'a str,
    /// Step and training loss, steps rising. What is not finite is left out, here and below.
    pub train: &'a [(f64, f64)],
    /// Step and loss on what was held out.
    pub held_out: &'a [(f64, f64)],
    /// Step and learning rate; empty for no such line.
    pub learning_rate: &'a [(f64, f64)],
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 56.0;
/// The strip of the learning rate, and what parts it from the loss.
const STRIP: f64 = 56.0;
const GAP: f64 = 20.0;

const TRAIN: &str = "#1f6feb";
const HELD_OUT: &str = "#d1570a";
const RATE: &str = "#6e7781";
/// For a number in the middle of lines.
const HALO: &str =
    r##" font-weight="600" stroke="#ffffff" stroke-width="4" stroke-linejoin="round" paint-order="stroke""##;

/// Numbers from here on are as good as infinite.
const LARGEST: f64 = 1e30;
/// A point of the smoothed line is the mean of this part of the run.
const WINDOW: f64 = 0.02;

/// The picture, a whole SVG document.
pub fn svg(curve: &Curve<'_>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(curve, &mut out);
    out
}

fn draw(curve: &Curve<'_>, out: &mut String) -> fmt::Result {
    let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().copied().filter(|(x, y)| x.abs() < LARGEST && y.abs() < LARGEST).collect()
    };
    let (train, held_out, rate) = (finite(curve.train), finite(curve.held_out), finite(curve.learning_rate));
    let smooth = smoothed(&train);
    let steps = train.iter().chain(&held_out).chain(&rate).map(|(step, _)| *step);
    let x = Axis::new(steps, LEFT, WIDTH - RIGHT).of_steps();
    let strip = if rate.is_empty() { 0.0 } else { STRIP + GAP };
    let floor = HEIGHT - BOTTOM - strip;
    let y = Axis::new(shown(&train, &smooth, &held_out), floor, TOP).rounded();

    svg::begin(out, WIDTH, HEIGHT, curve.title)?;
    writeln!(
        out,
        r#"<clipPath id="plot"><rect x="{LEFT}" y="{TOP}" width="{}" height="{}"/></clipPath>"#,
        WIDTH - RIGHT - LEFT,
        floor - TOP
    )?;
    text(out, LEFT, 26.0, "start", INK, r#" font-size="17" font-weight="600""#, curve.title)?;
    text(out, LEFT, TOP - 12.0, "start", QUIET, "", &format!("loss, {}", curve.unit))?;
    legend(out, &held_out, !train.is_empty())?;

    for tick in y.ticks(6) {
        let at = y.place(tick);
        line(out, (LEFT, at), (WIDTH - RIGHT, at), GRID)?;
        text(out, LEFT - 8.0, at + 4.5, "end", QUIET, "", &y.label(tick, 6))?;
    }
    let base = HEIGHT - BOTTOM;
    for tick in x.ticks(8) {
        let at = x.place(tick);
        line(out, (at, base), (at, base + 5.0), QUIET)?;
        text(out, at, base + 20.0, "middle", QUIET, "", &x.label(tick, 8))?;
    }
    line(out, (LEFT, floor), (WIDTH - RIGHT, floor), QUIET)?;
    text(out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", QUIET, "", "step")?;

    writeln!(out, r#"<g clip-path="url(#plot)">"#)?;
    path(out, &train, &x, &y, &format!(r#"stroke="{TRAIN}" stroke-opacity="0.25" stroke-width="1""#))?;
    path(out, &smooth, &x, &y, &format!(r#"stroke="{TRAIN}" stroke-width="2""#))?;
    path(out, &held_out, &x, &y, &format!(r#"stroke="{HELD_OUT}" stroke-opacity="0.5" stroke-width="1.5""#))?;
    writeln!(out, "</g>")?;
    for (step, loss) in &held_out {
        let (x, y) = (x.place(*step), y.place(*loss).clamp(TOP, floor));
        writeln!(out, r##"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{HELD_OUT}" stroke="#ffffff"/>"##)?;
    }
    if let Some((step, loss)) = held_out.last() {
        // The number the run is remembered by, where the last point leaves room for it.
        let (at, high) = (x.place(*step), y.place(*loss).clamp(TOP, floor));
        let anchor = if at < LEFT + 60.0 { "start" } else { "end" };
        text(out, at, high - 10.0, anchor, HELD_OUT, HALO, &format!("{loss:.3}"))?;
    }
    if !rate.is_empty() {
        let top = base - STRIP;
        let most = rate.iter().fold(0.0, |most: f64, (_, rate)| most.max(*rate));
        let scale = Axis { low: 0.0, high: if most > 0.0 { most } else { 1.0 }, from: base, to: top, least: 0.0 };
        line(out, (LEFT, base), (WIDTH - RIGHT, base), QUIET)?;
        line(out, (LEFT, top), (WIDTH - RIGHT, top), GRID)?;
        path(out, &rate, &x, &scale, &format!(r#"stroke="{RATE}" stroke-width="1.5""#))?;
        text(out, LEFT - 8.0, top + 4.5, "end", QUIET, "", &format!("{most:.1e}"))?;
        text(out, LEFT - 8.0, base + 4.5, "end", QUIET, "", "0")?;
        text(out, WIDTH - RIGHT - 4.0, top + 16.0, "end", QUIET, "", "learning rate")?;
    }
    writeln!(out, "</svg>")
}

/// Which line is which.
fn legend(out: &mut String, held_out: &[(f64, f64)], trained: bool) -> fmt::Result {
    let (y, mut right) = (TOP - 16.0, WIDTH - RIGHT);
    if !held_out.is_empty() {
        text(out, right, y + 4.0, "end", INK, "", "held out")?;
        right -= 66.0;
        writeln!(out, r#"<circle cx="{right}" cy="{y}" r="3.5" fill="{HELD_OUT}"/>"#)?;
        right -= 24.0;
    }
    if trained {
        text(out, right, y + 4.0, "end", INK, "", "training")?;
        right -= 66.0;
        writeln!(
            out,
            r#"<line x1="{}" y1="{y}" x2="{}" y2="{y}" stroke="{TRAIN}" stroke-width="2"/>"#,
            right - 12.0,
            right + 6.0
        )?;
    }
    Ok(())
}

/// The mean of each point and as many before it as behind it, so that the line does not lag behind a falling loss.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() as f64 * WINDOW / 2.0).ceil() as usize;
    // Sums of all losses before each point, so that a long run takes no longer for each.
    let mut sums = vec![0.0];
    sums.extend(points.iter().scan(0.0, |sum, (_, loss)| {
        *sum += loss;
        Some(*sum)
    }));
    let mean = |(at, (step, _)): (usize, &(f64, f64))| {
        let reach = reach.min(at).min(points.len() - 1 - at);
        (*step, (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1) as f64)
    };
    points.iter().enumerate().map(mean).collect()
}

/// The losses that the picture must have room for: all that were smoothed or held out, and the raw ones but for the
/// thousandth at either end, so that one step that went wrong does not flatten all others.
fn shown(train: &[(f64, f64)], smooth: &[(f64, f64)], held_out: &[(f64, f64)]) -> impl Iterator<Item = f64> {
    let mut raw: Vec<f64> = train.iter().map(|(_, loss)| *loss).collect();
    raw.sort_by(f64::total_cmp);
    let strange = raw.len() / 1000;
    let raw = raw.get(strange..raw.len() - strange).unwrap_or_default().to_vec();
    let others: Vec<f64> = smooth.iter().chain(held_out).map(|(_, loss)| *loss).collect();
    raw.into_iter().chain(others)
}
