//! Products with quantised weights in panels of eight rows: checks, tiles and stores around the inner loops of
//! [`super::matmul_q4`] and [`super::matmul_q8`].
//!
//! One token (decode) is a stream: panels in the order they lie in memory; a few are [`super::few`]'s. Many (prefill) are taken in tiles:
//! a stretch of [`DEPTH`] blocks of [`TOKENS`] tokens is packed into a small array that stays in the first-level cache,
//! and [`PANELS`] panels are multiplied with it, [`PAIR`] at a time, each block of weights unpacked once for all tokens. Meanwhile
//! the panels that come next are fetched.

use core::{arch::x86_64::*, ops::Range};

use super::{
    super::ahead::{Ahead, NEAR, fetch},
    few::{self, FEW},
    float::put,
    matmul_q4, matmul_q8,
};
use crate::{BLOCK, Format, Input, Matrix, Store, Tile, acts::ActRow, acts::Acts};

/// Rows of a panel.
pub(in super::super) const ROWS: usize = 8;
/// Tokens of a tile.
pub(in super::super) const TOKENS: usize = 32;
/// Panels that use a packed stretch of activations.
const PANELS: usize = 8;
/// Panels and tokens whose sums with each other are in registers together.
const PAIR: usize = 2;
pub(super) const GROUP: usize = 4;
/// Blocks of a stretch.
const DEPTH: usize = 8;

/// The blocks of a panel, or a stretch of them.
#[derive(Clone, Copy)]
pub(in super::super) struct Blocks<'a> {
    /// Eight scales a block; Q4M: eight scales and eight minima.
    pub(in super::super) scales: &'a [[u16; 8]],
    /// Eight (Q8) or four (Q4, Q4M) vectors a block.
    pub(in super::super) payload: &'a [[u8; 32]],
}

impl<'a> Blocks<'a> {
    /// Panel `p`.
    #[inline]
    pub(in super::super) fn of(w: &Matrix<'a>, p: usize) -> Self {
        Self { scales: w.panel_scales(p).as_chunks().0, payload: w.panel_payload(p).as_chunks().0 }
    }

    /// What follows the first `blocks` blocks.
    #[inline]
    fn skip(self, format: Format, blocks: usize) -> Self {
        let scales = blocks * format.block_scales();
        let vectors = blocks * (format.block_payload() / 4);
        Self { scales: self.scales.get(scales..).unwrap_or(&[]), payload: self.payload.get(vectors..).unwrap_or(&[]) }
    }
}

/// One token's activations as blocks.
#[derive(Clone, Copy, Default)]
pub(in super::super) struct ActBlocks<'a> {
    pub(in super::super) q: &'a [[i8; BLOCK]],
    pub(in super::super) scale: &'a [f32],
    pub(in super::super) sum: &'a [i32],
}

impl<'a> ActBlocks<'a> {
    /// Token `t`; `None` when its row is not `blocks` long.
    #[inline]
    pub(in super::super) fn of(acts: &Acts<'a>, t: usize, blocks: usize) -> Option<Self> {
        let ActRow { q, scale, sum } = acts.row(t);
        let q = q.as_chunks::<BLOCK>().0;
        (q.len() == blocks && scale.len() == blocks && sum.len() == blocks).then_some(Self { q, scale, sum })
    }
}

/// A block of one token's activations, packed for a tile.
#[derive(Clone, Copy)]
pub(in super::super) struct Act<Q> {
    pub(in super::super) q: Q,
    pub(in super::super) scale: f32,
    /// What the block's sum contributes, as the format wants it.
    pub(in super::super) offset: i32,
}

/// See [`crate::scalar::matmul`]; returns false, having done nothing, when the shapes do not fit each other.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    let tokens = out.tokens().min(x.tokens);
    if !fits(w, &panels, x, out) {
        return false;
    }
    if tokens == 1 {
        return matvec(w, panels, &x.acts, out, how);
    }
    if tokens <= FEW {
        few::matmul(w, panels, &x.acts, tokens, out, how);
        return true;
    }
    match w.format() {
        Format::Q8 => tiles(
            w,
            panels,
            (&x.acts, tokens),
            out,
            how,
            |q, scale, sum| matmul_q8::pack(q, scale, sum),
            |w, acts, tokens, acc, ahead| matmul_q8::tile(w, acts, tokens, acc, ahead),
        ),
        Format::Q4 => tiles(w, panels, (&x.acts, tokens), out, how, matmul_q4::pack, |w, acts, tokens, acc, ahead| {
            matmul_q4::tile::<false>(w, acts, tokens, acc, ahead)
        }),
        _ => tiles(w, panels, (&x.acts, tokens), out, how, matmul_q4::pack_min, |w, acts, tokens, acc, ahead| {
            matmul_q4::tile::<true>(w, acts, tokens, acc, ahead)
        }),
    }
    true
}

