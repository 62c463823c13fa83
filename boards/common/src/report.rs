//! The numbers of a run, a line each: `stat NAME VALUE`.

use core::fmt::Write;

use crate::{
    stack,
    words::{divided, say},
};

/// What was counted. Instructions are an emulator's; on silicon they are nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that followed.
    pub tokens: usize,
    /// Instructions to the first character of the answer.
    pub first: u64,
    /// Instructions of the answer's tokens, from the first to the last: forward pass, choice, text.
    pub answer: u64,
    /// The longest time between two chances for others, in instructions.
    pub slice: u64,
    /// Instructions of the token that fills the context; 0 when it was not filled.
    pub full: u64,
}

impl Report {
    /// Instructions a token of the answer.
    pub fn per_token(&self) -> u64 {
        if self.tokens == 0 { 0 } else { divided(self.answer, self.tokens as u32).0 }
    }

    /// Writes the lines.
    pub fn write(&self, out: &mut impl Write) {
        for (name, value) in [
            ("prompt_tokens", self.prompt as u64),
            ("tokens", self.tokens as u64),
            ("instructions_a_token", self.per_token()),
            ("instructions_to_first_token", self.first),
            ("instructions_full_context", self.full),
            ("worst_slice", self.slice),
            ("stack", stack::used() as u64),
        ] {
            stat(out, name, value);
        }
    }
}

/// Writes one line.
pub fn stat(out: &mut impl Write, name: &str, value: u64) {
    let mut sink = |text: &str| out.write_str(text);
    let _ = sink("stat ").and_then(|()| sink(name)).and_then(|()| say(&mut sink, " {}\n", &[value]));
}
