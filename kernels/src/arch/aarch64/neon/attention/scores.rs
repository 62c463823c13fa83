//! The first pass: sixteen queries with [`KEYS`] keys, whose sums are in registers.

use core::arch::aarch64::*;

use super::{
    super::{
        float::{Element, F16, F32},
        load, store, widen_halves,
    },
    LANES, MAX_DIM, Quads, Seen, multiply, quads,
};
use crate::{BLOCK, CacheRows, Queries, arch::together::row};

/// Keys at once: sixteen sums.
pub(in super::super::super) const KEYS: usize = 4;
/// Blocks of a head.
const BLOCKS: usize = MAX_DIM / BLOCK;

/// The sums of each lane and some keys.
type Sums = [Quads; KEYS];

/// Scores of all positions of `keys`, which begin at position `first`, and each lane's largest. `None` when lengths do not fit
/// each other.
///
/// # Safety
/// * This CPU has NEON and the instructions of `B`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn all<B: Blocks>(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    seen: [Seen; 4],
    keys: &CacheRows<'_>,
    first: usize,
    scores: &mut [[f32; LANES]],
) -> Option<Quads> {
    let mut out = Out { scale: queries.att_scale, seen, first, max: [vdupq_n_f32(f32::NEG_INFINITY); 4] };
    match *keys {
        CacheRows::F32(keys) => floats::<F32>(queries, unit, keys, scores, &mut out)?,
        CacheRows::F16(keys) => floats::<F16>(queries, unit, keys, scores, &mut out)?,
        // SAFETY: the caller promises the instructions.
        CacheRows::I8 { q, scale } => unsafe { codes::<B>(queries, unit, q, scale, scores, &mut out)? },
    }
    Some(out.max)
}

/// Where scores go.
struct Out {
    scale: f32,
    seen: [Seen; 4],
    /// The position of the first key.
    first: usize,
    max: Quads,
}

impl Out {
    #[inline]
    #[target_feature(enable = "neon")]
    fn put(&mut self, at: usize, scores: &mut [[f32; LANES]], dots: &Sums) {
        for ((pos, out), dots) in (self.first + at..).zip(scores).zip(dots) {
            let lanes = out.as_chunks_mut::<4>().0.iter_mut().zip(dots);
            for ((out, dot), (max, seen)) in lanes.zip(self.max.iter_mut().zip(self.seen)) {
                let score = vmulq_n_f32(*dot, self.scale);
                store(out, score);
                // Select by comparison, not `fmax`: a NaN must not become the maximum.
                let larger = vandq_u32(seen.at(pos), vcgtq_f32(score, *max));
                *max = vbslq_f32(larger, score, *max);
            }
        }
    }
}

/// Writes element `i` of each lane's row to `to[i]`: four lanes and four floats at a time, the four from `at` on of
/// a lane being `from(lane, at)`.
#[inline]
#[target_feature(enable = "neon")]
fn spread(to: &mut [[f32; LANES]], from: impl Fn(usize, usize) -> Option<float32x4_t>) -> Option<()> {
    for (at, to) in (0..).step_by(4).zip(to.as_chunks_mut::<4>().0) {
        for quad in 0..4 {
            let row = |lane| from(4 * quad + lane, at);
            let mut columns = [[0.0; 4]; 4];
            transpose(&mut columns, [row(0)?, row(1)?, row(2)?, row(3)?]);
            for (to, column) in to.iter_mut().zip(columns) {
                *to.as_chunks_mut().0.get_mut(quad)? = column;
            }
        }
    }
    Some(())
}

/// Element `i` of all rows, for each `i`.
#[inline]
#[target_feature(enable = "neon")]
fn transpose(columns: &mut [[f32; 4]; 4], [a, b, c, d]: [float32x4_t; 4]) {
    // SAFETY: the reference is sixteen writable floats, which `st4` accesses with an element's alignment.
    unsafe { vst4q_f32(columns.as_mut_ptr().cast(), float32x4x4_t(a, b, c, d)) };
}

/// Some keys of `dim`; where they are fewer, the first stands for the rest, for whose scores there is no place.
#[inline]
fn group<T>(keys: &[T], dim: usize) -> Option<[&[T]; KEYS]> {
    let mut keys = keys.chunks_exact(dim.max(1));
    let mut out = [keys.next()?; KEYS];
    for (out, key) in out.iter_mut().skip(1).zip(keys) {
        *out = key;
    }
    Some(out)
}

// --- float caches -----------------------------------------------------------------------------------------------------

