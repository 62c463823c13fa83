//! The packer: a model's tensors, tables and texts into one image.
//!
//! A library too: a firmware's `build.rs` packs its model with [`Recipe`]. [`pack`] is what all packing comes down to.

mod foreign;
pub mod golden;
mod importance;
mod loss;
mod own_text;
mod parts;
mod recipe;
mod tensor;

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

pub use importance::{Importance, measure};
pub use loss::Converted;
pub use own_text::{PIECE_TOKENS, own_text};
#[cfg(feature = "train")]
pub(crate) use parts::put_text;
pub use parts::{ModelParts, PartData, PartTensor, plain_rope_turns};
use pipsqueak::{
    Config, ConfigError, Image, ImageError,
    image::{ENTRY_BYTES, Entry, Extras, HEADER_BYTES, Header, Part, Section},
    kernels::{
        Format, Kernels, Panel,
        arena::{Line, bytes_of, bytes_of_mut},
        matrix_bytes,
    },
    tensor::TensorKind,
};
pub use recipe::{Recipe, Step, panels};

use crate::{chat::PiecesError, digest, import::ImportError, pages::Lines, vocab::VocabBuildError};
use loss::Loss;

/// Why a model could not be packed.
#[derive(Clone, Debug, PartialEq)]
pub enum PackError {
    /// The shape makes no sense.
    Config(ConfigError),
    /// The vocabulary cannot be stored.
    Vocab(VocabBuildError),
    /// A tensor of the source is bad: NaN, infinity.
    Import(ImportError),
    /// A tensor of an image has a NaN or an infinity.
    NotFinite {
        /// Which tensor.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
        /// The first such row.
        row: usize,
    },
    /// The image does not fit the address space.
    TooLarge,
    /// The system has no memory for the image.
    OutOfMemory {
        /// Bytes of it.
        bytes: usize,
    },
    /// A value became infinite or NaN on the way to its new format.
    Overflow {
        /// Which tensor.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
        /// The first such row.
        row: usize,
        /// The format that cannot hold it.
        format: Format,
    },
    /// The finished image was refused: an error of the packer.
    Image(ImageError),
    /// Running the golden vector failed.
    Golden(pipsqueak::SessionError),
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            Self::Vocab(error) => write!(f, "{error}"),
            Self::Import(error) => write!(f, "{error}"),
            Self::NotFinite { kind, layer, row } => {
                let part = Part::Tensor { kind: *kind, layer: *layer };
                write!(f, "{part}, row {row}: a value is NaN or infinite: the image is damaged")
            }
            Self::TooLarge => f.write_str("the packed model does not fit the address space"),
            Self::OutOfMemory { bytes } => write!(f, "{bytes} bytes for the packed model are not to be had"),
            Self::Overflow { kind, layer, row, format } => write!(
                f,
                "{}, row {row}: a value does not fit {}; choose a wider --quant",
                Part::Tensor { kind: *kind, layer: *layer },
                format.name()
            ),
            Self::Image(error) => write!(f, "the packed image is wrong: {error}"),
            Self::Golden(error) => write!(f, "computing the golden vector: {error}"),
        }
    }
}

impl std::error::Error for PackError {}

/// What becomes of weight matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// The source's own format.
    Keep,
    /// This one.
    To(Format),
}

/// How to pack.
pub struct PackOptions<'a> {
    /// Format of the layers' matrices.
    pub quant: Quant,
    /// Format of the embeddings and the output head.
    pub head: Quant,
    /// The panel for a format.
    pub panel: &'a (dyn Fn(Format) -> Panel + Sync),
    /// How much each input column matters, where measured.
    pub importance: Option<&'a Importance>,
    /// Compute the golden vector with this kernel set, and the digest.
    pub golden: Option<&'a dyn Kernels>,
    /// Threads.
    pub threads: usize,
    /// Called after each tensor with bytes done and bytes in all.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Called with a foreign tensor's bytes after they were read for the last time.
    pub spent: &'a (dyn Fn(&[u8]) + Sync),
}

impl<'a> PackOptions<'a> {
    /// Formats as they are, laid out for `kernels`.
    pub fn keep(panel: &'a (dyn Fn(Format) -> Panel + Sync), threads: usize) -> Self {
        Self {
            quant: Quant::Keep,
            head: Quant::Keep,
            panel,
            importance: None,
            golden: None,
            threads,
            progress: &|_, _| {},
            spent: &|_| {},
        }
    }
}

