//! Products with quantised weights in panels of four rows ([`Panel::D4`]); everything else goes to scalar code.
//!
//! `smlad` multiplies two pairs of half-words, so bytes and nibbles have to be spread out first: one `sxtb16` for every
//! `smlad`, if nothing better is found. Here the activations are prepared instead, once for all rows, so that a half-word
//! can be multiplied as it is, with several weights in it:
//!
//! * Q8. A half-word is `W = 256 o + e`, its odd column and its even one (stored plus 128, so that it is not negative).
//!   With the activations `ao` and `ae`, `W * ao + e * (256 ae - ao) = 256 (o * ao + e * ae)`. Two `smlad` and one
//!   `uxtb16` for four weights.
//! * Q4. A half-word is `W = 4096 n3 + 256 n2 + 16 n1 + n0`, and with activations `a0` to `a3`
//!   `W * a3 + (256 n2 + n0) * (16 a2 - a3) + 16 n1 * (256 a1 - a3) + 16 n0 * (256 a0 - a2)`
//!   is 4096 times the sum of `ni * ai`. Four `smlad` and three `and` for eight weights.
//!
//! Every factor fits a signed half-word, and 32 columns an `i32`: 256 * 32 * 128 * 127 and 4096 * 32 * 15 * 127 are below
//! 2^31. The power of two leaves in the conversion to `f32`, which takes a number of fraction bits. What was added to the
//! codes leaves at the start: the block's first `smlad` adds to a correction and not to 0.
//!
//! Per block of four rows 135 instructions for Q8, 150 for Q4 and 163 for Q4M, 128 multiply-adds each.

use core::{arch::global_asm, mem::MaybeUninit, ops::Range};

use crate::{BLOCK, Format, Input, Matrix, Panel, Store, Tile, acts::ActRow, scalar, slice::part};

/// Rows of the panel this set reads.
const R: usize = 4;
/// Blocks of activations prepared at a time, 288 columns: 0.7 KB of stack. Most rows are no longer.
const CHUNK: usize = 9;
/// Words of one prepared block, at most.
const RECORD: usize = 19;
/// Panels that share prepared activations where a row is longer than a chunk.
const GROUP: usize = 16;

/// See [`scalar::matmul`].
#[inline(always)]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    let (blocks, rows) = (w.blocks(), out.rows());
    let usual = matches!(w.panel(), Panel::D4) && blocks.wrapping_sub(1) < CHUNK && rows & (R - 1) == 0;
    // A chip works on one token, and most matrices have short rows in whole panels: this path is as short as can be.
    if usual && (x.tokens, out.tokens()) == (1, 1) {
        let mut records = [const { MaybeUninit::uninit() }; CHUNK];
        let mut stream = Stream { records: &mut records, blocks: 0 };
        let routines = Routines::of(w.format());
        routines.prepare(&mut stream, &x.acts.whole(), 0, blocks);
        let out = out.row(0).as_chunks_mut::<R>().0;
        routines.dots(w, panels.start, 0, &stream, &[0.0; R], out, store);
    } else {
        any(w, panels, x, out, store);
    }
}

/// As [`matmul`], of any size and panel.
#[cold]
#[inline(never)]
fn any(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    if !matches!(w.panel(), Panel::D4) {
        return scalar::matmul(w, panels, x, out, store);
    }
    for t in 0..out.tokens().min(x.tokens) {
        let (act, out) = (x.acts.row(t), out.row(t));
        // The sums of a group of panels wait in memory from one chunk of their rows to the next.
        for (group, out) in out.chunks_mut(GROUP * R).enumerate() {
            let mut sums = [[0.0; R]; GROUP];
            let sums = sums.get_mut(..out.len().div_ceil(R)).unwrap_or(&mut []);
            add_chunks(w, panels.start + group * GROUP, &act, sums);
            for (out, sum) in out.iter_mut().zip(sums.as_flattened()) {
                store.put(out, *sum);
            }
        }
    }
}

/// Adds to `sums` the products of as many panels, from `first` on.
fn add_chunks(w: &Matrix<'_>, first: usize, act: &ActRow<'_>, sums: &mut [[f32; R]]) {
    let mut records = [const { MaybeUninit::uninit() }; CHUNK];
    let mut stream = Stream { records: &mut records, blocks: 0 };
    let routines = Routines::of(w.format());
    for start in (0..w.blocks()).step_by(CHUNK) {
        routines.prepare(&mut stream, act, start, CHUNK.min(w.blocks() - start));
        for (p, sum) in sums.iter_mut().enumerate() {
            let so_far = *sum;
            routines.dots(w, first + p, start, &stream, &so_far, core::slice::from_mut(sum), Store::Set);
        }
    }
}

