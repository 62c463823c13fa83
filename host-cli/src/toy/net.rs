//! The network: one word in, a probability for every next word out; forward, loss, backward, update.
//!
//! Sources: Bengio, Ducharme, Vincent & Jauvin 2003, "A neural probabilistic language model" (a learned vector for every
//! word, one hidden layer, a softmax over the vocabulary; here with one word of context, and ReLU for their tanh);
//! Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors".
//!
//! All of it is plain `f32` loops in index order, with the engine's own `exp` and libm's logarithm: the same bits from
//! the same seed on every machine.

use pipsqueak::{kernels::math::exp, sampler::uniform};

/// The sizes of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Words that can come in.
    pub words: usize,
    /// What can come next: the words and the end mark.
    pub outputs: usize,
    /// Numbers in a word's vector.
    pub dim: usize,
    /// Neurons of the hidden layer.
    pub hidden: usize,
}

/// Everything that is learned. The gradient of the loss has the same shapes, so it is a `Net` too.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// The sizes.
    pub shape: Shape,
    /// One vector a word: `[words, dim]`.
    pub embedding: Vec<f32>,
    /// Weights of the hidden layer: `[hidden, dim]`.
    pub w1: Vec<f32>,
    /// Biases of the hidden layer: `[hidden]`.
    pub b1: Vec<f32>,
    /// Weights of the output layer: `[outputs, hidden]`.
    pub w2: Vec<f32>,
    /// Biases of the output layer: `[outputs]`.
    pub b2: Vec<f32>,
}

/// What a forward pass computed; the backward pass needs it again.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The word's vector: `[dim]`.
    pub x: Vec<f32>,
    /// The hidden layer before ReLU: `[hidden]`.
    pub z: Vec<f32>,
    /// The hidden layer after ReLU: `[hidden]`.
    pub h: Vec<f32>,
    /// A score for every next word: `[outputs]`.
    pub logits: Vec<f32>,
    /// The scores as probabilities, which add up to 1: `[outputs]`.
    pub probabilities: Vec<f32>,
}

impl Net {
    /// All zeros: where a gradient's sum starts.
    pub fn zeros(shape: Shape) -> Self {
        let Shape { words, outputs, dim, hidden } = shape;
        Self {
            shape,
            embedding: vec![0.0; words * dim],
            w1: vec![0.0; hidden * dim],
            b1: vec![0.0; hidden],
            w2: vec![0.0; outputs * hidden],
            b2: vec![0.0; outputs],
        }
    }

    /// Random weights of this seed.
    ///
    /// Vectors start small and hidden biases at 1, so that every neuron is on for every word (Krizhevsky, Sutskever &
    /// Hinton 2012, "ImageNet classification with deep convolutional neural networks"): words that must give the same
    /// answer are then moved the same way. With biases of 0 the sign of a small vector decides which neurons learn from
    /// the word, and the same answer is found in different places. The layers start at `sqrt(6 / inputs)`, which keeps
    /// the size of what flows through a ReLU layer (He, Zhang, Ren & Sun 2015, "Delving deep into rectifiers").
    pub fn random(shape: Shape, seed: u64) -> Self {
        let mut net = Self::zeros(shape);
        let mut draws = 0;
        let mut fill = |values: &mut [f32], size: f32| {
            for value in values {
                *value = size * (2.0 * uniform(seed, draws) - 1.0);
                draws += 1;
            }
        };
        fill(&mut net.embedding, 0.1);
        fill(&mut net.w1, (6.0 / shape.dim as f32).sqrt());
        fill(&mut net.w2, (6.0 / shape.hidden as f32).sqrt());
        net.b1.fill(1.0);
        net
    }

    /// The vector of a word: `[dim]`.
    pub fn vector(&self, word: usize) -> &[f32] {
        &self.embedding[word * self.shape.dim..][..self.shape.dim]
    }

    /// What comes after `word`?
    pub fn forward(&self, word: usize) -> Forward {
        // x = the word's row of the embedding                [dim]
        let x = self.vector(word).to_vec();
        // z = W1 x + b1                                       [hidden, dim] [dim] -> [hidden]
        let z = affine(&self.w1, &x, &self.b1);
        // h = max(z, 0)                                       [hidden]
        let h: Vec<f32> = z.iter().map(|z| z.max(0.0)).collect();
        // logits = W2 h + b2                                  [outputs, hidden] [hidden] -> [outputs]
        let logits = affine(&self.w2, &h, &self.b2);
        // p = exp(logits) / sum of exp(logits)                [outputs]
        let probabilities = softmax(&logits);
        Forward { x, z, h, logits, probabilities }
    }

