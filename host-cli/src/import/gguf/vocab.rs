//! The tokenizer's keys.

use std::collections::HashMap;

use super::{
    metadata::Metadata,
    pre_tokenizer::{self, Rules},
};
use crate::{
    import::{ImportError, llama2c::byte_token},
    vocab::{Token, TokenKind, VocabModel, VocabSource},
};

/// Which algorithm; without it a file has no vocabulary.
pub(super) const MODEL_KEY: &str = "tokenizer.ggml.model";
const TOKENS_KEY: &str = "tokenizer.ggml.tokens";
const MERGES_KEY: &str = "tokenizer.ggml.merges";
const SCORES_KEY: &str = "tokenizer.ggml.scores";
const TYPES_KEY: &str = "tokenizer.ggml.token_type";

/// Control tokens that end a turn or a text whatever the file's keys say.
pub(in crate::import) const STOP_NAMES: [&[u8]; 5] =
    [b"<|im_end|>", b"<|eot_id|>", b"<|end|>", b"<end_of_turn>", b"<|endoftext|>"];

/// Reads the vocabulary; `None` where the file says that it has none.
///
/// `add_eos_token` is not read: a text that is to be continued must not be ended.
pub(super) fn read(metadata: &Metadata<'_>) -> Result<Option<VocabSource>, ImportError> {
    let (model, ignore_merges, expects_bos) = match metadata.str(MODEL_KEY)? {
        None if metadata.has(TOKENS_KEY) => return Err(ImportError::MissingKey { key: MODEL_KEY.into() }),
        None | Some("none" | "no_vocab") => return Ok(None),
        Some("gpt2") => {
            let Rules { pre, ignore_merges, add_bos } = pre_tokenizer(metadata)?;
            (VocabModel::Bpe(pre), ignore_merges, add_bos)
        }
        Some("llama") => {
            let add_space_prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
            (VocabModel::SentencePiece { add_space_prefix }, false, true)
        }
        Some(other) => return Err(ImportError::Tokenizer { found: other.into() }),
    };
    let texts = texts(metadata)?;
    let (tokens, merges) = match model {
        VocabModel::Bpe(_) => {
            let stand_ins = stand_ins();
            let bytes = |kind, _, text: &[u8]| Ok(bpe_bytes(kind, text, &stand_ins));
            (tokens(metadata, &texts, bytes)?, merges(metadata, &texts)?)
        }
        VocabModel::SentencePiece { .. } => (tokens(metadata, &texts, sentence_piece_bytes)?, Vec::new()),
    };

    let sentence_piece = matches!(model, VocabModel::SentencePiece { .. });
    let n_tokens = tokens.len() as u64;
    let special = |name: &str, sentence_piece_id: Option<u32>| {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match metadata.u32(&key)? {
            Some(id) if u64::from(id) >= n_tokens => Err(ImportError::BadValue {
                what: key,
                found: id.to_string(),
                want: format!("below the number of tokens, {n_tokens}"),
            }),
            // SentencePiece's own numbers for them.
            None if sentence_piece => Ok(sentence_piece_id.filter(|id| u64::from(*id) < n_tokens)),
            id => Ok(id),
        }
    };
    let (bos, eos, unknown) = (special("bos", Some(1))?, special("eos", Some(2))?, special("unknown", Some(0))?);
    let mut stops: Vec<u32> = [eos, special("eot", None)?, special("eom", None)?].into_iter().flatten().collect();
    stops.extend((0u32..).zip(&tokens).filter_map(|(id, token)| {
        (token.kind == TokenKind::Control && STOP_NAMES.contains(&token.bytes.as_slice())).then_some(id)
    }));
    stops.sort_unstable();
    stops.dedup();
    let add_bos = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(expects_bos && bos.is_some());
    Ok(Some(VocabSource { model, tokens, merges, bos, eos, unknown, stops, add_bos, ignore_merges }))
}

fn pre_tokenizer(metadata: &Metadata<'_>) -> Result<Rules, ImportError> {
    let Some(name) = metadata.str("tokenizer.ggml.pre")? else {
        return Err(ImportError::Tokenizer { found: "gpt2 without a pre-tokenizer (tokenizer.ggml.pre)".into() });
    };
    let unknown = || ImportError::Tokenizer { found: format!("gpt2 with pre-tokenizer {name:?}") };
    pre_tokenizer::rules(name).ok_or_else(unknown)
}

