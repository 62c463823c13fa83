//! The packed classifier: nothing in it is trusted, and its scores are the same bits on every kernel set.

use pipsqueak::{
    classifier::{Classifier, ClassifierError, ClassifyError, HEADER_BYTES, Shape, seal},
    kernels::{ArenaTooSmall, Kernels, Panel, Scalar, arena::Line, select, team::Team},
    sampler::greedy,
};
use pipsqueak_cli::{
    digits::{
        self,
        pack::{Dense, DenseError, Packed, pack, repack},
    },
    pool::with_team,
};
use pipsqueak_tests::{engine::Aligned, rng::Rng};

const SHAPES: [Shape; 5] = [
    Shape { width: 16, height: 16, hidden: 0, classes: 10 },
    Shape { width: 16, height: 16, hidden: 96, classes: 10 },
    Shape { width: 7, height: 5, hidden: 33, classes: 3 },
    Shape { width: 1, height: 1, hidden: 0, classes: 1 },
    Shape { width: 3, height: 2, hidden: 300, classes: 17 },
];

fn layers(shape: Shape, rng: &mut Rng) -> Vec<Dense> {
    let dense = |(rows, cols): (usize, usize)| {
        let mut some = |count| (0..count).map(|_| rng.uniform() * 0.3).collect::<Vec<f32>>();
        Dense { weights: some(rows * cols), bias: some(rows) }
    };
    shape.layers().into_iter().flatten().map(dense).collect()
}

fn small(shape: Shape, panel: Panel) -> Packed {
    pack(shape, panel, &layers(shape, &mut Rng::new(1))).unwrap()
}

fn classify(bytes: &[u8], kernels: &dyn Kernels, team: &Team<'_>, pixels: &[f32]) -> Result<Vec<f32>, ClassifyError> {
    let classifier = Classifier::open(bytes).unwrap();
    let mut scores = vec![f32::NAN; usize::from(classifier.shape().classes)];
    let mut scratch = vec![Line::ZERO; classifier.shape().scratch_lines()];
    classifier.classify(kernels, team, pixels, &mut scores, &mut scratch)?;
    Ok(scores)
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|score| score.to_bits()).collect()
}

#[test]
fn every_truncation() {
    for shape in SHAPES {
        let packed = small(shape, Panel::R4);
        let bytes = packed.bytes();
        assert_eq!(Some(bytes.len()), shape.file_bytes(Panel::R4));
        for len in 0..bytes.len() {
            match Classifier::open(Packed::copy(&bytes[..len]).bytes()) {
                Err(ClassifierError::Truncated { need, got }) if got == len as u64 && need > got => {}
                other => panic!("{shape:?}, {len} bytes: {other:?}"),
            }
        }
        // More is fine: flash is larger.
        let longer = [bytes, &[0xff; 100]].concat();
        assert_eq!(Classifier::open(Packed::copy(&longer).bytes()).unwrap().shape(), &shape);
    }
}

#[test]
fn every_byte() {
    let boxed: Vec<Vec<u8>> = [digits::PLAIN, digits::HIDDEN].map(<[u8]>::to_vec).into();
    let others = SHAPES.into_iter().skip(2).map(|shape| small(shape, Panel::R8).bytes().to_vec());
    for whole in boxed.into_iter().chain(others) {
        let mut bytes = Aligned::new(&whole);
        for at in 0..whole.len() {
            // Of the largest one flip a byte, or this would take long.
            let flips: &[u8] = if whole.len() > 10_000 { &[0x10] } else { &[0x01, 0x80, 0xff] };
            for flip in flips {
                bytes.bytes_mut()[at] ^= flip;
                let error = Classifier::open(bytes.bytes()).err();
                let right = match error {
                    Some(ClassifierError::Magic { .. }) => at < 4,
                    Some(ClassifierError::Version { .. }) => at == 4 || at == 5,
                    Some(ClassifierError::Truncated { .. }) => (8..16).contains(&at),
                    Some(ClassifierError::Checksum { .. }) => at >= 6,
                    _ => false,
                };
                assert!(right, "byte {at}: {error:?}");
                bytes.bytes_mut()[at] ^= flip;
            }
        }
        assert!(Classifier::open(bytes.bytes()).is_ok());
    }
}

