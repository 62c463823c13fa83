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

/// The eight rows' exact products with one block of activations.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn products(w: &[[u8; 32]; 8], q: &[i8; BLOCK]) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    let mut sum = _mm256_setzero_si256();
    for (w, q) in w.iter().zip(q.as_chunks::<4>().0) {
        let w = load_bytes(w);
        let q = _mm256_set1_epi32(i32::from_le_bytes(q.map(i8::cast_unsigned)));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    sum
}

/// Adds a stretch of a panel's blocks to the products with `tokens` tokens.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn tile(w: Blocks<'_>, acts: &[[Act<[i8; BLOCK]>; TOKENS]], tokens: usize, acc: &mut [__m256; TOKENS]) {
    for ((payload, d), acts) in w.payload.as_chunks::<8>().0.iter().zip(w.scales).zip(acts) {
        let d = load_f16(d);
        for (act, acc) in acts.iter().zip(acc.iter_mut()).take(tokens) {
            let isum = _mm256_cvtepi32_ps(products(payload, &act.q));
            *acc = _mm256_add_ps(*acc, _mm256_mul_ps(_mm256_mul_ps(d, _mm256_set1_ps(act.scale)), isum));
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
        let isum = _mm256_cvtepi32_ps(products(payload, q));
        acc = _mm256_add_ps(acc, _mm256_mul_ps(_mm256_mul_ps(load_f16(d), _mm256_set1_ps(*scale)), isum));
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
            let isum = _mm256_cvtepi32_ps(products(payload, q));
            *acc = _mm256_add_ps(*acc, _mm256_mul_ps(_mm256_mul_ps(d, _mm256_set1_ps(*scale)), isum));
        }
    }
    acc
}
