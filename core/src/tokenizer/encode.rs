//! Text to tokens, in slices of bounded work.

use super::error::EncodeError;
use super::merge::{MAX_WORD, SCRATCH_PER_BYTE, Word};
use super::pretokenize::Cutter;
use super::source::Source;
use super::vocab::{Vocab, VocabModel};

/// What to do with special tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EncodeOptions {
    /// Put BOS before the text ([`Vocab::add_bos`] says whether the model expects it).
    pub add_bos: bool,
    /// Names of control tokens in the text (`<|im_start|>`) become those tokens. Otherwise they are plain text, which
    /// is what text from outside should be. `UserDefined` tokens are matched either way.
    pub parse_special: bool,
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Progress {
    /// The budget is used up; call again.
    More,
    /// All is done.
    Done,
}

/// Scratch that is enough for every text of `text_bytes` bytes, in `u32`: three for each byte, and for the space that
/// SentencePiece puts before a text. 512 bytes of text: 1,539 words, 6 KB.
///
/// Byte-level BPE needs only `scratch_len` of the longest *word* that the pre-tokenizer cuts; less than that is
/// [`EncodeError::ScratchTooSmall`] when such a word comes.
pub const fn scratch_len(text_bytes: usize) -> usize {
    text_bytes.saturating_add(1).saturating_mul(SCRATCH_PER_BYTE)
}

/// The most tokens that a text of `text_bytes` bytes can have, BOS included.
pub const fn max_tokens(text_bytes: usize) -> usize {
    text_bytes.saturating_mul(2).saturating_add(1)
}

/// What a merge costs in a budget: three tree climbs and three look-ups.
const MERGE_COST: u32 = 8;

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Looks for the next special token; the text before it is a fragment.
    Seek,
    /// Looks for the end of a word of the fragment.
    Cut(Cutter),
    /// Writes the symbols of the word and the keys of its pairs.
    Fill,
    /// Builds the tree.
    Build,
    /// Merges the best pair.
    Merge,
    /// Writes the tokens.
    Emit,
    /// The text is at its end.
    Done,
}

/// The encoding of one text under way.
///
/// Special tokens cut the text into fragments: at each place the longest name wins, from left to right. A fragment is
/// one word for SentencePiece (with a space before it, if the vocabulary asks for it); for BPE the pre-tokenizer cuts it.
/// In each word the best pair is merged until there is none; of equals the leftmost ([`Vocab::ignores_merges`]: first the
/// word as a whole is looked up). SentencePiece's mark U+2581 has no
/// meaning in a text: a space is a space and U+2581 is U+2581, so that decoding gives back what was encoded.
///
/// Sources: Sennrich et al. 2016, arXiv:1508.07909 (BPE); Kudo & Richardson 2018, arXiv:1808.06226 (SentencePiece).
///
/// ```
/// # use pipsqueak::tokenizer::{EncodeError, EncodeOptions, Encoder, Progress, Vocab, scratch_len};
/// fn encode_in_slices<'o>(vocab: Vocab<'_>, text: &str, out: &'o mut [u32]) -> Result<&'o [u32], EncodeError> {
///     let mut scratch = [0; scratch_len(256)];
///     let mut encoder = Encoder::new(vocab, text, EncodeOptions::default(), out, &mut scratch)?;
///     while encoder.step(100)? == Progress::More {
///         // feed the watchdog
///     }
///     let tokens = encoder.len();
///     Ok(out.get(..tokens).unwrap_or_default())
/// }
/// ```
pub struct Encoder<'a> {
    vocab: Vocab<'a>,
    text: &'a str,
    parse_special: bool,
    out: &'a mut [u32],
    scratch: &'a mut [u32],
    phase: Phase,
    /// Where the word (or the search for a special token) begins, where the word ends, where the fragment ends.
    at: usize,
    word_end: usize,
    fragment_end: usize,
    /// The special token behind the fragment, and the length of its name.
    special: Option<(u32, usize)>,
    /// How far the phase has come.
    cursor: usize,
    /// Tokens so far, also those there was no room for.
    tokens: usize,
    unspelled: usize,
}

