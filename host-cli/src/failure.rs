//! How a command ends when it does not end well: one line, and an exit status.

use std::{fmt, io, path::Path};

/// A command's error. `Display` is its message.
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

    /// The arguments were refused: the parser's message and tips, as one line and without its usage text.
    pub fn arguments(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut message = String::new();
        for line in lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information")) {
            let line = line.strip_prefix("error: ").unwrap_or(line);
            let joint = match message.chars().next_back() {
                None => "",
                Some(':' | ',') => " ",
                Some(_) => "; ",
            };
            message = message + joint + line;
        }
        Self::usage(message + "; --help tells more")
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a `main` that returns it prints, so the message, as it is.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

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
