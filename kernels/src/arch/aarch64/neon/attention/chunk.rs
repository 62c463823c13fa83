//! The two passes of attention: four keys at a time, then eight or more elements of the values in lanes.

use core::arch::aarch64::*;

use super::super::{
    Partial, exp_cut_sum,
    float::{Element, F16, F32, dots},
    load, store, widen_halves,
};
use crate::{BLOCK, CacheRows, Query, float16::f16_to_f32, scalar::CHUNK};

/// See [`crate::scalar::att_scores`].
#[target_feature(enable = "neon")]
pub(in super::super) fn scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
    match *keys {
        CacheRows::F32(keys) => float_scores::<F32>(query.x, keys, scale, out),
        CacheRows::F16(keys) => float_scores::<F16>(query.x, keys, scale, out),
        CacheRows::I8 { q, scale: scales } => int_scores(query, q, scales, scale, out),
    }
}

/// Stores one score and keeps the largest, the first of equals as the specification does.
#[inline(always)]
fn put(out: &mut f32, score: f32, max: &mut f32) {
    *out = score;
    *max = if score > *max { score } else { *max };
}

#[target_feature(enable = "neon")]
fn float_scores<E: Element>(x: &[f32], keys: &[E::Stored], scale: f32, out: &mut [f32]) -> f32 {
    let mut max = f32::NEG_INFINITY;
    let mut keys = keys.chunks_exact(x.len().max(1));
    let (fours, rest) = out.as_chunks_mut::<4>();
    for out in fours {
        let mut next = || keys.next().unwrap_or(&[]);
        let rows = [next(), next(), next(), next()];
        for (out, [dot]) in out.iter_mut().zip(dots::<E, 4, 1>(&rows, &[x])) {
            put(out, dot * scale, &mut max);
        }
    }
    for (out, key) in rest.iter_mut().zip(keys) {
        let [[dot]] = dots::<E, 1, 1>(&[key], &[x]);
        put(out, dot * scale, &mut max);
    }
    max
}

#[target_feature(enable = "neon")]
fn int_scores(query: &Query<'_>, keys: &[i8], scales: &[u16], scale: f32, out: &mut [f32]) -> f32 {
    let mut max = f32::NEG_INFINITY;
    for ((out, key), kd) in out.iter_mut().zip(keys.chunks_exact(query.x.len().max(1))).zip(scales) {
        let kd = f16_to_f32(*kd);
        let mut acc = 0.0f32;
        for ((k, q), qd) in key.chunks(BLOCK).zip(query.q.chunks(BLOCK)).zip(query.scale) {
            acc += (kd * qd) * int_dot(k, q) as f32;
        }
        put(out, acc * scale, &mut max);
    }
    max
}

/// The integer product of two short vectors.
#[inline]
#[target_feature(enable = "neon")]
fn int_dot(k: &[i8], q: &[i8]) -> i32 {
    let mut sums = vdupq_n_s32(0);
    let ((k_eights, k_rest), (q_eights, q_rest)) = (k.as_chunks::<8>(), q.as_chunks::<8>());
    let ((k_pairs, k_last), (q_pairs, q_last)) = (k_eights.as_chunks::<2>(), q_eights.as_chunks::<2>());
    for ([k0, k1], [q0, q1]) in k_pairs.iter().zip(q_pairs) {
        // Two products fit an i16: 2 * 128 * 127 < 2^15.
        let products = vmlal_s8(vmull_s8(load_i8(k0), load_i8(q0)), load_i8(k1), load_i8(q1));
        sums = vpadalq_s16(sums, products);
    }
    for (k, q) in k_last.iter().zip(q_last) {
        sums = vpadalq_s16(sums, vmull_s8(load_i8(k), load_i8(q)));
    }
    let rest: i32 = k_rest.iter().zip(q_rest).map(|(k, q)| *k as i32 * *q as i32).sum();
    vaddvq_s32(sums) + rest
}

#[inline]
#[target_feature(enable = "neon")]
fn load_i8(x: &[i8; 8]) -> int8x8_t {
    // SAFETY: the reference is eight readable bytes.
    unsafe { vld1_s8(x.as_ptr()) }
}

