//! What a demo is asked for, from the line it was started with: `name=number` words, then the prompt.

use pipsqueak::{KvType, Sampling};

/// A demo's settings. Each has a word: `n=100`, `ctx=128`, `budget=4000`, `kv=f16`, and for sampling `temp=80`, `top_p=95`,
/// `min_p=5` (hundredths), `top_k=40`, `penalty=110`, `seed=1`; `ids` shows tokens in place of text, `full` goes on to a full
/// context.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// New tokens.
    pub tokens: usize,
    /// Positions of the cache.
    pub context: usize,
    /// Multiply-adds of a slice.
    pub budget: usize,
    /// The cache's numbers.
    pub kv: KvType,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Token ids and a checksum of all logits are shown, in place of text.
    pub ids: bool,
    /// After the text the context is filled, to see how fast the last token is.
    pub full: bool,
    /// How the text begins.
    pub prompt: &'a str,
}

impl Settings<'static> {
    /// What a demo does when nothing is asked for: `context` positions, greedy.
    pub const fn new(context: usize) -> Self {
        Self {
            tokens: 200,
            context,
            budget: 4000,
            kv: KvType::I8,
            sampling: Sampling::GREEDY,
            ids: false,
            full: false,
            prompt: "Once upon a time",
        }
    }

    /// These settings, changed by the words of `line`. What is not understood is part of the prompt.
    pub fn with(self, line: &str) -> Settings<'_> {
        let mut settings: Settings<'_> = self;
        let mut rest = trimmed(line);
        while !rest.is_empty() {
            let (word, after) = split(rest, b' ');
            if !settings.set(word) {
                settings.prompt = rest;
                break;
            }
            rest = trimmed(after);
        }
        settings
    }
}

// By hand and by bytes: the standard library's ways know all of Unicode, which is a kilobyte.

/// `text` up to the first `mark`, and what follows it.
fn split(text: &str, mark: u8) -> (&str, &str) {
    let at = text.bytes().position(|byte| byte == mark).unwrap_or(text.len());
    (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())
}

/// `text` without spaces and the like at its ends.
fn trimmed(mut text: &str) -> &str {
    while let [b'\0'..=b' ', ..] = text.as_bytes() {
        text = text.get(1..).unwrap_or_default();
    }
    while let [.., b'\0'..=b' '] = text.as_bytes() {
        text = text.get(..text.len() - 1).unwrap_or_default();
    }
    text
}

/// The number that `text` is; 0 when it is none.
fn number(text: &str) -> u32 {
    let digit = |number: u32, byte: u8| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u32::from(byte & 15)))
    };
    text.bytes().try_fold(0, digit).unwrap_or(0)
}

impl Settings<'_> {
    fn set(&mut self, word: &str) -> bool {
        let (name, value) = split(word, b'=');
        let number = number(value);
        let hundredths = number as f32 / 100.0;
        let sampling = &mut self.sampling;
        match name {
            "n" => self.tokens = number as usize,
            "ctx" => self.context = number as usize,
            "budget" => self.budget = number as usize,
            "kv" => self.kv = KvType::ALL.into_iter().find(|kv| kv.name() == value).unwrap_or(self.kv),
            "temp" => sampling.temperature = hundredths,
            "top_k" => sampling.top_k = number,
            "top_p" => sampling.top_p = hundredths,
            "min_p" => sampling.min_p = hundredths,
            "penalty" => sampling.repeat_penalty = hundredths,
            "seed" => sampling.seed = u64::from(number),
            "ids" => self.ids = true,
            "full" => self.full = true,
            _ => return false,
        }
        true
    }
}
