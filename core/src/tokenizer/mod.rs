//! Text to tokens and back, from tables that stay in flash.
//!
//! * [`Vocab`] is a checked view over one byte section ([`layout`] has its byte table). Nothing is built in RAM.
//! * [`Vocab::encode`] turns a text into tokens, [`Encoder`] does the same in slices of bounded work. The caller brings
//!   the output and [`scratch_len`] words of scratch; a text of `n` bytes costs `O(n log n)`.
//! * [`Vocab::decode`] gives a text's bytes back; [`Decoder`] streams whole UTF-8 characters, token by token.
//!
//! Byte-level BPE with the pre-tokenizers of [`PreTokenizer`], and SentencePiece BPE with byte fallback.
//!
//! No input can panic: neither a section, nor a text, nor a token id.

mod check;
mod decode;
mod encode;
mod error;
pub mod layout;
mod merge;
mod pretokenize;
mod source;
mod tables;
mod unicode;
#[rustfmt::skip]
mod unicode_tables;
mod vocab;

pub use decode::Decoder;
pub use encode::{EncodeOptions, Encoder, Progress, max_tokens, scratch_len};
pub use error::{DecodeError, EncodeError, Table, VocabError};
pub use pretokenize::PreTokenizer;
pub use unicode::{CharClass, char_class, is_cased, is_mark, is_punctuation};
pub use vocab::{TokenKind, Vocab, VocabModel};
