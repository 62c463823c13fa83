//! The two passes of attention: four keys at a time, then eight or more elements of the values in lanes.

use core::arch::wasm32::*;

use super::{
    float::{Element, F16, F32, dots},
    lanes::{Partial, load, load_halves, store},
    math::exp_cut_sum,
};
use crate::{BLOCK, CacheRows, Query, float16::f16_to_f32, scalar::CHUNK, slice::part};

/// See [`crate::scalar::att_scores`].
pub(super) fn scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
    match *keys {
        CacheRows::F32(keys) if cfg!(feature = "cache-f32") => float_scores::<F32>(query.x, keys, scale, out),
        CacheRows::F16(keys) if cfg!(feature = "cache-f16") => float_scores::<F16>(query.x, keys, scale, out),
        CacheRows::I8 { q, scale: scales } if cfg!(feature = "cache-i8") => int_scores(query, q, scales, scale, out),
        // What is left out has been refused.
        _ => f32::NEG_INFINITY,
    }
}

/// Stores one score and keeps the largest, the first of equals as the specification does.
#[inline(always)]
fn put(out: &mut f32, score: f32, max: &mut f32) {
    *out = score;
    *max = if score > *max { score } else { *max };
}

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

fn int_scores(query: &Query<'_>, keys: &[i8], scales: &[u16], scale: f32, out: &mut [f32]) -> f32 {
    let head_dim = query.x.len().max(1);
    let mut max = f32::NEG_INFINITY;
    let mut keys = keys.chunks_exact(head_dim);
    let ((fours, rest), (four_scales, scales_rest)) = (out.as_chunks_mut::<4>(), scales.as_chunks::<4>());
    for (out, kd) in fours.iter_mut().zip(four_scales) {
        let mut next = || keys.next().unwrap_or(&[]);
        let rows = [next(), next(), next(), next()];
        let kd = load_halves(kd);
        let mut acc = f32x4_splat(0.0);
        for (b, (q, qd)) in query.q.chunks(BLOCK).zip(query.scale).enumerate() {
            let isum = int_dots(rows.map(|row| part(row, b * BLOCK, q.len())), q);
            acc = f32x4_add(acc, f32x4_mul(f32x4_mul(kd, f32x4_splat(*qd)), f32x4_convert_i32x4(isum)));
        }
        let mut lanes = [0.0; 4];
        store(&mut lanes, acc);
        for (out, acc) in out.iter_mut().zip(lanes) {
            put(out, acc * scale, &mut max);
        }
    }
    for ((out, key), kd) in rest.iter_mut().zip(keys).zip(scales_rest) {
        let kd = f16_to_f32(*kd);
        let mut acc = 0.0f32;
        for ((k, q), qd) in key.chunks(BLOCK).zip(query.q.chunks(BLOCK)).zip(query.scale) {
            let isum = i32x4_extract_lane::<0>(int_dots([k, &[], &[], &[]], q));
            acc += (kd * qd) * isum as f32;
        }
        put(out, acc * scale, &mut max);
    }
    max
}

/// The integer products of four short rows with `q`, rows in lanes.
#[inline(always)]
fn int_dots(rows: [&[i8]; 4], q: &[i8]) -> v128 {
    let (q, q_rest) = q.as_chunks::<8>();
    let mut rests = [0; 4];
    let mut sums = [i32x4_splat(0); 4];
    for ((sum, rest), row) in sums.iter_mut().zip(&mut rests).zip(rows) {
        let (row, row_rest) = row.as_chunks::<8>();
        for (k, q) in row.iter().zip(q) {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(extend(k), extend(q)));
        }
        *rest = row_rest.iter().zip(q_rest).map(|(k, q)| *k as i32 * *q as i32).sum();
    }
    let [a, b, c, d] = sums;
    let ab = i32x4_add(i32x4_shuffle::<0, 1, 4, 5>(a, b), i32x4_shuffle::<2, 3, 6, 7>(a, b));
    let cd = i32x4_add(i32x4_shuffle::<0, 1, 4, 5>(c, d), i32x4_shuffle::<2, 3, 6, 7>(c, d));
    let sums = i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(ab, cd), i32x4_shuffle::<1, 3, 5, 7>(ab, cd));
    let [a, b, c, d] = rests;
    i32x4_add(sums, i32x4(a, b, c, d))
}

