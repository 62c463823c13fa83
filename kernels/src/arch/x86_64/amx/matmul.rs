//! Products of many tokens with panels of sixteen rows, a tile instruction a block of sixteen tokens.
//!
//! [`TOKENS`] tokens at a time are multiplied with [`PANELS`] panels, a stretch of [`DEPTH`] blocks after the other: a
//! panel's stretch is unpacked to int8 once for them, and their activations stay in the first-level cache. While the tile
//! unit works on a block, the vector units scale and add the sums of the block before: four instructions for sixteen
//! multiply-adds of 32, which is what bounds this, not the tiles.

use core::{arch::x86_64::*, ops::Range};

use super::{
    super::avx512::{
        lanes::{column, load_bytes, load_sums, put, store, store_bytes},
        matmul::{Blocks, Q4, Q4M, Q8, ROWS, fits, scale_count, scales},
        tiles::tiles,
    },
    tile::{Codes, SIDE, Sums, Tiles},
};
use crate::{BLOCK, Format, Input, Matrix, Store, Tile, acts::Acts};

/// Tokens that an unpacked stretch of weights is used for.
const TOKENS: usize = 64;
/// Panels that use a packed stretch of scales.
const PANELS: usize = 16;
/// Blocks of a stretch.
const DEPTH: usize = 24;

/// Of a stretch's activations, `[block][token]`.
struct Scales {
    scale: [[f32; TOKENS]; DEPTH],
    /// `scale * sum`, which minima are multiplied with.
    sum: [[f32; TOKENS]; DEPTH],
}

/// See [`crate::scalar::matmul`]; returns false, having done nothing, when this is not for tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    let tokens = out.tokens().min(x.tokens);
    if tokens < SIDE || !w.format().is_quantised() || !fits(w, &panels, x, out) {
        return false;
    }
    match w.format() {
        Format::Q8 => products::<Q8>(w, panels, &x.acts, tokens, out, how),
        Format::Q4 => products::<Q4>(w, panels, &x.acts, tokens, out, how),
        _ => products::<Q4M>(w, panels, &x.acts, tokens, out, how),
    }
    true
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn products<const F: u8>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    acts: &Acts<'_>,
    tokens: usize,
    out: &mut Tile<'_>,
    how: Store,
) {
    let blocks = w.blocks();
    let whole = tokens / SIDE * SIDE;
    let zero = _mm512_setzero_ps();
    let mut scales = Scales { scale: [[0.0; TOKENS]; DEPTH], sum: [[0.0; TOKENS]; DEPTH] };
    let mut unpacked = [[[0; 64]; BLOCK / 4]; DEPTH];
    let mut d = [(zero, zero); DEPTH];
    // SAFETY: `Amx` exists, so tiles are there and granted; nothing called from here configures them.
    let unit = unsafe { Tiles::new() };
    for first_panel in panels.clone().step_by(PANELS) {
        let count = (panels.end - first_panel).min(PANELS);
        for first in (0..whole).step_by(TOKENS) {
            let lanes = (whole - first).min(TOKENS);
            // Of rows longer than a stretch.
            let mut accs = [[[zero; SIDE]; TOKENS / SIDE]; PANELS];
            for start in (0..blocks).step_by(DEPTH) {
                let depth = (blocks - start).min(DEPTH);
                let last = start + depth == blocks;
                scales.pack::<F>(acts, start, depth, first, lanes);
                for (p, accs) in accs.iter_mut().take(count).enumerate() {
                    let w = Blocks::of(w, first_panel + p).skip::<F>(start);
                    let codes = unpack::<F>(w, &mut unpacked, &mut d);
                    let codes = codes.get(..depth).unwrap_or(&[]);
                    let row = (first_panel + p - panels.start) * ROWS;
                    let len = (out.rows() - row).min(ROWS);
                    for (acc, at) in accs.iter_mut().zip((0..lanes).step_by(SIDE)) {
                        let q = acts.codes(first + at, SIDE).get(start * BLOCK..).unwrap_or(&[]);
                        let begin = if start == 0 { [zero; SIDE] } else { *acc };
                        let sums = stretch::<F>(&unit, (q, blocks * BLOCK), codes, &d, &scales, at, begin);
                        if !last {
                            *acc = sums;
                            continue;
                        }
                        for (t, dot) in sums.into_iter().enumerate() {
                            put(out.part(first + at + t, row, len), dot, how);
                        }
                    }
                }
            }
        }
    }
    drop(unit);
    if whole < tokens {
        tiles::<F>(w, panels, acts, whole..tokens, out, how);
    }
}

impl Scales {
    /// Takes `depth` blocks from `start` on of `lanes` tokens from `first` on, sixteen at a time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn pack<const F: u8>(&mut self, acts: &Acts<'_>, start: usize, depth: usize, first: usize, lanes: usize) {
        for at in (0..lanes).step_by(SIDE) {
            let (scale, sum) = acts.block_numbers(first + at, SIDE);
            let blocks = acts.blocks();
            for (block, (to_scale, to_sum)) in (start..start + depth).zip(self.scale.iter_mut().zip(&mut self.sum)) {
                let (Some(to_scale), Some(to_sum)) = (chunk_mut(to_scale, at), chunk_mut(to_sum, at)) else { return };
                let scale = column(scale, blocks, block);
                store(to_scale, scale);
                if F == Q4M {
                    let sum = _mm512_cvtepi32_ps(_mm512_castps_si512(column(sum, blocks, block)));
                    store(to_sum, _mm512_mul_ps(scale, sum));
                }
            }
        }
    }
}

