//! What a token costs: bytes read and multiply-adds, from the model's shape.

use pipsqueak::{Image, Plan, PlanOptions, config::Config, tensor::TensorKind};

use crate::{machine::Ceilings, pack::macs_per_token};

/// A test and what a token of it costs, on average.
pub(super) struct Cost {
    pub(super) test: &'static str,
    pub(super) tokens: usize,
    /// Tokens at once.
    pub(super) batch: usize,
    /// Bytes that a step with this token alone reads: every matrix once, one row of the embeddings, and what each layer
    /// looks at of the cache.
    pub(super) bytes: u64,
    /// Multiply-adds: products and attention, the output head's only where logits are computed.
    pub(super) macs: u64,
}

/// Prefill of `tokens` after `depth`: the logits are those of the last token alone.
pub(super) fn prefill(image: &Image<'_>, options: &PlanOptions, depth: usize, tokens: usize) -> Cost {
    let (config, position) = (image.config(), depth + tokens / 2);
    let head = u64::from(config.vocab_size) * u64::from(config.dim);
    let macs = macs_per_token(config) - head + head / tokens.max(1) as u64 + attention_macs(config, position);
    let batch = options.batch.min(tokens);
    Cost { test: "prefill", tokens, batch, bytes: bytes_per_step(image, options, position), macs }
}

/// Decoding `tokens` after `depth`.
pub(super) fn decode(image: &Image<'_>, options: &PlanOptions, depth: usize, tokens: usize) -> Cost {
    let (config, position) = (image.config(), depth + tokens / 2);
    let macs = macs_per_token(config) + attention_macs(config, position);
    Cost { test: "decode", tokens, batch: 1, bytes: bytes_per_step(image, options, position), macs }
}

impl Cost {
    /// Tokens a second that the machine does not go beyond. Decode: the bytes of a token at the rate they can be read.
    /// Prefill: its multiply-adds at the rate of the multiply instruction, or, with batches so small that this is
    /// lower, one reading of the bytes a batch.
    pub(super) fn ceiling(&self, machine: Ceilings) -> f64 {
        let by_bytes = machine.bytes_per_s / self.bytes.max(1) as f64 * self.batch as f64;
        let by_macs = machine.macs_per_s / self.macs.max(1) as f64;
        if self.batch == 1 { by_bytes } else { by_bytes.min(by_macs) }
    }
}

/// The positions that each layer looks at.
fn seen(config: &Config, position: usize) -> impl Iterator<Item = usize> {
    (0..config.n_layers).map(move |layer| config.window(layer).map_or(position, |window| position.min(window)))
}

/// Multiply-adds of attention: each query head with the keys, and the weights with the values.
fn attention_macs(config: &Config, position: usize) -> u64 {
    2 * config.q_dim() as u64 * seen(config, position).map(|seen| seen as u64).sum::<u64>()
}

fn bytes_per_step(image: &Image<'_>, options: &PlanOptions, position: usize) -> u64 {
    let config = image.config();
    let by_row = |kind| match kind {
        TensorKind::TokenEmbedding => !config.tied_head,
        kind => kind == TensorKind::PositionEmbedding,
    };
    let weights: u64 = image.entries().filter(|entry| !by_row(entry.kind)).map(|entry| entry.len).sum();
    let cache = |positions: usize| {
        Plan::new(config, PlanOptions { context: positions.max(1), ..*options }).kv_bytes() / config.n_layers as usize
    };
    weights + seen(config, position).map(|seen| cache(seen) as u64).sum::<u64>()
}
