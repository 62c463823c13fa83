//! Products with float rows, of weights or of a float cache: eight partial sums in two registers, several rows or tokens
//! at a time so that additions do not wait for each other.

use core::{arch::wasm32::*, ops::Range};

use super::lanes::{Partial, finish, widen};
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
    fn load(from: &[Self::Stored; 8]) -> Partial;

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
    fn load(from: &[f32; 8]) -> Partial {
        // SAFETY: the reference is 32 readable bytes; `v128.load` asks for no alignment.
        unsafe { [v128_load(from.as_ptr().cast()), v128_load(from.as_ptr().add(4).cast())] }
    }

    #[inline(always)]
    fn widen(from: f32) -> f32 {
        from
    }
}

/// Eight halves or bfloat16.
#[inline(always)]
fn load_16(from: &[u16; 8]) -> v128 {
    // SAFETY: the reference is 16 readable bytes; `v128.load` asks for no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}

impl Element for F16 {
    type Stored = u16;

    #[inline(always)]
    fn load(from: &[u16; 8]) -> Partial {
        let halves = load_16(from);
        [widen(i32x4_extend_low_i16x8(halves)), widen(i32x4_extend_high_i16x8(halves))]
    }

    #[inline(always)]
    fn widen(from: u16) -> f32 {
        f16_to_f32(from)
    }
}

impl Element for BF16 {
    type Stored = u16;

    #[inline(always)]
    fn load(from: &[u16; 8]) -> Partial {
        let bits = load_16(from);
        let zero = i16x8_splat(0);
        [i16x8_shuffle::<8, 0, 9, 1, 10, 2, 11, 3>(bits, zero), i16x8_shuffle::<12, 4, 13, 5, 14, 6, 15, 7>(bits, zero)]
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
pub(super) fn dots<E: Element, const ROWS: usize, const T: usize>(
    rows: &[&[E::Stored]; ROWS],
    x: &[&[f32]; T],
) -> [[f32; T]; ROWS] {
    let len = rows.iter().map(|row| row.len()).chain(x.iter().map(|x| x.len())).min().unwrap_or(0);
    let eights = len / 8;
    let row_eights = rows.map(|row| row.as_chunks::<8>().0);
    let x_eights = x.map(|x| x.as_chunks::<8>().0);
    let mut partial = [[[f32x4_splat(0.0); 2]; T]; ROWS];
    for i in 0..eights {
        // SAFETY: `8 * i + 8 <= len`, and no slice is shorter than `len`.
        let x = x_eights.map(|x| F32::load(unsafe { x.get_unchecked(i) }));
        for (partial, row) in partial.iter_mut().zip(row_eights) {
            // SAFETY: as above.
            let [w_low, w_high] = E::load(unsafe { row.get_unchecked(i) });
            for ([low, high], [x_low, x_high]) in partial.iter_mut().zip(x) {
                *low = f32x4_add(*low, f32x4_mul(w_low, x_low));
                *high = f32x4_add(*high, f32x4_mul(w_high, x_high));
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

/// Output `index` of token `t`. Not worth a copy for each of its callers.
#[inline(never)]
fn put(out: &mut Tile<'_>, store: Store, index: usize, t: usize, dot: f32) {
    if let [out] = out.part(t, index, 1) {
        store.put(out, dot);
    }
}

/// See [`crate::scalar::matmul`]; `row_of(w, row)` is a row's elements.
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
    let mut put = |index: usize, t: usize, dot: f32| put(out, store, index, t, dot);
    let mut index = 0;
    while index < rows {
        // A pair of rows for two tokens at a time, then four rows for the token that is left; single rows at the end.
        let four = index + 4 <= rows;
        let mut t = 0;
        while four && t + 2 <= tokens {
            let x = [input(t), input(t + 1)];
            for pair in [index, index + 2] {
                for (r, dots) in dots::<E, 2, 2>(&[row(pair), row(pair + 1)], &x).into_iter().enumerate() {
                    for (i, dot) in dots.into_iter().enumerate() {
                        put(pair + r, t + i, dot);
                    }
                }
            }
            t += 2;
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
        index += if four { 4 } else { 1 };
    }
}
