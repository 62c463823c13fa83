//! What `pack` measures before it rounds to four bits.

use pipsqueak::{
    Config, Image, TensorKind,
    kernels::{Format, Panel, Scalar, select},
};
use pipsqueak_cli::pack::{measure, own_text};
use pipsqueak_tests::{
    engine::TinyFile,
    small_vocab,
    tiny_model::{TinyModel, tiny_config},
};

fn file() -> TinyFile {
    let mut file = TinyFile::new(TinyModel::random(Config { seq_len: 128, ..tiny_config() }, 5));
    file.vocab = Some(small_vocab::sentencepiece());
    file
}

#[test]
fn a_model_writes_the_same_text_everywhere() {
    let packed = file().pack(Format::Q8, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let expected = own_text(&image, &Scalar, 1, |_, _| {}).unwrap();
    assert_eq!(expected.len(), 16 * 64);
    // Pieces differ, and every one begins with BOS.
    let bos = image.vocab().unwrap().bos().unwrap();
    assert!(expected.chunks(64).all(|piece| piece[0] == bos));
    assert!(expected.chunks(64).skip(1).all(|piece| piece != &expected[..64]));
    for kernels in select::all() {
        for threads in [1, 2] {
            let text = own_text(&image, kernels, threads, |_, _| {}).unwrap();
            assert_eq!(text, expected, "{} with {threads} threads", kernels.name());
        }
    }
}

#[test]
fn importance_is_the_mean_square_of_what_flows_in() {
    let file = file();
    let packed = file.pack(Format::F32, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let ids: Vec<u32> = (0..90).map(|i| i * 7 % image.config().vocab_size).collect();
    // Windows of 30 tokens are pieces of their own.
    let importance = measure(&image, &Scalar, 1, &ids, 30, |_| {}).unwrap();

    // The first layer's input: the embedding, normalised, computed here anew.
    let source = file.source();
    let dim = image.config().dim as usize;
    let find = |kind| source.tensors.iter().find(|tensor| tensor.kind == kind && tensor.layer == 0).unwrap();
    let (embedding, norm) = (find(TensorKind::TokenEmbedding), find(TensorKind::RmsAtt));
    let (mut x, mut weight) = (vec![0.0; dim], vec![0.0; dim]);
    norm.dequantize_row(0, &mut weight);
    let mut expected = vec![0.0f64; dim];
    for id in &ids {
        embedding.dequantize_row(*id as usize, &mut x);
        let mean = x.iter().map(|x| f64::from(x * x)).sum::<f64>() / dim as f64;
        let r = 1.0 / (mean + f64::from(image.config().norm_eps)).sqrt();
        for ((sum, x), weight) in expected.iter_mut().zip(&x).zip(&weight) {
            *sum += (f64::from(*x) * r * f64::from(*weight)).powi(2);
        }
    }
    let mean = expected.iter().sum::<f64>() / dim as f64;
    let got = importance.get(TensorKind::Wq, 0).unwrap();
    assert_eq!(got.len(), dim);
    for (got, expected) in got.iter().zip(&expected) {
        assert!((f64::from(*got) - expected / mean).abs() < 1e-4, "{got} {}", expected / mean);
    }
    // Every matrix was seen, with its own number of columns.
    for entry in image.entries().filter(|entry| !entry.kind.is_vector()) {
        let seen = importance.get(entry.kind, entry.layer);
        assert_eq!(seen.map(<[f32]>::len), Some(entry.cols as usize), "{}", entry.kind.name());
    }
}
