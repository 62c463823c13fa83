//! A whole run: texts and models in, a packed image out, with a checkpoint on the way.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use pipsqueak::{
    Config, Image, KvType, PlanOptions, Sampler, Sampling, SessionError, Vocab,
    config::{Activation, RopePairs},
    kernels::{Format, Panel, select},
};

use super::{
    batches::{Batches, Pool},
    checkpoint::{self, State},
    export::{Labels, export},
    optimiser::Rule,
    settings::{Files, Settings},
    trainer::{StepShape, Teacher, Trainer},
    weights::{Rounding, Weights},
};
use crate::{
    corpus::{self, Openings, Writing, generate},
    engine,
    failure::Failure,
    model::{Mapped, parts},
    output::Output,
    pack::{PackOptions, Packed, Quant, pack, plain_rope_turns},
    pool::with_session,
    score::{Score, Window},
    vocab,
};

/// Endings of what is written beside the image.
const BESIDE: [&str; 5] = ["checkpoint", "csv", "svg", "old", "new"];

/// What does not change the result.
pub struct Conduct<'a> {
    /// Threads.
    pub threads: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between looks at the held-out text.
    pub look_every: u64,
    /// What a sample text begins with; no samples without.
    pub prompt: Option<&'a str>,
    /// Tokens that the teacher writes first.
    pub write: u64,
    /// Go on from the checkpoint.
    pub resume: bool,
    /// Begin anew although there is a checkpoint.
    pub restart: bool,
    /// The panel of the packed image.
    pub panel: &'a (dyn Fn(Format) -> Panel + Sync),
    /// Name, licence and origin for the image.
    pub labels: [String; 3],
}

/// A model to start from or to learn from, every weight as `f32`.
struct Known {
    packed: Packed,
    path: std::path::PathBuf,
}

impl Known {
    fn open(path: &Path, tokenizer: Option<&Path>, threads: usize) -> Result<Self, Failure> {
        let file = Mapped::open(path)?;
        let tokenizer = tokenizer.filter(|_| !crate::model::is_image(file.bytes()));
        let parts = parts(&file, tokenizer)?;
        let panel = |_| Panel::R1;
        let quant = Quant::To(Format::F32);
        let options = PackOptions { quant, head: quant, ..PackOptions::keep(&panel, threads) };
        let named = |error| Failure::new(format_args!("{}: {error}", path.display()));
        let packed = pack(&parts, &options).map_err(named)?;
        Ok(Self { packed, path: path.into() })
    }

    fn image(&self) -> Result<Image<'_>, Failure> {
        Image::open(self.packed.bytes()).map_err(Failure::new)
    }

    fn weights(&self) -> Result<Weights, Failure> {
        let image = self.image()?;
        if image.config().activation != Activation::Silu {
            let what = image.config().activation;
            return Err(Failure::new(format_args!(
                "{}: a gate of the kind {what:?}: training knows SiLU gates only",
                self.path.display()
            )));
        }
        Weights::from_image(&image).ok_or_else(|| Failure::new(format_args!("{}: no weights", self.path.display())))
    }
}

/// The vocabulary's section, from a model or made from the text.
fn vocabulary(known: Option<&Known>, train: &[String], size: usize) -> Result<Vec<u8>, Failure> {
    if let Some(known) = known {
        let bytes = known.image()?.vocab_bytes().to_vec();
        if bytes.is_empty() {
            return Err(Failure::new(format_args!(
                "{} has no vocabulary: give a llama2.c .bin its tokenizer with --tokenizer",
                known.path.display()
            )));
        }
        return Ok(bytes);
    }
    let source = corpus::train_bpe(train, size).map_err(Failure::usage)?;
    vocab::build(&source).map_err(Failure::new)
}

/// Documents as tokens: start token, text, and the token that ends a text.
fn tokenise(vocab: &Vocab<'_>, documents: &[String]) -> Result<Vec<Vec<u32>>, Failure> {
    let start = corpus::start_token(vocab);
    let start = start.ok_or_else(|| Failure::new("the vocabulary has no BOS token to start documents with"))?;
    let end = vocab.stops().next().unwrap_or(start);
    let tokens = |document: &String| {
        let mut ids = vec![start];
        ids.extend(engine::encode(vocab, document, false, false)?);
        ids.push(end);
        Ok(ids)
    };
    documents.iter().map(tokens).collect()
}

