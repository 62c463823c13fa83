//! The gate, sixteen elements in a register and some registers together; specified in [`crate::scalar`].

use core::arch::x86_64::*;

use super::{
    lanes::{load_part, store_part},
    math::{TOGETHER, both, each, exp},
};
use crate::{
    Gate,
    scalar::{GELU_INNER, GELU_OUTER},
};

/// Elements that are taken together.
const TOGETHER_LANES: usize = 16 * TOGETHER;

/// See [`crate::scalar::gate`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    let count = gate.len().min(up.len());
    let (Some(gate), Some(up)) = (gate.get_mut(..count), up.get(..count)) else { return };
    match function {
        Gate::Silu => activate(gate, up, |x| {
            sigmoid_of(
                x,
                each(x, |x| _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MIN)))),
            )
        }),
        Gate::Gelu => activate(gate, up, |x| {
            let u = each(x, |x| {
                let cubic = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(GELU_INNER), x), _mm512_mul_ps(x, x));
                _mm512_mul_ps(_mm512_set1_ps(GELU_OUTER), _mm512_add_ps(x, cubic))
            });
            sigmoid_of(x, u)
        }),
        // The second operand where `x` is not above it, as the scalar comparison.
        Gate::Relu => activate(gate, up, |x| each(x, |x| _mm512_max_ps(x, _mm512_setzero_ps()))),
    }
}

/// `x / (1 + e^u)`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sigmoid_of(x: [__m512; TOGETHER], u: [__m512; TOGETHER]) -> [__m512; TOGETHER] {
    both(x, exp(u), |x, e| _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0), e)))
}

/// `gate[i] = f(gate[i]) * up[i]`; both have the same length.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn activate(gate: &mut [f32], up: &[f32], f: impl Fn([__m512; TOGETHER]) -> [__m512; TOGETHER]) {
    let (wholes, rest) = gate.as_chunks_mut::<TOGETHER_LANES>();
    let (up_wholes, up_rest) = up.as_chunks::<TOGETHER_LANES>();
    for (gate, up) in wholes.iter_mut().zip(up_wholes) {
        some_of(gate, up, &f);
    }
    some_of(rest, up_rest, &f);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn some_of(gate: &mut [f32], up: &[f32], f: impl Fn([__m512; TOGETHER]) -> [__m512; TOGETHER]) {
    let y = both(f(some(gate)), some(up), |y, up| _mm512_mul_ps(y, up));
    for (gate, y) in gate.chunks_mut(16).zip(y) {
        store_part(gate, y);
    }
}

/// At most [`TOGETHER_LANES`] elements, +0.0 in the lanes past the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn some(x: &[f32]) -> [__m512; TOGETHER] {
    let mut vectors = [_mm512_setzero_ps(); TOGETHER];
    for (vector, x) in vectors.iter_mut().zip(x.chunks(16)) {
        *vector = load_part(x);
    }
    vectors
}
