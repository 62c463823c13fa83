//! From a file's own encoding to plain `f32`, one row at a time, and the search for what is not finite.

use crate::source::{Encoding, RowOrder, SourceTensor};

use super::{
    ImportError,
    blocks::{BLOCK, Run},
};

impl Encoding {
    /// Values in a row must be a multiple of this.
    pub fn block_len(self) -> usize {
        self.layout().map_or(1, |layout| layout.values)
    }

    /// Bytes of a value, in an encoding of single values.
    fn single_bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// Bytes of a `rows` x `cols` tensor in this encoding. `None` where blocks or groups do not come out even, or the
    /// size does not fit.
    pub fn tensor_bytes(self, rows: u64, cols: u64) -> Option<u64> {
        let values = rows.checked_mul(cols)?;
        match self {
            Self::F32 => values.checked_mul(4),
            Self::F16 | Self::BF16 => values.checked_mul(2),
            Self::Llama2cQ80 { group } => {
                let group = u64::try_from(group).ok().filter(|group| *group > 0)?;
                if !values.is_multiple_of(group) {
                    return None;
                }
                (values / group).checked_mul(4)?.checked_add(values)
            }
            _ => {
                let layout = self.layout()?;
                let block = layout.values as u64;
                cols.is_multiple_of(block).then_some(values / block)?.checked_mul(layout.bytes as u64)
            }
        }
    }
}

