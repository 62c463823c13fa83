//! The second pass: values of a chunk, weighted for four queries at a time, whose sums are in registers.

use core::arch::x86_64::*;

use super::{
    super::{
        super::ahead::{NEAR, fetch},
        lanes::{load, load_f16, load_i8, store},
    },
    LANES, MAX_DIM, Pair,
    scores::AHEAD,
};
use crate::{CacheRows, scalar::CHUNK};

/// Queries at once: eight sums, beside sixteen elements of a value.
const GROUP: usize = 4;

/// Adds to the `acc` of the first `count` lanes the chunk's values, summed in position order from +0.0. `values`: as many rows
/// of `dim` as there are `weights`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn add(
    weights: &[[f32; LANES]],
    count: usize,
    values: &CacheRows<'_>,
    dim: usize,
    acc: &mut [[f32; MAX_DIM]; LANES],
) {
    match *values {
        CacheRows::F32(values) => rows(weights, count, values, |v| load(v), dim, acc),
        CacheRows::F16(values) => rows(weights, count, values, |v| load_f16(v), dim, acc),
        CacheRows::I8 { q, .. } => rows(weights, count, q, |v| load_i8(v), dim, acc),
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn rows<T>(
    weights: &[[f32; LANES]],
    count: usize,
    values: &[T],
    widen: impl Fn(&[T; 8]) -> __m256,
    dim: usize,
    acc: &mut [[f32; MAX_DIM]; LANES],
) {
    let zero = _mm256_setzero_ps();
    // Sixteen elements of each value, as floats.
    let mut wide: [Pair; CHUNK] = [[zero; 2]; CHUNK];
    for at in (0..dim).step_by(16) {
        for (wide, row) in wide.iter_mut().zip(values.chunks_exact(dim.max(1))) {
            let Some(row) = row.get(at..).and_then(|row| row.first_chunk::<16>()) else { return };
            fetch::<NEAR, 64>(row.as_ptr().wrapping_byte_add(AHEAD));
            for (wide, row) in wide.iter_mut().zip(row.as_chunks::<8>().0) {
                *wide = widen(row);
            }
        }
        for (group, acc) in acc.as_chunks_mut::<GROUP>().0.iter_mut().take(count.div_ceil(GROUP)).enumerate() {
            let mut sums = [[zero; 2]; GROUP];
            for (weights, values) in weights.iter().zip(&wide) {
                let Some(weights) = weights.as_chunks::<GROUP>().0.get(group) else { return };
                for (sums, weight) in sums.iter_mut().zip(weights) {
                    let weight = _mm256_set1_ps(*weight);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = _mm256_add_ps(*sum, _mm256_mul_ps(weight, *value));
                    }
                }
            }
            for (acc, sums) in acc.iter_mut().zip(sums) {
                let Some(acc) = acc.get_mut(at..) else { return };
                for (acc, sum) in acc.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
                    let sum = _mm256_add_ps(load(acc), sum);
                    store(acc, sum);
                }
            }
        }
    }
}
