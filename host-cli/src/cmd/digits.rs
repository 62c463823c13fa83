//! `digits`: reads handwritten digits.

use std::fmt::Write;

use serde_json::json;

use super::print;
use crate::{
    args::DigitsArgs,
    digits::{DIGITS, HIDDEN, Net, PLAIN, Reading, picture::shades, png_file},
    engine,
    failure::Failure,
    model::Mapped,
};

pub(super) fn run(args: &DigitsArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.kernels.as_deref())?;
    let file;
    let (name, bytes) = match &args.model {
        Some(path) => {
            file = Mapped::open(path)?;
            (path.display().to_string(), file.bytes())
        }
        None if args.plain => ("plain".into(), PLAIN),
        None => ("hidden".into(), HIDDEN),
    };
    let fail = |error: &dyn std::fmt::Display| Failure::new(format_args!("{name}: {error}"));
    let net = Net::open(bytes, kernels).map_err(|error| fail(&error))?;
    let shape = *net.classifier().map_err(|error| fail(&error))?.shape();
    if shape.classes != DIGITS {
        return Err(fail(&format_args!("{} classes; a digit recogniser has {DIGITS}", shape.classes)));
    }
    let (width, height) = (usize::from(shape.width), usize::from(shape.height));
    // All pictures first: one that cannot be read is told before anything is printed.
    let read = |path: &std::path::PathBuf| {
        png_file::read(path, width, height).map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))
    };
    let pictures: Vec<Vec<f32>> = args.images.iter().map(read).collect::<Result<_, _>>()?;
    let readings = net.read(&pictures).map_err(|error| fail(&error))?;
    let names = args.images.iter().map(|path| path.display().to_string());
    let results = names.zip(&pictures).zip(&readings);
    if args.json {
        let one = |((file, pixels), reading): ((String, &Vec<f32>), &Reading)| {
            json!({
                "file": file, "digit": reading.class, "scores": reading.scores,
                "probabilities": reading.probabilities, "pixels": pixels,
            })
        };
        let images: Vec<_> = results.map(one).collect();
        return print(&(json!({"model": name, "width": width, "height": height, "images": images}).to_string() + "\n"));
    }
    let mut out = String::new();
    for ((file, pixels), reading) in results {
        let _ = writeln!(out, "{file}: {}", reading.class);
        describe(&mut out, &shades(pixels, width), reading);
    }
    print(&out)
}

/// The picture, and beside its lower part the scores.
fn describe(out: &mut String, picture: &[String], reading: &Reading) {
    let scores = reading.scores.iter().zip(&reading.probabilities).enumerate();
    let scores: Vec<_> = scores
        .map(|(class, (score, probability))| {
            let mark = if class as u32 == reading.class { '>' } else { ' ' };
            format!("{mark} {class} {score:>8.2} {:>6.1} %", probability * 100.0)
        })
        .collect();
    let width = picture.first().map_or(0, String::len);
    let above = picture.len().saturating_sub(scores.len()) / 2;
    for line in 0..picture.len().max(above + scores.len()) {
        let left = picture.get(line).map_or("", String::as_str);
        let right = line.checked_sub(above).and_then(|line| scores.get(line)).map_or("", String::as_str);
        let _ = writeln!(out, "{}", format!("  |{left:<width$}|  {right}").trim_end());
    }
}
