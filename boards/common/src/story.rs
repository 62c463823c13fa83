//! The storyteller: prompt in, text out, in slices of work.

use core::fmt;

use pipsqueak::{
    Image, Plan, Progress, Sampler, Sampling, Session, SessionError, Vocab, Want,
    crc::Crc32,
    image::Damaged,
    kernels::{Kernels, arena::Line, team::Team},
    tokenizer::{DecodeError, Decoder, EncodeError, EncodeOptions, Encoder, Progress as Encoding, scratch_len},
};

use crate::{
    Board, Clock, Console,
    report::Report,
    settings::Settings,
    words::{Say, Sink, say},
};

/// Bytes of the longest prompt; a longer one is a named error.
pub const PROMPT_BYTES: usize = 100;
/// Every byte may be a token, and BOS and SentencePiece's space come before them.
const PROMPT_TOKENS: usize = PROMPT_BYTES + 2;

/// Why a story came to no good end.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TellError {
    /// The model in flash is not the one that was put there.
    Damaged(Damaged),
    /// The session could not begin or go on.
    Session(SessionError),
    /// The prompt could not be made tokens.
    Encode(EncodeError),
    /// A token could not be made text.
    Decode(DecodeError),
    /// The prompt is longer than the demo has memory for.
    Prompt {
        /// Its bytes.
        got: usize,
        /// The most that are taken.
        max: usize,
    },
    /// The model only takes token ids.
    NoVocabulary,
    /// Memory that only one may have was asked for twice.
    Taken,
}

impl Say for TellError {
    fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Damaged(error) => error.say(sink),
            Self::Session(error) => error.say(sink),
            Self::Encode(error) => error.say(sink),
            Self::Decode(error) => error.say(sink),
            Self::Prompt { got, max } => {
                say(sink, "the prompt has {} bytes, at most {} are taken", &[got as u64, max as u64])
            }
            Self::NoVocabulary => sink("the model has no vocabulary: it only takes token ids"),
            Self::Taken => sink("the arenas are in use"),
        }
    }
}

impl fmt::Display for TellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for TellError {}

macro_rules! from {
    ($($variant:ident: $error:ty,)*) => {$(
        impl From<$error> for TellError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    Damaged: Damaged,
    Session: SessionError,
    Encode: EncodeError,
    Decode: DecodeError,
}

/// What the tokenizer and the sampler work in: 1.9 KB that the stack need not have.
#[derive(Debug)]
pub struct Work {
    tokens: [u32; PROMPT_TOKENS],
    merges: [u32; scratch_len(PROMPT_BYTES)],
    sampler: Sampler,
}

/// Settings of zeros, which are no part of the flash.
const NOTHING: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 0.0, min_p: 0.0, repeat_penalty: 0.0, seed: 0 };

impl Work {
    /// Before any text.
    pub const EMPTY: Self = Self { tokens: [0; _], merges: [0; _], sampler: Sampler::new(NOTHING) };
}

/// The memory of a story.
#[derive(Debug)]
pub struct Memory<'m> {
    /// The model's plan, for the two arenas.
    pub plan: &'m Plan,
    /// As many lines as the plan says, or more.
    pub scratch: &'m mut [Line],
    /// As many lines as the plan says, or more.
    pub kv: &'m mut [Line],
    /// The tokenizer's.
    pub work: &'m mut Work,
}

/// Tells one story and reports its numbers. In a function of its own, so that its stack is not on top of what opening the
/// model took.
#[inline(never)]
pub fn perform<K: Kernels, C: Console, T: Clock>(
    board: &mut Board<C, T>,
    image: &Image<'_>,
    kernels: &K,
    memory: Memory<'_>,
    settings: &Settings<'_>,
) -> Result<(), TellError> {
    let team = Team::alone();
    let Memory { plan, scratch, kv, work } = memory;
    // Used where it was made: moved out of its result it would be twice on the stack, 600 bytes each time.
    let mut made = Session::new(image, kernels, &team, plan, scratch, kv);
    let session = made.as_mut().map_err(|error| *error)?;
    log!("session with {}", *plan);
    let report = tell(session, board, settings, work)?;
    log!("{}", report);
    report.write(&mut board.console);
    Ok(())
}

/// Tells a story, from where the session stands. The vocabulary's first token begins it.
pub fn tell<K: Kernels, C: Console, T: Clock>(
    session: &mut Session<'_, K>,
    board: &mut Board<C, T>,
    settings: &Settings<'_>,
    work: &mut Work,
) -> Result<Report, TellError> {
    let vocab = session.image().vocab().ok_or(TellError::NoVocabulary)?;
    let Work { tokens, merges, sampler } = work;
    sampler.reset(settings.sampling);
    let mut teller = Teller { session, board, settings, report: Report::default(), sampler, logits: Crc32::new() };
    let began = teller.board.clock.now();
    let count = teller.encode(vocab, tokens, merges)?;
    teller.prefill(tokens.get(..count).unwrap_or(&[]))?;
    teller.answer(vocab, began)?;
    if settings.full {
        teller.fill()?;
    }
    Ok(teller.report)
}

