//! The command line's words.

mod digits;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub use digits::DigitsArgs;
#[cfg(feature = "train")]
pub use digits::TrainDigitsArgs;
use pipsqueak::{KvType, kernels::Format};

/// Small language models on this machine, and packed for firmware.
#[derive(Parser, Debug)]
#[command(name = "pipsqueak", version, about, max_term_width = 100)]
#[command(
    after_help = "MODEL is a .gguf, a Hugging Face folder, a llama2.c .bin (with --tokenizer), a packed .pips, or nothing: the \
model in the box.\n\
Text goes to stdout, everything else to stderr. Exit status: 0 ok, 2 bad use, 1 otherwise."
)]
pub struct Cli {
    /// What to do; without a command, the main job: a text from the model in the box.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Continue a text.
    Run(RunArgs),
    /// Talk with a model.
    Chat(ChatArgs),
    /// Pack a model into an image for a host or a chip.
    Pack(PackArgs),
    /// Show a model's parameters, the memory it needs and the boards it fits.
    Inspect(InspectArgs),
    /// Turn text into token ids, or ids into text.
    Tokenize(TokenizeArgs),
    /// Measure how well a model predicts a text.
    Eval(EvalArgs),
    /// Write the logits of every position of a token sequence to a file.
    Logits(LogitsArgs),
    /// Measure prefill and decode speed against this machine's ceilings.
    Bench(BenchArgs),
    /// Check every kernel of this CPU, and a model's checksums and golden vector.
    Selftest(SelftestArgs),
    /// Prepare texts to train on: split them, or have a model write them.
    Corpus(crate::cmd::corpus::CorpusArgs),
    /// Watch a next-word model learn three sentences.
    Toy(ToyArgs),
    /// Train a small model on a text.
    #[cfg(feature = "train")]
    Train(Box<crate::cmd::train::TrainArgs>),
    /// Read handwritten digits from PNG pictures.
    Digits(DigitsArgs),
    /// Train a digit recogniser.
    #[cfg(feature = "train")]
    TrainDigits(TrainDigitsArgs),
}

/// Which model.
#[derive(Args, Debug, Clone, Default)]
pub struct ModelArgs {
    /// Model file (.gguf, .bin, .pips) or Hugging Face folder; the model in the box when left away
    #[arg(value_name = "MODEL")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tokenizer: TokenizerArgs,
}

/// Which tokenizer.
#[derive(Args, Debug, Clone, Default)]
pub struct TokenizerArgs {
    /// llama2.c's tokenizer.bin for a .bin model, or a GGUF vocabulary
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
}

/// How keys and values are cached.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kv {
    /// 32-bit floats, nothing lost
    F32,
    /// Half precision
    F16,
    /// Bytes with a scale a head and position
    I8,
}

impl From<Kv> for KvType {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F32 => Self::F32,
            Kv::F16 => Self::F16,
            Kv::I8 => Self::I8,
        }
    }
}

/// How the engine runs.
#[derive(Args, Debug, Clone)]
pub struct EngineArgs {
    /// Number format of the KV cache
    #[arg(long, value_enum, default_value = "f16")]
    pub kv: Kv,
    /// Positions of the context (default: what the text needs, in a chat up to 4096; at most the model's)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
    /// Threads (default: all cores, one for a model too small to gain)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Tokens that prefill works on at once
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: u32,
    /// Kernel set to force (default: the best this CPU runs)
    #[arg(long, value_name = "NAME")]
    pub kernels: Option<String>,
    /// Keep the model as it was laid out for this CPU in the cache folder, and take it from there the next time
    #[arg(long)]
    pub cache: bool,
}

