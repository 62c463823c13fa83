//! Products with quantised weights in panels of four rows; float weights go to `float`, other panels to scalar code.
//!
//! A 16-byte vector of codes is read as eight 16-bit lanes, two a row. A shift and a mask, or a shift with sign, take one
//! code out of every lane: two columns of each row, two apart. They are multiplied with those two columns' activations in
//! every 32-bit lane, and only sums are widened, which adds a row's two lanes: rows in lanes, without shuffling. The
//! float work is one multiplication and one addition a block, panel and token.

use core::{arch::wasm32::*, hint::black_box, ops::Range};

use super::{
    float,
    lanes::{load_halves, store},
};
use crate::{BLOCK, Format, Input, Matrix, Panel, Store, Tile, acts::ActRow, scalar};

/// Rows of the panel this set reads.
const R: usize = 4;

/// See [`scalar::matmul`].
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    match (w.format(), w.panel()) {
        (Format::Q8, Panel::R4) => quantised::<Q8>(w, panels, x, out, store),
        (Format::Q4, Panel::R4) => quantised::<Q4>(w, panels, x, out, store),
        (Format::Q4M, Panel::R4) => quantised::<Q4M>(w, panels, x, out, store),
        (Format::F32, _) => float::matmul::<float::F32>(w, panels, x, out, store, Matrix::row_f32),
        (Format::F16, _) => float::matmul::<float::F16>(w, panels, x, out, store, Matrix::row_16),
        (Format::BF16, _) => float::matmul::<float::BF16>(w, panels, x, out, store, Matrix::row_16),
        _ => scalar::matmul(w, panels, x, out, store),
    }
}

/// One format's codes, and how they multiply activations.
trait Codes {
    const FORMAT: Format;
    /// Vectors of one block of a panel.
    const VECTORS: usize = R * Self::FORMAT.block_payload() / 16;
    /// The codes of a vector, in 16-bit lanes.
    type Lanes: Copy;

    fn unpack(codes: v128) -> Self::Lanes;

    /// Adds the products of vector `v` of a block with activations to `sum`.
    ///
    /// # Safety
    /// * `v` is below [`Self::VECTORS`].
    unsafe fn multiply(codes: Self::Lanes, act: &Act, v: usize, sum: v128) -> v128;

    /// The sums of a whole block, a row a lane.
    fn finish(sum: v128) -> v128;
}

struct Q8;
struct Q4;
struct Q4M;

/// A block of activations in 16-bit lanes: columns 0, 2 .. 30, then columns 1, 3 .. 31. A 32-bit word of it is two columns:
/// those that the two lanes of each row of a vector of codes have.
#[derive(Clone, Copy)]
#[repr(C)]
struct Act([v128; 4]);

impl Act {
    #[inline(always)]
    fn new(q: &[i8; BLOCK]) -> Self {
        let q = q.as_ptr();
        // SAFETY: the reference is 32 readable bytes; `v128.load` asks for no alignment.
        let (a, b) = unsafe { (v128_load(q.cast()), v128_load(q.add(16).cast())) };
        Self([even_bytes(a), even_bytes(b), odd_bytes(a), odd_bytes(b)])
    }

    /// Word `i` in all four.
    ///
    /// # Safety
    /// * `i` is below 16.
    #[inline(always)]
    unsafe fn word(&self, i: usize) -> v128 {
        // SAFETY: as the caller promises; there are 16 words.
        unsafe { v128_load32_splat(self.0.as_ptr().cast::<u32>().add(i)) }
    }
}

/// The lower byte of each 16-bit lane, with its sign.
#[inline(always)]
fn even_bytes(x: v128) -> v128 {
    i16x8_shr(i16x8_shl(x, 8), 8)
}

/// The upper byte of each 16-bit lane, with its sign.
#[inline(always)]
fn odd_bytes(x: v128) -> v128 {
    i16x8_shr(x, 8)
}

impl Codes for Q8 {
    const FORMAT: Format = Format::Q8;
    type Lanes = [v128; 2];

    #[inline(always)]
    fn unpack(codes: v128) -> [v128; 2] {
        [even_bytes(codes), odd_bytes(codes)]
    }

    /// Two products fit an i16, -128 included: 2 * 128 * 127 < 2^15. (`i32x4.dot_i16x8_s` would be one instruction of x86,
    /// but three of Arm.)
    #[inline(always)]
    unsafe fn multiply([even, odd]: [v128; 2], act: &Act, v: usize, sum: v128) -> v128 {
        // SAFETY: there are eight vectors.
        let (q_even, q_odd) = unsafe { (act.word(v), act.word(v + 8)) };
        let products = i16x8_add(i16x8_mul(even, q_even), i16x8_mul(odd, q_odd));
        i32x4_add(sum, i32x4_extadd_pairwise_i16x8(products))
    }

