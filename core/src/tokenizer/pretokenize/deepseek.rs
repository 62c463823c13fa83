//! DeepSeek's expressions, which cut the text one after the other: each looks at the pieces that those before it left.
//!
//! | | deepseek-llm | deepseek-coder |
//! |---|---|---|
//! | 1 | `[\r\n]` | the same |
//! | 2 | `\s?W+`, `W` being cased letters as of Unicode 11 | `\s?\p{L}+` |
//! | 3 | `\s?M+`, `M` being `[!-/:-~！-／：-～‘-‟　-。]`: with ASCII letters, and with a space | `\s?\p{P}+` |
//! | 4 | `\s+$` | |
//! | 5 | `[一-龥ࠀ-一가-퟿]+` | the same |
//! | 6 | `\p{N}+` | `\p{N}` |
//!
//! One pass does the same: a word is a run of one kind that also stays on one side of expression 5. That a piece is looked
//! at again from the middle, after a cut inside of it, changes nothing: none of the expressions looks back.

use super::{PreTokenizer, char_at};
use crate::tokenizer::unicode::{CharClass, char_class, is_cased, is_punctuation};

/// What a character is to expressions 1, 2, 3 and 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Line,
    Word,
    Mark,
    Number,
    Space,
    Rest,
}

/// Where the search for the end of a word stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of the word is read.
    Start,
    /// Inside what expression 2 takes; with deepseek-llm all of it is in `M`, or none.
    Words { in_marks: bool },
    /// Inside what expression 3 takes; the white space it ends with so far begins at `space`.
    Marks { space: usize },
    /// Inside numbers (deepseek-llm).
    Numbers,
    /// Inside what is left; `space` likewise. Where that space first changes sides is `side` (0 where it does not).
    Rest { space: usize, side: usize },
}

/// The search for the end of one word.
#[derive(Clone, Copy, Debug)]
pub(in crate::tokenizer) struct Cutter {
    coder: bool,
    state: State,
    start: usize,
    at: usize,
    /// The word's characters are among those of expression 5.
    inside: bool,
}

/// A character with its kind and end.
#[derive(Clone, Copy)]
struct Next {
    c: char,
    kind: Kind,
    end: usize,
}

impl Cutter {
    /// A word begins at byte `start`.
    pub(super) fn new(pre: PreTokenizer, start: usize) -> Self {
        let coder = pre == PreTokenizer::DeepseekCoder;
        Self { coder, state: State::Start, start, at: start, inside: false }
    }

    /// Reads at most three characters; returns where the word ends when that is known.
    pub(super) fn step(&mut self, text: &str) -> Option<usize> {
        let next = self.next(text, self.at);
        let same_side = |next: &Next| is_inside(next.c) == self.inside;
        match (self.state, next) {
            (State::Start, None) => return Some(self.at),
            (State::Start, Some(first)) => return self.begin(text, first),
            (State::Words { in_marks }, Some(next)) if next.kind == Kind::Word && same_side(&next) => {
                if !self.coder && is_deepseek_mark(next.c) != in_marks {
                    return Some(self.at);
                }
                self.at = next.end;
            }
            (State::Numbers, Some(next)) if next.kind == Kind::Number && same_side(&next) => self.at = next.end,
            (State::Marks { space }, next) => match next {
                Some(next) if next.kind == Kind::Mark && !self.is_word_space(text, next) => {
                    if !same_side(&next) {
                        return Some(self.at);
                    }
                    self.at = next.end;
                    self.state = State::Marks { space: if is_space(next.c) { space } else { next.end } };
                }
                _ => return Some(self.before_space(space, self.at)),
            },
            (State::Rest { space, side }, next) => return self.rest(text, next, space, side),
            _ => return Some(self.at),
        }
        None
    }

