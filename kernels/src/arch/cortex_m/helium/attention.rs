//! The two passes of attention over an int8 cache; keys of float caches are for the FPU alone.

use core::{arch::global_asm, mem::MaybeUninit};

use super::{exp, fpu, vector};
use crate::{BLOCK, CacheRows, Query, scalar};

/// Columns of a group of values.
const GROUP: usize = 8;
/// Positions of a chunk.
const CHUNK: usize = 64;

unsafe extern "C" {
    /// Integer products of a query of eight codes with `count` rows of eight.
    fn pipsqueak_helium_dots8(codes: *const i8, count: usize, q: *const i8, out: *mut i32);
    /// The same with `cols` codes, 1 to 32, of rows that are `stride` bytes apart.
    fn pipsqueak_helium_dots(
        codes: *const i8,
        count: usize,
        q: *const i8,
        out: *mut i32,
        cols: usize,
        stride: usize,
    );
    /// `out[i] += (scales[i] * qd) * sums[i]`.
    fn pipsqueak_helium_scores_add(sums: *const i32, count: usize, scales: *const u16, out: *mut f32, qd: f32);
    /// `out[i] *= scale`; returns the largest.
    fn pipsqueak_helium_scores_end(out: *mut f32, count: usize, scale: f32) -> f32;
    /// Both at once: `out[i]`, an integer, becomes `(0.0 + (scales[i] * qd) * out[i]) * scale`; returns the largest.
    fn pipsqueak_helium_scores_one(out: *mut f32, count: usize, scales: *const u16, qd: f32, scale: f32) -> f32;
    /// Eight elements of `acc`; rows of codes are `stride` bytes apart. `count` is not 0.
    fn pipsqueak_helium_weigh(weights: *const f32, count: usize, codes: *const i8, stride: usize, acc: *mut f32);
}

/// See [`scalar::att_scores`].
pub(super) fn scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
    let dim = query.x.len();
    let CacheRows::I8 { q: codes, scale: scales } = *keys else {
        return fpu::attention::scores(query, keys, scale, out);
    };
    let blocks = dim.div_ceil(BLOCK);
    let count = out.len().min(scales.len()).min(codes.len().checked_div(dim).unwrap_or(0));
    if query.q.len() != dim || query.scale.len() < blocks || count == 0 || count > CHUNK {
        return scalar::att_scores(query, keys, scale, out);
    }
    // SAFETY: `codes` has `count` rows of `dim`, in which the columns `at` to `at + cols` are; the query has as many codes,
    // and a scale for each block; `scales` and `out` have `count` elements, and so has `sums`, at most `CHUNK`. Sums are
    // written before they are read. `count`, `cols` and `blocks` are not 0. The feature promises the instructions.
    unsafe {
        if let (1, Some(qd)) = (blocks, query.scale.first()) {
            let sums = out.as_mut_ptr().cast();
            if dim == GROUP {
                pipsqueak_helium_dots8(codes.as_ptr(), count, query.q.as_ptr(), sums);
            } else {
                pipsqueak_helium_dots(codes.as_ptr(), count, query.q.as_ptr(), sums, dim, dim);
            }
            return pipsqueak_helium_scores_one(out.as_mut_ptr(), count, scales.as_ptr(), *qd, scale);
        }
        let mut sums = MaybeUninit::<[i32; CHUNK]>::uninit();
        let sums = sums.as_mut_ptr().cast::<i32>();
        out.fill(0.0);
        for (block, qd) in query.scale.iter().take(blocks).enumerate() {
            let at = block * BLOCK;
            let (codes, q) = (codes.as_ptr().add(at), query.q.as_ptr().add(at));
            pipsqueak_helium_dots(codes, count, q, sums, (dim - at).min(BLOCK), dim);
            pipsqueak_helium_scores_add(sums, count, scales.as_ptr(), out.as_mut_ptr(), *qd);
        }
        pipsqueak_helium_scores_end(out.as_mut_ptr(), count, scale)
    }
}

/// See [`scalar::att_values`].
pub(super) fn values(scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
    match *values {
        CacheRows::I8 { q, scale } if scores.len() <= CHUNK && scale.len() == scores.len() => {
            let mut products = [const { MaybeUninit::uninit() }; CHUNK];
            let products = products.get_mut(..scores.len()).unwrap_or(&mut []);
            exp::exp_cut_scaled(scores, max, scale, products);
            // SAFETY: the lengths of all three are the same, and so every product was written.
            let products = unsafe { &*(core::ptr::from_ref(products) as *const [f32]) };
            weigh_codes(products, q, acc);
        }
        _ => {
            exp::exp_cut(scores, max);
            match *values {
                CacheRows::F32(values) => fpu::attention::weigh(scores, values, acc, |v| v),
                _ => scalar::weigh(scores, values, acc),
            }
        }
    }
    vector::sum(scores)
}

/// Adds to `acc` the sum over positions of `weights[i] * codes[i]`, each element in position order from +0.0. There are
/// as many rows of codes as weights.
fn weigh_codes(weights: &[f32], codes: &[i8], acc: &mut [f32]) {
    let dim = acc.len();
    let there = weights.len().saturating_mul(dim) <= codes.len();
    if dim & (GROUP - 1) != 0 || weights.is_empty() || !there {
        return fpu::attention::weigh(weights, codes, acc, |code| code as f32);
    }
    for (at, acc) in acc.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        // SAFETY: `codes` has `weights.len()` rows of `dim` codes, of which this reads the group `at`, which `acc` had
        // room for. The feature promises the instructions.
        unsafe {
            let codes = codes.as_ptr().add(at * GROUP);
            pipsqueak_helium_weigh(weights.as_ptr(), weights.len(), codes, dim, acc.as_mut_ptr());
        }
    }
}

