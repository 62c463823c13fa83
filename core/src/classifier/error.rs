//! Why a classifier was refused, or did not run.

use core::fmt;

use pipsqueak_kernels::{ArenaTooSmall, NotFinite};

use super::Shape;

/// Why the bytes of a classifier were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClassifierError {
    /// Shorter than its header says, or than a header.
    Truncated {
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        got: u64,
    },
    /// Does not start on a line of 64 bytes.
    Misaligned,
    /// Not a packed classifier.
    Magic {
        /// The first four bytes.
        got: [u8; 4],
    },
    /// A format version this build does not read.
    Version {
        /// The file's version; this build reads 1.
        got: u16,
    },
    /// An arithmetic contract this build does not compute.
    Arithmetic {
        /// The file's contract; this build computes 1.
        got: u16,
    },
    /// Bytes were changed.
    Checksum {
        /// CRC-32 stored.
        expected: u32,
        /// CRC-32 found.
        got: u32,
    },
    /// A panel kind this build does not know.
    Panel {
        /// Its number.
        got: u8,
    },
    /// No pixel, no class, or larger than the address space.
    Shape {
        /// The shape.
        got: Shape,
    },
    /// The length in the header is not that of the shape.
    Length {
        /// Bytes the shape needs.
        need: u64,
        /// Bytes the header says.
        got: u64,
    },
}

impl fmt::Display for ClassifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { need, got } => write!(f, "classifier has {got} bytes and needs {need}"),
            Self::Misaligned => f.write_str("classifier does not start at a multiple of 64 bytes"),
            Self::Magic { got: [a, b, c, d] } => {
                write!(f, "not a packed classifier: it starts with {a:02x} {b:02x} {c:02x} {d:02x}, not 50 49 50 43")
            }
            Self::Version { got } => write!(f, "classifier format version {got}; this build reads version 1"),
            Self::Arithmetic { got } => write!(f, "arithmetic contract {got}; this build computes contract 1"),
            Self::Checksum { expected, got } => {
                write!(f, "classifier is damaged: its CRC-32 is {got:08x}, stored was {expected:08x}")
            }
            Self::Panel { got } => write!(f, "unknown panel kind {got}; 0 to 5 are known"),
            Self::Shape { got: Shape { width, height, hidden, classes } } => {
                write!(
                    f,
                    "a classifier of {width} x {height} pixels, {hidden} hidden units and {classes} classes cannot be"
                )
            }
            Self::Length { need, got } => write!(f, "classifier says it has {got} bytes; its shape needs {need}"),
        }
    }
}

impl core::error::Error for ClassifierError {}

/// Why a picture could not be classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClassifyError {
    /// The picture has another number of pixels.
    Pixels {
        /// Width times height.
        need: usize,
        /// Pixels given.
        got: usize,
    },
    /// The room for scores is not one a class.
    Scores {
        /// Classes.
        need: usize,
        /// Scores there is room for.
        got: usize,
    },
    /// The scratch arena is too small.
    Scratch(ArenaTooSmall),
    /// A pixel, a weight or a score is NaN or infinite.
    NotFinite,
}

impl From<NotFinite> for ClassifyError {
    fn from(_: NotFinite) -> Self {
        Self::NotFinite
    }
}

impl fmt::Display for ClassifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pixels { need, got } => write!(f, "the picture has {got} pixels and the classifier reads {need}"),
            Self::Scores { need, got } => write!(f, "room for {got} scores; the classifier has {need} classes"),
            Self::Scratch(error) => write!(f, "scratch: {error}"),
            Self::NotFinite => write!(f, "{NotFinite}"),
        }
    }
}

impl core::error::Error for ClassifyError {}
