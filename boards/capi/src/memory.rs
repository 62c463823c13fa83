//! Pointers of the caller, looked at before they are followed.

use core::{
    ffi::{CStr, c_char},
    slice,
};

use pipsqueak_kernels::arena::{Line, Plain};

use crate::error::{Code, Failure};

/// Whether `count` elements can be at a pointer at all: not NULL, aligned, inside the address space. `argument` is the
/// pointer's number, from 1.
pub(crate) fn checked<T>(pointer: *const T, count: usize, argument: u32) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::new(Code::PIPSQUEAK_ERROR_NULL).argument(argument));
    }
    let off = pointer.addr() & (align_of::<T>() - 1);
    if off != 0 {
        let failure = Failure::new(Code::PIPSQUEAK_ERROR_MISALIGNED).argument(argument);
        return Err(failure.numbers(align_of::<T>(), off));
    }
    let bytes = count.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
    if bytes.and_then(|bytes| pointer.addr().checked_add(bytes)).is_none() {
        return Err(Failure::new(Code::PIPSQUEAK_ERROR_LENGTH).argument(argument).numbers(0, count));
    }
    Ok(())
}

/// A value that is read.
///
/// # Safety
/// A pointer that is not NULL points to a value that nobody writes to for 'a.
pub(crate) unsafe fn input<'a, T>(pointer: *const T, argument: u32) -> Result<&'a T, Failure> {
    checked(pointer, 1, argument)?;
    // SAFETY: not NULL and aligned; the rest is the caller's promise.
    Ok(unsafe { &*pointer })
}

/// A place that is written. A pointer and not a reference: two results may go to one place, and the memory may be
/// uninitialised.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(crate) fn write(&self, value: T) {
        // SAFETY: `output` has seen that it is not NULL and aligned, and was promised that it is memory of the caller.
        unsafe { self.0.write(value) };
    }
}

/// # Safety
/// A pointer that is not NULL points to memory that only the caller uses while the place is in use.
pub(crate) unsafe fn output<T: Copy>(pointer: *mut T, argument: u32) -> Result<Out<T>, Failure> {
    checked(pointer, 1, argument)?;
    Ok(Out(pointer))
}

/// Elements that are read. None are no matter at which pointer.
///
/// # Safety
/// `count` elements are at the pointer, and nobody writes to them for 'a.
pub(crate) unsafe fn inputs<'a, T: Plain>(pointer: *const T, count: usize, argument: u32) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    checked(pointer, count, argument)?;
    // SAFETY: not NULL, aligned, no longer than the address space; the rest is the caller's promise.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}

/// Elements that are written, zeroed first, because the caller's memory may be uninitialised.
///
/// # Safety
/// `count` elements of memory are at the pointer, and only the caller uses them for 'a.
pub(crate) unsafe fn outputs<'a, T: Plain>(
    pointer: *mut T,
    count: usize,
    argument: u32,
) -> Result<&'a mut [T], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    checked(pointer, count, argument)?;
    // SAFETY: not NULL, aligned, no longer than the address space; the rest is the caller's promise. Zeros are a `Plain`.
    Ok(unsafe {
        pointer.write_bytes(0, count);
        slice::from_raw_parts_mut(pointer, count)
    })
}

/// An arena that is at least `need` bytes; the lines a plan needs of it, zeroed.
///
/// # Safety
/// `got` bytes of memory are at the pointer, and only the caller uses them for 'a.
pub(crate) unsafe fn arena<'a>(
    pointer: *mut core::ffi::c_void,
    need: usize,
    got: usize,
    argument: u32,
    short: Code,
) -> Result<&'a mut [Line], Failure> {
    let lines = pointer.cast::<Line>();
    checked(lines, need / Line::BYTES, argument)?;
    checked(pointer.cast::<u8>(), got, argument)?;
    if need > got {
        return Err(Failure::new(short).argument(argument).numbers(need, got));
    }
    let count = need / Line::BYTES;
    // SAFETY: not NULL, aligned, no longer than the address space; the rest is the caller's promise. Zeros are a line.
    Ok(unsafe {
        lines.write_bytes(0, count);
        slice::from_raw_parts_mut(lines, count)
    })
}

