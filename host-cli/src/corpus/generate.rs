//! Documents that a model writes.
//!
//! Every thread writes a document of its own with a session of its own: a small model's token is too little work to share.
//! A document is a function of the seed and its number, and the documents come in order, so that the same ones are written
//! with any number of threads.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use pipsqueak::{
    Image, KvType, Plan, PlanOptions, Sampler, Sampling, Session, Vocab,
    kernels::{Kernels, team::Team},
};

use super::{hash, openings::Openings, sentences::sentence_ends, start_token};
use crate::{
    engine::{self, Arenas},
    failure::Failure,
};

/// Tokens that the beginning of a document is read in at once.
const BATCH: usize = 64;
/// Finished documents that may wait for one that was begun before them, for each thread.
const AHEAD: usize = 16;

/// What is to be written, and how.
#[derive(Clone, Copy, Debug)]
pub struct Writing<'o> {
    /// Tokens to write: documents are begun until all before them have as many. [`Document::written`] counts them.
    pub tokens: u64,
    /// How tokens are chosen; the seed is that of all documents together.
    pub sampling: Sampling,
    /// How keys and values are cached.
    pub kv: KvType,
    /// Longest document, in tokens, the one it begins with included.
    pub context: usize,
    /// Documents that are written at once.
    pub threads: usize,
    /// How documents begin, other than with the model's first choice.
    pub openings: Option<&'o Openings<'o>>,
}

/// A document as the model wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The start token (see [`start_token`]), the opening, then what the model wrote; not the token that ended it.
    pub ids: Vec<u32>,
    /// How many of these were given.
    pub given: usize,
    /// Whether the model ended it. Otherwise the context was full, and it was cut behind its last whole sentence.
    pub ended: bool,
}

impl Document {
    /// Tokens that the model wrote, the ending one included. At least one.
    pub fn written(&self) -> u64 {
        (self.ids.len() - self.given) as u64 + u64::from(self.ended)
    }
}

/// Has a model write documents, and hands them to `sink` in order. Some are empty: those that the model ended at once.
///
/// # Errors
/// A model without a vocabulary or without a token to begin with; memory or threads that are not to be had; weights that
/// are not finite; the sink's own.
pub fn generate(
    image: &Image<'_>,
    kernels: &'static dyn Kernels,
    writing: &Writing<'_>,
    mut sink: impl FnMut(Document) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let writer = Writer::new(image, kernels, writing)?;
    thread::scope(|scope| {
        let threads = writing.threads.max(1);
        let (sender, receiver) = sync_channel(threads * AHEAD);
        let mut spawned = 0;
        for _ in 0..threads {
            let (writer, sender) = (&writer, sender.clone());
            let thread = thread::Builder::new().name("pipsqueak".into());
            match thread.spawn_scoped(scope, move || writer.work(&sender)) {
                Ok(_) => spawned += 1,
                // Help that does not come; but somebody has to be there.
                Err(_) if spawned > 0 => break,
                Err(error) => return Err(Failure::new(format_args!("no thread is to be had: {error}"))),
            }
        }
        drop(sender);
        let result = in_order(receiver, writing.tokens, &mut sink);
        writer.enough.store(true, Ordering::Relaxed);
        result
    })
}

/// All documents at once.
///
/// # Errors
/// As [`generate`].
pub fn generate_all(
    image: &Image<'_>,
    kernels: &'static dyn Kernels,
    writing: &Writing<'_>,
) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    generate(image, kernels, writing, |document| {
        documents.push(document);
        Ok(())
    })?;
    Ok(documents)
}

/// A document's number, and how its writing went.
type Finished = (u64, Result<Document, Failure>);

/// Hands documents on by their numbers until they have `tokens` tokens.
fn in_order(
    finished: Receiver<Finished>,
    tokens: u64,
    sink: &mut impl FnMut(Document) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut early = BTreeMap::new();
    let (mut next, mut left) = (0, tokens);
    while left > 0 {
        let Some(document) = early.remove(&next) else {
            // Every number that was taken comes, unless its thread panicked; the scope passes that on.
            let Ok((number, document)) = finished.recv() else { break };
            early.insert(number, document);
            continue;
        };
        let document: Document = document?;
        next += 1;
        left = left.saturating_sub(document.written());
        sink(document)?;
    }
    Ok(())
}

/// What the threads share.
struct Writer<'a> {
    image: &'a Image<'a>,
    vocab: Vocab<'a>,
    start: u32,
    kernels: &'static dyn Kernels,
    writing: &'a Writing<'a>,
    plan: Plan,
    /// The number of the next document.
    next: AtomicU64,
    /// Nobody needs what is being written any more.
    enough: AtomicBool,
}

impl<'a> Writer<'a> {
    fn new(image: &'a Image<'a>, kernels: &'static dyn Kernels, writing: &'a Writing<'a>) -> Result<Self, Failure> {
        let vocab = engine::vocab(image, None)?;
        let start = start_token(&vocab);
        let start = start.ok_or_else(|| Failure::new("the vocabulary has no BOS token to start documents with"))?;
        let context = writing.context;
        let batch = BATCH.min(context);
        let options = PlanOptions { context, kv: writing.kv, batch, logits: 1, threads: 1 };
        let plan = Plan::new(image.config(), options);
        Ok(Self {
            image,
            vocab,
            start,
            kernels,
            writing,
            plan,
            next: AtomicU64::new(0),
            enough: AtomicBool::new(false),
        })
    }

    /// One thread's work.
    fn work(&self, out: &SyncSender<Finished>) {
        let take = || self.next.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = self.write_documents(&take, out) {
            // Told in the place of the next document; if nobody listens, enough was written without it.
            let _ = out.send((take(), Err(failure)));
        }
    }

    fn write_documents(&self, take: &dyn Fn() -> u64, out: &SyncSender<Finished>) -> Result<(), Failure> {
        let team = Team::alone();
        let mut arenas = Arenas::new(&self.plan)?;
        let mut session = arenas.session(self.image, self.kernels, &team, &self.plan)?;
        loop {
            let number = take();
            let Some(document) = self.document(&mut session, number).transpose() else { return Ok(()) };
            if out.send((number, document)).is_err() {
                return Ok(());
            }
        }
    }

    /// Writes a document; `None` when nobody needs it any more.
    fn document(&self, session: &mut Session<'_>, number: u64) -> Result<Option<Document>, Failure> {
        let seed = hash::number(self.writing.sampling.seed, number);
        let mut ids = vec![self.start];
        if let Some(openings) = self.writing.openings {
            // Half of the context is for the model.
            let room = (self.writing.context / 2).saturating_sub(1);
            ids.extend(openings.draw(&self.vocab, seed, room).map_err(Failure::new)?);
        }
        let given = ids.len();
        let mut sampler = Sampler::new(Sampling { seed, ..self.writing.sampling });
        ids.iter().for_each(|id| sampler.accept(*id));
        session.truncate(0);
        session.prefill(&ids)?;
        let ended = loop {
            if self.enough.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let id = session.sample(&mut sampler)?;
            if id == self.start || self.vocab.is_stop(id) || Some(id) == self.vocab.eos() {
                break true;
            }
            if session.remaining() == 0 {
                break false;
            }
            ids.push(id);
            sampler.accept(id);
            session.decode(id)?;
        };
        if !ended && let Some(end) = sentence_ends(&self.vocab, &ids).map_err(Failure::new)?.pop() {
            // A document without an end to cut it behind stays as it is.
            ids.truncate(if end > given { end } else { ids.len() });
        }
        Ok(Some(Document { ids, given, ended }))
    }
}
