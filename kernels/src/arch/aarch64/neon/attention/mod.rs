//! Attention: [`chunk`] of one query, the rest of up to sixteen queries at once, which share one head of the cache.
//!
//! A query is in each lane of four registers, [`Quads`]. A key's element is widened and read once for all queries, multiplied
//! with all lanes; a query's eight partial sums are made one after the other, for some keys at once. Scores and weights lie
//! `[position][lane]`. A value is widened once for all queries and read once for four.

pub(super) mod chunk;
mod scores;
mod values;

use core::{arch::aarch64::*, num::NonZeroUsize};

pub(in super::super) use scores::{Blocks, Codes, Dots, KEYS, Widening, codes_of, load_codes};

use super::{exp_cut, load, store, widen_halves};
use crate::{
    CacheRows, Queries, Tile,
    arch::together::{LANES, Lanes, MAX_DIM, Stretch},
    scalar::CHUNK,
};

/// One number of each lane.
type Quads = [float32x4_t; 4];

/// What each of four lanes looks at.
#[derive(Clone, Copy)]
struct Seen {
    start: int32x4_t,
    end: int32x4_t,
}

impl Seen {
    #[inline]
    #[target_feature(enable = "neon")]
    fn of(lanes: &Lanes) -> [Self; 4] {
        let mut out = [Self { start: vdupq_n_s32(0), end: vdupq_n_s32(0) }; 4];
        let (start, end) = (lanes.start.as_chunks::<4>().0, lanes.end.as_chunks::<4>().0);
        for (out, (start, end)) in out.iter_mut().zip(start.iter().zip(end)) {
            // SAFETY: both references are four readable integers.
            *out = unsafe { Self { start: vld1q_s32(start.as_ptr()), end: vld1q_s32(end.as_ptr()) } };
        }
        out
    }

    /// All ones in the lanes that look at position `pos`.
    #[inline]
    #[target_feature(enable = "neon")]
    fn at(&self, pos: usize) -> uint32x4_t {
        let pos = vdupq_n_s32(pos as i32);
        vbicq_u32(vcgtq_s32(self.end, pos), vcgtq_s32(self.start, pos))
    }
}

/// See [`crate::scalar::attend`]; returns false, having done nothing that matters, when these kernels are not made for the
/// shape or lengths do not fit each other.
///
/// # Safety
/// * This CPU has NEON and the instructions of `B`.
#[target_feature(enable = "neon")]
pub(in super::super) unsafe fn attend<B: Blocks>(
    queries: &Queries<'_>,
    keys: &CacheRows<'_>,
    values: &CacheRows<'_>,
    scores: &mut [f32],
    out: &mut Tile<'_>,
) -> bool {
    let dim = queries.head_dim;
    // What the compiler must know without looking into `Lanes::of`, lest it links a panic.
    let Some(heads) = NonZeroUsize::new(queries.heads) else { return false };
    let Some(on) = Stretch::of(queries, keys, values, out) else { return false };
    let Some(lanes) = Lanes::of(queries) else { return false };
    let Some(scores) = scores.as_chunks_mut::<LANES>().0.get_mut(on.first..on.first + on.len) else { return false };
    let seen = Seen::of(&lanes);
    // SAFETY: the caller promises the instructions.
    let max = unsafe { scores::all::<B>(queries, &lanes.unit, seen, &on.keys, on.first, scores) };
    let Some(max) = max else { return false };
    let mut acc = [[0.0; MAX_DIM]; LANES];
    let mut sum = [vdupq_n_f32(0.0); 4];
    for (chunk, weights) in scores.chunks_mut(CHUNK).enumerate() {
        let values = on.values.part(dim, chunk * CHUNK, weights.len());
        let from = on.first + chunk * CHUNK;
        for (quad, ((sum, max), seen)) in sum.iter_mut().zip(max).zip(seen).enumerate() {
            *sum = vaddq_f32(*sum, weigh(weights, quad, from, seen, max));
        }
        if let CacheRows::I8 { scale, .. } = values {
            multiply_halves(weights, scale);
        }
        values::add(weights, lanes.count, &values, dim, &mut acc);
    }
    let mut sums = [0.0; LANES];
    for (sums, sum) in sums.as_chunks_mut::<4>().0.iter_mut().zip(sum) {
        store(sums, sum);
    }
    for ((lane, acc), sum) in acc.iter().take(lanes.count).enumerate().zip(sums) {
        let (t, h) = (lane / heads, lane % heads);
        let out = out.part(t, h * dim, dim);
        for (out, acc) in out.as_chunks_mut::<4>().0.iter_mut().zip(acc.as_chunks::<4>().0) {
            store(out, vdivq_f32(load(acc), vdupq_n_f32(sum)));
        }
    }
    true
}

/// Four lanes' scores of a chunk that begins at position `from` become weights; returns their sums.
#[inline]
#[target_feature(enable = "neon")]
fn weigh(weights: &mut [[f32; LANES]], quad: usize, from: usize, seen: Seen, max: float32x4_t) -> float32x4_t {
    let mut sums = [vdupq_n_f32(0.0); 8];
    for (at, rows) in (0..).step_by(8).zip(weights.chunks_mut(8)) {
        for ((pos, row), sum) in (from + at..).zip(rows).zip(&mut sums) {
            let Some(row) = row.as_chunks_mut::<4>().0.get_mut(quad) else { continue };
            let weight = vandq_u32(seen.at(pos), vreinterpretq_u32_f32(exp_cut(vsubq_f32(load(row), max))));
            let weight = vreinterpretq_f32_u32(weight);
            *sum = vaddq_f32(*sum, weight);
            store(row, weight);
        }
    }
    tree(sums)
}

/// Multiplies each position's weights with its value's scale.
#[inline]
#[target_feature(enable = "neon")]
fn multiply_halves(weights: &mut [[f32; LANES]], scales: &[u16]) {
    for (weights, scale) in weights.iter_mut().zip(scales) {
        let scale = widen_halves(vdup_n_u16(*scale));
        for weights in weights.as_chunks_mut::<4>().0 {
            store(weights, vmulq_f32(load(weights), scale));
        }
    }
}

/// The contract's tree over eight partial sums, in every lane.
#[inline]
#[target_feature(enable = "neon")]
fn tree([a, b, c, d, e, f, g, h]: [float32x4_t; 8]) -> float32x4_t {
    let even = vaddq_f32(vaddq_f32(a, e), vaddq_f32(c, g));
    let odd = vaddq_f32(vaddq_f32(b, f), vaddq_f32(d, h));
    vaddq_f32(even, odd)
}

/// Sixteen numbers.
#[inline]
#[target_feature(enable = "neon")]
fn quads(x: &[f32; LANES]) -> Quads {
    let mut out = [vdupq_n_f32(0.0); 4];
    for (out, x) in out.iter_mut().zip(x.as_chunks::<4>().0) {
        *out = load(x);
    }
    out
}

/// Adds the products of `x` with element `K` of `by`.
#[inline]
#[target_feature(enable = "neon")]
fn multiply<const K: i32>(sums: &mut Quads, x: &Quads, by: float32x4_t) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = vaddq_f32(*sum, vmulq_laneq_f32::<K>(*x, by));
    }
}
