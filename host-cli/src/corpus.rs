//! Texts to train on and to be measured by: documents, a vocabulary for them, more of them from a model.

pub mod bpe;
pub mod curve;
pub mod documents;
pub mod generate;
pub(crate) mod hash;
mod openings;
mod sentences;

pub use bpe::{BpeError, train_bpe};
pub use documents::{SEPARATOR, Split, SplitError, documents, split};
pub use generate::{Document, Writing, generate, generate_all};
pub use openings::Openings;

/// The token that every document begins with: BOS, or EOS in a vocabulary where that does both.
pub fn start_token(vocab: &pipsqueak::Vocab<'_>) -> Option<u32> {
    vocab.bos().or(vocab.eos())
}
