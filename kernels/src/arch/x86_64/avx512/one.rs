//! Products of one token (decode) with panels of sixteen rows: a stream from memory.
//!
//! What bounds it is how many lines are on their way at a time. A processor looks ahead until its queues are full of operations
//! that wait for a line, which is soon: a block takes some thirty. So some stretches of the panels are read side by side, and
//! the vectors of all are asked for before those of the first are multiplied.

use core::{
    arch::{asm, x86_64::*},
    ops::Range,
};

use super::{
    super::detect,
    lanes::{fetch, load_bytes, put},
    matmul::{
        AHEAD, ActBlocks, Blocks, Q4M, Q8, ROWS, SCALES_AHEAD, add, broadcast, high, low, offset, scale_count, scales,
        unsigned, vectors,
    },
};
use crate::{BLOCK, Matrix, Store, Tile, acts::Acts};

/// Vectors that are loaded together: half a block (Q8), or a whole one.
const QUAD: usize = 4;
/// Stretches side by side, where nothing is asked for ahead and there are [`LONG`] panels or more (measured).
const STRETCHES: usize = 3;
/// Stretches of fewer panels are over before they pay, and may lie in a cache; two are taken.
const LONG: usize = 24;

/// One token, in the way this CPU's memory is read fastest (measured, one and two cores): Intel's prefetchers stop at each
/// page's end, so lines are asked for well ahead and one stretch at a time; Zen 4's follow several further than they may be
/// asked for, and what is asked for takes the place of what they would have brought.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn one<const F: u8>(w: &Matrix<'_>, panels: Range<usize>, acts: &Acts<'_>, out: &mut Tile<'_>, how: Store) {
    let Some(act) = ActBlocks::of(acts, 0, w.blocks()) else { return };
    if !detect::prefetches_well() {
        let start = panels.start;
        return stretches::<F, 1, true>(w, (panels, start), act, out, how);
    }
    if panels.len() < LONG {
        return in_all::<F, 2>(w, panels, act, out, how);
    }
    in_all::<F, STRETCHES>(w, panels, act, out, how);
}

/// All panels, `S` stretches side by side, and what is left over, panel by panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn in_all<const F: u8, const S: usize>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    act: ActBlocks<'_>,
    out: &mut Tile<'_>,
    how: Store,
) {
    let start = panels.start;
    let rest = panels.end - panels.len() % S;
    stretches::<F, S, false>(w, (start..rest, start), act, out, how);
    stretches::<F, 1, false>(w, (rest..panels.end, start), act, out, how);
}

/// `S` equal stretches of panels side by side, as many as go into them, where `out` begins with panel `start`. `FETCH`: ask for
/// what comes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn stretches<const F: u8, const S: usize, const FETCH: bool>(
    w: &Matrix<'_>,
    (panels, start): (Range<usize>, usize),
    act: ActBlocks<'_>,
    out: &mut Tile<'_>,
    how: Store,
) {
    let each = panels.len() / S;
    if each == 0 {
        return;
    }
    let mut quads: [&[[[u8; 64]; QUAD]]; S] = [&[]; S];
    let mut halves: [&[[u16; ROWS]]; S] = [&[]; S];
    for (s, (quads, halves)) in quads.iter_mut().zip(&mut halves).enumerate() {
        let all = Blocks::from(w, panels.start + s * each);
        (*quads, *halves) = (all.payload.as_chunks().0, all.scales);
    }
    // Quads and scales from a stretch's start on.
    let (mut quad, mut block) = (0, 0);
    for p in 0..each {
        let mut acc = [_mm512_setzero_ps(); S];
        for ((q, scale), sum) in act.q.iter().zip(act.scale).zip(act.sum) {
            let offset = offset::<F>(*scale, *sum);
            let begin = if F == Q4M { _mm512_setzero_si512() } else { _mm512_set1_epi32(offset) };
            let mut isum = [begin; S];
            for part in 0..vectors::<F>() / QUAD {
                let mut at_hand = [[_mm512_setzero_si512(); QUAD]; S];
                for (at_hand, quads) in at_hand.iter_mut().zip(quads) {
                    // A place to load from in any case: whether to load would cost more than loading.
                    let lines = quads.get(quad).unwrap_or(&NONE);
                    load(at_hand, lines);
                    if FETCH {
                        for line in lines {
                            fetch(line.as_ptr().wrapping_byte_add(AHEAD));
                        }
                    }
                }
                quad += 1;
                if S == STRETCHES {
                    hold(&mut at_hand);
                }
                for (isum, w) in isum.iter_mut().zip(&at_hand) {
                    *isum = multiply::<F>(*isum, w, q, part);
                }
            }
            for ((acc, isum), halves) in acc.iter_mut().zip(isum).zip(halves) {
                let Some(d) = halves.get(block..block + scale_count::<F>()) else { continue };
                if FETCH {
                    fetch(d.as_ptr().wrapping_byte_add(SCALES_AHEAD));
                }
                let (d, m) = scales::<F>(d);
                *acc = add::<F>(*acc, isum, d, m, *scale, offset);
            }
            block += scale_count::<F>();
        }
        for (s, acc) in acc.into_iter().enumerate() {
            let row = (panels.start - start + s * each + p) * ROWS;
            let len = (out.rows() - row).min(ROWS);
            put(out.part(0, row, len), acc, how);
        }
    }
}

/// Has some vectors loaded before what follows. No instruction: without it the compiler loads each where it is multiplied.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn hold<const S: usize>(vectors: &mut [[__m512i; QUAD]; S]) {
    for [a, b, c, d] in vectors {
        // SAFETY: nothing is done.
        unsafe {
            asm!(
                "/* {} {} {} {} */",
                inout(zmm_reg) * a,
                inout(zmm_reg) * b,
                inout(zmm_reg) * c,
                inout(zmm_reg) * d,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

/// What is loaded where there are no more weights.
static NONE: [[u8; 64]; QUAD] = [[0; 64]; QUAD];

/// Some vectors of weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn load(to: &mut [__m512i; QUAD], from: &[[u8; 64]; QUAD]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = load_bytes(from);
    }
}

/// Adds the products of some vectors of weights, part `part` of a block, with the block's activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply<const F: u8>(mut isum: __m512i, w: &[__m512i; QUAD], q: &[i8; BLOCK], part: usize) -> __m512i {
    let (first, second) = q.as_chunks::<4>().0.split_at(QUAD);
    if F == Q8 {
        for (w, q) in w.iter().zip(if part == 0 { first } else { second }) {
            isum = _mm512_dpbusd_epi32(isum, unsigned(*w), broadcast(q));
        }
        return isum;
    }
    for (w, q) in w.iter().zip(first) {
        isum = _mm512_dpbusd_epi32(isum, low(*w), broadcast(q));
    }
    for (w, q) in w.iter().zip(second) {
        isum = _mm512_dpbusd_epi32(isum, high(*w), broadcast(q));
    }
    isum
}
