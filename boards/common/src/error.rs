//! Everything that can go wrong in a demo, in words.

use core::fmt;

use pipsqueak::{
    ImageError, SessionError, TensorKind,
    classifier::{ClassifierError, ClassifyError},
    kernels::{
        Panel,
        words::{Sink, say},
    },
};

use crate::{story::TellError, words::Say};

/// Why a demo ended early.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// The model was refused.
    Image(ImageError),
    /// The storyteller had to stop.
    Tell(TellError),
    /// The classifier was refused.
    Classifier(ClassifierError),
    /// A picture could not be read.
    Classify(ClassifyError),
    /// The model carries no golden vector.
    NoGolden,
    /// Packed for other kernels than this program has: they would read it slowly or not at all.
    Foreign {
        /// A matrix of the model.
        kind: TensorKind,
        /// How its rows are interleaved.
        got: Panel,
        /// How this board's kernels read them.
        need: Panel,
    },
    /// The plan needs more memory than the program has set aside.
    Memory {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        got: usize,
    },
    /// The board computes something else than the model's golden vector.
    Golden {
        /// The first layer that differs; the number of layers stands for the logits.
        layer: usize,
        /// Checksum expected.
        expected: u32,
        /// Checksum found.
        got: u32,
    },
    /// Memory that only one may have was asked for twice.
    Taken,
    /// Tests failed.
    Tests {
        /// How many.
        failed: usize,
    },
}

impl Say for Error {
    fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Image(error) => error.say(sink),
            Self::Tell(error) => error.say(sink),
            Self::Classifier(error) => error.say(sink),
            Self::Classify(error) => error.say(sink),
            Self::NoGolden => sink("the model carries no golden vector"),
            Self::Foreign { kind, got, need } => {
                sink("packed for other kernels: ")?;
                sink(kind.name())?;
                sink(" is in panel ")?;
                sink(got.name())?;
                sink(", this board reads ")?;
                sink(need.name())?;
                sink("; see `pipsqueak pack --for`")
            }
            Self::Memory { need, got } => {
                let text = "the model needs {} bytes of RAM, {} are set aside: short by {}";
                say(sink, text, &[need, got, need.saturating_sub(got)].map(|bytes| bytes as u64))
            }
            Self::Golden { layer, expected, got } => {
                let text =
                    "this board computes wrongly: layer {} is the first that differs, checksum 0x{8}, expected 0x{8}";
                say(sink, text, &[layer as u64, got.into(), expected.into()])
            }
            Self::Taken => sink("the arenas are in use"),
            Self::Tests { failed } => say(sink, "{} tests failed", &[failed as u64]),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for Error {}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        Self::Tell(error.into())
    }
}

macro_rules! from {
    ($($variant:ident: $error:ty,)*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    Image: ImageError,
    Tell: TellError,
    Classifier: ClassifierError,
    Classify: ClassifyError,
}
