//! The specification: tokenization as slowly and plainly as it can be said.

use std::collections::HashMap;
use std::sync::LazyLock;

use fancy_regex::Regex;
use pipsqueak_cli::vocab::{PreTokenizer, Token, TokenKind, VocabModel, VocabSource};
use pipsqueak_tests::expressions::expressions;

/// All tokens of a text, without BOS.
pub(crate) fn encode(source: &VocabSource, text: &str, parse_special: bool) -> Vec<u32> {
    let (mut out, mut start, mut at) = (vec![], 0, 0);
    while at < text.len() {
        match special_at(source, &text.as_bytes()[at..], parse_special) {
            Some((id, len)) => {
                fragment(source, &text[start..at], &mut out);
                out.push(id);
                at += len;
                start = at;
            }
            None => at += 1,
        }
    }
    fragment(source, &text[start..], &mut out);
    out
}

fn special_at(source: &VocabSource, text: &[u8], parse_special: bool) -> Option<(u32, usize)> {
    let wanted = |token: &Token| match token.kind {
        TokenKind::UserDefined => true,
        TokenKind::Control | TokenKind::Unknown => parse_special,
        _ => false,
    };
    let hits =
        (0..).zip(&source.tokens).filter(|(_, t)| wanted(t) && !t.bytes.is_empty() && text.starts_with(&t.bytes));
    hits.map(|(id, t)| (id, t.bytes.len())).min_by_key(|&(id, len)| (std::cmp::Reverse(len), id))
}

fn fragment(source: &VocabSource, text: &str, out: &mut Vec<u32>) {
    if text.is_empty() {
        return;
    }
    match source.model {
        VocabModel::Bpe(pre) => {
            for word in words(pre, text) {
                match find(source, TokenKind::Normal, word.as_bytes()) {
                    Some(id) if source.ignore_merges => out.push(id),
                    _ => bpe(source, word.as_bytes(), out),
                }
            }
        }
        VocabModel::SentencePiece { add_space_prefix } => {
            let prefix = if add_space_prefix { " " } else { "" };
            sentencepiece(source, &format!("{prefix}{text}"), out);
        }
    }
}

/// The words of a text, by the regular expressions themselves.
pub(crate) fn words(pre: PreTokenizer, text: &str) -> Vec<&str> {
    static ALL: LazyLock<HashMap<u8, Vec<Regex>>> = LazyLock::new(|| {
        let compiled = |pre| expressions(pre).iter().map(|text| Regex::new(text).unwrap()).collect();
        PreTokenizer::ALL.iter().map(|&pre| (pre.code(), compiled(pre))).collect()
    });
    let mut pieces = vec![text];
    for expression in &ALL[&pre.code()] {
        pieces = pieces.into_iter().flat_map(|piece| cut(expression, piece)).collect();
    }
    pieces
}

/// The matches, and what lies between them.
fn cut<'t>(expression: &Regex, text: &'t str) -> Vec<&'t str> {
    let (mut pieces, mut at) = (vec![], 0);
    for found in expression.find_iter(text).map(Result::unwrap) {
        pieces.extend([&text[at..found.start()], found.as_str()]);
        at = found.end();
    }
    pieces.push(&text[at..]);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The lowest id of a token with these bytes.
fn find(source: &VocabSource, kind: TokenKind, bytes: &[u8]) -> Option<u32> {
    source.tokens.iter().position(|t| t.kind == kind && t.bytes == bytes).map(|id| id as u32)
}

fn bpe(source: &VocabSource, word: &[u8], out: &mut Vec<u32>) {
    let mut symbols: Vec<Option<u32>> = word.iter().map(|&b| find(source, TokenKind::Normal, &[b])).collect();
    loop {
        let rank = |pair: &[Option<u32>]| {
            let (left, right) = (pair[0]?, pair[1]?);
            source.merges.iter().position(|merge| merge[..2] == [left, right])
        };
        let best = symbols.windows(2).enumerate().filter_map(|(i, pair)| Some((rank(pair)?, i))).min();
        let Some((rank, i)) = best else { break };
        symbols.splice(i..i + 2, [Some(source.merges[rank][2])]);
    }
    out.extend(symbols.iter().flatten());
}

fn sentencepiece(source: &VocabSource, text: &str, out: &mut Vec<u32>) {
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for (i, pair) in symbols.windows(2).enumerate() {
            if let Some(id) = find(source, TokenKind::Normal, pair.concat().as_bytes()) {
                let score = source.tokens[id as usize].score;
                if best.is_none_or(|(high, _)| score > high) {
                    best = Some((score, i));
                }
            }
        }
        let Some((_, i)) = best else { break };
        let merged = symbols[i..i + 2].concat();
        symbols.splice(i..i + 2, [merged]);
    }
    for symbol in symbols {
        let bytes = symbol.as_bytes();
        let fallback: Vec<_> = bytes.iter().filter_map(|&byte| find(source, TokenKind::Byte, &[byte])).collect();
        match find(source, TokenKind::Normal, bytes) {
            Some(id) => out.push(id),
            None if fallback.len() == bytes.len() => out.extend(fallback),
            None => out.extend(source.unknown),
        }
    }
}
