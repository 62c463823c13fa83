//! The forward pass as a table of stages, and the place a session has reached in it.

use crate::config::{BEYOND_LLAMA, Config};

/// One stage of the forward pass. A stage is a number of units that do not depend on each other, so that it can be cut
/// anywhere and shared out in any way without changing a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stage {
    /// Token embeddings to the residual stream.
    Embed,
    /// Cosine and sine of RoPE's angles, once for all layers.
    Angles,
    /// The norm before attention.
    AttNorm,
    /// Queries, keys and values.
    Qkv,
    /// Biases and norms of queries and keys, where there are any, and RoPE.
    Rotate,
    /// Keys and values to the cache.
    Store,
    /// Attention over the cache.
    Attend,
    /// Attention's result quantised.
    AttQuantise,
    /// Output projection, added to the residual stream.
    AttOut,
    /// Its bias, or its norm, on the way to the residual stream; only where there is one.
    AttJoin,
    /// The norm before the feed-forward block.
    FfnNorm,
    /// Gate and up projections.
    GateUp,
    /// The gated unit.
    Gate,
    /// Down projection, added to the residual stream.
    Down,
    /// Its bias, or its norm, on the way to the residual stream; only where there is one.
    FfnJoin,
    /// The last norm.
    FinalNorm,
    /// The output head.
    Head,
    /// Looks for NaN and infinity in the logits.
    Check,
}

impl Stage {
    /// Its name as written here.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embed => "Embed",
            Self::Angles => "Angles",
            Self::AttNorm => "AttNorm",
            Self::Qkv => "Qkv",
            Self::Rotate => "Rotate",
            Self::Store => "Store",
            Self::Attend => "Attend",
            Self::AttQuantise => "AttQuantise",
            Self::AttOut => "AttOut",
            Self::FfnNorm => "FfnNorm",
            Self::GateUp => "GateUp",
            Self::Gate => "Gate",
            Self::Down => "Down",
            Self::FinalNorm => "FinalNorm",
            Self::Head => "Head",
            Self::Check => "Check",
            Self::AttJoin if BEYOND_LLAMA => "AttJoin",
            Self::FfnJoin if BEYOND_LLAMA => "FfnJoin",
            // No such stage where nothing joins.
            Self::AttJoin | Self::FfnJoin => "",
        }
    }
}

/// A position in the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cursor {
    /// The stage being worked on.
    pub stage: Stage,
    /// The layer it belongs to; 0 before the layers, the last one after them.
    pub layer: u32,
    /// Units of it that are done.
    pub unit: usize,
}

impl Cursor {
    pub(crate) const START: Self = Self { stage: Stage::Embed, layer: 0, unit: 0 };

    /// The stage that follows; `None` after the last. `logits` says whether any are wanted.
    pub(crate) fn next(self, config: &Config, logits: bool) -> Option<Self> {
        let at = |stage| Some(Self { stage, unit: 0, ..self });
        match self.stage {
            Stage::Embed => at(Stage::Angles),
            Stage::Angles => at(Stage::AttNorm),
            Stage::AttNorm => at(Stage::Qkv),
            Stage::Qkv => at(Stage::Rotate),
            Stage::Rotate => at(Stage::Store),
            Stage::Store => at(Stage::Attend),
            Stage::Attend => at(Stage::AttQuantise),
            Stage::AttQuantise => at(Stage::AttOut),
            Stage::AttOut if config.arch.joins() => at(Stage::AttJoin),
            Stage::AttOut | Stage::AttJoin => at(Stage::FfnNorm),
            Stage::FfnNorm => at(Stage::GateUp),
            Stage::GateUp => at(Stage::Gate),
            Stage::Gate => at(Stage::Down),
            Stage::Down if config.arch.joins() => at(Stage::FfnJoin),
            Stage::Down | Stage::FfnJoin if self.layer + 1 < config.n_layers => {
                Some(Self { stage: Stage::AttNorm, layer: self.layer + 1, unit: 0 })
            }
            Stage::Down | Stage::FfnJoin if logits => at(Stage::FinalNorm),
            Stage::Down | Stage::FfnJoin => None,
            Stage::FinalNorm => at(Stage::Head),
            Stage::Head => at(Stage::Check),
            Stage::Check => None,
        }
    }
}

/// Half-way through one head's attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadCursor {
    /// Scores are done; values are being summed.
    pub(crate) values: bool,
    /// Chunks of the present pass that are done.
    pub(crate) chunk: usize,
    pub(crate) max: f32,
    pub(crate) sum: f32,
}

impl HeadCursor {
    pub(crate) const START: Self = Self { values: false, chunk: 0, max: f32::NEG_INFINITY, sum: 0.0 };
}
