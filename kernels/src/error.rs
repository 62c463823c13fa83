//! The errors of this crate: small, comparable, with the numbers in them.

use core::fmt;

use crate::{
    Format, Panel,
    words::{Sink, left_out, say},
};

/// An activation, a score or a weight is NaN or infinite, so no result would mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NotFinite;

impl NotFinite {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        sink("a value is NaN or infinite")
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for NotFinite {}

/// The bytes given for a matrix are not what its shape needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LayoutError {
    /// A matrix of this shape has another size.
    Size {
        /// Bytes the shape needs.
        need: usize,
        /// Bytes given.
        got: usize,
    },
    /// The shape's size does not fit the address space.
    TooLarge {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// The bytes do not start at a multiple of `need`.
    Alignment {
        /// The alignment in bytes.
        need: usize,
    },
    /// A float matrix is row-major; no panel but [`Panel::R1`] exists for it.
    Panel {
        /// The matrix's format.
        format: Format,
        /// The panel asked for.
        panel: Panel,
    },
    /// The code for this format or panel is left out of this build.
    LeftOut {
        /// The cargo feature that links it.
        feature: &'static str,
    },
}

impl LayoutError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Size { need, got } => say(sink, "matrix needs {} bytes, got {}", &[need as u64, got as u64]),
            Self::TooLarge { rows, cols } => {
                say(sink, "a matrix of {} x {} does not fit the address space", &[rows as u64, cols as u64])
            }
            Self::Alignment { need } => say(sink, "matrix is not aligned to {} bytes", &[need as u64]),
            Self::Panel { format, panel } => {
                sink("format ")?;
                sink(format.name())?;
                sink(" has no panel ")?;
                sink(panel.name())
            }
            Self::LeftOut { feature } => left_out(sink, feature),
        }
    }
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for LayoutError {}

/// An arena is smaller than what is carved out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ArenaTooSmall {
    /// Bytes needed up to and including the piece that did not fit.
    pub need: usize,
    /// Bytes the arena has.
    pub got: usize,
}

impl ArenaTooSmall {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        say(sink, "arena has {} bytes and needs {}", &[self.got as u64, self.need as u64])
    }
}

impl fmt::Display for ArenaTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for ArenaTooSmall {}
