//! Real models, and the reference forward pass that the engine is compared with.

use pipsqueak::config::{Activation, Arch, Config, RopePairs};
use pipsqueak_cli::{
    import::{self, check_finite},
    source::{Encoding, RopeScaling, Source},
    vocab::{PreTokenizer, TokenKind, VocabModel},
};
use pipsqueak_tests::{
    data,
    reference::{Cache, Reference, argmax, rope_freqs},
    tiny_model::{TinyModel, tiny_config},
};

/// What the tokens say, as llama2.c prints it: nothing for names, and no space after BOS.
fn decode(source: &Source<'_>, ids: &[u32]) -> String {
    let vocab = source.vocab.as_ref().expect("a vocabulary");
    let tokens = ids.iter().map(|id| &vocab.tokens[*id as usize]).filter(|token| token.kind != TokenKind::Control);
    let bytes: Vec<u8> = tokens.flat_map(|token| token.bytes.clone()).collect();
    let text = String::from_utf8(bytes).expect("UTF-8");
    text.strip_prefix(' ').map_or(text.clone(), String::from)
}

#[test]
fn stories260k_fields() {
    let (Some(bytes), Some(tokenizer)) = (data::shared("stories260K.bin"), data::shared("tok512.bin")) else { return };
    let source = import::open(&bytes, Some(&tokenizer)).unwrap();
    let want = Config {
        dim: 64,
        hidden_dim: 172,
        n_layers: 5,
        n_heads: 8,
        n_kv_heads: 4,
        head_dim: 8,
        rope_dim: 8,
        vocab_size: 512,
        seq_len: 512,
        norm_eps: 1e-5,
        att_scale: (1.0 / 8f64.sqrt()) as f32,
        rope_pairs: RopePairs::Interleaved,
        activation: Activation::Silu,
        tied_head: true,
        arch: Arch::Llama,
    };
    assert_eq!(source.config, want);
    assert_eq!(source.tensors.len(), 2 + 5 * 9);
    source.tensors.iter().try_for_each(check_finite).unwrap();
    let vocab = source.vocab.as_ref().unwrap();
    assert_eq!(vocab.tokens.len(), 512);
    assert_eq!(vocab.tokens.iter().filter(|token| token.kind == TokenKind::Byte).count(), 256);
    assert_eq!(decode(&source, &[1, 403, 407, 261, 378]), "Once upon a time");
}

#[test]
fn stories260k_tells_its_story() {
    let files = ["stories260K.bin", "tok512.bin", "stories260K.txt"].map(data::shared);
    let [Some(bytes), Some(tokenizer), Some(story)] = files else { return };
    let source = import::open(&bytes, Some(&tokenizer)).unwrap();
    let mut ids = vec![1, 403, 407, 261, 378];
    // 200 steps after BOS, as llama2.c counts them: those of the prompt are among them.
    ids.extend(Reference::new(&source).greedy(&ids, 201 - ids.len()));
    assert_eq!(decode(&source, &ids) + "\n", String::from_utf8(story).unwrap());
}

#[test]
fn smollm2_fields() {
    let Some(bytes) = data::smollm2() else { return };
    let source = import::open(&bytes, None).unwrap();
    let want = Config {
        dim: 576,
        hidden_dim: 1536,
        n_layers: 30,
        n_heads: 9,
        n_kv_heads: 3,
        head_dim: 64,
        rope_dim: 64,
        vocab_size: 49152,
        seq_len: 8192,
        norm_eps: 1e-5,
        att_scale: 0.125,
        rope_pairs: RopePairs::Interleaved,
        activation: Activation::Silu,
        tied_head: true,
        arch: Arch::Llama,
    };
    assert_eq!(source.config, want);
    assert_eq!((source.rope_base, source.rope_scaling), (100000.0, RopeScaling::None));
    assert_eq!(source.licence, "apache-2.0");
    assert_eq!(source.origin, "HuggingFaceTB");
    assert!(source.chat_template.as_ref().unwrap().contains("<|im_start|>"));
    assert_eq!(source.tensors.len(), 2 + 30 * 9);
    source.tensors.iter().try_for_each(check_finite).unwrap();
    assert_eq!(source.tensors[0].encoding, Encoding::Q8_0);
    assert_eq!(source.tensors[3].encoding, Encoding::Q4_1);

    let vocab = source.vocab.unwrap();
    assert_eq!(vocab.model, VocabModel::Bpe(PreTokenizer::Smollm));
    assert_eq!((vocab.tokens.len(), vocab.merges.len()), (49152, 48900));
    assert_eq!((vocab.bos, vocab.eos, vocab.unknown, vocab.add_bos), (Some(1), Some(2), Some(0), false));
    assert_eq!(vocab.stops, [0, 2]);
    // Every merge spells its result.
    for [left, right, merged] in vocab.merges {
        let bytes = |id: u32| &vocab.tokens[id as usize].bytes;
        assert_eq!([&bytes(left)[..], bytes(right)].concat(), *bytes(merged));
    }
}