/// A packed image in memory, aligned as an image must be.
pub struct Packed {
    lines: Lines,
    len: usize,
    converted: Vec<Converted>,
    chat_left_out: Option<PiecesError>,
}

impl Packed {
    /// The image's bytes.
    pub fn bytes(&self) -> &[u8] {
        bytes_of(&self.lines).get(..self.len).unwrap_or_default()
    }

    /// Why it has no chat pieces although the model has a chat template, where [`Recipe`] has looked.
    pub fn chat_left_out(&self) -> Option<&PiecesError> {
        self.chat_left_out.as_ref()
    }

    /// What became of tensors whose encoding is none of ours.
    pub fn converted(&self) -> &[Converted] {
        &self.converted
    }
}

/// A tensor's place in the image.
struct Place {
    entry: Entry,
    start: usize,
    len: usize,
}

/// Packs a model.
pub fn pack(parts: &ModelParts<'_>, options: &PackOptions<'_>) -> Result<Packed, PackError> {
    parts.config.check().map_err(PackError::Config)?;
    let golden_words = match options.golden {
        Some(_) => golden::words(&parts.config),
        None => parts.golden.len(),
    };
    let rope: Vec<u8> = parts.rope.iter().flat_map(|turns| turns.to_le_bytes()).collect();
    let sections = [
        parts.tensors.len() * ENTRY_BYTES, //
        rope.len(),
        parts.vocab.len(),
        parts.text.len(),
        golden_words * 4,
        parts.chat.len(),
    ];
    let mut at = HEADER_BYTES;
    let mut place = |len: usize| -> Option<usize> {
        let start = at.checked_next_multiple_of(Line::BYTES)?;
        at = start.checked_add(len)?;
        Some(start)
    };
    let starts: Option<Vec<usize>> = sections.iter().map(|len| place(*len)).collect();
    let starts = starts.ok_or(PackError::TooLarge)?;
    let mut places = Vec::with_capacity(parts.tensors.len());
    for tensor in &parts.tensors {
        let (format, panel) = target(tensor, options);
        let len = matrix_bytes(format, panel, tensor.rows, tensor.cols).ok_or(PackError::TooLarge)?;
        let start = place(len).ok_or(PackError::TooLarge)?;
        let entry = Entry {
            kind: tensor.kind,
            layer: tensor.layer,
            format,
            panel,
            rows: tensor.rows as u32,
            cols: tensor.cols as u32,
            offset: start as u64,
            len: len as u64,
            crc: 0,
        };
        places.push(Place { entry, start, len });
    }
    let len = place(0).ok_or(PackError::TooLarge)?;
    let lines = Lines::zeroed(Line::count(len)).map_err(|_| PackError::OutOfMemory { bytes: len })?;
    let mut packed = Packed { lines, len, converted: Vec::new(), chat_left_out: None };
    let bytes = bytes_of_mut(&mut packed.lines);
    packed.converted = fill_tensors(parts, options, &mut places, bytes)?;
    let bytes = bytes_of_mut(&mut packed.lines);

    let golden_bytes: Vec<u8> = match options.golden {
        Some(_) => vec![0; golden_words * 4],
        None => parts.golden.iter().flat_map(|word| word.to_le_bytes()).collect(),
    };
    let directory: Vec<u8> = places.iter().flat_map(|place| place.entry.to_bytes()).collect();
    let contents: [&[u8]; 6] = [&directory, &rope, &parts.vocab, &parts.text, &golden_bytes, &parts.chat];
    let kept = parts.tensors.iter().zip(&places).all(|(tensor, place)| tensor.data.format() == place.entry.format);
    let mut extras = Extras { chat: Section::default(), digest: if kept { parts.digest } else { 0 } };
    let mut header = Header {
        file_len: len as u64,
        n_tensors: places.len() as u32,
        config: parts.config,
        sections: [Section::default(); 5],
    };
    for ((section, start), content) in header.sections.iter_mut().chain([&mut extras.chat]).zip(&starts).zip(contents) {
        bytes[*start..][..content.len()].copy_from_slice(content);
        *section = Section { offset: *start as u64, len: content.len() as u64, crc: crc32fast::hash(content) };
    }
    if parts.chat.is_empty() {
        extras.chat = Section::default();
    }
    if options.golden.is_some() {
        // First without a golden vector, to run the model; then with it.
        let section = std::mem::take(&mut header.sections[4]);
        header.sections[4] = Section { len: 0, crc: crc32fast::hash(&[]), ..section };
    }
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes_with(&extras));
    if let Some(kernels) = options.golden {
        let image = Image::open(packed.bytes()).map_err(PackError::Image)?;
        let words = golden::compute(&image, kernels, options.threads).map_err(PackError::Golden)?;
        let content: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        extras.digest = digest::compute(&image, options.threads);
        let bytes = bytes_of_mut(&mut packed.lines);
        bytes[starts[4]..][..content.len()].copy_from_slice(&content);
        header.sections[4] =
            Section { offset: starts[4] as u64, len: content.len() as u64, crc: crc32fast::hash(&content) };
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes_with(&extras));
    }
    Image::open(packed.bytes()).map_err(PackError::Image)?;
    Ok(packed)
}

