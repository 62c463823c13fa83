//! The two passes of attention.

use core::{arch::global_asm, mem::MaybeUninit};

use super::{exp, vector};
use crate::{BLOCK, CacheRows, Query, scalar};

/// Columns of a group of values.
const GROUP: usize = 8;
/// Positions of a chunk.
const CHUNK: usize = 64;

/// Integer products of a query of `cols` codes with `count` rows of a cache, `stride` bytes apart.
///
/// # Safety
/// * `codes` has the rows, `q` the codes, and `out` room for `count` sums.
/// * `cols` is 1 to 32, or whatever the routine asks for; `count` is not 0.
type Dots =
    unsafe extern "C" fn(codes: *const i8, count: usize, q: *const i8, out: *mut i32, cols: usize, stride: usize);
/// The contract's sum of products of `len` floats.
type Dot<T> = unsafe extern "C" fn(x: *const f32, len: usize, y: *const T) -> f32;
/// Adds to eight elements of `acc` the sum over positions of weights times values, in position order from +0.0.
///
/// # Safety
/// * There are `count` weights and rows of eight values, `stride` bytes apart; `count` is not 0.
type Weigh<T> = unsafe extern "C" fn(weights: *const f32, count: usize, values: *const T, stride: usize, acc: *mut f32);

unsafe extern "C" {
    /// [`Dots`] of eight columns in rows without gaps.
    fn pipsqueak_helium_dots8(codes: *const i8, count: usize, q: *const i8, out: *mut i32, cols: usize, stride: usize);
    /// [`Dots`].
    fn pipsqueak_helium_dots(codes: *const i8, count: usize, q: *const i8, out: *mut i32, cols: usize, stride: usize);
    /// `out[i] += (scales[i] * qd) * sums[i]`.
    fn pipsqueak_helium_scores_add(sums: *const i32, count: usize, scales: *const u16, out: *mut f32, qd: f32);
    /// `out[i] *= scale`; returns the largest.
    fn pipsqueak_helium_scores_end(out: *mut f32, count: usize, scale: f32) -> f32;
    /// Both at once: `out[i]`, an integer, becomes `(0.0 + (scales[i] * qd) * out[i]) * scale`; returns the largest.
    fn pipsqueak_helium_scores_one(out: *mut f32, count: usize, scales: *const u16, qd: f32, scale: f32) -> f32;
    /// [`Dot`].
    fn pipsqueak_helium_dot_f32(x: *const f32, len: usize, y: *const f32) -> f32;
    /// [`Dot`].
    fn pipsqueak_helium_dot_f16(x: *const f32, len: usize, y: *const u16) -> f32;
    /// [`Weigh`].
    fn pipsqueak_helium_weigh_i8(weights: *const f32, count: usize, values: *const i8, stride: usize, acc: *mut f32);
    /// [`Weigh`].
    fn pipsqueak_helium_weigh_f16(weights: *const f32, count: usize, values: *const u16, stride: usize, acc: *mut f32);
    /// [`Weigh`].
    fn pipsqueak_helium_weigh_f32(weights: *const f32, count: usize, values: *const f32, stride: usize, acc: *mut f32);
}

/// See [`scalar::att_scores`].
pub(super) fn scores(query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
    match *keys {
        CacheRows::F32(keys) => float_scores(query.x, keys, scale, out, pipsqueak_helium_dot_f32),
        CacheRows::F16(keys) => float_scores(query.x, keys, scale, out, pipsqueak_helium_dot_f16),
        CacheRows::I8 { q: codes, scale: scales } => {
            let dim = query.x.len();
            let blocks = dim.div_ceil(BLOCK);
            let count = out.len().min(scales.len()).min(codes.len().checked_div(dim).unwrap_or(0));
            if query.q.len() != dim || query.scale.len() < blocks || count != out.len() || count == 0 {
                return scalar::att_scores(query, keys, scale, out);
            }
            let (1, Some(qd)) = (blocks, query.scale.first()) else {
                return scores_of_blocks(query, codes, scales, scale, out);
            };
            let dots: Dots = if dim == GROUP { pipsqueak_helium_dots8 } else { pipsqueak_helium_dots };
            // SAFETY: `codes` has `count` rows of `dim`, at most a block, and the query as many; `scales` and `out` have
            // `count` elements, and `out` holds integers meanwhile. `count` and `dim` are not 0. The feature promises the
            // instructions.
            unsafe {
                dots(codes.as_ptr(), count, query.q.as_ptr(), out.as_mut_ptr().cast(), dim, dim);
                pipsqueak_helium_scores_one(out.as_mut_ptr(), count, scales.as_ptr(), *qd, scale)
            }
        }
    }
}

