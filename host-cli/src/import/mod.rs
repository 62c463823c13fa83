//! Importers: from a foreign model file to a [`Source`], every byte of it checked before use.
//!
//! Nothing is copied but the vocabulary: tensors borrow the file, in its own encoding. No input can panic, overrun, or
//! make an importer allocate more than a small multiple of the file's length.

mod blocks;
mod cursor;
mod dequantize;
mod error;
pub mod gguf;
pub mod huggingface;
pub mod llama2c;
mod shape;

pub use blocks::BLOCK;
pub(crate) use blocks::Run;
pub use dequantize::check_finite;
pub use error::ImportError;

use crate::{source::Source, vocab::VocabSource};

/// Reads a model file of any known format: GGUF, or llama2.c's `.bin`. A Hugging Face model is not one file: see
/// [`huggingface::open`].
///
/// `tokenizer` is a llama2.c `tokenizer.bin` or a vocabulary-only GGUF. A llama2.c model has no vocabulary of its own,
/// so without one [`Source::vocab`] is `None`; a GGUF's own vocabulary is replaced by it.
pub fn open<'a>(bytes: &'a [u8], tokenizer: Option<&[u8]>) -> Result<Source<'a>, ImportError> {
    let mut source = if bytes.starts_with(gguf::MAGIC) { gguf::open(bytes)? } else { llama2c::open(bytes)? };
    if let Some(tokenizer) = tokenizer {
        replace_vocab(&mut source, tokenizer)?;
    }
    Ok(source)
}

/// Puts another vocabulary in the place of the model's own.
pub fn replace_vocab(source: &mut Source<'_>, tokenizer: &[u8]) -> Result<(), ImportError> {
    source.vocab = Some(read_tokenizer(tokenizer, source.config.vocab_size)?);
    source.vocab_left_out = None;
    Ok(())
}

fn read_tokenizer(bytes: &[u8], vocab_size: u32) -> Result<VocabSource, ImportError> {
    if !bytes.starts_with(gguf::MAGIC) {
        return llama2c::tokenizer(bytes, vocab_size);
    }
    let vocab = gguf::vocab_only(bytes)?;
    check_vocab_size(&vocab, vocab_size)?;
    Ok(vocab)
}

/// A row of the embedding for every token, and a token for every row.
fn check_vocab_size(vocab: &VocabSource, rows: u32) -> Result<(), ImportError> {
    if vocab.tokens.len() as u64 == u64::from(rows) {
        return Ok(());
    }
    Err(ImportError::VocabSize { tokens: vocab.tokens.len() as u64, rows: rows.into() })
}
