//! The contract's exponential, eight at a time: the operations of [`crate::math::exp`] in their order.

use core::arch::x86_64::*;

use crate::math::{ROUND_MAGIC, SOFTMAX_CUT, exp_constants::*};

/// `e^x`, the argument clamped; see [`crate::math::exp`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn exp(x: __m256) -> __m256 {
    // maxps and minps give their second operand when either is NaN, as the scalar comparisons do.
    let x = _mm256_max_ps(x, _mm256_set1_ps(MIN));
    let x = _mm256_min_ps(x, _mm256_set1_ps(MAX));
    let magic = _mm256_set1_ps(ROUND_MAGIC);
    let shifted = add(_mm256_mul_ps(x, _mm256_set1_ps(LOG2_E)), magic);
    let n = _mm256_sub_ps(shifted, magic);
    let exponent = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(magic));
    let r = _mm256_sub_ps(x, _mm256_mul_ps(n, _mm256_set1_ps(LN2_HI)));
    let r = _mm256_sub_ps(r, _mm256_mul_ps(n, _mm256_set1_ps(LN2_LO)));
    let [c0, c1, c2, c3, c4, c5] = POLY;
    let p = add(_mm256_mul_ps(_mm256_set1_ps(c0), r), _mm256_set1_ps(c1));
    let p = add(_mm256_mul_ps(p, r), _mm256_set1_ps(c2));
    let p = add(_mm256_mul_ps(p, r), _mm256_set1_ps(c3));
    let p = add(_mm256_mul_ps(p, r), _mm256_set1_ps(c4));
    let p = add(_mm256_mul_ps(p, r), _mm256_set1_ps(c5));
    let p = add(_mm256_mul_ps(p, _mm256_mul_ps(r, r)), r);
    let p = add(p, _mm256_set1_ps(1.0));
    let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)));
    _mm256_mul_ps(p, _mm256_castsi256_ps(power))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(a, b)
}

/// `e^x`, and +0.0 where `x` is not above the cut; see [`crate::math::exp_cut`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn exp_cut(x: __m256) -> __m256 {
    let above = _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(SOFTMAX_CUT));
    _mm256_and_ps(above, exp(x))
}
