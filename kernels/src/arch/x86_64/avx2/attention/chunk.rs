//! The two passes of one query over a chunk: scores of eight positions at a time, values of up to 64 elements in registers.

use core::arch::x86_64::*;

use super::super::{
    float::{dots, put},
    lanes::{load, load_f16, load_i8, padded, store, sums, widen},
    vector::{exp_and_sum, max_of},
};
use crate::{BLOCK, CacheRows, Query, Store};

/// See [`crate::scalar::att_scores`]; `None`, with nothing done that matters, when the lengths do not fit each other.
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> Option<f32> {
    if query.x.is_empty() {
        return None;
    }
    match *keys {
        CacheRows::F32(keys) => float_scores(query.x, keys, |k| load(k), scale, out)?,
        CacheRows::F16(keys) => float_scores(query.x, keys, |k| load_f16(k), scale, out)?,
        CacheRows::I8 { q, scale: scales } => int8_scores(query, q, scales, scale, out)?,
    }
    Some(max_of(out))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn float_scores<T: Copy + Default>(
    x: &[f32],
    keys: &[T],
    widen: impl Fn(&[T; 8]) -> __m256 + Copy,
    scale: f32,
    out: &mut [f32],
) -> Option<()> {
    let scale = _mm256_set1_ps(scale);
    for (index, out) in out.chunks_mut(8).enumerate() {
        let dot = dots(eight_rows(keys, x.len(), index * 8, out.len())?, [x], widen)?;
        put(out, _mm256_mul_ps(dot, scale), Store::Set);
    }
    Some(())
}

/// Rows `first ..` of `len` elements each; rows past `count` are the last one again.
#[inline]
fn eight_rows<T>(data: &[T], len: usize, first: usize, count: usize) -> Option<[&[T]; 8]> {
    let mut rows: [&[T]; 8] = [&[]; 8];
    let last = first.checked_add(count)?.checked_sub(1)?;
    for (r, row) in rows.iter_mut().enumerate() {
        let start = (first + r).min(last).checked_mul(len)?;
        *row = data.get(start..start.checked_add(len)?)?;
    }
    Some(rows)
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn int8_scores(query: &Query<'_>, keys: &[i8], scales: &[u16], scale: f32, out: &mut [f32]) -> Option<()> {
    let len = query.x.len();
    if query.q.len() != len || query.scale.len() != len.div_ceil(BLOCK) || scales.len() < out.len() {
        return None;
    }
    let scale = _mm256_set1_ps(scale);
    for ((index, out), scales) in out.chunks_mut(8).enumerate().zip(scales.chunks(8)) {
        let rows = eight_rows(keys, len, index * 8, out.len())?;
        let kd = load_f16(&padded(scales, 0));
        let row_chunks = rows.map(|row| row.as_chunks::<BLOCK>());
        let (q_chunks, q_rest) = query.q.as_chunks::<BLOCK>();
        let mut acc = _mm256_setzero_ps();
        for (at, (q, qd)) in q_chunks.iter().zip(query.scale).enumerate() {
            // SAFETY: `eight_rows` and the check above made all rows as long as `query.q`, so all have its whole blocks.
            let isums = block_products(row_chunks.map(|(row, _)| unsafe { row.get_unchecked(at) }), q);
            acc = _mm256_add_ps(acc, _mm256_mul_ps(_mm256_mul_ps(kd, _mm256_set1_ps(*qd)), isums));
        }
        if !q_rest.is_empty() {
            let qd = *query.scale.last()?;
            let rests = row_chunks.map(|(_, rest)| padded(rest, 0));
            let isums = block_products(rests.each_ref(), &padded(q_rest, 0));
            acc = _mm256_add_ps(acc, _mm256_mul_ps(_mm256_mul_ps(kd, _mm256_set1_ps(qd)), isums));
        }
        put(out, _mm256_mul_ps(acc, scale), Store::Set);
    }
    Some(())
}

/// The exact products of eight blocks with `q`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn block_products(rows: [&[i8; BLOCK]; 8], q: &[i8; BLOCK]) -> __m256 {
    // int16 products of any two int8, -128 included, are exact in `madd`.
    let [ql, qh] = halves(q);
    let products = rows.map(|row| {
        let [kl, kh] = halves(row);
        _mm256_add_epi32(_mm256_madd_epi16(kl, ql), _mm256_madd_epi16(kh, qh))
    });
    _mm256_cvtepi32_ps(sums(products))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn halves(x: &[i8; BLOCK]) -> [__m256i; 2] {
    let mut out = [_mm256_setzero_si256(); 2];
    for (out, x) in out.iter_mut().zip(x.as_chunks::<16>().0) {
        *out = widen(x);
    }
    out
}

/// See [`crate::scalar::att_values`]; `None`, with nothing done, when the lengths do not fit each other.
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn values(scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> Option<f32> {
    let have = match *values {
        CacheRows::F32(values) => values.len(),
        CacheRows::F16(values) => values.len(),
        CacheRows::I8 { q, scale } if scale.len() >= scores.len() && scores.len() <= CHUNK => q.len(),
        CacheRows::I8 { .. } => return None,
    };
    if have < scores.len().checked_mul(acc.len())? {
        return None;
    }
    let sum = exp_and_sum(scores, _mm256_set1_ps(max));
    match *values {
        CacheRows::F32(values) => weigh(scores, values, |v| load(v), |v| v, acc),
        CacheRows::F16(values) => weigh(scores, values, |v| load_f16(v), crate::float16::f16_to_f32, acc),
        CacheRows::I8 { q, scale } => {
            // Each value's scale is multiplied into its weight first, as the contract says.
            let mut weights = [0.0f32; CHUNK];
            let weights = weights.get_mut(..scores.len())?;
            let (chunks, rest) = weights.as_chunks_mut::<8>();
            let ((s, s_rest), d) = (scores.as_chunks::<8>(), scale.as_chunks::<8>().0);
            for ((w, s), d) in chunks.iter_mut().zip(s).zip(d) {
                store(w, _mm256_mul_ps(load(s), load_f16(d)));
            }
            let d_rest = scale.get(scores.len() - s_rest.len()..).unwrap_or(&[]);
            for ((w, s), d) in rest.iter_mut().zip(s_rest).zip(d_rest) {
                *w = s * crate::float16::f16_to_f32(*d);
            }
            weigh(weights, q, |v| load_i8(v), |v| v as f32, acc);
        }
    }
    Some(sum)
}

/// The most positions of a chunk.
const CHUNK: usize = 64;

/// `acc[d] += sum over i, in order, of weights[i] * values[i][d]`; `values` has at least `weights.len()` rows.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn weigh<T: Copy>(
    weights: &[f32],
    values: &[T],
    widen: impl Fn(&[T; 8]) -> __m256 + Copy,
    widen_one: impl Fn(T) -> f32,
    acc: &mut [f32],
) {
    let head_dim = acc.len().max(1);
    let whole = head_dim / 8 * 8;
    let (wide, acc) = acc.as_chunks_mut::<64>();
    let mut at = 0;
    for acc in wide {
        columns::<T, 8>(weights, values, head_dim, at, widen, acc.as_chunks_mut::<8>().0);
        at += 64;
    }
    let (eights, rest) = acc.as_chunks_mut::<8>();
    let (fours, ones) = eights.as_chunks_mut::<4>();
    for acc in fours {
        columns::<T, 4>(weights, values, head_dim, at, widen, acc);
        at += 32;
    }
    for acc in ones {
        columns::<T, 1>(weights, values, head_dim, at, widen, core::slice::from_mut(acc));
        at += 8;
    }
    for (d, acc) in rest.iter_mut().enumerate() {
        let mut chunk = 0.0f32;
        for (w, v) in weights.iter().zip(values.iter().skip(whole + d).step_by(head_dim)) {
            chunk += w * widen_one(*v);
        }
        *acc += chunk;
    }
}

/// Columns `at .. at + 8 C` of [`weigh`], their sums in C registers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn columns<T: Copy, const C: usize>(
    weights: &[f32],
    values: &[T],
    head_dim: usize,
    at: usize,
    widen: impl Fn(&[T; 8]) -> __m256,
    acc: &mut [[f32; 8]],
) {
    let mut chunk = [_mm256_setzero_ps(); C];
    // The caller's lengths make every row whole.
    for (w, row) in weights.iter().zip(values.chunks_exact(head_dim)) {
        let Some((row, _)) = row.get(at..).and_then(|row| row.split_at_checked(8 * C)) else { return };
        let w = _mm256_set1_ps(*w);
        for (chunk, v) in chunk.iter_mut().zip(row.as_chunks::<8>().0) {
            *chunk = _mm256_add_ps(*chunk, _mm256_mul_ps(w, widen(v)));
        }
    }
    for (acc, chunk) in acc.iter_mut().zip(chunk) {
        let sum = _mm256_add_ps(load(acc), chunk);
        store(acc, sum);
    }
}
