//! Scores over an int8 cache: four keys at a time, with one query or with sixteen.

use core::arch::aarch64::*;

use super::{
    super::neon::{
        attention::{Blocks, Codes, Dots, KEYS, codes_of, load_codes},
        store, widen_halves,
    },
    sdot, sdot_lane,
};
use crate::{BLOCK, Query, float16::f16_to_f32};

/// Whether the query is of whole blocks, as most heads are.
pub(super) fn fits(query: &Query<'_>) -> bool {
    !query.q.is_empty() && query.q.len().is_multiple_of(BLOCK) && query.q.len() == query.x.len()
}

/// See [`crate::scalar::att_scores`]; for queries that [fit](fits).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int_scores(query: &Query<'_>, keys: &[i8], scales: &[u16], scale: f32, out: &mut [f32]) -> f32 {
    let mut max = f32::NEG_INFINITY;
    let q = query.q.as_chunks::<BLOCK>().0;
    let mut keys = keys.as_chunks::<BLOCK>().0.chunks_exact(q.len().max(1));
    let (fours, rest) = out.as_chunks_mut::<4>();
    let rest_scales = scales.iter().skip(4 * fours.len());
    for (out, kd) in fours.iter_mut().zip(scales.as_chunks::<4>().0) {
        let (Some(a), Some(b), Some(c), Some(d)) = (keys.next(), keys.next(), keys.next(), keys.next()) else { break };
        // SAFETY: the reference is eight readable bytes.
        let kd = widen_halves(unsafe { vld1_u16(kd.as_ptr()) });
        let mut acc = vdupq_n_f32(0.0);
        for (((a, b), (c, d)), (q, qd)) in a.iter().zip(b).zip(c.iter().zip(d)).zip(q.iter().zip(query.scale)) {
            let q = load(q);
            let ab = vpaddq_s32(int_dot(load(a), q), int_dot(load(b), q));
            let cd = vpaddq_s32(int_dot(load(c), q), int_dot(load(d), q));
            let isum = vcvtq_f32_s32(vpaddq_s32(ab, cd));
            acc = vaddq_f32(acc, vmulq_f32(vmulq_n_f32(kd, *qd), isum));
        }
        store(out, vmulq_n_f32(acc, scale));
        for score in out {
            max = if *score > max { *score } else { max };
        }
    }
    for ((out, key), kd) in rest.iter_mut().zip(keys).zip(rest_scales) {
        let kd = f16_to_f32(*kd);
        let mut acc = 0.0f32;
        for ((k, q), qd) in key.iter().zip(q).zip(query.scale) {
            acc += (kd * qd) * vaddvq_s32(int_dot(load(k), load(q))) as f32;
        }
        *out = acc * scale;
        max = if *out > max { *out } else { max };
    }
    max
}

/// The integer product of two blocks, in four parts.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn int_dot([k_low, k_high]: [int8x16_t; 2], [q_low, q_high]: [int8x16_t; 2]) -> int32x4_t {
    sdot(sdot(vdupq_n_s32(0), k_low, q_low), k_high, q_high)
}

/// A block.
#[inline]
#[target_feature(enable = "neon")]
fn load(x: &[i8; BLOCK]) -> [int8x16_t; 2] {
    // SAFETY: the reference is 32 readable bytes; `ld1` asks for no alignment.
    unsafe { [vld1q_s8(x.as_ptr()), vld1q_s8(x.as_ptr().add(16))] }
}

/// Four codes of four queries with a key's four, in one instruction.
pub(super) struct Sdot;

impl Blocks for Sdot {
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn dots(q: &Codes, keys: [&[i8]; KEYS]) -> Dots {
        let mut sums = [[vdupq_n_s32(0); 4]; KEYS];
        for (half, [q0, q1, q2, q3]) in q.as_chunks::<4>().0.iter().enumerate() {
            // Past the end of a head, queries are 0.
            let mut codes = [vdupq_n_s8(0); KEYS];
            for (codes, key) in codes.iter_mut().zip(keys) {
                if let Some(key) = key.as_chunks().0.get(half) {
                    *codes = load_codes(key);
                }
            }
            four::<0>(&mut sums, codes_of(q0), &codes);
            four::<1>(&mut sums, codes_of(q1), &codes);
            four::<2>(&mut sums, codes_of(q2), &codes);
            four::<3>(&mut sums, codes_of(q3), &codes);
        }
        sums
    }
}

/// Adds the products of four codes of each lane with the keys' in lane `LANE`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn four<const LANE: u8>(sums: &mut Dots, q: [int8x16_t; 4], keys: &[int8x16_t; KEYS]) {
    for (sums, key) in sums.iter_mut().zip(keys) {
        for (sum, q) in sums.iter_mut().zip(q) {
            *sum = sdot_lane::<LANE>(*sum, q, *key);
        }
    }
}
