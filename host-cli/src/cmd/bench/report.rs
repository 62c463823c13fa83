//! What was measured, as a table or as JSON.

use std::{
    fmt::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use pipsqueak::{Image, PlanOptions, image::Text, kernels::Kernels};
use serde::Serialize;

use super::cost::Cost;
use crate::{failure::Failure, machine};

/// Everything, for whoever draws it.
#[derive(Serialize)]
pub(super) struct Report {
    version: &'static str,
    cpu: String,
    cores: usize,
    /// Seconds since 1970.
    measured_at: u64,
    model: Model,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Model {
    file: String,
    name: Option<String>,
    bytes: usize,
    parameters: u64,
}

/// One test at one place of the sweep.
#[derive(Serialize)]
pub(super) struct Run {
    test: &'static str,
    kernels: &'static str,
    threads: usize,
    kv: &'static str,
    batch: usize,
    depth: usize,
    tokens: usize,
    repeat: usize,
    tokens_per_s: Spread,
    ceiling_tokens_per_s: f64,
    bytes_per_token: u64,
    macs_per_token: u64,
}

#[derive(Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let (last, half) = (values.len().saturating_sub(1), values.len() / 2);
        let median =
            if values.len().is_multiple_of(2) { (at(half.saturating_sub(1)) + at(half)) / 2.0 } else { at(half) };
        Self { median, least: at(0), most: at(last) }
    }
}

impl Run {
    pub(super) fn new(
        kernels: &dyn Kernels,
        options: &PlanOptions,
        depth: usize,
        cost: &Cost,
        seconds: &[f64],
        ceilings: machine::Ceilings,
    ) -> Self {
        // A clock that has not moved is one that ticks more slowly than this.
        let rates = seconds.iter().map(|seconds| cost.tokens as f64 / seconds.max(1e-9)).collect();
        Self {
            test: cost.test,
            kernels: kernels.name(),
            threads: options.threads,
            kv: options.kv.name(),
            batch: cost.batch,
            depth,
            tokens: cost.tokens,
            repeat: seconds.len(),
            tokens_per_s: Spread::of(rates),
            ceiling_tokens_per_s: cost.ceiling(ceilings),
            bytes_per_token: cost.bytes,
            macs_per_token: cost.macs,
        }
    }
}

impl Report {
    pub(super) fn new(path: &Path, image: &Image<'_>, runs: Vec<Run>) -> Self {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let model = Model {
            file,
            name: image.text(Text::Name).map(Into::into),
            bytes: image.len(),
            parameters: image.config().parameters(),
        };
        let measured_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (cpu, cores) = (machine::cpu(), machine::cores());
        Self { version: env!("CARGO_PKG_VERSION"), cpu, cores, measured_at, model, runs }
    }

    /// One line.
    pub(super) fn json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string(self).map_err(Failure::new)? + "\n")
    }

    pub(super) fn table(&self) -> String {
        let mut out = format!(
            "{:<8} {:>3} {:>7} {:>6} {:>7} {:>7} {:>10} {:>19} {:>10} {:>6}  kernels\n",
            "test", "kv", "threads", "batch", "depth", "tokens", "tokens/s", "least to most", "ceiling", "share"
        );
        for run in &self.runs {
            let Spread { median, least, most } = run.tokens_per_s;
            let _ = writeln!(
                out,
                "{:<8} {:>3} {:>7} {:>6} {:>7} {:>7} {median:>10.1} {:>19} {:>10.1} {:>5.1}%  {}",
                run.test,
                run.kv,
                run.threads,
                run.batch,
                run.depth,
                run.tokens,
                format!("{least:.1} to {most:.1}"),
                run.ceiling_tokens_per_s,
                100.0 * median / run.ceiling_tokens_per_s,
                run.kernels
            );
        }
        let repeat = self.runs.first().map_or(0, |run| run.repeat);
        let _ = writeln!(
            out,
            "tokens/s: median of {repeat} runs; ceilings: decode, bytes a token / read bandwidth; prefill, multiply-adds a \
             token / int8 peak, or one reading of the weights a batch"
        );
        out
    }
}
