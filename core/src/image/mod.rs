//! The packed model: one file, read in place, checked before use.
//!
//! All numbers are little-endian. The file starts on a line of 64 bytes, and so does every section and every tensor.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | `[u8; 4]` | `PIPS` |
//! | 4 | u16 | format version, 1 |
//! | 6 | u16 | arithmetic contract, 1 |
//! | 8 | u64 | length of the file |
//! | 16 | u32 | tensors in the directory |
//! | 20 | u32 | 0 |
//! | 24 | 9 x u32 | dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, rope_dim, vocab_size, seq_len |
//! | 60 | f32 | norm_eps |
//! | 64 | f32 | att_scale |
//! | 68 | 4 x u8 | RoPE pairs, activation, 1 if the head is tied, 0 |
//! | 72 | 24 x u8 | 0 |
//! | 96 | 5 x section | directory, RoPE, vocabulary, text, golden |
//! | 216 | 36 x u8 | 0 |
//! | 252 | u32 | CRC-32 of bytes 0 to 251 |
//!
//! A section is an offset (u64), a length (u64), the CRC-32 of its bytes (u32) and 0 (u32).
//!
//! * **Directory**: a 40-byte entry a tensor, sorted by key: key (u32, `kind`, or `(layer + 1) << 8 | kind` for a layer's
//!   tensors), format (u8), panel (u8), 0 (u16), rows (u32), columns (u32), offset (u64), length (u64), CRC-32 of the
//!   tensor's bytes (u32), 0 (u32). Vectors are one row of F32.
//! * **RoPE**: `rope_dim / 2` u32: the angle a position adds, in turns times 2^32, scaling included.
//! * **Vocabulary**: see [`crate::tokenizer::layout`]; empty when the model has none.
//! * **Text**: records of tag (u16), 0 (u16), length (u32), UTF-8 bytes; see [`Text`].
//! * **Golden**: count (u32) and that many token ids (u32), then for each cache type (f32, f16, int8) `n_layers + 1` u32:
//!   the CRC-32 of the last token's residual stream after each layer, and of its logits. Empty when not computed.

mod header;

use core::fmt;

pub use header::{HEADER_BYTES, Header, SECTIONS, Section};
use pipsqueak_kernels::{Format, LayoutError, Matrix, Panel, arena::cast};

use crate::{
    config::{Config, ConfigError},
    crc::{Crc32, crc32},
    kv_cache::KvType,
    tensor::TensorKind,
    tokenizer::{Vocab, VocabError},
};

/// Bytes of a directory entry.
pub const ENTRY_BYTES: usize = 40;

/// Why an image was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ImageError {
    /// Shorter than its header says, or than a header.
    Truncated {
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        got: u64,
    },
    /// Does not start on a line of 64 bytes.
    Misaligned,
    /// Not a Pipsqueak image.
    Magic {
        /// The first four bytes.
        got: [u8; 4],
    },
    /// A format version this build does not read.
    Version {
        /// The image's version; this build reads 1.
        got: u16,
    },
    /// An arithmetic contract this build does not compute.
    Arithmetic {
        /// The image's contract; this build computes 1.
        got: u16,
    },
    /// Bytes were changed.
    Checksum {
        /// What they belong to.
        part: Part,
        /// CRC-32 stored.
        expected: u32,
        /// CRC-32 found.
        got: u32,
    },
    /// A section or tensor reaches outside the file, or is not aligned.
    Range {
        /// What reaches outside.
        part: Part,
        /// Its offset.
        offset: u64,
        /// Its length.
        len: u64,
        /// The file's length.
        file: u64,
    },
    /// The shape makes no sense.
    Config(ConfigError),
    /// A tensor the shape needs is missing.
    MissingTensor {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
    },
    /// A directory entry that is unknown, out of order or not needed.
    UnexpectedTensor {
        /// Its key.
        key: u32,
    },
    /// A tensor has another shape or format than its role needs.
    Shape {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
        /// Rows and columns needed.
        need: (u32, u32),
        /// Rows and columns found.
        got: (u32, u32),
    },
    /// A tensor's bytes do not fit its shape, format or panel.
    Layout {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
        /// What is wrong.
        error: LayoutError,
    },
    /// The vocabulary's tables make no sense.
    Vocab(VocabError),
    /// The vocabulary has another number of tokens than the model.
    VocabSize {
        /// Tokens of the model.
        need: u32,
        /// Tokens of the vocabulary.
        got: u32,
    },
    /// A section's content makes no sense.
    Section {
        /// Which.
        part: Part,
    },
}

