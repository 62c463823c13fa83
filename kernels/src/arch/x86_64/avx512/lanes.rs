//! Sixteen lanes: loads, stores and tails by mask.

use core::arch::x86_64::*;

use crate::Store;

/// Sixteen halves as floats. `vcvtph2ps` honours subnormal halves whatever MXCSR says.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_f16(x: &[u16; 16]) -> __m512 {
    // SAFETY: `x` is 32 readable bytes; `loadu` asks for no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(x.as_ptr().cast()) })
}

/// 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_bytes(x: &[u8; 64]) -> __m512i {
    // SAFETY: `x` is 64 readable bytes; `loadu` asks for no alignment.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

/// The first `len` lanes, at most sixteen.
#[inline]
pub(super) fn lanes(len: usize) -> __mmask16 {
    ((1u32 << len.min(16)) - 1) as __mmask16
}

/// At most sixteen floats, +0.0 in the lanes past the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_part(x: &[f32]) -> __m512 {
    // SAFETY: only the lanes of the mask are read, as many as `x` has elements or fewer.
    unsafe { _mm512_maskz_loadu_ps(lanes(x.len()), x.as_ptr()) }
}

/// Writes as many floats as `out` has room for, at most sixteen.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn store_part(out: &mut [f32], x: __m512) {
    // SAFETY: only the lanes of the mask are written, as many as `out` has elements or fewer.
    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), lanes(out.len()), x) }
}

/// Stores at most sixteen outputs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn put(out: &mut [f32], dot: __m512, how: Store) {
    let value = match how {
        Store::Set => dot,
        Store::Add => _mm512_add_ps(load_part(out), dot),
    };
    store_part(out, value);
}

/// Asks for the line at `start`, which need not exist: fetching ahead never faults.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
// Newer compilers declare the intrinsic safe.
#[allow(unused_unsafe)]
pub(super) fn fetch<T>(start: *const T) {
    // SAFETY: a prefetch is no access, so any address will do.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(start.cast()) };
}
