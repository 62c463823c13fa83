//! Guesses of a text's next tokens, looked up in the text itself, to be verified many at a time.
//!
//! A text that repeats, quotes or edits what stands before it can be guessed by finding where its last tokens occurred
//! earlier and reading on from there. One batch, [`Session::decode_drafted`](crate::Session::decode_drafted), then gives
//! the logits after every guessed token, the sampler draws from each row as it would have one by one, and the guesses that
//! are what was drawn need no pass of their own. A batch has the bits of its tokens one by one, and a draw depends only on
//! logits, seed and position, so the text is the same as without guesses; only its speed differs.
//!
//! A guess that fails costs its share of a batch. So a [`Drafter`] keeps count of how often guesses came true, also of
//! those it did not have verified, and says how many are worth their price.
//!
//! Sources: Leviathan et al. 2023, arXiv:2211.17192 (verifying drafts in one pass); Yang et al. 2023, arXiv:2304.04487
//! (drafts copied from the text).

/// Tokens at the end of a text that must have occurred before, in this order, for a guess to be made.
pub const SHORTEST: usize = 2;
/// Tokens that are compared at most; what occurs with so many the same is as good as any longer.
pub const LONGEST: usize = 32;

/// Classes of matches by length: 2, 3, 4 to 5, 6 to 8, 9 to 16, and longer.
const CLASSES: usize = 6;
/// What a class is taken for before anything is known: this many guesses, of which the share in [`PRIOR`] came true.
const PRIOR_WEIGHT: f32 = 3.0;
/// Shares of guesses that come true by class of match, before anything is known. Below what was counted over texts of a
/// small model, told to copy a passage or to write freely; a text that does better soon tells.
const PRIOR: [f32; CLASSES] = [0.2, 0.3, 0.5, 0.65, 0.8, 0.92];
/// Older guesses count less: each new one of a class weakens those before it by this factor.
const FADE: f32 = 0.98;
/// A draft must promise this much more than its cost; below it, noise decides.
const MARGIN: f32 = 1.06;

/// What a [`Drafter`] guesses, and how much of it is worth verifying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guess {
    /// Tokens guessed.
    pub len: usize,
    /// How many of them, from the first, should be verified; 0 for none.
    pub worth: usize,
    /// Tokens before the guess that occurred before, at most [`LONGEST`].
    pub matched: usize,
}

/// Guesses next tokens and learns from what came.
#[derive(Clone, Debug)]
pub struct Drafter {
    /// Guesses by class of match, faded, and those that came true.
    tries: [f32; CLASSES],
    hits: [f32; CLASSES],
    cost: BatchCost,
}

/// What a batch of at least two tokens costs, in times of a batch of one: `start + each * tokens`.
///
/// The two need not agree at one token: kernels have a way of their own for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchCost {
    /// What it costs to begin one.
    pub start: f32,
    /// What each of its tokens costs.
    pub each: f32,
}

impl BatchCost {
    /// A batch of `tokens`.
    pub fn of(&self, tokens: usize) -> f32 {
        if tokens < 2 { 1.0 } else { self.start + self.each * tokens as f32 }
    }

    /// Learns that a batch of `tokens` took `times` as long as one of one. A time out of all proportion, as on a machine
    /// that was busy for a moment, counts little.
    pub fn learn(&mut self, tokens: usize, times: f32) {
        if tokens < 2 || !times.is_finite() {
            return;
        }
        // A step of normalised least mean squares, its input scaled so that both numbers move alike.
        const RATE: f32 = 0.25;
        const SCALE: f32 = 0.125;
        let expected = self.of(tokens);
        let most = 0.3 * expected;
        // Not `clamp`, which panics when the bounds make no sense.
        let error = (times - expected).min(most).max(-most);
        let x = tokens as f32 * SCALE;
        let step = RATE * error / (1.0 + x * x);
        self.start = (self.start + step).max(0.0);
        self.each = (self.each + step * x * SCALE).max(0.0);
    }
}

