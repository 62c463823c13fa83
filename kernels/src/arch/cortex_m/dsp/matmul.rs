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
//! Per block of four rows 139 instructions for Q8, 154 for Q4 and 167 for Q4M, 128 multiply-adds each.

use core::{arch::global_asm, mem::MaybeUninit, ops::Range};

use super::instructions::{smlad, ssub16, sxtb16, sxtb16_ror8};
use crate::{BLOCK, Format, Input, Matrix, Panel, Store, Tile, acts::ActRow, scalar};

/// Rows of the panel this set reads.
const R: usize = 4;
/// Blocks of activations prepared at a time: all of a row of 576, in 1.4 KB of stack.
const CHUNK: usize = 18;
/// Words of one prepared block, at most.
const RECORD: usize = 19;
/// Panels that share prepared activations where a row is longer than a chunk.
const GROUP: usize = 16;

/// See [`scalar::matmul`].
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    let blocks = w.blocks();
    if !matches!(w.panel(), Panel::D4) || blocks == 0 {
        return scalar::matmul(w, panels, x, out, store);
    }
    let panels = panels.start..panels.end.min(w.panels());
    for t in 0..out.tokens().min(x.tokens) {
        let act = x.acts.row(t);
        if blocks <= CHUNK {
            whole_rows(w, panels.clone(), &act, out.row(t), store);
        } else {
            long_rows(w, panels.clone(), &act, out.row(t), store);
        }
    }
}

/// Rows whose activations are prepared as one.
fn whole_rows(w: &Matrix<'_>, panels: Range<usize>, act: &ActRow<'_>, out: &mut [f32], store: Store) {
    let mut stream = Stream::new();
    stream.prepare(w.format(), act, 0..w.blocks());
    let (fours, rest) = out.as_chunks_mut::<R>();
    let full = fours.len().min(panels.len());
    let fours = fours.get_mut(..full).unwrap_or(&mut []);
    dots(w, panels.start, 0, &stream, &[0.0; R], fours, store);
    // The last rows of the matrix, fewer than a panel.
    if full < panels.len() && !rest.is_empty() {
        let mut last = [[0.0; R]];
        dots(w, panels.start + full, 0, &stream, &[0.0; R], &mut last, Store::Set);
        for (out, product) in rest.iter_mut().zip(last.as_flattened()) {
            store.put(out, *product);
        }
    }
}

