//! Packed classifiers.

use core::hint::black_box;

use pipsqueak::{
    classifier::{Classifier, Shape, bias_bytes, seal},
    kernels::{Kernels, Panel, Scalar, arena::Line, select, team::Team},
};

use crate::Choices;

/// Everything about one classifier.
pub fn run(bytes: &mut [u8], floats: &mut [f32], scratch: &mut [Line], choices: &mut Choices) {
    let mut size = || choices.next() as u16;
    let shape = Shape { width: size(), height: size(), hidden: size(), classes: size() };
    let panel = Panel::from_code(choices.next() as u8).unwrap_or(Panel::R1);
    black_box((shape.file_bytes(panel), shape.scratch_lines(), shape.header(panel), shape.layers()));
    black_box((shape.inputs(), bias_bytes(choices.next()), seal(bytes)));
    let classifier = match Classifier::open(bytes) {
        Ok(classifier) => classifier,
        Err(error) => {
            black_box(error);
            return;
        }
    };
    black_box((classifier.shape(), classifier.panel(), classifier.layers().count()));
    let Some((pixels, rest)) = floats.split_at_mut_checked(choices.next()) else { return };
    let Some((scores, _)) = rest.split_at_mut_checked(choices.next()) else { return };
    let team = Team::alone();
    let done = match choices.next() {
        0 => classifier.classify(&Scalar, &team, pixels, scores, scratch),
        _ => {
            let kernels: &dyn Kernels = black_box(select::best());
            classifier.classify(kernels, &team, pixels, scores, scratch)
        }
    };
    black_box(done.is_ok());
}
