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

/// Quantises `x` block by block, as many as all three outputs have; the last is filled up with zeros. `false` when a value
/// is not finite.
#[inline(always)]
pub(super) fn quantise(x: &[[f32; 4]], q: &mut [[i8; BLOCK]], scale: &mut [f32], sum: &mut [i32]) -> bool {
    let blocks = q.len().min(scale.len()).min(sum.len());
    let fours = x.len().min(blocks.saturating_mul(BLOCK / 4));
    // SAFETY: `x` has `fours` fours, and the outputs have the blocks these make; 0 of them are none. The features promise
    // the instructions.
    unsafe {
        let (q, scale, sum) = (q.as_mut_ptr().cast(), scale.as_mut_ptr(), sum.as_mut_ptr());
        pipsqueak_fpu_quantise(x.as_ptr().cast(), q, fours, scale, sum) == 0
    }
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
    pipsqueak_fpu_larger r4
    pipsqueak_fpu_larger r5
    pipsqueak_fpu_larger r6
    pipsqueak_fpu_larger r7
    subs \count, \count, #1
    bne 1b
    .endm

    @ Of many values few are larger than all before them.
    .macro pipsqueak_fpu_larger x
    cmp r12, \x, lsl #1
    bhs 12f
    lsl r12, \x, #1
12:
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

    @ r0 x, r1 q, r2 fours left, r3 scale, r8 0, r10 sum, r11 fours of the block, r12 then those it lacks, lr its sum.
    .section .text.pipsqueak_fpu_quantise, "ax", %progbits
    .p2align 2
    .global pipsqueak_fpu_quantise
    .type pipsqueak_fpu_quantise, %function
    .thumb_func
pipsqueak_fpu_quantise:
    push {r4-r11, lr}
    ldr r10, [sp, #36]
    adr r9, 8f
    cmp r2, #0
    beq 7f
3:  mov r11, r2
    cmp r11, #8
    it hi
    movhi r11, #8
    sub r2, r2, r11
    mov lr, r0
    mov r8, r11
    pipsqueak_fpu_largest_of r8
    mov r0, lr
    lsr r12, r12, #1
    cmp r12, #0x7f800000
    bhs 9f
    @ Below 2^-50 zeros with scale 0.
    vmov s2, s3, r8, r8
    cmp r12, #0x26800000
    blo 4f
    movs r4, #0
    movt r4, #0x42fe
    vmov s0, s1, r12, r4
    vdiv.f32 s2, s1, s0
    vdiv.f32 s3, s0, s1
4:  vstmia r3!, {s3}
    @ Codes and 128 each are summed as unsigned bytes.
    lsl lr, r11, #9
    rsb lr, lr, #0
    rsb r12, r11, #8
5:  pipsqueak_fpu_round_four
    bfi r4, r5, #8, #8
    bfi r4, r6, #16, #8
    bfi r4, r7, #24, #8
    str r4, [r1], #4
    eor r4, r4, #0x80808080
    usada8 lr, r4, r8, lr
    subs r11, r11, #1
    bne 5b
    str lr, [r10], #4
    cmp r2, #0
    bne 3b
    cmp r12, #0
    beq 7f
6:  str r8, [r1], #4
    subs r12, r12, #1
    bne 6b
7:  movs r0, #0
    pop {r4-r11, pc}
9:  movs r0, #1
    pop {r4-r11, pc}
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
    .purgem pipsqueak_fpu_larger
    .purgem pipsqueak_fpu_round_four
    .text
"#,
    options(raw)
);
