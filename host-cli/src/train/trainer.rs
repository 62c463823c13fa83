//! One step after the other: batches, gradients by several threads, AdamW.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use candle_core::{Result, Tensor};

use super::{
    batches::{Batch, Batches},
    net::Net,
    ops::{Heads, Loss, Scores, Targets},
    optimiser::{self, Gradients, Moments, Rule},
    rounding::Rounding,
    weights::Weights,
};

/// How a step is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepShape {
    /// Batches whose gradients are added up, in order, so that the number of threads does not matter.
    pub batches: usize,
    /// Tokens of each, at most.
    pub batch_tokens: usize,
    /// Threads.
    pub threads: usize,
}

/// A teacher: a model whose predictions are learned.
pub struct Teacher {
    net: Net,
}

impl Teacher {
    /// With its weights, and RoPE's turns a position.
    pub fn new(weights: &Weights, turns: &[u32], context: usize) -> Result<Self> {
        let heads = Net::heads(&weights.config, turns, context);
        Ok(Self { net: Net::new(weights, &heads, Rounding::NONE, false)? })
    }
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean cross-entropy against the targets, in nats a token.
    pub loss: f64,
    /// Mean cross-entropy against the text.
    pub text: f64,
    /// The gradient's length before clipping.
    pub gradient: f32,
    /// The learning rate.
    pub rate: f32,
    /// Tokens.
    pub tokens: usize,
}

/// A model in training.
pub struct Trainer {
    /// The weights, never rounded.
    pub weights: Weights,
    /// AdamW's.
    pub moments: Moments,
    /// Steps done.
    pub done: u64,
    /// Where the text comes from.
    pub batches: Batches,
    heads: Arc<Heads>,
    teacher: Option<Teacher>,
    rule: Rule,
    shape: StepShape,
}

impl Trainer {
    /// Starts with these weights.
    pub fn new(
        weights: Weights,
        turns: &[u32],
        context: usize,
        batches: Batches,
        teacher: Option<Teacher>,
        rule: Rule,
        shape: StepShape,
    ) -> Self {
        // Each thread has a batch of its own: the products inside it stay on that thread.
        gemm::set_threading_threshold(usize::MAX);
        let heads = Net::heads(&weights.config, turns, context);
        let moments = Moments::zero(&weights);
        Self { weights, moments, done: 0, batches, heads, teacher, rule, shape }
    }

    /// One step, the weights seen through `rounding`. The loss, and no weight changed, when it or the gradient is not
    /// finite.
    pub fn step(&mut self, rounding: Rounding) -> Result<std::result::Result<StepReport, f64>> {
        let before = self.batches.cursors();
        let batches: Vec<Batch> = (0..self.shape.batches).map(|_| self.batches.next(self.shape.batch_tokens)).collect();
        let tokens: usize = batches.iter().map(|batch| batch.ids.len()).sum();
        rounding.begin(&mut self.weights);
        let net = Net::new(&self.weights, &self.heads, rounding, true)?;
        let weight = 1.0 / tokens.max(1) as f32;
        let jobs: Vec<_> = batches.into_iter().map(|batch| Mutex::new((Some(batch), None))).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut job = job.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(batch) = job.0.take() {
                    job.1 = Some(gradients(&net, self.teacher.as_ref(), batch, weight));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.shape.threads {
                // A thread that cannot be had is help that does not come.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let mut sum: Option<Vec<Vec<f32>>> = None;
        let mut scores = Scores::default();
        for job in jobs {
            let Some(result) = job.into_inner().unwrap_or_else(PoisonError::into_inner).1 else { continue };
            let (grads, score) = result?;
            scores.loss += score.loss;
            scores.text += score.text;
            match &mut sum {
                None => sum = Some(grads),
                Some(sum) => sum.iter_mut().flatten().zip(grads.iter().flatten()).for_each(|(sum, g)| *sum += g),
            }
        }
        let mut sum = sum.unwrap_or_default();
        let loss = scores.loss / tokens.max(1) as f64;
        if !loss.is_finite() || !sum.iter().flatten().all(|g| g.is_finite()) {
            self.batches.resume(&before);
            return Ok(Err(loss));
        }
        let groups = self.weights.groups.iter().zip(&mut sum);
        let scales: Vec<_> = groups.map(|(group, gradient)| rounding.pull_back(group, gradient)).collect();
        let gradients = Gradients { values: &sum, scales: &scales };
        let gradient = optimiser::step(&mut self.weights, &mut self.moments, &gradients, &self.rule, self.done);
        let rate = self.rule.rate_at(self.done);
        self.done += 1;
        Ok(Ok(StepReport { loss, text: scores.text / tokens.max(1) as f64, gradient, rate, tokens }))
    }
}

/// The gradients of one batch, by group, and its scores.
fn gradients(net: &Net, teacher: Option<&Teacher>, batch: Batch, weight: f32) -> Result<(Vec<Vec<f32>>, Scores)> {
    let Batch { ids, next, teacher_share, documents } = batch;
    let wanted = teacher.filter(|_| teacher_share.iter().any(|share| *share > 0.0));
    let teacher = wanted.map(|teacher| teacher.net.forward(ids.clone(), &documents)).transpose()?;
    let scores = Arc::default();
    let targets = Targets { ids: next, teacher_share, teacher };
    let logits = net.forward(ids, &documents)?;
    let loss = logits.apply_op1(Loss::new(targets, weight, Arc::clone(&scores)))?;
    let store = loss.backward()?;
    let gradient = |value: &Tensor| match store.get(value) {
        Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
        None => Ok(vec![0.0; value.elem_count()]),
    };
    let gradients = net.values().map(gradient).collect::<Result<_>>()?;
    let scores = *scores.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((gradients, scores))
}
