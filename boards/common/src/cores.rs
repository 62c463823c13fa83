//! How a core that helps waits for work, and is roused.

use core::arch::asm;

/// Sleeps until [`wake`] or an interrupt; at once if either came since it last slept.
pub fn wait() {
    // SAFETY: waits for an event.
    unsafe { asm!("wfe", options(nostack, preserves_flags)) };
}

/// Rouses all cores that wait, after everything written before is seen by them.
pub fn wake() {
    // SAFETY: a barrier and an event.
    unsafe { asm!("dsb sy", "sev", options(nostack, preserves_flags)) };
}
