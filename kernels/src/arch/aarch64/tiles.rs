//! Products of panels of four rows with several tokens (prefill): what the instruction sets beyond NEON share.
//!
//! Tokens are taken in pairs, [`PAIRS`] at a time. A stretch of [`DEPTH`] blocks of them is packed into a small array that
//! stays in the first-level cache, and [`PANELS`] panels are multiplied with it, each block of weights read and unpacked
//! once for all its tokens, while the sums of a panel stay in registers.

use core::{arch::aarch64::*, ops::Range};

use super::neon::widen_halves;
use crate::{BLOCK, Input, Matrix, Store, Tile, acts::ActRow, acts::Acts};

/// Rows of a panel.
pub(super) const ROWS: usize = 4;
/// Pairs of tokens of a tile, whose sums fill eight registers.
pub(super) const PAIRS: usize = 4;
/// Panels that use a packed stretch of activations.
const PANELS: usize = 32;
/// Blocks of a stretch.
const DEPTH: usize = 16;

/// The blocks of a panel, or a stretch of them: `V` vectors of codes and `S` groups of four scales each. That is (8, 1) for
/// Q8, (4, 1) for Q4, and for Q4M (4, 2): four scales and four minima.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a, const V: usize, const S: usize> {
    pub(super) scales: &'a [[[u16; ROWS]; S]],
    pub(super) payload: &'a [[[u8; 16]; V]],
}

impl<'a, const V: usize, const S: usize> Blocks<'a, V, S> {
    /// Panel `p`.
    #[inline]
    pub(super) fn of(w: &Matrix<'a>, p: usize) -> Self {
        Self {
            scales: w.panel_scales(p).as_chunks().0.as_chunks().0,
            payload: w.panel_payload(p).as_chunks().0.as_chunks().0,
        }
    }

    /// What follows the first `blocks` blocks.
    #[inline]
    fn skip(self, blocks: usize) -> Self {
        Self { scales: self.scales.get(blocks..).unwrap_or(&[]), payload: self.payload.get(blocks..).unwrap_or(&[]) }
    }
}

/// One token's activations as blocks.
#[derive(Clone, Copy)]
pub(super) struct ActBlocks<'a> {
    pub(super) q: &'a [[i8; BLOCK]],
    pub(super) scale: &'a [f32],
    pub(super) sum: &'a [i32],
}

impl<'a> ActBlocks<'a> {
    /// Token `t`; `None` when its row is not `blocks` long.
    #[inline]
    pub(super) fn of(acts: &Acts<'a>, t: usize, blocks: usize) -> Option<Self> {
        let ActRow { q, scale, sum } = acts.row(t);
        let q = q.as_chunks::<BLOCK>().0;
        (q.len() == blocks && scale.len() == blocks && sum.len() == blocks).then_some(Self { q, scale, sum })
    }
}

/// Whether the shapes of a product fit each other.
pub(super) fn fits(w: &Matrix<'_>, panels: &Range<usize>, x: &Input<'_>, out: &Tile<'_>) -> bool {
    let rows = panels.len().saturating_mul(ROWS);
    panels.end <= w.panels()
        && out.rows() <= rows
        && rows - out.rows() < ROWS
        && (0..out.tokens().min(x.tokens)).all(|t| ActBlocks::of(&x.acts, t, w.blocks()).is_some())
}

/// One block of the activations of a tile's tokens. Where the last pair lacks its second token, anything stands for it: its
/// products are computed and not stored.
#[derive(Clone, Copy)]
pub(super) struct Packed {
    /// `[pair][eight columns]`: those of the first token, then of the second.
    pub(super) q: [[[[i8; 8]; 2]; 4]; PAIRS],
    /// The scales of both tokens, twice.
    pub(super) scale: [[f32; 4]; PAIRS],
    /// See [`offset`]; twice too.
    pub(super) offset: [[i32; 4]; PAIRS],
}

