//! A conversation with a model: tokens in, logits out, in slices of work as small as the caller wants.

use core::fmt;

use pipsqueak_kernels::{
    ArenaTooSmall, Kernels, Matrix,
    arena::Line,
    team::Team,
    words::{Sink, left_out, say},
};

use crate::{
    buffers::Buffers,
    image::{Image, Layer},
    kv_cache::{KvCache, KvType},
    plan::Plan,
    sampler::Sampler,
    stage::{Cursor, HeadCursor, Stage},
};

/// Why a session could not be made or go on. After an error the session stands where it stood before the call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SessionError {
    /// The scratch arena is too small.
    Scratch(ArenaTooSmall),
    /// The KV arena is too small.
    Kv(ArenaTooSmall),
    /// The plan was made for a model of another shape, or asks for zero of something.
    WrongPlan,
    /// A tensor that was there when the image was opened is not: the image changed under the session.
    ImageChanged,
    /// The tokens do not fit the context.
    ContextFull {
        /// Positions of the cache.
        context: usize,
        /// Positions in use.
        used: usize,
        /// Tokens that were to be added.
        asked: usize,
    },
    /// No such token.
    Token {
        /// Its id.
        id: u32,
        /// Tokens of the vocabulary.
        vocab_size: u32,
    },
    /// A batch is still being worked on.
    Busy,
    /// Logits were asked for more tokens than the plan keeps.
    Logits {
        /// Rows the plan keeps.
        kept: usize,
        /// Rows asked for.
        asked: usize,
    },
    /// A value became NaN or infinite: damaged weights, or numbers beyond what the format holds.
    NotFinite {
        /// Where.
        stage: Stage,
        /// In which layer.
        layer: u32,
    },
    /// No logits to sample from: none were asked for, or nothing was fed yet.
    NoLogits,
    /// The plan has more positions than the model has embeddings for.
    Positions {
        /// Positions of the cache.
        context: usize,
        /// Positions the model knows.
        seq_len: u32,
    },
    /// The code for the plan's cache is left out of this build.
    LeftOut {
        /// The cargo feature that links it.
        feature: &'static str,
    },
}

impl SessionError {
    /// Hands what `Display` writes to `sink`; links nothing of `core::fmt`.
    pub fn say(&self, sink: &mut Sink<'_>) -> fmt::Result {
        match *self {
            Self::Scratch(error) => {
                sink("scratch ")?;
                error.say(sink)
            }
            Self::Kv(error) => {
                sink("KV ")?;
                error.say(sink)
            }
            Self::WrongPlan => sink("the memory plan is for another model, or asks for zero of something"),
            Self::ImageChanged => sink("the image changed while it was in use"),
            Self::ContextFull { context, used, asked } => say(
                sink,
                "{} tokens do not fit the context of {}, of which {} are in use",
                &[asked as u64, context as u64, used as u64],
            ),
            Self::Token { id, vocab_size } => {
                say(sink, "token {} is not in the vocabulary of {}", &[id.into(), vocab_size.into()])
            }
            Self::Busy => sink("a batch is still being worked on"),
            Self::Logits { kept, asked } => {
                say(sink, "logits of {} tokens asked for, the plan keeps {}", &[asked as u64, kept as u64])
            }
            Self::NotFinite { stage, layer } => {
                say(sink, "NaN or infinity in layer {}, stage ", &[layer.into()])?;
                sink(stage.name())?;
                sink(": the weights are damaged or overflow")
            }
            Self::NoLogits => sink("no logits to sample from"),
            // Only what has learned positions says so.
            Self::Positions { context, seq_len } if cfg!(feature = "arch-gpt2") => {
                say(sink, "the model knows {} positions and the plan has {}", &[seq_len.into(), context as u64])
            }
            Self::Positions { .. } => Ok(()),
            Self::LeftOut { feature } => left_out(sink, feature),
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.say(&mut |text| f.write_str(text))
    }
}

impl core::error::Error for SessionError {}

/// Which tokens of a batch get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Want {
    /// None: the batch only fills the cache.
    Nothing,
    /// The last.
    Last,
    /// All.
    All,
}

/// What a call to [`Session::step`] reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Progress {
    /// There is more to do.
    More,
    /// The batch is in the cache, and its logits, if wanted, are there.
    Done,
}

