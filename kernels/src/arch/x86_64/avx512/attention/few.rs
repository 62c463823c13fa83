//! Attention of one token, up to four of whose queries share a head of the cache: positions in the lanes.
//!
//! A query in each lane, as for many, would leave most lanes empty. Sixteen keys are read once for all queries; scores and
//! weights lie `[query][position]`; a value is read once for all queries, whose sums stay in registers for a chunk.

use core::arch::x86_64::*;

use super::{
    super::{
        super::avx2::lanes::padded,
        lanes::{fetch, lanes, load_f16, load_f16_part, load_part, store, store_part},
        math::exp_cut,
    },
    MAX_DIM,
    narrow::{self, NARROW},
    scores::{flipped, flipped_part},
    values::load_i8,
};
use crate::{BLOCK, CacheRows, Queries, Tile, arch::together::Stretch, scalar::CHUNK};

/// Queries at once, at most.
pub(super) const MOST: usize = 4;
/// Bytes ahead of those in use that are asked for: without that, a quarter more time over a cache that lies in memory (Zen 4).
pub(super) const AHEAD: usize = 2048;
/// Bytes of a register: elements of an int8 key that are multiplied at once.
const SLICE: usize = 64;
const MOST_OF_TWO: usize = 2 * SLICE;

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
        CacheRows::F32(keys) => floats(queries, &on, keys, |a, b| two_f32(a, b), &mut scores),
        CacheRows::F16(keys) => floats(queries, &on, keys, |a, b| two_f16(a, b), &mut scores),
        CacheRows::I8 { q, scale } => match dim {
            ..=SLICE => codes::<H, 1>(queries, &on, q, scale, &mut scores),
            ..=MOST_OF_TWO => codes::<H, 2>(queries, &on, q, scale, &mut scores),
            _ => codes::<H, { MAX_DIM / SLICE }>(queries, &on, q, scale, &mut scores),
        },
    };
    best.is_some_and(|best| {
        second_pass(&on, &scores, best, dim, out, |weights, values, acc| match *values {
            CacheRows::F32(values) => add(weights, values, |v| load_part(v), dim, acc),
            CacheRows::F16(values) => add(weights, values, |v| load_f16(v), dim, acc),
            CacheRows::I8 { q, .. } => add(weights, q, |v| load_i8(v), dim, acc),
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
    // Behind a last chunk's weights are those of the chunk before, for which there is no value.
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

// --- scores -----------------------------------------------------------------------------------------------------------

/// Writes sixteen scores from `at` on, fewer at the end, and remembers each query's largest.
pub(super) struct Out<const H: usize> {
    scale: __m512,
    best: [__m512; H],
}

impl<const H: usize> Out<H> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn new(queries: &Queries<'_>) -> Self {
        Self { scale: _mm512_set1_ps(queries.att_scale), best: [_mm512_set1_ps(f32::NEG_INFINITY); H] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn put(&mut self, on: &Stretch<'_>, at: usize, dots: [__m512; H], scores: &mut [&mut [f32]; H]) {
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
    pub(super) fn best(&self) -> [f32; H] {
        self.best.map(|best| {
            let mut lanes = [0.0; 16];
            store(&mut lanes, best);
            lanes.into_iter().fold(f32::NEG_INFINITY, |max, score| if score > max { score } else { max })
        })
    }
}

/// Scores over an int8 cache of heads of at most `S` slices: per block of 32 elements `acc = acc + (kd * qd) * isum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn codes<const H: usize, const S: usize>(
    queries: &Queries<'_>,
    on: &Stretch<'_>,
    keys: &[i8],
    scale: &[u16],
    scores: &mut [&mut [f32]; H],
) -> Option<[f32; H]> {
    let dim = queries.head_dim;
    let q = Codes::<H, S>::of(queries)?;
    let (keys, scale) = (keys.get(..on.len * dim)?, scale.get(..on.len)?);
    let mut out = Out::<H>::new(queries);
    for at in (0..on.len).step_by(16) {
        // The last sixteen may be among those before too, and come out the same.
        let at = at.min(on.len.saturating_sub(16));
        let kd = load_f16_part(scale.get(at..)?);
        let keys = keys.get(at * dim..)?;
        let dots = match keys.get(..16 * dim) {
            Some(keys) => q.dots(keys, kd),
            None => q.dots_of_fewer(keys, kd),
        };
        out.put(on, at, dots, scores);
    }
    Some(out.best())
}

/// Queries, spread for [`four`], slice by slice, and their scales, `[query][block]`.
struct Codes<'a, const H: usize, const S: usize> {
    q: [[[__m512i; 5]; H]; S],
    scale: &'a [f32],
    dim: usize,
}

impl<'a, const H: usize, const S: usize> Codes<'a, H, S> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn of(queries: &Queries<'a>) -> Option<Self> {
        let dim = queries.head_dim;
        // Queries come in whole blocks, keys do not.
        let blocks = dim.div_ceil(BLOCK);
        let (codes, scale) = (queries.q.get(..H * blocks * BLOCK)?, queries.scale.get(..H * blocks)?);
        let mut q = [[[_mm512_setzero_si512(); 5]; H]; S];
        for (h, codes) in codes.chunks_exact((blocks * BLOCK).max(1)).enumerate() {
            for (q, codes) in q.iter_mut().zip(codes.get(..dim)?.chunks(SLICE)) {
                *q.get_mut(h)? = spread(codes);
            }
        }
        Some(Self { q, scale, dim })
    }

    /// Products of sixteen keys with each query.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots(&self, keys: &[i8], kd: __m512) -> [__m512; H] {
        let dim = self.dim;
        let mut acc = [_mm512_setzero_ps(); H];
        if keys.len() < 16 * dim {
            debug_assert!(false, "{} bytes of keys", keys.len());
            return acc;
        }
        for ((slice, start), q) in (0..dim).step_by(SLICE).enumerate().zip(&self.q) {
            let width = SLICE.min(dim - start);
            // SAFETY: sixteen rows of `dim` elements, `width` of which begin at `start`.
            let sums = unsafe {
                let first = keys.as_ptr().add(start);
                if width == SLICE { sums::<H, true>(first, dim, width, q) } else { sums::<H, false>(first, dim, width, q) }
            };
            let scales = self.scale.chunks_exact(dim.div_ceil(BLOCK).max(1));
            for ((acc, sums), scales) in acc.iter_mut().zip(sums).zip(scales) {
                for (isum, qd) in sums.into_iter().zip(scales.get(2 * slice..).unwrap_or_default()) {
                    let d = _mm512_mul_ps(kd, _mm512_set1_ps(*qd));
                    *acc = _mm512_add_ps(*acc, _mm512_mul_ps(d, _mm512_cvtepi32_ps(isum)));
                }
            }
        }
        acc
    }

    /// The same where there are fewer than sixteen keys in all.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots_of_fewer(&self, keys: &[i8], kd: __m512) -> [__m512; H] {
        self.dots(&padded::<_, { 16 * MAX_DIM }>(keys, 0), kd)
    }
}

/// At most 64 codes of a query, spread for [`four`]: element `j` of each lane of 128 bits in all of that lane, for each `j`;
/// and -128 times the lane's sum, as keys are multiplied as unsigned bytes, 128 too large.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn spread(codes: &[i8]) -> [__m512i; 5] {
    let padded: [i8; SLICE] = padded(codes, 0);
    // SAFETY: `padded` is 64 readable bytes; `loadu` asks for no alignment.
    let q = unsafe { _mm512_loadu_si512(padded.as_ptr().cast()) };
    let zero = _mm512_setzero_si512();
    let sum = _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(-128), q);
    let sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32::<0b01_00_11_10>(sum));
    let sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32::<0b10_11_00_01>(sum));
    [
        _mm512_shuffle_epi32::<0b00_00_00_00>(q),
        _mm512_shuffle_epi32::<0b01_01_01_01>(q),
        _mm512_shuffle_epi32::<0b10_10_10_10>(q),
        _mm512_shuffle_epi32::<0b11_11_11_11>(q),
        _mm512_sub_epi32(zero, sum),
    ]
}

