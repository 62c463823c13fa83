//! Floats to int8 codes, in assembly. Adding 3 * 2^22 rounds to an integer, which the sum's low byte is.

use core::arch::global_asm;

use crate::BLOCK;

unsafe extern "C" {
    fn pipsqueak_fpu_largest(x: *const f32, fours: usize) -> u32;
    fn pipsqueak_fpu_quantise(x: *const f32, q: *mut i8, fours: usize, scale: *mut f32, sum: *mut i32) -> u32;
    fn pipsqueak_fpu_clamped(x: *const f32, q: *mut i8, fours: usize, id: f32);
}

/// The largest of the bits of `|x[i]|`; `x` comes by fours.
#[inline(always)]
pub(super) fn largest(x: &[[f32; 4]]) -> u32 {
    // SAFETY: `x` has that many fours; 0 of them are none. The features promise the instructions.
    unsafe { pipsqueak_fpu_largest(x.as_ptr().cast(), x.len()) }
}

/// Quantises the first eight fours of `x` to a block, filled up with zeros; `false` when a value is not finite.
#[inline(always)]
pub(super) fn quantise(x: &[[f32; 4]], q: &mut [i8; BLOCK], scale: &mut f32, sum: &mut i32) -> bool {
    let fours = x.len().min(BLOCK / 4);
    // SAFETY: `x` has `fours` fours, at most a block of them, and `q` is a block. The features promise the instructions.
    unsafe { pipsqueak_fpu_quantise(x.as_ptr().cast(), q.as_mut_ptr(), fours, scale, sum) == 0 }
}

/// `x[i] * id`, of a magnitude below 2^15, rounded and clamped to +-127, for as many fours as both have.
#[inline(always)]
pub(super) fn clamped(x: &[[f32; 4]], q: &mut [[i8; 4]], id: f32) {
    let fours = x.len().min(q.len());
    // SAFETY: both slices have `fours` fours; 0 of them are none. The features promise the instructions.
    unsafe { pipsqueak_fpu_clamped(x.as_ptr().cast(), q.as_mut_ptr().cast(), fours, id) };
}

global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m33

    @ r12 = twice the largest bits of \count fours at r0, without the sign; r0 moves, r4-r7 are overwritten.
    .macro pipsqueak_fpu_largest_of count
    movs r4, #0
    mov r12, r4
1:  ldm r0!, {r4-r7}
    cmp r12, r4, lsl #1
    it lo
    lsllo r12, r4, #1
    cmp r12, r5, lsl #1
    it lo
    lsllo r12, r5, #1
    cmp r12, r6, lsl #1
    it lo
    lsllo r12, r6, #1
    cmp r12, r7, lsl #1
    it lo
    lsllo r12, r7, #1
    subs \count, \count, #1
    bne 1b
    .endm

    @ The bits of four values at r0 times s2, rounded, to r4-r7; r9 points to four times 3 * 2^22.
    .macro pipsqueak_fpu_round_four
    vldmia r0!, {s8-s11}
    vldmia r9, {s4-s7}
    vmla.f32 s4, s8, s2
    vmla.f32 s5, s9, s2
    vmla.f32 s6, s10, s2
    vmla.f32 s7, s11, s2
    vmov r4, r5, s4, s5
    vmov r6, r7, s6, s7
    .endm

    .section .text.pipsqueak_fpu_largest, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_largest
    .type pipsqueak_fpu_largest, %function
    .thumb_func
pipsqueak_fpu_largest:
    push {r4-r7, lr}
    mov r12, #0
    cbz r1, 2f
    pipsqueak_fpu_largest_of r1
2:  lsr r0, r12, #1
    pop {r4-r7, pc}

    @ r0 x, r1 q, r2 fours, r3 scale; behind the saved registers the sum.
    .section .text.pipsqueak_fpu_quantise, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_quantise
    .type pipsqueak_fpu_quantise, %function
    .thumb_func
pipsqueak_fpu_quantise:
    push {r4-r9, lr}
    movs r4, #0
    vmov s2, s3, r4, r4
    mov r12, r4
    cbz r2, 4f
    mov lr, r0
    mov r8, r2
    pipsqueak_fpu_largest_of r8
    mov r0, lr
    lsr r12, r12, #1
    cmp r12, #0x7f800000
    bhs 9f
    @ Below 2^-50 zeros with scale 0.
    cmp r12, #0x26800000
    blo 4f
    movs r4, #0
    movt r4, #0x42fe
    vmov s0, s1, r12, r4
    vdiv.f32 s2, s1, s0
    vdiv.f32 s3, s0, s1
4:  vstr s3, [r3]
    adr r9, 8f
    @ Codes and 128 each are summed as unsigned bytes.
    lsl lr, r2, #9
    rsb lr, lr, #0
    rsb r3, r2, #8
    movs r8, #0
    cbz r2, 6f
5:  pipsqueak_fpu_round_four
    bfi r4, r5, #8, #8
    bfi r4, r6, #16, #8
    bfi r4, r7, #24, #8
    str r4, [r1], #4
    eor r4, r4, #0x80808080
    usada8 lr, r4, r8, lr
    subs r2, r2, #1
    bne 5b
6:  cbz r3, 7f
    str r8, [r1], #4
    subs r3, r3, #1
    b 6b
7:  ldr r4, [sp, #28]
    str lr, [r4]
    movs r0, #0
    pop {r4-r9, pc}
9:  movs r0, #1
    pop {r4-r9, pc}
    .p2align 2
8:  .word 0x4b400000, 0x4b400000, 0x4b400000, 0x4b400000

    @ r0 x, r1 q, r2 fours, s0 the factor.
    .section .text.pipsqueak_fpu_clamped, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_clamped
    .type pipsqueak_fpu_clamped, %function
    .thumb_func
pipsqueak_fpu_clamped:
    push {r4-r9, lr}
    vmov.f32 s2, s0
    adr r9, 8f
    movs r8, #0
    cbz r2, 7f
5:  pipsqueak_fpu_round_four
    @ Half-words saturated to -128 ... 127, then put together as bytes.
    pkhbt r4, r4, r6, lsl #16
    pkhbt r5, r5, r7, lsl #16
    ssat16 r4, #8, r4
    ssat16 r5, #8, r5
    uxtb16 r4, r4
    uxtb16 r5, r5
    orr r4, r4, r5, lsl #8
    @ Negated twice with saturation, -128 is -127.
    qsub8 r4, r8, r4
    qsub8 r4, r8, r4
    str r4, [r1], #4
    subs r2, r2, #1
    bne 5b
7:  pop {r4-r9, pc}
    .p2align 2
8:  .word 0x4b400000, 0x4b400000, 0x4b400000, 0x4b400000

    .purgem pipsqueak_fpu_largest_of
    .purgem pipsqueak_fpu_round_four
    .text
"#,
    options(raw)
);
