//! Products of many tokens (prefill) with panels of sixteen rows.
//!
//! [`DEPTH`] blocks of [`WIDE`] or [`NARROW`] tokens are packed into a small array that stays in the first-level cache, and some
//! panels are multiplied with it, one after the other, with all sums in registers, from the first block to the last where rows
//! are short. Activations come from memory to all lanes as part of the multiplication; meanwhile the panels that
//! come next are fetched. The 512-bit units bound this: eight multiplications a block and, on the same two ports (Zen 4), two
//! products with scales.

use core::{
    arch::{asm, x86_64::*},
    ops::Range,
};

use super::{
    super::ahead::{Ahead, NEAR, fetch},
    few,
    lanes::{load_bytes, put},
    matmul::{Blocks, Q4M, Q8, ROWS, add, broadcast, high, low, offset, scales, unsigned, vectors},
};
use crate::{
    BLOCK, Matrix, Store, Tile,
    acts::{ActRow, Acts},
    slice::{copy, part},
};

/// Tokens of a tile: two registers each, sums of floats and sums of integers, beside a vector of weights.
pub(super) const WIDE: usize = 12;
/// Tokens of a tile where wide ones would leave many over, each of which [`few`] takes some five times as long for.
const NARROW: usize = 8;
/// What wide and narrow tiles together leave over is less than this.
const STEP: usize = WIDE - NARROW;
/// Bytes of panels that use packed activations, at most: with as many that are fetched for later, they stay in a second-level
/// cache.
const PANEL_BYTES: usize = 192 << 10;
/// Blocks that are packed at once.
const DEPTH: usize = 24;
/// Panels at most where rows are longer than that: their sums wait in memory.
const PANELS: usize = 16;

/// A stretch of the activations of a tile's tokens, all of it at distances that are known when this is compiled.
struct Packed {
    q: [[[i8; BLOCK]; DEPTH]; WIDE],
    scale: [[f32; DEPTH]; WIDE],
    /// See [`offset`].
    offset: [[i32; DEPTH]; WIDE],
}

impl Packed {
    const ZERO: Self = Self { q: [[[0; BLOCK]; DEPTH]; WIDE], scale: [[0.0; DEPTH]; WIDE], offset: [[0; DEPTH]; WIDE] };

    /// Takes `depth` blocks from `start` on of `T` tokens from `first` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn take<const F: u8, const T: usize>(&mut self, acts: &Acts<'_>, start: usize, depth: usize, first: usize) {
        let numbers = self.scale.iter_mut().zip(&mut self.offset);
        for (t, (to, (to_scale, to_offset))) in self.q.iter_mut().zip(numbers).enumerate().take(T) {
            let ActRow { q, scale, sum } = acts.row(first + t);
            copy(to.as_flattened_mut(), part(q, start * BLOCK, depth * BLOCK));
            copy(to_scale, part(scale, start, depth));
            for ((to, scale), sum) in to_offset.iter_mut().zip(to_scale).zip(part(sum, start, depth)) {
                *to = offset::<F>(*scale, *sum);
            }
        }
    }
}

/// How many tiles some tokens are taken in.
#[derive(Clone, Copy)]
struct Strips {
    wide: usize,
    narrow: usize,
}

impl Strips {
    /// As many of `tokens` as there are in steps, most of them in wide tiles.
    fn of(tokens: usize) -> Self {
        let steps = tokens / STEP;
        // Two steps are a narrow tile, three a wide one, so four are two narrow ones.
        let narrow = [0, 2, 1][steps % 3];
        if steps < 2 * narrow {
            return Self { wide: 0, narrow: 0 };
        }
        Self { wide: (steps - 2 * narrow) / 3, narrow }
    }

    fn count(self) -> usize {
        self.wide + self.narrow
    }
}

/// Some tokens of the product, of which `out` begins with the first panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn tiles<const F: u8>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    acts: &Acts<'_>,
    tokens: Range<usize>,
    out: &mut Tile<'_>,
    how: Store,
) {
    let (blocks, start) = (w.blocks(), panels.start);
    let bytes = blocks * vectors::<F>() * 64;
    let most = if blocks > DEPTH { PANELS } else { usize::MAX };
    let panels_at_once = (PANEL_BYTES / bytes.max(1)).clamp(1, most);
    let mut work = Work { packed: Packed::ZERO, accs: [[_mm512_setzero_ps(); WIDE]; PANELS] };
    let strips = Strips::of(tokens.len());
    let mut next = start;
    while next < panels.end {
        let chunk = next..(next + panels_at_once).min(panels.end);
        next = chunk.end;
        let mut first = tokens.start;
        for strip in 0..strips.count() {
            let ahead = Ahead::new(panels_at_once * bytes, strip, strips.count());
            let panels = (chunk.clone(), start);
            first += if strip < strips.wide {
                work.strip::<F, WIDE>(w, panels, (acts, first), out, how, ahead)
            } else {
                work.strip::<F, NARROW>(w, panels, (acts, first), out, how, ahead)
            };
        }
        few::some::<F>(w, (chunk, start), acts, first..tokens.end, out, how);
    }
}

