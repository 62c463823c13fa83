//! From weights in training to a packed image.

use pipsqueak::{
    image::{Entry, Text},
    kernels::{Format, Kernels, Panel},
    tensor::TensorKind,
};

use super::weights::{Group, Rounding, Weights};
use crate::{
    pack::{ModelParts, PackError, PackOptions, Packed, PartData, PartTensor, Quant, pack, put_text},
    source::{Encoding, SourceTensor},
};

/// What an image says besides its weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The vocabulary's section.
    pub vocab: Vec<u8>,
    /// RoPE's turns a position times 2^32.
    pub turns: Vec<u32>,
    /// The model's name; empty for none.
    pub name: String,
    /// Its licence; empty for none.
    pub licence: String,
    /// Where it came from; empty for none.
    pub origin: String,
}

/// Packs weights as `rounding` says. `golden`: compute the golden vector with this kernel set.
pub fn export(
    weights: &Weights,
    rounding: Rounding,
    labels: &Labels,
    panel: &(dyn Fn(Format) -> Panel + Sync),
    golden: Option<&dyn Kernels>,
    threads: usize,
) -> Result<Packed, PackError> {
    // Rounded here, by the very function that training looks through; the packer finds values that its formats hold.
    let rounded = |group: &Group| Group { values: rounding.round(group), ..group.clone() };
    let rounded = Weights { config: weights.config, groups: weights.groups.iter().map(rounded).collect() };
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let data: Vec<(TensorKind, u32, Vec<u8>)> =
        rounded.tensors().map(|(kind, layer, values)| (kind, layer, bytes(values))).collect();
    let mut tensors = Vec::with_capacity(data.len());
    for (kind, layer, data) in &data {
        let (kind, layer) = (*kind, *layer);
        let (rows, cols) = weights.config.shape(kind);
        let (rows, cols) = (rows as usize, cols as usize);
        let source = SourceTensor { kind, layer, rows, cols, encoding: Encoding::F32, data };
        tensors.push(PartTensor { kind, layer, rows, cols, data: PartData::Foreign(source) });
    }
    tensors.sort_by_key(|tensor| Entry::key(tensor.kind, tensor.layer));
    let mut text = Vec::new();
    for (tag, content) in [(Text::Name, &labels.name), (Text::Licence, &labels.licence), (Text::Origin, &labels.origin)]
    {
        put_text(&mut text, tag, content);
    }
    let parts = ModelParts {
        config: weights.config,
        rope: labels.turns.clone(),
        vocab: labels.vocab.clone(),
        text,
        golden: Vec::new(),
        vocab_left_out: None,
        tensors,
    };
    let options = PackOptions {
        quant: Quant::To(rounding.layers),
        head: Quant::To(rounding.head),
        golden,
        ..PackOptions::keep(panel, threads)
    };
    pack(&parts, &options)
}
