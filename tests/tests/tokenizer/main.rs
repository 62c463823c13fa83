//! The tokenizer against a plain reference, on real and on made vocabularies, and against broken ones.

mod models;
mod naive;
mod words;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use pipsqueak::tokenizer::{
    DecodeError, Decoder, EncodeError, EncodeOptions, Encoder, Progress, TokenKind, Vocab, max_tokens, scratch_len,
};
use pipsqueak_cli::vocab::{self, PreTokenizer, VocabSource, build};
use proptest::prelude::*;

const PLAIN: EncodeOptions = EncodeOptions { add_bos: false, parse_special: false };
const SPECIAL: EncodeOptions = EncodeOptions { add_bos: false, parse_special: true };

/// Texts with all that is awkward.
const TEXTS: &[&str] = &[
    "",
    " ",
    "  ",
    "a",
    "Once upon a time",
    " leading and trailing  ",
    "the the the\n\n\nthing\t\t \n x",
    "I'll say it's what we've done, they'RE 'x' ' ''s",
    "12 345 6789.01 ½ ² Ⅷ ١٢٣ x1y2",
    "naïve façade été Привет, мир! 漢字かな 한국어 नमस्ते ภาษาไทย עברית العربية",
    "🙂🙂 👩\u{200d}👩\u{200d}👧 🇩🇪 e\u{301} \u{10348}",
    "fn main() {\n    let x = a[i] += 1; // ok\n}\n",
    "\u{a0}\u{2003}\u{3000} \u{85}\u{feff}\u{200b}\0\u{1}\u{7f}",
    "<s>a</s><unk> <|im_start|>user\nhi<|endoftext|><|im_<|im_start|> [note]b [note][note]c<user> d<user>",
    "▁a▁ <0x41>",
];

fn open(section: &[u8]) -> Vocab<'_> {
    Vocab::new(section).unwrap()
}

fn encode(vocab: Vocab<'_>, text: &str, options: EncodeOptions) -> Vec<u32> {
    vocab::encode(&vocab, text, options).unwrap()
}

/// The bytes of these tokens, which the heap's and the caller's buffers must agree on.
fn decode(vocab: Vocab<'_>, ids: &[u32], special: bool) -> Vec<u8> {
    let text = vocab::decode(&vocab, ids, special).unwrap();
    let mut out = vec![0; text.len()];
    assert_eq!(vocab.decode(ids, special, &mut out), Ok(text.len()));
    assert_eq!(out, text);
    if let Some(short) = text.len().checked_sub(1) {
        let error = DecodeError::OutputTooSmall { need: text.len(), got: short };
        assert_eq!(vocab.decode(ids, special, &mut out[..short]), Err(error));
    }
    text
}

/// Every made vocabulary.
fn small() -> Vec<VocabSource> {
    let mut small = PreTokenizer::ALL.map(|pre| models::small_bpe(pre, 0, true)).to_vec();
    // Words that merges do not reach, as Llama 3 has.
    let mut whole = models::small_bpe(PreTokenizer::Llama3, 0, true);
    let words = [" Once", " 漢字", " other", "12", "\n\n\n"]
        .map(|word| models::token(word.as_bytes(), 0.0, vocab::TokenKind::Normal));
    whole.tokens.extend(words);
    whole.ignore_merges = true;
    small.push(whole);
    // Runs of spaces and lines as names, without a space before the text, as Gemma has.
    let mut gemma = models::small_sentencepiece(false, true);
    let names = ["  ", "   ", "\n", "\n\n", "\t", "<unused1>", "<unused2>"];
    gemma.tokens.extend(names.map(|name| models::token(name.as_bytes(), 0.0, vocab::TokenKind::UserDefined)));
    small.push(gemma);
    small.extend([models::small_sentencepiece(true, true), models::small_sentencepiece(false, true)]);
    small
}

fn matches_the_reference(source: &VocabSource, section: &[u8], text: &str) {
    for options in [PLAIN, SPECIAL] {
        let ids = encode(open(section), text, options);
        assert_eq!(ids, naive::encode(source, text, options.parse_special), "{text:?}, {options:?}");
        let back = decode(open(section), &ids, options.parse_special);
        assert_eq!(String::from_utf8_lossy(&back), text, "{options:?}");
        assert_eq!(streamed(open(section), &ids, options.parse_special), text);
    }
}

