//! Scores over an int8 cache: four keys at a time.

use core::arch::aarch64::*;

use super::{super::neon::widen_halves, sdot};
use crate::{Query, float16::f16_to_f32};

/// Values in a register. A block of the contract has two registers of them, or one where the head ends.
const LANES: usize = 16;

/// Whether the query's heads are whole registers.
pub(super) fn fits(query: &Query<'_>) -> bool {
    !query.q.is_empty() && query.q.len().is_multiple_of(LANES) && query.q.len() == query.x.len()
}

/// See [`crate::scalar::att_scores`]; for queries that [fit](fits).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int_scores(query: &Query<'_>, keys: &[i8], scales: &[u16], scale: f32, out: &mut [f32]) -> f32 {
    let mut max = f32::NEG_INFINITY;
    let q = query.q.as_chunks::<LANES>().0;
    let mut keys = keys.as_chunks::<LANES>().0.chunks_exact(q.len().max(1));
    let (fours, rest) = out.as_chunks_mut::<4>();
    let (scale_fours, _) = scales.as_chunks::<4>();
    let scale_rest = scales.iter().skip(4 * fours.len());
    for (out, kd) in fours.iter_mut().zip(scale_fours) {
        let (Some(a), Some(b), Some(c), Some(d)) = (keys.next(), keys.next(), keys.next(), keys.next()) else { break };
        let keys = a.chunks(2).zip(b.chunks(2)).zip(c.chunks(2).zip(d.chunks(2)));
        // SAFETY: the reference is eight readable bytes.
        let kd = widen_halves(unsafe { vld1_u16(kd.as_ptr()) });
        let mut acc = vdupq_n_f32(0.0);
        for ((((a, b), (c, d)), q), qd) in keys.zip(q.chunks(2)).zip(query.scale) {
            let ab = vpaddq_s32(int_dot(a, q), int_dot(b, q));
            let cd = vpaddq_s32(int_dot(c, q), int_dot(d, q));
            let isum = vcvtq_f32_s32(vpaddq_s32(ab, cd));
            acc = vaddq_f32(acc, vmulq_f32(vmulq_n_f32(kd, *qd), isum));
        }
        super::super::neon::store(out, vmulq_n_f32(acc, scale));
        max = out.iter().fold(max, |max, score| if *score > max { *score } else { max });
    }
    for ((out, key), kd) in rest.iter_mut().zip(keys).zip(scale_rest) {
        let kd = f16_to_f32(*kd);
        let mut acc = 0.0f32;
        for ((k, q), qd) in key.chunks(2).zip(q.chunks(2)).zip(query.scale) {
            acc += (kd * qd) * vaddvq_s32(int_dot(k, q)) as f32;
        }
        *out = acc * scale;
        max = if *out > max { *out } else { max };
    }
    max
}

/// The integer product of two short vectors, in four parts.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn int_dot(k: &[[i8; LANES]], q: &[[i8; LANES]]) -> int32x4_t {
    k.iter().zip(q).fold(vdupq_n_s32(0), |sum, (k, q)| {
        // SAFETY: the references are sixteen readable bytes each.
        let (k, q) = unsafe { (vld1q_s8(k.as_ptr()), vld1q_s8(q.as_ptr())) };
        sdot(sum, k, q)
    })
}
