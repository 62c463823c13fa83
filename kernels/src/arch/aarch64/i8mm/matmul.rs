//! Products of panels of four rows with pairs of tokens.
//!
//! Two vectors of a panel are two k-steps, four columns of each of four rows. Zipped by words they are eight columns of rows
//! 0 and 1, and of rows 2 and 3, which `smmla` multiplies with the same eight columns of two tokens. Eight `smmla` make one
//! block of four rows and two tokens exact, two lanes a row. The sums stay in that order to the last block: scales are
//! doubled to fit, `[d0, d0, d1, d1]` for the rows and `[a0, a1, a0, a1]` for the tokens.

use core::{arch::aarch64::*, ops::Range};

use super::{
    super::{
        dotprod::matmul::matvec,
        tiles::{Accs, Blocks, Multiply, Packed, fits, load_bytes, load_floats, load_ints, load_q, scales, tiles},
    },
    smmla,
};
use crate::{Format, Input, Matrix, Store, Tile};

/// See [`crate::scalar::matmul`]; returns false, having done nothing, when the shapes do not fit each other.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    let tokens = out.tokens().min(x.tokens);
    if !fits(w, &panels, x, out) {
        return false;
    }
    // SAFETY: the instructions of `Smmla` are those enabled here.
    unsafe {
        match (w.format(), tokens) {
            // With one token, half of each `smmla` would be for nothing, and `sdot` does as much.
            (Format::Q8, 1) => matvec::<8, 1>(w, panels, &x.acts, out, how),
            (Format::Q4, 1) => matvec::<4, 1>(w, panels, &x.acts, out, how),
            (Format::Q4M, 1) => matvec::<4, 2>(w, panels, &x.acts, out, how),
            (Format::Q8, _) => tiles::<Smmla, 8, 1>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4, _) => tiles::<Smmla, 4, 1>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4M, _) => tiles::<Smmla, 4, 2>(w, panels, &x.acts, tokens, out, how),
            _ => return false,
        }
    }
    true
}

/// `smmla` with several tokens: a pair has rows 0 and 1 of both tokens, then rows 2 and 3.
struct Smmla;

impl Multiply for Smmla {
    #[inline]
    unsafe fn multiply<const V: usize, const S: usize, const P: usize>(
        w: Blocks<'_, V, S>,
        acts: &[Packed],
        acc: &mut Accs,
    ) {
        // SAFETY: the caller promises the instructions.
        unsafe { multiply::<V, S, P>(w, acts, acc) }
    }

    #[inline]
    fn rows([first, second]: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: this module is compiled only where every CPU of the target has NEON.
        unsafe { [vuzp1q_f32(first, second), vuzp2q_f32(first, second)] }
    }
}

/// A block of weights: eight columns of rows 0 and 1, and of rows 2 and 3, four times; nibbles as bytes from 0 to 15.
#[inline]
#[target_feature(enable = "neon")]
fn unpack<const V: usize>(payload: &[[u8; 16]; V]) -> [[int8x16_t; 2]; 4] {
    let mut w = [[vdupq_n_s8(0); 2]; 4];
    let pairs = payload.as_chunks::<2>().0;
    if V == 8 {
        for (w, pair) in w.iter_mut().zip(pairs) {
            *w = zip(pair).map(|bytes| vreinterpretq_s8_u8(bytes));
        }
    } else {
        // Low nibbles are the first four k-steps, high ones the others.
        let (low, high) = w.split_at_mut(2);
        for ((low, high), pair) in low.iter_mut().zip(high).zip(pairs) {
            let rows = zip(pair);
            *low = rows.map(|bytes| vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x0f))));
            *high = rows.map(|bytes| vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes)));
        }
    }
    w
}

/// Two k-steps of four rows as two of rows 0 and 1, and of rows 2 and 3.
#[inline]
#[target_feature(enable = "neon")]
fn zip([first, second]: &[[u8; 16]; 2]) -> [uint8x16_t; 2] {
    let (a, b) = (vreinterpretq_u32_u8(load_bytes(first)), vreinterpretq_u32_u8(load_bytes(second)));
    [vreinterpretq_u8_u32(vzip1q_u32(a, b)), vreinterpretq_u8_u32(vzip2q_u32(a, b))]
}

/// Each of four rows' numbers twice.
#[inline]
#[target_feature(enable = "neon")]
fn twice(x: float32x4_t) -> [float32x4_t; 2] {
    [vzip1q_f32(x, x), vzip2q_f32(x, x)]
}

#[target_feature(enable = "neon,i8mm")]
fn multiply<const V: usize, const S: usize, const P: usize>(w: Blocks<'_, V, S>, acts: &[Packed], out: &mut Accs) {
    let Some(out) = out.first_chunk_mut::<P>() else { return };
    let mut acc = *out;
    for ((payload, d), acts) in w.payload.iter().zip(w.scales).zip(acts) {
        let weights = unpack(payload);
        let (d, m) = scales(d);
        let (d, m) = (twice(d), twice(m));
        let mut isum = [[vdupq_n_s32(0); 2]; P];
        if (V, S) == (4, 1) {
            for (isum, offset) in isum.iter_mut().zip(&acts.offset) {
                *isum = [load_ints(offset); 2];
            }
        }
        macro_rules! columns {
            ($($index:literal)*) => {$(
                for ([first, second], q) in isum.iter_mut().zip(&acts.q) {
                    let q = load_q(&q[$index]);
                    *first = smmla(*first, weights[$index][0], q);
                    *second = smmla(*second, weights[$index][1], q);
                }
            )*};
        }
        columns!(0 1 2 3);
        for ((acc, isum), (scale, offset)) in acc.iter_mut().zip(isum).zip(acts.scale.iter().zip(&acts.offset)) {
            let (scale, minimum) = (load_floats(scale), vreinterpretq_f32_s32(load_ints(offset)));
            for (((acc, isum), d), m) in acc.iter_mut().zip(isum).zip(d).zip(m) {
                let product = vmulq_f32(vmulq_f32(d, scale), vcvtq_f32_s32(isum));
                let step = if S == 2 { vaddq_f32(product, vmulq_f32(m, minimum)) } else { product };
                *acc = vaddq_f32(*acc, step);
            }
        }
    }
    *out = acc;
}
