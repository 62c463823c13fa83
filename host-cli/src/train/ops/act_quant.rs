//! What the engine does to activations before an integer product: int8 blocks, and back.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pipsqueak_kernels::{BLOCK, math::ROUND_MAGIC};

use super::values;

/// `[tokens, width] -> [tokens, width]`: every block of 32 rounded to int8 with the scale `max / 127`.
///
/// Rounding has no useful derivative; the gradient passes straight through (Bengio et al. 2013, arXiv:1308.3432).
pub(in super::super) struct ActQuant;

impl CustomOp1 for ActQuant {
    fn name(&self) -> &'static str {
        "act_quant"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let x = values(storage, layout)?;
        let mut out = vec![0.0f32; x.len()];
        forward(width, x, &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}

fast! {
    fn forward(width: usize, x: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let (blocks, rest) = x.as_chunks::<BLOCK>();
            let (out_blocks, out_rest) = out.as_chunks_mut::<BLOCK>();
            for (x, out) in blocks.iter().zip(out_blocks) {
                block(x, out);
            }
            block(rest, out_rest);
        }
    }
}

#[inline(always)]
fn block(x: &[f32], out: &mut [f32]) {
    // The largest magnitude, by its bits, as the engine takes it.
    let mut max = 0;
    for x in x {
        max = (x.to_bits() & 0x7fff_ffff).max(max);
    }
    let max = f32::from_bits(max);
    // The contract's cut: below 2^-50 a block is zero.
    if max < 8.881_784e-16 {
        return;
    }
    let (id, scale) = (127.0 / max, max / 127.0);
    for (out, x) in out.iter_mut().zip(x) {
        *out = ((x * id + ROUND_MAGIC) - ROUND_MAGIC) * scale;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use pipsqueak_kernels::{Kernels, Scalar};

    use super::super::tests::noise;
    use super::*;

    #[test]
    fn rounds_as_the_engine_does() {
        let x = noise(2 * 80, 7);
        let tensor = Tensor::from_vec(x.clone(), (2, 80), &Device::Cpu).unwrap();
        let got: Vec<f32> = tensor.apply_op1(ActQuant).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let blocks = 3;
        for (x, got) in x.chunks(80).zip(got.chunks(80)) {
            let (mut q, mut scale, mut sum) = (vec![0i8; blocks * BLOCK], vec![0.0; blocks], vec![0; blocks]);
            let acts = pipsqueak_kernels::acts::ActRowMut { q: &mut q, scale: &mut scale, sum: &mut sum };
            Scalar.quantise(x, acts).unwrap();
            for (i, got) in got.iter().enumerate() {
                assert_eq!(*got, f32::from(q[i]) * scale[i / BLOCK], "element {i}");
            }
        }
    }
}
