//! Attention of one token, up to four of whose queries share a head of the cache: positions in the lanes.
//!
//! A query in each lane, as for many, would leave most lanes empty. Sixteen keys are read once for all queries; scores and
//! weights lie `[query][position]`; a value is read once for all queries, whose sums stay in registers for a chunk.

mod codes;
mod floats;
mod narrow;
mod values;

use core::arch::x86_64::*;

use self::narrow::NARROW;
use super::{
    super::{
        lanes::{lanes, load_f16, load_f16_part, load_part, store, store_part},
        math::exp_cut,
    },
    MAX_DIM,
    values::load_i8,
};
use crate::{CacheRows, Queries, Tile, arch::together::Stretch, scalar::CHUNK};

/// Queries at once, at most.
pub(super) const MOST: usize = 4;
/// Bytes ahead of those in use that are asked for: without that, a quarter more time over a cache that lies in memory (Zen 4).
pub(super) const AHEAD: usize = 2048;

/// Whether heads are of a width for which this is written.
pub(super) fn is_made_for(head_dim: usize) -> bool {
    head_dim == NARROW || head_dim.is_multiple_of(16) && (16..=MAX_DIM).contains(&head_dim)
}

/// Whether these queries are few enough, and their heads not too odd.
pub(super) fn takes(queries: &Queries<'_>) -> bool {
    queries.tokens == 1 && (1..=MOST).contains(&queries.heads) && is_made_for(queries.head_dim)
}

/// Of sixteen positions from `at` on, those that are looked at.
#[inline]
fn seen(on: &Stretch<'_>, at: usize) -> __mmask16 {
    lanes(on.len.saturating_sub(at)) & !lanes(on.skipped.saturating_sub(at))
}

