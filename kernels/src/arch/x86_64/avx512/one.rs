//! Products of one token (decode) with panels of sixteen rows: a stream from memory.
//!
//! What bounds it is how many lines are on their way at a time. A processor looks ahead until its queues are full of operations
//! that wait for a line, which is soon: a block of Q4 takes some thirty. So lines are asked for before, but where a block has
//! bytes enough that the processor finds them itself.

use core::{arch::x86_64::*, ops::Range};

use super::{
    super::{
        ahead::{FAR, NEAR, NOTHING, fetch},
        detect,
    },
    lanes::{load_bytes, put},
    matmul::{
        AHEAD, ActBlocks, Blocks, Q4M, Q8, ROWS, SCALES_AHEAD, add, broadcast, high, low, offset, scales, unsigned,
    },
};
use crate::{BLOCK, Matrix, Store, Tile, acts::Acts};

/// One token, in the way this CPU's memory is read fastest (measured, one and two cores). Intel's prefetchers stop at each
/// page's end, so lines are asked for well ahead. Zen 4's follow; what is asked for into the first-level cache takes the place
/// of what they would have brought, and into the second-level one it does not: a quarter to a third more speed for Q4 and Q4M
/// on two cores, little on one, and less for Q8.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn one<const F: u8>(w: &Matrix<'_>, panels: Range<usize>, acts: &Acts<'_>, out: &mut Tile<'_>, how: Store) {
    let Some(act) = ActBlocks::of(acts, 0, w.blocks()) else { return };
    if !detect::prefetches_well() {
        stream::<F, NEAR>(w, panels, act, out, how);
    } else if F == Q8 {
        stream::<F, NOTHING>(w, panels, act, out, how);
    } else {
        stream::<F, FAR>(w, panels, act, out, how);
    }
}

/// Panel after panel; `INTO`: where lines are asked for ahead.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn stream<const F: u8, const INTO: u8>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    act: ActBlocks<'_>,
    out: &mut Tile<'_>,
    how: Store,
) {
    let mut blocks = Blocks::from(w, panels.start).each::<F>();
    for p in 0..panels.len() {
        let mut acc = _mm512_setzero_ps();
        for ((q, scale), sum) in act.q.iter().zip(act.scale).zip(act.sum) {
            let Some((payload, d)) = blocks.next() else { return };
            let offset = offset::<F>(*scale, *sum);
            let begin = if F == Q4M { _mm512_setzero_si512() } else { _mm512_set1_epi32(offset) };
            let isum = multiply::<F>(begin, payload, q);
            ahead::<INTO, _>(payload, AHEAD);
            ahead::<INTO, _>(d, SCALES_AHEAD);
            let (d, m) = scales::<F>(d);
            acc = add::<F>(acc, isum, d, m, *scale, offset);
        }
        let len = (out.rows() - p * ROWS).min(ROWS);
        put(out.part(0, p * ROWS, len), acc, how);
    }
}

/// Asks for the lines `bytes` after these.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn ahead<const INTO: u8, T>(lines: &[T], bytes: usize) {
    for line in lines.iter().step_by((64 / size_of::<T>()).max(1)) {
        fetch::<INTO, 64>(core::ptr::from_ref(line).wrapping_byte_add(bytes));
    }
}

/// Adds the products of a block's weights with its activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply<const F: u8>(mut isum: __m512i, payload: &[[u8; 64]], q: &[i8; BLOCK]) -> __m512i {
    let q = q.as_chunks::<4>().0;
    if F == Q8 {
        for (w, q) in payload.iter().zip(q) {
            isum = _mm512_dpbusd_epi32(isum, unsigned(load_bytes(w)), broadcast(q));
        }
        return isum;
    }
    let (first, second) = q.split_at(BLOCK / 8);
    // Once for both halves of its bytes.
    let mut weights = [_mm512_setzero_si512(); BLOCK / 8];
    for (w, line) in weights.iter_mut().zip(payload) {
        *w = load_bytes(line);
    }
    for (w, q) in weights.iter().zip(first) {
        isum = _mm512_dpbusd_epi32(isum, low(*w), broadcast(q));
    }
    for (w, q) in weights.iter().zip(second) {
        isum = _mm512_dpbusd_epi32(isum, high(*w), broadcast(q));
    }
    isum
}