/// The sums of products of sixteen keys with each query, over the two blocks of a slice; of half a slice the second ones are 0.
///
/// Not inlined: a loop over slices would have sixteen addresses computed before, too many for the registers.
///
/// # Safety
/// * From `first`, sixteen rows of `width` bytes `dim` bytes apart are readable; a `WHOLE` slice is [`SLICE`] wide.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn sums<const H: usize, const WHOLE: bool>(
    first: *const i8,
    dim: usize,
    width: usize,
    q: &[[__m512i; 5]; H],
) -> [[__m512i; 2]; H] {
    let four = |row: usize| {
        // SAFETY: the caller's promise.
        let key = |row: usize| unsafe {
            let key = first.add(row * dim);
            if WHOLE { flipped(key) } else { flipped_part(key, width) }
        };
        four([key(row), key(row + 1), key(row + 2), key(row + 3)], q)
    };
    let (a, b, c, d) = (four(0), four(4), four(8), four(12));
    let mut out = [[_mm512_setzero_si512(); 2]; H];
    for (out, ((a, b), (c, d))) in out.iter_mut().zip(a.into_iter().zip(b).zip(c.into_iter().zip(d))) {
        // A block is two lanes.
        let ab =
            _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b));
        let cd =
            _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(c, d), _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d));
        *out = [_mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd)];
    }
    out
}

