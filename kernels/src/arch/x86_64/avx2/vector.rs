//! Operations on one vector, eight elements at a time; each is specified in [`crate::scalar`].

use core::arch::x86_64::*;

use super::{
    lanes::{keep, load, magnitude_bits, max_i32, padded, store, store_i8x32, sum_i32, tree},
    math::{exp, exp_cut},
};
use crate::{
    BLOCK, Gate, NotFinite, Pairs,
    acts::ActRowMut,
    scalar::{self, GELU_INNER, GELU_OUTER, INFINITE, SMALLEST, rms_factor},
    slice::copy,
};

/// See [`scalar::quantise`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn quantise(x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
    let mut out = row.q.as_chunks_mut::<BLOCK>().0.iter_mut().zip(row.scale).zip(row.sum);
    let (blocks, rest) = x.as_chunks::<BLOCK>();
    for (x, ((q, scale), sum)) in blocks.iter().zip(&mut out) {
        (*scale, *sum) = quantise_block(x, q)?;
    }
    if !rest.is_empty()
        && let Some(((q, scale), sum)) = out.next()
    {
        (*scale, *sum) = quantise_block(&padded(rest, 0.0), q)?;
    }
    Ok(())
}

/// One block; returns its scale and sum.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn quantise_block(x: &[f32; BLOCK], q: &mut [i8; BLOCK]) -> Result<(f32, i32), NotFinite> {
    let mut v = [_mm256_setzero_ps(); 4];
    for (v, x) in v.iter_mut().zip(x.as_chunks::<8>().0) {
        *v = load(x);
    }
    let [a, b, c, d] = v.map(|v| magnitude_bits(v));
    let max = max_i32(_mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d))).cast_unsigned();
    if max >= INFINITE {
        return Err(NotFinite);
    }
    let (id, scale) = if max < SMALLEST {
        (0.0, 0.0)
    } else {
        let max = f32::from_bits(max);
        (127.0 / max, max / 127.0)
    };
    // Half to even, which is the rounding mode that Rust programs run in.
    let id = _mm256_set1_ps(id);
    let [a, b, c, d] = v.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, id)));
    let sum = sum_i32(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
    store_i8x32(q, [a, b, c, d]);
    Ok((scale, sum))
}

/// See [`scalar::all_finite`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn all_finite(x: &[f32]) -> bool {
    largest(x) < INFINITE
}

/// Bits of the largest magnitude.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn largest(x: &[f32]) -> u32 {
    let mut max = _mm256_setzero_si256();
    let (chunks, rest) = x.as_chunks::<8>();
    for x in chunks {
        max = _mm256_max_epi32(max, magnitude_bits(load(x)));
    }
    max = _mm256_max_epi32(max, magnitude_bits(load(&padded(rest, 0.0))));
    max_i32(max).cast_unsigned()
}

/// The contract's sum of `term(x)`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn sum_of(x: &[f32], term: impl Fn(__m256) -> __m256) -> f32 {
    let (chunks, rest) = x.as_chunks::<8>();
    let mut s = _mm256_setzero_ps();
    for x in chunks {
        s = _mm256_add_ps(s, term(load(x)));
    }
    if !rest.is_empty() {
        // A partial sum is never -0.0: it starts at +0.0, and a sum is -0.0 only when both its terms are. So +0.0 added to
        // the lanes past the end leaves their bits alone.
        s = _mm256_add_ps(s, keep(term(load(&padded(rest, 0.0))), rest.len()));
    }
    tree(s)
}

/// `out[i] = f(x[i], y[i])`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn combine(out: &mut [f32], x: &[f32], y: &[f32], f: impl Fn(__m256, __m256) -> __m256) {
    let (out, out_rest) = out.as_chunks_mut::<8>();
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        store(out, f(load(x), load(y)));
    }
    let mut tail = [0.0; 8];
    store(&mut tail, f(load(&padded(x_rest, 0.0)), load(&padded(y_rest, 0.0))));
    copy(out_rest, &tail);
}

