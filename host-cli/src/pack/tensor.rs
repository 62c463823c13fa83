//! One tensor from its source's values to the image's bytes.

use pipsqueak::{
    image::Entry,
    kernels::{
        BLOCK, Block, Format, Matrix, MatrixMut,
        float16::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16},
        quantise::{nearest, search},
    },
};

use super::{
    PackError, foreign,
    loss::Loss,
    parts::{PartData, PartTensor},
};
use crate::import::check_finite;

/// Writes a tensor's values to `out` as `entry` says; `importance`, `[cols]`, weighs columns when values are rounded. Returns
/// what was lost, where the file's encoding is none of ours.
pub(super) fn fill(
    tensor: &PartTensor<'_>,
    entry: &Entry,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<Loss, PackError> {
    match &tensor.data {
        PartData::Foreign(source) => check_finite(source).map_err(PackError::Import)?,
        PartData::Image(matrix) => check_image(tensor, matrix)?,
    }
    if entry.format.is_quantised() { quantised(tensor, entry, importance, out) } else { float(tensor, entry, out) }
}

/// An image's weights are not looked at when it is opened.
fn check_image(tensor: &PartTensor<'_>, matrix: &Matrix<'_>) -> Result<(), PackError> {
    let mut values = vec![0.0f32; tensor.cols];
    for row in 0..tensor.rows {
        let finite = if matrix.format().is_quantised() {
            let mut blocks = (0..matrix.blocks()).filter_map(|index| matrix.block(row, index));
            blocks.all(|block| block.scales.iter().all(|half| half & 0x7c00 != 0x7c00))
        } else {
            matrix.row(row, &mut values) && values.iter().all(|x| x.is_finite())
        };
        if !finite {
            return Err(PackError::NotFinite { kind: tensor.kind, layer: tensor.layer, row });
        }
    }
    Ok(())
}

fn float(tensor: &PartTensor<'_>, entry: &Entry, out: &mut [u8]) -> Result<Loss, PackError> {
    let width = tensor.cols * entry.format.element_bytes();
    let mut values = vec![0.0f32; tensor.cols];
    let mut loss = Loss::default();
    for (row, out) in out.chunks_exact_mut(width).take(tensor.rows).enumerate() {
        read_row(tensor, row, &mut values);
        let mut finite = true;
        match entry.format {
            Format::F32 => {
                for (out, x) in out.as_chunks_mut::<4>().0.iter_mut().zip(&values) {
                    *out = x.to_le_bytes();
                }
            }
            Format::F16 => {
                for (out, x) in out.as_chunks_mut::<2>().0.iter_mut().zip(&values) {
                    let half = f32_to_f16(*x);
                    finite &= half & 0x7c00 != 0x7c00;
                    *out = half.to_le_bytes();
                }
            }
            _ => {
                for (out, x) in out.as_chunks_mut::<2>().0.iter_mut().zip(&values) {
                    let half = f32_to_bf16(*x);
                    finite &= half & 0x7f80 != 0x7f80;
                    *out = half.to_le_bytes();
                }
            }
        }
        if !finite {
            return Err(overflow(entry, row));
        }
        if tensor.data.converted_from().is_some() {
            let back: Vec<f32> = match entry.format {
                Format::F32 => values.clone(),
                Format::F16 => out.as_chunks::<2>().0.iter().map(|x| f16_to_f32(u16::from_le_bytes(*x))).collect(),
                _ => out.as_chunks::<2>().0.iter().map(|x| bf16_to_f32(u16::from_le_bytes(*x))).collect(),
            };
            loss.add(&values, &back);
        }
    }
    Ok(loss)
}

fn quantised(
    tensor: &PartTensor<'_>,
    entry: &Entry,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<Loss, PackError> {
    let same = tensor.data.format() == entry.format;
    let converted = tensor.data.converted_from().is_some();
    let mut matrix = MatrixMut::new(entry.format, entry.panel, tensor.rows, tensor.cols, out)
        .map_err(|error| PackError::Image(layout_error(entry, error)))?;
    let mut values = vec![0.0f32; tensor.cols];
    // Weights padded to whole blocks; padding weighs nothing, as its activations are zero.
    let weights: Option<Vec<[f32; BLOCK]>> =
        importance.map(|importance| importance.chunks(BLOCK).map(padded).collect());
    let mut loss = Loss::default();
    for row in 0..tensor.rows {
        // Values are only needed where they are rounded, or compared with what became of them.
        let mut is_read = false;
        for index in 0..tensor.cols.div_ceil(BLOCK) {
            let stored = if same { stored_block(tensor, row, index) } else { None };
            if !is_read && (converted || stored.is_none()) {
                read_row(tensor, row, &mut values);
                is_read = true;
            }
            let x = if is_read { padded(values.chunks(BLOCK).nth(index).unwrap_or_default()) } else { [0.0; BLOCK] };
            let block = stored.unwrap_or_else(|| match entry.format {
                Format::Q8 if !converted => nearest(Format::Q8, &x),
                format => search(format, &x, weights.as_ref().and_then(|weights| weights.get(index))),
            });
            if block.scales.iter().any(|half| half & 0x7c00 == 0x7c00) {
                return Err(overflow(entry, row));
            }
            if converted {
                loss.add(&x, &block.dequantise(entry.format));
            }
            let _ = matrix.set_block(row, index, &block);
        }
    }
    Ok(loss)
}

fn padded(x: &[f32]) -> [f32; BLOCK] {
    let mut out = [0.0; BLOCK];
    out[..x.len()].copy_from_slice(x);
    out
}

fn overflow(entry: &Entry, row: usize) -> PackError {
    PackError::Overflow { kind: entry.kind, layer: entry.layer, row, format: entry.format }
}

fn layout_error(entry: &Entry, error: pipsqueak::kernels::LayoutError) -> pipsqueak::ImageError {
    pipsqueak::ImageError::Layout { kind: entry.kind, layer: entry.layer, error }
}

fn read_row(tensor: &PartTensor<'_>, row: usize, out: &mut [f32]) {
    match &tensor.data {
        PartData::Foreign(source) => source.dequantize_row(row, out),
        PartData::Image(matrix) => {
            let found = matrix.row(row, out);
            debug_assert!(found, "row {row} of {} x {}", matrix.rows(), matrix.cols());
        }
    }
}

/// A block as it is stored, where source and image share a format.
fn stored_block(tensor: &PartTensor<'_>, row: usize, index: usize) -> Option<Block> {
    match &tensor.data {
        PartData::Image(matrix) => matrix.block(row, index),
        PartData::Foreign(source) => foreign::block(source, row, index),
    }
}
