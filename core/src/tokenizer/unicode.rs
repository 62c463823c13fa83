//! The Unicode properties that pre-tokenizers ask for: letter, number and white space; some,
//! mark, punctuation and case too.

use super::unicode_tables::{CASED, CASES, MARKS, PUNCTUATION, RUNS};

/// What a character is to a pre-tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum CharClass {
    /// None of the others (marks, punctuation, symbols, controls, unassigned).
    Other = 0,
    /// General category L.
    Letter = 1,
    /// General category N.
    Number = 2,
    /// Property White_Space.
    Space = 3,
}

/// The class of a character, after the Unicode version that `unicode_tables.rs` names.
///
/// ASCII is decided at once; the rest by binary search in 4-byte runs.
pub fn char_class(c: char) -> CharClass {
    match c {
        'a'..='z' | 'A'..='Z' => CharClass::Letter,
        '0'..='9' => CharClass::Number,
        ' ' | '\t'..='\r' => CharClass::Space,
        '\0'..='\x7f' => CharClass::Other,
        _ => match run_of(&RUNS, c) & 3 {
            1 => CharClass::Letter,
            2 => CharClass::Number,
            3 => CharClass::Space,
            _ => CharClass::Other,
        },
    }
}

/// The case of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LetterCase {
    /// Neither, or no letter.
    None,
    /// General categories Lu and Lt.
    Upper,
    /// General category Ll.
    Lower,
}

/// The case of a character, likewise.
pub fn letter_case(c: char) -> LetterCase {
    match c {
        'a'..='z' => LetterCase::Lower,
        'A'..='Z' => LetterCase::Upper,
        '\0'..='\x7f' => LetterCase::None,
        _ => {
            let run = run_of(&CASES, c);
            let second = (u32::from(c) ^ run >> 2) & 1 == 1;
            match run & 3 {
                1 => LetterCase::Upper,
                2 => LetterCase::Lower,
                3 if second => LetterCase::Lower,
                3 => LetterCase::Upper,
                _ => LetterCase::None,
            }
        }
    }
}

/// The run that a character lies in, 0 before the first: where it begins, times four, plus a number.
fn run_of(runs: &[u32], c: char) -> u32 {
    let after = runs.partition_point(|run| run >> 2 <= u32::from(c));
    after.checked_sub(1).and_then(|i| runs.get(i)).copied().unwrap_or(0)
}

/// Whether a character is a mark, general category M.
pub fn is_mark(c: char) -> bool {
    is_in(&MARKS, c)
}

/// Whether a character is punctuation, general category P.
pub fn is_punctuation(c: char) -> bool {
    is_in(&PUNCTUATION, c)
}

/// Whether a character is one of the cased letters that deepseek-llm's expression lists.
pub fn is_cased(c: char) -> bool {
    is_in(&CASED, c)
}

/// `edges` are where runs begin and end, in turn.
fn is_in(edges: &[u32], c: char) -> bool {
    edges.partition_point(|edge| *edge <= u32::from(c)) % 2 == 1
}
