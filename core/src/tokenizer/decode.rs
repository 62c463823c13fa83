//! Tokens to text, one at a time, never a part of a character.

use super::error::DecodeError;
use super::vocab::{TokenKind, Vocab};

/// The decoding of a sequence of tokens under way.
///
/// Normal and byte tokens give their bytes and user-defined ones their name; control and unknown tokens give nothing,
/// or their name when asked for; unused ones give nothing. The space that SentencePiece puts before a text, and before what follows a
/// special token, is taken away again: decoding undoes [`Vocab::encode`] byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    vocab: Vocab<'a>,
    special: bool,
    /// The next space is the one that encoding has added.
    strip: bool,
    /// The beginning of a character whose end has not come yet.
    held: [u8; 4],
    held_len: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the beginning of a text. With `special`, control and unknown tokens give their names.
    pub fn new(vocab: Vocab<'a>, special: bool) -> Self {
        Self { vocab, special, strip: vocab.adds_space(), held: [0; 4], held_len: 0 }
    }

    /// A decoder in the middle of a text (a continuation): the first space is kept.
    pub fn continuing(vocab: Vocab<'a>, special: bool) -> Self {
        Self { vocab, special, strip: false, held: [0; 4], held_len: 0 }
    }

    /// The bytes of the next token, as they are: the raw mode. All of them together are the text that was encoded, byte for
    /// byte. (Use either this or [`push`](Self::push) for a text, not both.)
    ///
    /// # Errors
    /// [`DecodeError::UnknownToken`]
    pub fn push_raw(&mut self, id: u32) -> Result<&'a [u8], DecodeError> {
        let unknown = DecodeError::UnknownToken { id, vocab_size: self.vocab.vocab_size() };
        let (kind, bytes) = self.vocab.kind(id).zip(self.vocab.token_bytes(id)).ok_or(unknown)?;
        if kind.is_special() {
            self.strip = self.vocab.adds_space();
            let shown = self.special || kind == TokenKind::UserDefined;
            return Ok(if shown { bytes } else { &[] });
        }
        if kind == TokenKind::Unused || bytes.is_empty() {
            return Ok(&[]);
        }
        let strip = core::mem::take(&mut self.strip);
        Ok(bytes.strip_prefix(b" ").filter(|_| strip).unwrap_or(bytes))
    }

    /// Takes the next token and hands the text that is complete with it to `sink`, in zero or more parts.
    ///
    /// Bytes that can still become a character are held back (at most three); bytes that cannot are given as U+FFFD.
    ///
    /// # Errors
    /// [`DecodeError::UnknownToken`]; what was held back stays.
    pub fn push(&mut self, id: u32, mut sink: impl FnMut(&str)) -> Result<(), DecodeError> {
        let mut bytes = self.push_raw(id)?;
        while self.held_len != 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            if self.hold(byte, &mut sink) {
                bytes = rest;
            }
        }
        let mut left = bytes.len();
        for chunk in bytes.utf8_chunks() {
            if !chunk.valid().is_empty() {
                sink(chunk.valid());
            }
            left = left.saturating_sub(chunk.valid().len() + chunk.invalid().len());
            if left == 0 && may_go_on(chunk.invalid()) {
                for (slot, byte) in self.held.iter_mut().zip(chunk.invalid()) {
                    *slot = *byte;
                }
                self.held_len = chunk.invalid().len();
            } else if !chunk.invalid().is_empty() {
                sink(REPLACEMENT);
            }
        }
        Ok(())
    }

    /// The text is at its end: gives U+FFFD if the beginning of a character is held back.
    pub fn flush(&mut self, mut sink: impl FnMut(&str)) {
        if core::mem::take(&mut self.held_len) != 0 {
            sink(REPLACEMENT);
        }
    }

    /// Adds a byte to those held back. False if it does not continue them: they are given up and it is not taken.
    fn hold(&mut self, byte: u8, sink: &mut impl FnMut(&str)) -> bool {
        if let Some(slot) = self.held.get_mut(self.held_len) {
            *slot = byte;
        }
        let held = self.held.get(..=self.held_len).unwrap_or_default();
        match core::str::from_utf8(held) {
            Ok(text) => {
                sink(text);
                self.held_len = 0;
                true
            }
            Err(error) if error.error_len().is_none() => {
                self.held_len += 1;
                true
            }
            Err(_) => {
                sink(REPLACEMENT);
                self.held_len = 0;
                false
            }
        }
    }
}

const REPLACEMENT: &str = "\u{fffd}";

/// Whether these bytes are the beginning of a character.
fn may_go_on(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

impl Vocab<'_> {
    /// The bytes of a whole text; returns how many `out` begins with. See [`Decoder`] for `special` and for spaces.
    ///
    /// # Errors
    /// [`DecodeError::UnknownToken`]; [`DecodeError::OutputTooSmall`] says what would be enough.
    pub fn decode(&self, ids: &[u32], special: bool, out: &mut [u8]) -> Result<usize, DecodeError> {
        let got = out.len();
        let mut decoder = Decoder::new(*self, special);
        let mut need = 0;
        let mut room = out.iter_mut();
        for &id in ids {
            let bytes = decoder.push_raw(id)?;
            need += bytes.len();
            for (byte, slot) in bytes.iter().zip(&mut room) {
                *slot = *byte;
            }
        }
        if need > got { Err(DecodeError::OutputTooSmall { need, got }) } else { Ok(need) }
    }
}
