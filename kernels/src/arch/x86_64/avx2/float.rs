//! Products with F32, F16 and BF16 weights: one register holds a row's eight partial sums.

use core::{arch::x86_64::*, ops::Range};

use super::{
    super::ahead::{NEAR, fetch},
    lanes::{load, load_bf16, load_f16, padded, store, trees},
};
use crate::{Format, Input, Matrix, Store, Tile, matrix::FLOAT_UNIT};

/// See [`crate::scalar::matmul`]; returns false, having done nothing, when the shapes do not fit each other.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    match w.format() {
        Format::F32 => rows(w, |row| w.row_f32(row), |x| load(x), panels, x, out, how),
        Format::F16 => rows(w, |row| w.row_16(row), |x| load_f16(x), panels, x, out, how),
        Format::BF16 => rows(w, |row| w.row_16(row), |x| load_bf16(x), panels, x, out, how),
        _ => false,
    }
}

/// All rows of `panels`, eight at a time, for all tokens.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn rows<'a, T: Copy + Default + 'a>(
    w: &Matrix<'a>,
    row: impl Fn(usize) -> &'a [T],
    widen: impl Fn(&[T; 8]) -> __m256 + Copy,
    panels: Range<usize>,
    x: &Input<'_>,
    out: &mut Tile<'_>,
    how: Store,
) -> bool {
    let tokens = out.tokens().min(x.tokens);
    let first_row = panels.start.saturating_mul(FLOAT_UNIT);
    let fits = first_row.checked_add(out.rows()).is_some_and(|end| end <= w.rows());
    if !fits || tokens.checked_mul(w.cols()).is_none_or(|len| x.x.len() < len) {
        return false;
    }
    for at in (0..out.rows()).step_by(FLOAT_UNIT) {
        let count = (out.rows() - at).min(FLOAT_UNIT);
        // Rows past the end are the last row again; what they give is not stored.
        let w8: [&[T]; 8] = core::array::from_fn(|r| row(first_row + at + r.min(count - 1)));
        let [a, b, c, d, e, f, g, h] = w8;
        let mut t = 0;
        while t + 2 <= tokens {
            let x = [x.row(t, w.cols()), x.row(t + 1, w.cols())];
            let (Some(low), Some(high)) = (dots([a, b, c, d], x, widen), dots([e, f, g, h], x, widen)) else {
                return false;
            };
            let lower = _mm256_permute2f128_ps::<0x20>(low, high);
            let upper = _mm256_permute2f128_ps::<0x31>(low, high);
            put(out.part(t, at, count), lower, how);
            put(out.part(t + 1, at, count), upper, how);
            t += 2;
        }
        if t < tokens {
            let Some(dot) = dots(w8, [x.row(t, w.cols())], widen) else { return false };
            put(out.part(t, at, count), dot, how);
        }
    }
    true
}

/// Stores at most eight outputs.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn put(out: &mut [f32], dot: __m256, how: Store) {
    if let Ok(out) = <&mut [f32; 8]>::try_from(&mut *out) {
        let value = match how {
            Store::Set => dot,
            Store::Add => _mm256_add_ps(load(out), dot),
        };
        store(out, value);
    } else {
        let mut dots = [0.0; 8];
        store(&mut dots, dot);
        for (out, dot) in out.iter_mut().zip(dots) {
            how.put(out, dot);
        }
    }
}

/// The eight dot products of R rows with N vectors (R * N = 8): lane `t * R + r` is row `r` with vector `t`.
///
/// `None` when the lengths differ. Eight partial sums a product; elements past the last whole eight enter as
/// `+0.0 * +0.0` in the lanes they do not fill, which leaves a partial sum's bits alone: it is never -0.0, as it starts at
/// +0.0 and a sum is -0.0 only when both its terms are.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn dots<T: Copy + Default, const R: usize, const N: usize>(
    rows: [&[T]; R],
    x: [&[f32]; N],
    widen: impl Fn(&[T; 8]) -> __m256,
) -> Option<__m256> {
    const { assert!(R * N == 8) };
    let len = x.first()?.len();
    if !(rows.iter().all(|row| row.len() == len) && x.iter().all(|x| x.len() == len)) {
        return None;
    }
    let (row_chunks, x_chunks) = (rows.map(|row| row.as_chunks::<8>()), x.map(|x| x.as_chunks::<8>()));
    let mut s = [[_mm256_setzero_ps(); R]; N];
    // Eight rows are too many streams for the hardware's prefetchers. Where each is used once, the rows that most likely
    // follow in memory, two groups on, are fetched in one stream.
    let mut next = rows.last()?.as_ptr().wrapping_add(9 * len);
    for at in 0..len / 8 {
        if N == 1 {
            for _ in 0..size_of::<T>() {
                fetch::<NEAR, 64>(next);
                next = next.wrapping_byte_add(64);
            }
        }
        // SAFETY: all slices were found to be `len` long, so all have `len / 8` whole chunks, and `at` is below that.
        let w = row_chunks.map(|(row, _)| widen(unsafe { row.get_unchecked(at) }));
        for (s, (x, _)) in s.iter_mut().zip(x_chunks) {
            // SAFETY: as above.
            let x = load(unsafe { x.get_unchecked(at) });
            for (s, w) in s.iter_mut().zip(w) {
                *s = _mm256_add_ps(*s, _mm256_mul_ps(w, x));
            }
        }
    }
    if len & 7 != 0 {
        let w = row_chunks.map(|(_, rest)| widen(&padded(rest, T::default())));
        for (s, (_, rest)) in s.iter_mut().zip(x_chunks) {
            let x = load(&padded(rest, 0.0));
            for (s, w) in s.iter_mut().zip(w) {
                *s = _mm256_add_ps(*s, _mm256_mul_ps(w, x));
            }
        }
    }
    let mut flat = [_mm256_setzero_ps(); 8];
    for (flat, s) in flat.iter_mut().zip(s.as_flattened()) {
        *flat = *s;
    }
    Some(trees(flat))
}
