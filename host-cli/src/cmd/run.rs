//! `run`: continue a text.

use std::time::Instant;

use pipsqueak::{Sampler, Sampling, Session, SessionError, Vocab};
use serde::Serialize;

use super::print;
use crate::{
    args::{RunArgs, SamplingArgs},
    boxed, digest,
    drafted::Drafts,
    engine,
    failure::Failure,
    memory,
    pool::with_team,
    state::{self, StateFile},
    stream::Stream,
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
    /// Tokens that --load had in the cache.
    loaded_tokens: usize,
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
    let loaded = args.load.as_deref().map(StateFile::open).transpose()?;
    let before = loaded.as_ref().map_or(0, |file| file.header.tokens);
    let ids = prompt(args, &vocab, before)?;
    let length = before + ids.len();
    // llama2.c counts steps, the first of which feeds BOS and the last of which feeds nothing new.
    let steps = model.counts_steps();
    let wanted = if steps { (args.n as usize).saturating_sub(length - 1) } else { args.n as usize };
    let threads = engine::threads(args.engine.threads, &image);
    let draft = args.draft as usize;
    let plan = engine::plan(&args.engine, &image, length + wanted.saturating_sub(1), 1 + draft, threads)?;
    if length > plan.options.context {
        return Err(Failure::new(format_args!(
            "the prompt has {length} tokens and the context {}: shorten it{}",
            plan.options.context,
            if args.engine.ctx.is_some() { " or raise --ctx" } else { "" }
        )));
    }
    let digest = if loaded.is_some() || args.save.is_some() { digest::of(&image, threads) } else { 0 };
    let mut arenas = engine::Arenas::new(&plan)?;
    with_team(threads, |team| {
        let mut session = arenas.session(&image, kernels, team, &plan)?;
        let mut sampler = Sampler::new(Sampling::from(&args.sampling));
        let mut printed = Printed::new(vocab, args);
        // What was loaded, the prompt, and what follows it.
        let mut all = match loaded {
            Some(file) => file.restore(&mut session, digest)?.0,
            None => Vec::new(),
        };
        for id in &all {
            printed.skip(*id)?;
        }
        let loaded_tokens = session.position();
        for id in &ids {
            printed.pass(*id)?;
        }
        all.extend(&ids);
        all.iter().for_each(|id| sampler.accept(*id));
        let start = Instant::now();
        let fed = feed(&mut session, &all)?;
        let prefilled = start.elapsed().as_secs_f64();
        let start = Instant::now();
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
                if printed.push(id)? {
                    stopped = "stop_text";
                    all.truncate(length + printed.stream.kept());
                    break 'text;
                }
            }
            sampler.accept(last);
            let left = wanted - (all.len() - length);
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
        let decoded = start.elapsed().as_secs_f64();
        let text = printed.finish()?;
        if let Some(path) = &args.save {
            session.truncate(all.len());
            state::save(path, &session, digest, &all, &[])?;
        }
        let tokens = all.split_off(length);
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        let resident = memory::resident();
        let report = Report {
            prompt: args.prompt_text(),
            loaded_tokens,
            text,
            prompt_tokens: &ids,
            stopped,
            kernels: kernels.name(),
            threads,
            prefill_tokens_per_s: rate(fed, prefilled),
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
            let loaded = if loaded_tokens > 0 { format!("{loaded_tokens} tokens loaded; ") } else { String::new() };
            eprintln!(
                "[{loaded}{} prompt tokens, {:.1}/s; {} new tokens, {:.1}/s{drafted}; {}, {} thread{}]",
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

impl RunArgs {
    /// The prompt; that of the main job where no model, no session and no prompt is named.
    fn prompt_text(&self) -> &str {
        let main_job = self.model.model.is_none() && self.load.is_none();
        self.prompt.as_deref().unwrap_or(if main_job { boxed::PROMPT } else { "" })
    }
}

/// The prompt's tokens, which follow `before` others. There is at least one in all.
fn prompt(args: &RunArgs, vocab: &Vocab<'_>, before: usize) -> Result<Vec<u32>, Failure> {
    let text = args.prompt_text();
    if before > 0 {
        return engine::encode_continuing(vocab, text, true);
    }
    let mut ids = engine::encode(vocab, text, vocab.add_bos(), true)?;
    if ids.is_empty() {
        // An empty prompt still needs a token to start from.
        ids.extend(vocab.bos().or(vocab.eos()));
    }
    if ids.is_empty() {
        return Err(Failure::usage("the prompt is empty and the model has no BOS token: give a text with -p"));
    }
    Ok(ids)
}

/// Feeds what the session has not got of a text; returns how many tokens that were. Afterwards there are logits.
fn feed(session: &mut Session<'_>, all: &[u32]) -> Result<usize, Failure> {
    // The logits are not part of a saved session: its last token gives them again.
    session.truncate(all.len().saturating_sub(1));
    let new = all.get(session.position()..).unwrap_or_default();
    session.prefill(new)?;
    Ok(new.len())
}

/// Text on its way to stdout.
struct Printed<'a> {
    stream: Stream<'a>,
    quiet: bool,
    text: String,
}

impl<'a> Printed<'a> {
    fn new(vocab: Vocab<'a>, args: &'a RunArgs) -> Self {
        Self { stream: Stream::new(vocab, &args.stop), quiet: args.json, text: String::new() }
    }

    /// A token before the text.
    fn skip(&mut self, id: u32) -> Result<(), Failure> {
        self.stream.pass(id, &mut String::new()).map_err(Failure::new)
    }

    /// A token of the prompt.
    fn pass(&mut self, id: u32) -> Result<(), Failure> {
        let start = self.text.len();
        self.stream.pass(id, &mut self.text).map_err(Failure::new)?;
        self.show(start)
    }

    /// A token of the continuation; returns whether a stop string ends the text.
    fn push(&mut self, id: u32) -> Result<bool, Failure> {
        let start = self.text.len();
        let stopped = self.stream.push(id, &mut self.text).map_err(Failure::new)?;
        self.show(start)?;
        Ok(stopped)
    }

    fn show(&self, start: usize) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { print(&self.text[start..]) }
    }

    fn finish(&mut self) -> Result<String, Failure> {
        let start = self.text.len();
        self.stream.finish(&mut self.text);
        self.show(start)?;
        if !self.quiet {
            print("\n")?;
        }
        Ok(std::mem::take(&mut self.text))
    }
}
