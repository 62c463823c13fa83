//! A weight matrix in place: checked views over its bytes, block by block.

use crate::{
    BLOCK, Format, LayoutError, Panel,
    arena::{Line, cast},
    float16::{bf16_to_f32, f16_to_f32},
    linked::FLOAT_WEIGHTS,
    slice::{copy, part},
};

/// One row's block: its scales and its 32 codes, whatever the panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// f16 bits: the scale, and for Q4M the minimum (0 otherwise).
    pub scales: [u16; 2],
    /// Q8: `i8` bits. Q4, Q4M: the nibble, 0 to 15.
    pub codes: [u8; BLOCK],
}

impl Block {
    /// A block whose values are all zero.
    pub const fn zero(format: Format) -> Self {
        let code = if matches!(format, Format::Q4) { 8 } else { 0 };
        Self { scales: [0; 2], codes: [code; BLOCK] }
    }

    /// The values: `d * q` (Q8), `d * (q - 8)` (Q4) or `d * q + m` (Q4M).
    pub fn dequantise(&self, format: Format) -> [f32; BLOCK] {
        let mut out = [0.0; BLOCK];
        self.write(format, &mut out);
        out
    }

    /// As many of the values as `out` has room for.
    fn write(&self, format: Format, out: &mut [f32]) {
        let [d, m] = self.scales;
        let (d, m) = (f16_to_f32(d), if matches!(format, Format::Q4M) { f16_to_f32(m) } else { 0.0 });
        for (out, code) in out.iter_mut().zip(self.codes) {
            *out = match format {
                Format::Q8 => d * code.cast_signed() as f32,
                Format::Q4 => d * (code as i32 - 8) as f32,
                _ => d * code as f32 + m,
            };
        }
    }
}

/// The sizes of a matrix's parts, in bytes.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Scales, rounded up to a line; 0 for float formats.
    scales: usize,
    /// Everything.
    total: usize,
}

const fn layout(format: Format, panel: Panel, rows: usize, cols: usize) -> Option<Layout> {
    macro_rules! product {
        ($a:expr, $b:expr) => {
            match $a.checked_mul($b) {
                Some(product) => product,
                None => return None,
            }
        };
    }
    const fn line_up(bytes: usize) -> Option<usize> {
        match bytes.checked_add(Line::BYTES - 1) {
            Some(sum) => Some(sum & !(Line::BYTES - 1)),
            None => None,
        }
    }
    if !format.is_quantised() {
        return match line_up(product!(product!(rows, cols), format.element_bytes())) {
            Some(total) => Some(Layout { scales: 0, total }),
            None => None,
        };
    }
    // Bounded before it is rounded up to whole panels, so that nothing below can wrap.
    let padded_rows = product!(panel.count(rows), panel.rows());
    let blocks = product!(padded_rows, cols.div_ceil(BLOCK));
    let Some(scales) = line_up(product!(blocks, format.block_scales() * 2)) else { return None };
    let Some(payload) = line_up(product!(blocks, format.block_payload())) else { return None };
    match scales.checked_add(payload) {
        Some(total) => Some(Layout { scales, total }),
        None => None,
    }
}

/// Bytes of a `rows` x `cols` matrix: scales and payload, each rounded up to a line of 64. `None` when it does not fit the
/// address space.
pub const fn matrix_bytes(format: Format, panel: Panel, rows: usize, cols: usize) -> Option<usize> {
    match layout(format, panel, rows, cols) {
        Some(layout) => Some(layout.total),
        None => None,
    }
}

