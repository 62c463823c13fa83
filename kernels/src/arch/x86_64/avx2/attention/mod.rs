//! Attention: [`chunk`] of one query, [`few`] of one token's queries, the rest of up to sixteen queries at once, which share one
//! head of the cache.
//!
//! A query is in each lane of two registers, a [`Pair`]. A key's element is read once for all queries, broadcast to all lanes;
//! a query's eight partial sums are made one after the other, for some keys at once. Scores and weights lie
//! `[position][lane]`. A value is read once for four queries.

pub(super) mod chunk;
mod few;
mod scores;
mod values;

use core::{arch::x86_64::*, num::NonZeroUsize};

use super::{
    lanes::{load, load_f16, padded, store},
    math::exp_cut,
};
use crate::{
    CacheRows, Queries, Tile,
    arch::together::{LANES, Lanes, MAX_DIM, Stretch, lanes},
    scalar::CHUNK,
};

/// Queries of one token, of heads of this width, that are taken together where they are too few for all lanes.
pub(super) fn few(head_dim: usize) -> usize {
    if lanes(head_dim) > 1 { few::MOST } else { 1 }
}

/// One number of each lane.
type Pair = [__m256; 2];

/// What each lane looks at.
#[derive(Clone, Copy)]
struct Seen {
    start: [__m256i; 2],
    end: [__m256i; 2],
}

impl Seen {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn of(lanes: &Lanes) -> Self {
        Self { start: integers(&lanes.start), end: integers(&lanes.end) }
    }

    /// All ones in the lanes of half `half` that look at position `pos`.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn at(&self, pos: usize, half: usize) -> __m256 {
        let pos = _mm256_set1_epi32(pos as i32);
        let before = _mm256_cmpgt_epi32(self.start[half], pos);
        _mm256_castsi256_ps(_mm256_andnot_si256(before, _mm256_cmpgt_epi32(self.end[half], pos)))
    }
}

/// See [`crate::scalar::attend`]; returns false, having done nothing that matters, when these kernels are not made for the
/// shape or lengths do not fit each other.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn attend(
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
    if few::takes(queries) {
        return few::attend(queries, on, scores, out);
    }
    if queries.tokens == 1 && queries.heads < few::MOST {
        // Nearly all lanes would be empty.
        return false;
    }
    let Some(lanes) = Lanes::of(queries) else { return false };
    let Some(scores) = scores.as_chunks_mut::<LANES>().0.get_mut(on.first..on.first + on.len) else { return false };
    let seen = Seen::of(&lanes);
    let Some(max) = scores::all(queries, &lanes.unit, seen, &on.keys, on.first, scores) else { return false };
    let mut acc = [[0.0; MAX_DIM]; LANES];
    let mut sum = [_mm256_setzero_ps(); 2];
    for (chunk, weights) in scores.chunks_mut(CHUNK).enumerate() {
        let values = on.values.part(dim, chunk * CHUNK, weights.len());
        let from = on.first + chunk * CHUNK;
        for (half, (sum, max)) in sum.iter_mut().zip(max).enumerate() {
            *sum = _mm256_add_ps(*sum, weigh(weights, half, from, seen, max, &values));
        }
        values::add(weights, lanes.count, &values, dim, &mut acc);
    }
    let mut sums = [0.0; LANES];
    for (sums, sum) in sums.as_chunks_mut::<8>().0.iter_mut().zip(sum) {
        store(sums, sum);
    }
    for ((lane, acc), sum) in acc.iter().take(lanes.count).enumerate().zip(sums) {
        let (t, h) = (lane / heads, lane % heads);
        let out = out.part(t, h * dim, dim);
        for (out, acc) in out.as_chunks_mut::<8>().0.iter_mut().zip(acc.as_chunks::<8>().0) {
            store(out, _mm256_div_ps(load(acc), _mm256_set1_ps(sum)));
        }
    }
    true
}

/// Half of the lanes' scores of a chunk that begins at position `from` become weights; returns their sums. With an int8 cache
/// each value's scale is multiplied into its weight afterwards.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn weigh(
    weights: &mut [[f32; LANES]],
    half: usize,
    from: usize,
    seen: Seen,
    max: __m256,
    values: &CacheRows<'_>,
) -> __m256 {
    let mut sums = [_mm256_setzero_ps(); 8];
    let scales = match *values {
        CacheRows::I8 { scale, .. } => Some(scale),
        _ => None,
    };
    for (at, rows) in (0..).step_by(8).zip(weights.chunks_mut(8)) {
        let mut scale = [1.0; 8];
        if let Some(scales) = scales {
            store(&mut scale, load_f16(&padded(scales.get(at..).unwrap_or(&[]), 0)));
        }
        for ((pos, row), (sum, scale)) in (from + at..).zip(rows).zip(sums.iter_mut().zip(scale)) {
            let Some(row) = row.as_chunks_mut::<8>().0.get_mut(half) else { continue };
            let weight = _mm256_and_ps(seen.at(pos, half), exp_cut(_mm256_sub_ps(load(row), max)));
            *sum = _mm256_add_ps(*sum, weight);
            store(row, if scales.is_some() { _mm256_mul_ps(weight, _mm256_set1_ps(scale)) } else { weight });
        }
    }
    tree(sums)
}

/// The contract's tree over eight partial sums, in every lane.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn tree([a, b, c, d, e, f, g, h]: [__m256; 8]) -> __m256 {
    let even = _mm256_add_ps(_mm256_add_ps(a, e), _mm256_add_ps(c, g));
    let odd = _mm256_add_ps(_mm256_add_ps(b, f), _mm256_add_ps(d, h));
    _mm256_add_ps(even, odd)
}

/// Sixteen integers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn integers(x: &[i32; LANES]) -> [__m256i; 2] {
    let mut out = [_mm256_setzero_si256(); 2];
    for (out, x) in out.iter_mut().zip(x.as_chunks::<8>().0) {
        // SAFETY: `x` is eight readable integers; `loadu` asks for no alignment.
        *out = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
    }
    out
}
