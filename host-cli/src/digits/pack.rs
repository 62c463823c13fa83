//! Writing packed classifiers.

use std::fmt;

use pipsqueak::{
    classifier::{Classifier, HEADER_BYTES, Layer, Shape, bias_bytes, seal},
    kernels::{
        BLOCK, Block, Format, MatrixMut, Panel,
        arena::{Line, bytes_of, bytes_of_mut},
        matrix_bytes,
        quantise::nearest,
    },
};

/// A packed classifier in memory, aligned as one must be.
pub struct Packed {
    lines: Vec<Line>,
    len: usize,
}

impl Packed {
    fn new(len: usize) -> Self {
        Self { lines: vec![Line::ZERO; Line::count(len)], len }
    }

    /// A copy of `bytes`.
    pub fn copy(bytes: &[u8]) -> Self {
        let mut packed = Self::new(bytes.len());
        for (out, byte) in packed.bytes_mut().iter_mut().zip(bytes) {
            *out = *byte;
        }
        packed
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        bytes_of(&self.lines).get(..self.len).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytes_of_mut(&mut self.lines).get_mut(..self.len).unwrap_or_default()
    }
}

/// A layer as floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// `[outputs][inputs]`.
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// Why layers could not be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseError {
    /// They are not of the shape.
    Shape(Shape),
    /// A weight or a bias is not finite, or too large for half-precision scales.
    Range,
}

impl fmt::Display for DenseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(Shape { width, height, hidden, classes }) => {
                write!(f, "the layers are not those of {width} x {height} pixels, {hidden} units, {classes} classes")
            }
            Self::Range => f.write_str("a weight is not a finite number, or too large for Q8"),
        }
    }
}

impl std::error::Error for DenseError {}

/// Packs `layers`, weights rounded to the nearest Q8.
pub fn pack(shape: Shape, panel: Panel, layers: &[Dense]) -> Result<Packed, DenseError> {
    let wrong = DenseError::Shape(shape);
    let sizes: Vec<_> = shape.layers().into_iter().flatten().collect();
    let fits = |(dense, (rows, cols)): (&Dense, &(usize, usize))| {
        dense.weights.len() == rows * cols && dense.bias.len() == *rows
    };
    if layers.len() != sizes.len() || !layers.iter().zip(&sizes).all(fits) {
        return Err(wrong);
    }
    let blocks = |layer: usize, row: usize, block: usize| {
        let (dense, (_, cols)) = (layers.get(layer)?, sizes.get(layer)?);
        let row = dense.weights.get(row * cols..(row + 1) * cols)?;
        let mut x = [0.0; BLOCK];
        x.iter_mut().zip(row.chunks(BLOCK).nth(block)?).for_each(|(x, weight)| *x = *weight);
        let block = nearest(Format::Q8, &x);
        let finite = x.iter().all(|x| x.is_finite()) && block.scales.iter().all(|half| half & 0x7c00 != 0x7c00);
        finite.then_some(block)
    };
    if !layers.iter().all(|dense| dense.bias.iter().all(|x| x.is_finite())) {
        return Err(DenseError::Range);
    }
    shape.header(panel).ok_or(wrong)?;
    write(shape, panel, blocks, |layer| layers.get(layer).map_or(&[], |dense| &dense.bias)).ok_or(DenseError::Range)
}

/// The same classifier with its rows interleaved as `panel` says; not a bit of a weight changes.
pub fn repack(classifier: &Classifier<'_>, panel: Panel) -> Packed {
    let layers: Vec<Layer<'_>> = classifier.layers().collect();
    let block = |layer: usize, row, block| layers.get(layer)?.matrix.block(row, block);
    let packed = write(*classifier.shape(), panel, block, |layer| layers.get(layer).map_or(&[], |layer| layer.bias));
    packed.unwrap_or_else(|| Packed::new(0))
}

fn write<'a>(
    shape: Shape,
    panel: Panel,
    block: impl Fn(usize, usize, usize) -> Option<Block>,
    bias: impl Fn(usize) -> &'a [f32],
) -> Option<Packed> {
    let mut packed = Packed::new(shape.file_bytes(panel)?);
    let (header, mut rest) = packed.bytes_mut().split_at_mut_checked(HEADER_BYTES)?;
    header.copy_from_slice(&shape.header(panel)?);
    for (layer, (rows, cols)) in shape.layers().into_iter().flatten().enumerate() {
        let (matrix, after) = rest.split_at_mut_checked(matrix_bytes(Format::Q8, panel, rows, cols)?)?;
        let (biases, after) = after.split_at_mut_checked(bias_bytes(rows))?;
        rest = after;
        let mut matrix = MatrixMut::new(Format::Q8, panel, rows, cols, matrix).ok()?;
        for row in 0..rows {
            for index in 0..cols.div_ceil(BLOCK) {
                matrix.set_block(row, index, &block(layer, row, index)?).then_some(())?;
            }
        }
        for (out, bias) in biases.as_chunks_mut::<4>().0.iter_mut().zip(bias(layer)) {
            *out = bias.to_le_bytes();
        }
    }
    seal(packed.bytes_mut()).then_some(packed)
}
