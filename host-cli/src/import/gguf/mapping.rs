//! From GGUF's keys and tensor names to the engine's.

use std::collections::BTreeMap;

use pipsqueak::{
    config::{Arch, Config},
    tensor::TensorKind,
};

use super::{
    keys::Keys,
    reader::{Container, TensorInfo},
    vocab,
};
use crate::{
    import::{ImportError, check_vocab_size, dequantize::f32_at, shape::bad},
    source::{Encoding, RopeScaling, RowOrder, Source, SourceTensor},
};

/// Divisors of the RoPE frequencies.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// What follows `blk.N.` in the names of queries, keys and values in one tensor.
const FUSED: [(&str, [TensorKind; 3]); 2] = [
    ("attn_qkv.weight", [TensorKind::Wq, TensorKind::Wk, TensorKind::Wv]),
    ("attn_qkv.bias", [TensorKind::Bq, TensorKind::Bk, TensorKind::Bv]),
];

/// The name of a whole-model tensor, or what follows `blk.N.` in the name of a layer's.
const fn suffix(arch: Arch, kind: TensorKind) -> &'static str {
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
        TensorKind::W1 if !arch.has_gate() => "ffn_up.weight",
        TensorKind::W1 => "ffn_gate.weight",
        TensorKind::W2 => "ffn_down.weight",
        TensorKind::W3 => "ffn_up.weight",
    }
}

/// The full name.
fn tensor_name(arch: Arch, kind: TensorKind, layer: u32) -> String {
    let suffix = suffix(arch, kind);
    if kind.per_layer() { format!("blk.{layer}.{suffix}") } else { suffix.into() }
}

/// What the tensor of this name is for, in the order of its rows: one role, or three.
fn roles(arch: Arch, name: &str) -> Option<(u32, Vec<TensorKind>)> {
    let (layer, rest) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => (Some(layer.parse().ok()?), rest),
        None => (None, name),
    };
    let fused = FUSED.into_iter().find(|(suffix, _)| layer.is_some() && *suffix == rest);
    let kinds = match fused {
        Some((_, kinds)) => kinds.to_vec(),
        None => {
            let of = |kind: &TensorKind| kind.per_layer() == layer.is_some() && suffix(arch, *kind) == rest;
            let known = TensorKind::ALL.into_iter().filter(|kind| arch.has_gate() || *kind != TensorKind::W3);
            known.into_iter().filter(of).collect()
        }
    };
    let layer = layer.unwrap_or(0);
    // "blk.007." and "blk.+7." parse as numbers, but no converter writes them.
    let exact = name.strip_suffix(rest).is_some_and(|start| start.is_empty() || start == format!("blk.{layer}."));
    (exact && !kinds.is_empty()).then_some((layer, kinds))
}

/// A tensor of the engine's: one of the file, or the rows of one that are its own.
struct Piece<'i, 'a> {
    info: &'i TensorInfo<'a>,
    /// All the roles that the file's tensor has.
    kinds: Vec<TensorKind>,
}

