//! From tokenised documents to batches, in an order that depends on the seed and on how much was taken, on nothing else.

use std::{ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};

use super::weights::SplitMix;

/// Documents of one kind.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// Pieces of documents, at most one token longer than the context: a piece of n tokens teaches n - 1 predictions.
    pieces: Vec<Vec<u32>>,
}

impl Pool {
    /// Cuts documents to the context. A document's tokens begin with BOS and end with the token that ends a text.
    pub fn new(documents: impl IntoIterator<Item = Vec<u32>>, context: usize) -> Self {
        let mut pieces = Vec::new();
        for document in documents {
            // The last token of a piece is the first of the next: it is predicted once and read once.
            let mut rest = document.as_slice();
            while rest.len() > 1 {
                let len = rest.len().min(context + 1);
                pieces.push(rest[..len].to_vec());
                rest = &rest[len - 1..];
            }
        }
        Self { pieces }
    }

    /// Whether there is nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Predictions in all.
    pub fn tokens(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64 - 1).sum()
    }
}

/// How far a pool was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Times it was read whole.
    pub epoch: u64,
    /// Pieces taken since.
    pub at: usize,
    /// Predictions taken in all.
    pub tokens: u64,
}

/// Tokens of whole pieces, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Inputs.
    pub ids: Vec<u32>,
    /// The token after each.
    pub next: Vec<u32>,
    /// How much of each target is the teacher's.
    pub teacher_share: Vec<f32>,
    /// Where each piece is.
    pub documents: Arc<[Range<usize>]>,
}

/// One pool and how it takes part.
struct Source {
    pool: Pool,
    /// Share of all tokens.
    share: f64,
    teacher_share: f32,
    cursor: Cursor,
    /// The present epoch's order.
    order: Vec<usize>,
}

/// Takes batches from several pools.
pub struct Batches {
    sources: Vec<Source>,
    seed: u64,
}

impl Batches {
    /// `pools`: documents, share of the tokens taken, how much of their targets is the teacher's.
    pub fn new(pools: Vec<(Pool, f64, f32)>, seed: u64) -> Self {
        let sources = pools.into_iter().filter(|(pool, share, _)| !pool.is_empty() && *share > 0.0);
        let sources = sources.map(|(pool, share, teacher_share)| Source {
            pool,
            share,
            teacher_share,
            cursor: Cursor::default(),
            order: Vec::new(),
        });
        let mut batches = Self { sources: sources.collect(), seed };
        batches.reorder_all();
        batches
    }

    /// Where each pool stands.
    pub fn cursors(&self) -> Vec<Cursor> {
        self.sources.iter().map(|source| source.cursor).collect()
    }

    /// Goes on from there; `false` when the number of pools is another one.
    pub fn resume(&mut self, cursors: &[Cursor]) -> bool {
        let fits = cursors.len() == self.sources.len()
            && cursors.iter().zip(&self.sources).all(|(cursor, source)| cursor.at <= source.pool.pieces.len());
        if fits {
            self.sources.iter_mut().zip(cursors).for_each(|(source, cursor)| source.cursor = *cursor);
            self.reorder_all();
        }
        fits
    }

    fn reorder_all(&mut self) {
        for (i, source) in self.sources.iter_mut().enumerate() {
            source.reorder(self.seed ^ (i as u64) << 56);
        }
    }

    /// The next batch: pieces until one more would be over `tokens`. One at least.
    pub fn next(&mut self, tokens: usize) -> Batch {
        let mut batch = Batch { ids: vec![], next: vec![], teacher_share: vec![], documents: Arc::from([]) };
        let mut documents = Vec::new();
        loop {
            // The pool that is furthest behind its share.
            let total: u64 = self.sources.iter().map(|source| source.cursor.tokens).sum();
            let behind = |source: &Source| source.share * (total + 1) as f64 - source.cursor.tokens as f64;
            let furthest = self.sources.iter_mut().enumerate().max_by(|(_, a), (_, b)| behind(a).total_cmp(&behind(b)));
            let Some((i, source)) = furthest else { break };
            let Some(piece) = source.order.get(source.cursor.at).and_then(|piece| source.pool.pieces.get(*piece))
            else {
                break;
            };
            let len = piece.len() - 1;
            if !documents.is_empty() && batch.ids.len() + len > tokens {
                break;
            }
            documents.push(batch.ids.len()..batch.ids.len() + len);
            batch.ids.extend_from_slice(&piece[..len]);
            batch.next.extend_from_slice(&piece[1..]);
            batch.teacher_share.resize(batch.ids.len(), source.teacher_share);
            source.cursor.tokens += len as u64;
            source.cursor.at += 1;
            if source.cursor.at == source.pool.pieces.len() {
                source.cursor = Cursor { epoch: source.cursor.epoch + 1, at: 0, tokens: source.cursor.tokens };
                source.reorder(self.seed ^ (i as u64) << 56);
            }
        }
        batch.documents = documents.into();
        batch
    }
}

impl Source {
    /// The order of the present epoch (Fisher & Yates).
    fn reorder(&mut self, seed: u64) {
        let mut random = SplitMix(seed.wrapping_add(self.cursor.epoch.wrapping_mul(0x2545_f491_4f6c_dd1d)));
        self.order = (0..self.pool.pieces.len()).collect();
        for i in (1..self.order.len()).rev() {
            self.order.swap(i, random.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(seed: u64) -> Batches {
        let documents = |n: u32, len: u32| Pool::new((0..n).map(|i| (i * 100..i * 100 + len).collect()), 8);
        Batches::new(vec![(documents(7, 6), 0.25, 0.5), (documents(50, 9), 0.75, 1.0)], seed)
    }

    #[test]
    fn long_documents_are_cut_and_every_prediction_is_taught_once() {
        let pool = Pool::new([(0..20).collect(), vec![1], vec![]], 8);
        assert_eq!(pool.pieces, [(0..9).collect::<Vec<_>>(), (8..17).collect(), (16..20).collect()]);
        assert_eq!(pool.tokens(), 19);
    }

    #[test]
    fn a_resumed_order_is_the_same() {
        let mut all = batches(3);
        let expected: Vec<_> = (0..40).map(|_| all.next(32)).collect();
        for stop in [0, 1, 13, 39] {
            let mut first = batches(3);
            let mut got: Vec<_> = (0..stop).map(|_| first.next(32)).collect();
            let mut second = batches(3);
            assert!(second.resume(&first.cursors()));
            got.extend((stop..40).map(|_| second.next(32)));
            assert_eq!(got, expected, "stopped at {stop}");
        }
        assert_ne!(batches(4).next(32), expected[0]);
        assert!(!batches(3).resume(&[Cursor::default()]));
    }

    #[test]
    fn shares_are_kept_and_every_piece_comes() {
        let mut batches = batches(5);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let batch = batches.next(32);
            assert!(batch.ids.len() <= 32 && !batch.documents.is_empty());
            seen.extend(batch.documents.iter().map(|document| (batch.ids[document.start], document.len())));
        }
        let [a, b] = batches.cursors()[..] else { panic!("two pools") };
        assert!((a.tokens as f64 / (a.tokens + b.tokens) as f64 - 0.25).abs() < 0.01);
        assert_eq!(seen.len(), 57);
    }
}
