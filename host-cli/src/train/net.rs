//! The decoder as a graph that gradients flow through: the same stages as the engine's forward pass.
//!
//! Source: Touvron et al. 2023, arXiv:2307.09288.

use std::{ops::Range, sync::Arc};

use candle_core::{Device, Result, Tensor, Var};
use pipsqueak::Config;

use super::{
    ops::{ActQuant, Attention, Embed, Heads, RmsNorm, Rope, SwiGlu},
    rounding::Rounding,
    weights::{Group, LAYER, Weights},
};

/// A group's values in the graph.
struct Param {
    value: Tensor,
    /// Its products take int8 activations.
    quantised: bool,
}

/// A model in the graph, for as long as its weights stay the same.
pub(super) struct Net {
    config: Config,
    heads: Arc<Heads>,
    params: Vec<Param>,
}

impl Net {
    /// The model as `rounding` lets it be seen. With `trained`, gradients can be asked for.
    pub(super) fn new(weights: &Weights, heads: &Arc<Heads>, rounding: Rounding, trained: bool) -> Result<Self> {
        let param = |group: &Group| {
            let values = rounding.round(group);
            let value = if group.is_vector() {
                Tensor::from_vec(values, group.cols, &Device::Cpu)?
            } else {
                Tensor::from_vec(values, (group.rows, group.cols), &Device::Cpu)?
            };
            let value = if trained { Var::from_tensor(&value)?.into_inner() } else { value };
            Ok(Param { value, quantised: rounding.quantises(group) })
        };
        let params = weights.groups.iter().map(param).collect::<Result<_>>()?;
        Ok(Self { config: weights.config, heads: Arc::clone(heads), params })
    }

    /// What the graph needs to know of a model's heads.
    pub(super) fn heads(config: &Config, turns: &[u32], positions: usize) -> Arc<Heads> {
        Arc::new(Heads {
            n_heads: config.n_heads as usize,
            n_kv_heads: config.n_kv_heads as usize,
            head_dim: config.head_dim as usize,
            scale: config.att_scale,
            rope: Rope::new(config.rope_pairs, turns, positions),
        })
    }

    /// Logits, `[tokens, vocab]`, of documents that stand one after the other in `ids`.
    pub(super) fn forward(&self, ids: Vec<u32>, documents: &Arc<[Range<usize>]>) -> Result<Tensor> {
        let eps = self.config.norm_eps;
        let norm = |x: &Tensor, weight: &Param| x.apply_op2(&weight.value, RmsNorm { eps });
        let (whole, layers) = self.params.split_at(self.params.len() - LAYER.len() * self.config.n_layers as usize);
        let [embedding, .., final_norm] = whole else { candle_core::bail!("a model without embedding or last norm") };
        let mut x = embedding.value.apply_op1(Embed { ids })?;
        for layer in layers.chunks_exact(LAYER.len()) {
            let [att_norm, wqkv, wo, ffn_norm, w13, w2] = layer else { break };
            let qkv = product(&norm(&x, att_norm)?, wqkv)?;
            let attention = Attention { heads: Arc::clone(&self.heads), documents: Arc::clone(documents) };
            x = (x + product(&qkv.apply_op1(attention)?, wo)?)?;
            let gate = product(&norm(&x, ffn_norm)?, w13)?.apply_op1(SwiGlu)?;
            x = (x + product(&gate, w2)?)?;
        }
        // With a tied head, the embedding is all there is before the last norm.
        product(&norm(&x, final_norm)?, &whole[whole.len() - 2])
    }

    /// The groups' tensors, to look their gradients up.
    pub(super) fn values(&self) -> impl Iterator<Item = &Tensor> {
        self.params.iter().map(|param| &param.value)
    }
}

/// `x [tokens, cols], w [rows, cols] -> [tokens, rows]`
fn product(x: &Tensor, w: &Param) -> Result<Tensor> {
    if w.quantised { x.apply_op1(ActQuant)?.matmul(&w.value.t()?) } else { x.matmul(&w.value.t()?) }
}
