//! The shape of a model: everything the forward pass and the memory plan need to know, and nothing else.

use core::fmt;

use pipsqueak_kernels::{
    Gate,
    words::{Sink, left_out, say},
};

use crate::{stage::Stage, tensor::TensorKind};

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

impl RopePairs {
    /// The pairing with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Interleaved,
            2 => Self::HalfSplit,
            _ => return None,
        })
    }

    /// Whether this build has the code for this pairing.
    pub const fn is_linked(self) -> bool {
        match self {
            Self::None => true,
            Self::Interleaved => cfg!(feature = "rope-interleaved"),
            Self::HalfSplit => cfg!(feature = "rope-half-split"),
        }
    }

    /// The cargo feature that links it.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::HalfSplit => "rope-half-split",
            Self::None | Self::Interleaved => "rope-interleaved",
        }
    }
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

impl Activation {
    /// The function with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Silu,
            1 => Self::Gelu,
            2 => Self::Relu,
            _ => return None,
        })
    }

    /// The kernels' word for it.
    pub const fn gate(self) -> Gate {
        match self {
            Self::Silu => Gate::Silu,
            Self::Gelu => Gate::Gelu,
            Self::Relu => Gate::Relu,
        }
    }
}

const QWEN2: bool = cfg!(feature = "arch-qwen2");
const QWEN3: bool = cfg!(feature = "arch-qwen3");
const GEMMA3: bool = cfg!(feature = "arch-gemma3");
const GPT2: bool = cfg!(feature = "arch-gpt2");

/// Whether any architecture beside Llama is linked.
pub(crate) const BEYOND_LLAMA: bool = QWEN2 || QWEN3 || GEMMA3 || GPT2;

/// Which family of decoders, that is, what is computed beside or in place of what Llama computes.
///
/// What this build leaves out is a constant `false` in the questions below, so that no code stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Arch {
    /// RMSNorm before attention and before the feed-forward block, RoPE, a gated unit, no biases. Touvron et al. 2023,
    /// arXiv:2307.09288.
    Llama,
    /// With biases of queries, keys and values. Qwen Team 2024, arXiv:2407.10671.
    Qwen2,
    /// With an RMSNorm of each query and key before RoPE. Qwen Team 2025, arXiv:2505.09388.
    Qwen3,
    /// With embeddings scaled by the root of `dim`, an RMSNorm of each query and key before RoPE, and one after attention
    /// and after the feed-forward block. Gemma Team 2025, arXiv:2503.19786.
    Gemma3 {
        /// Positions that a layer with a sliding window looks at, its own included; 0 where every layer looks at all.
        window: u32,
        /// Of so many layers, the last looks at all positions, and has a RoPE of its own; 0 where none does.
        global_every: u32,
    },
    /// LayerNorm with bias in place of RMSNorm, biases of every matrix, learned positions, no gate. Radford et al. 2019,
    /// *Language Models are Unsupervised Multitask Learners*.
    Gpt2,
}

