//! What goes into an image, from a foreign file or from another image.

use pipsqueak::{
    Config, Image, KvType, Vocab,
    image::{Entry, Text},
    kernels::{Format, Matrix},
    tensor::TensorKind,
};

use super::PackError;
use crate::{
    chat::{self, PiecesError},
    source::{Encoding, RopeScaling, Source, SourceTensor},
    vocab,
};

/// A tensor's values, wherever they are.
#[derive(Clone, Copy, Debug)]
pub enum PartData<'a> {
    /// In a foreign file.
    Foreign(SourceTensor<'a>),
    /// In an image.
    Image(Matrix<'a>),
}

impl PartData<'_> {
    /// The format of ours that holds the values without loss (llama2.c's q80: but for its scales' rounding to f16), or with
    /// the least where none does: see [`PartData::converted_from`].
    pub fn format(&self) -> Format {
        match self {
            Self::Foreign(tensor) => match tensor.encoding {
                Encoding::F32 => Format::F32,
                Encoding::F16 => Format::F16,
                Encoding::BF16 => Format::BF16,
                Encoding::Q8_0 | Encoding::Llama2cQ80 { .. } => Format::Q8,
                Encoding::Q4_0 => Format::Q4,
                Encoding::Q4_1 => Format::Q4M,
                // Codes of four bits with a scale and a minimum per 32 values: only their products are rounded, to f16.
                Encoding::Q4K => Format::Q4M,
                // Steps of a 254th of a block's range, under a quarter of a step of the finest of these.
                Encoding::Q5_0
                | Encoding::Q5_1
                | Encoding::IQ4NL
                | Encoding::IQ4XS
                | Encoding::Q2K
                | Encoding::Q3K
                | Encoding::Q5K
                | Encoding::Q6K => Format::Q8,
            },
            Self::Image(matrix) => matrix.format(),
        }
    }

    /// The encoding of a foreign tensor that no format of ours has, so that the packer says what became of it.
    pub fn converted_from(&self) -> Option<Encoding> {
        let Self::Foreign(tensor) = self else { return None };
        let ours = matches!(
            tensor.encoding,
            Encoding::F32
                | Encoding::F16
                | Encoding::BF16
                | Encoding::Q8_0
                | Encoding::Q4_0
                | Encoding::Q4_1
                | Encoding::Llama2cQ80 { .. }
        );
        (!ours).then_some(tensor.encoding)
    }
}

/// One tensor to be packed.
#[derive(Clone, Copy, Debug)]
pub struct PartTensor<'a> {
    /// Its role.
    pub kind: TensorKind,
    /// Its layer.
    pub layer: u32,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Its values.
    pub data: PartData<'a>,
}

/// Everything an image is made of.
#[derive(Clone, Debug)]
pub struct ModelParts<'a> {
    /// The shape.
    pub config: Config,
    /// RoPE's turns times 2^32, `[rope_tables][rope_dim / 2]`.
    pub rope: Vec<u32>,
    /// The vocabulary's section; empty for none.
    pub vocab: Vec<u8>,
    /// The text section.
    pub text: Vec<u8>,
    /// A golden vector that stays valid; empty for none.
    pub golden: Vec<u32>,
    /// The chat pieces; empty for none.
    pub chat: Vec<u8>,
    /// The digest, which stays valid while formats do; 0 for none.
    pub digest: u32,
    /// Why there is no vocabulary, where that has a reason.
    pub vocab_left_out: Option<String>,
    /// All tensors, in directory order.
    pub tensors: Vec<PartTensor<'a>>,
}

impl<'a> ModelParts<'a> {
    /// The parts of a foreign model.
    pub fn from_source(source: &Source<'a>) -> Result<Self, PackError> {
        let mut text = Vec::new();
        let template = source.chat_template.as_deref().unwrap_or_default();
        for (tag, content) in [
            (Text::Name, source.name.as_str()),
            (Text::Licence, &source.licence),
            (Text::Origin, &source.origin),
            (Text::ChatTemplate, template),
        ] {
            put_text(&mut text, tag, content);
        }
        let mut tensors: Vec<_> = source
            .tensors
            .iter()
            .map(|tensor| PartTensor {
                kind: tensor.kind,
                layer: tensor.layer,
                rows: tensor.rows,
                cols: tensor.cols,
                data: PartData::Foreign(*tensor),
            })
            .collect();
        tensors.sort_by_key(|tensor| Entry::key(tensor.kind, tensor.layer));
        Ok(Self {
            config: source.config,
            rope: rope_turns(source),
            vocab: source.vocab.as_ref().map(vocab::build).transpose().map_err(PackError::Vocab)?.unwrap_or_default(),
            text,
            vocab_left_out: source.vocab_left_out.clone(),
            golden: Vec::new(),
            chat: Vec::new(),
            digest: 0,
            tensors,
        })
    }

