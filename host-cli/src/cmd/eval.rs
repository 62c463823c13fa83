//! `eval`: how well a model predicts a text.

use pipsqueak::Vocab;
use serde::Serialize;

use super::print;
use crate::{
    args::{EngineArgs, EvalArgs},
    corpus, engine,
    failure::Failure,
    pool::with_team,
    score::{Score, Window},
};

/// Context when `--ctx` is not given.
const CONTEXT: u32 = 512;

#[derive(Serialize)]
struct Report {
    perplexity: f64,
    bits_per_char: f64,
    tokens: usize,
    chars: usize,
}

pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let text = engine::read_text(&args.text)?;
    let kernels = engine::kernels(args.engine.kernels.as_deref())?;
    let model = engine::open_to_run(&args.model, &args.engine, kernels)?;
    let image = model.image()?;
    let vocab = engine::vocab(&image, model.vocab_left_out())?;
    let threads = engine::threads(args.engine.threads, &image);
    let ctx = args.engine.ctx.unwrap_or(CONTEXT.min(image.config().seq_len));
    let engine_args = EngineArgs { ctx: Some(ctx), ..args.engine.clone() };
    let ctx = ctx as usize;
    let windows = if args.documents { documents(&text, &vocab, ctx)? } else { windows(&text, &vocab, ctx)? };
    let plan = engine::plan(&engine_args, &image, ctx, usize::MAX, threads)?;
    let mut arenas = engine::Arenas::new(&plan)?;
    let bar = engine::bar(windows.len() as u64, "eval", "{pos}/{len}");
    let score = with_team(threads, |team| {
        let mut session = arenas.session(&image, kernels, team, &plan)?;
        let mut score = Score::default();
        for window in &windows {
            score.window(&mut session, window, &vocab)?;
            bar.inc(1);
        }
        Ok::<_, Failure>(score)
    })?;
    bar.finish_and_clear();
    let report = Report {
        perplexity: score.nats_per_token().exp(),
        bits_per_char: score.bits_per_char(),
        tokens: score.tokens,
        chars: score.chars,
    };
    if args.json {
        return print(&(serde_json::to_string(&report).map_err(Failure::new)? + "\n"));
    }
    print(&format!(
        "perplexity {:.4}\nbits per character {:.4}\ntokens scored {}\ncharacters scored {}\n",
        report.perplexity, report.bits_per_char, report.tokens, report.chars
    ))
}

/// llama-perplexity's count: whole windows of `ctx`, the second half of each scored; BOS takes the first place of a
/// window where the model expects one.
fn windows(text: &str, vocab: &Vocab<'_>, ctx: usize) -> Result<Vec<Window>, Failure> {
    if ctx < 4 {
        return Err(Failure::usage(format_args!("--ctx {ctx}: windows of at least 4 tokens have a half to score")));
    }
    let ids = engine::encode(vocab, text, vocab.add_bos(), false)?;
    if ids.len() < ctx {
        let len = ids.len();
        return Err(Failure::new(format_args!("the text has {len} tokens, one window needs {ctx}: lower --ctx")));
    }
    let bos = vocab.bos().filter(|_| vocab.add_bos());
    Ok(ids
        .chunks_exact(ctx)
        .map(|chunk| {
            let mut ids = chunk.to_vec();
            if let Some(bos) = bos {
                ids[0] = bos;
            }
            Window { ids, first: ctx / 2 }
        })
        .collect())
}

/// Every document from BOS on, cut at `ctx`, all its tokens scored.
fn documents(text: &str, vocab: &Vocab<'_>, ctx: usize) -> Result<Vec<Window>, Failure> {
    let bos = corpus::start_token(vocab);
    let bos = bos.ok_or_else(|| Failure::new("the vocabulary has no BOS token to start documents with"))?;
    let mut windows = Vec::new();
    for document in corpus::documents(text) {
        let mut ids = vec![bos];
        ids.extend(engine::encode(vocab, &document, false, false)?);
        ids.truncate(ctx);
        if ids.len() > 1 {
            windows.push(Window { ids, first: 0 });
        }
    }
    if windows.is_empty() {
        return Err(Failure::new("the text has no document to score"));
    }
    Ok(windows)
}
