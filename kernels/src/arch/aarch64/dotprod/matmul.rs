//! Products with quantised weights in panels of four rows.
//!
//! A 16-byte vector holds one k-step, four columns of each of four rows, which is what `sdot` multiplies with the four
//! activations in one lane of another register: eight of them make one block of four rows exact, with each row in a lane.
//! The float work is then one conversion, two multiplications and an addition. What a nibble of Q4 is too much, 8, leaves
//! through the block's sum of activations, from which the int32 accumulator starts.

use core::{arch::aarch64::*, ops::Range};

use super::{
    super::tiles::{
        Accs, ActBlocks, Blocks, Multiply, Packed, ROWS, fits, load_bytes, load_ints, load_q, put, scales, tiles,
    },
    sdot_lane,
};
use crate::{BLOCK, Format, Input, Matrix, Store, Tile, acts::Acts};

/// See [`crate::scalar::matmul`]; returns false, having done nothing, when the shapes do not fit each other.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    let tokens = out.tokens().min(x.tokens);
    if !fits(w, &panels, x, out) {
        return false;
    }
    // SAFETY: the instructions of `Sdot` are those enabled here.
    unsafe {
        match (w.format(), tokens) {
            (Format::Q8, 1) => matvec::<8, 1>(w, panels, &x.acts, out, how),
            (Format::Q4, 1) => matvec::<4, 1>(w, panels, &x.acts, out, how),
            (Format::Q4M, 1) => matvec::<4, 2>(w, panels, &x.acts, out, how),
            (Format::Q8, _) => tiles::<Sdot, 8, 1>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4, _) => tiles::<Sdot, 4, 1>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4M, _) => tiles::<Sdot, 4, 2>(w, panels, &x.acts, tokens, out, how),
            _ => return false,
        }
    }
    true
}

/// A block of weights, one vector a k-step; nibbles as bytes from 0 to 15.
#[inline]
#[target_feature(enable = "neon")]
fn unpack<const V: usize>(payload: &[[u8; 16]; V]) -> [int8x16_t; 8] {
    let mut w = [vdupq_n_s8(0); 8];
    if V == 8 {
        for (w, bytes) in w.iter_mut().zip(payload) {
            *w = vreinterpretq_s8_u8(load_bytes(bytes));
        }
    } else {
        // Low nibbles are the first four k-steps, high ones the others.
        let (low, high) = w.split_at_mut(4);
        for ((low, high), bytes) in low.iter_mut().zip(high).zip(payload) {
            let bytes = load_bytes(bytes);
            *low = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x0f)));
            *high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes));
        }
    }
    w
}

/// Adds one block's contribution to four rows' sums. `ad`: the activations' scale, `minimum`: its product with their sum.
#[inline]
#[target_feature(enable = "neon")]
fn add<const S: usize>(
    acc: float32x4_t,
    isum: int32x4_t,
    (d, m): (float32x4_t, float32x4_t),
    ad: f32,
    minimum: f32,
) -> float32x4_t {
    let product = vmulq_f32(vmulq_n_f32(d, ad), vcvtq_f32_s32(isum));
    if S == 2 { vaddq_f32(acc, vaddq_f32(product, vmulq_n_f32(m, minimum))) } else { vaddq_f32(acc, product) }
}

/// One token. One panel at a time, a single stream of memory; two blocks at a time, whose chains of `sdot` overlap.
#[target_feature(enable = "neon,dotprod")]
pub(in super::super) fn matvec<const V: usize, const S: usize>(
    w: &Matrix<'_>,
    panels: Range<usize>,
    acts: &Acts<'_>,
    out: &mut Tile<'_>,
    how: Store,
) {
    let Some(act) = ActBlocks::of(acts, 0, w.blocks()) else { return };
    let ((q, last_q), (ad, last_ad), (asum, last_asum)) =
        (act.q.as_chunks::<2>(), act.scale.as_chunks::<2>(), act.sum.as_chunks::<2>());
    for (out, p) in out.row(0).chunks_mut(ROWS).zip(panels) {
        let w = Blocks::<V, S>::of(w, p);
        let ((payload, last_payload), (d, last_d)) = (w.payload.as_chunks::<2>(), w.scales.as_chunks::<2>());
        let mut acc = vdupq_n_f32(0.0);
        for ((((payload, d), q), ad), asum) in payload.iter().zip(d).zip(q).zip(ad).zip(asum) {
            acc = blocks(acc, payload, d, q, ad, asum);
        }
        if let ([payload], [d], [q], [ad], [asum]) = (last_payload, last_d, last_q, last_ad, last_asum) {
            acc = blocks(acc, &[*payload], &[*d], &[*q], &[*ad], &[*asum]);
        }
        put(out, acc, how);
    }
}