/// How tokens are chosen.
#[derive(Args, Debug, Clone)]
pub struct SamplingArgs {
    /// Temperature; 0 takes the most likely token
    #[arg(long, allow_negative_numbers = true, value_name = "T", default_value_t = 0.8, value_parser = at_least_zero)]
    pub temp: f32,
    /// Choose among the K most likely tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 40)]
    pub top_k: u32,
    /// Choose among the most likely tokens that together reach P
    #[arg(long, allow_negative_numbers = true, value_name = "P", default_value_t = 0.95, value_parser = fraction)]
    pub top_p: f32,
    /// Choose among tokens at least M times as likely as the first
    #[arg(long, allow_negative_numbers = true, value_name = "M", default_value_t = 0.05, value_parser = fraction)]
    pub min_p: f32,
    /// Divide the logits of the last 64 tokens by R; 1 for no penalty
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 1.0, value_parser = above_zero)]
    pub repeat_penalty: f32,
    /// Seed of the random draws; the same seed gives the same text on every machine
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

fn number(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if value.is_finite() { Ok(value) } else { Err(format!("{text} is not a finite number")) }
}

pub(crate) fn at_least_zero(text: &str) -> Result<f32, String> {
    let value = number(text)?;
    if value >= 0.0 { Ok(value) } else { Err(format!("{text} must be 0 or more")) }
}

fn above_zero(text: &str) -> Result<f32, String> {
    let value = number(text)?;
    if value > 0.0 { Ok(value) } else { Err(format!("{text} must be more than 0")) }
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("an empty text would stop everything".into()) } else { Ok(text.into()) }
}

pub(crate) fn fraction(text: &str) -> Result<f32, String> {
    let value = number(text)?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{text} must be from 0 to 1")) }
}

/// `pipsqueak run`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Text to continue
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Tokens to generate; for a llama2.c .bin, as in llama2.c, steps: the prompt's tokens count
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 200)]
    pub n: u32,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Guess up to N tokens at a time from the text so far and verify them in one batch, when that is faster: the same
    /// text, sooner where it repeats itself; 0 for never
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(..=255))]
    pub draft: u16,
    /// End the text where this comes up, and leave it out; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub stop: Vec<String>,
    /// Go on from a session that --save has kept; the prompt is what follows
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    /// Keep the session, prompt and continuation, in a file
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Compare all weights with their checksums first
    #[arg(long)]
    pub verify: bool,
    /// Print one JSON object at the end instead of streaming text
    #[arg(long)]
    pub json: bool,
}

/// `pipsqueak chat`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the model is to be (default: what its template says, if anything)
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Tokens of an answer at most
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 1024)]
    pub n: u32,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Guess up to N tokens at a time from the conversation so far; see `run`
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(..=255))]
    pub draft: u16,
    /// End an answer where this comes up, and leave it out; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub stop: Vec<String>,
    /// Say after every answer how many tokens were new, and how fast it went
    #[arg(long)]
    pub stats: bool,
    /// Print one JSON object a line for all that happens, and no prompt
    #[arg(long)]
    pub json: bool,
}

/// Target formats of `pack`.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantName {
    /// int8 blocks
    Q8,
    /// int4 blocks
    Q4,
    /// int4 blocks with a minimum
    Q4m,
    /// Half precision
    F16,
    /// Single precision
    F32,
    /// As the source has it
    Keep,
}

impl QuantName {
    /// The format; `None` to keep the source's.
    pub fn format(self) -> Option<Format> {
        match self {
            Self::Q8 => Some(Format::Q8),
            Self::Q4 => Some(Format::Q4),
            Self::Q4m => Some(Format::Q4M),
            Self::F16 => Some(Format::F16),
            Self::F32 => Some(Format::F32),
            Self::Keep => None,
        }
    }
}

