//! The toy: how a language model learns, small enough to watch every number.
//!
//! A next-word model of three sentences: [`text`] makes the pairs of word and next word, [`net`] is the network with its
//! gradient written out by hand, [`picture`] shows where the words' vectors went. Here the loop that trains it.

pub mod net;
pub mod picture;
pub mod text;

use std::fmt;

use net::{Net, Shape};
use pipsqueak::sampler::greedy;
use text::Text;

/// How to learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Numbers in a word's vector.
    pub dim: usize,
    /// Neurons of the hidden layer.
    pub hidden: usize,
    /// Steps downhill, each over all pairs.
    pub steps: usize,
    /// How far a step goes: this times the gradient.
    pub rate: f32,
    /// Of the random numbers that the weights start from.
    pub seed: u64,
}

/// The network at one moment, and how well it did.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Steps made so far.
    pub step: usize,
    /// Mean loss over all pairs, in nats.
    pub loss: f32,
    /// All weights.
    pub net: Net,
}

/// The loss rose instead of falling.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Diverged {
    pub start: f32,
    pub loss: f32,
    pub step: usize,
    pub rate: f32,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, loss, step, rate } = self;
        let moved = if loss.is_finite() { format!("to {loss}") } else { "beyond all numbers".to_owned() };
        write!(f, "--rate {rate} is too large: the loss went from {start} {moved} by step {step}; try 0.5 or less")
    }
}

impl std::error::Error for Diverged {}

/// Steps at which a lesson looks at the network: 0, 1, 2, 5, 10, 20, 50 and so on, and the last.
pub fn moments(steps: usize) -> Vec<usize> {
    let round = (0..).map(|power| 10usize.pow(power)).take_while(|ten| *ten < steps);
    let round = round.flat_map(|ten| [1, 2, 5].map(|times| times * ten)).filter(|step| *step < steps);
    std::iter::once(0).chain(round).chain([steps]).collect()
}

/// Learns `text`, and returns the network at every one of [`moments`]. `tick` is called after every step.
pub fn learn(text: &Text, settings: &Settings, mut tick: impl FnMut()) -> Result<Vec<Moment>, Diverged> {
    let Settings { dim, hidden, steps, rate, seed } = *settings;
    let pairs = text.pairs();
    let mut net = Net::random(Shape { words: text.words.len(), outputs: text.outputs(), dim, hidden }, seed);
    let looks = moments(steps);
    let mut seen: Vec<Moment> = Vec::with_capacity(looks.len());
    for step in 0..=steps {
        // Forward and backward over every pair; then all weights move at once (plain gradient descent).
        let (loss, gradient) = net.gradient(&pairs);
        let start = seen.first().map_or(loss, |first| first.loss);
        // A finite loss above the first one can still come down, but not at the end.
        if !loss.is_finite() || !net.is_finite() || (step == steps && loss > start) {
            return Err(Diverged { start, loss, step, rate });
        }
        if looks.contains(&step) {
            seen.push(Moment { step, loss, net: net.clone() });
        }
        if step < steps {
            net.update(&gradient, rate);
            tick();
        }
    }
    Ok(seen)
}

/// The id that the network finds most likely after `word`.
pub fn most_likely(net: &Net, word: usize) -> usize {
    greedy(&net.forward(word).logits) as usize
}

/// The sentence that the network makes from `first`, always taking the most likely next word: up to the end mark, or to
/// `most` words where it goes in a circle.
pub fn generate(net: &Net, first: usize, most: usize) -> Vec<usize> {
    let mut ids = vec![first];
    while ids.len() < most {
        let next = most_likely(net, ids[ids.len() - 1]);
        ids.push(next);
        // The end mark has no vector to go on from.
        if next >= net.shape.words {
            break;
        }
    }
    ids
}

/// Cosine of the angle between two vectors: 1 in the same direction, 0 across, -1 opposite; 0 where one has no length.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let lengths = dot(a, a).sqrt() * dot(b, b).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

