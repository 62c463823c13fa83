//! The `pipsqueak` program: arguments in, one command out.

use std::process::ExitCode;

use clap::Parser;
use pipsqueak_cli::{args::Cli, cmd};

fn main() -> ExitCode {
    match cmd::dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("pipsqueak: {}", failure.message);
            }
            ExitCode::from(failure.status)
        }
    }
}