/// A part of an image that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Part {
    /// The first 256 bytes.
    Header,
    /// The tensor directory.
    Directory,
    /// RoPE's frequencies.
    Rope,
    /// The vocabulary.
    Vocabulary,
    /// Texts.
    Text,
    /// The golden vector.
    Golden,
    /// A tensor.
    Tensor {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Header => f.write_str("header"),
            Self::Directory => f.write_str("tensor directory"),
            Self::Rope => f.write_str("RoPE table"),
            Self::Vocabulary => f.write_str("vocabulary"),
            Self::Text => f.write_str("text section"),
            Self::Golden => f.write_str("golden vector"),
            Self::Tensor { kind, layer } if kind.per_layer() => write!(f, "tensor {} of layer {layer}", kind.name()),
            Self::Tensor { kind, .. } => write!(f, "tensor {}", kind.name()),
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = |kind, layer| Part::Tensor { kind, layer };
        match *self {
            Self::Truncated { need, got } => write!(f, "image has {got} bytes and needs {need}"),
            Self::Misaligned => f.write_str("image does not start at a multiple of 64 bytes"),
            Self::Magic { got: [a, b, c, d] } => {
                write!(f, "not a Pipsqueak image: it starts with {a:02x} {b:02x} {c:02x} {d:02x}, not 50 49 50 53")
            }
            Self::Version { got } => write!(f, "image format version {got}; this build reads version 1"),
            Self::Arithmetic { got } => write!(f, "arithmetic contract {got}; this build computes contract 1"),
            Self::Checksum { part, expected, got } => {
                write!(f, "{part} is damaged: its CRC-32 is {got:08x}, stored was {expected:08x}")
            }
            Self::Range { part, offset, len, file } => {
                write!(f, "{part} at {offset} with {len} bytes does not fit the file of {file} bytes or is misaligned")
            }
            Self::Config(error) => write!(f, "{error}"),
            Self::MissingTensor { kind, layer } => write!(f, "{} is missing", tensor(kind, layer)),
            Self::UnexpectedTensor { key } => write!(f, "unexpected tensor with key {key:#x} in the directory"),
            Self::Shape { kind, layer, need, got } => {
                write!(f, "{} is {} x {} and must be {} x {}", tensor(kind, layer), got.0, got.1, need.0, need.1)
            }
            Self::Layout { kind, layer, error } => write!(f, "{}: {error}", tensor(kind, layer)),
            Self::Vocab(error) => write!(f, "vocabulary: {error}"),
            Self::VocabSize { need, got } => {
                write!(f, "the vocabulary has {got} tokens and the model {need}")
            }
            Self::Section { part } => write!(f, "{part} makes no sense"),
        }
    }
}

impl core::error::Error for ImageError {}

/// Texts an image carries, by tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u16)]
pub enum Text {
    /// The model's name.
    Name = 1,
    /// The licence's identifier.
    Licence = 2,
    /// Where the model came from.
    Origin = 3,
    /// The chat template (Jinja).
    ChatTemplate = 4,
}

impl Text {
    /// Every text.
    pub const ALL: [Self; 4] = [Self::Name, Self::Licence, Self::Origin, Self::ChatTemplate];
}

/// One tensor of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its role.
    pub kind: TensorKind,
    /// Its layer; 0 for tensors of the whole model.
    pub layer: u32,
    /// Number format.
    pub format: Format,
    /// How rows are interleaved.
    pub panel: Panel,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
    /// CRC-32 of those bytes.
    pub crc: u32,
}

