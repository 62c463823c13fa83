//! Why an image was refused.

use core::fmt;

use pipsqueak_kernels::{
    LayoutError,
    words::{Sink, say},
};

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

/// Bytes of an image are not those that its packer has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Damaged {
    /// What they belong to.
    pub part: Part,
    /// CRC-32 stored.
    pub expected: u32,
    /// CRC-32 found.
    pub got: u32,
}

impl Damaged {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        self.part.say(sink)?;
        let sums = [self.got, self.expected].map(u64::from);
        say(sink, " is damaged: its CRC-32 is {8}, stored was {8}", &sums)
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for Damaged {}

impl From<Damaged> for ImageError {
    fn from(Damaged { part, expected, got }: Damaged) -> Self {
        Self::Checksum { part, expected, got }
    }
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

impl Part {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Header => sink("header"),
            Self::Directory => sink("tensor directory"),
            Self::Rope => sink("RoPE table"),
            Self::Vocabulary => sink("vocabulary"),
            Self::Text => sink("text section"),
            Self::Golden => sink("golden vector"),
            Self::Tensor { kind, layer } => {
                sink("tensor ")?;
                sink(kind.name())?;
                if kind.per_layer() { say(sink, " of layer {}", &[layer.into()]) } else { Ok(()) }
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl ImageError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { need, got } => say(sink, "image has {} bytes and needs {}", &[got, need]),
            Self::Misaligned => sink("image does not start at a multiple of 64 bytes"),
            Self::Magic { got } => {
                say(sink, "not a Pipsqueak image: it starts with {2} {2} {2} {2}, not 50 49 50 53", &got.map(u64::from))
            }
            Self::Version { got } => say(sink, "image format version {}; this build reads version 1", &[got.into()]),
            Self::Arithmetic { got } => {
                say(sink, "arithmetic contract {}; this build computes contract 1", &[got.into()])
            }
            Self::Checksum { part, expected, got } => Damaged { part, expected, got }.say(sink),
            Self::Range { part, offset, len, file } => {
                part.say(sink)?;
                let text = " at {} with {} bytes does not fit the file of {} bytes or is misaligned";
                say(sink, text, &[offset, len, file])
            }
            Self::Config(error) => error.say(sink),
            Self::MissingTensor { kind, layer } => {
                Part::Tensor { kind, layer }.say(sink)?;
                sink(" is missing")
            }
            Self::UnexpectedTensor { key } => {
                say(sink, "unexpected tensor with key 0x{x} in the directory", &[key.into()])
            }
            Self::Shape { kind, layer, need, got } => {
                Part::Tensor { kind, layer }.say(sink)?;
                let sizes = [got.0, got.1, need.0, need.1].map(u64::from);
                say(sink, " is {} x {} and must be {} x {}", &sizes)
            }
            Self::Layout { kind, layer, error } => {
                Part::Tensor { kind, layer }.say(sink)?;
                sink(": ")?;
                error.say(sink)
            }
            Self::Vocab(error) => error.say(sink),
            Self::VocabSize { need, got } => {
                say(sink, "the vocabulary has {} tokens and the model {}", &[got.into(), need.into()])
            }
            Self::Section { part } => {
                part.say(sink)?;
                sink(" makes no sense")
            }
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for ImageError {}