    /// Makes the chat pieces of the chat template, where there is one with a vocabulary and there are no pieces yet.
    /// Without them a host still reads the template, a chip cannot.
    pub fn split_chat(&mut self) -> Result<(), PiecesError> {
        let template = records(&self.text).find(|(tag, _)| *tag == Text::ChatTemplate as u32).map(|(_, text)| text);
        let (Some(template), true) = (template, self.chat.is_empty()) else { return Ok(()) };
        if self.vocab.is_empty() {
            return Ok(());
        }
        // What `vocab::build` has made, or an image was opened with.
        let vocab = Vocab::new(&self.vocab).map_err(|_| PiecesError::Tokens)?;
        self.chat = chat::section(template, &vocab)?;
        Ok(())
    }

    /// The parts of an image; its golden vector holds as long as formats are kept.
    pub fn from_image(image: &Image<'a>) -> Self {
        let mut text = Vec::new();
        for tag in Text::ALL {
            put_text(&mut text, tag, image.text(tag).unwrap_or_default());
        }
        let mut golden = Vec::new();
        if let Some((tokens, _)) = image.golden(KvType::F32) {
            golden.push(tokens.len() as u32);
            golden.extend(tokens);
            golden.extend(KvType::ALL.into_iter().filter_map(|kv| image.golden(kv)).flat_map(|(_, sums)| sums));
        }
        let tensors = image
            .entries()
            .filter_map(|entry| {
                let data = PartData::Image(image.matrix(entry.kind, entry.layer)?);
                let (rows, cols) = (entry.rows as usize, entry.cols as usize);
                Some(PartTensor { kind: entry.kind, layer: entry.layer, rows, cols, data })
            })
            .collect();
        Self {
            config: *image.config(),
            rope: image.rope().to_vec(),
            vocab: image.vocab_bytes().to_vec(),
            text,
            vocab_left_out: None,
            golden,
            // Damaged ones are made anew, where the template is there.
            chat: if image.chat().is_ok() { image.chat_bytes().to_vec() } else { Vec::new() },
            digest: image.digest().unwrap_or_default(),
            tensors,
        }
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, tag: Text, content: &str) {
    if content.is_empty() {
        return;
    }
    out.extend((tag as u16 as u32).to_le_bytes());
    out.extend((content.len() as u32).to_le_bytes());
    out.extend(content.as_bytes());
}

/// The records of a text section: tag and text.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &str)> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let (text, rest) = rest.split_at_checked(number(4) as usize)?;
        bytes = rest;
        Some((number(0), std::str::from_utf8(text).ok()?))
    })
}

/// RoPE's frequencies as turns a position times 2^32, scaling included, computed in `f64`.
///
/// Sources: Su et al. 2021, arXiv:2104.09864; Llama 3.1's scaling as in its published reference code's formula.
fn rope_turns(source: &Source<'_>) -> Vec<u32> {
    let dim = source.config.rope_dim;
    let mut tables: Vec<u32> = (0..dim / 2)
        .map(|i| {
            let frequency = source.rope_base.powf(-2.0 * i as f64 / dim as f64);
            let frequency = match source.rope_scaling {
                RopeScaling::None => frequency,
                RopeScaling::Linear { factor } => frequency / factor,
                RopeScaling::Factors => frequency / source.rope_factors.get(i as usize).copied().map_or(1.0, f64::from),
                RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                    let wavelength = std::f64::consts::TAU / frequency;
                    let ratio = original_context / wavelength;
                    let smooth = ((ratio - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            };
            turns(frequency)
        })
        .collect();
    if source.config.rope_tables() > 1 {
        tables.extend(plain_rope_turns(source.rope_base_local, dim));
    }
    tables
}

/// RoPE's turns a position times 2^32, nothing scaled, for heads whose first `dim` elements turn: `[dim / 2]`.
pub fn plain_rope_turns(base: f64, dim: u32) -> Vec<u32> {
    (0..dim / 2).map(|i| turns(base.powf(-2.0 * f64::from(i) / f64::from(dim)))).collect()
}

/// Radians a position as turns times 2^32. Whole turns do not matter; what remains is a fraction of 2^32.
fn turns(frequency: f64) -> u32 {
    ((frequency / std::f64::consts::TAU).fract() * 4_294_967_296.0).round() as u64 as u32
}
