//! Sixteen lanes: loads, stores and tails by mask.

use core::arch::x86_64::*;

use super::super::avx2::lanes::padded;
use crate::Store;

/// Sixteen halves as floats. `vcvtph2ps` honours subnormal halves whatever MXCSR says.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn load_f16(x: &[u16; 16]) -> __m512 {
    // SAFETY: `x` is 32 readable bytes; `loadu` asks for no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(x.as_ptr().cast()) })
}

/// At most sixteen halves as floats, +0.0 in the lanes past the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn load_f16_part(x: &[u16]) -> __m512 {
    match x.first_chunk::<16>() {
        Some(x) => load_f16(x),
        None => load_f16(&padded(x, 0)),
    }
}

/// 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn load_bytes(x: &[u8; 64]) -> __m512i {
    // SAFETY: `x` is 64 readable bytes; `loadu` asks for no alignment.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

/// Writes sixteen floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn store(out: &mut [f32; 16], x: __m512) {
    // SAFETY: `out` is sixteen writable floats; `storeu` asks for no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
}

/// Column `at` of sixteen rows of `width` numbers of 32 bits, as bits; zeros when there is none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn column<T: Copy>(rows: &[T], width: usize, at: usize) -> __m512 {
    const { assert!(size_of::<T>() == 4) };
    let Ok(step) = i32::try_from(width) else { return _mm512_setzero_ps() };
    if at >= width || rows.len() < width.saturating_mul(16) || step > i32::MAX / 64 {
        debug_assert!(false, "column {at} of {width} in {}", rows.len());
        return _mm512_setzero_ps();
    }
    let row = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let index = _mm512_mullo_epi32(row, _mm512_set1_epi32(step));
    // SAFETY: sixteen elements `width` apart from `at < width` are among the `16 * width` there are.
    unsafe { _mm512_i32gather_ps::<4>(index, rows.as_ptr().add(at).cast()) }
}

/// Writes 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn store_bytes(out: &mut [u8; 64], x: __m512i) {
    // SAFETY: `out` is 64 writable bytes; `storeu` asks for no alignment.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), x) }
}

/// Sixteen int32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn load_sums(x: &[i32; 16]) -> __m512i {
    // SAFETY: `x` is sixteen readable integers; `loadu` asks for no alignment.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

/// Sixteen rows as sixteen columns: number `i` of row `j` becomes number `j` of row `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    // Among four neighbouring rows, in lanes of 128 bits: `fours[4 i + j]` has number `j` of each lane of rows `4 i ..`.
    let mut fours = rows;
    for four in fours.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *four;
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // Lanes of 128 bits among fours.
    let mut out = rows;
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let (ab, cd) = (_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b01_00_01_00>(c, d));
        let (ab_high, cd_high) =
            (_mm512_shuffle_i32x4::<0b11_10_11_10>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d));
        out[j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd);
        out[4 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd);
        out[8 + j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high);
        out[12 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high);
    }
    out
}

/// The first `len` lanes, at most sixteen.
#[inline]
pub(in super::super) fn lanes(len: usize) -> __mmask16 {
    ((1u32 << len.min(16)) - 1) as __mmask16
}

/// At most sixteen floats, +0.0 in the lanes past the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn load_part(x: &[f32]) -> __m512 {
    // SAFETY: only the lanes of the mask are read, as many as `x` has elements or fewer.
    unsafe { _mm512_maskz_loadu_ps(lanes(x.len()), x.as_ptr()) }
}

/// Writes as many floats as `out` has room for, at most sixteen.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn store_part(out: &mut [f32], x: __m512) {
    // SAFETY: only the lanes of the mask are written, as many as `out` has elements or fewer.
    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), lanes(out.len()), x) }
}

/// Stores at most sixteen outputs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn put(out: &mut [f32], dot: __m512, how: Store) {
    let value = match how {
        Store::Set => dot,
        Store::Add => _mm512_add_ps(load_part(out), dot),
    };
    store_part(out, value);
}