/// Activations of some blocks as the kernels read them, a record a block.
///
/// Q8: correction, scale, then for each four columns the pairs `ao` and `256 ae - ao`. Q4 and Q4M: correction, scale (and
/// the scale times the sum for Q4M), then for each eight columns the pairs `a3`, `16 a2 - a3`, `256 a1 - a3` and `256 a0 -
/// a2`.
struct Stream<'a> {
    records: &'a mut [MaybeUninit<[u32; RECORD]>],
    blocks: usize,
}

/// One format's assembly, and its steps from block to block.
struct Routines {
    prepare: Prepare,
    dots: Dots,
    /// Halves of a block's scales.
    scales: usize,
    /// Bytes of a block's payload.
    payload: usize,
}

impl Routines {
    #[inline(always)]
    fn of(format: Format) -> Self {
        match format {
            Format::Q8 => {
                Self { prepare: pipsqueak_dsp_prepare_q8, dots: pipsqueak_dsp_q8, scales: R, payload: 32 * R }
            }
            Format::Q4 => {
                Self { prepare: pipsqueak_dsp_prepare_q4, dots: pipsqueak_dsp_q4, scales: R, payload: 16 * R }
            }
            _ => Self { prepare: pipsqueak_dsp_prepare_q4m, dots: pipsqueak_dsp_q4m, scales: 2 * R, payload: 16 * R },
        }
    }

    /// Prepares `count` blocks of `act` from `start` on, as many as `stream` has room for; none if `act` is shorter.
    #[inline(always)]
    fn prepare(&self, stream: &mut Stream<'_>, act: &ActRow<'_>, start: usize, count: usize) {
        let q = part(act.q.as_chunks::<BLOCK>().0, start, count);
        let (scale, sum) = (part(act.scale, start, count), part(act.sum, start, count));
        stream.blocks = q.len().min(scale.len()).min(sum.len()).min(stream.records.len());
        if stream.blocks > 0 {
            // SAFETY: the slices have so many elements, and `records` as many records, each of at most `RECORD` words.
            // The feature `dsp` promises the instructions.
            unsafe {
                (self.prepare)(
                    q.as_ptr(),
                    stream.records.as_mut_ptr().cast(),
                    scale.as_ptr(),
                    stream.blocks,
                    sum.as_ptr(),
                );
            }
        }
    }

    /// The products of consecutive panels from `first` on, one to each element of `out`, of as many blocks as `stream`
    /// holds, from `start` on; unless that is all of a panel's blocks, `out` is one. `from` is what a row's sum begins
    /// with, 0 or the sum of the blocks before.
    #[inline(always)]
    fn dots(
        &self,
        w: &Matrix<'_>,
        first: usize,
        start: usize,
        stream: &Stream<'_>,
        from: &[f32; R],
        out: &mut [[f32; R]],
        store: Store,
    ) {
        let (blocks, count) = (stream.blocks, out.len());
        let whole = blocks == w.blocks() && start == 0;
        let inside = whole || (count == 1 && start.checked_add(blocks).is_some_and(|end| end <= w.blocks()));
        let there = first.checked_add(count).is_some_and(|end| end <= w.panels());
        if blocks == 0 || count == 0 || !inside || !there {
            debug_assert!(count == 0, "panels {first} + {count} of {}, blocks {start} + {blocks}", w.panels());
            return;
        }
        let (scales, payload) = w.parts();
        let at = first * w.blocks() + start;
        // SAFETY: the matrix has `panels()` panels of `blocks()` blocks of this format, as it was made, and of those the
        // ones wanted, as was just checked. `stream` has that many records of this format, as its maker saw to. `from` and
        // `out` are floats by fours. The feature `dsp` promises the instructions.
        unsafe {
            (self.dots)(
                payload.as_ptr().add(at * self.payload),
                scales.as_ptr().add(at * self.scales),
                stream.records.as_ptr().cast(),
                blocks,
                out.as_mut_ptr(),
                count,
                from,
                matches!(store, Store::Add) as usize,
            );
        }
    }
}

/// Writes `blocks` records of [`Stream`] for a format.
///
/// # Safety
/// * `q`, `scale` and `sum` are `blocks` elements; `words` has room for the records; `blocks` is not 0.
type Prepare =
    unsafe extern "C" fn(q: *const [i8; BLOCK], words: *mut u32, scale: *const f32, blocks: usize, sum: *const i32);

