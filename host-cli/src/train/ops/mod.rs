//! The operations of the decoder that are worth a gradient of their own: each is one node of the autodiff graph, with its
//! backward pass written beside its forward pass. Matrix products stay the library's.
//!
//! Everything works on token matrices `[tokens, width]`, row-major `f32`; documents lie one after the other in them.

/// Compiles a function for several instruction sets; the best that this CPU has is called. What it calls in its inner loops
/// must be `#[inline(always)]` and no closure: a closure handed to a library function does not inherit the instruction set.
macro_rules! fast {
    ($($function:item)*) => {
        $(
            #[multiversion::multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
            $function
        )*
    };
}

mod act_quant;
mod attention;
mod embed;
mod loss;
mod rmsnorm;
mod swiglu;

pub(super) use act_quant::ActQuant;
pub(super) use attention::{Attention, Heads, Rope};
use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
pub(super) use embed::Embed;
pub(super) use loss::{Loss, Scores, Targets};
use pipsqueak_kernels::math::ROUND_MAGIC;
pub(super) use rmsnorm::RmsNorm;
pub(super) use swiglu::SwiGlu;

/// Elements of the widest vector that inner loops are written for; narrower machines take it in pieces.
const LANES: usize = 16;

/// The values of a contiguous tensor's storage.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets().and_then(|(start, end)| all.get(start..end)) {
        Some(values) => Ok(values),
        None => bail!("an operation of the trainer was given a tensor that is not contiguous"),
    }
}

/// Lets `job` see a tensor's values.
pub(super) fn with_values<R>(tensor: &Tensor, job: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => job(values(storage, layout)?),
        _ => bail!("the trainer computes on the CPU"),
    }
}

/// `e^x` to a few parts in a million, in half the steps of the engine's: a gradient asks for no more.
#[inline(always)]
fn exp(x: f32) -> f32 {
    use std::f32::consts::{LN_2, LOG2_E};
    let t = x * LOG2_E;
    let t = if t > -126.0 { t } else { -126.0 };
    let t = if t < 127.0 { t } else { 127.0 };
    let shifted = t + ROUND_MAGIC;
    let f = t - (shifted - ROUND_MAGIC);
    // Taylor's polynomial of 2^f, |f| <= 1/2.
    let y = LN_2 * f;
    let p = y.mul_add(1.0 / 120.0, 1.0 / 24.0);
    let p = y.mul_add(p, 1.0 / 6.0);
    let p = y.mul_add(p, 0.5);
    let p = y.mul_add(p, 1.0);
    let p = y.mul_add(p, 1.0);
    // The whole part is in the low bits of `shifted`; it is added to the exponent.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The sum of `a * b`` in sixteen partial sums, so that it vectorises, in an order that is always the same.
#[inline(always)]
fn lane_sum(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a16, a_rest) = a.as_chunks::<LANES>();
    let (b16, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a16.iter().zip(b16) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = a.mul_add(*b, *sum);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = a.mul_add(*b, *sum);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Numbers that look random and are always the same.
    pub(super) fn noise(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                (state as f32 / u32::MAX as f32 - 0.5) * 2.0
            })
            .collect()
    }

    #[test]
    fn exp_is_close() {
        for i in -9000..=9000 {
            let x = i as f32 * 0.01;
            let (got, expected) = (f64::from(exp(x)), f64::from(x.clamp(-87.0, 88.0)).exp());
            assert!((got / expected - 1.0).abs() < 1e-5 || x.abs() > 86.0, "{x}: {got}, not {expected}");
        }
        assert!(exp(-1e30) > 0.0 && exp(1e30).is_finite());
    }

    /// Compares the gradient of `sum(weights * f(x))` with central differences.
    pub(super) fn check_gradient(
        x: &[f32],
        shape: (usize, usize),
        f: impl Fn(&Tensor) -> Result<Tensor>,
        step: f32,
        tolerance: f32,
    ) {
        let var = Var::from_vec(x.to_vec(), shape, &Device::Cpu).unwrap();
        let out = f(var.as_tensor()).unwrap();
        let weights = Tensor::from_vec(noise(out.elem_count(), 99), out.shape(), &Device::Cpu).unwrap();
        let total = |out: &Tensor| (out * &weights).unwrap().sum_all().unwrap();
        let grads = total(&out).backward().unwrap();
        let got: Vec<f32> = grads.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let at = |i: usize, by: f32| {
            let mut x = x.to_vec();
            x[i] += by;
            let out = f(&Tensor::from_vec(x, shape, &Device::Cpu).unwrap()).unwrap();
            let (out, weights): (Vec<f32>, Vec<f32>) =
                (out.flatten_all().unwrap().to_vec1().unwrap(), weights.flatten_all().unwrap().to_vec1().unwrap());
            out.iter().zip(&weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        for i in (0..x.len()).step_by(x.len().div_ceil(64)) {
            let expected = ((at(i, step) - at(i, -step)) / (2.0 * f64::from(step))) as f32;
            let error = (got[i] - expected).abs() / (1.0 + expected.abs());
            assert!(error < tolerance, "element {i}: gradient {}, by differences {expected}", got[i]);
        }
    }
}