/// What only somebody who also puts the checksum right can get wrong.
#[test]
fn every_field() {
    let shape = SHAPES[2];
    let packed = small(shape, Panel::R1);
    let len = packed.bytes().len() as u64;
    let change = |at: usize, new: &[u8]| {
        let mut bytes = Aligned::new(packed.bytes());
        bytes.bytes_mut()[at..at + new.len()].copy_from_slice(new);
        assert!(seal(bytes.bytes_mut()));
        Classifier::open(bytes.bytes()).map(|classifier| *classifier.shape())
    };
    let no_shape = |got| Err(ClassifierError::Shape { got });
    assert_eq!(change(0, b"PIPC"), Ok(shape));
    assert_eq!(change(0, b"PIPS"), Err(ClassifierError::Magic { got: *b"PIPS" }));
    assert_eq!(change(4, &[2, 0]), Err(ClassifierError::Version { got: 2 }));
    assert_eq!(change(6, &[2, 1]), Err(ClassifierError::Arithmetic { got: 0x102 }));
    assert_eq!(change(16, &[0, 0]), no_shape(Shape { width: 0, ..shape }));
    assert_eq!(change(18, &[0, 0]), no_shape(Shape { height: 0, ..shape }));
    assert_eq!(change(22, &[0, 0]), no_shape(Shape { classes: 0, ..shape }));
    assert_eq!(change(24, &[6]), Err(ClassifierError::Panel { got: 6 }));
    let other = Shape { classes: 300, ..shape };
    let need = other.file_bytes(Panel::R1).unwrap() as u64;
    assert_eq!(change(22, &300u16.to_le_bytes()), Err(ClassifierError::Length { need, got: len }));
    let huge = Shape { width: u16::MAX, height: u16::MAX, hidden: u16::MAX, classes: u16::MAX };
    let refused = change(16, &[0xff; 8]);
    assert!(matches!(refused, Err(ClassifierError::Length { .. } | ClassifierError::Shape { .. })), "{refused:?}");
    assert!(huge.scratch_lines() > 1 << 26);
    // Every length but the right one.
    for wrong in (0..len).step_by(4) {
        let mut bytes = Aligned::new(packed.bytes());
        bytes.bytes_mut()[8..16].copy_from_slice(&wrong.to_le_bytes());
        let mut cut = bytes.bytes()[..(wrong as usize).max(HEADER_BYTES)].to_vec();
        assert!(seal(&mut cut));
        bytes.bytes_mut()[..HEADER_BYTES].copy_from_slice(&cut[..HEADER_BYTES]);
        let refused = Classifier::open(bytes.bytes()).map(|_| ());
        assert_eq!(refused, Err(ClassifierError::Length { need: len, got: wrong }));
    }
    let mut longer = Aligned::new(&[packed.bytes(), &[0; 64]].concat());
    longer.bytes_mut()[8..16].copy_from_slice(&(len + 64).to_le_bytes());
    assert!(seal(longer.bytes_mut()));
    let refused = Classifier::open(longer.bytes()).map(|_| ());
    assert_eq!(refused, Err(ClassifierError::Length { need: len, got: len + 64 }));
    // A line of 64 is where it begins, and nowhere else.
    let mut moved = Aligned::new(&[&[0; 4], packed.bytes()].concat());
    assert_eq!(Classifier::open(&moved.bytes_mut()[4..]).err(), Some(ClassifierError::Misaligned));
    assert!(!seal(&mut [0; HEADER_BYTES - 1]));
}

#[test]
fn the_same_bits_everywhere() {
    let mut rng = Rng::new(7);
    for shape in SHAPES {
        let canonical = small(shape, Panel::R1);
        for round in 0..20 {
            let pixels: Vec<f32> = match round {
                0 => vec![0.0; shape.inputs()],
                1 => vec![1.0; shape.inputs()],
                _ => (0..shape.inputs()).map(|_| rng.uniform().abs()).collect(),
            };
            let want = classify(canonical.bytes(), &Scalar, &Team::alone(), &pixels).unwrap();
            for panel in Panel::ALL {
                let packed = repack(&Classifier::open(canonical.bytes()).unwrap(), panel);
                for kernels in select::all() {
                    for threads in [1, 2] {
                        let got = with_team(threads, |team| classify(packed.bytes(), kernels, team, &pixels)).unwrap();
                        assert_eq!(bits(&got), bits(&want), "{shape:?}, {panel:?}, {}, {threads}", kernels.name());
                    }
                }
            }
        }
        // There and back.
        let there = repack(&Classifier::open(canonical.bytes()).unwrap(), Panel::R16);
        let back = repack(&Classifier::open(there.bytes()).unwrap(), Panel::R1);
        assert!(back.bytes() == canonical.bytes());
    }
}