impl Entry {
    /// The key entries are sorted by.
    pub const fn key(kind: TensorKind, layer: u32) -> u32 {
        if kind.per_layer() { (layer + 1) << 8 | kind as u32 } else { kind as u32 }
    }

    /// The entry as stored.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let mut put = header::Writer::new(&mut out);
        put.bytes(&Self::key(self.kind, self.layer).to_le_bytes());
        put.bytes(&[self.format as u8, self.panel as u8, 0, 0]);
        put.bytes(&self.rows.to_le_bytes());
        put.bytes(&self.cols.to_le_bytes());
        put.bytes(&self.offset.to_le_bytes());
        put.bytes(&self.len.to_le_bytes());
        put.bytes(&self.crc.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, ImageError> {
        let mut get = header::Reader::new(bytes);
        let key = get.u32();
        let unexpected = ImageError::UnexpectedTensor { key };
        let kind = TensorKind::from_code(key as u8).ok_or(unexpected)?;
        if kind.per_layer() == (key >> 8 == 0) {
            return Err(unexpected);
        }
        let [format, panel, _, _] = get.array();
        Ok(Self {
            kind,
            layer: (key >> 8).saturating_sub(1),
            format: Format::from_code(format).ok_or(unexpected)?,
            panel: Panel::from_code(panel).ok_or(unexpected)?,
            rows: get.u32(),
            cols: get.u32(),
            offset: get.u64(),
            len: get.u64(),
            crc: get.u32(),
        })
    }
}

/// The weights of one layer, in place.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `[dim]`.
    pub rms_att: &'a [f32],
    /// `[n_heads * head_dim, dim]`.
    pub wq: Matrix<'a>,
    /// `[n_kv_heads * head_dim, dim]`.
    pub wk: Matrix<'a>,
    /// `[n_kv_heads * head_dim, dim]`.
    pub wv: Matrix<'a>,
    /// `[dim, n_heads * head_dim]`.
    pub wo: Matrix<'a>,
    /// `[dim]`.
    pub rms_ffn: &'a [f32],
    /// `[hidden_dim, dim]`.
    pub w1: Matrix<'a>,
    /// `[dim, hidden_dim]`.
    pub w2: Matrix<'a>,
    /// `[hidden_dim, dim]`.
    pub w3: Matrix<'a>,
}

/// A checked view of a packed model. Opening it reads header, directory and tables, and no weights.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    header: Header,
    directory: &'a [[u8; ENTRY_BYTES]],
    rope: &'a [u32],
    vocab: Option<Vocab<'a>>,
    vocab_bytes: &'a [u8],
    text: &'a [u8],
    golden: &'a [u32],
}

impl<'a> Image<'a> {
    /// Checks `bytes` and views them as a model. Bytes after the image's own length are ignored, so that a whole flash
    /// region can be passed.
    ///
    /// Errors: every length, offset, shape and checksum but those of the tensors' bytes, for which see [`Self::verify`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let header = Header::parse(bytes)?;
        let file = header.file_len;
        let bytes = usize::try_from(file).ok().and_then(|len| bytes.get(..len));
        let bytes = bytes.ok_or(ImageError::Truncated { need: file, got: 0 })?;
        header.config.check().map_err(ImageError::Config)?;