/// Reads the documents of a text file.
fn read_documents(path: &Path) -> Result<Vec<String>, Failure> {
    let text = engine::read_text(path)?;
    let documents: Vec<String> = corpus::documents(&text).map(|document| document.into_owned()).collect();
    if documents.is_empty() {
        return Err(Failure::new(format_args!("{}: the text is empty", path.display())));
    }
    Ok(documents)
}

/// The shape of a new model.
fn config(settings: &Settings, vocab_size: u32) -> Result<Config, Failure> {
    let head_dim = settings.dim / settings.heads;
    let config = Config {
        dim: settings.dim,
        hidden_dim: settings.hidden,
        n_layers: settings.layers,
        n_heads: settings.heads,
        n_kv_heads: settings.kv_heads,
        head_dim,
        rope_dim: head_dim,
        vocab_size,
        seq_len: settings.ctx,
        norm_eps: 1e-5,
        att_scale: 1.0 / (head_dim as f32).sqrt(),
        rope_pairs: RopePairs::Interleaved,
        activation: Activation::Silu,
        tied_head: true,
    };
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

/// What the teacher writes, in a file beside the image, so that a resumed run reads the same.
fn written(
    files: &Files,
    conduct: &Conduct<'_>,
    teacher: &Known,
    settings: &Settings,
    train: &[String],
) -> Result<Vec<String>, Failure> {
    let path = files.beside("written.txt");
    if conduct.resume && path.exists() {
        return read_documents(&path);
    }
    let panel = |format| select::best().panel(format);
    // A teacher's writing need not be exact, and int8 is faster.
    let file = Mapped::open(&teacher.path)?;
    let tokenizer = files.tokenizer.as_deref().filter(|_| !crate::model::is_image(file.bytes()));
    let parts = parts(&file, tokenizer)?;
    let quant = Quant::To(Format::Q8);
    let options = PackOptions { quant, head: quant, ..PackOptions::keep(&panel, conduct.threads) };
    let packed = pack(&parts, &options)?;
    let image = Image::open(packed.bytes()).map_err(Failure::new)?;
    let vocab = engine::vocab(&image, None)?;
    let text = train.join(&format!("\n{}\n", corpus::SEPARATOR));
    let openings = Openings::new(&text, Some(8));
    let writing = Writing {
        tokens: conduct.write,
        // As the teacher predicts, nothing cut off.
        sampling: Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: settings.seed,
        },
        kv: KvType::F16,
        context: (settings.ctx as usize).min(image.config().seq_len as usize),
        threads: conduct.threads,
        openings: openings.as_ref(),
    };
    let bar = engine::bar(conduct.write, "writing", "{pos}/{len} tokens");
    let mut output = Output::create(&path)?;
    let mut documents = Vec::new();
    generate(&image, select::best(), &writing, |document| {
        bar.inc(document.written());
        let text = vocab::decode(&vocab, &document.ids, false).map_err(Failure::new)?;
        let text = String::from_utf8_lossy(&text).trim().to_string();
        if !text.is_empty() {
            output.write(format!("{text}\n{}\n", corpus::SEPARATOR).as_bytes())?;
            documents.push(text);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    output.finish()?;
    Ok(documents)
}

/// Runs the training, says on stderr how it goes, writes the image.
pub fn run(files: &Files, settings: &Settings, conduct: &Conduct<'_>) -> Result<(), Failure> {
    settings.check()?;
    // Before hours of work: a place that nothing can be written to.
    drop(Output::create(&files.output)?);
    let ending = files.output.extension().unwrap_or_default();
    if let Some(ending) = BESIDE.into_iter().find(|beside| ending == *beside) {
        return Err(Failure::usage(format_args!(
            "{}: files ending in .{ending} are written beside the image: end it in .pips",
            files.output.display()
        )));
    }
    let threads = conduct.threads;
    let checkpoint_path = files.beside("checkpoint");
    if checkpoint_path.exists() && !conduct.resume && !conduct.restart {
        return Err(Failure::usage(format_args!(
            "{} is there: --resume goes on from it, --restart begins anew",
            checkpoint_path.display()
        )));
    }
    let open = |path: &Option<_>| {
        path.as_deref().map(|path: &Path| Known::open(path, files.tokenizer.as_deref(), threads)).transpose()
    };
    let (from, teacher) = (open(&files.from)?, open(&files.teacher)?);
    let split = corpus::split(read_documents(&files.text)?, settings.held_out)
        .map_err(|error| Failure::new(format_args!("{}: {error}", files.text.display())))?;
    let mut also = Vec::new();
    for path in &files.also {
        also.extend(read_documents(path)?);
    }
    if let Some(teacher) = teacher.as_ref().filter(|_| conduct.write > 0) {
        also.extend(written(files, conduct, teacher, settings, &split.train)?);
    }
    let vocab_bytes = vocabulary(from.as_ref().or(teacher.as_ref()), &split.train, settings.vocab_size)?;
    let vocab = Vocab::new(&vocab_bytes).map_err(Failure::new)?;

    let (weights, turns) = match &from {
        Some(known) => (known.weights()?, known.image()?.rope().to_vec()),
        None => {
            let config = config(settings, vocab.vocab_size())?;
            (Weights::random(config, settings.seed), plain_rope_turns(10_000.0, config.rope_dim))
        }
    };
    let config = weights.config;
    let ctx = settings.ctx as usize;
    if ctx > config.seq_len as usize {
        return Err(Failure::usage(format_args!("--ctx {ctx}: the model's context is {} tokens", config.seq_len)));
    }
    let train = tokenise(&vocab, &split.train)?;
    let tokens: usize = train.iter().map(Vec::len).sum();
    if tokens < ctx {
        return Err(Failure::new(format_args!(
            "{}: the text has {tokens} tokens to learn from and the context {ctx}: lower --ctx, or add text",
            files.text.display()
        )));
    }
    let windows: Vec<Window> = tokenise(&vocab, &split.test)?
        .into_iter()
        .map(|mut ids| {
            // As `eval --documents`: the end of a text is not text.
            ids.pop();
            ids.truncate(ctx);
            Window { ids, first: 0 }
        })
        .filter(|window| window.ids.len() > 1)
        .collect();
    let main = Pool::new(train, ctx);
    let more = Pool::new(tokenise(&vocab, &also)?, ctx);
    let also_share = if more.is_empty() { 0.0 } else { settings.also_share };
    eprintln!(
        "{} parameters, vocabulary {}, {} documents with {} tokens{}, {} held out",
        config.parameters(),
        config.vocab_size,
        split.train.len(),
        main.tokens(),
        if more.is_empty() { String::new() } else { format!(" and {} with {}", also.len(), more.tokens()) },
        split.test.len(),
    );
    let taught = |share: f32| if teacher.is_some() { share } else { 0.0 };
    let pools = vec![
        (main, 1.0 - also_share, taught(settings.teacher_share)),
        (more, also_share, taught(settings.also_teacher_share)),
    ];
    let teacher = teacher.map(|known| adopt(&known, &vocab_bytes, ctx)).transpose()?;
    let identity = identity(settings, [&split.train, &split.test, &also], &vocab_bytes, &weights, teacher.as_ref());
    let rule = Rule {
        rate: settings.rate,
        warmup: settings.warmup,
        final_rate: settings.final_rate,
        steps: settings.steps,
        decay: settings.decay,
        clip: settings.clip,
        beta1: 0.9,
        beta2: 0.95,
    };
    // Small batches stay in a core's own cache.
    let batch_tokens = ctx;
    let shape = StepShape { batches: settings.step_tokens.div_ceil(batch_tokens), batch_tokens, threads };
    let teacher = teacher.map(|(teacher, _)| teacher);
    let mut trainer = Trainer::new(weights, &turns, ctx, Batches::new(pools, settings.seed), teacher, rule, shape);
    let mut state = State { run: identity, ..State::default() };
    if conduct.resume {
        state = resume(&checkpoint_path, &state.run, &mut trainer)?;
        eprintln!("going on after step {}", state.step);
    }
    let [name, licence, origin] = conduct.labels.clone();
    let labels = Labels { vocab: vocab_bytes.clone(), turns, name, licence, origin };
    let log = Log { files, conduct, settings, labels: &labels, windows: &windows };
    log.train(&mut trainer, &mut state, &checkpoint_path)?;

    let rounding = rounding(settings);
    let packed = export(&trainer.weights, rounding, &labels, conduct.panel, Some(select::best()), threads)
        .map_err(Failure::new)?;
    let mut output = Output::create(&files.output)?;
    output.write(packed.bytes())?;
    output.finish()?;
    eprintln!("{}: {} bytes", files.output.display(), packed.bytes().len());
    Ok(())
}

fn rounding(settings: &Settings) -> Rounding {
    let layers = settings.quant.format().unwrap_or(Format::F32);
    Rounding { layers, head: settings.head.format().unwrap_or(layers) }
}

/// A teacher and the CRC of its weights.
fn adopt(known: &Known, vocab: &[u8], ctx: usize) -> Result<(Teacher, u32), Failure> {
    let image = known.image()?;
    if image.vocab_bytes() != vocab {
        return Err(Failure::usage(format_args!(
            "{} and the model of --from have different vocabularies: a teacher's must be the student's",
            known.path.display()
        )));
    }
    if ctx > image.config().seq_len as usize {
        return Err(Failure::usage(format_args!(
            "--ctx {ctx}: the teacher's context is {} tokens",
            image.config().seq_len
        )));
    }
    let weights = known.weights()?;
    let crc = crc_of(&weights);
    Ok((Teacher::new(&weights, image.rope(), ctx).map_err(Failure::new)?, crc))
}

fn crc_of(weights: &Weights) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    weights.groups.iter().flat_map(|group| &group.values).for_each(|x| crc.update(&x.to_le_bytes()));
    crc.finalize()
}

/// What must be the same for a run to go on, as a JSON object.
fn identity(
    settings: &Settings,
    texts: [&[String]; 3],
    vocab: &[u8],
    weights: &Weights,
    teacher: Option<&(Teacher, u32)>,
) -> String {
    let mut map = serde_json::Map::new();
    if let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(settings) {
        map.extend(settings);
    }
    for (name, text) in ["text", "held-out-text", "also"].into_iter().zip(texts) {
        let mut crc = crc32fast::Hasher::new();
        for document in text {
            crc.update(document.as_bytes());
            crc.update(&[0]);
        }
        map.insert(format!("checksum of {name}"), crc.finalize().into());
    }
    map.insert("checksum of vocabulary".into(), crc32fast::hash(vocab).into());
    map.insert("checksum of first weights".into(), crc_of(weights).into());
    map.insert("checksum of teacher".into(), teacher.map(|(_, crc)| *crc).into());
    serde_json::Value::Object(map).to_string()
}

fn resume(path: &Path, run: &str, trainer: &mut Trainer) -> Result<State, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    let state = checkpoint::read(&bytes, run, &mut trainer.weights, &mut trainer.moments);
    let state = state.map_err(|error| {
        let older = older(path);
        let hint = if older.exists() {
            format!("; the one before it is {}: rename it to go on from there", older.display())
        } else {
            String::new()
        };
        Failure::new(format_args!("{}: {error}{hint}", path.display()))
    })?;
    trainer.done = state.step;
    if !trainer.batches.resume(&state.cursors) {
        return Err(Failure::new(format_args!("{}: the checkpoint of another run: its texts differ", path.display())));
    }
    Ok(state)
}

fn older(path: &Path) -> std::path::PathBuf {
    path.with_extension("checkpoint.old")
}

/// The loop, and what it tells.
struct Log<'a> {
    files: &'a Files,
    conduct: &'a Conduct<'a>,
    settings: &'a Settings,
    labels: &'a Labels,
    windows: &'a [Window],
}

impl Log<'_> {
    fn train(&self, trainer: &mut Trainer, state: &mut State, path: &Path) -> Result<(), Failure> {
        let (start, first) = (Instant::now(), state.step);
        let bar = engine::bar(self.settings.steps, "training", "{pos}/{len} steps {msg}");
        bar.set_position(first);
        let rounding = rounding(self.settings);
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
