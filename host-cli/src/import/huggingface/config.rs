//! `config.json`: the shape, and what would make the model compute something else than this engine does.

use std::fmt::Display;

use pipsqueak::config::{Activation, Arch, Config, MAX_DIM};
use serde::Deserialize;

use super::{architecture::Architecture, gpt2, json, rope::RawScaling};
use crate::import::{
    ImportError,
    shape::{self, bad},
};

/// The fields that are looked at; others change nothing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Raw {
    architectures: Option<Vec<String>>,
    hidden_size: Option<u32>,
    intermediate_size: Option<u32>,
    num_hidden_layers: Option<u32>,
    num_attention_heads: Option<u32>,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    vocab_size: Option<u32>,
    pub(super) max_position_embeddings: Option<u32>,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    /// Gemma's word for `hidden_act`.
    hidden_activation: Option<String>,
    tie_word_embeddings: Option<bool>,
    pub(super) sliding_window: Option<u32>,
    /// Qwen's: without it there is no window, whatever else is said.
    pub(super) use_sliding_window: Option<bool>,
    /// Qwen's: so many layers at the bottom have no window.
    pub(super) max_window_layers: Option<u32>,
    pub(super) layer_types: Option<Vec<String>>,
    /// Gemma's, where `layer_types` is missing: of so many layers, the last has no window.
    pub(super) sliding_window_pattern: Option<u32>,
    /// The same beside `layer_types`.
    #[serde(rename = "_sliding_window_pattern")]
    pub(super) other_sliding_window_pattern: Option<u32>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    use_bidirectional_attention: Option<bool>,
    is_causal: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    pub(super) partial_rotary_factor: Option<f64>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_local_base_freq: Option<f64>,
    pub(super) rope_scaling: Option<RawScaling>,
    /// What newer files have in place of the three above.
    pub(super) rope_parameters: Option<RawScaling>,
    quantization_config: Option<RawQuantisation>,
    #[serde(default)]
    pub(super) bos_token_id: Ids,
    #[serde(default)]
    pub(super) eos_token_id: Ids,
}

#[derive(Debug, Deserialize)]
struct RawQuantisation {
    quant_method: Option<String>,
}

/// One token's id, several, or none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged, expecting = "a token's id, an array of them, or null")]
pub(super) enum Ids {
    #[default]
    None,
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    pub(super) fn all(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

impl Raw {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImportError> {
        json(bytes, "a model's configuration")
    }

    /// Rows of the embedding.
    pub(super) fn vocab_size(&self) -> Result<u32, ImportError> {
        required("vocab_size", self.vocab_size)
    }

    pub(super) fn architecture(&self) -> Result<&'static Architecture, ImportError> {
        let names = self.architectures.as_deref().unwrap_or_default();
        let [name] = names else {
            let missing = || ImportError::MissingKey { key: "architectures".into() };
            return Err(if names.is_empty() {
                missing()
            } else {
                ImportError::Architecture { found: names.join(", ") }
            });
        };
        Architecture::by_name(name).ok_or_else(|| ImportError::Architecture { found: name.clone() })
    }

    /// The shape; `bytes` is the file.
    pub(super) fn config(&self, architecture: &Architecture, bytes: &[u8]) -> Result<Config, ImportError> {
        self.refuse_what_changes_results()?;
        let mut config = match architecture.arch {
            Arch::Gpt2 => gpt2::config(self, architecture, bytes)?,
            _ => self.config_with_rope(architecture)?,
        };
        config.tied_head = self.tie_word_embeddings.unwrap_or(architecture.tied_head);
        shape::check(&config)?;
        Ok(config)
    }

    fn config_with_rope(&self, architecture: &Architecture) -> Result<Config, ImportError> {
        self.refuse_what_changes_decoders(architecture)?;
        let dim = required("hidden_size", self.hidden_size)?;
        let n_heads = required("num_attention_heads", self.num_attention_heads)?;
        let n_layers = required("num_hidden_layers", self.num_hidden_layers)?;
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if n_heads == 0 || !dim.is_multiple_of(n_heads) => {
                return Err(bad("hidden_size", dim, format!("a multiple of the {n_heads} heads, or head_dim given")));
            }
            None => dim / n_heads,
        };
        let (arch, function, scaled_by) = match architecture.arch {
            Arch::Gemma3 { .. } => {
                let (window, global_every) = self.windows(n_layers)?;
                let scalar = required("query_pre_attn_scalar", self.query_pre_attn_scalar)?;
                if !(1.0..=f64::from(MAX_DIM)).contains(&scalar) {
                    return Err(bad("query_pre_attn_scalar", scalar, format!("from 1 to {MAX_DIM}")));
                }
                (Arch::Gemma3 { window, global_every }, ("hidden_activation", &self.hidden_activation), scalar)
            }
            arch => (arch, ("hidden_act", &self.hidden_act), f64::from(head_dim)),
        };
        Ok(Config {
            dim,
            hidden_dim: required("intermediate_size", self.intermediate_size)?,
            n_layers,
            n_heads,
            n_kv_heads: self.num_key_value_heads.unwrap_or(n_heads),
            head_dim,
            rope_dim: head_dim,
            vocab_size: self.vocab_size()?,
            seq_len: self.context(arch, n_layers)?,
            norm_eps: self.rms_norm_eps.unwrap_or(architecture.norm_eps) as f32,
            att_scale: (1.0 / scaled_by.sqrt()) as f32,
            rope_pairs: architecture.rope_pairs,
            activation: activation(architecture, function.0, function.1.as_deref())?,
            tied_head: architecture.tied_head,
            arch,
        })
    }

