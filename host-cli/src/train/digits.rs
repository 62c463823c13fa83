//! Training the handwritten-digit recogniser: softmax cross-entropy, AdamW, every digit a little distorted each time it
//! is seen. One seed, one result (on one machine: Candle's sums may round differently elsewhere).

mod data;
mod samples;

use std::fmt;

use candle_core::{Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, loss::cross_entropy};
pub use data::{DataError, Digit, load};
use pipsqueak::{classifier::Shape, kernels::Kernels, sampler::greedy};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
pub use samples::samples;

use crate::digits::{DIGITS, Net, SIDE, pack::Dense};

/// Digits whose gradients make one step.
const BATCH: usize = 64;
/// Step length at the start; it falls along a half cosine.
const RATE: f64 = 4e-3;
const WEIGHT_DECAY: f64 = 1e-2;
/// Of the distortions, what a single matrix gets.
const PLAIN_STRENGTH: f32 = 0.4;

/// What to train.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Units of the hidden layer; 0 for a single matrix.
    pub hidden: u16,
    /// Times that every digit is seen.
    pub epochs: u32,
    /// Seed of first weights, order and distortions.
    pub seed: u64,
}

impl Options {
    /// The shape of the classifier.
    pub const fn shape(&self) -> Shape {
        Shape { width: SIDE, height: SIDE, hidden: self.hidden, classes: DIGITS }
    }
}

/// How many digits of a set were read rightly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Rightly read.
    pub right: usize,
    /// All.
    pub of: usize,
}

impl Score {
    /// In percent.
    pub fn percent(&self) -> f64 {
        self.right as f64 * 100.0 / self.of.max(1) as f64
    }

    fn of(answers: impl Iterator<Item = (u32, u8)>) -> Self {
        answers.fold(Self::default(), |score, (answer, label)| Self {
            right: score.right + usize::from(answer == u32::from(label)),
            of: score.of + 1,
        })
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} % ({} of {})", self.percent(), self.right, self.of)
    }
}

/// Trains on `digits`; `progress` hears each epoch's number and mean loss.
pub fn train(
    options: &Options,
    digits: &[Digit],
    mut progress: impl FnMut(u32, f64),
) -> candle_core::Result<Vec<Dense>> {
    let mut random = Random(ChaCha8Rng::seed_from_u64(options.seed));
    let device = Device::Cpu;
    let sizes: Vec<_> = options.shape().layers().into_iter().flatten().collect();
    let mut layers = Vec::new();
    for (rows, cols) in &sizes {
        // He et al. 2015, arXiv:1502.01852, uniform.
        let bound = (6.0 / *cols as f32).sqrt();
        let first: Vec<f32> = (0..rows * cols).map(|_| random.around_zero(bound)).collect();
        let weights = Var::from_tensor(&Tensor::from_vec(first, (*rows, *cols), &device)?)?;
        let bias = Var::from_tensor(&Tensor::from_vec(vec![0.0f32; *rows], *rows, &device)?)?;
        layers.push((weights, bias));
    }
    let variables = layers.iter().flat_map(|(weights, bias)| [weights.clone(), bias.clone()]).collect();
    let parameters = ParamsAdamW { lr: RATE, weight_decay: WEIGHT_DECAY, ..ParamsAdamW::default() };
    let mut optimiser = AdamW::new(variables, parameters)?;
    let mut order: Vec<usize> = (0..digits.len()).collect();
    let side = usize::from(SIDE);
    // One matrix has no room for what many distortions teach.
    let strength = if options.hidden == 0 { PLAIN_STRENGTH } else { 1.0 };
    for epoch in 0..options.epochs {
        let done = f64::from(epoch) / f64::from(options.epochs);
        optimiser.set_learning_rate(RATE * (1.0 + (done * std::f64::consts::PI).cos()) / 2.0);
        // Fisher and Yates.
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        let (mut loss_sum, mut batches) = (0.0, 0);
        for batch in order.chunks(BATCH) {
            let batch: Vec<&Digit> = batch.iter().filter_map(|index| digits.get(*index)).collect();
            let pixels: Vec<f32> =
                batch.iter().flat_map(|digit| distorted(&digit.pixels, side, strength, &mut random)).collect();
            let labels = batch.iter().map(|digit| u32::from(digit.label)).collect();
            let mut x = Tensor::from_vec(pixels, (batch.len(), side * side), &device)?;
            for (index, (weights, bias)) in layers.iter().enumerate() {
                if index > 0 {
                    x = x.relu()?;
                }
                x = x.matmul(&weights.t()?)?.broadcast_add(bias)?;
            }
            let loss = cross_entropy(&x, &Tensor::from_vec(labels, batch.len(), &device)?)?;
            optimiser.backward_step(&loss)?;
            loss_sum += f64::from(loss.to_scalar::<f32>()?);
            batches += 1;
        }
        progress(epoch + 1, loss_sum / f64::from(batches.max(1)));
    }
    let dense =
        |(weights, bias): &(Var, Var)| Ok(Dense { weights: weights.flatten_all()?.to_vec1()?, bias: bias.to_vec1()? });
    layers.iter().map(dense).collect()
}

