//! Products with quantised weights in panels of four rows; float weights go to `float`, other panels to scalar code.
//!
//! A 16-byte vector of codes is read as eight 16-bit lanes, two a row. A shift and a mask, or a shift with sign, take one
//! code out of every lane: two columns of each row, two apart. They are multiplied with those two columns' activations in
//! every 32-bit lane, and only sums are widened, which adds a row's two lanes: rows in lanes, without shuffling. The
//! float work is one multiplication and one addition a block, panel and token.

use core::{arch::wasm32::*, ops::Range};

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

/// One format's codes: how many there are, and how they multiply activations.
trait Codes {
    const FORMAT: Format;
    /// Vectors of one block of a panel.
    const VECTORS: usize = R * Self::FORMAT.block_payload() / 16;

    /// The integer products of one block of `P` panels with `T` tokens' activations, rows in lanes.
    ///
    /// # Safety
    /// * Each of `payload` points to `VECTORS` readable vectors.
    unsafe fn dots<const P: usize, const T: usize>(payload: [*const v128; P], q: &[Act; T]) -> [[v128; T]; P];
}

struct Q8;
struct Q4;
struct Q4M;

/// A block of activations in 16-bit lanes: columns 0, 2 .. 14 and 1, 3 .. 15, then the same of the other 16. A 32-bit lane
/// is two columns, those of one k-step: the step's number is the lane's.
#[derive(Clone, Copy)]
struct Act {
    even: [v128; 2],
    odd: [v128; 2],
}

