//! Large zeroed memory, in huge pages where the system has them to give.
//!
//! A decode step reads all weights once, from memory: with pages of 4 KiB it is the look-ups of their addresses that take
//! the time, most of all in a virtual machine, and not the reading.

use std::{
    io,
    ops::{Deref, DerefMut},
};

use memmap2::MmapMut;
use pipsqueak::kernels::arena::Line;

/// Bytes of a huge page: x86-64's, and AArch64's with small ones of 4 KiB.
const HUGE: usize = 2 << 20;

/// Zeroed memory, given by the system when it is first touched.
pub struct Lines {
    memory: Memory,
    len: usize,
}

enum Memory {
    Heap(Vec<Line>),
    /// A mapping, and where in it the lines begin.
    Map(MmapMut, usize),
}

impl Lines {
    /// `len` lines, or why there are none: too many bytes for the address space or the system.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let out_of_memory = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = len.checked_mul(Line::BYTES).and_then(|bytes| bytes.checked_add(HUGE));
        let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = if bytes < 2 * HUGE {
            let mut lines = Vec::new();
            lines.try_reserve_exact(len).map_err(out_of_memory)?;
            lines.resize(len, Line::ZERO);
            Memory::Heap(lines)
        } else {
            let map = MmapMut::map_anon(bytes)?;
            // A wish: where it is not granted, small pages do, only slower.
            #[cfg(target_os = "linux")]
            drop(map.advise(memmap2::Advice::HugePage));
            let start = map.as_ptr().align_offset(HUGE).min(HUGE);
            Memory::Map(map, start)
        };
        Ok(Self { memory, len })
    }
}

/// Bytes as lines; what is not whole or not aligned is left out.
fn lines(bytes: &[u8]) -> &[Line] {
    // SAFETY: a line is 64 bytes of any value, and `align_to` keeps to its alignment.
    unsafe { bytes.align_to() }.1
}

fn lines_mut(bytes: &mut [u8]) -> &mut [Line] {
    // SAFETY: as in `lines`.
    unsafe { bytes.align_to_mut() }.1
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        let lines = match &self.memory {
            Memory::Heap(lines) => lines,
            Memory::Map(map, start) => lines(map.get(*start..).unwrap_or(&[])),
        };
        &lines[..self.len]
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        let lines = match &mut self.memory {
            Memory::Heap(lines) => lines,
            Memory::Map(map, start) => lines_mut(map.get_mut(*start..).unwrap_or(&mut [])),
        };
        &mut lines[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_zeroed_aligned_and_writable() {
        for len in [0, 1, 1000, 2 * HUGE / 64 - 1, 2 * HUGE / 64, 3 * HUGE / 64 + 1] {
            let mut lines = Lines::zeroed(len).unwrap();
            assert_eq!(lines.len(), len);
            assert!(pipsqueak::kernels::arena::bytes_of(&lines).iter().all(|byte| *byte == 0));
            let bytes = pipsqueak::kernels::arena::bytes_of_mut(&mut lines);
            bytes.fill(7);
            assert!(bytes.len() < 2 * HUGE || bytes.as_ptr().addr().is_multiple_of(HUGE));
        }
        assert!(Lines::zeroed(usize::MAX).is_err());
        assert!(Lines::zeroed(usize::MAX / 256).is_err());
    }
}
