//! The two passes of attention over a stretch of the KV cache.

use crate::{
    BLOCK, CacheRows, Query,
    float16::f16_to_f32,
    math::{exp_cut, sum},
};

/// Scores of one query head against consecutive positions: `out[i] = (q . k[i]) * scale`; returns the largest.
///
/// `keys` has `out.len()` rows of `head_dim`. Float caches: the contract's vector sum over `head_dim`. int8 caches: per
/// block of 32 of the quantised query `acc = acc + (kd * qd) * isum`, blocks in order.
/// Source: Vaswani et al. 2017, arXiv:1706.03762.
pub fn att_scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
    let head_dim = query.x.len().max(1);
    let mut max = f32::NEG_INFINITY;
    let mut put = |out: &mut f32, dot: f32| {
        *out = dot * scale;
        max = if *out > max { *out } else { max };
    };
    match *keys {
        CacheRows::F32(keys) if cfg!(feature = "cache-f32") => {
            for (out, key) in out.iter_mut().zip(keys.chunks_exact(head_dim)) {
                put(out, sum(query.x.iter().zip(key).map(|(q, k)| q * k)));
            }
        }
        CacheRows::F16(keys) if cfg!(feature = "cache-f16") => {
            for (out, key) in out.iter_mut().zip(keys.chunks_exact(head_dim)) {
                put(out, sum(query.x.iter().zip(key).map(|(q, k)| q * f16_to_f32(*k))));
            }
        }
        CacheRows::I8 { q: keys, scale: scales } if cfg!(feature = "cache-i8") => {
            for ((out, key), kd) in out.iter_mut().zip(keys.chunks_exact(head_dim)).zip(scales) {
                let kd = f16_to_f32(*kd);
                let mut acc = 0.0f32;
                for ((k, q), qd) in key.chunks(BLOCK).zip(query.q.chunks(BLOCK)).zip(query.scale) {
                    let isum: i32 = k.iter().zip(q).map(|(k, q)| *k as i32 * *q as i32).sum();
                    acc += (kd * qd) * isum as f32;
                }
                put(out, acc);
            }
        }
        // What is left out has been refused.
        _ => {}
    }
    max
}

/// Attention weights and weighted values of one chunk of at most 64 positions.
///
/// `scores[i]` becomes `w[i] = exp(scores[i] - max)` (0 below `exp(-50)`); the chunk's value sum, in position order from
/// +0.0, is added to `acc`, `[head_dim]`; returns the contract's vector sum of `w`. Values of an int8 cache enter as
/// `(w[i] * vd) * v`.
pub fn att_values(scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
    for score in scores.iter_mut() {
        *score = exp_cut(*score - max);
    }
    weigh(scores, values, acc);
    sum(scores.iter().copied())
}

/// Adds to `acc` the values weighted with `weights`, each element in position order from +0.0.
pub(crate) fn weigh(weights: &[f32], values: &CacheRows<'_>, acc: &mut [f32]) {
    let head_dim = acc.len().max(1);
    for (d, acc) in acc.iter_mut().enumerate() {
        let mut chunk = 0.0f32;
        match *values {
            CacheRows::F32(values) if cfg!(feature = "cache-f32") => {
                for (w, v) in weights.iter().zip(values.iter().skip(d).step_by(head_dim)) {
                    chunk += w * v;
                }
            }
            CacheRows::F16(values) if cfg!(feature = "cache-f16") => {
                for (w, v) in weights.iter().zip(values.iter().skip(d).step_by(head_dim)) {
                    chunk += w * f16_to_f32(*v);
                }
            }
            CacheRows::I8 { q, scale } if cfg!(feature = "cache-i8") => {
                for ((w, vd), v) in weights.iter().zip(scale).zip(q.iter().skip(d).step_by(head_dim)) {
                    chunk += (w * f16_to_f32(*vd)) * *v as f32;
                }
            }
            _ => {}
        }
        *acc += chunk;
    }
}
