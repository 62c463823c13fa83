//! From GGUF's keys and tensor names to the engine's.

use std::collections::BTreeMap;

use pipsqueak::{
    config::{Activation, Config, RopePairs},
    tensor::TensorKind,
};

use super::{
    metadata::Metadata,
    reader::{Container, TensorInfo},
    vocab,
};
use crate::{
    import::{
        ImportError, check_vocab_size,
        dequantize::f32_at,
        shape::{self, bad},
    },
    source::{Encoding, RopeScaling, RowOrder, Source, SourceTensor},
};

/// Divisors of the RoPE frequencies.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The name of a whole-model tensor, or what follows `blk.N.` in the name of a layer's.
const fn suffix(kind: TensorKind) -> &'static str {
    match kind {
        TensorKind::TokenEmbedding => "token_embd.weight",
        TensorKind::OutputHead => "output.weight",
        TensorKind::RmsFinal => "output_norm.weight",
        TensorKind::RmsAtt => "attn_norm.weight",
        TensorKind::Wq => "attn_q.weight",
        TensorKind::Wk => "attn_k.weight",
        TensorKind::Wv => "attn_v.weight",
        TensorKind::Wo => "attn_output.weight",
        TensorKind::RmsFfn => "ffn_norm.weight",
        TensorKind::W1 => "ffn_gate.weight",
        TensorKind::W2 => "ffn_down.weight",
        TensorKind::W3 => "ffn_up.weight",
    }
}

/// The full name.
fn tensor_name(kind: TensorKind, layer: u32) -> String {
    if kind.per_layer() { format!("blk.{layer}.{}", suffix(kind)) } else { suffix(kind).into() }
}

/// What the tensor of this name is for.
fn role(name: &str) -> Option<(u32, TensorKind)> {
    let (layer, rest) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => (Some(layer.parse().ok()?), rest),
        None => (None, name),
    };
    let kind = TensorKind::ALL.into_iter().find(|kind| kind.per_layer() == layer.is_some() && suffix(*kind) == rest)?;
    let layer = layer.unwrap_or(0);
    // "blk.007." and "blk.+7." parse as numbers, but no converter writes them.
    (tensor_name(kind, layer) == name).then_some((layer, kind))
}

pub(super) fn source<'a>(container: &Container<'a>) -> Result<Source<'a>, ImportError> {
    let keys = Keys::new(&container.metadata)?;
    keys.refuse_what_changes_results()?;

    let mut infos = BTreeMap::new();
    let mut rope_factors_info = None;
    for info in &container.tensors {
        if info.name == ROPE_FACTORS {
            rope_factors_info = Some(info);
        } else {
            let role = role(info.name).ok_or_else(|| ImportError::UnexpectedTensor { tensor: info.name.into() })?;
            infos.insert(role, info);
        }
    }
    let embedding =
        infos.get(&(0, TensorKind::TokenEmbedding)).ok_or_else(|| missing(TensorKind::TokenEmbedding, 0))?;
    let tied_head = !infos.contains_key(&(0, TensorKind::OutputHead));
    let config = keys.config(embedding.rows, tied_head)?;

    let mut tensors = Vec::new();
    let mut take = |kind: TensorKind, layer: u32| -> Result<(), ImportError> {
        let info = infos.remove(&(layer, kind)).ok_or_else(|| missing(kind, layer))?;
        tensors.push(tensor(container, info, &config, kind, layer)?);
        Ok(())
    };
    for (kind, layer) in config.tensors() {
        take(kind, layer)?;
    }
    if let Some(((layer, kind), _)) = infos.first_key_value() {
        return Err(ImportError::UnexpectedTensor { tensor: tensor_name(*kind, *layer) });
    }

    let (rope_scaling, rope_factors) = match rope_factors_info {
        Some(info) => (RopeScaling::Factors, rope_factors(container, info, &config, keys.rope_scaling()?)?),
        None => (keys.rope_scaling()?, Vec::new()),
    };
    // Weights can be used without a vocabulary: token ids in, logits out.
    let (vocab, vocab_left_out) = match vocab::read(&container.metadata) {
        Err(error @ ImportError::Tokenizer { .. }) => (None, Some(error.to_string())),
        read => (read?, None),
    };
    if let Some(vocab) = &vocab {
        check_vocab_size(vocab, config.vocab_size)?;
    }
    let note = |key: &str| container.metadata.note(key);
    Ok(Source {
        config,
        rope_base: keys.rope_base()?,
        rope_scaling,
        rope_factors,
        tensors,
        vocab,
        name: note("general.name").into(),
        licence: note("general.license").into(),
        origin: ["general.author", "general.organization", "general.url", "general.source.url"]
            .map(note)
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", "),
        chat_template: container.metadata.str("tokenizer.chat_template")?.map(String::from),
        vocab_left_out,
    })
}

fn missing(kind: TensorKind, layer: u32) -> ImportError {
    ImportError::MissingTensor { tensor: tensor_name(kind, layer) }
}

