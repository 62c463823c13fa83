//! Why a classifier was refused, or did not run.

use core::fmt;

use pipsqueak_kernels::{
    ArenaTooSmall, NotFinite,
    words::{Sink, say},
};

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

impl ClassifierError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { need, got } => say(sink, "classifier has {} bytes and needs {}", &[got, need]),
            Self::Misaligned => sink("classifier does not start at a multiple of 64 bytes"),
            Self::Magic { got } => say(
                sink,
                "not a packed classifier: it starts with {2} {2} {2} {2}, not 50 49 50 43",
                &got.map(u64::from),
            ),
            Self::Version { got } => {
                say(sink, "classifier format version {}; this build reads version 1", &[got.into()])
            }
            Self::Arithmetic { got } => {
                say(sink, "arithmetic contract {}; this build computes contract 1", &[got.into()])
            }
            Self::Checksum { expected, got } => {
                say(sink, "classifier is damaged: its CRC-32 is {8}, stored was {8}", &[got.into(), expected.into()])
            }
            Self::Panel { got } => say(sink, "unknown panel kind {}; 0 to 5 are known", &[got.into()]),
            Self::Shape { got: Shape { width, height, hidden, classes } } => say(
                sink,
                "a classifier of {} x {} pixels, {} hidden units and {} classes cannot be",
                &[width, height, hidden, classes].map(u64::from),
            ),
            Self::Length { need, got } => {
                say(sink, "classifier says it has {} bytes; its shape needs {}", &[got, need])
            }
        }
    }
}

impl fmt::Display for ClassifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
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

impl ClassifyError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Pixels { need, got } => {
                say(sink, "the picture has {} pixels and the classifier reads {}", &[got as u64, need as u64])
            }
            Self::Scores { need, got } => {
                say(sink, "room for {} scores; the classifier has {} classes", &[got as u64, need as u64])
            }
            Self::Scratch(error) => {
                sink("scratch: ")?;
                error.say(sink)
            }
            Self::NotFinite => NotFinite.say(sink),
        }
    }
}

impl fmt::Display for ClassifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for ClassifyError {}
