//! The keys of a model's architecture, as the engine's shape.

use pipsqueak::config::{Activation, Arch, Config, RopePairs};

use super::metadata::Metadata;
use crate::{
    import::{
        ImportError,
        shape::{self, bad},
    },
    source::RopeScaling,
};

/// The keys of one architecture.
pub(super) struct Keys<'m, 'a> {
    metadata: &'m Metadata<'a>,
    /// What keys begin with.
    prefix: &'a str,
    pub(super) arch: Arch,
}

impl<'m, 'a> Keys<'m, 'a> {
    pub(super) fn new(metadata: &'m Metadata<'a>) -> Result<Self, ImportError> {
        let key = "general.architecture";
        let prefix = metadata.str(key)?.ok_or_else(|| ImportError::MissingKey { key: key.into() })?;
        let arch = match prefix {
            "llama" => Arch::Llama,
            "qwen2" => Arch::Qwen2,
            "qwen3" => Arch::Qwen3,
            // Its numbers are read below.
            "gemma3" => Arch::Gemma3 { window: 0, global_every: 0 },
            "gpt2" => Arch::Gpt2,
            _ => return Err(ImportError::Architecture { found: prefix.into() }),
        };
        let mut keys = Self { metadata, prefix, arch };
        if let Arch::Gemma3 { window, global_every } = &mut keys.arch {
            let found = Self { metadata, prefix, arch }.windows()?;
            (*window, *global_every) = found;
        }
        Ok(keys)
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn u32(&self, name: &str) -> Result<Option<u32>, ImportError> {
        self.metadata.u32(&self.key(name))
    }

    fn f64(&self, name: &str) -> Result<Option<f64>, ImportError> {
        self.metadata.f64(&self.key(name))
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ImportError> {
        value.ok_or_else(|| ImportError::MissingKey { key: self.key(name) })
    }

    /// Keys that would make the model compute something else than this engine does.
    pub(super) fn refuse_what_changes_results(&self) -> Result<(), ImportError> {
        if let Some(parts) = self.metadata.u32("split.count")?
            && parts > 1
        {
            return Err(ImportError::Unsupported {
                what: format!("a model split into {parts} files is"),
                hint: "merge them into one file first (gguf-split --merge)",
            });
        }
        if let Some(experts) = self.u32("expert_count")?
            && experts > 0
        {
            return Err(ImportError::Unsupported {
                what: format!("a mixture of {experts} experts is"),
                hint: "a dense model can be read",
            });
        }
        for name in [
            "attention.scale",
            "attention.clamp_kqv",
            "logit_scale",
            "residual_scale",
            "embedding_scale",
            "attn_logit_softcapping",
            "final_logit_softcapping",
        ] {
            if let Some(value) = self.f64(name)?
                && value != 0.0
            {
                return Err(ImportError::Unsupported {
                    what: format!("{} = {value} is", self.key(name)),
                    hint: "a plain model of this architecture does without",
                });
            }
        }
        if self.metadata.bool(&self.key("attention.causal"))? == Some(false) {
            return Err(ImportError::Unsupported {
                what: "attention that is not causal is".into(),
                hint: "a decoder can be read",
            });
        }
        Ok(())
    }

    pub(super) fn config(&self, embedding_rows: u64, tied_head: bool) -> Result<Config, ImportError> {
        let one = |name: &str| self.required(name, self.metadata.u32_or_equal_array(&self.key(name))?);
        let dim = one("embedding_length")?;
        let n_layers = one("block_count")?;
        let hidden_dim = one("feed_forward_length")?;
        let n_heads = one("attention.head_count")?;
        let context = one("context_length")?;
        let n_kv_heads = self.metadata.u32_or_equal_array(&self.key("attention.head_count_kv"))?.unwrap_or(n_heads);
        let vocab_size = u32::try_from(embedding_rows)
            .map_err(|_| bad("the number of rows of token_embd.weight", embedding_rows, "at most 2^24".into()))?;

        let head_dim = match self.u32("attention.key_length")? {
            Some(key_length) => key_length,
            None if n_heads == 0 || dim % n_heads != 0 => {
                let want = format!("a multiple of the {n_heads} heads, or {} given", self.key("attention.key_length"));
                return Err(bad(&self.key("embedding_length"), dim, want));
            }
            None => dim / n_heads,
        };
        if let Some(value_length) = self.u32("attention.value_length")?
            && value_length != head_dim
        {
            return Err(bad(&self.key("attention.value_length"), value_length, format!("the head size, {head_dim}")));
        }
        let eps_key = match self.arch {
            Arch::Gpt2 => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        };
        let norm_eps = self.required(eps_key, self.f64(eps_key)?)? as f32;
        // Within the window, full attention is what the model does.
        let window = match self.arch {
            Arch::Gemma3 { .. } => None,
            _ => self.u32("attention.sliding_window")?.filter(|window| *window > 0),
        };
        let (rope_pairs, rope_dim) = match self.arch {
            Arch::Llama => (RopePairs::Interleaved, self.u32("rope.dimension_count")?.unwrap_or(head_dim)),
            Arch::Gpt2 => (RopePairs::None, 0),
            _ => (RopePairs::HalfSplit, self.u32("rope.dimension_count")?.unwrap_or(head_dim)),
        };
        let scaled_by = match self.arch {
            // Gemma 3 27B, which is known by its layers, scales by the width of its heads as if they made up the stream.
            Arch::Gemma3 { .. } if n_layers == 62 => dim / n_heads,
            _ => head_dim,
        };
        let config = Config {
            dim,
            hidden_dim,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            rope_dim,
            vocab_size,
            seq_len: context.min(window.unwrap_or(u32::MAX)),
            norm_eps,
            att_scale: (1.0 / f64::from(scaled_by).sqrt()) as f32,
            rope_pairs,
            activation: match self.arch {
                Arch::Gemma3 { .. } | Arch::Gpt2 => Activation::Gelu,
                _ => Activation::Silu,
            },
            tied_head,
            arch: self.arch,
        };
        shape::check(&config)?;
        Ok(config)
    }

    /// Gemma 3's window in positions, and of how many layers the last has none. As llama.cpp reads them: no window is no
    /// window anywhere; the pattern may be a number or a flag a layer, and is 6 where it is missing.
    fn windows(&self) -> Result<(u32, u32), ImportError> {
        let window = self.u32("attention.sliding_window")?.unwrap_or(0);
        let name = "attention.sliding_window_pattern";
        let Some(slides) = self.metadata.flags(&self.key(name))? else {
            return Ok((window, self.u32(name)?.unwrap_or(6)));
        };
        let layers = self.metadata.u32_or_equal_array(&self.key("block_count"))?;
        match shape::window_period(&slides) {
            Some(every) if layers == u32::try_from(slides.len()).ok() => Ok((window, every)),
            _ => Err(ImportError::Unsupported {
                what: format!("{} without a period, or not of a flag a layer, is", self.key(name)),
                hint: "windows in all layers but every n-th can be read",
            }),
        }
    }

    /// RoPE's base, and that in layers with a sliding window.
    pub(super) fn rope_bases(&self) -> Result<(f64, f64), ImportError> {
        let base = |name: &str| {
            let base = self.f64(name)?.unwrap_or(10000.0);
            if base.is_finite() && base >= 1.0 {
                Ok(base)
            } else {
                Err(bad(&self.key(name), base, "finite and at least 1".into()))
            }
        };
        Ok((base("rope.freq_base")?, base("rope.freq_base_swa")?))
    }

    /// As llama.cpp reads them: a factor without a type is linear, a factor of 0 or 1 is none. `rope.scale_linear` is
    /// the factor's older name.
    pub(super) fn rope_scaling(&self) -> Result<RopeScaling, ImportError> {
        let key = self.key("rope.scaling.type");
        let kind = self.metadata.str(&key)?.unwrap_or("linear");
        if !matches!(kind, "none" | "linear") {
            return Err(ImportError::Unsupported {
                what: format!("{key} = {kind:?} is"),
                hint: "none, linear and per-frequency factors (rope_freqs.weight) can be read",
            });
        }
        if let Some(factor) = self.f64("rope.scaling.attn_factor")?
            && factor != 1.0
        {
            return Err(ImportError::Unsupported {
                what: format!("{} = {factor} is", self.key("rope.scaling.attn_factor")),
                hint: "only 1 can be read",
            });
        }
        let factor = match self.f64("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.f64("rope.scale_linear")?.unwrap_or(1.0),
        };
        if !(factor.is_finite() && factor >= 0.0) {
            return Err(bad(&self.key("rope.scaling.factor"), factor, "finite and not negative".into()));
        }
        if kind == "none" || factor == 0.0 || factor == 1.0 {
            Ok(RopeScaling::None)
        } else {
            Ok(RopeScaling::Linear { factor })
        }
    }
}
