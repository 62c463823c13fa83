//! Operations on one vector.

use core::arch::wasm32::*;

use super::{
    lanes::{finish, load, magnitude_bits, max_lane, store, store_bytes, sum_lanes},
    math::{exp, exp_cut_sum},
};
use crate::{BLOCK, Gate, NotFinite, Pairs, acts::ActRowMut, math::ROUND_MAGIC, scalar};

/// Rounded to integers, ties to even, for |x| < 2^22: [`scalar::round`].
#[inline(always)]
pub(super) fn round(x: v128) -> v128 {
    let magic = f32x4_splat(ROUND_MAGIC);
    i32x4_sub(f32x4_add(x, magic), magic)
}

/// See [`scalar::quantise`].
pub(super) fn quantise(x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
    let mut out = row.q.as_chunks_mut::<BLOCK>().0.iter_mut().zip(row.scale).zip(row.sum);
    let (blocks, rest) = x.as_chunks::<BLOCK>();
    for (x, ((q, scale), sum)) in blocks.iter().zip(&mut out) {
        (*scale, *sum) = quantise_block(x, q)?;
    }
    if !rest.is_empty()
        && let Some(((q, scale), sum)) = out.next()
    {
        let mut x = [0.0; BLOCK];
        crate::slice::copy(&mut x, rest);
        (*scale, *sum) = quantise_block(&x, q)?;
    }
    Ok(())
}

/// Scale and sum of a block.
#[inline]
fn quantise_block(x: &[f32; BLOCK], q: &mut [i8; BLOCK]) -> Result<(f32, i32), NotFinite> {
    let mut max = i32x4_splat(0);
    for x in x.as_chunks::<4>().0 {
        max = i32x4_max(max, magnitude_bits(load(x)));
    }
    let max = max_lane(max);
    if max >= scalar::INFINITE {
        return Err(NotFinite);
    }
    let (id, scale) = if max < scalar::SMALLEST {
        (0.0, 0.0)
    } else {
        let max = f32::from_bits(max);
        (127.0 / max, max / 127.0)
    };
    let id = f32x4_splat(id);
    let mut sum = i32x4_splat(0);
    for (x, q) in x.as_chunks::<16>().0.iter().zip(q.as_chunks_mut::<16>().0) {
        if let [a, b, c, d] = x.as_chunks::<4>().0 {
            let codes = [a, b, c, d].map(|x| round(f32x4_mul(load(x), id)));
            sum = codes.iter().fold(sum, |sum, codes| i32x4_add(sum, *codes));
            store_bytes(q, codes);
        }
    }
    Ok((scale, sum_lanes(sum)))
}

/// The contract's sum of `term(x[i])`, given for four elements and for one.
#[inline(always)]
fn sum(x: &[f32], term: impl Fn(v128) -> v128, one: impl Fn(f32) -> f32) -> f32 {
    let (eights, rest) = x.as_chunks::<8>();
    let [mut low, mut high] = [f32x4_splat(0.0); 2];
    for x in eights {
        if let [a, b] = x.as_chunks::<4>().0 {
            low = f32x4_add(low, term(load(a)));
            high = f32x4_add(high, term(load(b)));
        }
    }
    finish([low, high], rest.iter().map(|x| one(*x)))
}

/// See [`scalar::rmsnorm`].
pub(super) fn rmsnorm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let r = scalar::rms_factor(sum(x, |x| f32x4_mul(x, x), |x| x * x), x.len(), eps)?;
    let r4 = f32x4_splat(r);
    let ((x, x_rest), (weight, weight_rest)) = (x.as_chunks::<4>(), weight.as_chunks::<4>());
    let (out, out_rest) = out.as_chunks_mut::<4>();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        store(out, f32x4_mul(f32x4_mul(load(x), r4), load(weight)));
    }
    for ((out, x), weight) in out_rest.iter_mut().zip(x_rest).zip(weight_rest) {
        *out = (x * r) * weight;
    }
    Ok(())
}

/// See [`scalar::layernorm`].
pub(super) fn layernorm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let mean = sum(x, |x| x, |x| x) / x.len() as f32;
    let mean4 = f32x4_splat(mean);
    let square = |x: v128| {
        let x = f32x4_sub(x, mean4);
        f32x4_mul(x, x)
    };
    let r = scalar::rms_factor(sum(x, square, |x| (x - mean) * (x - mean)), x.len(), eps)?;
    let r4 = f32x4_splat(r);
    let ((x, x_rest), (weight, weight_rest)) = (x.as_chunks::<4>(), weight.as_chunks::<4>());
    let ((bias, bias_rest), (out, out_rest)) = (bias.as_chunks::<4>(), out.as_chunks_mut::<4>());
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        let scaled = f32x4_mul(f32x4_sub(load(x), mean4), r4);
        store(out, f32x4_add(f32x4_mul(scaled, load(weight)), load(bias)));
    }
    for (((out, x), weight), bias) in out_rest.iter_mut().zip(x_rest).zip(weight_rest).zip(bias_rest) {
        *out = ((x - mean) * r) * weight + bias;
    }
    Ok(())
}