/// A read-only matrix of `rows` outputs and `cols` inputs (depth `k`), in place.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    format: Format,
    panel: Panel,
    rows: usize,
    cols: usize,
    scales: &'a [u16],
    payload: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Whether a matrix may have this format, panel and shape, and `len` bytes: [`Self::new`] but for the bytes' address.
    pub const fn check(format: Format, panel: Panel, rows: usize, cols: usize, len: usize) -> Result<(), LayoutError> {
        match Self::layout(format, panel, rows, cols, len) {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    const fn layout(format: Format, panel: Panel, rows: usize, cols: usize, len: usize) -> Result<Layout, LayoutError> {
        if !format.is_quantised() && !matches!(panel, Panel::R1) {
            return Err(LayoutError::Panel { format, panel });
        }
        // F32 has vectors too, which are read in any build; a matrix of it is for the model's reader to refuse.
        if !format.is_linked() && !matches!(format, Format::F32) {
            return Err(LayoutError::LeftOut { feature: format.feature() });
        }
        if format.is_quantised() && !panel.is_linked() {
            return Err(LayoutError::LeftOut { feature: panel.feature() });
        }
        match layout(format, panel, rows, cols) {
            None => Err(LayoutError::TooLarge { rows, cols }),
            Some(layout) if layout.total != len => Err(LayoutError::Size { need: layout.total, got: len }),
            Some(layout) => Ok(layout),
        }
    }

    /// A view of `bytes`, which must be exactly [`matrix_bytes`] long and start on a line of 64.
    pub fn new(format: Format, panel: Panel, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, LayoutError> {
        let layout = Self::layout(format, panel, rows, cols, bytes.len())?;
        let size = LayoutError::Size { need: layout.total, got: bytes.len() };
        let alignment = LayoutError::Alignment { need: Line::BYTES };
        if bytes.as_ptr().addr() & (Line::BYTES - 1) != 0 {
            return Err(alignment);
        }
        let (scales, payload) = bytes.split_at_checked(layout.scales).ok_or(size)?;
        Ok(Self { format, panel, rows, cols, scales: cast(scales).ok_or(alignment)?, payload })
    }

    /// Number format.
    #[inline(always)]
    pub const fn format(&self) -> Format {
        self.format.narrowed()
    }

    /// How rows are interleaved.
    #[inline(always)]
    pub const fn panel(&self) -> Panel {
        if self.format().is_quantised() { self.panel.narrowed() } else { Panel::R1 }
    }

    /// Outputs.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs: the depth `k`.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Blocks of 32 in a row.
    pub const fn blocks(&self) -> usize {
        self.cols.div_ceil(BLOCK)
    }

    /// Panels: the units work is shared out in. A float matrix counts eight rows as one.
    pub const fn panels(&self) -> usize {
        self.rows.div_ceil(self.unit_rows())
    }

    /// Rows of one unit of work.
    pub const fn unit_rows(&self) -> usize {
        if self.format().is_quantised() { self.panel().rows() } else { FLOAT_UNIT }
    }

    /// Bytes read by one pass over the matrix.
    pub const fn bytes(&self) -> usize {
        self.scales.len() * 2 + self.payload.len()
    }

    /// Scales (and minima) of panel `p`: `[block][R]`, or `[block][2][R]` for Q4M. Empty for float formats and when there
    /// is no such panel.
    #[inline]
    pub fn panel_scales(&self, p: usize) -> &'a [u16] {
        let len = self.blocks().saturating_mul(self.panel().rows()).saturating_mul(self.format().block_scales());
        part(self.scales, p.saturating_mul(len), len)
    }

    /// Payload of panel `p`, as [`Panel`] describes it. Empty for float formats and when there is no such panel.
    #[inline]
    pub fn panel_payload(&self, p: usize) -> &'a [u8] {
        let len = self.blocks().saturating_mul(self.panel().rows()).saturating_mul(self.format().block_payload());
        part(self.payload, p.saturating_mul(len), len)
    }

    /// Scales and payload of all panels: those of [`Self::panels`] panels of [`Self::blocks`] blocks, and what is added to
    /// fill a line.
    #[inline(always)]
    #[allow(dead_code, reason = "for kernel sets that not every architecture has")]
    pub(crate) const fn parts(&self) -> (&'a [u16], &'a [u8]) {
        (self.scales, self.payload)
    }

    /// Scales and payload of panel `p` and all that follow it; empty when there is no such panel.
    #[allow(dead_code, reason = "for kernel sets that not every architecture has")]
    pub(crate) fn panels_from(&self, p: usize) -> (&'a [u16], &'a [u8]) {
        let blocks = p.saturating_mul(self.blocks()).saturating_mul(self.panel().rows());
        let scales = self.scales.get(blocks.saturating_mul(self.format().block_scales())..).unwrap_or(&[]);
        (scales, self.payload.get(blocks.saturating_mul(self.format().block_payload())..).unwrap_or(&[]))
    }

    /// The elements of row `row` of an F32 matrix; empty for other formats and rows.
    #[inline]
    pub fn row_f32(&self, row: usize) -> &'a [f32] {
        if !matches!(self.format(), Format::F32) {
            return &[];
        }
        cast(self.row_bytes(row)).unwrap_or(&[])
    }

    /// The bits of row `row` of an F16 or BF16 matrix; empty for other formats and rows.
    #[inline]
    pub fn row_16(&self, row: usize) -> &'a [u16] {
        if !matches!(self.format(), Format::F16 | Format::BF16) {
            return &[];
        }
        cast(self.row_bytes(row)).unwrap_or(&[])
    }

    fn row_bytes(&self, row: usize) -> &'a [u8] {
        if row >= self.rows {
            return &[];
        }
        let len = self.cols.saturating_mul(self.format().element_bytes());
        part(self.payload, row.saturating_mul(len), len)
    }

    /// The block `block` of row `row`; `None` outside the matrix or for float formats.
    pub fn block(&self, row: usize, block: usize) -> Option<Block> {
        let (format, panel) = (self.format(), self.panel());
        if !format.is_quantised() || row >= self.rows || block >= self.blocks() {
            return None;
        }
        let r_count = panel.rows();
        let shift = r_count.trailing_zeros();
        let (p, r) = (row >> shift, row & (r_count - 1));
        let scales = self.panel_scales(p);
        let at = block * r_count * format.block_scales() + r;
        let mut out = Block::zero(format);
        let [d, m] = &mut out.scales;
        *d = *scales.get(at)?;
        if matches!(format, Format::Q4M) {
            *m = *scales.get(at + r_count)?;
        }
        let len = r_count * format.block_payload();
        let payload = part(self.panel_payload(p), block * len, len);
        if !panel.is_stepped() {
            let mask = code_mask(format);
            for (i, code) in out.codes.iter_mut().enumerate() {
                let place = panel.place(format, r, i);
                *code = (payload.get(place.byte)? >> place.shift ^ place.flip) & mask;
            }
            return Some(out);
        }
        // Every chunk of 4 x R bytes holds one k-step; the row's four bytes lie at 4 r.
        let steps = payload.as_chunks::<4>().0.iter().skip(r).step_by(r_count);
        if matches!(format, Format::Q8) {
            for (codes, bytes) in out.codes.as_chunks_mut::<4>().0.iter_mut().zip(steps) {
                *codes = *bytes;
            }
        } else {
            let (low, high) = out.codes.as_chunks_mut::<4>().0.split_at_mut_checked(4)?;
            for ((low, high), bytes) in low.iter_mut().zip(high).zip(steps) {
                *low = bytes.map(|byte| byte & 0x0f);
                *high = bytes.map(|byte| byte >> 4);
            }
        }
        Some(out)
    }

    /// Writes row `row` as `f32` to `out`, `[cols]`: the embedding lookup. Returns whether there is such a row and `out`
    /// has its length.
    #[must_use]
    pub fn row(&self, row: usize, out: &mut [f32]) -> bool {
        if row >= self.rows || out.len() != self.cols {
            return false;
        }
        match self.format() {
            Format::F32 if FLOAT_WEIGHTS => copy(out, self.row_f32(row)),
            Format::F16 if FLOAT_WEIGHTS => convert(out, self.row_16(row), f16_to_f32),
            Format::BF16 if FLOAT_WEIGHTS => convert(out, self.row_16(row), bf16_to_f32),
            _ => {
                for (index, out) in out.chunks_mut(BLOCK).enumerate() {
                    let Some(block) = self.block(row, index) else { return false };
                    block.write(self.format(), out);
                }
            }
        }
        true
    }

    /// Multiply-adds of one unit of work and one token.
    pub const fn unit_macs(&self) -> usize {
        self.unit_rows().saturating_mul(self.cols)
    }
}