    /// The loss over all pairs `(word, next)`, their mean, and its gradient.
    pub fn gradient(&self, pairs: &[(usize, usize)]) -> (f32, Self) {
        let mut gradient = Self::zeros(self.shape);
        let mut loss = 0.0;
        for (word, next) in pairs {
            let forward = self.forward(*word);
            loss += cross_entropy(&forward.logits, *next);
            self.backward(*word, *next, &forward, &mut gradient);
        }
        let count = pairs.len().max(1) as f32;
        gradient.for_each(|value| *value /= count);
        (loss / count, gradient)
    }

    /// Adds one pair's gradient: the chain rule from the loss back to the word's vector. `dv` is the loss's derivative by
    /// `v`, and has the shape of `v`.
    fn backward(&self, word: usize, next: usize, forward: &Forward, gradient: &mut Self) {
        // loss = -ln p[next], and through the softmax simply
        // dlogits = p - onehot(next)                          [outputs]
        let mut dlogits = forward.probabilities.clone();
        dlogits[next] -= 1.0;
        // logits = W2 h + b2:
        // dW2 = dlogits h^T                                   [outputs] [hidden] -> [outputs, hidden]
        add_outer(&mut gradient.w2, &dlogits, &forward.h);
        // db2 = dlogits                                       [outputs]
        add(&mut gradient.b2, &dlogits);
        // dh = W2^T dlogits                                   [hidden, outputs] [outputs] -> [hidden]
        let dh = transposed_product(&self.w2, &dlogits, self.shape.hidden);
        // h = max(z, 0): a neuron that was off passes nothing back
        // dz = dh where z > 0, else 0                         [hidden]
        let dz: Vec<f32> = dh.iter().zip(&forward.z).map(|(dh, z)| if *z > 0.0 { *dh } else { 0.0 }).collect();
        // z = W1 x + b1:
        // dW1 = dz x^T                                        [hidden] [dim] -> [hidden, dim]
        add_outer(&mut gradient.w1, &dz, &forward.x);
        // db1 = dz                                            [hidden]
        add(&mut gradient.b1, &dz);
        // dx = W1^T dz                                        [dim, hidden] [hidden] -> [dim]
        let dx = transposed_product(&self.w1, &dz, self.shape.dim);
        // x was this word's row: only that row of the embedding learns
        // dE[word] = dx                                       [dim]
        add(&mut gradient.embedding[word * self.shape.dim..][..self.shape.dim], &dx);
    }

    /// One step downhill: `v = v - rate * dv` for every number that is learned.
    pub fn update(&mut self, gradient: &Self, rate: f32) {
        for (values, slopes) in self.parts_mut().into_iter().zip(gradient.parts()) {
            for (value, slope) in values.iter_mut().zip(slopes) {
                *value -= rate * slope;
            }
        }
    }

    /// Whether no number has run away to infinity or NaN.
    pub fn is_finite(&self) -> bool {
        self.parts().into_iter().flatten().all(|value| value.is_finite())
    }

    fn parts(&self) -> [&[f32]; 5] {
        [&self.embedding, &self.w1, &self.b1, &self.w2, &self.b2]
    }

    fn parts_mut(&mut self) -> [&mut [f32]; 5] {
        [&mut self.embedding, &mut self.w1, &mut self.b1, &mut self.w2, &mut self.b2]
    }

    fn for_each(&mut self, change: impl FnMut(&mut f32)) {
        self.parts_mut().into_iter().flatten().for_each(change);
    }
}

/// `-ln(softmax(logits)[next])`: 0 when the network was sure and right, large when it was sure and wrong.
///
/// From the logits, because the logarithm of a probability that rounds to 0 would be infinite.
pub fn cross_entropy(logits: &[f32], next: usize) -> f32 {
    let max = largest(logits);
    let sum: f32 = logits.iter().map(|logit| exp(logit - max)).sum();
    libm::logf(sum) + max - logits[next]
}

