//! From weights in training to a packed image.

use pipsqueak::{
    Config, ImageError,
    image::{Entry, Text},
    kernels::{
        BLOCK, Format, Kernels, LayoutError, Matrix, MatrixMut, Panel,
        arena::{Line, bytes_of, bytes_of_mut},
        matrix_bytes,
    },
    tensor::TensorKind,
};

use super::{
    rounding::Rounding,
    weights::{Group, Weights},
};
use crate::{
    pack::{ModelParts, PackError, PackOptions, Packed, PartData, PartTensor, Quant, pack, put_text},
    source::{Encoding, RowOrder, SourceTensor},
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

/// A tensor ready to be packed.
struct Tensor {
    kind: TensorKind,
    layer: u32,
    rows: usize,
    cols: usize,
    format: Format,
    /// `f32`s, or a matrix of `format` in the canonical panel.
    data: Vec<Line>,
    len: usize,
}

impl Tensor {
    fn part(&self) -> Result<PartTensor<'_>, PackError> {
        let &Self { kind, layer, rows, cols, format, .. } = self;
        let bytes = &bytes_of(&self.data)[..self.len];
        let data = if format.is_quantised() {
            PartData::Image(Matrix::new(format, Panel::R1, rows, cols, bytes).map_err(|error| self.refused(error))?)
        } else {
            let (encoding, order) = (Encoding::F32, RowOrder::InPlace);
            PartData::Foreign(SourceTensor { kind, layer, rows, cols, encoding, order, shift: 0.0, data: bytes })
        };
        Ok(PartTensor { kind, layer, rows, cols, data })
    }

    fn refused(&self, error: LayoutError) -> PackError {
        PackError::Image(ImageError::Layout { kind: self.kind, layer: self.layer, error })
    }
}

/// A group's tensors: those that are rounded with the very codes and scales that training saw.
fn tensors(config: &Config, group: &Group, rounding: Rounding) -> Result<Vec<Tensor>, PackError> {
    let rounded = rounding.quantises(group);
    let format = if rounded { rounding.of(group) } else { Format::F32 };
    let mut blocks: Vec<_> = if rounded { rounding.blocks(group).collect() } else { Vec::new() };
    let mut blocks = blocks.drain(..);
    let mut values = group.values.as_slice();
    let mut out = Vec::with_capacity(group.kinds.len());
    for kind in group.kinds {
        let (rows, cols) = config.shape(*kind);
        let (rows, cols) = (rows as usize, cols as usize);
        let mut tensor = Tensor { kind: *kind, layer: group.layer, rows, cols, format, data: Vec::new(), len: 0 };
        let (own, rest) = values.split_at(rows * cols);
        values = rest;
        tensor.len = if rounded {
            matrix_bytes(format, Panel::R1, rows, cols)
                .ok_or_else(|| tensor.refused(LayoutError::TooLarge { rows, cols }))?
        } else {
            size_of_val(own)
        };
        tensor.data = vec![Line::ZERO; Line::count(tensor.len)];
        let bytes = &mut bytes_of_mut(&mut tensor.data)[..tensor.len];
        if rounded {
            let matrix = MatrixMut::new(format, Panel::R1, rows, cols, bytes);
            let mut matrix = matrix
                .map_err(|error| PackError::Image(ImageError::Layout { kind: *kind, layer: group.layer, error }))?;
            for (row, index) in (0..rows).flat_map(|row| (0..cols.div_ceil(BLOCK)).map(move |index| (row, index))) {
                let stored = blocks.next().is_some_and(|block| matrix.set_block(row, index, &block));
                debug_assert!(stored, "block {index} of row {row}");
            }
        } else {
            bytes.as_chunks_mut::<4>().0.iter_mut().zip(own).for_each(|(bytes, x)| *bytes = x.to_le_bytes());
        }
        out.push(tensor);
    }
    Ok(out)
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
    // Weights that never saw the rounding get the scales that lose least.
    let mut weights = weights.clone();
    rounding.begin(&mut weights);
    let data = weights.groups.iter().map(|group| tensors(&weights.config, group, rounding));
    let data = data.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>();
    let mut tensors = data.iter().map(Tensor::part).collect::<Result<Vec<_>, _>>()?;
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
        chat: Vec::new(),
        digest: 0,
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

#[cfg(test)]
mod tests {
    use pipsqueak::{
        Image,
        config::{Activation, Arch, RopePairs},
    };

    use super::*;
    use crate::{corpus, pack::plain_rope_turns, vocab};

    /// With scales that no search would find, and rows that end inside a block.
    #[test]
    fn the_image_holds_the_very_numbers_that_training_saw() {
        let text = ["once upon a time there was a cat. the cat sat.".to_string()];
        let vocab = vocab::build(&corpus::train_bpe(&text, 264).unwrap()).unwrap();
        let size = pipsqueak::Vocab::new(&vocab).unwrap().vocab_size();
        let config = Config {
            dim: 48,
            hidden_dim: 40,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 12,
            rope_dim: 12,
            vocab_size: size,
            seq_len: 16,
            norm_eps: 1e-5,
            att_scale: 0.25,
            rope_pairs: RopePairs::Interleaved,
            activation: Activation::Silu,
            tied_head: true,
            arch: Arch::Llama,
        };
        let labels = Labels { vocab, turns: plain_rope_turns(10_000.0, 12), ..Labels::default() };
        for format in [Format::Q8, Format::Q4, Format::Q4M, Format::F32] {
            for panel in Panel::ALL {
                let rounding = Rounding { layers: format, head: format };
                let mut weights = Weights::random(config, 5);
                rounding.begin(&mut weights);
                for (index, scale) in weights.groups.iter_mut().flat_map(|group| &mut group.scales).enumerate() {
                    *scale *= 0.8 + (index % 7) as f32 * 0.05;
                }
                let packed = export(&weights, rounding, &labels, &|_| panel, None, 1).unwrap();
                let image = Image::open(packed.bytes()).unwrap();
                for group in &weights.groups {
                    let seen = rounding.round(group);
                    let mut rows = seen.chunks_exact(group.cols);
                    for kind in group.kinds {
                        let matrix = image.matrix(*kind, group.layer).unwrap();
                        let mut row = vec![0.0; group.cols];
                        for index in 0..matrix.rows() {
                            assert!(matrix.row(index, &mut row));
                            assert_eq!(row, rows.next().unwrap(), "{format:?} {panel:?} {kind:?} row {index}");
                        }
                    }
                    assert!(rows.next().is_none());
                }
            }
        }
    }
}