/// A plain question must be answered: a wrong pairing, scale or norm would not.
#[test]
fn smollm2_knows_the_capital_of_france() {
    let Some(bytes) = data::smollm2() else { return };
    let source = import::open(&bytes, None).unwrap();
    let vocab = source.vocab.as_ref().unwrap();
    let id = |text: &str| vocab.tokens.iter().position(|token| token.bytes == text.as_bytes()).unwrap() as u32;
    let ids = ["The", " capital", " of", " France", " is"].map(id);
    let logits = Reference::new(&source).logits(&ids);
    let last = &logits[4 * 49152..];
    assert_eq!(vocab.tokens[argmax(last) as usize].bytes, b" Paris");
}

/// All formats of one model give the same logits, nearly, however it is stored.
#[test]
fn formats_agree() {
    for tied_head in [true, false] {
        let model = TinyModel::random(Config { tied_head, ..tiny_config() }, 7);
        let ids = [1, 17, 255, 299, 0, 5, 5, 90, 3];
        let logits = |bytes: &[u8]| Reference::new(&import::open(bytes, None).unwrap()).logits(&ids);
        let want = logits(&model.gguf(Encoding::F32).bytes());
        assert_eq!(want.len(), ids.len() * 300);
        assert_eq!(logits(&model.llama2c_v0()), want);
        assert_eq!(logits(&model.llama2c_v1()), want);
        let size = want.iter().map(|x| x * x).sum::<f64>();
        for (bytes, tolerance) in [
            (model.gguf(Encoding::F16).bytes(), 0.002),
            (model.gguf(Encoding::BF16).bytes(), 0.02),
            (model.gguf(Encoding::Q8_0).bytes(), 0.02),
            (model.gguf(Encoding::Q4_0).bytes(), 0.3),
            (model.gguf(Encoding::Q4_1).bytes(), 0.3),
            (model.llama2c_v2(64), 0.02),
        ] {
            let error = logits(&bytes).iter().zip(&want).map(|(got, want)| (got - want).powi(2)).sum::<f64>();
            let relative = (error / size).sqrt();
            assert!(relative > 0.0 && relative < tolerance, "{relative} should be below {tolerance}");
        }
        // Blocks of 256 need a wider model.
        let config =
            Config { dim: 256, hidden_dim: 256, head_dim: 64, rope_dim: 64, att_scale: 0.125, ..tiny_config() };
        let model = TinyModel::random(Config { tied_head, ..config }, 7);
        let want = logits(&model.gguf(Encoding::F32).bytes());
        let size = want.iter().map(|x| x * x).sum::<f64>();
        for (encoding, tolerance) in [
            (Encoding::Q6K, 0.1),
            (Encoding::Q5K, 0.15),
            (Encoding::Q5_0, 0.15),
            (Encoding::Q5_1, 0.15),
            (Encoding::Q4K, 0.3),
            (Encoding::IQ4XS, 0.4),
            (Encoding::IQ4NL, 0.4),
            (Encoding::Q3K, 0.6),
            (Encoding::Q2K, 0.9),
        ] {
            let got = logits(&model.gguf(encoding).bytes());
            let error = got.iter().zip(&want).map(|(got, want)| (got - want).powi(2)).sum::<f64>();
            let relative = (error / size).sqrt();
            println!("{encoding:?}: {relative}");
            assert!(relative > 0.0 && relative < tolerance, "{encoding:?}: {relative} should be below {tolerance}");
        }
    }
}