/// Lane by lane the sums of products of four keys with each query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn four<const H: usize>([r0, r1, r2, r3]: [__m512i; 4], q: &[[__m512i; 5]; H]) -> [__m512i; H] {
    // Lane `l` of `v_j` has elements `4 l + j` (of four bytes) of all four.
    let (a, b) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
    let (c, d) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
    let (v0, v1) = (_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c));
    let (v2, v3) = (_mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d));
    let mut out = [_mm512_setzero_si512(); H];
    for (out, [q0, q1, q2, q3, offset]) in out.iter_mut().zip(q) {
        let sum = _mm512_dpbusd_epi32(*offset, v0, *q0);
        let sum = _mm512_dpbusd_epi32(sum, v1, *q1);
        let sum = _mm512_dpbusd_epi32(sum, v2, *q2);
        *out = _mm512_dpbusd_epi32(sum, v3, *q3);
    }
    out
}

/// Scores over a float cache: the contract's sums over `head_dim`, of two positions in the halves of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn floats<T, const H: usize>(
    queries: &Queries<'_>,
    on: &Stretch<'_>,
    keys: &[T],
    two: impl Fn(&[T; 8], &[T; 8]) -> __m512,
    scores: &mut [&mut [f32]; H],
) -> Option<[f32; H]> {
    let (dim, last) = (queries.head_dim, on.len.checked_sub(1)?);
    let (x, keys) = (queries.x.get(..H * dim)?, keys.get(..on.len * dim)?);
    let mut out = Out::<H>::new(queries);
    for at in (0..on.len).step_by(16) {
        let mut partial = [[_mm512_setzero_ps(); 8]; H];
        for half in 0..2 {
            let rows = [0, 1, 2, 3, 4, 5, 6, 7].map(|row| (at + 8 * half + row).min(last) * dim);
            // SAFETY: positions are at most the last one, and there is a key of each; `dim` is in whole sixteens.
            let sums = unsafe { eight::<T, H>(x.as_ptr(), rows.map(|row| keys.as_ptr().add(row)), dim, &two) };
            for (partial, sums) in partial.iter_mut().zip(sums) {
                partial[4 * half..4 * half + 4].copy_from_slice(&sums);
            }
        }
        out.put(on, at, partial.map(|partial| trees(partial)), scores);
    }
    Some(out.best())
}

/// The contract's eight partial sums of eight keys with each query, of two keys in each register.
///
/// # Safety
/// * `keys` are `dim` elements each, `x` is `H` times as many, and `dim` is a multiple of eight.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn eight<T, const H: usize>(
    x: *const f32,
    keys: [*const T; 8],
    dim: usize,
    two: impl Fn(&[T; 8], &[T; 8]) -> __m512,
) -> [[__m512; 4]; H] {
    let mut sums = [[_mm512_setzero_ps(); 4]; H];
    for at in (0..dim).step_by(8) {
        // SAFETY: eight elements from `at` on are among `dim`.
        let pair = |a: *const T, b: *const T| unsafe { two(&*a.add(at).cast(), &*b.add(at).cast()) };
        let [a, b, c, d, e, f, g, h] = keys;
        let keys = [pair(a, b), pair(c, d), pair(e, f), pair(g, h)];
        for (h, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above, of query `h`.
            let q = twice(unsafe { &*x.add(h * dim + at).cast() });
            for (sum, keys) in sums.iter_mut().zip(keys) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(q, keys));
            }
        }
    }
    sums
}

