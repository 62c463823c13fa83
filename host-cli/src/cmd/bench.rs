//! `bench`: prefill and decode speed beside this machine's ceilings.

use std::time::Instant;

use pipsqueak::{Image, KvType, Plan, PlanOptions, kernels::Kernels};
use serde::Serialize;

use super::print;
use crate::{
    args::BenchArgs,
    engine::{self, Arenas},
    failure::Failure,
    machine,
    pack::macs_per_token,
    pool::with_team,
};

#[derive(Serialize)]
struct Run {
    test: &'static str,
    threads: usize,
    tokens: usize,
    tokens_per_s: f64,
    ceiling_tokens_per_s: f64,
    kernels: &'static str,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.kernels.as_deref())?;
    if let Some(why) = engine::kernels_missed() {
        eprintln!("{why}");
    }
    let model = engine::open(&args.model, kernels, None)?;
    let image = model.image()?;
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let mut threads: Vec<usize> = args.threads.iter().map(|threads| usize::from(*threads)).collect();
    if threads.is_empty() {
        threads = if all > 1 { vec![1, all] } else { vec![1] };
    }
    if threads.contains(&0) {
        return Err(Failure::usage("-t 0: at least one thread is needed"));
    }
    let (prefill, decode) = (args.prefill as usize, args.decode as usize);
    let context = prefill.saturating_add(decode).max(1);
    let longest = image.config().seq_len as usize;
    if context > longest {
        return Err(Failure::usage(format_args!(
            "-p {prefill} and -n {decode} need {context} positions, the model's context is {longest}"
        )));
    }
    let mut runs = Vec::new();
    for threads in threads {
        let options = PlanOptions {
            context,
            kv: KvType::from(args.kv),
            batch: (args.batch as usize).min(context),
            logits: 1,
            threads,
        };
        // Before and after, because a busy moment would put a ceiling below what is then measured under it.
        let bytes = bytes_per_token(&image, &options, prefill + decode / 2);
        let before = machine::Ceilings::measure(kernels, threads, bytes);
        let (prefill_s, decode_s) = measure(&image, kernels, options, prefill, decode, args.repeat)?;
        let ceilings = machine::Ceilings::measure(kernels, threads, bytes).or_higher(before);
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        let mut add = |test, tokens, seconds, ceiling_tokens_per_s| {
            if tokens > 0 {
                let tokens_per_s = rate(tokens, seconds);
                runs.push(Run { test, threads, tokens, tokens_per_s, ceiling_tokens_per_s, kernels: kernels.name() });
            }
        };
        add("prefill", prefill, prefill_s, ceilings.macs_per_s / macs_per_token(image.config()) as f64);
        add("decode", decode, decode_s, ceilings.bytes_per_s / bytes as f64);
    }
    if args.json {
        let value = serde_json::json!({ "runs": runs });
        return print(&(value.to_string() + "\n"));
    }
    let mut out = format!(
        "{:<8} {:>7} {:>7} {:>12} {:>12} {:>7}  kernels\n",
        "test", "threads", "tokens", "tokens/s", "ceiling", "share"
    );
    for run in &runs {
        out += &format!(
            "{:<8} {:>7} {:>7} {:>12.1} {:>12.1} {:>6.1}%  {}\n",
            run.test,
            run.threads,
            run.tokens,
            run.tokens_per_s,
            run.ceiling_tokens_per_s,
            100.0 * run.tokens_per_s / run.ceiling_tokens_per_s,
            run.kernels
        );
    }
    out += "measured, best of the runs; ceilings: decode, bytes read a token / read bandwidth; prefill, multiply-adds a token / int8 peak\n";
    print(&out)
}

/// Best seconds for prefill and for decode.
fn measure(
    image: &Image<'_>,
    kernels: &'static dyn Kernels,
    options: PlanOptions,
    prefill: usize,
    decode: usize,
    repeat: u32,
) -> Result<(f64, f64), Failure> {
    let plan = Plan::new(image.config(), options);
    let mut arenas = Arenas::new(&plan)?;
    let vocab_size = image.config().vocab_size;
    // Ids spread over the vocabulary, so that embedding rows come from memory as they would in use.
    let ids: Vec<u32> = (0..prefill.max(1) as u32).map(|i| i.wrapping_mul(7919) % vocab_size).collect();
    with_team(options.threads, |team| {
        let mut session = arenas.session(image, kernels, team, &plan)?;
        let (mut best_prefill, mut best_decode) = (f64::INFINITY, f64::INFINITY);
        // The first round warms caches and is not counted.
        for round in 0..=repeat {
            session.truncate(0);
            let start = Instant::now();
            session.prefill(&ids[..prefill])?;
            let prefill_s = start.elapsed().as_secs_f64();
            let start = Instant::now();
            for i in 0..decode {
                session.decode((i as u32).wrapping_mul(104_729) % vocab_size)?;
            }
            let decode_s = start.elapsed().as_secs_f64();
            if round > 0 {
                best_prefill = best_prefill.min(prefill_s);
                best_decode = best_decode.min(decode_s);
            }
        }
        Ok((best_prefill, best_decode))
    })
}

/// Bytes a decode step reads: every matrix once, one row of the embeddings, and of the cache at `position` what each layer looks
/// at.
fn bytes_per_token(image: &Image<'_>, options: &PlanOptions, position: usize) -> usize {
    use pipsqueak::tensor::TensorKind;
    let config = image.config();
    let by_row = |kind| match kind {
        TensorKind::TokenEmbedding => !config.tied_head,
        kind => kind == TensorKind::PositionEmbedding,
    };
    let weights: u64 = image.entries().filter(|entry| !by_row(entry.kind)).map(|entry| entry.len).sum();
    let cache = |positions: usize| {
        Plan::new(config, PlanOptions { context: positions.max(1), ..*options }).kv_bytes() / config.n_layers as usize
    };
    let seen = |layer| config.window(layer).map_or(position, |window| position.min(window));
    weights as usize + (0..config.n_layers).map(|layer| cache(seen(layer))).sum::<usize>()
}
