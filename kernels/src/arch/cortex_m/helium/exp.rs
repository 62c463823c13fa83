//! The exponential over a vector, four elements at a time.

use core::{arch::global_asm, mem::MaybeUninit};

use crate::math::{ROUND_MAGIC, SOFTMAX_CUT, exp_constants as c};

/// What the routines below load: see the register list there.
#[repr(C)]
struct Constants([f32; 13]);

static CONSTANTS: Constants = {
    let [c0, c1, c2, c3, c4, c5] = c::POLY;
    Constants([c::LOG2_E, c0, c::MAX, SOFTMAX_CUT, ROUND_MAGIC, c::LN2_HI, c::LN2_LO, c1, c2, c3, c4, c5, 1.0])
};

unsafe extern "C" {
    fn pipsqueak_helium_exp_cut(x: *mut f32, len: usize, constants: *const Constants, max: f32);
    fn pipsqueak_helium_exp_cut_scaled(
        x: *mut f32,
        len: usize,
        constants: *const Constants,
        halves: *const u16,
        out: *mut f32,
        max: f32,
    );
    fn pipsqueak_helium_silu(gate: *mut f32, len: usize, constants: *const Constants, up: *const f32, min: f32);
}

/// `x[i] = exp_cut(x[i] - max)`, as [`math::exp_cut`](crate::math::exp_cut) has it.
pub(super) fn exp_cut(x: &mut [f32], max: f32) {
    // SAFETY: `x` has `len` elements, and 0 of them are none. The feature promises the instructions.
    unsafe { pipsqueak_helium_exp_cut(x.as_mut_ptr(), x.len(), &CONSTANTS, max) };
}

/// [`exp_cut`] of the first elements of `x`, as many as all three have; `out[i]` is the result times `halves[i]`.
pub(super) fn exp_cut_scaled(x: &mut [f32], max: f32, halves: &[u16], out: &mut [MaybeUninit<f32>]) {
    let len = x.len().min(halves.len()).min(out.len());
    // SAFETY: the three slices have `len` elements, of which `out`'s are only written. The feature promises the
    // instructions.
    unsafe {
        pipsqueak_helium_exp_cut_scaled(x.as_mut_ptr(), len, &CONSTANTS, halves.as_ptr(), out.as_mut_ptr().cast(), max);
    }
}

/// `gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i]` for as many elements as both have.
pub(super) fn silu(gate: &mut [f32], up: &[f32]) {
    let len = gate.len().min(up.len());
    // SAFETY: both slices have `len` elements. The feature promises the instructions.
    unsafe { pipsqueak_helium_silu(gate.as_mut_ptr(), len, &CONSTANTS, up.as_ptr(), c::MIN) };
}

