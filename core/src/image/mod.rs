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
//! | 68 | 4 x u8 | RoPE pairs, activation, 1 if the head is tied, architecture |
//! | 72 | 2 x u32 | Gemma 3: window, global_every; else 0 |
//! | 80 | 16 x u8 | 0 |
//! | 96 | 5 x section | directory, RoPE, vocabulary, text, golden |
//! | 216 | 36 x u8 | 0 |
//! | 252 | u32 | CRC-32 of bytes 0 to 251 |
//!
//! A section is an offset (u64), a length (u64), the CRC-32 of its bytes (u32) and 0 (u32).
//!
//! * **Directory**: a 40-byte entry a tensor, sorted by key: key (u32, `kind`, or `(layer + 1) << 8 | kind` for a layer's
//!   tensors), format (u8), panel (u8), 0 (u16), rows (u32), columns (u32), offset (u64), length (u64), CRC-32 of the
//!   tensor's bytes (u32), 0 (u32). Vectors are one row of F32.
//! * **RoPE**: `rope_dim / 2` u32: the angle a position adds, in turns times 2^32, scaling included. Where layers with a
//!   sliding window have a RoPE of their own, as many again for it.
//! * **Vocabulary**: see [`crate::tokenizer::layout`]; empty when the model has none.
//! * **Text**: records of tag (u16), 0 (u16), length (u32), UTF-8 bytes; see [`Text`].
//! * **Golden**: count (u32) and that many token ids (u32), then for each cache type (f32, f16, int8) `n_layers + 1` u32:
//!   the CRC-32 of the last token's residual stream after each layer, and of its logits. Empty when not computed.

mod entry;
mod error;
mod header;

pub use entry::{ENTRY_BYTES, Entry};
pub use error::{Damaged, ImageError, Part};
pub use header::{HEADER_BYTES, Header, SECTIONS, Section};
pub(crate) use header::{Reader, Writer};
use pipsqueak_kernels::{
    Format, LayoutError, Matrix,
    arena::{Line, cast},
};

use crate::{config::Config, crc::crc32, kv_cache::KvType, tensor::TensorKind, tokenizer::Vocab};

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
    /// `[hidden_dim, dim]`; `w1` again where there is no gate, and not used.
    pub w3: Matrix<'a>,
}

/// A checked view of a packed model. Opening it reads header, directory and tables, and no weights.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    header: Header,
    directory: &'a [[u8; ENTRY_BYTES]],
    rope: &'a [[u8; 4]],
    vocab: Option<Vocab<'a>>,
    vocab_bytes: &'a [u8],
    text: &'a [u8],
    golden: &'a [[u8; 4]],
}

