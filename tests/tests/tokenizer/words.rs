//! The words of every pre-tokenizer against its regular expressions, over texts of mixed scripts.

use pipsqueak_cli::vocab::PreTokenizer;
use proptest::{prelude::*, sample::select};

use super::{TEXTS, naive};

/// What pre-tokenizers tell apart, and what stands at the edges of their tables.
const PARTS: &[&str] = &[
    // Letters: of both cases, of one, of none; title case; modifiers; at the edges of deepseek-llm's list.
    "a",
    "B",
    "word",
    "Word",
    "é",
    "Straße",
    "ǅ",
    "ʰ",
    "ª",
    "ƻ",
    "ʔ",
    "Ж",
    "щи",
    "Ω",
    "ა",
    "Ა",
    "Ḁ",
    "ᾳ",
    "Å",
    "ｗ",
    "Ｗ",
    "𐐀",
    "𞤀",
    "漢",
    "漢字",
    "龥",
    "龦",
    "ひら",
    "カナ",
    "한",
    "힣",
    "א",
    "عربي",
    "देव",
    "ไทย",
    "ࠀ",
    "ꙭ",
    "ſ",
    "ﬆ",
    // Contractions and what looks like one.
    "'",
    "'s",
    "'S",
    "'t",
    "'re",
    "'RE",
    "'Ve",
    "'ll",
    "'lL",
    "'m",
    "'d",
    "'ſ",
    "'l",
    "'x",
    "''s",
    "’s",
    // Numbers.
    "0",
    "7",
    "12",
    "345",
    "6789",
    "12345678",
    "٣",
    "२",
    "½",
    "²",
    "Ⅷ",
    "〇",
    "９",
    "1\u{301}2",
    // Marks.
    "\u{301}",
    "\u{93f}",
    "\u{20dd}",
    "\u{fe0f}",
    "\u{e0100}",
    // Punctuation and symbols.
    ".",
    ",",
    "!",
    "?!",
    "-",
    "_",
    "(",
    "[x]",
    "\\",
    "/",
    "$",
    "+",
    "<=",
    ">",
    "^",
    "~",
    "|",
    "`",
    "©",
    "€",
    "→",
    "±",
    "。",
    "、",
    "“",
    "”",
    "‘",
    "…",
    "—",
    "！",
    "（",
    "～",
    "／",
    "＄",
    "🙂",
    "👩\u{200d}👧",
    "🇩🇪",
    // White space.
    " ",
    "  ",
    "   ",
    "\t",
    "\t\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " \n",
    "\n ",
    "\u{b}",
    "\u{85}",
    "\u{a0}",
    "\u{1680}",
    "\u{2003}",
    "\u{2028}",
    "\u{202f}",
    "\u{3000}",
    "\u{3000}\u{3000}",
    " \u{2003} ",
    // Neither: controls, format characters, private use, unassigned.
    "\0",
    "\u{7f}",
    "\u{200b}",
    "\u{feff}",
    "\u{e000}",
    "\u{378}",
    "\u{10ffff}",
];

fn agree(text: &str) {
    for pre in PreTokenizer::ALL {
        assert!(pre.is_linked());
        let words: Vec<_> = pre.words(text).collect();
        assert_eq!(words, naive::words(pre, text), "{pre:?}, {text:?}");
    }
}

#[test]
fn the_texts_are_cut_as_the_expressions_cut_them() {
    TEXTS.iter().for_each(|text| agree(text));
    agree(&TEXTS.concat());
    agree(&PARTS.concat());
}

#[test]
fn every_two_and_some_three_parts_are_cut_as_the_expressions_cut_them() {
    for (n, first) in PARTS.iter().enumerate() {
        for second in PARTS {
            agree(&[*first, second].concat());
            agree(&[first, second, PARTS[n * 7 % PARTS.len()], second].concat());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_in_any_order_are_cut_as_the_expressions_cut_them(parts in prop::collection::vec(select(PARTS), 0..14)) {
        agree(&parts.concat());
    }

    #[test]
    fn any_characters_are_cut_as_the_expressions_cut_them(text in "(.|[ \n\t\r]|\\p{L}|\\p{N}|\\p{M}|\\p{P}|\\p{Z}){0,16}") {
        agree(&text);
    }
}