/// Scores of heads wider than a block, [`CHUNK`] positions at a time. There are as many scales and rows as scores, and
/// whole blocks of the query.
#[inline(never)]
fn scores_of_blocks(query: &Query<'_>, codes: &[i8], scales: &[u16], scale: f32, out: &mut [f32]) -> f32 {
    let dim = query.q.len();
    let mut max = f32::NEG_INFINITY;
    let rows = codes.chunks(dim.saturating_mul(CHUNK).max(1));
    for ((out, codes), scales) in out.chunks_mut(CHUNK).zip(rows).zip(scales.chunks(CHUNK)) {
        let count = out.len().min(scales.len()).min(codes.len().checked_div(dim).unwrap_or(0));
        out.fill(0.0);
        let mut sums = MaybeUninit::<[i32; CHUNK]>::uninit();
        let sums = sums.as_mut_ptr().cast::<i32>();
        for ((block, q), qd) in query.q.chunks(BLOCK).enumerate().zip(query.scale) {
            let codes = codes.get(block * BLOCK..).unwrap_or(&[]);
            if count == 0 || codes.len() < (count - 1) * dim + q.len() {
                continue;
            }
            // SAFETY: `codes` has `count` rows `dim` apart of as many columns as `q`, 1 to 32; `scales`, `out` and `sums`
            // have `count` elements, and `sums` are written before they are read. The feature promises the instructions.
            unsafe {
                pipsqueak_helium_dots(codes.as_ptr(), count, q.as_ptr(), sums, q.len(), dim);
                pipsqueak_helium_scores_add(sums, count, scales.as_ptr(), out.as_mut_ptr(), *qd);
            }
        }
        // SAFETY: `out` has that many elements, and `chunks_mut` gives no empty ones.
        let largest = unsafe { pipsqueak_helium_scores_end(out.as_mut_ptr(), out.len(), scale) };
        max = if largest > max { largest } else { max };
    }
    max
}

/// [`scores`] over a float cache.
fn float_scores<T>(query: &[f32], keys: &[T], scale: f32, out: &mut [f32], dot: Dot<T>) -> f32 {
    let mut max = f32::NEG_INFINITY;
    for (out, key) in out.iter_mut().zip(keys.chunks_exact(query.len().max(1))) {
        // SAFETY: a key has as many elements as the query, or one where the query has none. The feature promises the
        // instructions.
        *out = unsafe { dot(query.as_ptr(), query.len(), key.as_ptr()) } * scale;
        max = if *out > max { *out } else { max };
    }
    max
}

/// See [`scalar::att_values`].
pub(super) fn values(scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
    let groups = acc.len() & (GROUP - 1) == 0;
    match *values {
        CacheRows::I8 { q, scale } if groups && scores.len() <= CHUNK && scale.len() == scores.len() => {
            code_values(scores, max, q, scale, acc);
        }
        _ => {
            exp::exp_cut(scores, max);
            match *values {
                CacheRows::F32(values) if groups => weigh(scores, values, acc, pipsqueak_helium_weigh_f32),
                CacheRows::F16(values) if groups => weigh(scores, values, acc, pipsqueak_helium_weigh_f16),
                _ => scalar::weigh(scores, values, acc),
            }
        }
    }
    vector::sum(scores)
}

/// The weights of at most [`CHUNK`] positions, and their codes weighed. There is a scale for each position.
#[inline(never)]
fn code_values(scores: &mut [f32], max: f32, codes: &[i8], scales: &[u16], acc: &mut [f32]) {
    let mut products = [const { MaybeUninit::uninit() }; CHUNK];
    let len = scores.len().min(scales.len());
    let products = products.get_mut(..len).unwrap_or(&mut []);
    exp::exp_cut_scaled(scores, max, scales, products);
    // SAFETY: `scores` and `scales` have at least as many elements, and so every product was written.
    let products = unsafe { &*(core::ptr::from_ref(products) as *const [f32]) };
    weigh(products, codes, acc, pipsqueak_helium_weigh_i8);
}

