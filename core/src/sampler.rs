//! From logits to a token: greedy, temperature, top-k, top-p, min-p, repetition penalty.
//!
//! The same logits, settings and seed give the same token everywhere: the draw is a function of the seed and the token's
//! index alone, ties go to the lower id, and every sum has a fixed order.

use pipsqueak_kernels::math::{exp, sum};

/// How tokens are chosen. Applied in this order: penalty, top-k, top-p, min-p, temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most likely token.
    pub temperature: f32,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: u32,
    /// Only the most likely tokens whose probabilities together reach p; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely one; 0 for all.
    pub min_p: f32,
    /// Logits of recent tokens are divided by it where positive, multiplied where negative; 1 for none.
    pub repeat_penalty: f32,
    /// Names the sequence of random draws.
    pub seed: u64,
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: 0 };
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.0, seed: 0 }
    }
}

/// Recent tokens the repetition penalty looks at.
pub const RECENT: usize = 64;

/// A chooser of tokens, with the recent ones it penalises.
#[derive(Clone, Debug)]
pub struct Sampler {
    settings: Sampling,
    recent: [u32; RECENT],
    seen: usize,
}

impl Sampler {
    /// A sampler that has seen no tokens.
    pub const fn new(settings: Sampling) -> Self {
        Self { settings, recent: [0; RECENT], seen: 0 }
    }

    /// Begins anew, with these settings and no tokens seen: for a sampler that has a place of its own.
    pub const fn reset(&mut self, settings: Sampling) {
        self.settings = settings;
        self.seen = 0;
    }

    /// The settings.
    pub const fn settings(&self) -> &Sampling {
        &self.settings
    }

    /// Remembers a token of the text, for the repetition penalty. Call it for the prompt's tokens and for each chosen one.
    pub fn accept(&mut self, token: u32) {
        if let Some(place) = self.recent.get_mut(self.seen & (RECENT - 1)) {
            *place = token;
        }
        self.seen = self.seen.wrapping_add(1);
    }

    /// Chooses a token from `logits`, `[vocab_size]`, all finite; `order` is scratch of the same length. `index` is the
    /// position the token will have: the draw is a function of it and the seed. Logits of penalised tokens are changed.
    pub fn sample(&self, logits: &mut [f32], order: &mut [u32], index: u64) -> u32 {
        self.penalise(logits);
        let s = &self.settings;
        if s.temperature <= 0.0 || s.top_k == 1 {
            return greedy(logits);
        }
        let order = order.get_mut(..logits.len()).unwrap_or_default();
        for (id, place) in order.iter_mut().enumerate() {
            *place = id as u32;
        }
        let kept = self.shortlist(logits, order);
        let max = kept.first().map_or(0.0, |id| logit(logits, *id));
        let max = if kept.len() == logits.len() { largest(logits) } else { max };
        let weight = |id: &u32| exp((logit(logits, *id) - max) / s.temperature);
        let total = kept.iter().map(weight).fold(0.0f32, |total, weight| total + weight);
        let mut left = uniform(s.seed, index) * total;
        for id in kept.iter() {
            left -= weight(id);
            if left < 0.0 {
                return *id;
            }
        }
        // Rounding may leave a crumb after the last.
        kept.last().copied().unwrap_or(0)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.settings.repeat_penalty;
        if penalty == 1.0 {
            return;
        }
        let recent = self.recent.get(..self.seen.min(RECENT)).unwrap_or(&[]);
        for (i, token) in recent.iter().enumerate() {
            // A token that occurs twice is penalised once.
            let seen = recent.iter().take(i).any(|other| other == token);
            if let Some(logit) = logits.get_mut(*token as usize).filter(|_| !seen) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    /// The ids that may be chosen. All of them in id order when nothing cuts; else the likely ones, most likely first.
    fn shortlist<'o>(&self, logits: &[f32], order: &'o mut [u32]) -> &'o [u32] {
        let s = &self.settings;
        let all = logits.len();
        let k = if s.top_k == 0 { all } else { all.min(s.top_k as usize) };
        if k == all && s.top_p >= 1.0 && s.min_p <= 0.0 {
            return order;
        }
        let mut heap = Heap::new(logits, order);
        let max = heap.peek().map_or(0.0, |id| logit(logits, id));
        let probability = |id: u32| exp(logit(logits, id) - max);
        // The mass that top-p is a share of: the k best, or everything, summed without sorting.
        let mut kept = 0;
        let mass = if s.top_p >= 1.0 {
            f32::INFINITY
        } else if k == all {
            sum(logits.iter().map(|x| exp(x - max)))
        } else {
            let mut mass = 0.0;
            while let Some(id) = heap.pop_if(kept < k) {
                mass += probability(id);
                kept += 1;
            }
            mass
        };
        let limit = s.top_p * mass;
        let mut reached = 0.0;
        let mut chosen = 0;
        while chosen < k && (chosen == 0 || reached < limit) {
            let next = if chosen < kept { heap.popped(chosen) } else { heap.pop_if(true) };
            let Some(id) = next else { break };
            kept = kept.max(chosen + 1);
            let p = probability(id);
            if chosen > 0 && p < s.min_p {
                break;
            }
            reached += p;
            chosen += 1;
        }
        heap.into_sorted(chosen)
    }
}

