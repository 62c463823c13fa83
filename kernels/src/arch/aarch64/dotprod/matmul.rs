//! Products with quantised weights in panels of four rows.
//!
//! A 16-byte vector holds one k-step, four columns of each of four rows, which is what `sdot` multiplies with the four
//! activations in one lane of another register: eight of them make one block of four rows exact, with each row in a lane.
//! The float work is then one conversion, two multiplications and an addition. What a nibble of Q4 is too much, 8, leaves
//! through the block's sum of activations, from which the int32 accumulator starts.

use core::{arch::aarch64::*, ops::Range};

use super::{
    super::tiles::{
        Accs, ActBlocks, Blocks, Multiply, PAIRS, Packed, Q4, Q4M, Q8, ROWS, fits, load_bytes, load_ints, load_q,
        offset, put, scale_groups, scales, tiles, vectors,
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
            (Format::Q8, 1) => matvec::<Q8>(w, panels, &x.acts, out, how),
            (Format::Q4, 1) => matvec::<Q4>(w, panels, &x.acts, out, how),
            (Format::Q4M, 1) => matvec::<Q4M>(w, panels, &x.acts, out, how),
            (Format::Q8, _) => tiles::<Sdot, Q8>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4, _) => tiles::<Sdot, Q4>(w, panels, &x.acts, tokens, out, how),
            (Format::Q4M, _) => tiles::<Sdot, Q4M>(w, panels, &x.acts, tokens, out, how),
            _ => return false,
        }
    }
    true
}

/// A block of weights, one vector a k-step; nibbles as bytes from 0 to 15.
#[inline]
#[target_feature(enable = "neon")]
fn unpack<const F: u8>(payload: &[[u8; 16]]) -> [int8x16_t; 8] {
    let mut w = [vdupq_n_s8(0); 8];
    if F == Q8 {
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

/// Adds one block's contribution to four rows' sums. `ad`, `minimum`: the activations' scale, and its product with their sum.
#[inline]
#[target_feature(enable = "neon")]
fn add<const F: u8>(
    acc: float32x4_t,
    isum: int32x4_t,
    d: float32x4_t,
    m: float32x4_t,
    ad: f32,
    minimum: f32,
) -> float32x4_t {
    let product = vmulq_f32(vmulq_n_f32(d, ad), vcvtq_f32_s32(isum));
    if F == Q4M { vaddq_f32(acc, vaddq_f32(product, vmulq_n_f32(m, minimum))) } else { vaddq_f32(acc, product) }
}

/// One token. One panel at a time, a single stream of memory; two blocks at a time, whose chains of `sdot` overlap.
#[target_feature(enable = "neon,dotprod")]
pub(in super::super) fn matvec<const F: u8>(
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
        let w = Blocks::of(w, p);
        let mut payload = w.payload.chunks_exact(2 * vectors(F));
        let mut d = w.scales.chunks_exact(2 * scale_groups(F));
        let mut acc = vdupq_n_f32(0.0);
        for ((((payload, d), q), ad), asum) in (&mut payload).zip(&mut d).zip(q).zip(ad).zip(asum) {
            acc = blocks::<F, 2>(acc, payload, d, q, ad, asum);
        }
        if let (payload, d, [q], [ad], [asum]) = (payload.remainder(), d.remainder(), last_q, last_ad, last_asum) {
            acc = blocks::<F, 1>(acc, payload, d, &[*q], &[*ad], &[*asum]);
        }
        put(out, acc, how);
    }
}

/// `N` blocks of a panel with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn blocks<const F: u8, const N: usize>(
    mut acc: float32x4_t,
    payload: &[[u8; 16]],
    d: &[[u16; ROWS]],
    q: &[[i8; BLOCK]; N],
    ad: &[f32; N],
    asum: &[i32; N],
) -> float32x4_t {
    let mut weights = [[vdupq_n_s8(0); 8]; N];
    for (weights, payload) in weights.iter_mut().zip(payload.chunks_exact(vectors(F))) {
        *weights = unpack::<F>(payload);
    }
    let mut isum = [vdupq_n_s32(0); N];
    if F == Q4 {
        for (isum, asum) in isum.iter_mut().zip(asum) {
            *isum = vdupq_n_s32(offset::<F>(0.0, *asum));
        }
    }
    let halves = |q: &[i8; BLOCK]| match q.as_chunks::<8>().0.as_chunks::<2>().0 {
        [first, second] => [load_q(first), load_q(second)],
        _ => [vdupq_n_s8(0); 2],
    };
    let q = q.each_ref().map(halves);
    macro_rules! steps {
        ($(($step:literal, $half:literal, $lane:literal))*) => {$(
            for ((isum, weights), q) in isum.iter_mut().zip(&weights).zip(&q) {
                *isum = sdot_lane::<$lane>(*isum, weights[$step], q[$half]);
            }
        )*};
    }
    steps!((0, 0, 0)(1, 0, 1)(2, 0, 2)(3, 0, 3)(4, 1, 0)(5, 1, 1)(6, 1, 2)(7, 1, 3));
    let d = d.chunks_exact(scale_groups(F));
    for (((isum, d), ad), asum) in isum.into_iter().zip(d).zip(ad).zip(asum) {
        let (d, m) = scales::<F>(d);
        acc = add::<F>(acc, isum, d, m, *ad, ad * *asum as f32);
    }
    acc
}

