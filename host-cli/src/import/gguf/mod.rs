//! GGUF, versions 2 and 3, little-endian, architectures `llama`, `qwen2`, `qwen3`, `gemma3` and `gpt2`.
//!
//! `reader` takes the container apart, `metadata` gives typed access to its keys, `keys` makes the engine's shape of those
//! of the architecture, `mapping` turns keys and tensors into a [`Source`], `vocab` reads the tokenizer's keys, of which
//! `pre_tokenizer` knows one.

mod keys;
mod mapping;
mod metadata;
mod pre_tokenizer;
mod reader;
pub(super) mod vocab;

pub(super) use pre_tokenizer::KNOWN as PRE_TOKENIZERS;

use super::ImportError;
use crate::{source::Source, vocab::VocabSource};

/// The first four bytes of every GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// Reads a model with its vocabulary, where it has one.
///
/// A sliding attention window of every layer (Mistral) that is shorter than the context becomes the context: inside the window,
/// attending to everything is what the model does.
pub fn open(bytes: &[u8]) -> Result<Source<'_>, ImportError> {
    mapping::source(&reader::Container::parse(bytes)?)
}

/// Reads the vocabulary alone; the file need not have any tensors, and its architecture does not matter.
pub fn vocab_only(bytes: &[u8]) -> Result<VocabSource, ImportError> {
    let container = reader::Container::parse(bytes)?;
    let vocab = vocab::read(&container.metadata)?;
    vocab.ok_or_else(|| ImportError::MissingKey { key: vocab::MODEL_KEY.into() })
}
