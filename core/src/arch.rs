//! The architectures: what each computes beside or in place of what Llama does.

const QWEN2: bool = cfg!(feature = "arch-qwen2");
const QWEN3: bool = cfg!(feature = "arch-qwen3");
pub(crate) const GEMMA3: bool = cfg!(feature = "arch-gemma3");
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
