//! Inner loops for Q8 weights.
//!
//! `vpmaddubsw` wants one unsigned operand: |w|, with its sign moved to the activation. A 16-bit lane gets at most
//! `2 * 128 * 127 = 32512`, so -128 is a legal weight, but two k-steps may overflow and each is widened by itself. That is
//! three multiplier operations a k-step. Widening weights and activations to 16 bits for `vpmaddwd` needs two, and twice the
//! loads: [`tile`] does, where a vector of weights serves four tokens and an activation two panels.

use core::arch::x86_64::*;

use super::{
    super::ahead::{Ahead, NEAR, fetch},
    lanes::{load_bytes, load_f16},
    matmul::{AHEAD, Act, ActBlocks, Blocks, GROUP, SCALES_AHEAD, TOKENS, fetch_ahead, pairs},
};
use crate::BLOCK;

/// The eight rows' exact products with one block of activations of each of some tokens.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn products<const T: usize>(w: &[[u8; 32]; 8], q: [&[i8; BLOCK]; T]) -> [__m256i; T] {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); T];
    for (step, w) in w.iter().enumerate() {
        let w = load_bytes(w);
        let magnitude = _mm256_abs_epi8(w);
        for (sum, q) in sums.iter_mut().zip(q) {
            let Some(q) = q.as_chunks::<4>().0.get(step) else { continue };
            let q = _mm256_set1_epi32(i32::from_le_bytes(q.map(i8::cast_unsigned)));
            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(q, w));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    sums
}

/// Adds a block's exact product to a sum.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add(acc: __m256, isum: __m256i, d: __m256, scale: f32) -> __m256 {
    let d = _mm256_mul_ps(d, _mm256_set1_ps(scale));
    _mm256_add_ps(acc, _mm256_mul_ps(d, _mm256_cvtepi32_ps(isum)))
}

/// A block of activations as int16 in the order of [`widen`]: its k-steps' elements 0 and 2, then its k-steps' elements 1 and 3.
type Wide = [[[i16; 2]; 8]; 2];

/// Packs a block for [`tile`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn pack(q: &[i8; BLOCK], scale: f32, _: i32) -> Act<Wide> {
    let mut wide = [[[0; 2]; 8]; 2];
    // SAFETY: 32 readable bytes, and twice 32 writable ones; neither asks for alignment.
    unsafe {
        let halves = widen(_mm256_loadu_si256(q.as_ptr().cast()));
        for (wide, half) in wide.iter_mut().zip(halves) {
            _mm256_storeu_si256(wide.as_mut_ptr().cast(), half);
        }
    }
    Act { q: wide, scale, offset: 0 }
}

/// Four int8 a lane as twice two int16: the elements 0 and 2, and the elements 1 and 3.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn widen(bytes: __m256i) -> [__m256i; 2] {
    [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)]
}

/// Adds a stretch of each panel's blocks to its products with `tokens` tokens.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn tile(
    w: &[Blocks<'_>],
    acts: &[[Act<Wide>; TOKENS]],
    tokens: usize,
    acc: &mut [[__m256; TOKENS]],
    ahead: Ahead,
) {
    let (pairs, one) = pairs(w, acc);
    for (w, acc) in pairs {
        some(w, acts, tokens, acc, ahead);
    }
    if let Some((w, acc)) = one {
        some(w, acts, tokens, acc, ahead);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn some<const P: usize>(
    w: &[Blocks<'_>; P],
    acts: &[[Act<Wide>; TOKENS]],
    tokens: usize,
    acc: &mut [[__m256; TOKENS]; P],
    ahead: Ahead,
) {
    let mut wide = [[[_mm256_setzero_si256(); P]; 8]; 2];
    for (at, acts) in acts.iter().enumerate() {
        let mut d = [_mm256_setzero_ps(); P];
        for (p, (w, d)) in w.iter().zip(&mut d).enumerate() {
            let (Some(payload), Some(scales)) = (w.payload.as_chunks::<8>().0.get(at), w.scales.get(at)) else {
                return;
            };
            fetch_ahead(ahead, payload);
            *d = load_f16(scales);
            let [even, odd] = &mut wide;
            for ((even, odd), bytes) in even.iter_mut().zip(odd).zip(payload) {
                [even[p], odd[p]] = widen(load_bytes(bytes));
            }
        }
        // What is left over is multiplied with whatever is packed there, for sums that nobody reads.
        for (group, acts) in acts.as_chunks::<GROUP>().0.iter().enumerate().take(tokens.div_ceil(GROUP)) {
            let isums = wide_products(&wide, acts);
            for ((acc, isums), d) in acc.iter_mut().zip(isums).zip(d) {
                let Some(acc) = acc.as_chunks_mut::<GROUP>().0.get_mut(group) else { return };
                for ((acc, isum), act) in acc.iter_mut().zip(isums).zip(acts) {
                    *acc = add(*acc, isum, d, act.scale);
                }
            }
        }
    }
}

/// The rows' exact products of a block of each panel with each token's.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn wide_products<const P: usize>(w: &[[[__m256i; P]; 8]; 2], acts: &[Act<Wide>; GROUP]) -> [[__m256i; GROUP]; P] {
    let mut sums = [[_mm256_setzero_si256(); GROUP]; P];
    for (half, w) in w.iter().enumerate() {
        for (step, w) in w.iter().enumerate() {
            for (t, act) in acts.iter().enumerate() {
                let [a, b] = act.q[half][step];
                let q = _mm256_set1_epi32(i32::from(a as u16) | i32::from(b) << 16);
                for (sums, w) in sums.iter_mut().zip(w) {
                    sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(*w, q));
                }
            }
        }
    }
    sums
}

/// The products of a panel with one token.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matvec(w: Blocks<'_>, act: ActBlocks<'_>) -> __m256 {
    let mut acc = _mm256_setzero_ps();
    let weights = w.payload.as_chunks::<8>().0.iter().zip(w.scales);
    for ((payload, d), (q, scale)) in weights.zip(act.q.iter().zip(act.scale)) {
        fetch::<NEAR, 256>(payload.as_ptr().wrapping_byte_add(AHEAD));
        fetch::<NEAR, 64>(d.as_ptr().wrapping_byte_add(SCALES_AHEAD));
        let [isum] = products(payload, [q]);
        acc = add(acc, isum, load_f16(d), *scale);
    }
    acc
}

/// The products of a panel with `T` tokens; `ahead`: fetch what follows the panel.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn few<const T: usize>(w: Blocks<'_>, acts: [ActBlocks<'_>; T], ahead: bool) -> [__m256; T] {
    let mut acc = [_mm256_setzero_ps(); T];
    for (at, (payload, d)) in w.payload.as_chunks::<8>().0.iter().zip(w.scales).enumerate() {
        if ahead {
            fetch::<NEAR, 256>(payload.as_ptr().wrapping_byte_add(AHEAD));
            fetch::<NEAR, 64>(d.as_ptr().wrapping_byte_add(SCALES_AHEAD));
        }
        let d = load_f16(d);
        let mut q = [&[0; BLOCK]; T];
        for (q, act) in q.iter_mut().zip(&acts) {
            let Some(block) = act.q.get(at) else { return acc };
            *q = block;
        }
        for ((act, acc), isum) in acts.iter().zip(&mut acc).zip(products(payload, q)) {
            let Some(scale) = act.scale.get(at) else { continue };
            *acc = add(*acc, isum, d, *scale);
        }
    }
    acc
}