impl Packed {
    const ZERO: Self = Self { q: [[[[0; 8]; 2]; 4]; PAIRS], scale: [[0.0; 4]; PAIRS], offset: [[0; 4]; PAIRS] };
}

/// What a block's sum of activations contributes to products with Q4 and Q4M: the start of the integer accumulator, or, for
/// a minimum to be multiplied with, the bits of `scale * sum`.
#[inline]
fn offset<const S: usize>(scale: f32, sum: i32) -> i32 {
    // A nibble of Q4 is stored plus 8.
    if S == 1 { sum.wrapping_mul(-8) } else { (scale * sum as f32).to_bits().cast_signed() }
}

/// How an instruction set multiplies a panel with a tile.
pub(super) trait Multiply {
    /// Adds the products of a stretch of a panel's blocks with the first `P` pairs of tokens.
    ///
    /// # Safety
    /// * This CPU has the set's instructions.
    unsafe fn multiply<const V: usize, const S: usize, const P: usize>(
        w: Blocks<'_, V, S>,
        acts: &[Packed],
        acc: &mut Accs,
    );

    /// The sums of a pair: four rows of the first token and of the second.
    fn rows(acc: [float32x4_t; 2]) -> [float32x4_t; 2];
}

/// The sums of four rows and a tile's pairs, in the order that the instruction set gives them.
pub(super) type Accs = [[float32x4_t; 2]; PAIRS];

/// Some tokens, of a product whose shapes [fit](fits).
///
/// # Safety
/// * This CPU has the instructions of `M`.
pub(super) unsafe fn tiles<M: Multiply, const V: usize, const S: usize>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    acts: &Acts<'_>,
    tokens: usize,
    out: &mut Tile<'_>,
    how: Store,
) {
    let blocks = w.blocks();
    let mut packed = [Packed::ZERO; DEPTH];
    let zero = zero();
    for first_panel in panels.clone().step_by(PANELS) {
        let count = (panels.end - first_panel).min(PANELS);
        for first in (0..tokens).step_by(2 * PAIRS) {
            let lanes = (tokens - first).min(2 * PAIRS);
            let mut accs = [[[zero; 2]; PAIRS]; PANELS];
            for start in (0..blocks).step_by(DEPTH) {
                let depth = (blocks - start).min(DEPTH);
                pack::<S>(acts, blocks, start, first, lanes, &mut packed);
                let packed = packed.get(..depth).unwrap_or(&[]);
                for (p, acc) in accs.iter_mut().take(count).enumerate() {
                    let w = Blocks::<V, S>::of(w, first_panel + p).skip(start);
                    // SAFETY: the caller promises the instructions.
                    unsafe {
                        match lanes.div_ceil(2) {
                            1 => M::multiply::<V, S, 1>(w, packed, acc),
                            2 => M::multiply::<V, S, 2>(w, packed, acc),
                            3 => M::multiply::<V, S, 3>(w, packed, acc),
                            _ => M::multiply::<V, S, PAIRS>(w, packed, acc),
                        }
                    }
                }
            }
            for (p, acc) in accs.iter().take(count).enumerate() {
                let at = (first_panel + p - panels.start) * ROWS;
                let len = (out.rows() - at).min(ROWS);
                for (t, dots) in acc.iter().flat_map(|acc| M::rows(*acc)).take(lanes).enumerate() {
                    put(out.part(first + t, at, len), dots, how);
                }
            }
        }
    }
}

