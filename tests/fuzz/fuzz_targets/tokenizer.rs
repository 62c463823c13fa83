//! Any bytes as a vocabulary (an image's section, or llama2.c's file) and a text: every pre-tokenizer cuts all of it, and what is
//! encoded decodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak::{
    Vocab,
    tokenizer::{Decoder, EncodeOptions, Encoder, PreTokenizer, Progress, max_tokens, scratch_len},
};
use pipsqueak_cli::{import::llama2c, vocab};

fuzz_target!(|data: &[u8]| {
    // The first byte says how much at the end is text, the second how many tokens a llama2.c file has.
    let [text_len, tokens, rest @ ..] = data else { return };
    let (file, text) = rest.split_at(rest.len().saturating_sub(*text_len as usize));
    let text = String::from_utf8_lossy(text);
    for pre in PreTokenizer::ALL {
        let words: Vec<&str> = pre.words(&text).collect();
        assert!(words.iter().all(|word| !word.is_empty()) && words.concat() == text, "{pre:?}: {words:?}");
    }
    let imported = llama2c::tokenizer(file, *tokens as u32).ok().and_then(|source| vocab::build(&source).ok());
    for section in [Some(file), imported.as_deref()].into_iter().flatten() {
        let Ok(vocab) = Vocab::new(section) else { continue };
        for parse_special in [false, true] {
            let options = EncodeOptions { add_bos: vocab.bos().is_some(), parse_special };
            let ids = vocab::encode(&vocab, &text, options).expect("memory is always enough");
            assert!(ids.iter().all(|id| *id < vocab.vocab_size()));
            assert_eq!(in_slices(vocab, &text, options, 1 + u32::from(*tokens)), ids);
            let mut decoder = Decoder::new(vocab, true);
            let mut shown = String::new();
            ids.iter().for_each(|id| decoder.push(*id, |piece| shown += piece).expect("a token of this vocabulary"));
            decoder.flush(|piece| shown += piece);
            vocab::decode(&vocab, &ids, parse_special).expect("tokens of this vocabulary");
        }
    }
});

/// The tokens, a little work at a time.
fn in_slices(vocab: Vocab<'_>, text: &str, options: EncodeOptions, budget: u32) -> Vec<u32> {
    let (mut tokens, mut scratch) = (vec![0; max_tokens(text.len())], vec![0; scratch_len(text.len())]);
    let mut encoder = Encoder::new(vocab, text, options, &mut tokens, &mut scratch).expect("as before");
    while encoder.step(budget).expect("memory is always enough") == Progress::More {}
    encoder.tokens().to_vec()
}
