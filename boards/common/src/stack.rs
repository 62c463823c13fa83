//! How deep the stack has been: it is painted before the demo begins, and the paint that is left is looked at.

use core::hint::black_box;

const PAINT: u32 = 0xcccc_cccc;
/// Left alone below the painter's own frame, in bytes.
const MARGIN: usize = 256;

unsafe extern "C" {
    /// The first word of the stack's memory, from the linker script of the start-up crate or of the board.
    static mut _stack_end: u32;
    /// One word past its last.
    static mut _stack_start: u32;
}

/// Paints what is free.
#[inline(never)]
pub fn paint() {
    let here = 0u32;
    let end = (&raw const here).addr().saturating_sub(MARGIN);
    let mut word = &raw mut _stack_end;
    while word.addr() < end {
        // SAFETY: from the end of the other statics to below this frame, the memory is the stack's, and not in use yet.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
    black_box(here);
}

/// Bytes of the stack that have been used since [`paint`], interrupts included.
#[inline(never)]
pub fn used() -> usize {
    let top = (&raw const _stack_start).addr();
    let mut word = &raw const _stack_end;
    // SAFETY: between the two symbols the memory is the stack's, and can be read.
    while word.addr() < top && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    top.saturating_sub(word.addr())
}

/// Bytes the stack may have.
pub fn room() -> usize {
    (&raw const _stack_start).addr().saturating_sub((&raw const _stack_end).addr())
}
