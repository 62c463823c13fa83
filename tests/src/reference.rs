//! The forward pass of every architecture in `f64`, written to be obviously right: what the engine's results are close to.
//!
//! Weights are those of the file, dequantised exactly; activations are never quantised. Whatever tensor a file has is used where
//! it belongs, so that the architecture's name decides only what no tensor tells.
//!
//! Sources beyond Llama's: Qwen 2 (arXiv:2407.10671) adds biases to queries, keys and values; Qwen 3 (arXiv:2505.09388)
//! normalises queries and keys in each head; Gemma 3 (arXiv:2503.19786) does so too, normalises before and after each block,
//! and has five layers with a sliding window and a RoPE of base 10,000 for one that sees everything; GPT-2 (Radford et al. 2019)
//! has LayerNorm, learned positions, biases, and GELU without a gate.

use std::{
    f64::consts::{PI, TAU},
    num::NonZero,
    ops::Range,
    thread,
};

use pipsqueak::{
    config::{Activation, Arch, Config, RopePairs},
    tensor::TensorKind,
};
use pipsqueak_cli::source::{RopeScaling, Source};

/// A model in memory.
pub struct Reference {
    config: Config,
    token_embedding: Vec<f32>,
    positions: Option<Vec<f32>>,
    /// `None` where the head is the embedding.
    wcls: Option<Vec<f32>>,
    norm_final: Norm,
    layers: Vec<Layer>,
}

/// Weights of a norm; with a bias it is LayerNorm, without RMSNorm.
struct Norm {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    eps: f64,
}

/// A matrix and what is added to its product.
struct Linear {
    w: Vec<f32>,
    bias: Option<Vec<f32>>,
}

struct Layer {
    norm_att: Norm,
    wq: Linear,
    wk: Linear,
    wv: Linear,
    norm_q: Option<Norm>,
    norm_k: Option<Norm>,
    wo: Linear,
    post_att: Option<Norm>,
    norm_ffn: Norm,
    w1: Linear,
    /// `None` where there is no gate.
    w3: Option<Linear>,
    w2: Linear,
    post_ffn: Option<Norm>,
    /// How many positions back a query looks, its own among them.
    window: usize,
    /// Angle per position of each rotated pair: `[rope_dim / 2]`.
    rope_freqs: Vec<f64>,
}

/// Keys and values of the positions so far: a layer's are `[pos, n_kv_heads * head_dim]`.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    keys: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    len: usize,
}

impl Reference {
    /// Dequantises all of a model's weights.
    ///
    /// # Panics
    /// When a tensor is missing, which no importer lets happen.
    pub fn new(source: &Source<'_>) -> Self {
        let find = |kind: TensorKind, layer: u32| -> Option<Vec<f32>> {
            let tensor = source.tensors.iter().find(|tensor| (tensor.kind, tensor.layer) == (kind, layer))?;
            let mut values = vec![0.0; tensor.rows * tensor.cols];
            for (row, out) in values.chunks_exact_mut(tensor.cols).enumerate() {
                tensor.dequantize_row(row, out);
            }
            Some(values)
        };
        let get = |kind, layer| find(kind, layer).unwrap_or_else(|| panic!("no {} in layer {layer}", kind.name()));
        let eps = f64::from(source.config.norm_eps);
        let norm = |weight, bias: Option<TensorKind>, layer| {
            let bias = bias.and_then(|bias| find(bias, layer));
            find(weight, layer).map(|weight| Norm { weight, bias, eps })
        };
        let must = |weight: TensorKind, bias, layer| {
            norm(weight, Some(bias), layer).unwrap_or_else(|| panic!("no {} in layer {layer}", weight.name()))
        };
        let linear = |w, bias, layer| Linear { w: get(w, layer), bias: find(bias, layer) };
        let layers = (0..source.config.n_layers).map(|layer| {
            let slides = match source.config.arch {
                Arch::Gemma3 { window, global_every } => {
                    let global = window == 0 || (global_every > 0 && (layer + 1).is_multiple_of(global_every));
                    (!global).then_some(window)
                }
                _ => None,
            };
            Layer {
                norm_att: must(TensorKind::RmsAtt, TensorKind::BiasAtt, layer),
                wq: linear(TensorKind::Wq, TensorKind::Bq, layer),
                wk: linear(TensorKind::Wk, TensorKind::Bk, layer),
                wv: linear(TensorKind::Wv, TensorKind::Bv, layer),
                norm_q: norm(TensorKind::RmsQ, None, layer),
                norm_k: norm(TensorKind::RmsK, None, layer),
                wo: linear(TensorKind::Wo, TensorKind::Bo, layer),
                post_att: norm(TensorKind::RmsPostAtt, None, layer),
                norm_ffn: must(TensorKind::RmsFfn, TensorKind::BiasFfn, layer),
                w1: linear(TensorKind::W1, TensorKind::B1, layer),
                w3: find(TensorKind::W3, layer).map(|w| Linear { w, bias: None }),
                w2: linear(TensorKind::W2, TensorKind::B2, layer),
                post_ffn: norm(TensorKind::RmsPostFfn, None, layer),
                window: slides.map_or(usize::MAX, |window| window as usize),
                rope_freqs: if slides.is_some() { local_rope_freqs(source) } else { rope_freqs(source) },
            }
        });
        Self {
            config: source.config,
            token_embedding: get(TensorKind::TokenEmbedding, 0),
            positions: find(TensorKind::PositionEmbedding, 0),
            wcls: (!source.config.tied_head).then(|| get(TensorKind::OutputHead, 0)),
            norm_final: must(TensorKind::RmsFinal, TensorKind::BiasFinal, 0),
            layers: layers.collect(),
        }
    }

