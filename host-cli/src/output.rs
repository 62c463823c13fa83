//! Writing result files so that nothing half-written stays.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// A file that gets its name only when all of it is written.
pub struct Output {
    target: PathBuf,
    /// Where the bytes go until then; `None` for a device or a pipe, which has no second name.
    temporary: Option<PathBuf>,
    writer: Option<BufWriter<File>>,
}

impl Output {
    /// Starts writing `target`.
    pub fn create(target: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::file(target, &error);
        let special = fs::metadata(target).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        let temporary = if special {
            None
        } else {
            let name = target.file_name().ok_or_else(|| fail(io::ErrorKind::IsADirectory.into()))?;
            if target.is_dir() {
                return Err(fail(io::ErrorKind::IsADirectory.into()));
            }
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}", std::process::id()));
            Some(target.with_file_name(hidden))
        };
        let file = match &temporary {
            Some(path) => File::create(path),
            None => File::options().write(true).open(target),
        };
        let writer = Some(BufWriter::with_capacity(1 << 20, file.map_err(fail)?));
        Ok(Self { target: target.into(), temporary, writer })
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let result = self.writer.as_mut().map_or(Ok(()), |writer| writer.write_all(bytes));
        result.map_err(|error| Failure::file(&self.target, &error))
    }

    /// Appends the bits of floats, little-endian.
    pub fn write_f32(&mut self, values: &[f32]) -> Result<(), Failure> {
        values.iter().try_for_each(|value| self.write(&value.to_le_bytes()))
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        let fail = |error: io::Error| Failure::file(&self.target, &error);
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(|error| fail(error.into_error()))?;
            if self.temporary.is_some() {
                file.sync_all().map_err(fail)?;
            }
        }
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.target).map_err(fail)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing can be done about a failure here, and the error that led here is the one to report.
            let _ = fs::remove_file(temporary);
        }
    }
}
