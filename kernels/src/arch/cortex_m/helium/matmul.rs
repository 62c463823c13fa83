//! Products with quantised weights in panels of eight rows ([`Panel::H8`]); everything else goes to scalar code.
//!
//! `vmladava.s8` adds sixteen products to one of the even general registers. For each row that is a load and a `vmladava`
//! for sixteen weights; the activations stay in two vector registers. The rows' sums are then moved to two vectors, even
//! rows and odd ones, as the eight scales in one vector widen.
//!
//! A byte of int4 weights is one column of two rows, `16 o + e` with `e` from 0 to 15 and `o` from -8 to 7. It is multiplied
//! as it is, and masked: the second product is the even row's, and the difference of both 16 times the odd row's. So int4
//! costs an `and` more for sixteen bytes, and half the loads.
//!
//! Per block of eight rows 51 instructions for Q8, 56 for Q4 and 66 for Q4M, 256 multiply-adds each.

use core::{arch::global_asm, ops::Range};

use crate::{BLOCK, Format, Input, Matrix, Panel, Store, Tile, scalar};

/// Rows of the panel this set reads.
const R: usize = 8;

/// See [`scalar::matmul`].
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    if !matches!(w.panel(), Panel::H8) || w.blocks() == 0 {
        return scalar::matmul(w, panels, x, out, store);
    }
    // Steps as constants: a slice of a stage is a thousand instructions, of which this is not to be a part that counts.
    match w.format() {
        Format::Q8 => product::<1, 32>(pipsqueak_helium_q8, w, panels.start, x, out, store),
        Format::Q4 => product::<1, 16>(pipsqueak_helium_q4, w, panels.start, x, out, store),
        Format::Q4M => product::<2, 16>(pipsqueak_helium_q4m, w, panels.start, x, out, store),
        _ => scalar::matmul(w, panels, x, out, store),
    }
}

/// The products of `w` from panel `first` on, for blocks of `SCALES` scales and `PAYLOAD` bytes.
fn product<const SCALES: usize, const PAYLOAD: usize>(
    kernel: Dots,
    w: &Matrix<'_>,
    first: usize,
    x: &Input<'_>,
    out: &mut Tile<'_>,
    store: Store,
) {
    let blocks = w.blocks();
    let (scales, payload) = w.panels_from(0);
    let all = (scales.len() / (R * SCALES)).min(payload.len() / (R * PAYLOAD)).checked_div(blocks).unwrap_or(0);
    for t in 0..out.tokens().min(x.tokens) {
        let (act, out) = (x.acts.row(t), out.row(t));
        let (eights, rest) = out.as_chunks_mut::<R>();
        let count = eights.len() + !rest.is_empty() as usize;
        let (q, ad, asum) = (act.q.len() / BLOCK, act.scale.len(), act.sum.len());
        if first > all || count > all - first || q < blocks || ad < blocks || asum < blocks {
            debug_assert!(false, "{count} panels from {first} of {all}, {blocks} blocks, activations {q} {ad} {asum}");
            continue;
        }
        let (q, ad, asum) = (act.q.as_ptr(), act.scale.as_ptr(), act.sum.as_ptr());
        let mut start = first * blocks * R;
        if !eights.is_empty() {
            let add = matches!(store, Store::Add) as usize;
            // SAFETY: `scales` and `payload` hold `all` panels of `blocks` blocks, not 0, of which `count` follow the first;
            // the activations have `blocks` blocks; `out` is written by eights. The feature promises the instructions.
            unsafe {
                let (payload, scales) = (payload.as_ptr().add(start * PAYLOAD), scales.as_ptr().add(start * SCALES));
                kernel(payload, scales, q, ad, asum, blocks, eights.as_mut_ptr(), eights.len(), add);
            }
            start += eights.len() * blocks * R;
        }
        // The last rows of the matrix, fewer than a panel.
        if !rest.is_empty() {
            let mut last = [0.0; R];
            // SAFETY: as above; a whole panel follows those of the eights.
            unsafe {
                let (payload, scales) = (payload.as_ptr().add(start * PAYLOAD), scales.as_ptr().add(start * SCALES));
                kernel(payload, scales, q, ad, asum, blocks, &mut last, 1, 0);
            }
            for (out, product) in rest.iter_mut().zip(last) {
                store.put(out, product);
            }
        }
    }
}