/// See [`scalar::softmax`].
pub(super) fn softmax(x: &mut [f32]) {
    let (fours, rest) = x.as_chunks::<4>();
    // `pmax(a, b)` is `a < b ? b : a`: a NaN does not become the maximum.
    let lanes = fours.iter().fold(f32x4_splat(f32::NEG_INFINITY), |lanes, x| f32x4_pmax(lanes, load(x)));
    let mut max = [0.0; 4];
    store(&mut max, lanes);
    let max = max.iter().chain(rest).fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
    let total = exp_cut_sum(x, max);
    let (fours, rest) = x.as_chunks_mut::<4>();
    let total4 = f32x4_splat(total);
    for x in fours {
        store(x, f32x4_div(load(x), total4));
    }
    for x in rest {
        *x /= total;
    }
}

/// See [`scalar::rotate`].
pub(super) fn rotate(x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
    let turns = cos_sin.as_chunks::<8>().0;
    match pairs {
        Pairs::Interleaved => {
            let count = x.len().min(cos_sin.len()) / 8;
            let Some((eights, rest)) = x.split_at_mut_checked(count * 8) else { return };
            for (x, turn) in eights.as_chunks_mut::<8>().0.iter_mut().zip(turns) {
                if let [low, high] = x.as_chunks_mut::<4>().0 {
                    let (a, b) = unzip(load(low), load(high));
                    let (a, b) = turn_four(a, b, turn);
                    store(low, i32x4_shuffle::<0, 4, 1, 5>(a, b));
                    store(high, i32x4_shuffle::<2, 6, 3, 7>(a, b));
                }
            }
            scalar::rotate(rest, cos_sin.get(count * 8..).unwrap_or(&[]), pairs);
        }
        Pairs::HalfSplit => {
            let half = x.len() / 2;
            let Some((first, second)) = x.split_at_mut_checked(half) else { return };
            let count = half.min(cos_sin.len() / 2) / 4;
            let ((first, first_rest), (second, second_rest)) = (split_fours(first, count), split_fours(second, count));
            for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                let (turned_a, turned_b) = turn_four(load(a), load(b), turn);
                store(a, turned_a);
                store(b, turned_b);
            }
            let turns = cos_sin.get(count * 8..).unwrap_or(&[]).as_chunks::<2>().0;
            for ((a, b), cs) in first_rest.iter_mut().zip(second_rest).zip(turns) {
                scalar::turn(a, b, *cs);
            }
        }
    }
}

/// The first `count` groups of four, and what follows them.
fn split_fours(x: &mut [f32], count: usize) -> (&mut [[f32; 4]], &mut [f32]) {
    let (fours, rest) = x.split_at_mut_checked(count * 4).unwrap_or_default();
    (fours.as_chunks_mut::<4>().0, rest)
}

/// Elements of even and of odd index.
#[inline(always)]
fn unzip(low: v128, high: v128) -> (v128, v128) {
    (i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high))
}

/// Four pairs turned.
#[inline(always)]
fn turn_four(a: v128, b: v128, turn: &[f32; 8]) -> (v128, v128) {
    let [low, high] = turn.as_chunks::<4>().0 else { return (a, b) };
    let (c, s) = unzip(load(low), load(high));
    (f32x4_sub(f32x4_mul(a, c), f32x4_mul(b, s)), f32x4_add(f32x4_mul(a, s), f32x4_mul(b, c)))
}

/// See [`scalar::gate`].
pub(super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    let one = f32x4_splat(1.0);
    let function = function.narrowed();
    match function {
        Gate::Silu => gate_by(function, gate, up, |x| f32x4_div(x, f32x4_add(one, exp(f32x4_neg(x))))),
        Gate::Gelu => gate_by(function, gate, up, |x| {
            let cube = f32x4_mul(f32x4_mul(f32x4_splat(scalar::GELU_INNER), x), f32x4_mul(x, x));
            let u = f32x4_mul(f32x4_splat(scalar::GELU_OUTER), f32x4_add(x, cube));
            f32x4_div(x, f32x4_add(one, exp(u)))
        }),
        Gate::Relu => gate_by(function, gate, up, |x| v128_and(f32x4_gt(x, f32x4_splat(0.0)), x)),
    }
}

#[inline(always)]
fn gate_by(function: Gate, gate: &mut [f32], up: &[f32], activate: impl Fn(v128) -> v128) {
    let ((gate, gate_rest), (up, up_rest)) = (gate.as_chunks_mut::<4>(), up.as_chunks::<4>());
    for (gate, up) in gate.iter_mut().zip(up) {
        store(gate, f32x4_mul(activate(load(gate)), load(up)));
    }
    for (gate, up) in gate_rest.iter_mut().zip(up_rest) {
        *gate = scalar::activate(function, *gate) * up;
    }
}
