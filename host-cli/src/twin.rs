//! Packed twins: a model file laid out for this CPU, kept in the cache folder, so that the next start only maps it.
//!
//! A twin is an image, and behind it, where [`Image::open`] does not look, a record of what it was made from: file,
//! size and time of its last change, panels, version. One whose record is another's is stale; one whose bytes are not those
//! of their checksums is damaged. Neither is used, and a new one takes its place under the same name.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use pipsqueak::{
    Image,
    kernels::{Format, Kernels},
};
use serde::{Deserialize, Serialize};

use crate::{corpus::hash, failure::Failure, folder::Folder, model::Mapped, output::Output, pack::Packed};

/// To be raised when the packer makes other bytes from the same file.
const LAYOUT: u32 = 2;
/// The end of a twin: the record's length and its CRC-32, little-endian, and this.
const MAGIC: &[u8; 8] = b"PIPSTWIN";
const TAIL: usize = 4 + 4 + MAGIC.len();
/// A temporary file that nobody has written to for so long has lost its writer.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// What there is to say of a model that was laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remarks {
    /// Why it has no vocabulary, where that has a reason.
    pub vocab_left_out: Option<String>,
    /// What became of tensors whose encoding is none of ours, a line each.
    pub converted: Vec<String>,
}

/// The twin of one model.
pub struct Twin {
    path: PathBuf,
    /// What it must have been made from.
    key: String,
}

/// What is under a twin's name.
pub enum Found {
    /// A twin that may be used, and what there was to say when it was made.
    Twin(Mapped, Remarks),
    /// Nothing.
    Nothing,
    /// Something that may not.
    Refused(Refused),
}

/// Why a twin may not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was made from another state of the file, or by another version of this program.
    Stale,
    /// Its bytes are not those that were written.
    Damaged(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale => f.write_str("stale: the model, or this program, has changed since"),
            Self::Damaged(why) => write!(f, "damaged: {why}"),
        }
    }
}

impl Twin {
    /// The twin, in `folder`, of the model `file` with `tokenizer`, laid out for `kernels`. Where the model is a folder of its
    /// own, it is made from all files that are read of it.
    pub fn of(folder: &Path, file: &Path, tokenizer: Option<&Path>, kernels: &dyn Kernels) -> io::Result<Self> {
        let (mut name, mut state) = (String::new(), String::new());
        for path in std::iter::once(file).chain(tokenizer) {
            name += &format!("{:?}\n", fs::canonicalize(path)?);
            // One more file of a folder, or one less, is another state of it too.
            let files = if path.is_dir() { Folder::paths(path) } else { vec![path.into()] };
            for file in files {
                let metadata = fs::metadata(&file)?;
                let changed = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let which = file.file_name().unwrap_or_default();
                state += &format!("{which:?}: {} bytes, changed at {}\n", metadata.len(), changed.as_nanos());
            }
        }
        for format in [Format::Q8, Format::Q4, Format::Q4M] {
            name += &format!("{} {:?}\n", format.name(), kernels.panel(format));
        }
        let full = fs::canonicalize(file)?;
        let stem = if file.is_dir() { full.file_name() } else { file.file_stem() };
        let stem = stem.unwrap_or_default().to_string_lossy();
        let path = folder.join(format!("{stem}.{:016x}.pips", hash::of_bytes(name.as_bytes())));
        let key = format!("pipsqueak {} layout {LAYOUT}\n{name}{state}", env!("CARGO_PKG_VERSION"));
        Ok(Self { path, key })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks for it, and at every byte of it.
    pub fn find(&self, threads: usize) -> Found {
        if !self.path.exists() {
            return Found::Nothing;
        }
        let damaged = |why: &dyn fmt::Display| Found::Refused(Refused::Damaged(why.to_string()));
        let file = match Mapped::open(&self.path) {
            Ok(file) => file,
            Err(error) => return damaged(&error),
        };
        let Some((image, record)) = split(file.bytes()) else { return damaged(&"its record is not whole") };
        let Some(remarks) = record.strip_prefix(self.key.as_bytes()) else { return Found::Refused(Refused::Stale) };
        let remarks = match serde_json::from_slice(remarks) {
            Ok(remarks) => remarks,
            Err(error) => return damaged(&error),
        };
        match Image::open(image) {
            Err(error) => return damaged(&error),
            Ok(opened) if opened.len() != image.len() => return damaged(&"its length is wrong"),
            Ok(opened) if !intact(&opened, threads) => return damaged(&"its weights are not those of their checksums"),
            Ok(_) => {}
        }
        Found::Twin(file, remarks)
    }

    /// Keeps a model that was laid out, and what there is to say of it.
    pub fn keep(&self, packed: &Packed, remarks: &Remarks) -> Result<(), Failure> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
            self.sweep(folder);
        }
        let remarks = serde_json::to_vec(remarks).map_err(Failure::new)?;
        let record = [self.key.as_bytes(), &remarks].concat();
        let mut output = Output::create(&self.path)?;
        output.write(packed.bytes())?;
        output.write(&record)?;
        output.write(&(record.len() as u32).to_le_bytes())?;
        output.write(&crc32fast::hash(&record).to_le_bytes())?;
        output.write(MAGIC)?;
        output.finish()
    }

    /// Removes what writers that were killed have left.
    fn sweep(&self, folder: &Path) {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(self.path.file_name().unwrap_or_default());
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries {
            let left = entry.file_name().as_encoded_bytes().starts_with(hidden.as_encoded_bytes())
                && entry
                    .metadata()
                    .and_then(|metadata| metadata.modified())
                    .is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age > FORGOTTEN));
            if left {
                // Another run may have been quicker.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A twin's image and its record; `None` when the record is not whole.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, tail) = bytes.split_at_checked(bytes.len().checked_sub(TAIL)?)?;
    let (numbers, magic) = tail.split_at(8);
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| numbers[at + i]));
    let (image, record) = rest.split_at_checked(rest.len().checked_sub(number(0) as usize)?)?;
    (magic == MAGIC && crc32fast::hash(record) == number(4)).then_some((image, record))
}

/// Whether every tensor has the bytes of its checksum; on several threads.
fn intact(image: &Image<'_>, threads: usize) -> bool {
    let entries: Vec<_> = image.entries().collect();
    let (next, fine) = (AtomicUsize::new(0), AtomicBool::new(true));
    let work = || {
        while fine.load(Ordering::Relaxed)
            && let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed))
        {
            if crc32fast::hash(image.tensor_bytes(entry)) != entry.crc {
                fine.store(false, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    fine.into_inner()
}
