//! How a command ends when it does not end well: one line, and an exit status.

use std::{fmt, io, path::Path};

/// A command's error.
#[derive(Debug)]
pub struct Failure {
    /// 2 for bad use, 1 otherwise.
    pub status: u8,
    /// One plain line; empty when there is nothing to say (a closed pipe).
    pub message: String,
}

impl Failure {
    /// Something went wrong.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { status: 1, message: message.to_string() }
    }

    /// The command line asks for something that is not there.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { status: 2, message: message.to_string() }
    }

    /// A file could not be read or written.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::new(format_args!("{}: {error}", path.display()))
    }

    /// Stdout could not be written. A reader that has seen enough is no error worth a line.
    pub fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { status: 1, message: String::new() };
        }
        Self::new(format_args!("stdout: {error}"))
    }
}

impl From<crate::model::OpenError> for Failure {
    fn from(error: crate::model::OpenError) -> Self {
        Self::new(error)
    }
}

impl From<pipsqueak::SessionError> for Failure {
    fn from(error: pipsqueak::SessionError) -> Self {
        Self::new(error)
    }
}

impl From<crate::pack::PackError> for Failure {
    fn from(error: crate::pack::PackError) -> Self {
        Self::new(error)
    }
}
