//! Everything that can go wrong in a demo, in words.

use core::fmt;

use pipsqueak::{
    ImageError, SessionError, TensorKind,
    classifier::{ClassifierError, ClassifyError},
    kernels::Panel,
    tokenizer::{DecodeError, EncodeError},
};

/// Why a demo ended early.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// The model was refused.
    Image(ImageError),
    /// The session could not begin or go on.
    Session(SessionError),
    /// The prompt could not be made tokens.
    Encode(EncodeError),
    /// A token could not be made text.
    Decode(DecodeError),
    /// The classifier was refused.
    Classifier(ClassifierError),
    /// A picture could not be read.
    Classify(ClassifyError),
    /// The prompt is longer than the demo has memory for.
    Prompt {
        /// Its bytes.
        got: usize,
        /// The most that are taken.
        max: usize,
    },
    /// The model only takes token ids.
    NoVocabulary,
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
            Self::Encode(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::Classifier(error) => error.fmt(f),
            Self::Classify(error) => error.fmt(f),
            Self::Prompt { got, max } => write!(f, "the prompt has {got} bytes, at most {max} are taken"),
            Self::NoVocabulary => f.write_str("the model has no vocabulary: it only takes token ids"),
            Self::NoGolden => f.write_str("the model carries no golden vector"),
            Self::Foreign { kind, got, need } => {
                let (kind, got, need) = (kind.name(), got.name(), need.name());
                write!(f, "packed for other kernels: {kind} is in panel {got}, this board reads {need}; ")?;
                f.write_str("see `pipsqueak pack --for`")
            }
            Self::Memory { need, got } => {
                let short = need.saturating_sub(*got);
                write!(f, "the model needs {need} bytes of RAM, {got} are set aside: short by {short}")
            }
            Self::Golden { layer, expected, got } => {
                write!(f, "this board computes wrongly: layer {layer} is the first that differs, ")?;
                write!(f, "checksum {got:#010x}, expected {expected:#010x}")
            }
            Self::Taken => f.write_str("the arenas are in use"),
            Self::Tests { failed } => write!(f, "{failed} tests failed"),
        }
    }
}

impl core::error::Error for Error {}

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
    Session: SessionError,
    Encode: EncodeError,
    Decode: DecodeError,
    Classifier: ClassifierError,
    Classify: ClassifyError,
}
