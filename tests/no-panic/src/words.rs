//! The tokenizer: a vocabulary's section, texts to tokens, tokens to texts.

use core::hint::black_box;

use pipsqueak::{
    Vocab,
    tokenizer::{
        Decoder, EncodeOptions, Encoder, PreTokenizer, Progress, char_class, is_cased, is_mark, is_punctuation,
        max_tokens, scratch_len,
    },
};

use crate::Choices;

/// Everything about one vocabulary.
pub fn run(section: &[u8], text: &mut [u8], words: &mut [u32], choices: &mut Choices) {
    let vocab = match Vocab::new(section) {
        Ok(vocab) => vocab,
        Err(error) => {
            black_box(error);
            return;
        }
    };
    look(&vocab, text, choices);
    let options = EncodeOptions { add_bos: choices.next() == 0, parse_special: choices.next() == 0 };
    let Some((out, scratch)) = words.split_at_mut_checked(choices.next()) else { return };
    if let Ok(text) = core::str::from_utf8(text) {
        black_box((scratch_len(text.len()), max_tokens(text.len())));
        black_box(PreTokenizer::from_code(choices.next() as u8).map(|pre| pre.words(text).count()));
        black_box(vocab.encode(text, options, out, scratch).is_ok());
        if let Ok(mut encoder) = Encoder::new(vocab, text, options, out, scratch) {
            // In slices of work.
            while encoder.step(choices.next() as u32) == Ok(Progress::More) {}
            black_box((encoder.tokens(), encoder.len(), encoder.is_empty(), encoder.unspelled_bytes()));
        }
    }
    black_box(vocab.decode(out, choices.next() == 0, text).is_ok());
    let mut decoder = if choices.next() == 0 {
        Decoder::new(vocab, choices.next() == 0)
    } else {
        Decoder::continuing(vocab, choices.next() == 0)
    };
    for id in out {
        black_box(decoder.push(*id, |piece| {
            black_box(piece);
        }))
        .ok();
        if choices.next() == 0 {
            black_box(decoder.push_raw(*id).is_ok());
        }
    }
    decoder.flush(|piece| {
        black_box(piece);
    });
}

fn look(vocab: &Vocab<'_>, bytes: &[u8], choices: &mut Choices) {
    let id = choices.next() as u32;
    black_box((vocab.model(), vocab.vocab_size(), vocab.bos(), vocab.eos(), vocab.unknown(), vocab.add_bos()));
    black_box((vocab.token_bytes(id), vocab.kind(id), vocab.score(id), vocab.is_stop(id)));
    black_box((vocab.token_id(bytes), vocab.byte_id(id as u8), vocab.merge_count(), vocab.max_token_bytes()));
    if let Ok(name) = core::str::from_utf8(bytes) {
        black_box(vocab.special_id(name));
    }
    for id in vocab.specials().chain(vocab.stops()) {
        black_box(id);
    }
    black_box(char::from_u32(id).map(|c| (char_class(c), is_cased(c), is_mark(c), is_punctuation(c))));
    black_box(PreTokenizer::from_code(id as u8).map(|pre| (pre.code(), pre.feature(), pre.is_linked())));
    black_box(vocab.ignores_merges());
}
