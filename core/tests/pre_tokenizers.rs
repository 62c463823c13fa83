//! Pre-tokenizers that a build leaves out are refused by name, with whatever features it has:
//!
//! `cargo test -p pipsqueak --no-default-features --features weights-float,cache-f32,gate-silu,pre-falcon --test pre_tokenizers`

use pipsqueak::tokenizer::{PreTokenizer, Vocab, VocabError, layout};

#[test]
fn what_is_left_out_is_refused_by_name() {
    for pre in PreTokenizer::ALL {
        // A header without tokens: what is looked at after the pre-tokenizer.
        let mut section = [0; layout::HEADER_BYTES];
        section[..4].copy_from_slice(&layout::MAGIC.to_le_bytes());
        section[4..8].copy_from_slice(&[layout::VERSION as u8, 0, layout::MODEL_BPE, pre.code()]);
        let feature = if cfg!(feature = "vocab-bpe") { pre.feature() } else { "vocab-bpe" };
        let expected =
            if pre.is_linked() { VocabError::TokenCount { got: 0 } } else { VocabError::LeftOut { feature } };
        assert_eq!(Vocab::new(&section).err(), Some(expected), "{pre:?}");
        assert_eq!(PreTokenizer::from_code(pre.code()), Some(pre));
    }
    let linked = [
        cfg!(feature = "vocab-bpe"),
        cfg!(feature = "vocab-bpe"),
        cfg!(feature = "pre-llama3"),
        cfg!(feature = "pre-llama3"),
        cfg!(feature = "pre-qwen35"),
        cfg!(feature = "pre-falcon"),
        cfg!(feature = "pre-deepseek"),
        cfg!(feature = "pre-deepseek"),
    ];
    assert_eq!(PreTokenizer::ALL.map(PreTokenizer::is_linked), linked);
}

#[test]
fn numbers_that_are_none_are_refused() {
    let codes = PreTokenizer::ALL.map(PreTokenizer::code);
    for code in (0..=255).filter(|code| !codes.contains(code)) {
        assert_eq!(PreTokenizer::from_code(code), None);
    }
}

/// Every text is cut into all of its parts, also by one that is left out.
#[test]
fn words_are_all_of_the_text() {
    let text = "We'll see 1234 naïve\r\n\r\n  façades,\u{3000}漢字。 e\u{301} $5+ 🙂  ";
    for pre in PreTokenizer::ALL {
        let (mut at, mut words) = (0, 0);
        for word in pre.words(text) {
            assert!(!word.is_empty() && text[at..].starts_with(word));
            at += word.len();
            words += 1;
        }
        assert!(at == text.len() && words > 10, "{pre:?}: {words} words, {at} bytes");
    }
}
