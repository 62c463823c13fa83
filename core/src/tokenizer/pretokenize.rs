//! Cuts text into words before byte-level BPE; a small state machine that may stop after any character.

use super::layout;
use super::unicode::{CharClass, char_class};

/// How text is cut into words before byte-level BPE.
///
/// Source of the expression: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2):
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PreTokenizer {
    /// GPT-2's regular expression.
    Gpt2,
    /// Every `\p{N}` apart, then GPT-2's regular expression on what lies between (SmolLM, StarCoder).
    Smollm,
}

impl PreTokenizer {
    /// The pre-tokenizer with this number in a stored vocabulary.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            layout::PRE_GPT2 => Some(Self::Gpt2),
            layout::PRE_SMOLLM => Some(Self::Smollm),
            _ => None,
        }
    }

    /// The words of a text: all of it, in pieces that are not empty. Byte-level BPE merges nothing across their ends.
    pub fn words(self, text: &str) -> impl Iterator<Item = &str> {
        let mut start = 0;
        core::iter::from_fn(move || {
            let mut cutter = Cutter::new(self, start);
            let end = loop {
                if let Some(end) = cutter.advance(text, &mut { u32::MAX }) {
                    break end;
                }
            };
            let word = text.get(start..end).filter(|word| !word.is_empty())?;
            start = end;
            Some(word)
        })
    }
}

/// Where the search for the end of a word stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing of the word is read.
    Start,
    /// Inside a run of one class that ends with the class.
    Run(CharClass),
    /// Inside white space; `last` is where its last character so far begins.
    Space { last: usize },
}

/// The search for the end of one word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutter {
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

    /// Reads at most `budget` characters of `text` (which ends where no word may reach over) and lowers `budget` by
    /// as much. Returns where the word ends when that is known; a word is never empty unless the text is at its end.
    pub(super) fn advance(&mut self, text: &str, budget: &mut u32) -> Option<usize> {
        while let Some(rest) = budget.checked_sub(1) {
            *budget = rest;
            match self.state {
                State::Start => {
                    if let Some(end) = self.begin(text) {
                        return Some(end);
                    }
                }
                State::Run(class) => match self.peek(text, self.at) {
                    Some((next, end)) if next == class => self.at = end,
                    _ => return Some(self.at),
                },
                State::Space { last } => match self.peek(text, self.at) {
                    Some((CharClass::Space, end)) => {
                        self.state = State::Space { last: self.at };
                        self.at = end;
                    }
                    // Text follows: the last space belongs to it, unless the space is all there is.
                    Some(_) if last > self.start => return Some(last),
                    _ => return Some(self.at),
                },
            }
        }
        None
    }

    /// Reads the first one to three characters.
    fn begin(&mut self, text: &str) -> Option<usize> {
        let Some((class, end)) = class_at(text, self.start) else { return Some(self.start) };
        if self.pre == PreTokenizer::Smollm && class == CharClass::Number {
            return Some(end);
        }
        let bytes = text.as_bytes().get(self.start..).unwrap_or_default();
        let contraction = match bytes {
            [b'\'', b's' | b't' | b'm' | b'd', ..] => 2,
            [b'\'', b'r', b'e', ..] | [b'\'', b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => 3,
            _ => 0,
        };
        if contraction != 0 {
            return Some(self.start + contraction);
        }
        self.at = end;
        self.state = match class {
            CharClass::Space => State::Space { last: self.start },
            class => State::Run(class),
        };
        if bytes.first() == Some(&b' ')
            && let Some((next, end)) = self.peek(text, end)
            && next != CharClass::Space
        {
            self.at = end;
            self.state = State::Run(next);
        }
        None
    }

    /// Class and end of the character at `at`; nothing where the text, or the piece between two digits, ends.
    fn peek(&self, text: &str, at: usize) -> Option<(CharClass, usize)> {
        let cut = self.pre == PreTokenizer::Smollm;
        class_at(text, at).filter(|(class, _)| !(cut && *class == CharClass::Number))
    }
}

fn class_at(text: &str, at: usize) -> Option<(CharClass, usize)> {
    let c = text.get(at..)?.chars().next()?;
    Some((char_class(c), at + c.len_utf8()))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// The words, reading `budget` characters at a time.
    fn words(pre: PreTokenizer, text: &str, budget: u32) -> Vec<&str> {
        let (mut out, mut start) = (Vec::new(), 0);
        while start < text.len() {
            let mut cutter = Cutter::new(pre, start);
            let end = loop {
                if let Some(end) = cutter.advance(text, &mut { budget }) {
                    break end;
                }
            };
            out.push(&text[start..end]);
            start = end;
        }
        assert!(pre.words(text).eq(out.iter().copied()), "{text:?}");
        out
    }

    #[test]
    fn cuts_as_the_regular_expression_does() {
        for budget in [1, 2, 1000] {
            let gpt2 = |text| words(PreTokenizer::Gpt2, text, budget);
            let smollm = |text| words(PreTokenizer::Smollm, text, budget);
            assert_eq!(gpt2("Hello world's  end"), ["Hello", " world", "'s", " ", " end"]);
            assert_eq!(gpt2("we'll they'RE 'x' '"), ["we", "'ll", " they", "'", "RE", " '", "x", "'", " '"]);
            assert_eq!(gpt2("a 123 b45"), ["a", " 123", " b", "45"]);
            assert_eq!(smollm("a 123 b45"), ["a", " ", "1", "2", "3", " b", "4", "5"]);
            assert_eq!(gpt2("a   1"), ["a", "  ", " 1"]);
            assert_eq!(smollm("a   1"), ["a", "   ", "1"]);
            assert_eq!(gpt2("x\n\n\ny\t z  "), ["x", "\n\n", "\n", "y", "\t", " z", "  "]);
            assert_eq!(gpt2("!?'s é\u{301}ü ²½"), ["!?'", "s", " é", "\u{301}", "ü", " ²½"]);
            assert_eq!(gpt2("\u{3000}\u{a0}漢字🙂🙂 🙂"), ["\u{3000}", "\u{a0}", "漢字", "🙂🙂", " 🙂"]);
            assert_eq!(gpt2(" "), [" "]);
            assert!(gpt2("").is_empty());
        }
    }
}