/// The text as the streaming decoder gives it.
fn streamed(vocab: Vocab<'_>, ids: &[u32], special: bool) -> String {
    let (mut decoder, mut text) = (Decoder::new(vocab, special), String::new());
    for &id in ids {
        decoder.push(id, |part| text.push_str(part)).unwrap();
    }
    decoder.flush(|part| text.push_str(part));
    text
}

#[test]
fn small_vocabularies_match_the_reference() {
    for source in small() {
        let section = build(&source).unwrap();
        TEXTS.iter().for_each(|text| matches_the_reference(&source, &section, text));
        matches_the_reference(&source, &section, &TEXTS.concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_texts_match_the_reference(text in "([ a-z]|the |thing|[ \n\t]{1,4}|[0-9]{1,4}|'s|\\PC|<user>|\\[note\\]|<s>){0,60}") {
        static BUILT: LazyLock<Vec<(VocabSource, Vec<u8>)>> =
            LazyLock::new(|| small().into_iter().map(|source| (source.clone(), build(&source).unwrap())).collect());
        for (source, section) in &*BUILT {
            matches_the_reference(source, section, &text);
        }
    }

    #[test]
    fn random_texts_match_the_reference_on_stories260k(text in "([ a-zA-Z]|[ \n.,]{1,3}|the|once upon|\\PC){0,60}") {
        static BUILT: LazyLock<Option<(VocabSource, Vec<u8>)>> =
            LazyLock::new(|| models::stories260k().map(|source| (source.clone(), build(&source).unwrap())));
        if let Some((source, section)) = &*BUILT {
            matches_the_reference(source, section, &text);
        }
    }
}

#[test]
fn stories260k_knows_once_upon_a_time() {
    let Some(source) = models::stories260k() else { return };
    let section = build(&source).unwrap();
    let vocab = open(&section);
    assert_eq!((vocab.vocab_size(), vocab.bos(), vocab.eos(), vocab.add_bos()), (512, Some(1), Some(2), true));
    let with_bos = EncodeOptions { add_bos: true, parse_special: false };
    assert_eq!(encode(vocab, "Once upon a time", with_bos), [1, 403, 407, 261, 378]);
    assert_eq!(naive::encode(&source, "Once upon a time", false), [403, 407, 261, 378]);
    assert_eq!(decode(vocab, &[1, 403, 407, 261, 378], false), b"Once upon a time");
    TEXTS.iter().for_each(|text| matches_the_reference(&source, &section, text));
}

/// The whole file is one word for SentencePiece.
#[test]
fn a_long_text_is_one_word_and_comes_back() {
    let (Some(source), Some(text)) = (models::stories260k(), models::data("tinystories.txt")) else { return };
    let section = build(&source).unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    let ids = encode(open(&section), text, PLAIN);
    assert!(ids.len() < text.len() * 2 / 3, "{} tokens", ids.len());
    assert!(decode(open(&section), &ids, false) == text.as_bytes());
    // Stories do not touch each other: the tokens of the first part are the first tokens.
    let cut = text.find(". ").unwrap() + 1;
    assert!(ids.starts_with(&naive::encode(&source, &text[..cut], false)));
}

#[test]
fn one_endless_word_is_merged_in_good_time() {
    for source in small() {
        let section = build(&source).unwrap();
        let text = "the".repeat(100_000);
        let start = Instant::now();
        assert!(decode(open(&section), &encode(open(&section), &text, PLAIN), false) == text.as_bytes());
        // A fraction of a second; minutes if it were quadratic.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}

#[test]
fn slices_of_any_size_give_the_same_tokens() {
    for source in small() {
        let section = build(&source).unwrap();
        let text = TEXTS.concat();
        let expected = encode(open(&section), &text, SPECIAL);
        for budget in [0, 1, 2, 3, 17, 1000] {
            let mut out = vec![0; max_tokens(text.len())];
            let mut scratch = vec![0; scratch_len(text.len())];
            let mut encoder = Encoder::new(open(&section), &text, SPECIAL, &mut out, &mut scratch).unwrap();
            let mut steps = 1;
            while encoder.step(budget).unwrap() == Progress::More {
                steps += 1;
            }
            assert_eq!(encoder.tokens(), expected, "budget {budget}");
            assert!(steps >= text.len() / budget.max(1) as usize, "{steps} steps with a budget of {budget}");
        }
    }
}

#[test]
fn control_tokens_come_from_text_only_when_asked_for() {
    let section = build(&models::small_bpe(PreTokenizer::Gpt2, 0, true)).unwrap();
    let vocab = open(&section);
    assert_eq!(encode(vocab, "<|im_start|><|im_[note]", SPECIAL), [1, 2, 3]);
    let plain = encode(vocab, "<|im_start|><|im_[note]", PLAIN);
    assert!(plain.len() > 3 && plain.ends_with(&[3]) && !plain.contains(&1) && !plain.contains(&2));
    assert_eq!((vocab.special_id("<|im_start|>"), vocab.special_id("the")), (Some(1), None));
    assert_eq!((vocab.token_id(b"<|im_start|>"), vocab.kind(1)), (None, Some(TokenKind::Control)));
    assert_eq!(
        (decode(vocab, &[1, 3], false), decode(vocab, &[1, 3], true)),
        ("[note]".into(), "<|im_start|>[note]".into())
    );
    assert!(vocab.is_stop(0) && !vocab.is_stop(1));
}

#[test]
fn of_equal_tokens_the_lowest_id_is_found() {
    let source = models::small_sentencepiece(true, true);
    let section = build(&source).unwrap();
    let first = source.tokens.iter().position(|token| token.bytes == b"the").unwrap();
    assert!(first + 2 < source.tokens.len());
    assert_eq!(open(&section).token_id(b"the"), Some(first as u32));
    assert_eq!(open(&section).token_id(b"unused"), None);
}

#[test]
fn four_byte_ids_give_the_same_tokens_as_two_byte_ids() {
    let padding = 1 << 16;
    let narrow = build(&models::small_bpe(PreTokenizer::Gpt2, 0, true)).unwrap();
    let wide = build(&models::small_bpe(PreTokenizer::Gpt2, padding, true)).unwrap();
    for text in TEXTS {
        let moved = |id: u32| if id < 4 { id } else { id + padding as u32 };
        let expected: Vec<u32> = encode(open(&narrow), text, SPECIAL).into_iter().map(moved).collect();
        assert_eq!(encode(open(&wide), text, SPECIAL), expected, "{text:?}");
    }
}

#[test]
fn what_cannot_be_spelled_is_left_out_and_counted_or_unknown() {
    let section = build(&models::small_bpe(PreTokenizer::Gpt2, 0, false)).unwrap();
    let (mut out, mut scratch) = ([0; 64], [0; 64]);
    let mut encoder = Encoder::new(open(&section), "a🦀b", PLAIN, &mut out, &mut scratch).unwrap();
    assert_eq!(encoder.step(u32::MAX), Ok(Progress::Done));
    assert_eq!((encoder.len(), encoder.unspelled_bytes()), (5, 1));

    let section = build(&models::small_sentencepiece(false, false)).unwrap();
    let ids = encode(open(&section), "a🦀b", PLAIN);
    assert_eq!((ids.len(), ids[1]), (3, 0));
}

#[test]
fn buffers_that_are_too_small_are_errors_with_the_size_that_would_do() {
    for source in small() {
        let section = build(&source).unwrap();
        let text = "Once upon a time there was <user>";
        let expected = encode(open(&section), text, PLAIN);
        let mut scratch = vec![0; scratch_len(text.len())];
        for room in 0..expected.len() {
            let mut out = vec![0; room];
            let error = EncodeError::OutputTooSmall { need: expected.len(), got: room };
            assert_eq!(open(&section).encode(text, PLAIN, &mut out, &mut scratch), Err(error));
            assert_eq!(out, expected[..room]);
        }
        let (mut out, mut got) = (vec![0; 64], 0);
        loop {
            match open(&section).encode(text, PLAIN, &mut out, &mut vec![0; got]) {
                Err(EncodeError::ScratchTooSmall { need, got: found }) => {
                    assert!(found == got && need > got && need <= scratch_len(text.len()), "{need} {got}");
                    got = need;
                }
                result => break assert_eq!(result, Ok(expected.len())),
            }
        }
    }
    let section = build(&models::small_bpe(PreTokenizer::Gpt2, 0, true)).unwrap();
    let with_bos = EncodeOptions { add_bos: true, parse_special: false };
    assert_eq!(open(&section).encode("", with_bos, &mut [], &mut []), Err(EncodeError::NoBos));
    let unknown = DecodeError::UnknownToken { id: 1 << 30, vocab_size: open(&section).vocab_size() };
    assert_eq!(open(&section).decode(&[1 << 30], false, &mut []), Err(unknown));
}

/// Every part is whole characters, and broken bytes become U+FFFD where they stand.
#[test]
fn streaming_holds_back_what_is_not_yet_a_character() {
    let section = build(&models::small_sentencepiece(true, true)).unwrap();
    let vocab = open(&section);
    let id = |byte| vocab.byte_id(byte).unwrap();
    let mut decoder = Decoder::new(vocab, false);
    let parts = |decoder: &mut Decoder<'_>, bytes: &[u8]| {
        let mut parts = vec![];
        bytes.iter().for_each(|&byte| decoder.push(id(byte), |part| parts.push(part.to_string())).unwrap());
        parts
    };
    assert_eq!(parts(&mut decoder, &[0xf0, 0x9f, 0x99]), [""; 0]);
    assert_eq!(parts(&mut decoder, &[0x82, b'a', 0xc3]), ["🙂", "a"]);
    assert_eq!(parts(&mut decoder, &[0xc3, 0xa9]), ["\u{fffd}", "é"]);
    assert_eq!(parts(&mut decoder, &[0xe6, 0xbc, b'x', 0x80, 0xff]), ["\u{fffd}", "x", "\u{fffd}", "\u{fffd}"]);
    assert_eq!(parts(&mut decoder, &[0xe6]), [""; 0]);
    let mut end = String::new();
    decoder.flush(|part| end.push_str(part));
    decoder.flush(|part| end.push_str(part));
    assert_eq!(end, "\u{fffd}");
}

#[test]
fn the_added_space_and_no_other_is_taken_away() {
    let section = build(&models::small_sentencepiece(true, true)).unwrap();
    let vocab = open(&section);
    let space = vocab.token_id(b" ").unwrap();
    assert_eq!(decode(vocab, &[1, space, space, space], false), b"  ");
    assert_eq!(decode(vocab, &[space, 1, space, space], false), b" ");
    let mut text = String::new();
    Decoder::continuing(vocab, false).push(space, |part| text.push_str(part)).unwrap();
    assert_eq!(text, " ");
}

#[test]
fn every_truncation_is_an_error() {
    for source in small() {
        let mut section = build(&source).unwrap();
        (0..section.len()).for_each(|len| assert!(Vocab::new(&section[..len]).is_err(), "{len} bytes"));
        section.push(0);
        assert!(Vocab::new(&section).is_err());
    }
}

/// A broken section is refused, or it is another vocabulary, which must work.
#[test]
fn no_single_byte_can_make_a_vocabulary_panic() {
    let text = "the thing 12 été🙂 <user>x[note]y<s><|im_start|>";
    for (n, source) in small().into_iter().enumerate() {
        let section = build(&source).unwrap();
        let (mut broken, mut refused) = (section.clone(), 0);
        for at in 0..section.len() {
            for change in [1, 0x80, 0xff, (at * 37 + n) as u8 | 1] {
                broken[at] ^= change;
                match Vocab::new(&broken) {
                    Err(error) => {
                        refused += 1;
                        assert!(!error.to_string().is_empty());
                    }
                    Ok(vocab) => {
                        let ids = encode(vocab, text, SPECIAL);
                        decode(vocab, &ids, true);
                        decode(vocab, &[0, 1, 2, 3, vocab.vocab_size() - 1], false);
                        streamed(vocab, &ids, false);
                    }
                }
                broken[at] = section[at];
            }
        }
        println!("{refused} of {} changes refused", section.len() * 4);
        assert!(refused > section.len());
    }
}