impl SourceTensor<'_> {
    /// Writes row `row` to `out` as `f32`: `[cols]`. Plain scalar code, exact for every encoding but the rounding of one
    /// product (and one sum) per value.
    ///
    /// # Panics
    /// When `row >= rows`, `out.len() != cols`, or `data` is shorter than shape and encoding ask for (an importer
    /// never yields that).
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "a row has `cols` values");
        match self.order {
            // Neighbouring columns share cache lines, so that a matrix read so comes from memory once.
            RowOrder::Columns { first, of } => {
                for (x, stored) in out.iter_mut().zip(self.stored_rows(of)) {
                    *x = self.single(stored, first + row);
                }
            }
            _ => self.read_stored_row(self.stored_row(row), out),
        }
        if self.shift != 0.0 {
            out.iter_mut().for_each(|x| *x += self.shift);
        }
    }

    /// The rows of a matrix of single values, `of` in each.
    fn stored_rows(&self, of: usize) -> std::slice::ChunksExact<'_, u8> {
        self.data.chunks_exact(of * self.encoding.single_bytes())
    }

    /// Value `at` of a row of single values.
    fn single(&self, stored: &[u8], at: usize) -> f32 {
        let bytes = &stored[at * self.encoding.single_bytes()..];
        match self.encoding {
            Encoding::F32 => f32_at(bytes),
            Encoding::F16 => f16_at(bytes),
            _ => bf16_at(bytes),
        }
    }

    fn read_stored_row(&self, row: usize, out: &mut [f32]) {
        let cols = self.cols;
        match self.encoding {
            Encoding::F32 => {
                let data = &self.data[row * cols * 4..][..cols * 4];
                for (x, b) in out.iter_mut().zip(data.chunks_exact(4)) {
                    *x = f32_at(b);
                }
            }
            Encoding::F16 => {
                let data = &self.data[row * cols * 2..][..cols * 2];
                for (x, b) in out.iter_mut().zip(data.chunks_exact(2)) {
                    *x = f16_at(b);
                }
            }
            Encoding::BF16 => {
                let data = &self.data[row * cols * 2..][..cols * 2];
                for (x, b) in out.iter_mut().zip(data.chunks_exact(2)) {
                    *x = bf16_at(b);
                }
            }
            Encoding::Q8_0 => {
                for (x, b) in out.chunks_exact_mut(BLOCK).zip(self.row_blocks(row, 34)) {
                    let d = f16_at(b);
                    for (x, q) in x.iter_mut().zip(&b[2..]) {
                        *x = d * f32::from(*q as i8);
                    }
                }
            }
            Encoding::Q4_0 => {
                for (x, b) in out.chunks_exact_mut(BLOCK).zip(self.row_blocks(row, 18)) {
                    let d = f16_at(b);
                    for (j, x) in x.iter_mut().enumerate() {
                        *x = d * (f32::from(nibble(&b[2..], j)) - 8.0);
                    }
                }
            }
            Encoding::Q4_1 => {
                for (x, b) in out.chunks_exact_mut(BLOCK).zip(self.row_blocks(row, 20)) {
                    let (d, m) = (f16_at(b), f16_at(&b[2..]));
                    for (j, x) in x.iter_mut().enumerate() {
                        *x = d * f32::from(nibble(&b[4..], j)) + m;
                    }
                }
            }
            Encoding::Llama2cQ80 { group } => {
                let (values, scales) = self.data.split_at(self.rows * cols);
                let first = row * cols;
                for (j, (x, q)) in out.iter_mut().zip(&values[first..][..cols]).enumerate() {
                    let scale = f32_at(&scales[(first + j) / group * 4..]);
                    *x = scale * f32::from(*q as i8);
                }
            }
            encoding => {
                let Some(layout) = encoding.layout() else { return };
                for (x, b) in out.chunks_exact_mut(layout.values).zip(self.row_blocks(row, layout.bytes)) {
                    for (index, x) in x.chunks_exact_mut(BLOCK).enumerate() {
                        if let Some(run) = encoding.run(b, index) {
                            x.copy_from_slice(&run.values());
                        }
                    }
                }
            }
        }
    }

    /// Values 32 `index` to 32 `index` + 31 of a row, as stored; `None` for an encoding without blocks, or beyond the end.
    pub(crate) fn run(&self, row: usize, index: usize) -> Option<Run> {
        let layout = self.encoding.layout()?;
        let runs = layout.values / BLOCK;
        let at = self.stored_row(row).checked_mul(self.cols / layout.values)? + index / runs;
        let block = self.data.get(at * layout.bytes..)?.get(..layout.bytes)?;
        self.encoding.run(block, index % runs)
    }

    /// Where a row is in the file, if it is a row there.
    pub(crate) fn stored_row(&self, row: usize) -> usize {
        match self.order {
            RowOrder::InPlace | RowOrder::Columns { .. } => row,
            RowOrder::HalvesOfHeads { head_dim } => {
                let (pair, second) = (row % head_dim / 2, row % 2);
                row / head_dim * head_dim + pair + second * (head_dim / 2)
            }
        }
    }

    /// The blocks of one row of the file, each `bytes` long.
    fn row_blocks(&self, row: usize, bytes: usize) -> std::slice::ChunksExact<'_, u8> {
        let row_bytes = self.cols / self.encoding.block_len() * bytes;
        self.data[row * row_bytes..][..row_bytes].chunks_exact(bytes)
    }

    /// `wq` or `layer 3 wq`, for messages.
    pub fn label(&self) -> String {
        if self.kind.per_layer() {
            format!("layer {} {}", self.layer, self.kind.name())
        } else {
            self.kind.name().into()
        }
    }
}

/// Finds the first NaN or infinity: among the values of `F32`, `F16` and `BF16`, among the scales and minima of blocks.
/// A llama2.c scale is refused also where it times -128 leaves `f32`.
///
/// It reads the whole tensor; `open` does not call it, the packer does.
pub fn check_finite(tensor: &SourceTensor<'_>) -> Result<(), ImportError> {
    if let RowOrder::Columns { first, of } = tensor.order {
        return check_columns(tensor, first, of);
    }
    // The first unit that fails, as (index of the unit, what failed in it), and how many values a unit holds.
    let (found, unit) = match tensor.encoding {
        Encoding::F32 => (first_bad(tensor.data, 4, |b| (!f32_at(b).is_finite()).then_some("value")), 1),
        Encoding::F16 => (first_bad(tensor.data, 2, |b| (!f16_at(b).is_finite()).then_some("value")), 1),
        Encoding::BF16 => (first_bad(tensor.data, 2, |b| (!bf16_at(b).is_finite()).then_some("value")), 1),
        Encoding::Llama2cQ80 { group } => {
            let scales = tensor.data.get(tensor.rows.saturating_mul(tensor.cols)..).unwrap_or(&[]);
            let check = |b: &[u8]| (!(f32_at(b) * -128.0).is_finite()).then_some("scale");
            (first_bad(scales, 4, check), group)
        }
        encoding => {
            let Some(layout) = encoding.layout() else { return Ok(()) };
            let check = |b: &[u8]| {
                let minimum = || layout.minimum.is_some_and(|at| !f16_at(&b[at..]).is_finite());
                if !f16_at(&b[layout.scale..]).is_finite() { Some("scale") } else { minimum().then_some("minimum") }
            };
            (first_bad(tensor.data, layout.bytes, check), layout.values)
        }
    };
    match found {
        None => Ok(()),
        Some((index, what)) => {
            let (at, cols) = (index * unit, tensor.cols.max(1));
            Err(ImportError::NotFinite {
                tensor: tensor.label(),
                row: (at / cols) as u64,
                col: (at % cols) as u64,
                what,
            })
        }
    }
}