    /// The logits after every token of a text: `[ids.len(), vocab_size]`.
    pub fn logits(&self, ids: &[u32]) -> Vec<f64> {
        let x = self.hidden(&mut Cache::default(), ids);
        self.head(&x, ids.len())
    }

    /// The logits after the last of some more tokens: `[vocab_size]`.
    ///
    /// # Panics
    /// When `ids` is empty.
    pub fn next_logits(&self, cache: &mut Cache, ids: &[u32]) -> Vec<f64> {
        let x = self.hidden(cache, ids);
        self.head(&x[x.len() - self.config.dim as usize..], 1)
    }

    /// `n` tokens that follow `ids`, each the most likely one; of equals, the one with the lower id.
    pub fn greedy(&self, ids: &[u32], n: usize) -> Vec<u32> {
        let (mut cache, mut out) = (Cache::default(), Vec::new());
        let mut logits = self.next_logits(&mut cache, ids);
        for _ in 0..n {
            let next = argmax(&logits);
            out.push(next);
            logits = self.next_logits(&mut cache, &[next]);
        }
        out
    }

    /// The residual stream after the last layer: `[ids.len(), dim]`. `ids` go behind what the cache holds.
    fn hidden(&self, cache: &mut Cache, ids: &[u32]) -> Vec<f64> {
        let c = &self.config;
        let (dim, hidden_dim, head_dim) = (c.dim as usize, c.hidden_dim as usize, c.head_dim as usize);
        let (q_dim, kv_dim) = (c.n_heads as usize * head_dim, c.n_kv_heads as usize * head_dim);
        let n = ids.len();
        let row = |id: &u32| self.token_embedding[*id as usize * dim..][..dim].iter().map(|w| f64::from(*w));
        let mut x: Vec<f64> = ids.iter().flat_map(row).collect();
        if let Arch::Gemma3 { .. } = c.arch {
            x.iter_mut().for_each(|x| *x *= f64::from(c.dim).sqrt());
        }
        if let Some(positions) = &self.positions {
            let known = positions[cache.len * dim..][..n * dim].iter().map(|p| f64::from(*p));
            add(&mut x, &known.collect::<Vec<_>>());
        }
        cache.keys.resize(self.layers.len(), Vec::new());
        cache.values.resize(self.layers.len(), Vec::new());

        for (l, layer) in self.layers.iter().enumerate() {
            let xb = layer.norm_att.of(&x);
            let mut q = layer.wq.of(q_dim, &xb, n);
            let mut k = layer.wk.of(kv_dim, &xb, n);
            let v = layer.wv.of(kv_dim, &xb, n);
            if let Some(norm) = &layer.norm_q {
                q = norm.of(&q);
            }
            if let Some(norm) = &layer.norm_k {
                k = norm.of(&k);
            }
            for t in 0..n {
                self.rotate(layer, &mut q[t * q_dim..][..q_dim], cache.len + t);
                self.rotate(layer, &mut k[t * kv_dim..][..kv_dim], cache.len + t);
            }
            cache.keys[l].extend(k);
            cache.values[l].extend(v);

            let mut att = vec![0.0; n * q_dim];
            for t in 0..n {
                let pos = cache.len + t;
                for h in 0..c.n_heads as usize {
                    let at = t * q_dim + h * head_dim;
                    let kv_head = h / (c.n_heads / c.n_kv_heads) as usize;
                    self.attend(
                        &q[at..][..head_dim],
                        &cache.keys[l],
                        &cache.values[l],
                        kv_head,
                        (pos + 1).saturating_sub(layer.window)..pos + 1,
                        &mut att[at..][..head_dim],
                    );
                }
            }
            let mut out = layer.wo.of(dim, &att, n);
            if let Some(norm) = &layer.post_att {
                out = norm.of(&out);
            }
            add(&mut x, &out);

            let xb = layer.norm_ffn.of(&x);
            let mut hidden: Vec<f64> = layer.w1.of(hidden_dim, &xb, n);
            hidden.iter_mut().for_each(|x| *x = activation(c.activation, *x));
            if let Some(w3) = &layer.w3 {
                for (hidden, up) in hidden.iter_mut().zip(w3.of(hidden_dim, &xb, n)) {
                    *hidden *= up;
                }
            }
            let mut out = layer.w2.of(dim, &hidden, n);
            if let Some(norm) = &layer.post_ffn {
                out = norm.of(&out);
            }
            add(&mut x, &out);
        }
        cache.len += n;
        x
    }