/// What a product writes on its way.
struct Work {
    packed: Packed,
    /// Sums of panels whose rows are longer than [`DEPTH`] blocks.
    accs: [[__m512; WIDE]; PANELS],
}

impl Work {
    /// Some panels, where `out` begins with panel `start`, with `T` tokens from `first` on; returns `T`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn strip<const F: u8, const T: usize>(
        &mut self,
        w: &Matrix<'_>,
        (panels, start): (Range<usize>, usize),
        (acts, first): (&Acts<'_>, usize),
        out: &mut Tile<'_>,
        how: Store,
        ahead: Ahead,
    ) -> usize {
        let blocks = w.blocks();
        // At least once, so that rows without blocks are written too.
        for at in (0..blocks.max(1)).step_by(DEPTH) {
            let depth = (blocks - at).min(DEPTH);
            self.packed.take::<F, T>(acts, at, depth, first);
            for (index, p) in panels.clone().enumerate() {
                let mut sums = [_mm512_setzero_ps(); T];
                if at > 0
                    && let Some(acc) = self.accs.get(index)
                {
                    sums.copy_from_slice(&acc[..T]);
                }
                let sums = multiply::<F, T>(Blocks::of(w, p).skip::<F>(at), &self.packed, depth, sums, ahead);
                if at + depth < blocks {
                    if let Some(acc) = self.accs.get_mut(index) {
                        acc[..T].copy_from_slice(&sums);
                    }
                    continue;
                }
                let row = (p - start) * ROWS;
                let len = (out.rows() - row).min(ROWS);
                for (t, dot) in sums.into_iter().enumerate() {
                    put(out.part(first + t, row, len), dot, how);
                }
            }
        }
        T
    }
}

/// Adds the first `depth` blocks of `w` to the products with a tile's tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply<const F: u8, const T: usize>(
    w: Blocks<'_>,
    acts: &Packed,
    depth: usize,
    mut acc: [__m512; T],
    ahead: Ahead,
) -> [__m512; T] {
    for (b, (payload, d)) in (0..depth.min(DEPTH)).zip(w.each::<F>()) {
        for line in ahead.after(payload) {
            fetch::<NEAR, 64>(line);
        }
        let mut isum = [_mm512_setzero_si512(); T];
        if F != Q4M {
            for (isum, offset) in isum.iter_mut().zip(&acts.offset) {
                *isum = _mm512_set1_epi32(offset[b]);
            }
        }
        for (step, bytes) in payload.iter().enumerate() {
            let bytes = load_bytes(bytes);
            if F == Q8 {
                step_of(unsigned(bytes), acts, b, step, &mut isum);
            } else {
                step_of(low(bytes), acts, b, step, &mut isum);
                step_of(high(bytes), acts, b, step + 4, &mut isum);
            }
        }
        let (d, m) = match (scales::<F>(d), isum.first()) {
            (d, Some(sum)) if F == Q4M => after(*sum, d),
            (d, _) => d,
        };
        for (((acc, isum), scale), offset) in acc.iter_mut().zip(isum).zip(&acts.scale).zip(&acts.offset) {
            *acc = add::<F>(*acc, isum, d, m, scale[b], offset[b]);
        }
    }
    acc
}

/// Scales and minima, not to be used before there is `sum`. No instruction: without it the compiler begins with the products
/// of all tokens' scales, and these take more registers than there are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn after(sum: __m512i, (mut d, mut m): (__m512, __m512)) -> (__m512, __m512) {
    // SAFETY: nothing is done.
    unsafe {
        asm!(
            "/* {d} {m} {sum} */",
            d = inout(zmm_reg) d,
            m = inout(zmm_reg) m,
            sum = in(zmm_reg) sum,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    (d, m)
}

/// Four neighbours of each row with those of each token, of block `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn step_of<const T: usize>(w: __m512i, acts: &Packed, b: usize, step: usize, isum: &mut [__m512i; T]) {
    for (isum, q) in isum.iter_mut().zip(&acts.q) {
        if let Some(q) = q[b].as_chunks::<4>().0.get(step) {
            *isum = _mm512_dpbusd_epi32(*isum, w, broadcast(q));
        }
    }
}
