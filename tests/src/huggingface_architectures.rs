//! The architectures as Hugging Face writes them: configurations, names, and tensors in their own layout.

use pipsqueak::{
    config::{Arch, Config},
    tensor::TensorKind,
};
use serde_json::{Value, json};

use crate::tiny_model::{TinyModel, TinyTensor};

/// A tensor as it is stored: its name, its shape and its values.
pub type Stored = (String, Vec<usize>, Vec<f32>);

/// `config.json`
pub fn config_json(c: &Config) -> Value {
    if c.arch == Arch::Gpt2 {
        return json!({
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": c.dim, "n_inner": c.hidden_dim,
            "n_layer": c.n_layers, "n_head": c.n_heads, "n_positions": c.seq_len, "n_ctx": c.seq_len,
            "vocab_size": c.vocab_size, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
            "tie_word_embeddings": c.tied_head, "scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false,
            "reorder_and_upcast_attn": false, "attn_pdrop": 0.1, "bos_token_id": 1, "eos_token_id": 2,
        });
    }
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
        "hidden_size": c.dim, "intermediate_size": c.hidden_dim, "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads, "head_dim": c.head_dim,
        "vocab_size": c.vocab_size, "max_position_embeddings": c.seq_len, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "rope_scaling": null, "hidden_act": "silu", "tie_word_embeddings": c.tied_head,
        "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2, "use_cache": true,
    });
    let more = match c.arch {
        // A window that is switched off.
        Arch::Qwen2 => {
            json!({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": false,
            "sliding_window": 4, "max_window_layers": 1})
        }
        Arch::Qwen3 => {
            json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "use_sliding_window": false,
            "sliding_window": null, "max_window_layers": c.n_layers})
        }
        Arch::Gemma3 { window, global_every } => json!({
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_act": null,
            "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": (1.0 / c.att_scale.powi(2)).round(),
            "sliding_window": window, "sliding_window_pattern": global_every, "rope_local_base_freq": 10000,
            "attn_logit_softcapping": null, "final_logit_softcapping": null, "cache_implementation": "hybrid",
        }),
        _ => json!({}),
    };
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// All tensors of a model.
pub fn stored(model: &TinyModel) -> Vec<Stored> {
    let arch = model.config.arch;
    let kept = model.tensors.iter().filter(|tensor| {
        use TensorKind::{Bk, Bv, Wk, Wv};
        arch != Arch::Gpt2 || !matches!(tensor.kind, Wk | Wv | Bk | Bv)
    });
    kept.map(|tensor| {
        let name = hf_name(arch, tensor.kind, tensor.layer);
        let (outputs, inputs) = (tensor.rows, tensor.cols);
        let of = |kind| &model.tensor(kind, tensor.layer).values[..];
        match (arch, tensor.kind) {
            (Arch::Gpt2, TensorKind::Wq) => {
                let all = [&tensor.values, of(TensorKind::Wk), of(TensorKind::Wv)].concat();
                (name, vec![inputs, 3 * outputs], transposed(&all, inputs))
            }
            (Arch::Gpt2, TensorKind::Bq) => {
                (name, vec![3 * inputs], [&tensor.values, of(TensorKind::Bk), of(TensorKind::Bv)].concat())
            }
            (Arch::Gpt2, TensorKind::Wo | TensorKind::W1 | TensorKind::W2) => {
                (name, vec![inputs, outputs], transposed(&tensor.values, inputs))
            }
            (Arch::Gemma3 { .. }, kind) if kind.is_norm() => {
                (name, vec![inputs], tensor.values.iter().map(|x| x - 1.0).collect())
            }
            (Arch::Llama, _) => (name, shape(tensor), in_halves(tensor, model.config.head_dim as usize)),
            _ => (name, shape(tensor), tensor.values.clone()),
        }
    })
    .collect()
}

fn shape(tensor: &TinyTensor) -> Vec<usize> {
    if tensor.rows == 1 { vec![tensor.cols] } else { vec![tensor.rows, tensor.cols] }
}

