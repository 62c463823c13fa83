//! Slicing that cannot panic.
//!
//! Lengths are proven where a view or a session is built, so an empty answer here is an error of this crate; builds with
//! debug assertions stop on it, and release builds stay inside their memory.

/// `data[start..start + len]`, or nothing when it reaches outside: an error in this crate, which the tests catch.
#[inline(always)]
pub fn part<T>(data: &[T], start: usize, len: usize) -> &[T] {
    let part = start.checked_add(len).and_then(|end| data.get(start..end));
    debug_assert!(part.is_some() || len == 0, "part {start} + {len} of {}", data.len());
    part.unwrap_or(&[])
}

/// As [`part`], writable.
#[inline(always)]
pub fn part_mut<T>(data: &mut [T], start: usize, len: usize) -> &mut [T] {
    debug_assert!(start.checked_add(len).is_some_and(|end| end <= data.len()), "part {start} + {len}");
    start.checked_add(len).and_then(|end| data.get_mut(start..end)).unwrap_or(&mut [])
}

/// Copies as many elements as both have.
#[inline(always)]
pub fn copy<T: Copy>(out: &mut [T], from: &[T]) {
    for (out, from) in out.iter_mut().zip(from) {
        *out = *from;
    }
}
