//! Activations: float rows, and the same rows quantised to int8 blocks.

use core::{num::NonZeroUsize, ops::Range};

use crate::{
    BLOCK,
    slice::{part, part_mut},
    team::Parts,
};

/// Quantised activations of several tokens: `[tokens][blocks][32]`.
#[derive(Clone, Copy, Debug)]
pub struct Acts<'a> {
    q: &'a [i8],
    scale: &'a [f32],
    sum: &'a [i32],
    blocks: usize,
}

/// One token's quantised activations.
#[derive(Clone, Copy, Debug)]
pub struct ActRow<'a> {
    /// `[blocks * 32]`, -127 to 127, zeros after the last element.
    pub q: &'a [i8],
    /// `[blocks]`: `x = scale * q`.
    pub scale: &'a [f32],
    /// `[blocks]`: the sum of each block's `q`.
    pub sum: &'a [i32],
}

impl<'a> Acts<'a> {
    /// No activations, for products with float weights.
    pub const NONE: Acts<'static> = Acts { q: &[], scale: &[], sum: &[], blocks: 0 };

    /// Views rows of `blocks` blocks: `q` `[tokens * blocks * 32]`, `scale` and `sum` `[tokens * blocks]`.
    pub const fn new(q: &'a [i8], scale: &'a [f32], sum: &'a [i32], blocks: usize) -> Self {
        Self { q, scale, sum, blocks }
    }

    /// Blocks in a row.
    #[inline]
    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    /// The rows of `tokens` tokens from `first` on; none when there are not so many.
    pub fn part(&self, first: usize, tokens: usize) -> Self {
        let (scale, sum) = self.block_numbers(first, tokens);
        Self { q: self.codes(first, tokens), scale, sum, blocks: self.blocks }
    }

    /// The codes of `tokens` tokens from `first` on, row behind row; empty when there are not so many.
    #[inline]
    pub fn codes(&self, first: usize, tokens: usize) -> &'a [i8] {
        let row = self.blocks.saturating_mul(BLOCK);
        part(self.q, first.saturating_mul(row), tokens.saturating_mul(row))
    }

    /// Their scales and sums, `[tokens][blocks]`; empty when there are not so many.
    #[inline]
    pub fn block_numbers(&self, first: usize, tokens: usize) -> (&'a [f32], &'a [i32]) {
        let (first, len) = (first.saturating_mul(self.blocks), tokens.saturating_mul(self.blocks));
        (part(self.scale, first, len), part(self.sum, first, len))
    }

    /// All rows as one, the first token's at its beginning.
    #[inline(always)]
    #[allow(dead_code, reason = "for kernel sets that not every architecture has")]
    pub(crate) const fn whole(&self) -> ActRow<'a> {
        ActRow { q: self.q, scale: self.scale, sum: self.sum }
    }

    /// The row of token `t`; empty when there is none.
    #[inline]
    pub fn row(&self, t: usize) -> ActRow<'a> {
        let (at, blocks) = (t.saturating_mul(self.blocks), self.blocks);
        ActRow {
            q: part(self.q.as_chunks::<BLOCK>().0, at, blocks).as_flattened(),
            scale: part(self.scale, at, blocks),
            sum: part(self.sum, at, blocks),
        }
    }
}

/// One token's activations being quantised; lengths as in [`ActRow`].
#[derive(Debug)]
pub struct ActRowMut<'a> {
    /// `[blocks * 32]`.
    pub q: &'a mut [i8],
    /// `[blocks]`.
    pub scale: &'a mut [f32],
    /// `[blocks]`.
    pub sum: &'a mut [i32],
}

/// The right-hand side of a product: `tokens` rows of `cols` values.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Rows.
    pub tokens: usize,
    /// `[tokens][cols]`, read by float weights.
    pub x: &'a [f32],
    /// The same, quantised, read by quantised weights.
    pub acts: Acts<'a>,
}

impl<'a> Input<'a> {
    /// Of rows of `cols` elements those of the tokens `tokens`.
    pub fn part(&self, tokens: Range<usize>, cols: usize) -> Self {
        let (first, tokens) = (tokens.start, tokens.len());
        let x = part(self.x, first.saturating_mul(cols), tokens.saturating_mul(cols));
        Self { tokens, x, acts: self.acts.part(first, tokens) }
    }

    /// Row `t` of `x` when rows have `cols` elements.
    #[inline]
    pub fn row(&self, t: usize, cols: usize) -> &'a [f32] {
        part(self.x, t.saturating_mul(cols), cols)
    }
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// `out = product`.
    Set,
    /// `out = out + product`: the residual connection.
    Add,
}

