//! `selftest`: does this machine compute what the contract says?

use pipsqueak::{
    Image, KvType,
    kernels::{Kernels, arena::Line, select},
};
use pipsqueak_kernels::testing;

use crate::{args::SelftestArgs, engine, failure::Failure, input::Input, model::Model, pack::golden};

pub(super) fn run(args: &SelftestArgs) -> Result<(), Failure> {
    let sets: Vec<&'static dyn Kernels> = match args.kernels.as_deref() {
        Some(name) => vec![engine::kernels(Some(name))?],
        None => select::all().collect(),
    };
    let mut failures = 0;
    for kernels in &sets {
        failures += test_kernels(*kernels);
    }
    let path = args.model.model.as_deref();
    let input = Input::open(path)?;
    if let Some(bytes) = input.image() {
        let name = input.path().display();
        let fail = |error: pipsqueak::ImageError| Failure::new(format_args!("{name}: {error}"));
        let image = Image::open(bytes).map_err(fail)?;
        image.verify().map_err(fail)?;
        eprintln!("{name}: all checksums are right");
    }
    for kernels in &sets {
        let model = Model::open(path, args.model.tokenizer.tokenizer.as_deref(), *kernels, 1, &|_, _| {})?;
        failures += test_golden(&model.image()?, *kernels)?;
    }
    if failures == 0 { Ok(()) } else { Err(Failure::new(format_args!("{failures} self-tests failed"))) }
}

fn test_kernels(kernels: &dyn Kernels) -> usize {
    let mut arena = vec![Line::ZERO; testing::ARENA_LINES];
    let (mut passed, mut failed) = (0, 0);
    testing::run(kernels, &mut arena, &mut |name, result| match result {
        Ok(_) => passed += 1,
        Err(mismatch) => {
            failed += 1;
            eprintln!("{} {name}: {mismatch}", kernels.name());
        }
    });
    eprintln!("{}: {passed} kernel tests passed, {failed} failed", kernels.name());
    failed
}

fn test_golden(image: &Image<'_>, kernels: &dyn Kernels) -> Result<usize, Failure> {
    let mut failed = 0;
    for kv in KvType::ALL {
        let Some((prompt, expected)) = image.golden(kv) else {
            eprintln!("{}: the model carries no golden vector", kernels.name());
            return Ok(failed);
        };
        let sums = golden::sums(image, kernels, 1, kv, prompt)?;
        let first = sums.iter().zip(expected).position(|(got, expected)| got != expected);
        match first {
            None => eprintln!("{}: golden vector with {} cache is right", kernels.name(), kv.name()),
            Some(layer) if layer + 1 < sums.len() => {
                failed += 1;
                eprintln!("{}: golden vector with {} cache differs first in layer {layer}", kernels.name(), kv.name());
            }
            Some(_) => {
                failed += 1;
                eprintln!("{}: golden vector with {} cache differs in the logits", kernels.name(), kv.name());
            }
        }
    }
    Ok(failed)
}
