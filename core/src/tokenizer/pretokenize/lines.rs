//! Runs of line feeds, and what lies between: `[^\n]+|\n+`.

use super::char_at;

/// The search for the end of one word.
#[derive(Clone, Copy, Debug)]
pub(in crate::tokenizer) struct Cutter {
    at: usize,
    /// What the word is made of, once its first character is read: line feeds, or all else.
    feeds: Option<bool>,
}

impl Cutter {
    /// A word begins at byte `start`.
    pub(super) fn new(start: usize) -> Self {
        Self { at: start, feeds: None }
    }

    /// Reads a character; returns where the word ends when that is known.
    pub(super) fn step(&mut self, text: &str) -> Option<usize> {
        match char_at(text, self.at) {
            Some((c, end)) if self.feeds.is_none_or(|feeds| feeds == (c == '\n')) => {
                self.feeds = Some(c == '\n');
                self.at = end;
                None
            }
            _ => Some(self.at),
        }
    }
}
