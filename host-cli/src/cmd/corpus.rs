//! `corpus`: texts to train on.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::{
    corpus::{SEPARATOR, documents, split},
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

fn part(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err(format!("{text} must be between 0 and 1")) }
}

pub(super) fn run(args: &CorpusArgs) -> Result<(), Failure> {
    match &args.command {
        CorpusCommand::Split(args) => run_split(args),
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
