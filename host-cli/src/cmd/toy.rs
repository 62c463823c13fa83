//! `toy`: a next-word model learns three sentences, and shows how.

use std::fmt::Write;

use serde_json::json;

use super::print;
use crate::{
    args::ToyArgs,
    engine,
    failure::Failure,
    toy::{
        self, Moment, Settings,
        net::Net,
        picture::{Plane, draw},
        text::{SENTENCES, Text},
    },
};

/// Words of a generated sentence, at most.
const MOST: usize = 20;
/// Neighbours shown for each word.
const NEIGHBOURS: usize = 2;
/// Next words shown for each word.
const GUESSES: usize = 3;

impl ToyArgs {
    /// How to learn, of these options.
    pub fn settings(&self) -> Settings {
        let Self { dim, hidden, steps, rate, seed, .. } = *self;
        Settings { dim: dim.into(), hidden: hidden.into(), steps: steps as usize, rate, seed }
    }
}

pub(super) fn run(args: &ToyArgs) -> Result<(), Failure> {
    let text = match (&args.text, &args.sentences) {
        (Some(text), _) => Text::new(text).map_err(|error| Failure::usage(format_args!("--text: {error}")))?,
        (None, Some(path)) => Text::new(&engine::read_text(path)?)
            .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?,
        (None, None) => Text::new(SENTENCES).map_err(Failure::new)?,
    };
    let settings = args.settings();
    let bar = engine::bar(settings.steps as u64, "learning", "{pos}/{len}");
    let learned = toy::learn(&text, &settings, || bar.inc(1));
    bar.finish_and_clear();
    let lesson = Lesson { text, settings, moments: learned.map_err(Failure::new)? };
    print(&if args.json { lesson.json().to_string() + "\n" } else { lesson.tell() })
}

/// All that a run has to show.
struct Lesson {
    text: Text,
    settings: Settings,
    /// From the start to the end; never empty.
    moments: Vec<Moment>,
}

impl Lesson {
    fn start(&self) -> &Net {
        &self.moments[0].net
    }

    fn end(&self) -> &Net {
        &self.moments[self.moments.len() - 1].net
    }

    fn names(&self) -> Vec<&str> {
        self.text.words.iter().map(String::as_str).collect()
    }