impl Act {
    #[inline(always)]
    fn new(q: &[i8; BLOCK]) -> Self {
        let q = q.as_ptr();
        // SAFETY: the reference is 32 readable bytes; `v128.load` asks for no alignment.
        let halves = unsafe { [v128_load(q.cast()), v128_load(q.add(16).cast())] };
        Self { even: halves.map(even_bytes), odd: halves.map(odd_bytes) }
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

/// The 32-bit lane `LANE` in all four.
#[inline(always)]
fn lane<const LANE: usize>(x: v128) -> v128 {
    i32x4_shuffle::<LANE, LANE, LANE, LANE>(x, x)
}

impl Codes for Q8 {
    const FORMAT: Format = Format::Q8;

    #[inline(always)]
    unsafe fn dots<const P: usize, const T: usize>(payload: [*const v128; P], q: &[Act; T]) -> [[v128; T]; P] {
        let mut sums = [[i32x4_splat(0); T]; P];
        for half in 0..2 {
            let (even, odd) = (q.map(|q| q.even[half]), q.map(|q| q.odd[half]));
            // SAFETY: the caller promises eight readable vectors.
            unsafe {
                let payload = payload.map(|payload| payload.add(4 * half));
                byte_step::<0, P, T>(payload, &even, &odd, &mut sums);
                byte_step::<1, P, T>(payload, &even, &odd, &mut sums);
                byte_step::<2, P, T>(payload, &even, &odd, &mut sums);
                byte_step::<3, P, T>(payload, &even, &odd, &mut sums);
            }
        }
        sums
    }
}

/// One k-step of bytes. Two products fit an i16, -128 included: 2 * 128 * 127 < 2^15.
///
/// # Safety
/// * Vector `LANE` of each of `payload` is readable.
#[inline(always)]
unsafe fn byte_step<const LANE: usize, const P: usize, const T: usize>(
    payload: [*const v128; P],
    even: &[v128; T],
    odd: &[v128; T],
    sums: &mut [[v128; T]; P],
) {
    // SAFETY: as the caller promises.
    let codes = payload.map(|payload| unsafe { v128_load(payload.add(LANE)) });
    let codes = codes.map(|codes| [even_bytes(codes), odd_bytes(codes)]);
    for (t, (even, odd)) in even.iter().zip(odd).enumerate() {
        let (even, odd) = (lane::<LANE>(*even), lane::<LANE>(*odd));
        for (sums, [even_codes, odd_codes]) in sums.iter_mut().zip(codes) {
            let products = i16x8_add(i16x8_mul(even_codes, even), i16x8_mul(odd_codes, odd));
            sums[t] = i32x4_add(sums[t], i32x4_extadd_pairwise_i16x8(products));
        }
    }
}

/// The products of a block's nibbles. A lane's sum, half a row, fits an i16: 16 * 15 * 127 = 30480.
///
/// # Safety
/// * Each of `payload` points to four readable vectors.
#[inline(always)]
unsafe fn nibble_dots<const P: usize, const T: usize>(payload: [*const v128; P], q: &[Act; T]) -> [[v128; T]; P] {
    let mut sums = [[i16x8_splat(0); T]; P];
    // SAFETY: the caller promises the same.
    unsafe {
        nibble_step::<0, P, T>(payload, q, &mut sums);
        nibble_step::<1, P, T>(payload, q, &mut sums);
        nibble_step::<2, P, T>(payload, q, &mut sums);
        nibble_step::<3, P, T>(payload, q, &mut sums);
    }
    sums.map(|sums| sums.map(|sums| i32x4_extadd_pairwise_i16x8(sums)))
}

/// One vector of nibbles: low ones are a k-step of the first four, high ones of the others.
///
/// # Safety
/// * Vector `LANE` of each of `payload` is readable.
#[inline(always)]
unsafe fn nibble_step<const LANE: usize, const P: usize, const T: usize>(
    payload: [*const v128; P],
    q: &[Act; T],
    sums: &mut [[v128; T]; P],
) {
    let mask = i16x8_splat(0x0f);
    // SAFETY: as the caller promises.
    let codes = payload.map(|payload| unsafe { v128_load(payload.add(LANE)) }).map(|codes| {
        [
            v128_and(codes, mask),
            v128_and(u16x8_shr(codes, 4), mask),
            v128_and(u16x8_shr(codes, 8), mask),
            u16x8_shr(codes, 12),
        ]
    });
    for (t, q) in q.iter().enumerate() {
        let q = [q.even[0], q.even[1], q.odd[0], q.odd[1]].map(lane::<LANE>);
        for (sums, codes) in sums.iter_mut().zip(codes) {
            for (codes, q) in codes.into_iter().zip(q) {
                sums[t] = i16x8_add(sums[t], i16x8_mul(codes, q));
            }
        }
    }
}

impl Codes for Q4 {
    const FORMAT: Format = Format::Q4;

    #[inline(always)]
    unsafe fn dots<const P: usize, const T: usize>(payload: [*const v128; P], q: &[Act; T]) -> [[v128; T]; P] {
        // SAFETY: the caller promises the same.
        unsafe { nibble_dots(payload, q) }
    }
}

impl Codes for Q4M {
    const FORMAT: Format = Format::Q4M;

    #[inline(always)]
    unsafe fn dots<const P: usize, const T: usize>(payload: [*const v128; P], q: &[Act; T]) -> [[v128; T]; P] {
        // SAFETY: the caller promises the same.
        unsafe { nibble_dots(payload, q) }
    }
}

/// Panels and tokens that are worked on together.
const PANELS: usize = 2;
const TOKENS: usize = 4;

fn quantised<C: Codes>(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) {
    let mut first = 0;
    let mut panels = panels;
    while panels.len() >= PANELS {
        let p = panels.start;
        strip::<C, PANELS>(w, p, x, first, out, how);
        first += PANELS * R;
        panels.start += PANELS;
    }
    for p in panels {
        strip::<C, 1>(w, p, x, first, out, how);
        first += R;
    }
}

/// `P` panels from `p` on, whose outputs begin at `first`, times all tokens.
#[inline(always)]
fn strip<C: Codes, const P: usize>(
    w: &Matrix<'_>,
    p: usize,
    x: &Input<'_>,
    first: usize,
    out: &mut Tile<'_>,
    how: Store,
) {
    let tokens = out.tokens().min(x.tokens);
    let panels = core::array::from_fn(|i| (w.panel_scales(p + i), w.panel_payload(p + i)));
    let rows = out.rows();
    let mut put = |t: usize, acc: [v128; P]| {
        for (i, acc) in acc.into_iter().enumerate() {
            let mut lanes = [0.0; R];
            store(&mut lanes, acc);
            let first = first + i * R;
            for (out, acc) in out.part(t, first, rows.saturating_sub(first).min(R)).iter_mut().zip(lanes) {
                how.put(out, acc);
            }
        }
    };
    let mut t = 0;
    while t + TOKENS <= tokens {
        let acts: [ActRow<'_>; TOKENS] = core::array::from_fn(|i| x.acts.row(t + i));
        for (i, acc) in panels_dots::<C, P, TOKENS>(&panels, &acts).into_iter().enumerate() {
            put(t + i, acc);
        }
        t += TOKENS;
    }
    while t < tokens {
        let [acc] = panels_dots::<C, P, 1>(&panels, &[x.acts.row(t)]);
        put(t, acc);
        t += 1;
    }
}

/// The rows of `P` panels, given as scales and payload, times `T` tokens.
#[inline(never)]
fn panels_dots<C: Codes, const P: usize, const T: usize>(
    panels: &[(&[u16], &[u8]); P],
    acts: &[ActRow<'_>; T],
) -> [[v128; P]; T] {
    let scale_groups = C::FORMAT.block_scales();
    let panels = panels.map(|(scales, payload)| (scales.as_chunks::<R>().0, payload.as_chunks::<16>().0));
    let acts = acts.each_ref().map(|act| (act.q.as_chunks::<BLOCK>().0, act.scale, act.sum));
    let mut blocks = usize::MAX;
    for (scales, payload) in panels {
        blocks = blocks.min(scales.len() / scale_groups).min(payload.len() / C::VECTORS);
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
            let dots = C::dots::<P, T>(panels.map(|(_, payload)| payload.as_ptr().add(b * C::VECTORS).cast()), &q);
            for (i, (dots, (scales, _))) in dots.into_iter().zip(panels).enumerate() {
                let at = b * scale_groups;
                let d = load_halves(scales.get_unchecked(at));
                let m = match C::FORMAT {
                    Format::Q4M => load_halves(scales.get_unchecked(at + 1)),
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