/// See [`scalar::rmsnorm`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn rmsnorm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    if out.len() != x.len() || weight.len() != x.len() {
        return scalar::rmsnorm(x, weight, eps, out);
    }
    let r = rms_factor(sum_of(x, |x| _mm256_mul_ps(x, x)), x.len(), eps)?;
    let r = _mm256_set1_ps(r);
    combine(out, x, weight, |x, weight| _mm256_mul_ps(_mm256_mul_ps(x, r), weight));
    Ok(())
}

/// See [`scalar::layernorm`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn layernorm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    if out.len() != x.len() || weight.len() != x.len() || bias.len() != x.len() {
        return scalar::layernorm(x, weight, bias, eps, out);
    }
    let mean = _mm256_set1_ps(sum_of(x, |x| x) / x.len() as f32);
    let squares = sum_of(x, |x| {
        let x = _mm256_sub_ps(x, mean);
        _mm256_mul_ps(x, x)
    });
    let r = _mm256_set1_ps(rms_factor(squares, x.len(), eps)?);
    combine(out, x, weight, |x, weight| _mm256_mul_ps(_mm256_mul_ps(_mm256_sub_ps(x, mean), r), weight));
    let (out, out_rest) = out.as_chunks_mut::<8>();
    let (bias, bias_rest) = bias.as_chunks::<8>();
    for (out, bias) in out.iter_mut().zip(bias) {
        let sum = _mm256_add_ps(load(out), load(bias));
        store(out, sum);
    }
    for (out, bias) in out_rest.iter_mut().zip(bias_rest) {
        *out += bias;
    }
    Ok(())
}

/// See [`scalar::softmax`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn softmax(x: &mut [f32]) {
    let max = _mm256_set1_ps(max_of(x));
    let total = exp_and_sum(x, max);
    let (chunks, rest) = x.as_chunks_mut::<8>();
    for x in chunks {
        let y = _mm256_div_ps(load(x), _mm256_set1_ps(total));
        store(x, y);
    }
    for x in rest {
        *x /= total;
    }
}

/// `x[i] = exp_cut(x[i] - max)`; returns the contract's sum of the results.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn exp_and_sum(x: &mut [f32], max: __m256) -> f32 {
    let mut s = _mm256_setzero_ps();
    let (chunks, rest) = x.as_chunks_mut::<8>();
    for x in chunks {
        let y = exp_cut(_mm256_sub_ps(load(x), max));
        s = _mm256_add_ps(s, y);
        store(x, y);
    }
    if !rest.is_empty() {
        // Past the end exp(-inf) is cut to +0.0, which a partial sum does not notice; see `sum_of`.
        let mut y = padded(rest, f32::NEG_INFINITY);
        let tail = exp_cut(_mm256_sub_ps(load(&y), max));
        s = _mm256_add_ps(s, tail);
        store(&mut y, tail);
        copy(rest, &y);
    }
    tree(s)
}

/// The largest element as `if x > max { x } else { max }` finds it from -inf: NaN is passed over, and of +0.0 and -0.0
/// the first one stays.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn max_of(x: &[f32]) -> f32 {
    // Four chains, as one would wait for each comparison.
    let (chunks, rest) = x.as_chunks::<32>();
    let mut lanes = [_mm256_set1_ps(f32::NEG_INFINITY); 4];
    for x in chunks {
        for (max, x) in lanes.iter_mut().zip(x.as_chunks::<8>().0) {
            *max = _mm256_max_ps(load(x), *max);
        }
    }
    let [a, b, c, d] = lanes;
    let mut max = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
    let (chunks, rest) = rest.as_chunks::<8>();
    for x in chunks {
        max = _mm256_max_ps(load(x), max);
    }
    max = _mm256_max_ps(load(&padded(rest, f32::NEG_INFINITY)), max);
    let max = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps::<1>(max));
    let max = _mm_max_ps(max, _mm_movehl_ps(max, max));
    let max = _mm_cvtss_f32(_mm_max_ss(max, _mm_movehdup_ps(max)));
    if max == 0.0 {
        // The lanes lost which zero came first.
        return x.iter().copied().find(|x| *x == 0.0).unwrap_or(max);
    }
    max
}