impl<'a> Image<'a> {
    /// Checks `bytes` and views them as a model. Bytes after the image's own length are ignored, so that a whole flash
    /// region can be passed.
    ///
    /// Errors: every length, offset, shape and checksum but those of the tensors' bytes, for which see [`Self::verify`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, ImageError> {
        // Misalignment before what is inside.
        Header::parse(bytes)?;
        Self::read(bytes)
    }

    /// [`Self::open`] for the compiler, which knows no addresses: all but the alignment is checked.
    pub(crate) const fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let header = tri!(Header::read(bytes));
        let file = header.file_len;
        let Some(bytes) = range(bytes, 0, file) else {
            return Err(ImageError::Truncated { need: file, got: bytes.len() as u64 });
        };
        if let Err(error) = header.config.check() {
            return Err(ImageError::Config(error));
        }
        let [directory, rope, vocab, text, golden] = header.sections;
        let (directory, rest) = tri!(section(bytes, directory, Part::Directory)).as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() || directory.len() as u64 != header.n_tensors as u64 {
            return Err(ImageError::Section { part: Part::Directory });
        }
        let (rope, rest) = tri!(section(bytes, rope, Part::Rope)).as_chunks::<4>();
        if !rest.is_empty() || rope.len() != header.config.rope_dim as usize / 2 * header.config.rope_tables() {
            return Err(ImageError::Section { part: Part::Rope });
        }
        let (golden, rest) = tri!(section(bytes, golden, Part::Golden)).as_chunks::<4>();
        if !rest.is_empty() {
            return Err(ImageError::Section { part: Part::Golden });
        }
        let vocab_bytes = tri!(section(bytes, vocab, Part::Vocabulary));
        let image = Self {
            bytes,
            header,
            directory,
            rope,
            vocab: tri!(open_vocab(vocab_bytes, header.config.vocab_size)),
            vocab_bytes,
            text: tri!(section(bytes, text, Part::Text)),
            golden,
        };
        tri!(image.check_tensors());
        tri!(image.check_text());
        tri!(image.check_golden());
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

    /// The angle a position adds to each pair, in turns times 2^32: `[rope_tables][rope_dim / 2]`.
    pub fn rope(&self) -> &'a [u32] {
        words(self.rope)
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
        let (count, rest) = words(self.golden).split_first()?;
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
    pub fn vector(&self, kind: TensorKind, layer: u32) -> Option<&'a [f32]> {
        Some(self.matrix(kind, layer)?.row_f32(0))
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
            w3: matrix(if self.config().arch.has_gate() { TensorKind::W3 } else { TensorKind::W1 })?,
        })
    }

    /// Compares every tensor's bytes with its CRC-32. Reads the whole image.
    pub fn verify(&self) -> Result<(), ImageError> {
        Ok(self.tensors_intact()?)
    }

    /// Compares everything with its CRC-32: header, sections, tensors. [`Self::open`] has done so with the first two, but
    /// not [`crate::compile_time::image`], which looks at the model before it is in a chip's flash.
    pub fn intact(&self) -> Result<(), Damaged> {
        let (header, stored) = self.bytes.split_at_checked(HEADER_BYTES - 4).unwrap_or_default();
        compare(Part::Header, header, header::Reader::new(stored).u32())?;
        let parts = [Part::Directory, Part::Rope, Part::Vocabulary, Part::Text, Part::Golden];
        for (part, section) in parts.into_iter().zip(self.header.sections) {
            compare(part, range(self.bytes, section.offset, section.len).unwrap_or(&[]), section.crc)?;
        }
        self.tensors_intact()
    }

    fn tensors_intact(&self) -> Result<(), Damaged> {
        for entry in self.entries() {
            let part = Part::Tensor { kind: entry.kind, layer: entry.layer };
            compare(part, self.tensor_bytes(&entry), entry.crc)?;
        }
        Ok(())
    }

    fn entry(&self, kind: TensorKind, layer: u32) -> Option<Entry> {
        Entry::from_bytes(self.directory.get(self.position(kind, layer)?)?).ok()
    }

    /// A tensor's place in the directory.
    fn position(&self, kind: TensorKind, layer: u32) -> Option<usize> {
        let key = Entry::key(kind, layer);
        self.directory.binary_search_by_key(&key, |bytes| header::Reader::new(bytes).u32()).ok()
    }

    fn entry_matrix(&self, entry: &Entry) -> Result<Matrix<'a>, LayoutError> {
        let bytes = self.tensor_bytes(entry);
        Matrix::new(entry.format, entry.panel, entry.rows as usize, entry.cols as usize, bytes)
    }

    const fn check_tensors(&self) -> Result<(), ImageError> {
        let config = self.config();
        let (mut index, mut rest) = (0, self.directory);
        while let [bytes, others @ ..] = rest {
            let entry = tri!(Entry::from_bytes(bytes));
            let Entry { kind, layer, .. } = entry;
            let key = Entry::key(kind, layer);
            let Some((need_kind, need_layer)) = config.tensor(index) else {
                return Err(ImageError::UnexpectedTensor { key });
            };
            let need_key = Entry::key(need_kind, need_layer);
            if key > need_key {
                return Err(ImageError::MissingTensor { kind: need_kind, layer: need_layer });
            }
            if key != need_key {
                return Err(ImageError::UnexpectedTensor { key });
            }
            tri!(self.check_tensor(&entry));
            (index, rest) = (index + 1, others);
        }
        match config.tensor(index) {
            Some((kind, layer)) => Err(ImageError::MissingTensor { kind, layer }),
            None => Ok(()),
        }
    }

    const fn check_tensor(&self, entry: &Entry) -> Result<(), ImageError> {
        let Entry { kind, layer, format, panel, rows, cols, offset, len, .. } = *entry;
        let need = self.config().shape(kind);
        if need.0 != rows || need.1 != cols || (kind.is_vector() && !matches!(format, Format::F32)) {
            return Err(ImageError::Shape { kind, layer, need, got: (rows, cols) });
        }
        if range(self.bytes, offset, len).is_none() {
            let (part, file) = (Part::Tensor { kind, layer }, self.header.file_len);
            return Err(ImageError::Range { part, offset, len, file });
        }
        let checked = if !kind.is_vector() && !format.is_linked() {
            // A matrix of F32 can be told from a vector only here.
            Err(LayoutError::LeftOut { feature: format.feature() })
        } else if offset % Line::BYTES as u64 != 0 {
            Err(LayoutError::Alignment { need: Line::BYTES })
        } else {
            Ok(())
        };
        // What is wrong with the layout goes before the address.
        let layout = Matrix::check(format, panel, rows as usize, cols as usize, len as usize);
        match (layout, checked) {
            (Err(error), _) | (_, Err(error)) => Err(ImageError::Layout { kind, layer, error }),
            _ => Ok(()),
        }
    }

    const fn check_text(&self) -> Result<(), ImageError> {
        let mut rest = self.text;
        while let Some((_, bytes, after)) = record(rest) {
            if core::str::from_utf8(bytes).is_err() {
                return Err(ImageError::Section { part: Part::Text });
            }
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(ImageError::Section { part: Part::Text }) }
    }

    /// Either nothing, or tokens and for each cache type a checksum a layer and one of the logits.
    const fn check_golden(&self) -> Result<(), ImageError> {
        let [count, rest @ ..] = self.golden else { return Ok(()) };
        let (tokens, len) = (u32::from_le_bytes(*count) as u64, rest.len() as u64);
        let sums = (self.config().n_layers as u64 + 1) * KvType::ALL.len() as u64;
        if tokens != 0 && tokens + sums == len { Ok(()) } else { Err(ImageError::Section { part: Part::Golden }) }
    }
}

