//! Trains a byte-level BPE vocabulary.
//!
//! Source: Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword Units",
//! arXiv:1508.07909, over bytes and behind GPT-2's pre-tokenizer. Beginning with single bytes, the pair of neighbours that
//! occurs most often inside the text's words becomes a token, again and again; of pairs that occur equally often, the one
//! whose left token is older, then the one whose right token is.
//!
//! A merge changes the counts of no pairs but those beside it, so that only the words that hold it are looked at again.
//! Nothing ever merges into the bytes of a token that is there already: merges leave no neighbours that they apply to, so
//! that the same bytes always come together along the same way.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fmt,
};

use pipsqueak::tokenizer::{PreTokenizer as Words, layout};

use super::SEPARATOR;
use crate::vocab::{PreTokenizer, Token, TokenKind, VocabModel, VocabSource};

/// Tokens of the smallest vocabulary: the one that begins and ends documents, and all bytes.
pub const BASE_TOKENS: usize = 1 + 256;

/// A pair must occur this often to become a token: what occurs once is better spelled out.
const LEAST: u64 = 2;

/// Why a vocabulary could not be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BpeError {
    /// Fewer tokens than bytes.
    TooSmall {
        /// Tokens asked for.
        asked: usize,
    },
    /// More tokens than an image can hold.
    TooLarge {
        /// Tokens asked for.
        asked: usize,
    },
    /// The text has no more pairs that occur twice.
    PairsRunOut {
        /// Tokens asked for.
        asked: usize,
        /// Tokens that this text gives.
        possible: usize,
    },
    /// There is no text.
    Empty,
}

impl fmt::Display for BpeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooSmall { asked } => {
                write!(f, "a vocabulary of {asked} tokens: {BASE_TOKENS} are needed, for all bytes and {SEPARATOR}")
            }
            Self::TooLarge { asked } => {
                write!(f, "a vocabulary of {asked} tokens: an image holds at most {}", layout::MAX_TOKENS)
            }
            Self::PairsRunOut { asked, possible } => {
                write!(f, "a vocabulary of {asked} tokens: this text is enough for {possible}")
            }
            Self::Empty => f.write_str("no text to train a vocabulary on"),
        }
    }
}

impl std::error::Error for BpeError {}

/// A vocabulary of `vocab_size` tokens for these documents. The same documents give the same vocabulary, in any order.
///
/// Token 0 is `<|endoftext|>`, a control token: it is put before every document, and a model that writes it has ended
/// one, so that a vocabulary as small as this spends one token on both. All bytes follow in order, then the merges.
///
/// # Errors
/// [`BpeError`]
pub fn train_bpe<D: AsRef<str>>(
    documents: impl IntoIterator<Item = D>,
    vocab_size: usize,
) -> Result<VocabSource, BpeError> {
    if vocab_size < BASE_TOKENS {
        return Err(BpeError::TooSmall { asked: vocab_size });
    }
    if vocab_size > layout::MAX_TOKENS as usize {
        return Err(BpeError::TooLarge { asked: vocab_size });
    }
    let mut pairs = Pairs::new(words(documents));
    if pairs.words.is_empty() {
        return Err(BpeError::Empty);
    }
    let token = |bytes: Vec<u8>, kind| Token { bytes, score: 0.0, kind };
    let mut tokens = vec![token(SEPARATOR.into(), TokenKind::Control)];
    tokens.extend((0..=255).map(|byte| token(vec![byte], TokenKind::Normal)));
    let mut merges = Vec::new();
    while tokens.len() < vocab_size {
        let new = tokens.len() as u32;
        let Some((left, right)) = pairs.merge_best(new) else {
            return Err(BpeError::PairsRunOut { asked: vocab_size, possible: tokens.len() });
        };
        let parts = [left, right].map(|id| tokens[id as usize].bytes.as_slice());
        tokens.push(token(parts.concat(), TokenKind::Normal));
        merges.push([left, right, new]);
    }
    Ok(VocabSource {
        model: VocabModel::Bpe(PreTokenizer::Gpt2),
        tokens,
        merges,
        bos: Some(0),
        eos: Some(0),
        unknown: None,
        stops: vec![0],
        add_bos: true,
        ignore_merges: false,
    })
}

