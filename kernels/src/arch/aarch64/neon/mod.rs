//! Base NEON (every AArch64 core): no dot-product or matrix instructions, no half-precision arithmetic.
//!
//! Compiled only for targets that have NEON throughout, so that the kernel set needs no detection. The functions carry
//! `#[target_feature]` all the same: it makes the intrinsics safe to call.

pub(super) mod attention;
mod cache;
mod float;
mod matmul;
mod peak;
mod vector;

use core::{
    arch::{aarch64::*, asm},
    ops::Range,
};

use crate::{
    CacheRows, Format, Gate, Input, Kernels, Matrix, NotFinite, Pairs, Panel, Queries, Query, Store, Tile,
    acts::ActRowMut, arch::together, math::tree, scalar,
};

/// Whether many queries attend together. That takes some 50 KB of stack and 30 KB of code, which a program without an operating
/// system is spared.
pub(super) const TOGETHER: bool = cfg!(not(target_os = "none"));

/// Base NEON, which AArch64 always has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Neon;

impl Kernels for Neon {
    fn name(&self) -> &'static str {
        "neon"
    }

    fn panel(&self, format: Format) -> Panel {
        if format.is_quantised() { Panel::R4 } else { Panel::R1 }
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        // SAFETY: this module is compiled only where every CPU of the target has NEON.
        unsafe { matmul::matmul(w, panels, x, out, store) }
    }

    fn quantise(&self, x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
        // SAFETY: as for `matmul`.
        unsafe { vector::quantise(x, row) }
    }

    fn rmsnorm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        // SAFETY: as for `matmul`.
        unsafe { vector::rmsnorm(x, weight, eps, out) }
    }

    fn layernorm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        // SAFETY: as for `matmul`.
        unsafe { vector::layernorm(x, weight, bias, eps, out) }
    }

    fn softmax(&self, x: &mut [f32]) {
        // SAFETY: as for `matmul`.
        unsafe { vector::softmax(x) }
    }

    fn rotate(&self, x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
        // SAFETY: as for `matmul`.
        unsafe { vector::rotate(x, cos_sin, pairs) }
    }

    fn gate(&self, function: Gate, gate: &mut [f32], up: &[f32]) {
        // SAFETY: as for `matmul`.
        unsafe { vector::gate(function, gate, up) }
    }

    fn store_f16(&self, x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
        // SAFETY: as for `matmul`.
        unsafe { cache::store_f16(x, out) }
    }

    fn store_i8(&self, x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
        // SAFETY: as for `matmul`.
        unsafe { cache::store_i8(x, out) }
    }

    fn peak(&self, rounds: usize) -> usize {
        // SAFETY: as for `matmul`.
        unsafe { peak::peak(rounds) }
    }

    fn att_scores(&self, query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
        // SAFETY: as for `matmul`.
        unsafe { attention::chunk::scores(query, keys, scale, out) }
    }

    fn att_values(&self, scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
        // SAFETY: as for `matmul`.
        unsafe { attention::chunk::values(scores, max, values, acc) }
    }

    fn att_lanes(&self, head_dim: usize) -> usize {
        if TOGETHER { together::lanes(head_dim) } else { 1 }
    }

    fn attend(
        &self,
        queries: &Queries<'_>,
        keys: &CacheRows<'_>,
        values: &CacheRows<'_>,
        scores: &mut [f32],
        out: &mut Tile<'_>,
    ) {
        // SAFETY: as for `matmul`.
        if !TOGETHER || !unsafe { attention::attend::<attention::Widening>(queries, keys, values, scores, out) } {
            scalar::attend(self, queries, keys, values, scores, out);
        }
    }
}

/// Four floats.
#[inline]
#[target_feature(enable = "neon")]
fn load(x: &[f32; 4]) -> float32x4_t {
    // SAFETY: the reference is 16 readable bytes; `ld1` asks for no more than an element's alignment.
    unsafe { vld1q_f32(x.as_ptr()) }
}

/// Stores four floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store(out: &mut [f32; 4], x: float32x4_t) {
    // SAFETY: the reference is 16 writable bytes; `st1` asks for no more than an element's alignment.
    unsafe { vst1q_f32(out.as_mut_ptr(), x) }
}

