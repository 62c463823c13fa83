//! Causal attention with grouped queries and RoPE, inside each document.
//!
//! Nothing of size `[tokens, tokens]` is kept: the backward pass computes the weights again (Dao et al. 2022,
//! arXiv:2205.14135). Sources of the operation itself: Vaswani et al. 2017, arXiv:1706.03762; Su et al. 2021, arXiv:2104.09864.

use std::{ops::Range, sync::Arc};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use pipsqueak::config::RopePairs;
use pipsqueak_kernels::math::cos_sin;

use super::{LANES, exp, values, with_values};

/// Queries that are worked on together: as many accumulators as hide the latency of a multiply-add.
const ROWS: usize = 8;

/// Cosines and sines by position and frequency, `[positions][half]`, and which elements they turn.
pub(in super::super) struct Rope {
    pairs: RopePairs,
    half: usize,
    table: Vec<(f32, f32)>,
}

impl Rope {
    /// From the image's turns a position times 2^32, `[half]`.
    pub(in super::super) fn new(pairs: RopePairs, turns: &[u32], positions: usize) -> Self {
        let at = |position: usize| turns.iter().map(move |turn| cos_sin(turn.wrapping_mul(position as u32)));
        Self { pairs, half: turns.len(), table: (0..positions).flat_map(at).collect() }
    }

    /// Turns a head's vector; with `back`, the other way, which is the gradient's way.
    #[inline(always)]
    fn turn(&self, position: usize, x: &mut [f32], back: bool) {
        let angles = &self.table[position * self.half..][..self.half];
        for (i, (cos, sin)) in angles.iter().enumerate() {
            let (a, b) = match self.pairs {
                RopePairs::None => return,
                RopePairs::Interleaved => (2 * i, 2 * i + 1),
                RopePairs::HalfSplit => (i, i + self.half),
            };
            let sin = if back { -sin } else { *sin };
            (x[a], x[b]) = (x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos);
        }
    }
}

/// The shape of the heads.
pub(in super::super) struct Heads {
    pub(in super::super) n_heads: usize,
    pub(in super::super) n_kv_heads: usize,
    pub(in super::super) head_dim: usize,
    pub(in super::super) scale: f32,
    pub(in super::super) rope: Rope,
}

impl Heads {
    fn q_dim(&self) -> usize {
        self.n_heads * self.head_dim
    }

    fn kv_dim(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// A row of queries, keys and values.
    fn width(&self) -> usize {
        self.q_dim() + 2 * self.kv_dim()
    }
}

/// `[tokens, q_dim + 2 kv_dim] -> [tokens, q_dim]`; a token sees its own document up to itself.
pub(in super::super) struct Attention {
    pub(in super::super) heads: Arc<Heads>,
    /// Where each document's tokens are.
    pub(in super::super) documents: Arc<[Range<usize>]>,
}

/// `x * v + sum`
#[inline(always)]
fn multiply_add(x: f32, v: &[f32; LANES], sum: [f32; LANES]) -> [f32; LANES] {
    let mut out = sum;
    for (out, v) in out.iter_mut().zip(v) {
        *out = x.mul_add(*v, *out);
    }
    out
}

/// A statement for every row, written out: in a loop the compiler would keep the rows' sums in memory.
macro_rules! each_row {
    ($r:ident, $statement:expr) => {
        each_row!(@ $r, $statement, 0 1 2 3 4 5 6 7)
    };
    (@ $r:ident, $statement:expr, $($i:literal)*) => {
        $({
            const $r: usize = $i;
            $statement;
        })*
    };
}

/// A head's vectors of one document: row by row (`[len][wide]`), and turned over (`[head_dim][len]`), both padded with zeros.
struct Side {
    rows: Vec<f32>,
    turned: Vec<f32>,
}

/// Sizes of one head's work on one document.
#[derive(Clone, Copy)]
struct Sizes {
    /// Tokens.
    len: usize,
    /// Tokens, rounded up for whole vectors and whole groups of rows.
    padded: usize,
    head_dim: usize,
    /// `head_dim`, rounded up to whole vectors.
    wide: usize,
}

impl Sizes {
    fn new(len: usize, head_dim: usize) -> Self {
        Self { len, padded: len.next_multiple_of(LANES), head_dim, wide: head_dim.next_multiple_of(LANES) }
    }

    /// Reads one head of a document's rows of `width`, from column `column`, RoPE applied where asked.
    #[inline(always)]
    fn rows(self, x: &[f32], width: usize, column: usize, rope: Option<&Rope>) -> Vec<f32> {
        let mut rows = vec![0.0; self.padded * self.wide];
        for (t, (x, row)) in x.chunks_exact(width).zip(rows.chunks_exact_mut(self.wide)).enumerate() {
            row[..self.head_dim].copy_from_slice(&x[column..][..self.head_dim]);
            if let Some(rope) = rope {
                rope.turn(t, row, false);
            }
        }
        rows
    }

