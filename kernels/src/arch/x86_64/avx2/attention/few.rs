//! Attention of two or four of one token's queries, which share a head of the cache: a key is widened once for two of them, a value
//! for all. Three are faster one after the other.
//!
//! The sums are those of [`super::chunk`]: positions in the order of the cache, scores and weights `[query][position]`.

use core::arch::x86_64::*;

use super::{
    super::{
        super::ahead::{NEAR, fetch},
        float::dots,
        lanes::{load, load_f16, load_i8, padded, store, sums},
        vector::{exp_and_sum, max_of},
    },
    MAX_DIM,
    chunk::halves,
    scores::AHEAD,
};
use crate::{
    BLOCK, CacheRows, Queries, Tile,
    arch::together::{Stretch, lanes},
    scalar::CHUNK,
};

/// Queries at once, at most.
pub(super) const MOST: usize = 4;
/// Keys at once: a number of each in a register.
const KEYS: usize = 8;

/// Whether this is written for these queries.
pub(super) fn takes(queries: &Queries<'_>) -> bool {
    queries.tokens == 1 && matches!(queries.heads, 2 | MOST) && lanes(queries.head_dim) > 1
}

/// See [`crate::scalar::attend`]; false, having done nothing that matters, when lengths do not fit each other.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn attend(queries: &Queries<'_>, on: Stretch<'_>, scores: &mut [f32], out: &mut Tile<'_>) -> bool {
    let done = match queries.heads {
        2 => of::<2, 4>(queries, on, scores, out),
        MOST => of::<MOST, 2>(queries, on, scores, out),
        _ => None,
    };
    done.is_some()
}

/// `H` queries, whose sums over `8 C` columns of values are in eight registers, enough for additions not to wait for each other.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn of<const H: usize, const C: usize>(
    queries: &Queries<'_>,
    on: Stretch<'_>,
    scores: &mut [f32],
    out: &mut Tile<'_>,
) -> Option<()> {
    let dim = queries.head_dim;
    let mut scores = on.rows::<H>(scores)?;
    match on.keys {
        CacheRows::F32(keys) => floats(queries, keys, |key| load(key), &mut scores)?,
        CacheRows::F16(keys) => floats(queries, keys, |key| load_f16(key), &mut scores)?,
        CacheRows::I8 { q, scale } => codes(queries, q, scale, &mut scores)?,
    }
    let mut max = [0.0; H];
    for (scores, max) in scores.iter_mut().zip(&mut max) {
        let (before, seen) = scores.split_at_mut_checked(on.skipped)?;
        before.fill(f32::NEG_INFINITY);
        *max = max_of(seen);
    }
    let mut acc = [[0.0; MAX_DIM]; H];
    let mut total = [0.0; H];
    for from in (0..on.len).step_by(CHUNK) {
        let len = CHUNK.min(on.len - from);
        let values = on.values.part(dim, from, len);
        let mut weights = [[0.0; CHUNK]; H];
        for ((scores, weights), (total, max)) in scores.iter_mut().zip(&mut weights).zip(total.iter_mut().zip(max)) {
            let scores = scores.get_mut(from..from + len)?;
            *total += exp_and_sum(scores, _mm256_set1_ps(max));
            for (weights, scores) in weights.as_chunks_mut::<8>().0.iter_mut().zip(scores.chunks(8)) {
                *weights = padded(scores, 0.0);
            }
        }
        match values {
            CacheRows::F32(values) => add::<_, H, C>(&weights, values, |v| load(v), dim, &mut acc),
            CacheRows::F16(values) => add::<_, H, C>(&weights, values, |v| load_f16(v), dim, &mut acc),
            CacheRows::I8 { q, scale } => {
                // Each value's scale is multiplied into its weight first, as the contract says.
                for (at, scale) in scale.chunks(8).enumerate() {
                    let scale = load_f16(&padded(scale, 0));
                    for weights in &mut weights {
                        let weights = weights.as_chunks_mut::<8>().0.get_mut(at)?;
                        let weight = _mm256_mul_ps(load(weights), scale);
                        store(weights, weight);
                    }
                }
                add::<_, H, C>(&weights, q, |v| load_i8(v), dim, &mut acc);
            }
        }
    }
    for ((h, acc), total) in acc.iter().enumerate().zip(total) {
        let out = out.part(0, h * dim, dim);
        for (out, acc) in out.as_chunks_mut::<8>().0.iter_mut().zip(acc.as_chunks::<8>().0) {
            store(out, _mm256_div_ps(load(acc), _mm256_set1_ps(total)));
        }
    }
    Some(())
}

