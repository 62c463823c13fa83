//! The second pass: values of a chunk, weighted for all queries at a time, whose sums are in registers. Each weight is used for
//! one multiplication, which brings it from memory to all lanes by itself: an instruction that only did so would take a port
//! (Zen 4).

use core::arch::x86_64::*;

use super::{
    super::{
        super::ahead::{NEAR, fetch},
        lanes::{load_f16, load_part, store},
    },
    LANES,
    scores::AHEAD,
};
use crate::CacheRows;

/// Adds to each lane's `acc` the chunk's values, summed in position order from +0.0. `values`: as many rows of `dim` as there
/// are `weights`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add<const D: usize>(
    weights: &[[f32; LANES]],
    values: &CacheRows<'_>,
    dim: usize,
    acc: &mut [[f32; D]; LANES],
) {
    match *values {
        CacheRows::F32(values) => rows(weights, values, |v| load_part(v), dim, acc),
        CacheRows::F16(values) => rows(weights, values, |v| load_f16(v), dim, acc),
        CacheRows::I8 { q, .. } => rows(weights, q, |v| load_i8(v), dim, acc),
    }
}

/// Sixteen int8 as floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_i8(x: &[i8; 16]) -> __m512 {
    // SAFETY: `x` is sixteen readable bytes; `loadu` asks for no alignment.
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(x.as_ptr().cast()) }))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn rows<T, const D: usize>(
    weights: &[[f32; LANES]],
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512,
    dim: usize,
    acc: &mut [[f32; D]; LANES],
) {
    for at in (0..dim).step_by(16) {
        let mut sums = [_mm512_setzero_ps(); LANES];
        for (weights, row) in weights.iter().zip(values.chunks_exact(dim.max(1))) {
            let Some(row) = row.get(at..).and_then(|row| row.first_chunk()) else { return };
            fetch::<NEAR, 64>(row.as_ptr().wrapping_byte_add(AHEAD));
            let v = widen(row);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(_mm512_set1_ps(*weight), v));
            }
        }
        for (acc, sum) in acc.iter_mut().zip(sums) {
            let Some(acc) = acc.get_mut(at..).and_then(|acc| acc.first_chunk_mut()) else { return };
            store(acc, _mm512_add_ps(load_part(acc), sum));
        }
    }
}