/// See [`crate::scalar::attend`]; false, having done nothing that matters, when lengths do not fit each other.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn attend(queries: &Queries<'_>, on: Stretch<'_>, scores: &mut [f32], out: &mut Tile<'_>) -> bool {
    match queries.heads {
        1 => of::<1>(queries, on, scores, out),
        2 => of::<2>(queries, on, scores, out),
        3 => of::<3>(queries, on, scores, out),
        4 => of::<4>(queries, on, scores, out),
        _ => false,
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn of<const H: usize>(queries: &Queries<'_>, on: Stretch<'_>, scores: &mut [f32], out: &mut Tile<'_>) -> bool {
    let dim = queries.head_dim;
    let Some(mut scores) = on.rows::<H>(scores) else { return false };
    if dim == NARROW {
        let best = match on.keys {
            CacheRows::F32(keys) => narrow::floats(queries, &on, keys, |key| load_part(key), &mut scores),
            CacheRows::F16(keys) => narrow::floats(queries, &on, keys, |key| load_f16(key), &mut scores),
            CacheRows::I8 { q, scale } => narrow::codes(queries, &on, q, scale, &mut scores),
        };
        return best.is_some_and(|best| {
            second_pass(&on, &scores, best, dim, out, |weights, values, acc| match *values {
                CacheRows::F32(values) => narrow::add(weights, values, |v| load_part(v), acc),
                CacheRows::F16(values) => narrow::add(weights, values, |v| load_f16(v), acc),
                CacheRows::I8 { q, .. } => narrow::add(weights, q, |v| load_i8(v), acc),
            })
        });
    }
    let best = match on.keys {
        CacheRows::F32(keys) => floats::floats(queries, &on, keys, |a, b| floats::two_f32(a, b), &mut scores),
        CacheRows::F16(keys) => floats::floats(queries, &on, keys, |a, b| floats::two_f16(a, b), &mut scores),
        CacheRows::I8 { q, scale } => codes::codes(queries, &on, q, scale, &mut scores),
    };
    best.is_some_and(|best| {
        second_pass(&on, &scores, best, dim, out, |weights, values, acc| match *values {
            CacheRows::F32(values) => values::add(weights, values, |v| load_part(v), dim, acc),
            CacheRows::F16(values) => values::add(weights, values, |v| load_f16(v), dim, acc),
            CacheRows::I8 { q, .. } => values::add(weights, q, |v| load_i8(v), dim, acc),
        })
    })
}

/// From scores to results, a chunk after the other; `add` adds a chunk's weighted values to what there is of each query,
/// `[query][dim]`. Returns true.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn second_pass<const H: usize>(
    on: &Stretch<'_>,
    scores: &[&mut [f32]; H],
    best: [f32; H],
    dim: usize,
    out: &mut Tile<'_>,
    add: impl Fn(&[[f32; CHUNK]; H], &CacheRows<'_>, &mut [f32]),
) -> bool {
    let acc = out.part(0, 0, H * dim);
    acc.fill(0.0);
    let mut sums = [0.0; H];
    let mut weights = [[0.0; CHUNK]; H];
    for from in (0..on.len).step_by(CHUNK) {
        let len = CHUNK.min(on.len - from);
        let values = on.values.part(dim, from, len);
        let scale = match values {
            CacheRows::I8 { scale, .. } => Some(scale),
            _ => None,
        };
        for (((scores, weights), sum), best) in scores.iter().zip(&mut weights).zip(&mut sums).zip(best) {
            let scores = scores.get(from..from + len).unwrap_or_default();
            *sum += weigh(on, scores, from, best, scale, weights);
        }
        add(&weights, &values, acc);
    }
    for (acc, sum) in acc.chunks_mut(dim.max(1)).zip(sums) {
        for acc in acc.chunks_mut(16) {
            store_part(acc, _mm512_div_ps(load_part(acc), _mm512_set1_ps(sum)));
        }
    }
    true
}

/// The weights of a query's scores of a chunk, which begins at `from`; returns their sum. With an int8 cache each value's scale
/// is multiplied into its weight afterwards.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh(
    on: &Stretch<'_>,
    scores: &[f32],
    from: usize,
    best: f32,
    scale: Option<&[u16]>,
    weights: &mut [f32; CHUNK],
) -> f32 {
    let best = _mm512_set1_ps(best);
    let part = |index: usize| scores.get(16 * index..).unwrap_or_default();
    let x = [0, 1, 2, 3].map(|index| _mm512_sub_ps(load_part(part(index)), best));
    let shown = [0, 1, 2, 3].map(|index| seen(on, from + 16 * index));
    let mut sum = _mm256_setzero_ps();
    for ((index, weights), out) in (0..).zip(exp_cut(shown, x)).zip(weights.as_chunks_mut::<16>().0) {
        sum = _mm256_add_ps(sum, _mm512_castps512_ps256(weights));
        sum = _mm256_add_ps(sum, _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(weights))));
        let weights = match scale {
            Some(scale) => _mm512_mul_ps(weights, load_f16_part(scale.get(16 * index..).unwrap_or_default())),
            None => weights,
        };
        store(out, weights);
    }
    let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)))
}

/// Writes sixteen scores from `at` on, fewer at the end, and remembers each query's largest.
struct Out<const H: usize> {
    scale: __m512,
    best: [__m512; H],
}

impl<const H: usize> Out<H> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(queries: &Queries<'_>) -> Self {
        Self { scale: _mm512_set1_ps(queries.att_scale), best: [_mm512_set1_ps(f32::NEG_INFINITY); H] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn put(&mut self, on: &Stretch<'_>, at: usize, dots: [__m512; H], scores: &mut [&mut [f32]; H]) {
        let seen = seen(on, at);
        for ((scores, best), dot) in scores.iter_mut().zip(&mut self.best).zip(dots) {
            let score = _mm512_mul_ps(dot, self.scale);
            let scores = scores.get_mut(at..).unwrap_or_default();
            match scores.first_chunk_mut() {
                Some(scores) => store(scores, score),
                None => store_part(scores, score),
            }
            // The second operand where either is NaN, as in the scalar code.
            *best = _mm512_mask_max_ps(*best, seen, score, *best);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn best(&self) -> [f32; H] {
        self.best.map(|best| {
            let mut lanes = [0.0; 16];
            store(&mut lanes, best);
            lanes.into_iter().fold(f32::NEG_INFINITY, |max, score| if score > max { score } else { max })
        })
    }
}
