//! Random weights and activations for the benches.
#![allow(dead_code, reason = "every bench uses a part of it")]

use pipsqueak_kernels::{
    Acts, BLOCK, Block, Format, Input, Kernels, Matrix, MatrixMut, Panel,
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
