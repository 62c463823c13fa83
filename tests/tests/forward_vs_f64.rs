//! The engine's logits against the reference forward pass in `f64`: the distance is what the number formats explain.

use pipsqueak::{
    Config, Image, KvType, PlanOptions,
    config::{Activation, RopePairs},
    kernels::{Format, Panel, select},
};
use pipsqueak_cli::{
    import::{self, ImportError},
    pack::Quant,
    pool::with_team,
    source::{Encoding, RopeScaling, Source},
    vocab,
};
use pipsqueak_tests::{
    data,
    engine::{TinyFile, logits, packed, some_ids},
    gguf_writer::Value,
    reference::{Reference, argmax},
    tiny_model::{self, TinyModel, tiny_config},
};

/// A shape with its RoPE.
struct Case {
    name: &'static str,
    config: Config,
    scaling: RopeScaling,
}

fn case(name: &'static str, scaling: RopeScaling, config: Config) -> Case {
    let att_scale = (1.0 / f64::from(config.head_dim).sqrt()) as f32;
    Case { name, scaling, config: Config { att_scale, ..config } }
}

/// Every query ratio, head size, pairing, stretching, function and head, each in some shape that suits nobody.
fn cases() -> Vec<Case> {
    let base = tiny_config();
    let llama3 =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64.0 };
    vec![
        case("plain", RopeScaling::None, base),
        case(
            "one head each, heads of 8, hidden 172",
            RopeScaling::Linear { factor: 4.0 },
            Config {
                n_heads: 8,
                n_kv_heads: 8,
                head_dim: 8,
                rope_dim: 8,
                hidden_dim: 172,
                vocab_size: 301,
                tied_head: false,
                rope_pairs: RopePairs::HalfSplit,
                activation: Activation::Gelu,
                ..base
            },
        ),
        case(
            "one key head for all, heads of 24, wider than dim",
            llama3,
            Config {
                dim: 72,
                n_heads: 6,
                n_kv_heads: 1,
                head_dim: 24,
                rope_dim: 24,
                hidden_dim: 100,
                vocab_size: 97,
                n_layers: 3,
                activation: Activation::Relu,
                ..base
            },
        ),
        case(
            "heads of 64, half rotated",
            RopeScaling::Factors,
            Config {
                dim: 96,
                n_heads: 4,
                n_kv_heads: 2,
                head_dim: 64,
                rope_dim: 32,
                hidden_dim: 33,
                vocab_size: 259,
                tied_head: false,
                rope_pairs: RopePairs::HalfSplit,
                ..base
            },
        ),
        case(
            "three key heads of 8: the last group of the int8 cache is not full",
            llama3,
            Config {
                dim: 40,
                n_heads: 15,
                n_kv_heads: 5,
                head_dim: 8,
                rope_dim: 8,
                hidden_dim: 31,
                vocab_size: 5,
                n_layers: 1,
                rope_pairs: RopePairs::HalfSplit,
                ..base
            },
        ),
        case("no RoPE", RopeScaling::None, Config { rope_pairs: RopePairs::None, ..base }),
    ]
    .into_iter()
    .chain(architectures())
    .collect()
}

/// Every other architecture, in Llama's small shape and in one that suits nobody. The windows are shorter than the text, and
/// no multiple of a chunk of attention.
fn architectures() -> impl Iterator<Item = Case> {
    let odd = Config {
        dim: 72,
        n_heads: 6,
        n_kv_heads: 3,
        head_dim: 24,
        rope_dim: 24,
        hidden_dim: 100,
        vocab_size: 97,
        tied_head: false,
        seq_len: 135,
        ..tiny_config()
    };
    let small = Config { seq_len: 200, ..tiny_config() };
    let stretched = RopeScaling::Linear { factor: 8.0 };
    let shapes = [(small, 70, RopeScaling::None), (odd, 9, stretched)];
    shapes.into_iter().flat_map(|(base, window, scaling)| {
        tiny_model::architectures(base, window).map(|(name, config)| case(name, scaling, config))
    })
}