    fn refuse_what_changes_results(&self) -> Result<(), ImportError> {
        if let Some(quantisation) = &self.quantization_config {
            let method = quantisation.quant_method.as_deref().unwrap_or("unknown");
            return Err(ImportError::Unsupported {
                what: format!("weights quantised by {method:?} are"),
                hint: "safetensors of F32, F16 and BF16 can be read, and GGUF",
            });
        }
        if self.is_causal == Some(false) || self.use_bidirectional_attention == Some(true) {
            return Err(ImportError::Unsupported {
                what: "attention that is not causal is".into(),
                hint: "a decoder can be read",
            });
        }
        Ok(())
    }

    fn refuse_what_changes_decoders(&self, architecture: &Architecture) -> Result<(), ImportError> {
        // Qwen 2 has those of queries, keys and values whatever is said, and never others.
        let attention_bias = self.attention_bias.filter(|_| architecture.arch != Arch::Qwen2);
        for (name, value) in [("attention_bias", attention_bias), ("mlp_bias", self.mlp_bias)] {
            if value == Some(true) {
                return Err(beyond_plain(name, true));
            }
        }
        for (name, value) in [
            ("partial_rotary_factor", self.partial_rotary_factor()),
            ("attn_logit_softcapping", self.attn_logit_softcapping),
            ("final_logit_softcapping", self.final_logit_softcapping),
        ] {
            if let Some(value) = value {
                return Err(beyond_plain(name, value));
            }
        }
        Ok(())
    }
}

/// The function of this name in the field `field`.
pub(super) fn activation(
    architecture: &Architecture,
    field: &str,
    function: Option<&str>,
) -> Result<Activation, ImportError> {
    let known = architecture.activations;
    let found = known.iter().find(|(name, _)| function.is_none_or(|function| function == *name));
    let (_, activation) = found.ok_or_else(|| ImportError::Unsupported {
        what: format!("{field} = {:?} is", function.unwrap_or_default()),
        hint: match known {
            [("silu", _), ..] => "silu is, in this architecture",
            [("gelu_new", _), ..] => "gelu_new is, in this architecture",
            _ => "gelu_pytorch_tanh is, in this architecture",
        },
    })?;
    Ok(*activation)
}

/// A field of this value makes the model compute more than its architecture does.
pub(super) fn beyond_plain(field: &str, value: impl Display) -> ImportError {
    ImportError::Unsupported {
        what: format!("{field} = {value} is"),
        hint: "a plain model of this architecture does without",
    }
}

pub(super) fn required<T>(name: &'static str, value: Option<T>) -> Result<T, ImportError> {
    value.ok_or_else(|| ImportError::MissingKey { key: name.into() })
}