struct Teller<'t, 'm, K: Kernels, C, T> {
    session: &'t mut Session<'m, K>,
    board: &'t mut Board<C, T>,
    settings: &'t Settings<'t>,
    report: Report,
    sampler: &'t mut Sampler,
    /// Of all positions, when ids are shown.
    logits: Crc32,
}

impl<K: Kernels, C: Console, T: Clock> Teller<'_, '_, K, C, T> {
    /// The prompt's tokens. In a function of its own, as its stack is not needed when the model works.
    #[inline(never)]
    fn encode(&mut self, vocab: Vocab<'_>, tokens: &mut [u32], merges: &mut [u32]) -> Result<usize, TellError> {
        let (got, max) = (self.settings.prompt.len(), PROMPT_BYTES);
        if got > max {
            return Err(TellError::Prompt { got, max });
        }
        let options = EncodeOptions { add_bos: vocab.add_bos(), parse_special: false };
        let mut encoder = Encoder::new(vocab, self.settings.prompt, options, tokens, merges)?;
        loop {
            let before = self.board.clock.now();
            let progress = encoder.step(64)?;
            self.slice(before);
            if progress == Encoding::Done {
                break;
            }
        }
        log!("a prompt of {} tokens", encoder.len());
        self.report.prompt = encoder.len();
        Ok(encoder.len())
    }

    fn prefill(&mut self, prompt: &[u32]) -> Result<(), TellError> {
        let ids = self.settings.ids;
        if prompt.len() > self.session.remaining() {
            // All of it or nothing: half a prompt is another prompt.
            let (context, used) = (self.session.plan().options.context, self.session.position());
            return Err(SessionError::ContextFull { context, used, asked: prompt.len() }.into());
        }
        let mut rest = prompt;
        while let Some((id, after)) = rest.split_first() {
            let want = if ids || after.is_empty() { Want::Last } else { Want::Nothing };
            self.forward(*id, want)?;
            self.sampler.accept(*id);
            rest = after;
        }
        if !ids {
            let _ = self.board.console.write_str(self.settings.prompt);
        }
        Ok(())
    }

    fn answer(&mut self, vocab: Vocab<'_>, began: u64) -> Result<(), TellError> {
        let mut decoder = Decoder::continuing(vocab, false);
        let result = self.talk(vocab, &mut decoder, began);
        // An error has a line of its own.
        decoder.flush(|text| self.board.console.write_str(text).unwrap_or(()));
        let _ = self.board.console.write_str("\n");
        result?;
        if self.settings.ids {
            self.say("logits {8}\n", self.logits.finish());
        }
        Ok(())
    }

    fn talk(&mut self, vocab: Vocab<'_>, decoder: &mut Decoder<'_>, began: u64) -> Result<(), TellError> {
        let mut spent = 0;
        while self.report.tokens < self.settings.tokens {
            let before = self.board.clock.now();
            let id = self.session.sample(self.sampler)?;
            let stop = vocab.is_stop(id);
            spent += self.slice(before);
            if stop {
                break;
            }
            self.sampler.accept(id);
            let console = &mut self.board.console;
            if !self.settings.ids {
                // Its instructions are the console's, not the engine's.
                decoder.push(id, |text| console.write_str(text).unwrap_or(()))?;
            }
            if self.report.tokens == 0 {
                self.report.first = self.board.clock.now().wrapping_sub(began);
            }
            // A context that is full is an error, unless as much was asked for as fits.
            if self.report.tokens + 1 == self.settings.tokens && self.session.remaining() == 0 {
                self.report.tokens += 1;
                break;
            }
            spent += self.forward(id, Want::Last)?;
            self.report.tokens += 1;
            self.report.answer = spent;
        }
        Ok(())
    }

    /// Goes on with the last token to the end of the context.
    fn fill(&mut self) -> Result<(), TellError> {
        while self.session.remaining() > 0 {
            let want = if self.session.remaining() == 1 { Want::Last } else { Want::Nothing };
            self.report.full = self.forward(1, want)?;
        }
        Ok(())
    }

    /// One token through the model; its instructions.
    fn forward(&mut self, id: u32, want: Want) -> Result<u64, TellError> {
        if self.settings.ids {
            self.say("{} ", id);
        }
        self.session.feed(&[id], want)?;
        let mut spent = 0;
        loop {
            let before = self.board.clock.now();
            let progress = self.session.step(self.settings.budget)?;
            spent += self.slice(before);
            if progress == Progress::Done {
                break;
            }
            // Here the radio and the watchdog have their turn.
        }
        if self.settings.ids {
            self.logits = self.logits.update_f32(self.session.logits());
        }
        Ok(spent)
    }

    fn say(&mut self, template: &str, number: u32) {
        let _ = say(&mut |text| self.board.console.write_str(text), template, &[number.into()]);
    }

    /// The instructions since `before`, which were one slice.
    fn slice(&mut self, before: u64) -> u64 {
        let spent = self.board.clock.now().wrapping_sub(before);
        self.report.slice = self.report.slice.max(spent);
        spent
    }
}