/// The products of `panels` panels.
///
/// # Safety
/// * `payload`, `scales`: `panels` panels of `blocks` blocks of the kernel's format in [`Panel::H8`], panel behind panel.
/// * `q`, `ad`, `asum`: `blocks` blocks of activations, their scales and sums.
/// * `out`: `panels` times eight floats, which are written, or added to when `add` is not 0.
/// * Neither `blocks` nor `panels` is 0. Pointers are aligned to their types.
type Dots = unsafe extern "C" fn(
    payload: *const u8,
    scales: *const u16,
    q: *const i8,
    ad: *const f32,
    asum: *const i32,
    blocks: usize,
    out: *mut [f32; R],
    panels: usize,
    add: usize,
);

macro_rules! declare {
    ($($name:ident)+) => {
        unsafe extern "C" {
            $(
                fn $name(
                    payload: *const u8,
                    scales: *const u16,
                    q: *const i8,
                    ad: *const f32,
                    asum: *const i32,
                    blocks: usize,
                    out: *mut [f32; R],
                    panels: usize,
                    add: usize,
                );
            )+
        }
    };
}
declare! { pipsqueak_helium_q8 pipsqueak_helium_q4 pipsqueak_helium_q4m }

// Registers: r1 payload, r3 scales, r5 activations, r7 their scales, r9 their sums, r11 blocks left; even ones sums. q0 and
// q1 the activations of a block, q6 and q7 the float sums of even and odd rows.
// On the stack: q, ad (saved for each panel), 64 bytes of vector registers, ten saved registers, then the arguments asum,
// blocks, out, panels, add.
global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m55

    .macro pipsqueak_helium_start
    push {r3-r11, lr}
    vpush {d8-d15}
    push {r2, r3}
    mov r3, r1
    mov r1, r0
    .endm

    @ The next panel begins.
    .macro pipsqueak_helium_panel
