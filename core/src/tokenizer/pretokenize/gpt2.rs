//! GPT-2's expression, alone or behind a rule that sets some characters apart first.

use super::{PreTokenizer, char_at, contraction};
use crate::tokenizer::unicode::{CharClass, char_class, is_punctuation};

/// Where the search for the end of a word stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of the word is read.
    Start,
    /// Inside a run of one class that ends with the class.
    Run(CharClass),
    /// Inside white space; `last` is where its last character so far begins.
    Space { last: usize },
    /// Falcon: inside a run of marks, which stand apart from all else.
    Marks,
    /// Falcon: inside a run of numbers that ends with so many ASCII digits.
    Digits(usize),
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
        if matches!(self.state, State::Start) {
            return self.begin(text);
        }
        match (self.state, self.peek(text, self.at)) {
            (State::Run(class), Some((found, end))) if found == class => self.at = end,
            (State::Space { .. }, Some((CharClass::Space, end))) => {
                self.state = State::Space { last: self.at };
                self.at = end;
            }
            // Text follows: the last space belongs to it, unless the space is all there is.
            (State::Space { last }, Some(_)) if last > self.start => return Some(last),
            (State::Marks, _) if self.falcon() => match char_at(text, self.at) {
                Some((c, end)) if is_falcon_mark(c) => self.at = end,
                _ => return Some(self.at),
            },
            // Three digits are a word, and end the one before them.
            (State::Digits(3..), _) if self.falcon() => {
                return Some(if self.at - 3 > self.start { self.at - 3 } else { self.at });
            }
            (State::Digits(before), Some((CharClass::Number, end))) if self.falcon() => {
                self.state = State::Digits(if end - self.at == 1 { before + 1 } else { 0 });
                self.at = end;
            }
            _ => return Some(self.at),
        }
        None
    }

    /// Reads the first one to three characters.
    fn begin(&mut self, text: &str) -> Option<usize> {
        let Some((c, end)) = char_at(text, self.start) else { return Some(self.start) };
        let class = char_class(c);
        self.at = end;
        if self.falcon() && is_falcon_mark(c) {
            self.state = State::Marks;
            return None;
        }
        if self.pre == PreTokenizer::Smollm && class == CharClass::Number {
            return Some(end);
        }
        if c == '\''
            && let Some(len) = contraction(text, end, false)
        {
            return Some(end + len);
        }
        self.enter(class, self.start);
        if c == ' '
            && let Some((next, after)) = self.peek(text, end)
            && next != CharClass::Space
        {
            self.at = after;
            self.enter(next, end);
        }
        None
    }

    /// The run that its first character, at `from`, begins.
    fn enter(&mut self, class: CharClass, from: usize) {
        self.state = match class {
            CharClass::Space => State::Space { last: from },
            CharClass::Number if self.falcon() => State::Digits(usize::from(self.at - from == 1)),
            class => State::Run(class),
        };
    }

    fn falcon(&self) -> bool {
        self.pre == PreTokenizer::Falcon && self.pre.is_linked()
    }

    /// Class and end of the character at `at`; nothing where the text, or the piece between characters that are set
    /// apart, ends.
    fn peek(&self, text: &str, at: usize) -> Option<(CharClass, usize)> {
        let (c, end) = char_at(text, at)?;
        let class = char_class(c);
        let apart = match self.pre {
            PreTokenizer::Smollm => class == CharClass::Number,
            _ => self.falcon() && is_falcon_mark(c),
        };
        (!apart).then_some((class, end))
    }
}

/// Falcon's marks: `[\p{P}\$\+<=>\^~\|`]`.
fn is_falcon_mark(c: char) -> bool {
    matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|' | '`') || is_punctuation(c)
}
