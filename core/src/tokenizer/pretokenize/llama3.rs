//! The expression of Llama 3 and Qwen 2, and Qwen 3.5's, in which marks are letters.

use super::{PreTokenizer, char_at, contraction};
use crate::tokenizer::unicode::{CharClass, char_class, is_mark};

/// Where the search for the end of a word stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of the word is read.
    Start,
    /// Inside `\p{L}+`.
    Letters,
    /// Inside numbers, of which so many more may follow.
    Numbers(u8),
    /// Inside `[^\s\p{L}\p{N}]+`.
    Others,
    /// Inside the `[\r\n]*` after those.
    Lines,
    /// Inside white space: where its last character so far begins, and where its last line end so far ends (0 without).
    Space { last: usize, line: usize },
}

/// The search for the end of one word.
#[derive(Clone, Copy, Debug)]
pub(in crate::tokenizer) struct Cutter {
    pre: PreTokenizer,
    state: State,
    start: usize,
    at: usize,
}

impl Cutter {
    /// A word begins at byte `start`.
    pub(super) fn new(pre: PreTokenizer, start: usize) -> Self {
        Self { pre, state: State::Start, start, at: start }
    }

    /// Reads at most three characters; returns where the word ends when that is known.
    pub(super) fn step(&mut self, text: &str) -> Option<usize> {
        let next = self.class_at(text, self.at);
        let (c, class, end) = match next {
            Some(next) => next,
            // At the end of the text, white space is whole, but for a line end that ends a word.
            None => {
                return Some(if let State::Space { line: 1.., .. } = self.state { self.line_end() } else { self.at });
            }
        };
        match (self.state, class) {
            (State::Start, _) => return self.begin(text, c, class, end),
            (State::Letters, CharClass::Letter) | (State::Others, CharClass::Other) => {}
            (State::Numbers(left @ 1..), CharClass::Number) => self.state = State::Numbers(left - 1),
            (State::Others | State::Lines, _) if is_line_end(c) => self.state = State::Lines,
            (State::Space { line, .. }, CharClass::Space) => {
                self.state = State::Space { last: self.at, line: if is_line_end(c) { end } else { line } };
            }
            (State::Space { line: 1.., .. }, _) => return Some(self.line_end()),
            // Text follows: the last space belongs to it, unless the space is all there is.
            (State::Space { last, .. }, _) if last > self.start => return Some(last),
            _ => return Some(self.at),
        }
        self.at = end;
        None
    }

    fn line_end(&self) -> usize {
        if let State::Space { line, .. } = self.state { line } else { self.at }
    }

    /// The first character is `c`; reads up to two more.
    fn begin(&mut self, text: &str, c: char, class: CharClass, end: usize) -> Option<usize> {
        if c == '\''
            && let Some(len) = contraction(text, end, true)
        {
            return Some(end + len);
        }
        self.at = end;
        let next = self.class_at(text, end);
        self.state = match (class, next) {
            (CharClass::Letter, _) => State::Letters,
            (CharClass::Number, _) => State::Numbers(if self.pre == PreTokenizer::Llama3 { 2 } else { 0 }),
            // Anything but a line end or a number may stand before letters, and a space before others.
            (_, Some((_, CharClass::Letter, after))) if !is_line_end(c) => {
                self.at = after;
                State::Letters
            }
            (_, Some((_, CharClass::Other, after))) if c == ' ' => {
                self.at = after;
                State::Others
            }
            (CharClass::Other, _) => State::Others,
            (CharClass::Space, _) => State::Space { last: self.start, line: if is_line_end(c) { end } else { 0 } },
        };
        None
    }

    /// The character at `at`, its class to this expression, and its end.
    fn class_at(&self, text: &str, at: usize) -> Option<(char, CharClass, usize)> {
        let (c, end) = char_at(text, at)?;
        let class = match char_class(c) {
            CharClass::Other if self.pre == PreTokenizer::Qwen35 && self.pre.is_linked() && is_mark(c) => {
                CharClass::Letter
            }
            class => class,
        };
        Some((c, class, end))
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}
