//! Operations on one vector.

use super::{codes, exp, sqrt, sum};
use crate::{BLOCK, Gate, NotFinite, acts::ActRowMut, scalar};

/// See [`scalar::quantise`].
pub(in super::super) fn quantise(x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
    let mut out = row.q.as_chunks_mut::<BLOCK>().0.iter_mut().zip(row.scale).zip(row.sum);
    let (fours, rest) = x.as_chunks::<4>();
    // The last block by itself, where its last four are not all there.
    let whole = if rest.is_empty() { fours.len() } else { fours.len() & !(BLOCK / 4 - 1) };
    let (fours, _) = fours.split_at_checked(whole).unwrap_or((fours, &[]));
    let mut finite = true;
    for (x, ((q, scale), sum)) in fours.chunks(BLOCK / 4).zip(&mut out) {
        finite &= codes::quantise(x, q, scale, sum);
    }
    if !rest.is_empty()
        && let Some(((q, scale), sum)) = out.next()
    {
        let mut last = [0.0; BLOCK];
        crate::slice::copy(&mut last, x.get(whole * 4..).unwrap_or(&[]));
        finite &= codes::quantise(last.as_chunks::<4>().0, q, scale, sum);
    }
    if finite { Ok(()) } else { Err(NotFinite) }
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
    exp::exp_cut(x, max);
    let total = sum(x, |x| x);
    for x in x {
        *x /= total;
    }
}

/// See [`scalar::gate`].
pub(in super::super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    match function.narrowed() {
        Gate::Silu => exp::silu(gate, up),
        _ => scalar::gate(function, gate, up),
    }
}
