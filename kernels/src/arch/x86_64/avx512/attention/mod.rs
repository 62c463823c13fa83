//! Attention of up to sixteen queries at once, which share one head of the cache: a query in each lane.
//!
//! A key is read once for all queries, an element broadcast to all lanes; a query's eight partial sums are made one after the
//! other, for some keys at once. Scores and weights lie `[position][lane]`. Sixteen elements of a value are read once for all
//! queries, a weight broadcast to all lanes.

mod few;
mod scores;
mod values;

use core::{arch::x86_64::*, num::NonZeroUsize};

use super::{
    lanes::{load_f16_part, load_part, store, store_part},
    math::{exp_cut, tree},
};
use crate::{
    BLOCK, CacheRows, Queries, Tile,
    arch::together::{LANES, Lanes, MAX_DIM, Stretch},
    scalar::CHUNK,
};

/// Queries of one token, of heads of this width, that are taken together where they are too few for all lanes.
pub(super) fn few(head_dim: usize) -> usize {
    if few::is_made_for(head_dim) { few::MOST } else { 1 }
}

/// What each lane looks at.
#[derive(Clone, Copy)]
struct Seen {
    start: __m512i,
    end: __m512i,
}

impl Seen {
    /// The lanes that look at position `pos`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn at(&self, pos: usize) -> __mmask16 {
        let pos = _mm512_set1_epi32(pos as i32);
        _mm512_mask_cmpgt_epi32_mask(_mm512_cmple_epi32_mask(self.start, pos), self.end, pos)
    }
}

/// See [`crate::scalar::attend`]; returns false, having done nothing that matters, when these kernels are not made for the
/// shape or lengths do not fit each other.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
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
    let Some(lanes) = Lanes::of(queries) else { return false };
    if dim <= NARROW_DIM {
        all::<NARROW_DIM, { NARROW_DIM / LANES }>(queries, (&lanes, heads), &on, scores, out)
    } else {
        all::<MAX_DIM, { MAX_DIM / LANES }>(queries, (&lanes, heads), &on, scores, out)
    }
}

/// Heads of at most `D` elements, sixteen in each of `V` vectors: what is kept of them is first filled with zeros, which would
/// take long for heads that need little of it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn all<const D: usize, const V: usize>(
    queries: &Queries<'_>,
    (lanes, heads): (&Lanes, NonZeroUsize),
    on: &Stretch<'_>,
    scores: &mut [f32],
    out: &mut Tile<'_>,
) -> bool {
    let dim = queries.head_dim;
    let Some(scores) = scores.as_chunks_mut::<LANES>().0.get_mut(on.first..on.first + on.len) else { return false };
    // SAFETY: two arrays of sixteen integers.
    let (start, end) =
        unsafe { (_mm512_loadu_si512(lanes.start.as_ptr().cast()), _mm512_loadu_si512(lanes.end.as_ptr().cast())) };
    let seen = Seen { start, end };
    let Some(max) = scores::all::<D, V>(queries, &lanes.unit, seen, &on.keys, on.first, scores) else { return false };
    let mut acc = [[0.0; D]; LANES];
    let mut sum = _mm512_setzero_ps();
    for (chunk, weights) in scores.chunks_mut(CHUNK).enumerate() {
        let values = on.values.part(dim, chunk * CHUNK, weights.len());
        let from = on.first + chunk * CHUNK;
        sum = _mm512_add_ps(sum, weigh(weights, from, seen, max, &values));
        values::add(weights, &values, dim, &mut acc);
    }
    let mut sums = [0.0; LANES];
    store(&mut sums, sum);
    for ((lane, acc), sum) in acc.iter().take(lanes.count).enumerate().zip(sums) {
        let (t, h) = (lane / heads, lane % heads);
        for (out, acc) in out.part(t, h * dim, dim).chunks_mut(16).zip(acc.chunks(16)) {
            store_part(out, _mm512_div_ps(load_part(acc), _mm512_set1_ps(sum)));
        }
    }
    true
}

/// Scores of a chunk that begins at position `from` become weights; returns their sums. With an int8 cache each value's scale
/// is multiplied into its weight afterwards.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh(weights: &mut [[f32; LANES]], from: usize, seen: Seen, max: __m512, values: &CacheRows<'_>) -> __m512 {
    let mut sums = [_mm512_setzero_ps(); 8];
    let scales = match values {
        CacheRows::I8 { scale, .. } => Some(Scales::of(scale)),
        _ => None,
    };
    let mut pos = from;
    for rows in weights.chunks_mut(8) {
        for (row, sum) in rows.iter_mut().zip(&mut sums) {
            let [weight] = exp_cut([seen.at(pos)], [_mm512_sub_ps(load_part(row), max)]);
            *sum = _mm512_add_ps(*sum, weight);
            store(
                row,
                match &scales {
                    Some(scales) => _mm512_mul_ps(weight, _mm512_set1_ps(scales.at(pos - from))),
                    None => weight,
                },
            );
            pos += 1;
        }
    }
    tree(sums)
}

/// A chunk's scales as floats.
struct Scales([[f32; 16]; CHUNK / 16]);

impl Scales {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn of(halves: &[u16]) -> Self {
        let mut scales = [[0.0; 16]; CHUNK / 16];
        for (scales, halves) in scales.iter_mut().zip(halves.chunks(16)) {
            store(scales, load_f16_part(halves));
        }
        Self(scales)
    }

    /// Some from `index` on, a multiple of their number.
    #[inline]
    fn part(&self, index: usize) -> &[f32; scores::KEYS] {
        self.0.as_flattened().as_chunks().0.get(index / scores::KEYS).unwrap_or(&[0.0; scores::KEYS])
    }

    #[inline]
    fn at(&self, index: usize) -> f32 {
        self.0.as_flattened().get(index).copied().unwrap_or(0.0)
    }
}

/// The heads of most small models are no wider.
const NARROW_DIM: usize = 64;

/// Blocks of a head.
const BLOCKS: usize = MAX_DIM / BLOCK;
