//! Operations on one vector.

use super::{codes, exp, factor, float, sum};
use crate::{BLOCK, Gate, NotFinite, Pairs, acts::ActRowMut, scalar};

/// See [`scalar::quantise`].
pub(in super::super) fn quantise(x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
    let (fours, rest) = x.as_chunks::<4>();
    let q = row.q.as_chunks_mut::<BLOCK>().0;
    let finite = if rest.is_empty() {
        codes::quantise(fours, q, row.scale, row.sum)
    } else {
        ragged(fours, rest, q, row.scale, row.sum)
    };
    if finite { Ok(()) } else { Err(NotFinite) }
}

/// The last block by itself, where its last four are not all there.
#[cold]
#[inline(never)]
fn ragged(fours: &[[f32; 4]], rest: &[f32], q: &mut [[i8; BLOCK]], scale: &mut [f32], sum: &mut [i32]) -> bool {
    let (blocks, before) = fours.as_chunks::<{ BLOCK / 4 }>();
    let mut last = [0.0; BLOCK];
    for (last, x) in last.iter_mut().zip(before.as_flattened().iter().chain(rest)) {
        *last = *x;
    }
    let mut finite = codes::quantise(blocks.as_flattened(), q, scale, sum);
    let at = blocks.len();
    if let (Some(q), Some(scale), Some(sum)) = (q.get_mut(at..), scale.get_mut(at..), sum.get_mut(at..)) {
        finite &= codes::quantise(last.as_chunks::<4>().0, q, scale, sum);
    }
    finite
}

/// See [`scalar::rmsnorm`].
pub(in super::super) fn rmsnorm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let r = factor(float::squares(x), x.len(), eps)?;
    float::scale(x, r, weight, out);
    Ok(())
}

/// See [`scalar::layernorm`].
pub(in super::super) fn layernorm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    let mean = float::sum(x) / x.len() as f32;
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
    let total = float::sum(x);
    for x in x {
        *x /= total;
    }
}

/// See [`scalar::rotate`].
pub(in super::super) fn rotate(x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
    match pairs {
        Pairs::Interleaved => float::turn(x.as_chunks_mut::<2>().0, cos_sin.as_chunks::<2>().0),
        Pairs::HalfSplit => scalar::rotate(x, cos_sin, pairs),
    }
}

/// See [`scalar::gate`].
pub(in super::super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    match function.narrowed() {
        Gate::Silu => exp::silu(gate, up),
        _ => scalar::gate(function, gate, up),
    }
}