#[inline]
#[target_feature(enable = "neon")]
fn floats<E: Element>(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    keys: &[E::Stored],
    scores: &mut [[f32; LANES]],
    out: &mut Out,
) -> Option<()> {
    let dim = queries.head_dim;
    let mut x = [[0.0; LANES]; MAX_DIM];
    let x = x.get_mut(..dim)?;
    spread(x, |lane, at| Some(load(row(queries.x, *unit.get(lane)?, dim)?.get(at..)?.first_chunk()?)))?;
    // Element `i` of the keys, for each `i`.
    let mut wide = [[0.0; KEYS]; MAX_DIM];
    let wide = wide.get_mut(..dim)?;
    let groups = scores.chunks_mut(KEYS).zip(keys.chunks((KEYS * dim).max(1)));
    for (at, (scores, keys)) in (0..).step_by(KEYS).zip(groups) {
        let [a, b, c, d] = group(keys, dim)?;
        let keys = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
        let keys = keys.zip(c.as_chunks::<8>().0.iter().zip(d.as_chunks::<8>().0));
        for (wide, ((a, b), (c, d))) in wide.as_chunks_mut::<8>().0.iter_mut().zip(keys) {
            // SAFETY: each reference is eight readable elements. NEON as in this function.
            let [a, b, c, d] =
                unsafe { [E::load(a.as_ptr()), E::load(b.as_ptr()), E::load(c.as_ptr()), E::load(d.as_ptr())] };
            if let [low, high] = wide.as_chunks_mut::<4>().0 {
                transpose(low, [a[0], b[0], c[0], d[0]]);
                transpose(high, [a[1], b[1], c[1], d[1]]);
            }
        }
        out.put(at, scores, &dots(x.as_chunks::<8>().0, wide.as_chunks::<8>().0));
    }
    Some(())
}

/// The contract's sums over `head_dim`.
#[inline(never)]
#[target_feature(enable = "neon")]
fn dots(x: &[[[f32; LANES]; 8]], keys: &[[[f32; KEYS]; 8]]) -> Sums {
    // The partial sums in the order of the tree, so that few wait for others.
    let even = add(partial::<0>(x, keys), partial::<4>(x, keys));
    let even = add(even, add(partial::<2>(x, keys), partial::<6>(x, keys)));
    let odd = add(partial::<1>(x, keys), partial::<5>(x, keys));
    let odd = add(odd, add(partial::<3>(x, keys), partial::<7>(x, keys)));
    add(even, odd)
}

/// The partial sum over the elements `i` with `i % 8 == AT`.
#[inline]
#[target_feature(enable = "neon")]
fn partial<const AT: usize>(x: &[[[f32; LANES]; 8]], keys: &[[[f32; KEYS]; 8]]) -> Sums {
    let mut sums = [[vdupq_n_f32(0.0); 4]; KEYS];
    let [a, b, c, d] = &mut sums;
    for (x, keys) in x.iter().zip(keys) {
        let (x, keys) = (quads(&x[AT]), load(&keys[AT]));
        multiply::<0>(a, &x, keys);
        multiply::<1>(b, &x, keys);
        multiply::<2>(c, &x, keys);
        multiply::<3>(d, &x, keys);
    }
    sums
}

#[inline]
#[target_feature(enable = "neon")]
fn add(mut a: Sums, b: Sums) -> Sums {
    for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
        *a = vaddq_f32(*a, *b);
    }
    a
}

// --- int8 caches ------------------------------------------------------------------------------------------------------

/// A block of each query: four neighbouring codes of all lanes, then the next four.
pub(in super::super::super) type Codes = [[[i8; 4]; LANES]; BLOCK / 4];

/// The exact products of a block of each query with one of each key.
pub(in super::super::super) type Dots = [[int32x4_t; 4]; KEYS];

/// How an instruction set multiplies int8.
pub(in super::super::super) trait Blocks {
    /// Keys have 32 codes or, at their end, sixteen.
    ///
    /// # Safety
    /// * This CPU has the set's instructions.
    unsafe fn dots(q: &Codes, keys: [&[i8]; KEYS]) -> Dots;
}

