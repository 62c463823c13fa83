//! From arguments to a running session: kernels, threads, memory, text to tokens.

use std::{io::IsTerminal, path::Path};

use indicatif::{ProgressBar, ProgressStyle};
use pipsqueak::{
    Image, KvType, Plan, PlanOptions, Session, Vocab,
    kernels::{Kernels, arena::Line, select, team::Team},
    tokenizer::EncodeOptions,
};

use crate::{
    args::{EngineArgs, ModelArgs},
    boxed,
    failure::Failure,
    model::{Model, Opening},
    pack::macs_per_token,
    pages::Lines,
    pool::default_threads,
    vocab,
};

/// Why a kernel set that this CPU should run is not among those it does, if so.
pub fn kernels_missed() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    {
        use pipsqueak::kernels::arch::x86_64::{Amx, Availability};
        match Amx::availability() {
            Availability::Ready | Availability::Absent => {}
            why => return Some(why.to_string()),
        }
    }
    None
}

/// The kernel set to use: the one named, or the best.
pub fn kernels(name: Option<&str>) -> Result<&'static dyn Kernels, Failure> {
    let Some(name) = name else { return Ok(select::best()) };
    select::by_name(name).ok_or_else(|| {
        let here: Vec<_> = select::all().map(|kernels| kernels.name()).collect();
        let why = kernels_missed().map_or_else(String::new, |why| format!(" ({why})"));
        Failure::usage(format_args!("--kernels {name}: this CPU runs {}{why}", here.join(", ")))
    })
}

/// Opens the model of the command line, or the one in the box, with a progress bar.
pub fn open(args: &ModelArgs, kernels: &dyn Kernels, threads: Option<u16>) -> Result<Model, Failure> {
    open_in(args, kernels, threads, None)
}

/// The same for a command that runs the model.
pub fn open_to_run(args: &ModelArgs, engine: &EngineArgs, kernels: &dyn Kernels) -> Result<Model, Failure> {
    open_cached(args, kernels, engine.threads, engine.cache)
}

/// The same with `--cache` or without: with it, by way of the model's twin in the cache folder.
pub fn open_cached(
    args: &ModelArgs,
    kernels: &dyn Kernels,
    threads: Option<u16>,
    cache: bool,
) -> Result<Model, Failure> {
    if !cache {
        return open(args, kernels, threads);
    }
    let folder = boxed::cache_folder()
        .ok_or_else(|| Failure::new("--cache: there is no cache folder: neither XDG_CACHE_HOME nor HOME is set"))?;
    open_in(args, kernels, threads, Some(&folder))
}

fn open_in(
    args: &ModelArgs,
    kernels: &dyn Kernels,
    threads: Option<u16>,
    cache: Option<&Path>,
) -> Result<Model, Failure> {
    let bar = bar(0, "packing", "{bytes}/{total_bytes}");
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let say = |text: &str| bar.suspend(|| eprintln!("pipsqueak: {text}"));
    let opening = Opening { kernels, threads: open_threads(threads), progress: &progress, cache, say: &say };
    let model = opening.open(args.model.as_deref(), args.tokenizer.tokenizer.as_deref());
    bar.finish_and_clear();
    Ok(model?)
}

/// Threads to open or pack a model with.
pub fn open_threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| default_threads(u64::MAX), usize::from)
}

/// A progress bar on stderr, when that is a terminal.
pub fn bar(len: u64, what: &'static str, numbers: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{{prefix:>8}} {{bar:40}} {numbers} {{eta}}"));
    let bar = ProgressBar::new(len).with_prefix(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Threads for a model: as asked, or as many as bring something.
pub fn threads(asked: Option<u16>, image: &Image<'_>) -> usize {
    asked.map_or_else(|| default_threads(macs_per_token(image.config())), usize::from)
}

/// The two arenas of a plan.
pub struct Arenas {
    scratch: Lines,
    kv: Lines,
}

impl Arenas {
    /// Allocates them, or says how much was asked for.
    pub fn new(plan: &Plan) -> Result<Self, Failure> {
        let allocate = |lines: usize, what| {
            Lines::zeroed(lines).map_err(|_| {
                let bytes = lines.saturating_mul(Line::BYTES);
                Failure::new(format_args!("{bytes} bytes for the {what} are not to be had; try a smaller --ctx"))
            })
        };
        Ok(Self {
            scratch: allocate(plan.scratch_lines(), "scratch arena")?,
            kv: allocate(plan.kv_lines(), "KV cache")?,
        })
    }

    /// A session over them.
    pub fn session<'m>(
        &'m mut self,
        image: &'m Image<'m>,
        kernels: &'m (dyn Kernels + 'static),
        team: &'m Team<'m>,
        plan: &Plan,
    ) -> Result<Session<'m>, Failure> {
        Ok(Session::new(image, kernels, team, plan, &mut self.scratch, &mut self.kv)?)
    }
}

/// The plan for a text that needs `need` positions: `--ctx` if given, else `need`, never beyond the model's context.
pub fn plan(args: &EngineArgs, image: &Image<'_>, need: usize, logits: usize, threads: usize) -> Result<Plan, Failure> {
    let longest = image.config().seq_len as usize;
    let context = match args.ctx {
        Some(ctx) if ctx as usize > longest => {
            return Err(Failure::usage(format_args!("--ctx {ctx}: the model's context is {longest} tokens")));
        }
        Some(ctx) => ctx as usize,
        None => need.clamp(1, longest),
    };
    let batch = (args.batch as usize).min(context);
    let kv = KvType::from(args.kv);
    Ok(Plan::new(image.config(), PlanOptions { context, kv, batch, logits: logits.min(batch), threads }))
}

/// The model's vocabulary; `left_out` says why it has none, where that is known.
pub fn vocab<'a>(image: &Image<'a>, left_out: Option<&str>) -> Result<Vocab<'a>, Failure> {
    image.vocab().ok_or_else(|| {
        Failure::new(left_out.unwrap_or(
            "the model has no vocabulary: give a llama2.c .bin its tokenizer with --tokenizer tokenizer.bin",
        ))
    })
}

/// Text to token ids. Bytes that the vocabulary has no token for are dropped, and said so on stderr.
pub fn encode(vocab: &Vocab<'_>, text: &str, add_bos: bool, parse_special: bool) -> Result<Vec<u32>, Failure> {
    let options = EncodeOptions { add_bos, parse_special };
    let (ids, lost) = vocab::encode_counting(vocab, text, options).map_err(Failure::new)?;
    say_lost(lost);
    Ok(ids)
}

/// The same for a text that goes on from other tokens.
pub fn encode_continuing(vocab: &Vocab<'_>, text: &str, parse_special: bool) -> Result<Vec<u32>, Failure> {
    let (ids, lost) = vocab::encode_continuing(vocab, text, parse_special).map_err(Failure::new)?;
    say_lost(lost);
    Ok(ids)
}

/// Says on stderr how many bytes of a text no token stands for, if any.
pub fn say_lost(bytes: usize) {
    if bytes > 0 {
        eprintln!("pipsqueak: the vocabulary has no token for {bytes} bytes of the text; they are left out");
    }
}

/// Reads a text file as UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(format_args!("{}: not UTF-8 text: byte {at} is wrong", path.display()))
    })
}
