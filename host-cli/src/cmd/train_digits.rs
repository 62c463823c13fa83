//! `train-digits`: trains and packs a digit recogniser.

use std::fmt::Write;

use pipsqueak::kernels::{Panel, select};

use super::print;
use crate::{
    args::TrainDigitsArgs,
    digits::pack::pack,
    engine::bar,
    failure::Failure,
    output::Output,
    train::digits::{Digit, Options, load, samples, score_float, score_packed, train},
};

pub(super) fn run(args: &TrainDigitsArgs) -> Result<(), Failure> {
    let digits = load(&args.data).map_err(Failure::new)?;
    if let Some(folder) = &args.samples {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        for (name, bytes) in samples(&digits).map_err(Failure::new)? {
            let mut output = Output::create(&folder.join(name))?;
            output.write(&bytes)?;
            output.finish()?;
        }
    }
    let (held_out, learn): (Vec<Digit>, Vec<Digit>) = digits.into_iter().partition(|digit| digit.held_out);
    if held_out.is_empty() {
        return Err(Failure::new("too few digits: of fewer than five of a label none can be held out"));
    }
    let options = Options { hidden: args.hidden, epochs: args.epochs, seed: args.seed };
    let progress = bar(u64::from(args.epochs), "training", "{pos}/{len} {msg}");
    let layers = train(&options, &learn, |epoch, loss| {
        progress.set_position(u64::from(epoch));
        progress.set_message(format!("loss {loss:.4}"));
    });
    progress.finish_and_clear();
    let layers = layers.map_err(Failure::new)?;
    let packed = pack(options.shape(), Panel::R1, &layers).map_err(Failure::new)?;
    let mut report = format!("trained on {}, packed in {} bytes\n", learn.len(), packed.bytes().len());
    let sources = args.data.iter().enumerate().map(|(index, path)| (path.display().to_string(), Some(index)));
    for (name, source) in std::iter::once(("held out".to_owned(), None)).chain(sources) {
        let those = |digit: &&Digit| source.is_none_or(|source| digit.source == source);
        let digits: Vec<&Digit> = held_out.iter().filter(those).collect();
        let float = score_float(&layers, &digits);
        let int8 = score_packed(packed.bytes(), select::best(), &digits).map_err(Failure::new)?;
        let _ = writeln!(report, "{name}: float {float}, int8 {int8}");
    }
    let mut output = Output::create(&args.output)?;
    output.write(packed.bytes())?;
    output.finish()?;
    print(&report)
}
