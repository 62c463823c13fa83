//! Why an image was refused.

use core::fmt;

use pipsqueak_kernels::LayoutError;

use crate::{config::ConfigError, tensor::TensorKind, tokenizer::VocabError};

/// Why an image was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ImageError {
    /// Shorter than its header says, or than a header.
    Truncated {
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        got: u64,
    },
    /// Does not start on a line of 64 bytes.
    Misaligned,
    /// Not a Pipsqueak image.
    Magic {
        /// The first four bytes.
        got: [u8; 4],
    },
    /// A format version this build does not read.
    Version {
        /// The image's version; this build reads 1.
        got: u16,
    },
    /// An arithmetic contract this build does not compute.
    Arithmetic {
        /// The image's contract; this build computes 1.
        got: u16,
    },
    /// Bytes were changed.
    Checksum {
        /// What they belong to.
        part: Part,
        /// CRC-32 stored.
        expected: u32,
        /// CRC-32 found.
        got: u32,
    },
    /// A section or tensor reaches outside the file, or is not aligned.
    Range {
        /// What reaches outside.
        part: Part,
        /// Its offset.
        offset: u64,
        /// Its length.
        len: u64,
        /// The file's length.
        file: u64,
    },
    /// The shape makes no sense.
    Config(ConfigError),
    /// A tensor the shape needs is missing.
    MissingTensor {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
    },
    /// A directory entry that is unknown, out of order or not needed.
    UnexpectedTensor {
        /// Its key.
        key: u32,
    },
    /// A tensor has another shape or format than its role needs.
    Shape {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
        /// Rows and columns needed.
        need: (u32, u32),
        /// Rows and columns found.
        got: (u32, u32),
    },
    /// A tensor's bytes do not fit its shape, format or panel.
    Layout {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
        /// What is wrong.
        error: LayoutError,
    },
    /// The vocabulary's tables make no sense.
    Vocab(VocabError),
    /// The vocabulary has another number of tokens than the model.
    VocabSize {
        /// Tokens of the model.
        need: u32,
        /// Tokens of the vocabulary.
        got: u32,
    },
    /// A section's content makes no sense.
    Section {
        /// Which.
        part: Part,
    },
}

/// A part of an image that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Part {
    /// The first 256 bytes.
    Header,
    /// The tensor directory.
    Directory,
    /// RoPE's frequencies.
    Rope,
    /// The vocabulary.
    Vocabulary,
    /// Texts.
    Text,
    /// The golden vector.
    Golden,
    /// A tensor.
    Tensor {
        /// Which.
        kind: TensorKind,
        /// Of which layer.
        layer: u32,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Header => f.write_str("header"),
            Self::Directory => f.write_str("tensor directory"),
            Self::Rope => f.write_str("RoPE table"),
            Self::Vocabulary => f.write_str("vocabulary"),
            Self::Text => f.write_str("text section"),
            Self::Golden => f.write_str("golden vector"),
            Self::Tensor { kind, layer } if kind.per_layer() => write!(f, "tensor {} of layer {layer}", kind.name()),
            Self::Tensor { kind, .. } => write!(f, "tensor {}", kind.name()),
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensor = |kind, layer| Part::Tensor { kind, layer };
        match *self {
            Self::Truncated { need, got } => write!(f, "image has {got} bytes and needs {need}"),
            Self::Misaligned => f.write_str("image does not start at a multiple of 64 bytes"),
            Self::Magic { got: [a, b, c, d] } => {
                write!(f, "not a Pipsqueak image: it starts with {a:02x} {b:02x} {c:02x} {d:02x}, not 50 49 50 53")
            }
            Self::Version { got } => write!(f, "image format version {got}; this build reads version 1"),
            Self::Arithmetic { got } => write!(f, "arithmetic contract {got}; this build computes contract 1"),
            Self::Checksum { part, expected, got } => {
                write!(f, "{part} is damaged: its CRC-32 is {got:08x}, stored was {expected:08x}")
            }
            Self::Range { part, offset, len, file } => {
                write!(f, "{part} at {offset} with {len} bytes does not fit the file of {file} bytes or is misaligned")
            }
            Self::Config(error) => write!(f, "{error}"),
            Self::MissingTensor { kind, layer } => write!(f, "{} is missing", tensor(kind, layer)),
            Self::UnexpectedTensor { key } => write!(f, "unexpected tensor with key {key:#x} in the directory"),
            Self::Shape { kind, layer, need, got } => {
                write!(f, "{} is {} x {} and must be {} x {}", tensor(kind, layer), got.0, got.1, need.0, need.1)
            }
            Self::Layout { kind, layer, error } => write!(f, "{}: {error}", tensor(kind, layer)),
            Self::Vocab(error) => write!(f, "vocabulary: {error}"),
            Self::VocabSize { need, got } => {
                write!(f, "the vocabulary has {got} tokens and the model {need}")
            }
            Self::Section { part } => write!(f, "{part} makes no sense"),
        }
    }
}

impl core::error::Error for ImageError {}
