//! One tensor from its source's values to the image's bytes.

use pipsqueak::{
    image::Entry,
    kernels::{
        BLOCK, Block, Format, Matrix, MatrixMut,
        float16::{f32_to_bf16, f32_to_f16},
        quantise::{nearest, search},
    },
};

use super::{
    PackError,
    parts::{PartData, PartTensor},
};
use crate::{
    import::check_finite,
    source::{Encoding, SourceTensor},
};

/// Writes a tensor's values to `out` as `entry` says; `importance`, `[cols]`, weighs columns when values are rounded.
pub(super) fn fill(
    tensor: &PartTensor<'_>,
    entry: &Entry,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), PackError> {
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

fn float(tensor: &PartTensor<'_>, entry: &Entry, out: &mut [u8]) -> Result<(), PackError> {
    let width = tensor.cols * entry.format.element_bytes();
    let mut values = vec![0.0f32; tensor.cols];
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
    }
    Ok(())
}

fn quantised(
    tensor: &PartTensor<'_>,
    entry: &Entry,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), PackError> {
    let same = tensor.data.format() == entry.format;
    let mut matrix = MatrixMut::new(entry.format, entry.panel, tensor.rows, tensor.cols, out)
        .map_err(|error| PackError::Image(layout_error(entry, error)))?;
    let mut values = vec![0.0f32; tensor.cols];
    // Weights padded to whole blocks; padding weighs nothing, as its activations are zero.
    let weights: Option<Vec<[f32; BLOCK]>> =
        importance.map(|importance| importance.chunks(BLOCK).map(padded).collect());
    for row in 0..tensor.rows {
        let blocks = tensor.cols.div_ceil(BLOCK);
        let mut stored = 0;
        if same {
            for index in 0..blocks {
                let Some(block) = stored_block(tensor, row, index) else { break };
                if block.scales.iter().any(|half| half & 0x7c00 == 0x7c00) {
                    return Err(overflow(entry, row));
                }
                stored += usize::from(matrix.set_block(row, index, &block));
            }
        }
        if stored == blocks {
            continue;
        }
        read_row(tensor, row, &mut values);
        for (index, x) in values.chunks(BLOCK).enumerate() {
            let x = padded(x);
            let weights = weights.as_ref().and_then(|weights| weights.get(index));
            let block =
                if entry.format == Format::Q8 { nearest(entry.format, &x) } else { search(entry.format, &x, weights) };
            if block.scales.iter().any(|half| half & 0x7c00 == 0x7c00) {
                return Err(overflow(entry, row));
            }
            let _ = matrix.set_block(row, index, &block);
        }
    }
    Ok(())
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
        PartData::Foreign(source) => foreign_block(source, row, index),
    }
}

fn foreign_block(source: &SourceTensor<'_>, row: usize, index: usize) -> Option<Block> {
    let per_row = source.cols / BLOCK;
    let bytes = |size: usize| source.data.get((row * per_row + index) * size..)?.get(..size);
    let half = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    let nibbles = |bytes: &[u8]| std::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 0x0f);
    Some(match source.encoding {
        Encoding::Q8_0 => {
            let bytes = bytes(34)?;
            Block { scales: [half(bytes), 0], codes: bytes[2..].try_into().ok()? }
        }
        Encoding::Q4_0 => {
            let bytes = bytes(18)?;
            Block { scales: [half(bytes), 0], codes: nibbles(&bytes[2..]) }
        }
        Encoding::Q4_1 => {
            let bytes = bytes(20)?;
            Block { scales: [half(bytes), half(&bytes[2..])], codes: nibbles(&bytes[4..]) }
        }
        // Blocks inside one group keep their codes; only the scale is rounded to f16.
        Encoding::Llama2cQ80 { group } if group.is_multiple_of(BLOCK) && source.cols.is_multiple_of(BLOCK) => {
            let first = row * source.cols + index * BLOCK;
            let codes = source.data.get(first..first + BLOCK)?;
            let scales = source.data.get(source.rows * source.cols..)?;
            let scale = scales.get(first / group * 4..)?.first_chunk::<4>()?;
            Block { scales: [f32_to_f16(f32::from_le_bytes(*scale)), 0], codes: codes.try_into().ok()? }
        }
        _ => return None,
    })
}
