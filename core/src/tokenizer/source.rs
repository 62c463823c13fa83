//! What the merge engine asks about a word: its first symbols, which pairs merge and how urgently, how to spell the rest.

use super::merge::{NO_PAIR, Symbol, Word};
use super::vocab::{Piece, Vocab};

/// A word's bytes and the vocabulary that says which of its pairs merge.
pub(super) struct Source<'s> {
    pub(super) vocab: &'s Vocab<'s>,
    text: &'s str,
    /// SentencePiece's space stands before the text, as position 0.
    space: bool,
}

impl<'s> Source<'s> {
    pub(super) fn new(vocab: &'s Vocab<'s>, text: &'s str) -> Self {
        let space = vocab.adds_space();
        Self { vocab, text, space }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len() + usize::from(self.space)
    }

    /// The bytes at `start..start + len`.
    fn piece(&self, start: usize, len: usize) -> Piece<'s> {
        let space = self.space && start == 0 && len != 0;
        let from = start - usize::from(self.space && start != 0);
        let bytes = self.text.as_bytes().get(from..).unwrap_or_default();
        Piece { space, bytes: bytes.get(..len - usize::from(space)).unwrap_or(bytes) }
    }

    /// The symbol that begins at `start` before any merge: a byte for byte-level BPE, else a character.
    fn first_symbol(&self, start: usize) -> Symbol {
        if self.vocab.begins_with_bytes() {
            let byte = self.text.as_bytes().get(start);
            return Symbol { start, len: 1, token: byte.and_then(|&byte| self.vocab.byte_id(byte)) };
        }
        let len = if self.space && start == 0 {
            1
        } else {
            let rest = self.text.get(start - usize::from(self.space)..);
            rest.and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
        };
        Symbol { start, len, token: self.vocab.find(self.piece(start, len)) }
    }

    /// Key and token of a pair, if it merges.
    fn join(&self, left: Symbol, right: Symbol) -> Option<(u32, u32)> {
        if self.vocab.is_bpe() {
            return self.vocab.merge(left.token?, right.token?);
        }
        let token = self.vocab.find(self.piece(left.start, left.len + right.len))?;
        Some((score_key(self.vocab.score(token)?), token))
    }

    fn key(&self, left: Option<Symbol>, right: Option<Symbol>) -> u32 {
        left.zip(right).and_then(|(left, right)| self.join(left, right)).map_or(NO_PAIR, |(key, _)| key)
    }

    /// Writes the symbol at `start` and the key of the pair that it completes; returns where the next begins.
    pub(super) fn fill(&self, word: &mut Word<'_>, start: usize) -> usize {
        let symbol = self.first_symbol(start);
        word.put(symbol);
        let end = start + symbol.len;
        (start..end).for_each(|at| word.set_key(at, NO_PAIR));
        if let Some(before) = word.before(start, |id| self.vocab.token_len(id)) {
            word.set_key(before.start, self.key(Some(before), Some(symbol)));
        }
        end
    }

    /// Merges the pair at `start`.
    pub(super) fn merge(&self, word: &mut Word<'_>, start: usize) {
        let token_len = |id| self.vocab.token_len(id);
        let pair = word.at(start, token_len).and_then(|left| Some((left, word.at(start + left.len, token_len)?)));
        let Some((left, right)) = pair else { return word.update(start, NO_PAIR) };
        let Some((_, token)) = self.join(left, right) else { return word.update(start, NO_PAIR) };
        let merged = Symbol { start, len: left.len + right.len, token: Some(token) };
        word.put(merged);
        word.update(right.start, NO_PAIR);
        let next = word.at(start + merged.len, token_len);
        word.update(start, self.key(Some(merged), next));
        if let Some(before) = word.before(start, token_len) {
            word.update(before.start, self.key(Some(before), Some(merged)));
        }
    }

    /// A character without a token: its byte tokens, else the unknown token; returns how many bytes went unspelled.
    pub(super) fn spell(&self, symbol: Symbol, push: &mut impl FnMut(u32)) -> usize {
        let piece = self.piece(symbol.start, symbol.len);
        let bytes = || piece.space.then_some(b' ').into_iter().chain(piece.bytes.iter().copied());
        let bpe = self.vocab.begins_with_bytes();
        if bytes().all(|byte| self.vocab.byte_id(byte).is_some()) {
            bytes().filter_map(|byte| self.vocab.byte_id(byte)).for_each(push);
            0
        } else if let Some(unknown) = self.vocab.unknown().filter(|_| !bpe) {
            push(unknown);
            0
        } else {
            symbol.len
        }
    }
}

/// Scores as keys: the higher the score, the lower the key; never [`NO_PAIR`], as no score is NaN.
fn score_key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits(); // -0 and +0 are equals
    if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_as_scores_rise() {
        let scores = [f32::INFINITY, 1e30, 1.0, 1e-40, 0.0, -1e-40, -1.0, -2.0, f32::MIN, f32::NEG_INFINITY];
        assert!(scores.is_sorted_by_key(|&score| score_key(score)));
        assert_eq!(score_key(0.0), score_key(-0.0));
        assert!(scores.iter().all(|&score| score_key(score) < NO_PAIR));
    }
}