/// A matrix of so many columns, column by column.
fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|col| values.iter().skip(col).step_by(cols).copied()).collect()
}

/// The values of a tensor; of queries and keys, each head's even rows first, then its odd ones.
pub fn in_halves(tensor: &TinyTensor, head_dim: usize) -> Vec<f32> {
    if !matches!(tensor.kind, TensorKind::Wq | TensorKind::Wk) {
        return tensor.values.clone();
    }
    let heads = tensor.values.chunks_exact(head_dim * tensor.cols);
    let halves = heads.flat_map(|head| {
        let rows: Vec<&[f32]> = head.chunks_exact(tensor.cols).collect();
        let (even, odd) = (rows.iter().step_by(2), rows.iter().skip(1).step_by(2));
        even.chain(odd).flat_map(|row| row.iter().copied()).collect::<Vec<f32>>()
    });
    halves.collect()
}

/// The name Hugging Face has for a tensor.
pub fn hf_name(arch: Arch, kind: TensorKind, layer: u32) -> String {
    if arch == Arch::Gpt2 {
        let name = gpt2_name(kind);
        return if kind.per_layer() { format!("h.{layer}.{name}") } else { name.into() };
    }
    let around = matches!(arch, Arch::Gemma3 { .. });
    let name = match kind {
        TensorKind::TokenEmbedding => "model.embed_tokens.weight",
        TensorKind::OutputHead => "lm_head.weight",
        TensorKind::RmsFinal => "model.norm.weight",
        TensorKind::RmsAtt => "input_layernorm.weight",
        TensorKind::Wq => "self_attn.q_proj.weight",
        TensorKind::Wk => "self_attn.k_proj.weight",
        TensorKind::Wv => "self_attn.v_proj.weight",
        TensorKind::Wo => "self_attn.o_proj.weight",
        TensorKind::Bq => "self_attn.q_proj.bias",
        TensorKind::Bk => "self_attn.k_proj.bias",
        TensorKind::Bv => "self_attn.v_proj.bias",
        TensorKind::RmsQ => "self_attn.q_norm.weight",
        TensorKind::RmsK => "self_attn.k_norm.weight",
        TensorKind::RmsPostAtt => "post_attention_layernorm.weight",
        TensorKind::RmsFfn if around => "pre_feedforward_layernorm.weight",
        TensorKind::RmsFfn => "post_attention_layernorm.weight",
        TensorKind::RmsPostFfn => "post_feedforward_layernorm.weight",
        TensorKind::W1 => "mlp.gate_proj.weight",
        TensorKind::W2 => "mlp.down_proj.weight",
        TensorKind::W3 => "mlp.up_proj.weight",
        other => panic!("{arch:?} has no {other:?}"),
    };
    if kind.per_layer() { format!("model.layers.{layer}.{name}") } else { name.into() }
}

fn gpt2_name(kind: TensorKind) -> &'static str {
    match kind {
        TensorKind::TokenEmbedding => "wte.weight",
        TensorKind::PositionEmbedding => "wpe.weight",
        TensorKind::OutputHead => "lm_head.weight",
        TensorKind::RmsFinal => "ln_f.weight",
        TensorKind::BiasFinal => "ln_f.bias",
        TensorKind::RmsAtt => "ln_1.weight",
        TensorKind::BiasAtt => "ln_1.bias",
        TensorKind::Wq | TensorKind::Wk | TensorKind::Wv => "attn.c_attn.weight",
        TensorKind::Bq | TensorKind::Bk | TensorKind::Bv => "attn.c_attn.bias",
        TensorKind::Wo => "attn.c_proj.weight",
        TensorKind::Bo => "attn.c_proj.bias",
        TensorKind::RmsFfn => "ln_2.weight",
        TensorKind::BiasFfn => "ln_2.bias",
        TensorKind::W1 => "mlp.c_fc.weight",
        TensorKind::B1 => "mlp.c_fc.bias",
        TensorKind::W2 => "mlp.c_proj.weight",
        TensorKind::B2 => "mlp.c_proj.bias",
        other => panic!("GPT-2 has no {other:?}"),
    }
}
