//! What happens, for a reader or, as JSON lines, for a program.

use serde::Serialize;

use crate::{
    chat::{Answer, Stopped},
    cmd::print,
    failure::Failure,
};

/// What happens. `host-cli/README.md` says what each field means.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    Ready { model: &'a str, context: usize, kernels: &'a str, threads: usize },
    Text { text: &'a str },
    Answer(Answered<'a>),
    Refused { message: &'a str },
    Reset,
    System { text: Option<&'a str> },
    Saved { file: &'a str, position: usize },
    Loaded { file: &'a str, turns: usize, position: usize },
}

#[derive(Serialize)]
pub(super) struct Answered<'a> {
    turn: usize,
    text: &'a str,
    tokens: &'a [u32],
    stopped: Stopped,
    prompt_tokens: usize,
    new_prompt_tokens: usize,
    context: usize,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
}

/// Where events go.
pub(super) struct Events {
    json: bool,
}

impl Events {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn send(&self, event: &Event<'_>) -> Result<(), Failure> {
        if self.json {
            return print(&(serde_json::to_string(event).map_err(Failure::new)? + "\n"));
        }
        match event {
            Event::Text { text } => return print(text),
            Event::Reset => eprintln!("[begun anew]"),
            Event::System { text: Some(_) } => eprintln!("[system text set]"),
            Event::System { text: None } => eprintln!("[system text taken away]"),
            Event::Saved { file, position } => eprintln!("[{file}: {position} tokens kept]"),
            Event::Loaded { file, turns, position } => eprintln!("[{file}: {turns} turns, {position} tokens]"),
            Event::Ready { .. } | Event::Answer(_) | Event::Refused { .. } => {}
        }
        Ok(())
    }

    /// A line could not be done.
    pub(super) fn refuse(&self, message: &str) -> Result<(), Failure> {
        self.note(message);
        self.send(&Event::Refused { message })
    }

    /// Something to know, for a reader.
    pub(super) fn note(&self, message: &str) {
        if !self.json {
            eprintln!("pipsqueak: {message}");
        }
    }

    /// An answer is at its end.
    pub(super) fn answered(&self, turn: usize, answer: &Answer, context: usize, stats: bool) -> Result<(), Failure> {
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        let Answer { tokens, text, stopped, prompt_tokens, new_prompt_tokens, .. } = answer;
        let (stopped, prompt_tokens, new_prompt_tokens) = (*stopped, *prompt_tokens, *new_prompt_tokens);
        let prefill_tokens_per_s = rate(new_prompt_tokens, answer.prefill_s);
        // The first token came with the prefill.
        let decode_tokens_per_s = rate(tokens.len().saturating_sub(1), answer.decode_s);
        if !self.json {
            print("\n")?;
        }
        if stats {
            eprintln!(
                "[turn {turn}: {new_prompt_tokens} new of {prompt_tokens} prompt tokens, {prefill_tokens_per_s:.1}/s; {} \
                 new tokens, {decode_tokens_per_s:.1}/s; {} of {context} positions]",
                tokens.len(),
                prompt_tokens + tokens.len()
            );
        }
        self.send(&Event::Answer(Answered {
            turn,
            text,
            tokens,
            stopped,
            prompt_tokens,
            new_prompt_tokens,
            context,
            prefill_tokens_per_s,
            decode_tokens_per_s,
        }))
    }
}