fn logit(logits: &[f32], id: u32) -> f32 {
    logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY)
}

fn largest(logits: &[f32]) -> f32 {
    logits.iter().fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max })
}

/// The id of the largest logit; the lower one of equals.
pub fn greedy(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, x) in logits.iter().enumerate() {
        if *x > best.1 {
            best = (id as u32, *x);
        }
    }
    best.0
}

/// A number in `[0, 1)` with 24 random bits for this seed and index.
///
/// Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64's finaliser).
pub fn uniform(seed: u64, index: u64) -> f32 {
    let mut z = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // Through u32, which every FPU converts; a chip of 32 bits links a function for u64.
    (z >> 40) as u32 as f32 * (1.0 / 16_777_216.0)
}

/// A max-heap of ids over their logits; popped ids gather at the end of the slice, in order from the back.
struct Heap<'l, 'o> {
    logits: &'l [f32],
    ids: &'o mut [u32],
    len: usize,
}

impl<'l, 'o> Heap<'l, 'o> {
    fn new(logits: &'l [f32], ids: &'o mut [u32]) -> Self {
        let len = ids.len();
        let mut heap = Self { logits, ids, len };
        for node in (0..len / 2).rev() {
            heap.sift_down(node);
        }
        heap
    }

    fn peek(&self) -> Option<u32> {
        self.ids.first().copied()
    }

    /// Whether `a` comes before `b`: larger logit, or the same and the lower id.
    fn before(&self, a: u32, b: u32) -> bool {
        let (x, y) = (logit(self.logits, a), logit(self.logits, b));
        x > y || (x == y && a < b)
    }

    fn sift_down(&mut self, mut node: usize) {
        let Some(moving) = self.ids.get(node).copied() else { return };
        loop {
            let left = 2 * node + 1;
            let Some(mut best) = self.ids.get(..self.len).and_then(|ids| ids.get(left)).copied() else { break };
            let mut child = left;
            if let Some(right) = self.ids.get(..self.len).and_then(|ids| ids.get(left + 1)).copied()
                && self.before(right, best)
            {
                (best, child) = (right, left + 1);
            }
            if !self.before(best, moving) {
                break;
            }
            if let Some(place) = self.ids.get_mut(node) {
                *place = best;
            }
            node = child;
        }
        if let Some(place) = self.ids.get_mut(node) {
            *place = moving;
        }
    }

    fn pop_if(&mut self, wanted: bool) -> Option<u32> {
        if !wanted || self.len == 0 {
            return None;
        }
        let top = self.peek()?;
        self.len -= 1;
        let last = self.ids.get(self.len).copied()?;
        for (at, id) in [(0, last), (self.len, top)] {
            if let Some(place) = self.ids.get_mut(at) {
                *place = id;
            }
        }
        if self.len > 0 {
            self.sift_down(0);
        }
        Some(top)
    }