/// A model with its cache, ready to take tokens.
///
/// `K` is a concrete kernel set on a chip, so that only its code is linked, and `dyn Kernels` on a host.
pub struct Session<'m, K: Kernels + ?Sized = dyn Kernels> {
    pub(crate) image: &'m Image<'m>,
    pub(crate) kernels: &'m K,
    pub(crate) team: &'m Team<'m>,
    pub(crate) plan: Plan,
    pub(crate) cache: KvCache<'m>,
    pub(crate) buf: Buffers<'m>,
    /// Tokens in the cache.
    pub(crate) pos: usize,
    /// Tokens of the batch being worked on; 0 when there is none.
    pub(crate) n: usize,
    /// Rows of logits wanted of that batch.
    pub(crate) rows: usize,
    /// Rows of logits that are there.
    pub(crate) ready: usize,
    pub(crate) cursor: Cursor,
    pub(crate) head: HeadCursor,
    /// Units of the present stage, and what one costs in multiply-adds.
    pub(crate) units: (usize, usize),
    pub(crate) layer: Layer<'m>,
    /// The output head.
    pub(crate) wcls: Matrix<'m>,
}

/// Where it stands; the buffers would fill pages.
impl<K: Kernels + ?Sized> fmt::Debug for Session<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("kernels", &self.kernels.name())
            .field("plan", &self.plan)
            .field("position", &self.pos)
            .field("batch", &self.n)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl<'m, K: Kernels + ?Sized> Session<'m, K> {
    /// A session with an empty cache.
    ///
    /// `scratch` and `kv` have at least [`Plan::scratch_lines`] and [`Plan::kv_lines`] lines. Several sessions may share
    /// an image, kernels and a team.
    pub fn new(
        image: &'m Image<'m>,
        kernels: &'m K,
        team: &'m Team<'m>,
        plan: &Plan,
        scratch: &'m mut [Line],
        kv: &'m mut [Line],
    ) -> Result<Self, SessionError> {
        let config = image.config();
        let o = plan.options;
        let zero = o.context == 0 || o.batch == 0 || o.logits == 0 || o.threads == 0;
        if zero || Plan::new(config, o) != *plan {
            return Err(SessionError::WrongPlan);
        }
        if config.arch.has_positions() && o.context > config.seq_len as usize {
            return Err(SessionError::Positions { context: o.context, seq_len: config.seq_len });
        }
        if !o.kv.is_linked() {
            return Err(SessionError::LeftOut { feature: o.kv.feature() });
        }
        let too_small = |need, got: usize| ArenaTooSmall { need, got: got.saturating_mul(Line::BYTES) };
        if scratch.len() < plan.scratch_lines() {
            return Err(SessionError::Scratch(too_small(plan.scratch_bytes(), scratch.len())));
        }
        if kv.len() < plan.kv_lines() {
            return Err(SessionError::Kv(too_small(plan.kv_bytes(), kv.len())));
        }
        Ok(Self {
            image,
            kernels,
            team,
            plan: *plan,
            cache: KvCache::new(config, o.context, o.kv, kv).map_err(SessionError::Kv)?,
            buf: Buffers::new(&plan.sizes, scratch).map_err(SessionError::Scratch)?,
            pos: 0,
            n: 0,
            rows: 0,
            ready: 0,
            cursor: Cursor::START,
            head: HeadCursor::START,
            units: (0, 0),
            layer: image.layer(0).ok_or(SessionError::ImageChanged)?,
            wcls: image.head().ok_or(SessionError::ImageChanged)?,
        })
    }

    /// The model.
    pub const fn image(&self) -> &'m Image<'m> {
        self.image
    }

    /// The memory plan.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How keys and values are stored.
    pub const fn kv(&self) -> KvType {
        self.cache.kv()
    }

    /// Tokens in the cache.
    pub const fn position(&self) -> usize {
        self.pos
    }

    /// Positions still free.
    pub const fn remaining(&self) -> usize {
        self.plan.options.context.saturating_sub(self.pos)
    }

    /// Starts work on the first tokens of `tokens`, at most a batch; returns how many were taken. [`Self::step`] does the
    /// work. With [`Want::All`] a batch is at most the rows of logits the plan keeps.
    pub fn feed(&mut self, tokens: &[u32], want: Want) -> Result<usize, SessionError> {
        if self.n != 0 {
            return Err(SessionError::Busy);
        }
        let options = self.plan.options;
        let limit = if want == Want::All { options.batch.min(options.logits) } else { options.batch };
        let n = tokens.len().min(limit);
        if n > self.remaining() {
            return Err(SessionError::ContextFull { context: options.context, used: self.pos, asked: tokens.len() });
        }
        let vocab_size = self.image.config().vocab_size;
        for (token, place) in tokens.iter().zip(self.buf.tokens.iter_mut()).take(n) {
            if *token >= vocab_size {
                return Err(SessionError::Token { id: *token, vocab_size });
            }
            *place = *token;
        }
        self.n = n;
        self.rows = match want {
            Want::Nothing => 0,
            Want::Last => n.min(1),
            Want::All => n,
        };
        self.ready = 0;
        self.head = HeadCursor::START;
        self.enter(Cursor::START);
        Ok(n)
    }

    /// Does at most `budget` multiply-adds of the batch, but at least one unit: a panel of rows for the batch, a token's
    /// norm, 64 positions of one head. Any budget gives the same bits.
    pub fn step(&mut self, budget: usize) -> Result<Progress, SessionError> {
        if self.n == 0 {
            return Ok(Progress::Done);
        }
        let mut left = budget;
        let mut any = false;
        loop {
            let spent = match self.advance(left, !any) {
                Ok(Some(spent)) => spent,
                Ok(None) => return Ok(Progress::More),
                Err(error) => {
                    self.n = 0;
                    return Err(error);
                }
            };
            any = true;
            left = left.saturating_sub(spent);
            if self.cursor.unit >= self.units.0 && !self.next_stage()? {
                return Ok(Progress::Done);
            }
        }
    }

    /// Works to the end of the present stage, and returns which it was; `None` when there is no batch.
    pub fn step_stage(&mut self) -> Result<Option<Cursor>, SessionError> {
        if self.n == 0 {
            return Ok(None);
        }
        let at = self.cursor;
        while self.cursor.unit < self.units.0 {
            if let Err(error) = self.advance(usize::MAX, true) {
                self.n = 0;
                return Err(error);
            }
        }
        self.next_stage()?;
        Ok(Some(at))
    }

    /// Moves to the next stage; `false` when the batch is done.
    fn next_stage(&mut self) -> Result<bool, SessionError> {
        match self.cursor.next(self.image.config(), self.rows != 0) {
            Some(next) => {
                // The first layer again after the last one of the batch before.
                if next.layer != self.cursor.layer || next.stage == Stage::Angles {
                    let layer = self.image.layer(next.layer);
                    self.n = if layer.is_some() { self.n } else { 0 };
                    self.layer = layer.ok_or(SessionError::ImageChanged)?;
                }
                self.enter(next);
                Ok(true)
            }
            None => {
                self.pos += self.n;
                self.n = 0;
                self.ready = self.rows;
                Ok(false)
            }
        }
    }

    fn enter(&mut self, at: Cursor) {
        self.cursor = at;
        self.units = self.count_units();
    }

    /// Where the present batch stands.
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The residual stream of the batch's last token, `[dim]`: after a layer's last stage, what that layer hands on.
    pub fn residual(&self) -> &[f32] {
        let dim = self.image.config().dim as usize;
        let last = self.n.saturating_sub(1);
        pipsqueak_kernels::slice::part(self.buf.x, last * dim, dim)
    }

    /// What the stage `done`, just ended by [`Self::step_stage`], hands to the product that follows, `[rows][cols]`, and
    /// `cols`: after a norm the normalised rows, after [`Stage::AttQuantise`] attention's result, after [`Stage::Gate`] the
    /// gated unit. Empty for other stages. For looking inside, and for weighing a matrix's columns by what they see.
    pub fn product_input(&self, done: Stage) -> (&[f32], usize) {
        let config = self.image.config();
        let (dim, hidden) = (config.dim as usize, config.hidden_dim as usize);
        let (data, rows, cols) = match done {
            Stage::AttNorm | Stage::FfnNorm => (&*self.buf.xb, self.n, dim),
            Stage::AttQuantise => (&*self.buf.xb, self.n, config.q_dim()),
            Stage::Gate => (&*self.buf.wide, self.n, hidden),
            Stage::FinalNorm => (&*self.buf.xb, self.rows, dim),
            _ => (&[][..], 0, 0),
        };
        (pipsqueak_kernels::slice::part(data, 0, rows * cols), cols)
    }

    /// Feeds all of `tokens`, batch by batch; afterwards [`Self::logits`] are those of the last. On an error the cache is
    /// as it was.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<(), SessionError> {
        self.feed_all(tokens, Want::Last, |_, _| {})
    }

    /// Feeds all of `tokens` without computing any logits. On an error the cache is as it was.
    pub fn fill(&mut self, tokens: &[u32]) -> Result<(), SessionError> {
        self.feed_all(tokens, Want::Nothing, |_, _| {})
    }

    /// Feeds all of `tokens` and calls `each` with the index of every token and its logits, `[vocab_size]`.
    pub fn score(&mut self, tokens: &[u32], each: impl FnMut(usize, &[f32])) -> Result<(), SessionError> {
        self.feed_all(tokens, Want::All, each)
    }

    fn feed_all(
        &mut self,
        tokens: &[u32],
        want: Want,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        if self.n != 0 {
            return Err(SessionError::Busy);
        }
        if tokens.len() > self.remaining() {
            let (context, used) = (self.plan.options.context, self.pos);
            return Err(SessionError::ContextFull { context, used, asked: tokens.len() });
        }
        let (start, vocab) = (self.pos, self.image.config().vocab_size as usize);
        let mut rest = tokens;
        let mut done = 0;
        while !rest.is_empty() {
            let last = rest.len() <= self.plan.options.batch;
            let want = if want == Want::Last && !last { Want::Nothing } else { want };
            let result = self.feed(rest, want).and_then(|n| self.run().map(|()| n));
            let n = match result {
                Ok(n) => n,
                Err(error) => {
                    self.truncate(start);
                    return Err(error);
                }
            };
            if want == Want::All {
                for (row, logits) in self.logits_rows().chunks_exact(vocab.max(1)).enumerate() {
                    each(done + row, logits);
                }
            }
            done += n;
            rest = rest.get(n..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Feeds one token; afterwards [`Self::logits`] are its own.
    pub fn decode(&mut self, token: u32) -> Result<(), SessionError> {
        self.feed(&[token], Want::Last)?;
        self.run()
    }

    fn run(&mut self) -> Result<(), SessionError> {
        while self.step(usize::MAX)? == Progress::More {}
        Ok(())
    }

    /// Rolls the cache back to `pos` tokens, and drops a batch being worked on; nothing happens when there are fewer.
    pub fn truncate(&mut self, pos: usize) {
        self.n = 0;
        self.ready = 0;
        self.pos = self.pos.min(pos);
    }

    /// All logits of the last batch, `[rows][vocab_size]`.
    pub fn logits_rows(&self) -> &[f32] {
        let vocab = self.image.config().vocab_size as usize;
        pipsqueak_kernels::slice::part(self.buf.logits, 0, self.ready * vocab)
    }

    /// Logits of the last token, `[vocab_size]`; empty when none were asked for.
    pub fn logits(&self) -> &[f32] {
        let vocab = self.image.config().vocab_size as usize;
        let rows = self.logits_rows();
        rows.get(rows.len().saturating_sub(vocab)..).unwrap_or(&[])
    }

    /// Draws the next token from the last token's logits, which the sampler may change.
    pub fn sample(&mut self, sampler: &mut Sampler) -> Result<u32, SessionError> {
        self.sample_row(sampler, self.ready.checked_sub(1).ok_or(SessionError::NoLogits)?)
    }

    /// Draws the token that follows the one of row `row` of the logits.
    fn sample_row(&mut self, sampler: &Sampler, row: usize) -> Result<u32, SessionError> {
        let after = self.ready.checked_sub(row + 1).ok_or(SessionError::NoLogits)?;
        let vocab = self.image.config().vocab_size as usize;
        let logits = pipsqueak_kernels::slice::part_mut(self.buf.logits, row * vocab, vocab);
        Ok(sampler.sample(logits, self.buf.order, self.pos.saturating_sub(after) as u64))
    }

    /// Feeds the first of `tokens` and, in the same batch, a guess of those to come: the rest, of which as many are taken as
    /// the batch, the kept logits and the context have room for. Then draws tokens as [`Self::sample`] and
    /// [`Self::decode`] by turns would have, as long as they are what was guessed, and one more, into `came`; returns how
    /// many, at least one unless `tokens` is empty.
    ///
    /// The cache then ends with the last token but one that came, and `sampler` has accepted the same tokens: the last one
    /// is the caller's to accept and to feed, as after [`Self::sample`]. The tokens are those that would have come without a
    /// guess. No more are drawn than `came` has room for. The caller leaves tokens that end the text out of the guess.
    pub fn decode_drafted(
        &mut self,
        tokens: &[u32],
        sampler: &mut Sampler,
        came: &mut [u32],
    ) -> Result<usize, SessionError> {
        let options = self.plan.options;
        let room = self.remaining().min(options.batch).min(options.logits).min(came.len()).max(1);
        let tokens = tokens.get(..room).unwrap_or(tokens);
        let start = self.pos;
        match self.feed(tokens, Want::All).and_then(|_| self.run()) {
            // A token that would not have come may have met damaged weights.
            Err(SessionError::NotFinite { .. }) if tokens.len() > 1 => {
                self.feed(tokens.get(..1).unwrap_or(&[]), Want::All)?;
                self.run()?;
            }
            other => other?,
        }
        let mut count = 0;
        while let Some(place) = came.get_mut(count)
            && count < self.ready
        {
            let id = self.sample_row(sampler, count)?;
            *place = id;
            count += 1;
            if count == self.ready || tokens.get(count) != Some(&id) {
                break;
            }
            sampler.accept(id);
        }
        self.truncate(start + count);
        Ok(count)
    }
}
