//! The vector operations for a single-precision FPU and the DSP extension, without a vector unit. `Dsp` uses all of it,
//! `Helium` the FPU's own instructions at the end of this file.

#[cfg(feature = "dsp")]
mod attention;
#[cfg(feature = "dsp")]
pub(super) mod attention_i8;
#[cfg(feature = "dsp")]
pub(super) mod cache;
#[cfg(feature = "dsp")]
mod codes;
#[cfg(feature = "dsp")]
mod exp;
#[cfg(feature = "dsp")]
mod float;
#[cfg(feature = "dsp")]
pub(super) mod vector;

use core::arch::global_asm;

use crate::NotFinite;
#[cfg(feature = "dsp")]
use crate::math::tree;

unsafe extern "C" {
    fn pipsqueak_fpu_widen(half: u32) -> f32;
    fn pipsqueak_fpu_narrow(x: f32) -> u32;
    fn pipsqueak_fpu_sqrt(x: f32) -> f32;
    #[cfg(feature = "dsp")]
    fn pipsqueak_fpu_widen_all(out: *mut f32, halves: *const u16, len: usize);
}

// Instructions of every single-precision FPU since the Cortex-M4's for which stable Rust has neither an intrinsic nor, on
// these targets, a register class.
global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m33

    .section .text.pipsqueak_fpu_widen, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_widen
    .type pipsqueak_fpu_widen, %function
    .thumb_func
pipsqueak_fpu_widen:
    vmov s0, r0
    vcvtb.f32.f16 s0, s0
    bx lr

    .section .text.pipsqueak_fpu_narrow, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_narrow
    .type pipsqueak_fpu_narrow, %function
    .thumb_func
pipsqueak_fpu_narrow:
    vcvtb.f16.f32 s0, s0
    vmov r0, s0
    uxth r0, r0
    bx lr

    .section .text.pipsqueak_fpu_sqrt, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_sqrt
    .type pipsqueak_fpu_sqrt, %function
    .thumb_func
pipsqueak_fpu_sqrt:
    vsqrt.f32 s0, s0
    bx lr

    .section .text.pipsqueak_fpu_widen_all, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_widen_all
    .type pipsqueak_fpu_widen_all, %function
    .thumb_func
pipsqueak_fpu_widen_all:
    cbz r2, 2f
1:  ldrh r3, [r1], #2
    vmov s0, r3
    vcvtb.f32.f16 s0, s0
    vstmia r0!, {s0}
    subs r2, r2, #1
    bne 1b
2:  bx lr
    .text
"#,
    options(raw)
);

/// The `f32` with the value of a half, the same bits as [`crate::float16::f16_to_f32`].
#[inline(always)]
pub(super) fn widen(half: u16) -> f32 {
    // SAFETY: no memory is touched; the FPU is there, as the features `dsp` and `helium` promise.
    unsafe { pipsqueak_fpu_widen(half.into()) }
}

/// The half nearest to `x`, the same bits as [`crate::float16::f32_to_f16`] for all but NaN.
#[inline(always)]
pub(super) fn narrow(x: f32) -> u16 {
    // SAFETY: as above. Rounding is to nearest, ties to even, as the FPU starts up.
    unsafe { pipsqueak_fpu_narrow(x) as u16 }
}

/// IEEE square root.
#[inline(always)]
fn sqrt(x: f32) -> f32 {
    // SAFETY: as above.
    unsafe { pipsqueak_fpu_sqrt(x) }
}

/// `1 / sqrt(squares / len + eps)`.
#[inline(always)]
pub(super) fn factor(squares: f32, len: usize, eps: f32) -> Result<f32, NotFinite> {
    let mean = squares / len as f32;
    if mean.is_finite() { Ok(1.0 / sqrt(mean + eps)) } else { Err(NotFinite) }
}

/// Writes halves as floats to as many elements of `out`, whose part that is it returns.
#[cfg(feature = "dsp")]
#[inline(always)]
fn widen_all<'o>(out: &'o mut [f32], halves: &[u16]) -> &'o [f32] {
    let len = out.len().min(halves.len());
    // SAFETY: both slices have `len` elements. The FPU is there.
    unsafe { pipsqueak_fpu_widen_all(out.as_mut_ptr(), halves.as_ptr(), len) };
    out.get(..len).unwrap_or(&[])
}

/// The contract's sum of `term(x[i])`.
#[cfg(feature = "dsp")]
#[inline(always)]
fn sum(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (eights, rest) = x.as_chunks::<8>();
    let mut partial = [0.0f32; 8];
    for x in eights {
        for (partial, x) in partial.iter_mut().zip(x) {
            *partial += term(*x);
        }
    }
    for (partial, x) in partial.iter_mut().zip(rest) {
        *partial += term(*x);
    }
    tree(partial)
}
