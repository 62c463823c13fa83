//! GPT-2's `config.json`, which has names of its own.

use pipsqueak::config::Config;
use serde::Deserialize;

use super::{
    architecture::Architecture,
    config::{Raw as Common, activation, beyond_plain, required},
    json,
};
use crate::import::{ImportError, shape::bad};

/// The fields that are looked at; others change nothing.
#[derive(Deserialize)]
struct Raw {
    n_embd: Option<u32>,
    n_inner: Option<u32>,
    n_layer: Option<u32>,
    n_head: Option<u32>,
    n_positions: Option<u32>,
    /// The older name of `n_positions`.
    n_ctx: Option<u32>,
    layer_norm_epsilon: Option<f64>,
    activation_function: Option<String>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
}

pub(super) fn config(common: &Common, architecture: &Architecture, bytes: &[u8]) -> Result<Config, ImportError> {
    let raw: Raw = json(bytes, "a model's configuration")?;
    // `reorder_and_upcast_attn` asks for f32, which is what attention is computed in here.
    for (name, value, plain) in [
        ("scale_attn_weights", raw.scale_attn_weights, true),
        ("scale_attn_by_inverse_layer_idx", raw.scale_attn_by_inverse_layer_idx, false),
        ("add_cross_attention", raw.add_cross_attention, false),
    ] {
        if let Some(value) = value
            && value != plain
        {
            return Err(beyond_plain(name, value));
        }
    }
    let dim = required("n_embd", raw.n_embd)?;
    let n_heads = required("n_head", raw.n_head)?;
    if n_heads == 0 || !dim.is_multiple_of(n_heads) {
        return Err(bad("n_embd", dim, format!("a multiple of the {n_heads} heads")));
    }
    let head_dim = dim / n_heads;
    Ok(Config {
        dim,
        hidden_dim: raw.n_inner.unwrap_or(dim.saturating_mul(4)),
        n_layers: required("n_layer", raw.n_layer)?,
        n_heads,
        n_kv_heads: n_heads,
        head_dim,
        rope_dim: 0,
        vocab_size: common.vocab_size()?,
        seq_len: required("n_positions", raw.n_positions.or(raw.n_ctx))?,
        norm_eps: raw.layer_norm_epsilon.unwrap_or(architecture.norm_eps) as f32,
        att_scale: (1.0 / f64::from(head_dim).sqrt()) as f32,
        rope_pairs: architecture.rope_pairs,
        activation: activation(architecture, "activation_function", raw.activation_function.as_deref())?,
        tied_head: architecture.tied_head,
        arch: architecture.arch,
    })
}