    /// The id popped as number `index`.
    fn popped(&self, index: usize) -> Option<u32> {
        self.ids.iter().rev().nth(index).copied()
    }

    /// The first `count` popped ids, most likely first.
    fn into_sorted(self, count: usize) -> &'o [u32] {
        // Not `reverse`, in which a panic stays when optimised for size.
        let mut rest = &mut *self.ids;
        while let [first, middle @ .., last] = rest {
            core::mem::swap(first, last);
            rest = middle;
        }
        self.ids.get(..count).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{vec, vec::Vec};

    use super::*;

    fn logits(n: usize, seed: u64) -> Vec<f32> {
        (0..n).map(|i| (uniform(seed, i as u64) * 40.0).round() * 0.25).collect()
    }

    /// The settings' meaning, by sorting everything.
    fn reference(s: &Sampling, logits: &[f32]) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        if s.top_k == 0 && s.top_p >= 1.0 && s.min_p <= 0.0 {
            return ids;
        }
        ids.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        if s.top_k > 0 {
            ids.truncate(s.top_k as usize);
        }
        let p = |id: &u32| (logits[*id as usize] - logits[ids[0] as usize]).exp() as f64;
        let mass: f64 = ids.iter().map(p).sum();
        let mut reached = 0.0;
        let keep = ids
            .iter()
            .take_while(|id| {
                let take = reached == 0.0 || (reached < s.top_p as f64 * mass && p(id) >= s.min_p as f64);
                reached += p(id);
                take || s.top_p >= 1.0 && p(id) >= s.min_p as f64
            })
            .count();
        ids.truncate(keep);
        ids
    }

    #[test]
    fn shortlists_are_what_sorting_gives() {
        for seed in 0..60 {
            let logits = logits(1 + seed as usize * 7, seed);
            for (top_k, top_p, min_p) in [
                (0, 1.0, 0.0),
                (5, 1.0, 0.0),
                (0, 0.9, 0.0),
                (0, 1.0, 0.1),
                (10, 0.7, 0.05),
                (40, 0.95, 0.05),
                (0, 0.0, 0.0),
            ] {
                let s = Sampling { top_k, top_p, min_p, ..Sampling::default() };
                let mut order: Vec<u32> = (0..logits.len() as u32).collect();
                assert_eq!(Sampler::new(s).shortlist(&logits, &mut order), reference(&s, &logits), "{seed} {s:?}");
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities_and_only_the_seed_and_index() {
        let logits = [0.0f32, 1.0, 2.0, -30.0];
        let sampler =
            Sampler::new(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() });
        let mut counts = [0u32; 4];
        let mut order = vec![0; 4];
        for index in 0..20_000 {
            let id = sampler.sample(&mut logits.clone(), &mut order, index);
            assert_eq!(id, sampler.sample(&mut logits.clone(), &mut order, index));
            counts[id as usize] += 1;
        }
        let z: f64 = logits.iter().map(|x| (*x as f64).exp()).sum();
        for (count, x) in counts.iter().zip(logits) {
            let p = (x as f64).exp() / z;
            assert!((*count as f64 / 20_000.0 - p).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn greedy_breaks_ties_downwards_and_the_penalty_counts_once() {
        assert_eq!(greedy(&[1.0, 3.0, 3.0]), 1);
        let mut sampler = Sampler::new(Sampling { repeat_penalty: 2.0, ..Sampling::GREEDY });
        sampler.accept(1);
        sampler.accept(1);
        let mut logits = [1.0, 3.0, -1.0];
        assert_eq!(sampler.sample(&mut logits, &mut [0; 3], 0), 1);
        assert_eq!(logits, [1.0, 1.5, -1.0]);
        // What was seen before a new beginning is forgotten.
        sampler.reset(Sampling { repeat_penalty: 2.0, ..Sampling::GREEDY });
        assert_eq!(sampler.sample(&mut logits, &mut [0; 3], 0), 1);
        assert_eq!(logits, [1.0, 1.5, -1.0]);
    }
}
