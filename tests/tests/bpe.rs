//! Training a byte-level BPE vocabulary, against a trainer that counts everything anew for each merge.

use std::collections::{BTreeMap, HashSet};

use pipsqueak::{
    Vocab,
    tokenizer::{EncodeOptions, PreTokenizer},
};
use pipsqueak_cli::{
    corpus::{BpeError, bpe::BASE_TOKENS, documents, train_bpe},
    vocab::{self, VocabSource},
};
use pipsqueak_tests::data;
use proptest::prelude::*;

const PLAIN: EncodeOptions = EncodeOptions { add_bos: false, parse_special: false };

/// The merges, as few as the text gives, and the text's words as the tokens they end as.
fn naive(texts: &[&str], vocab_size: usize) -> (Vec<[u32; 3]>, Vec<Vec<u32>>) {
    let words = texts.iter().flat_map(|text| PreTokenizer::Gpt2.words(text));
    let mut words: Vec<Vec<u32>> = words.map(|word| word.bytes().map(|byte| u32::from(byte) + 1).collect()).collect();
    let mut merges = Vec::new();
    for new in BASE_TOKENS as u32..vocab_size as u32 {
        let mut counts: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *counts.entry((pair[0], pair[1])).or_default() += 1;
        }
        // The first of equals is the one with the lowest ids.
        let Some((&(left, right), _)) = counts.iter().rev().max_by_key(|(_, count)| **count).filter(|(_, n)| **n > 1)
        else {
            break;
        };
        for word in &mut words {
            let mut at = 0;
            while at + 1 < word.len() {
                if (word[at], word[at + 1]) == (left, right) {
                    word.splice(at..at + 2, [new]);
                }
                at += 1;
            }
        }
        merges.push([left, right, new]);
    }
    (merges, words)
}

/// The vocabulary is the naive one, spells its own text as training left it, and every text.
fn check(texts: &[&str], vocab_size: usize, other: &str) {
    let (merges, words) = naive(texts, vocab_size);
    let possible = BASE_TOKENS + merges.len();
    let source = match train_bpe(texts, vocab_size) {
        Err(error) if words.is_empty() => return assert_eq!(error, BpeError::Empty),
        Err(error) => {
            assert_eq!(error, BpeError::PairsRunOut { asked: vocab_size, possible });
            train_bpe(texts, possible).unwrap()
        }
        Ok(source) => source,
    };
    assert_eq!(source.merges, merges);
    assert_eq!(source.tokens.len(), possible);
    let different: HashSet<&[u8]> = source.tokens.iter().map(|token| token.bytes.as_slice()).collect();
    assert_eq!(different.len(), possible, "two tokens have the same bytes");
    let section = vocab::build(&source).unwrap();
    let vocab = Vocab::new(&section).unwrap();
    let encode = |text: &str| vocab::encode(&vocab, text, PLAIN).unwrap();
    assert_eq!(texts.iter().flat_map(|text| encode(text)).collect::<Vec<_>>(), words.concat());
    for text in texts.iter().chain([&other]) {
        assert_eq!(vocab::decode(&vocab, &encode(text), false).unwrap(), text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Few different characters, so that pairs overlap, tie and run out.
    #[test]
    fn merges_are_the_naive_ones(
        texts in prop::collection::vec("[ab é]{0,40}", 0..6),
        merges in 0..40usize,
        other in any::<String>(),
    ) {
        check(&texts.iter().map(String::as_str).collect::<Vec<_>>(), BASE_TOKENS + merges, &other);
    }

    #[test]
    fn merges_of_words_are_the_naive_ones(text in "([tn]?h?[ei]n?g? ?){0,80}", merges in 0..120usize) {
        check(&[&text], BASE_TOKENS + merges, "thing \u{1f642}\0");
    }
}

#[test]
fn a_real_text_gives_words() {
    let Some(text) = data::shared("tinystories.txt") else { return };
    let text = String::from_utf8(text).unwrap();
    let part: Vec<_> = documents(&text).take(20).collect();
    check(&part.iter().map(AsRef::as_ref).collect::<Vec<_>>(), 500, &text[..20_000]);

    let all: Vec<_> = documents(&text).collect();
    let source = train_bpe(&all, 1024).unwrap();
    let of = |source: &VocabSource, bytes: &[u8]| source.tokens.iter().any(|token| token.bytes == bytes);
    assert!([" the", " was", " Lily", "Once", " little", "."].iter().all(|word| of(&source, word.as_bytes())));
    // In any order, and however often.
    assert_eq!(train_bpe(all.iter().rev(), 1024), Ok(source));
    let Err(BpeError::PairsRunOut { asked: 100_000, possible }) = train_bpe(&all, 100_000) else { panic!() };
    assert!((5_000..20_000).contains(&possible), "{possible}");
}

#[test]
fn the_first_token_begins_and_ends_documents() {
    let source = train_bpe(["some text, some text"], BASE_TOKENS + 3).unwrap();
    let section = vocab::build(&source).unwrap();
    let vocab = Vocab::new(&section).unwrap();
    assert_eq!((vocab.bos(), vocab.eos(), vocab.add_bos(), vocab.is_stop(0)), (Some(0), Some(0), true, true));
    assert_eq!(vocab.special_id("<|endoftext|>"), Some(0));
    assert_eq!((vocab.byte_id(0), vocab.byte_id(255)), (Some(1), Some(256)));
    // In a text, its name is text.
    assert!(!vocab::encode(&vocab, "<|endoftext|>", PLAIN).unwrap().contains(&0));
}

#[test]
fn what_cannot_be_trained_says_why() {
    let small = train_bpe(["text"], 256).unwrap_err();
    assert_eq!((small, small.to_string().contains("257")), (BpeError::TooSmall { asked: 256 }, true));
    let large = train_bpe(["text"], 20_000_000).unwrap_err();
    assert_eq!((large, large.to_string().contains("16777216")), (BpeError::TooLarge { asked: 20_000_000 }, true));
    assert_eq!(train_bpe(["", ""], 300), Err(BpeError::Empty));
    // Once is not often.
    let out = train_bpe(["abcdefg"], 258).unwrap_err();
    assert_eq!(out, BpeError::PairsRunOut { asked: 258, possible: 257 });
    assert!(out.to_string().contains("258") && out.to_string().contains("257"));
    assert_eq!(train_bpe(["abcdefg"], 257).unwrap().merges, [] as [[u32; 3]; 0]);
}