    /// Every word with its id.
    fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.words.iter().map(String::as_str).enumerate()
    }

    /// The moments of which vectors are shown: the start, early, half-way by eye, the end.
    fn shown(&self) -> Vec<&Moment> {
        let last = self.moments.len() - 1;
        let mut shown = vec![0, last / 2, last * 3 / 4, last];
        shown.dedup();
        shown.into_iter().map(|i| &self.moments[i]).collect()
    }

    /// What can come after both words in the text.
    fn shared(&self, a: usize, b: usize) -> Vec<&str> {
        let (after_a, after_b) = (self.text.followers(a), self.text.followers(b));
        let both = |id: &usize| after_a[*id] > 0 && after_b[*id] > 0;
        (0..self.text.outputs()).filter(both).map(|id| self.text.name(id)).collect()
    }

    /// The likeliest ids after `word`, with their probabilities, the likeliest first.
    fn guesses(&self, word: usize) -> Vec<(usize, f32)> {
        let mut guesses: Vec<_> = self.end().forward(word).probabilities.into_iter().enumerate().collect();
        guesses.sort_by(|a, b| b.1.total_cmp(&a.1));
        guesses
    }

    fn generated(&self) -> String {
        self.text.sentence(&toy::generate(self.end(), 0, MOST))
    }

    /// The lesson as text.
    fn tell(&self) -> String {
        let mut out = String::new();
        self.tell_text(&mut out);
        self.tell_loss(&mut out);
        self.tell_vectors(&mut out);
        self.tell_pictures(&mut out);
        self.tell_neighbours(&mut out);
        self.tell_predictions(&mut out);
        out
    }

    fn tell_text(&self, out: &mut String) {
        let Settings { dim, hidden, .. } = self.settings;
        let (words, outputs) = (self.text.words.len(), self.text.outputs());
        *out += "THE SENTENCES\n";
        for sentence in &self.text.sentences {
            let _ = writeln!(out, "  {}", self.text.sentence(sentence));
        }
        let _ = writeln!(out, "\nWHAT IS LEARNED FROM THEM: after this word comes that one (`.` is the end)");
        let wide = self.width();
        for (word, name) in self.words() {
            let counts = self.text.followers(word).into_iter().enumerate().filter(|(_, count)| *count > 0);
            let next: Vec<_> = counts
                .map(|(id, count)| match count {
                    1 => self.text.name(id).to_owned(),
                    _ => format!("{} ({count} times)", self.text.name(id)),
                })
                .collect();
            let _ = writeln!(out, "  {name:<wide$} -> {}", next.join(", "));
        }
        let _ = writeln!(
            out,
            "\nTHE NETWORK: word -> its vector [{dim}] -> hidden layer, ReLU [{hidden}] -> logits [{outputs}] -> softmax\n  \
             learned: {words}x{dim} vectors, {hidden}x{dim} + {hidden} hidden, {outputs}x{hidden} + {outputs} output"
        );
    }

    fn tell_loss(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nLEARNING: {} steps downhill, rate {}, seed {}; the loss is the mean of -ln(probability of the right next word)",
            self.settings.steps, self.settings.rate, self.settings.seed
        );
        let start = self.moments[0].loss;
        for Moment { step, loss, .. } in &self.moments {
            let stars = (40.0 * loss / start).round().clamp(0.0, 80.0) as usize;
            let _ = writeln!(out, "  step {step:>6}  loss {loss:.4}  {}", "#".repeat(stars));
        }
        let _ = writeln!(
            out,
            "  at best      loss {:.4}  where several words can come next, nobody knows which",
            self.text.floor()
        );
    }

    fn tell_vectors(&self, out: &mut String) {
        *out += "\nHOW EACH WORD'S VECTOR MOVES\n";
        let wide = self.width();
        for (word, name) in self.words() {
            for (i, Moment { step, net, .. }) in self.shown().into_iter().enumerate() {
                let _ = write!(out, "  {:<wide$}  step {step:>6} ", if i == 0 { name } else { "" });
                for value in net.vector(word) {
                    let _ = write!(out, " {value:>+6.2}");
                }
                out.push('\n');
            }
        }
    }

    fn tell_pictures(&self, out: &mut String) {
        let plane = Plane::of(self.end());
        let _ = writeln!(
            out,
            "\nTHE VECTORS FROM THE SIDE THAT SHOWS MOST: the plane of the two main directions at the end\n  \
             (principal components; it shows {:.0} % of the spread), the same plane before and after",
            100.0 * plane.share
        );
        for (when, net) in [("before", self.start()), ("after", self.end())] {
            let (picture, scale) = draw(&plane.points(net), &self.names());
            let _ = write!(out, "\n  {when} (a letter's width is {scale:.3})\n{picture}");
        }
    }

    fn tell_neighbours(&self, out: &mut String) {
        *out +=
            "\nWHO ENDED UP NEAR WHOM, AND WHY (cosine of the two vectors, before -> after; 1: the same direction)\n";
        let wide = self.width();
        for (word, name) in self.words() {
            for (i, (other, after)) in toy::nearest(self.end(), word).into_iter().take(NEIGHBOURS).enumerate() {
                let before = toy::cosine(self.start().vector(word), self.start().vector(other));
                let shared = self.shared(word, other);
                let why = match shared.as_slice() {
                    [] => "nothing follows both".to_owned(),
                    shared => format!("both are followed by {}", shared.join(", ")),
                };
                let name = if i == 0 { name } else { "" };
                let other = self.text.name(other);
                let _ = writeln!(out, "  {name:<wide$}  {other:<wide$}  {before:>+5.2} -> {after:>+5.2}  {why}");
            }
        }
        *out += "  A vector is moved only by what comes after its word. Words that must give the same answer are pushed to the\n  \
                 same place; what a word means, the network never knew.\n";
    }

    fn tell_predictions(&self, out: &mut String) {
        *out += "\nWHAT IT SAYS NOW: after this word most likely (in brackets: how often in the sentences)\n";
        let wide = self.width();
        for (word, name) in self.words() {
            let counts = self.text.followers(word);
            let all: usize = counts.iter().sum();
            let guesses = self.guesses(word).into_iter().take(GUESSES);
            let guesses: Vec<_> = guesses
                .map(|(id, p)| format!("{} {:.1} % ({} of {all})", self.text.name(id), 100.0 * p, counts[id]))
                .collect();
            let _ = writeln!(out, "  {name:<wide$} -> {}", guesses.join(", "));
        }
        let _ = writeln!(
            out,
            "\nA SENTENCE from `{}`, always the most likely next word:\n  {}",
            self.text.name(0),
            self.generated()
        );
    }

    /// Characters of the longest word.
    fn width(&self) -> usize {
        self.text.words.iter().map(|word| word.chars().count()).max().unwrap_or(0)
    }

    /// The lesson as JSON.
    fn json(&self) -> serde_json::Value {
        let name = |id: usize| self.text.name(id);
        let plane = Plane::of(self.end());
        let (before, after) = (plane.points(self.start()), plane.points(self.end()));
        let words = self.words().map(|(word, name_of_word)| {
            let vectors = self.shown().into_iter();
            let vectors = vectors.map(|moment| json!({ "step": moment.step, "vector": moment.net.vector(word) }));
            let near = toy::nearest(self.end(), word).into_iter().map(|(other, after)| {
                let before = toy::cosine(self.start().vector(word), self.start().vector(other));
                let shared = self.shared(word, other);
                json!({ "word": name(other), "before": before, "after": after, "both_followed_by": shared })
            });
            let counts = self.text.followers(word);
            let next = self.guesses(word).into_iter();
            let next = next.map(|(id, p)| json!({ "word": name(id), "probability": p, "in_text": counts[id] }));
            json!({
                "word": name_of_word,
                "vectors": vectors.collect::<Vec<_>>(),
                "plane": { "before": before[word], "after": after[word] },
                "nearest": near.collect::<Vec<_>>(),
                "next": next.collect::<Vec<_>>(),
            })
        });
        let Settings { dim, hidden, steps, rate, seed } = self.settings;
        let losses = self.moments.iter().map(|moment| json!({ "step": moment.step, "loss": moment.loss }));
        json!({
            "sentences": self.text.sentences.iter().map(|ids| self.text.sentence(ids)).collect::<Vec<_>>(),
            "pairs": self.text.pairs().into_iter().map(|(a, b)| [name(a), name(b)]).collect::<Vec<_>>(),
            "dim": dim, "hidden": hidden, "steps": steps, "rate": rate, "seed": seed,
            "losses": losses.collect::<Vec<_>>(),
            "loss_at_best": self.text.floor(),
            "plane_share": plane.share,
            "words": words.collect::<Vec<_>>(),
            "generated": self.generated(),
        })
    }
}
