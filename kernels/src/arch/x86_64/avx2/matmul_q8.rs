//! Inner loops for Q8 weights.
//!
//! `vpmaddubsw` wants one unsigned operand: |w|, with its sign moved to the activation. A 16-bit lane gets at most
//! `2 * 128 * 127 = 32512`, so -128 is a legal weight, but two k-steps may overflow and each is widened by itself. That is
//! three multiplier operations a k-step. Widening weights and activations to 16 bits for `vpmaddwd` needs two and twice the
//! loads, and measured no faster with many tokens.

use core::arch::x86_64::*;

use super::{
    lanes::{fetch, load_bytes, load_f16},
    matmul::{AHEAD, Act, ActBlocks, Blocks, SCALES_AHEAD, TOKENS},
};
use crate::BLOCK;

/// Packs a block.
#[inline]
pub(super) fn pack(q: &[i8; BLOCK], scale: f32, _: i32) -> Act<[i8; BLOCK]> {
    Act { q: *q, scale, offset: 0 }
}

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

/// Tokens that share a block's vectors in registers.
const GROUP: usize = 4;

/// Adds a stretch of a panel's blocks to the products with `tokens` tokens.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn tile(w: Blocks<'_>, acts: &[[Act<[i8; BLOCK]>; TOKENS]], tokens: usize, acc: &mut [__m256; TOKENS]) {
    for ((payload, d), acts) in w.payload.as_chunks::<8>().0.iter().zip(w.scales).zip(acts) {
        let d = load_f16(d);
        // What is left over is multiplied with whatever is packed there, for sums that nobody reads.
        let groups = acts.as_chunks::<GROUP>().0.iter().zip(acc.as_chunks_mut::<GROUP>().0);
        for (acts, acc) in groups.take(tokens.div_ceil(GROUP)) {
            let [a, b, c, e] = acts;
            let isums = products(payload, [&a.q, &b.q, &c.q, &e.q]);
            for ((act, acc), isum) in acts.iter().zip(acc).zip(isums) {
                *acc = add(*acc, isum, d, act.scale);
            }
        }
    }
}

/// The products of a panel with one token.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matvec(w: Blocks<'_>, act: ActBlocks<'_>) -> __m256 {
    let mut acc = _mm256_setzero_ps();
    let weights = w.payload.as_chunks::<8>().0.iter().zip(w.scales);
    for ((payload, d), (q, scale)) in weights.zip(act.q.iter().zip(act.scale)) {
        fetch::<_, 256>(payload.as_ptr().wrapping_byte_add(AHEAD));
        fetch::<_, 64>(d.as_ptr().wrapping_byte_add(SCALES_AHEAD));
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
            fetch::<_, 256>(payload.as_ptr().wrapping_byte_add(AHEAD));
            fetch::<_, 64>(d.as_ptr().wrapping_byte_add(SCALES_AHEAD));
        }
        let d = load_f16(d);
        for (act, acc) in acts.iter().zip(&mut acc) {
            let (Some(q), Some(scale)) = (act.q.get(at), act.scale.get(at)) else { continue };
            let [isum] = products(payload, [q]);
            *acc = add(*acc, isum, d, *scale);
        }
    }
    acc
}