    /// The last norm and the head.
    fn head(&self, x: &[f64], n: usize) -> Vec<f64> {
        let xb = self.norm_final.of(x);
        let wcls = self.wcls.as_ref().unwrap_or(&self.token_embedding);
        matmul(wcls, self.config.vocab_size as usize, &xb, n)
    }

    /// Rotates every head of `x` to position `pos`.
    fn rotate(&self, layer: &Layer, x: &mut [f64], pos: usize) {
        let pairs = layer.rope_freqs.len();
        for head in x.chunks_exact_mut(self.config.head_dim as usize) {
            for (i, freq) in layer.rope_freqs.iter().enumerate() {
                let (a, b) = match self.config.rope_pairs {
                    RopePairs::None => return,
                    RopePairs::Interleaved => (2 * i, 2 * i + 1),
                    RopePairs::HalfSplit => (i, i + pairs),
                };
                let (sin, cos) = (pos as f64 * freq).sin_cos();
                (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
            }
        }
    }

    /// One head of one position over the positions `seen`.
    fn attend(&self, q: &[f64], keys: &[f64], values: &[f64], kv_head: usize, seen: Range<usize>, out: &mut [f64]) {
        let head_dim = q.len();
        let kv_dim = self.config.n_kv_heads as usize * head_dim;
        let head_at =
            |all: &[f64], p: usize| -> Vec<f64> { all[p * kv_dim + kv_head * head_dim..][..head_dim].to_vec() };
        let score = |p: usize| {
            let dot: f64 = head_at(keys, p).iter().zip(q).map(|(k, q)| k * q).sum();
            dot * f64::from(self.config.att_scale)
        };
        let scores: Vec<f64> = seen.clone().map(score).collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |max, score| max.max(*score));
        let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for (p, weight) in seen.zip(&weights) {
            for (out, v) in out.iter_mut().zip(head_at(values, p)) {
                *out += weight / sum * v;
            }
        }
    }
}

/// The largest element's index; of equals, the lowest.
pub fn argmax(logits: &[f64]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// Angle per position of each rotated pair, stretched as the model asks: `[rope_dim / 2]`.
///
/// Source of the base case: Su et al. 2021, arXiv:2104.09864; of the stretched one: Meta's Llama 3.1 reference code.
pub fn rope_freqs(source: &Source<'_>) -> Vec<f64> {
    let rope_dim = source.config.rope_dim as usize;
    let freq = |i: usize| {
        let freq = source.rope_base.powf(-2.0 * i as f64 / rope_dim as f64);
        match source.rope_scaling {
            RopeScaling::None => freq,
            RopeScaling::Linear { factor } => freq / factor,
            RopeScaling::Factors => freq / f64::from(source.rope_factors[i]),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let wavelength = TAU / freq;
                if wavelength > original_context / low_freq_factor {
                    freq / factor
                } else if wavelength < original_context / high_freq_factor {
                    freq
                } else {
                    let smooth =
                        (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * freq / factor + smooth * freq
                }
            }
        }
    };
    (0..rope_dim / 2).map(freq).collect()
}

/// Those of layers with a sliding window: of their own base, and never stretched.
fn local_rope_freqs(source: &Source<'_>) -> Vec<f64> {
    let rope_dim = f64::from(source.config.rope_dim);
    (0..source.config.rope_dim / 2).map(|i| source.rope_base_local.powf(-2.0 * f64::from(i) / rope_dim)).collect()
}

impl Norm {
    /// Every row of `x`, as wide as the weights are, normalised.
    fn of(&self, x: &[f64]) -> Vec<f64> {
        match &self.bias {
            Some(bias) => layernorm(x, &self.weight, bias, self.eps),
            None => rmsnorm(x, &self.weight, self.eps),
        }
    }
}

impl Linear {
    /// `[n, rows]`.
    fn of(&self, rows: usize, x: &[f64], n: usize) -> Vec<f64> {
        let mut out = matmul(&self.w, rows, x, n);
        if let Some(bias) = &self.bias {
            for (index, out) in out.iter_mut().enumerate() {
                *out += f64::from(bias[index % rows]);
            }
        }
        out
    }
}

/// Every row of `x` less its mean, over its standard deviation, times `weight`, plus `bias`. Ba et al. 2016, arXiv:1607.06450.
fn layernorm(x: &[f64], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
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
fn rmsnorm(x: &[f64], weight: &[f32], eps: f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + eps).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, w)| x * scale * f64::from(*w)));
    }
    out
}

fn add(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

fn activation(function: Activation, x: f64) -> f64 {
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
fn matmul(w: &[f32], rows: usize, x: &[f64], n: usize) -> Vec<f64> {
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
