//! Decoding with guesses: several tokens a pass where the text repeats itself, the same text always.

use std::time::Instant;

use pipsqueak::{
    Sampler, Session, SessionError,
    draft::{BatchCost, Drafter},
    kernels::Kernels,
};

/// What a batch is taken to cost until one was measured: a little more than the AVX2 kernels' few tokens (measured with a model
/// of 135 million parameters: 0.65 and 0.3).
const COST: BatchCost = BatchCost { start: 0.9, each: 0.3 };
/// Share of a new measurement in the time a token is taken to need.
const NEW: f64 = 0.1;

/// Guesses, and the time they save.
pub struct Drafts {
    drafter: Drafter,
    /// The last token, then guesses.
    tokens: Vec<u32>,
    came: Vec<u32>,
    /// Seconds a token by itself takes.
    alone: Option<f64>,
    /// Tokens guessed and verified.
    pub verified: usize,
    /// Those among them that came true.
    pub accepted: usize,
}

impl Drafts {
    /// Guesses of at most `longest` tokens; 0 for none.
    pub fn new(longest: usize) -> Self {
        Self {
            drafter: Drafter::new(COST),
            tokens: vec![0; longest + 1],
            came: vec![0; longest + 1],
            alone: None,
            verified: 0,
            accepted: 0,
        }
    }

    /// Feeds the last token of `text`, which is all the tokens so far, and draws at least one and at most `wanted` new
    /// ones. They are as [`Session::sample`] would have drawn them; all but the last are fed and accepted by `sampler`. One
    /// that `ends` the text is the last.
    pub fn decode<K: Kernels + ?Sized>(
        &mut self,
        session: &mut Session<'_, K>,
        sampler: &mut Sampler,
        text: &[u32],
        wanted: usize,
        ends: impl Fn(u32) -> bool,
    ) -> Result<&[u32], SessionError> {
        let [last, guesses @ ..] = self.tokens.as_mut_slice() else { return Ok(&[]) };
        let [.., token] = text else { return Ok(&[]) };
        *last = *token;
        let guess = self.drafter.guess(text, guesses);
        let guesses = &guesses[..guess.len];
        let mut count = guess.worth.min(wanted.saturating_sub(1)).min(session.remaining().saturating_sub(1));
        if let Some(end) = guesses[..count].iter().position(|id| ends(*id)) {
            count = end;
        }
        let start = Instant::now();
        let drawn = session.decode_drafted(&self.tokens[..1 + count], sampler, &mut self.came)?;
        self.learn_time(1 + count, start.elapsed().as_secs_f64());
        let came = &self.came[..drawn];
        self.drafter.learn(&guess, &self.tokens[1..], came);
        self.verified += count;
        self.accepted += drawn.saturating_sub(1);
        Ok(came)
    }

    fn learn_time(&mut self, tokens: usize, seconds: f64) {
        match (&mut self.alone, tokens) {
            (None, 1) => self.alone = Some(seconds),
            // A moment in which the machine did something else says nothing.
            (Some(alone), 1) => *alone += NEW * (seconds.min(2.0 * *alone) - *alone),
            (Some(alone), _) => self.drafter.cost().learn(tokens, (seconds / *alone) as f32),
            (None, _) => {}
        }
    }
}
