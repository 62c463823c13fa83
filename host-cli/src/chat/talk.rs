//! Answers, over a cache that is used again: a turn costs only the tokens that are new.

use std::{fmt, time::Instant};

use pipsqueak::{Progress, Sampler, Sampling, Session, SessionError, Vocab, Want};

use crate::{drafted::Drafts, failure::Failure, stream::Stream};

/// Multiply-adds between two looks at whether the user has interrupted: some milliseconds.
const SLICE: usize = 50_000_000;

/// How an answer is to be.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// How its tokens are chosen.
    pub sampling: Sampling,
    /// Tokens at most.
    pub tokens: usize,
    /// Strings that end it.
    pub stops: &'a [String],
    /// A token that ends it, beside the vocabulary's own.
    pub end: Option<u32>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// The model has ended it.
    Stop,
    /// A stop string came.
    StopText,
    /// It has as many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// The user has interrupted it.
    Interrupted,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub stopped: Stopped,
    /// Tokens of the conversation before it.
    pub prompt_tokens: usize,
    /// Those among them that were not in the cache yet.
    pub new_prompt_tokens: usize,
    /// Seconds that these took.
    pub prefill_s: f64,
    /// Seconds that the answer took after its first token.
    pub decode_s: f64,
}

/// Why there was no answer.
#[derive(Debug)]
pub enum TalkError {
    /// The conversation does not fit the context; nothing has changed.
    Full {
        /// Positions of the context.
        context: usize,
        /// Tokens of the conversation so far.
        used: usize,
        /// Tokens of the conversation with what was said, and one of an answer.
        need: usize,
    },
    /// The model fails.
    Session(SessionError),
    /// The answer could not be shown.
    Show(Failure),
}

impl fmt::Display for TalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { context, used, need } => {
                write!(
                    f,
                    "the context is full: of its {context} tokens the conversation has {used}, and with this it would \
                     need {need} at least"
                )
            }
            Self::Session(error) => write!(f, "{error}"),
            Self::Show(failure) => f.write_str(&failure.message),
        }
    }
}

impl From<SessionError> for TalkError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// A session, and the tokens of its cache.
pub struct Talk<'s, 'm, 'v> {
    session: &'s mut Session<'m>,
    vocab: Vocab<'v>,
    drafts: Drafts,
    /// The tokens of the cache; behind them may be one that was drawn and not fed.
    history: Vec<u32>,
}

impl<'s, 'm, 'v> Talk<'s, 'm, 'v> {
    /// Over a session, whatever is in its cache.
    pub fn new(session: &'s mut Session<'m>, vocab: Vocab<'v>) -> Self {
        session.truncate(0);
        let drafts = Drafts::new(session.plan().options.logits - 1);
        Self { session, vocab, drafts, history: Vec::new() }
    }

