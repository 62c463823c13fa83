//! Saved sessions as files.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use pipsqueak::{
    Session,
    kernels::Kernels,
    state::{STATE_HEADER_BYTES, StateError, StateHeader, Stopped},
};

use crate::{failure::Failure, output::Output};

/// Saves a session under the name of `path`, which exists only when all is written; see [`Session::save`].
pub fn save<K: Kernels + ?Sized>(
    path: &Path,
    session: &Session<'_, K>,
    model: u32,
    tokens: &[u32],
    note: &[u8],
) -> Result<(), Failure> {
    let mut output = Output::create(path)?;
    let mut failed = None;
    let saved = session.save(model, tokens, note, &mut |bytes| {
        output.write(bytes).map_err(|failure| {
            failed = Some(failure);
            Stopped
        })
    });
    match (failed, saved) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(Failure::new(format_args!("{}: {error}", path.display()))),
        (None, Ok(())) => output.finish(),
    }
}

/// A file with a saved session, whose header has been read.
pub struct StateFile {
    path: PathBuf,
    /// What it says about itself.
    pub header: StateHeader,
    head: [u8; STATE_HEADER_BYTES],
    rest: BufReader<File>,
    /// Bytes of the file.
    len: u64,
}

impl StateFile {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::file(path, &error);
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        let mut rest = BufReader::with_capacity(1 << 20, file);
        let mut head = Vec::new();
        rest.by_ref().take(STATE_HEADER_BYTES as u64).read_to_end(&mut head).map_err(fail)?;
        let wrong = |error| Failure::new(format_args!("{}: {error}", path.display()));
        let header = StateHeader::parse(&head).map_err(wrong)?;
        let short = StateError::Truncated { need: header.len, got: len };
        if len < header.len {
            return Err(wrong(short));
        }
        let head = head.try_into().map_err(|_| wrong(short))?;
        Ok(Self { path: path.into(), header, head, rest, len })
    }

    /// Takes the session there; returns the tokens and the note. See [`Session::restore`].
    pub fn restore<K: Kernels + ?Sized>(
        mut self,
        session: &mut Session<'_, K>,
        model: u32,
    ) -> Result<(Vec<u32>, Vec<u8>), Failure> {
        // No more than the file can hold, whatever its header says.
        let at_most = |count: usize, bytes: u64| count.min((self.len / bytes) as usize);
        let mut tokens = vec![0; at_most(self.header.tokens, 4)];
        let mut note = vec![0; at_most(self.header.note, 1)];
        let mut failed = None;
        let mut head = &self.head[..];
        let restored = session.restore(model, &mut tokens, &mut note, &mut |out| {
            let mut done = 0;
            while done < out.len() {
                let part = &mut out[done..];
                let count = match head.read(part) {
                    Ok(0) => self.rest.read(part),
                    count => count,
                };
                match count {
                    Ok(0) => break,
                    Ok(count) => done += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            done
        });
        if let Some(error) = failed {
            return Err(Failure::file(&self.path, &error));
        }
        let path = self.path.display();
        match restored {
            Ok(_) => Ok((tokens, note)),
            Err(error @ StateError::Cache { got, .. }) => {
                Err(Failure::new(format_args!("{path}: {error}; --kv {} goes on from it", got.name())))
            }
            Err(error @ StateError::Context { .. }) => {
                Err(Failure::new(format_args!("{path}: {error}; a larger --ctx takes it")))
            }
            Err(error) => Err(Failure::new(format_args!("{path}: {error}"))),
        }
    }
}
