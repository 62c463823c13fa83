//! SVG pictures: axes, lines and words, in colours that read on white, which every picture brings, so that it does not
//! matter what it is shown on.

pub mod chart;

use std::fmt::{self, Write};

pub(crate) const INK: &str = "#24292f";
pub(crate) const QUIET: &str = "#57606a";
pub(crate) const GRID: &str = "#e4e8ec";

/// Points that a line is drawn through at most: more than the picture has columns change nothing.
const POINTS: usize = 1000;

/// Begins a picture, which is to be ended by `</svg>`.
pub(crate) fn begin(out: &mut String, width: f64, height: f64, title: &str) -> fmt::Result {
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="13">"#
    )?;
    writeln!(out, "<title>{}</title>", Escaped(title))?;
    writeln!(out, r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##)
}

/// Values `low..=high` on the picture's `from..=to`.
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Ticks are no closer than this.
    pub(crate) least: f64,
}

impl Axis {
    /// Room for these values, and at least for something.
    pub(crate) fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
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
    pub(crate) fn of_steps(self) -> Self {
        let near = self.low.abs() < 0.25 * self.high;
        Self { low: if near { 0.0 } else { self.low }, least: 1.0, ..self }
    }

    /// Ends at ticks.
    pub(crate) fn rounded(self) -> Self {
        let unit = self.unit(6);
        Self { low: (self.low / unit).floor() * unit, high: (self.high / unit).ceil() * unit, ..self }
    }

    pub(crate) fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// What ticks are multiples of, if there are to be about `count`: 1, 2 or 5 times a power of ten.
    fn unit(&self, count: u32) -> f64 {
        let rough = ((self.high - self.low) / f64::from(count)).max(self.least);
        let ten = 10f64.powf(rough.log10().floor());
        [1.0, 2.0, 5.0].map(|factor| factor * ten).into_iter().find(|unit| *unit >= rough).unwrap_or(10.0 * ten)
    }

    pub(crate) fn ticks(&self, count: u32) -> impl Iterator<Item = f64> {
        let unit = self.unit(count);
        let first = (self.low / unit - 1e-6).ceil() as i64;
        let last = (self.high / unit + 1e-6).floor() as i64;
        (first..=last).take(4 * count as usize).map(move |number| number as f64 * unit)
    }

    /// A tick's value with the decimals that tell it from its neighbours; thousands as `k`.
    pub(crate) fn label(&self, tick: f64, count: u32) -> String {
        let unit = self.unit(count);
        let (tick, unit, suffix) =
            if self.high >= 10_000.0 && tick != 0.0 { (tick / 1e3, unit / 1e3, "k") } else { (tick, unit, "") };
        let decimals = (-unit.log10().floor()).clamp(0.0, 9.0) as usize;
        format!("{tick:.decimals$}{suffix}")
    }
}

/// A line through points, thinned out where there are more than can be seen: of each stretch its lowest and its
/// highest.
pub(crate) fn path(out: &mut String, points: &[(f64, f64)], x: &Axis, y: &Axis, style: &str) -> fmt::Result {
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

/// A straight line.
pub(crate) fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) -> fmt::Result {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#)
}

/// Words; `anchor` is which end of them is at `x`, `more` are further attributes.
pub(crate) fn text(
    out: &mut String,
    x: f64,
    y: f64,
    anchor: &str,
    colour: &str,
    more: &str,
    words: &str,
) -> fmt::Result {
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
