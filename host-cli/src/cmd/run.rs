//! `run`: continue a text.

use std::time::Instant;

use pipsqueak::{Sampler, Sampling, SessionError, Vocab, tokenizer::Decoder};
use serde::Serialize;

use super::print;
use crate::{
    args::{RunArgs, SamplingArgs},
    boxed,
    drafted::Drafts,
    engine,
    failure::Failure,
    memory,
    pool::with_team,
};

impl From<&SamplingArgs> for Sampling {
    fn from(args: &SamplingArgs) -> Self {
        Self {
            temperature: args.temp,
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            repeat_penalty: args.repeat_penalty,
            seed: args.seed,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    prompt: &'a str,
    text: String,
    prompt_tokens: &'a [u32],
    tokens: Vec<u32>,
    stopped: &'static str,
    kernels: &'static str,
    threads: usize,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
    drafts_verified: usize,
    drafts_accepted: usize,
    image_bytes: usize,
    kv_bytes: usize,
    /// At the end, and at most; null where the system does not say.
    resident_bytes: Option<u64>,
    resident_peak_bytes: Option<u64>,
}

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.engine.kernels.as_deref())?;
    let model = engine::open_to_run(&args.model, &args.engine, kernels)?;
    let image = model.image()?;
    if args.verify {
        image.verify().map_err(|error| Failure::new(format_args!("{}: {error}", model.path().display())))?;
    }
    let vocab = engine::vocab(&image, model.vocab_left_out())?;
    let prompt = args.prompt.as_deref().unwrap_or(if args.model.model.is_none() { boxed::PROMPT } else { "" });
    let mut ids = engine::encode(&vocab, prompt, vocab.add_bos(), true)?;
    if ids.is_empty() {
        // An empty prompt still needs a token to start from.
        ids.extend(vocab.bos().or(vocab.eos()));
    }
    if ids.is_empty() {
        return Err(Failure::usage("the prompt is empty and the model has no BOS token: give a text with -p"));
    }
    // llama2.c counts steps, the first of which feeds BOS and the last of which feeds nothing new.
    let steps = model.counts_steps();
    let wanted = if steps { (args.n as usize).saturating_sub(ids.len() - 1) } else { args.n as usize };
    let threads = engine::threads(args.engine.threads, &image);
    let draft = args.draft as usize;
    let plan = engine::plan(&args.engine, &image, ids.len() + wanted.saturating_sub(1), 1 + draft, threads)?;
    if ids.len() > plan.options.context {
        return Err(Failure::new(format_args!(
            "the prompt has {} tokens and the context {}: shorten it{}",
            ids.len(),
            plan.options.context,
            if args.engine.ctx.is_some() { " or raise --ctx" } else { "" }
        )));
    }
    let mut arenas = engine::Arenas::new(&plan)?;
    with_team(threads, |team| {
        let mut session = arenas.session(&image, kernels, team, &plan)?;
        let mut sampler = Sampler::new(Sampling::from(&args.sampling));
        let mut stream = Stream::new(vocab, args.json);
        for id in &ids {
            sampler.accept(*id);
            stream.push(*id)?;
        }
        let start = Instant::now();
        session.prefill(&ids)?;
        let prefilled = start.elapsed().as_secs_f64();
        let start = Instant::now();
        // The prompt, and what follows it.
        let mut all = ids.clone();
        let mut drafts = Drafts::new(plan.options.logits - 1);
        let mut stopped = "length";
        let mut next = vec![];
        if wanted > 0 {
            next.push(session.sample(&mut sampler)?);
        }
        'text: while let Some(last) = next.last().copied() {
            for id in next.drain(..) {
                if vocab.is_stop(id) {
                    stopped = "stop";
                    break 'text;
                }
                all.push(id);
                stream.push(id)?;
            }
            sampler.accept(last);
            let left = wanted - (all.len() - ids.len());
            if left == 0 {
                break;
            }
            match drafts.decode(&mut session, &mut sampler, &all, left, |id| vocab.is_stop(id)) {
                Ok(came) => next.extend(came),
                Err(SessionError::ContextFull { .. }) => {
                    stopped = "context";
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let tokens = all.split_off(ids.len());
        let decoded = start.elapsed().as_secs_f64();
        let text = stream.finish()?;
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        let resident = memory::resident();
        let report = Report {
            prompt,
            text,
            prompt_tokens: &ids,
            stopped,
            kernels: kernels.name(),
            threads,
            prefill_tokens_per_s: rate(ids.len(), prefilled),
            // The first new token came with the prefill.
            decode_tokens_per_s: rate(tokens.len().saturating_sub(1), decoded),
            drafts_verified: drafts.verified,
            drafts_accepted: drafts.accepted,
            image_bytes: image.len(),
            kv_bytes: plan.kv_bytes(),
            resident_bytes: resident.map(|(now, _)| now),
            resident_peak_bytes: resident.map(|(_, peak)| peak),
            tokens,
        };
        if args.json {
            print(&(serde_json::to_string(&report).map_err(Failure::new)? + "\n"))?;
        } else {
            if stopped == "context" {
                let context = plan.options.context;
                eprintln!(
                    "pipsqueak: the context of {context} tokens is full; a larger --ctx, or a shorter text, goes on"
                );
            }
            let drafted = match (drafts.accepted, drafts.verified) {
                (_, 0) => String::new(),
                (accepted, verified) => format!(" ({accepted} of {verified} drafts accepted)"),
            };
            eprintln!(
                "[{} prompt tokens, {:.1}/s; {} new tokens, {:.1}/s{drafted}; {}, {} thread{}]",
                ids.len(),
                report.prefill_tokens_per_s,
                report.tokens.len(),
                report.decode_tokens_per_s,
                report.kernels,
                threads,
                if threads == 1 { "" } else { "s" }
            );
            if args.model.model.is_none() {
                eprintln!(
                    "Try next (from the repository, `cargo run --release --` before each): run -p \"Lily and Tom\" --seed 7; \
                     toy; digits tests/data/digits/*.png; bench; --help"
                );
            }
        }
        Ok(())
    })
}

/// Text on its way to stdout, whole characters at a time.
struct Stream<'a> {
    decoder: Decoder<'a>,
    quiet: bool,
    text: String,
}

impl<'a> Stream<'a> {
    fn new(vocab: Vocab<'a>, quiet: bool) -> Self {
        Self { decoder: Decoder::new(vocab, false), quiet, text: String::new() }
    }

    fn push(&mut self, id: u32) -> Result<(), Failure> {
        let start = self.text.len();
        self.decoder.push(id, |piece| self.text.push_str(piece)).map_err(Failure::new)?;
        self.show(start)
    }

    fn show(&self, start: usize) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { print(&self.text[start..]) }
    }

    fn finish(mut self) -> Result<String, Failure> {
        let start = self.text.len();
        self.decoder.flush(|piece| self.text.push_str(piece));
        self.show(start)?;
        if !self.quiet {
            print("\n")?;
        }
        Ok(self.text)
    }
}
