//! Root-mean-square normalisation.
//!
//! Source: Zhang & Sennrich 2019, arXiv:1910.07467.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{lane_sum, values, with_values};

/// `x [tokens, dim], weight [dim] -> x * weight / sqrt(mean(x^2) + eps)`.
pub(in super::super) struct RmsNorm {
    pub(in super::super) eps: f32,
}

/// `1 / sqrt(mean(x^2) + eps)`
#[inline(always)]
fn inverse_rms(eps: f32, x: &[f32]) -> f32 {
    1.0 / (lane_sum(x, x) / x.len() as f32 + eps).sqrt()
}

fast! {
    fn forward(eps: f32, x: &[f32], w: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(w.len()).zip(out.chunks_exact_mut(w.len())) {
            let inverse = inverse_rms(eps, x);
            for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
                *out = x * inverse * w;
            }
        }
    }

    // With n = x / rms: dw = sum over tokens of g * n; dx = (g * w - n * mean(g * w * n)) / rms.
    fn backward(eps: f32, inputs: [&[f32]; 3], dx: &mut [f32], dw: &mut [f32]) {
        let [x, w, grad] = inputs;
        let dim = w.len();
        let rows = x.chunks_exact(dim).zip(grad.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim));
        for ((x, grad), dx) in rows {
            let inverse = inverse_rms(eps, x);
            for (((dx, grad), w), (dw, x)) in dx.iter_mut().zip(grad).zip(w).zip(dw.iter_mut().zip(x)) {
                *dx = grad * w;
                *dw += grad * x * inverse;
            }
            let mean = lane_sum(dx, x) * inverse * inverse / dim as f32;
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = (*dx - x * mean) * inverse;
            }
        }
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rmsnorm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (values(x, lx)?, values(w, lw)?);
        let mut out = vec![0.0f32; x.len()];
        forward(self.eps, x, w, &mut out);
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dim = w.elem_count();
        let mut dx = vec![0.0f32; x.elem_count()];
        let mut dw = vec![0.0f32; dim];
        with_values(x, |x| {
            with_values(w, |w| {
                with_values(grad, |grad| {
                    backward(self.eps, [x, w, grad], &mut dx, &mut dw);
                    Ok(())
                })
            })
        })?;
        let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
        Ok((Some(dx), Some(Tensor::from_vec(dw, dim, x.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::{check_gradient, noise};
    use super::*;

    #[test]
    fn gradients() {
        let weight = Tensor::from_vec(noise(40, 2), 40, &Device::Cpu).unwrap();
        check_gradient(&noise(3 * 40, 1), (3, 40), |x| x.apply_op2(&weight, RmsNorm { eps: 1e-5 }), 1e-2, 1e-3);
        let x = Tensor::from_vec(noise(3 * 40, 3), (3, 40), &Device::Cpu).unwrap();
        let of_weight = |w: &Tensor| x.apply_op2(&w.flatten_all()?, RmsNorm { eps: 1e-5 });
        check_gradient(&noise(40, 4), (1, 40), of_weight, 1e-2, 1e-3);
    }
}
