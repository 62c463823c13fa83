//! Sums, scaling and turning of floats, in assembly: compiled code loads and stores one element at a time.

use core::arch::global_asm;

unsafe extern "C" {
    fn pipsqueak_fpu_sum(x: *const f32, len: usize) -> f32;
    fn pipsqueak_fpu_squares(x: *const f32, len: usize) -> f32;
    fn pipsqueak_fpu_scale(x: *const f32, weight: *const f32, out: *mut f32, len: usize, r: f32);
    fn pipsqueak_fpu_turn(x: *mut f32, cos_sin: *const f32, pairs: usize);
}

/// The contract's sum.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    // SAFETY: `x` has `len` elements; 0 of them are none. The features promise the instructions.
    unsafe { pipsqueak_fpu_sum(x.as_ptr(), x.len()) }
}

/// The contract's sum of `x[i] * x[i]`.
#[inline(always)]
pub(super) fn squares(x: &[f32]) -> f32 {
    // SAFETY: as above.
    unsafe { pipsqueak_fpu_squares(x.as_ptr(), x.len()) }
}

/// `out[i] = (x[i] * r) * weight[i]` for as many elements as all three have.
#[inline(always)]
pub(super) fn scale(x: &[f32], r: f32, weight: &[f32], out: &mut [f32]) {
    let len = x.len().min(weight.len()).min(out.len());
    // SAFETY: the slices have `len` elements; 0 of them are none. The features promise the instructions.
    unsafe { pipsqueak_fpu_scale(x.as_ptr(), weight.as_ptr(), out.as_mut_ptr(), len, r) };
}

/// Turns as many pairs `(a, b)` as both have to `(a c - b s, a s + b c)`.
#[inline(always)]
pub(super) fn turn(x: &mut [[f32; 2]], cos_sin: &[[f32; 2]]) {
    let pairs = x.len().min(cos_sin.len());
    // SAFETY: both slices have so many pairs; 0 of them are none. The features promise the instructions.
    unsafe { pipsqueak_fpu_turn(x.as_mut_ptr().cast(), cos_sin.as_ptr().cast(), pairs) };
}

// `vmla` and `vmls` round the product and then the sum.
global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m33

    @ r0 x, r1 elements left; s8-s15 the partial sums, of the elements or, with \square, their squares.
    .macro pipsqueak_fpu_sum_of square
    movs r2, #0
    vmov s8, s9, r2, r2
    vmov s10, s11, r2, r2
    vmov s12, s13, r2, r2
    vmov s14, s15, r2, r2
    subs r1, r1, #8
    blo 2f
1:  vldmia r0!, {s0-s7}
    pipsqueak_fpu_sum_term s8, s0, \square
    pipsqueak_fpu_sum_term s9, s1, \square
    pipsqueak_fpu_sum_term s10, s2, \square
    pipsqueak_fpu_sum_term s11, s3, \square
    pipsqueak_fpu_sum_term s12, s4, \square
    pipsqueak_fpu_sum_term s13, s5, \square
    pipsqueak_fpu_sum_term s14, s6, \square
    pipsqueak_fpu_sum_term s15, s7, \square
    subs r1, r1, #8
    bhs 1b
2:  adds r1, r1, #8
    beq 3f
    pipsqueak_fpu_sum_last s8, \square
    pipsqueak_fpu_sum_last s9, \square
    pipsqueak_fpu_sum_last s10, \square
    pipsqueak_fpu_sum_last s11, \square
    pipsqueak_fpu_sum_last s12, \square
    pipsqueak_fpu_sum_last s13, \square
    pipsqueak_fpu_sum_last s14, \square
    @ The contract's tree.
3:  vadd.f32 s8, s8, s12
    vadd.f32 s10, s10, s14
    vadd.f32 s9, s9, s13
    vadd.f32 s11, s11, s15
    vadd.f32 s8, s8, s10
    vadd.f32 s9, s9, s11
    vadd.f32 s0, s8, s9
    bx lr
    .endm

    .macro pipsqueak_fpu_sum_term to, x, square
    .if \square
    vmla.f32 \to, \x, \x
    .else
    vadd.f32 \to, \to, \x
    .endif
    .endm

    .macro pipsqueak_fpu_sum_last to, square
    vldmia r0!, {s0}
    pipsqueak_fpu_sum_term \to, s0, \square
    subs r1, r1, #1
    beq 3f
    .endm

    .section .text.pipsqueak_fpu_sum, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_sum
    .type pipsqueak_fpu_sum, %function
    .thumb_func
pipsqueak_fpu_sum:
    pipsqueak_fpu_sum_of 0

    .section .text.pipsqueak_fpu_squares, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_squares
    .type pipsqueak_fpu_squares, %function
    .thumb_func
pipsqueak_fpu_squares:
    pipsqueak_fpu_sum_of 1

    @ r0 x, r1 weight, r2 out, r3 elements left; s0 the factor.
    .section .text.pipsqueak_fpu_scale, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_scale
    .type pipsqueak_fpu_scale, %function
    .thumb_func
pipsqueak_fpu_scale:
    subs r3, r3, #4
    blo 2f
1:  vldmia r0!, {s4-s7}
    vldmia r1!, {s8-s11}
    vmul.f32 s4, s4, s0
    vmul.f32 s5, s5, s0
    vmul.f32 s6, s6, s0
    vmul.f32 s7, s7, s0
    vmul.f32 s4, s4, s8
    vmul.f32 s5, s5, s9
    vmul.f32 s6, s6, s10
    vmul.f32 s7, s7, s11
    vstmia r2!, {s4-s7}
    subs r3, r3, #4
    bhs 1b
2:  adds r3, r3, #4
    beq 4f
3:  vldmia r0!, {s4}
    vldmia r1!, {s8}
    vmul.f32 s4, s4, s0
    vmul.f32 s4, s4, s8
    vstmia r2!, {s4}
    subs r3, r3, #1
    bne 3b
4:  bx lr

    @ r0 pairs, r1 cosines and sines, r2 pairs left.
    .section .text.pipsqueak_fpu_turn, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_turn
    .type pipsqueak_fpu_turn, %function
    .thumb_func
pipsqueak_fpu_turn:
    cbz r2, 2f
1:  vldmia r0, {s0-s1}
    vldmia r1!, {s2-s3}
    vmul.f32 s4, s0, s2
    vmls.f32 s4, s1, s3
    vmul.f32 s5, s0, s3
    vmla.f32 s5, s1, s2
    vstmia r0!, {s4-s5}
    subs r2, r2, #1
    bne 1b
2:  bx lr

    .purgem pipsqueak_fpu_sum_of
    .purgem pipsqueak_fpu_sum_term
    .purgem pipsqueak_fpu_sum_last
    .text
"#,
    options(raw)
);
