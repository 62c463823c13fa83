//! Small vocabularies that spell any text.

use pipsqueak_cli::vocab::{PreTokenizer, Token, TokenKind, VocabModel, VocabSource};

fn token(bytes: &[u8], score: f32, kind: TokenKind) -> Token {
    Token { bytes: bytes.to_vec(), score, kind }
}

/// SentencePiece: unknown, BOS, EOS, all bytes, then words and their beginnings: 300 tokens.
pub fn sentencepiece() -> VocabSource {
    let mut tokens = vec![
        token(b"<unk>", 0.0, TokenKind::Unknown),
        token(b"<s>", 0.0, TokenKind::Control),
        token(b"</s>", 0.0, TokenKind::Control),
    ];
    tokens.extend((0..=255u8).map(|byte| token(&[byte], 0.0, TokenKind::Byte)));
    let pieces =
        " e t a o n i s h r d l u é th he the re nd and Once upon a time was ed ing big cat red sat mat on x y z";
    for (i, piece) in pieces.split(' ').enumerate() {
        let piece = if i == 0 { " " } else { piece };
        tokens.push(token(piece.as_bytes(), -(i as f32), TokenKind::Normal));
    }
    tokens.truncate(300);
    tokens.resize(300, token(b"", 0.0, TokenKind::Unused));
    VocabSource {
        model: VocabModel::SentencePiece { add_space_prefix: true },
        tokens,
        merges: vec![],
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        stops: vec![2],
        add_bos: true,
        ignore_merges: false,
    }
}

/// Byte-level BPE: EOS, all bytes, and some merges: 300 tokens.
pub fn bpe() -> VocabSource {
    let mut tokens = vec![token(b"<|endoftext|>", 0.0, TokenKind::Control)];
    tokens.extend((0..=255u8).map(|byte| token(&[byte], 0.0, TokenKind::Normal)));
    let mut merges = Vec::new();
    for pair in [["t", "h"], ["th", "e"], [" ", "the"], ["a", "n"], ["an", "d"], [" ", "a"], ["é", "s"], ["1", "2"]] {
        let find = |text: &str| tokens.iter().position(|token| token.bytes == text.as_bytes());
        let [Some(left), Some(right)] = pair.map(find) else { continue };
        merges.push([left as u32, right as u32, tokens.len() as u32]);
        tokens.push(token(pair.concat().as_bytes(), 0.0, TokenKind::Normal));
    }
    tokens.resize(300, token(b"", 0.0, TokenKind::Unused));
    VocabSource {
        model: VocabModel::Bpe(PreTokenizer::Smollm),
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