1:  ldrd r5, r7, [sp]
    ldrd r9, r11, [sp, #112]
    vmov.i32 q6, #0
    vmov.i32 q7, #0
    .endm

    @ Stores a panel's sums and goes back to 1 for the next.
    .macro pipsqueak_helium_store
    ldrd r0, r2, [sp, #120]
    ldr r4, [sp, #128]
    cbz r4, 3f
    vld20.32 {q0, q1}, [r0]
    vld21.32 {q0, q1}, [r0]
    vadd.f32 q6, q0, q6
    vadd.f32 q7, q1, q7
3:  vst20.32 {q6, q7}, [r0]
    vst21.32 {q6, q7}, [r0]!
    subs r2, r2, #1
    strd r0, r2, [sp, #120]
    bne 1b
    add sp, sp, #8
    vpop {d8-d15}
    pop {r3-r11, pc}
    .endm

    @ Integer sums of the eight rows to q2, even rows, and q3, odd ones. The first register goes to the lower lane, although
    @ it is named behind it.
    .macro pipsqueak_helium_lanes
    vmov q2[2], q2[0], r0, r8
    vmov q2[3], q2[1], r4, r12
    vmov q3[2], q3[0], r2, r10
    vmov q3[3], q3[1], r6, lr
    .endm

    @ q2 and q3 times (the next eight scales times the activations' scale, which r0 becomes).
    .macro pipsqueak_helium_scale
    vldrw.u32 q0, [r3], #16
    ldr r0, [r7], #4
    vcvtb.f32.f16 q1, q0
    vcvtt.f32.f16 q0, q0
    vmul.f32 q1, q1, r0
    vmul.f32 q0, q0, r0
    vmul.f32 q2, q2, q1
    vmul.f32 q3, q3, q0
    .endm

    .macro pipsqueak_helium_accumulate
    vadd.f32 q6, q6, q2
    vadd.f32 q7, q7, q3
    .endm

    .macro pipsqueak_helium_row8 sum
    vldrb.u8 q2, [r1], #16
    vmladav.s8 \sum, q2, q0
    vldrb.u8 q3, [r1], #16
    vmladava.s8 \sum, q3, q1
    .endm

    .section .text.pipsqueak_helium_q8, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_q8
    .type pipsqueak_helium_q8, %function
    .thumb_func
pipsqueak_helium_q8:
    pipsqueak_helium_start
    pipsqueak_helium_panel
2:  vldrb.u8 q0, [r5], #16
    vldrb.u8 q1, [r5], #16
    pipsqueak_helium_row8 r0
    pipsqueak_helium_row8 r2
    pipsqueak_helium_row8 r4
    pipsqueak_helium_row8 r6
    pipsqueak_helium_row8 r8
    pipsqueak_helium_row8 r10
    pipsqueak_helium_row8 r12
    pipsqueak_helium_row8 lr
    pipsqueak_helium_lanes
    vcvt.f32.s32 q2, q2
    vcvt.f32.s32 q3, q3
    pipsqueak_helium_scale
    pipsqueak_helium_accumulate
    subs r11, r11, #1
    bne 2b
    pipsqueak_helium_store

    @ q4 is the mask.
    .macro pipsqueak_helium_pair even, odd
    vldrb.u8 q2, [r1], #16
    vand q3, q2, q4
    vmladav.s8 \odd, q2, q0
    vmladav.s8 \even, q3, q0
    vldrb.u8 q2, [r1], #16
    vand q3, q2, q4
    vmladava.s8 \odd, q2, q1
    vmladava.s8 \even, q3, q1
    .endm

    @ Products of the codes to q2, and 16 times those less 8 to q3.
    .macro pipsqueak_helium_block4
    vldrb.u8 q0, [r5], #16
    vldrb.u8 q1, [r5], #16
    pipsqueak_helium_pair r0, r2
    pipsqueak_helium_pair r4, r6
    pipsqueak_helium_pair r8, r10
    pipsqueak_helium_pair r12, lr
    pipsqueak_helium_lanes
    vsub.i32 q3, q3, q2
    .endm

    .section .text.pipsqueak_helium_q4, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_q4
    .type pipsqueak_helium_q4, %function
    .thumb_func
pipsqueak_helium_q4:
    pipsqueak_helium_start
    vmov.i8 q4, #0x0f
    pipsqueak_helium_panel
2:  pipsqueak_helium_block4
    ldr r0, [r9], #4
    lsl r0, r0, #3
    vsub.i32 q2, q2, r0
    vcvt.f32.s32 q2, q2
    vcvt.f32.s32 q3, q3, #4
    pipsqueak_helium_scale
    pipsqueak_helium_accumulate
    subs r11, r11, #1
    bne 2b
    pipsqueak_helium_store

    .section .text.pipsqueak_helium_q4m, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_q4m
    .type pipsqueak_helium_q4m, %function
    .thumb_func
pipsqueak_helium_q4m:
    pipsqueak_helium_start
    vmov.i8 q4, #0x0f
    pipsqueak_helium_panel
2:  pipsqueak_helium_block4
    ldr r2, [r9], #4
    lsl r0, r2, #7
    vadd.i32 q3, q3, r0
    vcvt.f32.s32 q2, q2
    vcvt.f32.s32 q3, q3, #4
    pipsqueak_helium_scale
    @ The minima, times the activations' scale and sum.
    vmov s20, s21, r0, r2
    vcvt.f32.s32 s21, s21
    vmul.f32 s20, s20, s21
    vmov r0, s20
    vldrw.u32 q0, [r3], #16
    vcvtb.f32.f16 q1, q0
    vcvtt.f32.f16 q0, q0
    vmul.f32 q1, q1, r0
    vmul.f32 q0, q0, r0
    vadd.f32 q2, q2, q1
    vadd.f32 q3, q3, q0
    pipsqueak_helium_accumulate
    subs r11, r11, #1
    bne 2b
    pipsqueak_helium_store

    .purgem pipsqueak_helium_start
    .purgem pipsqueak_helium_panel
    .purgem pipsqueak_helium_store
    .purgem pipsqueak_helium_lanes
    .purgem pipsqueak_helium_scale
    .purgem pipsqueak_helium_accumulate
    .purgem pipsqueak_helium_row8
    .purgem pipsqueak_helium_pair
    .purgem pipsqueak_helium_block4
    .text
"#,
    options(raw)
);
