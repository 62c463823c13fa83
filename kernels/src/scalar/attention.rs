//! The two passes of attention over a stretch of the KV cache.

use crate::{
    BLOCK, CacheRows, Kernels, Queries, Query, Tile,
    float16::f16_to_f32,
    math::{exp_cut, sum},
    slice::part_mut,
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

/// Positions whose values are summed before they join the rest.
pub const CHUNK: usize = 64;

/// Both passes for several queries over the same head of the cache, one query after the other by `kernels`.
///
/// `keys` and `values` have at least `queries.last_len()` positions; `scores`: room for
/// as many times `queries.last_len()` as `kernels` takes queries at once ([`Kernels::att_lanes`], [`Kernels::att_few`]); `out`: `[tokens][heads * head_dim]`. The largest score is taken over
/// all positions that a query looks at, values are summed in chunks of [`CHUNK`] positions, and the sum is divided by the sum
/// of weights. Where a window begins inside a chunk, the positions before it weigh 0: see [`from_start`].
pub fn attend<K: Kernels + ?Sized>(
    kernels: &K,
    queries: &Queries<'_>,
    keys: &CacheRows<'_>,
    values: &CacheRows<'_>,
    scores: &mut [f32],
    out: &mut Tile<'_>,
) {
    let head_dim = queries.head_dim;
    for t in 0..queries.tokens {
        for h in 0..queries.heads {
            let query = queries.query(t, h);
            let (start, len) = (queries.start(t), queries.first_len + t);
            let first = start / CHUNK;
            let scores = part_mut(scores, first * CHUNK, len - first * CHUNK);
            let out = out.part(t, h * head_dim, head_dim);
            let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0);
            for (chunk, scores) in (first..).zip(scores.chunks_mut(CHUNK)) {
                let (from, scores) = from_start(chunk * CHUNK, start, scores);
                let keys = keys.part(head_dim, from, scores.len());
                let found = kernels.att_scores(&query, &keys, queries.att_scale, scores);
                max = if found > max { found } else { max };
            }
            out.fill(0.0);
            for (chunk, scores) in (first..).zip(scores.chunks_mut(CHUNK)) {
                let values = values.part(head_dim, chunk * CHUNK, scores.len());
                sum += kernels.att_values(scores, max, &values, out);
            }
            for out in out {
                *out /= sum;
            }
        }
    }
}

/// The scores of a chunk that a query looks at, and the position of the first of them: the chunk begins at position `from`, the
/// query looks at positions from `start` on. The scores before are set so that they weigh 0, and a chunk is summed in the same
/// order with a window as without.
#[inline(always)]
pub fn from_start(from: usize, start: usize, scores: &mut [f32]) -> (usize, &mut [f32]) {
    let (before, scores) = scores.split_at_mut_checked(start.saturating_sub(from)).unwrap_or_default();
    before.fill(f32::NEG_INFINITY);
    (from + before.len(), scores)
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
