//! The merge engine: a word as a chain of symbols in one caller-owned slice, and a tournament tree over its pairs.
//!
//! Byte-pair encoding merges, again and again, the best adjacent pair of a word; of equals the leftmost. Here every
//! byte of the word owns three `u32` of scratch:
//! * its **slot**: where a symbol begins, its token (or "no token" and its length); where one ends, a pointer back to
//!   its beginning. With that, both neighbours of a symbol are one look-up away and no list is kept;
//! * its **key**: how urgent the pair is whose left symbol begins here, lowest first, [`NO_PAIR`] if there is none;
//! * a **node** of the tournament tree, holding the position that wins below it.
//!
//! The best pair is the root. A merge changes three keys, and each climbs at most `log2(n)` nodes, so that a word of
//! `n` bytes costs `O(n log n)`, also when a whole book is one word (SentencePiece).

/// The key of a position without a pair.
pub(super) const NO_PAIR: u32 = u32::MAX;

/// Scratch of each byte of a word, in `u32`.
pub(super) const SCRATCH_PER_BYTE: usize = 3;

/// Longest word: the slots keep their tags above these bits.
pub(super) const MAX_WORD: usize = (1 << 30) - 1;

const VALUE: u32 = (1 << 30) - 1;
const NO_TOKEN: u32 = 1 << 30;
const BACK: u32 = 2 << 30;

/// A stretch of the word that is one token so far, or one character without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) token: Option<u32>,
}

/// The scratch of one word.
pub(super) struct Word<'b> {
    slots: &'b mut [u32],
    keys: &'b mut [u32],
    nodes: &'b mut [u32],
}

impl<'b> Word<'b> {
    /// Lays a word of `len` bytes out in `scratch`; `None` when that is too small.
    pub(super) fn new(scratch: &'b mut [u32], len: usize) -> Option<Self> {
        let (slots, rest) = scratch.split_at_mut_checked(len)?;
        let (keys, rest) = rest.split_at_mut_checked(len)?;
        let (nodes, _) = rest.split_at_mut_checked(len)?;
        Some(Self { slots, keys, nodes })
    }

    /// Bytes of the word.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Writes a symbol; its pair's key is [`set_key`](Self::set_key)'s or [`update`](Self::update)'s business.
    pub(super) fn put(&mut self, symbol: Symbol) {
        let last = symbol.start + symbol.len.saturating_sub(1);
        if let Some(slot) = self.slots.get_mut(last) {
            *slot = BACK | symbol.start as u32 & VALUE;
        }
        if let Some(slot) = self.slots.get_mut(symbol.start) {
            *slot = match symbol.token {
                Some(id) => id & VALUE,
                None => NO_TOKEN | symbol.len as u32 & VALUE,
            };
        }
    }

    /// The symbol that begins at `start`; `token_len` gives the length of a token.
    pub(super) fn at(&self, start: usize, token_len: impl Fn(u32) -> usize) -> Option<Symbol> {
        let slot = *self.slots.get(start)?;
        let (len, token) = match slot & !VALUE {
            0 => (token_len(slot), Some(slot)),
            NO_TOKEN => ((slot & VALUE) as usize, None),
            _ => return None,
        };
        (len != 0).then_some(Symbol { start, len, token })
    }

    /// The symbol that ends before `start`.
    pub(super) fn before(&self, start: usize, token_len: impl Fn(u32) -> usize) -> Option<Symbol> {
        let last = start.checked_sub(1)?;
        let slot = *self.slots.get(last)?;
        let first = if slot & !VALUE == BACK { (slot & VALUE) as usize } else { last };
        self.at(first, token_len)
    }

    /// How urgent the pair at `start` is.
    pub(super) fn key(&self, start: usize) -> u32 {
        self.keys.get(start).copied().unwrap_or(NO_PAIR)
    }

    /// Sets a key before the tree is built.
    pub(super) fn set_key(&mut self, start: usize, key: u32) {
        if let Some(slot) = self.keys.get_mut(start) {
            *slot = key;
        }
    }

    /// Plays node `index`; all nodes above `index` must have been played. The tree has nodes `1..len`.
    pub(super) fn play(&mut self, index: usize) {
        let winner = self.better(self.child(2 * index), self.child(2 * index + 1));
        if let Some(node) = self.nodes.get_mut(index) {
            *node = winner as u32;
        }
    }

    /// Changes a key and replays the matches that depend on it.
    pub(super) fn update(&mut self, start: usize, key: u32) {
        self.set_key(start, key);
        let mut index = (start + self.len()) / 2;
        while index != 0 {
            let before = self.nodes.get(index).copied();
            self.play(index);
            // An unchanged winner that is not the changed position itself: nothing further up can change.
            if self.nodes.get(index).copied() == before && before != Some(start as u32) {
                break;
            }
            index /= 2;
        }
    }

    /// Where the best pair begins.
    pub(super) fn best(&self) -> Option<usize> {
        let start = self.child(1);
        (self.key(start) != NO_PAIR).then_some(start)
    }

    /// The position that stands at child `index`: an inner node's winner, or a leaf.
    fn child(&self, index: usize) -> usize {
        match index.checked_sub(self.len()) {
            Some(leaf) => leaf,
            None => self.nodes.get(index).map_or(0, |&node| node as usize),
        }
    }

    fn better(&self, a: usize, b: usize) -> usize {
        if (self.key(a), a) <= (self.key(b), b) { a } else { b }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    #[test]
    fn the_tree_finds_the_leftmost_lowest_key_for_every_length() {
        let mut random = 1_u32;
        for len in 1..70 {
            let mut scratch = vec![0; len * SCRATCH_PER_BYTE];
            let mut word = Word::new(&mut scratch, len).unwrap();
            let mut keys = vec![NO_PAIR; len];
            (0..len).for_each(|i| word.set_key(i, NO_PAIR));
            (1..len).rev().for_each(|i| word.play(i));
            for _ in 0..200 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (at, key) = ((random >> 8) as usize % len, [NO_PAIR, random >> 29][random as usize >> 7 & 1]);
                keys[at] = key;
                word.update(at, key);
                let expected = (0..len).filter(|&i| keys[i] != NO_PAIR).min_by_key(|&i| (keys[i], i));
                assert_eq!(word.best(), expected, "{keys:?}");
            }
        }
    }
}
