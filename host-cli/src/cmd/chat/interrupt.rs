//! Ctrl-C: it ends an answer, and where there is none, or the second time, the program.

use std::{
    process,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::failure::Failure;

/// No answer is being given.
const IDLE: u8 = 0;
/// One is.
const ANSWERING: u8 = 1;
/// It is to end.
const INTERRUPTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// The status of a program that Ctrl-C has ended: 128 and the signal's number, as shells have it.
const STATUS: i32 = 130;

/// Ctrl-C is ours.
pub(super) struct Interrupts(());

impl Interrupts {
    pub(super) fn new() -> Result<Self, Failure> {
        let handler = || {
            let begun = STATE.compare_exchange(ANSWERING, INTERRUPTED, Ordering::Relaxed, Ordering::Relaxed);
            if begun.is_err() {
                process::exit(STATUS);
            }
        };
        ctrlc::set_handler(handler).map_err(|error| Failure::new(format_args!("Ctrl-C cannot be caught: {error}")))?;
        Ok(Self(()))
    }

    /// An answer begins; it lasts as long as what is returned.
    pub(super) fn answering(&self) -> Answering {
        STATE.store(ANSWERING, Ordering::Relaxed);
        Answering(())
    }
}

/// An answer under way.
pub(super) struct Answering(());

impl Answering {
    /// Whether the user has had enough of it.
    pub(super) fn came(&self) -> bool {
        STATE.load(Ordering::Relaxed) == INTERRUPTED
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        STATE.store(IDLE, Ordering::Relaxed);
    }
}
