//! Why a state could not be saved or restored.

use core::fmt;

use pipsqueak_kernels::words::{Sink, say};

use crate::kv_cache::KvType;

/// The one who takes the bytes of a state, or gives them, cannot go on. It knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stopped;

/// Why a state could not be saved or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StateError {
    /// Not a saved session.
    Magic {
        /// The first four bytes.
        got: [u8; 4],
    },
    /// A format version this build does not read.
    Version {
        /// The state's version; this build reads 1.
        got: u16,
    },
    /// An arithmetic contract this build does not compute.
    Arithmetic {
        /// The state's contract; this build computes 1.
        got: u16,
    },
    /// Cut short.
    Truncated {
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        got: u64,
    },
    /// Bytes were changed.
    Checksum {
        /// CRC-32 stored.
        expected: u32,
        /// CRC-32 found.
        got: u32,
    },
    /// A code of the header that this version does not know, or counts that contradict each other.
    Header {
        /// Which field.
        field: &'static str,
        /// What it is.
        got: u64,
    },
    /// Saved from another model.
    Model {
        /// Digest of the session's model.
        need: u32,
        /// Digest of the model it was saved from.
        got: u32,
    },
    /// Saved from a cache of another type.
    Cache {
        /// The session's.
        need: KvType,
        /// The state's.
        got: KvType,
    },
    /// Longer than the session's context.
    Context {
        /// Positions of the session's cache.
        context: usize,
        /// Positions of the state.
        need: usize,
    },
    /// The length it says is not what it holds.
    Length {
        /// Bytes of what it holds.
        need: u64,
        /// Bytes it says.
        got: u64,
    },
    /// Too little room for the token history, or a history shorter than the cache.
    Tokens {
        /// Tokens needed.
        need: usize,
        /// Tokens there.
        got: usize,
    },
    /// No such token.
    Token {
        /// Its id.
        id: u32,
        /// Tokens of the vocabulary.
        vocab_size: u32,
    },
    /// More than the format counts.
    TooLarge {
        /// Tokens, or bytes of the note.
        got: usize,
    },
    /// A batch is being worked on.
    Busy,
    /// The one who takes the bytes could not go on.
    Stopped,
}

impl StateError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Magic { got } => {
                say(sink, "not a saved session: it starts with {2} {2} {2} {2}, not 50 49 50 4b", &got.map(u64::from))
            }
            Self::Version { got } => say(sink, "state format version {}; this build reads version 1", &[got.into()]),
            Self::Arithmetic { got } => {
                say(sink, "state of arithmetic contract {}; this build computes contract 1", &[got.into()])
            }
            Self::Truncated { need, got } => say(sink, "state has {} bytes and needs {}", &[got, need]),
            Self::Checksum { expected, got } => {
                let sums = [got, expected].map(u64::from);
                say(sink, "state is damaged: its CRC-32 is {8}, stored was {8}", &sums)
            }
            Self::Header { field, got } => {
                sink("state's header makes no sense: ")?;
                sink(field)?;
                say(sink, " is {}", &[got])
            }
            Self::Model { need, got } => {
                let digests = [got, need].map(u64::from);
                say(sink, "saved from another model: its digest is {8}, this model's is {8}", &digests)
            }
            Self::Cache { need, got } => {
                sink("saved from a cache of type ")?;
                sink(got.name())?;
                sink("; this session's is ")?;
                sink(need.name())
            }
            Self::Context { context, need } => {
                say(sink, "state has {} positions, the context is {}", &[need as u64, context as u64])
            }
            Self::Length { need, got } => say(sink, "state says it has {} bytes, and holds {}", &[got, need]),
            Self::Tokens { need, got } => say(sink, "{} tokens where {} are needed", &[got as u64, need as u64]),
            Self::Token { id, vocab_size } => {
                say(sink, "token {} is not in the vocabulary of {}", &[id.into(), vocab_size.into()])
            }
            Self::TooLarge { got } => say(sink, "{} is more than a state can count", &[got as u64]),
            Self::Busy => sink("a batch is still being worked on"),
            Self::Stopped => sink("the state could not be written to its end"),
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for StateError {}
