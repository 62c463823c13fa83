//! `pack`: a model into an image.

use std::sync::Mutex;

use crate::{
    args::{PackArgs, QuantName},
    boards, engine,
    failure::Failure,
    output::Output,
    pack::{Quant, Recipe, Step},
};

pub(super) fn run(args: &PackArgs) -> Result<(), Failure> {
    let calibration = args.calibrate.as_deref().map(engine::read_text).transpose()?;
    let recipe = Recipe {
        quant: quant(args.quant),
        head: args.head.map(quant),
        calibration: calibration.as_deref(),
        target: args.target.as_deref(),
        tokenizer: args.model.tokenizer.tokenizer.as_deref(),
        threads: args.threads.map(usize::from),
    };
    // A bar for the step that is being done.
    let bar = Mutex::new(None);
    let packed = recipe.pack_with(args.model.model.as_deref(), &|step, done, total| {
        let mut bar = bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let same = bar.take().filter(|(of, _)| *of == step);
        let (_, shown) = bar.insert(same.unwrap_or_else(|| (step, step_bar(step))));
        shown.set_length(total);
        shown.set_position(done);
    });
    if let Some((_, bar)) = bar.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        bar.finish_and_clear();
    }
    let packed = packed?;
    packed.converted().iter().for_each(|converted| eprintln!("pipsqueak: {converted}"));
    let mut output = Output::create(&args.output)?;
    output.write(packed.bytes())?;
    output.finish()?;
    eprintln!("{}: {} bytes", args.output.display(), packed.bytes().len());
    if let Some(board) = args.target.as_deref().and_then(boards::by_name) {
        let image = pipsqueak::Image::open(packed.bytes()).map_err(Failure::new)?;
        let context = boards::DEFAULT_CONTEXT.min(image.config().seq_len as usize);
        eprintln!("{context} positions, int8 cache:");
        eprint!("{}", boards::table(&image, context, &[board]));
    }
    Ok(())
}

fn step_bar(step: Step) -> indicatif::ProgressBar {
    match step {
        Step::Writing => engine::bar(0, "writing", "{pos}/{len} pieces"),
        Step::Measuring => engine::bar(0, "measuring", "{pos}/{len} tokens"),
        Step::Packing => engine::bar(0, "packing", "{bytes}/{total_bytes}"),
    }
}

fn quant(name: QuantName) -> Quant {
    name.format().map_or(Quant::Keep, Quant::To)
}