// --- scores -----------------------------------------------------------------------------------------------------------

/// Four rows of `dim` from row `first` on; past the end, the last one again.
#[inline]
fn rows<T>(keys: &[T], dim: usize, first: usize) -> Option<[&[T]; 4]> {
    let last = keys.len().checked_div(dim)?.checked_sub(1)?;
    let mut rows: [&[T]; 4] = [&[]; 4];
    for (r, row) in rows.iter_mut().enumerate() {
        let start = (first + r).min(last).checked_mul(dim)?;
        *row = keys.get(start..start.checked_add(dim)?)?;
    }
    Some(rows)
}

/// Writes the scores of eight positions from `at` on, fewer at the end.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn put(scores: &mut [f32], at: usize, dots: __m256, scale: __m256) {
    let score = _mm256_mul_ps(dots, scale);
    let Some(scores) = scores.get_mut(at..) else { return };
    match scores.first_chunk_mut() {
        Some(scores) => store(scores, score),
        None => {
            let mut last = [0.0; 8];
            store(&mut last, score);
            for (to, from) in scores.iter_mut().zip(last) {
                *to = from;
            }
        }
    }
}

/// From the products of four keys and of the next four, each with two queries (the second one's in the upper half), those of eight
/// keys with each query.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn by_query(low: __m256, high: __m256) -> [__m256; 2] {
    [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
}

/// Scores over a float cache: four keys with two queries at a time.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn floats<T: Copy + Default, const H: usize>(
    queries: &Queries<'_>,
    keys: &[T],
    widen: impl Fn(&[T; 8]) -> __m256 + Copy,
    scores: &mut [&mut [f32]; H],
) -> Option<()> {
    let dim = queries.head_dim;
    let x: [&[f32]; H] = core::array::from_fn(|h| queries.x.get(h * dim..(h + 1) * dim).unwrap_or_default());
    let scale = _mm256_set1_ps(queries.att_scale);
    let len = scores.first()?.len();
    let keys = keys.get(..len * dim)?;
    for at in (0..len).step_by(KEYS) {
        for ([a, b], x) in scores.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0) {
            let low = dots(rows(keys, dim, at)?, *x, widen)?;
            let high = dots(rows(keys, dim, at + 4)?, *x, widen)?;
            let [first, second] = by_query(low, high);
            put(a, at, first, scale);
            put(b, at, second, scale);
        }
    }
    Some(())
}

/// Scores over an int8 cache, in the same way: per block of 32 elements `acc = acc + (kd * qd) * isum`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn codes<const H: usize>(
    queries: &Queries<'_>,
    keys: &[i8],
    scale: &[u16],
    scores: &mut [&mut [f32]; H],
) -> Option<()> {
    let dim = queries.head_dim;
    let blocks = dim.div_ceil(BLOCK);
    let att_scale = _mm256_set1_ps(queries.att_scale);
    let len = scores.first()?.len();
    let (keys, scale) = (keys.get(..len * dim)?, scale.get(..len)?);
    // Queries come in whole blocks.
    let x: [_; H] = core::array::from_fn(|h| {
        let q = queries.q.as_chunks::<BLOCK>().0.get(h * blocks..(h + 1) * blocks).unwrap_or_default();
        (q, queries.scale.get(h * blocks..(h + 1) * blocks).unwrap_or_default())
    });
    if x.iter().any(|(q, scale)| q.len() != blocks || scale.len() != blocks) {
        return None;
    }
    for (at, scale) in (0..len).step_by(KEYS).zip(scale.chunks(KEYS)) {
        let kd = load_f16(&padded(scale, 0));
        for ([a, b], [x, y]) in scores.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0) {
            let low = rows(keys, dim, at)?.map(|key| key.as_chunks());
            let high = rows(keys, dim, at + 4)?.map(|key| key.as_chunks());
            let mut acc = [_mm256_setzero_ps(); 2];
            for (block, ((q, p), (qd, pd))) in x.0.iter().zip(y.0).zip(x.1.iter().zip(y.1)).enumerate() {
                let isums = by_query(products(&low, block, [q, p]), products(&high, block, [q, p]));
                for ((acc, isum), d) in acc.iter_mut().zip(isums).zip([*qd, *pd]) {
                    *acc = _mm256_add_ps(*acc, _mm256_mul_ps(_mm256_mul_ps(kd, _mm256_set1_ps(d)), isum));
                }
            }
            let [first, second] = acc;
            put(a, at, first, att_scale);
            put(b, at, second, att_scale);
        }
    }
    Some(())
}

