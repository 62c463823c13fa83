//! The text of every error, for a board that prints it.

use core::fmt::Write;

use pipsqueak::{
    Classifier, Image, KvType, Vocab,
    chat::ChatError,
    classifier::ClassifyError,
    kernels::{ArenaTooSmall, LayoutError, NotFinite},
    session::SessionError,
    state::StateError,
    tokenizer::{DecodeError, EncodeError},
};

use crate::Choices;

/// A line of text of bounded length; what does not fit is left out.
struct Line<'a>(&'a mut [u8]);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let count = text.len().min(self.0.len());
        let (out, rest) = core::mem::take(&mut self.0).split_at_mut_checked(count).ok_or(core::fmt::Error)?;
        for (out, byte) in out.iter_mut().zip(text.as_bytes()) {
            *out = *byte;
        }
        self.0 = rest;
        Ok(())
    }
}

/// Writes errors with unknown content.
pub fn run(text: &mut [u8], words: &[u32], choices: &mut Choices) {
    let (input, out) = text.split_at_mut_checked(choices.next()).unwrap_or_default();
    let mut out = Line(out);
    // Every image and vocabulary error, as opening returns them.
    if let Err(error) = Image::open(input) {
        let _ = write!(out, "{error}");
    }
    if let Err(error) = Vocab::new(input) {
        let _ = write!(out, "{error}");
    }
    if let Err(error) = Classifier::open(input) {
        let _ = write!(out, "{error}");
    }
    let mut next = || choices.next();
    let id = words.first().copied().unwrap_or(0);
    let session = match next() {
        0 => SessionError::Scratch(ArenaTooSmall { need: next(), got: next() }),
        1 => SessionError::WrongPlan,
        2 => SessionError::ContextFull { context: next(), used: next(), asked: next() },
        3 => SessionError::Token { id, vocab_size: id },
        4 => SessionError::Logits { kept: next(), asked: next() },
        5 => SessionError::NotFinite { stage: pipsqueak::stage::Stage::Gate, layer: id },
        6 => SessionError::NoLogits,
        7 => SessionError::ImageChanged,
        8 => SessionError::Positions { context: next(), seq_len: id },
        _ => SessionError::Busy,
    };
    let _ = write!(out, "{session}");
    let classify = match next() {
        0 => ClassifyError::Pixels { need: next(), got: next() },
        1 => ClassifyError::Scores { need: next(), got: next() },
        2 => ClassifyError::Scratch(ArenaTooSmall { need: next(), got: next() }),
        _ => ClassifyError::NotFinite,
    };
    let _ = write!(out, "{classify}");
    let state = match next() {
        0 => StateError::Magic { got: id.to_le_bytes() },
        1 => StateError::Version { got: id as u16 },
        2 => StateError::Arithmetic { got: id as u16 },
        3 => StateError::Truncated { need: next() as u64, got: next() as u64 },
        4 => StateError::Checksum { expected: id, got: next() as u32 },
        5 => StateError::Header { field: "x", got: next() as u64 },
        6 => StateError::Model { need: id, got: next() as u32 },
        7 => StateError::Cache { need: KvType::I8, got: KvType::F32 },
        8 => StateError::Context { context: next(), need: next() },
        9 => StateError::Length { need: next() as u64, got: next() as u64 },
        10 => StateError::Tokens { need: next(), got: next() },
        11 => StateError::Token { id, vocab_size: id },
        12 => StateError::TooLarge { got: next() },
        13 => StateError::Busy,
        _ => StateError::Stopped,
    };
    let _ = write!(out, "{state}");
    let chat = match next() {
        0 => ChatError::Range { offset: next() as u64, len: next() as u64, file: next() as u64 },
        1 => ChatError::Checksum { expected: id, got: next() as u32 },
        2 => ChatError::Length { need: next() as u64, got: next() as u64 },
        3 => ChatError::Flags { got: id },
        4 => ChatError::NotText { at: (next() as u64, next() as u64) },
        5 => ChatError::Token { id, vocab_size: id },
        6 => ChatError::TextRoom { need: next(), got: next() },
        7 => ChatError::Encode(EncodeError::NoBos),
        _ => ChatError::NoSystem,
    };
    let _ = write!(out, "{chat}");
    let _ = match next() {
        0 => write!(out, "{NotFinite}"),
        1 => write!(out, "{}", LayoutError::Size { need: next(), got: next() }),
        2 => write!(out, "{}", LayoutError::TooLarge { rows: next(), cols: next() }),
        3 => write!(out, "{}", LayoutError::Alignment { need: next() }),
        4 => write!(out, "{}", EncodeError::TextTooLong { got: next(), max: next() }),
        5 => write!(out, "{}", EncodeError::NoBos),
        _ => write!(out, "{}", DecodeError::OutputTooSmall { need: next(), got: next() }),
    };
}
