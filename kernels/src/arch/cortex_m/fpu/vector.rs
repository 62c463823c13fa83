//! Operations on one vector.

use super::{largest, sqrt, sum};
use crate::{BLOCK, Gate, NotFinite, acts::ActRowMut, math, scalar};

/// See [`scalar::quantise`].
pub(in super::super) fn quantise(x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
    let out = row.q.as_chunks_mut::<BLOCK>().0.iter_mut().zip(row.scale).zip(row.sum);
    for (x, ((q, scale), sum)) in x.chunks(BLOCK).zip(out) {
        let max = largest(x);
        if max >= scalar::INFINITE {
            return Err(NotFinite);
        }
        let (id, d) = if max < scalar::SMALLEST {
            (0.0, 0.0)
        } else {
            let max = f32::from_bits(max);
            (127.0 / max, max / 127.0)
        };
        *scale = d;
        *sum = codes(x, q, |x| x * id);
    }
    Ok(())
}

/// Rounds `value(x[i])`, ties to even, to `q`, fills it up with zeros, and returns the sum.
#[inline(always)]
fn codes(x: &[f32], q: &mut [i8; BLOCK], value: impl Fn(f32) -> f32) -> i32 {
    const MAGIC: u32 = math::ROUND_MAGIC.to_bits();
    let mut sum = 0u32;
    let (fours, rest) = x.as_chunks::<4>();
    let mut words = q.as_chunks_mut::<4>().0.iter_mut();
    for (x, q) in fours.iter().zip(&mut words) {
        // The low byte of the sum's bits is the rounded value.
        let [a, b, c, d] = x.map(|x| (value(x) + math::ROUND_MAGIC).to_bits());
        sum = sum.wrapping_add(a).wrapping_add(b).wrapping_add(c).wrapping_add(d).wrapping_sub(MAGIC.wrapping_mul(4));
        *q = [a as i8, b as i8, c as i8, d as i8];
    }
    if !rest.is_empty()
        && let Some(q) = words.next()
    {
        let mut last = [0.0; 4];
        crate::slice::copy(&mut last, rest);
        for (x, q) in last.iter().zip(q) {
            let bits = (value(*x) + math::ROUND_MAGIC).to_bits().wrapping_sub(MAGIC);
            sum = sum.wrapping_add(bits);
            *q = bits as i8;
        }
    }
    for q in words {
        *q = [0; 4];
    }
    sum.cast_signed()
}

/// See [`scalar::rmsnorm`].
pub(in super::super) fn rmsnorm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let r = factor(sum(x, |x| x * x), x.len(), eps)?;
    let ((x, x_rest), (weight, weight_rest)) = (x.as_chunks::<4>(), weight.as_chunks::<4>());
    let (out, out_rest) = out.as_chunks_mut::<4>();
    let ends = out_rest.iter_mut().zip(x_rest).zip(weight_rest);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        let [x0, x1, x2, x3] = x.map(|x| x * r);
        let [w0, w1, w2, w3] = *weight;
        *out = [x0 * w0, x1 * w1, x2 * w2, x3 * w3];
    }
    for ((out, x), weight) in ends {
        *out = (x * r) * weight;
    }
    Ok(())
}

/// `1 / sqrt(squares / len + eps)`.
#[inline(always)]
fn factor(squares: f32, len: usize, eps: f32) -> Result<f32, NotFinite> {
    let mean = squares / len as f32;
    if mean.is_finite() { Ok(1.0 / sqrt(mean + eps)) } else { Err(NotFinite) }
}

/// See [`scalar::layernorm`].
pub(in super::super) fn layernorm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    let mean = sum(x, |x| x) / x.len() as f32;
    let r = factor(sum(x, |x| (x - mean) * (x - mean)), x.len(), eps)?;
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((x - mean) * r) * weight + bias;
    }
    Ok(())
}

/// See [`scalar::softmax`].
pub(in super::super) fn softmax(x: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
    for x in x.iter_mut() {
        *x = math::exp_cut(*x - max);
    }
    let total = sum(x, |x| x);
    for x in x {
        *x /= total;
    }
}

/// See [`scalar::gate`].
pub(in super::super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    match function {
        Gate::Silu => {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = scalar::activate(Gate::Silu, *gate) * up;
            }
        }
        _ => scalar::gate(function, gate, up),
    }
}
