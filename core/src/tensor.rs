//! The tensors a model is made of, by role.

/// What a tensor is for. The numbers are those of the image's tensor directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum TensorKind {
    /// `[vocab_size, dim]`: a row a token.
    TokenEmbedding = 0,
    /// `[vocab_size, dim]`: the output head, absent when tied to the embedding.
    OutputHead = 1,
    /// `[dim]`: weights of the last RMSNorm.
    RmsFinal = 2,
    /// `[dim]`: weights of the RMSNorm before attention.
    RmsAtt = 16,
    /// `[n_heads * head_dim, dim]`: queries.
    Wq = 17,
    /// `[n_kv_heads * head_dim, dim]`: keys.
    Wk = 18,
    /// `[n_kv_heads * head_dim, dim]`: values.
    Wv = 19,
    /// `[dim, n_heads * head_dim]`: attention output.
    Wo = 20,
    /// `[dim]`: weights of the RMSNorm before the feed-forward block.
    RmsFfn = 21,
    /// `[hidden_dim, dim]`: gate.
    W1 = 22,
    /// `[dim, hidden_dim]`: down.
    W2 = 23,
    /// `[hidden_dim, dim]`: up.
    W3 = 24,
}

impl TensorKind {
    /// Every kind, in directory order.
    pub const ALL: [Self; 12] = [
        Self::TokenEmbedding,
        Self::OutputHead,
        Self::RmsFinal,
        Self::RmsAtt,
        Self::Wq,
        Self::Wk,
        Self::Wv,
        Self::Wo,
        Self::RmsFfn,
        Self::W1,
        Self::W2,
        Self::W3,
    ];

    /// Whether every layer has one of its own.
    pub const fn per_layer(self) -> bool {
        self as u8 >= 16
    }

    /// Whether it is a vector of `f32` rather than a matrix.
    pub const fn is_vector(self) -> bool {
        matches!(self, Self::RmsFinal | Self::RmsAtt | Self::RmsFfn)
    }

    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        let mut rest = Self::ALL.as_slice();
        while let [kind, others @ ..] = rest {
            if *kind as u8 == code {
                return Some(*kind);
            }
            rest = others;
        }
        None
    }

    /// The field's short name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenEmbedding => "token_embedding",
            Self::OutputHead => "wcls",
            Self::RmsFinal => "rms_final",
            Self::RmsAtt => "rms_att",
            Self::Wq => "wq",
            Self::Wk => "wk",
            Self::Wv => "wv",
            Self::Wo => "wo",
            Self::RmsFfn => "rms_ffn",
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
        }
    }
}
