//! The expression of GPT-4o and of Mistral's Tekken: as Llama 3's, but a word of letters also ends where capitals begin
//! again, and contractions belong to the word before them. With `U` for `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, `L` for
//! `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`, `P` for `[^\r\n\p{L}\p{N}]` and `C` for `(?i:'s|'t|'re|'ve|'m|'ll|'d)`:
//!
//! * `P?U*L+C?`, else `P?U+L*C?` (Tekken without `C?`). A run of `U` that no small letter follows gives back, to match `L+`,
//!   all behind its last character that is in `L` too; only where it has none does the second expression take it.
//! * `\p{N}{1,3}` (Tekken `\p{N}`), ` ?[^\s\p{L}\p{N}]+[\r\n/]*`, `\s*[\r\n]+`, `\s+(?!\S)`, `\s+`.

use super::{PreTokenizer, char_at, contraction, llama3};
use crate::tokenizer::unicode::{CharClass, LetterCase, char_class, is_mark, letter_case};

/// Where the search for the end of a word stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of the word is read.
    Start,
    /// Inside `U*`; its last character that is in `L` too ends at `both` (0 without).
    Upper { both: usize },
    /// Inside `L+`.
    Lower,
    /// Inside `[^\s\p{L}\p{N}]+`.
    Others,
    /// Inside the `[\r\n/]*` after those.
    Lines,
    /// Numbers and white space are cut as Llama 3 cuts them.
    Llama3(llama3::Cutter),
}

/// What letters are to `U` and `L`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    Upper,
    Lower,
    Both,
}

/// The search for the end of one word.
#[derive(Clone, Copy, Debug)]
pub(in crate::tokenizer) struct Cutter {
    pre: PreTokenizer,
    state: State,
    at: usize,
}

impl Cutter {
    /// A word begins at byte `start`.
    pub(super) fn new(pre: PreTokenizer, start: usize) -> Self {
        Self { pre, state: State::Start, at: start }
    }

    /// Reads at most three characters; returns where the word ends when that is known.
    pub(super) fn step(&mut self, text: &str) -> Option<usize> {
        if let State::Llama3(cutter) = &mut self.state {
            return cutter.step(text);
        }
        let Some((c, end)) = char_at(text, self.at) else { return Some(self.letters_end(text)) };
        match (self.state, letter(c)) {
            (State::Start, found) => return self.begin(text, c, end, found),
            (State::Upper { .. } | State::Lower, Some(Letter::Lower)) => self.state = State::Lower,
            (State::Upper { .. }, Some(Letter::Both)) => self.state = State::Upper { both: end },
            (State::Upper { .. }, Some(Letter::Upper)) | (State::Lower, Some(Letter::Both)) => {}
            (State::Upper { .. } | State::Lower, _) => return Some(self.letters_end(text)),
            (State::Others, _) if char_class(c) == CharClass::Other => {}
            (State::Others | State::Lines, _) if matches!(c, '\r' | '\n' | '/') => self.state = State::Lines,
            _ => return Some(self.at),
        }
        self.at = end;
        None
    }

    /// Where a word ends of which all is read.
    fn letters_end(&self, text: &str) -> usize {
        match self.state {
            State::Upper { both } if both != 0 && both < self.at => both,
            State::Upper { .. } | State::Lower if self.pre == PreTokenizer::Gpt4o => {
                let apostrophe = char_at(text, self.at).filter(|(c, _)| *c == '\'');
                let suffix = apostrophe.and_then(|(_, end)| Some(end + contraction(text, end, true)?));
                suffix.unwrap_or(self.at)
            }
            _ => self.at,
        }
    }

    /// The first character is `c`; reads up to one more.
    fn begin(&mut self, text: &str, c: char, end: usize, found: Option<Letter>) -> Option<usize> {
        let class = char_class(c);
        let next = char_at(text, end);
        let enter = |found, end| match found {
            Letter::Upper => State::Upper { both: 0 },
            Letter::Lower => State::Lower,
            Letter::Both => State::Upper { both: end },
        };
        let llama3 = if self.pre == PreTokenizer::Gpt4o { PreTokenizer::Llama3 } else { PreTokenizer::Qwen2 };
        let (at, state) = match (found, next.and_then(|(next, after)| Some((letter(next)?, after)))) {
            (Some(found), _) => (end, enter(found, end)),
            // Anything but a line end or a number may stand before letters.
            (None, Some((found, after))) if class != CharClass::Number && !matches!(c, '\r' | '\n') => {
                (after, enter(found, after))
            }
            (None, _) => match next {
                Some((next, after)) if c == ' ' && char_class(next) == CharClass::Other => (after, State::Others),
                _ if class == CharClass::Other => (end, State::Others),
                _ => (end, State::Llama3(llama3::Cutter::new(llama3, self.at))),
            },
        };
        (self.at, self.state) = (at, state);
        None
    }
}

fn letter(c: char) -> Option<Letter> {
    match (char_class(c), letter_case(c)) {
        (CharClass::Letter, LetterCase::Upper) => Some(Letter::Upper),
        (CharClass::Letter, LetterCase::Lower) => Some(Letter::Lower),
        (CharClass::Letter, LetterCase::None) => Some(Letter::Both),
        (CharClass::Other, _) if is_mark(c) => Some(Letter::Both),
        _ => None,
    }
}
