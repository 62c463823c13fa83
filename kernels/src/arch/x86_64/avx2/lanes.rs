//! Eight lanes: loads, stores, tails, and the contract's tree.

use core::arch::x86_64::*;

/// Eight floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn load(x: &[f32; 8]) -> __m256 {
    // SAFETY: `x` is eight readable floats; `loadu` asks for no alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

/// Writes eight floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn store(out: &mut [f32; 8], x: __m256) {
    // SAFETY: `out` is eight writable floats; `storeu` asks for no alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), x) }
}

/// Eight halves as floats. `vcvtph2ps` honours subnormal halves whatever MXCSR says.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn load_f16(x: &[u16; 8]) -> __m256 {
    // SAFETY: `x` is sixteen readable bytes; `loadu` asks for no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(x.as_ptr().cast()) })
}

/// Eight bfloat16 as floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn load_bf16(x: &[u16; 8]) -> __m256 {
    // SAFETY: `x` is sixteen readable bytes; `loadu` asks for no alignment.
    let bits = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(x.as_ptr().cast()) });
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
}

/// Eight int8 as floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn load_i8(x: &[i8; 8]) -> __m256 {
    // SAFETY: `x` is eight readable bytes, which is what `loadl` reads; it asks for no alignment.
    let bytes = unsafe { _mm_loadl_epi64(x.as_ptr().cast()) };
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
}

/// Sixteen int8 as int16.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn widen(x: &[i8; 16]) -> __m256i {
    // SAFETY: `x` is sixteen readable bytes; `loadu` asks for no alignment.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(x.as_ptr().cast()) })
}

/// The bits of |x|: positive as signed integers, and ordered as the magnitudes are, with infinity and NaN above all.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn magnitude_bits(x: __m256) -> __m256i {
    _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fff_ffff))
}

/// Writes 32 integers that fit into bytes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn store_i8x32(out: &mut [i8; 32], [a, b, c, d]: [__m256i; 4]) {
    // Packing works inside 128-bit halves: groups of four come out in the order 0 2 4 6 1 3 5 7.
    let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    // SAFETY: `out` is 32 writable bytes; `storeu` asks for no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn load_bytes(x: &[u8; 32]) -> __m256i {
    // SAFETY: `x` is 32 readable bytes; `loadu` asks for no alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// The first elements of an array from `x`, the others `fill`.
#[inline]
pub(in super::super) fn padded<T: Copy, const N: usize>(x: &[T], fill: T) -> [T; N] {
    let mut out = [fill; N];
    for (out, x) in out.iter_mut().zip(x) {
        *out = *x;
    }
    out
}

/// `x` in its first `n` lanes, +0.0 in the others.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn keep(x: __m256, n: usize) -> __m256 {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lanes);
    _mm256_and_ps(x, _mm256_castsi256_ps(mask))
}

/// The contract's tree over the eight partial sums of one vector.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn tree(s: __m256) -> f32 {
    let s = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps::<1>(s));
    let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))
}

/// The tree of eight vectors: lane `i` is that of `s[i]`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn trees(s: [__m256; 8]) -> __m256 {
    let [a, b, c, d, e, f, g, h] = s;
    let (a, b, c, d) = (upper_to_lower(a, e), upper_to_lower(b, f), upper_to_lower(c, g), upper_to_lower(d, h));
    // In each half: (s0+s4)+(s2+s6) and (s1+s5)+(s3+s7) of two vectors.
    let (ab, cd) = (pairs(a, b), pairs(c, d));
    _mm256_add_ps(_mm256_shuffle_ps::<0b10_00_10_00>(ab, cd), _mm256_shuffle_ps::<0b11_01_11_01>(ab, cd))
}

/// `s[i] + s[i + 4]` of `x` in the lower half, of `y` in the upper.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn upper_to_lower(x: __m256, y: __m256) -> __m256 {
    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(x, y), _mm256_permute2f128_ps::<0x31>(x, y))
}

/// In each half `x0 + x2, x1 + x3, y0 + y2, y1 + y3`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn pairs(x: __m256, y: __m256) -> __m256 {
    _mm256_add_ps(_mm256_shuffle_ps::<0b01_00_01_00>(x, y), _mm256_shuffle_ps::<0b11_10_11_10>(x, y))
}

/// The integer sums of eight vectors: lane `i` is that of `s[i]`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn sums(s: [__m256i; 8]) -> __m256i {
    let [a, b, c, d, e, f, g, h] = s;
    let lower = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let upper = _mm256_hadd_epi32(_mm256_hadd_epi32(e, f), _mm256_hadd_epi32(g, h));
    let halves = (_mm256_permute2x128_si256::<0x20>(lower, upper), _mm256_permute2x128_si256::<0x31>(lower, upper));
    _mm256_add_epi32(halves.0, halves.1)
}

/// The largest of eight signed integers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn max_i32(x: __m256i) -> i32 {
    let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
}

/// The sum of eight integers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn sum_i32(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
}