impl Drafter {
    /// A drafter that knows nothing of the text yet.
    pub const fn new(cost: BatchCost) -> Self {
        Self { tries: [0.0; CLASSES], hits: [0.0; CLASSES], cost }
    }

    /// What it takes a batch to cost, to be corrected by what was measured.
    pub const fn cost(&mut self) -> &mut BatchCost {
        &mut self.cost
    }

    /// Guesses what follows `text`, all tokens so far, into `out`, and how many of the guesses are worth verifying. Looks
    /// through `text` once.
    pub fn guess(&self, text: &[u32], out: &mut [u32]) -> Guess {
        let Some((from, matched)) = look_up(text) else { return Guess::default() };
        let len = out.len();
        for at in 0..len {
            // Beyond the text's end stands what is guessed.
            let token = match text.get(from.saturating_add(at)) {
                Some(token) => Some(*token),
                None => out.get(from.saturating_add(at).saturating_sub(text.len())).copied(),
            };
            if let (Some(place), Some(token)) = (out.get_mut(at), token) {
                *place = token;
            }
        }
        Guess { len, worth: self.worth(matched, len), matched }
    }

    /// How many guessed tokens after a match of `matched` to verify, of at most `len`: as many as give the most tokens in
    /// a time.
    fn worth(&self, matched: usize, len: usize) -> usize {
        let (mut tokens, mut all_true) = (1.0f32, 1.0f32);
        let (mut best, mut best_rate) = (0, MARGIN);
        for count in 0..len {
            all_true *= self.chance(class(matched.saturating_add(count)));
            tokens += all_true;
            // The last token drawn goes first in the batch.
            let time = self.cost.of(count + 2);
            if tokens > best_rate * time {
                (best, best_rate) = (count + 1, tokens / time);
            }
        }
        best
    }

    /// The estimated chance that a guess after a match of this class comes true.
    fn chance(&self, class: usize) -> f32 {
        let get = |values: &[f32; CLASSES]| values.get(class).copied().unwrap_or(0.0);
        (get(&self.hits) + get(&PRIOR) * PRIOR_WEIGHT) / (get(&self.tries) + PRIOR_WEIGHT)
    }

    /// Learns from the tokens that `came` where `guessed` were: all of the guess, verified or not. `guess` is what
    /// [`Self::guess`] returned with them.
    pub fn learn(&mut self, guess: &Guess, guessed: &[u32], came: &[u32]) {
        for (count, (guessed, came)) in guessed.iter().take(guess.len).zip(came).enumerate() {
            let hit = guessed == came;
            let class = class(guess.matched.saturating_add(count));
            if let (Some(tries), Some(hits)) = (self.tries.get_mut(class), self.hits.get_mut(class)) {
                *tries = *tries * FADE + 1.0;
                *hits = *hits * FADE + if hit { 1.0 } else { 0.0 };
            }
            if !hit {
                break;
            }
        }
    }
}

/// The class of a match by its length.
const fn class(matched: usize) -> usize {
    match matched {
        0..=2 => 0,
        3 => 1,
        4..=5 => 2,
        6..=8 => 3,
        9..=16 => 4,
        _ => 5,
    }
}

