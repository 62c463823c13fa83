//! Products with quantised weights in panels of eight rows.
//!
//! `vpdpbusd` multiplies unsigned weights with signed activations, four neighbours a lane, and adds to int32: eight of them
//! make one block of eight rows exact. A nibble is unsigned as it is; an int8 is after `^ 0x80`. What is too much in each
//! weight, 8 or 128, leaves through the block's sum of activations, from which the int32 accumulator starts.
//!
//! Up to [`FEW`] tokens are a stream: panels in the order they lie in memory, each block unpacked once for up to [`GROUP`]
//! tokens, whose sums stay in registers. More are taken in the tiles of [`super::super::avx2`].

use core::{arch::x86_64::*, ops::Range};

use super::super::{
    ahead::{Ahead, NEAR, fetch},
    avx2::{
        lanes::{load_bytes, load_f16},
        matmul::{AHEAD, Act, ActBlocks, Blocks, ROWS, SCALES_AHEAD, TOKENS, fetch_ahead, fits, tiles},
        put,
    },
};
use crate::{BLOCK, Format, Input, Matrix, Store, Tile, acts::Acts};

/// Tokens that share an unpacked block: their sums beside its eight vectors, in sixteen registers.
const GROUP: usize = 4;
/// The most tokens that are few.
const FEW: usize = 16;

const Q8: u8 = Format::Q8 as u8;
const Q4: u8 = Format::Q4 as u8;
const Q4M: u8 = Format::Q4M as u8;

/// See [`crate::scalar::matmul`]; returns false, having done nothing, when the shapes do not fit each other.
#[target_feature(enable = "avx2,f16c,avxvnni")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    if !fits(w, &panels, x, out) {
        return false;
    }
    match w.format() {
        Format::Q8 => product::<Q8>(w, panels, x, out, how),
        Format::Q4 => product::<Q4>(w, panels, x, out, how),
        Format::Q4M => product::<Q4M>(w, panels, x, out, how),
        _ => return false,
    }
    true
}

#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn product<const F: u8>(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) {
    let tokens = out.tokens().min(x.tokens);
    if tokens <= FEW {
        return few::<F>(w, panels, &x.acts, tokens, out, how);
    }
    tiles(w, panels, (&x.acts, tokens), out, how, pack::<F>, |w, acts, tokens, acc, ahead| {
        multiply::<F>(w, acts, tokens, acc, ahead);
    });
}

/// What a block's sum of activations contributes: the start of the integer accumulator, or, for a minimum to be multiplied
/// with, the bits of `scale * sum`.
#[inline]
fn offset<const F: u8>(scale: f32, sum: i32) -> i32 {
    match F {
        Q8 => -128 * sum,
        Q4 => -8 * sum,
        _ => (scale * sum as f32).to_bits().cast_signed(),
    }
}

#[inline]
fn pack<const F: u8>(q: &[i8; BLOCK], scale: f32, sum: i32) -> Act<[i8; BLOCK]> {
    Act { q: *q, scale, offset: offset::<F>(scale, sum) }
}

/// A block of weights as unsigned bytes, one vector a k-step.
#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn unpack<const F: u8>(payload: &[[u8; 32]]) -> [__m256i; 8] {
    let mut w = [_mm256_setzero_si256(); 8];
    if F == Q8 {
        let flip = _mm256_set1_epi8(-128);
        for (w, bytes) in w.iter_mut().zip(payload) {
            *w = _mm256_xor_si256(load_bytes(bytes), flip);
        }
    } else {
        let mask = _mm256_set1_epi8(0x0f);
        let (low, high) = w.split_at_mut(4);
        for ((low, high), bytes) in low.iter_mut().zip(high).zip(payload) {
            let bytes = load_bytes(bytes);
            *low = _mm256_and_si256(bytes, mask);
            *high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
        }
    }
    w
}

/// A panel's blocks: their vectors, and their scales with what minima they have.
#[inline]
fn blocks_of<'a, const F: u8>(w: Blocks<'a>) -> impl Iterator<Item = (&'a [[u8; 32]], &'a [[u16; ROWS]])> {
    let vectors = if F == Q8 { 8 } else { 4 };
    let scales = if F == Q4M { 2 } else { 1 };
    w.payload.chunks_exact(vectors).zip(w.scales.chunks_exact(scales))
}

/// A block's scales, and its minima if it has them.
#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn scales<const F: u8>(scales: &[[u16; ROWS]]) -> (__m256, __m256) {
    let zero = _mm256_setzero_ps();
    match scales {
        [d, m, ..] if F == Q4M => (load_f16(d), load_f16(m)),
        [d, ..] => (load_f16(d), zero),
        [] => (zero, zero),
    }
}

