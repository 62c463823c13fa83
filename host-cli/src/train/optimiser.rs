//! AdamW, the learning rate's course, and the gradient's length.
//!
//! Sources: Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW); 2017, arXiv:1608.03983 (cosine); Pascanu et al. 2013,
//! arXiv:1211.5063 (clipping).

use super::{
    rounding::LEAST_SCALE,
    weights::{Group, Weights},
};

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

/// Running means of gradients and of their squares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// Means.
    pub mean: Vec<f32>,
    /// Means of squares.
    pub square: Vec<f32>,
}

impl Moment {
    /// All zero.
    pub fn zero(len: usize) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; len] }
    }
}

/// The moments of a model, by group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Of the values.
    pub values: Vec<Moment>,
    /// Of the scales' logarithms; as empty as the scales.
    pub scales: Vec<Moment>,
}

impl Moments {
    /// All zero.
    pub fn zero(weights: &Weights) -> Self {
        let zero = |len: fn(&Group) -> usize| weights.groups.iter().map(|group| Moment::zero(len(group))).collect();
        Self { values: zero(|group| group.values.len()), scales: zero(|group| group.scales.len()) }
    }
}

/// The gradients of a model, by group.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Of the values.
    pub values: &'a [Vec<f32>],
    /// Of the scales' logarithms; empty where a group has none.
    pub scales: &'a [Vec<f32>],
}

/// What AdamW needs to know of a step.
struct Adam {
    beta1: f32,
    beta2: f32,
    /// The means start at zero and are too small at first by these factors.
    bias1: f32,
    bias2: f32,
}

impl Adam {
    /// Takes a gradient into the moments; returns the direction to go against.
    #[inline]
    fn direction(&self, g: f32, mean: &mut f32, square: &mut f32) -> f32 {
        const EPS: f32 = 1e-8;
        *mean = self.beta1 * *mean + (1.0 - self.beta1) * g;
        *square = self.beta2 * *square + (1.0 - self.beta2) * g * g;
        (*mean / self.bias1) / ((*square / self.bias2).sqrt() + EPS)
    }
}

/// One step; returns the length of the values' gradient before it was clipped.
pub fn step(weights: &mut Weights, moments: &mut Moments, gradients: &Gradients<'_>, rule: &Rule, step: u64) -> f32 {
    let length = gradients.values.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt() as f32;
    let shorten = if length > rule.clip { rule.clip / length } else { 1.0 };
    let rate = rule.rate_at(step);
    let bias = |beta: f32| 1.0 - libm::pow(f64::from(beta), (step + 1) as f64) as f32;
    let adam = Adam { beta1: rule.beta1, beta2: rule.beta2, bias1: bias(rule.beta1), bias2: bias(rule.beta2) };
    for ((group, gradient), moment) in weights.groups.iter_mut().zip(gradients.values).zip(&mut moments.values) {
        let keep = if group.is_vector() { 1.0 } else { 1.0 - rate * rule.decay };
        let each = moment.mean.iter_mut().zip(&mut moment.square);
        for ((w, g), (mean, square)) in group.values.iter_mut().zip(gradient).zip(each) {
            *w = *w * keep - rate * adam.direction(g * shorten, mean, square);
        }
    }
    for ((group, gradient), moment) in weights.groups.iter_mut().zip(gradients.scales).zip(&mut moments.scales) {
        if moment.mean.len() != gradient.len() {
            *moment = Moment::zero(gradient.len());
        }
        let each = moment.mean.iter_mut().zip(&mut moment.square);
        for ((scale, g), (mean, square)) in group.scales.iter_mut().zip(gradient).zip(each) {
            // A step of the logarithm: as large for a small scale as for a large one, and the sign stays.
            let moved = *scale * libm::expf(-rate * adam.direction(g * shorten, mean, square));
            *scale = moved.abs().max(LEAST_SCALE).copysign(moved);
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
