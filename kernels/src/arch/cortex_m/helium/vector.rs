//! Operations on one vector, four elements at a time. Lengths that are no multiple of four end with lanes switched off.

use core::arch::global_asm;

use super::exp;
use crate::{BLOCK, Gate, NotFinite, acts::ActRowMut, kernels::Pairs, scalar};

unsafe extern "C" {
    fn pipsqueak_helium_quantise(x: *const f32, len: usize, q: *mut i8, scale: *mut f32, sum: *mut i32) -> u32;
    fn pipsqueak_helium_sum(x: *const f32, len: usize) -> f32;
    fn pipsqueak_helium_squares(x: *const f32, len: usize, mean: f32) -> f32;
    fn pipsqueak_helium_norm(x: *const f32, len: usize, weight: *const f32, out: *mut f32, r: f32);
    fn pipsqueak_helium_norm_bias(
        x: *const f32,
        len: usize,
        weight: *const f32,
        out: *mut f32,
        bias: *const f32,
        r: f32,
        mean: f32,
    );
    fn pipsqueak_helium_turn(x: *mut f32, pairs: usize, cos_sin: *const f32);
    fn pipsqueak_helium_turn_halves(a: *mut f32, pairs: usize, cos_sin: *const f32, b: *mut f32);
}

/// See [`scalar::quantise`].
pub(super) fn quantise(x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
    let blocks = (row.q.len() / BLOCK).min(row.scale.len()).min(row.sum.len());
    let len = x.len().min(blocks.saturating_mul(BLOCK));
    // SAFETY: `x` has `len` elements, and the row as many blocks as those fill. The feature promises the instructions.
    let bad = unsafe {
        pipsqueak_helium_quantise(x.as_ptr(), len, row.q.as_mut_ptr(), row.scale.as_mut_ptr(), row.sum.as_mut_ptr())
    };
    if bad == 0 { Ok(()) } else { Err(NotFinite) }
}

/// The contract's sum.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    // SAFETY: `x` has `len` elements, and 0 of them are none. The feature promises the instructions.
    unsafe { pipsqueak_helium_sum(x.as_ptr(), x.len()) }
}

/// The contract's sum of `(x[i] - mean)^2`.
#[inline(always)]
fn squares(x: &[f32], mean: f32) -> f32 {
    // SAFETY: as above.
    unsafe { pipsqueak_helium_squares(x.as_ptr(), x.len(), mean) }
}

/// See [`scalar::rmsnorm`].
pub(super) fn rmsnorm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    // Less zero, a number stays what it is.
    let r = super::fpu::factor(squares(x, 0.0), x.len(), eps)?;
    let len = out.len().min(x.len()).min(weight.len());
    // SAFETY: all three slices have `len` elements. The feature promises the instructions.
    unsafe { pipsqueak_helium_norm(x.as_ptr(), len, weight.as_ptr(), out.as_mut_ptr(), r) };
    Ok(())
}

/// See [`scalar::layernorm`].
pub(super) fn layernorm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let mean = sum(x) / x.len() as f32;
    let r = super::fpu::factor(squares(x, mean), x.len(), eps)?;
    let len = out.len().min(x.len()).min(weight.len()).min(bias.len());
    // SAFETY: all four slices have `len` elements. The feature promises the instructions.
    unsafe {
        pipsqueak_helium_norm_bias(x.as_ptr(), len, weight.as_ptr(), out.as_mut_ptr(), bias.as_ptr(), r, mean);
    }
    Ok(())
}

/// See [`scalar::softmax`].
pub(super) fn softmax(x: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
    exp::exp_cut(x, max);
    let total = sum(x);
    for x in x {
        *x /= total;
    }
}

/// See [`scalar::rotate`].
pub(super) fn rotate(x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
    let half = x.len() / 2;
    let count = half.min(cos_sin.len() / 2);
    if count & 3 != 0 {
        return scalar::rotate(x, cos_sin, pairs);
    }
    // SAFETY: there are `count` pairs of cosine and sine, a multiple of four, and of elements: the first `2 count` of `x`,
    // or the first `count` of both halves. The feature promises the instructions.
    unsafe {
        match pairs {
            Pairs::Interleaved => pipsqueak_helium_turn(x.as_mut_ptr(), count, cos_sin.as_ptr()),
            Pairs::HalfSplit => {
                let a = x.as_mut_ptr();
                pipsqueak_helium_turn_halves(a, count, cos_sin.as_ptr(), a.add(half));
            }
        }
    }
}

