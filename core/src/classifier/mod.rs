//! A packed picture classifier: one or two matrices on the engine's own kernels, read in place, checked before use.
//!
//! `scores = W2 relu(W1 x + b1) + b2`, or `scores = W x + b` without a hidden layer; `x` are the pixels. Weights are Q8
//! and activations are quantised as the engine's, so the scores are the same bits on every instruction set.
//!
//! All numbers are little-endian. The file starts on a line of 64 bytes and every part is a whole number of lines,
//! filled up with zeros.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | `[u8; 4]` | `PIPC` |
//! | 4 | u16 | format version, 1 |
//! | 6 | u16 | arithmetic contract, 1 |
//! | 8 | u64 | length of the file |
//! | 16 | u16 | width of the picture in pixels |
//! | 18 | u16 | height |
//! | 20 | u16 | hidden units; 0 for a single matrix |
//! | 22 | u16 | classes; they are called 0, 1 ... |
//! | 24 | u8 | panel of the matrices |
//! | 25 | 35 x u8 | 0 |
//! | 60 | u32 | CRC-32 of all other bytes of the file |
//! | 64 | layers | for each: the Q8 matrix `[outputs, inputs]`, then the biases, `outputs` f32 |
//!
//! ```
//! use pipsqueak::{
//!     classifier::Classifier,
//!     kernels::{Scalar, arena::Line, team::Team},
//!     sampler::greedy,
//! };
//!
//! /// The class of a picture. `None` when the model is damaged or made for other pictures.
//! fn class(model: &[u8], pixels: &[f32; 256], scratch: &mut [Line]) -> Option<u32> {
//!     let classifier = Classifier::open(model).ok()?;
//!     let mut scores = [0.0; 10];
//!     classifier.classify(&Scalar, &Team::alone(), pixels, &mut scores, scratch).ok()?;
//!     Some(greedy(&scores)) // the lower class of equals
//! }
//! # assert_eq!(class(&[], &[0.0; 256], &mut []), None);
//! ```

mod error;

pub use error::{ClassifierError, ClassifyError};
use pipsqueak_kernels::{
    BLOCK, Format, Input, Kernels, Linear, Matrix, NotFinite, Panel, Store, Tile,
    acts::ActRowMut,
    arena::{Carver, Line, cast, lines_for},
    matrix_bytes, run_linears,
    slice::{copy, part_mut},
    team::Team,
};

use crate::{
    buffers::ActBuffer,
    crc::Crc32,
    image::{Reader, Writer},
};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"PIPC";
const VERSION: u16 = 1;
const ARITHMETIC: u16 = 1;

/// The sizes of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Pixels in a row of the picture.
    pub width: u16,
    /// Rows of the picture.
    pub height: u16,
    /// Units of the hidden layer; 0 for a single matrix.
    pub hidden: u16,
    /// Classes.
    pub classes: u16,
}

impl Shape {
    /// Pixels of a picture.
    pub const fn inputs(&self) -> usize {
        (self.width as usize).saturating_mul(self.height as usize)
    }

    /// Rows and columns of the layers' matrices, in order; the second is `None` for a single matrix.
    pub const fn layers(&self) -> [Option<(usize, usize)>; 2] {
        let (hidden, classes) = (self.hidden as usize, self.classes as usize);
        match hidden {
            0 => [Some((classes, self.inputs())), None],
            _ => [Some((hidden, self.inputs())), Some((classes, hidden))],
        }
    }

    /// Bytes of the whole file; `None` when there is no such classifier: no pixel, no class, or larger than the address
    /// space.
    ///
    /// 16 x 16 pixels and 10 classes: 2,880 bytes; with 96 hidden units 27,648.
    pub const fn file_bytes(&self, panel: Panel) -> Option<usize> {
        if self.width == 0 || self.height == 0 || self.classes == 0 {
            return None;
        }
        let [first, second] = self.layers();
        let mut total = HEADER_BYTES;
        let mut rest = [first, second];
        while let [Some((rows, cols)), next] = rest {
            let (Some(matrix), bias) = (matrix_bytes(Format::Q8, panel, rows, cols), bias_bytes(rows)) else {
                return None;
            };
            total = match total.checked_add(matrix) {
                Some(sum) => match sum.checked_add(bias) {
                    Some(sum) => sum,
                    None => return None,
                },
                None => return None,
            };
            rest = [next, None];
        }
        Some(total)
    }