/// Packs a stretch of blocks from `start` of the tokens from `first`.
#[inline]
fn pack<const S: usize>(
    acts: &Acts<'_>,
    blocks: usize,
    start: usize,
    first: usize,
    lanes: usize,
    packed: &mut [Packed; DEPTH],
) {
    for lane in 0..lanes.min(2 * PAIRS) {
        let (pair, half) = (lane / 2, lane % 2);
        let Some(act) = ActBlocks::of(acts, first + lane, blocks) else { continue };
        let act = act.q.iter().zip(act.scale).zip(act.sum).skip(start);
        for (packed, ((q, scale), sum)) in packed.iter_mut().zip(act) {
            let (Some(to_q), Some(to_scale), Some(to_offset)) =
                (packed.q.get_mut(pair), packed.scale.get_mut(pair), packed.offset.get_mut(pair))
            else {
                continue;
            };
            for (to, q) in to_q.iter_mut().zip(q.as_chunks::<8>().0) {
                if let Some(to) = to.get_mut(half) {
                    *to = *q;
                }
            }
            for to in to_scale.iter_mut().skip(half).step_by(2) {
                *to = *scale;
            }
            for to in to_offset.iter_mut().skip(half).step_by(2) {
                *to = offset::<S>(*scale, *sum);
            }
        }
    }
}

/// Sixteen bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_bytes(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference is 16 readable bytes; `ld1` asks for no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

/// Sixteen activations.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_q(q: &[[i8; 8]; 2]) -> int8x16_t {
    // SAFETY: the reference is 16 readable bytes; `ld1` asks for no alignment.
    unsafe { vld1q_s8(q.as_ptr().cast()) }
}

/// Four floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_floats(x: &[f32; 4]) -> float32x4_t {
    // SAFETY: the reference is 16 readable bytes.
    unsafe { vld1q_f32(x.as_ptr()) }
}

/// Four integers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_ints(x: &[i32; 4]) -> int32x4_t {
    // SAFETY: the reference is 16 readable bytes.
    unsafe { vld1q_s32(x.as_ptr()) }
}

/// A block's scales, and its minima if it has them.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn scales<const S: usize>(scales: &[[u16; ROWS]; S]) -> (float32x4_t, float32x4_t) {
    match scales.as_slice() {
        [d, m] => (load_halves(d), load_halves(m)),
        [d, ..] => (load_halves(d), zero()),
        [] => (zero(), zero()),
    }
}

/// Four halves as floats.
#[inline]
#[target_feature(enable = "neon")]
fn load_halves(halves: &[u16; 4]) -> float32x4_t {
    // SAFETY: the reference is eight readable bytes.
    widen_halves(unsafe { vld1_u16(halves.as_ptr()) })
}

/// Four zeros.
#[inline]
fn zero() -> float32x4_t {
    // SAFETY: this module is compiled only where every CPU of the target has NEON.
    unsafe { vdupq_n_f32(0.0) }
}

/// Stores as many of four rows' products as `out` has room for, or adds them to it.
#[inline]
pub(super) fn put(out: &mut [f32], dots: float32x4_t, how: Store) {
    let mut lanes = [0.0; ROWS];
    // SAFETY: this module is compiled only where every CPU of the target has NEON.
    unsafe { super::neon::store(&mut lanes, dots) };
    for (out, dot) in out.iter_mut().zip(lanes) {
        how.put(out, dot);
    }
}

#[cfg(test)]
pub(super) mod tests {
    extern crate std;

    use core::ops::Range;
    use std::{println, vec, vec::Vec};

    use crate::{
        Acts, BLOCK, Format, Input, Kernels, Matrix, Panel, Store, Tile,
        arena::{Line, bytes_of, bytes_of_mut},
        matrix_bytes, scalar,
        testing::Rng,
    };

