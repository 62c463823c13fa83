//! Lines that are asked for before they are used.

use core::{arch::x86_64::*, num::NonZeroUsize};

/// Nothing is asked for.
pub(super) const NOTHING: u8 = 0;
/// Into the first-level cache.
pub(super) const NEAR: u8 = 1;
/// Into the second-level cache.
pub(super) const FAR: u8 = 2;

/// Asks for the lines of `BYTES` bytes at `start`, which need not exist: fetching ahead never faults.
#[inline(always)]
// Newer compilers declare the intrinsic safe.
#[allow(unused_unsafe)]
pub(super) fn fetch<const INTO: u8, const BYTES: usize>(start: *const impl Sized) {
    for line in (0..BYTES).step_by(64) {
        let line = start.cast::<i8>().wrapping_add(line);
        // SAFETY: a prefetch is no access, so any address will do.
        unsafe {
            match INTO {
                NEAR => _mm_prefetch::<_MM_HINT_T0>(line),
                FAR => _mm_prefetch::<_MM_HINT_T1>(line),
                _ => {}
            }
        }
    }
}

/// Of the panels that come after those in use, each strip of tokens fetches its share, so that memory is read while there is
/// much to multiply.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// From a panel to the one to be fetched.
    bytes: usize,
    strip: usize,
    strips: NonZeroUsize,
}

impl Ahead {
    /// Strip `strip` of `strips`, which is taken for one where it is 0.
    #[inline]
    pub(super) fn new(bytes: usize, strip: usize, strips: usize) -> Self {
        Self { bytes, strip, strips: NonZeroUsize::new(strips).unwrap_or(NonZeroUsize::MIN) }
    }

    /// Where this strip's share of what comes after `lines` begins, line by line. Nothing need be there.
    #[inline]
    pub(super) fn after<T>(self, lines: &[T]) -> impl Iterator<Item = *const T> {
        let share = lines.iter().skip(self.strip).step_by(self.strips.get());
        share.map(move |line| core::ptr::from_ref(line).wrapping_byte_add(self.bytes))
    }
}
