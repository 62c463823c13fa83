//! Hugging Face folders: `config.json`, `tokenizer.json` and safetensors, in one file or in shards.
//!
//! `config` reads the shape, with `rope` and `window`, and with `gpt2` for what has other names there; `safetensors` takes a
//! file of weights apart; `mapping` finds the tensors an architecture needs and turns them into a [`Source`]; `tokenizer` and
//! `pre_tokenizer` read the vocabulary. [`architecture`] is the table of what the architectures differ in. Which files there
//! are and what they are called is the business of [`Files`]; reading them from a disk that of [`crate::folder`].

pub mod architecture;
mod config;
mod gpt2;
mod mapping;
mod pre_tokenizer;
mod rope;
mod safetensors;
mod scores;
mod tokenizer;
mod window;

use super::ImportError;
use crate::{source::Source, vocab::VocabSource};

/// The files that are read, by their names.
pub mod names {
    /// The shape.
    pub const CONFIG: &str = "config.json";
    /// Which tokens end a text.
    pub const GENERATION_CONFIG: &str = "generation_config.json";
    /// The vocabulary.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// Which of its tokens are BOS and EOS.
    pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
    /// How a chat is written down.
    pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
    /// All weights.
    pub const WEIGHTS: &str = "model.safetensors";
    /// Which shard has which tensor.
    pub const INDEX: &str = "model.safetensors.index.json";
}

/// The bytes of a folder's files; all are borrowed.
#[derive(Clone, Debug, Default)]
pub struct Files<'a> {
    /// The folder's name, which becomes the model's.
    pub name: &'a str,
    /// [`names::CONFIG`]
    pub config: &'a [u8],
    /// [`names::GENERATION_CONFIG`]
    pub generation_config: Option<&'a [u8]>,
    /// [`names::TOKENIZER`]
    pub tokenizer: Option<&'a [u8]>,
    /// [`names::TOKENIZER_CONFIG`]
    pub tokenizer_config: Option<&'a [u8]>,
    /// [`names::CHAT_TEMPLATE`]
    pub chat_template: Option<&'a [u8]>,
    /// [`names::INDEX`], where there are shards.
    pub index: Option<&'a [u8]>,
    /// [`names::WEIGHTS`] alone, or all shards that the index names.
    pub weights: Vec<(&'a str, &'a [u8])>,
}

/// What is wrong, and in which of the files.
#[derive(Clone, Debug, PartialEq)]
pub struct InFile {
    /// The file's name; empty for the folder as a whole.
    pub file: String,
    /// What.
    pub error: ImportError,
}

impl From<ImportError> for InFile {
    fn from(error: ImportError) -> Self {
        Self { file: String::new(), error }
    }
}

/// Says in which file an error is.
fn within(file: &str) -> impl Fn(ImportError) -> InFile + '_ {
    move |error| InFile { file: file.into(), error }
}

/// Reads a model with its vocabulary, where it has one. Weights stay where they are, in their own encoding.
pub fn open<'a>(files: &Files<'a>) -> Result<Source<'a>, InFile> {
    mapping::source(files)
}

/// Reads the vocabulary alone; the architecture does not matter.
pub fn vocab_only(files: &Files<'_>) -> Result<VocabSource, InFile> {
    let config = config::Raw::parse(files.config).map_err(within(names::CONFIG))?;
    let rows = config.vocab_size().map_err(within(names::CONFIG))?;
    let vocab = tokenizer::read(files, &config, rows)?;
    vocab
        .ok_or_else(|| InFile { file: names::TOKENIZER.into(), error: ImportError::Tokenizer { found: "none".into() } })
}

/// Reads `tokenizer.json` alone, for a model of `rows` tokens.
pub fn tokenizer_alone(bytes: &[u8], rows: u32) -> Result<VocabSource, ImportError> {
    let files = Files { tokenizer: Some(bytes), ..Files::default() };
    match tokenizer::read(&files, &config::Raw::default(), rows) {
        Ok(Some(vocab)) => Ok(vocab),
        Ok(None) => Err(ImportError::Tokenizer { found: "none".into() }),
        Err(InFile { error, .. }) => Err(error),
    }
}

/// The shards that an index names, sorted.
pub fn shards(index: &[u8]) -> Result<Vec<String>, ImportError> {
    Ok(safetensors::Index::parse(index)?.shards())
}

/// Reads JSON into a value; `what` is written in it.
fn json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, ImportError> {
    // Its messages are one line, with line and column.
    serde_json::from_slice(bytes).map_err(|error| ImportError::Json { what, why: error.to_string() })
}
