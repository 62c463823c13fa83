//! The second pass: values of a chunk, weighted for four queries at a time, whose sums are in registers.

use core::arch::aarch64::*;

use super::{
    super::{
        float::{Element, F16, F32},
        load, store,
    },
    LANES, MAX_DIM,
    chunk::I8,
    multiply, quads,
};
use crate::{CacheRows, scalar::CHUNK};

/// Queries at once: sixteen sums, beside sixteen elements of a value.
const GROUP: usize = 4;

/// Sixteen elements of each value, as floats.
type Wide = [[f32; 16]; CHUNK];

/// Adds to the `acc` of the first `count` lanes the chunk's values, summed in position order from +0.0. `values`: as many rows
/// of `dim` as there are `weights`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add(
    weights: &[[f32; LANES]],
    count: usize,
    values: &CacheRows<'_>,
    dim: usize,
    acc: &mut [[f32; MAX_DIM]; LANES],
) {
    match *values {
        CacheRows::F32(values) => rows::<F32>(weights, count, values, dim, acc),
        CacheRows::F16(values) => rows::<F16>(weights, count, values, dim, acc),
        CacheRows::I8 { q, .. } => rows::<I8>(weights, count, q, dim, acc),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn rows<E: Element>(
    weights: &[[f32; LANES]],
    count: usize,
    values: &[E::Stored],
    dim: usize,
    acc: &mut [[f32; MAX_DIM]; LANES],
) {
    let mut wide: Wide = [[0.0; 16]; CHUNK];
    for at in (0..dim).step_by(16) {
        for (wide, row) in wide.iter_mut().zip(values.chunks_exact(dim.max(1))) {
            let Some(row) = row.get(at..).and_then(|row| row.first_chunk::<16>()) else { return };
            for (wide, row) in wide.as_chunks_mut::<8>().0.iter_mut().zip(row.as_chunks::<8>().0) {
                // SAFETY: the reference is eight readable elements. NEON as in this function.
                let row = unsafe { E::load(row.as_ptr()) };
                for (wide, row) in wide.as_chunks_mut::<4>().0.iter_mut().zip(row) {
                    store(wide, row);
                }
            }
        }
        columns(weights, count, &wide, at, acc);
    }
}

/// The sixteen elements from `at` on.
#[inline(never)]
#[target_feature(enable = "neon")]
fn columns(weights: &[[f32; LANES]], count: usize, values: &Wide, at: usize, acc: &mut [[f32; MAX_DIM]; LANES]) {
    for (group, acc) in acc.as_chunks_mut::<GROUP>().0.iter_mut().take(count.div_ceil(GROUP)).enumerate() {
        let mut sums = [[vdupq_n_f32(0.0); 4]; GROUP];
        let [a, b, c, d] = &mut sums;
        for (weights, values) in weights.iter().zip(values) {
            let Some(weights) = weights.as_chunks::<GROUP>().0.get(group) else { return };
            let (weights, values) = (load(weights), quads(values));
            multiply::<0>(a, &values, weights);
            multiply::<1>(b, &values, weights);
            multiply::<2>(c, &values, weights);
            multiply::<3>(d, &values, weights);
        }
        for (acc, sums) in acc.iter_mut().zip(sums) {
            let Some(acc) = acc.get_mut(at..) else { return };
            for (acc, sum) in acc.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                let sum = vaddq_f32(load(acc), sum);
                store(acc, sum);
            }
        }
    }
}
