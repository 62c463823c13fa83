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
    import::ImportError,
    input::Input,
    pack::{PackError, PackOptions, Packed, pack},
    twin::{Found, Remarks, Twin},
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

/// How to open a model.
pub struct Opening<'a> {
    /// What it must be laid out for.
    pub kernels: &'a dyn Kernels,
    /// Threads that lay it out.
    pub threads: usize,
    /// Hears bytes done and bytes in all.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// The folder of packed twins, where one is to be used and kept.
    pub cache: Option<&'a Path>,
    /// Hears what became of tensors whose encoding is none of ours, and of twins that could not be used or kept.
    pub say: &'a dyn Fn(&str),
}

impl Opening<'_> {
    /// Opens `path`, or the model in the box: an image whose panels suit the kernels is used as it is, all else is
    /// repacked, or its twin taken.
    pub fn open(&self, path: Option<&Path>, tokenizer: Option<&Path>) -> Result<Model, OpenError> {
        // Its state before it is read: should it change meanwhile, the twin is stale from the start.
        let twin = self.cache.zip(path).map(|(folder, path)| Twin::of(folder, path, tokenizer, self.kernels));
        let input = Input::open(path)?;
        let path = input.path().to_path_buf();
        let counts_steps = input.counts_steps();
        let suitable = match input.image().filter(|_| tokenizer.is_none()).map(Image::open) {
            Some(Ok(image)) => suits(&image, self.kernels),
            Some(Err(error)) => return Err(OpenError::Image { path, error }),
            None => false,
        };
        let input = match input {
            Input::File(file) if suitable => {
                return Ok(Model { path, image: ImageBytes::File(file), vocab_left_out: None, counts_steps });
            }
            input => input,
        };
        let say = |error| (self.say)(&format!("no twin in the cache: {error}"));
        let twin = twin.and_then(|twin| twin.map_err(say).ok());
        if let Some(twin) = &twin {
            match twin.find(self.threads) {
                Found::Twin(file, remarks) => {
                    remarks.converted.iter().for_each(|line| (self.say)(line));
                    let vocab_left_out = remarks.vocab_left_out;
                    return Ok(Model { path, image: ImageBytes::File(file), vocab_left_out, counts_steps });
                }
                Found::Nothing => {}
                Found::Refused(why) => {
                    (self.say)(&format!("{}: the twin is {why}; it is made anew", twin.path().display()));
                }
            }
        }
        let (packed, remarks) = self.repack(&input, tokenizer)?;
        remarks.converted.iter().for_each(|line| (self.say)(line));
        if let Some(twin) = twin
            && let Err(failure) = twin.keep(&packed, &remarks)
        {
            (self.say)(&format!("the twin was not kept: {}", failure.message));
        }
        let vocab_left_out = remarks.vocab_left_out;
        // The input is not looked at again, and its pages are not kept.
        Ok(Model { path, image: ImageBytes::Memory(packed), vocab_left_out, counts_steps })
    }

    /// A model laid out for the kernels, and what there is to say of it.
    fn repack(&self, input: &Input, tokenizer: Option<&Path>) -> Result<(Packed, Remarks), OpenError> {
        let parts = input.parts(tokenizer)?;
        let panel = |format| self.kernels.panel(format);
        let spent = |bytes: &[u8]| input.let_go(bytes);
        let options = PackOptions { progress: self.progress, spent: &spent, ..PackOptions::keep(&panel, self.threads) };
        let packed = pack(&parts, &options).map_err(|error| OpenError::Pack { path: input.path().into(), error })?;
        let converted = packed.converted().iter().map(ToString::to_string).collect();
        Ok((packed, Remarks { vocab_left_out: parts.vocab_left_out, converted }))
    }
}

impl Model {
    /// Opens `path`, or the model in the box, for `kernels`, as [`Opening::open`] does, without a cache.
    pub fn open(
        path: Option<&Path>,
        tokenizer: Option<&Path>,
        kernels: &dyn Kernels,
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self, OpenError> {
        Opening { kernels, threads, progress, cache: None, say: &|_| {} }.open(path, tokenizer)
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