/// One token at a time, all at once, or in parts: the same sums in the same order.
#[test]
fn the_cache_changes_nothing() {
    let model = TinyModel::random(tiny_config(), 9);
    let bytes = model.gguf(Encoding::F32).bytes();
    let reference = Reference::new(&import::open(&bytes, None).unwrap());
    let ids: Vec<u32> = (0..20).map(|i| i * 13 % 300).collect();
    let want = reference.logits(&ids);
    let mut cache = Cache::default();
    for (t, id) in ids.iter().enumerate() {
        assert_eq!(reference.next_logits(&mut cache, &[*id]), want[t * 300..][..300]);
    }
    let mut cache = Cache::default();
    reference.next_logits(&mut cache, &ids[..11]);
    assert_eq!(reference.next_logits(&mut cache, &ids[11..]), want[19 * 300..]);
}

/// Rotating `2i, 2i + 1` of rows in one order is rotating `i, i + half` of the same rows in the other order.
#[test]
fn both_pairings_agree_when_rows_are_permuted() {
    use pipsqueak::tensor::TensorKind;
    let mut model = TinyModel::random(tiny_config(), 11);
    let ids = [4, 8, 15, 16, 23, 42];
    let interleaved = model.gguf(Encoding::F32).bytes();
    let want = Reference::new(&import::open(&interleaved, None).unwrap()).logits(&ids);
    let (head_dim, half) = (16, 8);
    for tensor in &mut model.tensors {
        if !matches!(tensor.kind, TensorKind::Wq | TensorKind::Wk) {
            continue;
        }
        let row = |r: usize| &tensor.values[r * tensor.cols..][..tensor.cols];
        let from = |r: usize| {
            let (head, i) = (r / head_dim * head_dim, r % head_dim);
            head + if i < half { 2 * i } else { 2 * (i - half) + 1 }
        };
        tensor.values = (0..tensor.rows).flat_map(|r| row(from(r)).to_vec()).collect();
    }
    let bytes = model.gguf(Encoding::F32).bytes();
    let mut source = import::open(&bytes, None).unwrap();
    source.config.rope_pairs = RopePairs::HalfSplit;
    let got = Reference::new(&source).logits(&ids);
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 1e-12 * want.abs().max(1.0), "{got} {want}");
    }
    source.config.rope_pairs = RopePairs::Interleaved;
    assert_ne!(Reference::new(&source).logits(&ids), got);
}

#[test]
fn rope_frequencies() {
    let bytes = TinyModel::random(Config { head_dim: 8, rope_dim: 8, ..tiny_config() }, 1).gguf(Encoding::F32).bytes();
    let mut source = import::open(&bytes, None).unwrap();
    let close = |got: Vec<f64>, want: [f64; 4]| {
        assert!(got.iter().zip(want).all(|(got, want)| (got / want - 1.0).abs() < 1e-12), "{got:?} {want:?}");
    };
    close(rope_freqs(&source), [1.0, 0.1, 0.01, 0.001]);
    source.rope_scaling = RopeScaling::Linear { factor: 4.0 };
    close(rope_freqs(&source), [0.25, 0.025, 0.0025, 0.00025]);
    (source.rope_scaling, source.rope_factors) = (RopeScaling::Factors, vec![1.0, 2.0, 4.0, 8.0]);
    close(rope_freqs(&source), [1.0, 0.05, 0.0025, 0.000125]);
    // Wavelengths 6.3, 63, 628, 6283; kept below 250, divided above 1000, mixed between.
    source.rope_scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 1000.0 };
    let smooth = (1000.0 * 0.01 / std::f64::consts::TAU - 1.0) / 3.0;
    close(rope_freqs(&source), [1.0, 0.1, 0.01 * ((1.0 - smooth) / 8.0 + smooth), 0.001 / 8.0]);
}