fn compare(part: Part, bytes: &[u8], expected: u32) -> Result<(), Damaged> {
    let got = crc32(bytes);
    if got == expected { Ok(()) } else { Err(Damaged { part, expected, got }) }
}

/// Little-endian words in place, whose section starts on a line; nothing where it does not.
fn words(bytes: &[[u8; 4]]) -> &[u32] {
    cast(bytes.as_flattened()).unwrap_or(&[])
}

const fn open_vocab(section: &[u8], need: u32) -> Result<Option<Vocab<'_>>, ImageError> {
    if section.is_empty() {
        return Ok(None);
    }
    match Vocab::new(section) {
        Ok(vocab) if vocab.vocab_size() == need => Ok(Some(vocab)),
        Ok(vocab) => Err(ImageError::VocabSize { need, got: vocab.vocab_size() }),
        Err(error) => Err(ImageError::Vocab(error)),
    }
}

/// The records of the text section, up to the first that does not fit.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (tag, text, rest) = record(bytes)?;
        bytes = rest;
        Some((tag, text))
    })
}

/// The first record: tag and text, and what follows it.
const fn record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return None };
    let mut get = header::Reader::new(head);
    let (tag, len) = (get.u32() as u16, get.u32());
    match rest.split_at_checked(len as usize) {
        Some((text, rest)) => Some((tag, text, rest)),
        None => None,
    }
}

const fn range(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let file = bytes.len() as u64;
    if offset > file || len > file - offset {
        return None;
    }
    match bytes.split_at_checked(offset as usize) {
        Some((_, rest)) => match rest.split_at_checked(len as usize) {
            Some((data, _)) => Some(data),
            None => None,
        },
        None => None,
    }
}

const fn section(bytes: &[u8], section: Section, part: Part) -> Result<&[u8], ImageError> {
    let Section { offset, len, crc } = section;
    let (Some(data), 0) = (range(bytes, offset, len), offset & 63) else {
        return Err(ImageError::Range { part, offset, len, file: bytes.len() as u64 });
    };
    let got = crc32(data);
    if got != crc {
        return Err(ImageError::Checksum { part, expected: crc, got });
    }
    Ok(data)
}
