//! A model that continues a text, in slices of work.

use pipsqueak::{
    Image, Plan, PlanOptions, Progress, Sampler, Sampling, Session, Vocab, Want,
    kernels::{arena::Line, team::Team},
    tokenizer::{Decoder, EncodeOptions, max_tokens, scratch_len},
};
use static_cell::StaticCell;

use crate::{Error, KERNELS, Set, memory, text::Text};

/// Bytes of the longest prompt.
const PROMPT_BYTES: usize = Text::MAX;
/// Tokens of the prompt that are worked on at once.
const BATCH: usize = 16;

static IMAGE: StaticCell<Image<'static>> = StaticCell::new();
static TEAM: Team<'static> = Team::alone();

/// A model, its cache, and the text it is at.
pub struct Teller {
    session: Session<'static, Set>,
    vocab: Vocab<'static>,
    sampler: Sampler,
    decoder: Decoder<'static>,
    /// The prompt.
    tokens: [u32; max_tokens(PROMPT_BYTES)],
    /// Those of it that are not in the cache yet.
    count: usize,
    fed: usize,
    /// Tokens to come.
    left: usize,
}

impl Teller {
    /// The model in `bytes` with an int8 cache of at most `context` positions, in memory that the instance grows by. Every
    /// checksum is compared.
    pub fn open(bytes: &'static [u8], context: usize) -> Result<Self, Error> {
        let image = Image::open(bytes)?;
        image.verify()?;
        let vocab = image.vocab().ok_or(Error::NoVocabulary)?;
        let context = context.min(image.config().seq_len as usize);
        let options = PlanOptions { batch: BATCH, ..PlanOptions::small(context) };
        let plan = Plan::new(image.config(), options);
        let lines: &'static mut [Line] = memory::lines(plan.scratch_lines().saturating_add(plan.kv_lines()))?;
        let (scratch, kv) = lines.split_at_mut_checked(plan.scratch_lines()).unwrap_or_default();
        let image: &'static Image<'static> = IMAGE.try_init(image).ok_or(Error::Order)?;
        Ok(Self {
            session: Session::new(image, &KERNELS, &TEAM, &plan, scratch, kv)?,
            vocab,
            sampler: Sampler::new(Sampling::GREEDY),
            decoder: Decoder::continuing(vocab, false),
            tokens: [0; _],
            count: 0,
            fed: 0,
            left: 0,
        })
    }

    /// Begins a new text, of which at most `n` tokens are to come.
    pub fn begin(&mut self, prompt: &str, n: usize, sampling: Sampling) -> Result<(), Error> {
        self.session.truncate(0);
        (self.count, self.fed, self.left) = (0, 0, 0);
        if prompt.len() > PROMPT_BYTES {
            return Err(Error::Prompt { got: prompt.len(), max: PROMPT_BYTES });
        }
        let options = EncodeOptions { add_bos: self.vocab.add_bos(), parse_special: false };
        let mut scratch = [0; scratch_len(PROMPT_BYTES)];
        self.count = self.vocab.encode(prompt, options, &mut self.tokens, &mut scratch)?;
        if let (0, Some(first), Some(start)) =
            (self.count, self.tokens.first_mut(), self.vocab.bos().or(self.vocab.eos()))
        {
            // An empty prompt still needs a token to start from.
            *first = start;
            self.count = 1;
        }
        self.sampler.reset(sampling);
        for token in self.tokens.iter().take(self.count) {
            self.sampler.accept(*token);
        }
        self.decoder = Decoder::continuing(self.vocab, false);
        self.left = n;
        Ok(())
    }

    /// Works on for about `budget` multiply-adds, and puts what text there is into `text`. `false` when it is at its end: by
    /// the model's will, after as many tokens as were asked for, or with the context full.
    pub fn step(&mut self, budget: usize, text: &mut Text) -> Result<bool, Error> {
        if self.left == 0 {
            return Ok(false);
        }
        if self.session.step(budget)? == Progress::More {
            return Ok(true);
        }
        let prompt = self.tokens.get(self.fed..self.count).unwrap_or(&[]);
        if !prompt.is_empty() {
            self.fed += self.session.feed(prompt, Want::Last)?;
            return Ok(true);
        }
        let token = self.session.sample(&mut self.sampler)?;
        self.left -= 1;
        let ends = self.vocab.is_stop(token);
        if !ends {
            self.sampler.accept(token);
            self.decoder.push(token, |piece| text.push(piece))?;
        }
        if ends || self.left == 0 || self.session.remaining() == 0 {
            self.left = 0;
            self.decoder.flush(|piece| text.push(piece));
        } else {
            self.session.feed(&[token], Want::Last)?;
        }
        text.whole()?;
        Ok(self.left > 0)
    }
}