/// Per block of 32 elements `acc = acc + (kd * qd) * isum`.
///
/// # Safety
/// * This CPU has NEON and the instructions of `B`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn codes<B: Blocks>(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    keys: &[i8],
    scale: &[u16],
    scores: &mut [[f32; LANES]],
    out: &mut Out,
) -> Option<()> {
    let dim = queries.head_dim;
    let blocks = dim.div_ceil(BLOCK);
    // Past the end of a head, queries are 0.
    let mut q: [Codes; BLOCKS] = [[[[0; 4]; LANES]; BLOCK / 4]; BLOCKS];
    let mut scales = [[0.0; LANES]; BLOCKS];
    for (lane, unit) in unit.iter().enumerate() {
        let codes = row(queries.q, *unit, blocks * BLOCK)?.as_chunks::<4>().0;
        for (q, codes) in q.as_flattened_mut().iter_mut().zip(codes) {
            *q.get_mut(lane)? = *codes;
        }
        for (scales, scale) in scales.iter_mut().zip(row(queries.scale, *unit, blocks)?) {
            *scales.get_mut(lane)? = *scale;
        }
    }
    let groups = scores.chunks_mut(KEYS).zip(keys.chunks((KEYS * dim).max(1))).zip(scale.chunks(KEYS));
    for (at, ((scores, keys), scale)) in (0..).step_by(KEYS).zip(groups) {
        let [a, b, c, d] = group(keys, dim)?;
        let keys = a.chunks(BLOCK).zip(b.chunks(BLOCK)).zip(c.chunks(BLOCK).zip(d.chunks(BLOCK)));
        let mut kd = [0; KEYS];
        crate::slice::copy(&mut kd, scale);
        // SAFETY: the array is eight readable bytes.
        let kd = widen_halves(unsafe { vld1_u16(kd.as_ptr()) });
        let mut acc = [[vdupq_n_f32(0.0); 4]; KEYS];
        for ((q, qd), ((a, b), (c, d))) in q.iter().zip(&scales).zip(keys) {
            // SAFETY: the caller promises the instructions.
            let isums = unsafe { B::dots(q, [a, b, c, d]) };
            let qd = quads(qd);
            let ([acc_a, acc_b, acc_c, acc_d], [a, b, c, d]) = (&mut acc, isums);
            scaled::<0>(acc_a, a, &qd, kd);
            scaled::<1>(acc_b, b, &qd, kd);
            scaled::<2>(acc_c, c, &qd, kd);
            scaled::<3>(acc_d, d, &qd, kd);
        }
        out.put(at, scores, &acc);
    }
    Some(())
}

/// Adds the products of a block with key `K`.
#[inline]
#[target_feature(enable = "neon")]
fn scaled<const K: i32>(acc: &mut Quads, isums: [int32x4_t; 4], qd: &Quads, kd: float32x4_t) {
    for ((acc, isum), qd) in acc.iter_mut().zip(isums).zip(qd) {
        *acc = vaddq_f32(*acc, vmulq_f32(vmulq_laneq_f32::<K>(*qd, kd), vcvtq_f32_s32(isum)));
    }
}

/// Four codes of sixteen queries.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super::super) fn codes_of(q: &[[i8; 4]; LANES]) -> [int8x16_t; 4] {
    let mut out = [vdupq_n_s8(0); 4];
    for (out, q) in out.iter_mut().zip(q.as_flattened().as_chunks::<16>().0) {
        *out = load_codes(q);
    }
    out
}

/// Sixteen codes.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super::super) fn load_codes(x: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference is sixteen readable bytes.
    unsafe { vld1q_s8(x.as_ptr()) }
}

/// Base NEON, whose products of two codes are int16.
pub(in super::super::super) struct Widening;

impl Blocks for Widening {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dots(q: &Codes, keys: [&[i8]; KEYS]) -> Dots {
        let mut sums = [[vdupq_n_s32(0); 4]; KEYS];
        for (half, [q0, q1, q2, q3]) in q.as_chunks::<4>().0.iter().enumerate() {
            for (sums, key) in sums.iter_mut().zip(keys) {
                let Some(key) = key.as_chunks::<16>().0.get(half) else { continue };
                let key = vreinterpretq_s32_s8(load_codes(key));
                four(sums, q0, vdupq_laneq_s32::<0>(key));
                four(sums, q1, vdupq_laneq_s32::<1>(key));
                four(sums, q2, vdupq_laneq_s32::<2>(key));
                four(sums, q3, vdupq_laneq_s32::<3>(key));
            }
        }
        sums
    }
}

/// Adds the products of four codes of each lane with a key's.
#[inline]
#[target_feature(enable = "neon")]
fn four(sums: &mut [int32x4_t; 4], q: &[[i8; 4]; LANES], key: int32x4_t) {
    let key = vreinterpretq_s8_s32(key);
    for (sum, q) in sums.iter_mut().zip(codes_of(q)) {
        let (low, high) = (vmull_s8(vget_low_s8(q), vget_low_s8(key)), vmull_high_s8(q, key));
        // Two products fit an i16: 2 * 128 * 127 < 2^15.
        *sum = vpadalq_s16(*sum, vpaddq_s16(low, high));
    }
}
