//! The commands, one file each.

mod bench;
mod chat;
pub mod corpus;
mod digits;
mod eval;
mod inspect;
mod logits;
mod pack;
mod run;
mod selftest;
mod tokenize;
mod toy;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
mod train_digits;

use clap::Parser;

use crate::{
    args::{Cli, Command},
    failure::Failure,
};

/// Runs the command of the command line; without one, the main job.
pub fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Some(command) = cli.command else {
        // Long enough for a whole story; it ends by itself.
        let main_job = Cli::try_parse_from(["pipsqueak", "run", "-n", "450"]).map_err(Failure::usage)?;
        return main_job.command.map_or(Ok(()), dispatch_command);
    };
    dispatch_command(command)
}

fn dispatch_command(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Corpus(args) => corpus::run(&args),
        Command::Toy(args) => toy::run(&args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::run(&args),
        Command::Digits(args) => digits::run(&args),
        #[cfg(feature = "train")]
        Command::TrainDigits(args) => train_digits::run(&args),
    }
}

/// Prints to stdout.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}
