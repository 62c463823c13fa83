//! Any bytes as the chat pieces of an image: refused, or turns that have tokens of the vocabulary.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pipsqueak::{
    Vocab,
    chat::{Chat, ChatError, Room, Turn},
};
use pipsqueak_cli::{chat::aligned, vocab};
use pipsqueak_tests::small_vocab;

fn vocabulary() -> &'static [u8] {
    static VOCABULARY: OnceLock<Vec<u8>> = OnceLock::new();
    VOCABULARY.get_or_init(|| vocab::build(&small_vocab::chat(small_vocab::sentencepiece())).expect("a vocabulary"))
}

fuzz_target!(|data: &[u8]| {
    let vocab = Vocab::new(vocabulary()).expect("a vocabulary");
    let section = aligned(data);
    let Ok(chat) = Chat::new(section.bytes(), vocab.vocab_size()) else { return };
    let _ = chat.end(&vocab);
    let system = chat.takes_system.then_some(" be a cat ");
    for turn in
        [Turn::First { system: None, user: " é <s>" }, Turn::First { system, user: "" }, Turn::Next { user: "a" }]
    {
        let (mut tokens, mut text, mut scratch) = ([0; 256], [0; 256], [0; 1024]);
        let room = Room { tokens: &mut tokens, text: &mut text, scratch: &mut scratch };
        match chat.encode(&vocab, turn, room) {
            Ok(count) => assert!(tokens[..count].iter().all(|id| *id < vocab.vocab_size())),
            Err(error) => assert!(matches!(error, ChatError::TextRoom { .. } | ChatError::Encode(_)), "{error}"),
        }
    }
});