/// `pipsqueak pack`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct PackArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Image to write
    #[arg(short, long, value_name = "OUT.pips")]
    pub output: PathBuf,
    /// Format of the layers' matrices
    #[arg(long, value_enum, default_value = "keep")]
    pub quant: QuantName,
    /// Format of embeddings and output head (default: as --quant, but q8 with q4 and q4m)
    #[arg(long, value_enum)]
    pub head: Option<QuantName>,
    /// Text whose activations weigh the rounding to q4 and q4m (default: what the model writes itself)
    #[arg(long, value_name = "TEXT")]
    pub calibrate: Option<PathBuf>,
    /// Kernel set or board the image is laid out for (default: this CPU)
    #[arg(long = "for", value_name = "TARGET")]
    pub target: Option<String>,
    /// Threads (default: all cores)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// `pipsqueak inspect`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Positions to plan memory for (default: the model's context, at most 256)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
    /// Show the model as it is laid out for this CPU in the cache folder, and keep it there for the next time
    #[arg(long)]
    pub cache: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pipsqueak tokenize`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct TokenizeArgs {
    /// Model file, and the text (or ids with --decode); `-` or nothing reads the text from stdin
    #[arg(value_name = "[MODEL] [TEXT|-]", num_args = 0..=2)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub tokenizer: TokenizerArgs,
    /// The text is token ids; print what they stand for
    #[arg(long)]
    pub decode: bool,
    /// Begin with the model's BOS token
    #[arg(long)]
    pub bos: bool,
    /// Read the names of special tokens as those tokens; with --decode, print their names
    #[arg(long)]
    pub special: bool,
    /// Print a JSON array (with --decode, a JSON string)
    #[arg(long)]
    pub json: bool,
}

/// `pipsqueak eval`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Text file to predict
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Score documents, split at lines `<|endoftext|>`, each from its first token
    #[arg(long)]
    pub documents: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pipsqueak logits`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct LogitsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    pub ids: Vec<u32>,
    /// File to write: little-endian f32, [ids, vocabulary]
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `pipsqueak bench`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
#[command(
    after_help = "Every combination of the lists is measured. Decode does not depend on --batch, and is measured with its first."
)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Tokens to prefill
    #[arg(short = 'p', long = "prefill", value_name = "N", default_value_t = 256)]
    pub prefill: u32,
    /// Tokens to decode
    #[arg(short = 'n', long = "decode", value_name = "N", default_value_t = 64)]
    pub decode: u32,
    /// Tokens of context that come before those measured
    #[arg(short = 'd', long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    pub depth: Vec<u32>,
    /// Numbers of threads (default: 1 and all cores)
    #[arg(short = 't', long = "threads", value_name = "LIST", value_delimiter = ',')]
    pub threads: Vec<u16>,
    /// Number formats of the KV cache
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', default_value = "f16")]
    pub kv: Vec<Kv>,
    /// Tokens that prefill works on at once
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', default_value = "64",
        value_parser = clap::value_parser!(u32).range(1..=65536)
    )]
    pub batch: Vec<u32>,
    /// Kernel set to force
    #[arg(long, value_name = "NAME")]
    pub kernels: Option<String>,
    /// Runs of each test, whose median, least and most are shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// Keep the model as it was laid out for this CPU in the cache folder, and take it from there the next time
    #[arg(long)]
    pub cache: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pipsqueak selftest`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct SelftestArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Test only this kernel set
    #[arg(long, value_name = "NAME")]
    pub kernels: Option<String>,
}

/// `pipsqueak toy`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct ToyArgs {
    /// Sentences to learn, each ended by `.`, `!`, `?` or a line end
    #[arg(long, value_name = "TEXT", conflicts_with = "sentences")]
    pub text: Option<String>,
    /// File of sentences to learn
    #[arg(long, value_name = "FILE")]
    pub sentences: Option<PathBuf>,
    /// Numbers in a word's vector
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub dim: u16,
    /// Neurons of the hidden layer
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub hidden: u16,
    /// Steps downhill
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub steps: u32,
    /// Learning rate: how far a step goes
    #[arg(long, allow_negative_numbers = true, value_name = "R", default_value_t = 0.2, value_parser = above_zero)]
    pub rate: f32,
    /// Seed of the weights at the start; the same seed gives the same lesson on every machine
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