/// The products of `panels` panels.
///
/// # Safety
/// * `payload`, `scales`: `panels` panels of `blocks` blocks of the kernel's format in [`Panel::D4`], panel behind panel.
/// * `stream`: `blocks` records of [`Stream`] for that format.
/// * `out`: `panels` times four floats, which are written, or added to when `add` is not 0.
/// * `from`: four floats, with which the sums of every panel begin.
/// * Neither `blocks` nor `panels` is 0. Pointers are aligned to their types, `payload` to four bytes.
type Dots = unsafe extern "C" fn(
    payload: *const u8,
    scales: *const u16,
    stream: *const u32,
    blocks: usize,
    out: *mut [f32; R],
    panels: usize,
    from: *const [f32; R],
    add: usize,
);

macro_rules! declare {
    ($prepare:ident $dots:ident) => {
        unsafe extern "C" {
            fn $prepare(q: *const [i8; BLOCK], words: *mut u32, scale: *const f32, blocks: usize, sum: *const i32);
            fn $dots(
                payload: *const u8,
                scales: *const u16,
                stream: *const u32,
                blocks: usize,
                out: *mut [f32; R],
                panels: usize,
                from: *const [f32; R],
                add: usize,
            );
        }
    };
}
declare! { pipsqueak_dsp_prepare_q8 pipsqueak_dsp_q8 }
declare! { pipsqueak_dsp_prepare_q4 pipsqueak_dsp_q4 }
declare! { pipsqueak_dsp_prepare_q4m pipsqueak_dsp_q4m }

// r0 q, r1 words, r2 scale, r3 blocks left, r4 sum; r11 and r12 masks, lr ones.
global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m33

    .section .text.pipsqueak_dsp_prepare_q8, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_prepare_q8
    .type pipsqueak_dsp_prepare_q8, %function
    .thumb_func
pipsqueak_dsp_prepare_q8:
    push {r4-r7, lr}
    mov r12, #0xff00ff00
    mov lr, #0x00010001
