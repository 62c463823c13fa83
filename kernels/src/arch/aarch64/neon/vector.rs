//! Operations on one vector.

use core::arch::aarch64::*;

use super::{exp, exp_cut_sum, finish, load, store};
use crate::{BLOCK, Gate, NotFinite, Pairs, acts::ActRowMut, scalar};

/// See [`scalar::quantise`].
#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
fn quantise_block(x: &[f32; BLOCK], q: &mut [i8; BLOCK]) -> Result<(f32, i32), NotFinite> {
    let mut max = vdupq_n_u32(0);
    for x in x.as_chunks::<4>().0 {
        max = vmaxq_u32(max, vreinterpretq_u32_f32(vabsq_f32(load(x))));
    }
    let max = vmaxvq_u32(max);
    if max >= scalar::INFINITE {
        return Err(NotFinite);
    }
    let (id, scale) = if max < scalar::SMALLEST {
        (0.0, 0.0)
    } else {
        let max = f32::from_bits(max);
        (127.0 / max, max / 127.0)
    };
    let mut sum = vdupq_n_s32(0);
    for (x, q) in x.as_chunks::<8>().0.iter().zip(q.as_chunks_mut::<8>().0) {
        if let [a, b] = x.as_chunks::<4>().0 {
            // `fcvtns` rounds ties to even.
            let a = vcvtnq_s32_f32(vmulq_n_f32(load(a), id));
            let b = vcvtnq_s32_f32(vmulq_n_f32(load(b), id));
            sum = vaddq_s32(sum, vaddq_s32(a, b));
            let bytes = vmovn_s16(vcombine_s16(vmovn_s32(a), vmovn_s32(b)));
            // SAFETY: the reference is eight writable bytes.
            unsafe { vst1_s8(q.as_mut_ptr(), bytes) };
        }
    }
    Ok((scale, vaddvq_s32(sum)))
}

/// The contract's sum of `term(x[i])`, given for four elements and for one.
#[inline]
#[target_feature(enable = "neon")]
fn sum(x: &[f32], term: impl Fn(float32x4_t) -> float32x4_t, one: impl Fn(f32) -> f32) -> f32 {
    let (eights, rest) = x.as_chunks::<8>();
    let [mut low, mut high] = [vdupq_n_f32(0.0); 2];
    for x in eights {
        if let [a, b] = x.as_chunks::<4>().0 {
            low = vaddq_f32(low, term(load(a)));
            high = vaddq_f32(high, term(load(b)));
        }
    }
    finish([low, high], rest.iter().map(|x| one(*x)))
}

/// See [`scalar::rmsnorm`].
#[target_feature(enable = "neon")]
pub(super) fn rmsnorm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let r = scalar::rms_factor(sum(x, |x| vmulq_f32(x, x), |x| x * x), x.len(), eps)?;
    let ((x, x_rest), (weight, weight_rest)) = (x.as_chunks::<4>(), weight.as_chunks::<4>());
    let (out, out_rest) = out.as_chunks_mut::<4>();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        store(out, vmulq_f32(vmulq_n_f32(load(x), r), load(weight)));
    }
    for ((out, x), weight) in out_rest.iter_mut().zip(x_rest).zip(weight_rest) {
        *out = (x * r) * weight;
    }
    Ok(())
}

/// See [`scalar::layernorm`].
#[target_feature(enable = "neon")]
pub(super) fn layernorm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let mean = sum(x, |x| x, |x| x) / x.len() as f32;
    let mean4 = vdupq_n_f32(mean);
    let square = |x: float32x4_t| {
        let x = vsubq_f32(x, mean4);
        vmulq_f32(x, x)
    };
    let r = scalar::rms_factor(sum(x, square, |x| (x - mean) * (x - mean)), x.len(), eps)?;
    let ((x, x_rest), (weight, weight_rest)) = (x.as_chunks::<4>(), weight.as_chunks::<4>());
    let ((bias, bias_rest), (out, out_rest)) = (bias.as_chunks::<4>(), out.as_chunks_mut::<4>());
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        let scaled = vmulq_n_f32(vsubq_f32(load(x), mean4), r);
        store(out, vaddq_f32(vmulq_f32(scaled, load(weight)), load(bias)));
    }
    for (((out, x), weight), bias) in out_rest.iter_mut().zip(x_rest).zip(weight_rest).zip(bias_rest) {
        *out = ((x - mean) * r) * weight + bias;
    }
    Ok(())
}

