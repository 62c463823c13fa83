//! The two passes of attention over an int8 cache; float caches are for the FPU alone.

use core::{arch::global_asm, mem::MaybeUninit};

use super::attention::{self as floats, GROUP};
use crate::{BLOCK, CacheRows, Query, linked::FLOAT_CACHES, scalar};

/// Elements of the widest head that assembly reads; wider ones, and heads of no multiple of eight, go to scalar code.
const WIDEST: usize = 256;
/// Words of a prepared query: a block's scale and groups, and four words a group.
const WORDS: usize = WIDEST / BLOCK * (2 + BLOCK / GROUP * 4);

/// See [`scalar::att_scores`].
pub(in super::super) fn scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
    let dim = query.x.len();
    let CacheRows::I8 { q: codes, scale: scales } = *keys else {
        return if FLOAT_CACHES { floats::scores(query, keys, scale, out) } else { f32::NEG_INFINITY };
    };
    if !cfg!(feature = "cache-i8") {
        return f32::NEG_INFINITY;
    }
    let blocks = dim.div_ceil(BLOCK);
    let count = out.len().min(scales.len()).min(codes.len().checked_div(dim).unwrap_or(0));
    let whole = dim & (GROUP - 1) == 0 && dim <= WIDEST && query.q.len() == dim && query.scale.len() >= blocks;
    if !whole || count == 0 {
        return scalar::att_scores(query, keys, scale, out);
    }
    let mut words = MaybeUninit::<[u32; WORDS]>::uninit();
    // SAFETY: `query.q` has `dim` codes in whole groups, at most `WIDEST`, so that the record fits `words`; there is a
    // scale for each block. `codes` has `count` rows of `dim`, and `scales` and `out` have `count` elements. The feature
    // promises the instructions.
    unsafe {
        pipsqueak_dsp_prepare_query(query.q.as_ptr(), words.as_mut_ptr().cast(), query.scale.as_ptr(), dim);
        pipsqueak_dsp_scores(
            codes.as_ptr(),
            scales.as_ptr(),
            words.as_ptr().cast(),
            out.as_mut_ptr(),
            count,
            blocks,
            scale,
        )
    }
}

/// See [`scalar::att_values`].
pub(in super::super) fn values(scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
    floats::values(scores, max, values, acc, weigh_codes)
}

/// Adds to `acc` the sum over positions of `weights[i] * codes[i]`, each element in position order from +0.0. There are
/// as many rows of codes as weights, and at least one, as [`floats::values`] sees to.
fn weigh_codes(weights: &[f32], codes: &[i8], acc: &mut [f32]) {
    let dim = acc.len();
    if weights.is_empty() || weights.len().saturating_mul(dim) > codes.len() {
        return;
    }
    for (at, acc) in acc.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        // SAFETY: `codes` has `weights.len()` rows of `dim` codes, of which this reads the group `at`, which `acc` had
        // room for. The feature promises the instructions.
        unsafe {
            pipsqueak_dsp_weigh(weights.as_ptr(), codes.as_ptr().add(at * GROUP), weights.len(), dim, acc.as_mut_ptr());
        }
    }
}

unsafe extern "C" {
    /// Writes a query of `dim` codes as `scores` reads it: for each block its scale, its groups of eight columns, and for
    /// each group the half-word pairs of columns 0 and 2, 1 and 3, 4 and 6, 5 and 7.
    fn pipsqueak_dsp_prepare_query(q: *const i8, words: *mut u32, scale: *const f32, dim: usize);
    /// `count` scores, of which the largest is returned. `count` and `blocks` are not 0.
    fn pipsqueak_dsp_scores(
        codes: *const i8,
        scales: *const u16,
        words: *const u32,
        out: *mut f32,
        count: usize,
        blocks: usize,
        scale: f32,
    ) -> f32;
    /// Eight elements of `acc`; rows of codes are `stride` bytes apart. `count` is not 0.
    fn pipsqueak_dsp_weigh(weights: *const f32, codes: *const i8, count: usize, stride: usize, acc: *mut f32);
}

global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m33

    .section .text.pipsqueak_dsp_prepare_query, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_prepare_query
    .type pipsqueak_dsp_prepare_query, %function
    .thumb_func
pipsqueak_dsp_prepare_query:
    push {r4-r9, lr}
    lsr r3, r3, #3
1:  mov r4, r3
    cmp r4, #4
    it hi
    movhi r4, #4
    sub r3, r3, r4
    ldr r5, [r2], #4
    strd r5, r4, [r1], #8
2:  ldr r7, [r0], #4
    ldr r9, [r0], #4
    sxtb16 r6, r7
    sxtb16 r7, r7, ror #8
    sxtb16 r8, r9
    sxtb16 r9, r9, ror #8
    stmia r1!, {r6-r9}
    subs r4, r4, #1
    bne 2b
    cmp r3, #0
    bne 1b
    pop {r4-r9, pc}

    @ r0 codes, r1 scales, r2 words, r3 out, r5 the next word, r6 blocks left, r7 groups left, r8 integer sum, lr positions
    @ left; s0 scale, s1 largest, s2 the position's scale, s3 its sum.
    .section .text.pipsqueak_dsp_scores, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_scores
    .type pipsqueak_dsp_scores, %function
    .thumb_func
