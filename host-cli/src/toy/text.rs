//! The text of the lesson: sentences, their words, and the pairs of word and next word that are learned.

use std::fmt;

/// Two sentences that use `cat` and `dog` alike, and one that uses `bird` otherwise.
pub const SENTENCES: &str = "the cat drinks milk. the dog drinks water. the bird eats bread.";
/// The end of a sentence. It is predicted like a word, and is none: nothing comes after it.
pub const END: &str = ".";
/// More different words would be no toy: the pictures would be unreadable.
pub const MAX_WORDS: usize = 64;
/// More text would not be learned within a second or two.
pub const MAX_PAIRS: usize = 1_000;

/// A text that is fit to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The sentences, as ids of words.
    pub sentences: Vec<Vec<usize>>,
    /// The vocabulary: every word once, in the order of its first use. A word's id is its place here; the end mark's id is
    /// the one after the last.
    pub words: Vec<String>,
}

/// Why a text cannot be learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TextError {
    /// Fewer than two different words.
    TooFewWords { words: usize },
    /// More different words than [`MAX_WORDS`].
    TooManyWords { words: usize },
    /// More pairs than [`MAX_PAIRS`].
    TooManyPairs { pairs: usize },
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewWords { words } => {
                write!(f, "{words} different words; to learn what comes next takes at least 2")
            }
            Self::TooManyWords { words } => write!(f, "{words} different words; the toy takes at most {MAX_WORDS}"),
            Self::TooManyPairs { pairs } => write!(f, "{pairs} words of text; the toy takes at most {MAX_PAIRS}"),
        }
    }
}

impl std::error::Error for TextError {}

impl Text {
    /// Sentences end at `.`, `!`, `?` and line ends; words are split at spaces, lower-cased, and lose the marks around them.
    pub fn new(text: &str) -> Result<Self, TextError> {
        let mut words: Vec<String> = Vec::new();
        let mut ids = std::collections::HashMap::new();
        let mut sentences = Vec::new();
        for sentence in text.split(['.', '!', '?', '\n']) {
            let plain = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            let sentence = sentence.split_whitespace().map(plain).filter(|word| !word.is_empty());
            let sentence: Vec<usize> = sentence
                .map(|word| {
                    *ids.entry(word).or_insert_with_key(|word| {
                        words.push(word.clone());
                        words.len() - 1
                    })
                })
                .collect();
            if !sentence.is_empty() {
                sentences.push(sentence);
            }
        }
        let pairs = sentences.iter().map(Vec::len).sum();
        match words.len() {
            words @ 0..2 => return Err(TextError::TooFewWords { words }),
            words if words > MAX_WORDS => return Err(TextError::TooManyWords { words }),
            _ if pairs > MAX_PAIRS => return Err(TextError::TooManyPairs { pairs }),
            _ => (),
        }
        Ok(Self { sentences, words })
    }

    /// Everything that can come next: the words and the end mark.
    pub fn outputs(&self) -> usize {
        self.words.len() + 1
    }

    /// The word of an id, or the end mark.
    pub fn name(&self, id: usize) -> &str {
        self.words.get(id).map_or(END, String::as_str)
    }

    /// Every word with what comes after it, in the order of the text.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let end = self.words.len();
        let after = |sentence: &[usize]| sentence.iter().copied().skip(1).chain([end]).collect::<Vec<_>>();
        self.sentences.iter().flat_map(|sentence| sentence.iter().copied().zip(after(sentence))).collect()
    }

    /// How often each id comes after `word`: `[outputs]`.
    pub fn followers(&self, word: usize) -> Vec<usize> {
        let mut counts = vec![0; self.outputs()];
        self.pairs().iter().filter(|pair| pair.0 == word).for_each(|pair| counts[pair.1] += 1);
        counts
    }

    /// The lowest loss that any network can reach: where several words may come next it can only know how often each does.
    /// The entropy of the next word, in nats.
    pub fn floor(&self) -> f32 {
        let mut nats = 0.0;
        let mut pairs = 0;
        for word in 0..self.words.len() {
            let counts = self.followers(word);
            let all: usize = counts.iter().sum();
            pairs += all;
            for count in counts.into_iter().filter(|count| *count > 0) {
                nats -= count as f32 * libm::logf(count as f32 / all as f32);
            }
        }
        nats / pairs.max(1) as f32
    }

    /// Ids as a sentence.
    pub fn sentence(&self, ids: &[usize]) -> String {
        ids.iter().map(|id| self.name(*id)).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_words_and_pairs() {
        let text = Text::new("The cat, \"Tom\", sleeps!\n  the DOG sleeps...").unwrap();
        assert_eq!(text.words, ["the", "cat", "tom", "sleeps", "dog"]);
        assert_eq!(text.pairs(), [(0, 1), (1, 2), (2, 3), (3, 5), (0, 4), (4, 3), (3, 5)]);
        assert_eq!(text.followers(0), [0, 1, 0, 0, 1, 0]);
        assert_eq!((text.name(4), text.name(5)), ("dog", "."));
        // Two pairs of seven can be guessed with 1/2 at best.
        assert!((text.floor() - 2.0 / 7.0 * 2f32.ln()).abs() < 1e-6, "{}", text.floor());
    }

    #[test]
    fn texts_to_learn_nothing_from_are_refused() {
        for (text, words) in [("", 0), (" ... \n,;", 0), ("hello", 1), ("hello hello. Hello!", 1)] {
            assert_eq!(Text::new(text), Err(TextError::TooFewWords { words }), "{text:?}");
        }
        let words = |count: usize| (0..count).map(|i| format!("w{i} ")).collect::<String>();
        assert_eq!(Text::new(&words(MAX_WORDS)).unwrap().words.len(), MAX_WORDS);
        assert_eq!(Text::new(&words(MAX_WORDS + 1)), Err(TextError::TooManyWords { words: MAX_WORDS + 1 }));
        assert!(Text::new(&"a b ".repeat(MAX_PAIRS / 2)).is_ok());
        assert_eq!(Text::new(&"a b. ".repeat(501)), Err(TextError::TooManyPairs { pairs: MAX_PAIRS + 2 }));
    }
}
