//! The container: header, metadata, tensor directory.
//!
//! | what | bytes |
//! |---|---|
//! | magic `GGUF`, `u32` version, `u64` tensors, `u64` pairs | 24 |
//! | pairs: key (`u64` length, bytes), `u32` type, value | varies |
//! | tensors: name (`u64` length, bytes), `u32` dimensions, `u64` each (innermost first), `u32` type, `u64` offset | varies |
//! | padding to `general.alignment` (32 unless named) | varies |
//! | tensor data; offsets count from here | varies |

use std::collections::HashSet;

use super::metadata::{Metadata, name};
use crate::{
    import::{ImportError, cursor::Cursor},
    source::Encoding,
};

/// A parsed file.
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    pub(super) metadata: Metadata<'a>,
    pub(super) tensors: Vec<TensorInfo<'a>>,
    /// Where tensor data starts.
    data_offset: u64,
    alignment: u64,
}

/// An entry of the tensor directory.
pub(super) struct TensorInfo<'a> {
    pub(super) name: &'a str,
    /// Rows; 1 for a vector.
    pub(super) rows: u64,
    /// Columns: the innermost dimension.
    pub(super) cols: u64,
    /// All dimensions but trailing ones of 1, outermost first.
    pub(super) shape: Vec<u64>,
    type_code: u32,
    /// From the start of the data.
    offset: u64,
}

impl<'a> Container<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let mut cursor = Cursor::new(bytes);
        let magic = cursor.take(4, "the magic")?;
        if magic != super::MAGIC {
            return Err(ImportError::Unrecognised { first: magic.to_vec(), len: bytes.len() as u64 });
        }
        match cursor.u32("the version")? {
            2 | 3 => {}
            version if (1..=3).contains(&version.swap_bytes()) => return Err(ImportError::BigEndian),
            found => return Err(ImportError::Version { format: "GGUF", found, supported: "2 and 3" }),
        }
        let n_tensors = cursor.u64("the number of tensors")?;
        let n_pairs = cursor.u64("the number of metadata pairs")?;
        let metadata = Metadata::read(&mut cursor, n_pairs)?;
        let tensors = read_infos(&mut cursor, n_tensors)?;

        let alignment = u64::from(metadata.u32("general.alignment")?.unwrap_or(32));
        if !alignment.is_power_of_two() {
            return Err(ImportError::BadValue {
                what: "general.alignment".into(),
                found: alignment.to_string(),
                want: "a power of two".into(),
            });
        }
        let data_offset = cursor.offset().next_multiple_of(alignment);
        Ok(Self { bytes, metadata, tensors, data_offset, alignment })
    }

    /// How a tensor is encoded, and its bytes.
    pub(super) fn data(&self, info: &TensorInfo<'a>) -> Result<(Encoding, &'a [u8]), ImportError> {
        let tensor = || String::from(info.name);
        let encoding = info.encoding()?;
        let block = encoding.block_len() as u64;
        if !info.cols.is_multiple_of(block) {
            return Err(ImportError::Columns { tensor: tensor(), cols: info.cols, block });
        }
        let bytes = encoding.tensor_bytes(info.rows, info.cols);
        let bytes = bytes.ok_or_else(|| ImportError::Overflow { what: tensor() })?;
        if !info.offset.is_multiple_of(self.alignment) {
            return Err(ImportError::Misaligned { tensor: tensor(), offset: info.offset, alignment: self.alignment });
        }
        let start = self.data_offset.saturating_add(info.offset);
        let range = usize::try_from(start).ok().zip(usize::try_from(start.saturating_add(bytes)).ok());
        let data = range.and_then(|(start, end)| self.bytes.get(start..end));
        let data = data.ok_or_else(|| ImportError::OutOfFile {
            tensor: tensor(),
            offset: start,
            bytes,
            len: self.bytes.len() as u64,
        })?;
        Ok((encoding, data))
    }
}

fn read_infos<'a>(cursor: &mut Cursor<'a>, count: u64) -> Result<Vec<TensorInfo<'a>>, ImportError> {
    let (mut infos, mut names) = (Vec::new(), HashSet::new());
    for _ in 0..count {
        let info = read_info(cursor)?;
        if !names.insert(info.name) {
            return Err(ImportError::Duplicate { what: "tensor", name: info.name.into() });
        }
        infos.push(info);
    }
    Ok(infos)
}

fn read_info<'a>(cursor: &mut Cursor<'a>) -> Result<TensorInfo<'a>, ImportError> {
    let name = name(cursor, "a tensor's name")?;
    let n_dims = cursor.u32("a tensor's dimensions")?;
    if !(1..=4).contains(&n_dims) {
        return Err(ImportError::BadValue {
            what: format!("the number of dimensions of tensor {name:?}"),
            found: n_dims.to_string(),
            want: "from 1 to 4".into(),
        });
    }
    let mut shape = Vec::new();
    for _ in 0..n_dims {
        shape.push(cursor.u64("a tensor's dimensions")?);
    }
    while shape.len() > 1 && shape.last() == Some(&1) {
        shape.pop();
    }
    let cols = shape.first().copied().unwrap_or(0);
    let rows = shape.iter().skip(1).try_fold(1u64, |rows, n| rows.checked_mul(*n));
    let rows = rows.ok_or_else(|| ImportError::Overflow { what: format!("tensor {name:?}") })?;
    shape.reverse();
    let type_code = cursor.u32("a tensor's type")?;
    let offset = cursor.u64("a tensor's offset")?;
    Ok(TensorInfo { name, rows, cols, shape, type_code, offset })
}

impl TensorInfo<'_> {
    /// The encoding, or an error that calls it by name.
    fn encoding(&self) -> Result<Encoding, ImportError> {
        Ok(match self.type_code {
            0 => Encoding::F32,
            1 => Encoding::F16,
            2 => Encoding::Q4_0,
            3 => Encoding::Q4_1,
            6 => Encoding::Q5_0,
            7 => Encoding::Q5_1,
            8 => Encoding::Q8_0,
            10 => Encoding::Q2K,
            11 => Encoding::Q3K,
            12 => Encoding::Q4K,
            13 => Encoding::Q5K,
            14 => Encoding::Q6K,
            20 => Encoding::IQ4NL,
            23 => Encoding::IQ4XS,
            30 => Encoding::BF16,
            code => return Err(ImportError::TensorType { tensor: self.name.into(), found: type_name(code) }),
        })
    }
}

/// What people call the tensor types that are not read. Source: ggml's `enum ggml_type`.
fn type_name(code: u32) -> String {
    let name = match code {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("of unknown type {code}"),
    };
    name.into()
}