impl Arch {
    /// The architecture with this number, and the numbers that Gemma 3 has beside it.
    pub const fn from_code(code: u8, window: u32, global_every: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Llama,
            1 => Self::Qwen2,
            2 => Self::Qwen3,
            3 => Self::Gemma3 { window, global_every },
            4 => Self::Gpt2,
            _ => return None,
        })
    }

    /// Its number in an image.
    pub const fn code(self) -> u8 {
        match self {
            Self::Llama => 0,
            Self::Qwen2 => 1,
            Self::Qwen3 => 2,
            Self::Gemma3 { .. } => 3,
            Self::Gpt2 => 4,
        }
    }

    /// What GGUF calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 { .. } => "gemma3",
            Self::Gpt2 => "gpt2",
        }
    }

    /// Whether this build has the code for it.
    pub const fn is_linked(self) -> bool {
        match self {
            Self::Llama => true,
            Self::Qwen2 => QWEN2,
            Self::Qwen3 => QWEN3,
            Self::Gemma3 { .. } => GEMMA3,
            Self::Gpt2 => GPT2,
        }
    }

    /// The cargo feature that links it; Llama needs none.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Llama => "",
            Self::Qwen2 => "arch-qwen2",
            Self::Qwen3 => "arch-qwen3",
            Self::Gemma3 { .. } => "arch-gemma3",
            Self::Gpt2 => "arch-gpt2",
        }
    }

    /// Queries, keys and values have biases.
    pub const fn has_qkv_bias(self) -> bool {
        (QWEN2 && matches!(self, Self::Qwen2)) || self.has_biases()
    }

    /// Every matrix has a bias.
    pub const fn has_biases(self) -> bool {
        GPT2 && matches!(self, Self::Gpt2)
    }

    /// Each query and each key has an RMSNorm before RoPE.
    pub const fn has_head_norms(self) -> bool {
        (QWEN3 && matches!(self, Self::Qwen3)) || self.has_post_norms()
    }

    /// Attention's result and the feed-forward block's have an RMSNorm before they join the residual stream.
    pub const fn has_post_norms(self) -> bool {
        GEMMA3 && matches!(self, Self::Gemma3 { .. })
    }

    /// Embeddings are multiplied by the square root of `dim`.
    pub const fn scales_embedding(self) -> bool {
        GEMMA3 && matches!(self, Self::Gemma3 { .. })
    }

    /// Norms are LayerNorms, with bias.
    pub const fn has_layer_norm(self) -> bool {
        GPT2 && matches!(self, Self::Gpt2)
    }

    /// Positions have embeddings of their own.
    pub const fn has_positions(self) -> bool {
        GPT2 && matches!(self, Self::Gpt2)
    }

    /// The feed-forward block has a gate.
    pub const fn has_gate(self) -> bool {
        !(GPT2 && matches!(self, Self::Gpt2))
    }

    /// What attention and the feed-forward block give needs more than to be added to the residual stream.
    pub(crate) const fn joins(self) -> bool {
        self.has_post_norms() || self.has_biases()
    }
}

/// The shape of a decoder.
///
/// Source of the names: llama2.c's `Config`.
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
    /// Added to the mean square before the root in RMSNorm, to the variance in LayerNorm.
    pub norm_eps: f32,
    /// Scores are multiplied by this after the dot product; `1 / sqrt(head_dim)`.
    pub att_scale: f32,
    /// Which elements RoPE pairs.
    pub rope_pairs: RopePairs,
    /// The function of the feed-forward block.
    pub activation: Activation,
    /// The output head is the token embedding.
    pub tied_head: bool,
    /// The family.
    pub arch: Arch,
}

/// The largest value of any single dimension; products of three still fit 64 bits with room.
pub const MAX_DIM: u32 = 1 << 20;
/// The largest vocabulary and context.
pub const MAX_TOKENS: u32 = 1 << 24;

impl Config {
    /// Width of all query heads together.
    pub const fn q_dim(&self) -> usize {
        self.n_heads as usize * self.head_dim as usize
    }

    /// Width of all key (or value) heads together.
    pub const fn kv_dim(&self) -> usize {
        self.n_kv_heads as usize * self.head_dim as usize
    }

    /// Rows and columns of a tensor.
    pub const fn shape(&self, kind: TensorKind) -> (u32, u32) {
        let (q_dim, kv_dim) =
            (self.n_heads.saturating_mul(self.head_dim), self.n_kv_heads.saturating_mul(self.head_dim));
        match kind {
            TensorKind::TokenEmbedding | TensorKind::OutputHead => (self.vocab_size, self.dim),
            TensorKind::PositionEmbedding => (self.seq_len, self.dim),
            TensorKind::Wq => (q_dim, self.dim),
            TensorKind::Wk | TensorKind::Wv => (kv_dim, self.dim),
            TensorKind::Wo => (self.dim, q_dim),
            TensorKind::W1 | TensorKind::W3 => (self.hidden_dim, self.dim),
            TensorKind::W2 => (self.dim, self.hidden_dim),
            TensorKind::Bq => (1, q_dim),
            TensorKind::Bk | TensorKind::Bv => (1, kv_dim),
            TensorKind::B1 => (1, self.hidden_dim),
            TensorKind::RmsQ | TensorKind::RmsK => (1, self.head_dim),
            TensorKind::RmsFinal
            | TensorKind::BiasFinal
            | TensorKind::RmsAtt
            | TensorKind::BiasAtt
            | TensorKind::RmsPostAtt
            | TensorKind::RmsFfn
            | TensorKind::BiasFfn
            | TensorKind::RmsPostFfn
            | TensorKind::Bo
            | TensorKind::B2 => (1, self.dim),
        }
    }

