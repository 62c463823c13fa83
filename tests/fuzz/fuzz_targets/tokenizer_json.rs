//! Any bytes as a `tokenizer.json`: refused, or a vocabulary that can be packed, or that the packer refuses; a packed one cuts
//! text. The first two bytes are the rows of the embedding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak::{Vocab, tokenizer::EncodeOptions};
use pipsqueak_cli::{import::huggingface, vocab};

const TEXT: &str = "the cat sat on 12 mats: \u{e9} \u{1f642} <s><|endoftext|>\u{2581}";

fuzz_target!(|data: &[u8]| {
    let [low, high, json @ ..] = data else { return };
    let rows = u16::from_le_bytes([*low, *high]);
    let Ok(source) = huggingface::tokenizer_alone(json, rows.into()) else { return };
    assert_eq!(source.tokens.len(), usize::from(rows));
    let Ok(section) = vocab::build(&source) else { return };
    let vocab = Vocab::new(&section).expect("it was checked when it was built");
    for parse_special in [false, true] {
        let options = EncodeOptions { add_bos: vocab.bos().is_some(), parse_special };
        let ids = vocab::encode(&vocab, TEXT, options).expect("memory is always enough");
        vocab::decode(&vocab, &ids, parse_special).expect("tokens of this vocabulary");
    }
});
