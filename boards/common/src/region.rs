//! A model in a flash region of its own, apart from the program, so that either can be updated alone.

use pipsqueak::{Image, TensorKind, kernels::Kernels};

use crate::Error;

/// Memory outside the program that a model may be in.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    start: usize,
    len: usize,
}

impl Region {
    /// `len` bytes from the address `start`.
    ///
    /// # Safety
    /// The memory must be readable, nothing may write to it while the program runs, and neither the linker nor an
    /// allocator may use it.
    pub const unsafe fn new(start: usize, len: usize) -> Self {
        Self { start, len }
    }

    /// What is there: a model, or anything else.
    pub const fn bytes(&self) -> &'static [u8] {
        // SAFETY: the maker of the region has promised memory that is readable and never written; any bits are bytes.
        unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(self.start), self.len) }
    }
}

/// Opens a model: everything but its weights is looked at. In a function of its own, so that the stack that takes is free
/// again.
#[inline(never)]
pub fn opened(bytes: &[u8]) -> Result<Image<'_>, Error> {
    Ok(Image::open(bytes)?)
}

/// Opens a model and looks at all of it: every checksum, and whether it was packed for these kernels.
#[inline(never)]
pub fn checked<'a, K: Kernels>(bytes: &'a [u8], kernels: &K) -> Result<Image<'a>, Error> {
    let image = opened(bytes)?;
    image.verify()?;
    for entry in image.entries() {
        let (kind, got, need) = (entry.kind, entry.panel, kernels.panel(entry.format));
        // Vectors have one row, and an embedding that is not the head too is only read row by row.
        let rows_alone = match kind {
            TensorKind::TokenEmbedding => !image.config().tied_head,
            kind => kind.is_vector() || kind == TensorKind::PositionEmbedding,
        };
        if !rows_alone && got != need {
            return Err(Error::Foreign { kind, got, need });
        }
    }
    Ok(image)
}
