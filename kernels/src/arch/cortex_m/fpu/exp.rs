//! The exponential over a vector, in assembly: compiled code spends as much on clamping its argument and on constants as
//! on the polynomial.

use core::arch::global_asm;

use crate::math::{self, ROUND_MAGIC, SOFTMAX_CUT, exp_constants as c};

/// What the routines below load: see the register list there.
#[repr(C)]
struct Constants([f32; 16]);

static CONSTANTS: Constants = {
    let [c0, c1, c2, c3, c4, c5] = c::POLY;
    // First what every exponential overwrites, then what it keeps.
    Constants([
        ROUND_MAGIC,
        c1,
        c2,
        c3,
        c4,
        c5,
        ROUND_MAGIC,
        c::LOG2_E,
        c::LN2_HI,
        c::LN2_LO,
        c0,
        1.0,
        SOFTMAX_CUT,
        c::MAX,
        c::MIN,
        0.0,
    ])
};

unsafe extern "C" {
    fn pipsqueak_fpu_exp_cut(x: *mut f32, len: usize, constants: *const Constants, max: f32);
    fn pipsqueak_fpu_exp_cut_scaled(
        x: *mut f32,
        len: usize,
        constants: *const Constants,
        halves: *const u16,
        out: *mut f32,
        max: f32,
    );
    fn pipsqueak_fpu_silu(gate: *mut f32, len: usize, constants: *const Constants, up: *const f32);
}

/// `x[i] = exp_cut(x[i] - max)`, as [`math::exp_cut`] has it.
pub(super) fn exp_cut(x: &mut [f32], max: f32) {
    // SAFETY: `x` has `len` elements, and 0 of them are none. The FPU is there, as the features promise.
    unsafe { pipsqueak_fpu_exp_cut(x.as_mut_ptr(), x.len(), &CONSTANTS, max) };
}

/// [`exp_cut`] of the first elements of `x`, as many as all three have; `out[i]` is the result times `halves[i]`.
pub(super) fn exp_cut_scaled(x: &mut [f32], max: f32, halves: &[u16], out: &mut [core::mem::MaybeUninit<f32>]) {
    let len = x.len().min(halves.len()).min(out.len());
    // SAFETY: the three slices have `len` elements, of which `out`'s are only written. The FPU is there.
    unsafe {
        pipsqueak_fpu_exp_cut_scaled(x.as_mut_ptr(), len, &CONSTANTS, halves.as_ptr(), out.as_mut_ptr().cast(), max);
    }
}

/// `gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i]` for as many elements as both have.
pub(super) fn silu(gate: &mut [f32], up: &[f32]) {
    let len = gate.len().min(up.len());
    // SAFETY: both slices have `len` elements. The FPU is there.
    unsafe { pipsqueak_fpu_silu(gate.as_mut_ptr(), len, &CONSTANTS, up.as_ptr()) };
}

const _: () = assert!(math::SOFTMAX_CUT.to_bits() == 0xc248_0000 && c::MIN.to_bits() == 0xc2ae_0000);

// Registers: r0 x, r1 elements left, r2 constants, r12 the bits of 1.0, r3 scratch. Loaded anew for each exponential: s1
// ROUND_MAGIC, s2-s6 the polynomial's c1 to c5. Kept: s16 ROUND_MAGIC, s17 1/ln 2, s18 and s19 ln 2, s20 c0, s21 1.0, s22
// the cut, s23 and s24 the largest and least argument, s25 0.0.
global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m33

    .macro pipsqueak_fpu_exp_start
    vpush {s16-s27}
    add r3, r2, #24
    vldmia r3, {s16-s25}
    mov r12, #0x3f800000
    .endm

    @ s0 = e^s0, for an argument within the limits. `vmla` and `vmls` round the product and then the sum.
    .macro pipsqueak_fpu_exp
    vldmia r2, {s1-s6}
    vmla.f32 s1, s0, s17
    vmov r3, s1
    vsub.f32 s1, s1, s16
    vmls.f32 s0, s1, s18
    vmls.f32 s0, s1, s19
    vmla.f32 s2, s20, s0
    vmla.f32 s3, s2, s0
    vmla.f32 s4, s3, s0
    vmla.f32 s5, s4, s0
    vmla.f32 s6, s5, s0
    vmul.f32 s1, s0, s0
    vmla.f32 s0, s6, s1
    vadd.f32 s0, s0, s21
    add r3, r12, r3, lsl #23
    vmov s1, r3
    vmul.f32 s0, s0, s1
    .endm

    @ s0 = exp_cut of the next x - s26. Below 0 and above the cut, the bits less the sign are below those of 50.
    .macro pipsqueak_fpu_exp_cut_next
