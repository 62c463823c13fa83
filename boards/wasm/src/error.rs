//! Everything that can go wrong, in words.

use core::fmt;

use pipsqueak::{
    ImageError, SessionError,
    kernels::words::{Sink, say},
    tokenizer::{DecodeError, EncodeError},
};

/// Why a call did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Error {
    /// The model was refused.
    Image(ImageError),
    /// The session could not begin or go on.
    Session(SessionError),
    /// The prompt could not be made tokens.
    Encode(EncodeError),
    /// A token could not be made text.
    Decode(DecodeError),
    /// The instance could not have so much more memory.
    Memory {
        /// Bytes wanted.
        need: usize,
    },
    /// `room` was not called before `open`, or one of them twice.
    Order,
    /// No model is open.
    NoModel,
    /// The model only takes token ids.
    NoVocabulary,
    /// The prompt is longer than there is room for.
    Prompt {
        /// Its bytes.
        got: usize,
        /// The most that are taken.
        max: usize,
    },
    /// The prompt is no UTF-8.
    NotUtf8,
    /// A token's text is longer than there is room for.
    Token {
        /// Its bytes.
        got: usize,
        /// The most that can be told.
        max: usize,
    },
}

impl Error {
    /// Hands the text to `sink`, piece by piece.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Image(error) => error.say(sink),
            Self::Session(error) => error.say(sink),
            Self::Encode(error) => error.say(sink),
            Self::Decode(error) => error.say(sink),
            Self::Memory { need } => say(sink, "no memory for {} more bytes", &[need as u64]),
            Self::Order => sink("an instance holds one model: room, then open, once each"),
            Self::NoModel => sink("no model is open"),
            Self::NoVocabulary => sink("the model has no vocabulary: it only takes token ids"),
            Self::Prompt { got, max } => {
                say(sink, "the prompt has {} bytes, at most {} are taken", &[got as u64, max as u64])
            }
            Self::NotUtf8 => sink("the prompt is not UTF-8"),
            Self::Token { got, max } => {
                say(sink, "a token's text has {} bytes, at most {} can be told", &[got as u64, max as u64])
            }
        }
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
    Session: SessionError,
    Encode: EncodeError,
    Decode: DecodeError,
}
