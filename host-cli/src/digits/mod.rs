//! Handwritten digits: pictures in, the digit and ten scores out, through [`pipsqueak::classifier`].
//!
//! [`png_file`] reads a picture, [`picture`] finds the ink and brings it to the classifier's size, [`pack`] writes packed
//! classifiers, and [`Net`] runs one.

pub mod pack;
pub mod picture;
pub mod png_file;

use pipsqueak::{
    classifier::{Classifier, ClassifierError, ClassifyError},
    kernels::{Format, Kernels, arena::Line, team::Team},
    sampler::greedy,
};

use self::pack::Packed;

/// Classes of a digit recogniser.
pub const DIGITS: u16 = 10;
/// Sides of the pictures that the models in the box read.
pub const SIDE: u16 = 16;
/// The model in the box with one matrix; see `box/digits.md`.
pub const PLAIN: &[u8] = include_bytes!("../../box/digits-plain.pipc");
/// The model in the box with a hidden layer; see `box/digits.md`.
pub const HIDDEN: &[u8] = include_bytes!("../../box/digits-hidden.pipc");

/// A classifier in memory, laid out for a kernel set.
pub struct Net {
    packed: Packed,
    kernels: &'static dyn Kernels,
}

/// What a classifier says of a picture.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The class with the largest score, the lower of equals.
    pub class: u32,
    /// `[classes]`.
    pub scores: Vec<f32>,
    /// The scores' softmax, `[classes]`.
    pub probabilities: Vec<f32>,
}

impl Net {
    /// Checks the classifier `bytes` and lays it out for `kernels`. The bytes may lie at any address.
    pub fn open(bytes: &[u8], kernels: &'static dyn Kernels) -> Result<Self, ClassifierError> {
        let aligned = Packed::copy(bytes);
        let classifier = Classifier::open(aligned.bytes())?;
        Ok(Self { packed: pack::repack(&classifier, kernels.panel(Format::Q8)), kernels })
    }

    /// The classifier.
    pub fn classifier(&self) -> Result<Classifier<'_>, ClassifierError> {
        Classifier::open(self.packed.bytes())
    }

    /// Classifies pictures `[height, width]` of ink, 0 to 1, one after the other.
    pub fn read(&self, pictures: &[Vec<f32>]) -> Result<Vec<Reading>, ClassifyError> {
        let Ok(classifier) = self.classifier() else { return Ok(Vec::new()) };
        let shape = classifier.shape();
        let mut scratch = vec![Line::ZERO; shape.scratch_lines()];
        let one = |pixels: &Vec<f32>| {
            let mut scores = vec![0.0; usize::from(shape.classes)];
            classifier.classify(self.kernels, &Team::alone(), pixels, &mut scores, &mut scratch)?;
            let mut probabilities = scores.clone();
            self.kernels.softmax(&mut probabilities);
            Ok(Reading { class: greedy(&scores), scores, probabilities })
        };
        pictures.iter().map(one).collect()
    }
}
