//! What can be wrong with a vocabulary section, a text, or the buffers a caller brings.

use core::fmt;

use pipsqueak_kernels::words::{Sink, left_out, say};

/// A table of a vocabulary section, for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Table {
    /// The fixed header.
    Header,
    /// Where each token's bytes begin and end.
    Offsets,
    /// One kind a token.
    Kinds,
    /// One score a token.
    Scores,
    /// Text tokens in the order of their bytes.
    Sorted,
    /// The token of each single byte.
    ByteIds,
    /// Where each left token's merges begin.
    MergeStarts,
    /// The merges.
    Merges,
    /// Tokens whose names may stand in a text.
    Specials,
    /// Tokens that end generation.
    Stops,
    /// The bytes of all tokens.
    Blob,
}

impl Table {
    /// What it is called in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Offsets => "token offsets",
            Self::Kinds => "token kinds",
            Self::Scores => "scores",
            Self::Sorted => "sorted tokens",
            Self::ByteIds => "byte tokens",
            Self::MergeStarts => "merge starts",
            Self::Merges => "merges",
            Self::Specials => "special tokens",
            Self::Stops => "stop tokens",
            Self::Blob => "token bytes",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a byte section is not a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum VocabError {
    /// A table is longer than what is left of the section.
    Truncated {
        /// The table that does not fit.
        table: Table,
        /// Bytes the table needs.
        need: u64,
        /// Bytes that are left.
        got: usize,
    },
    /// The section goes on after its last table.
    TrailingBytes {
        /// How many bytes are left over.
        got: usize,
    },
    /// The section does not begin with [`layout::MAGIC`](super::layout::MAGIC).
    BadMagic {
        /// What it begins with.
        got: u32,
    },
    /// A layout this version does not know.
    UnknownVersion {
        /// The version found; [`layout::VERSION`](super::layout::VERSION) is known.
        got: u16,
    },
    /// An algorithm this version does not know.
    UnknownModel {
        /// The code found.
        got: u8,
    },
    /// A pre-tokenizer this version does not know.
    UnknownPreTokenizer {
        /// The code found.
        got: u8,
    },
    /// The code for this algorithm is left out of this build.
    LeftOut {
        /// The cargo feature that links it.
        feature: &'static str,
    },
    /// Flag bits, or bytes that must be zero, that this version does not know.
    UnknownFlags {
        /// The bits found.
        got: u32,
    },
    /// No tokens, or more than [`layout::MAX_TOKENS`](super::layout::MAX_TOKENS).
    TokenCount {
        /// The number found.
        got: u32,
    },
    /// A table names a token that does not exist.
    IdOutOfRange {
        /// The table.
        table: Table,
        /// The entry in it.
        index: u32,
        /// The id found there.
        id: u32,
        /// The number of tokens.
        vocab_size: u32,
    },
    /// An entry has a value that is not allowed there.
    BadEntry {
        /// The table.
        table: Table,
        /// The entry in it.
        index: u32,
        /// The value found (a kind, an offset, the bits of a score, or the id of a token that has no business there).
        got: u32,
    },
    /// An entry is not in order after the one before it.
    NotSorted {
        /// The table.
        table: Table,
        /// The entry.
        index: u32,
    },
    /// A table does not have the number of entries that the tokens ask for.
    EntryCount {
        /// The table.
        table: Table,
        /// Entries it must have.
        need: u32,
        /// Entries it has.
        got: u32,
    },
    /// A merged token's bytes are not those of its left and right parts.
    MergeMismatch {
        /// Left token.
        left: u32,
        /// Right token.
        right: u32,
        /// Merged token.
        merged: u32,
    },
}

impl VocabError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        sink("vocabulary: ")?;
        match *self {
            Self::Truncated { table, need, got } => {
                sink("the ")?;
                sink(table.name())?;
                say(sink, " need {} bytes, {} are left", &[need, got as u64])
            }
            Self::TrailingBytes { got } => say(sink, "{} bytes after the last table", &[got as u64]),
            Self::BadMagic { got } => say(sink, "begins with 0x{8}, not with its mark", &[got.into()]),
            Self::UnknownVersion { got } => say(sink, "layout version {} is not known here", &[got.into()]),
            Self::UnknownModel { got } => say(sink, "algorithm {} is not known here", &[got.into()]),
            Self::UnknownPreTokenizer { got } => say(sink, "pre-tokenizer {} is not known here", &[got.into()]),
            Self::LeftOut { feature } => left_out(sink, feature),
            Self::UnknownFlags { got } => say(sink, "unknown flags 0x{x}", &[got.into()]),
            Self::TokenCount { got } => {
                say(sink, "{} tokens, from 1 to {} are allowed", &[got.into(), super::layout::MAX_TOKENS.into()])
            }
            Self::IdOutOfRange { table, index, id, vocab_size } => {
                sink(table.name())?;
                say(sink, ", entry {}: token {} of {}", &[index.into(), id.into(), vocab_size.into()])
            }
            Self::BadEntry { table, index, got } => {
                sink(table.name())?;
                say(sink, ", entry {}: {} is not allowed", &[index.into(), got.into()])
            }
            Self::NotSorted { table, index } => {
                sink(table.name())?;
                say(sink, ", entry {}: not in order", &[index.into()])
            }
            Self::EntryCount { table, need, got } => {
                sink(table.name())?;
                say(sink, ": {} entries, {} are needed", &[got.into(), need.into()])
            }
            Self::MergeMismatch { left, right, merged } => {
                say(sink, "merge {} + {} does not spell token {}", &[left.into(), right.into(), merged.into()])
            }
        }
    }
}

impl fmt::Display for VocabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for VocabError {}

/// Why a text was not turned into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// The text has more tokens than the output has room for.
    OutputTooSmall {
        /// Tokens of the whole text.
        need: usize,
        /// Room.
        got: usize,
    },
    /// A word of the text needs more scratch.
    ScratchTooSmall {
        /// `u32` words of scratch that this word needs; longer ones may follow.
        need: usize,
        /// `u32` words that were given.
        got: usize,
    },
    /// The text is longer than the merge engine can number.
    TextTooLong {
        /// Its bytes.
        got: usize,
        /// The most it may have.
        max: usize,
    },
    /// BOS was asked for and the vocabulary has none.
    NoBos,
}

impl EncodeError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::OutputTooSmall { need, got } => {
                say(sink, "the text has {} tokens, there is room for {}", &[need as u64, got as u64])
            }
            Self::ScratchTooSmall { need, got } => {
                say(sink, "a word needs {} words of tokenizer scratch, there are {}", &[need as u64, got as u64])
            }
            Self::TextTooLong { got, max } => {
                say(sink, "the text has {} bytes, at most {} can be tokenized", &[got as u64, max as u64])
            }
            Self::NoBos => sink("BOS was asked for, but this vocabulary has none"),
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for EncodeError {}

/// Why tokens were not turned into text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DecodeError {
    /// No such token.
    UnknownToken {
        /// The id.
        id: u32,
        /// The number of tokens.
        vocab_size: u32,
    },
    /// The text is longer than the output.
    OutputTooSmall {
        /// Bytes of the whole text.
        need: usize,
        /// Room in bytes.
        got: usize,
    },
}

impl DecodeError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::UnknownToken { id, vocab_size } => {
                say(sink, "token {}: the vocabulary has {}", &[id.into(), vocab_size.into()])
            }
            Self::OutputTooSmall { need, got } => {
                say(sink, "the text has {} bytes, there is room for {}", &[need as u64, got as u64])
            }
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for DecodeError {}
