//! Scores over a float cache, sixteen keys at a time.

use core::arch::x86_64::*;

use super::Out;
use crate::{Queries, arch::together::Stretch};

/// Scores over a float cache: the contract's sums over `head_dim`, of two positions in the halves of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn floats<T, const H: usize>(
    queries: &Queries<'_>,
    on: &Stretch<'_>,
    keys: &[T],
    two: impl Fn(&[T; 16], &[T; 16]) -> [__m512; 2],
    scores: &mut [&mut [f32]; H],
) -> Option<[f32; H]> {
    let dim = queries.head_dim;
    let (x, keys) = (queries.x.get(..H * dim)?, keys.get(..on.len * dim)?);
    let mut out = Out::<H>::new(queries);
    for at in (0..on.len).step_by(16) {
        // The last sixteen may be among those before too, and come out the same.
        let at = at.min(on.len.saturating_sub(16));
        let (keys, last) = (keys.get(at * dim..)?, (on.len - at).min(16) - 1);
        // SAFETY: from position `at` on there are keys up to the last; `dim` is in whole sixteens.
        let sums = unsafe {
            if last == 15 {
                partial_sums::<T, H, true>(x, keys, dim, last, &two)
            } else {
                partial_sums::<T, H, false>(x, keys, dim, last, &two)
            }
        };
        out.put(on, at, sums.map(|sums| trees(sums)), scores);
    }
    Some(out.best())
}

/// The contract's eight partial sums of sixteen keys with each query, of two keys in each register; the last key is repeated
/// where there are fewer.
///
/// Not inlined: sixteen addresses would be computed before the loop, too many for the registers.
///
/// # Safety
/// * `keys` begins with `last + 1` times `dim` elements, `x` has `H` times as many, and `dim` is a multiple of sixteen. There
///   is a `WHOLE` group where `last` is 15.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn partial_sums<T, const H: usize, const WHOLE: bool>(
    x: &[f32],
    keys: &[T],
    dim: usize,
    last: usize,
    two: &impl Fn(&[T; 16], &[T; 16]) -> [__m512; 2],
) -> [[__m512; 8]; H] {
    let mut out = [[_mm512_setzero_ps(); 8]; H];
    // Eight keys at a time: their sums are in registers for up to four queries.
    for half in 0..2 {
        let mut sums = [[_mm512_setzero_ps(); 4]; H];
        for at in (0..dim).step_by(16) {
            // SAFETY: sixteen elements from `at` on are among `dim`, and the row is one of those that the caller promises.
            let pair = |pair: usize| unsafe {
                let row = |row: usize| {
                    let row = if WHOLE { row } else { row.min(last) };
                    &*keys.as_ptr().add(row * dim + at).cast()
                };
                two(row(8 * half + 2 * pair), row(8 * half + 2 * pair + 1))
            };
            let keys = [pair(0), pair(1), pair(2), pair(3)];
            for eight in 0..2 {
                for (h, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above, of query `h`.
                    let q = twice(unsafe { &*x.as_ptr().add(h * dim + at + 8 * eight).cast() });
                    for (sum, keys) in sums.iter_mut().zip(keys) {
                        *sum = _mm512_add_ps(*sum, _mm512_mul_ps(q, keys[eight]));
                    }
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            out[4 * half..4 * half + 4].copy_from_slice(&sums);
        }
    }
    out
}

/// Eight floats in both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn twice(x: &[f32; 8]) -> __m512 {
    // SAFETY: `x` is eight readable floats; `loadu` asks for no alignment.
    _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(unsafe { _mm256_loadu_ps(x.as_ptr()) })))
}

/// The first eight elements of `a` in the lower half of a register and of `b` in the upper, and the other eight in another.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn two_f32(a: &[f32; 16], b: &[f32; 16]) -> [__m512; 2] {
    let mut out = [_mm512_setzero_ps(); 2];
    for ((out, a), b) in out.iter_mut().zip(a.as_chunks::<8>().0).zip(b.as_chunks::<8>().0) {
        // SAFETY: both are eight readable floats; `loadu` asks for no alignment.
        let (a, b) = unsafe { (_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr())) };
        let (a, b) = (_mm512_castps_pd(_mm512_castps256_ps512(a)), _mm256_castps_pd(b));
        *out = _mm512_castpd_ps(_mm512_insertf64x4::<1>(a, b));
    }
    out
}

/// As [`two_f32`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn two_f16(a: &[u16; 16], b: &[u16; 16]) -> [__m512; 2] {
    // SAFETY: both are 32 readable bytes; `loadu` asks for no alignment.
    let (a, b) = unsafe { (_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast())) };
    [_mm512_cvtph_ps(_mm256_permute2x128_si256::<0x20>(a, b)), _mm512_cvtph_ps(_mm256_permute2x128_si256::<0x31>(a, b))]
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
