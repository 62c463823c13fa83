//! Operations on one vector: quantising, norms, softmax, RoPE, gates.

use crate::{
    BLOCK, Gate, NotFinite,
    acts::ActRowMut,
    kernels::Pairs,
    math::{ROUND_MAGIC, exp, exp_cut, sqrt, sum},
};

/// Blocks whose largest magnitude is below 2^-50 become zeros.
pub(crate) const SMALLEST: u32 = (127 - 50) << 23;
/// Bits of infinity: this and everything above is not finite.
pub(crate) const INFINITE: u32 = 0x7f80_0000;

/// Quantises `x` to int8 blocks of 32: `scale = max|x| / 127`, `q = round(x * (127 / max|x|))`, ties to even.
///
/// `row` has `x.len().div_ceil(32)` blocks; the last is filled up with zeros. A NaN or an infinity is an error.
pub fn quantise(x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
    let out = row.q.as_chunks_mut::<BLOCK>().0.iter_mut().zip(row.scale).zip(row.sum);
    for (x, ((q, scale), sum)) in x.chunks(BLOCK).zip(out) {
        let max = x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
        if max >= INFINITE {
            return Err(NotFinite);
        }
        let (id, d) = if max < SMALLEST {
            (0.0, 0.0)
        } else {
            let max = f32::from_bits(max);
            (127.0 / max, max / 127.0)
        };
        *scale = d;
        *sum = 0;
        let padded = x.iter().copied().chain(core::iter::repeat(0.0));
        for (q, x) in q.iter_mut().zip(padded) {
            let rounded = round(x * id);
            *q = rounded as i8;
            *sum += rounded;
        }
    }
    Ok(())
}

/// Whether every value is a finite number.
pub fn all_finite(x: &[f32]) -> bool {
    #[cfg(all(target_arch = "arm", feature = "helium"))]
    if cfg!(feature = "helium") {
        return crate::arch::cortex_m::largest(x) < INFINITE;
    }
    if cfg!(all(target_arch = "arm", target_abi = "eabihf")) {
        // Two instructions an element where one FPU is all there is: zero times a finite number is zero.
        return sum_of_zeros(x) == 0.0;
    }
    x.iter().fold(0, |max: u32, x| max.max(x.to_bits() & 0x7fff_ffff)) < INFINITE
}

fn sum_of_zeros(x: &[f32]) -> f32 {
    let (eights, rest) = x.as_chunks::<8>();
    let mut sum = rest.iter().fold(0.0, |sum, x| sum + x * 0.0);
    for eight in eights {
        sum = eight.iter().fold(sum, |sum, x| sum + x * 0.0);
    }
    sum
}

/// `x` rounded to an integer, ties to even, for |x| < 2^22.
#[inline(always)]
pub(crate) fn round(x: f32) -> i32 {
    (x + ROUND_MAGIC).to_bits().wrapping_sub(ROUND_MAGIC.to_bits()).cast_signed()
}

/// Root-mean-square normalisation: `out[i] = (x[i] * r) * weight[i]` with `r = 1 / sqrt(mean(x^2) + eps)`.
///
/// `x`, `weight`, `out`: `[dim]`. The sum is the contract's vector sum. A NaN or infinity in `x`, or squares that
/// overflow, are an error. Source: Zhang & Sennrich 2019, arXiv:1910.07467.
pub fn rmsnorm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let r = rms_factor(sum(x.iter().map(|x| x * x)), x.len(), eps)?;
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * r) * weight;
    }
    Ok(())
}

/// `1 / sqrt(squares / len + eps)`.
#[inline]
pub(crate) fn rms_factor(squares: f32, len: usize, eps: f32) -> Result<f32, NotFinite> {
    let mean = squares / len as f32;
    if mean.is_finite() { Ok(1.0 / sqrt(mean + eps)) } else { Err(NotFinite) }
}

/// Layer normalisation: `out[i] = ((x[i] - mean) * r) * weight[i] + bias[i]` with `r = 1 / sqrt(var + eps)`.
///
/// All `[dim]`. Mean and variance are the contract's vector sums over `dim`, the variance of `x - mean`. Errors as
/// [`rmsnorm`]. Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
pub fn layernorm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let mean = sum(x.iter().copied()) / x.len() as f32;
    let r = rms_factor(sum(x.iter().map(|x| (x - mean) * (x - mean))), x.len(), eps)?;
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((x - mean) * r) * weight + bias;
    }
    Ok(())
}

/// Softmax in place: `x[i] = exp(x[i] - max) / sum`, terms below `exp(-50)` exactly 0. `[n]`; empty stays empty.
pub fn softmax(x: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
    for x in x.iter_mut() {
        *x = exp_cut(*x - max);
    }
    let total = sum(x.iter().copied());
    for x in x {
        *x /= total;
    }
}

/// Rotary position embedding of one head in place: each pair `(a, b)` becomes `(a c - b s, a s + b c)`.
///
/// `x`: the first `rope_dim` elements of a head; `cos_sin`: `[rope_dim / 2][2]`, cosine then sine.
/// Source: Su et al. 2021, arXiv:2104.09864.
pub fn rotate(x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
    let cos_sin = cos_sin.as_chunks::<2>().0;
    match pairs {
        Pairs::Interleaved => {
            for ([a, b], cs) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos_sin) {
                turn(a, b, *cs);
            }
        }
        Pairs::HalfSplit => {
            let half = x.len() / 2;
            let Some((first, second)) = x.split_at_mut_checked(half) else { return };
            for ((a, b), cs) in first.iter_mut().zip(second).zip(cos_sin) {
                turn(a, b, *cs);
            }
        }
    }
}

/// One pair of [`rotate`].
#[inline(always)]
pub(crate) fn turn(a: &mut f32, b: &mut f32, [c, s]: [f32; 2]) {
    let (x, y) = (*a, *b);
    *a = x * c - y * s;
    *b = x * s + y * c;
}

/// The gated unit of the feed-forward block: `gate[i] = f(gate[i]) * up[i]`. Both `[hidden_dim]`.
///
/// Sources: Shazeer 2020, arXiv:2002.05202 (gated units); Hendrycks & Gimpel 2016, arXiv:1606.08415 (GELU, tanh form).
pub fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    let function = function.narrowed();
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = activate(function, *gate) * up;
    }
}

/// `f(x)`.
#[inline(always)]
pub(crate) fn activate(function: Gate, x: f32) -> f32 {
    match function {
        Gate::Silu => x / (1.0 + exp(-x)),
        // x/2 (1 + tanh u) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
        Gate::Gelu => x / (1.0 + exp(GELU_OUTER * (x + (GELU_INNER * x) * (x * x)))),
        Gate::Relu => {
            if x > 0.0 {
                x
            } else {
                0.0
            }
        }
    }
}

/// `x[i] = x[i] + y[i]` for as many elements as both have: biases, and what joins the residual stream.
pub fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x[i] = x[i] * factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// -2 sqrt(2/pi)
pub(crate) const GELU_OUTER: f32 = -1.595_769;
pub(crate) const GELU_INNER: f32 = 0.044_715;
