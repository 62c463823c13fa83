//! Writing keys and values to the cache; specified in [`crate::scalar`].

use core::arch::x86_64::*;

use super::{
    lanes::{load, store_i8x32},
    vector::largest,
};
use crate::{
    NotFinite,
    float16::{f16_to_f32, f32_to_f16},
    scalar::{INFINITE, round_clamp},
};

/// See [`crate::scalar::store_f16`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn store_f16(x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
    let count = x.len().min(out.len());
    let (Some(x), Some(out)) = (x.get(..count), out.get_mut(..count)) else { return Ok(()) };
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<8>(), out.as_chunks_mut::<8>());
    let infinite = _mm_set1_epi16(0x7c00);
    let mut bad = _mm_setzero_si128();
    for (x, out) in x.iter().zip(out) {
        // Nearest, ties to even, whatever MXCSR says; subnormal halves are made, and NaN keeps its upper bits.
        let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load(x));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi16(_mm_and_si128(halves, infinite), infinite));
        // SAFETY: `out` is sixteen writable bytes; `storeu` asks for no alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), halves) };
    }
    let mut is_bad = _mm_movemask_epi8(bad) != 0;
    for (x, out) in x_rest.iter().zip(out_rest) {
        *out = f32_to_f16(*x);
        is_bad |= *out & 0x7c00 == 0x7c00;
    }
    if is_bad { Err(NotFinite) } else { Ok(()) }
}

/// See [`crate::scalar::store_i8`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn store_i8(x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
    let max = largest(x);
    if max >= INFINITE {
        return Err(NotFinite);
    }
    let scale = f32_to_f16(f32::from_bits(max) / 127.0);
    if scale >= 0x7c00 {
        return Err(NotFinite);
    }
    let id = if scale == 0 { 0.0 } else { 1.0 / f16_to_f32(scale) };
    let count = x.len().min(out.len());
    let (Some(x), Some(out)) = (x.get(..count), out.get_mut(..count)) else { return Ok(scale) };
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<32>(), out.as_chunks_mut::<32>());
    let (low, high) = (_mm256_set1_ps(-127.0), _mm256_set1_ps(127.0));
    for (x, out) in x.iter().zip(out) {
        let mut codes = [_mm256_setzero_si256(); 4];
        for (codes, x) in codes.iter_mut().zip(x.as_chunks::<8>().0) {
            // The constant where the product is NaN, as the scalar comparisons have it.
            let x = _mm256_max_ps(_mm256_mul_ps(load(x), _mm256_set1_ps(id)), low);
            *codes = _mm256_cvtps_epi32(_mm256_min_ps(x, high));
        }
        store_i8x32(out, codes);
    }
    for (x, out) in x_rest.iter().zip(out_rest) {
        *out = round_clamp(*x * id);
    }
    Ok(scale)
}