/// `sdot` with several tokens: a pair has its first token's four rows, then its second's.
struct Sdot;

impl Multiply for Sdot {
    #[inline]
    unsafe fn multiply<const F: u8, const P: usize>(w: Blocks<'_>, acts: &[Packed], acc: &mut Accs) {
        // SAFETY: the caller promises the instructions.
        unsafe { multiply::<F, P>(w, acts, acc) }
    }

    #[inline]
    fn rows(acc: [float32x4_t; 2]) -> [float32x4_t; 2] {
        acc
    }
}

#[target_feature(enable = "neon,dotprod")]
fn multiply<const F: u8, const P: usize>(w: Blocks<'_>, acts: &[Packed], out: &mut Accs) {
    let mut acc = *out;
    let blocks = w.payload.chunks_exact(vectors(F)).zip(w.scales.chunks_exact(scale_groups(F)));
    for ((payload, d), acts) in blocks.zip(acts) {
        let weights = unpack::<F>(payload);
        let d = scales::<F>(d);
        // Four chains of `sdot` at a time.
        match P {
            1 => pairs::<F, 0, 1>(&weights, d, acts, &mut acc),
            2 => pairs::<F, 0, 2>(&weights, d, acts, &mut acc),
            3 => {
                pairs::<F, 0, 2>(&weights, d, acts, &mut acc);
                pairs::<F, 2, 1>(&weights, d, acts, &mut acc);
            }
            _ => {
                pairs::<F, 0, 2>(&weights, d, acts, &mut acc);
                pairs::<F, 2, 2>(&weights, d, acts, &mut acc);
            }
        }
    }
    *out = acc;
}

/// One block of a panel with `N` pairs from `FIRST` on.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn pairs<const F: u8, const FIRST: usize, const N: usize>(
    weights: &[int8x16_t; 8],
    (d, m): (float32x4_t, float32x4_t),
    acts: &Packed,
    acc: &mut Accs,
) {
    const { assert!(FIRST + N <= PAIRS) };
    let mut isum = [[vdupq_n_s32(0); 2]; N];
    if F == Q4 {
        for (isum, offset) in isum.iter_mut().zip(acts.offset.iter().skip(FIRST)) {
            let offset = load_ints(offset);
            *isum = [vdupq_laneq_s32::<0>(offset), vdupq_laneq_s32::<1>(offset)];
        }
    }
    // Eight columns of a pair are two steps of the first token, then two of the second.
    for (columns, [even, odd]) in weights.as_chunks::<2>().0.iter().enumerate() {
        let mut q = [vdupq_n_s8(0); N];
        for (q, packed) in q.iter_mut().zip(acts.q.iter().skip(FIRST)) {
            *q = packed.get(columns).map_or(*q, |packed| load_q(packed));
        }
        for ([first, second], q) in isum.iter_mut().zip(q) {
            *first = sdot_lane::<0>(*first, *even, q);
            *second = sdot_lane::<2>(*second, *even, q);
        }
        for ([first, second], q) in isum.iter_mut().zip(q) {
            *first = sdot_lane::<1>(*first, *odd, q);
            *second = sdot_lane::<3>(*second, *odd, q);
        }
    }
    let factors = acts.scale.iter().zip(&acts.offset).skip(FIRST);
    for ((acc, isum), (scale, offset)) in acc.iter_mut().skip(FIRST).zip(isum).zip(factors) {
        for (((acc, isum), scale), offset) in acc.iter_mut().zip(isum).zip(scale).zip(offset) {
            *acc = add::<F>(*acc, isum, d, m, *scale, f32::from_bits(offset.cast_unsigned()));
        }
    }
}
