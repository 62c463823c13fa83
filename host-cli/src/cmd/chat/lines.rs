//! What the user says, line by line: typed, with a line editor, or piped in.

use std::io::{self, BufRead, IsTerminal, StdinLock};

use rustyline::{Behavior, Config, DefaultEditor, error::ReadlineError};

use crate::failure::Failure;

/// The next line.
pub(super) enum Line {
    Text(String),
    /// It is no text: this byte of it is wrong.
    NotText {
        at: usize,
    },
    End,
}

/// Where lines come from.
pub(super) enum Lines {
    Typed(Box<DefaultEditor>),
    Piped(StdinLock<'static>),
}

impl Lines {
    /// Typed where stdin is a terminal, unless a program is to read what is said.
    pub(super) fn new(for_a_program: bool) -> Result<Self, Failure> {
        if for_a_program || !io::stdin().is_terminal() {
            return Ok(Self::Piped(io::stdin().lock()));
        }
        // The prompt is for the terminal, where answers may go elsewhere.
        let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true).build();
        let editor = DefaultEditor::with_config(config);
        Ok(Self::Typed(Box::new(editor.map_err(|error| Failure::new(format_args!("the terminal: {error}")))?)))
    }

    pub(super) fn are_typed(&self) -> bool {
        matches!(self, Self::Typed(_))
    }

    pub(super) fn next(&mut self) -> Result<Line, Failure> {
        match self {
            Self::Typed(editor) => match editor.readline("> ") {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => {
                    // What comes after the program begins a line of its own.
                    eprintln!();
                    Ok(Line::End)
                }
                Err(error) => Err(Failure::new(format_args!("the terminal: {error}"))),
            },
            Self::Piped(stdin) => {
                let mut line = Vec::new();
                let count = stdin.read_until(b'\n', &mut line);
                if count.map_err(|error| Failure::new(format_args!("stdin: {error}")))? == 0 {
                    return Ok(Line::End);
                }
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                Ok(match std::str::from_utf8(line) {
                    Ok(text) => Line::Text(text.into()),
                    Err(error) => Line::NotText { at: error.valid_up_to() },
                })
            }
        }
    }
}