/// `N` blocks of a panel with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn blocks<const V: usize, const S: usize, const N: usize>(
    mut acc: float32x4_t,
    payload: &[[[u8; 16]; V]; N],
    d: &[[[u16; ROWS]; S]; N],
    q: &[[i8; BLOCK]; N],
    ad: &[f32; N],
    asum: &[i32; N],
) -> float32x4_t {
    let mut isum = [vdupq_n_s32(0); N];
    if (V, S) == (4, 1) {
        for (isum, asum) in isum.iter_mut().zip(asum) {
            *isum = vdupq_n_s32(asum.wrapping_mul(-8));
        }
    }
    let mut weights = [[vdupq_n_s8(0); 8]; N];
    for (weights, payload) in weights.iter_mut().zip(payload) {
        *weights = unpack(payload);
    }
    let mut halves = [[vdupq_n_s8(0); 2]; N];
    for (halves, q) in halves.iter_mut().zip(q) {
        if let [first, second] = q.as_chunks::<8>().0.as_chunks::<2>().0 {
            *halves = [load_q(first), load_q(second)];
        }
    }
    macro_rules! steps {
        ($($step:literal: $half:literal $lane:literal,)*) => {$(
            for ((isum, weights), q) in isum.iter_mut().zip(&weights).zip(&halves) {
                *isum = sdot_lane::<$lane>(*isum, weights[$step], q[$half]);
            }
        )*};
    }
    steps!(0: 0 0, 1: 0 1, 2: 0 2, 3: 0 3, 4: 1 0, 5: 1 1, 6: 1 2, 7: 1 3,);
    for (((isum, d), ad), asum) in isum.iter().zip(d).zip(ad).zip(asum) {
        acc = add::<S>(acc, *isum, scales(d), *ad, ad * *asum as f32);
    }
    acc
}

/// `sdot` with several tokens: a pair has its first token's four rows, then its second's.
struct Sdot;

impl Multiply for Sdot {
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
    fn rows(acc: [float32x4_t; 2]) -> [float32x4_t; 2] {
        acc
    }
}

#[target_feature(enable = "neon,dotprod")]
fn multiply<const V: usize, const S: usize, const P: usize>(w: Blocks<'_, V, S>, acts: &[Packed], out: &mut Accs) {
    let Some(out) = out.first_chunk_mut::<P>() else { return };
    let mut acc = *out;
    for ((payload, d), acts) in w.payload.iter().zip(w.scales).zip(acts) {
        let weights = unpack(payload);
        let d = scales(d);
        let mut isum = [[vdupq_n_s32(0); 2]; P];
        if (V, S) == (4, 1) {
            for (isum, offset) in isum.iter_mut().zip(&acts.offset) {
                let offset = load_ints(offset);
                *isum = [vdupq_laneq_s32::<0>(offset), vdupq_laneq_s32::<1>(offset)];
            }
        }
        // Eight columns of a pair are two steps of the first token, then two of the second.
        macro_rules! columns {
            ($($index:literal: $even:literal $odd:literal,)*) => {$(
                for ([first, second], q) in isum.iter_mut().zip(&acts.q) {
                    let q = load_q(&q[$index]);
                    *first = sdot_lane::<0>(*first, weights[$even], q);
                    *second = sdot_lane::<2>(*second, weights[$even], q);
                    *first = sdot_lane::<1>(*first, weights[$odd], q);
                    *second = sdot_lane::<3>(*second, weights[$odd], q);
                }
            )*};
        }
        columns!(0: 0 1, 1: 2 3, 2: 4 5, 3: 6 7,);
        for ((acc, isum), (scale, offset)) in acc.iter_mut().zip(isum).zip(acts.scale.iter().zip(&acts.offset)) {
            for (((acc, isum), scale), offset) in acc.iter_mut().zip(isum).zip(scale).zip(offset) {
                *acc = add::<S>(*acc, isum, d, *scale, f32::from_bits(offset.cast_unsigned()));
            }
        }
    }
    *out = acc;
}