/// Pieces of memory as address and bytes; an error when two of them share a byte.
pub(crate) fn disjoint(pieces: &[(usize, usize)]) -> Result<(), Failure> {
    let mut rest = pieces;
    while let Some(((start, len), others)) = rest.split_first() {
        let overlaps = |(other, other_len): &(usize, usize)| {
            let any = *len != 0 && *other_len != 0;
            any && *start < other.saturating_add(*other_len) && *other < start.saturating_add(*len)
        };
        if others.iter().any(overlaps) {
            return Err(Failure::new(Code::PIPSQUEAK_ERROR_OVERLAP));
        }
        rest = others;
    }
    Ok(())
}

/// Text of the caller's buffer: counts what does not fit, and ends in NUL.
pub(crate) struct Text {
    out: *mut c_char,
    room: usize,
    len: usize,
}

impl Text {
    /// # Safety
    /// `capacity` bytes of memory are at `out`, and only the caller uses them while the text is in use.
    pub(crate) unsafe fn new(out: *mut c_char, capacity: usize, argument: u32) -> Result<Self, Failure> {
        checked(out, capacity, argument)?;
        let room = capacity.checked_sub(1);
        let room = room.ok_or(Failure::new(Code::PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL).argument(argument).numbers(1, 0))?;
        let text = Self { out, room, len: 0 };
        text.end_at(0);
        Ok(text)
    }

    /// A text that is cut where the buffer ends. One without memory, or with memory that cannot be, holds nothing.
    ///
    /// # Safety
    /// `capacity` bytes of memory are at `out`, and only the caller uses them while the text is in use.
    pub(crate) unsafe fn truncated(out: *mut c_char, capacity: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::new(out, capacity, 0) }.unwrap_or(Self { out: core::ptr::null_mut(), room: 0, len: 0 })
    }

    pub(crate) fn push_byte(&mut self, byte: u8) {
        if self.len < self.room {
            // SAFETY: below `room`, which `new` was promised to be memory of the caller.
            unsafe { self.out.add(self.len).write(byte as c_char) };
        }
        self.len = self.len.saturating_add(1);
    }

    pub(crate) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            self.push_byte(byte);
        }
    }

    pub(crate) fn push_c(&mut self, text: &CStr) {
        for byte in text.to_bytes() {
            self.push_byte(*byte);
        }
    }

    /// In base 10 or 16.
    pub(crate) fn push_number(&mut self, number: u64, base: u64) {
        // The highest power of the base that is not above the number: its first digit's place.
        let mut place = 1u64;
        while let Some(next) = place.checked_mul(base).filter(|next| *next <= number) {
            place = next;
        }
        let mut rest = number;
        while let (Some(digit), Some(left)) = (rest.checked_div(place), rest.checked_rem(place)) {
            self.push_byte(if digit < 10 { b'0' + digit as u8 } else { b'a' + (digit - 10) as u8 });
            rest = left;
            place = place.checked_div(base).unwrap_or(0);
        }
    }

    /// Ends the text where it or its buffer ends, and returns how long it would be.
    pub(crate) fn end(self) -> usize {
        if !self.out.is_null() {
            self.end_at(self.len);
        }
        self.len
    }

    /// The bytes there are, when all of them fit; else there are none, and the error says how many bytes would do.
    pub(crate) fn finish(self, argument: u32) -> Result<usize, Failure> {
        if self.len > self.room {
            self.end_at(0);
            let (need, got) = (self.len.saturating_add(1), self.room.saturating_add(1));
            return Err(Failure::new(Code::PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL).argument(argument).numbers(need, got));
        }
        self.end_at(self.len);
        Ok(self.len)
    }

    /// `at` is at most `room`.
    fn end_at(&self, at: usize) {
        // SAFETY: `room` bytes and one more are the caller's memory.
        unsafe { self.out.add(at.min(self.room)).write(0) };
    }
}
