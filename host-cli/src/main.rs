//! The `pipsqueak` program: arguments in, one command out.

use std::process::ExitCode;

use clap::Parser;
use pipsqueak_cli::{args::Cli, cmd, failure::Failure};

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => cmd::dispatch(cli),
        // Help and version are what was asked for.
        Err(error) if !error.use_stderr() => error.print().map_err(|error| Failure::stdout(&error)),
        Err(error) => Err(Failure::arguments(&error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("pipsqueak: {}", failure.message);
            }
            ExitCode::from(failure.status)
        }
    }
}