/// The same for columns: those beside them are another tensor's.
fn check_columns(tensor: &SourceTensor<'_>, first: usize, of: usize) -> Result<(), ImportError> {
    for (col, stored) in tensor.stored_rows(of).enumerate() {
        let bad = (0..tensor.rows).find(|row| !tensor.single(stored, first + row).is_finite());
        if let Some(row) = bad {
            let (row, col) = (row as u64, col as u64);
            return Err(ImportError::NotFinite { tensor: tensor.label(), row, col, what: "value" });
        }
    }
    Ok(())
}

fn first_bad(
    data: &[u8],
    unit_bytes: usize,
    check: impl Fn(&[u8]) -> Option<&'static str>,
) -> Option<(usize, &'static str)> {
    data.chunks_exact(unit_bytes).enumerate().find_map(|(index, bytes)| check(bytes).map(|what| (index, what)))
}

/// Value `j` of a block: the low nibble of byte `j`, then the high nibble of byte `j - 16`.
fn nibble(bytes: &[u8], j: usize) -> u8 {
    if j < BLOCK / 2 { bytes[j] & 15 } else { bytes[j - BLOCK / 2] >> 4 }
}

/// The little-endian `f32` that `bytes` starts with.
pub(super) fn f32_at(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The little-endian bfloat16 that `bytes` starts with: the upper half of an `f32`.
fn bf16_at(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([0, 0, bytes[0], bytes[1]])
}

/// The little-endian half that `bytes` starts with; exact.
pub(super) fn f16_at(bytes: &[u8]) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// An IEEE half as `f32`; exact, NaN stays NaN.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        // Zero and subnormals: `fraction` units of 2^-24, exact in f32.
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        // Infinity and NaN.
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        // The bias goes from 15 to 127.
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipsqueak::tensor::TensorKind;

    fn tensor(encoding: Encoding, rows: usize, cols: usize, data: &[u8]) -> SourceTensor<'_> {
        assert_eq!(encoding.tensor_bytes(rows as u64, cols as u64), Some(data.len() as u64));
        SourceTensor {
            kind: TensorKind::Wk,
            layer: 3,
            rows,
            cols,
            encoding,
            order: RowOrder::InPlace,
            shift: 0.0,
            data,
        }
    }

    /// Every half against its definition, computed in f64.
    #[test]
    fn every_half() {
        for bits in 0..=u16::MAX {
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let want = match exponent {
                0 => sign * fraction * 2f64.powi(-24),
                31 if fraction == 0.0 => sign * f64::INFINITY,
                31 => f64::NAN,
                _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
            };
            let got = f64::from(f16_to_f32(bits));
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:04x}: {got} {want}");
        }
    }

    #[test]
    fn plain_rows() {
        let mut out = [0.0; 2];
        let data: Vec<u8> = [1.0f32, -2.5, 3.0, 4.25].iter().flat_map(|x| x.to_le_bytes()).collect();
        tensor(Encoding::F32, 2, 2, &data).dequantize_row(1, &mut out);
        assert_eq!(out, [3.0, 4.25]);
        let data = [0x00, 0x3c, 0x00, 0xc0, 0x00, 0x38, 0x01, 0x00]; // 1, -2, 0.5, 2^-24
        tensor(Encoding::F16, 2, 2, &data).dequantize_row(1, &mut out);
        assert_eq!(out, [0.5, 2f32.powi(-24)]);
        let data = [0x80, 0x3f, 0x00, 0xc0, 0x00, 0x3f, 0x40, 0x40]; // 1, -2, 0.5, 3
        tensor(Encoding::BF16, 2, 2, &data).dequantize_row(1, &mut out);
        assert_eq!(out, [0.5, 3.0]);
    }

    /// Two heads of six rows: `r0 r2 r4 r1 r3 r5` of each in the file.
    #[test]
    fn rows_of_heads_in_halves() {
        let data: Vec<u8> = (0..12).flat_map(|x| (x as f32).to_le_bytes()).collect();
        let tensor =
            SourceTensor { order: RowOrder::HalvesOfHeads { head_dim: 6 }, ..tensor(Encoding::F32, 12, 1, &data) };
        let rows = (0..12).map(|row| {
            let mut out = [0.0];
            tensor.dequantize_row(row, &mut out);
            out[0]
        });
        assert_eq!(rows.collect::<Vec<_>>(), [0., 3., 1., 4., 2., 5., 6., 9., 7., 10., 8., 11.]);
    }

    /// Columns 1 to 3 of a matrix of two rows and five columns, as a tensor of three rows.
    #[test]
    fn rows_that_are_columns() {
        let single = |x: i32| (x as f32).to_le_bytes();
        let data: Vec<u8> = (0..10).flat_map(single).collect();
        let order = RowOrder::Columns { first: 1, of: 5 };
        let whole = tensor(Encoding::F32, 2, 5, &data);
        let part = SourceTensor { rows: 3, cols: 2, order, ..whole };
        let mut out = [0.0; 2];
        for (row, want) in [[1.0, 6.0], [2.0, 7.0], [3.0, 8.0]].into_iter().enumerate() {
            part.dequantize_row(row, &mut out);
            assert_eq!(out, want);
        }
        SourceTensor { shift: 1.0, ..part }.dequantize_row(2, &mut out);
        assert_eq!(out, [4.0, 9.0]);
        let halves: Vec<u8> = [0x3f80u16, 0x4000, 0x3f00, 0x4040].iter().flat_map(|x| x.to_le_bytes()).collect();
        let part = SourceTensor { rows: 1, order: RowOrder::Columns { first: 1, of: 2 }, ..whole };
        SourceTensor { cols: 2, encoding: Encoding::BF16, data: &halves, ..part }.dequantize_row(0, &mut out);
        assert_eq!(out, [2.0, 3.0]);

        // What is not finite in other columns is not this tensor's.
        for (at, found) in [(0, None), (9, None), (1, Some((0, 0))), (8, Some((2, 1)))] {
            let mut data = data.clone();
            data[4 * at..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
            let part = SourceTensor { rows: 3, cols: 2, order, data: &data, ..whole };
            let place = match check_finite(&part) {
                Err(ImportError::NotFinite { row, col, what: "value", .. }) => Some((row, col)),
                other => other.map(|()| None).unwrap(),
            };
            assert_eq!(place, found, "value {at}");
        }
    }

    #[test]
    fn block_rows() {
        let mut out = [0.0; 32];
        let mut data = vec![0u8; 34];
        data.extend([0x00, 0x40]); // scale 2
        data.extend((0..32).map(|j| (j as i8 - 16) as u8));
        tensor(Encoding::Q8_0, 2, 32, &data).dequantize_row(1, &mut out);
        assert_eq!(out, std::array::from_fn(|j| 2.0 * (j as f32 - 16.0)));

        let nibbles: Vec<u8> = (0..16u8).map(|j| j | (15 - j) << 4).collect();
        let value = |j: usize| if j < 16 { j as f32 } else { 31.0 - j as f32 };
        let mut data = vec![0u8; 18];
        data.extend([0x00, 0x38]); // scale 0.5
        data.extend(&nibbles);
        tensor(Encoding::Q4_0, 2, 32, &data).dequantize_row(1, &mut out);
        assert_eq!(out, std::array::from_fn(|j| 0.5 * (value(j) - 8.0)));

        let mut data = vec![0u8; 20];
        data.extend([0x00, 0x38, 0x00, 0xbc]); // scale 0.5, minimum -1
        data.extend(&nibbles);
        tensor(Encoding::Q4_1, 2, 32, &data).dequantize_row(1, &mut out);
        assert_eq!(out, std::array::from_fn(|j| 0.5 * value(j) - 1.0));
    }

    /// A group may cross the end of a row: 2 rows of 3, groups of 2.
    #[test]
    fn llama2c_groups_are_flat() {
        let mut data: Vec<u8> = [1i8, 2, 3, 4, 5, -128].iter().map(|q| *q as u8).collect();
        data.extend([1.0f32, 10.0, 100.0].iter().flat_map(|s| s.to_le_bytes()));
        let tensor = tensor(Encoding::Llama2cQ80 { group: 2 }, 2, 3, &data);
        let mut out = [0.0; 3];
        tensor.dequantize_row(0, &mut out);
        assert_eq!(out, [1.0, 2.0, 30.0]);
        tensor.dequantize_row(1, &mut out);
        assert_eq!(out, [40.0, 500.0, -12800.0]);
    }

    #[test]
    fn not_finite_is_located() {
        let found = |encoding, rows, cols, data: &[u8]| match check_finite(&tensor(encoding, rows, cols, data)) {
            Err(ImportError::NotFinite { tensor, row, col, what }) => {
                assert_eq!(tensor, "layer 3 wk");
                Some((row, col, what))
            }
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        };
        for (encoding, bytes, nan) in [
            (Encoding::F32, 4, [0, 0, 0xc0, 0x7f].as_slice()),
            (Encoding::F16, 2, &[0x00, 0x7c]),
            (Encoding::BF16, 2, &[0x80, 0xff]),
        ] {
            let mut data = vec![0; 6 * bytes];
            assert_eq!(found(encoding, 2, 3, &data), None);
            data[5 * bytes..].copy_from_slice(nan);
            assert_eq!(found(encoding, 2, 3, &data), Some((1, 2, "value")));
        }
        for (encoding, bytes, at, what) in [
            (Encoding::Q8_0, 34, 0, "scale"),
            (Encoding::Q4_0, 18, 0, "scale"),
            (Encoding::Q4_1, 20, 0, "scale"),
            (Encoding::Q4_1, 20, 2, "minimum"),
        ] {
            let mut data = vec![0; 4 * bytes];
            data[2 * bytes + 4..][..4].fill(0xff); // payload is never looked at
            assert_eq!(found(encoding, 2, 64, &data), None);
            data[3 * bytes + at..][..2].copy_from_slice(&[0x01, 0x7e]);
            assert_eq!(found(encoding, 2, 64, &data), Some((1, 32, what)));
        }
        let mut data = vec![0; 6 + 3 * 4];
        let encoding = Encoding::Llama2cQ80 { group: 2 };
        assert_eq!(found(encoding, 2, 3, &data), None);
        data[6 + 8..].copy_from_slice(&(f32::MAX / 100.0).to_le_bytes());
        assert_eq!(found(encoding, 2, 3, &data), Some((1, 1, "scale")));
    }

    #[test]
    fn sizes() {
        assert_eq!(Encoding::F32.tensor_bytes(3, 5), Some(60));
        assert_eq!(Encoding::Q8_0.tensor_bytes(3, 64), Some(3 * 2 * 34));
        assert_eq!(Encoding::Q4_0.tensor_bytes(1, 33), None);
        assert_eq!(Encoding::Q4_1.tensor_bytes(1, 32), Some(20));
        assert_eq!(Encoding::Llama2cQ80 { group: 4 }.tensor_bytes(2, 6), Some(12 + 3 * 4));
        assert_eq!(Encoding::Llama2cQ80 { group: 4 }.tensor_bytes(3, 3), None);
        assert_eq!(Encoding::Llama2cQ80 { group: 0 }.tensor_bytes(3, 3), None);
        assert_eq!(Encoding::F32.tensor_bytes(u64::MAX, 2), None);
    }
}