pipsqueak_dsp_scores:
    push {r4-r11, lr}
    ldrd r4, r5, [sp, #36]
    ldr r6, [r2, #4]
    cmp r5, #1
    it eq
    cmpeq r6, #1
    beq 5f
    ldr lr, [sp, #36]
    @ Minus infinity.
    movs r4, #0
    movt r4, #0xff80
    vmov s1, r4
1:  ldrh r4, [r1], #2
    vmov s2, r4
    vcvtb.f32.f16 s2, s2
    movs r4, #0
    vmov s3, r4
    mov r5, r2
    ldr r6, [sp, #40]
2:  vldmia r5!, {s4}
    ldr r7, [r5], #4
    movs r8, #0
3:  ldr r9, [r0], #4
    ldr r10, [r0], #4
    ldrd r11, r12, [r5], #8
    sxtb16 r4, r9
    smlad r8, r4, r11, r8
    sxtb16 r9, r9, ror #8
    smlad r8, r9, r12, r8
    ldrd r11, r12, [r5], #8
    sxtb16 r4, r10
    smlad r8, r4, r11, r8
    sxtb16 r10, r10, ror #8
    smlad r8, r10, r12, r8
    subs r7, r7, #1
    bne 3b
    vmov s5, r8
    vcvt.f32.s32 s5, s5
    vmul.f32 s4, s2, s4
    vmul.f32 s4, s4, s5
    vadd.f32 s3, s3, s4
    subs r6, r6, #1
    bne 2b
    vmul.f32 s3, s3, s0
    vstmia r3!, {s3}
    vcmp.f32 s3, s1
    vmrs APSR_nzcv, fpscr
    it gt
    vmovgt.f32 s1, s3
    subs lr, lr, #1
    bne 1b
    vmov.f32 s0, s1
    pop {r4-r11, pc}
    @ Heads of eight: the query stays in r5-r8, its scale in s4; r4 positions left, s6 0.0.
5:  vldr s4, [r2]
    add r2, r2, #8
    ldm r2, {r5-r8}
    movs r2, #0
    vmov s6, r2
    movt r2, #0xff80
    vmov s1, r2
6:  ldr r9, [r0], #4
    ldr r10, [r0], #4
    ldrh r12, [r1], #2
    sxtb16 r11, r9
    smuad r2, r11, r5
    sxtb16 r9, r9, ror #8
    smlad r2, r9, r6, r2
    sxtb16 r11, r10
    smlad r2, r11, r7, r2
    sxtb16 r10, r10, ror #8
    smlad r2, r10, r8, r2
    vmov s2, s3, r12, r2
    vcvtb.f32.f16 s2, s2
    vcvt.f32.s32 s3, s3
    vmul.f32 s2, s2, s4
    vmul.f32 s3, s3, s2
    vadd.f32 s3, s3, s6
    vmul.f32 s3, s3, s0
    vstmia r3!, {s3}
    vcmp.f32 s3, s1
    vmrs APSR_nzcv, fpscr
    it gt
    vmovgt.f32 s1, s3
    subs r4, r4, #1
    bne 6b
    vmov.f32 s0, s1
    pop {r4-r11, pc}

    @ Four codes of the word \w times s0, added to four sums; r12 is overwritten.
    .macro pipsqueak_dsp_weigh_word w, s, s1, s2, s3
    sxtb r12, \w
    sxtb r6, \w, ror #8
    vmov s1, s2, r12, r6
    sxtb r12, \w, ror #16
    asr \w, \w, #24
    vmov s3, s4, r12, \w
    vcvt.f32.s32 s1, s1
    vcvt.f32.s32 s2, s2
    vcvt.f32.s32 s3, s3
    vcvt.f32.s32 s4, s4
    @ The product is rounded, and then the sum.
    vmla.f32 \s, s1, s0
    vmla.f32 \s1, s2, s0
    vmla.f32 \s2, s3, s0
    vmla.f32 \s3, s4, s0
    .endm

    @ r0 weights, r1 codes, r2 positions left, r3 stride; s8-s15 sums.
    .section .text.pipsqueak_dsp_weigh, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_weigh
    .type pipsqueak_dsp_weigh, %function
    .thumb_func
pipsqueak_dsp_weigh:
    push {r4-r6, lr}
    movs r4, #0
    vmov s8, s9, r4, r4
    vmov s10, s11, r4, r4
    vmov s12, s13, r4, r4
    vmov s14, s15, r4, r4
1:  ldr r5, [r1, #4]
    ldr r4, [r1]
    add r1, r1, r3
    vldmia r0!, {s0}
    pipsqueak_dsp_weigh_word r4, s8, s9, s10, s11
    pipsqueak_dsp_weigh_word r5, s12, s13, s14, s15
    subs r2, r2, #1
    bne 1b
    ldr r4, [sp, #16]
    vldmia r4, {s0-s7}
    vadd.f32 s0, s0, s8
    vadd.f32 s1, s1, s9
    vadd.f32 s2, s2, s10
    vadd.f32 s3, s3, s11
    vadd.f32 s4, s4, s12
    vadd.f32 s5, s5, s13
    vadd.f32 s6, s6, s14
    vadd.f32 s7, s7, s15
    vstmia r4, {s0-s7}
    pop {r4-r6, pc}

    .purgem pipsqueak_dsp_weigh_word
    .text
"#,
    options(raw)
);