/// The root mean square of the difference over the reference's spread.
fn distance(reference: &[f64], ours: &[f32]) -> f64 {
    assert_eq!(reference.len(), ours.len());
    let n = ours.len() as f64;
    let mean = reference.iter().sum::<f64>() / n;
    let spread = reference.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let error = reference.iter().zip(ours).map(|(x, y)| (x - f64::from(*y)).powi(2)).sum::<f64>();
    (error / spread).sqrt()
}

/// What rounding explains, as measured, times about two.
fn bound(format: Format, kv: KvType) -> f64 {
    // int8 activations: half a step of 1/127 of a block's largest value, some of it averaged away.
    let activations: f64 = if format.is_quantised() { 3e-2 } else { 1e-6 };
    // Half precision: 2^-12. int8 keys, queries and values.
    let cache: f64 = match kv {
        KvType::F32 => 0.0,
        KvType::F16 => 5e-4,
        KvType::I8 => 1.5e-2,
    };
    activations.max(cache)
}

#[test]
fn tiny_models() {
    let mut worst = [[0f64; 3]; 6];
    for (seed, case) in cases().into_iter().enumerate() {
        let mut file = TinyFile::new(TinyModel::random(case.config, seed as u64 + 1));
        file.rope_scaling = case.scaling;
        if case.scaling == RopeScaling::Factors {
            file.rope_factors = (0..case.config.rope_dim / 2).map(|i| 1.0 + i as f32 * 0.75).collect();
        }
        // Beyond two chunks of attention.
        let ids = some_ids(135, case.config.vocab_size, 7);
        for format in Format::ALL {
            let packed = file.pack(format, Panel::R1);
            let image = Image::open(packed.bytes()).unwrap();
            let rounded = file.rounded(&image);
            let reference = Reference::new(&rounded.source()).logits(&ids);
            for kv in KvType::ALL {
                let options = PlanOptions { context: 135, kv, batch: 16, logits: 16, threads: 1 };
                let ours = with_team(1, |team| logits(&image, select::best(), team, options, &ids));
                let distance = distance(&reference, &ours);
                let worst = &mut worst[format as usize][kv as usize];
                *worst = worst.max(distance);
                let (format, bound) = (format.name(), bound(format, kv));
                assert!(distance < bound, "{}, {format}, {} cache: {distance:.2e}", case.name, kv.name());
            }
        }
    }
    println!("largest distances, by format: f32, f16, i8 cache");
    for (format, worst) in Format::ALL.into_iter().zip(worst) {
        println!("  {:<5} {:.1e} {:.1e} {:.1e}", format.name(), worst[0], worst[1], worst[2]);
    }
}

/// The same architectures read from files as converters write them.
#[test]
fn files_of_every_architecture() {
    for (seed, case) in architectures().enumerate() {
        let model = TinyModel::random(case.config, seed as u64 + 1);
        let mut writer = model.gguf(Encoding::F32);
        let prefix = case.config.arch.name();
        writer.set(&format!("{prefix}.rope.freq_base"), Value::F32(50_000.0));
        writer.set(&format!("{prefix}.rope.freq_base_swa"), Value::F32(700.0));
        if let RopeScaling::Linear { factor } = case.scaling {
            writer.set(&format!("{prefix}.rope.scaling.type"), "linear");
            writer.set(&format!("{prefix}.rope.scaling.factor"), Value::F32(factor as f32));
        }
        let bytes = writer.bytes();
        let source = import::open(&bytes, None).unwrap();
        assert_eq!(source.config, case.config, "{}", case.name);
        let mut file = TinyFile::new(model);
        (file.rope_base, file.rope_base_local, file.rope_scaling) = (50_000.0, 700.0, case.scaling);
        let ids = some_ids(135, case.config.vocab_size, 7);
        let reference = Reference::new(&file.source()).logits(&ids);
        let packed = packed(&source, Quant::Keep, Panel::R1);
        let image = Image::open(packed.bytes()).unwrap();
        let options = PlanOptions { context: 135, kv: KvType::F32, batch: 16, logits: 16, threads: 1 };
        let ours = with_team(1, |team| logits(&image, select::best(), team, options, &ids));
        let distance = distance(&reference, &ours);
        assert!(distance < 1e-6, "{}: {distance:.2e}", case.name);
    }
}

