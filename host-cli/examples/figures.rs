//! Draws what `pipsqueak bench --json` has measured: `figures RUNS OUT`, as docs/performance.sh calls it.
//!
//! RUNS is a folder with `about.json` (`date`, `commit`) and `depth.json`, `batch.json`, `threads.json` and
//! `size.json`: the command as a JSON string on a line of its own, then the report of each model on one. In OUT it
//! writes the pictures, and README.md with them and all numbers as tables.

use std::{
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use pipsqueak_cli::svg::chart::{Chart, Point, Series, svg};
use serde::Deserialize;

#[derive(Deserialize)]
struct About {
    date: String,
    commit: String,
}

#[derive(Deserialize)]
struct Report {
    cpu: String,
    cores: usize,
    model: Model,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Model {
    file: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct Run {
    test: String,
    kernels: String,
    threads: u32,
    kv: String,
    batch: u32,
    depth: u32,
    tokens: u32,
    repeat: u32,
    tokens_per_s: Spread,
    ceiling_tokens_per_s: f64,
    bytes_per_token: u64,
    macs_per_token: u64,
}

#[derive(Deserialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

/// A file of RUNS.
struct Sweep {
    command: String,
    reports: Vec<Report>,
}

/// A picture: of which sweep and test, against what, and what a line of it is.
struct Figure {
    file: &'static str,
    sweep: &'static str,
    /// Which runs.
    test: Option<&'static str>,
    title: &'static str,
    x: &'static str,
    log_x: bool,
    log_y: bool,
    at: fn(&Model, &Run) -> f64,
    line: fn(&Run) -> String,
}

const FIGURES: [Figure; 6] = [
    Figure {
        file: "decode-depth",
        sweep: "depth",
        test: Some("decode"),
        title: "Decode against context depth",
        x: "tokens of context before",
        log_x: false,
        log_y: false,
        at: |_, run| f64::from(run.depth),
        line: |run| format!("{} cache", run.kv),
    },
    Figure {
        file: "prefill-depth",
        sweep: "depth",
        test: Some("prefill"),
        title: "Prefill against context depth",
        x: "tokens of context before",
        log_x: false,
        log_y: false,
        at: |_, run| f64::from(run.depth),
        line: |run| format!("{} cache", run.kv),
    },
    Figure {
        file: "prefill-batch",
        sweep: "batch",
        test: Some("prefill"),
        title: "Prefill against batch",
        x: "tokens of a batch",
        log_x: true,
        log_y: false,
        at: |_, run| f64::from(run.batch),
        line: |run| threads(run.threads),
    },
    Figure {
        file: "decode-threads",
        sweep: "threads",
        test: Some("decode"),
        title: "Decode against threads",
        x: "threads",
        log_x: true,
        log_y: false,
        at: |_, run| f64::from(run.threads),
        line: |run| run.test.clone(),
    },
    Figure {
        file: "prefill-threads",
        sweep: "threads",
        test: Some("prefill"),
        title: "Prefill against threads",
        x: "threads",
        log_x: true,
        log_y: false,
        at: |_, run| f64::from(run.threads),
        line: |run| run.test.clone(),
    },
    Figure {
        file: "size",
        sweep: "size",
        test: None,
        title: "Prefill and decode against model size",
        x: "model, MB",
        log_x: true,
        log_y: true,
        at: |model, _| model.bytes as f64 / 1e6,
        line: |run| run.test.clone(),
    },
];

/// The tables, in order: a sweep and what it is called.
const TABLES: [(&str, &str); 4] = [
    ("depth", "Against context depth"),
    ("batch", "Against batch"),
    ("threads", "Against threads"),
    ("size", "Against model size"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(runs), Some(out), None) = (words.next(), words.next(), words.next()) else {
        return Err("two folders are wanted: of the measurements, and of the pictures".into());
    };
    let about: About = serde_json::from_str(&fs::read_to_string(runs.join("about.json"))?)?;
    fs::create_dir_all(&out)?;
    let mut page = String::new();
    for (name, title) in TABLES {
        let sweep = read(&runs.join(name).with_extension("json"))?;
        let first = sweep.reports.first().ok_or("a sweep without a model")?;
        let machine = format!("{}, {} cores", first.cpu, first.cores);
        if page.is_empty() {
            begin(&mut page, &about, &machine)?;
        }
        writeln!(page, "\n## {title}\n")?;
        for figure in FIGURES.iter().filter(|figure| figure.sweep == name) {
            let models = if sweep.reports.len() == 1 { first.model.file.as_str() } else { "several models" };
            let kernels = first.runs.first().map_or("", |run| &run.kernels);
            let caption = format!("{models}; {machine}, {kernels} kernels; {}, commit {}", about.date, about.commit);
            fs::write(out.join(figure.file).with_extension("svg"), svg(&chart(figure, &sweep, &caption)))?;
            writeln!(page, "![{}]({}.svg)", figure.title, figure.file)?;
        }
        writeln!(page, "\n```\n{}\n```\n", sweep.command)?;
        table(&mut page, &sweep)?;
    }
    fs::write(out.join("README.md"), page)?;
    Ok(())
}

fn read(path: &Path) -> Result<Sweep, Box<dyn Error>> {
    let fail = |error: &dyn Error| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| fail(&error))?;
    let mut lines = text.lines();
    let command = serde_json::from_str(lines.next().unwrap_or_default()).map_err(|error| fail(&error))?;
    let reports: Result<Vec<Report>, _> = lines.map(serde_json::from_str).collect();
    let mut reports = reports.map_err(|error| fail(&error))?;
    reports.sort_by_key(|report| report.model.bytes);
    Ok(Sweep { command, reports })
}

fn chart<'a>(figure: &'a Figure, sweep: &Sweep, caption: &'a str) -> Chart<'a> {
    let mut series: Vec<Series> = Vec::new();
    let runs = sweep.reports.iter().flat_map(|report| report.runs.iter().map(|run| (&report.model, run)));
    for (model, run) in runs.filter(|(_, run)| figure.test.is_none_or(|test| run.test == test)) {
        let Spread { median, least, most } = run.tokens_per_s;
        let point = Point { x: (figure.at)(model, run), median, least, most, ceiling: run.ceiling_tokens_per_s };
        let name = (figure.line)(run);
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name, points: vec![point] }),
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    let Figure { title, x, log_x, log_y, .. } = *figure;
    Chart { title, caption, x, y: "tokens/s", log_x, log_y, series }
}

fn begin(page: &mut String, about: &About, machine: &str) -> std::fmt::Result {
    writeln!(page, "# Figures\n")?;
    writeln!(
        page,
        "Measured by `docs/performance.sh` on {}: {machine}, commit {}. Lines are medians, whiskers reach from the least to the \
         most of the repeats, dashed lines are what the machine could do at best, measured in the same run. How to read \
         them: [performance](../performance.md). This page and its pictures are written by that command, not by hand.",
        about.date, about.commit
    )
}

fn table(page: &mut String, sweep: &Sweep) -> std::fmt::Result {
    let repeat = sweep.reports.iter().flat_map(|report| &report.runs).map(|run| run.repeat).max().unwrap_or(0);
    writeln!(
        page,
        "| model | test | cache | threads | batch | depth | tokens | tokens/s, median of {repeat} (least to most) | ceiling | share | MB \
         a token | million multiply-adds a token |"
    )?;
    writeln!(page, "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for report in &sweep.reports {
        for run in &report.runs {
            let Spread { median, least, most } = run.tokens_per_s;
            writeln!(
                page,
                "| {} | {} | {} | {} | {} | {} | {} | {median:.1} ({least:.1} to {most:.1}) | {:.1} | {:.0} % | {:.2} | {:.2} |",
                report.model.file,
                run.test,
                run.kv,
                run.threads,
                run.batch,
                run.depth,
                run.tokens,
                run.ceiling_tokens_per_s,
                100.0 * median / run.ceiling_tokens_per_s,
                run.bytes_per_token as f64 / 1e6,
                run.macs_per_token as f64 / 1e6
            )?;
        }
    }
    Ok(())
}

fn threads(count: u32) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}
