//! Blocks of foreign files as blocks of ours, where they hold the same codes.

use pipsqueak::kernels::{BLOCK, Block, float16::f32_to_f16};

use crate::{
    import::Run,
    source::{Encoding, SourceTensor},
};

/// Block `index` of a row without a code being rounded; `None` where there is none, and values must be rounded.
///
/// The formats that ours are copies of keep every bit. Of the others the scale is rounded to f16, unless it is the file's own.
pub(super) fn block(source: &SourceTensor<'_>, row: usize, index: usize) -> Option<Block> {
    let per_row = source.cols / BLOCK;
    let stored = source.stored_row(row);
    let bytes = |size: usize| source.data.get((stored * per_row + index) * size..)?.get(..size);
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
            let first = stored * source.cols + index * BLOCK;
            let codes = source.data.get(first..first + BLOCK)?;
            let scales = source.data.get(source.rows * source.cols..)?;
            let scale = scales.get(first / group * 4..)?.first_chunk::<4>()?;
            Block { scales: [f32_to_f16(f32::from_le_bytes(*scale)), 0], codes: codes.try_into().ok()? }
        }
        Encoding::Q4K => with_minimum(&source.run(row, index)?),
        _ => without_minimum(&source.run(row, index)?)?,
    })
}

/// Q4M, for codes of four bits and one scale and minimum a run.
fn with_minimum(run: &Run) -> Block {
    let scale = run.d * f32::from(run.factors[0]);
    Block { scales: [scale, run.minima[0]].map(f32_to_f16), codes: run.codes.map(i8::cast_unsigned) }
}

/// Q8, where the factors of both halves go into codes of eight bits.
fn without_minimum(run: &Run) -> Option<Block> {
    if run.minima != [0.0; 2] {
        return None;
    }
    // Over the block's own scale nothing is lost, nor over its opposite, as 128 is no code but -128 is. Over the largest
    // common factor it is the product's rounding to f16.
    let common = gcd(run.factors[0].unsigned_abs(), run.factors[1].unsigned_abs());
    [1, -1, i8::try_from(common).unwrap_or(1)].into_iter().find_map(|factor| {
        let codes = run.over(factor)?;
        Some(Block { scales: [f32_to_f16(run.d * f32::from(factor)), 0], codes: codes.map(i8::cast_unsigned) })
    })
}

fn gcd(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { gcd(b, a % b) }
}