/// See [`crate::scalar::att_values`].
#[target_feature(enable = "neon")]
pub(in super::super) fn values(scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
    let sum = exp_cut_sum(scores, max);
    match *values {
        CacheRows::F32(values) => weigh::<F32>(scores, values, acc),
        CacheRows::F16(values) => weigh::<F16>(scores, values, acc),
        CacheRows::I8 { q, scale } => {
            // `w * vd`, as many positions at a time as a chunk of the contract has; a longer call is split inside the
            // position order of each element, which `weigh` cannot do, so it goes to scalar code.
            let mut products = [0.0f32; CHUNK];
            match products.get_mut(..scores.len().min(scale.len())) {
                Some(products) => {
                    multiply_halves(products, scores, scale);
                    weigh::<I8>(products, q, acc);
                }
                None => weigh_one_by_one(scores, q, scale, acc),
            }
        }
    }
    sum
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_halves(out: &mut [f32], x: &[f32], halves: &[u16]) {
    let ((x, x_rest), (halves, halves_rest)) = (x.as_chunks::<4>(), halves.as_chunks::<4>());
    let (out, out_rest) = out.as_chunks_mut::<4>();
    for ((out, x), halves) in out.iter_mut().zip(x).zip(halves) {
        // SAFETY: the reference is eight readable bytes.
        let halves = unsafe { vld1_u16(halves.as_ptr()) };
        store(out, vmulq_f32(load(x), widen_halves(halves)));
    }
    for ((out, x), half) in out_rest.iter_mut().zip(x_rest).zip(halves_rest) {
        *out = x * f16_to_f32(*half);
    }
}

/// A code of an int8 cache.
pub(super) struct I8;

impl Element for I8 {
    type Stored = i8;

    #[inline(always)]
    unsafe fn load(from: *const i8) -> Partial {
        // SAFETY: the caller promises NEON and eight readable elements.
        unsafe {
            let wide = vmovl_s8(vld1_s8(from));
            [vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide))]
        }
    }

    #[inline(always)]
    fn widen(from: i8) -> f32 {
        from as f32
    }
}

/// Adds to `acc` the sum over positions of `weights[i] * values[i]`, each element in position order from +0.0.
#[inline]
#[target_feature(enable = "neon")]
fn weigh<E: Element>(weights: &[f32], values: &[E::Stored], acc: &mut [f32]) {
    let head_dim = acc.len().max(1);
    let mut at = 0;
    let (wide, rest) = acc.as_chunks_mut::<32>();
    for acc in wide {
        weigh_lanes::<E, 4>(weights, values, head_dim, at, acc.as_chunks_mut::<8>().0);
        at += 32;
    }
    let (eights, rest) = rest.as_chunks_mut::<8>();
    for acc in eights {
        weigh_lanes::<E, 1>(weights, values, head_dim, at, core::slice::from_mut(acc));
        at += 8;
    }
    for (i, acc) in rest.iter_mut().enumerate() {
        let mut chunk = 0.0f32;
        for (w, v) in weights.iter().zip(values.iter().skip(at + i).step_by(head_dim)) {
            chunk += w * E::widen(*v);
        }
        *acc += chunk;
    }
}

/// The `8 * N` elements from `at` on.
#[inline]
#[target_feature(enable = "neon")]
fn weigh_lanes<E: Element, const N: usize>(
    weights: &[f32],
    values: &[E::Stored],
    head_dim: usize,
    at: usize,
    acc: &mut [[f32; 8]],
) {
    let mut chunk = [[vdupq_n_f32(0.0); 2]; N];
    for (w, row) in weights.iter().zip(values.chunks_exact(head_dim)) {
        let Some(row) = row.get(at..at + 8 * N) else { return };
        for (i, [low, high]) in chunk.iter_mut().enumerate() {
            // SAFETY: `i < N` and `row` has `8 * N` elements. NEON as in this function.
            let [v_low, v_high] = unsafe { E::load(row.as_ptr().add(8 * i)) };
            *low = vaddq_f32(*low, vmulq_n_f32(v_low, *w));
            *high = vaddq_f32(*high, vmulq_n_f32(v_high, *w));
        }
    }
    for (acc, [low, high]) in acc.iter_mut().zip(chunk) {
        if let [a, b] = acc.as_chunks_mut::<4>().0 {
            store(a, vaddq_f32(load(a), low));
            store(b, vaddq_f32(load(b), high));
        }
    }
}

/// An int8 stretch longer than a chunk.
#[cold]
fn weigh_one_by_one(weights: &[f32], values: &[i8], scales: &[u16], acc: &mut [f32]) {
    let head_dim = acc.len().max(1);
    for (d, acc) in acc.iter_mut().enumerate() {
        let mut chunk = 0.0f32;
        for ((w, vd), v) in weights.iter().zip(scales).zip(values.iter().skip(d).step_by(head_dim)) {
            chunk += (w * f16_to_f32(*vd)) * *v as f32;
        }
        *acc += chunk;
    }
}
