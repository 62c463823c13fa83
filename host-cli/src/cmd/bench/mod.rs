//! `bench`: prefill and decode speed beside this machine's ceilings.

mod cost;
mod measure;
mod report;

use pipsqueak::{Image, KvType, PlanOptions, kernels::Kernels};

use super::print;
use crate::{
    args::BenchArgs,
    engine::{self, Arenas},
    failure::Failure,
    machine,
    pool::with_team,
};
use measure::Bench;
use report::Report;

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.kernels.as_deref())?;
    if let Some(why) = engine::kernels_missed() {
        eprintln!("{why}");
    }
    let model = engine::open_cached(&args.model, kernels, None, args.cache)?;
    let image = model.image()?;
    let sweep = Sweep::new(args, image.config().seq_len as usize)?;
    let runs = sweep.runs(&image, kernels)?;
    let report = Report::new(model.path(), &image, runs);
    print(&if args.json { report.json()? } else { report.table() })
}

/// What is measured: every combination of the lists.
struct Sweep {
    prefill: usize,
    decode: usize,
    repeat: u32,
    /// Rising, so that the context of one is the beginning of the next one's.
    depths: Vec<usize>,
    threads: Vec<usize>,
    kv: Vec<KvType>,
    batches: Vec<usize>,
}

impl Sweep {
    /// As asked for, of a model whose context is `longest`.
    fn new(args: &BenchArgs, longest: usize) -> Result<Self, Failure> {
        let mut threads: Vec<usize> = args.threads.iter().map(|threads| usize::from(*threads)).collect();
        if threads.is_empty() {
            let all = machine::cores();
            threads = if all > 1 { vec![1, all] } else { vec![1] };
        }
        if threads.contains(&0) {
            return Err(Failure::usage("-t 0: at least one thread is needed"));
        }
        let mut depths: Vec<usize> = args.depth.iter().map(|depth| *depth as usize).collect();
        depths.sort_unstable();
        depths.dedup();
        let sweep = Self {
            prefill: args.prefill as usize,
            decode: args.decode as usize,
            repeat: args.repeat,
            depths,
            threads,
            kv: args.kv.iter().map(|kv| KvType::from(*kv)).collect(),
            batches: args.batch.iter().map(|batch| *batch as usize).collect(),
        };
        let (depth, context) = (sweep.deepest(), sweep.context());
        if context > longest {
            return Err(Failure::usage(format_args!(
                "-p {} and -n {} after --depth {depth} need {context} positions, the model's context is {longest}",
                args.prefill, args.decode
            )));
        }
        Ok(sweep)
    }

    fn deepest(&self) -> usize {
        self.depths.last().copied().unwrap_or(0)
    }

    fn context(&self) -> usize {
        self.deepest().saturating_add(self.prefill.max(self.decode)).max(1)
    }

    fn runs(&self, image: &Image<'_>, kernels: &'static dyn Kernels) -> Result<Vec<report::Run>, Failure> {
        let mut runs = Vec::new();
        let context = self.context();
        for kv in &self.kv {
            for threads in &self.threads {
                for (index, batch) in self.batches.iter().enumerate() {
                    let batch = (*batch).min(context);
                    let options = PlanOptions { context, kv: *kv, batch, logits: 1, threads: *threads };
                    let decode = if index == 0 { self.decode } else { 0 };
                    self.one_plan(image, kernels, options, decode, &mut runs)?;
                }
            }
        }
        Ok(runs)
    }

    /// All depths of one plan.
    fn one_plan(
        &self,
        image: &Image<'_>,
        kernels: &'static dyn Kernels,
        options: PlanOptions,
        decode: usize,
        runs: &mut Vec<report::Run>,
    ) -> Result<(), Failure> {
        let plan = pipsqueak::Plan::new(image.config(), options);
        let mut arenas = Arenas::new(&plan)?;
        with_team(options.threads, |team| {
            let mut bench = Bench {
                session: arenas.session(image, kernels, team, &plan)?,
                vocab_size: image.config().vocab_size,
                repeat: self.repeat,
            };
            for depth in &self.depths {
                bench.go_to(*depth)?;
                let costs = [
                    cost::prefill(image, &options, *depth, self.prefill),
                    cost::decode(image, &options, *depth, decode),
                ];
                // Before and after, because a busy moment would put a ceiling below what is then measured under it.
                let ceilings = || machine::Ceilings::measure(kernels, options.threads, costs[1].bytes as usize);
                let before = ceilings();
                let seconds = bench.measure(*depth, self.prefill, decode)?;
                let ceilings = ceilings().or_higher(before);
                for (cost, seconds) in costs.into_iter().zip(seconds) {
                    if cost.tokens > 0 {
                        runs.push(report::Run::new(kernels, &options, *depth, &cost, &seconds, ceilings));
                    }
                }
            }
            Ok(())
        })
    }
}