/// See [`scalar::softmax`].
#[target_feature(enable = "neon")]
pub(super) fn softmax(x: &mut [f32]) {
    let (fours, rest) = x.as_chunks::<4>();
    let mut lanes = vdupq_n_f32(f32::NEG_INFINITY);
    for x in fours {
        let x = load(x);
        // Select by comparison, not `fmax`: a NaN must not become the maximum.
        lanes = vbslq_f32(vcgtq_f32(x, lanes), x, lanes);
    }
    let mut max = [0.0; 4];
    store(&mut max, lanes);
    let max = max.iter().chain(rest).fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
    let total = exp_cut_sum(x, max);
    let (fours, rest) = x.as_chunks_mut::<4>();
    let total4 = vdupq_n_f32(total);
    for x in fours {
        store(x, vdivq_f32(load(x), total4));
    }
    for x in rest {
        *x /= total;
    }
}

/// See [`scalar::rotate`].
#[target_feature(enable = "neon")]
pub(super) fn rotate(x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
    let (turns, turns_rest) = cos_sin.as_chunks::<8>();
    match pairs {
        Pairs::Interleaved => {
            let count = x.len().min(cos_sin.len()) / 8;
            let Some((fours, rest)) = x.split_at_mut_checked(count * 8) else { return };
            for (x, turn) in fours.as_chunks_mut::<8>().0.iter_mut().zip(turns) {
                // SAFETY: both references are eight floats, which `ld2` and `st2` access with an element's alignment.
                unsafe {
                    let float32x4x2_t(a, b) = vld2q_f32(x.as_ptr());
                    let (a, b) = turn_four(a, b, turn);
                    vst2q_f32(x.as_mut_ptr(), float32x4x2_t(a, b));
                }
            }
            scalar::rotate(rest, cos_sin.get(count * 8..).unwrap_or(&[]), pairs);
        }
        Pairs::HalfSplit => {
            let half = x.len() / 2;
            let Some((first, second)) = x.split_at_mut_checked(half) else { return };
            let ((first, first_rest), (second, second_rest)) =
                (first.as_chunks_mut::<4>(), second.as_chunks_mut::<4>());
            let count = first.len();
            for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                let (turned_a, turned_b) = turn_four(load(a), load(b), turn);
                store(a, turned_a);
                store(b, turned_b);
            }
            let turns = if turns.len() > count { cos_sin.get(count * 8..).unwrap_or(&[]) } else { turns_rest };
            for ((a, b), cs) in first_rest.iter_mut().zip(second_rest).zip(turns.as_chunks::<2>().0) {
                scalar::turn(a, b, *cs);
            }
        }
    }
}

/// Four pairs turned.
#[inline]
#[target_feature(enable = "neon")]
fn turn_four(a: float32x4_t, b: float32x4_t, turn: &[f32; 8]) -> (float32x4_t, float32x4_t) {
    // SAFETY: the reference is eight readable floats.
    let float32x4x2_t(c, s) = unsafe { vld2q_f32(turn.as_ptr()) };
    (vsubq_f32(vmulq_f32(a, c), vmulq_f32(b, s)), vaddq_f32(vmulq_f32(a, s), vmulq_f32(b, c)))
}

/// See [`scalar::gate`].
#[target_feature(enable = "neon")]
pub(super) fn gate(function: Gate, gate: &mut [f32], up: &[f32]) {
    let one = vdupq_n_f32(1.0);
    match function {
        Gate::Silu => gate_by(function, gate, up, |x| vdivq_f32(x, vaddq_f32(one, exp(vnegq_f32(x))))),
        Gate::Gelu => gate_by(function, gate, up, |x| {
            let cube = vmulq_f32(vmulq_n_f32(x, scalar::GELU_INNER), vmulq_f32(x, x));
            let u = vmulq_n_f32(vaddq_f32(x, cube), scalar::GELU_OUTER);
            vdivq_f32(x, vaddq_f32(one, exp(u)))
        }),
        Gate::Relu => {
            gate_by(function, gate, up, |x| vreinterpretq_f32_u32(vandq_u32(vcgtzq_f32(x), vreinterpretq_u32_f32(x))))
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn gate_by(function: Gate, gate: &mut [f32], up: &[f32], activate: impl Fn(float32x4_t) -> float32x4_t) {
    let ((gate, gate_rest), (up, up_rest)) = (gate.as_chunks_mut::<4>(), up.as_chunks::<4>());
    for (gate, up) in gate.iter_mut().zip(up) {
        store(gate, vmulq_f32(activate(load(gate)), load(up)));
    }
    for (gate, up) in gate_rest.iter_mut().zip(up_rest) {
        *gate = scalar::activate(function, *gate) * up;
    }
}
