//! Carrying an error out of jobs that run on several threads.

use core::sync::atomic::{AtomicBool, Ordering};

use pipsqueak_kernels::NotFinite;

/// Whether any job failed.
pub(crate) struct Fault(AtomicBool);

impl Fault {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Remembers an error.
    pub(crate) fn note(&self, result: Result<(), NotFinite>) {
        if result.is_err() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// The error, if any job had one. Jobs have ended: the team's hand-over orders memory.
    pub(crate) fn result(self) -> Result<(), NotFinite> {
        if self.0.into_inner() { Err(NotFinite) } else { Ok(()) }
    }
}
