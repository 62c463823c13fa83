//! AdamW, the learning rate's course, and the gradient's length.
//!
//! Sources: Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW); 2017, arXiv:1608.03983 (cosine); Pascanu et al. 2013,
//! arXiv:1211.5063 (clipping).

use super::weights::Weights;

/// What stays the same during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Largest learning rate.
    pub rate: f32,
    /// Steps until it is reached.
    pub warmup: u64,
    /// Fraction of it that is left at the last step.
    pub final_rate: f32,
    /// Steps in all.
    pub steps: u64,
    /// Decay of matrices, times the learning rate, a step.
    pub decay: f32,
    /// Longest gradient; longer ones are shortened to it.
    pub clip: f32,
    /// Memory of the mean gradient.
    pub beta1: f32,
    /// Memory of the mean square.
    pub beta2: f32,
}

impl Rule {
    /// The learning rate of step `step`, counted from 0: a straight rise, then half a cosine down.
    pub fn rate_at(&self, step: u64) -> f32 {
        if step < self.warmup {
            return self.rate * (step + 1) as f32 / self.warmup as f32;
        }
        let part = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        let cosine = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * part.min(1.0))) as f32;
        self.rate * (self.final_rate + (1.0 - self.final_rate) * cosine)
    }
}

/// Running means of gradients and of their squares, by group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Means.
    pub mean: Vec<Vec<f32>>,
    /// Means of squares.
    pub square: Vec<Vec<f32>>,
}

impl Moments {
    /// All zero.
    pub fn zero(weights: &Weights) -> Self {
        let zero: Vec<_> = weights.groups.iter().map(|group| vec![0.0; group.values.len()]).collect();
        Self { mean: zero.clone(), square: zero }
    }
}

/// One step; returns the gradient's length before it was clipped. `gradients`: by group.
pub fn step(weights: &mut Weights, moments: &mut Moments, gradients: &[Vec<f32>], rule: &Rule, step: u64) -> f32 {
    const EPS: f32 = 1e-8;
    let length = gradients.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt() as f32;
    let shorten = if length > rule.clip { rule.clip / length } else { 1.0 };
    let rate = rule.rate_at(step);
    // The means start at zero and are too small at first by these factors.
    let power = |beta: f32| 1.0 - libm::pow(f64::from(beta), (step + 1) as f64) as f32;
    let (bias1, bias2) = (power(rule.beta1), power(rule.beta2));
    let means = moments.mean.iter_mut().zip(&mut moments.square);
    for ((group, gradients), (means, squares)) in weights.groups.iter_mut().zip(gradients).zip(means) {
        let keep = if group.is_vector() { 1.0 } else { 1.0 - rate * rule.decay };
        for ((w, g), (mean, square)) in group.values.iter_mut().zip(gradients).zip(means.iter_mut().zip(squares)) {
            let g = g * shorten;
            *mean = rule.beta1 * *mean + (1.0 - rule.beta1) * g;
            *square = rule.beta2 * *square + (1.0 - rule.beta2) * g * g;
            *w = *w * keep - rate * (*mean / bias1) / ((*square / bias2).sqrt() + EPS);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule =
        Rule { rate: 0.1, warmup: 10, final_rate: 0.1, steps: 110, decay: 0.0, clip: 1.0, beta1: 0.9, beta2: 0.95 };

    #[test]
    fn rate_rises_and_falls() {
        assert_eq!(RULE.rate_at(0), 0.01);
        assert_eq!(RULE.rate_at(9), 0.1);
        assert_eq!(RULE.rate_at(10), 0.1);
        assert!((RULE.rate_at(60) - 0.055).abs() < 1e-6, "{}", RULE.rate_at(60));
        assert!((RULE.rate_at(110) - 0.01).abs() < 1e-6 && (RULE.rate_at(500) - 0.01).abs() < 1e-6);
    }
}