/// `exp(logits[i]) / sum of exp(logits)`. The largest is taken away first, which changes nothing but keeps `exp` small.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = largest(logits);
    let powers: Vec<f32> = logits.iter().map(|logit| exp(logit - max)).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(f32::NEG_INFINITY, |max, value| max.max(*value))
}

/// `w x + b`: `w` is `[rows, columns]`, `x` `[columns]`, `b` and the result `[rows]`.
fn affine(w: &[f32], x: &[f32], b: &[f32]) -> Vec<f32> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    w.chunks_exact(x.len()).zip(b).map(|(row, b)| dot(row) + b).collect()
}

/// `w^T y`: `w` is `[rows, columns]`, `y` `[rows]`, the result `[columns]`.
fn transposed_product(w: &[f32], y: &[f32], columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; columns];
    for (row, y) in w.chunks_exact(columns).zip(y) {
        for (out, w) in out.iter_mut().zip(row) {
            *out += w * y;
        }
    }
    out
}

/// `w += y x^T`: `w` is `[rows, columns]`, `y` `[rows]`, `x` `[columns]`.
fn add_outer(w: &mut [f32], y: &[f32], x: &[f32]) {
    for (row, y) in w.chunks_exact_mut(x.len()).zip(y) {
        for (w, x) in row.iter_mut().zip(x) {
            *w += y * x;
        }
    }
}

/// `a += b`.
fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { words: 5, outputs: 6, dim: 4, hidden: 7 };
    const PAIRS: [(usize, usize); 7] = [(0, 1), (1, 2), (2, 5), (0, 3), (3, 2), (4, 4), (0, 1)];

    /// Vectors as large as trained ones, and biases, so that no part of the gradient is near zero by chance.
    fn some_net() -> Net {
        let mut net = Net::random(SHAPE, 3);
        net.embedding.iter_mut().for_each(|value| *value *= 10.0);
        net.b1.iter_mut().enumerate().for_each(|(i, value)| *value = 0.3 - 0.05 * i as f32);
        net.b2.iter_mut().enumerate().for_each(|(i, value)| *value = 0.1 * i as f32);
        net
    }

    #[test]
    fn the_gradient_is_what_central_differences_say() {
        let net = some_net();
        let step = 1.0 / 128.0;
        // A neuron that turns on or off within a step has no derivative there to compare with.
        let kink = (0..SHAPE.words).flat_map(|word| net.forward(word).z).any(|z| z.abs() < 2.0 * step);
        assert!(!kink, "choose another seed");
        let (_, gradient) = net.gradient(&PAIRS);
        let sizes = net.parts().map(<[f32]>::len);
        assert_eq!(sizes, [20, 28, 7, 42, 6]);
        for (part, size) in sizes.into_iter().enumerate() {
            assert!(gradient.parts()[part].iter().any(|slope| slope.abs() > 0.01), "part {part} has no gradient");
            for i in 0..size {
                let loss_at = |change: f32| {
                    let mut net = net.clone();
                    net.parts_mut()[part][i] += change;
                    net.gradient(&PAIRS).0
                };
                let want = (loss_at(step) - loss_at(-step)) / (2.0 * step);
                let got = gradient.parts()[part][i];
                assert!((got - want).abs() < 2e-4, "part {part}, number {i}: {got}, differences say {want}");
            }
        }
    }

    #[test]
    fn softmax_and_loss_hold_out_large_logits() {
        let p = softmax(&[1000.0, 1000.0, -1000.0]);
        assert!((p[0] - 0.5).abs() < 1e-6 && (p[1] - 0.5).abs() < 1e-6 && p[2] < 1e-30, "{p:?}");
        assert!((cross_entropy(&[0.0; 4], 2) - 4f32.ln()).abs() < 1e-6);
        assert!((cross_entropy(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-3);
        assert!(cross_entropy(&[f32::NAN, 0.0], 0).is_nan());
    }

    #[test]
    fn a_step_downhill_lowers_the_loss() {
        let mut net = some_net();
        let (before, gradient) = net.gradient(&PAIRS);
        net.update(&gradient, 0.05);
        assert!(net.gradient(&PAIRS).0 < before);
    }
}