/// The different words of all documents, and how often each occurs.
fn words<D: AsRef<str>>(documents: impl IntoIterator<Item = D>) -> Vec<Word> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for document in documents {
        for word in Words::Gpt2.words(document.as_ref()) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.into(), 1)),
            }
        }
    }
    // In any order: only sums over all words matter.
    let symbols = |word: String| word.bytes().map(|byte| 1 + u32::from(byte)).collect();
    counts.into_iter().map(|(word, count)| Word { symbols: symbols(word), count }).collect()
}

/// A word of the text, as the tokens it is made of so far.
struct Word {
    symbols: Vec<u32>,
    count: u64,
}

/// Two neighbours, left and right.
type Ids = (u32, u32);

/// What is known of a pair.
#[derive(Default)]
struct Pair {
    /// How often it occurs.
    count: u64,
    /// The words it occurs in. Some may have lost it meanwhile, or be named twice.
    words: Vec<u32>,
}

/// All pairs of neighbours inside words.
struct Pairs {
    words: Vec<Word>,
    pairs: HashMap<Ids, Pair>,
    /// The most frequent first. A pair appears when its younger token does, and only becomes less frequent after that; an
    /// entry that says too much is put right when it comes up.
    heap: BinaryHeap<(u64, Reverse<Ids>)>,
}

impl Pairs {
    fn new(words: Vec<Word>) -> Self {
        let mut pairs = Self { words: vec![], pairs: HashMap::new(), heap: BinaryHeap::new() };
        for (index, word) in (0..).zip(&words) {
            word.symbols.windows(2).for_each(|pair| pairs.more((pair[0], pair[1]), index, word.count));
        }
        pairs.heap = pairs.pairs.iter().map(|(ids, pair)| (pair.count, Reverse(*ids))).collect();
        pairs.words = words;
        pairs
    }

    /// The pair occurs `count` times more, in this word.
    fn more(&mut self, ids: Ids, word: u32, count: u64) {
        let pair = self.pairs.entry(ids).or_default();
        pair.count += count;
        if pair.words.last() != Some(&word) {
            pair.words.push(word);
        }
    }

    /// The pair occurs `count` times less.
    fn less(&mut self, ids: Ids, count: u64) {
        if let Some(pair) = self.pairs.get_mut(&ids) {
            pair.count -= count;
        }
    }

    /// Makes the most frequent pair the token `new`, wherever it occurs; `None` when none occurs often enough.
    fn merge_best(&mut self, new: u32) -> Option<Ids> {
        let (ids, pair) = loop {
            let (claimed, Reverse(ids)) = self.heap.pop()?;
            let count = self.pairs.get(&ids).map_or(0, |pair| pair.count);
            if count < LEAST {
                self.pairs.remove(&ids);
            } else if count < claimed {
                self.heap.push((count, Reverse(ids)));
            } else if let Some(pair) = self.pairs.remove(&ids) {
                break (ids, pair);
            }
        };
        let mut born = Vec::new();
        for index in pair.words {
            self.merge_in(index, ids, new, &mut born);
        }
        born.sort_unstable();
        born.dedup();
        for ids in born {
            let count = self.pairs.get(&ids).map_or(0, |pair| pair.count);
            self.heap.push((count, Reverse(ids)));
        }
        Some(ids)
    }

    /// Merges a pair in one word, from left to right; the pairs that the new token has there are added to `born`.
    fn merge_in(&mut self, index: u32, (left, right): Ids, new: u32, born: &mut Vec<Ids>) {
        let Some(word) = self.words.get_mut(index as usize) else { return };
        let (symbols, count) = (std::mem::take(&mut word.symbols), word.count);
        let mut merged = Vec::with_capacity(symbols.len());
        let mut rest = symbols.as_slice();
        while let [symbol, behind @ ..] = rest {
            let fits = *symbol == left && behind.first() == Some(&right);
            if !fits {
                merged.push(*symbol);
                rest = behind;
                continue;
            }
            rest = &behind[1..];
            if let Some(before) = merged.last().copied() {
                self.less((before, left), count);
                self.more((before, new), index, count);
                born.push((before, new));
            }
            if let Some(after) = rest.first().copied() {
                self.less((right, after), count);
                self.more((new, after), index, count);
                born.push((new, after));
            }
            merged.push(new);
        }
        if let Some(word) = self.words.get_mut(index as usize) {
            word.symbols = merged;
        }
    }
}