1:  vldr s0, [r0]
    vsub.f32 s0, s0, s26
    vmov r3, s0
    eor r3, r3, #0x80000000
    cmp r3, r4
    bhs 4f
2:  pipsqueak_fpu_exp
3:  vstmia r0!, {s0}
    .endm

    @ The rest: 0 below the cut and for NaN (`le` is also true for unordered); larger than the largest argument is as the largest.
    .macro pipsqueak_fpu_exp_cut_rare
4:  vcmp.f32 s0, s22
    vmrs APSR_nzcv, fpscr
    itt le
    vmovle.f32 s0, s25
    ble 3b
    vcmp.f32 s0, s23
    vmrs APSR_nzcv, fpscr
    it ge
    vmovge.f32 s0, s23
    b 2b
    .endm

    .section .text.pipsqueak_fpu_exp_cut, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_exp_cut
    .type pipsqueak_fpu_exp_cut, %function
    .thumb_func
pipsqueak_fpu_exp_cut:
    cmp r1, #0
    beq 9f
    push {r4, lr}
    movs r4, #0
    movt r4, #0x4248
    pipsqueak_fpu_exp_start
    vmov.f32 s26, s0
    pipsqueak_fpu_exp_cut_next
    subs r1, r1, #1
    bne 1b
    vpop {s16-s27}
    pop {r4, pc}
    pipsqueak_fpu_exp_cut_rare
9:  bx lr

    @ r5 halves, r6 out.
    .section .text.pipsqueak_fpu_exp_cut_scaled, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_exp_cut_scaled
    .type pipsqueak_fpu_exp_cut_scaled, %function
    .thumb_func
pipsqueak_fpu_exp_cut_scaled:
    cmp r1, #0
    beq 9f
    push {r4-r6, lr}
    ldr r6, [sp, #16]
    mov r5, r3
    movs r4, #0
    movt r4, #0x4248
    pipsqueak_fpu_exp_start
    vmov.f32 s26, s0
    pipsqueak_fpu_exp_cut_next
    ldrh r3, [r5], #2
    vmov s1, r3
    vcvtb.f32.f16 s1, s1
    vmul.f32 s1, s0, s1
    vstmia r6!, {s1}
    subs r1, r1, #1
    bne 1b
    vpop {s16-s27}
    pop {r4-r6, pc}
    pipsqueak_fpu_exp_cut_rare
9:  bx lr

    @ r4 up, r5 the bits of 87; s7 the gate.
    .section .text.pipsqueak_fpu_silu, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_silu
    .type pipsqueak_fpu_silu, %function
    .thumb_func
pipsqueak_fpu_silu:
    cmp r1, #0
    beq 9f
    push {r4-r6, lr}
    mov r4, r3
    movs r5, #0
    movt r5, #0x42ae
    pipsqueak_fpu_exp_start
1:  vldr s7, [r0]
    vmov r3, s7
    bic r3, r3, #0x80000000
    cmp r3, r5
    vneg.f32 s0, s7
    bhi 4f
2:  pipsqueak_fpu_exp
    vadd.f32 s0, s0, s21
    vdiv.f32 s0, s7, s0
    vldmia r4!, {s1}
    vmul.f32 s0, s0, s1
    vstmia r0!, {s0}
    subs r1, r1, #1
    bne 1b
    vpop {s16-s27}
    pop {r4-r6, pc}
    @ Beyond the limits: the limit, and for NaN the lower one.
4:  vcmp.f32 s0, s24
    vmrs APSR_nzcv, fpscr
    it le
    vmovle.f32 s0, s24
    vcmp.f32 s0, s23
    vmrs APSR_nzcv, fpscr
    it ge
    vmovge.f32 s0, s23
    b 2b
9:  bx lr

    .purgem pipsqueak_fpu_exp_start
    .purgem pipsqueak_fpu_exp
    .purgem pipsqueak_fpu_exp_cut_next
    .purgem pipsqueak_fpu_exp_cut_rare
    .text
"#,
    options(raw)
);