/// The format and panel a tensor gets.
fn target(tensor: &PartTensor<'_>, options: &PackOptions<'_>) -> (Format, Panel) {
    if tensor.kind.is_vector() {
        return (Format::F32, Panel::R1);
    }
    let head =
        matches!(tensor.kind, TensorKind::TokenEmbedding | TensorKind::OutputHead | TensorKind::PositionEmbedding);
    let format = match if head { options.head } else { options.quant } {
        Quant::Keep => tensor.data.format(),
        Quant::To(format) => format,
    };
    (format, if format.is_quantised() { (options.panel)(format) } else { Panel::R1 })
}

/// Fills all tensors and their checksums, on several threads.
fn fill_tensors(
    parts: &ModelParts<'_>,
    options: &PackOptions<'_>,
    places: &mut [Place],
    mut bytes: &mut [u8],
) -> Result<Vec<Converted>, PackError> {
    let total: u64 = places.iter().map(|place| place.len as u64).sum();
    // Each tensor's bytes, cut off the front in file order.
    let mut jobs = Vec::with_capacity(places.len());
    let mut at = 0;
    for (tensor, place) in parts.tensors.iter().zip(places) {
        let (_, rest) = std::mem::take(&mut bytes).split_at_mut(place.start - at);
        let (out, rest) = rest.split_at_mut(place.len);
        (bytes, at) = (rest, place.start + place.len);
        jobs.push(std::sync::Mutex::new((tensor, &mut place.entry, out, Loss::default())));
    }
    let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let mut job = job.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (tensor, entry, out, loss) = &mut *job;
            let importance = options.importance.and_then(|importance| importance.get(tensor.kind, tensor.layer));
            match tensor::fill(tensor, entry, importance, out) {
                Ok(lost) => *loss = lost,
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            if let PartData::Foreign(source) = &tensor.data {
                (options.spent)(source.data);
            }
            entry.crc = crc32fast::hash(out);
            let done = done.fetch_add(out.len(), Ordering::Relaxed) + out.len();
            (options.progress)(done as u64, total);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..options.threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        helpers.into_iter().fold(own, |result, helper| result.and(helper.join().unwrap_or(Ok(()))))
    })?;
    let done = jobs.into_iter().map(|job| job.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
    Ok(loss::converted(done.filter_map(|(tensor, entry, _, loss)| {
        let from = tensor.data.converted_from().filter(|_| !tensor.kind.is_vector())?;
        Some((from, entry.format, loss))
    })))
}

/// Multiply-adds of one token's products, attention apart.
pub fn macs_per_token(config: &Config) -> u64 {
    let by_row = |kind| matches!(kind, TensorKind::TokenEmbedding | TensorKind::PositionEmbedding);
    let products = config.tensors().filter(|(kind, _)| !kind.is_vector() && !by_row(*kind));
    let layers: u64 = products.map(|(kind, _)| config.shape(kind)).map(|(rows, cols)| rows as u64 * cols as u64).sum();
    let tied = if config.tied_head { config.vocab_size as u64 * config.dim as u64 } else { 0 };
    layers + tied
}
