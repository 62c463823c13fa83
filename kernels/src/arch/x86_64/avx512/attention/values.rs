//! The second pass: values of a chunk, weighted for eight queries at a time.

use core::arch::x86_64::*;

use super::{
    super::lanes::{load_f16, load_part, store},
    LANES, MAX_DIM,
};
use crate::CacheRows;

/// Queries whose sums are in registers together, two vectors of each.
const GROUP: usize = 8;

/// Adds to each lane's `acc` the chunk's values, summed in position order from +0.0. `values`: as many rows of `dim` as there
/// are `weights`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add(
    weights: &[[f32; LANES]],
    values: &CacheRows<'_>,
    dim: usize,
    lanes: usize,
    acc: &mut [[f32; MAX_DIM]; LANES],
) {
    match *values {
        CacheRows::F32(values) => rows(weights, values, |v| load_part(v), dim, lanes, acc),
        CacheRows::F16(values) => rows(weights, values, |v| load_f16(v), dim, lanes, acc),
        CacheRows::I8 { q, .. } => rows(weights, q, |v| load_i8(v), dim, lanes, acc),
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
fn rows<T>(
    weights: &[[f32; LANES]],
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512 + Copy,
    dim: usize,
    lanes: usize,
    acc: &mut [[f32; MAX_DIM]; LANES],
) {
    for (first, acc) in (0..lanes).step_by(GROUP).zip(acc.as_chunks_mut::<GROUP>().0) {
        let wide = dim / 32 * 32;
        for at in (0..wide).step_by(32) {
            columns::<T, 2>(weights, first, values, widen, dim, at, acc);
        }
        for at in (wide..dim).step_by(16) {
            columns::<T, 1>(weights, first, values, widen, dim, at, acc);
        }
    }
}

/// Columns `at .. at + 16 C` for the queries from lane `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn columns<T, const C: usize>(
    weights: &[[f32; LANES]],
    first: usize,
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512,
    dim: usize,
    at: usize,
    acc: &mut [[f32; MAX_DIM]; GROUP],
) {
    let mut sums = [[_mm512_setzero_ps(); C]; GROUP];
    for (weights, row) in weights.iter().zip(values.chunks_exact(dim.max(1))) {
        let weights = weights.get(first..).and_then(|weights| weights.first_chunk::<GROUP>());
        let (Some(weights), Some(row)) = (weights, row.get(at..)) else { return };
        let mut v = [_mm512_setzero_ps(); C];
        for (v, row) in v.iter_mut().zip(row.as_chunks::<16>().0) {
            *v = widen(row);
        }
        for (sums, weight) in sums.iter_mut().zip(weights) {
            let weight = _mm512_set1_ps(*weight);
            for (sum, v) in sums.iter_mut().zip(v) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(weight, v));
            }
        }
    }
    for (acc, sums) in acc.iter_mut().zip(sums) {
        let Some(acc) = acc.get_mut(at..) else { return };
        for (acc, sum) in acc.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            let sum = _mm512_add_ps(load_part(acc), sum);
            store(acc, sum);
        }
    }
}