    #[inline(always)]
    fn side(self, x: &[f32], width: usize, column: usize, rope: Option<&Rope>) -> Side {
        let rows = self.rows(x, width, column, rope);
        let mut turned = vec![0.0; self.padded * self.head_dim];
        for (t, row) in rows.chunks_exact(self.wide).enumerate() {
            for (d, x) in row[..self.head_dim].iter().enumerate() {
                turned[d * self.padded + t] = *x;
            }
        }
        Side { rows, turned }
    }

    /// `out[r][j] = rows[r] . column j of turned`, for the first `keys` columns, a multiple of the vector's length.
    #[inline(always)]
    fn products(self, rows: &[f32], turned: &[f32], keys: usize, out: &mut [f32]) {
        let rows = self.split(rows, self.wide, self.head_dim);
        for from in (0..keys).step_by(LANES) {
            let mut sums = [[0.0f32; LANES]; ROWS];
            for d in 0..self.head_dim {
                let Some(column) = turned[d * self.padded + from..].first_chunk::<LANES>() else { return };
                each_row!(R, sums[R] = multiply_add(rows[R][d], column, sums[R]));
            }
            for (r, sums) in sums.iter().enumerate() {
                out[r * self.padded + from..][..LANES].copy_from_slice(sums);
            }
        }
    }

    /// The first `len` of each row of `stride`.
    #[inline(always)]
    fn split(self, rows: &[f32], stride: usize, len: usize) -> [&[f32]; ROWS] {
        let mut out: [&[f32]; ROWS] = [&[]; ROWS];
        for (r, row) in out.iter_mut().enumerate() {
            *row = &rows[r * stride..][..len];
        }
        out
    }

    /// `out[r] = sum over j of weights[r][j] * rows[j]`, for the first `keys` rows.
    #[inline(always)]
    fn mix(self, weights: &[f32], rows: &[f32], keys: usize, out: &mut [f32]) {
        let weights = self.split(weights, self.padded, keys);
        for from in (0..self.wide).step_by(LANES) {
            let mut sums = [[0.0f32; LANES]; ROWS];
            for j in 0..keys {
                let Some(row) = rows[j * self.wide + from..].first_chunk::<LANES>() else { return };
                each_row!(R, sums[R] = multiply_add(weights[R][j], row, sums[R]));
            }
            for (r, sums) in sums.iter().enumerate() {
                out[r * self.wide + from..][..LANES].copy_from_slice(sums);
            }
        }
    }

    /// `out[j] += sum over r of weights[r][j] * rows[r]`, for the first `keys` rows of `out`.
    #[inline(always)]
    fn spread(self, weights: &[f32], rows: &[f32], keys: usize, out: &mut [f32]) {
        let weights = self.split(weights, self.padded, keys);
        for from in (0..self.wide).step_by(LANES) {
            let mut columns = [[0.0f32; LANES]; ROWS];
            for (r, columns) in columns.iter_mut().enumerate() {
                columns.copy_from_slice(&rows[r * self.wide + from..][..LANES]);
            }
            for j in 0..keys {
                let Some(out) = out[j * self.wide + from..].first_chunk_mut::<LANES>() else { return };
                let mut sums = *out;
                each_row!(R, sums = multiply_add(weights[R][j], &columns[R], sums));
                *out = sums;
            }
        }
    }

    /// Keys that the rows from `first` on look at.
    fn keys(self, first: usize) -> usize {
        (first + ROWS).next_multiple_of(LANES).min(self.padded)
    }

