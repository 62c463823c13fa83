//! Texts to train on and to be measured by: documents, a vocabulary for them, more of them from a model.

pub mod bpe;
pub mod documents;
mod hash;

pub use bpe::{BpeError, train_bpe};
pub use documents::{SEPARATOR, Split, SplitError, documents, split};

/// The token that every document begins with: BOS, or EOS in a vocabulary where that does both.
pub fn start_token(vocab: &pipsqueak::Vocab<'_>) -> Option<u32> {
    vocab.bos().or(vocab.eos())
}
