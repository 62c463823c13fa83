//! Products with float rows, of weights or of a float cache: eight partial sums in two registers, several rows or tokens
//! at a time so that additions do not wait for each other.

use core::{arch::aarch64::*, ops::Range};

use super::{Partial, finish, widen_halves, widen_high_halves};
use crate::{
    Input, Matrix, Store, Tile,
    float16::{bf16_to_f32, f16_to_f32},
    matrix::FLOAT_UNIT,
};

/// A stored number that is read as `f32`.
pub(super) trait Element {
    /// How it is stored.
    type Stored: Copy;

    /// Eight of them.
    ///
    /// # Safety
    /// * NEON; `from` points to eight readable elements.
    unsafe fn load(from: *const Self::Stored) -> Partial;

    /// One of them.
    fn widen(from: Self::Stored) -> f32;
}

/// `f32`.
pub(super) struct F32;
/// f16 bits.
pub(super) struct F16;
/// bfloat16 bits.
pub(super) struct BF16;

impl Element for F32 {
    type Stored = f32;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Partial {
        // SAFETY: the caller promises NEON and eight readable elements.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }

    #[inline(always)]
    fn widen(from: f32) -> f32 {
        from
    }
}

impl Element for F16 {
    type Stored = u16;

    #[inline(always)]
    unsafe fn load(from: *const u16) -> Partial {
        // SAFETY: the caller promises NEON and eight readable elements.
        unsafe {
            let halves = vld1q_u16(from);
            [widen_halves(vget_low_u16(halves)), widen_high_halves(halves)]
        }
    }

    #[inline(always)]
    fn widen(from: u16) -> f32 {
        f16_to_f32(from)
    }
}

impl Element for BF16 {
    type Stored = u16;

    #[inline(always)]
    unsafe fn load(from: *const u16) -> Partial {
        // SAFETY: the caller promises NEON and eight readable elements.
        unsafe {
            let halves = vld1q_u16(from);
            [
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(halves))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(halves)),
            ]
        }
    }

    #[inline(always)]
    fn widen(from: u16) -> f32 {
        bf16_to_f32(from)
    }
}

/// Products of `ROWS` rows with each of `T` vectors, each the contract's vector sum.
///
/// Every sum is over as many elements as the shortest of them has; all are meant to have the same length.
#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn dots<E: Element, const ROWS: usize, const T: usize>(
    rows: &[&[E::Stored]; ROWS],
    x: &[&[f32]; T],
) -> [[f32; T]; ROWS] {
    let len = rows.iter().map(|row| row.len()).chain(x.iter().map(|x| x.len())).min().unwrap_or(0);
    let eights = len / 8;
    let mut partial = [[[vdupq_n_f32(0.0); 2]; T]; ROWS];
    for i in 0..eights {
        // SAFETY: `8 * i + 8 <= len`, and no slice is shorter than `len`. NEON as in this function.
        unsafe {
            let x: [Partial; T] = core::array::from_fn(|t| F32::load(x[t].as_ptr().add(8 * i)));
            for (partial, row) in partial.iter_mut().zip(rows) {
                let [w_low, w_high] = E::load(row.as_ptr().add(8 * i));
                for ([low, high], [x_low, x_high]) in partial.iter_mut().zip(x) {
                    *low = vaddq_f32(*low, vmulq_f32(w_low, x_low));
                    *high = vaddq_f32(*high, vmulq_f32(w_high, x_high));
                }
            }
        }
    }
    let mut out = [[0.0; T]; ROWS];
    for ((out, partial), row) in out.iter_mut().zip(partial).zip(rows) {
        for ((out, partial), x) in out.iter_mut().zip(partial).zip(x) {
            let tail = row.iter().zip(*x).skip(8 * eights).map(|(w, x)| E::widen(*w) * x);
            *out = finish(partial, tail);
        }
    }
    out
}

/// `rows_of(w, row)` is a row's elements.
#[target_feature(enable = "neon")]
pub(super) fn matmul<'a, E: Element>(
    w: &Matrix<'a>,
    panels: Range<usize>,
    x: &Input<'_>,
    out: &mut Tile<'_>,
    store: Store,
    row_of: fn(&Matrix<'a>, usize) -> &'a [E::Stored],
) where
    E::Stored: 'a,
{
    let first = panels.start.saturating_mul(FLOAT_UNIT);
    let (rows, tokens) = (out.rows(), out.tokens().min(x.tokens));
    let row = |index: usize| row_of(w, first.saturating_add(index));
    let input = |t: usize| x.row(t, w.cols());
    let mut put = |index: usize, t: usize, dot: f32| {
        if let [out] = out.part(t, index, 1) {
            store.put(out, dot);
        }
    };
    let mut index = 0;
    while index < rows {
        // A pair of rows for four tokens at a time, then four rows for each token that is left; single rows at the end.
        let four = index + 4 <= rows;
        let take = if four { 4 } else { 1 };
        let mut t = 0;
        while t + 4 <= tokens {
            let x = [input(t), input(t + 1), input(t + 2), input(t + 3)];
            if four {
                for pair in [index, index + 2] {
                    for (r, dots) in dots::<E, 2, 4>(&[row(pair), row(pair + 1)], &x).into_iter().enumerate() {
                        for (i, dot) in dots.into_iter().enumerate() {
                            put(pair + r, t + i, dot);
                        }
                    }
                }
            } else {
                let [dots] = dots::<E, 1, 4>(&[row(index)], &x);
                for (i, dot) in dots.into_iter().enumerate() {
                    put(index, t + i, dot);
                }
            }
            t += 4;
        }
        while t < tokens {
            if four {
                let rows = [row(index), row(index + 1), row(index + 2), row(index + 3)];
                for (r, [dot]) in dots::<E, 4, 1>(&rows, &[input(t)]).into_iter().enumerate() {
                    put(index + r, t, dot);
                }
            } else {
                let [[dot]] = dots::<E, 1, 1>(&[row(index)], &[input(t)]);
                put(index, t, dot);
            }
            t += 1;
        }
        index += take;
    }
}