    /// Scores to weights in place: row `r` is that of token `first + r` and sees the keys up to it. Whole vectors all the way,
    /// as the few left over would cost as much as all others.
    #[inline(always)]
    fn softmax(self, scores: &mut [f32], first: usize, keys: usize, scale: f32) {
        for (r, row) in scores.chunks_exact_mut(self.padded).enumerate() {
            let seen = (first + r + 1).min(keys);
            row[seen..keys].fill(-1e30);
            let (chunks, _) = row[..keys].as_chunks_mut::<LANES>();
            let mut maxima = [f32::NEG_INFINITY; LANES];
            for chunk in chunks.iter() {
                for (max, x) in maxima.iter_mut().zip(chunk) {
                    *max = if *x > *max { *x } else { *max };
                }
            }
            let mut max = f32::NEG_INFINITY;
            for x in &maxima {
                max = if *x > max { *x } else { max };
            }
            let mut sums = [0.0f32; LANES];
            for chunk in chunks.iter_mut() {
                for (sum, x) in sums.iter_mut().zip(chunk) {
                    *x = exp((*x - max) * scale);
                    *sum += *x;
                }
            }
            // What is not seen is 2^-126 by now, and adds nothing.
            let mut sum = 0.0;
            for x in &sums {
                sum += x;
            }
            let inverse = 1.0 / sum;
            for chunk in chunks {
                for x in chunk {
                    *x *= inverse;
                }
            }
            row[seen..keys].fill(0.0);
        }
    }
}

fast! {
    /// One document's outputs. `x`: `[len, width]`, `out`: `[len, q_dim]`.
    fn forward(heads: &Heads, x: &[f32], out: &mut [f32]) {
        let (hd, q_dim, kv_dim, width) = (heads.head_dim, heads.q_dim(), heads.kv_dim(), heads.width());
        let sizes = Sizes::new(x.len() / width, hd);
        let mut weights = vec![0.0; ROWS * sizes.padded];
        let mut sums = vec![0.0; ROWS * sizes.wide];
        let group = heads.n_heads / heads.n_kv_heads;
        for kv in 0..heads.n_kv_heads {
            let keys = sizes.side(x, width, q_dim + kv * hd, Some(&heads.rope));
            let vals = sizes.rows(x, width, q_dim + kv_dim + kv * hd, None);
            for head in kv * group..(kv + 1) * group {
                let queries = sizes.rows(x, width, head * hd, Some(&heads.rope));
                for first in (0..sizes.len).step_by(ROWS) {
                    let seen = sizes.keys(first);
                    sizes.products(&queries[first * sizes.wide..], &keys.turned, seen, &mut weights);
                    sizes.softmax(&mut weights, first, seen, heads.scale);
                    sizes.mix(&weights, &vals, seen, &mut sums);
                    let rows = out[first * q_dim..].chunks_exact_mut(q_dim).zip(sums.chunks_exact(sizes.wide));
                    for (out, sums) in rows {
                        out[head * hd..][..hd].copy_from_slice(&sums[..hd]);
                    }
                }
            }
        }
    }

    /// One document's gradient. `x`: `[len, width]`, `grad`: `[len, q_dim]`, `dx`: `[len, width]`.
    ///
    /// With p the weights: dv_j = sum p_ij g_i; dp_ij = g_i . v_j; ds_ij = p_ij (dp_ij - sum_j p_ij dp_ij) scale;
    /// dq_i = sum ds_ij k_j; dk_j = sum ds_ij q_i.
    fn backward(heads: &Heads, x: &[f32], grad: &[f32], dx: &mut [f32]) {
        let (hd, q_dim, kv_dim, width) = (heads.head_dim, heads.q_dim(), heads.kv_dim(), heads.width());
        let sizes = Sizes::new(x.len() / width, hd);
        let mut weights = vec![0.0; ROWS * sizes.padded];
        let mut slopes = vec![0.0; ROWS * sizes.padded];
        let mut sums = vec![0.0; ROWS * sizes.wide];
        let group = heads.n_heads / heads.n_kv_heads;
        for kv in 0..heads.n_kv_heads {
            let keys = sizes.side(x, width, q_dim + kv * hd, Some(&heads.rope));
            let vals = sizes.side(x, width, q_dim + kv_dim + kv * hd, None);
            let mut d_keys = vec![0.0; sizes.padded * sizes.wide];
            let mut d_vals = vec![0.0; sizes.padded * sizes.wide];
            for head in kv * group..(kv + 1) * group {
                let queries = sizes.rows(x, width, head * hd, Some(&heads.rope));
                let grads = sizes.rows(grad, q_dim, head * hd, None);
                for first in (0..sizes.len).step_by(ROWS) {
                    let seen = sizes.keys(first);
                    let queries = &queries[first * sizes.wide..][..ROWS * sizes.wide];
                    let grads = &grads[first * sizes.wide..][..ROWS * sizes.wide];
                    sizes.products(queries, &keys.turned, seen, &mut weights);
                    sizes.softmax(&mut weights, first, seen, heads.scale);
                    sizes.spread(&weights, grads, seen, &mut d_vals);
                    sizes.products(grads, &vals.turned, seen, &mut slopes);
                    for (p, dp) in weights.chunks_exact(sizes.padded).zip(slopes.chunks_exact_mut(sizes.padded)) {
                        let (p, dp) = (&p[..seen], &mut dp[..seen]);
                        let mean = super::lane_sum(p, dp);
                        for (p, dp) in p.iter().zip(dp) {
                            *dp = p * (*dp - mean) * heads.scale;
                        }
                    }
                    sizes.spread(&slopes, queries, seen, &mut d_keys);
                    sizes.mix(&slopes, &keys.rows, seen, &mut sums);
                    let rows = dx[first * width..].chunks_exact_mut(width).zip(sums.chunks_exact_mut(sizes.wide));
                    for (r, (dx, sums)) in rows.enumerate() {
                        heads.rope.turn(first + r, sums, true);
                        dx[head * hd..][..hd].copy_from_slice(&sums[..hd]);
                    }
                }
            }
            let rows = dx.chunks_exact_mut(width).zip(d_keys.chunks_exact_mut(sizes.wide));
            for (t, ((dx, d_key), d_val)) in rows.zip(d_vals.chunks_exact(sizes.wide)).enumerate() {
                heads.rope.turn(t, d_key, true);
                dx[q_dim + kv * hd..][..hd].copy_from_slice(&d_key[..hd]);
                dx[q_dim + kv_dim + kv * hd..][..hd].copy_from_slice(&d_val[..hd]);
            }
        }
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let q_dim = self.heads.q_dim();
        let x = values(storage, layout)?;
        let mut out = vec![0.0f32; tokens * q_dim];
        for document in self.documents.iter() {
            let out = &mut out[document.start * q_dim..document.end * q_dim];
            forward(&self.heads, &x[document.start * width..document.end * width], out);
        }
        Ok((CpuStorage::F32(out), (tokens, q_dim).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = x.dims2()?;
        let q_dim = self.heads.q_dim();
        let mut dx = vec![0.0f32; x.elem_count()];
        with_values(x, |x| {
            with_values(grad, |grad| {
                for document in self.documents.iter() {
                    let dx = &mut dx[document.start * width..document.end * width];
                    let grad = &grad[document.start * q_dim..document.end * q_dim];
                    backward(&self.heads, &x[document.start * width..document.end * width], grad, dx);
                }
                Ok(())
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::{check_gradient, noise};
    use super::*;

    fn heads(pairs: RopePairs, head_dim: usize) -> Arc<Heads> {
        let turns: Vec<u32> = (0..head_dim / 2).map(|i| 683_565_275 >> (2 * i)).collect();
        let rope = Rope::new(pairs, &turns, 64);
        Arc::new(Heads { n_heads: 4, n_kv_heads: 2, head_dim, scale: 1.0 / (head_dim as f32).sqrt(), rope })
    }

    /// The formula, one token and head at a time, in `f64`.
    fn naive(heads: &Heads, x: &[f32], documents: &[Range<usize>]) -> Vec<f64> {
        let (hd, width) = (heads.head_dim, heads.width());
        let head = |token: usize, column: usize, position: Option<usize>| -> Vec<f64> {
            let mut row = x[token * width + column..][..hd].to_vec();
            if let Some(position) = position {
                heads.rope.turn(position, &mut row, false);
            }
            row.iter().map(|x| f64::from(*x)).collect()
        };
        let mut out = Vec::new();
        for document in documents {
            for t in document.clone() {
                for h in 0..heads.n_heads {
                    let kv = h * heads.n_kv_heads / heads.n_heads;
                    let q = head(t, h * hd, Some(t - document.start));
                    let score = |j: usize| -> f64 {
                        let k = head(j, heads.q_dim() + kv * hd, Some(j - document.start));
                        q.iter().zip(&k).map(|(q, k)| q * k).sum::<f64>() * f64::from(heads.scale)
                    };
                    let scores: Vec<f64> = (document.start..=t).map(|j| score(j).exp()).collect();
                    let total: f64 = scores.iter().sum();
                    for d in 0..hd {
                        let value = |j: usize| f64::from(x[j * width + heads.q_dim() + heads.kv_dim() + kv * hd + d]);
                        let sum: f64 = scores.iter().zip(document.clone()).map(|(p, j)| p * value(j)).sum();
                        out.push(sum / total);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn is_the_formula() {
        for (pairs, head_dim) in [(RopePairs::Interleaved, 8), (RopePairs::HalfSplit, 20), (RopePairs::None, 16)] {
            let heads = heads(pairs, head_dim);
            let documents: Arc<[_]> = [0..1, 1..20, 20..57].into();
            let x = noise(57 * heads.width(), 11);
            let tensor = Tensor::from_vec(x.clone(), (57, heads.width()), &Device::Cpu).unwrap();
            let op = Attention { heads: heads.clone(), documents: documents.clone() };
            let got: Vec<f32> = tensor.apply_op1(op).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (i, (got, expected)) in got.iter().zip(naive(&heads, &x, &documents)).enumerate() {
                assert!((f64::from(*got) - expected).abs() < 1e-5, "{pairs:?} {i}: {got}, by the formula {expected}");
            }
        }
    }

    #[test]
    fn gradient() {
        for (pairs, head_dim) in [(RopePairs::Interleaved, 8), (RopePairs::HalfSplit, 20)] {
            let heads = heads(pairs, head_dim);
            let documents: Arc<[_]> = [0..3, 3..21].into();
            let op = || Attention { heads: heads.clone(), documents: documents.clone() };
            let x = noise(21 * heads.width(), 12);
            check_gradient(&x, (21, heads.width()), |x| x.apply_op1(op()), 1e-2, 2e-3);
        }
    }
}