/// Rows longer than a chunk: the sums of a group of panels wait in memory from one chunk to the next.
fn long_rows(w: &Matrix<'_>, panels: Range<usize>, act: &ActRow<'_>, out: &mut [f32], store: Store) {
    let blocks = w.blocks();
    let mut stream = Stream::new();
    for (group, out) in out.chunks_mut(GROUP * R).enumerate() {
        let first = panels.start.saturating_add(group * GROUP);
        let mut sums = [[0.0; R]; GROUP];
        for start in (0..blocks).step_by(CHUNK) {
            stream.prepare(w.format(), act, start..blocks.min(start + CHUNK));
            let last = panels.end.saturating_sub(first);
            for (p, sum) in sums.iter_mut().enumerate().take(last) {
                let so_far = *sum;
                dots(w, first + p, start, &stream, &so_far, core::slice::from_mut(sum), Store::Set);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums.as_flattened()) {
            store.put(out, *sum);
        }
    }
}

/// Activations of some blocks as the kernels read them, a record a block.
///
/// Q8: correction, scale, then for each four columns the pairs `ao` and `256 ae - ao`. Q4 and Q4M: correction, scale (and
/// the scale times the sum for Q4M), then for each eight columns the pairs `a3`, `16 a2 - a3`, `256 a1 - a3` and `256 a0 -
/// a2`.
struct Stream {
    words: [MaybeUninit<u32>; CHUNK * RECORD],
    blocks: usize,
}

impl Stream {
    fn new() -> Self {
        Self { words: [MaybeUninit::uninit(); _], blocks: 0 }
    }

    /// Prepares the blocks `range` of `act`, at most [`CHUNK`].
    #[inline(never)]
    fn prepare(&mut self, format: Format, act: &ActRow<'_>, range: Range<usize>) {
        let mut words = self.words.iter_mut();
        let mut blocks = 0;
        let q = act.q.as_chunks::<BLOCK>().0.get(range.clone()).unwrap_or(&[]);
        let scale = act.scale.get(range.clone()).unwrap_or(&[]);
        let sum = act.sum.get(range).unwrap_or(&[]);
        for ((q, scale), sum) in q.iter().zip(scale).zip(sum).take(CHUNK) {
            let (Some(correction), Some(ad)) = (words.next(), words.next()) else { break };
            ad.write(scale.to_bits());
            if matches!(format, Format::Q8) {
                correction.write(bytes(q, &mut words).wrapping_mul(-128 << 8).cast_unsigned());
            } else {
                let minimum = matches!(format, Format::Q4M);
                if minimum && let Some(offset) = words.next() {
                    offset.write((scale * *sum as f32).to_bits());
                }
                let upper = nibbles(q, &mut words);
                // Q4 takes 8 off every code; the uppermost nibbles have it off already, and Q4M wants it back.
                let extra = if minimum { upper } else { upper - sum };
                correction.write(extra.wrapping_mul(8 << 12).cast_unsigned());
            }
            blocks += 1;
        }
        self.blocks = blocks;
    }
}

/// Writes the pairs of a Q8 block; returns the sum of its even columns.
#[inline(always)]
fn bytes<'a>(q: &[i8; BLOCK], words: &mut impl Iterator<Item = &'a mut MaybeUninit<u32>>) -> i32 {
    let mut sum = 0;
    for q in q.as_chunks::<4>().0 {
        let q = u32::from_le_bytes(q.map(i8::cast_unsigned));
        let (even, odd) = (sxtb16(q), sxtb16_ror8(q));
        sum = smlad(even, 0x0001_0001, sum);
        let pairs = [odd, ssub16(q << 8 & 0xff00_ff00, odd)];
        for (pair, word) in pairs.into_iter().zip(&mut *words) {
            word.write(pair);
        }
    }
    sum
}

/// Writes the pairs of a Q4 block; returns the sum of the columns whose nibbles are uppermost.
#[inline(always)]
fn nibbles<'a>(q: &[i8; BLOCK], words: &mut impl Iterator<Item = &'a mut MaybeUninit<u32>>) -> i32 {
    let mut sum = 0;
    for q in q.as_chunks::<8>().0 {
        let [low, high] = *q.as_chunks::<4>().0 else { continue };
        let [low, high] = [low, high].map(|q| u32::from_le_bytes(q.map(i8::cast_unsigned)));
        let (a2, a3) = (sxtb16(high), sxtb16_ror8(high));
        sum = smlad(a3, 0x0001_0001, sum);
        let times_16 = |pair: u32| (pair & 0x0fff_0fff) << 4;
        let pairs = [a3, ssub16(times_16(a2), a3), ssub16(low & 0xff00_ff00, a3), ssub16(low << 8 & 0xff00_ff00, a2)];
        for (pair, word) in pairs.into_iter().zip(&mut *words) {
            word.write(pair);
        }
    }
    sum
}