/// See [`scalar::rotate`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn rotate(x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
    match pairs {
        Pairs::Interleaved => {
            let count = x.len().min(cos_sin.len()) / 8 * 8;
            let (Some((x, x_rest)), Some((cs, cs_rest))) =
                (x.split_at_mut_checked(count), cos_sin.split_at_checked(count))
            else {
                return;
            };
            for (x, cs) in x.as_chunks_mut::<8>().0.iter_mut().zip(cs.as_chunks::<8>().0) {
                let (v, cs) = (load(x), load(cs));
                let straight = _mm256_mul_ps(v, _mm256_moveldup_ps(cs));
                let crossed = _mm256_mul_ps(_mm256_permute_ps::<0b10_11_00_01>(v), _mm256_movehdup_ps(cs));
                store(x, _mm256_addsub_ps(straight, crossed));
            }
            scalar::rotate(x_rest, cs_rest, pairs);
        }
        Pairs::HalfSplit => {
            let half = x.len() / 2;
            let count = half.min(cos_sin.len() / 2) / 8 * 8;
            let Some((first, second)) = x.split_at_mut_checked(half) else { return };
            let Some((first, first_rest)) = first.split_at_mut_checked(count) else { return };
            let Some((second, second_rest)) = second.split_at_mut_checked(count) else { return };
            let Some((cs, cs_rest)) = cos_sin.split_at_checked(2 * count) else { return };
            let chunks = first.as_chunks_mut::<8>().0.iter_mut().zip(second.as_chunks_mut::<8>().0);
            for ((a, b), cs) in chunks.zip(cs.as_chunks::<16>().0) {
                let (c, s) = unzip(cs);
                let (x, y) = (load(a), load(b));
                store(a, _mm256_sub_ps(_mm256_mul_ps(x, c), _mm256_mul_ps(y, s)));
                store(b, _mm256_add_ps(_mm256_mul_ps(x, s), _mm256_mul_ps(y, c)));
            }
            for ((a, b), cs) in first_rest.iter_mut().zip(second_rest).zip(cs_rest.as_chunks::<2>().0) {
                scalar::turn(a, b, *cs);
            }
        }
    }
}

/// Cosines and sines of eight pairs.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn unzip(cs: &[f32; 16]) -> (__m256, __m256) {
    let chunks = cs.as_chunks::<8>().0;
    let mut halves = [_mm256_setzero_ps(); 2];
    for (half, cs) in halves.iter_mut().zip(chunks) {
        *half = load(cs);
    }
    let [a, b] = halves;
    let order = |x| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(x)));
    (order(_mm256_shuffle_ps::<0b10_00_10_00>(a, b)), order(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)))
}

/// See [`scalar::gate`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    let count = gate.len().min(up.len());
    let (Some(gate), Some(up)) = (gate.get_mut(..count), up.get(..count)) else { return };
    let one = _mm256_set1_ps(1.0);
    match function {
        Gate::Silu => activate(gate, up, |x| {
            let minus = _mm256_xor_ps(x, _mm256_set1_ps(-0.0));
            _mm256_div_ps(x, _mm256_add_ps(one, exp(minus)))
        }),
        Gate::Gelu => activate(gate, up, |x| {
            let cubic = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(GELU_INNER), x), _mm256_mul_ps(x, x));
            let u = _mm256_mul_ps(_mm256_set1_ps(GELU_OUTER), _mm256_add_ps(x, cubic));
            _mm256_div_ps(x, _mm256_add_ps(one, exp(u)))
        }),
        // The second operand where `x` is not above it, as the scalar comparison.
        Gate::Relu => activate(gate, up, |x| _mm256_max_ps(x, _mm256_setzero_ps())),
    }
}

/// `gate[i] = f(gate[i]) * up[i]`; both have the same length.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn activate(gate: &mut [f32], up: &[f32], f: impl Fn(__m256) -> __m256) {
    let (gate, gate_rest) = gate.as_chunks_mut::<8>();
    let (up, up_rest) = up.as_chunks::<8>();
    for (gate, up) in gate.iter_mut().zip(up) {
        let y = _mm256_mul_ps(f(load(gate)), load(up));
        store(gate, y);
    }
    if !gate_rest.is_empty() {
        let mut tail = padded(gate_rest, 0.0);
        let y = _mm256_mul_ps(f(load(&tail)), load(&padded(up_rest, 0.0)));
        store(&mut tail, y);
        copy(gate_rest, &tail);
    }
}
