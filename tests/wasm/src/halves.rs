//! Half-precision conversion, which has no instruction here: all halves one way, floats of every kind the other.

use pipsqueak_kernels::{
    CacheRows, Kernels, Scalar,
    float16::f16_to_f32,
    testing::{Case, Mismatch, Outcome},
};

/// A test of one kernel set.
type Test = fn(&dyn Kernels) -> Outcome;

pub const TESTS: [(&str, Test); 2] = [("every half", every_half), ("floats to halves", floats_to_halves)];

/// Values at a time.
const LEN: usize = 64;

/// A mismatch of bits: expected, then got.
pub fn mismatch(operation: &'static str, format: &'static str, index: usize, [expected, got]: [u32; 2]) -> Mismatch {
    let case = Case { operation, format, panel: None, shape: [1, LEN, 1], values: "every kind", seed: 0 };
    Mismatch { case, what: "out", index: index as isize, expected, got }
}

/// Every half as a cached value whose weight is 1.
fn every_half(kernels: &dyn Kernels) -> Outcome {
    let mut count = 0;
    for first in (0..=u16::MAX).step_by(LEN) {
        let values: [u16; LEN] = core::array::from_fn(|i| first + i as u16);
        let [expected, got] = [&Scalar as &dyn Kernels, kernels].map(|kernels| {
            let mut acc = [0.0; LEN];
            kernels.att_values(&mut [0.0], 0.0, &CacheRows::F16(&values), &mut acc);
            acc
        });
        for ((value, expected), got) in values.iter().zip(expected).zip(got) {
            if expected.to_bits() != got.to_bits() {
                return Err(mismatch("att_values", "f16", *value as usize, [expected, got].map(f32::to_bits)));
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Floats of every exponent, halves, their neighbours, and the ties between two.
fn floats_to_halves(kernels: &dyn Kernels) -> Outcome {
    let mut count = 0;
    // A prime stride visits every exponent and, over the run, every pattern of the bits that go.
    let strided = (0..=u32::MAX).step_by(8191).map(f32::from_bits);
    let near = (0..0x7c00u16).flat_map(|half| {
        let (x, next) = (f16_to_f32(half), f16_to_f32(half + 1));
        // The last tie is with infinity, whose place is 65536.
        let next = if next.is_finite() { next } else { 65536.0 };
        let tie = x + (next - x) / 2.0;
        [x, tie.next_down(), tie, tie.next_up(), -tie]
    });
    let mut rest = strided.chain(near).peekable();
    while rest.peek().is_some() {
        let x: [f32; LEN] = core::array::from_fn(|_| rest.next().unwrap_or(0.0));
        let [expected, got] = [&Scalar as &dyn Kernels, kernels].map(|kernels| {
            let mut out = [0; LEN];
            (kernels.store_f16(&x, &mut out), out)
        });
        if expected.0 != got.0 {
            return Err(mismatch("store_f16", "error", 0, [expected.0, got.0].map(|result| result.is_err() as u32)));
        }
        for ((x, expected), got) in x.iter().zip(expected.1).zip(got.1) {
            if expected != got {
                return Err(mismatch("store_f16", "", x.to_bits() as usize, [expected, got].map(u32::from)));
            }
            count += 1;
        }
    }
    Ok(count)
}
