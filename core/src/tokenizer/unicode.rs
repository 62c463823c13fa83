//! The Unicode properties that pre-tokenizers ask for: letter, number and white space; some, mark and punctuation too.

use super::unicode_tables::{CASED, MARKS, PUNCTUATION, RUNS};

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
        _ => {
            let after = RUNS.partition_point(|run| run >> 2 <= u32::from(c));
            let run = after.checked_sub(1).and_then(|i| RUNS.get(i));
            match run.map_or(0, |run| run & 3) {
                1 => CharClass::Letter,
                2 => CharClass::Number,
                3 => CharClass::Space,
                _ => CharClass::Other,
            }
        }
    }
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
