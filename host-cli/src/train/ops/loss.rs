//! Cross-entropy against the text, a teacher's distribution, or a mixture of both.
//!
//! Source of distillation: Hinton et al. 2015, arXiv:1503.02531.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{LANES, exp, values, with_values};

/// What the tokens of a batch should predict.
pub(in super::super) struct Targets {
    /// The next token, `[tokens]`.
    pub(in super::super) ids: Vec<u32>,
    /// How much of the target is the teacher's distribution rather than the next token itself, `[tokens]`.
    pub(in super::super) teacher_share: Vec<f32>,
    /// The teacher's logits, `[tokens, vocab]`; not asked for when every share is 0.
    pub(in super::super) teacher: Option<Tensor>,
}

/// Sums over a batch's tokens, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Scores {
    /// Cross-entropy against the mixed target: what is minimised.
    pub(in super::super) loss: f64,
    /// Cross-entropy against the text alone.
    pub(in super::super) text: f64,
}

/// `[tokens, vocab] -> [1]`: the sum over tokens of the cross-entropy times `weight`.
pub(in super::super) struct Loss {
    pub(in super::super) targets: Targets,
    /// One over the number of tokens of the whole step.
    pub(in super::super) weight: f32,
    pub(in super::super) scores: Arc<Mutex<Scores>>,
    /// The forward pass has all that the gradient needs; it is kept for the backward pass.
    gradient: Mutex<Vec<f32>>,
}

impl Loss {
    pub(in super::super) fn new(targets: Targets, weight: f32, scores: Arc<Mutex<Scores>>) -> Self {
        Self { targets, weight, scores, gradient: Mutex::default() }
    }
}

/// A row of logits to probabilities in `out`; returns the logarithm of the sum that they were divided by, so that a
/// token's log probability is its logit minus this.
#[inline(always)]
fn softmax(logits: &[f32], out: &mut [f32]) -> f32 {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (max, x) in maxima.iter_mut().zip(chunk) {
            *max = if *x > *max { *x } else { *max };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for x in maxima.iter().chain(rest) {
        max = if *x > max { *x } else { max };
    }
    for (out, x) in out.iter_mut().zip(logits) {
        *out = exp(x - max);
    }
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = out.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    let sum = sums.iter().chain(rest).sum::<f32>();
    let inverse = 1.0 / sum;
    for out in out.iter_mut() {
        *out *= inverse;
    }
    max + sum.ln()
}

fast! {
    /// Gradient and scores. `teacher`: `[tokens, vocab]`, or empty.
    fn compute(
        targets: &Targets,
        weight: f32,
        logits: &[f32],
        teacher: &[f32],
        vocab: usize,
        gradient: &mut [f32],
    ) -> Scores {
        let Targets { ids, teacher_share, .. } = targets;
        let mut scores = Scores::default();
        let mut wanted = vec![0.0f32; vocab];
        let rows = logits.chunks_exact(vocab).zip(gradient.chunks_exact_mut(vocab)).zip(ids.iter().zip(teacher_share));
        for (t, ((logits, gradient), (id, share))) in rows.enumerate() {
            let total = softmax(logits, gradient);
            let text = total - logits[*id as usize];
            let mut loss = text * (1.0 - share);
            if let Some(teacher) = teacher.get(t * vocab..(t + 1) * vocab).filter(|_| *share > 0.0) {
                softmax(teacher, &mut wanted);
                loss += share * (total - super::lane_sum(&wanted, logits));
                for (gradient, wanted) in gradient.iter_mut().zip(&wanted) {
                    *gradient -= share * wanted;
                }
            }
            gradient[*id as usize] -= 1.0 - share;
            for gradient in gradient {
                *gradient *= weight;
            }
            scores.loss += f64::from(loss);
            scores.text += f64::from(text);
        }
        scores
    }
}

impl CustomOp1 for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, vocab) = layout.shape().dims2()?;
        let logits = values(storage, layout)?;
        let mut gradient = vec![0.0f32; logits.len()];
        let scores = match &self.targets.teacher {
            Some(teacher) => with_values(teacher, |teacher| {
                Ok(compute(&self.targets, self.weight, logits, teacher, vocab, &mut gradient))
            })?,
            None => compute(&self.targets, self.weight, logits, &[], vocab, &mut gradient),
        };
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = gradient;
        *self.scores.lock().unwrap_or_else(PoisonError::into_inner) = scores;
        Ok((CpuStorage::F32(vec![(scores.loss * f64::from(self.weight)) as f32]), 1.into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let gradient = std::mem::take(&mut *self.gradient.lock().unwrap_or_else(PoisonError::into_inner));
        let gradient = Tensor::from_vec(gradient, x.shape(), x.device())?;
        let by: Vec<f32> = grad.flatten_all()?.to_vec1()?;
        Ok(Some(if by == [1.0] { gradient } else { gradient.broadcast_mul(grad)? }))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::{check_gradient, noise};
    use super::*;

    fn op(teacher: Option<Tensor>) -> (Loss, Arc<Mutex<Scores>>) {
        let scores = Arc::default();
        let targets = Targets { ids: vec![3, 0, 19], teacher_share: vec![0.0, 1.0, 0.25], teacher };
        (Loss::new(targets, 0.5, Arc::clone(&scores)), scores)
    }

    #[test]
    fn gradient() {
        let teacher = Tensor::from_vec(noise(60, 21), (3, 20), &Device::Cpu).unwrap();
        let loss = |x: &Tensor| x.apply_op1(op(Some(teacher.clone())).0);
        check_gradient(&noise(60, 22), (3, 20), loss, 1e-2, 1e-3);
    }

    #[test]
    fn even_logits_cost_the_logarithm_of_the_vocabulary() {
        let even = Tensor::zeros((3, 20), candle_core::DType::F32, &Device::Cpu).unwrap();
        let (loss, scores) = op(Some(even.clone()));
        even.apply_op1(loss).unwrap();
        let scores = *scores.lock().unwrap();
        let expected = 3.0 * 20f64.ln();
        assert!((scores.loss - expected).abs() < 1e-5 && (scores.text - expected).abs() < 1e-5, "{scores:?}");
    }
}
