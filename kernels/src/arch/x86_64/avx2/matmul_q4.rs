//! Inner loops for Q4 and Q4M weights.
//!
//! A nibble is unsigned as it is, so `vpmaddubsw` multiplies it with an int8 directly: a 16-bit lane gets at most
//! `2 * 15 * 128 = 3840`, and a block's eight k-steps add up to 30720, short of overflow. One `vpmaddwd` with ones then
//! makes the eight rows' int32.

use core::arch::x86_64::*;

use super::{
    super::ahead::{Ahead, NEAR, fetch},
    lanes::{load_bytes, load_f16},
    matmul::{AHEAD, Act, ActBlocks, Blocks, GROUP, SCALES_AHEAD, TOKENS, fetch_ahead, pairs},
};
use crate::BLOCK;

/// Packs a block for Q4: the stored 8 too much leaves through the sum.
#[inline]
pub(super) fn pack(q: &[i8; BLOCK], scale: f32, sum: i32) -> Act<[i8; BLOCK]> {
    Act { q: *q, scale, offset: 8 * sum }
}

/// Packs a block for Q4M, whose minimum is multiplied with `scale * sum`.
#[inline]
pub(super) fn pack_min(q: &[i8; BLOCK], scale: f32, sum: i32) -> Act<[i8; BLOCK]> {
    Act { q: *q, scale, offset: (scale * sum as f32).to_bits().cast_signed() }
}

/// A block's nibbles, one vector a k-step.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn unpack(block: &[[u8; 32]; 4]) -> [__m256i; 8] {
    let mask = _mm256_set1_epi8(0x0f);
    let [a, b, c, d] = block.each_ref().map(|v| load_bytes(v));
    let high = |v| _mm256_and_si256(_mm256_srli_epi16::<4>(v), mask);
    let low = |v| _mm256_and_si256(v, mask);
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

/// The eight rows' exact products with one block of activations.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn products(nibbles: [__m256i; 8], q: &[i8; BLOCK]) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for (nibbles, q) in nibbles.iter().zip(q.as_chunks::<4>().0) {
        let q = _mm256_set1_epi32(i32::from_le_bytes(q.map(i8::cast_unsigned)));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(*nibbles, q));
    }
    _mm256_madd_epi16(sum, _mm256_set1_epi16(1))
}

/// One block's contribution to eight rows. `offset` as [`pack`] and [`pack_min`] make it.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn block<const MIN: bool>(isum: __m256i, d: __m256, m: __m256, scale: f32, offset: i32) -> __m256 {
    let scale = _mm256_mul_ps(d, _mm256_set1_ps(scale));
    let offset = _mm256_set1_epi32(offset);
    if MIN {
        let product = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(isum));
        _mm256_add_ps(product, _mm256_mul_ps(m, _mm256_castsi256_ps(offset)))
    } else {
        _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(isum, offset)))
    }
}

/// A block's scales, and its minima if it has them.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn scales<const MIN: bool>(scales: &[[u16; 8]], at: usize) -> Option<(__m256, __m256)> {
    Some(if MIN {
        (load_f16(scales.get(2 * at)?), load_f16(scales.get(2 * at + 1)?))
    } else {
        (load_f16(scales.get(at)?), _mm256_setzero_ps())
    })
}

/// Asks for the scales that are wanted some blocks after block `at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn fetch_scales<const MIN: bool>(scales: &[[u16; 8]], at: usize) {
    let at = if MIN { 2 * at } else { at };
    fetch::<NEAR, 64>(scales.as_ptr().wrapping_add(at).wrapping_byte_add(SCALES_AHEAD));
}