/// The exact products of block `block` of four keys of the same length with those of two queries, the second one's in the upper
/// half.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn products(keys: &[(&[[i8; BLOCK]], &[i8]); 4], block: usize, q: [&[i8; BLOCK]; 2]) -> __m256 {
    if keys.first().is_some_and(|(whole, _)| block < whole.len()) {
        // SAFETY: all keys are as long as the first.
        return of_blocks(keys.map(|(whole, _)| unsafe { whole.get_unchecked(block) }), q);
    }
    let last = keys.map(|(_, rest)| padded::<_, BLOCK>(rest, 0));
    of_blocks(last.each_ref(), q)
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn of_blocks(keys: [&[i8; BLOCK]; 4], [x, y]: [&[i8; BLOCK]; 2]) -> __m256 {
    let ([x_low, x_high], [y_low, y_high]) = (halves(x), halves(y));
    let (mut a, mut b) = ([_mm256_setzero_si256(); 4], [_mm256_setzero_si256(); 4]);
    for ((key, a), b) in keys.into_iter().zip(&mut a).zip(&mut b) {
        let [low, high] = halves(key);
        *a = _mm256_add_epi32(_mm256_madd_epi16(low, x_low), _mm256_madd_epi16(high, x_high));
        *b = _mm256_add_epi32(_mm256_madd_epi16(low, y_low), _mm256_madd_epi16(high, y_high));
    }
    let ([a, b, c, d], [e, f, g, h]) = (a, b);
    _mm256_cvtepi32_ps(sums([a, b, c, d, e, f, g, h]))
}

// --- values -----------------------------------------------------------------------------------------------------------

/// Adds to each query's `acc` the chunk's values, summed in position order from +0.0.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add<T, const H: usize, const C: usize>(
    weights: &[[f32; CHUNK]; H],
    values: &[T],
    widen: impl Fn(&[T; 8]) -> __m256 + Copy,
    dim: usize,
    acc: &mut [[f32; MAX_DIM]; H],
) {
    let wide = dim - dim % (8 * C);
    for at in (0..wide).step_by((8 * C).max(1)) {
        columns::<T, H, C>(weights, values, widen, dim, at, acc);
    }
    for at in (wide..dim).step_by(8) {
        columns::<T, H, 1>(weights, values, widen, dim, at, acc);
    }
}

/// Columns `at .. at + 8 C`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn columns<T, const H: usize, const C: usize>(
    weights: &[[f32; CHUNK]; H],
    values: &[T],
    widen: impl Fn(&[T; 8]) -> __m256,
    dim: usize,
    at: usize,
    acc: &mut [[f32; MAX_DIM]; H],
) {
    let mut sums = [[_mm256_setzero_ps(); C]; H];
    for (pos, row) in (0..CHUNK).zip(values.chunks_exact(dim.max(1))) {
        let Some(row) = row.get(at..at + 8 * C) else { return };
        fetch::<NEAR, 64>(row.as_ptr().wrapping_byte_add(AHEAD));
        let mut weight = [_mm256_setzero_ps(); H];
        for (weight, weights) in weight.iter_mut().zip(weights) {
            *weight = _mm256_set1_ps(weights[pos]);
        }
        for (c, value) in row.as_chunks::<8>().0.iter().enumerate().take(C) {
            let value = widen(value);
            for (sums, weight) in sums.iter_mut().zip(weight) {
                sums[c] = _mm256_add_ps(sums[c], _mm256_mul_ps(weight, value));
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