    /// Whether `matmul` makes a product itself, and leaves alone what does not fit.
    pub(in super::super) fn takes_what_fits(
        matmul: impl Fn(&Matrix<'_>, Range<usize>, &Input<'_>, &mut Tile<'_>, Store) -> bool,
    ) {
        let (rows, cols) = (8, 64);
        for format in Format::ALL {
            let panel = if format.is_quantised() { Panel::R4 } else { Panel::R1 };
            let bytes = matrix_bytes(format, panel, rows, cols).unwrap();
            let lines = vec![Line::ZERO; Line::count(bytes)];
            let w = Matrix::new(format, panel, rows, cols, &bytes_of(&lines)[..bytes]).unwrap();
            for tokens in 1..=3 {
                let (q, scale, sum) = (vec![1; tokens * cols], vec![1.0; tokens * 2], vec![32; tokens * 2]);
                let x = Input { tokens, x: &[], acts: Acts::new(&q, &scale, &sum, 2) };
                let mut out = vec![1.0; 3 * rows];
                for (panels, rows, fits) in
                    [(0..2, rows, true), (1..3, rows, false), (0..1, 5, false), (0..2, 4, false)]
                {
                    let done = matmul(&w, panels.clone(), &x, &mut Tile::whole(&mut out, rows, tokens), Store::Set);
                    assert_eq!(done, fits && format.is_quantised(), "{format:?} {tokens} tokens {panels:?} {rows}");
                }
            }
        }
    }

    /// Several groups of panels, stretches of depth and tiles of tokens, all with something left over; all panels and a
    /// part of them.
    pub(in super::super) fn tiles_and_what_is_left_over<K: Kernels>(kernels: Option<K>, module: &str) {
        let Some(kernels) = kernels else {
            println!("skipped: {module}");
            return;
        };
        let mut rng = Rng::new(13);
        for format in [Format::Q8, Format::Q4, Format::Q4M] {
            for (rows, cols) in [(67, 32), (128, 512), (150, 544), (139, 1100), (300, 290)] {
                let panel = kernels.panel(format);
                let bytes = matrix_bytes(format, panel, rows, cols).unwrap();
                let mut lines = vec![Line::ZERO; Line::count(bytes)];
                // Any bytes are weights; half the exponent bits of scales are cleared so that they stay finite.
                for byte in bytes_of_mut(&mut lines) {
                    *byte = rng.bits() as u8;
                }
                let blocks = cols.div_ceil(BLOCK);
                let scales = panel.count(rows) * panel.rows() * blocks * format.block_scales();
                for pair in bytes_of_mut(&mut lines).chunks_exact_mut(2).take(scales) {
                    pair[1] &= 0xbf;
                }
                let w = Matrix::new(format, panel, rows, cols, &bytes_of(&lines)[..bytes]).unwrap();
                for tokens in [1, 2, 3, 6, 8, 15, 21] {
                    let q: Vec<i8> =
                        (0..tokens * blocks * BLOCK).map(|_| (rng.below(255) as i32 - 127) as i8).collect();
                    let scale: Vec<f32> = (0..tokens * blocks).map(|_| rng.below(1000) as f32 * 1e-4).collect();
                    let sum: Vec<i32> = q.chunks(BLOCK).map(|q| q.iter().map(|q| *q as i32).sum()).collect();
                    let input = Input { tokens, x: &[], acts: Acts::new(&q, &scale, &sum, blocks) };
                    let inner = (w.panels() - 1) * panel.rows();
                    for (panels, first, last) in [(0..w.panels(), 0, rows), (1..w.panels() - 1, panel.rows(), inner)] {
                        for store in [Store::Set, Store::Add] {
                            let len = last - first;
                            let (mut expected, mut got) = (vec![0.25f32; len * tokens], vec![0.25f32; len * tokens]);
                            let tile = &mut Tile::whole(&mut expected, len, tokens);
                            scalar::matmul(&w, panels.clone(), &input, tile, store);
                            let tile = &mut Tile::whole(&mut got, len, tokens);
                            kernels.matmul(&w, panels.clone(), &input, tile, store);
                            for (at, (expected, got)) in expected.iter().zip(&got).enumerate() {
                                assert_eq!(
                                    expected.to_bits(),
                                    got.to_bits(),
                                    "{format:?} {rows}x{cols} tokens {tokens} panels {panels:?} {store:?} at {at}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
