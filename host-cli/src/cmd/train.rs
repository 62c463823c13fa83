//! `train`: a text into a model.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    engine,
    failure::Failure,
    pack::panels,
    train::{
        run::{Conduct, run as train},
        settings::{Files, Given, Settings},
    },
};

/// `pipsqueak train`
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct TrainArgs {
    /// Text to learn from, documents separated by lines `<|endoftext|>`
    #[arg(value_name = "TEXT")]
    pub text: PathBuf,
    /// Image to write; checkpoint, log and curve get its name with endings of their own
    #[arg(short, long, value_name = "OUT.pips")]
    pub output: PathBuf,
    /// File with settings (TOML), the long options below without their dashes; options on the command line come first
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// More text to learn from
    #[arg(long, value_name = "FILE", help_heading = "Text")]
    pub also: Vec<PathBuf>,
    /// Model to start from instead of random weights: fine-tuning
    #[arg(long, value_name = "MODEL", help_heading = "Model", conflicts_with_all = ["dim", "layers", "heads", "kv_heads", "hidden", "vocab_size"])]
    pub from: Option<PathBuf>,
    /// Model whose predictions are learned; its vocabulary is adopted
    #[arg(long, value_name = "MODEL", help_heading = "Teacher", conflicts_with = "vocab_size")]
    pub teacher: Option<PathBuf>,
    /// Have the teacher write N tokens first, to learn from them as from --also
    #[arg(long, value_name = "N", help_heading = "Teacher", default_value_t = 0, requires = "teacher")]
    pub write: u64,
    /// llama2.c's tokenizer.bin for a .bin model of --from or --teacher
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    #[command(flatten)]
    pub given: Given,
    /// Threads (default: all cores); the result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,
    /// Steps between looks at the documents held out
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub look_every: u64,
    /// Beginning of a sample text at every look
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Go on from the checkpoint of a run that was ended
    #[arg(long, conflicts_with = "restart")]
    pub resume: bool,
    /// Begin anew although there is a checkpoint
    #[arg(long)]
    pub restart: bool,
    /// Kernel set or board the image is laid out for (default: this CPU)
    #[arg(long = "for", value_name = "TARGET")]
    pub target: Option<String>,
    /// The model's name, for the image
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub name: String,
    /// Its licence
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub licence: String,
    /// Its origin
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub origin: String,
}

pub(super) fn run(args: &TrainArgs) -> Result<(), Failure> {
    one_thread_inside()?;
    let given = args.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
    let settings = Settings::new(args.given.clone(), given);
    let panel = panels(args.target.as_deref())?;
    let files = Files {
        text: args.text.clone(),
        also: args.also.clone(),
        from: args.from.clone(),
        teacher: args.teacher.clone(),
        tokenizer: args.tokenizer.clone(),
        output: args.output.clone(),
    };
    let conduct = Conduct {
        threads: engine::open_threads(args.threads),
        checkpoint_every: args.checkpoint_every,
        look_every: args.look_every,
        prompt: args.prompt.as_deref(),
        write: args.write,
        resume: args.resume,
        restart: args.restart,
        panel: &*panel,
        labels: [args.name.clone(), args.licence.clone(), args.origin.clone()],
    };
    train(&files, &settings, &conduct)
}

fn read_config(path: &Path) -> Result<Given, Failure> {
    let text = engine::read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        Failure::usage(format_args!("{}, line {line}: {}", path.display(), error.message().replace('\n', "; ")))
    })
}

/// Every thread trains on a batch of its own. candle would share its simple loops out over threads as well, which spin
/// while they wait; it reads that wish from the environment, before its first loop.
#[cfg(unix)]
fn one_thread_inside() -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    const WISH: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(WISH).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(Failure::new)?;
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(WISH, "1").exec();
    Err(Failure::new(format_args!("starting with {WISH}=1: {error}")))
}

#[cfg(not(unix))]
fn one_thread_inside() -> Result<(), Failure> {
    Ok(())
}
