//! Caller-owned memory in cache lines, and the carver that hands typed slices of it out once.

use crate::error::ArenaTooSmall;

/// One cache line of an arena: alignment for every SIMD load, and no false sharing between pieces.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line([u8; Line::BYTES]);

impl Line {
    /// Bytes in a line.
    pub const BYTES: usize = 64;
    /// A line of zeros, to build `static` arenas with.
    pub const ZERO: Self = Self([0; Self::BYTES]);

    /// Lines that hold `bytes` bytes.
    pub const fn count(bytes: usize) -> usize {
        bytes.div_ceil(Self::BYTES)
    }
}

/// Element types an arena can hold: any bit pattern is a value, no padding, alignment at most a line's.
///
/// # Safety
/// Every bit pattern of the type's size must be a valid value, and its alignment at most 64.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: plain integers and floats have no invalid bit patterns and are aligned to at most eight bytes.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// Lines that a slice of `len` elements of `T` takes in an arena; `None` when it does not fit the address space.
pub const fn lines_for<T: Plain>(len: usize) -> Option<usize> {
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) => Some(Line::count(bytes)),
        None => None,
    }
}

/// Hands out disjoint typed slices of an arena, each starting on a line.
#[derive(Debug)]
pub struct Carver<'a> {
    rest: &'a mut [Line],
    total: usize,
}

impl<'a> Carver<'a> {
    /// A carver over the whole of `arena`.
    pub fn new(arena: &'a mut [Line]) -> Self {
        let total = arena.len();
        Self { rest: arena, total }
    }

    /// The next `len` elements, zeroed.
    pub fn take<T: Plain>(&mut self, len: usize) -> Result<&'a mut [T], ArenaTooSmall> {
        let piece = self.take_bytes(len.saturating_mul(size_of::<T>()))?;
        // SAFETY: `piece` is `len * size_of::<T>()` or more (no arena has `usize::MAX`) writable bytes that nobody else borrows for 'a, aligned
        // to 64, and `Plain` promises that the zeros in it (and any other bits) are values of `T`.
        Ok(unsafe { core::slice::from_raw_parts_mut(piece.as_mut_ptr().cast::<T>(), len) })
    }

    /// The next lines with room for `bytes` bytes, zeroed. One function for all types.
    #[inline(never)]
    fn take_bytes(&mut self, bytes: usize) -> Result<&'a mut [Line], ArenaTooSmall> {
        let got = self.total.saturating_mul(Line::BYTES);
        let used = self.total.saturating_sub(self.rest.len()).saturating_mul(Line::BYTES);
        let too_small = ArenaTooSmall { need: used.saturating_add(bytes), got };
        let (piece, rest) =
            core::mem::take(&mut self.rest).split_at_mut_checked(Line::count(bytes)).ok_or(too_small)?;
        self.rest = rest;
        piece.fill(Line::ZERO);
        Ok(piece)
    }
}

/// The bytes of an arena, for loading files into it.
pub fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 initialised bytes without padding.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), size_of_val(lines)) }
}

/// The bytes of an arena, writable.
pub fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: a line is 64 initialised bytes without padding, and any byte is a valid part of a line.
    unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<u8>(), size_of_val(lines)) }
}

/// `bytes` as elements of `T`, little-endian and in place; `None` when misaligned, when the length is no whole number of
/// elements, or on a big-endian machine.
pub fn cast<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    let aligned = bytes.as_ptr().addr() & (align_of::<T>() - 1) == 0;
    let whole = bytes.len() & (size_of::<T>() - 1) == 0;
    if !aligned || !whole || cfg!(target_endian = "big") {
        return None;
    }
    // SAFETY: the pointer is aligned and the bytes are initialised, borrowed for the result's life, and any bits are a `T`;
    // sizes of `Plain` types are powers of two, so the mask above tested divisibility.
    Some(unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carves_disjoint_aligned_zeroed_slices() {
        let mut arena = [Line([0xff; 64]); 4];
        let mut carver = Carver::new(&mut arena);
        let a = carver.take::<f32>(17).unwrap();
        let b = carver.take::<i8>(64).unwrap();
        assert!(a.iter().all(|x| *x == 0.0) && b.iter().all(|x| *x == 0));
        assert_eq!(b.as_ptr().addr() - a.as_ptr().addr(), 128);
        assert_eq!(a.as_ptr().addr() % 64, 0);
        assert_eq!(carver.take::<u32>(17), Err(ArenaTooSmall { need: 192 + 68, got: 256 }));
        assert_eq!(carver.take::<u32>(usize::MAX).unwrap_err().got, 256);
    }

    #[test]
    fn cast_refuses_what_does_not_fit() {
        let lines = [Line::ZERO];
        let bytes = bytes_of(&lines);
        assert_eq!(cast::<f32>(bytes).map(<[f32]>::len), Some(16));
        assert_eq!(cast::<f32>(&bytes[1..5]), None);
        assert_eq!(cast::<f32>(&bytes[..6]), None);
    }
}