/// Rows of a float matrix that make one unit of work.
pub const FLOAT_UNIT: usize = 8;

/// A quantised matrix being packed.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    format: Format,
    panel: Panel,
    rows: usize,
    blocks: usize,
    scales: &'a mut [u8],
    payload: &'a mut [u8],
}

impl<'a> MatrixMut<'a> {
    /// A writer over `bytes`, which must be exactly [`matrix_bytes`] long; the content is cleared.
    pub fn new(
        format: Format,
        panel: Panel,
        rows: usize,
        cols: usize,
        bytes: &'a mut [u8],
    ) -> Result<Self, LayoutError> {
        if !format.is_quantised() {
            return Err(LayoutError::Panel { format, panel });
        }
        let layout = layout(format, panel, rows, cols).ok_or(LayoutError::TooLarge { rows, cols })?;
        let size = LayoutError::Size { need: layout.total, got: bytes.len() };
        if bytes.len() != layout.total {
            return Err(size);
        }
        bytes.fill(0);
        let (scales, payload) = bytes.split_at_mut_checked(layout.scales).ok_or(size)?;
        Ok(Self { format, panel, rows, blocks: cols.div_ceil(BLOCK), scales, payload })
    }

    /// Stores one block; returns whether there is such a block.
    #[must_use]
    pub fn set_block(&mut self, row: usize, block: usize, value: &Block) -> bool {
        if row >= self.rows || block >= self.blocks {
            return false;
        }
        let r_count = self.panel.rows();
        let shift = r_count.trailing_zeros();
        let (p, r) = (row >> shift, row & (r_count - 1));
        let scale_count = self.format.block_scales();
        let unit = p * self.blocks + block;
        let scales = self.scales.as_chunks_mut::<2>().0;
        let at = unit * r_count * scale_count + r;
        for (index, scale) in value.scales.iter().take(scale_count).enumerate() {
            if let Some(bytes) = scales.get_mut(at + index * r_count) {
                *bytes = scale.to_le_bytes();
            }
        }
        let len = r_count * self.format.block_payload();
        let Some(payload) = self.payload.get_mut(unit * len..unit * len + len) else { return false };
        if !self.panel.is_stepped() {
            let mask = code_mask(self.format);
            for (i, code) in value.codes.iter().enumerate() {
                let place = self.panel.place(self.format, r, i);
                let Some(byte) = payload.get_mut(place.byte) else { return false };
                *byte = *byte & !(mask << place.shift) | ((code ^ place.flip) & mask) << place.shift;
            }
            return true;
        }
        let steps = payload.as_chunks_mut::<4>().0.iter_mut().skip(r).step_by(r_count);
        let codes = value.codes.as_chunks::<4>().0;
        if matches!(self.format, Format::Q8) {
            for (bytes, codes) in steps.zip(codes) {
                *bytes = *codes;
            }
        } else {
            for ((bytes, low), high) in steps.zip(codes).zip(codes.iter().skip(4)) {
                for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
                    *byte = low & 0x0f | high << 4;
                }
            }
        }
        true
    }
}