fn tensor<'a>(
    container: &Container<'a>,
    info: &TensorInfo<'a>,
    config: &Config,
    kind: TensorKind,
    layer: u32,
) -> Result<SourceTensor<'a>, ImportError> {
    let (rows, cols) = config.shape(kind);
    check_shape(info, rows.into(), cols.into())?;
    let (encoding, data) = container.data(info)?;
    // `data` exists, and rows and columns are at least one, so both fit in memory.
    let (rows, cols) = (rows as usize, cols as usize);
    Ok(SourceTensor { kind, layer, rows, cols, encoding, order: RowOrder::InPlace, data })
}

fn check_shape(info: &TensorInfo<'_>, rows: u64, cols: u64) -> Result<(), ImportError> {
    if info.shape.len() <= 2 && (info.rows, info.cols) == (rows, cols) {
        return Ok(());
    }
    Err(ImportError::Shape { tensor: info.name.into(), found: info.shape.clone(), rows, cols })
}

/// The divisors of `rope_freqs.weight`; there can be no other scaling beside them.
fn rope_factors(
    container: &Container<'_>,
    info: &TensorInfo<'_>,
    config: &Config,
    scaling: RopeScaling,
) -> Result<Vec<f32>, ImportError> {
    if scaling != RopeScaling::None {
        return Err(ImportError::Unsupported {
            what: format!("rope.scaling.factor together with tensor {ROPE_FACTORS:?} is"),
            hint: "a model with one of the two can be read",
        });
    }
    check_shape(info, 1, u64::from(config.rope_dim / 2))?;
    let (encoding, data) = container.data(info)?;
    if encoding != Encoding::F32 {
        let found = encoding.name().into();
        return Err(ImportError::BadValue { what: format!("the type of {ROPE_FACTORS}"), found, want: "F32".into() });
    }
    let factors: Vec<f32> = data.chunks_exact(4).map(f32_at).collect();
    match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
        Some(factor) => Err(bad(&format!("a factor in {ROPE_FACTORS}"), factor, "finite and above 0".into())),
        None => Ok(factors),
    }
}

/// The keys of one architecture.
struct Keys<'m, 'a> {
    metadata: &'m Metadata<'a>,
    arch: &'a str,
}

impl<'m, 'a> Keys<'m, 'a> {
    fn new(metadata: &'m Metadata<'a>) -> Result<Self, ImportError> {
        let key = "general.architecture";
        let arch = metadata.str(key)?.ok_or_else(|| ImportError::MissingKey { key: key.into() })?;
        if arch != "llama" {
            return Err(ImportError::Architecture { found: arch.into() });
        }
        Ok(Self { metadata, arch })
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
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
    fn refuse_what_changes_results(&self) -> Result<(), ImportError> {
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
                hint: "a dense llama model can be read",
            });
        }
        for name in ["attention.scale", "attention.clamp_kqv", "logit_scale", "residual_scale", "embedding_scale"] {
            if let Some(value) = self.f64(name)?
                && value != 0.0
            {
                return Err(ImportError::Unsupported {
                    what: format!("{} = {value} is", self.key(name)),
                    hint: "a plain llama model does without",
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

    fn config(&self, embedding_rows: u64, tied_head: bool) -> Result<Config, ImportError> {
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
        let eps_key = "attention.layer_norm_rms_epsilon";
        let norm_eps = self.required(eps_key, self.f64(eps_key)?)? as f32;
        // Within the window, full attention is what the model does.
        let window = self.u32("attention.sliding_window")?.filter(|window| *window > 0).unwrap_or(u32::MAX);
        let config = Config {
            dim,
            hidden_dim,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            rope_dim: self.u32("rope.dimension_count")?.unwrap_or(head_dim),
            vocab_size,
            seq_len: context.min(window),
            norm_eps,
            att_scale: (1.0 / f64::from(head_dim).sqrt()) as f32,
            rope_pairs: RopePairs::Interleaved,
            activation: Activation::Silu,
            tied_head,
        };
        shape::check(&config)?;
        Ok(config)
    }

    fn rope_base(&self) -> Result<f64, ImportError> {
        let base = self.f64("rope.freq_base")?.unwrap_or(10000.0);
        if base.is_finite() && base >= 1.0 {
            Ok(base)
        } else {
            Err(bad(&self.key("rope.freq_base"), base, "finite and at least 1".into()))
        }
    }

    /// As llama.cpp reads them: a factor without a type is linear, a factor of 0 or 1 is none. `rope.scale_linear` is
    /// the factor's older name.
    fn rope_scaling(&self) -> Result<RopeScaling, ImportError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_role() {
        for kind in TensorKind::ALL {
            let layer = if kind.per_layer() { 17 } else { 0 };
            assert_eq!(role(&tensor_name(kind, layer)), Some((layer, kind)));
        }
    }

    #[test]
    fn other_names_have_none() {
        for name in [
            "",
            "blk.",
            "blk.0.",
            "blk.0.attn_q.bias",
            "blk.01.attn_q.weight",
            "blk.+1.attn_q.weight",
            "blk.-1.attn_q.weight",
            "blk.4294967296.attn_q.weight",
            "blk.0.token_embd.weight",
            "attn_q.weight",
            "output.bias",
        ] {
            assert_eq!(role(name), None, "{name}");
        }
    }
}
