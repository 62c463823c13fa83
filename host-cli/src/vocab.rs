//! A vocabulary as an importer found it, how it becomes the tables of an image, and whole texts in and out of them.

mod build;
mod text;

pub use build::{VocabBuildError, build};
pub use pipsqueak::tokenizer::PreTokenizer;
pub use text::{decode, encode, encode_counting};

/// The algorithm that cuts text into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabModel {
    /// Byte-level BPE with a merge list, behind this pre-tokenizer.
    Bpe(PreTokenizer),
    /// SentencePiece BPE: the adjacent pair whose token has the highest score is merged first; bytes as fallback.
    SentencePiece {
        /// A space is put before the text.
        add_space_prefix: bool,
    },
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for text the vocabulary cannot spell.
    Unknown,
    /// A control token (BOS, EOS, chat marks): never produced from plain text, decodes to nothing.
    Control,
    /// Added by the user; matched in the text before anything else.
    UserDefined,
    /// One raw byte of SentencePiece's byte fallback.
    Byte,
    /// Not in use.
    Unused,
}

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The bytes it stands for. For byte-level BPE the printable stand-ins are already turned back into bytes; for
    /// SentencePiece the mark U+2581 is already a space and a `Byte` token is its one byte. Control tokens keep their name.
    pub bytes: Vec<u8>,
    /// SentencePiece's score; 0 for BPE.
    pub score: f32,
    /// What it is.
    pub kind: TokenKind,
}

/// A whole vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct VocabSource {
    /// The algorithm.
    pub model: VocabModel,
    /// All tokens, by id.
    pub tokens: Vec<Token>,
    /// BPE's merges, most urgent first: left id, right id, merged id.
    pub merges: Vec<[u32; 3]>,
    /// Put before a text when `add_bos` or when asked for.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what cannot be spelled.
    pub unknown: Option<u32>,
    /// All tokens that end generation (EOS, end of turn).
    pub stops: Vec<u32>,
    /// Whether the model expects BOS before every text.
    pub add_bos: bool,
    /// BPE: a word that is a text token as a whole is that token, whatever the merges would make of it (Llama 3).
    pub ignore_merges: bool,
}