// Registers: r0 x, r1 halves or up, r2 out, r3 the largest x; r4 ROUND_MAGIC, r5 and r6 ln 2, r7-r11 the polynomial's c1 to
// c5, r12 1.0, whose bits are also the exponent of 2^0. q4 1/ln 2, q5 c0, q6 the largest argument, q7 the cut.
global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m55

    .macro pipsqueak_helium_exp_start
    vpush {d8-d15}
    ldm r2!, {r4-r7}
    vdup.32 q4, r4
    vdup.32 q5, r5
    vdup.32 q6, r6
    vdup.32 q7, r7
    ldm r2, {r4-r12}
    .endm

    @ q0 = e^q0, for arguments within the limits; q1-q3 are overwritten. Products are rounded before they are added.
    .macro pipsqueak_helium_exp
    vmul.f32 q1, q0, q4
    vadd.f32 q1, q1, r4
    vsub.f32 q2, q1, r4
    vmul.f32 q3, q2, r5
    vsub.f32 q0, q0, q3
    vmul.f32 q3, q2, r6
    vsub.f32 q0, q0, q3
    vmul.f32 q2, q0, q5
    vadd.f32 q2, q2, r7
    vmul.f32 q2, q2, q0
    vadd.f32 q2, q2, r8
    vmul.f32 q2, q2, q0
    vadd.f32 q2, q2, r9
    vmul.f32 q2, q2, q0
    vadd.f32 q2, q2, r10
    vmul.f32 q2, q2, q0
    vadd.f32 q2, q2, r11
    vmul.f32 q3, q0, q0
    vmul.f32 q2, q2, q3
    vadd.f32 q2, q2, q0
    vadd.f32 q2, q2, r12
    vshl.i32 q1, q1, #23
    vadd.i32 q1, q1, r12
    vmul.f32 q0, q2, q1
    .endm

    @ q0 = exp_cut of the next four x less r3. `le` is also true for NaN, which so becomes 0.
    .macro pipsqueak_helium_exp_cut_next
    vldrw.u32 q0, [r0]
    vsub.f32 q0, q0, r3
    vcmp.f32 le, q0, q7
    vminnm.f32 q0, q0, q6
    pipsqueak_helium_exp
    vpst
    vmovt.i32 q0, #0
    vstrw.32 q0, [r0], #16
    .endm

    .section .text.pipsqueak_helium_exp_cut, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_exp_cut
    .type pipsqueak_helium_exp_cut, %function
    .thumb_func
pipsqueak_helium_exp_cut:
    cmp r1, #0
    beq 9f
    push {r3-r11, lr}
    pipsqueak_helium_exp_start
    vmov r3, s0
    dlstp.32 lr, r1
1:  pipsqueak_helium_exp_cut_next
    letp lr, 1b
    vpop {d8-d15}
    pop {r3-r11, pc}
9:  bx lr

    .section .text.pipsqueak_helium_exp_cut_scaled, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_exp_cut_scaled
    .type pipsqueak_helium_exp_cut_scaled, %function
    .thumb_func
pipsqueak_helium_exp_cut_scaled:
    cmp r1, #0
    beq 9f
    push {r3-r11, lr}
    pipsqueak_helium_exp_start
    dlstp.32 lr, r1
    mov r1, r3
    ldr r2, [sp, #104]
    vmov r3, s0
1:  pipsqueak_helium_exp_cut_next
    vldrh.u32 q1, [r1], #8
    vcvtb.f32.f16 q1, q1
    vmul.f32 q0, q0, q1
    vstrw.32 q0, [r2], #16
    letp lr, 1b
    vpop {d8-d15}
    pop {r3-r11, pc}
9:  bx lr

    @ r2 the least argument; q7 the gate. There is no division by lanes, and the lanes are the FPU's registers.
    .section .text.pipsqueak_helium_silu, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_silu
    .type pipsqueak_helium_silu, %function
    .thumb_func
pipsqueak_helium_silu:
    cmp r1, #0
    beq 9f
    push {r3-r11, lr}
    pipsqueak_helium_exp_start
    dlstp.32 lr, r1
    mov r1, r3
    vmov r2, s0
1:  vldrw.u32 q7, [r0]
    vdup.32 q1, r2
    vneg.f32 q0, q7
    vmaxnm.f32 q0, q0, q1
    vminnm.f32 q0, q0, q6
    pipsqueak_helium_exp
    vadd.f32 q0, q0, r12
    vldrw.u32 q1, [r1], #16
    vdiv.f32 s0, s28, s0
    vdiv.f32 s1, s29, s1
    vdiv.f32 s2, s30, s2
    vdiv.f32 s3, s31, s3
    vmul.f32 q0, q0, q1
    vstrw.32 q0, [r0], #16
    letp lr, 1b
    vpop {d8-d15}
    pop {r3-r11, pc}
9:  bx lr

    .purgem pipsqueak_helium_exp_start
    .purgem pipsqueak_helium_exp
    .purgem pipsqueak_helium_exp_cut_next
    .text
"#,
    options(raw)
);