impl Store {
    /// Applies it to one element.
    #[inline(always)]
    pub fn put(self, out: &mut f32, product: f32) {
        match self {
            Self::Set => *out = product,
            Self::Add => *out += product,
        }
    }
}

/// The rows of outputs one job may write: a strip of `rows` outputs of each of `tokens` tokens.
#[derive(Debug)]
pub struct Tile<'a> {
    start: *mut f32,
    stride: usize,
    rows: usize,
    tokens: usize,
    _out: core::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is an exclusive borrow of plain floats; it may be used on the thread it was sent to.
unsafe impl Send for Tile<'_> {}
// SAFETY: a shared tile tells its shape and nothing else; `strip` puts the duty to keep threads apart on its caller.
unsafe impl Sync for Tile<'_> {}

impl<'a> Tile<'a> {
    /// A tile over all of `out`, `[tokens][rows]`.
    pub fn whole(out: &'a mut [f32], rows: usize, tokens: usize) -> Self {
        let fits = rows.checked_mul(tokens).is_some_and(|len| len <= out.len());
        debug_assert!(fits, "tile of {tokens} x {rows} over {}", out.len());
        let tokens = if fits { tokens } else { 0 };
        Self { start: out.as_mut_ptr(), stride: rows, rows, tokens, _out: core::marker::PhantomData }
    }

    /// Of the tokens `tokens` the outputs `rows`.
    ///
    /// # Safety
    /// * No two parts that are alive at the same time may overlap, and `self` may not be written while one lives.
    pub(crate) unsafe fn cut(&self, rows: Range<usize>, tokens: Range<usize>) -> Tile<'a> {
        let fits =
            rows.start <= rows.end && rows.end <= self.rows && tokens.start < tokens.end && tokens.end <= self.tokens;
        debug_assert!(
            fits || tokens.is_empty(),
            "outputs {rows:?} of tokens {tokens:?} of {} x {}",
            self.tokens,
            self.rows
        );
        let (rows, tokens) = if fits { (rows, tokens) } else { (0..0, 0..0) };
        // SAFETY: the first of some tokens' rows, which lie `stride` apart, and not behind its end; or no step at all.
        let start = unsafe { self.start.add(tokens.start * self.stride + rows.start) };
        Tile { start, stride: self.stride, rows: rows.len(), tokens: tokens.len(), _out: core::marker::PhantomData }
    }

    /// Outputs of a token.
    #[inline]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens.
    #[inline]
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// The outputs of token `t`, `[rows]`; empty when there is no such token.
    #[inline]
    pub fn row(&mut self, t: usize) -> &mut [f32] {
        if t >= self.tokens {
            debug_assert!(false, "token {t} of {}", self.tokens);
            return &mut [];
        }
        // SAFETY: `t < tokens`, and construction proved that `tokens` rows `stride` apart, each with `rows` elements from
        // `start`, lie inside the borrowed slice; the exclusive borrow of `self` keeps rows from overlapping in time.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(t * self.stride), self.rows) }
    }

    /// Outputs `first .. first + len` of token `t`.
    #[inline]
    pub fn part(&mut self, t: usize, first: usize, len: usize) -> &mut [f32] {
        part_mut(self.row(t), first, len)
    }
}

/// A tile in pieces of some tokens and some rows: piece `i` is strip `i % strips` of the tokens `i / strips * tokens ..`.
#[derive(Debug)]
pub struct Pieces<'a> {
    whole: Tile<'a>,
    rows: usize,
    strips: NonZeroUsize,
    tokens: usize,
}

impl<'a> Pieces<'a> {
    /// `whole` in `strips` strips of `rows` rows, `tokens` tokens at a time.
    pub fn new(whole: Tile<'a>, rows: usize, strips: NonZeroUsize, tokens: usize) -> Self {
        Self { whole, rows, strips, tokens }
    }
}

// SAFETY: pieces with different indices differ in their strip or in their tokens, and strips and groups of tokens are
// disjoint.
unsafe impl<'a> Parts for Pieces<'a> {
    type Part = Tile<'a>;

    unsafe fn part(&self, index: usize) -> Tile<'a> {
        let (group, strip) = (index / self.strips, index % self.strips);
        let (row, first) = (strip.saturating_mul(self.rows), group.saturating_mul(self.tokens).min(self.whole.tokens));
        let last = self.whole.tokens.min(first.saturating_add(self.tokens));
        // SAFETY: the caller holds each piece once, and different pieces do not overlap.
        unsafe { self.whole.cut(row..row.saturating_add(self.rows), first..last) }
    }
}
