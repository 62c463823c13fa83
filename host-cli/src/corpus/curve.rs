//! The curve of a training run, as an SVG picture.
//!
//! Training loss of every step, faint, and smoothed over it; loss on the documents held out, as points; the learning rate,
//! if it is given, below in a strip of its own. Text and lines have colours that read on white, which the picture brings.

use std::fmt::{self, Write};

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

const INK: &str = "#24292f";
const QUIET: &str = "#57606a";
const GRID: &str = "#e4e8ec";
const TRAIN: &str = "#1f6feb";
const HELD_OUT: &str = "#d1570a";
const RATE: &str = "#6e7781";
/// For a number in the middle of lines.
const HALO: &str =
    r##" font-weight="600" stroke="#ffffff" stroke-width="4" stroke-linejoin="round" paint-order="stroke""##;

/// Points that a line is drawn through at most: more than the picture has columns change nothing.
const POINTS: usize = 1000;
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

    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="13">"#
    )?;
    writeln!(out, "<title>{}</title>", Escaped(curve.title))?;
    writeln!(out, r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##)?;
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

/// Values `low..=high` on the picture's `from..=to`.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    /// Ticks are no closer than this.
    least: f64,
}

impl Axis {
    /// Room for these values, and at least for something.
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low < 1e-9 * high.abs().max(1e-3) {
            let half = 0.5 * high.abs().max(1.0);
            (low, high) = (low - half, high + half);
        }
        Self { low, high, from, to, least: 0.0 }
    }

    /// For whole numbers, with zero in it if they begin near it.
    fn of_steps(self) -> Self {
        let near = self.low.abs() < 0.25 * self.high;
        Self { low: if near { 0.0 } else { self.low }, least: 1.0, ..self }
    }

    /// Ends at ticks.
    fn rounded(self) -> Self {
        let unit = self.unit(6);
        Self { low: (self.low / unit).floor() * unit, high: (self.high / unit).ceil() * unit, ..self }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// What ticks are multiples of, if there are to be about `count`: 1, 2 or 5 times a power of ten.
    fn unit(&self, count: u32) -> f64 {
        let rough = ((self.high - self.low) / f64::from(count)).max(self.least);
        let ten = 10f64.powf(rough.log10().floor());
        [1.0, 2.0, 5.0].map(|factor| factor * ten).into_iter().find(|unit| *unit >= rough).unwrap_or(10.0 * ten)
    }

    fn ticks(&self, count: u32) -> impl Iterator<Item = f64> {
        let unit = self.unit(count);
        let first = (self.low / unit - 1e-6).ceil() as i64;
        let last = (self.high / unit + 1e-6).floor() as i64;
        (first..=last).take(4 * count as usize).map(move |number| number as f64 * unit)
    }

    /// A tick's value with the decimals that tell it from its neighbours; thousands as `k`.
    fn label(&self, tick: f64, count: u32) -> String {
        let unit = self.unit(count);
        let (tick, unit, suffix) =
            if self.high >= 10_000.0 && tick != 0.0 { (tick / 1e3, unit / 1e3, "k") } else { (tick, unit, "") };
        let decimals = (-unit.log10().floor()).clamp(0.0, 9.0) as usize;
        format!("{tick:.decimals$}{suffix}")
    }
}

/// A line through points, thinned out where there are more than can be seen: of each stretch its lowest and its highest.
fn path(out: &mut String, points: &[(f64, f64)], x: &Axis, y: &Axis, style: &str) -> fmt::Result {
    if points.len() < 2 {
        return Ok(());
    }
    write!(out, r#"<path fill="none" stroke-linejoin="round" {style} d=""#)?;
    let mut pen = 'M';
    for stretch in points.chunks((2 * points.len()).div_ceil(POINTS).max(1)) {
        let by_loss = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = [stretch.iter().min_by(by_loss), stretch.iter().max_by(by_loss)];
        let mut ends: Vec<_> = ends.into_iter().flatten().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        for (step, loss) in ends {
            write!(out, "{pen}{:.1} {:.1}", x.place(*step), y.place(*loss))?;
            pen = 'L';
        }
    }
    writeln!(out, r#""/>"#)
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) -> fmt::Result {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#)
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, more: &str, words: &str) -> fmt::Result {
    let words = Escaped(words);
    writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}"{more}>{words}</text>"#)
}

/// Text as XML takes it; what XML has no way to say is left out.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '\t' | '\n' | '\r' => f.write_char(' ')?,
                '\u{fffe}' | '\u{ffff}' => {}
                c if c < ' ' => {}
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
