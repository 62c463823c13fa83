//! The bytes of a vocabulary section: what a packer writes and [`Vocab`](super::Vocab) reads.
//!
//! Little-endian, at any alignment. Header, 64 bytes:
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | u32 | [`MAGIC`] |
//! | 4 | u16 | [`VERSION`] |
//! | 6 | u8 | algorithm: [`MODEL_BPE`] or [`MODEL_SENTENCEPIECE`] |
//! | 7 | u8 | pre-tokenizer of BPE, the code of a [`PreTokenizer`](super::PreTokenizer); 0 for SentencePiece |
//! | 8 | u32 | flags: [`FLAG_ADD_BOS`], [`FLAG_SPACE_PREFIX`], [`FLAG_WIDE`], [`FLAG_IGNORE_MERGES`]; all others 0 |
//! | 12 | u32 | `V`, number of tokens, at most [`MAX_TOKENS`] |
//! | 16 | u32 | `M`, number of merges; 0 for SentencePiece |
//! | 20 | u32 | BOS, [`NONE`] when there is none |
//! | 24 | u32 | EOS, likewise |
//! | 28 | u32 | unknown token, likewise |
//! | 32 | u32 | `T`, number of text tokens |
//! | 36 | u32 | `S`, number of special tokens |
//! | 40 | u32 | `E`, number of stop tokens |
//! | 44 | u32 | `B`, bytes of all tokens together |
//! | 48 | 16 bytes | 0 |
//!
//! Then the tables, in this order, each filled up with zeros to a multiple of four bytes. `id` is a u16, or a u32 with
//! [`FLAG_WIDE`] (needed when `V > 65536` or `M > 65535`).
//!
//! | table | type | meaning |
//! |---|---|---|
//! | offsets | u32 × (V + 1) | where a token's bytes begin in the last table; it ends where the next begins |
//! | kinds | u8 × V | [`TokenKind`](super::TokenKind) as a number |
//! | scores | f32 × V | SentencePiece only; the highest is merged first; never NaN |
//! | sorted | id × T | all `Normal` tokens that have bytes, by bytes, then by id |
//! | byte ids | u32 × 256 | the token of each single byte, or [`NONE`]. BPE: a `Normal` (or `Byte`) token of that one byte; SentencePiece: a `Byte` token |
//! | merge starts | id × (V + 1) | BPE only: where the merges with this left token begin in the next table |
//! | merges | (id, id, id) × M | BPE only: right token, rank, merged token; sorted by left, then by right. The lowest rank is merged first |
//! | specials | u32 × S | all `Control`, `UserDefined` and `Unknown` tokens that have bytes: longest first, then by id |
//! | stops | u32 × E | tokens that end generation |
//! | bytes | u8 × B | the bytes of all tokens, in the order of their ids |
//!
//! A vocabulary of 512 tokens with 3 KB of text is a section of about 10 KB; one of 49,152 tokens with 48,900 merges is
//! about 1 MB.

/// First four bytes of a section: `PVOC`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PVOC");
/// Version of this layout.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Byte-level BPE with a merge list.
pub const MODEL_BPE: u8 = 0;
/// SentencePiece BPE with scores.
pub const MODEL_SENTENCEPIECE: u8 = 1;
/// Pre-tokenizer: GPT-2's regular expression.
pub const PRE_GPT2: u8 = 1;
/// Pre-tokenizer: every digit apart, then GPT-2's regular expression.
pub const PRE_SMOLLM: u8 = 2;
/// Pre-tokenizer of Llama 3.
pub const PRE_LLAMA3: u8 = 3;
/// Pre-tokenizer of Qwen 2, 2.5 and 3.
pub const PRE_QWEN2: u8 = 4;
/// Pre-tokenizer of Qwen 3.5.
pub const PRE_QWEN35: u8 = 5;
/// Pre-tokenizer of Falcon.
pub const PRE_FALCON: u8 = 6;
/// Pre-tokenizer of DeepSeek LLM.
pub const PRE_DEEPSEEK_LLM: u8 = 7;
/// Pre-tokenizer of DeepSeek Coder.
pub const PRE_DEEPSEEK_CODER: u8 = 8;
/// The model expects BOS before every text.
pub const FLAG_ADD_BOS: u32 = 1;
/// SentencePiece: a space is put before the text.
pub const FLAG_SPACE_PREFIX: u32 = 2;
/// Ids and ranks take four bytes instead of two.
pub const FLAG_WIDE: u32 = 4;
/// BPE: a word that is a text token as a whole is that token, whatever the merges would make of it.
pub const FLAG_IGNORE_MERGES: u32 = 8;
/// "No such token" in the header and in the byte table.
pub const NONE: u32 = u32::MAX;
/// The most tokens a vocabulary may have (the merge engine keeps tags in the bits above).
pub const MAX_TOKENS: u32 = 1 << 24;
