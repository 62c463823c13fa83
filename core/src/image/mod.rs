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

mod entry;
mod error;
mod header;

pub use entry::{ENTRY_BYTES, Entry};
pub use error::{ImageError, Part};
pub use header::{HEADER_BYTES, Header, SECTIONS, Section};
pub(crate) use header::{Reader, Writer};
use pipsqueak_kernels::{Format, LayoutError, Matrix, arena::cast};

use crate::{
    config::Config,
    crc::{Crc32, crc32},
    kv_cache::KvType,
    tensor::TensorKind,
    tokenizer::Vocab,
};

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
            // A matrix of F32 could be told from a vector only here.
            if !kind.is_vector() && !entry.format.is_linked() {
                let error = LayoutError::LeftOut { feature: entry.format.feature() };
                return Err(ImageError::Layout { kind, layer, error });
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
