//! The directory: one entry a tensor.

use pipsqueak_kernels::{Format, Panel};

use super::{
    ImageError,
    header::{Reader, Writer},
};
use crate::tensor::TensorKind;

/// Bytes of a directory entry.
pub const ENTRY_BYTES: usize = 40;

/// One tensor of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its role.
    pub kind: TensorKind,
    /// Its layer; 0 for tensors of the whole model.
    pub layer: u32,
    /// Number format.
    pub format: Format,
    /// How rows are interleaved.
    pub panel: Panel,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
    /// CRC-32 of those bytes.
    pub crc: u32,
}

impl Entry {
    /// The key entries are sorted by.
    pub const fn key(kind: TensorKind, layer: u32) -> u32 {
        if kind.per_layer() { (layer + 1) << 8 | kind as u32 } else { kind as u32 }
    }

    /// The entry as stored.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let mut put = Writer::new(&mut out);
        put.bytes(&Self::key(self.kind, self.layer).to_le_bytes());
        put.bytes(&[self.format as u8, self.panel as u8, 0, 0]);
        put.bytes(&self.rows.to_le_bytes());
        put.bytes(&self.cols.to_le_bytes());
        put.bytes(&self.offset.to_le_bytes());
        put.bytes(&self.len.to_le_bytes());
        put.bytes(&self.crc.to_le_bytes());
        out
    }

    pub(crate) const fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, ImageError> {
        let mut get = Reader::new(bytes);
        let key = get.u32();
        let [format, panel, _, _] = get.array();
        let parts = (TensorKind::from_code(key as u8), Format::from_code(format), Panel::from_code(panel));
        let (Some(kind), Some(format), Some(panel)) = parts else {
            return Err(ImageError::UnexpectedTensor { key });
        };
        if kind.per_layer() == (key >> 8 == 0) {
            return Err(ImageError::UnexpectedTensor { key });
        }
        Ok(Self {
            kind,
            layer: (key >> 8).saturating_sub(1),
            format,
            panel,
            rows: get.u32(),
            cols: get.u32(),
            offset: get.u64(),
            len: get.u64(),
            crc: get.u32(),
        })
    }
}