/// Near what float64 makes of the weights: as near as int8 activations are.
#[test]
fn the_scores_are_right() {
    let mut rng = Rng::new(3);
    for shape in SHAPES {
        let layers = layers(shape, &mut Rng::new(1));
        let packed = small(shape, Panel::R8);
        for _ in 0..20 {
            let pixels: Vec<f32> = (0..shape.inputs()).map(|_| rng.uniform().abs()).collect();
            let mut x: Vec<f64> = pixels.iter().map(|x| f64::from(*x)).collect();
            let mut size = 0.0f64;
            for (index, layer) in layers.iter().enumerate() {
                if index > 0 {
                    x.iter_mut().for_each(|x| *x = x.max(0.0));
                }
                let rows = layer.weights.chunks(x.len()).zip(&layer.bias);
                let product = |row: &[f32]| row.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
                let next: Vec<f64> = rows.map(|(row, bias)| product(row) + f64::from(*bias)).collect();
                size = x.iter().map(|x| x * x).sum::<f64>().sqrt();
                x = next;
            }
            let got = classify(packed.bytes(), select::best(), &Team::alone(), &pixels).unwrap();
            for (got, want) in got.iter().zip(&x) {
                assert!((f64::from(*got) - want).abs() < 0.01 * (1.0 + size), "{shape:?}: {got} and {want}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let shape = SHAPES[1];
    let packed = small(shape, Panel::R1);
    let classifier = Classifier::open(packed.bytes()).unwrap();
    let (mut scratch, team) = (vec![Line::ZERO; shape.scratch_lines()], Team::alone());
    let mut run = |pixels: &[f32], scores: &mut [f32], lines: usize| {
        classifier.classify(select::best(), &team, pixels, scores, &mut scratch[..lines])
    };
    let lines = shape.scratch_lines();
    assert_eq!(lines, 12);
    let (pixels, mut scores) = (vec![0.5; 256], [0.0; 10]);
    assert_eq!(run(&pixels, &mut scores, lines), Ok(()));
    assert_eq!(run(&pixels[1..], &mut scores, lines), Err(ClassifyError::Pixels { need: 256, got: 255 }));
    assert_eq!(run(&pixels, &mut scores[1..], lines), Err(ClassifyError::Scores { need: 10, got: 9 }));
    let short = ArenaTooSmall { need: 64 * 12, got: 64 * 11 };
    assert_eq!(run(&pixels, &mut scores, lines - 1), Err(ClassifyError::Scratch(short)));
    for wrong in [f32::NAN, f32::INFINITY] {
        let mut pixels = pixels.clone();
        pixels[200] = wrong;
        assert_eq!(run(&pixels, &mut scores, lines), Err(ClassifyError::NotFinite));
    }
    // A bias that is not a number in either layer, with the checksum put right.
    let last = packed.bytes().len() - 64;
    let hidden_bias = HEADER_BYTES + 256 * 96 + 256 * 96 / 32 * 2;
    for at in [last, hidden_bias] {
        let mut bytes = Aligned::new(packed.bytes());
        bytes.bytes_mut()[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(seal(bytes.bytes_mut()));
        let got = classify(bytes.bytes(), select::best(), &team, &pixels);
        assert_eq!(got, Err(ClassifyError::NotFinite), "at {at}");
    }
    // Nor is one packed.
    let mut layers = layers(shape, &mut Rng::new(1));
    layers[1].weights[5] = f32::INFINITY;
    assert_eq!(pack(shape, Panel::R1, &layers).err(), Some(DenseError::Range));
    layers[1].weights.pop();
    assert_eq!(pack(shape, Panel::R1, &layers).err(), Some(DenseError::Shape(shape)));
}

#[test]
fn of_equals_the_lower_class() {
    let shape = Shape { width: 4, height: 4, hidden: 0, classes: 3 };
    let layer = Dense { weights: vec![0.0; 48], bias: vec![1.0, 2.0, 2.0] };
    let packed = pack(shape, Panel::R1, &[layer]).unwrap();
    let scores = classify(packed.bytes(), select::best(), &Team::alone(), &[0.3; 16]).unwrap();
    assert_eq!((&scores[..], greedy(&scores)), (&[1.0, 2.0, 2.0][..], 1));
}

#[test]
fn the_models_in_the_box() {
    let sizes = [(digits::PLAIN, 0, 2880, 384), (digits::HIDDEN, 96, 27_648, 768)];
    for (bytes, hidden, len, scratch) in sizes {
        assert_eq!(bytes.len(), len);
        let packed = Packed::copy(bytes);
        let classifier = Classifier::open(packed.bytes()).unwrap();
        assert_eq!(classifier.shape(), &Shape { width: 16, height: 16, hidden, classes: 10 });
        assert_eq!(classifier.shape().scratch_lines() * 64, scratch);
        assert_eq!(classifier.panel(), Panel::R1);
    }
}