/// The tokens as the file spells them.
fn texts<'a>(metadata: &Metadata<'a>) -> Result<Vec<&'a [u8]>, ImportError> {
    let array = metadata.array(TOKENS_KEY)?.ok_or_else(|| ImportError::MissingKey { key: TOKENS_KEY.into() })?;
    let strings = array.strings();
    let strings = strings.ok_or_else(|| Metadata::wrong_elements(TOKENS_KEY, &array, "an array of strings"))?;
    let texts: Vec<_> = strings.collect();
    if u32::try_from(texts.len()).is_err() || texts.is_empty() {
        return Err(ImportError::BadValue {
            what: "the number of tokens".into(),
            found: texts.len().to_string(),
            want: "from 1 to 2^32 - 1".into(),
        });
    }
    Ok(texts)
}

/// One entry a token, or the key is missing.
fn check_len(key: &str, len: u64, tokens: usize) -> Result<(), ImportError> {
    if len == tokens as u64 {
        return Ok(());
    }
    let want = format!("the number of tokens, {tokens}");
    Err(ImportError::BadValue { what: format!("the length of {key}"), found: len.to_string(), want })
}

/// All tokens with scores (0 where there are none) and kinds (`Normal` where there are none).
fn tokens(
    metadata: &Metadata<'_>,
    texts: &[&[u8]],
    to_bytes: impl Fn(TokenKind, u64, &[u8]) -> Result<Vec<u8>, ImportError>,
) -> Result<Vec<Token>, ImportError> {
    let mut scores = vec![0.0; texts.len()];
    if let Some(array) = metadata.array(SCORES_KEY)? {
        check_len(SCORES_KEY, array.len(), texts.len())?;
        let floats = array.floats();
        let floats = floats.ok_or_else(|| Metadata::wrong_elements(SCORES_KEY, &array, "an array of floats"))?;
        scores = floats.map(|score| score as f32).collect();
    }
    let mut kinds = vec![TokenKind::Normal; texts.len()];
    if let Some(array) = metadata.array(TYPES_KEY)? {
        check_len(TYPES_KEY, array.len(), texts.len())?;
        let codes = array.ints();
        let codes = codes.ok_or_else(|| Metadata::wrong_elements(TYPES_KEY, &array, "an array of integers"))?;
        kinds = (0..).zip(codes).map(|(id, code)| token_kind(id, code)).collect::<Result<_, _>>()?;
    }
    let parts = (0..).zip(texts).zip(scores.into_iter().zip(kinds));
    parts
        .map(|((id, text), (score, kind))| {
            if !score.is_finite() {
                return Err(ImportError::BadToken { id, why: "has a score that is not a finite number" });
            }
            Ok(Token { bytes: to_bytes(kind, id, text)?, score, kind })
        })
        .collect()
}

fn token_kind(id: u64, code: i128) -> Result<TokenKind, ImportError> {
    Ok(match code {
        0 | 1 => TokenKind::Normal,
        2 => TokenKind::Unknown,
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        6 => TokenKind::Byte,
        _ => return Err(ImportError::BadToken { id, why: "has a type that is not from 0 to 6" }),
    })
}

/// U+2581 becomes the space it stands for; a byte token becomes its byte; names stay as they are.
pub(in crate::import) fn sentence_piece_bytes(kind: TokenKind, id: u64, text: &[u8]) -> Result<Vec<u8>, ImportError> {
    match kind {
        TokenKind::Byte => match byte_token(text) {
            Some(byte) => Ok(vec![byte]),
            None => Err(ImportError::BadToken { id, why: "is of type byte but not spelled <0xNN>" }),
        },
        TokenKind::Unknown | TokenKind::Control | TokenKind::Unused => Ok(text.to_vec()),
        TokenKind::Normal | TokenKind::UserDefined => {
            const SPACE: &[u8] = "\u{2581}".as_bytes();
            let (mut out, mut rest) = (Vec::new(), text);
            while let Some((first, tail)) = rest.split_first() {
                if let Some(tail) = rest.strip_prefix(SPACE) {
                    out.push(b' ');
                    rest = tail;
                } else {
                    out.push(*first);
                    rest = tail;
                }
            }
            Ok(out)
        }
    }
}

