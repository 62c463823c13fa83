//! `logits`: the logits of every position, as raw floats.

use crate::{args::LogitsArgs, engine, failure::Failure, output::Output, pool::with_team};

pub(super) fn run(args: &LogitsArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.engine.kernels.as_deref())?;
    let model = engine::open_to_run(&args.model, &args.engine, kernels)?;
    let image = model.image()?;
    let vocab_size = image.config().vocab_size;
    if let Some(id) = args.ids.iter().find(|id| **id >= vocab_size) {
        return Err(Failure::usage(format_args!("--ids {id}: the model's tokens are 0 to {}", vocab_size - 1)));
    }
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
