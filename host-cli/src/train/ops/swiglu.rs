//! The gate of the feed-forward block.
//!
//! Source: Shazeer 2020, arXiv:2002.05202.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{exp, values, with_values};

/// `[tokens, 2 hidden] -> [tokens, hidden]`: `silu(gate) * up`, the first half of a row being the gate.
pub(in super::super) struct SwiGlu;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

fast! {
    fn forward(hidden: usize, x: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(2 * hidden).zip(out.chunks_exact_mut(hidden)) {
            let (gate, up) = x.split_at(hidden);
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate * sigmoid(*gate) * up;
            }
        }
    }

    // silu'(x) = s + x s (1 - s) with s = sigmoid(x)
    fn backward(hidden: usize, x: &[f32], grad: &[f32], dx: &mut [f32]) {
        let rows = x.chunks_exact(2 * hidden).zip(grad.chunks_exact(hidden)).zip(dx.chunks_exact_mut(2 * hidden));
        for ((x, grad), dx) in rows {
            let (gate, up) = x.split_at(hidden);
            let (d_gate, d_up) = dx.split_at_mut(hidden);
            let outs = d_gate.iter_mut().zip(d_up);
            for (((d_gate, d_up), (gate, up)), grad) in outs.zip(gate.iter().zip(up)).zip(grad) {
                let s = sigmoid(*gate);
                *d_up = grad * gate * s;
                *d_gate = grad * up * (s + gate * s * (1.0 - s));
            }
        }
    }
}

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let hidden = width / 2;
        let x = values(storage, layout)?;
        let mut out = vec![0.0f32; tokens * hidden];
        forward(hidden, x, &mut out);
        Ok((CpuStorage::F32(out), (tokens, hidden).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let hidden = x.dims2()?.1 / 2;
        let mut dx = vec![0.0f32; x.elem_count()];
        with_values(x, |x| {
            with_values(grad, |grad| {
                backward(hidden, x, grad, &mut dx);
                Ok(())
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, noise};
    use super::*;

    #[test]
    fn gradient() {
        check_gradient(&noise(3 * 36, 5), (3, 36), |x| x.apply_op1(SwiGlu), 1e-2, 1e-3);
    }
}
