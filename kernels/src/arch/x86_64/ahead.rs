//! What tiles fetch for later.

use core::num::NonZeroUsize;

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
