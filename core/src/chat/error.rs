//! Why chat pieces were refused, or a turn could not be turned into tokens.

use core::fmt;

use pipsqueak_kernels::words::{Sink, say};

use crate::tokenizer::EncodeError;

/// Why chat pieces were refused, or a turn could not be turned into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ChatError {
    /// The section reaches outside the image, or is not aligned.
    Range {
        /// Its offset.
        offset: u64,
        /// Its length.
        len: u64,
        /// The image's length.
        file: u64,
    },
    /// Bytes were changed.
    Checksum {
        /// CRC-32 stored.
        expected: u32,
        /// CRC-32 found.
        got: u32,
    },
    /// The lengths of the pieces are not those of the section.
    Length {
        /// Bytes that they need.
        need: u64,
        /// Bytes of the section.
        got: u64,
    },
    /// A flag that this version does not know.
    Flags {
        /// All flags.
        got: u32,
    },
    /// A text is not UTF-8.
    NotText {
        /// Offset of the texts in the section, and in them of the first wrong byte.
        at: (u64, u64),
    },
    /// A token that the vocabulary does not have.
    Token {
        /// Its id.
        id: u32,
        /// Tokens of the vocabulary.
        vocab_size: u32,
    },
    /// A system text was given, and the model's template takes none.
    NoSystem,
    /// Too little room for a text with the words around it.
    TextRoom {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        got: usize,
    },
    /// A text could not be turned into tokens, or there are more than there is room for.
    Encode(EncodeError),
}

impl ChatError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Range { offset, len, file } => {
                let text = "chat pieces at {} with {} bytes do not fit the image of {} bytes or are misaligned";
                say(sink, text, &[offset, len, file])
            }
            Self::Checksum { expected, got } => {
                let sums = [got, expected].map(u64::from);
                say(sink, "chat pieces are damaged: their CRC-32 is {8}, stored was {8}", &sums)
            }
            Self::Length { need, got } => say(sink, "chat pieces have {} bytes and need {}", &[got, need]),
            Self::Flags { got } => say(sink, "chat pieces have flags that are not known: 0x{x}", &[got.into()]),
            Self::NotText { at: (start, at) } => {
                say(sink, "a text of the chat pieces is not UTF-8: byte {} of those from {} on", &[at, start])
            }
            Self::Token { id, vocab_size } => {
                say(sink, "chat pieces have token {}, the vocabulary {}", &[id.into(), vocab_size.into()])
            }
            Self::NoSystem => sink("this model's chat template takes no system text"),
            Self::TextRoom { need, got } => {
                say(sink, "a text needs {} bytes of room, there are {}", &[need as u64, got as u64])
            }
            Self::Encode(error) => error.say(sink),
        }
    }
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for ChatError {}
