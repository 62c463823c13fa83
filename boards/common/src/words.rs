//! What a demo ends with, in words.

use core::fmt;

pub use pipsqueak::kernels::words::{Sink, divided, say};

/// An error that says what is wrong, without `core::fmt`'s kilobytes.
#[cfg(not(feature = "defmt"))]
pub trait Say {
    /// Hands the text to `sink`, piece by piece.
    fn say(&self, sink: &mut Sink<'_>) -> fmt::Result;
}

/// An error that says what is wrong, here and in the log.
#[cfg(feature = "defmt")]
pub trait Say: defmt::Format {
    /// Hands the text to `sink`, piece by piece.
    fn say(&self, sink: &mut Sink<'_>) -> fmt::Result;
}