    #[inline(always)]
    fn finish(sum: v128) -> v128 {
        sum
    }
}

/// The nibbles of each 16-bit lane, from the lowest: columns `i` and `i + 16` of an even `i`, then of the odd one after it.
#[inline(always)]
fn nibbles(codes: v128) -> [v128; 4] {
    let mask = i16x8_splat(0x0f);
    [
        v128_and(codes, mask),
        v128_and(u16x8_shr(codes, 4), mask),
        v128_and(u16x8_shr(codes, 8), mask),
        u16x8_shr(codes, 12),
    ]
}

/// A block's sum in a lane, half a row, fits an i16: 16 * 15 * 127 = 30480.
///
/// # Safety
/// * `v` is below 4.
#[inline(always)]
unsafe fn multiply_nibbles([a, b, c, d]: [v128; 4], act: &Act, v: usize, sum: v128) -> v128 {
    // SAFETY: as the caller promises.
    unsafe {
        let sum = i16x8_add(sum, i16x8_mul(a, act.word(v)));
        let sum = i16x8_add(sum, i16x8_mul(b, act.word(v + 4)));
        let sum = i16x8_add(sum, i16x8_mul(c, act.word(v + 8)));
        i16x8_add(sum, i16x8_mul(d, act.word(v + 12)))
    }
}

impl Codes for Q4 {
    const FORMAT: Format = Format::Q4;
    type Lanes = [v128; 4];

    #[inline(always)]
    fn unpack(codes: v128) -> [v128; 4] {
        nibbles(codes)
    }

    #[inline(always)]
    unsafe fn multiply(codes: [v128; 4], act: &Act, v: usize, sum: v128) -> v128 {
        // SAFETY: the caller promises the same: there are four vectors.
        unsafe { multiply_nibbles(codes, act, v, sum) }
    }

    #[inline(always)]
    fn finish(sum: v128) -> v128 {
        i32x4_extadd_pairwise_i16x8(sum)
    }
}

impl Codes for Q4M {
    const FORMAT: Format = Format::Q4M;
    type Lanes = [v128; 4];

    #[inline(always)]
    fn unpack(codes: v128) -> [v128; 4] {
        nibbles(codes)
    }

    #[inline(always)]
    unsafe fn multiply(codes: [v128; 4], act: &Act, v: usize, sum: v128) -> v128 {
        // SAFETY: the caller promises the same: there are four vectors.
        unsafe { multiply_nibbles(codes, act, v, sum) }
    }

    #[inline(always)]
    fn finish(sum: v128) -> v128 {
        i32x4_extadd_pairwise_i16x8(sum)
    }
}

/// Tokens that share one reading (and unpacking) of a panel.
const TOKENS: usize = 4;

