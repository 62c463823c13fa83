//! The first pass: sixteen queries with [`KEYS`] keys, whose sums are in registers.

use core::arch::x86_64::*;

use super::{
    super::{
        super::ahead::{NEAR, fetch},
        lanes::{load, load_f16, padded, store, widen},
    },
    LANES, MAX_DIM, Pair, Seen,
};
use crate::{BLOCK, CacheRows, Queries, arch::together::row};

/// Keys at once: eight sums.
const KEYS: usize = 4;
/// Blocks of a head.
const BLOCKS: usize = MAX_DIM / BLOCK;
/// Bytes ahead of those in use that are asked for: a long cache lies in memory.
pub(super) const AHEAD: usize = 4096;

/// Scores of all positions of `keys`, which begin at position `first`, and each lane's largest. `None` when lengths do not fit
/// each other.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn all(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    seen: Seen,
    keys: &CacheRows<'_>,
    first: usize,
    scores: &mut [[f32; LANES]],
) -> Option<Pair> {
    let (scale, max) = (_mm256_set1_ps(queries.att_scale), [_mm256_set1_ps(f32::NEG_INFINITY); 2]);
    let mut out = Out { scale, seen, first, max };
    match *keys {
        CacheRows::F32(keys) => floats(queries, unit, keys, |key| load(key), scores, &mut out)?,
        CacheRows::F16(keys) => floats(queries, unit, keys, |key| load_f16(key), scores, &mut out)?,
        CacheRows::I8 { q, scale } => codes(queries, unit, q, scale, scores, &mut out)?,
    }
    Some(out.max)
}

/// Where scores go.
struct Out {
    scale: __m256,
    seen: Seen,
    /// The position of the first key.
    first: usize,
    max: Pair,
}

impl Out {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn put(&mut self, at: usize, scores: &mut [[f32; LANES]], dots: [Pair; KEYS]) {
        for ((pos, out), dots) in (self.first + at..).zip(scores).zip(dots) {
            let out = out.as_chunks_mut::<8>().0;
            for (half, ((out, dot), max)) in out.iter_mut().zip(dots).zip(&mut self.max).enumerate() {
                let score = _mm256_mul_ps(dot, self.scale);
                store(out, score);
                // The second operand where either is NaN, as in the scalar code.
                *max = _mm256_blendv_ps(*max, _mm256_max_ps(score, *max), self.seen.at(pos, half));
            }
        }
    }
}

/// Writes element `i` of each lane's row to `to[i]`: eight lanes and eight numbers of 32 bits at a time, the eight from `at` on
/// of a lane being `load(lane, at)`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn spread(to: &mut [[f32; LANES]], load: impl Fn(usize, usize) -> Option<__m256>) -> Option<()> {
    for (at, to) in (0..).step_by(8).zip(to.as_chunks_mut::<8>().0) {
        for half in 0..2 {
            let mut rows = [_mm256_setzero_ps(); 8];
            for (lane, row) in rows.iter_mut().enumerate() {
                *row = load(8 * half + lane, at)?;
            }
            for (to, column) in to.iter_mut().zip(transposed(rows)) {
                store(to.as_chunks_mut::<8>().0.get_mut(half)?, column);
            }
        }
    }
    Some(())
}

/// Element `i` of all rows, for each `i`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn transposed([a, b, c, d, e, f, g, h]: [__m256; 8]) -> [__m256; 8] {
    let [a0, a1, a2, a3] = quarters([a, b, c, d]);
    let [b0, b1, b2, b3] = quarters([e, f, g, h]);
    [
        _mm256_permute2f128_ps::<0x20>(a0, b0),
        _mm256_permute2f128_ps::<0x20>(a1, b1),
        _mm256_permute2f128_ps::<0x20>(a2, b2),
        _mm256_permute2f128_ps::<0x20>(a3, b3),
        _mm256_permute2f128_ps::<0x31>(a0, b0),
        _mm256_permute2f128_ps::<0x31>(a1, b1),
        _mm256_permute2f128_ps::<0x31>(a2, b2),
        _mm256_permute2f128_ps::<0x31>(a3, b3),
    ]
}

/// Elements `i` of four rows in the lower half, `i + 4` in the upper, for `i` of 0 to 3.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn quarters([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
    let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
    [
        _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
        _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
    ]
}

// --- float caches -----------------------------------------------------------------------------------------------------

/// Eight elements of each of some keys as floats, then the next eight. Where keys are fewer, some of those before them are left,
/// for whose scores there is no place.
type Wide = [[[f32; 8]; KEYS]; MAX_DIM / 8];

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn floats<T>(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    keys: &[T],
    widen: impl Fn(&[T; 8]) -> __m256,
    scores: &mut [[f32; LANES]],
    out: &mut Out,
) -> Option<()> {
    let dim = queries.head_dim;
    let mut x = [[0.0; LANES]; MAX_DIM];
    let x = x.get_mut(..dim)?;
    spread(x, |lane, at| Some(load(row(queries.x, *unit.get(lane)?, dim)?.get(at..)?.first_chunk()?)))?;
    let mut wide: Wide = [[[0.0; 8]; KEYS]; MAX_DIM / 8];
    let groups = scores.chunks_mut(KEYS).zip(keys.chunks((KEYS * dim).max(1)));
    for (at, (scores, keys)) in (0..).step_by(KEYS).zip(groups) {
        for (k, key) in keys.chunks_exact(dim.max(1)).enumerate() {
            fetch::<NEAR, 64>(key.as_ptr().wrapping_byte_add(AHEAD));
            for (wide, key) in wide.iter_mut().zip(key.as_chunks::<8>().0) {
                let Some(wide) = wide.get_mut(k) else { continue };
                store(wide, widen(key));
            }
        }
        out.put(at, scores, dots(x.as_chunks::<8>().0, &wide));
    }
    Some(())
}