    /// Lines of the arena that [`Classifier::classify`] works in: the quantised input of a product and the hidden units.
    ///
    /// 16 x 16 pixels and 96 hidden units: 12 lines, 768 bytes.
    pub const fn scratch_lines(&self) -> usize {
        let blocks = self.act_blocks();
        let lines = [
            lines_for::<i8>(blocks.saturating_mul(BLOCK)),
            lines_for::<f32>(blocks),
            lines_for::<i32>(blocks),
            lines_for::<f32>(self.hidden as usize),
        ];
        let mut total = 0usize;
        let mut rest: &[Option<usize>] = &lines;
        while let [first, others @ ..] = rest {
            total = match first {
                Some(count) => total.saturating_add(*count),
                None => usize::MAX,
            };
            rest = others;
        }
        total
    }

    /// Blocks of the longest input of a product.
    const fn act_blocks(&self) -> usize {
        let (inputs, hidden) = (self.inputs(), self.hidden as usize);
        (if inputs > hidden { inputs } else { hidden }).div_ceil(BLOCK)
    }

    /// The header of a file of this shape, with the checksum left open: [`seal`] puts it in. `None` as
    /// [`Self::file_bytes`].
    pub fn header(&self, panel: Panel) -> Option<[u8; HEADER_BYTES]> {
        let len = self.file_bytes(panel)? as u64;
        let mut out = [0; HEADER_BYTES];
        let mut put = Writer::new(&mut out);
        put.bytes(&MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        put.bytes(&ARITHMETIC.to_le_bytes());
        put.bytes(&len.to_le_bytes());
        for size in [self.width, self.height, self.hidden, self.classes] {
            put.bytes(&size.to_le_bytes());
        }
        put.bytes(&[panel as u8]);
        Some(out)
    }
}

/// Bytes of `rows` biases, in whole lines.
pub const fn bias_bytes(rows: usize) -> usize {
    Line::count(rows.saturating_mul(size_of::<f32>())).saturating_mul(Line::BYTES)
}

/// Writes the checksum of the finished file `bytes` into its header; returns whether there is a header.
#[must_use]
pub fn seal(bytes: &mut [u8]) -> bool {
    let Some((header, body)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else { return false };
    let (head, stored) = header.split_at_mut(HEADER_BYTES - 4);
    copy(stored, &Crc32::new().update(head).update(body).finish().to_le_bytes());
    true
}

/// One layer: `out = matrix x + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `[outputs, inputs]`, Q8.
    pub matrix: Matrix<'a>,
    /// `[outputs]`.
    pub bias: &'a [f32],
}

impl<'a> Layer<'a> {
    /// The layer at the front of `bytes`, which moves behind it; `None` when it is not all there.
    fn take(bytes: &mut &'a [u8], panel: Panel, (rows, cols): (usize, usize)) -> Option<Self> {
        let (matrix, rest) = bytes.split_at_checked(matrix_bytes(Format::Q8, panel, rows, cols)?)?;
        let (bias, rest) = rest.split_at_checked(bias_bytes(rows))?;
        *bytes = rest;
        let matrix = Matrix::new(Format::Q8, panel, rows, cols, matrix).ok()?;
        Some(Self { matrix, bias: cast(bias)?.get(..rows)? })
    }

    fn run<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        team: &Team<'_>,
        x: &[f32],
        acts: &mut ActBuffer<'_>,
        out: &mut [f32],
    ) -> Result<(), NotFinite> {
        let blocks = x.len().div_ceil(BLOCK);
        let row = ActRowMut {
            q: part_mut(acts.q, 0, blocks.saturating_mul(BLOCK)),
            scale: part_mut(acts.scale, 0, blocks),
            sum: part_mut(acts.sum, 0, blocks),
        };
        kernels.quantise(x, row)?;
        copy(out, self.bias);
        let rows = out.len();
        let linear = Linear { w: self.matrix, out: Tile::whole(out, rows, 1), store: Store::Add };
        let input = Input { tokens: 1, x, acts: acts.view(1, x.len()) };
        run_linears(kernels, team, &mut [linear], &input, 0..self.matrix.panels());
        if kernels.all_finite(out) { Ok(()) } else { Err(NotFinite) }
    }
}

/// A checked view of a packed classifier.
#[derive(Clone, Copy, Debug)]
pub struct Classifier<'a> {
    shape: Shape,
    panel: Panel,
    first: Layer<'a>,
    second: Option<Layer<'a>>,
}