    /// Whether a model of this shape has tensors of this kind.
    pub const fn has(&self, kind: TensorKind) -> bool {
        let arch = self.arch;
        match kind {
            TensorKind::TokenEmbedding
            | TensorKind::RmsFinal
            | TensorKind::RmsAtt
            | TensorKind::Wq
            | TensorKind::Wk
            | TensorKind::Wv
            | TensorKind::Wo
            | TensorKind::RmsFfn
            | TensorKind::W1
            | TensorKind::W2 => true,
            TensorKind::OutputHead => !self.tied_head,
            TensorKind::W3 => arch.has_gate(),
            TensorKind::PositionEmbedding => arch.has_positions(),
            TensorKind::Bq | TensorKind::Bk | TensorKind::Bv => arch.has_qkv_bias(),
            TensorKind::Bo | TensorKind::B1 | TensorKind::B2 => arch.has_biases(),
            TensorKind::RmsQ | TensorKind::RmsK => arch.has_head_norms(),
            TensorKind::RmsPostAtt | TensorKind::RmsPostFfn => arch.has_post_norms(),
            TensorKind::BiasFinal | TensorKind::BiasAtt | TensorKind::BiasFfn => arch.has_layer_norm(),
        }
    }

    /// The sliding window of a layer, in positions, its own included; `None` where it looks at all of them.
    pub const fn window(&self, layer: u32) -> Option<usize> {
        match self.arch {
            Arch::Gemma3 { window, global_every } if GEMMA3 && window > 0 => {
                match (layer + 1).checked_rem(global_every) {
                    Some(0) => None,
                    _ => Some(window as usize),
                }
            }
            _ => None,
        }
    }

    /// RoPE's tables: one, or two where layers with a sliding window have one of their own, which comes second.
    pub const fn rope_tables(&self) -> usize {
        match self.arch {
            Arch::Gemma3 { window, .. } if GEMMA3 && window > 0 => 2,
            _ => 1,
        }
    }

    /// The stage after which a layer is done, and [`crate::Session::residual`] what it hands on.
    pub const fn last_stage(&self) -> Stage {
        if self.arch.joins() { Stage::FfnJoin } else { Stage::Down }
    }

    /// The tensor that is number `index` in the directory, and its layer.
    pub(crate) const fn tensor(&self, index: u32) -> Option<(TensorKind, u32)> {
        let (mut left, mut rest) = (index, TensorKind::ALL.as_slice());
        while let [kind, others @ ..] = rest {
            if kind.per_layer() {
                break;
            }
            if self.has(*kind) {
                if left == 0 {
                    return Some((*kind, 0));
                }
                left -= 1;
            }
            rest = others;
        }
        let of_layer = rest;
        let mut each = 0;
        while let [kind, others @ ..] = rest {
            each += self.has(*kind) as u32;
            rest = others;
        }
        let (Some(layer), Some(mut at)) = (left.checked_div(each), left.checked_rem(each)) else { return None };
        if layer >= self.n_layers {
            return None;
        }
        rest = of_layer;
        while let [kind, others @ ..] = rest {
            if self.has(*kind) {
                if at == 0 {
                    return Some((*kind, layer));
                }
                at -= 1;
            }
            rest = others;
        }
        None
    }

