//! `logits`: the logits of every position, as raw floats.

use crate::{args::LogitsArgs, engine, failure::Failure, output::Output, pool::with_team};

pub(super) fn run(args: &LogitsArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.engine.kernels.as_deref())?;
    let model = engine::open(&args.model, kernels, args.engine.threads)?;
    let image = model.image()?;
    let threads = engine::threads(args.engine.threads, &image);
    let plan = engine::plan(&args.engine, &image, args.ids.len(), usize::MAX, threads)?;
    let mut arenas = engine::Arenas::new(&plan)?;
    with_team(threads, |team| {
        let mut session = arenas.session(&image, kernels, team, &plan)?;
        let mut output = Output::create(&args.output)?;
        let mut written = Ok(());
        session.score(&args.ids, |_, logits| {
            if written.is_ok() {
                written = output.write_f32(logits);
            }
        })?;
        written?;
        output.finish()
    })
}
