//! The tensors a model is made of, by role.

use crate::config;

/// What a tensor is for. The numbers are those of the image's tensor directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum TensorKind {
    /// `[vocab_size, dim]`: a row a token.
    TokenEmbedding = 0,
    /// `[vocab_size, dim]`: the output head, absent when tied to the embedding.
    OutputHead = 1,
    /// `[dim]`: weights of the last norm.
    RmsFinal = 2,
    /// `[seq_len, dim]`: a row a position.
    PositionEmbedding = 3,
    /// `[dim]`: bias of the last norm.
    BiasFinal = 4,
    /// `[dim]`: weights of the norm before attention.
    RmsAtt = 16,
    /// `[n_heads * head_dim, dim]`: queries.
    Wq = 17,
    /// `[n_kv_heads * head_dim, dim]`: keys.
    Wk = 18,
    /// `[n_kv_heads * head_dim, dim]`: values.
    Wv = 19,
    /// `[dim, n_heads * head_dim]`: attention output.
    Wo = 20,
    /// `[dim]`: weights of the norm before the feed-forward block.
    RmsFfn = 21,
    /// `[hidden_dim, dim]`: gate; up where there is none.
    W1 = 22,
    /// `[dim, hidden_dim]`: down.
    W2 = 23,
    /// `[hidden_dim, dim]`: up.
    W3 = 24,
    /// `[n_heads * head_dim]`: added to queries.
    Bq = 25,
    /// `[n_kv_heads * head_dim]`: added to keys.
    Bk = 26,
    /// `[n_kv_heads * head_dim]`: added to values.
    Bv = 27,
    /// `[dim]`: added to attention's output.
    Bo = 28,
    /// `[hidden_dim]`: added to what `w1` gives.
    B1 = 29,
    /// `[dim]`: added to what `w2` gives.
    B2 = 30,
    /// `[head_dim]`: weights of the RMSNorm of each query.
    RmsQ = 31,
    /// `[head_dim]`: weights of the RMSNorm of each key.
    RmsK = 32,
    /// `[dim]`: weights of the RMSNorm after attention.
    RmsPostAtt = 33,
    /// `[dim]`: weights of the RMSNorm after the feed-forward block.
    RmsPostFfn = 34,
    /// `[dim]`: bias of the norm before attention.
    BiasAtt = 35,
    /// `[dim]`: bias of the norm before the feed-forward block.
    BiasFfn = 36,
}

impl TensorKind {
    /// Every kind, in directory order.
    pub const ALL: [Self; 26] = [
        Self::TokenEmbedding,
        Self::OutputHead,
        Self::RmsFinal,
        Self::PositionEmbedding,
        Self::BiasFinal,
        Self::RmsAtt,
        Self::Wq,
        Self::Wk,
        Self::Wv,
        Self::Wo,
        Self::RmsFfn,
        Self::W1,
        Self::W2,
        Self::W3,
        Self::Bq,
        Self::Bk,
        Self::Bv,
        Self::Bo,
        Self::B1,
        Self::B2,
        Self::RmsQ,
        Self::RmsK,
        Self::RmsPostAtt,
        Self::RmsPostFfn,
        Self::BiasAtt,
        Self::BiasFfn,
    ];

    /// Whether every layer has one of its own.
    pub const fn per_layer(self) -> bool {
        self as u8 >= 16
    }

    /// Whether it is a vector of `f32` rather than a matrix.
    pub const fn is_vector(self) -> bool {
        !matches!(
            self,
            Self::TokenEmbedding
                | Self::OutputHead
                | Self::PositionEmbedding
                | Self::Wq
                | Self::Wk
                | Self::Wv
                | Self::Wo
                | Self::W1
                | Self::W2
                | Self::W3
        )
    }

    /// Whether it is the weights of a norm, near 1 rather than 0.
    pub const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::RmsFinal
                | Self::RmsAtt
                | Self::RmsFfn
                | Self::RmsQ
                | Self::RmsK
                | Self::RmsPostAtt
                | Self::RmsPostFfn
        )
    }

    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        // A layer's kinds come behind the model's five.
        let index = if code < Self::RmsAtt as u8 { code } else { code - Self::RmsAtt as u8 + 5 };
        // Llama's come first, and without other architectures no others are looked for.
        const KNOWN: &[TensorKind] = match TensorKind::ALL.as_slice().split_at_checked(14) {
            Some((llama, _)) if !config::BEYOND_LLAMA => llama,
            _ => TensorKind::ALL.as_slice(),
        };
        match KNOWN.split_at_checked(index as usize) {
            Some((_, [kind, ..])) if *kind as u8 == code => Some(*kind),
            _ => None,
        }
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
            _ if config::BEYOND_LLAMA => self.name_beyond_llama(),
            // What is left out has been refused.
            _ => "",
        }
    }

    const fn name_beyond_llama(self) -> &'static str {
        match self {
            Self::PositionEmbedding => "position_embedding",
            Self::BiasFinal => "bias_final",
            Self::Bq => "bq",
            Self::Bk => "bk",
            Self::Bv => "bv",
            Self::Bo => "bo",
            Self::B1 => "b1",
            Self::B2 => "b2",
            Self::RmsQ => "rms_q",
            Self::RmsK => "rms_k",
            Self::RmsPostAtt => "rms_post_att",
            Self::RmsPostFfn => "rms_post_ffn",
            Self::BiasAtt => "bias_att",
            Self::BiasFfn => "bias_ffn",
            _ => "",
        }
    }
}