/// Where `text` goes on after the longest earlier occurrence of its last tokens, the latest of equals, and how many are the
/// same, from [`SHORTEST`] to [`LONGEST`].
fn look_up(text: &[u32]) -> Option<(usize, usize)> {
    let (last, before) = text.split_last()?;
    let mut best = None;
    let mut longest = SHORTEST - 1;
    for (at, token) in before.iter().enumerate().rev() {
        if token != last {
            continue;
        }
        let here = before.get(..at).unwrap_or(&[]).iter().rev();
        let matched = 1 + here.zip(before.iter().rev()).take(LONGEST - 1).take_while(|(a, b)| a == b).count();
        if matched > longest {
            (best, longest) = (Some((at + 1, matched)), matched);
            if matched == LONGEST {
                break;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;

    /// A batch that costs next to nothing more than a token.
    const CHEAP: BatchCost = BatchCost { start: 1.0, each: 0.1 };

    #[test]
    fn the_longest_match_is_found_and_the_latest_of_equals() {
        assert_eq!(look_up(&[]), None);
        assert_eq!(look_up(&[7]), None);
        // One token alone is no match.
        assert_eq!(look_up(&[7, 1, 7]), None);
        assert_eq!(look_up(&[1, 2, 9, 3, 1, 2]), Some((2, 2)));
        assert_eq!(look_up(&[1, 2, 8, 1, 2, 9, 1, 2]), Some((5, 2)));
        // Three tokens far away rather than two near by.
        assert_eq!(look_up(&[5, 1, 2, 8, 1, 2, 9, 5, 1, 2]), Some((3, 3)));
        let long = [3; 100];
        assert_eq!(look_up(&long), Some((99, LONGEST)));
    }

    #[test]
    fn a_guess_reads_on_and_round_a_period() {
        let drafter = Drafter::new(CHEAP);
        let mut out = [0; 6];
        let guess = drafter.guess(&[1, 2, 3, 4, 1, 2], &mut out);
        // After 1 2 comes 3 4 1 2, and then the guess's own beginning.
        assert_eq!((guess.len, guess.matched, out), (6, 2, [3, 4, 1, 2, 3, 4]));
        assert_eq!(drafter.guess(&[1, 2, 3], &mut out), Guess::default());
        assert_eq!(drafter.guess(&[1, 2, 1, 2], &mut []), Guess { len: 0, worth: 0, matched: 2 });
    }

    #[test]
    fn guesses_that_fail_are_soon_not_worth_it_and_those_that_hold_are() {
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4];
        let mut out = [0; 8];
        let mut drafter = Drafter::new(BatchCost { start: 1.5, each: 0.25 });
        for _ in 0..20 {
            let guess = drafter.guess(&text, &mut out);
            drafter.learn(&guess, &out, &[99]);
        }
        assert_eq!(drafter.guess(&text, &mut out).worth, 0, "{drafter:?}");
        for _ in 0..60 {
            let guess = drafter.guess(&text, &mut out);
            // Learned without being verified.
            drafter.learn(&guess, &out, &[5, 6, 7, 8, 9, 1, 2, 3]);
        }
        assert_eq!(drafter.guess(&text, &mut out).worth, 8, "{drafter:?}");
        // Where a batch costs as much as its tokens, nothing is.
        *drafter.cost() = BatchCost { start: 0.0, each: 1.0 };
        assert_eq!(drafter.guess(&text, &mut out).worth, 0, "{drafter:?}");
    }

    #[test]
    fn costs_are_learned_and_one_bad_moment_is_not() {
        let mut cost = BatchCost { start: 1.0, each: 0.5 };
        for round in 0..300 {
            let tokens = 2 + round * 7 % 15;
            cost.learn(tokens, 1.5 + 0.25 * tokens as f32);
        }
        for tokens in [2, 8, 16] {
            let want = 1.5 + 0.25 * tokens as f32;
            assert!((cost.of(tokens) / want - 1.0).abs() < 0.05, "{tokens}: {cost:?}");
        }
        let before = cost;
        cost.learn(16, 1e9);
        cost.learn(2, f32::NAN);
        assert!(cost.of(16) < before.of(16) * 1.1, "{before:?} {cost:?}");
        assert_eq!(cost.of(1), 1.0);
    }

    #[test]
    fn any_text_and_any_room_is_fine() {
        for len in 0..40 {
            for vocab in 1..4u32 {
                let text: vec::Vec<u32> =
                    (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 16 & 0xff).map(|x| x % vocab).collect();
                for room in 0..20 {
                    let mut out = vec![77; room];
                    let guess = Drafter::new(CHEAP).guess(&text, &mut out);
                    assert!(guess.worth <= guess.len && guess.len <= room);
                    assert!(out[..guess.len].iter().all(|token| *token < vocab), "{text:?} {out:?}");
                }
            }
        }
    }
}
