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
    safetensors::{File, Index},
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
    let config = raw.config(architecture).map_err(&in_config)?;
    let (rope_base, rope_scaling) = raw.rope().map_err(&in_config)?;
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
        // Of an architecture that has two bases, which is none of these.
        rope_base_local: rope_base,
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
            let role = architecture.role(&name);
            let unexpected = || ImportError::UnexpectedTensor { tensor: name.clone() };
            let role = role.ok_or_else(unexpected).map_err(&in_shard)?;
            // A tied head that is stored all the same is the embedding once more.
            if !(config.tied_head && role.1 == TensorKind::OutputHead)
                && let Some(tensor) = tensor(&file, &name, role, config).map_err(&in_shard)?
                && found.insert(role, tensor).is_some()
            {
                return Err(in_shard(ImportError::Duplicate { what: "tensor", name }));
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

fn tensor<'a>(
    file: &File<'a>,
    name: &str,
    (layer, kind): (u32, TensorKind),
    config: &Config,
) -> Result<Option<SourceTensor<'a>>, ImportError> {
    let Some(view) = file.get(name) else { return Ok(None) };
    let encoding = view.encoding(name)?;
    let (rows, cols) = config.shape(kind);
    let want = if kind.is_vector() { &[u64::from(cols)][..] } else { &[u64::from(rows), u64::from(cols)] };
    if view.shape != want {
        let tensor = name.into();
        return Err(ImportError::Shape { tensor, found: view.shape, rows: rows.into(), cols: cols.into() });
    }
    let turned = matches!(kind, TensorKind::Wq | TensorKind::Wk);
    let order = match config.rope_pairs {
        RopePairs::Interleaved if turned => RowOrder::HalvesOfHeads { head_dim: config.head_dim as usize },
        _ => RowOrder::InPlace,
    };
    // The file has so many bytes, so rows and columns fit in memory.
    let (rows, cols) = (rows as usize, cols as usize);
    Ok(Some(SourceTensor { kind, layer, rows, cols, encoding, order, data: view.data }))
}
