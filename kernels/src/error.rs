//! The errors of this crate: small, comparable, with the numbers in them.

use core::fmt;

use crate::{Format, Panel};

/// An activation, a score or a weight is NaN or infinite, so no result would mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value is NaN or infinite")
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

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Size { need, got } => write!(f, "matrix needs {need} bytes, got {got}"),
            Self::TooLarge { rows, cols } => write!(f, "a matrix of {rows} x {cols} does not fit the address space"),
            Self::Alignment { need } => write!(f, "matrix is not aligned to {need} bytes"),
            Self::Panel { format, panel } => {
                write!(f, "format {} has no panel {}", format.name(), panel.name())
            }
            Self::LeftOut { feature } => write!(f, "this build leaves out the feature {feature}"),
        }
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

impl fmt::Display for ArenaTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arena has {} bytes and needs {}", self.got, self.need)
    }
}

impl core::error::Error for ArenaTooSmall {}
