//! `config.json`: the shape, and what would make the model compute something else than this engine does.

use pipsqueak::config::{Arch, Config};
use serde::Deserialize;

use super::{architecture::Architecture, json};
use crate::{
    import::{
        ImportError,
        shape::{self, bad},
    },
    source::RopeScaling,
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
    max_position_embeddings: Option<u32>,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    sliding_window: Option<u32>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    partial_rotary_factor: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawScaling>,
    /// What newer files have in place of the two above.
    rope_parameters: Option<RawScaling>,
    quantization_config: Option<RawQuantisation>,
    #[serde(default)]
    pub(super) bos_token_id: Ids,
    #[serde(default)]
    pub(super) eos_token_id: Ids,
}

#[derive(Debug, Deserialize)]
struct RawScaling {
    rope_type: Option<String>,
    /// The older name of `rope_type`.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
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

    pub(super) fn config(&self, architecture: &Architecture) -> Result<Config, ImportError> {
        self.refuse_what_changes_results()?;
        let dim = required("hidden_size", self.hidden_size)?;
        let n_heads = required("num_attention_heads", self.num_attention_heads)?;
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if n_heads == 0 || !dim.is_multiple_of(n_heads) => {
                return Err(bad("hidden_size", dim, format!("a multiple of the {n_heads} heads, or head_dim given")));
            }
            None => dim / n_heads,
        };
        let function = self.hidden_act.as_deref().unwrap_or("silu");
        let found = architecture.activations.iter().find(|(name, _)| *name == function);
        let (_, activation) = found.ok_or_else(|| ImportError::Unsupported {
            what: format!("hidden_act = {function:?} is"),
            hint: "silu is, in this architecture",
        })?;
        let context = required("max_position_embeddings", self.max_position_embeddings)?;
        // Within the window, full attention is what the model does.
        let window = self.sliding_window.filter(|window| *window > 0).unwrap_or(u32::MAX);
        let config = Config {
            dim,
            hidden_dim: required("intermediate_size", self.intermediate_size)?,
            n_layers: required("num_hidden_layers", self.num_hidden_layers)?,
            n_heads,
            n_kv_heads: self.num_key_value_heads.unwrap_or(n_heads),
            head_dim,
            rope_dim: head_dim,
            vocab_size: self.vocab_size()?,
            seq_len: context.min(window),
            norm_eps: self.rms_norm_eps.unwrap_or(architecture.norm_eps) as f32,
            att_scale: (1.0 / f64::from(head_dim).sqrt()) as f32,
            rope_pairs: architecture.rope_pairs,
            activation: *activation,
            tied_head: self.tie_word_embeddings.unwrap_or(false),
            arch: Arch::Llama,
        };
        shape::check(&config)?;
        Ok(config)
    }

    fn refuse_what_changes_results(&self) -> Result<(), ImportError> {
        if let Some(quantisation) = &self.quantization_config {
            let method = quantisation.quant_method.as_deref().unwrap_or("unknown");
            return Err(ImportError::Unsupported {
                what: format!("weights quantised by {method:?} are"),
                hint: "safetensors of F32, F16 and BF16 can be read, and GGUF",
            });
        }
        for (name, value) in [("attention_bias", self.attention_bias), ("mlp_bias", self.mlp_bias)] {
            if value == Some(true) {
                return Err(ImportError::Unsupported {
                    what: format!("{name} = true is"),
                    hint: "a plain llama model does without",
                });
            }
        }
        match self.partial_rotary_factor {
            Some(part) if part != 1.0 => Err(ImportError::Unsupported {
                what: format!("partial_rotary_factor = {part} is"),
                hint: "a plain llama model turns whole heads",
            }),
            _ => Ok(()),
        }
    }

    /// RoPE's base, and how it is stretched.
    pub(super) fn rope(&self) -> Result<(f64, RopeScaling), ImportError> {
        let parameters = self.rope_parameters.as_ref();
        let base = self.rope_theta.or_else(|| parameters?.rope_theta).unwrap_or(10000.0);
        if !(base.is_finite() && base >= 1.0) {
            return Err(bad("rope_theta", base, "finite and at least 1".into()));
        }
        let scaling = self.rope_scaling.as_ref().or(parameters).map_or(Ok(RopeScaling::None), RawScaling::read)?;
        Ok((base, scaling))
    }
}

impl RawScaling {
    fn read(&self) -> Result<RopeScaling, ImportError> {
        let number = |name: &'static str, value: Option<f64>, least: f64| match required(name, value)? {
            value if value.is_finite() && value >= least => Ok(value),
            value => Err(bad(name, value, format!("finite and at least {least}"))),
        };
        let kind = self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default");
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => {
                let factor = number("rope_scaling's factor", self.factor, 1.0)?;
                Ok(if factor == 1.0 { RopeScaling::None } else { RopeScaling::Linear { factor } })
            }
            "llama3" => {
                let low_freq_factor = number("rope_scaling's low_freq_factor", self.low_freq_factor, 1e-3)?;
                let high_freq_factor = number("rope_scaling's high_freq_factor", self.high_freq_factor, 1e-3)?;
                if high_freq_factor <= low_freq_factor {
                    let want = format!("above low_freq_factor, {low_freq_factor}");
                    return Err(bad("rope_scaling's high_freq_factor", high_freq_factor, want));
                }
                let original = self.original_max_position_embeddings;
                Ok(RopeScaling::Llama3 {
                    factor: number("rope_scaling's factor", self.factor, 1.0)?,
                    low_freq_factor,
                    high_freq_factor,
                    original_context: number("rope_scaling's original_max_position_embeddings", original, 1.0)?,
                })
            }
            other => Err(ImportError::Unsupported {
                what: format!("rope_scaling of type {other:?} is"),
                hint: "default, linear and llama3 can be read",
            }),
        }
    }
}

fn required<T>(name: &'static str, value: Option<T>) -> Result<T, ImportError> {
    value.ok_or_else(|| ImportError::MissingKey { key: name.into() })
}
