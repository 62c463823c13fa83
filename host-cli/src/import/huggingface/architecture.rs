//! What the architectures differ in, as a table: another one is another row.

use pipsqueak::{
    config::{Activation, RopePairs},
    tensor::TensorKind,
};

/// How an architecture is written down.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// Its name in `config.json`.
    pub name: &'static str,
    /// The name of a whole-model tensor, or what follows `model.layers.N.` in the name of a layer's.
    pub tensors: &'static [(TensorKind, &'static str)],
    /// Ends of the names of tensors that hold nothing but what `config.json` says already.
    pub derived: &'static [&'static str],
    /// The pairs that the engine is to turn: with [`RopePairs::Interleaved`] the rows of queries and keys are put in that order,
    /// as GGUF's converter does, so that both files give the same image.
    pub rope_pairs: RopePairs,
    /// The gate's function, by its name in `config.json`.
    pub activations: &'static [(&'static str, Activation)],
    /// RMSNorm's epsilon where the file is silent.
    pub norm_eps: f64,
}

/// Every architecture that is read.
pub const ALL: &[Architecture] = &[
    Architecture { name: "LlamaForCausalLM", ..LLAMA },
    // The same within its window, which becomes the context.
    Architecture { name: "MistralForCausalLM", ..LLAMA },
];

const LLAMA: Architecture = Architecture {
    name: "",
    tensors: &[
        (TensorKind::TokenEmbedding, "model.embed_tokens.weight"),
        (TensorKind::OutputHead, "lm_head.weight"),
        (TensorKind::RmsFinal, "model.norm.weight"),
        (TensorKind::RmsAtt, "input_layernorm.weight"),
        (TensorKind::Wq, "self_attn.q_proj.weight"),
        (TensorKind::Wk, "self_attn.k_proj.weight"),
        (TensorKind::Wv, "self_attn.v_proj.weight"),
        (TensorKind::Wo, "self_attn.o_proj.weight"),
        (TensorKind::RmsFfn, "post_attention_layernorm.weight"),
        (TensorKind::W1, "mlp.gate_proj.weight"),
        (TensorKind::W2, "mlp.down_proj.weight"),
        (TensorKind::W3, "mlp.up_proj.weight"),
    ],
    derived: &["self_attn.rotary_emb.inv_freq"],
    rope_pairs: RopePairs::Interleaved,
    activations: &[("silu", Activation::Silu)],
    norm_eps: 1e-6,
};

/// What a layer's tensors begin with.
const LAYER: &str = "model.layers.";

impl Architecture {
    /// The row of this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|architecture| architecture.name == name)
    }

    /// The full name of a tensor; `None` where the architecture has none of its kind.
    pub fn tensor_name(&self, kind: TensorKind, layer: u32) -> Option<String> {
        let (_, name) = self.tensors.iter().find(|(of, _)| *of == kind)?;
        Some(if kind.per_layer() { format!("{LAYER}{layer}.{name}") } else { (*name).into() })
    }

    /// What the tensor of this name is for.
    pub fn role(&self, name: &str) -> Option<(u32, TensorKind)> {
        let (layer, rest) = match name.strip_prefix(LAYER).and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => (Some(layer.parse().ok()?), rest),
            None => (None, name),
        };
        let found = self.tensors.iter().find(|(kind, end)| kind.per_layer() == layer.is_some() && *end == rest);
        let (kind, layer) = (found?.0, layer.unwrap_or(0));
        // "layers.007." parses as a number, but nothing writes it.
        (self.tensor_name(kind, layer)? == name).then_some((layer, kind))
    }

    /// Whether the tensor of this name says nothing new.
    pub fn is_derived(&self, name: &str) -> bool {
        self.derived.iter().any(|end| name.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_role() {
        for architecture in ALL {
            for (kind, _) in architecture.tensors {
                let layer = if kind.per_layer() { 17 } else { 0 };
                let name = architecture.tensor_name(*kind, layer).unwrap();
                assert_eq!(architecture.role(&name), Some((layer, *kind)), "{name}");
                assert!(!architecture.is_derived(&name));
            }
            let other = "model.layers.0.self_attn.q_proj.bias";
            for name in ["", "model.layers.", "model.layers.0.", "model.layers.01.self_attn.q_proj.weight", other] {
                assert_eq!(architecture.role(name), None, "{name}");
            }
        }
    }
}
