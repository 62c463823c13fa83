//! From the tensors of an architecture to the engine's.

use std::collections::{BTreeMap, HashSet};

use pipsqueak::{
    config::{Config, RopePairs},
    tensor::TensorKind,
};

use super::{
    Files, InFile,
    architecture::Architecture,
    config::Raw,
    names,
    rope::Rope,
    safetensors::{File, Index, View},
    tokenizer, within,
};
use crate::{
    import::ImportError,
    source::{RowOrder, Source, SourceTensor},
};

pub(super) fn source<'a>(files: &Files<'a>) -> Result<Source<'a>, InFile> {
    let in_config = within(names::CONFIG);
    let raw = Raw::parse(files.config).map_err(&in_config)?;
    let architecture = raw.architecture().map_err(&in_config)?;
    let config = raw.config(architecture, files.config).map_err(&in_config)?;
    let Rope { base: rope_base, base_local: rope_base_local, scaling: rope_scaling } =
        raw.rope(architecture).map_err(&in_config)?;
    let tensors = tensors(files, architecture, &config)?;
    // Weights can be used without a vocabulary: token ids in, logits out.
    let (vocab, vocab_left_out) = match tokenizer::read(files, &raw, config.vocab_size) {
        Err(InFile { error: error @ ImportError::Tokenizer { .. }, .. }) => (None, Some(error.to_string())),
        Ok(None) => (None, Some(format!("there is no vocabulary, as there is no {}", names::TOKENIZER))),
        read => (read?, None),
    };
    Ok(Source {
        config,
        rope_base,
        rope_base_local,
        rope_scaling,
        rope_factors: Vec::new(),
        tensors,
        vocab,
        name: files.name.into(),
        licence: String::new(),
        origin: String::new(),
        chat_template: tokenizer::chat_template(files)?,
        vocab_left_out,
    })
}

/// All tensors that the shape needs, from all files of weights.
fn tensors<'a>(
    files: &Files<'a>,
    architecture: &Architecture,
    config: &Config,
) -> Result<Vec<SourceTensor<'a>>, InFile> {
    let index = files.index.map(Index::parse).transpose().map_err(within(names::INDEX))?;
    let mut found = BTreeMap::new();
    let mut holds = HashSet::new();
    for (shard, bytes) in &files.weights {
        let in_shard = within(shard);
        let file = File::parse(bytes).map_err(&in_shard)?;
        for name in file.names() {
            if let Some(index) = &index
                && index.shard(&name) != Some(shard)
            {
                let elsewhere = index.shard(&name).map_or("nowhere".into(), |other| format!("in {other}"));
                let what = format!("the place of tensor {name:?}");
                let want = format!("in {shard}, where it is");
                return Err(InFile {
                    file: names::INDEX.into(),
                    error: ImportError::BadValue { what, found: elsewhere, want },
                });
            }
            holds.insert((name.clone(), *shard));
            if architecture.is_derived(&name) {
                continue;
            }
            let unexpected = || ImportError::UnexpectedTensor { tensor: name.clone() };
            let (layer, kinds) = architecture.roles(&name).ok_or_else(unexpected).map_err(&in_shard)?;
            // A tied head that is stored all the same is the embedding once more.
            if config.tied_head && kinds == [TensorKind::OutputHead] {
                continue;
            }
            let Some(view) = file.get(&name) else { continue };
            let own = outputs(&view, &name, (layer, &kinds), architecture, config).map_err(&in_shard)?;
            for tensor in own {
                if found.insert((layer, tensor.kind), tensor).is_some() {
                    return Err(in_shard(ImportError::Duplicate { what: "tensor", name }));
                }
            }
        }
    }
    for (tensor, shard) in index.iter().flat_map(Index::pairs) {
        if !holds.contains(&(tensor.to_string(), shard)) {
            let (tensor, shard) = (tensor.into(), shard.into());
            return Err(within(names::INDEX)(ImportError::NotInShard { tensor, shard }));
        }
    }
    let mut tensors = Vec::new();
    for (kind, layer) in config.tensors() {
        tensors.push(found.remove(&(layer, kind)).ok_or_else(|| {
            let tensor = architecture.tensor_name(kind, layer).unwrap_or_else(|| kind.name().into());
            let file = if index.is_some() { names::INDEX } else { names::WEIGHTS };
            within(file)(ImportError::MissingTensor { tensor })
        })?);
    }
    if let Some((layer, kind)) = found.into_keys().next() {
        let tensor = architecture.tensor_name(kind, layer).unwrap_or_else(|| kind.name().into());
        return Err(within(names::CONFIG)(ImportError::UnexpectedTensor { tensor }));
    }
    Ok(tensors)
}

/// The engine's tensors that one of the file's is: its outputs, shared out over its roles.
fn outputs<'a>(
    view: &View<'a>,
    name: &str,
    (layer, kinds): (u32, &[TensorKind]),
    architecture: &Architecture,
    config: &Config,
) -> Result<Vec<SourceTensor<'a>>, ImportError> {
    let encoding = view.encoding(name)?;
    let size = |kind: TensorKind| {
        let (rows, cols) = config.shape(kind);
        u64::from(if kind.is_vector() { cols } else { rows })
    };
    let all: u64 = kinds.iter().map(|kind| size(*kind)).sum();
    for kind in kinds {
        let inputs = u64::from(config.shape(*kind).1);
        let want = match kind {
            kind if kind.is_vector() => vec![all],
            kind if architecture.is_transposed(*kind) => vec![inputs, all],
            _ => vec![all, inputs],
        };
        if view.shape != want {
            let (rows, cols) = (if want.len() == 1 { 1 } else { want[0] }, want[want.len() - 1]);
            return Err(ImportError::Shape { tensor: name.into(), found: view.shape.clone(), rows, cols });
        }
    }
    // The file has so many bytes, so rows and columns and their sums fit in memory, and none is zero.
    let of = all as usize;
    let each = view.data.len() / of;
    let mut first = 0;
    let tensor = |kind: &TensorKind| {
        let (kind, (rows, cols)) = (*kind, config.shape(*kind));
        let own = first..first + size(kind) as usize;
        first = own.end;
        let (order, data) = if architecture.is_transposed(kind) {
            (RowOrder::Columns { first: own.start, of }, view.data)
        } else {
            (row_order(kind, config), &view.data[own.start * each..own.end * each])
        };
        let shift = if kind.is_norm() { architecture.norm_shift } else { 0.0 };
        SourceTensor { kind, layer, rows: rows as usize, cols: cols as usize, encoding, order, shift, data }
    };
    Ok(kinds.iter().map(tensor).collect())
}

fn row_order(kind: TensorKind, config: &Config) -> RowOrder {
    match config.rope_pairs {
        RopePairs::Interleaved if matches!(kind, TensorKind::Wq | TensorKind::Wk) => {
            RowOrder::HalvesOfHeads { head_dim: config.head_dim as usize }
        }
        _ => RowOrder::InPlace,
    }
}
