//! The stopwatch.

use std::time::Instant;

use pipsqueak::Session;

use crate::failure::Failure;

/// A session to be measured.
pub(super) struct Bench<'m> {
    pub(super) session: Session<'m>,
    pub(super) vocab_size: u32,
    /// Rounds that count.
    pub(super) repeat: u32,
}

impl Bench<'_> {
    /// Fills the cache up to `depth`, which is no less than the depth before.
    pub(super) fn go_to(&mut self, depth: usize) -> Result<(), Failure> {
        let missing = self.ids(7919, self.session.position(), depth);
        Ok(self.session.fill(&missing)?)
    }

    /// Seconds of every round, of prefill and of decode, each from `depth` on.
    pub(super) fn measure(&mut self, depth: usize, prefill: usize, decode: usize) -> Result<[Vec<f64>; 2], Failure> {
        let (prompt, answer) = (self.ids(7919, 0, prefill), self.ids(104_729, 0, decode));
        let mut seconds = [Vec::new(), Vec::new()];
        // The first round warms caches and is not counted.
        for round in 0..=self.repeat {
            let start = Instant::now();
            self.session.prefill(&prompt)?;
            let prefill_s = start.elapsed().as_secs_f64();
            self.session.truncate(depth);
            let start = Instant::now();
            for id in &answer {
                self.session.decode(*id)?;
            }
            let decode_s = start.elapsed().as_secs_f64();
            self.session.truncate(depth);
            if round > 0 {
                seconds[0].push(prefill_s);
                seconds[1].push(decode_s);
            }
        }
        Ok(seconds)
    }

    /// Ids spread over the vocabulary, so that embedding rows come from memory as they would in use.
    fn ids(&self, factor: u32, from: usize, to: usize) -> Vec<u32> {
        (from as u32..to as u32).map(|i| i.wrapping_mul(factor) % self.vocab_size).collect()
    }
}
