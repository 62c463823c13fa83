//! Any bytes as a vocabulary (an image's section, or llama2.c's file) and a text: what is encoded decodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak::{Vocab, tokenizer::{Decoder, EncodeOptions}};
use pipsqueak_cli::{import::llama2c, vocab};

fuzz_target!(|data: &[u8]| {
    // The first byte says how much at the end is text, the second how many tokens a llama2.c file has.
    let [text_len, tokens, rest @ ..] = data else { return };
    let (file, text) = rest.split_at(rest.len().saturating_sub(*text_len as usize));
    let text = String::from_utf8_lossy(text);
    let imported = llama2c::tokenizer(file, *tokens as u32).ok().and_then(|source| vocab::build(&source).ok());
    for section in [Some(file), imported.as_deref()].into_iter().flatten() {
        let Ok(vocab) = Vocab::new(section) else { continue };
        for parse_special in [false, true] {
            let options = EncodeOptions { add_bos: vocab.bos().is_some(), parse_special };
            let ids = vocab::encode(&vocab, &text, options).expect("memory is always enough");
            assert!(ids.iter().all(|id| *id < vocab.vocab_size()));
            let mut decoder = Decoder::new(vocab, true);
            let mut shown = String::new();
            ids.iter().for_each(|id| decoder.push(*id, |piece| shown += piece).expect("a token of this vocabulary"));
            decoder.flush(|piece| shown += piece);
            vocab::decode(&vocab, &ids, parse_special).expect("tokens of this vocabulary");
        }
    }
});