        let [directory, rope, vocab, text, golden] = header.sections;
        let directory = section(bytes, directory, Part::Directory)?;
        let (directory, rest) = directory.as_chunks::<ENTRY_BYTES>();
        let bad = |part| ImageError::Section { part };
        if !rest.is_empty() || directory.len() as u64 != header.n_tensors as u64 {
            return Err(bad(Part::Directory));
        }
        let rope = cast::<u32>(section(bytes, rope, Part::Rope)?).ok_or(bad(Part::Rope))?;
        if rope.len() as u64 != header.config.rope_dim as u64 / 2 {
            return Err(bad(Part::Rope));
        }
        let golden = cast::<u32>(section(bytes, golden, Part::Golden)?).ok_or(bad(Part::Golden))?;
        let vocab_bytes = section(bytes, vocab, Part::Vocabulary)?;
        let image = Self {
            bytes,
            header,
            directory,
            rope,
            vocab: open_vocab(vocab_bytes, header.config.vocab_size)?,
            vocab_bytes,
            text: section(bytes, text, Part::Text)?,
            golden,
        };
        image.check_tensors()?;
        image.check_text()?;
        if !golden.is_empty() && image.golden(KvType::I8).is_none() {
            return Err(bad(Part::Golden));
        }
        Ok(image)
    }

    /// The model's shape.
    pub const fn config(&self) -> &Config {
        &self.header.config
    }

    /// Bytes of the whole image.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: an image has a header.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The angle a position adds to each pair, in turns times 2^32: `[rope_dim / 2]`.
    pub const fn rope(&self) -> &'a [u32] {
        self.rope
    }

    /// The vocabulary; `None` when the image has none and only takes token ids.
    pub const fn vocab(&self) -> Option<Vocab<'a>> {
        self.vocab
    }

    /// The vocabulary's section as stored; empty when there is none.
    pub const fn vocab_bytes(&self) -> &'a [u8] {
        self.vocab_bytes
    }

    /// A text, if the image carries it.
    pub fn text(&self, text: Text) -> Option<&'a str> {
        let bytes = records(self.text).find_map(|(tag, bytes)| (tag == text as u16).then_some(bytes));
        bytes.and_then(|bytes| core::str::from_utf8(bytes).ok())
    }

    /// The golden vector: prompt, and for a cache type the checksums after each layer and of the logits.
    pub fn golden(&self, kv: KvType) -> Option<(&'a [u32], &'a [u32])> {
        let (count, rest) = self.golden.split_first()?;
        let (tokens, sums) = rest.split_at_checked(*count as usize)?;
        let each = self.config().n_layers as usize + 1;
        if tokens.is_empty() || sums.len() != each * KvType::ALL.len() {
            return None;
        }
        let start = each * kv as usize;
        Some((tokens, sums.get(start..start + each)?))
    }

    /// The directory's entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        self.directory.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok())
    }

    /// A tensor's bytes.
    pub fn tensor_bytes(&self, entry: &Entry) -> &'a [u8] {
        range(self.bytes, entry.offset, entry.len).unwrap_or(&[])
    }

    /// A tensor as a matrix; `None` when the model has no such tensor.
    pub fn matrix(&self, kind: TensorKind, layer: u32) -> Option<Matrix<'a>> {
        let entry = self.entry(kind, layer)?;
        self.entry_matrix(&entry).ok()
    }

    /// A vector of `f32`; `None` when the model has no such tensor.
    pub fn vector(&self, kind: TensorKind) -> Option<&'a [f32]> {
        Some(self.matrix(kind, 0)?.row_f32(0))
    }

    /// The output head: its own matrix, or the token embedding.
    pub fn head(&self) -> Option<Matrix<'a>> {
        self.matrix(if self.config().tied_head { TensorKind::TokenEmbedding } else { TensorKind::OutputHead }, 0)
    }

    /// The weights of layer `layer`.
    pub fn layer(&self, layer: u32) -> Option<Layer<'a>> {
        let matrix = |kind| self.matrix(kind, layer);
        Some(Layer {
            rms_att: matrix(TensorKind::RmsAtt)?.row_f32(0),
            wq: matrix(TensorKind::Wq)?,
            wk: matrix(TensorKind::Wk)?,
            wv: matrix(TensorKind::Wv)?,
            wo: matrix(TensorKind::Wo)?,
            rms_ffn: matrix(TensorKind::RmsFfn)?.row_f32(0),
            w1: matrix(TensorKind::W1)?,
            w2: matrix(TensorKind::W2)?,
            w3: matrix(TensorKind::W3)?,
        })
    }

    /// Compares every tensor's bytes with its CRC-32. Reads the whole image.
    pub fn verify(&self) -> Result<(), ImageError> {
        for entry in self.entries() {
            let got = crc32(self.tensor_bytes(&entry));
            if got != entry.crc {
                let part = Part::Tensor { kind: entry.kind, layer: entry.layer };
                return Err(ImageError::Checksum { part, expected: entry.crc, got });
            }
        }
        Ok(())
    }

    fn entry(&self, kind: TensorKind, layer: u32) -> Option<Entry> {
        let key = Entry::key(kind, layer);
        let at = self.directory.binary_search_by_key(&key, |bytes| header::Reader::new(bytes).u32()).ok()?;
        Entry::from_bytes(self.directory.get(at)?).ok()
    }

    fn entry_matrix(&self, entry: &Entry) -> Result<Matrix<'a>, LayoutError> {
        let bytes = self.tensor_bytes(entry);
        Matrix::new(entry.format, entry.panel, entry.rows as usize, entry.cols as usize, bytes)
    }

    fn check_tensors(&self) -> Result<(), ImageError> {
        let config = self.config();
        let mut needed = config.tensors();
        for bytes in self.directory {
            let entry = Entry::from_bytes(bytes)?;
            let Entry { kind, layer, .. } = entry;
            let key = Entry::key(kind, layer);
            let (need_kind, need_layer) = needed.next().ok_or(ImageError::UnexpectedTensor { key })?;
            if key > Entry::key(need_kind, need_layer) {
                return Err(ImageError::MissingTensor { kind: need_kind, layer: need_layer });
            }
            if (kind, layer) != (need_kind, need_layer) {
                return Err(ImageError::UnexpectedTensor { key });
            }
            let (need, got) = (config.shape(kind), (entry.rows, entry.cols));
            if need != got || (kind.is_vector() && entry.format != Format::F32) {
                return Err(ImageError::Shape { kind, layer, need, got });
            }
            if range(self.bytes, entry.offset, entry.len).is_none() {
                let (part, file) = (Part::Tensor { kind, layer }, self.header.file_len);
                return Err(ImageError::Range { part, offset: entry.offset, len: entry.len, file });
            }
            self.entry_matrix(&entry).map_err(|error| ImageError::Layout { kind, layer, error })?;
        }
        match needed.next() {
            Some((kind, layer)) => Err(ImageError::MissingTensor { kind, layer }),
            None => Ok(()),
        }
    }

    fn check_text(&self) -> Result<(), ImageError> {
        let mut read = 0;
        for (_, bytes) in records(self.text) {
            core::str::from_utf8(bytes).map_err(|_| ImageError::Section { part: Part::Text })?;
            read += 8 + bytes.len();
        }
        if read == self.text.len() { Ok(()) } else { Err(ImageError::Section { part: Part::Text }) }
    }
}

fn open_vocab(section: &[u8], need: u32) -> Result<Option<Vocab<'_>>, ImageError> {
    if section.is_empty() {
        return Ok(None);
    }
    let vocab = Vocab::new(section).map_err(ImageError::Vocab)?;
    let got = vocab.vocab_size();
    if got == need { Ok(Some(vocab)) } else { Err(ImageError::VocabSize { need, got }) }
}

/// The records of the text section, up to the first that does not fit.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let mut get = header::Reader::new(head);
        let (tag, len) = (get.u32() as u16, get.u32());
        let (text, rest) = rest.split_at_checked(len as usize)?;
        bytes = rest;
        Some((tag, text))
    })
}

fn range(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(start..end)
}

fn section(bytes: &[u8], section: Section, part: Part) -> Result<&[u8], ImageError> {
    let Section { offset, len, crc } = section;
    let aligned = offset & 63 == 0;
    let file = bytes.len() as u64;
    let data = range(bytes, offset, len).filter(|_| aligned).ok_or(ImageError::Range { part, offset, len, file })?;
    let got = Crc32::new().update(data).finish();
    if got != crc {
        return Err(ImageError::Checksum { part, expected: crc, got });
    }
    Ok(data)
}