/// Adds to `acc`, in whole groups, the sum over positions of `weights[i] * values[i]`.
#[inline(always)]
fn weigh<T>(weights: &[f32], values: &[T], acc: &mut [f32], kernel: Weigh<T>) {
    let dim = acc.len();
    let count = weights.len().min(values.len().checked_div(dim).unwrap_or(0));
    if count == 0 {
        return;
    }
    for (at, acc) in acc.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        // SAFETY: `values` has `count` rows of `dim`, of which this reads the group `at`, which `acc` had room for. The
        // feature promises the instructions.
        unsafe {
            let values = values.as_ptr().add(at * GROUP);
            kernel(weights.as_ptr(), count, values, dim * size_of::<T>(), acc.as_mut_ptr());
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

    @ Sums in q0 and q1.
    .macro pipsqueak_helium_weigh_start
    push {r4, lr}
    vmov.i32 q0, #0
    vmov.i32 q1, #0
    dls lr, r1
    .endm

    @ Adds the values in q2 and q3, goes back to 1 for the next position, and adds the sums to what was there.
    .macro pipsqueak_helium_weigh_next
    ldr r4, [r0], #4
    add r2, r2, r3
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
    .endm

    .section .text.pipsqueak_helium_weigh_i8, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_weigh_i8
    .type pipsqueak_helium_weigh_i8, %function
    .thumb_func
pipsqueak_helium_weigh_i8:
    pipsqueak_helium_weigh_start
1:  vldrb.s32 q2, [r2]
    vldrb.s32 q3, [r2, #4]
    vcvt.f32.s32 q2, q2
    vcvt.f32.s32 q3, q3
    pipsqueak_helium_weigh_next

    .section .text.pipsqueak_helium_weigh_f16, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_weigh_f16
    .type pipsqueak_helium_weigh_f16, %function
    .thumb_func
pipsqueak_helium_weigh_f16:
    pipsqueak_helium_weigh_start
1:  vldrh.u32 q2, [r2]
    vldrh.u32 q3, [r2, #8]
    vcvtb.f32.f16 q2, q2
    vcvtb.f32.f16 q3, q3
    pipsqueak_helium_weigh_next

    .section .text.pipsqueak_helium_weigh_f32, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_weigh_f32
    .type pipsqueak_helium_weigh_f32, %function
    .thumb_func
pipsqueak_helium_weigh_f32:
    pipsqueak_helium_weigh_start
1:  vldrw.u32 q2, [r2]
    vldrw.u32 q3, [r2, #16]
    pipsqueak_helium_weigh_next

    .section .text.pipsqueak_helium_dot_f32, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_dot_f32
    .type pipsqueak_helium_dot_f32, %function
    .thumb_func
pipsqueak_helium_dot_f32:
    push {r4, lr}
    vmov.i32 q0, #0
    vmov.i32 q1, #0
    lsrs r3, r1, #3
    beq 2f
    dls lr, r3
1: vldrw.u32 q2, [r0], #16
    vldrw.u32 q3, [r2], #16
    vmul.f32 q2, q2, q3
    vadd.f32 q0, q0, q2
    vldrw.u32 q2, [r0], #16
    vldrw.u32 q3, [r2], #16
    vmul.f32 q2, q2, q3
    vadd.f32 q1, q1, q2
    le lr, 1b
2:  ands r1, r1, #7
    beq 3f
    vctp.32 r1
    vpstttt
    vldrwt.u32 q2, [r0]
    vldrwt.u32 q3, [r2]
    vmult.f32 q2, q2, q3
    vaddt.f32 q0, q0, q2
    subs r1, r1, #4
    ble 3f
    vctp.32 r1
    vpstttt
    vldrwt.u32 q2, [r0, #16]
    vldrwt.u32 q3, [r2, #16]
    vmult.f32 q2, q2, q3
    vaddt.f32 q1, q1, q2
3:  vadd.f32 q0, q0, q1
    vadd.f32 s0, s0, s2
    vadd.f32 s1, s1, s3
    vadd.f32 s0, s0, s1
    pop {r4, pc}

    .section .text.pipsqueak_helium_dot_f16, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_dot_f16
    .type pipsqueak_helium_dot_f16, %function
    .thumb_func
pipsqueak_helium_dot_f16:
    push {r4, lr}
    vmov.i32 q0, #0
    vmov.i32 q1, #0
    lsrs r3, r1, #3
    beq 2f
    dls lr, r3
1: vldrw.u32 q2, [r0], #16
    vldrh.u32 q3, [r2], #8
    vcvtb.f32.f16 q3, q3
    vmul.f32 q2, q2, q3
    vadd.f32 q0, q0, q2
    vldrw.u32 q2, [r0], #16
    vldrh.u32 q3, [r2], #8
    vcvtb.f32.f16 q3, q3
    vmul.f32 q2, q2, q3
    vadd.f32 q1, q1, q2
    le lr, 1b
2:  ands r1, r1, #7
    beq 3f
    vctp.32 r1
    vpstttt
    vldrwt.u32 q2, [r0]
    vldrht.u32 q3, [r2]
    vcvtbt.f32.f16 q3, q3
    vmult.f32 q2, q2, q3
    vpst
    vaddt.f32 q0, q0, q2
    subs r1, r1, #4
    ble 3f
    vctp.32 r1
    vpstttt
    vldrwt.u32 q2, [r0, #16]
    vldrht.u32 q3, [r2, #8]
    vcvtbt.f32.f16 q3, q3
    vmult.f32 q2, q2, q3
    vpst
    vaddt.f32 q1, q1, q2
3:  vadd.f32 q0, q0, q1
    vadd.f32 s0, s0, s2
    vadd.f32 s1, s1, s3
    vadd.f32 s0, s0, s1
    pop {r4, pc}

    .purgem pipsqueak_helium_weigh_start
    .purgem pipsqueak_helium_weigh_next
    .text
"#,
    options(raw)
);
