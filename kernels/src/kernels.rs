//! The kernel set: one object-safe trait, so that a board names its set statically and a host picks at run time.

use core::ops::Range;

use crate::{
    BLOCK, Format, Input, Matrix, NotFinite, Panel, Store, Tile, acts::ActRowMut, arena::Line, scalar, slice::part,
};

/// The function of a gated unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Gate {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// GELU in its tanh form.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// Which elements RoPE turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Pairs {
    /// `2i` and `2i + 1`.
    Interleaved,
    /// `i` and `i + n / 2`.
    HalfSplit,
}

/// Consecutive positions of one head in the KV cache: `[positions][head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum CacheRows<'a> {
    /// `f32`.
    F32(&'a [f32]),
    /// f16 bits.
    F16(&'a [u16]),
    /// `i8` with an f16 scale a position.
    I8 {
        /// `[positions][head_dim]`.
        q: &'a [i8],
        /// `[positions]`.
        scale: &'a [u16],
    },
}

/// One query head: as floats, and quantised for int8 caches.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// `[head_dim]`.
    pub x: &'a [f32],
    /// `[head_dim]`, or empty for float caches.
    pub q: &'a [i8],
    /// `[head_dim.div_ceil(32)]`, or empty for float caches.
    pub scale: &'a [f32],
}

impl<'a> CacheRows<'a> {
    /// Rows `from .. from + len`, each of `head_dim`; empty when there are not so many.
    pub fn part(&self, head_dim: usize, from: usize, len: usize) -> Self {
        let (start, count) = (from.saturating_mul(head_dim), len.saturating_mul(head_dim));
        match *self {
            Self::F32(rows) => Self::F32(part(rows, start, count)),
            Self::F16(rows) => Self::F16(part(rows, start, count)),
            Self::I8 { q, scale } => Self::I8 { q: part(q, start, count), scale: part(scale, from, len) },
        }
    }
}

/// The queries of consecutive tokens whose heads share one head of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// `[tokens][stride][head_dim]` from the first token's first head on; the last token may end with its last head.
    pub x: &'a [f32],
    /// `[tokens][stride][head_dim.div_ceil(32) * 32]`, or empty for float caches.
    pub q: &'a [i8],
    /// `[tokens][stride][head_dim.div_ceil(32)]`, or empty for float caches.
    pub scale: &'a [f32],
    /// Elements of a head.
    pub head_dim: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Heads from one token's first to the next one's.
    pub stride: usize,
    /// Tokens.
    pub tokens: usize,
    /// Positions up to the first token's own; each further token has one more.
    pub first_len: usize,
    /// How many of its positions a token looks at, the last ones; `usize::MAX` without a sliding window.
    pub window: usize,
    /// What scores are multiplied with.
    pub att_scale: f32,
}

impl<'a> Queries<'a> {
    /// Head `h` of token `t`.
    pub fn query(&self, t: usize, h: usize) -> Query<'a> {
        let unit = t * self.stride + h;
        let x = part(self.x, unit * self.head_dim, self.head_dim);
        if self.q.is_empty() {
            return Query { x, q: &[], scale: &[] };
        }
        let blocks = self.head_dim.div_ceil(BLOCK);
        let q = part(self.q.as_chunks::<BLOCK>().0, unit * blocks, blocks).as_flattened();
        Query { x, q: part(q, 0, self.head_dim), scale: part(self.scale, unit * blocks, blocks) }
    }

    /// Positions up to the last token's own.
    pub fn last_len(&self) -> usize {
        self.first_len + self.tokens.saturating_sub(1)
    }

    /// The first position that token `t` looks at.
    pub fn start(&self, t: usize) -> usize {
        (self.first_len + t).saturating_sub(self.window)
    }
}

/// A set of kernels for one instruction set. Whatever the set, results are the bits of [`scalar`].
///
/// A method that a set does not override runs the scalar code.
pub trait Kernels: Sync {
    /// `scalar`, `avx2`, `amx`, `neon` ...: the word that forces it.
    fn name(&self) -> &'static str;

    /// The panel this set reads fastest; every other one it reads through scalar code.
    fn panel(&self, format: Format) -> Panel;

    /// See [`scalar::matmul`].
    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        scalar::matmul(w, panels, x, out, store);
    }

    /// See [`scalar::quantise`].
    fn quantise(&self, x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
        scalar::quantise(x, row)
    }

    /// See [`scalar::all_finite`].
    fn all_finite(&self, x: &[f32]) -> bool {
        scalar::all_finite(x)
    }

    /// See [`scalar::rmsnorm`].
    fn rmsnorm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        scalar::rmsnorm(x, weight, eps, out)
    }

    /// See [`scalar::layernorm`].
    fn layernorm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        scalar::layernorm(x, weight, bias, eps, out)
    }

    /// See [`scalar::softmax`].
    fn softmax(&self, x: &mut [f32]) {
        scalar::softmax(x);
    }

    /// See [`scalar::rotate`].
    fn rotate(&self, x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
        scalar::rotate(x, cos_sin, pairs);
    }

    /// See [`scalar::gate`].
    fn gate(&self, function: Gate, gate: &mut [f32], up: &[f32]) {
        scalar::gate(function, gate, up);
    }

    /// See [`scalar::store_f16`].
    fn store_f16(&self, x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
        scalar::store_f16(x, out)
    }

    /// See [`scalar::store_i8`].
    fn store_i8(&self, x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
        scalar::store_i8(x, out)
    }

    /// Runs this set's int8 multiply instruction from registers for `rounds` rounds, as fast as the core goes, and returns
    /// how many multiply-adds that were: the ceiling that products are measured against.
    fn peak(&self, rounds: usize) -> usize {
        scalar::peak(rounds)
    }

    /// Reads all of `data`, as fast as this set can, and returns something that depends on every byte: the ceiling that a
    /// matrix read from memory is measured against.
    fn read(&self, data: &[Line]) -> u64 {
        scalar::read(data)
    }

    /// See [`scalar::att_scores`].
    fn att_scores(&self, query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
        scalar::att_scores(query, keys, scale, out)
    }

    /// See [`scalar::att_values`].
    fn att_values(&self, scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
        scalar::att_values(scores, max, values, acc)
    }

    /// Queries of `head_dim` elements that [`Self::attend`] works on at once; 1 where that is no better than one after the
    /// other.
    fn att_lanes(&self, _head_dim: usize) -> usize {
        1
    }

    /// Heads of one token, of `head_dim` elements, that [`Self::attend`] takes together better than one after the other, where
    /// they share a head of the cache; 1 where it takes none so.
    fn att_few(&self, _head_dim: usize) -> usize {
        1
    }

    /// See [`scalar::attend`].
    fn attend(
        &self,
        queries: &Queries<'_>,
        keys: &CacheRows<'_>,
        values: &CacheRows<'_>,
        scores: &mut [f32],
        out: &mut Tile<'_>,
    ) {
        scalar::attend(self, queries, keys, values, scores, out);
    }
}