    /// Every tensor a model of this shape has, with its layer, in directory order.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorKind, u32)> + use<> {
        let config = *self;
        (0..).map_while(move |index| config.tensor(index))
    }

    /// Parameters of the model.
    pub fn parameters(&self) -> u64 {
        self.tensors().fold(0, |sum, (kind, _)| {
            let (rows, cols) = self.shape(kind);
            sum.saturating_add(rows as u64 * cols as u64)
        })
    }

    /// The first cargo feature that the shape needs and this build leaves out.
    const fn left_out(&self) -> Option<&'static str> {
        if !self.arch.is_linked() {
            return Some(self.arch.feature());
        }
        if !self.rope_pairs.is_linked() {
            return Some(self.rope_pairs.feature());
        }
        let gate = self.activation.gate();
        if gate.is_linked() { None } else { Some(gate.feature()) }
    }

    /// Whether the shape makes sense.
    pub const fn check(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("dim", self.dim, MAX_DIM),
            ("hidden_dim", self.hidden_dim, MAX_DIM),
            ("n_layers", self.n_layers, 1 << 16),
            ("n_heads", self.n_heads, 1 << 12),
            ("n_kv_heads", self.n_kv_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("vocab_size", self.vocab_size, MAX_TOKENS),
            ("seq_len", self.seq_len, MAX_TOKENS),
        ];
        let mut rest = sizes.as_slice();
        while let [(field, got, max), others @ ..] = rest {
            if *got == 0 || *got > *max {
                return Err(ConfigError::OutOfRange { field, got: *got, max: *max });
            }
            rest = others;
        }
        if !matches!(self.n_heads.checked_rem(self.n_kv_heads), Some(0)) {
            return Err(ConfigError::Heads { n_heads: self.n_heads, n_kv_heads: self.n_kv_heads });
        }
        if self.q_dim() > MAX_DIM as usize {
            return Err(ConfigError::OutOfRange {
                field: "n_heads * head_dim",
                got: self.q_dim() as u32,
                max: MAX_DIM,
            });
        }
        if self.rope_dim > self.head_dim || self.rope_dim & 1 == 1 {
            return Err(ConfigError::RopeDim { rope_dim: self.rope_dim, head_dim: self.head_dim });
        }
        if let Some(feature) = self.left_out() {
            return Err(ConfigError::LeftOut { feature });
        }
        if let Arch::Gemma3 { window, .. } = self.arch
            && window > MAX_TOKENS
        {
            return Err(ConfigError::OutOfRange { field: "window", got: window, max: MAX_TOKENS });
        }
        // Comparisons that NaN fails.
        if !(self.norm_eps >= 0.0 && self.norm_eps < 1.0) {
            return Err(ConfigError::NotANumber { field: "norm_eps", got: self.norm_eps });
        }
        if !(self.att_scale > 0.0 && self.att_scale < 1e6) {
            return Err(ConfigError::NotANumber { field: "att_scale", got: self.att_scale });
        }
        Ok(())
    }
}

/// Why a shape was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConfigError {
    /// A size is zero or beyond what this version supports.
    OutOfRange {
        /// Which.
        field: &'static str,
        /// What it is.
        got: u32,
        /// The largest supported.
        max: u32,
    },
    /// Query heads cannot be shared out over key/value heads.
    Heads {
        /// Query heads.
        n_heads: u32,
        /// Key/value heads.
        n_kv_heads: u32,
    },
    /// RoPE turns more elements than a head has, or an odd number.
    RopeDim {
        /// Elements turned.
        rope_dim: u32,
        /// Elements of a head.
        head_dim: u32,
    },
    /// A factor that is no sensible number.
    NotANumber {
        /// Which.
        field: &'static str,
        /// What it is.
        got: f32,
    },
    /// The code for this shape is left out of this build.
    LeftOut {
        /// The cargo feature that links it.
        feature: &'static str,
    },
    /// A code this version does not know.
    Unknown {
        /// Which.
        field: &'static str,
        /// What it is.
        got: u32,
    },
}

impl ConfigError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::OutOfRange { field, got, max } => {
                sink(field)?;
                say(sink, " is {} and must be 1 to {}", &[got.into(), max.into()])
            }
            Self::Heads { n_heads, n_kv_heads } => say(
                sink,
                "{} query heads cannot be shared out over {} key/value heads",
                &[n_heads.into(), n_kv_heads.into()],
            ),
            Self::RopeDim { rope_dim, head_dim } => say(
                sink,
                "rope_dim is {} and must be even and at most head_dim, {}",
                &[rope_dim.into(), head_dim.into()],
            ),
            Self::NotANumber { field, got } => {
                sink(field)?;
                // As bits: formatting floats would cost a chip ten kilobytes.
                say(sink, " has the f32 bits 0x{8}, which make no sense there", &[got.to_bits().into()])
            }
            Self::LeftOut { feature } => left_out(sink, feature),
            Self::Unknown { field, got } => {
                sink(field)?;
                say(sink, " has the unknown code {}", &[got.into()])
            }
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for ConfigError {}