/// The products of panels from `first` on, blocks from `start` on, one panel to each element of `out`; `from` is what a
/// row's sum begins with, 0 or the sum of the blocks before.
fn dots(
    w: &Matrix<'_>,
    first: usize,
    start: usize,
    stream: &Stream,
    from: &[f32; R],
    out: &mut [[f32; R]],
    store: Store,
) {
    let (format, blocks, panels) = (w.format(), stream.blocks, out.len());
    // Several panels follow each other without a gap only when whole rows are taken.
    let whole = start == 0 && blocks == w.blocks();
    let inside = start.checked_add(blocks).is_some_and(|end| end <= w.blocks()) && (whole || panels == 1);
    let exist = first.checked_add(panels).is_some_and(|end| end <= w.panels());
    if blocks == 0 || panels == 0 || !inside || !exist {
        debug_assert!(panels == 0, "panels {first} + {panels}, blocks {start} + {blocks}");
        return;
    }
    let kernel: Kernel = match format {
        Format::Q8 => pipsqueak_dsp_q8,
        Format::Q4 => pipsqueak_dsp_q4,
        _ => pipsqueak_dsp_q4m,
    };
    // SAFETY: `panels` panels from `first` on exist, and in each `blocks` blocks from `start` on, as was just checked, and
    // a matrix proved its size when it was made. `stream` holds `blocks` records of this format. `from` and `out` are
    // floats by fours. The feature `dsp` promises the instructions.
    unsafe {
        kernel(
            w.panel_payload(first).as_ptr().add(start * R * format.block_payload()),
            w.panel_scales(first).as_ptr().add(start * R * format.block_scales()),
            stream.words.as_ptr().cast(),
            blocks,
            out.as_mut_ptr(),
            panels,
            from,
            matches!(store, Store::Add) as usize,
        );
    }
}

/// One of the kernels below. They follow the procedure call standard.
///
/// # Safety
/// * `payload`, `scales`: `panels` panels of `blocks` blocks of the kernel's format in [`Panel::D4`], panel behind panel.
/// * `stream`: `blocks` records of [`Stream`] for that format.
/// * `out`: `panels` times four floats, which are written, or added to when `add` is not 0.
/// * `from`: four floats, with which the sums of every panel begin.
/// * Neither `blocks` nor `panels` is 0. Pointers are aligned to their types, `payload` to four bytes.
type Kernel = unsafe extern "C" fn(
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
    ($($name:ident)+) => {
        unsafe extern "C" {
            $(
                fn $name(
                    payload: *const u8,
                    scales: *const u16,
                    stream: *const u32,
                    blocks: usize,
                    out: *mut [f32; R],
                    panels: usize,
                    from: *const [f32; R],
                    add: usize,
                );
            )+
        }
    };
}
declare! { pipsqueak_dsp_q8 pipsqueak_dsp_q4 pipsqueak_dsp_q4m }

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

    @ s4-s7 = the integer sums, which have \bits fraction bits, times s0-s3.
    .macro pipsqueak_dsp_products bits
    vmov s4, s5, r9, r10
    vmov s6, s7, r11, r12
    vcvt.f32.s32 s4, s4, #\bits
    vcvt.f32.s32 s5, s5, #\bits
    vcvt.f32.s32 s6, s6, #\bits
    vcvt.f32.s32 s7, s7, #\bits
    vmul.f32 s4, s4, s0
    vmul.f32 s5, s5, s1
    vmul.f32 s6, s6, s2
    vmul.f32 s7, s7, s3
    .endm

    @ s8-s11 += s4-s7.
    .macro pipsqueak_dsp_accumulate
    vadd.f32 s8, s8, s4
    vadd.f32 s9, s9, s5
    vadd.f32 s10, s10, s6
    vadd.f32 s11, s11, s7
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
    pipsqueak_dsp_products 8
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
    pipsqueak_dsp_products 12
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
    pipsqueak_dsp_products 12
    @ The minima, times the scale and sum of the activations in s13.
    vldmia r3!, {s14-s15}
    str r3, [sp]
    vcvtb.f32.f16 s0, s14
    vcvtt.f32.f16 s1, s14
    vcvtb.f32.f16 s2, s15
    vcvtt.f32.f16 s3, s15
    vmul.f32 s0, s0, s13
    vmul.f32 s1, s1, s13
    vmul.f32 s2, s2, s13
    vmul.f32 s3, s3, s13
    vadd.f32 s4, s4, s0
    vadd.f32 s5, s5, s1
    vadd.f32 s6, s6, s2
    vadd.f32 s7, s7, s3
    pipsqueak_dsp_accumulate
    cmp r2, r4
    bne 2b
    pipsqueak_dsp_store 48
    add sp, sp, #12
    pop {r4-r11, pc}

    .purgem pipsqueak_dsp_scales
    .purgem pipsqueak_dsp_products
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
