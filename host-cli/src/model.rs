//! Opening a model for use on this host: a packed image is mapped and read in place, anything else is packed in memory.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use pipsqueak::{Image, ImageError, kernels::Kernels};

use crate::{
    boxed,
    import::{self, ImportError},
    pack::{ModelParts, PackError, PackOptions, Packed, pack},
};

/// Why a model could not be opened. `Display` is one line with the file's name in it.
#[derive(Debug)]
pub enum OpenError {
    /// The file could not be read.
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A foreign file was refused.
    Import {
        /// Which.
        path: PathBuf,
        /// Why.
        error: ImportError,
    },
    /// A packed image was refused.
    Image {
        /// Which.
        path: PathBuf,
        /// Why.
        error: ImageError,
    },
    /// A foreign file could not be packed.
    Pack {
        /// Which.
        path: PathBuf,
        /// Why.
        error: PackError,
    },
    /// A packed image already has its tokenizer.
    TokenizerNotWanted {
        /// Which image.
        path: PathBuf,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Import { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Image { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Pack { path, error } => write!(f, "{}: {error}", path.display()),
            Self::TokenizerNotWanted { path } => {
                write!(f, "{}: a packed image carries its tokenizer; leave --tokenizer away", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// A file in memory: mapped, or part of the program.
pub struct Mapped {
    path: PathBuf,
    content: Content,
}

enum Content {
    Map(Mmap),
    Boxed(&'static [u8]),
}

impl Mapped {
    /// The model of a command line: maps `path`, or takes the model in the box where none is named.
    pub fn model(path: Option<&Path>) -> Result<Self, OpenError> {
        let boxed = || Self { path: boxed::NAME.into(), content: Content::Boxed(boxed::stories()) };
        path.map_or_else(|| Ok(boxed()), Self::open)
    }

    /// Maps `path` for reading.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |error| OpenError::Io { path: path.into(), error };
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, not a model file")));
        }
        if metadata.len() == 0 {
            // An empty file cannot be mapped; as no bytes it gets the reader's own error.
            return Ok(Self { path: path.into(), content: Content::Boxed(&[]) });
        }
        // SAFETY: the mapping is read-only. Should another program change the file while it is mapped, we would read the
        // changed bytes; every reader checks what it takes lengths and offsets from before it uses them, and weights
        // are only ever numbers. A file cut short meanwhile ends the process with SIGBUS, as with every mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Self { path: path.into(), content: Content::Map(map) })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Map(map) => map,
            Content::Boxed(bytes) => bytes,
        }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the memory of some of the file's bytes back to the system; they can still be read, from the file anew.
    pub fn let_go(&self, bytes: &[u8]) {
        #[cfg(unix)]
        if let Content::Map(map) = &self.content {
            use memmap2::UncheckedAdvice;
            let offset = (bytes.as_ptr() as usize).wrapping_sub(map.as_ptr() as usize);
            let Some(end) = offset.checked_add(bytes.len()).filter(|end| *end <= map.len()) else { return };
            // Whole pages only, and no system's are larger.
            let (start, end) = (offset.next_multiple_of(LARGEST_PAGE), end / LARGEST_PAGE * LARGEST_PAGE);
            if start < end {
                // SAFETY: the mapping is private, read-only and of a file, so a dropped page is read from the file again
                // with the same content, as far as any mapped page has the same content; see `open`.
                let advised = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
                // Where the system will not, the memory is merely kept a little longer.
                drop(advised);
            }
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

/// No system maps files in larger pages, unless asked.
#[cfg(unix)]
const LARGEST_PAGE: usize = 1 << 16;

/// A model for some kernels: its file, or where that is not an image for them, its packed twin in memory alone.
pub struct Model {
    path: PathBuf,
    image: ImageBytes,
    vocab_left_out: Option<String>,
    counts_steps: bool,
}

/// Where an image is.
enum ImageBytes {
    File(Mapped),
    Memory(Packed),
}

/// Whether `bytes` begin a packed image.
pub fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PIPS")
}

/// The parts of a model file of any kind.
pub fn parts<'a>(file: &'a Mapped, tokenizer: Option<&Path>) -> Result<ModelParts<'a>, OpenError> {
    let path = || file.path().to_path_buf();
    let bytes = file.bytes();
    if is_image(bytes) {
        if tokenizer.is_some() {
            return Err(OpenError::TokenizerNotWanted { path: path() });
        }
        let image = Image::open(bytes).map_err(|error| OpenError::Image { path: path(), error })?;
        return Ok(ModelParts::from_image(&image));
    }
    let tokenizer = tokenizer.map(Mapped::open).transpose()?;
    let source = import::open(bytes, tokenizer.as_ref().map(Mapped::bytes));
    let source = source.map_err(|error| {
        // An error of the tokenizer's is told under the tokenizer's name.
        let alone = tokenizer.is_some() && import::open(bytes, None).is_ok();
        let path = if alone { tokenizer.as_ref().map(|file| file.path().to_path_buf()) } else { None };
        OpenError::Import { path: path.unwrap_or_else(|| file.path().into()), error }
    })?;
    ModelParts::from_source(&source).map_err(|error| OpenError::Pack { path: path(), error })
}

impl Model {
    /// Opens `path`, or the model in the box, for `kernels`: an image whose panels suit them is used as it is, all else is
    /// repacked by `threads` threads. `progress` hears bytes done and bytes in all.
    pub fn open(
        path: Option<&Path>,
        tokenizer: Option<&Path>,
        kernels: &dyn Kernels,
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self, OpenError> {
        let file = Mapped::model(path)?;
        let path = file.path().to_path_buf();
        let counts_steps = !is_image(file.bytes()) && !file.bytes().starts_with(import::gguf::MAGIC);
        if is_image(file.bytes()) && tokenizer.is_none() {
            let image = Image::open(file.bytes()).map_err(|error| OpenError::Image { path: path.clone(), error })?;
            if suits(&image, kernels) {
                return Ok(Self { path, image: ImageBytes::File(file), vocab_left_out: None, counts_steps });
            }
        }
        let (packed, vocab_left_out) = repack(&file, tokenizer, kernels, threads, progress)?;
        // The file is not looked at again, and its pages are not kept.
        Ok(Self { path, image: ImageBytes::Memory(packed), vocab_left_out, counts_steps })
    }

    /// The image.
    pub fn image(&self) -> Result<Image<'_>, OpenError> {
        let bytes = match &self.image {
            ImageBytes::File(file) => file.bytes(),
            ImageBytes::Memory(packed) => packed.bytes(),
        };
        Image::open(bytes).map_err(|error| OpenError::Image { path: self.path.clone(), error })
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why it has no vocabulary, where that has a reason.
    pub fn vocab_left_out(&self) -> Option<&str> {
        self.vocab_left_out.as_deref()
    }

    /// Whether it is a llama2.c file, whose users count steps, prompt included, rather than new tokens.
    pub fn counts_steps(&self) -> bool {
        self.counts_steps
    }
}

/// Whether every matrix is laid out as these kernels read it.
fn suits(image: &Image<'_>, kernels: &dyn Kernels) -> bool {
    image.entries().all(|entry| !entry.format.is_quantised() || entry.panel == kernels.panel(entry.format))
}

/// A model file laid out for `kernels`, and why it has no vocabulary where that has a reason.
fn repack(
    file: &Mapped,
    tokenizer: Option<&Path>,
    kernels: &dyn Kernels,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Packed, Option<String>), OpenError> {
    let parts = parts(file, tokenizer)?;
    let panel = |format| kernels.panel(format);
    let spent = |bytes: &[u8]| file.let_go(bytes);
    let options = PackOptions { progress, spent: &spent, ..PackOptions::keep(&panel, threads) };
    let packed = pack(&parts, &options).map_err(|error| OpenError::Pack { path: file.path().into(), error })?;
    Ok((packed, parts.vocab_left_out))
}