/// What `layers` read in floating point.
pub fn score_float(layers: &[Dense], digits: &[&Digit]) -> Score {
    let answer = |digit: &&Digit| {
        let mut x = digit.pixels.clone();
        for (index, layer) in layers.iter().enumerate() {
            if index > 0 {
                x.iter_mut().for_each(|x| *x = x.max(0.0));
            }
            let rows = layer.weights.chunks(x.len().max(1)).zip(&layer.bias);
            x = rows.map(|(row, bias)| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>() + bias).collect();
        }
        (greedy(&x), digit.label)
    };
    Score::of(digits.iter().map(answer))
}

/// What the packed classifier reads through the kernels.
///
/// Errors: `packed` is no classifier of 16 x 16 pixels.
pub fn score_packed(packed: &[u8], kernels: &'static dyn Kernels, digits: &[&Digit]) -> Result<Score, String> {
    let net = Net::open(packed, kernels).map_err(|error| error.to_string())?;
    let pictures: Vec<Vec<f32>> = digits.iter().map(|digit| digit.pixels.clone()).collect();
    let readings = net.read(&pictures).map_err(|error| error.to_string())?;
    Ok(Score::of(readings.iter().map(|reading| reading.class).zip(digits.iter().map(|digit| digit.label))))
}

/// Random numbers of a seed.
struct Random(ChaCha8Rng);

impl Random {
    /// From `-bound` to `bound`, uniform.
    fn around_zero(&mut self, bound: f32) -> f32 {
        ((self.0.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0) * bound
    }

    /// From 0 to `bound - 1`; the bias of a remainder is far below what training could feel.
    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound.max(1) as u64) as usize
    }
}

/// The picture turned, slanted and stretched a little, and moved by up to a pixel; bilinear.
fn distorted(pixels: &[f32], side: usize, strength: f32, random: &mut Random) -> Vec<f32> {
    // Rows of the map from target to source, around the middle. A turn of t is about (1, t; -t, 1).
    let mut up_to = |bound: f32| random.around_zero(bound * strength);
    let (turn, slant) = (up_to(0.18), up_to(0.15));
    let (wide, high) = (1.0 + up_to(0.12), 1.0 + up_to(0.12));
    let (right, down) = (up_to(0.9), up_to(0.9));
    let middle = (side as f32 - 1.0) / 2.0;
    let at = |x: i32, y: i32| {
        let inside = |value: i32| usize::try_from(value).ok().filter(|value| *value < side);
        inside(x).zip(inside(y)).and_then(|(x, y)| pixels.get(y * side + x)).copied().unwrap_or(0.0)
    };
    let value = |index: usize| {
        let (x, y) = ((index % side) as f32 - middle, (index / side) as f32 - middle);
        let from_x = x * wide + y * (turn + slant) + middle + right;
        let from_y = y * high - x * turn + middle + down;
        let (left, top) = (from_x.floor(), from_y.floor());
        let (fx, fy) = (from_x - left, from_y - top);
        let (left, top) = (left as i32, top as i32);
        let upper = at(left, top) * (1.0 - fx) + at(left + 1, top) * fx;
        let lower = at(left, top + 1) * (1.0 - fx) + at(left + 1, top + 1) * fx;
        upper * (1.0 - fy) + lower * fy
    };
    (0..side * side).map(value).collect()
}

#[cfg(test)]
mod tests {
    use pipsqueak::kernels::{Panel, select};

    use super::*;
    use crate::digits::{pack::pack, png_file};

    /// The committed samples: one batch.
    fn digits() -> Vec<Digit> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/digits");
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
        paths.sort();
        let digit = |path: &std::path::PathBuf| {
            let label = path.file_name().unwrap().to_str().unwrap().as_bytes()[0] - b'0';
            Digit { label, pixels: png_file::read(path, 16, 16).unwrap(), held_out: false, source: 0, raw: Vec::new() }
        };
        paths.iter().map(digit).collect()
    }

    #[test]
    fn it_learns_and_a_seed_tells_all() {
        let digits = digits();
        assert!(digits.len() >= 10);
        for hidden in [0, 32] {
            let options = Options { hidden, epochs: 400, seed: 5 };
            let mut losses = Vec::new();
            let layers = train(&options, &digits, |_, loss| losses.push(loss)).unwrap();
            assert!(losses[losses.len() - 1] < losses[0] / 4.0, "{hidden}: {losses:?}");
            let all: Vec<&Digit> = digits.iter().collect();
            let packed = pack(options.shape(), Panel::R1, &layers).unwrap();
            let score = score_packed(packed.bytes(), select::best(), &all).unwrap();
            assert!(score.right + 1 >= score.of && score_float(&layers, &all).right + 1 >= score.of, "{score}");

            assert!(train(&options, &digits, |_, _| {}).unwrap() == layers, "the same seed, other weights");
            let other = Options { seed: 6, ..options };
            assert!(train(&other, &digits, |_, _| {}).unwrap() != layers, "another seed, the same weights");
        }
    }
}
