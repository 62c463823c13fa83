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
    /// llama2.c version 2 (`q80`): all `i8` of the tensor, then all its `f32` scales, one a group.
    Llama2cQ80 {
        /// Values that share a scale.
        group: usize,
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
    /// Exactly the tensor's bytes.
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
