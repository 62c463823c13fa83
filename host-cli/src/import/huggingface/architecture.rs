//! What the architectures differ in, as a table: another one is another row.

use pipsqueak::{
    config::{Activation, Arch, RopePairs},
    tensor::TensorKind,
};

/// Tensors by role: the name of a whole-model tensor, or what follows `model.layers.N.` in the name of a layer's. Roles that share
/// a name are one behind the other in that tensor's outputs.
type Names = &'static [(TensorKind, &'static str)];

/// How an architecture is written down.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// Its name in `config.json`.
    pub name: &'static str,
    /// The engine's word for it; numbers that it has are read from `config.json`.
    pub arch: Arch,
    /// The names of its tensors.
    pub tensors: &'static [Names],
    /// What the names of a layer's tensors begin with, before the layer's number.
    pub layer: &'static str,
    /// What any name may begin with in addition.
    pub prefix: &'static str,
    /// Ends of the names of tensors that hold nothing but what `config.json` says already.
    pub derived: &'static [&'static str],
    /// The pairs that the engine is to turn: with [`RopePairs::Interleaved`] the rows of queries and keys are put in that order,
    /// as GGUF's converter does, so that both files give the same image.
    pub rope_pairs: RopePairs,
    /// A layer's matrices are stored `[inputs, outputs]`.
    pub transposed: bool,
    /// What is added to the weights of norms.
    pub norm_shift: f32,
    /// The feed-forward block's function, by its names in `config.json`; the first where the file is silent.
    pub activations: &'static [(&'static str, Activation)],
    /// The norms' epsilon where the file is silent.
    pub norm_eps: f64,
    /// RoPE's base where the file is silent.
    pub rope_base: f64,
    /// Whether the head is the embedding where the file is silent.
    pub tied_head: bool,
}

/// Every architecture that is read.
pub const ALL: &[Architecture] = &[
    Architecture { name: "LlamaForCausalLM", ..LLAMA },
    // The same within its window, which becomes the context.
    Architecture { name: "MistralForCausalLM", ..LLAMA },
    Architecture {
        name: "Qwen2ForCausalLM",
        arch: Arch::Qwen2,
        tensors: &[GATED, NORM_BEFORE, QKV_BIASES],
        rope_pairs: RopePairs::HalfSplit,
        ..LLAMA
    },
    Architecture {
        name: "Qwen3ForCausalLM",
        arch: Arch::Qwen3,
        tensors: &[GATED, NORM_BEFORE, HEAD_NORMS],
        rope_pairs: RopePairs::HalfSplit,
        ..LLAMA
    },
    Architecture {
        name: "Gemma3ForCausalLM",
        arch: Arch::Gemma3 { window: 0, global_every: 0 },
        tensors: &[GATED, HEAD_NORMS, NORMS_AROUND],
        rope_pairs: RopePairs::HalfSplit,
        norm_shift: 1.0,
        activations: &[("gelu_pytorch_tanh", Activation::Gelu)],
        rope_base: 1e6,
        tied_head: true,
        ..LLAMA
    },
    Architecture {
        name: "GPT2LMHeadModel",
        arch: Arch::Gpt2,
        tensors: &[GPT2],
        layer: "h.",
        prefix: "transformer.",
        // The causal mask, and what masked scores become.
        derived: &[".attn.bias", ".attn.masked_bias"],
        rope_pairs: RopePairs::None,
        transposed: true,
        activations: &[("gelu_new", Activation::Gelu), ("gelu_pytorch_tanh", Activation::Gelu)],
        norm_eps: 1e-5,
        tied_head: true,
        ..LLAMA
    },
];

const LLAMA: Architecture = Architecture {
    name: "",
    arch: Arch::Llama,
    tensors: &[GATED, NORM_BEFORE],
    layer: "model.layers.",
    prefix: "",
    derived: &["self_attn.rotary_emb.inv_freq"],
    rope_pairs: RopePairs::Interleaved,
    transposed: false,
    norm_shift: 0.0,
    activations: &[("silu", Activation::Silu)],
    norm_eps: 1e-6,
    rope_base: 10000.0,
    tied_head: false,
};

/// What all decoders with a gated feed-forward block share.
const GATED: Names = &[
    (TensorKind::TokenEmbedding, "model.embed_tokens.weight"),
    (TensorKind::OutputHead, "lm_head.weight"),
    (TensorKind::RmsFinal, "model.norm.weight"),
    (TensorKind::RmsAtt, "input_layernorm.weight"),
    (TensorKind::Wq, "self_attn.q_proj.weight"),
    (TensorKind::Wk, "self_attn.k_proj.weight"),
    (TensorKind::Wv, "self_attn.v_proj.weight"),
    (TensorKind::Wo, "self_attn.o_proj.weight"),
    (TensorKind::W1, "mlp.gate_proj.weight"),
    (TensorKind::W2, "mlp.down_proj.weight"),
    (TensorKind::W3, "mlp.up_proj.weight"),
];

/// A norm before the feed-forward block only, which is called by what is before it.
const NORM_BEFORE: Names = &[(TensorKind::RmsFfn, "post_attention_layernorm.weight")];

