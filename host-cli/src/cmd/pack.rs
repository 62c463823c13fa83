//! `pack`: a model into an image.

use pipsqueak::kernels::{Format, Kernels, Panel, select};

use crate::{
    args::{PackArgs, QuantName},
    boards,
    chat::{PiecesError, TemplateError},
    engine,
    failure::Failure,
    model::{Mapped, Model, parts},
    output::Output,
    pack::{Importance, PIECE_TOKENS, PackOptions, Quant, measure, own_text, pack},
};

/// Tokens of the calibration text that are used: more changes little and takes long.
const CALIBRATION_TOKENS: usize = 16_384;
const CALIBRATION_CONTEXT: usize = 512;

pub(super) fn run(args: &PackArgs) -> Result<(), Failure> {
    let panel = panels(args.target.as_deref())?;
    let tokenizer = args.model.tokenizer.tokenizer.as_deref();
    let threads = engine::open_threads(args.threads);
    let kernels = select::best();
    let calibration = args.calibrate.as_deref().map(engine::read_text).transpose()?;
    let file = Mapped::model(args.model.model.as_deref())?;
    let path = file.path();
    let mut parts = parts(&file, tokenizer)?;
    match parts.split_chat() {
        Ok(()) => {}
        Err(error @ PiecesError::Template(TemplateError::Runaway { .. })) => {
            return Err(Failure::new(format_args!("{}: {error}", path.display())));
        }
        Err(error) => eprintln!("pipsqueak: {}: no chat without a template engine: {error}", path.display()),
    }
    let quant = quant(args.quant);
    let head = args.head.map_or(
        if matches!(args.quant, QuantName::Q4 | QuantName::Q4m) { Quant::To(Format::Q8) } else { quant },
        self::quant,
    );
    let rounds = matches!(args.quant, QuantName::Q4 | QuantName::Q4m);
    let importance = if rounds || calibration.is_some() {
        // The model as it is, measured on the text, or on what it writes itself.
        let model = Model::open(args.model.model.as_deref(), tokenizer, kernels, threads, &|_, _| {})?;
        Some(importance(&model, calibration.as_deref(), kernels, threads)?)
    } else {
        None
    };
    let bar = engine::bar(0, "packing", "{bytes}/{total_bytes}");
    let options = PackOptions {
        quant,
        head,
        panel: &*panel,
        importance: importance.as_ref(),
        golden: Some(kernels),
        threads,
        progress: &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
        spent: &|bytes| file.let_go(bytes),
    };
    let packed = pack(&parts, &options).map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;
    bar.finish_and_clear();
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

/// How much the columns of each matrix matter.
fn importance(model: &Model, text: Option<&str>, kernels: &dyn Kernels, threads: usize) -> Result<Importance, Failure> {
    let image = model.image()?;
    let (ids, context) = match text {
        Some(text) => {
            let vocab = engine::vocab(&image, model.vocab_left_out())?;
            let mut ids = engine::encode(&vocab, text, vocab.add_bos(), false)?;
            ids.truncate(CALIBRATION_TOKENS);
            (ids, CALIBRATION_CONTEXT)
        }
        None => {
            let bar = engine::bar(0, "writing", "{pos}/{len} pieces");
            let ids = own_text(&image, kernels, threads, |done, total| {
                bar.set_length(total.into());
                bar.set_position(done.into());
            })?;
            bar.finish_and_clear();
            (ids, PIECE_TOKENS)
        }
    };
    if ids.is_empty() {
        return Err(Failure::new("the calibration text is empty"));
    }
    let context = context.min(image.config().seq_len as usize);
    let bar = engine::bar(ids.len() as u64, "measuring", "{pos}/{len} tokens");
    let importance = measure(&image, kernels, threads, &ids, context, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(importance)
}

fn quant(name: QuantName) -> Quant {
    name.format().map_or(Quant::Keep, Quant::To)
}

/// The panels of a kernel set or a board.
pub(super) fn panels(name: Option<&str>) -> Result<Box<dyn Fn(Format) -> Panel + Sync>, Failure> {
    let of = |kernels: &'static dyn Kernels| {
        Box::new(move |format| kernels.panel(format)) as Box<dyn Fn(Format) -> Panel + Sync>
    };
    let Some(name) = name else { return Ok(of(select::best())) };
    if let Some(panel) = select::panel_of(name).or_else(|| boards::by_name(name).map(|board| board.panel())) {
        return Ok(Box::new(move |_| panel));
    }
    let boards: Vec<_> = boards::ALL.iter().map(|board| board.name).collect();
    Err(Failure::usage(format_args!(
        "--for {name}: known are the kernel sets {} and the boards {}",
        select::EVERYWHERE.map(|(name, _)| name).join(", "),
        boards.join(", ")
    )))
}