1:  ldr r7, [r2], #4
    str r7, [r1, #4]
    add r1, r1, #8
    movs r7, #0
    .rept 8
    ldr r4, [r0], #4
    sxtb16 r5, r4, ror #8
    and r6, r12, r4, lsl #8
    smlad r7, r6, lr, r7
    ssub16 r6, r6, r5
    strd r5, r6, [r1], #8
    .endr
    @ Even columns, stored plus 128, are multiplied by 256; so is the sum in r7.
    rsb r7, r7, #0
    lsl r7, r7, #7
    str r7, [r1, #-72]
    subs r3, r3, #1
    bne 1b
    pop {r4-r7, pc}

    @ Eight columns: r5 = a3, r6 = 16 a2 - a3, r7 = 256 a1 - a3, r8 = 256 a0 - a2; r10 += a3.
    .macro pipsqueak_dsp_prepare_nibbles
    ldr r7, [r0], #4
    ldr r9, [r0], #4
    sxtb16 r5, r9, ror #8
    sxtb16 r9, r9
    smlad r10, r5, lr, r10
    and r6, r9, r11
    lsl r6, r6, #4
    ssub16 r6, r6, r5
    and r8, r12, r7, lsl #8
    ssub16 r8, r8, r9
    and r7, r7, r12
    ssub16 r7, r7, r5
    stmia r1!, {r5-r8}
    .endm

    .macro pipsqueak_dsp_prepare_masks
    mvn r11, #0xf000f000
    mov r12, #0xff00ff00
    mov lr, #0x00010001
    .endm

    .section .text.pipsqueak_dsp_prepare_q4, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_prepare_q4
    .type pipsqueak_dsp_prepare_q4, %function
    .thumb_func
pipsqueak_dsp_prepare_q4:
    push {r4-r11, lr}
    ldr r4, [sp, #36]
    pipsqueak_dsp_prepare_masks
1:  ldr r5, [r2], #4
    str r5, [r1, #4]
    add r1, r1, #8
    @ 8 off every code; the uppermost nibbles have it off already.
    ldr r10, [r4], #4
    rsb r10, r10, #0
    .rept 4
    pipsqueak_dsp_prepare_nibbles
    .endr
    lsl r10, r10, #15
    str r10, [r1, #-72]
    subs r3, r3, #1
    bne 1b
    pop {r4-r11, pc}

    .section .text.pipsqueak_dsp_prepare_q4m, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_prepare_q4m
    .type pipsqueak_dsp_prepare_q4m, %function
    .thumb_func
pipsqueak_dsp_prepare_q4m:
    push {r4-r11, lr}
    ldr r4, [sp, #36]
    pipsqueak_dsp_prepare_masks
1:  vldmia r2!, {s0}
    vldmia r4!, {s1}
    vcvt.f32.s32 s1, s1
    vmul.f32 s1, s0, s1
    vstr s0, [r1, #4]
    vstr s1, [r1, #8]
    add r1, r1, #12
    @ 8 back to the uppermost nibbles.
    movs r10, #0
    .rept 4
    pipsqueak_dsp_prepare_nibbles
    .endr
    lsl r10, r10, #15
    str r10, [r1, #-76]
    subs r3, r3, #1
    bne 1b
    pop {r4-r11, pc}

    .purgem pipsqueak_dsp_prepare_nibbles
    .purgem pipsqueak_dsp_prepare_masks
    .text
"#,
    options(raw)
);

// Registers: r0 payload, r9-r12 integer sums of the four rows, s8-s11 their float sums, s12 the activations' scale.
// On the stack behind the saved registers: out, panels, from, add.
global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m33

    @ s0-s3 = the four scales in s14 and s15, times s12.
    .macro pipsqueak_dsp_scales
    vcvtb.f32.f16 s0, s14
    vcvtt.f32.f16 s1, s14
    vcvtb.f32.f16 s2, s15
    vcvtt.f32.f16 s3, s15
    vmul.f32 s0, s0, s12
    vmul.f32 s1, s1, s12
    vmul.f32 s2, s2, s12
    vmul.f32 s3, s3, s12
    .endm

    @ s4-s7 = the integer sums, which have \bits fraction bits.
    .macro pipsqueak_dsp_sums bits
    vmov s4, s5, r9, r10
    vmov s6, s7, r11, r12
    vcvt.f32.s32 s4, s4, #\bits
    vcvt.f32.s32 s5, s5, #\bits
    vcvt.f32.s32 s6, s6, #\bits
    vcvt.f32.s32 s7, s7, #\bits
    .endm

    @ s8-s11 += s4-s7 * s0-s3: `vmla` rounds the product and then the sum.
    .macro pipsqueak_dsp_accumulate
    vmla.f32 s8, s4, s0
    vmla.f32 s9, s5, s1
    vmla.f32 s10, s6, s2
    vmla.f32 s11, s7, s3
    .endm

    @ Stores a panel's sums and goes back to 1 for the next; \at is the offset of the arguments on the stack.
    .macro pipsqueak_dsp_store at
    ldrd r3, r4, [sp, #\at]
    ldr r5, [sp, #\at + 12]
    cbz r5, 3f
    vldmia r3, {s0-s3}
    vadd.f32 s8, s8, s0
    vadd.f32 s9, s9, s1
    vadd.f32 s10, s10, s2
    vadd.f32 s11, s11, s3
3:  vstmia r3!, {s8-s11}
    subs r4, r4, #1
    strd r3, r4, [sp, #\at]
    bne 1b
    .endm

    @ Four columns of the row in \w; \sum = \from + ...
    .macro pipsqueak_dsp_row8 w, sum, from
    smlad \sum, \w, r7, \from
    uxtb16 \w, \w
    smlad \sum, \w, r8, \sum
    .endm

    .macro pipsqueak_dsp_step8 from9, from10, from11
    ldm r0!, {r3-r6}
    ldrd r7, r8, [r2], #8
    pipsqueak_dsp_row8 r3, r9, \from9
    pipsqueak_dsp_row8 r4, r10, \from10
    pipsqueak_dsp_row8 r5, r11, \from11
    pipsqueak_dsp_row8 r6, r12, r12
    .endm

    @ r1 scales, r2 stream, r3-r6 weights, r7 and r8 activations, lr blocks left.
    .section .text.pipsqueak_dsp_q8, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_q8
    .type pipsqueak_dsp_q8, %function
    .thumb_func
pipsqueak_dsp_q8:
    push {r2-r11, lr}
1:  ldr r3, [sp, #52]
    ldrd r2, lr, [sp]
    vldmia r3, {s8-s11}
2:  ldr r12, [r2], #4
    vldmia r2!, {s12}
    vldmia r1!, {s14-s15}
    @ r12 is the correction until the last row has taken it.
    pipsqueak_dsp_step8 r12, r12, r12
    .rept 7
    pipsqueak_dsp_step8 r9, r10, r11
    .endr
    pipsqueak_dsp_scales
    pipsqueak_dsp_sums 8
    pipsqueak_dsp_accumulate
    subs lr, lr, #1
    bne 2b
    pipsqueak_dsp_store 44
    pop {r2-r11, pc}

    @ Eight columns of the row in \w.
    .macro pipsqueak_dsp_row4 w, sum, from
    and lr, \w, #0x0f0f0f0f
    smlad \sum, \w, r5, \from
    smlad \sum, lr, r6, \sum
    and lr, \w, #0x00f000f0
    smlad \sum, lr, r7, \sum
    and lr, r1, \w, lsl #4
    smlad \sum, lr, r8, \sum
    .endm

    .macro pipsqueak_dsp_step4 from9, from10, from11
    ldm r2!, {r5-r8}
    ldrd r3, r4, [r0], #8
    pipsqueak_dsp_row4 r3, r9, \from9
    pipsqueak_dsp_row4 r4, r10, \from10
    ldrd r3, r4, [r0], #8
    pipsqueak_dsp_row4 r3, r11, \from11
    pipsqueak_dsp_row4 r4, r12, r12
    .endm

    .macro pipsqueak_dsp_block4
    pipsqueak_dsp_step4 r12, r12, r12
    .rept 3
    pipsqueak_dsp_step4 r9, r10, r11
    .endr
    .endm

    @ r1 the mask 0x00f000f0, r2 stream, r3 and r4 weights, r5-r8 activations; in front of the saved registers on the
    @ stack: scales, the stream's start and its end.
    .macro pipsqueak_dsp_q4_start record
    push {r4-r11, lr}
    sub sp, sp, #12
    mov r4, #\record
    mla r4, r3, r4, r2
    strd r1, r2, [sp]
    str r4, [sp, #8]
    mov r1, #0x00f000f0
    .endm

    .section .text.pipsqueak_dsp_q4, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_q4
    .type pipsqueak_dsp_q4, %function
    .thumb_func
pipsqueak_dsp_q4:
    pipsqueak_dsp_q4_start 72
1:  ldr r3, [sp, #56]
    ldr r2, [sp, #4]
    vldmia r3, {s8-s11}
2:  ldr r12, [r2], #4
    vldmia r2!, {s12}
    pipsqueak_dsp_block4
    ldr r3, [sp]
    ldr r4, [sp, #8]
    vldmia r3!, {s14-s15}
    str r3, [sp]
    pipsqueak_dsp_scales
    pipsqueak_dsp_sums 12
    pipsqueak_dsp_accumulate
    cmp r2, r4
    bne 2b
    pipsqueak_dsp_store 48
    add sp, sp, #12
    pop {r4-r11, pc}

    .section .text.pipsqueak_dsp_q4m, "ax", %progbits
    .p2align 2
    .global pipsqueak_dsp_q4m
    .type pipsqueak_dsp_q4m, %function
    .thumb_func
pipsqueak_dsp_q4m:
    pipsqueak_dsp_q4_start 76
1:  ldr r3, [sp, #56]
    ldr r2, [sp, #4]
    vldmia r3, {s8-s11}
2:  ldr r12, [r2], #4
    vldmia r2!, {s12-s13}
    pipsqueak_dsp_block4
    ldr r3, [sp]
    ldr r4, [sp, #8]
    vldmia r3!, {s14-s15}
    pipsqueak_dsp_scales
    pipsqueak_dsp_sums 12
    vmul.f32 s4, s4, s0
    vmul.f32 s5, s5, s1
    vmul.f32 s6, s6, s2
    vmul.f32 s7, s7, s3
    @ The minima, times the scale and sum of the activations in s13.
    vldmia r3!, {s14-s15}
    str r3, [sp]
    vcvtb.f32.f16 s0, s14
    vcvtt.f32.f16 s1, s14
    vcvtb.f32.f16 s2, s15
    vcvtt.f32.f16 s3, s15
    vmla.f32 s4, s0, s13
    vmla.f32 s5, s1, s13
    vmla.f32 s6, s2, s13
    vmla.f32 s7, s3, s13
    vadd.f32 s8, s8, s4
    vadd.f32 s9, s9, s5
    vadd.f32 s10, s10, s6
    vadd.f32 s11, s11, s7
    cmp r2, r4
    bne 2b
    pipsqueak_dsp_store 48
    add sp, sp, #12
    pop {r4-r11, pc}

    .purgem pipsqueak_dsp_scales
    .purgem pipsqueak_dsp_sums
    .purgem pipsqueak_dsp_accumulate
    .purgem pipsqueak_dsp_store
    .purgem pipsqueak_dsp_row8
    .purgem pipsqueak_dsp_step8
    .purgem pipsqueak_dsp_row4
    .purgem pipsqueak_dsp_step4
    .purgem pipsqueak_dsp_block4
    .purgem pipsqueak_dsp_q4_start
    .text
"#,
    options(raw)
);
