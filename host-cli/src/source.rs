//! A model as an importer found it: shape, tensors still in the file's own encoding, vocabulary.

use pipsqueak::{config::Config, tensor::TensorKind};

use crate::vocab::VocabSource;

/// How the elements of a source tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Little-endian `f32`.
    F32,
    /// Little-endian IEEE half precision.
    F16,
    /// Little-endian bfloat16.
    BF16,
    /// GGUF `Q8_0`: per 32 values an f16 scale, then 32 `i8`.
    Q8_0,
    /// GGUF `Q4_0`: per 32 values an f16 scale, then 16 bytes; value `j` in the low nibble of byte `j`, value `j + 16` in
    /// its high nibble, each stored plus 8.
    Q4_0,
    /// GGUF `Q4_1`: per 32 values an f16 scale, an f16 minimum, then nibbles as in `Q4_0` but unsigned.
    Q4_1,
    /// GGUF `Q5_0`: as `Q4_0`, with a fifth bit; our formats hold it as int8 without loss.
    Q5_0,
    /// GGUF `Q5_1`: as `Q4_1`, with a fifth bit.
    Q5_1,
    /// GGUF `IQ4_NL`: as `Q4_0`, but codes number the 16 levels of a table; int8 holds it without loss.
    IQ4NL,
    /// GGUF `IQ4_XS`: the same for 256 values, with a 6-bit factor per 32.
    IQ4XS,
    /// GGUF `Q2_K`: 256 values of two bits, with 4-bit factors for scale and minimum per 16.
    Q2K,
    /// GGUF `Q3_K`: 256 values of three bits, with a 6-bit factor per 16.
    Q3K,
    /// GGUF `Q4_K`: 256 values of four bits, with 6-bit factors for scale and minimum per 32.
    Q4K,
    /// GGUF `Q5_K`: the same with five bits.
    Q5K,
    /// GGUF `Q6_K`: 256 values of six bits, with an 8-bit factor per 16.
    Q6K,
    /// llama2.c version 2 (`q80`): all `i8` of the tensor, then all its `f32` scales, one a group.
    Llama2cQ80 {
        /// Values that share a scale.
        group: usize,
    },
}

impl Encoding {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::IQ4NL => "IQ4_NL",
            Self::IQ4XS => "IQ4_XS",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Llama2cQ80 { .. } => "q80",
        }
    }
}

/// Where a tensor's rows are in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// In their place.
    #[default]
    InPlace,
    /// Each head's first halves of RoPE pairs, then the second ones, where the engine wants pairs together: row `2i` of a head
    /// is the file's row `i`, row `2i + 1` the file's `i + head_dim / 2`. So Hugging Face stores Llama's queries and keys.
    HalvesOfHeads {
        /// Rows of a head; even.
        head_dim: usize,
    },
    /// As columns, in an encoding of single values: row `i` is column `first + i` of the file's matrix, which has `of` of them. So
    /// Hugging Face stores GPT-2's matrices, some of them side by side.
    Columns {
        /// The first of its columns.
        first: usize,
        /// All columns of the file's matrix.
        of: usize,
    },
}

/// One tensor, its bytes borrowed from the file.
#[derive(Clone, Copy, Debug)]
pub struct SourceTensor<'a> {
    /// Its role.
    pub kind: TensorKind,
    /// Its layer; 0 for tensors of the whole model.
    pub layer: u32,
    /// Rows (outputs); 1 for a vector.
    pub rows: usize,
    /// Columns (inputs, depth `k`).
    pub cols: usize,
    /// How `data` is encoded.
    pub encoding: Encoding,
    /// Where in `data` its rows are.
    pub order: RowOrder,
    /// What is added to every value: 1 where a norm's weights are stored as their distance from it.
    pub shift: f32,
    /// Exactly the tensor's bytes; those of the file's whole matrix where it has columns of it.
    pub data: &'a [u8],
}

/// How RoPE's frequencies are stretched for contexts longer than the pre-training's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All positions divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's frequency-dependent stretching.
    Llama3 {
        /// Divisor of the lowest frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided by `factor`.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are left alone.
        high_freq_factor: f64,
        /// Context of the pre-training.
        original_context: f64,
    },
    /// A divisor a frequency, as GGUF's `rope_freqs.weight` gives them; the values are in [`Source::rope_factors`].
    Factors,
}

/// A model read from a foreign file, checked: every tensor that `config` needs is there with the right shape.
#[derive(Debug)]
pub struct Source<'a> {
    /// The shape.
    pub config: Config,
    /// RoPE's base (theta), 10000 in the first Llama.
    pub rope_base: f64,
    /// RoPE's base in layers with a sliding window, where there are such; there nothing is stretched.
    pub rope_base_local: f64,
    /// How RoPE is stretched.
    pub rope_scaling: RopeScaling,
    /// One divisor per frequency (`rope_dim / 2` of them) when `rope_scaling` is `Factors`; else empty.
    pub rope_factors: Vec<f32>,
    /// All tensors, sorted by (layer, kind), whole-model tensors first.
    pub tensors: Vec<SourceTensor<'a>>,
    /// The vocabulary, where the file has one.
    pub vocab: Option<VocabSource>,
    /// The model's name, or an empty string.
    pub name: String,
    /// The licence's identifier, or an empty string.
    pub licence: String,
    /// Where the model came from (author, organisation, URL), or an empty string.
    pub origin: String,
    /// The chat template (Jinja), where the file has one.
    pub chat_template: Option<String>,
    /// Why the file's vocabulary was left out, where it was: a tokenizer that is not supported. Weights do not need it.
    pub vocab_left_out: Option<String>,
}