global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m55

    .section .text.pipsqueak_helium_dots8, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_dots8
    .type pipsqueak_helium_dots8, %function
    .thumb_func
pipsqueak_helium_dots8:
    push {r4, lr}
    vldrb.s16 q0, [r2]
    dls lr, r1
1:  vldrb.s16 q1, [r0], #8
    vmladav.s16 r4, q0, q1
    str r4, [r3], #4
    le lr, 1b
    pop {r4, pc}

    @ Columns beyond the last are neither read nor counted: in q0 or q1 they are 0.
    .section .text.pipsqueak_helium_dots, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_dots
    .type pipsqueak_helium_dots, %function
    .thumb_func
pipsqueak_helium_dots:
    push {r4-r6, lr}
    ldrd r5, r6, [sp, #16]
    dls lr, r1
    cmp r5, #16
    bhi 2f
    vctp.8 r5
    vpst
    vldrbt.u8 q0, [r2]
1:  vpst
    vldrbt.u8 q2, [r0]
    add r0, r0, r6
    vmladav.s8 r4, q0, q2
    str r4, [r3], #4
    le lr, 1b
    pop {r4-r6, pc}
2:  subs r5, r5, #16
    vctp.8 r5
    vldrb.u8 q0, [r2]
    vpst
    vldrbt.u8 q1, [r2, #16]
3:  vldrb.u8 q2, [r0]
    vpst
    vldrbt.u8 q3, [r0, #16]
    add r0, r0, r6
    vmladav.s8 r4, q0, q2
    vmladava.s8 r4, q1, q3
    str r4, [r3], #4
    le lr, 3b
    pop {r4-r6, pc}

    .section .text.pipsqueak_helium_scores_add, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_scores_add
    .type pipsqueak_helium_scores_add, %function
    .thumb_func
pipsqueak_helium_scores_add:
    push {r4, lr}
    vmov r4, s0
    dlstp.32 lr, r1
1:  vldrh.u32 q0, [r2], #8
    vldrw.u32 q1, [r0], #16
    vldrw.u32 q2, [r3]
    vcvtb.f32.f16 q0, q0
    vcvt.f32.s32 q1, q1
    vmul.f32 q0, q0, r4
    vmul.f32 q0, q0, q1
    vadd.f32 q2, q2, q0
    vstrw.32 q2, [r3], #16
    letp lr, 1b
    pop {r4, pc}

    @ The largest begins with minus infinity.
    .section .text.pipsqueak_helium_scores_end, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_scores_end
    .type pipsqueak_helium_scores_end, %function
    .thumb_func
pipsqueak_helium_scores_end:
    push {r4, lr}
    vmov r4, s0
    movs r2, #0
    movt r2, #0xff80
    vdup.32 q1, r2
    dlstp.32 lr, r1
1:  vldrw.u32 q0, [r0]
    vmul.f32 q0, q0, r4
    vmaxnm.f32 q1, q1, q0
    vstrw.32 q0, [r0], #16
    letp lr, 1b
    vmaxnmv.f32 r2, q1
    vmov s0, r2
    pop {r4, pc}

    .section .text.pipsqueak_helium_scores_one, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_scores_one
    .type pipsqueak_helium_scores_one, %function
    .thumb_func
pipsqueak_helium_scores_one:
    push {r4-r6, lr}
    vmov r4, r5, s0, s1
    movs r6, #0
    movs r3, #0
    movt r3, #0xff80
    vdup.32 q2, r3
    dlstp.32 lr, r1
1:  vldrh.u32 q0, [r2], #8
    vldrw.u32 q1, [r0]
    vcvtb.f32.f16 q0, q0
    vcvt.f32.s32 q1, q1
    vmul.f32 q0, q0, r4
    vmul.f32 q0, q0, q1
    vadd.f32 q0, q0, r6
    vmul.f32 q0, q0, r5
    vmaxnm.f32 q2, q2, q0
    vstrw.32 q0, [r0], #16
    letp lr, 1b
    vmaxnmv.f32 r3, q2
    vmov s0, r3
    pop {r4-r6, pc}

    @ q0 and q1 sums.
    .section .text.pipsqueak_helium_weigh, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_weigh
    .type pipsqueak_helium_weigh, %function
    .thumb_func
pipsqueak_helium_weigh:
    push {r4, lr}
    vmov.i32 q0, #0
    vmov.i32 q1, #0
    dls lr, r1
1:  vldrb.s32 q2, [r2]
    vldrb.s32 q3, [r2, #4]
    ldr r4, [r0], #4
    add r2, r2, r3
    vcvt.f32.s32 q2, q2
    vcvt.f32.s32 q3, q3
    vmul.f32 q2, q2, r4
    vmul.f32 q3, q3, r4
    vadd.f32 q0, q0, q2
    vadd.f32 q1, q1, q3
    le lr, 1b
    ldr r4, [sp, #8]
    vldrw.u32 q2, [r4]
    vldrw.u32 q3, [r4, #16]
    vadd.f32 q2, q2, q0
    vadd.f32 q3, q3, q1
    vstrw.32 q2, [r4]
    vstrw.32 q3, [r4, #16]
    pop {r4, pc}
    .text
"#,
    options(raw)
);
