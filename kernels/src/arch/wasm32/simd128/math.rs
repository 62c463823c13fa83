//! exp in four lanes.

use core::arch::wasm32::*;

use super::lanes::{finish, load, store};

/// [`crate::math::exp`] of four arguments.
#[inline(always)]
pub(super) fn exp(x: v128) -> v128 {
    use crate::math::{ROUND_MAGIC, exp_constants::*};
    let all = |x: f32| f32x4_splat(x);
    // `pmax(a, b)` is `a < b ? b : a`: NaN takes the constant. `pmin(a, b)` is `b < a ? b : a`.
    let x = f32x4_pmin(all(MAX), f32x4_pmax(all(MIN), x));
    let magic = all(ROUND_MAGIC);
    let shifted = f32x4_add(f32x4_mul(x, all(LOG2_E)), magic);
    let n = f32x4_sub(shifted, magic);
    let exponent = i32x4_sub(shifted, magic);
    let r = f32x4_sub(x, f32x4_mul(n, all(LN2_HI)));
    let r = f32x4_sub(r, f32x4_mul(n, all(LN2_LO)));
    let [c0, c1, c2, c3, c4, c5] = POLY;
    let p = f32x4_add(f32x4_mul(all(c0), r), all(c1));
    let p = f32x4_add(f32x4_mul(p, r), all(c2));
    let p = f32x4_add(f32x4_mul(p, r), all(c3));
    let p = f32x4_add(f32x4_mul(p, r), all(c4));
    let p = f32x4_add(f32x4_mul(p, r), all(c5));
    let p = f32x4_add(f32x4_mul(p, f32x4_mul(r, r)), r);
    let p = f32x4_add(p, all(1.0));
    f32x4_mul(p, i32x4_shl(i32x4_add(exponent, i32x4_splat(127)), 23))
}

/// [`crate::math::exp_cut`] of four arguments.
#[inline(always)]
pub(super) fn exp_cut(x: v128) -> v128 {
    v128_and(f32x4_gt(x, f32x4_splat(crate::math::SOFTMAX_CUT)), exp(x))
}

/// `x[i] = exp_cut(x[i] - max)`; returns the contract's sum of the results.
pub(super) fn exp_cut_sum(x: &mut [f32], max: f32) -> f32 {
    let (eights, rest) = x.as_chunks_mut::<8>();
    let max4 = f32x4_splat(max);
    let [mut low, mut high] = [f32x4_splat(0.0); 2];
    for eight in eights {
        if let [a, b] = eight.as_chunks_mut::<4>().0 {
            let (ea, eb) = (exp_cut(f32x4_sub(load(a), max4)), exp_cut(f32x4_sub(load(b), max4)));
            store(a, ea);
            store(b, eb);
            low = f32x4_add(low, ea);
            high = f32x4_add(high, eb);
        }
    }
    for x in rest.iter_mut() {
        *x = crate::math::exp_cut(*x - max);
    }
    finish([low, high], rest.iter().copied())
}