/// Eight int8 as int16.
#[inline(always)]
fn extend(x: &[i8; 8]) -> v128 {
    // SAFETY: the reference is eight readable bytes; the load asks for no alignment.
    unsafe { i16x8_load_extend_i8x8(x.as_ptr()) }
}

/// See [`crate::scalar::att_values`].
pub(super) fn values(scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
    let sum = exp_cut_sum(scores, max);
    match *values {
        CacheRows::F32(values) if cfg!(feature = "cache-f32") => weigh::<F32>(scores, values, acc),
        CacheRows::F16(values) if cfg!(feature = "cache-f16") => weigh::<F16>(scores, values, acc),
        CacheRows::I8 { q, scale } if cfg!(feature = "cache-i8") => {
            // `w * vd`, as many positions at a time as a chunk of the contract has; a longer call is split inside the
            // position order of each element, which `weigh` cannot do, so it goes to scalar code.
            let mut products = [0.0f32; CHUNK];
            match products.get_mut(..scores.len().min(scale.len())) {
                Some(products) => {
                    multiply_halves(products, scores, scale);
                    weigh::<I8>(products, q, acc);
                }
                None => crate::scalar::weigh(scores, values, acc),
            }
        }
        _ => {}
    }
    sum
}

fn multiply_halves(out: &mut [f32], x: &[f32], halves: &[u16]) {
    let ((x, x_rest), (halves, halves_rest)) = (x.as_chunks::<4>(), halves.as_chunks::<4>());
    let (out, out_rest) = out.as_chunks_mut::<4>();
    for ((out, x), halves) in out.iter_mut().zip(x).zip(halves) {
        store(out, f32x4_mul(load(x), load_halves(halves)));
    }
    for ((out, x), half) in out_rest.iter_mut().zip(x_rest).zip(halves_rest) {
        *out = x * f16_to_f32(*half);
    }
}

/// A code of an int8 cache.
struct I8;

impl Element for I8 {
    type Stored = i8;

    #[inline(always)]
    fn load(from: &[i8; 8]) -> Partial {
        let wide = extend(from);
        [f32x4_convert_i32x4(i32x4_extend_low_i16x8(wide)), f32x4_convert_i32x4(i32x4_extend_high_i16x8(wide))]
    }

    #[inline(always)]
    fn widen(from: i8) -> f32 {
        from as f32
    }
}

/// Adds to `acc` the sum over positions of `weights[i] * values[i]`, each element in position order from +0.0.
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
#[inline(always)]
fn weigh_lanes<E: Element, const N: usize>(
    weights: &[f32],
    values: &[E::Stored],
    head_dim: usize,
    at: usize,
    acc: &mut [[f32; 8]],
) {
    let mut chunk = [[f32x4_splat(0.0); 2]; N];
    for (w, row) in weights.iter().zip(values.chunks_exact(head_dim)) {
        let Some(row) = row.get(at..at + 8 * N) else { return };
        let w = f32x4_splat(*w);
        for ([low, high], values) in chunk.iter_mut().zip(row.as_chunks::<8>().0) {
            let [v_low, v_high] = E::load(values);
            *low = f32x4_add(*low, f32x4_mul(v_low, w));
            *high = f32x4_add(*high, f32x4_mul(v_high, w));
        }
    }
    for (acc, [low, high]) in acc.iter_mut().zip(chunk) {
        if let [a, b] = acc.as_chunks_mut::<4>().0 {
            store(a, f32x4_add(load(a), low));
            store(b, f32x4_add(load(b), high));
        }
    }
}