    /// The session.
    pub fn session(&self) -> &Session<'m> {
        self.session
    }

    /// The tokens so far: those of the cache, and perhaps one that is not in it yet.
    pub fn history(&self) -> &[u32] {
        &self.history
    }

    /// Puts other tokens into the cache by `restore`, which returns them; afterwards the history is what the cache has,
    /// also where that failed.
    pub fn restore<R>(
        &mut self,
        restore: impl FnOnce(&mut Session<'m>) -> Result<(Vec<u32>, R), Failure>,
    ) -> Result<R, Failure> {
        let result = restore(self.session).map(|(tokens, more)| {
            self.history = tokens;
            more
        });
        self.history.truncate(if result.is_ok() { usize::MAX } else { self.session.position() });
        result
    }

    /// Answers `prompt`, a whole conversation. What the cache has of it is not computed again. `interrupted` is asked
    /// now and then; `show` takes the answer piece by piece.
    ///
    /// # Errors
    /// [`TalkError::Full`] before anything has changed.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        settings: &Settings<'_>,
        interrupted: &dyn Fn() -> bool,
        show: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<Answer, TalkError> {
        let context = self.session.plan().options.context;
        if prompt.len() >= context {
            let used = self.history.len().min(context);
            return Err(TalkError::Full { context, used, need: prompt.len() + 1 });
        }
        let start = Instant::now();
        let cached = self.history.iter().take(self.session.position());
        let same = cached.zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token gives the logits.
        let same = same.min(prompt.len().saturating_sub(1));
        self.session.truncate(same);
        self.history.clear();
        self.history.extend(prompt);
        let mut answer = Answer {
            tokens: Vec::new(),
            text: String::new(),
            stopped: Stopped::Length,
            prompt_tokens: prompt.len(),
            new_prompt_tokens: prompt.len() - same,
            prefill_s: 0.0,
            decode_s: 0.0,
        };
        let whole = self.prefill(same, interrupted);
        answer.prefill_s = start.elapsed().as_secs_f64();
        match whole {
            Ok(true) => {}
            other => {
                self.history.truncate(self.session.position());
                answer.stopped = Stopped::Interrupted;
                return other.map(|_| answer).map_err(TalkError::from);
            }
        }
        let start = Instant::now();
        let decoded = self.decode(settings, interrupted, show, &mut answer);
        answer.decode_s = start.elapsed().as_secs_f64();
        // Drafts may have fed more than belongs to the text.
        self.history.truncate(answer.prompt_tokens + answer.tokens.len());
        self.session.truncate(self.history.len());
        decoded.map(|()| answer)
    }

    /// Feeds the history from `from` on; `false` when interrupted.
    fn prefill(&mut self, from: usize, interrupted: &dyn Fn() -> bool) -> Result<bool, SessionError> {
        let mut rest = self.history.get(from..).unwrap_or_default();
        while !rest.is_empty() {
            if interrupted() {
                return Ok(false);
            }
            let last = rest.len() <= self.session.plan().options.batch;
            let count = self.session.feed(rest, if last { Want::Last } else { Want::Nothing })?;
            while self.session.step(SLICE)? == Progress::More {
                if interrupted() {
                    self.session.truncate(self.session.position());
                    return Ok(false);
                }
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(true)
    }

    fn decode(
        &mut self,
        settings: &Settings<'_>,
        interrupted: &dyn Fn() -> bool,
        show: &mut dyn FnMut(&str) -> Result<(), Failure>,
        answer: &mut Answer,
    ) -> Result<(), TalkError> {
        let vocab = self.vocab;
        let ends = |id: u32| vocab.is_stop(id) || settings.end == Some(id);
        // Anew for every answer, so that it depends on the conversation alone.
        let mut sampler = Sampler::new(settings.sampling);
        let mut stream = Stream::new(vocab, settings.stops);
        let mut text = String::new();
        for id in &self.history {
            sampler.accept(*id);
            // All ids are of this vocabulary: the session has taken them.
            let _ = stream.pass(*id, &mut text);
        }
        text.clear();
        let mut next = Vec::new();
        if settings.tokens > 0 {
            next.push(self.session.sample(&mut sampler)?);
        }
        'text: while let Some(last) = next.last().copied() {
            for id in next.drain(..) {
                if ends(id) {
                    answer.stopped = Stopped::Stop;
                    break 'text;
                }
                answer.tokens.push(id);
                self.history.push(id);
                let stopped = stream.push(id, &mut text).is_ok_and(|stopped| stopped);
                hand_on(&mut text, &mut answer.text, show)?;
                if stopped {
                    answer.stopped = Stopped::StopText;
                    break 'text;
                }
            }
            sampler.accept(last);
            let left = settings.tokens.saturating_sub(answer.tokens.len());
            if left == 0 {
                break;
            }
            if interrupted() {
                answer.stopped = Stopped::Interrupted;
                break;
            }
            match self.drafts.decode(self.session, &mut sampler, &self.history, left, ends) {
                Ok(came) => next.extend(came),
                Err(SessionError::ContextFull { .. }) => {
                    answer.stopped = Stopped::Context;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        stream.finish(&mut text);
        hand_on(&mut text, &mut answer.text, show)?;
        answer.tokens.truncate(stream.kept());
        Ok(())
    }
}

fn hand_on(
    text: &mut String,
    all: &mut String,
    show: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), TalkError> {
    if !text.is_empty() {
        show(text).map_err(TalkError::Show)?;
        all.push_str(text);
        text.clear();
    }
    Ok(())
}
