//! How documents begin: as those of another text do.

use std::borrow::Cow;

use pipsqueak::{
    Vocab,
    tokenizer::{EncodeError, EncodeOptions},
};

use super::{documents, hash, sentences::sentence_ends};
use crate::vocab::encode;

/// Characters of a document that are looked at, for each token that is wanted: tokens are shorter, nearly always.
const CHARS_PER_TOKEN: usize = 32;

/// Beginnings of a text's documents.
#[derive(Clone, Debug)]
pub struct Openings<'t> {
    documents: Vec<Cow<'t, str>>,
    tokens: Option<usize>,
}

impl<'t> Openings<'t> {
    /// The first `tokens` tokens of a text's documents, or their first sentences; `None` for a text without documents.
    pub fn new(text: &'t str, tokens: Option<usize>) -> Option<Self> {
        let documents: Vec<_> = documents(text).collect();
        if documents.is_empty() { None } else { Some(Self { documents, tokens }) }
    }

    /// The beginning that a seed chooses, of `room` tokens at most, without BOS.
    ///
    /// # Errors
    /// [`EncodeError`], not in practice: the text is short.
    pub fn draw(&self, vocab: &Vocab<'_>, seed: u64, room: usize) -> Result<Vec<u32>, EncodeError> {
        let wanted = self.tokens.unwrap_or(room).min(room);
        let chosen = hash::stir(seed) % self.documents.len() as u64;
        let document: &str = self.documents.get(chosen as usize).map_or("", |document| document);
        let end =
            document.char_indices().nth(wanted.saturating_mul(CHARS_PER_TOKEN)).map_or(document.len(), |(at, _)| at);
        let mut ids = encode(vocab, &document[..end], EncodeOptions::default())?;
        if self.tokens.is_none() {
            // The text's own tokens are all known.
            let first = sentence_ends(vocab, &ids).ok().and_then(|ends| ends.first().copied());
            ids.truncate(first.unwrap_or(ids.len()));
        }
        ids.truncate(wanted);
        Ok(ids)
    }
}
