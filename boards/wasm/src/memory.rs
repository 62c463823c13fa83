//! Memory that the instance grows by, and never gives back.

use core::arch::wasm32::memory_grow;

use pipsqueak::kernels::arena::Line;

use crate::Error;

/// Bytes of a page.
const PAGE: usize = 1 << 16;

/// `count` fresh lines of zeros.
pub fn lines(count: usize) -> Result<&'static mut [Line], Error> {
    let need = count.saturating_mul(Line::BYTES);
    let first = memory_grow::<0>(need.div_ceil(PAGE));
    if first == usize::MAX {
        return Err(Error::Memory { need });
    }
    // SAFETY: the pages from `first` on are new: nobody else knows of them, and they are `need` bytes or more. They are zeros,
    // which are values of a line, and a page begins on a line.
    Ok(unsafe { core::slice::from_raw_parts_mut((first * PAGE) as *mut Line, count) })
}
