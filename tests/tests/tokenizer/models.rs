//! Vocabularies for the tests: the stories260K one from disk, and small ones made here.

use std::collections::HashMap;
use std::path::PathBuf;

use pipsqueak_cli::vocab::{PreTokenizer, Token, TokenKind, VocabModel, VocabSource};

/// A test file, or `None` with a line that says so; its absence is a failure where `CI` is set.
pub(crate) fn data(name: &str) -> Option<Vec<u8>> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("PIPSQUEAK_DATA").map_or(default, PathBuf::from).join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{}: {error}", path.display());
            println!("skipped: {}: {error}", path.display());
            None
        }
    }
}

pub(crate) fn token(bytes: &[u8], score: f32, kind: TokenKind) -> Token {
    Token { bytes: bytes.to_vec(), score, kind }
}

/// llama2.c's tokenizer file: i32 longest token, then for each token f32 score, i32 length, bytes; 0 is unknown, 1 BOS,
/// 2 EOS, 3..259 are the bytes.
pub(crate) fn stories260k() -> Option<VocabSource> {
    let file = data("tok512.bin")?;
    let (mut rest, mut tokens) = (&file[4..], vec![]);
    while !rest.is_empty() {
        let score = f32::from_le_bytes(rest[..4].try_into().unwrap());
        let len = i32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let bytes = &rest[8..8 + len];
        rest = &rest[8 + len..];
        tokens.push(match tokens.len() {
            0 => token(b"<unk>", score, TokenKind::Unknown),
            1 => token(b"<s>", score, TokenKind::Control),
            2 => token(b"</s>", score, TokenKind::Control),
            id @ 3..259 => token(&[(id - 3) as u8], score, TokenKind::Byte),
            _ => token(bytes, score, TokenKind::Normal),
        });
    }
    Some(VocabSource {
        model: VocabModel::SentencePiece { add_space_prefix: true },
        tokens,
        merges: vec![],
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        stops: vec![2],
        add_bos: true,
        ignore_merges: false,
    })
}

/// Text that the small vocabularies are trained on.
const CORPUS: &str = "Once upon a time there was a little tokenizer. It wasn't big, but it could read the text in the \
    book, and it said: \"the the the thing, the other thing — naïve façade\"; 1234 and 2024, été, été! Привет привет \
    мир, 漢字 漢字   three spaces\n\n  and lines\n\n\tfor i in 0..10 { sum += x[i]; }\n    return sum;\n 🙂🙂 🙂";

/// A small SentencePiece vocabulary with scores that often tie, some special tokens and, if asked for, no byte 0xF0.
pub(crate) fn small_sentencepiece(add_space_prefix: bool, all_bytes: bool) -> VocabSource {
    let mut tokens = vec![
        token(b"<unk>", 0.0, TokenKind::Unknown),
        token(b"<s>", 0.0, TokenKind::Control),
        token(b"</s>", 0.0, TokenKind::Control),
        token(b"<user>", 0.0, TokenKind::UserDefined),
    ];
    let bytes = (0..=255).filter(|&byte| all_bytes || byte != 0xf0);
    tokens.extend(bytes.map(|byte| token(&[byte], 0.0, TokenKind::Byte)));
    let text: Vec<char> = CORPUS.chars().collect();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for len in 1..7 {
        for window in text.windows(len) {
            *counts.entry(window.iter().collect()).or_default() += 1;
        }
    }
    let mut pieces: Vec<_> = counts.into_iter().filter(|(_, n)| *n > 1).collect();
    pieces.sort_by(|(a, n), (b, m)| m.cmp(n).then(a.cmp(b)));
    tokens.extend(pieces.iter().map(|(piece, n)| token(piece.as_bytes(), -1.0 / *n as f32, TokenKind::Normal)));
    tokens.push(token(b"the", -9.0, TokenKind::Normal)); // a second one: the first must be found
    tokens.push(token(b"unused", 5.0, TokenKind::Unused));
    VocabSource {
        model: VocabModel::SentencePiece { add_space_prefix },
        tokens,
        merges: vec![],
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        stops: vec![2, 1],
        add_bos: true,
        ignore_merges: false,
    }
}

/// A small byte-level BPE vocabulary with trained merges and some special tokens; `padding` unused tokens come first.
pub(crate) fn small_bpe(pre: PreTokenizer, padding: usize, all_bytes: bool) -> VocabSource {
    let mut tokens = vec![
        token(b"<|endoftext|>", 0.0, TokenKind::Control),
        token(b"<|im_start|>", 0.0, TokenKind::Control),
        token(b"<|im_", 0.0, TokenKind::Control),
        token(b"[note]", 0.0, TokenKind::UserDefined),
    ];
    tokens.resize(4 + padding, token(b"", 0.0, TokenKind::Unused));
    let first_byte = tokens.len() as u32;
    let bytes = (0..=255).filter(|&byte| all_bytes || byte != 0xf0);
    tokens.extend(bytes.map(|byte| token(&[byte], 0.0, TokenKind::Normal)));
    let id = |byte| tokens[first_byte as usize..].iter().position(|t| t.bytes == [byte]);
    let mut word: Vec<u32> = CORPUS.bytes().filter_map(id).map(|i| first_byte + i as u32).collect();
    let mut merges = vec![];
    for _ in 0..150 {
        let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
        word.windows(2).for_each(|pair| *counts.entry((pair[0], pair[1])).or_default() += 1);
        let Some((&(left, right), _)) = counts.iter().max_by_key(|(pair, n)| (**n, **pair)) else { break };
        let bytes = [&tokens[left as usize].bytes[..], &tokens[right as usize].bytes[..]].concat();
        // Another merge may have made the same bytes.
        let known = tokens.iter().position(|t| t.kind == TokenKind::Normal && t.bytes == bytes);
        let merged = known.unwrap_or(tokens.len()) as u32;
        if known.is_none() {
            tokens.push(token(&bytes, 0.0, TokenKind::Normal));
        }
        merges.push([left, right, merged]);
        let mut at = 0;
        while at + 1 < word.len() {
            if word[at..at + 2] == [left, right] {
                word.splice(at..at + 2, [merged]);
            }
            at += 1;
        }
    }
    VocabSource {
        model: VocabModel::Bpe(pre),
        tokens,
        merges,
        bos: None,
        eos: Some(0),
        unknown: None,
        stops: vec![0],
        add_bos: false,
        ignore_merges: false,
    }
}
