//! `corpus`: texts to train on.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Args, Subcommand};
use pipsqueak::{KvType, Sampling, Vocab, tokenizer::Decoder};

use crate::{
    args::{Kv, ModelArgs, at_least_zero, fraction},
    corpus::{Openings, SEPARATOR, Writing, documents, generate, split},
    engine,
    failure::Failure,
    output::Output,
};

/// `pipsqueak corpus`
#[derive(Args, Debug, Clone)]
pub struct CorpusArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CorpusCommand,
}

/// The commands about texts.
#[derive(Subcommand, Debug, Clone)]
pub enum CorpusCommand {
    /// Hold some documents of a text out, to measure a trained model by.
    Split(SplitArgs),
    /// Have a model write documents.
    Write(WriteArgs),
}

/// `pipsqueak corpus split`
#[derive(Args, Debug, Clone)]
pub struct SplitArgs {
    /// Text file, its documents separated by lines `<|endoftext|>`
    #[arg(value_name = "TEXT")]
    pub text: PathBuf,
    /// Fraction of the documents to hold out
    #[arg(long, allow_negative_numbers = true, value_name = "F", default_value_t = 0.05, value_parser = part)]
    pub held_out: f64,
    /// File to write the documents to train on to
    #[arg(long, value_name = "FILE")]
    pub train: PathBuf,
    /// File to write the documents held out to
    #[arg(long, value_name = "FILE")]
    pub test: PathBuf,
}

/// `pipsqueak corpus write`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct WriteArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Tokens to write; the last document is finished
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens: u64,
    /// Text file to write, documents separated by lines `<|endoftext|>`
    #[arg(short, long, value_name = "OUT.txt")]
    pub output: PathBuf,
    /// Temperature; 0 takes the most likely token
    #[arg(long, allow_negative_numbers = true, value_name = "T", default_value_t = 1.0, value_parser = at_least_zero)]
    pub temp: f32,
    /// Choose among the K most likely tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: u32,
    /// Choose among the most likely tokens that together reach P
    #[arg(long, allow_negative_numbers = true, value_name = "P", default_value_t = 1.0, value_parser = fraction)]
    pub top_p: f32,
    /// Seed of the random draws; the same seed gives the same documents on every machine
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Text whose documents' beginnings the model goes on from: their first sentences, in random order
    #[arg(long, value_name = "FILE")]
    pub openings: Option<PathBuf>,
    /// Go on from the first K tokens of the openings instead
    #[arg(long, value_name = "K", requires = "openings", value_parser = clap::value_parser!(u32).range(1..))]
    pub opening_tokens: Option<u32>,
    /// Number format of the KV cache
    #[arg(long, value_enum, default_value = "f16")]
    pub kv: Kv,
    /// Tokens of the longest document (default: the model's context, at most 512)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub ctx: Option<u32>,
    /// Documents to write at once, a thread each (default: one a core)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Kernel set to force (default: the best this CPU runs)
    #[arg(long, value_name = "NAME")]
    pub kernels: Option<String>,
}

/// Context when `--ctx` is not given.
const CONTEXT: u32 = 512;

fn part(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err(format!("{text} must be between 0 and 1")) }
}

pub(super) fn run(args: &CorpusArgs) -> Result<(), Failure> {
    match &args.command {
        CorpusCommand::Split(args) => run_split(args),
        CorpusCommand::Write(args) => run_write(args),
    }
}

fn run_split(args: &SplitArgs) -> Result<(), Failure> {
    if args.train == args.test {
        let name = args.train.display();
        return Err(Failure::usage(format_args!("--train {name} --test {name}: two files are needed")));
    }
    let text = read(&args.text)?;
    let split = split(documents(&text), args.held_out)
        .map_err(|error| Failure::new(format_args!("{}: {error}", args.text.display())))?;
    // Both or neither: the first gets its name when the second is written too.
    let train = write(&args.train, &split.train)?;
    let test = write(&args.test, &split.test)?;
    train.finish()?;
    test.finish()?;
    eprintln!("{} documents to train on, {} held out", split.train.len(), split.test.len());
    Ok(())
}

fn run_write(args: &WriteArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.kernels.as_deref())?;
    let text = args.openings.as_deref().map(read).transpose()?;
    let openings =
        text.as_deref().and_then(|text| Openings::new(text, args.opening_tokens.map(|tokens| tokens as usize)));
    let model = engine::open(&args.model, kernels, args.threads)?;
    let image = model.image()?;
    let vocab = engine::vocab(&image, model.vocab_left_out())?;
    let longest = image.config().seq_len;
    let context = args.ctx.unwrap_or(CONTEXT.min(longest));
    if context > longest {
        return Err(Failure::usage(format_args!("--ctx {context}: the model's context is {longest} tokens")));
    }
    if let Some(tokens) = args.opening_tokens.filter(|tokens| *tokens >= context / 2) {
        return Err(Failure::usage(format_args!(
            "--opening-tokens {tokens}: less than half of the context of {context} tokens is for the opening"
        )));
    }
    let threads = engine::open_threads(args.threads);
    let sampling =
        Sampling { temperature: args.temp, top_k: args.top_k, top_p: args.top_p, seed: args.seed, ..Sampling::GREEDY };
    let writing = Writing {
        tokens: args.tokens,
        sampling,
        kv: KvType::from(args.kv),
        context: context as usize,
        threads,
        openings: openings.as_ref(),
    };
    let mut output = Output::create(&args.output)?;
    let bar = engine::bar(args.tokens, "writing", "{msg} documents, {pos}/{len} tokens, {per_sec}");
    let (mut documents, mut tokens) = (0_u64, 0);
    let start = Instant::now();
    generate(&image, kernels, &writing, |document| {
        tokens += document.written();
        let text = text_of(vocab, &document.ids)?;
        if !text.trim().is_empty() {
            documents += 1;
            write_document(&mut output, text.trim())?;
        }
        bar.set_message(documents.to_string());
        bar.set_position(tokens);
        Ok(())
    })?;
    bar.finish_and_clear();
    output.finish()?;
    let rate = tokens as f64 / start.elapsed().as_secs_f64().max(1e-9);
    let name = kernels.name();
    let threads = if threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
    eprintln!("{documents} documents, {tokens} tokens, {rate:.1}/s; {name}, {threads}");
    Ok(())
}

fn text_of(vocab: Vocab<'_>, ids: &[u32]) -> Result<String, Failure> {
    let (mut decoder, mut text) = (Decoder::new(vocab, false), String::new());
    for id in ids {
        decoder.push(*id, |piece| text.push_str(piece)).map_err(Failure::new)?;
    }
    decoder.flush(|piece| text.push_str(piece));
    Ok(text)
}

/// A text with something in it.
fn read(path: &Path) -> Result<String, Failure> {
    let text = engine::read_text(path)?;
    if documents(&text).next().is_none() {
        return Err(Failure::new(format_args!("{}: no document in it, only white space", path.display())));
    }
    Ok(text)
}

fn write(path: &Path, documents: &[impl AsRef<str>]) -> Result<Output, Failure> {
    let mut output = Output::create(path)?;
    for document in documents {
        write_document(&mut output, document.as_ref())?;
    }
    Ok(output)
}

fn write_document(output: &mut Output, document: &str) -> Result<(), Failure> {
    [document, "\n", SEPARATOR, "\n"].iter().try_for_each(|part| output.write(part.as_bytes()))
}