/// The bits of a code.
const fn code_mask(format: Format) -> u8 {
    if matches!(format, Format::Q8) { 0xff } else { 0x0f }
}

fn convert(out: &mut [f32], from: &[u16], widen: impl Fn(u16) -> f32) {
    for (out, from) in out.iter_mut().zip(from) {
        *out = widen(*from);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;
    use crate::arena::{bytes_of, bytes_of_mut};

    #[test]
    fn blocks_come_back_from_every_panel() {
        for format in [Format::Q8, Format::Q4, Format::Q4M] {
            for panel in Panel::ALL {
                let (rows, cols) = (19, 100);
                let bytes = matrix_bytes(format, panel, rows, cols).unwrap();
                let mut lines = vec![Line::ZERO; Line::count(bytes)];
                let make = |row: usize, block: usize| {
                    let mut value = Block::zero(format);
                    value.scales = [(row * 7 + block) as u16, (row + 1) as u16];
                    if format != Format::Q4M {
                        value.scales[1] = 0;
                    }
                    let limit = if format == Format::Q8 { 255 } else { 15 };
                    for (i, code) in value.codes.iter_mut().enumerate() {
                        *code = ((row * 31 + block * 17 + i * 5) & limit) as u8;
                    }
                    value
                };
                let mut out = MatrixMut::new(format, panel, rows, cols, bytes_of_mut(&mut lines)).unwrap();
                for row in 0..rows {
                    for block in 0..4 {
                        assert!(out.set_block(row, block, &make(row, block)));
                    }
                }
                assert!(!out.set_block(rows, 0, &make(0, 0)) && !out.set_block(0, 4, &make(0, 0)));
                let matrix = Matrix::new(format, panel, rows, cols, bytes_of(&lines)).unwrap();
                for row in 0..rows {
                    for block in 0..4 {
                        assert_eq!(matrix.block(row, block), Some(make(row, block)), "{format:?} {panel:?}");
                    }
                }
                assert_eq!(matrix.block(rows, 0), None);
            }
        }
    }

    #[test]
    fn refuses_wrong_sizes() {
        let lines = [Line::ZERO; 4];
        let bytes = bytes_of(&lines);
        let q8 = |rows, cols, bytes| Matrix::new(Format::Q8, Panel::R4, rows, cols, bytes).map(|_| ());
        assert_eq!(q8(4, 32, bytes), Err(LayoutError::Size { need: 192, got: 256 }));
        assert_eq!(q8(4, 32, &bytes[..192]), Ok(()));
        assert_eq!(q8(4, 32, &bytes[1..193]), Err(LayoutError::Alignment { need: 64 }));
        let huge = usize::MAX;
        assert_eq!(q8(huge, 32, bytes), Err(LayoutError::TooLarge { rows: huge, cols: 32 }));
        assert!(Matrix::new(Format::F32, Panel::R8, 1, 1, bytes).is_err());
    }
}
