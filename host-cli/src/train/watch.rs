//! The loop of a run, and what it tells and saves on the way.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use pipsqueak::{Image, KvType, PlanOptions, Sampler, Sampling, SessionError, Vocab, kernels::select};

use super::{
    checkpoint::{self, State},
    export::{Labels, export},
    rounding::Rounding,
    run::Conduct,
    settings::{Files, Settings},
    trainer::Trainer,
};
use crate::{
    corpus, engine,
    failure::Failure,
    output::Output,
    pool::with_session,
    score::{Score, Window},
    vocab,
};

/// The loop, and what it tells.
pub(super) struct Log<'a> {
    pub(super) files: &'a Files,
    pub(super) conduct: &'a Conduct<'a>,
    pub(super) settings: &'a Settings,
    pub(super) labels: &'a Labels,
    pub(super) windows: &'a [Window],
}

impl Log<'_> {
    pub(super) fn train(&self, trainer: &mut Trainer, state: &mut State, path: &Path) -> Result<(), Failure> {
        let (start, first) = (Instant::now(), state.step);
        let bar = engine::bar(self.settings.steps, "training", "{pos}/{len} steps {msg}");
        bar.set_position(first);
        let rounding = self.settings.rounding();
        let (mut tokens, mut since) = (0u64, (0.0, 0.0));
        while state.step < self.settings.steps {
            let rounded = state.step as f64 >= self.settings.round_from * self.settings.steps as f64;
            let seen = if rounded { rounding } else { Rounding::NONE };
            let report = trainer.step(seen).map_err(Failure::new)?.map_err(|loss| self.diverged(state, loss))?;
            state.step += 1;
            state.tokens += report.tokens as u64;
            tokens += report.tokens as u64;
            since = (since.0 + report.text * report.tokens as f64, since.1 + report.tokens as f64);
            state.history.push([
                state.step as f64,
                state.tokens as f64,
                f64::from(report.rate),
                report.loss,
                report.text,
                f64::from(report.gradient),
            ]);
            let rate = tokens as f64 / start.elapsed().as_secs_f64();
            bar.set_position(state.step);
            bar.set_message(format!("loss {:.4}, {rate:.0} tokens/s", report.loss));
            let last = state.step == self.settings.steps;
            if last || state.step.is_multiple_of(self.conduct.look_every) {
                let score = bar.suspend(|| self.look(trainer, if last { rounding } else { seen }))?;
                state.held_out.push([state.step as f64, score.nats_per_token(), score.bits_per_char()]);
                let seconds = start.elapsed().as_secs_f64();
                let left = seconds / (state.step - first) as f64 * (self.settings.steps - state.step) as f64;
                bar.suspend(|| {
                    eprintln!(
                        "step {} of {}: loss {:.4} (text {:.4}), held out {:.4} nats a token, {:.4} bits a character; \
                         {rate:.0} tokens/s, {} left",
                        state.step,
                        self.settings.steps,
                        report.loss,
                        since.0 / since.1,
                        score.nats_per_token(),
                        score.bits_per_char(),
                        minutes(left),
                    );
                });
                since = (0.0, 0.0);
            }
            if last || state.step.is_multiple_of(self.conduct.checkpoint_every) {
                state.cursors = trainer.batches.cursors();
                if let Err(failure) = self.save(trainer, state, path) {
                    // The run is worth more than this checkpoint: the one before is still there.
                    bar.suspend(|| {
                        eprintln!("pipsqueak: step {}: not saved: {}; going on", state.step, failure.message);
                    });
                }
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn diverged(&self, state: &State, loss: f64) -> Failure {
        Failure::new(format_args!(
            "step {}: the loss is {loss} or its gradient not finite: lower --rate, which is {}; \
             the last checkpoint stays as it is",
            state.step + 1,
            self.settings.rate
        ))
    }

    /// Scores the held-out documents with the engine itself, as the image would be packed now, and shows a sample.
    fn look(&self, trainer: &Trainer, rounding: Rounding) -> Result<Score, Failure> {
        let kernels = select::best();
        let panel = |format| kernels.panel(format);
        let threads = self.conduct.threads;
        let packed = export(&trainer.weights, rounding, self.labels, &panel, None, threads).map_err(Failure::new)?;
        let image = Image::open(packed.bytes()).map_err(Failure::new)?;
        let vocab = engine::vocab(&image, None)?;
        let ctx = self.settings.ctx as usize;
        let batch = ctx.min(64);
        let options = PlanOptions { context: ctx, kv: KvType::F16, batch, logits: batch, threads: 1 };
        let next = AtomicUsize::new(0);
        let work = || {
            with_session(&image, kernels, options, |session| {
                let mut score = Vec::new();
                while let Some((i, window)) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    self.windows.get(i).map(|window| (i, window))
                } {
                    let mut one = Score::default();
                    one.window(session, window, &vocab)?;
                    score.push((i, one));
                }
                Ok::<_, SessionError>(score)
            })
        };
        let mut scores = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work()?;
            for other in others {
                all.extend(other.join().unwrap_or(Ok(vec![]))?);
            }
            Ok::<_, SessionError>(all)
        })?;
        // In order, so that the sum does not depend on who scored what.
        scores.sort_by_key(|(i, _)| *i);
        let mut total = Score::default();
        for (_, score) in scores {
            total.nats += score.nats;
            total.tokens += score.tokens;
            total.bytes += score.bytes;
            total.chars += score.chars;
        }
        if let Some(prompt) = self.conduct.prompt {
            eprintln!("  {}", self.sample(&image, &vocab, prompt)?.replace('\n', "\n  "));
        }
        Ok(total)
    }

    /// A short text by the model.
    fn sample(&self, image: &Image<'_>, vocab: &Vocab<'_>, prompt: &str) -> Result<String, Failure> {
        const TOKENS: usize = 60;
        let mut ids: Vec<u32> = corpus::start_token(vocab).into_iter().collect();
        ids.extend(engine::encode(vocab, prompt, false, false)?);
        let context = (ids.len() + TOKENS).min(self.settings.ctx as usize);
        ids.truncate(context.saturating_sub(1).max(1));
        let options = PlanOptions { context, kv: KvType::F16, batch: 64.min(context), logits: 1, threads: 1 };
        with_session(image, select::best(), options, |session| {
            let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });
            session.prefill(&ids)?;
            while ids.len() < context {
                let id = session.sample(&mut sampler)?;
                if vocab.is_stop(id) {
                    break;
                }
                ids.push(id);
                if ids.len() < context {
                    session.decode(id)?;
                }
            }
            Ok::<_, SessionError>(())
        })?;
        let text = vocab::decode(vocab, &ids, false).map_err(Failure::new)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Checkpoint, log and curve. The checkpoint before is kept beside the new one.
    fn save(&self, trainer: &Trainer, state: &State, path: &Path) -> Result<(), Failure> {
        let fresh = self.files.beside("checkpoint.new");
        checkpoint::write(&fresh, &trainer.weights, &trainer.moments, state)?;
        let fail = |error: std::io::Error| Failure::file(path, &error);
        if path.exists() {
            fs::rename(path, older(path)).map_err(fail)?;
        }
        fs::rename(&fresh, path).map_err(fail)?;
        let mut csv = String::from("step,tokens,rate,loss,text_loss,gradient\n");
        for [step, tokens, rate, loss, text, gradient] in &state.history {
            csv += &format!("{step},{tokens},{rate},{loss},{text},{gradient}\n");
        }
        write(&self.files.beside("csv"), &csv)?;
        let train: Vec<_> = state.history.iter().map(|point| (point[0], point[4])).collect();
        let rates: Vec<_> = state.history.iter().map(|point| (point[0], point[2])).collect();
        let held_out: Vec<_> = state.held_out.iter().map(|point| (point[0], point[1])).collect();
        let curve = corpus::curve::Curve {
            title: if self.labels.name.is_empty() { "training" } else { &self.labels.name },
            unit: "nats per token",
            train: &train,
            held_out: &held_out,
            learning_rate: &rates,
        };
        write(&self.files.beside("svg"), &corpus::curve::svg(&curve))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut output = Output::create(path)?;
    output.write(text.as_bytes())?;
    output.finish()
}

/// Seconds for a reader.
fn minutes(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// Where the checkpoint before the last one is.
pub(super) fn older(path: &Path) -> PathBuf {
    path.with_extension("checkpoint.old")
}