/// See [`scalar::gate`].
pub(super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    match function {
        Gate::Silu => exp::silu(gate, up),
        _ => scalar::gate(function, gate, up),
    }
}

global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m55

    @ r0 x, r1 elements left, r2 q, r3 scales, r4 largest magnitude and later the sum, r5 the factor, r6 3 * 2^22, whose sum
    @ with a number has the rounded number as its low byte, r7 sums, r8 elements of this block, r9 the block's x, r10 0.
    .section .text.pipsqueak_helium_quantise, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_quantise
    .type pipsqueak_helium_quantise, %function
    .thumb_func
pipsqueak_helium_quantise:
    push {r4-r10, lr}
    movs r6, #0
    movt r6, #0x4b40
    movs r10, #0
    movt r10, #0x42fe
    vmov s9, r10
    ldr r7, [sp, #32]
    vmov.i32 q1, #0
    cbz r1, 4f
1:  mov r9, r0
    movs r8, #32
    cmp r1, #32
    it lo
    movlo r8, r1
    sub r1, r1, r8
    movs r4, #0
    dlstp.32 lr, r8
2:  vldrw.u32 q0, [r9], #16
    vabs.f32 q0, q0
    vmaxv.u32 r4, q0
    letp lr, 2b
    cmp r4, #0x7f800000
    bhs 9f
    @ Below 2^-50 zeros with scale 0.
    movs r5, #0
    cmp r4, #0x26800000
    vmov s10, r5
    blo 3f
    vmov s8, r4
    vdiv.f32 s11, s9, s8
    vdiv.f32 s10, s8, s9
    vmov r5, s11
3:  vstmia r3!, {s10}
    @ What a last block leaves over are zeros.
    vstrb.8 q1, [r2]
    vstrb.8 q1, [r2, #16]
    movs r4, #0
    dlstp.32 lr, r8
5:  vldrw.u32 q0, [r0], #16
    vmul.f32 q0, q0, r5
    vadd.f32 q0, q0, r6
    vstrb.32 q0, [r2], #4
    vaddva.u32 r4, q0
    letp lr, 5b
    mls r4, r8, r6, r4
    str r4, [r7], #4
    cmp r1, #0
    bne 1b
4:  movs r0, #0
    pop {r4-r10, pc}
9:  movs r0, #1
    pop {r4-r10, pc}

    @ s0 = the tree of the eight partial sums in q0 and q1.
    .macro pipsqueak_helium_tree
    vadd.f32 q0, q0, q1
    vadd.f32 s0, s0, s2
    vadd.f32 s1, s1, s3
    vadd.f32 s0, s0, s1
    .endm

    .section .text.pipsqueak_helium_sum, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_sum
    .type pipsqueak_helium_sum, %function
    .thumb_func
pipsqueak_helium_sum:
    push {r4, lr}
    vmov.i32 q0, #0
    vmov.i32 q1, #0
    lsrs r2, r1, #3
    beq 2f
    dls lr, r2
1:  vldrw.u32 q2, [r0], #16
    vldrw.u32 q3, [r0], #16
    vadd.f32 q0, q0, q2
    vadd.f32 q1, q1, q3
    le lr, 1b
2:  ands r1, r1, #7
    beq 3f
    vctp.32 r1
    vpstt
    vldrwt.u32 q2, [r0]
    vaddt.f32 q0, q0, q2
    subs r1, r1, #4
    ble 3f
    vctp.32 r1
    vpstt
    vldrwt.u32 q3, [r0, #16]
    vaddt.f32 q1, q1, q3
3:  pipsqueak_helium_tree
    pop {r4, pc}

    .section .text.pipsqueak_helium_squares, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_squares
    .type pipsqueak_helium_squares, %function
    .thumb_func
pipsqueak_helium_squares:
    push {r4, lr}
    vmov r3, s0
    vmov.i32 q0, #0
    vmov.i32 q1, #0
    lsrs r2, r1, #3
    beq 2f
    dls lr, r2
1:  vldrw.u32 q2, [r0], #16
    vldrw.u32 q3, [r0], #16
    vsub.f32 q2, q2, r3
    vsub.f32 q3, q3, r3
    vmul.f32 q2, q2, q2
    vmul.f32 q3, q3, q3
    vadd.f32 q0, q0, q2
    vadd.f32 q1, q1, q3
    le lr, 1b
2:  ands r1, r1, #7
    beq 3f
    vctp.32 r1
    vpstttt
    vldrwt.u32 q2, [r0]
    vsubt.f32 q2, q2, r3
    vmult.f32 q2, q2, q2
    vaddt.f32 q0, q0, q2
    subs r1, r1, #4
    ble 3f
    vctp.32 r1
    vpstttt
    vldrwt.u32 q3, [r0, #16]
    vsubt.f32 q3, q3, r3
    vmult.f32 q3, q3, q3
    vaddt.f32 q1, q1, q3
3:  pipsqueak_helium_tree
    pop {r4, pc}

    .section .text.pipsqueak_helium_norm, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_norm
    .type pipsqueak_helium_norm, %function
    .thumb_func
pipsqueak_helium_norm:
    push {r4, lr}
    cbz r1, 2f
    vmov r4, s0
    dlstp.32 lr, r1
1:  vldrw.u32 q0, [r0], #16
    vldrw.u32 q1, [r2], #16
    vmul.f32 q0, q0, r4
    vmul.f32 q0, q0, q1
    vstrw.32 q0, [r3], #16
    letp lr, 1b
2:  pop {r4, pc}

    .section .text.pipsqueak_helium_norm_bias, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_norm_bias
    .type pipsqueak_helium_norm_bias, %function
    .thumb_func
pipsqueak_helium_norm_bias:
    push {r4-r6, lr}
    cbz r1, 2f
    vmov r4, s0
    vmov r5, s1
    ldr r6, [sp, #16]
    dlstp.32 lr, r1
1:  vldrw.u32 q0, [r0], #16
    vldrw.u32 q1, [r2], #16
    vldrw.u32 q2, [r6], #16
    vsub.f32 q0, q0, r5
    vmul.f32 q0, q0, r4
    vmul.f32 q0, q0, q1
    vadd.f32 q0, q0, q2
    vstrw.32 q0, [r3], #16
    letp lr, 1b
2:  pop {r4-r6, pc}

    @ q0 and q1 turned by the cosines and sines at r2.
    .macro pipsqueak_helium_turn_fours
    vld20.32 {q2, q3}, [r2]
    vld21.32 {q2, q3}, [r2]!
    vmul.f32 q4, q0, q2
    vmul.f32 q5, q1, q3
    vmul.f32 q0, q0, q3
    vmul.f32 q1, q1, q2
    vsub.f32 q4, q4, q5
    vadd.f32 q5, q0, q1
    .endm

    .section .text.pipsqueak_helium_turn, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_turn
    .type pipsqueak_helium_turn, %function
    .thumb_func
pipsqueak_helium_turn:
    push {r4, lr}
    vpush {d8-d11}
    lsrs r1, r1, #2
    beq 2f
    dls lr, r1
1:  vld20.32 {q0, q1}, [r0]
    vld21.32 {q0, q1}, [r0]
    pipsqueak_helium_turn_fours
    vst20.32 {q4, q5}, [r0]
    vst21.32 {q4, q5}, [r0]!
    le lr, 1b
2:  vpop {d8-d11}
    pop {r4, pc}

    .section .text.pipsqueak_helium_turn_halves, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_turn_halves
    .type pipsqueak_helium_turn_halves, %function
    .thumb_func
pipsqueak_helium_turn_halves:
    push {r4, lr}
    vpush {d8-d11}
    lsrs r1, r1, #2
    beq 2f
    dls lr, r1
1:  vldrw.u32 q0, [r0]
    vldrw.u32 q1, [r3]
    pipsqueak_helium_turn_fours
    vstrw.32 q4, [r0], #16
    vstrw.32 q5, [r3], #16
    le lr, 1b
2:  vpop {d8-d11}
    pop {r4, pc}

    .purgem pipsqueak_helium_tree
    .purgem pipsqueak_helium_turn_fours
    .text
"#,
    options(raw)
);
