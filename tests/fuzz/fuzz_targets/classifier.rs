//! Any bytes as a classifier: refused, or one that gives a picture finite scores. The checksum is put right first, or
//! fuzzing would end at it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak::{
    classifier::{Classifier, ClassifyError, HEADER_BYTES, seal},
    crc::crc32,
    kernels::{arena::Line, select, team::Team},
};
use pipsqueak_tests::engine::Aligned;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Aligned::new(data);
    if crc32(data) & 7 != 0 {
        // The length too, as what follows the classifier is not its own.
        let len = (data.len() as u64).to_le_bytes();
        if let Some(field) = bytes.bytes_mut().get_mut(8..16).filter(|_| data.len() >= HEADER_BYTES) {
            field.copy_from_slice(&len);
        }
        let _ = seal(bytes.bytes_mut());
    }
    let Ok(classifier) = Classifier::open(bytes.bytes()) else { return };
    let shape = *classifier.shape();
    let pixels: Vec<f32> = (0..shape.inputs()).map(|at| data[at % data.len()] as f32 / 255.0).collect();
    let mut scores = vec![0.0; shape.classes.into()];
    let mut scratch = vec![Line::ZERO; shape.scratch_lines()];
    match classifier.classify(select::best(), &Team::alone(), &pixels, &mut scores, &mut scratch) {
        Ok(()) => assert!(scores.iter().all(|score| score.is_finite())),
        Err(error) => assert_eq!(error, ClassifyError::NotFinite),
    }
});
