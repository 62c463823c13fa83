//! The shape of a model: everything the forward pass and the memory plan need to know, and nothing else.

/// Which two elements of a head RoPE turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum RopePairs {
    /// No rotary embedding at all.
    None = 0,
    /// Elements `2i` and `2i + 1` (llama2.c, and GGUF's `llama` architecture).
    Interleaved = 1,
    /// Elements `i` and `i + rope_dim / 2` (Hugging Face checkpoints, Qwen, Gemma).
    HalfSplit = 2,
}

/// The function between the two halves of the feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu = 0,
    /// `x * Phi(x)` in its tanh form.
    Gelu = 1,
    /// `max(x, 0)`.
    Relu = 2,
}

/// The shape of a decoder of the Llama family.
///
/// Source of the names: llama2.c's `Config`; of the architecture: Touvron et al. 2023, arXiv:2307.09288.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config {
    /// Width of the residual stream.
    pub dim: u32,
    /// Width of the feed-forward block.
    pub hidden_dim: u32,
    /// Number of layers.
    pub n_layers: u32,
    /// Number of query heads.
    pub n_heads: u32,
    /// Number of key/value heads; divides `n_heads`.
    pub n_kv_heads: u32,
    /// Elements in one head; usually `dim / n_heads`.
    pub head_dim: u32,
    /// How many leading elements of a head RoPE turns; even, at most `head_dim`.
    pub rope_dim: u32,
    /// Number of tokens in the vocabulary.
    pub vocab_size: u32,
    /// The longest context the model was trained for.
    pub seq_len: u32,
    /// Added to the mean square before the root in RMSNorm.
    pub norm_eps: f32,
    /// Scores are multiplied by this after the dot product; `1 / sqrt(head_dim)`.
    pub att_scale: f32,
    /// Which elements RoPE pairs.
    pub rope_pairs: RopePairs,
    /// The gate's function.
    pub activation: Activation,
    /// The output head is the token embedding.
    pub tied_head: bool,
}