/// Four halves as floats, subnormals and NaN included: `fcvtl`, whose intrinsic wants a type that is not stable.
///
/// FPCR.FZ and FZ16 do not act on it: a half that is subnormal is a normal `f32`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen_halves(halves: uint16x4_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: one instruction of base NEON, from a register to a register.
    unsafe {
        asm!("fcvtl {out:v}.4s, {halves:v}.4h", out = lateout(vreg) out, halves = in(vreg) halves,
             options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The upper four of eight halves as floats.
#[inline]
#[target_feature(enable = "neon")]
fn widen_high_halves(halves: uint16x8_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: as in `widen_halves`.
    unsafe {
        asm!("fcvtl2 {out:v}.4s, {halves:v}.8h", out = lateout(vreg) out, halves = in(vreg) halves,
             options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The eight partial sums of the contract: lanes 0 to 3 and 4 to 7.
type Partial = [float32x4_t; 2];

/// [`tree`] over partial sums, to which `tail` adds the last terms (fewer than eight), from lane 0 on.
#[inline]
#[target_feature(enable = "neon")]
fn finish([low, high]: Partial, tail: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; 8];
    let (a, b) = lanes.split_at_mut(4);
    if let (Some(a), Some(b)) = (a.first_chunk_mut(), b.first_chunk_mut()) {
        store(a, low);
        store(b, high);
    }
    for (lane, term) in lanes.iter_mut().zip(tail) {
        *lane += term;
    }
    tree(lanes)
}

/// [`crate::math::exp`] of four arguments.
#[inline]
#[target_feature(enable = "neon")]
fn exp(x: float32x4_t) -> float32x4_t {
    use crate::math::{ROUND_MAGIC, exp_constants::*};
    let all = |x: f32| vdupq_n_f32(x);
    // Select by comparison, not `fmax`: NaN must take the constant.
    let x = vbslq_f32(vcgtq_f32(x, all(MIN)), x, all(MIN));
    let x = vbslq_f32(vcltq_f32(x, all(MAX)), x, all(MAX));
    let magic = all(ROUND_MAGIC);
    let shifted = vaddq_f32(vmulq_f32(x, all(LOG2_E)), magic);
    let n = vsubq_f32(shifted, magic);
    let exponent = vsubq_s32(vreinterpretq_s32_f32(shifted), vreinterpretq_s32_f32(magic));
    let r = vsubq_f32(x, vmulq_f32(n, all(LN2_HI)));
    let r = vsubq_f32(r, vmulq_f32(n, all(LN2_LO)));
    let [c0, c1, c2, c3, c4, c5] = POLY;
    let p = vaddq_f32(vmulq_f32(all(c0), r), all(c1));
    let p = vaddq_f32(vmulq_f32(p, r), all(c2));
    let p = vaddq_f32(vmulq_f32(p, r), all(c3));
    let p = vaddq_f32(vmulq_f32(p, r), all(c4));
    let p = vaddq_f32(vmulq_f32(p, r), all(c5));
    let p = vaddq_f32(vmulq_f32(p, vmulq_f32(r, r)), r);
    let p = vaddq_f32(p, all(1.0));
    let power = vshlq_n_s32::<23>(vaddq_s32(exponent, vdupq_n_s32(127)));
    vmulq_f32(p, vreinterpretq_f32_s32(power))
}

/// [`crate::math::exp_cut`] of four arguments.
#[inline]
#[target_feature(enable = "neon")]
fn exp_cut(x: float32x4_t) -> float32x4_t {
    let keep = vcgtq_f32(x, vdupq_n_f32(crate::math::SOFTMAX_CUT));
    vreinterpretq_f32_u32(vandq_u32(keep, vreinterpretq_u32_f32(exp(x))))
}

/// `x[i] = exp_cut(x[i] - max)`; returns the contract's sum of the results.
#[inline]
#[target_feature(enable = "neon")]
fn exp_cut_sum(x: &mut [f32], max: f32) -> f32 {
    let (eights, rest) = x.as_chunks_mut::<8>();
    let max4 = vdupq_n_f32(max);
    let [mut low, mut high] = [vdupq_n_f32(0.0); 2];
    for eight in eights {
        if let [a, b] = eight.as_chunks_mut::<4>().0 {
            let (ea, eb) = (exp_cut(vsubq_f32(load(a), max4)), exp_cut(vsubq_f32(load(b), max4)));
            store(a, ea);
            store(b, eb);
            low = vaddq_f32(low, ea);
            high = vaddq_f32(high, eb);
        }
    }
    for x in rest.iter_mut() {
        *x = crate::math::exp_cut(*x - max);
    }
    finish([low, high], rest.iter().copied())
}

#[cfg(test)]
mod tests {
    crate::testing::kernel_tests!(Some(super::Neon));

    #[test]
    fn every_half_widens_as_the_specification_says() {
        use crate::float16::f16_to_f32;
        for bits in 0..=u16::MAX {
            let mut out = [[0.0; 4]; 2];
            let [a, b] = &mut out;
            // SAFETY: this module is compiled only where every CPU of the target has NEON.
            unsafe {
                super::store(a, super::widen_halves(super::vdup_n_u16(bits)));
                super::store(b, super::widen_high_halves(super::vdupq_n_u16(bits)));
            }
            for out in out.as_flattened() {
                assert_eq!(out.to_bits(), f16_to_f32(bits).to_bits(), "{bits:#06x}");
            }
        }
    }
}
