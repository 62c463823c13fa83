//! The text of every error, for a board that prints it.

use core::fmt::Write;

use pipsqueak::{
    Classifier, Image, Vocab,
    classifier::ClassifyError,
    kernels::{ArenaTooSmall, LayoutError, NotFinite},
    session::SessionError,
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
