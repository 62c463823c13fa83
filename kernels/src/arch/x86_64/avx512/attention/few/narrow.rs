//! [`super`] for heads of eight elements, as the smallest models have: two float keys, or eight int8 keys, fill a register.

use core::arch::x86_64::*;

use super::{
    super::{
        super::{
            super::avx2::lanes::padded,
            lanes::{load_f16_part, load_part},
        },
        scores::flipped,
    },
    Out,
    floats::trees,
};
use crate::{BLOCK, Queries, arch::together::Stretch, scalar::CHUNK};

/// Elements of a head.
pub(super) const NARROW: usize = 8;
/// Those of sixteen positions.
const SIXTEEN: usize = 16 * NARROW;

/// Scores over an int8 cache, of which a key is one block: `(kd * qd) * isum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn codes<const H: usize>(
    queries: &Queries<'_>,
    on: &Stretch<'_>,
    keys: &[i8],
    scale: &[u16],
    scores: &mut [&mut [f32]; H],
) -> Option<[f32; H]> {
    let (codes, scales) = (queries.q.get(..H * BLOCK)?, queries.scale.first_chunk::<H>()?);
    let (keys, scale) = (keys.get(..on.len * NARROW)?, scale.get(..on.len)?);
    let zero = _mm512_setzero_si512();
    let mut q = [(zero, zero); H];
    for (q, codes) in q.iter_mut().zip(codes.as_chunks::<BLOCK>().0) {
        let eight = codes.first_chunk::<NARROW>()?.map(|code| code as u8);
        let codes = _mm512_set1_epi64(i64::from_le_bytes(eight));
        // Keys are multiplied as unsigned bytes, 128 too large.
        *q = (codes, _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(-128), codes)));
    }
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    let mut out = Out::<H>::new(queries);
    for ((at, keys), scale) in (0..).step_by(16).zip(keys.chunks(SIXTEEN)).zip(scale.chunks(16)) {
        let last: [_; SIXTEEN];
        let keys = match keys.first_chunk::<SIXTEEN>() {
            Some(keys) => keys,
            None => {
                last = padded(keys, 0);
                &last
            }
        };
        // SAFETY: twice 64 of 128 bytes.
        let (a, b) = unsafe { (flipped(keys.as_ptr()), flipped(keys.as_ptr().add(64))) };
        let kd = load_f16_part(scale);
        let mut dots = [_mm512_setzero_ps(); H];
        for ((dot, (q, offset)), qd) in dots.iter_mut().zip(&q).zip(scales) {
            let (a, b) = (_mm512_dpbusd_epi32(*offset, a, *q), _mm512_dpbusd_epi32(*offset, b, *q));
            let isum = _mm512_add_epi32(_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b));
            let d = _mm512_mul_ps(kd, _mm512_set1_ps(*qd));
            *dot = _mm512_add_ps(*dot, _mm512_mul_ps(d, _mm512_cvtepi32_ps(isum)));
        }
        out.put(on, at, dots, scores);
    }
    Some(out.best())
}

/// Scores over a float cache: the contract's trees over eight products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn floats<T: Copy + Default, const H: usize>(
    queries: &Queries<'_>,
    on: &Stretch<'_>,
    keys: &[T],
    widen: impl Fn(&[T; 16]) -> __m512,
    scores: &mut [&mut [f32]; H],
) -> Option<[f32; H]> {
    let (x, keys) = (queries.x.get(..H * NARROW)?, keys.get(..on.len * NARROW)?);
    let mut q = [_mm512_setzero_ps(); H];
    for (q, x) in q.iter_mut().zip(x.as_chunks::<NARROW>().0) {
        let half = load_part(x);
        *q = _mm512_shuffle_f32x4::<0b01_00_01_00>(half, half);
    }
    let zero = _mm512_setzero_ps();
    let mut out = Out::<H>::new(queries);
    for (at, keys) in (0..).step_by(16).zip(keys.chunks(SIXTEEN)) {
        let last: [_; SIXTEEN];
        let keys = match keys.first_chunk::<SIXTEEN>() {
            Some(keys) => keys,
            None => {
                last = padded(keys, T::default());
                &last
            }
        };
        let mut pairs = [zero; 8];
        for (pair, keys) in pairs.iter_mut().zip(keys.as_chunks::<16>().0) {
            *pair = widen(keys);
        }
        // Sums begin with +0.0.
        let dots = q.map(|q| trees(pairs.map(|pair| _mm512_add_ps(zero, _mm512_mul_ps(q, pair)))));
        out.put(on, at, dots, scores);
    }
    Some(out.best())
}

/// Adds to each query's part of `acc` the chunk's values, summed in position order from +0.0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add<T: Copy + Default, const H: usize>(
    weights: &[[f32; CHUNK]; H],
    values: &[T],
    widen: impl Fn(&[T; 16]) -> __m512,
    acc: &mut [f32],
) {
    let mut sums = [_mm256_setzero_ps(); H];
    let (pairs, rest) = values.as_chunks::<16>();
    for (pos, pair) in (0..CHUNK / 2).zip(pairs) {
        let v = widen(pair);
        let (a, b) = (_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v))));
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_set1_ps(weights[2 * pos]), a));
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_set1_ps(weights[2 * pos + 1]), b));
        }
    }
    if let Some(last) = rest.first_chunk::<NARROW>() {
        let v = _mm512_castps512_ps256(widen(&padded(last, T::default())));
        for (sum, weights) in sums.iter_mut().zip(weights) {
            if let Some(weight) = weights.get(2 * pairs.len()) {
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_set1_ps(*weight), v));
            }
        }
    }
    for (acc, sum) in acc.as_chunks_mut::<NARROW>().0.iter_mut().zip(sums) {
        // SAFETY: `acc` is eight floats, to be read and written; neither asks for alignment.
        unsafe { _mm256_storeu_ps(acc.as_mut_ptr(), _mm256_add_ps(_mm256_loadu_ps(acc.as_ptr()), sum)) };
    }
}