    /// Reads the first one to three characters.
    fn begin(&mut self, text: &str, first: Next) -> Option<usize> {
        self.at = first.end;
        self.inside = is_inside(first.c);
        let after_space = if is_space(first.c) { self.next(text, first.end) } else { None };
        self.state = match (first.kind, after_space) {
            (Kind::Line, _) => return Some(self.at),
            (Kind::Number, _) if self.coder => return Some(self.at),
            (Kind::Number, _) => State::Numbers,
            (Kind::Word, _) => State::Words { in_marks: is_deepseek_mark(first.c) },
            // Expressions 2 and 3 take the space before a word or a mark, unless 3 or 5 cuts it off again.
            (_, Some(next)) if next.kind == Kind::Word => {
                let in_marks = is_deepseek_mark(next.c);
                let cut = !self.coder && is_deepseek_mark(first.c) && !in_marks;
                if cut || is_inside(next.c) != self.inside {
                    return Some(self.at);
                }
                self.at = next.end;
                State::Words { in_marks }
            }
            (_, Some(next)) if next.kind == Kind::Mark && !self.is_word_space(text, next) => {
                if is_inside(next.c) != self.inside {
                    return Some(self.at);
                }
                self.at = next.end;
                State::Marks { space: if is_space(next.c) { self.start } else { next.end } }
            }
            (Kind::Mark, _) => State::Marks { space: if is_space(first.c) { self.start } else { first.end } },
            (Kind::Space, _) => State::Rest { space: self.start, side: 0 },
            (Kind::Rest, _) => State::Rest { space: first.end, side: 0 },
        };
        None
    }

    /// One more character of what no other expression takes.
    fn rest(&mut self, text: &str, next: Option<Next>, space: usize, side: usize) -> Option<usize> {
        let cut = if side != 0 { side } else { self.at };
        let next = match next {
            Some(next) if matches!(next.kind, Kind::Number | Kind::Rest | Kind::Space) => next,
            _ => return Some(self.before_space(space, cut)),
        };
        let other_side = is_inside(next.c) != self.inside;
        if next.kind != Kind::Space {
            if side != 0 || other_side || next.kind == Kind::Number {
                return Some(cut);
            }
            self.at = next.end;
            self.state = State::Rest { space: next.end, side };
            return None;
        }
        let taken = match self.next(text, next.end) {
            Some(after) => after.kind == Kind::Word || after.kind == Kind::Mark && !self.is_word_space(text, after),
            None => false,
        };
        if taken {
            return Some(self.before_space(space, cut));
        }
        if other_side && side == 0 {
            // Only what comes behind all of the space says whether expression 4 takes it; where the space is all there
            // is, it makes no difference.
            if self.coder || space == self.start {
                return Some(self.at);
            }
            self.state = State::Rest { space, side: self.at };
        }
        self.at = next.end;
        None
    }

    /// Where expression 4 cuts a piece that ends here and whose last white space begins at `space`; `end` where not.
    fn before_space(&self, space: usize, end: usize) -> usize {
        if !self.coder && space > self.start && space < self.at { space } else { end }
    }

    /// Whether `space` is white space that expression 2 takes with the word behind it.
    fn is_word_space(&self, text: &str, space: Next) -> bool {
        is_space(space.c) && self.next(text, space.end).is_some_and(|next| next.kind == Kind::Word)
    }

    fn next(&self, text: &str, at: usize) -> Option<Next> {
        let (c, end) = char_at(text, at)?;
        let class = char_class(c);
        let (is_word, is_mark) = if self.coder {
            (class == CharClass::Letter, is_punctuation(c))
        } else {
            (is_cased(c), is_deepseek_mark(c))
        };
        let kind = match class {
            _ if matches!(c, '\r' | '\n') => Kind::Line,
            _ if is_word => Kind::Word,
            _ if is_mark => Kind::Mark,
            CharClass::Number => Kind::Number,
            CharClass::Space => Kind::Space,
            _ => Kind::Rest,
        };
        Some(Next { c, kind, end })
    }
}

/// White space that is no line end: those have been cut off.
fn is_space(c: char) -> bool {
    char_class(c) == CharClass::Space && !matches!(c, '\r' | '\n')
}

/// The characters of expression 5.
fn is_inside(c: char) -> bool {
    matches!(c, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}')
}

/// The characters of deepseek-llm's expression 3.
fn is_deepseek_mark(c: char) -> bool {
    matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。')
}
