//! The contract's exponential, sixteen at a time: the operations of [`crate::math::exp`] in their order.
//!
//! Of some vectors together: each step waits for the one before it, so that one vector after the other would leave the units
//! idle, however far the processor looks ahead.

use core::arch::{asm, x86_64::*};

use crate::math::{ROUND_MAGIC, SOFTMAX_CUT, exp_constants::*};

/// Vectors that are worth taking together.
pub(super) const TOGETHER: usize = 4;

/// `e^x`, the argument clamped; see [`crate::math::exp`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn exp<const N: usize>(x: [__m512; N]) -> [__m512; N] {
    // maxps and minps give their second operand when either is NaN, as the scalar comparisons do.
    let x = each(x, |x| _mm512_max_ps(x, _mm512_set1_ps(MIN)));
    let x = each(x, |x| _mm512_min_ps(x, _mm512_set1_ps(MAX)));
    let magic = _mm512_set1_ps(ROUND_MAGIC);
    let shifted = each(x, |x| multiply_add(x, LOG2_E, magic));
    let n = each(shifted, |shifted| _mm512_sub_ps(shifted, magic));
    let r = in_step(both(x, n, |x, n| _mm512_sub_ps(x, _mm512_mul_ps(n, _mm512_set1_ps(LN2_HI)))));
    let r = both(r, n, |r, n| _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(LN2_LO))));
    let [c0, c1, rest @ ..] = POLY;
    let mut p = in_step(each(r, |r| multiply_add(r, c0, _mm512_set1_ps(c1))));
    for c in rest {
        p = in_step(both(p, r, |p, r| _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(c))));
    }
    let p = both(p, r, |p, r| _mm512_add_ps(_mm512_mul_ps(p, _mm512_mul_ps(r, r)), r));
    let p = each(p, |p| _mm512_add_ps(p, _mm512_set1_ps(1.0)));
    both(p, shifted, |p, shifted| {
        let exponent = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_castps_si512(magic));
        let power = _mm512_slli_epi32::<23>(_mm512_add_epi32(exponent, _mm512_set1_epi32(127)));
        _mm512_mul_ps(p, _mm512_castsi512_ps(power))
    })
}

/// All vectors, before any goes on. No instruction: without it the compiler may order them one behind the other after all.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn in_step<const N: usize>(mut x: [__m512; N]) -> [__m512; N] {
    if N > 1 {
        for x in &mut x {
            // SAFETY: nothing is done.
            unsafe { asm!("/* {} */", inout(zmm_reg) * x, options(nomem, nostack, preserves_flags)) };
        }
    }
    x
}

/// Never fused.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_add(x: __m512, factor: f32, addend: __m512) -> __m512 {
    _mm512_add_ps(_mm512_mul_ps(x, _mm512_set1_ps(factor)), addend)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn each<const N: usize>(mut x: [__m512; N], f: impl Fn(__m512) -> __m512) -> [__m512; N] {
    for x in &mut x {
        *x = f(*x);
    }
    x
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn both<const N: usize>(
    mut x: [__m512; N],
    y: [__m512; N],
    f: impl Fn(__m512, __m512) -> __m512,
) -> [__m512; N] {
    for (x, y) in x.iter_mut().zip(y) {
        *x = f(*x, y);
    }
    x
}

/// `e^x` in the lanes of `seen` where `x` is above the cut, +0.0 in the others; see [`crate::math::exp_cut`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn exp_cut<const N: usize>(seen: [__mmask16; N], x: [__m512; N]) -> [__m512; N] {
    let mut y = exp(x);
    for ((y, x), seen) in y.iter_mut().zip(x).zip(seen) {
        let above = _mm512_mask_cmp_ps_mask::<_CMP_GT_OQ>(seen, x, _mm512_set1_ps(SOFTMAX_CUT));
        *y = _mm512_maskz_mov_ps(above, *y);
    }
    y
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
