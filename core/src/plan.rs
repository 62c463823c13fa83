//! Memory at compile time: from a model's shape and a few choices to exact bytes.

use pipsqueak_kernels::{
    BLOCK,
    arena::{Line, Plain, lines_for},
};

use crate::{
    config::Config,
    kv_cache::{KvType, cache_lines},
};

/// What the user chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PlanOptions {
    /// Positions in the KV cache: prompt and answer together.
    pub context: usize,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Tokens that prefill works on at once. More is faster and takes more scratch.
    pub batch: usize,
    /// Tokens of one batch whose logits are kept: 1 to generate, more to score a text.
    pub logits: usize,
    /// Threads or cores that will work together.
    pub threads: usize,
}

impl PlanOptions {
    /// One token at a time on one core, int8 cache: the least memory.
    pub const fn small(context: usize) -> Self {
        Self { context, kv: KvType::I8, batch: 1, logits: 1, threads: 1 }
    }

    /// Rows of scores in a slot: kernels that take several queries at once want one for each.
    pub(crate) const fn lanes(&self) -> usize {
        if self.batch >= MANY { MANY } else { 1 }
    }
}

/// The memory a session needs: two arenas of 64-byte lines.
///
/// With `B` batch, `T` threads, `L` logits and `blocks(n) = ceil(n / 32)`, the scratch arena holds, each piece rounded up to
/// a line:
///
/// | piece | elements | type |
/// |---|---|---|
/// | `x` | `B * dim` | f32 |
/// | `xb` | `B * max(dim, q_dim)` | f32 |
/// | `wide` (q, k, v, or gate and up) | `B * max(q_dim + 2 kv_dim, 2 hidden_dim)`; without a gate one `hidden_dim`; with a norm after attention at least `B * dim` | f32 |
/// | activations | `B * blocks(max(dim, q_dim, hidden_dim))` blocks | 32 i8, f32, i32 |
/// | RoPE angles | `B * rope_dim`, twice that where layers with a sliding window have their own | f32 |
/// | quantised queries (int8 cache only) | `B * n_heads * blocks(head_dim)` blocks | 32 i8, f32, i32 |
/// | scores | `S * context`, `S` = 1, or `4 T` for several threads; 16 times that for batches of 16 and more | f32 |
/// | logits | `L * vocab_size` | f32 |
/// | sampling order | `vocab_size` | u32 |
/// | tokens | `B` | u32 |
///
/// The KV arena holds keys and values, `n_layers * kv_dim * context` each, and for an int8 cache their scales. For
/// stories260K with 128 tokens of context, an int8 cache and everything else 1, that is 43,520 bytes of KV and 7,360 of
/// scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Plan {
    /// What was asked for.
    pub options: PlanOptions,
    pub(crate) sizes: Sizes,
    kv_lines: usize,
}

/// Elements of each piece of the scratch arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Sizes {
    pub(crate) x: usize,
    pub(crate) xb: usize,
    pub(crate) wide: usize,
    pub(crate) act_blocks: usize,
    pub(crate) angles: usize,
    pub(crate) query_blocks: usize,
    pub(crate) slots: usize,
    pub(crate) scores: usize,
    pub(crate) logits: usize,
    pub(crate) order: usize,
    pub(crate) tokens: usize,
}

/// Queries that attention takes at once, at most.
const MANY: usize = 16;

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl Plan {
    /// The plan for a model's shape. Sizes that do not fit the address space saturate, and no arena is that large.
    pub const fn new(config: &Config, options: PlanOptions) -> Self {
        let PlanOptions { context, kv, batch, logits, threads } = options;
        let (dim, hidden) = (config.dim as usize, config.hidden_dim as usize);
        let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
        let vocab = config.vocab_size as usize;
        let widest = max(max(dim, q_dim), hidden);
        let query_blocks = match kv {
            KvType::I8 => (config.n_heads as usize).saturating_mul((config.head_dim as usize).div_ceil(BLOCK)),
            _ => 0,
        };
        // More score buffers than threads, so that heads can be shared out evenly.
        let slots = if threads > 1 { threads.saturating_mul(4) } else { 1 };
        let ffn = if config.arch.has_gate() { 2 * hidden } else { hidden };
        let wide = max(q_dim + 2 * kv_dim, ffn);
        let sizes = Sizes {
            x: batch.saturating_mul(dim),
            xb: batch.saturating_mul(max(dim, q_dim)),
            // What attention gives waits there for its norm.
            wide: batch.saturating_mul(if config.arch.has_post_norms() { max(wide, dim) } else { wide }),
            act_blocks: batch.saturating_mul(widest.div_ceil(BLOCK)),
            angles: batch.saturating_mul(config.rope_dim as usize * config.rope_tables()),
            query_blocks: batch.saturating_mul(query_blocks),
            slots,
            scores: slots.saturating_mul(options.lanes()).saturating_mul(context),
            logits: logits.saturating_mul(vocab),
            order: vocab,
            tokens: batch,
        };
        Self { options, sizes, kv_lines: cache_lines(config, context, kv) }
    }

    /// Lines of the scratch arena.
    pub const fn scratch_lines(&self) -> usize {
        const fn lines<T: Plain>(len: usize) -> usize {
            match lines_for::<T>(len) {
                Some(lines) => lines,
                None => usize::MAX,
            }
        }
        const fn blocks(blocks: usize) -> usize {
            lines::<i8>(blocks.saturating_mul(BLOCK))
                .saturating_add(lines::<f32>(blocks))
                .saturating_add(lines::<i32>(blocks))
        }
        let s = &self.sizes;
        lines::<f32>(s.x)
            .saturating_add(lines::<f32>(s.xb))
            .saturating_add(lines::<f32>(s.wide))
            .saturating_add(blocks(s.act_blocks))
            .saturating_add(lines::<f32>(s.angles))
            .saturating_add(blocks(s.query_blocks))
            .saturating_add(lines::<f32>(s.scores))
            .saturating_add(lines::<f32>(s.logits))
            .saturating_add(lines::<u32>(s.order))
            .saturating_add(lines::<u32>(s.tokens))
    }

    /// Lines of the KV arena.
    pub const fn kv_lines(&self) -> usize {
        self.kv_lines
    }

    /// Bytes of the scratch arena.
    pub const fn scratch_bytes(&self) -> usize {
        self.scratch_lines().saturating_mul(Line::BYTES)
    }

    /// Bytes of the KV arena.
    pub const fn kv_bytes(&self) -> usize {
        self.kv_lines.saturating_mul(Line::BYTES)
    }

    /// Bytes of both.
    pub const fn total_bytes(&self) -> usize {
        self.scratch_bytes().saturating_add(self.kv_bytes())
    }
}
