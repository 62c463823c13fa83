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
        tiles::{
            Accs, Blocks, Multiply, PAIRS, Packed, Q4, Q4M, Q8, fits, load_bytes, load_floats, load_ints, load_q,
            scale_groups, scales, tiles, vectors,
        },
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
            (Format::Q8, 1) => matvec::<Q8>(w, panels, &x.acts, out, how),
            (Format::Q4, 1) => matvec::<Q4>(w, panels, &x.acts, out, how),
            (Format::Q4M, 1) => matvec::<Q4M>(w, panels, &x.acts, out, how),
            (Format::Q8, _) => tiles::<Smmla, Q8>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4, _) => tiles::<Smmla, Q4>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4M, _) => tiles::<Smmla, Q4M>(w, panels, &x.acts, tokens, out, how),
            _ => return false,
        }
    }
    true
}

/// `smmla` with several tokens: a pair has rows 0 and 1 of both tokens, then rows 2 and 3.
struct Smmla;

impl Multiply for Smmla {
    #[inline]
    unsafe fn multiply<const F: u8, const P: usize>(w: Blocks<'_>, acts: &[Packed], acc: &mut Accs) {
        // SAFETY: the caller promises the instructions.
        unsafe { multiply::<F, P>(w, acts, acc) }
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
fn unpack<const F: u8>(payload: &[[u8; 16]]) -> [[int8x16_t; 2]; 4] {
    let mut w = [[vdupq_n_s8(0); 2]; 4];
    let pairs = payload.as_chunks::<2>().0;
    if F == Q8 {
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

#[target_feature(enable = "neon,dotprod,i8mm")]
fn multiply<const F: u8, const P: usize>(w: Blocks<'_>, acts: &[Packed], out: &mut Accs) {
    let mut acc = *out;
    let blocks = w.payload.chunks_exact(vectors(F)).zip(w.scales.chunks_exact(scale_groups(F)));
    for ((payload, d), acts) in blocks.zip(acts) {
        let weights = unpack::<F>(payload);
        let (d, m) = scales::<F>(d);
        let factors = (twice(d), twice(m));
        // Four chains of `smmla` at a time.
        match P {
            1 => pairs::<F, 0, 1>(&weights, factors, acts, &mut acc),
            2 => pairs::<F, 0, 2>(&weights, factors, acts, &mut acc),
            3 => {
                pairs::<F, 0, 2>(&weights, factors, acts, &mut acc);
                pairs::<F, 2, 1>(&weights, factors, acts, &mut acc);
            }
            _ => {
                pairs::<F, 0, 2>(&weights, factors, acts, &mut acc);
                pairs::<F, 2, 2>(&weights, factors, acts, &mut acc);
            }
        }
    }
    *out = acc;
}

/// One block of a panel with `N` pairs from `FIRST` on.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
fn pairs<const F: u8, const FIRST: usize, const N: usize>(
    weights: &[[int8x16_t; 2]; 4],
    (d, m): ([float32x4_t; 2], [float32x4_t; 2]),
    acts: &Packed,
    acc: &mut Accs,
) {
    const { assert!(FIRST + N <= PAIRS) };
    let mut isum = [[vdupq_n_s32(0); 2]; N];
    if F == Q4 {
        for (isum, offset) in isum.iter_mut().zip(acts.offset.iter().skip(FIRST)) {
            *isum = [load_ints(offset); 2];
        }
    }
    for (columns, weights) in weights.iter().enumerate() {
        for (isum, q) in isum.iter_mut().zip(acts.q.iter().skip(FIRST)) {
            let Some(q) = q.get(columns) else { continue };
            let q = load_q(q);
            for (isum, weights) in isum.iter_mut().zip(weights) {
                *isum = smmla(*isum, *weights, q);
            }
        }
    }
    let factors = acts.scale.iter().zip(&acts.offset).skip(FIRST);
    for ((acc, isum), (scale, offset)) in acc.iter_mut().skip(FIRST).zip(isum).zip(factors) {
        let (scale, minimum) = (load_floats(scale), vreinterpretq_f32_s32(load_ints(offset)));
        for (((acc, isum), d), m) in acc.iter_mut().zip(isum).zip(d).zip(m) {
            let product = vmulq_f32(vmulq_f32(d, scale), vcvtq_f32_s32(isum));
            let step = if F == Q4M { vaddq_f32(product, vmulq_f32(m, minimum)) } else { product };
            *acc = vaddq_f32(*acc, step);
        }
    }
}