/// The products of some panels, given as scales and payload, with some tokens: [`panels_dots`] for one format.
type Dots<const P: usize, const T: usize> = fn(&[(&[u16], &[u8]); P], &[ActRow<'_>; T]) -> [[v128; P]; T];

/// Four tokens take two panels at a time and a single one takes four: as much as there are registers for.
fn quantised<C: Codes>(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) {
    let tokens = out.tokens().min(x.tokens);
    let whole = tokens - tokens % TOKENS;
    let mut job = Job { w, x, out, how, first: panels.start };
    let pairs = job.strips(panels.clone(), 0..whole, panels_dots::<C, 2, TOKENS>);
    job.strips(pairs, 0..whole, panels_dots::<C, 1, TOKENS>);
    let fours = job.strips(panels, whole..tokens, panels_dots::<C, 4, 1>);
    job.strips(fours, whole..tokens, panels_dots::<C, 1, 1>);
}

/// A product under way.
struct Job<'j, 'o> {
    w: &'j Matrix<'j>,
    x: &'j Input<'j>,
    out: &'j mut Tile<'o>,
    how: Store,
    /// The panel of the first output.
    first: usize,
}

impl Job<'_, '_> {
    /// The panels, `P` at a time as long as there are so many, times the tokens, `T` at a time; returns the panels that are
    /// left. One function for all formats.
    #[inline(never)]
    fn strips<const P: usize, const T: usize>(
        &mut self,
        mut panels: Range<usize>,
        tokens: Range<usize>,
        dots: Dots<P, T>,
    ) -> Range<usize> {
        let rows = self.out.rows();
        while panels.len() >= P && !tokens.is_empty() {
            let p = panels.start;
            panels.start += P;
            let strip = core::array::from_fn(|i| (self.w.panel_scales(p + i), self.w.panel_payload(p + i)));
            for t in tokens.clone().step_by(T) {
                let acts = core::array::from_fn(|i| self.x.acts.row(t + i));
                for (t, dots) in (t..).zip(dots(&strip, &acts)) {
                    for (p, dots) in (p..).zip(dots) {
                        let first = (p - self.first) * R;
                        let mut lanes = [0.0; R];
                        store(&mut lanes, dots);
                        let len = rows.saturating_sub(first).min(R);
                        for (out, dot) in self.out.part(t, first, len).iter_mut().zip(lanes) {
                            self.how.put(out, dot);
                        }
                    }
                }
            }
        }
        panels
    }
}

/// The integer products of one block of `P` panels with `T` tokens' activations, rows in lanes. `vectors` is
/// [`Codes::VECTORS`].
///
/// # Safety
/// * Each of `payload` points to `vectors` readable vectors.
#[inline(always)]
unsafe fn block_dots<C: Codes, const P: usize, const T: usize>(
    payload: [*const v128; P],
    acts: &[Act; T],
    vectors: usize,
) -> [[v128; T]; P] {
    let mut sums = [[i32x4_splat(0); T]; P];
    for v in 0..vectors {
        for (sums, payload) in sums.iter_mut().zip(payload) {
            // SAFETY: `v < vectors`, for which the caller promises.
            let codes = C::unpack(unsafe { v128_load(payload.add(v)) });
            for (sum, act) in sums.iter_mut().zip(acts) {
                // SAFETY: `v` is below `vectors`, which is the block's number of them.
                *sum = unsafe { C::multiply(codes, act, v, *sum) };
            }
        }
    }
    sums.map(|sums| sums.map(C::finish))
}

/// The rows of `P` panels, given as scales and payload, times `T` tokens.
#[inline(never)]
fn panels_dots<C: Codes, const P: usize, const T: usize>(
    panels: &[(&[u16], &[u8]); P],
    acts: &[ActRow<'_>; T],
) -> [[v128; P]; T] {
    // Kept from the compiler, or it unrolls the loop over a block's vectors: it then orders what is inside such that far more
    // values are in use at once than an engine has registers for.
    let vectors = black_box(C::VECTORS);
    let groups = C::FORMAT.block_scales();
    let panels = panels.map(|(scales, payload)| (scales.as_chunks::<R>().0, payload.as_chunks::<16>().0));
    let acts = acts.each_ref().map(|act| (act.q.as_chunks::<BLOCK>().0, act.scale, act.sum));
    let mut blocks = usize::MAX;
    for (scales, payload) in panels {
        blocks = blocks.min(scales.len() / groups).min(payload.len() / C::VECTORS);
    }
    for (q, scale, sum) in acts {
        blocks = blocks.min(q.len()).min(scale.len()).min(sum.len());
    }
    let mut acc = [[f32x4_splat(0.0); P]; T];
    for b in 0..blocks {
        // SAFETY: `b < blocks`, and `blocks` whole blocks of scales, payload and every row of activations are inside their
        // slices, as computed above.
        unsafe {
            let q = acts.map(|(q, _, _)| Act::new(q.get_unchecked(b)));
            let payload = panels.map(|(_, payload)| payload.as_ptr().add(b * C::VECTORS).cast());
            let dots = block_dots::<C, P, T>(payload, &q, vectors);
            for (i, (dots, (scales, _))) in dots.into_iter().zip(panels).enumerate() {
                let d = load_halves(scales.get_unchecked(b * groups));
                let m = match C::FORMAT {
                    Format::Q4M => load_halves(scales.get_unchecked(b * groups + 1)),
                    _ => d,
                };
                for ((acc, dot), (_, scale, sum)) in acc.iter_mut().zip(dots).zip(acts) {
                    let (ad, asum) = (*scale.get_unchecked(b), *sum.get_unchecked(b));
                    // A nibble of Q4 is stored plus 8: the offset leaves through the activations' sum.
                    let dot = match C::FORMAT {
                        Format::Q4 => i32x4_sub(dot, i32x4_splat(asum.wrapping_mul(8))),
                        _ => dot,
                    };
                    let product = f32x4_mul(f32x4_mul(d, f32x4_splat(ad)), f32x4_convert_i32x4(dot));
                    let step = match C::FORMAT {
                        Format::Q4M => f32x4_add(product, f32x4_mul(m, f32x4_splat(ad * asum as f32))),
                        _ => product,
                    };
                    acc[i] = f32x4_add(acc[i], step);
                }
            }
        }
    }
    acc
}