/// The other words, the one with the most similar vector first, each with its cosine.
pub fn nearest(net: &Net, word: usize) -> Vec<(usize, f32)> {
    let others = (0..net.shape.words).filter(|other| *other != word);
    let mut near: Vec<_> = others.map(|other| (other, cosine(net.vector(word), net.vector(other)))).collect();
    near.sort_by(|a, b| b.1.total_cmp(&a.1));
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `pipsqueak toy` does without options.
    fn default_settings(seed: u64) -> Settings {
        let args = <crate::args::ToyArgs as clap::FromArgMatches>::from_arg_matches(
            &<crate::args::ToyArgs as clap::Args>::augment_args(clap::Command::new("toy")).get_matches_from(["toy"]),
        );
        Settings { seed, ..args.unwrap().settings() }
    }

    fn lesson(seed: u64) -> (Text, Vec<Moment>) {
        let text = Text::new(text::SENTENCES).unwrap();
        let moments = learn(&text, &default_settings(seed), || ()).unwrap();
        (text, moments)
    }

    #[test]
    fn words_used_alike_end_near_each_other() {
        let alike = [("cat", "dog"), ("milk", "water"), ("milk", "bread"), ("water", "bread")];
        for seed in 0..20 {
            let (text, moments) = lesson(seed);
            let net = &moments[moments.len() - 1].net;
            let id = |name: &str| text.words.iter().position(|word| word == name).unwrap();
            let cosine = |a: &str, b: &str| cosine(net.vector(id(a)), net.vector(id(b)));
            for (a, b) in alike {
                assert!(cosine(a, b) > 0.9, "seed {seed}: {a} and {b} {}", cosine(a, b));
            }
            // No word that is used otherwise comes as near.
            for other in ["the", "drinks", "bird", "eats", "milk"] {
                let [near, far] = [cosine("cat", "dog"), cosine("cat", other)];
                assert!(near > far + 0.1, "seed {seed}: cat and dog {near}, cat and {other} {far}");
            }
        }
    }

    #[test]
    fn every_next_word_that_is_certain_is_learned() {
        for seed in 0..20 {
            let (text, moments) = lesson(seed);
            let Moment { net, loss, .. } = &moments[moments.len() - 1];
            assert!(*loss - text.floor() < 0.05, "seed {seed}: {loss}, at best {}", text.floor());
            for word in 0..text.words.len() {
                let counts = text.followers(word);
                let p = net.forward(word).probabilities;
                let certain = counts.iter().filter(|count| **count > 0).count() == 1;
                // A certain one nearly always; of others, one that can come.
                assert!(counts[most_likely(net, word)] > 0, "seed {seed}: {} {p:?}", text.name(word));
                assert!(!certain || p[most_likely(net, word)] > 0.9, "seed {seed}: {} {p:?}", text.name(word));
            }
            let said = generate(net, 0, 20);
            assert!(said.len() == 5 && said[4] == text.words.len(), "seed {seed}: {}", text.sentence(&said));
        }
    }

    #[test]
    fn the_loss_falls_to_what_can_be_known() {
        let (text, moments) = lesson(0);
        assert!(moments.windows(2).all(|pair| pair[1].loss < pair[0].loss));
        // (3 ln 3 + 2 ln 2) / 12
        assert!((text.floor() - 0.390_178).abs() < 1e-5, "{}", text.floor());
        assert!(moments.iter().all(|moment| moment.loss > text.floor()));
    }

    #[test]
    fn the_same_bits_on_every_machine() {
        let (_, moments) = lesson(0);
        let bits: Vec<u32> = [0, moments.len() - 1].iter().map(|i| moments[*i].loss.to_bits()).collect();
        assert_eq!(bits, [1_077_479_516, 1_053_311_575]);
    }

    #[test]
    fn a_step_that_is_too_large_is_found() {
        let text = Text::new(text::SENTENCES).unwrap();
        for rate in [1e3, 1e10, f32::MAX] {
            let error = learn(&text, &Settings { rate, ..default_settings(0) }, || ()).unwrap_err();
            assert!(error.to_string().contains("is too large: the loss went from 2."), "{error}");
        }
    }

    #[test]
    fn a_lesson_looks_at_round_steps() {
        assert_eq!(moments(1), [0, 1]);
        assert_eq!(moments(10), [0, 1, 2, 5, 10]);
        assert_eq!(moments(1200), [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1200]);
    }

    #[test]
    fn a_circle_ends() {
        let text = Text::new("a b a b a b a b a b").unwrap();
        let moments = learn(&text, &default_settings(0), || ()).unwrap();
        assert_eq!(generate(&moments[moments.len() - 1].net, 0, 7), [0, 1, 0, 1, 0, 1, 0]);
    }
}
