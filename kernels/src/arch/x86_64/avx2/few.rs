//! Products with a few tokens, as when a guess of the next ones is verified: too few for [`super::matmul`]'s tiles to pay for
//! their packing and their sums in memory.
//!
//! A panel is streamed as for one token, each block unpacked once for up to [`GROUP`] tokens, whose sums stay in registers;
//! for more tokens the panel is taken again, from the first-level cache.

use core::ops::Range;

use super::{
    float::put,
    matmul::{ActBlocks, Blocks, ROWS},
    matmul_q4, matmul_q8,
};
use crate::{Format, Matrix, Store, Tile, acts::Acts};

/// Tokens whose sums are kept in registers, beside a block's eight vectors of weights.
const GROUP: usize = 4;

/// The most tokens that are few: with more, measured on one core, tiles are faster.
pub(super) const FEW: usize = 10;

/// See [`super::matmul::matmul`], which has compared the shapes.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matmul(
    w: &Matrix<'_>,
    panels: Range<usize>,
    acts: &Acts<'_>,
    tokens: usize,
    out: &mut Tile<'_>,
    how: Store,
) {
    for (index, p) in panels.enumerate() {
        let blocks = Blocks::of(w, p);
        let at = index * ROWS;
        let len = (out.rows() - at).min(ROWS);
        let mut first = 0;
        while first < tokens {
            first += match tokens - first {
                1 => group::<1>(w, blocks, acts, first, out, (at, len), how),
                2 => group::<2>(w, blocks, acts, first, out, (at, len), how),
                3 => group::<3>(w, blocks, acts, first, out, (at, len), how),
                _ => group::<GROUP>(w, blocks, acts, first, out, (at, len), how),
            };
        }
    }
}

/// One panel with the tokens `first .. first + T`; returns `T`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn group<const T: usize>(
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
    let ahead = first == 0;
    let dots = match w.format() {
        Format::Q8 => matmul_q8::few(blocks, acts, ahead),
        Format::Q4 => matmul_q4::few::<false, T>(blocks, acts, ahead),
        _ => matmul_q4::few::<true, T>(blocks, acts, ahead),
    };
    for (t, dot) in dots.into_iter().enumerate() {
        put(out.part(first + t, at, len), dot, how);
    }
    T
}
