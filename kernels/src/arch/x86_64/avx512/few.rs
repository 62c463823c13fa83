//! Products with a few tokens, as when a guess of the next ones is verified, or those that are left over from
//! [`super::tiles`].
//!
//! A panel is streamed as for one token, each block unpacked once for up to [`GROUP`] tokens, whose sums stay in registers
//! beside the block's eight vectors of weights; for more tokens the panel is taken again, from the first-level cache.

use core::{arch::x86_64::*, ops::Range};

use super::{
    super::ahead::{NEAR, fetch},
    lanes::put,
    matmul::{AHEAD, ActBlocks, Blocks, Q4M, ROWS, SCALES_AHEAD, add, broadcast, offset, scales, unpack},
};
use crate::{Matrix, Store, Tile, acts::Acts};

/// Tokens that share an unpacked block: two registers each, of 32.
const GROUP: usize = 8;

/// The most tokens that are few: with more there is a wide tile. Where weights come from memory, as when a guess is verified, a
/// narrow one is no better than this.
pub(super) const FEW: usize = super::tiles::WIDE - 1;

/// See [`super::matmul::matmul`], which has compared the shapes: some panels, where `out` begins with panel `start`, and some
/// tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn some<const F: u8>(
    w: &Matrix<'_>,
    (panels, start): (Range<usize>, usize),
    acts: &Acts<'_>,
    tokens: Range<usize>,
    out: &mut Tile<'_>,
    how: Store,
) {
    if tokens.is_empty() {
        return;
    }
    for p in panels {
        let blocks = Blocks::of(w, p);
        let at = (p - start) * ROWS;
        let place = (at, (out.rows() - at).min(ROWS));
        let mut first = tokens.start;
        while first < tokens.end {
            first += match tokens.end - first {
                1 => group::<F, 1>(w, blocks, acts, first, out, place, how),
                2 => group::<F, 2>(w, blocks, acts, first, out, place, how),
                3 => group::<F, 3>(w, blocks, acts, first, out, place, how),
                4 => group::<F, 4>(w, blocks, acts, first, out, place, how),
                5 => group::<F, 5>(w, blocks, acts, first, out, place, how),
                6 => group::<F, 6>(w, blocks, acts, first, out, place, how),
                7 => group::<F, 7>(w, blocks, acts, first, out, place, how),
                _ => group::<F, GROUP>(w, blocks, acts, first, out, place, how),
            };
        }
    }
}

/// One panel with the tokens `first .. first + T`; returns `T`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn group<const F: u8, const T: usize>(
    w: &Matrix<'_>,
    blocks: Blocks<'_>,
    acts: &Acts<'_>,
    first: usize,
    out: &mut Tile<'_>,
    (at, len): (usize, usize),
    how: Store,
) -> usize {
    let acts: [_; T] = core::array::from_fn(|t| ActBlocks::of(acts, first + t, w.blocks()).unwrap_or_default());
    // The first group waits for memory, the others find the panel in the cache.
    let dots = dots::<F, T>(blocks, acts, first == 0);
    for (t, dot) in dots.into_iter().enumerate() {
        put(out.part(first + t, at, len), dot, how);
    }
    T
}

/// The products of a panel with `T` tokens; `ahead`: fetch what follows the panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dots<const F: u8, const T: usize>(w: Blocks<'_>, acts: [ActBlocks<'_>; T], ahead: bool) -> [__m512; T] {
    let mut acc = [_mm512_setzero_ps(); T];
    for (b, (payload, d)) in w.each::<F>().enumerate() {
        if ahead {
            for line in payload {
                fetch::<NEAR, 64>(line.as_ptr().wrapping_byte_add(AHEAD));
            }
            fetch::<NEAR, 64>(d.as_ptr().wrapping_byte_add(SCALES_AHEAD));
        }
        let (d, m) = scales::<F>(d);
        let weights = unpack::<F>(payload);
        let mut isum = [_mm512_setzero_si512(); T];
        let mut offsets = [0; T];
        let mut q = [&[0; crate::BLOCK]; T];
        for (((act, isum), to), q) in acts.iter().zip(&mut isum).zip(&mut offsets).zip(&mut q) {
            let (Some(block), Some(scale), Some(sum)) = (act.q.get(b), act.scale.get(b), act.sum.get(b)) else {
                return acc;
            };
            (*q, *to) = (block, offset::<F>(*scale, *sum));
            if F != Q4M {
                *isum = _mm512_set1_epi32(*to);
            }
        }
        for (step, w) in weights.iter().enumerate() {
            for (isum, q) in isum.iter_mut().zip(q) {
                let Some(q) = q.as_chunks::<4>().0.get(step) else { return acc };
                *isum = _mm512_dpbusd_epi32(*isum, *w, broadcast(q));
            }
        }
        for (((acc, isum), act), offset) in acc.iter_mut().zip(isum).zip(&acts).zip(offsets) {
            let Some(scale) = act.scale.get(b) else { continue };
            *acc = add::<F>(*acc, isum, d, m, *scale, offset);
        }
    }
    acc
}
