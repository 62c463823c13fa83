//! Sums of weighted values.

use core::arch::x86_64::*;

use super::{
    super::super::{
        super::ahead::{NEAR, fetch},
        lanes::{load_part, store},
    },
    AHEAD,
};
use crate::scalar::CHUNK;

/// Adds to each query's part of `acc` the chunk's values, summed in position order from +0.0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add<T, const H: usize>(
    weights: &[[f32; CHUNK]; H],
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512 + Copy,
    dim: usize,
    acc: &mut [f32],
) {
    let wide = dim / 64 * 64;
    for at in (0..wide).step_by(64) {
        columns::<T, H, 4>(weights, values, widen, dim, at, acc);
    }
    for at in (wide..dim).step_by(16) {
        columns::<T, H, 1>(weights, values, widen, dim, at, acc);
    }
}

/// Columns `at .. at + 16 C`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn columns<T, const H: usize, const C: usize>(
    weights: &[[f32; CHUNK]; H],
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512,
    dim: usize,
    at: usize,
    acc: &mut [f32],
) {
    let mut sums = [[_mm512_setzero_ps(); C]; H];
    for (pos, row) in (0..CHUNK).zip(values.chunks_exact(dim.max(1))) {
        let Some(row) = row.get(at..at + 16 * C) else { return };
        fetch::<NEAR, 64>(row.as_ptr().wrapping_byte_add(AHEAD));
        let mut v = [_mm512_setzero_ps(); C];
        for (v, row) in v.iter_mut().zip(row.as_chunks::<16>().0) {
            *v = widen(row);
        }
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = _mm512_set1_ps(weights[pos]);
            for (sum, v) in sums.iter_mut().zip(v) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(weight, v));
            }
        }
    }
    for (acc, sums) in acc.chunks_exact_mut(dim.max(1)).zip(sums) {
        let Some(acc) = acc.get_mut(at..) else { return };
        for (acc, sum) in acc.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            let sum = _mm512_add_ps(load_part(acc), sum);
            store(acc, sum);
        }
    }
}
