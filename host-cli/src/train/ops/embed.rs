//! Rows of the embedding, one a token.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{values, with_values};

/// `[vocab, dim] -> [tokens, dim]`: row `ids[t]` for token `t`. The gradient of a row is the sum over its tokens.
pub(in super::super) struct Embed {
    pub(in super::super) ids: Vec<u32>,
}

impl CustomOp1 for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, dim) = layout.shape().dims2()?;
        let table = values(storage, layout)?;
        let mut out = Vec::with_capacity(self.ids.len() * dim);
        for id in &self.ids {
            out.extend_from_slice(&table[*id as usize * dim..][..dim]);
        }
        Ok((CpuStorage::F32(out), (self.ids.len(), dim).into()))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (vocab, dim) = table.dims2()?;
        let mut out = vec![0.0f32; vocab * dim];
        with_values(grad, |grad| {
            for (id, grad) in self.ids.iter().zip(grad.chunks_exact(dim)) {
                for (out, grad) in out[*id as usize * dim..][..dim].iter_mut().zip(grad) {
                    *out += grad;
                }
            }
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(out, (vocab, dim), grad.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_gradient, noise};
    use super::*;

    #[test]
    fn gradient() {
        let op = || Embed { ids: vec![2, 0, 2, 1] };
        check_gradient(&noise(5 * 8, 1), (5, 8), |x| x.apply_op1(op()), 1e-2, 1e-3);
    }
}
