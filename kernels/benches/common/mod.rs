//! Random weights, activations and caches for the benches.
#![allow(dead_code, reason = "every bench uses a part of it")]

use pipsqueak_kernels::{
    Acts, BLOCK, Block, CacheRows, Format, Input, Kernels, Matrix, MatrixMut, Panel, Queries, Query,
    acts::ActRowMut,
    arena::{Line, bytes_of, bytes_of_mut},
    float16::{f32_to_bf16, f32_to_f16},
    matrix_bytes,
};

/// Rows and columns of a small model's matrices: attention, the feed-forward block's first and its second.
pub(crate) const SHAPES: [(usize, usize); 3] = [(576, 576), (1536, 576), (576, 1536)];

/// Quantised formats first.
pub(crate) const FORMATS: [Format; 6] = [Format::Q8, Format::Q4, Format::Q4M, Format::F16, Format::BF16, Format::F32];

/// A xorshift generator.
pub(crate) struct Rng(u32);

impl Rng {
    /// The same numbers every time.
    pub(crate) fn new() -> Self {
        Self(0x1234_5678)
    }

    /// 32 bits.
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// From -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.bits().cast_signed() as f32 / 2_147_483_648.0
    }

    /// `len` numbers from -1 to 1.
    pub(crate) fn vector(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit()).collect()
    }
}

/// A random matrix in the panel that `kernels` reads fastest.
pub(crate) struct Weights {
    format: Format,
    panel: Panel,
    rows: usize,
    cols: usize,
    lines: Vec<Line>,
}

impl Weights {
    /// `rows` x `cols`.
    pub(crate) fn new(kernels: &dyn Kernels, format: Format, rows: usize, cols: usize) -> Self {
        let panel = if format.is_quantised() { kernels.panel(format) } else { Panel::R1 };
        let bytes = matrix_bytes(format, panel, rows, cols).unwrap();
        let mut lines = vec![Line::ZERO; Line::count(bytes)];
        let rng = &mut Rng::new();
        let data = bytes_of_mut(&mut lines);
        match format {
            Format::F32 => data.as_chunks_mut::<4>().0.iter_mut().for_each(|x| *x = rng.unit().to_le_bytes()),
            Format::F16 => {
                data.as_chunks_mut::<2>().0.iter_mut().for_each(|x| *x = f32_to_f16(rng.unit()).to_le_bytes());
            }
            Format::BF16 => {
                data.as_chunks_mut::<2>().0.iter_mut().for_each(|x| *x = f32_to_bf16(rng.unit()).to_le_bytes());
            }
            _ => {
                let mut w = MatrixMut::new(format, panel, rows, cols, data).unwrap();
                for row in 0..rows {
                    for block in 0..cols.div_ceil(BLOCK) {
                        let scale = f32_to_f16(0.01 + 0.01 * rng.unit());
                        let mut value = Block { scales: [scale; 2], codes: [0; BLOCK] };
                        value.codes.fill_with(|| rng.bits() as u8);
                        if format != Format::Q8 {
                            value.codes.iter_mut().for_each(|code| *code &= 0x0f);
                        }
                        assert!(w.set_block(row, block, &value));
                    }
                }
            }
        }
        Self { format, panel, rows, cols, lines }
    }

    /// The view that kernels take.
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.format, self.panel, self.rows, self.cols, bytes_of(&self.lines)).unwrap()
    }
}

/// Random activations, as floats and quantised.
pub(crate) struct Activations {
    tokens: usize,
    blocks: usize,
    x: Vec<f32>,
    q: Vec<i8>,
    scale: Vec<f32>,
    sum: Vec<i32>,
}

impl Activations {
    /// `tokens` rows of `cols`.
    pub(crate) fn new(kernels: &dyn Kernels, tokens: usize, cols: usize) -> Self {
        let blocks = cols.div_ceil(BLOCK);
        let x = Rng::new().vector(tokens * cols);
        let mut q = vec![0; tokens * blocks * BLOCK];
        let (mut scale, mut sum) = (vec![0.0; tokens * blocks], vec![0; tokens * blocks]);
        let rows = q.chunks_mut(blocks * BLOCK).zip(scale.chunks_mut(blocks)).zip(sum.chunks_mut(blocks));
        for (x, ((q, scale), sum)) in x.chunks(cols).zip(rows) {
            kernels.quantise(x, ActRowMut { q, scale, sum }).unwrap();
        }
        Self { tokens, blocks, x, q, scale, sum }
    }

    /// The view that kernels take.
    pub(crate) fn input(&self) -> Input<'_> {
        Input { tokens: self.tokens, x: &self.x, acts: Acts::new(&self.q, &self.scale, &self.sum, self.blocks) }
    }
}

/// Random keys or values of one head of the cache, in every number format.
pub(crate) struct Cache {
    x: Vec<f32>,
    halves: Vec<u16>,
    q: Vec<i8>,
    scale: Vec<u16>,
}

impl Cache {
    /// `[positions][head_dim]`.
    pub(crate) fn new(positions: usize, head_dim: usize) -> Self {
        let x = Rng::new().vector(positions * head_dim);
        let halves = x.iter().map(|x| f32_to_f16(*x)).collect();
        let q = x.iter().map(|x| (x * 127.0) as i8).collect();
        Self { x, halves, q, scale: vec![f32_to_f16(1.0 / 127.0); positions] }
    }

    /// Each format's name, rows and bytes.
    pub(crate) fn formats(&self) -> [(&'static str, CacheRows<'_>, usize); 3] {
        [
            ("f32", CacheRows::F32(&self.x), 4 * self.x.len()),
            ("f16", CacheRows::F16(&self.halves), 2 * self.x.len()),
            ("i8", CacheRows::I8 { q: &self.q, scale: &self.scale }, self.x.len() + 2 * self.scale.len()),
        ]
    }
}

/// Random queries of consecutive tokens whose heads share one head of the cache.
pub(crate) struct Heads {
    head_dim: usize,
    heads: usize,
    tokens: usize,
    x: Vec<f32>,
    q: Vec<i8>,
    scale: Vec<f32>,
}

impl Heads {
    /// `[tokens][heads][head_dim]`.
    pub(crate) fn new(kernels: &dyn Kernels, head_dim: usize, heads: usize, tokens: usize) -> Self {
        let units = tokens * heads;
        let Activations { x, q, scale, .. } = Activations::new(kernels, units, head_dim);
        Self { head_dim, heads, tokens, x, q, scale }
    }

    /// The first one alone.
    pub(crate) fn query(&self) -> Query<'_> {
        let blocks = self.head_dim.div_ceil(BLOCK);
        Query { x: &self.x[..self.head_dim], q: &self.q[..self.head_dim], scale: &self.scale[..blocks] }
    }

    /// All, the last of which looks at `positions`.
    pub(crate) fn queries(&self, positions: usize) -> Queries<'_> {
        Queries {
            x: &self.x,
            q: &self.q,
            scale: &self.scale,
            head_dim: self.head_dim,
            heads: self.heads,
            stride: self.heads,
            tokens: self.tokens,
            first_len: positions + 1 - self.tokens,
            window: usize::MAX,
            att_scale: 0.125,
        }
    }
}