impl<'a> Classifier<'a> {
    /// Checks `bytes` and views them as a classifier. Bytes after its own length are ignored, so that a whole flash region
    /// can be passed. Reads all of it once, for the checksum.
    ///
    /// Errors: anything that is not as the table above says.
    pub fn open(bytes: &'a [u8]) -> Result<Self, ClassifierError> {
        let got = bytes.len() as u64;
        let short = |need| ClassifierError::Truncated { need, got };
        let (magic, _) = bytes.split_first_chunk::<4>().ok_or(short(HEADER_BYTES as u64))?;
        if *magic != MAGIC {
            return Err(ClassifierError::Magic { got: *magic });
        }
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(short(HEADER_BYTES as u64))?;
        let mut get = Reader::new(header);
        let _ = get.u32();
        let (version, arithmetic) = (get.u16(), get.u16());
        // The version first: another version may have its checksum elsewhere.
        if version != VERSION {
            return Err(ClassifierError::Version { got: version });
        }
        if bytes.as_ptr().addr() & (Line::BYTES - 1) != 0 {
            return Err(ClassifierError::Misaligned);
        }
        let len = get.u64();
        let file = usize::try_from(len).ok().and_then(|len| bytes.get(..len)).ok_or(short(len))?;
        let (head, stored) = header.split_at(HEADER_BYTES - 4);
        let (expected, body) = (Reader::new(stored).u32(), file.get(HEADER_BYTES..).unwrap_or(&[]));
        let found = Crc32::new().update(head).update(body).finish();
        if found != expected {
            return Err(ClassifierError::Checksum { expected, got: found });
        }
        if arithmetic != ARITHMETIC {
            return Err(ClassifierError::Arithmetic { got: arithmetic });
        }
        let shape = Shape { width: get.u16(), height: get.u16(), hidden: get.u16(), classes: get.u16() };
        let [panel] = get.array();
        let panel = Panel::from_code(panel).ok_or(ClassifierError::Panel { got: panel })?;
        let need = shape.file_bytes(panel).ok_or(ClassifierError::Shape { got: shape })?;
        let length = ClassifierError::Length { need: need as u64, got: len };
        if need != file.len() {
            return Err(length);
        }
        let mut rest = body;
        let [first, second] = shape.layers().map(|sizes| sizes.map(|sizes| Layer::take(&mut rest, panel, sizes)));
        let first = first.flatten().ok_or(length)?;
        let second = match second {
            Some(layer) => Some(layer.ok_or(length)?),
            None => None,
        };
        Ok(Self { shape, panel, first, second })
    }

    /// Its sizes.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How the rows of its matrices are interleaved. Any kernel set reads any panel; its own it reads fastest.
    pub const fn panel(&self) -> Panel {
        self.panel
    }

    /// Its layers, in order.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'a>> + use<'a> {
        core::iter::once(self.first).chain(self.second)
    }

    /// Gives each class its score: the larger, the likelier. [`crate::sampler::greedy`] tells the class (the lower of
    /// equals), [`Kernels::softmax`] makes them probabilities.
    ///
    /// `pixels`: `[height, width]`, 0 for paper and 1 for ink. `scores`: `[classes]`. `scratch`: at least
    /// [`Shape::scratch_lines`].
    ///
    /// Errors: lengths that do not fit; a pixel, weight or score that is not finite.
    pub fn classify<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        team: &Team<'_>,
        pixels: &[f32],
        scores: &mut [f32],
        scratch: &mut [Line],
    ) -> Result<(), ClassifyError> {
        let (inputs, classes) = (self.shape.inputs(), self.shape.classes as usize);
        if pixels.len() != inputs {
            return Err(ClassifyError::Pixels { need: inputs, got: pixels.len() });
        }
        if scores.len() != classes {
            return Err(ClassifyError::Scores { need: classes, got: scores.len() });
        }
        let mut carver = Carver::new(scratch);
        let mut acts = ActBuffer::new(&mut carver, self.shape.act_blocks()).map_err(ClassifyError::Scratch)?;
        let hidden: &mut [f32] = carver.take(self.shape.hidden as usize).map_err(ClassifyError::Scratch)?;
        let Some(second) = &self.second else {
            return Ok(self.first.run(kernels, team, pixels, &mut acts, scores)?);
        };
        self.first.run(kernels, team, pixels, &mut acts, hidden)?;
        for x in hidden.iter_mut() {
            *x = if *x > 0.0 { *x } else { 0.0 };
        }
        Ok(second.run(kernels, team, hidden, &mut acts, scores)?)
    }
}