pub(super) fn source<'a>(container: &Container<'a>) -> Result<Source<'a>, ImportError> {
    let keys = Keys::new(&container.metadata)?;
    keys.refuse_what_changes_results()?;

    let mut pieces = BTreeMap::new();
    let mut rope_factors_info = None;
    for info in &container.tensors {
        if info.name == ROPE_FACTORS {
            rope_factors_info = Some(info);
            continue;
        }
        let unexpected = || ImportError::UnexpectedTensor { tensor: info.name.into() };
        let (layer, kinds) = roles(keys.arch, info.name).ok_or_else(unexpected)?;
        for kind in &kinds {
            // A part that stands for itself too.
            if pieces.insert((layer, *kind), Piece { info, kinds: kinds.clone() }).is_some() {
                return Err(unexpected());
            }
        }
    }
    let missing = |kind, layer| ImportError::MissingTensor { tensor: tensor_name(keys.arch, kind, layer) };
    let embedding = pieces.get(&(0, TensorKind::TokenEmbedding));
    let embedding = embedding.ok_or_else(|| missing(TensorKind::TokenEmbedding, 0))?;
    let tied_head = !pieces.contains_key(&(0, TensorKind::OutputHead));
    let config = keys.config(embedding.info.rows, tied_head)?;

    let mut tensors = Vec::new();
    for (kind, layer) in config.tensors() {
        let piece = pieces.remove(&(layer, kind)).ok_or_else(|| missing(kind, layer))?;
        tensors.push(tensor(container, &piece, &config, kind, layer)?);
    }
    if let Some((_, piece)) = pieces.first_key_value() {
        return Err(ImportError::UnexpectedTensor { tensor: piece.info.name.into() });
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
    let (rope_base, rope_base_local) = keys.rope_bases()?;
    Ok(Source {
        config,
        rope_base,
        rope_base_local,
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

fn tensor<'a>(
    container: &Container<'a>,
    piece: &Piece<'_, 'a>,
    config: &Config,
    kind: TensorKind,
    layer: u32,
) -> Result<SourceTensor<'a>, ImportError> {
    let info = piece.info;
    let (rows, cols) = config.shape(kind);
    // Of the file's tensor: how much there is of each role, along the rows, or along a vector.
    let along = |kind: TensorKind| {
        let (rows, cols) = config.shape(kind);
        u64::from(if kind.is_vector() { cols } else { rows })
    };
    let all: u64 = piece.kinds.iter().map(|kind| along(*kind)).sum();
    let (all_rows, all_cols) = if kind.is_vector() { (1, all) } else { (all, cols.into()) };
    check_shape(info, all_rows, all_cols)?;
    let (encoding, data) = container.data(info)?;
    // `data` exists, and rows and columns are at least one, so they and their sums fit in memory.
    let (rows, cols) = (rows as usize, cols as usize);
    if piece.kinds.len() == 1 {
        return Ok(SourceTensor { kind, layer, rows, cols, encoding, order: RowOrder::InPlace, shift: 0.0, data });
    }
    let before: u64 = piece.kinds.iter().take_while(|other| **other != kind).map(|kind| along(*kind)).sum();
    let (all, before, own) = (all as usize, before as usize, along(kind) as usize);
    let each = data.len() / all;
    if each * all != data.len() {
        let what = format!("the type of {}", info.name);
        return Err(ImportError::BadValue {
            what,
            found: format!("{encoding:?}"),
            want: "one of single values".into(),
        });
    }
    let data = data.get(before * each..(before + own) * each).unwrap_or_default();
    Ok(SourceTensor { kind, layer, rows, cols, encoding, order: RowOrder::InPlace, shift: 0.0, data })
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

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHS: [Arch; 3] = [Arch::Llama, Arch::Gemma3 { window: 8, global_every: 6 }, Arch::Gpt2];

    #[test]
    fn every_name_has_its_role() {
        for arch in ARCHS {
            for kind in TensorKind::ALL {
                if kind == TensorKind::W3 && !arch.has_gate() {
                    continue;
                }
                let layer = if kind.per_layer() { 17 } else { 0 };
                assert_eq!(roles(arch, &tensor_name(arch, kind, layer)), Some((layer, vec![kind])));
            }
            for (suffix, kinds) in FUSED {
                assert_eq!(roles(arch, &format!("blk.3.{suffix}")), Some((3, kinds.to_vec())));
            }
        }
    }

    #[test]
    fn other_names_have_none() {
        for name in [
            "",
            "blk.",
            "blk.0.",
            "blk.0.attn_q.biases",
            "blk.01.attn_q.weight",
            "blk.+1.attn_q.weight",
            "blk.-1.attn_q.weight",
            "blk.01.attn_qkv.weight",
            "blk.4294967296.attn_q.weight",
            "blk.0.token_embd.weight",
            "attn_q.weight",
            "attn_qkv.weight",
            "output.bias",
        ] {
            for arch in ARCHS {
                assert_eq!(roles(arch, name), None, "{name}");
            }
        }
        assert_eq!(roles(Arch::Gpt2, "blk.0.ffn_gate.weight"), None);
    }
}