/// Eight floats in both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn twice(x: &[f32; 8]) -> __m512 {
    // SAFETY: `x` is eight readable floats; `loadu` asks for no alignment.
    _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(unsafe { _mm256_loadu_ps(x.as_ptr()) })))
}

/// `a` in the lower half, `b` in the upper.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn two_f32(a: &[f32; 8], b: &[f32; 8]) -> __m512 {
    // SAFETY: both are eight readable floats; `loadu` asks for no alignment.
    let (a, b) = unsafe { (_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr())) };
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castps_pd(_mm512_castps256_ps512(a)), _mm256_castps_pd(b)))
}

/// `a` in the lower half, `b` in the upper.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn two_f16(a: &[u16; 8], b: &[u16; 8]) -> __m512 {
    // SAFETY: both are sixteen readable bytes; `loadu` asks for no alignment.
    let (a, b) = unsafe { (_mm_loadu_si128(a.as_ptr().cast()), _mm_loadu_si128(b.as_ptr().cast())) };
    _mm512_cvtph_ps(_mm256_set_m128i(b, a))
}

/// The contract's trees over eight partial sums each, of two positions in each register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn trees([a, b, c, d, e, f, g, h]: [__m512; 8]) -> __m512 {
    // Four positions in the lanes of 128 bits.
    let [a, b, c, d] = [[a, b], [c, d], [e, f], [g, h]].map(|[a, b]| {
        _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
    });
    let [a, b] = [[a, b], [c, d]].map(|[a, b]| {
        _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(a, b), _mm512_shuffle_ps::<0b11_10_11_10>(a, b))
    });
    let sums = _mm512_add_ps(_mm512_shuffle_ps::<0b10_00_10_00>(a, b), _mm512_shuffle_ps::<0b11_01_11_01>(a, b));
    _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), sums)
}

// --- values -----------------------------------------------------------------------------------------------------------

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

/// Adds to each query's part of `acc` the chunk's values, summed in position order from +0.0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add<T, const H: usize>(
    weights: &[[f32; CHUNK]; H],
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512 + Copy,
    dim: usize,
    acc: &mut [f32],
) {
    let wide = dim / 64 * 64;
    for at in (0..wide).step_by(64) {
        columns::<T, H, 4>(weights, values, widen, dim, at, acc);
    }
    for at in (wide..dim).step_by(16) {
        columns::<T, H, 1>(weights, values, widen, dim, at, acc);
    }
}

/// Columns `at .. at + 16 C`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn columns<T, const H: usize, const C: usize>(
    weights: &[[f32; CHUNK]; H],
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512,
    dim: usize,
    at: usize,
    acc: &mut [f32],
) {
    let mut sums = [[_mm512_setzero_ps(); C]; H];
    for (pos, row) in (0..CHUNK).zip(values.chunks_exact(dim.max(1))) {
        let Some(row) = row.get(at..at + 16 * C) else { return };
        fetch(row.as_ptr().wrapping_byte_add(AHEAD));
        let mut v = [_mm512_setzero_ps(); C];
        for (v, row) in v.iter_mut().zip(row.as_chunks::<16>().0) {
            *v = widen(row);
        }
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = _mm512_set1_ps(weights[pos]);
            for (sum, v) in sums.iter_mut().zip(v) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(weight, v));
            }
        }
    }
    for (acc, sums) in acc.chunks_exact_mut(dim.max(1)).zip(sums) {
        let Some(acc) = acc.get_mut(at..) else { return };
        for (acc, sum) in acc.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            let sum = _mm512_add_ps(load_part(acc), sum);
            store(acc, sum);
        }
    }
}
