//! The contract's exponential, sixteen at a time: the operations of [`crate::math::exp`] in their order.

use core::arch::x86_64::*;

use crate::math::{ROUND_MAGIC, SOFTMAX_CUT, exp_constants::*};

/// `e^x`, the argument clamped; see [`crate::math::exp`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn exp(x: __m512) -> __m512 {
    // maxps and minps give their second operand when either is NaN, as the scalar comparisons do.
    let x = _mm512_max_ps(x, _mm512_set1_ps(MIN));
    let x = _mm512_min_ps(x, _mm512_set1_ps(MAX));
    let magic = _mm512_set1_ps(ROUND_MAGIC);
    let shifted = multiply_add(x, LOG2_E, magic);
    let n = _mm512_sub_ps(shifted, magic);
    let exponent = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_castps_si512(magic));
    let r = _mm512_sub_ps(x, _mm512_mul_ps(n, _mm512_set1_ps(LN2_HI)));
    let r = _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(LN2_LO)));
    let [c0, c1, c2, c3, c4, c5] = POLY;
    let p = multiply_add(r, c0, _mm512_set1_ps(c1));
    let p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(c2));
    let p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(c3));
    let p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(c4));
    let p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(c5));
    let p = _mm512_add_ps(_mm512_mul_ps(p, _mm512_mul_ps(r, r)), r);
    let p = _mm512_add_ps(p, _mm512_set1_ps(1.0));
    let power = _mm512_slli_epi32::<23>(_mm512_add_epi32(exponent, _mm512_set1_epi32(127)));
    _mm512_mul_ps(p, _mm512_castsi512_ps(power))
}

/// Never fused.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_add(x: __m512, factor: f32, addend: __m512) -> __m512 {
    _mm512_add_ps(_mm512_mul_ps(x, _mm512_set1_ps(factor)), addend)
}

/// `e^x` in the lanes of `mask` where `x` is above the cut, +0.0 in the others; see [`crate::math::exp_cut`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn exp_cut(mask: __mmask16, x: __m512) -> __m512 {
    let above = _mm512_mask_cmp_ps_mask::<_CMP_GT_OQ>(mask, x, _mm512_set1_ps(SOFTMAX_CUT));
    _mm512_maskz_mov_ps(above, exp(x))
}

/// The contract's tree over eight partial sums, in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn tree(s: [__m512; 8]) -> __m512 {
    let [a, b, c, d, e, f, g, h] = s;
    let even = _mm512_add_ps(_mm512_add_ps(a, e), _mm512_add_ps(c, g));
    let odd = _mm512_add_ps(_mm512_add_ps(b, f), _mm512_add_ps(d, h));
    _mm512_add_ps(even, odd)
}