fn chunk_mut(x: &mut [f32; TOKENS], at: usize) -> Option<&mut [f32; SIDE]> {
    x.get_mut(at..)?.first_chunk_mut()
}

/// A stretch's scales and minima go to `d`; returns its codes as int8: where they are (Q8), or unpacked.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack<'a, const F: u8>(
    w: Blocks<'a>,
    codes: &'a mut [Codes; DEPTH],
    d: &mut [(__m512, __m512); DEPTH],
) -> &'a [Codes] {
    for (d, halves) in d.iter_mut().zip(w.scales.chunks_exact(scale_count::<F>())) {
        *d = self::scales::<F>(halves);
    }
    if F == Q8 {
        for (codes, payload) in codes.iter_mut().zip(w.payload.as_chunks::<8>().0) {
            *codes = *payload;
        }
        return codes;
    }
    let mask = _mm512_set1_epi8(0x0f);
    // Signed int8 for Q4; with a minimum, codes stay unsigned.
    let eight = _mm512_set1_epi8(if F == Q4 { 8 } else { 0 });
    for (codes, payload) in codes.iter_mut().zip(w.payload.as_chunks::<4>().0) {
        let (low, high) = codes.split_at_mut(4);
        for ((low, high), bytes) in low.iter_mut().zip(high).zip(payload) {
            let bytes = load_bytes(bytes);
            store_bytes(low, _mm512_sub_epi8(_mm512_and_si512(bytes, mask), eight));
            store_bytes(high, _mm512_sub_epi8(_mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask), eight));
        }
    }
    codes
}

/// Adds a stretch's blocks to `acc`, the products of sixteen rows with the sixteen tokens from `at` on of a group. `q`: their
/// activations from the stretch's start, and the bytes from one token to the next.
///
/// Sums of a block are scaled and added while the tile unit works on the next, in quarters between the tile instructions:
/// those keep the front end busy, these the vector units.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn stretch<const F: u8>(
    unit: &Tiles,
    (q, stride): (&[i8], usize),
    codes: &[Codes],
    d: &[(__m512, __m512); DEPTH],
    scales: &Scales,
    at: usize,
    mut acc: [__m512; SIDE],
) -> [__m512; SIDE] {
    // The last token's row ends with its last block.
    if codes.is_empty() || q.len() < stride * (SIDE - 1) + codes.len() * BLOCK {
        debug_assert!(false, "{} activations for {} blocks", q.len(), codes.len());
        return acc;
    }
    let zero = _mm512_setzero_ps();
    let none = (zero, zero, &[0.0; SIDE], &[0.0; SIDE]);
    let factors = |index: usize| {
        let (d, m) = d.get(index)?;
        let scale = scales.scale.get(index)?.get(at..)?.first_chunk::<SIDE>()?;
        let sum = scales.sum.get(index)?.get(at..)?.first_chunk::<SIDE>()?;
        Some((*d, *m, scale, sum))
    };
    macro_rules! add {
        ($($quarter:literal)+, $sums:expr, $factors:expr) => {
            let (d, m, scale, sum) = $factors;
            $(for t in $quarter * 4..$quarter * 4 + 4 {
                acc[t] = add::<F>(acc[t], load_sums(&$sums.0[t]), d, m, scale[t], sum[t]);
            })+
        };
    }
    let mut sums = [Sums::ZERO; 2];
    let [even, odd] = &mut sums;
    let mut before = none;
    let (pairs, rest) = codes.as_chunks::<2>();
    for (index, ([first, second], q)) in (0..).step_by(2).zip(pairs.iter().zip(q.chunks(2 * BLOCK))) {
        // SAFETY: sixteen tokens' blocks are there from each of a stretch's blocks on, as was checked.
        unsafe { unit.activations::<0>(q.as_ptr(), stride) };
        add!(0, odd, before);
        unit.multiply::<0>(first);
        add!(1 2, odd, before);
        unit.store::<0>(even);
        add!(3, odd, before);
        before = factors(index).unwrap_or(none);
        // SAFETY: as above, a block further.
        unsafe { unit.activations::<1>(q.as_ptr().add(BLOCK), stride) };
        add!(0, even, before);
        unit.multiply::<1>(second);
        add!(1 2, even, before);
        unit.store::<1>(odd);
        add!(3, even, before);
        before = factors(index + 1).unwrap_or(none);
    }
    add!(0 1 2 3, odd, before);
    if let [last] = rest {
        let index = codes.len() - 1;
        // SAFETY: as above.
        unsafe { unit.activations::<0>(q.as_ptr().add(index * BLOCK), stride) };
        unit.multiply::<0>(last);
        unit.store::<0>(even);
        before = factors(index).unwrap_or(none);
        add!(0 1 2 3, even, before);
    }
    acc
}

/// One block's contribution to sixteen rows' sums for a token. Q4M's minima are multiplied with `sum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add<const F: u8>(acc: __m512, isum: __m512i, d: __m512, m: __m512, scale: f32, sum: f32) -> __m512 {
    let product = _mm512_mul_ps(_mm512_mul_ps(d, _mm512_set1_ps(scale)), _mm512_cvtepi32_ps(isum));
    if F == Q4M {
        _mm512_add_ps(acc, _mm512_add_ps(product, _mm512_mul_ps(m, _mm512_set1_ps(sum))))
    } else {
        _mm512_add_ps(acc, product)
    }
}
