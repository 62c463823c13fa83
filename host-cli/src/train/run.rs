//! A whole run: texts and models in, a packed image out, with a checkpoint on the way.

use std::{fs, path::Path};

use pipsqueak::{
    Config, Vocab,
    config::{Activation, Arch, RopePairs},
    kernels::{Format, Panel, select},
};

use super::{
    batches::{Batches, Pool},
    checkpoint::{self, State},
    export::{Labels, export},
    optimiser::Rule,
    settings::{Files, Settings},
    sources::{Known, adopt, crc_of, lesson, read_documents, tokenise, vocabulary, windows, written},
    trainer::{StepShape, Teacher, Trainer},
    watch::{Log, older},
    weights::Weights,
};
use crate::{corpus, failure::Failure, output::Output, pack::plain_rope_turns};

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
        arch: Arch::Llama,
    };
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

/// Whether results can be written, and nothing would be written over, before hours of work.
fn check_places(files: &Files, conduct: &Conduct<'_>) -> Result<(), Failure> {
    drop(Output::create(&files.output)?);
    let ending = files.output.extension().unwrap_or_default();
    if let Some(ending) = BESIDE.into_iter().find(|beside| ending == *beside) {
        return Err(Failure::usage(format_args!(
            "{}: files ending in .{ending} are written beside the image: end it in .pips",
            files.output.display()
        )));
    }
    let checkpoint = files.beside("checkpoint");
    if checkpoint.exists() && !conduct.resume && !conduct.restart {
        return Err(Failure::usage(format_args!(
            "{} is there: --resume goes on from it, --restart begins anew",
            checkpoint.display()
        )));
    }
    Ok(())
}

/// Runs the training, says on stderr how it goes, writes the image.
pub fn run(files: &Files, settings: &Settings, conduct: &Conduct<'_>) -> Result<(), Failure> {
    settings.check()?;
    check_places(files, conduct)?;
    let threads = conduct.threads;
    let checkpoint_path = files.beside("checkpoint");
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
    let train = lesson(&vocab, &split.train, ctx, &files.text)?;
    let windows = windows(&vocab, &split.test, ctx)?;
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

    let rounding = settings.rounding();
    let packed = export(&trainer.weights, rounding, &labels, conduct.panel, Some(select::best()), threads)
        .map_err(Failure::new)?;
    let mut output = Output::create(&files.output)?;
    output.write(packed.bytes())?;
    output.finish()?;
    eprintln!("{}: {} bytes", files.output.display(), packed.bytes().len());
    Ok(())
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