impl<'a> Encoder<'a> {
    /// Begins with `text`. `out` takes the tokens; `scratch` should have [`scratch_len`] of the text's bytes.
    ///
    /// # Errors
    /// [`EncodeError::NoBos`] and [`EncodeError::TextTooLong`]; all others come from [`step`](Self::step).
    pub fn new(
        vocab: Vocab<'a>,
        text: &'a str,
        options: EncodeOptions,
        out: &'a mut [u32],
        scratch: &'a mut [u32],
    ) -> Result<Self, EncodeError> {
        if text.len() >= MAX_WORD {
            return Err(EncodeError::TextTooLong { got: text.len(), max: MAX_WORD - 1 });
        }
        let mut encoder = Self {
            vocab,
            text,
            parse_special: options.parse_special,
            out,
            scratch,
            phase: Phase::Seek,
            at: 0,
            word_end: 0,
            fragment_end: 0,
            special: None,
            cursor: 0,
            tokens: 0,
            unspelled: 0,
        };
        if options.add_bos {
            encoder.push(vocab.bos().ok_or(EncodeError::NoBos)?);
        }
        Ok(encoder)
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[u32] {
        self.out.get(..self.tokens).unwrap_or(self.out)
    }

    /// Number of tokens so far, also those that `out` had no room for.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// No token yet.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Bytes of the text that no token stands for and that were left out. Vocabularies that were trained without some
    /// rare bytes have no other way; 0 for all that can spell every byte or have an unknown token.
    pub fn unspelled_bytes(&self) -> usize {
        self.unspelled
    }

    /// Does about `budget` table look-ups of work (at least one) and returns.
    ///
    /// # Errors
    /// [`EncodeError::ScratchTooSmall`] at the word that does not fit; [`EncodeError::OutputTooSmall`] when all is
    /// counted, so that it says how much room would be enough. Both stay when called again.
    pub fn step(&mut self, budget: u32) -> Result<Progress, EncodeError> {
        let mut budget = budget.max(1);
        while budget != 0 {
            match self.phase {
                Phase::Seek => self.seek(&mut budget),
                Phase::Cut(cutter) if self.vocab.is_bpe() => self.cut(cutter, &mut budget),
                Phase::Done if self.tokens > self.out.len() => {
                    return Err(EncodeError::OutputTooSmall { need: self.tokens, got: self.out.len() });
                }
                Phase::Done => return Ok(Progress::Done),
                _ => self.work(&mut budget)?,
            }
        }
        Ok(Progress::More)
    }

    fn push(&mut self, token: u32) {
        if let Some(slot) = self.out.get_mut(self.tokens) {
            *slot = token;
        }
        self.tokens += 1;
    }

    /// Moves `cursor` to the next special token or to the end: there ends the fragment that begins at `at`.
    fn seek(&mut self, budget: &mut u32) {
        let nothing_to_find = !self.parse_special && !self.vocab.has_user_defined;
        if nothing_to_find {
            self.cursor = self.text.len();
        }
        while let Some(rest @ [_, ..]) = self.text.as_bytes().get(self.cursor..) {
            let looks = if self.vocab.may_begin_special(rest) { self.vocab.specials.len() as u32 + 1 } else { 1 };
            if *budget == 0 {
                return;
            }
            *budget = budget.saturating_sub(looks);
            self.special = self.vocab.special_at(rest, self.parse_special).filter(|(_, len)| {
                self.text.is_char_boundary(self.cursor) && self.text.is_char_boundary(self.cursor + len)
            });
            if self.special.is_some() {
                break;
            }
            self.cursor += 1;
        }
        self.fragment_end = self.cursor;
        self.begin_word(budget);
    }

    /// Begins the next word of the fragment; behind the fragment comes its special token, behind that the next search.
    fn begin_word(&mut self, budget: &mut u32) {
        *budget = budget.saturating_sub(1);
        self.cursor = 0;
        if self.at < self.fragment_end {
            match self.vocab.model() {
                VocabModel::Bpe(pre) if self.vocab.is_bpe() => self.phase = Phase::Cut(Cutter::new(pre, self.at)),
                _ => {
                    self.word_end = self.fragment_end;
                    self.phase = Phase::Fill;
                }
            }
        } else if let Some((token, len)) = self.special.take() {
            self.push(token);
            self.at += len;
            self.cursor = self.at;
            self.phase = Phase::Seek;
        } else {
            self.phase = Phase::Done;
        }
    }

    fn cut(&mut self, mut cutter: Cutter, budget: &mut u32) {
        let fragment = self.text.get(..self.fragment_end).unwrap_or_default();
        match cutter.advance(fragment, budget) {
            None => self.phase = Phase::Cut(cutter),
            Some(end) if end > self.at => {
                let whole = if self.vocab.ignores_merges() {
                    *budget = budget.saturating_sub(MERGE_COST);
                    fragment.as_bytes().get(self.at..end).and_then(|word| self.vocab.token_id(word))
                } else {
                    None
                };
                if let Some(token) = whole {
                    self.push(token);
                    self.at = end;
                    self.begin_word(budget);
                } else {
                    self.word_end = end;
                    self.phase = Phase::Fill;
                }
            }
            // Cannot be: a word has at least one character. Going on is better than going round for ever.
            Some(_) => {
                self.at = self.fragment_end;
                self.begin_word(budget);
            }
        }
    }

    /// The phases that need the scratch: fill, build, merge, emit.
    fn work(&mut self, budget: &mut u32) -> Result<(), EncodeError> {
        let source = Source::new(&self.vocab, self.text.get(self.at..self.word_end).unwrap_or_default());
        let len = source.len();
        let short =
            EncodeError::ScratchTooSmall { need: len.saturating_mul(SCRATCH_PER_BYTE), got: self.scratch.len() };
        let mut word = Word::new(self.scratch, len).ok_or(short)?;
        let token_len = |id| source.vocab.token_len(id);
        while *budget != 0 {
            match self.phase {
                Phase::Fill => {
                    *budget = budget.saturating_sub(2);
                    if self.cursor < len {
                        self.cursor = source.fill(&mut word, self.cursor);
                    } else {
                        self.cursor = len - 1;
                        self.phase = Phase::Build;
                    }
                }
                Phase::Build if self.cursor == 0 => self.phase = Phase::Merge,
                Phase::Build => {
                    *budget -= 1;
                    word.play(self.cursor);
                    self.cursor -= 1;
                }
                Phase::Merge => {
                    *budget = budget.saturating_sub(MERGE_COST);
                    match word.best() {
                        Some(start) => source.merge(&mut word, start),
                        None => self.phase = Phase::Emit,
                    }
                }
                _ => {
                    *budget -= 1;
                    let Some(symbol) = word.at(self.cursor, token_len) else { break };
                    self.cursor += symbol.len;
                    let mut push = |token| {
                        if let Some(slot) = self.out.get_mut(self.tokens) {
                            *slot = token;
                        }
                        self.tokens += 1;
                    };
                    match symbol.token {
                        Some(token) => push(token),
                        None => self.unspelled += source.spell(symbol, &mut push),
                    }
                }
            }
        }
        if matches!(self.phase, Phase::Emit) && word.at(self.cursor, token_len).is_none() {
            self.at = self.word_end;
            self.begin_word(budget);
        }
        Ok(())
    }
}

impl Vocab<'_> {
    /// Turns a whole text into tokens; returns how many `out` begins with.
    ///
    /// `out` has room for [`max_tokens`] at most; `scratch` should be [`scratch_len`] of the text's bytes.
    ///
    /// # Errors
    /// [`EncodeError`], with what would have been enough. `out` then holds as many tokens as it has room for.
    pub fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
        out: &mut [u32],
        scratch: &mut [u32],
    ) -> Result<usize, EncodeError> {
        let mut encoder = Encoder::new(*self, text, options, out, scratch)?;
        while encoder.step(u32::MAX)? == Progress::More {}
        Ok(encoder.len())
    }
}