/// The byte each of GPT-2's 256 printable characters stands for: printable Latin-1 stands for itself, the 68 other bytes
/// are, in order, U+0100 onward. Source: Radford et al. 2019, `bytes_to_unicode`.
pub(in crate::import) fn stand_ins() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=255u8).filter(|byte| !printable(*byte));
    let others = ('\u{100}'..).zip(others);
    (0..=255u8).filter(|byte| printable(*byte)).map(|byte| (char::from(byte), byte)).chain(others).collect()
}

/// The bytes of a byte-level token. Names and user-defined tokens are literal text; so is a token with a character that
/// is no stand-in, which merges can never reach.
pub(in crate::import) fn bpe_bytes(kind: TokenKind, text: &[u8], stand_ins: &HashMap<char, u8>) -> Vec<u8> {
    let literal = matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
    let decoded =
        || -> Option<Vec<u8>> { std::str::from_utf8(text).ok()?.chars().map(|c| stand_ins.get(&c).copied()).collect() };
    if literal { text.to_vec() } else { decoded().unwrap_or_else(|| text.to_vec()) }
}

/// The merge list "left right" as ids: left, right, and the token spelled by both. Where two tokens are spelled alike,
/// the later one counts. A merge with a part or a result outside the vocabulary is left out: no id could stand for it.
fn merges(metadata: &Metadata<'_>, texts: &[&[u8]]) -> Result<Vec<[u32; 3]>, ImportError> {
    let array = metadata.array(MERGES_KEY)?.ok_or_else(|| ImportError::MissingKey { key: MERGES_KEY.into() })?;
    let strings = array.strings();
    let strings = strings.ok_or_else(|| Metadata::wrong_elements(MERGES_KEY, &array, "an array of strings"))?;
    let ids: HashMap<&[u8], u32> = texts.iter().copied().zip(0..).collect();
    let mut merges = Vec::new();
    let mut joined = Vec::new();
    for text in strings {
        // No token holds a space, but a merge of the space itself would start with one.
        let Some(at) = text.iter().skip(1).position(|byte| *byte == b' ') else { continue };
        let (left, right) = text.split_at(at + 1);
        let Some(right) = right.get(1..) else { continue };
        joined.clear();
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        if let (Some(left), Some(right), Some(merged)) = (ids.get(left), ids.get(right), ids.get(joined.as_slice())) {
            merges.push([*left, *right, *merged]);
        }
    }
    Ok(merges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_cover_every_byte_once() {
        let map = stand_ins();
        assert_eq!(map.len(), 256);
        let mut bytes: Vec<u8> = map.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        // Known from every GPT-2 vocabulary.
        for (c, byte) in [('Ġ', b' '), ('Ċ', b'\n'), ('!', b'!'), ('Ā', 0), ('ł', 0xa0), ('Ń', 0xad), ('ÿ', 255)]
        {
            assert_eq!(map.get(&c), Some(&byte), "{c}");
        }
    }

    #[test]
    fn byte_level_tokens() {
        let map = stand_ins();
        assert_eq!(bpe_bytes(TokenKind::Normal, "Ġthe".as_bytes(), &map), b" the");
        assert_eq!(bpe_bytes(TokenKind::Normal, "Ã©".as_bytes(), &map), "é".as_bytes());
        assert_eq!(bpe_bytes(TokenKind::UserDefined, "Ġx".as_bytes(), &map), "Ġx".as_bytes());
        assert_eq!(bpe_bytes(TokenKind::Normal, "two words".as_bytes(), &map), b"two words");
        assert_eq!(bpe_bytes(TokenKind::Normal, &[0xff, b'a'], &map), [0xff, b'a']);
    }

    #[test]
    fn sentence_piece_tokens() {
        let bytes = |kind, text: &str| sentence_piece_bytes(kind, 7, text.as_bytes());
        assert_eq!(bytes(TokenKind::Normal, "▁a▁▁b").unwrap(), b" a  b");
        assert_eq!(bytes(TokenKind::Control, "▁a").unwrap(), "▁a".as_bytes());
        assert_eq!(bytes(TokenKind::Byte, "<0xE2>").unwrap(), [0xe2]);
        assert!(matches!(bytes(TokenKind::Byte, "x"), Err(ImportError::BadToken { id: 7, .. })));
    }
}