/// Adds a stretch of each panel's blocks to its products with `tokens` tokens.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn tile<const MIN: bool>(
    w: &[Blocks<'_>],
    acts: &[[Act<[i8; BLOCK]>; TOKENS]],
    tokens: usize,
    acc: &mut [[__m256; TOKENS]],
    ahead: Ahead,
) {
    let (pairs, one) = pairs(w, acc);
    for (w, acc) in pairs {
        some::<MIN, _>(w, acts, tokens, acc, ahead);
    }
    if let Some((w, acc)) = one {
        some::<MIN, _>(w, acts, tokens, acc, ahead);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn some<const MIN: bool, const P: usize>(
    w: &[Blocks<'_>; P],
    acts: &[[Act<[i8; BLOCK]>; TOKENS]],
    tokens: usize,
    acc: &mut [[__m256; TOKENS]; P],
    ahead: Ahead,
) {
    let mut nibbles = [[_mm256_setzero_si256(); P]; 8];
    for (at, acts) in acts.iter().enumerate() {
        let mut d = [(_mm256_setzero_ps(), _mm256_setzero_ps()); P];
        for (p, (w, d)) in w.iter().zip(&mut d).enumerate() {
            let (Some(payload), Some(scales)) = (w.payload.as_chunks::<4>().0.get(at), scales::<MIN>(w.scales, at))
            else {
                return;
            };
            fetch_ahead(ahead, payload);
            *d = scales;
            for (nibbles, from) in nibbles.iter_mut().zip(unpack(payload)) {
                nibbles[p] = from;
            }
        }
        // What is left over is multiplied with whatever is packed there, for sums that nobody reads.
        for (group, acts) in acts.as_chunks::<GROUP>().0.iter().enumerate().take(tokens.div_ceil(GROUP)) {
            let isums = pair_products(&nibbles, acts);
            for ((acc, isums), (d, m)) in acc.iter_mut().zip(isums).zip(d) {
                let Some(acc) = acc.as_chunks_mut::<GROUP>().0.get_mut(group) else { return };
                for ((acc, isum), act) in acc.iter_mut().zip(isums).zip(acts) {
                    *acc = _mm256_add_ps(*acc, block::<MIN>(isum, d, m, act.scale, act.offset));
                }
            }
        }
    }
}

/// The rows' exact products of a block of each panel with each token's.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn pair_products<const P: usize>(w: &[[__m256i; P]; 8], acts: &[Act<[i8; BLOCK]>; GROUP]) -> [[__m256i; GROUP]; P] {
    let mut sums = [[_mm256_setzero_si256(); GROUP]; P];
    for (step, w) in w.iter().enumerate() {
        for (t, act) in acts.iter().enumerate() {
            let Some(q) = act.q.as_chunks::<4>().0.get(step) else { continue };
            let q = _mm256_set1_epi32(i32::from_le_bytes(q.map(i8::cast_unsigned)));
            for (sums, w) in sums.iter_mut().zip(w) {
                sums[t] = _mm256_add_epi16(sums[t], _mm256_maddubs_epi16(*w, q));
            }
        }
    }
    let ones = _mm256_set1_epi16(1);
    for sums in &mut sums {
        for sum in sums {
            *sum = _mm256_madd_epi16(*sum, ones);
        }
    }
    sums
}

/// The products of a panel with one token.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matvec<const MIN: bool>(w: Blocks<'_>, act: ActBlocks<'_>) -> __m256 {
    let mut acc = _mm256_setzero_ps();
    let acts = act.q.iter().zip(act.scale).zip(act.sum);
    for (at, (payload, ((q, scale), sum))) in w.payload.as_chunks::<4>().0.iter().zip(acts).enumerate() {
        fetch::<NEAR, 128>(payload.as_ptr().wrapping_byte_add(AHEAD));
        fetch_scales::<MIN>(w.scales, at);
        let Some((d, m)) = scales::<MIN>(w.scales, at) else { return acc };
        let offset = if MIN { (scale * *sum as f32).to_bits().cast_signed() } else { 8 * sum };
        let isum = products(unpack(payload), q);
        acc = _mm256_add_ps(acc, block::<MIN>(isum, d, m, *scale, offset));
    }
    acc
}

/// The products of a panel with `T` tokens; `ahead`: fetch what follows the panel.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn few<const MIN: bool, const T: usize>(
    w: Blocks<'_>,
    acts: [ActBlocks<'_>; T],
    ahead: bool,
) -> [__m256; T] {
    let mut acc = [_mm256_setzero_ps(); T];
    for (at, payload) in w.payload.as_chunks::<4>().0.iter().enumerate() {
        if ahead {
            fetch::<NEAR, 128>(payload.as_ptr().wrapping_byte_add(AHEAD));
            fetch_scales::<MIN>(w.scales, at);
        }
        let Some((d, m)) = scales::<MIN>(w.scales, at) else { return acc };
        let nibbles = unpack(payload);
        for (act, acc) in acts.iter().zip(&mut acc) {
            let (Some(q), Some(scale), Some(sum)) = (act.q.get(at), act.scale.get(at), act.sum.get(at)) else {
                continue;
            };
            let offset = if MIN { (scale * *sum as f32).to_bits().cast_signed() } else { 8 * sum };
            *acc = _mm256_add_ps(*acc, block::<MIN>(products(nibbles, q), d, m, *scale, offset));
        }
    }
    acc
}