/// Adds one block's contribution to the sums of eight rows and `T` tokens.
#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn add<const F: u8, const T: usize>(
    acc: &mut [__m256; T],
    weights: &[__m256i; 8],
    (d, m): (__m256, __m256),
    acts: [(&[i8; BLOCK], f32, i32); T],
) {
    let mut isum = [_mm256_setzero_si256(); T];
    if F != Q4M {
        for (isum, (_, _, offset)) in isum.iter_mut().zip(acts) {
            *isum = _mm256_set1_epi32(offset);
        }
    }
    for (step, w) in weights.iter().enumerate() {
        for (isum, (q, ..)) in isum.iter_mut().zip(acts) {
            let Some(q) = q.as_chunks::<4>().0.get(step) else { return };
            let q = _mm256_set1_epi32(i32::from_le_bytes(q.map(i8::cast_unsigned)));
            *isum = _mm256_dpbusd_avx_epi32(*isum, *w, q);
        }
    }
    for ((acc, isum), (_, scale, offset)) in acc.iter_mut().zip(isum).zip(acts) {
        let product = _mm256_mul_ps(_mm256_mul_ps(d, _mm256_set1_ps(scale)), _mm256_cvtepi32_ps(isum));
        *acc = if F == Q4M {
            let minimum = _mm256_mul_ps(m, _mm256_set1_ps(f32::from_bits(offset.cast_unsigned())));
            _mm256_add_ps(*acc, _mm256_add_ps(product, minimum))
        } else {
            _mm256_add_ps(*acc, product)
        };
    }
}

/// Adds a stretch of each panel's blocks to its products with `tokens` tokens.
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn multiply<const F: u8>(
    w: &[Blocks<'_>],
    acts: &[[Act<[i8; BLOCK]>; TOKENS]],
    tokens: usize,
    acc: &mut [[__m256; TOKENS]],
    ahead: Ahead,
) {
    for (w, acc) in w.iter().zip(acc) {
        for ((payload, d), acts) in blocks_of::<F>(*w).zip(acts) {
            fetch_ahead(ahead, payload);
            let weights = unpack::<F>(payload);
            let d = scales::<F>(d);
            // What is left of the last group is multiplied too: its activations are zeros or an earlier tile's, its sums unused.
            let groups = acts.as_chunks::<GROUP>().0.iter().zip(acc.as_chunks_mut::<GROUP>().0);
            for (acts, acc) in groups.take(tokens.div_ceil(GROUP)) {
                add::<F, GROUP>(acc, &weights, d, acts.each_ref().map(|act| (&act.q, act.scale, act.offset)));
            }
        }
    }
}

/// A few tokens.
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn few<const F: u8>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    acts: &Acts<'_>,
    tokens: usize,
    out: &mut Tile<'_>,
    how: Store,
) {
    for (index, p) in panels.enumerate() {
        let blocks = Blocks::of(w, p);
        let at = index * ROWS;
        let place = (at, (out.rows() - at).min(ROWS));
        let mut first = 0;
        while first < tokens {
            first += match tokens - first {
                1 => group::<F, 1>(w, blocks, acts, first, out, place, how),
                2 => group::<F, 2>(w, blocks, acts, first, out, place, how),
                3 => group::<F, 3>(w, blocks, acts, first, out, place, how),
                _ => group::<F, GROUP>(w, blocks, acts, first, out, place, how),
            };
        }
    }
}

/// One panel with the tokens `first .. first + T`; returns `T`.
#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn group<const F: u8, const T: usize>(
    w: &Matrix<'_>,
    blocks: Blocks<'_>,
    acts: &Acts<'_>,
    first: usize,
    out: &mut Tile<'_>,
    (at, len): (usize, usize),
    how: Store,
) -> usize {
    let acts: [_; T] = core::array::from_fn(|t| ActBlocks::of(acts, first + t, w.blocks()).unwrap_or_default());
    let mut acc = [_mm256_setzero_ps(); T];
    for (b, (payload, d)) in blocks_of::<F>(blocks).enumerate() {
        // The first group waits for memory, the others find the panel in the cache.
        if first == 0 {
            for lines in payload.as_chunks::<4>().0 {
                fetch::<NEAR, 128>(lines.as_ptr().wrapping_byte_add(AHEAD));
            }
            fetch::<NEAR, 64>(d.as_ptr().wrapping_byte_add(SCALES_AHEAD));
        }
        let acts = acts.map(|act| match (act.q.get(b), act.scale.get(b), act.sum.get(b)) {
            (Some(q), Some(scale), Some(sum)) => (q, *scale, offset::<F>(*scale, *sum)),
            _ => (&[0; BLOCK], 0.0, 0),
        });
        add::<F, T>(&mut acc, &unpack::<F>(payload), scales::<F>(d), acts);
    }
    for (t, dot) in acc.into_iter().enumerate() {
        put(out.part(first + t, at, len), dot, how);
    }
    T
}