/// The Kullback-Leibler divergence of our distribution from the reference's, in nats.
fn divergence(reference: &[f64], ours: &[f32]) -> f64 {
    let ours: Vec<f64> = ours.iter().copied().map(f64::from).collect();
    let log_sum = |x: &[f64]| {
        let max = x.iter().fold(f64::NEG_INFINITY, |max, x| max.max(*x));
        max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
    };
    let (p, q) = (log_sum(reference), log_sum(&ours));
    reference.iter().zip(&ours).map(|(x, y)| (x - p).exp() * ((x - p) - (y - q))).sum()
}

/// Mean divergence over all positions of a text's first 128 tokens, and at how many of them the likeliest token agrees.
fn compare(source: &Source<'_>, kv: KvType, text: &str) -> (f64, usize) {
    let section = vocab::build(source.vocab.as_ref().unwrap()).unwrap();
    let tables = pipsqueak::Vocab::new(&section).unwrap();
    let options = pipsqueak::tokenizer::EncodeOptions { add_bos: tables.add_bos(), parse_special: false };
    let mut ids = vocab::encode(&tables, text, options).unwrap();
    ids.truncate(128);
    assert_eq!(ids.len(), 128);
    let reference = Reference::new(source).logits(&ids);
    let kernels = select::best();
    let panel = kernels.panel(Format::Q4M);
    let packed = packed(source, Quant::Keep, panel);
    let image = Image::open(packed.bytes()).unwrap();
    let options = PlanOptions { context: 128, kv, batch: 64, logits: 64, threads: 2 };
    let ours = with_team(2, |team| logits(&image, kernels, team, options, &ids));
    let vocab = source.config.vocab_size as usize;
    let rows = || reference.chunks_exact(vocab).zip(ours.chunks_exact(vocab));
    let divergence = rows().map(|(x, y)| divergence(x, y)).sum::<f64>() / ids.len() as f64;
    let agree = rows().filter(|(x, y)| argmax(x) == pipsqueak::sampler::greedy(y)).count();
    (divergence, agree)
}

#[test]
fn stories260k_is_the_reference() {
    let files = ["stories260K.bin", "tok512.bin", "tinystories.txt"].map(data::shared);
    let [Some(bytes), Some(tokenizer), Some(text)] = files else { return };
    let source = import::open(&bytes, Some(&tokenizer)).unwrap();
    let (divergence, agree) = compare(&source, KvType::F32, std::str::from_utf8(&text).unwrap());
    println!("stories260K, f32: mean divergence {divergence:.2e} nats, {agree} of 128 likeliest tokens agree");
    assert!(divergence < 1e-9, "{divergence:.2e}");
    assert_eq!(agree, 128);
}

#[test]
fn gemma3_stays_close() {
    let (Some(bytes), Some(text)) = (data::gemma3(), data::shared("tinystories.txt")) else { return };
    let source = match import::open(&bytes, None) {
        Err(error @ ImportError::TensorType { .. }) => return println!("skipped: {error}"),
        source => source.unwrap(),
    };
    let (divergence, agree) = compare(&source, KvType::F16, std::str::from_utf8(&text).unwrap());
    println!("Gemma 3 270M, f16 cache: mean divergence {divergence:.2e} nats, {agree} of 128 likeliest tokens agree");
    assert!(divergence <= 3.0e-3, "{divergence:.2e}");
}

#[test]
fn smollm2_stays_close() {
    let (Some(bytes), Some(text)) = (data::smollm2(), data::shared("tinystories.txt")) else { return };
    let source = import::open(&bytes, None).unwrap();
    let (divergence, agree) = compare(&source, KvType::F16, std::str::from_utf8(&text).unwrap());
    println!("SmolLM2 Q4_1, f16 cache: mean divergence {divergence:.2e} nats, {agree} of 128 likeliest tokens agree");
    assert!(divergence <= 3.0e-3, "{divergence:.2e}");
}
