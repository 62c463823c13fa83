//! What the reference is made of: norms, functions, products.

use std::{f64::consts::PI, num::NonZero, thread};

use pipsqueak::config::Activation;

/// Every row of `x` less its mean, over its standard deviation, times `weight`, plus `bias`. Ba et al. 2016, arXiv:1607.06450.
pub(super) fn layernorm(x: &[f64], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let scaled = row.iter().map(|x| (x - mean) / (variance + eps).sqrt());
        out.extend(scaled.zip(weight.iter().zip(bias)).map(|(x, (w, b))| x * f64::from(*w) + f64::from(*b)));
    }
    out
}

/// Every row of `x` over its root mean square, times `weight`: `x` is `[n, weight.len()]`.
pub(super) fn rmsnorm(x: &[f64], weight: &[f32], eps: f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + eps).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, w)| x * scale * f64::from(*w)));
    }
    out
}

pub(super) fn add(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

pub(super) fn activation(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        Activation::Relu => x.max(0.0),
    }
}

/// How many tokens share one pass over a row of weights.
const TILE: usize = 8;

/// `out[t, r] = sum over i of w[r, i] * x[t, i]`, the sum in index order: `w` is `[rows, k]`, `x` is `[n, k]`.
///
/// Large products are shared out by rows over the machine's threads.
pub(super) fn matmul(w: &[f32], rows: usize, x: &[f64], n: usize) -> Vec<f64> {
    let k = x.len() / n;
    assert_eq!(w.len(), rows * k, "weights are [rows, k]");
    // Tiles of tokens, each `[k, TILE]`, the last one filled up with zeros.
    let tiles: Vec<Vec<[f64; TILE]>> = x
        .chunks(TILE * k)
        .map(|tokens| (0..k).map(|i| std::array::from_fn(|t| tokens.get(t * k + i).copied().unwrap_or(0.0))).collect())
        .collect();
    let large = w.len() * n > 1 << 22;
    let threads = if large { thread::available_parallelism().map_or(1, NonZero::get).min(8) } else { 1 };
    let share = rows.div_ceil(threads);

    // `[rows, n]`, so that every thread has a part of its own.
    let mut by_row = vec![0.0; rows * n];
    thread::scope(|scope| {
        for (w, out) in w.chunks(share * k).zip(by_row.chunks_mut(share * n)) {
            let tiles = &tiles;
            let mut work = move || {
                for (w, out) in w.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
                    for (x, out) in tiles.iter().zip(out.chunks_mut(TILE)) {
                        let mut sums = [0.0; TILE];
                        for (w, x) in w.iter().zip(x) {
                            for (sum, x) in sums.iter_mut().zip(x) {
                                *sum += f64::from(*w) * x;
                            }
                        }
                        out.copy_from_slice(&sums[..out.len()]);
                    }
                }
            };
            if threads > 1 {
                scope.spawn(work);
            } else {
                work();
            }
        }
    });
    (0..n).flat_map(|t| by_row.iter().skip(t).step_by(n).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Odd sizes, tiles that are not full, and one product large enough for threads.
    #[test]
    fn matmul_is_a_sum_in_order() {
        let mut rng = Rng::new(3);
        for (rows, k, n) in [(1, 1, 1), (3, 5, 1), (7, 2, 8), (5, 33, 9), (2, 4, 17), (701, 700, 9)] {
            let w: Vec<f32> = (0..rows * k).map(|_| rng.uniform()).collect();
            let x: Vec<f64> = (0..n * k).map(|_| rng.uniform().into()).collect();
            let dot = |t: usize, r: usize| (0..k).fold(0.0, |sum, i| sum + f64::from(w[r * k + i]) * x[t * k + i]);
            let want: Vec<f64> = (0..n * rows).map(|i| dot(i / rows, i % rows)).collect();
            assert!(matmul(&w, rows, &x, n) == want, "{rows} x {k}, {n} tokens");
        }
    }

    /// Values from tables of the functions.
    #[test]
    fn activations() {
        let close = |function, x: f64, want: f64| {
            let got = activation(function, x);
            assert!((got - want).abs() < 1e-6, "{function:?}({x}) = {got}, not {want}");
        };
        for (x, silu, gelu, relu) in [
            (-1.0, -0.268_941_4, -0.158_808_0, 0.0),
            (0.0, 0.0, 0.0, 0.0),
            (1.0, 0.731_058_6, 0.841_192_0, 1.0),
            (3.0, 2.857_722_4, 2.996_362_6, 3.0),
        ] {
            close(Activation::Silu, x, silu);
            close(Activation::Gelu, x, gelu);
            close(Activation::Relu, x, relu);
        }
    }

    #[test]
    fn layernorm_by_hand() {
        // Mean 3, variance 4.
        let out = layernorm(&[1.0, 5.0, 7.0, 7.0], &[1.0, 2.0], &[0.5, -1.0], 0.0);
        assert_eq!(out[..2], [-0.5, 1.0]);
        assert!(out[2].is_nan(), "no epsilon, no norm of a constant");
        assert_eq!(layernorm(&[7.0; 2], &[3.0; 2], &[0.25; 2], 1e-5), [0.25; 2]);
    }

    #[test]
    fn rmsnorm_by_hand() {
        let out = rmsnorm(&[3.0, 4.0, 0.0, 0.0], &[1.0, 2.0], 0.0);
        let scale = 1.0 / 12.5f64.sqrt();
        assert!((out[0] - 3.0 * scale).abs() < 1e-15 && (out[1] - 8.0 * scale).abs() < 1e-15);
        assert!(out[2].is_nan(), "no epsilon, no norm of zero");
        assert_eq!(rmsnorm(&[0.0; 2], &[1.0; 2], 1e-5), [0.0; 2]);
        assert_eq!(rmsnorm(&[1.0; 2], &[1.0; 2], 3.0), [0.5; 2]);
    }
}