/// Norms after attention and on both sides of the feed-forward block.
const NORMS_AROUND: Names = &[
    (TensorKind::RmsPostAtt, "post_attention_layernorm.weight"),
    (TensorKind::RmsFfn, "pre_feedforward_layernorm.weight"),
    (TensorKind::RmsPostFfn, "post_feedforward_layernorm.weight"),
];

const QKV_BIASES: Names = &[
    (TensorKind::Bq, "self_attn.q_proj.bias"),
    (TensorKind::Bk, "self_attn.k_proj.bias"),
    (TensorKind::Bv, "self_attn.v_proj.bias"),
];

const HEAD_NORMS: Names =
    &[(TensorKind::RmsQ, "self_attn.q_norm.weight"), (TensorKind::RmsK, "self_attn.k_norm.weight")];

const GPT2: Names = &[
    (TensorKind::TokenEmbedding, "wte.weight"),
    (TensorKind::PositionEmbedding, "wpe.weight"),
    (TensorKind::OutputHead, "lm_head.weight"),
    (TensorKind::RmsFinal, "ln_f.weight"),
    (TensorKind::BiasFinal, "ln_f.bias"),
    (TensorKind::RmsAtt, "ln_1.weight"),
    (TensorKind::BiasAtt, "ln_1.bias"),
    (TensorKind::Wq, "attn.c_attn.weight"),
    (TensorKind::Wk, "attn.c_attn.weight"),
    (TensorKind::Wv, "attn.c_attn.weight"),
    (TensorKind::Bq, "attn.c_attn.bias"),
    (TensorKind::Bk, "attn.c_attn.bias"),
    (TensorKind::Bv, "attn.c_attn.bias"),
    (TensorKind::Wo, "attn.c_proj.weight"),
    (TensorKind::Bo, "attn.c_proj.bias"),
    (TensorKind::RmsFfn, "ln_2.weight"),
    (TensorKind::BiasFfn, "ln_2.bias"),
    (TensorKind::W1, "mlp.c_fc.weight"),
    (TensorKind::B1, "mlp.c_fc.bias"),
    (TensorKind::W2, "mlp.c_proj.weight"),
    (TensorKind::B2, "mlp.c_proj.bias"),
];

impl Architecture {
    /// The row of this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|architecture| architecture.name == name)
    }

    fn names(&self) -> impl Iterator<Item = (TensorKind, &'static str)> {
        self.tensors.iter().copied().flatten().copied()
    }

    /// The full name of a tensor; `None` where the architecture has none of its kind.
    pub fn tensor_name(&self, kind: TensorKind, layer: u32) -> Option<String> {
        let (_, name) = self.names().find(|(of, _)| *of == kind)?;
        Some(if kind.per_layer() { format!("{}{layer}.{name}", self.layer) } else { name.into() })
    }

    /// What the tensor of this name is for: its layer, and the roles of its outputs in their order.
    pub fn roles(&self, name: &str) -> Option<(u32, Vec<TensorKind>)> {
        let name = name.strip_prefix(self.prefix).unwrap_or(name);
        let (layer, rest) = match name.strip_prefix(self.layer).and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => (Some(layer.parse().ok()?), rest),
            None => (None, name),
        };
        let found = self.names().filter(|(kind, end)| kind.per_layer() == layer.is_some() && *end == rest);
        let (kinds, layer): (Vec<TensorKind>, u32) = (found.map(|(kind, _)| kind).collect(), layer.unwrap_or(0));
        // "layers.007." parses as a number, but nothing writes it.
        (self.tensor_name(*kinds.first()?, layer)? == name).then_some((layer, kinds))
    }

    /// Whether the tensor of this name says nothing new.
    pub fn is_derived(&self, name: &str) -> bool {
        self.derived.iter().any(|end| name.ends_with(end))
    }

    /// Whether a tensor is stored `[inputs, outputs]`.
    pub fn is_transposed(&self, kind: TensorKind) -> bool {
        self.transposed && kind.per_layer() && !kind.is_vector()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_roles() {
        for architecture in ALL {
            for (kind, end) in architecture.names() {
                let layer = if kind.per_layer() { 17 } else { 0 };
                let name = architecture.tensor_name(kind, layer).unwrap();
                let same: Vec<_> = architecture.names().filter(|other| other.1 == end).map(|(kind, _)| kind).collect();
                for prefix in ["", architecture.prefix] {
                    assert_eq!(architecture.roles(&format!("{prefix}{name}")), Some((layer, same.clone())), "{name}");
                }
                assert!(same.contains(&kind) && !architecture.is_derived(&name), "{name}");
            }
            let other = "model.layers.0.self_attn.o_proj.bias";
            for name in ["", "model.layers.", "model.layers.0.", "model.layers.01.self_attn.q_proj.weight", other] {
                assert_eq!(architecture.roles(name), None, "{name}");
            }
        }
        let gpt2 = Architecture::by_name("GPT2LMHeadModel").unwrap();
        for name in ["h.00.ln_1.weight", "transformer.transformer.wte.weight", "ln_1.weight", "h.0.wte.weight", "h.0."]
        {
            assert_eq!(gpt2.roles(name), None, "{name}");
        }
        assert!(gpt2.is_derived("transformer.h.3.attn.bias") && gpt2.is_derived("h.3.attn.masked_bias"));
    }
}