/// The contract's sums over `head_dim`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn dots(x: &[[[f32; LANES]; 8]], keys: &Wide) -> [Pair; KEYS] {
    // The partial sums in the order of the tree, so that few wait for others.
    let even = add(add(partial(x, keys, 0), partial(x, keys, 4)), add(partial(x, keys, 2), partial(x, keys, 6)));
    let odd = add(add(partial(x, keys, 1), partial(x, keys, 5)), add(partial(x, keys, 3), partial(x, keys, 7)));
    add(even, odd)
}

/// The partial sum over the elements `i` with `i % 8 == at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn partial(x: &[[[f32; LANES]; 8]], keys: &Wide, at: usize) -> [Pair; KEYS] {
    let mut sums = [[_mm256_setzero_ps(); 2]; KEYS];
    for (x, keys) in x.iter().zip(keys) {
        for (sums, key) in sums.iter_mut().zip(keys) {
            let key = _mm256_set1_ps(key[at]);
            for (sum, x) in sums.iter_mut().zip(x[at].as_chunks::<8>().0) {
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(load(x), key));
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add(mut a: [Pair; KEYS], b: [Pair; KEYS]) -> [Pair; KEYS] {
    for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
        *a = _mm256_add_ps(*a, *b);
    }
    a
}

// --- int8 caches ------------------------------------------------------------------------------------------------------

/// Pairs of a block's elements, as int16.
const PAIRS: usize = BLOCK / 2;

/// A block of each of some keys, then the next block.
type WideCodes = [[[[i16; 16]; 2]; KEYS]; BLOCKS];

/// Per block of 32 elements `acc = acc + (kd * qd) * isum`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn codes(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    keys: &[i8],
    scale: &[u16],
    scores: &mut [[f32; LANES]],
    out: &mut Out,
) -> Option<()> {
    let dim = queries.head_dim;
    let blocks = dim.div_ceil(BLOCK);
    // Two neighbouring elements a number. Past the end of a head, queries are 0.
    let mut q = [[0.0; LANES]; MAX_DIM / 2];
    spread(q.get_mut(..blocks * PAIRS)?, |lane, at| {
        let codes = row(queries.q, *unit.get(lane)?, blocks * BLOCK)?;
        Some(_mm256_castsi256_ps(widen(codes.get(2 * at..)?.first_chunk()?)))
    })?;
    let mut scales = [[0.0; LANES]; BLOCKS];
    for (lane, unit) in unit.iter().enumerate() {
        for (scales, scale) in scales.iter_mut().zip(row(queries.scale, *unit, blocks)?) {
            *scales.get_mut(lane)? = *scale;
        }
    }
    let queries = || q.as_chunks::<PAIRS>().0.iter().zip(&scales).take(blocks);
    let mut wide: WideCodes = [[[[0; 16]; 2]; KEYS]; BLOCKS];
    let groups = scores.chunks_mut(KEYS).zip(keys.chunks((KEYS * dim).max(1))).zip(scale.chunks(KEYS));
    for (at, ((scores, keys), scale)) in (0..).step_by(KEYS).zip(groups) {
        for (k, key) in keys.chunks_exact(dim.max(1)).enumerate() {
            fetch::<NEAR, 64>(key.as_ptr().wrapping_byte_add(AHEAD));
            for (wide, key) in wide.iter_mut().zip(key.chunks(BLOCK)) {
                for (wide, key) in wide.get_mut(k)?.iter_mut().zip(key.as_chunks::<16>().0) {
                    // SAFETY: `wide` is 32 writable bytes; `storeu` asks for no alignment.
                    unsafe { _mm256_storeu_si256(wide.as_mut_ptr().cast(), widen(key)) };
                }
            }
        }
        let mut kd = [0.0; 8];
        store(&mut kd, load_f16(&padded(scale, 0)));
        let mut acc = [[_mm256_setzero_ps(); 2]; KEYS];
        for ((q, qd), keys) in queries().zip(&wide) {
            let qd = [0, 8].map(|at| qd[at..].first_chunk().map_or(_mm256_setzero_ps(), |qd| load(qd)));
            for ((acc, isum), kd) in acc.iter_mut().zip(block(q, keys)).zip(kd) {
                for ((acc, isum), qd) in acc.iter_mut().zip(isum).zip(qd) {
                    let d = _mm256_mul_ps(_mm256_set1_ps(kd), qd);
                    *acc = _mm256_add_ps(*acc, _mm256_mul_ps(d, _mm256_cvtepi32_ps(isum)));
                }
            }
        }
        out.put(at, scores, acc);
    }
    Some(())
}

/// The exact products of a block of each query with one of each key.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn block(q: &[[f32; LANES]; PAIRS], keys: &[[[i16; 16]; 2]; KEYS]) -> [[__m256i; 2]; KEYS] {
    let mut sums = [[_mm256_setzero_si256(); 2]; KEYS];
    for (pair, q) in q.iter().enumerate() {
        let q = q.as_chunks::<8>().0;
        for (sums, key) in sums.iter_mut().zip(keys) {
            let [a, b] = key.as_flattened().as_chunks::<2>().0[pair];
            let key = _mm256_set1_epi32(i32::from(a as u16) | i32::from(b) << 16);
            for (sum, q) in sums.iter_mut().zip(q) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_castps_si256(load(q)), key));
            }
        }
    }
    sums
}
