//! The scratch arena, carved into typed pieces once.

use pipsqueak_kernels::{
    ArenaTooSmall, BLOCK,
    acts::{ActRowMut, Acts},
    arena::{Carver, Line},
    slice::{part, part_mut},
    team::Rows,
};

use crate::plan::Sizes;

/// Quantised activations: blocks of 32 `i8`, their scales and their sums.
#[derive(Debug)]
pub(crate) struct ActBuffer<'a> {
    pub(crate) q: &'a mut [i8],
    pub(crate) scale: &'a mut [f32],
    pub(crate) sum: &'a mut [i32],
}

impl<'a> ActBuffer<'a> {
    pub(crate) fn new(carver: &mut Carver<'a>, blocks: usize) -> Result<Self, ArenaTooSmall> {
        Ok(Self {
            q: carver.take(blocks.saturating_mul(BLOCK))?,
            scale: carver.take(blocks)?,
            sum: carver.take(blocks)?,
        })
    }

    /// `rows` rows of `cols` activations.
    pub(crate) fn view(&self, rows: usize, cols: usize) -> Acts<'_> {
        let blocks = cols.div_ceil(BLOCK);
        let count = rows * blocks;
        Acts::new(part(self.q, 0, count * BLOCK), part(self.scale, 0, count), part(self.sum, 0, count), blocks)
    }

    /// The same rows, to be written on several threads.
    pub(crate) fn rows(&mut self, cols: usize) -> (Rows<'_, i8>, Rows<'_, f32>, Rows<'_, i32>) {
        let blocks = cols.div_ceil(BLOCK);
        (Rows::new(self.q, blocks * BLOCK), Rows::new(self.scale, blocks), Rows::new(self.sum, blocks))
    }
}

/// A row out of [`ActBuffer::rows`], as kernels write it.
pub(crate) fn act_row<'a>((q, scale, sum): (&'a mut [i8], &'a mut [f32], &'a mut [i32])) -> ActRowMut<'a> {
    ActRowMut { q, scale, sum }
}

/// Everything a forward pass writes; see the table at [`crate::Plan`].
#[derive(Debug)]
pub(crate) struct Buffers<'a> {
    /// `[n][dim]`: the residual stream.
    pub(crate) x: &'a mut [f32],
    /// `[n][dim]` after a norm, `[n][n_heads][head_dim]` after attention; with norms after the blocks also what the
    /// feed-forward block gives.
    pub(crate) xb: &'a mut [f32],
    /// `q [n][q_dim]`, `k [n][kv_dim]`, `v [n][kv_dim]`; later `gate [n][hidden_dim]`, `up [n][hidden_dim]`; with norms after
    /// the blocks also what attention gives, `[n][dim]`.
    pub(crate) wide: &'a mut [f32],
    /// The present product's input.
    pub(crate) acts: ActBuffer<'a>,
    /// `[n][rope_tables][rope_dim / 2][2]`: cosine and sine.
    pub(crate) angles: &'a mut [f32],
    /// `[n][n_heads]` rows of `head_dim`.
    pub(crate) query: ActBuffer<'a>,
    /// `[slots][lanes][context]`.
    pub(crate) scores: &'a mut [f32],
    /// `[rows][vocab_size]`.
    pub(crate) logits: &'a mut [f32],
    /// `[vocab_size]`: token ids, for the sampler.
    pub(crate) order: &'a mut [u32],
    /// `[n]`: the batch.
    pub(crate) tokens: &'a mut [u32],
}

impl<'a> Buffers<'a> {
    pub(crate) fn new(sizes: &Sizes, arena: &'a mut [Line]) -> Result<Self, ArenaTooSmall> {
        let mut carver = Carver::new(arena);
        Ok(Self {
            x: carver.take(sizes.x)?,
            xb: carver.take(sizes.xb)?,
            wide: carver.take(sizes.wide)?,
            acts: ActBuffer::new(&mut carver, sizes.act_blocks)?,
            angles: carver.take(sizes.angles)?,
            query: ActBuffer::new(&mut carver, sizes.query_blocks)?,
            scores: carver.take(sizes.scores)?,
            logits: carver.take(sizes.logits)?,
            order: carver.take(sizes.order)?,
            tokens: carver.take(sizes.tokens)?,
        })
    }
}

/// `wide` as consecutive pieces of these lengths.
pub(crate) fn split3(wide: &mut [f32], lens: [usize; 3]) -> [&mut [f32]; 3] {
    let [a, b, c] = lens;
    let wide = part_mut(wide, 0, a + b + c);
    let (first, rest) = wide.split_at_mut_checked(a).unwrap_or_default();
    let (second, third) = rest.split_at_mut_checked(b).unwrap_or_default();
    [first, second, third]
}
