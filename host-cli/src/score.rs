//! How well a model predicts a text: probabilities of its tokens, counted by token and by character.

use pipsqueak::{Session, SessionError, Vocab, kernels::Kernels};

/// What was scored so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Sum of the negative logarithms of the tokens' probabilities.
    pub nats: f64,
    /// Tokens.
    pub tokens: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Their characters.
    pub chars: usize,
}

/// A stretch of tokens whose tail is scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// All tokens, at least two.
    pub ids: Vec<u32>,
    /// Position of the first token whose prediction of the next one counts.
    pub first: usize,
}

impl Score {
    /// Counts the prediction of `id` from `logits`.
    fn add(&mut self, logits: &[f32], id: u32, vocab: &Vocab<'_>) {
        self.nats -= log_probability(logits, id);
        self.tokens += 1;
        let bytes = vocab.token_bytes(id).unwrap_or_default();
        self.bytes += bytes.len();
        self.chars += bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    }

    /// Scores the tail of a window, from an empty cache.
    pub fn window<K: Kernels + ?Sized>(
        &mut self,
        session: &mut Session<'_, K>,
        window: &Window,
        vocab: &Vocab<'_>,
    ) -> Result<(), SessionError> {
        session.truncate(0);
        // The last token predicts nothing that is there.
        let (skipped, scored) = window.ids[..window.ids.len() - 1].split_at(window.first);
        session.fill(skipped)?;
        session.score(scored, |i, logits| self.add(logits, window.ids[window.first + i + 1], vocab))?;
        Ok(())
    }

    /// Mean negative logarithm of a token's probability.
    pub fn nats_per_token(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// Bits that a character costs.
    pub fn bits_per_char(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.chars.max(1) as f64
    }
}

/// Natural logarithm of the softmax probability of `id`, in `f64`.
fn log_probability(logits: &[f32], id: u32) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
    let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    f64::from(logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY) - max) - sum.ln()
}
