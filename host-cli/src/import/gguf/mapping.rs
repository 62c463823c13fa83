//! From GGUF's keys and tensor names to the engine's.

use std::collections::BTreeMap;

use pipsqueak::{
    config::{Activation, Arch, Config, RopePairs},
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
    source::{Encoding, RopeScaling, Source, SourceTensor},
};

/// Divisors of the RoPE frequencies.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The name of a whole-model tensor, or what follows `blk.N.` in the name of a layer's.
const fn suffix(kind: TensorKind) -> &'static str {
    match kind {
        TensorKind::PositionEmbedding => "position_embd.weight",
        TensorKind::BiasFinal => "output_norm.bias",
        TensorKind::BiasAtt => "attn_norm.bias",
        TensorKind::Bq => "attn_q.bias",
        TensorKind::Bk => "attn_k.bias",
        TensorKind::Bv => "attn_v.bias",
        TensorKind::Bo => "attn_output.bias",
        TensorKind::RmsQ => "attn_q_norm.weight",
        TensorKind::RmsK => "attn_k_norm.weight",
        TensorKind::RmsPostAtt => "post_attention_norm.weight",
        TensorKind::BiasFfn => "ffn_norm.bias",
        TensorKind::B1 => "ffn_up.bias",
        TensorKind::B2 => "ffn_down.bias",
        TensorKind::RmsPostFfn => "post_ffw_norm.weight",
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
    Ok(SourceTensor { kind, layer, rows: rows as usize, cols: cols as usize, encoding, data })
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
        let found = format!("{encoding:?}");
        return Err(ImportError::BadValue { what: format!("the type of {ROPE_FACTORS}"), found, want: "F32".into() });
    }
    let factors: Vec<f32> = data.chunks_exact(4).map(f32_at).collect();
    match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
        Some(factor) => Err(bad(&format!("a factor in {ROPE_FACTORS}"), factor, "finite and above 0".into())),
        None => Ok(factors),
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