/// Whether the shapes of a product fit each other.
pub(in super::super) fn fits(w: &Matrix<'_>, panels: &Range<usize>, x: &Input<'_>, out: &Tile<'_>) -> bool {
    let rows = panels.len().saturating_mul(ROWS);
    panels.end <= w.panels()
        && out.rows() <= rows
        && rows - out.rows() < ROWS
        && (0..out.tokens().min(x.tokens)).all(|t| ActBlocks::of(&x.acts, t, w.blocks()).is_some())
}

/// Bytes that weights are fetched ahead of their use. Panels follow each other without a gap, and so do the matrices of an
/// image, so what is asked for past the end is soon wanted too.
pub(in super::super) const AHEAD: usize = 8192;
/// The same for scales, which are the smaller stream; a line holds two or four blocks'.
pub(in super::super) const SCALES_AHEAD: usize = 2048;

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn matvec(w: &Matrix<'_>, panels: Range<usize>, acts: &Acts<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    let Some(act) = ActBlocks::of(acts, 0, w.blocks()) else { return false };
    for (out, p) in out.row(0).chunks_mut(ROWS).zip(panels) {
        // One panel at a time: of its chain over the blocks only the addition is serial, and a single stream is what the
        // hardware's prefetchers follow best.
        let blocks = Blocks::of(w, p);
        let dot = match w.format() {
            Format::Q8 => matmul_q8::matvec(blocks, act),
            Format::Q4 => matmul_q4::matvec::<false>(blocks, act),
            _ => matmul_q4::matvec::<true>(blocks, act),
        };
        put(out, dot, how);
    }
    true
}

/// Asks for a strip's share of what comes after a block's `payload`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn fetch_ahead(ahead: Ahead, payload: &[[u8; 32]]) {
    for line in ahead.after(payload.as_chunks::<2>().0) {
        fetch::<NEAR, 64>(line);
    }
}

/// What is done with some panels: their blocks, and the sums that these are added to.
type Panels<'s, 'w, const P: usize> = (&'s [Blocks<'w>; P], &'s mut [[__m256; TOKENS]; P]);

/// Panels two by two, and one that is left over.
#[inline]
pub(super) fn pairs<'s, 'w>(
    w: &'s [Blocks<'w>],
    acc: &'s mut [[__m256; TOKENS]],
) -> (impl Iterator<Item = Panels<'s, 'w, PAIR>>, Option<Panels<'s, 'w, 1>>) {
    let ((pairs, one), (accs, acc)) = (w.as_chunks(), acc.as_chunks_mut());
    (pairs.iter().zip(accs), one.first_chunk().zip(acc.first_chunk_mut()))
}

/// Many tokens, at most [`TOKENS`] at a time: `multiply` adds a stretch of some panels' blocks to the sums of each panel, with
/// activations as `pack` made them.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn tiles<Q: Copy>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    (acts, tokens): (&Acts<'_>, usize),
    out: &mut Tile<'_>,
    how: Store,
    pack: impl Fn(&[i8; BLOCK], f32, i32) -> Act<Q>,
    multiply: impl Fn(&[Blocks<'_>], &[[Act<Q>; TOKENS]], usize, &mut [[__m256; TOKENS]], Ahead),
) {
    let blocks = w.blocks();
    let zero = pack(&[0; BLOCK], 0.0, 0);
    let mut packed = [[zero; TOKENS]; DEPTH];
    let bytes = PANELS * blocks * w.format().block_payload() * ROWS;
    for first_panel in panels.clone().step_by(PANELS) {
        let count = (panels.end - first_panel).min(PANELS);
        for (strip, first) in (0..tokens).step_by(TOKENS).enumerate() {
            let lanes = (tokens - first).min(TOKENS);
            let ahead = Ahead::new(bytes, strip, tokens.div_ceil(TOKENS));
            let mut accs = [[_mm256_setzero_ps(); TOKENS]; PANELS];
            for start in (0..blocks).step_by(DEPTH) {
                let depth = (blocks - start).min(DEPTH);
                for lane in 0..lanes {
                    let Some(act) = ActBlocks::of(acts, first + lane, blocks) else { continue };
                    let act = act.q.iter().zip(act.scale).zip(act.sum).skip(start);
                    for (packed, ((q, scale), sum)) in packed.iter_mut().zip(act) {
                        if let Some(packed) = packed.get_mut(lane) {
                            *packed = pack(q, *scale, *sum);
                        }
                    }
                }
                let packed = packed.get(..depth).unwrap_or(&[]);
                let weights: [_; PANELS] =
                    core::array::from_fn(|p| Blocks::of(w, first_panel + p.min(count - 1)).skip(w.format(), start));
                let (Some(weights), Some(accs)) = (weights.get(..count), accs.get_mut(..count)) else { return };
                multiply(weights, packed, lanes, accs, ahead);
            }
            for (p, acc) in accs.iter().take(count).enumerate() {
                let at = (first_panel + p - panels.start) * ROWS;
                let len = (out.rows() - at).min(ROWS);
                for (t, dot) in (first..tokens).zip(acc) {
                    put(out.part(t, at, len), *dot, how);
                }
            }
        }
    }
}
