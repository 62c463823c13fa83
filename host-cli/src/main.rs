//! The `pipsqueak` program: arguments in, one command out.

use std::process::ExitCode;

use clap::Parser;
use pipsqueak_cli::{args::Cli, cmd, failure::Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors, and clap prints them well.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return fail(&Failure::usage(one_line(&error))),
    };
    match cmd::dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    if !failure.message.is_empty() {
        eprintln!("pipsqueak: {}", failure.message);
    }
    ExitCode::from(failure.status)
}

/// What clap says in several paragraphs, on one line: the error, and its tips.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let words = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> =
        words.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information")).collect();
    format!("{} (pipsqueak COMMAND --help lists the options)", told.join("; ").trim_start_matches("error: "))
}
