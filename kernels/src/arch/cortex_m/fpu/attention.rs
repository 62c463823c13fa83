//! The two passes of attention.

use core::mem::MaybeUninit;

use super::{
    exp::{exp_cut, exp_cut_scaled},
    sum, widen_all,
};
use crate::{CacheRows, Query, math::tree, scalar};

/// Elements of the widest head that is read here; wider ones go to scalar code.
const WIDEST: usize = 256;

/// See [`scalar::att_scores`]. int8 caches go to scalar code: their products are for the instruction sets.
pub(super) fn scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
    let head_dim = query.x.len().max(1);
    let mut max = f32::NEG_INFINITY;
    let mut put = |out: &mut f32, key: &[f32]| {
        *out = dot(query.x, key) * scale;
        max = if *out > max { *out } else { max };
    };
    match *keys {
        CacheRows::F32(keys) if cfg!(feature = "cache-f32") => {
            for (out, key) in out.iter_mut().zip(keys.chunks_exact(head_dim)) {
                put(out, key);
            }
        }
        CacheRows::F16(keys) if cfg!(feature = "cache-f16") && head_dim <= WIDEST => {
            let mut row = [0.0; WIDEST];
            for (out, key) in out.iter_mut().zip(keys.chunks_exact(head_dim)) {
                put(out, widen_all(&mut row, key));
            }
        }
        _ => return scalar::att_scores(query, keys, scale, out),
    }
    max
}

/// The contract's sum of products.
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut partial = [0.0f32; 8];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    for (x, y) in x.iter().zip(y) {
        for ((partial, x), y) in partial.iter_mut().zip(x).zip(y) {
            *partial += x * y;
        }
    }
    for ((partial, x), y) in partial.iter_mut().zip(x_rest).zip(y_rest) {
        *partial += x * y;
    }
    tree(partial)
}

/// Positions of a chunk.
const CHUNK: usize = 64;
/// Elements of a head that `weigh_codes` takes together; heads of no multiple of it go to scalar code.
pub(super) const GROUP: usize = 8;

/// See [`scalar::att_values`]; `weigh_codes` adds to `acc` what [`weigh`] does, for int8 values: at least one row of codes and as
/// many as weights, each of a multiple of [`GROUP`].
#[inline(always)]
pub(super) fn values(
    scores: &mut [f32],
    max: f32,
    values: &CacheRows<'_>,
    acc: &mut [f32],
    weigh_codes: impl Fn(&[f32], &[i8], &mut [f32]),
) -> f32 {
    match *values {
        CacheRows::I8 { q, scale }
            if cfg!(feature = "cache-i8")
                && matches!(scores.len(), 1..=CHUNK)
                && scale.len() == scores.len()
                && acc.len() & (GROUP - 1) == 0
                && q.len() >= scores.len().saturating_mul(acc.len()) =>
        {
            let mut products = [const { MaybeUninit::uninit() }; CHUNK];
            let products = products.get_mut(..scores.len()).unwrap_or(&mut []);
            exp_cut_scaled(scores, max, scale, products);
            // SAFETY: the lengths of all three are the same, and so every product was written.
            let products = unsafe { &*(core::ptr::from_ref(products) as *const [f32]) };
            weigh_codes(products, q, acc);
        }
        _ => {
            exp_cut(scores, max);
            match *values {
                CacheRows::F32(values) if cfg!(feature = "cache-f32") => weigh(scores, values, acc, |v| v),
                _ => scalar::weigh(scores, values, acc),
            }
        }
    }
    sum(scores, |w| w)
}

/// Adds to `acc` the sum over positions of `weights[i] * values[i]`, each element in position order from +0.0.
#[inline(always)]
pub(super) fn weigh<T: Copy>(weights: &[f32], values: &[T], acc: &mut [f32], value: impl Fn(T) -> f32) {
    let dim = acc.len().max(1);
    for (d, acc) in acc.iter_mut().enumerate() {
        let mut chunk = 0.0f32;
        for (w, v) in weights.iter().zip(values.iter().skip(d).step_by(dim)) {
            chunk += w * value(*v);
        }
        *acc += chunk;
    }
}
