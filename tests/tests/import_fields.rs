//! Importers, field by field, on small files made for it.

use pipsqueak::{
    config::{Activation, Arch, Config, RopePairs},
    tensor::TensorKind,
};
use pipsqueak_cli::{
    import::{self, ImportError, gguf},
    source::{Encoding, RopeScaling, Source},
    vocab::{PreTokenizer, TokenKind, VocabModel, VocabSource},
};
use pipsqueak_tests::{
    gguf_writer::{GgufWriter, Value},
    llama2c_writer::tokenizer_bin,
    tiny_model::{self, TinyModel, encode, tiny_config},
};

const GGUF_ENCODINGS: [Encoding; 15] = [
    Encoding::F32,
    Encoding::F16,
    Encoding::BF16,
    Encoding::Q8_0,
    Encoding::Q4_0,
    Encoding::Q4_1,
    Encoding::Q5_0,
    Encoding::Q5_1,
    Encoding::IQ4NL,
    Encoding::IQ4XS,
    Encoding::Q2K,
    Encoding::Q3K,
    Encoding::Q4K,
    Encoding::Q5K,
    Encoding::Q6K,
];

fn tiny() -> TinyModel {
    TinyModel::random(tiny_config(), 1)
}

fn open(bytes: &[u8]) -> Result<Source<'_>, ImportError> {
    import::open(bytes, None)
}

/// Every tensor there in order, with its own bytes, and rows that come out as values.
fn assert_tensors(source: &Source<'_>, model: &TinyModel, matrix_encoding: Encoding) {
    assert_eq!(source.tensors.len(), model.tensors.len());
    for (got, want) in source.tensors.iter().zip(&model.tensors) {
        assert_eq!((got.kind, got.layer, got.rows, got.cols), (want.kind, want.layer, want.rows, want.cols));
        let encoding = if want.rows == 1 { Encoding::F32 } else { matrix_encoding };
        assert_eq!(got.encoding, encoding, "{}", got.label());
        assert!(got.data == encode(&want.values, encoding), "{}", got.label());
        import::check_finite(got).unwrap();
        let largest = want.values.iter().fold(0f32, |max, x| max.max(x.abs()));
        let tolerance = match encoding {
            Encoding::F32 => 0.0,
            Encoding::F16 => largest / 1024.0,
            Encoding::BF16 | Encoding::Q8_0 | Encoding::Llama2cQ80 { .. } => largest / 120.0,
            Encoding::Q6K => largest / 50.0,
            Encoding::Q5_0 | Encoding::Q5_1 | Encoding::Q5K => largest / 25.0,
            Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q4K => largest / 10.0,
            Encoding::Q3K | Encoding::IQ4NL | Encoding::IQ4XS => largest / 5.0,
            Encoding::Q2K => largest / 2.0,
        };
        let mut out = vec![0.0; got.cols];
        for (row, want) in want.values.chunks(got.cols).enumerate() {
            got.dequantize_row(row, &mut out);
            for (got, want) in out.iter().zip(want) {
                assert!((got - want).abs() <= tolerance, "{encoding:?}: {got} {want}");
            }
        }
    }
}

#[test]
fn an_unsupported_tokenizer_leaves_the_weights_usable() {
    let mut writer = tiny().gguf(Encoding::F32);
    writer.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "viking");
    let bytes = writer.bytes();
    let source = open(&bytes).unwrap();
    assert_eq!(source.vocab, None);
    assert!(source.vocab_left_out.unwrap().contains("viking"));
    let error = gguf::vocab_only(&bytes).unwrap_err().to_string();
    assert!(error.contains("viking"), "{error}");
}

#[test]
fn gguf_tensors_in_every_encoding() {
    for tied_head in [true, false] {
        for encoding in GGUF_ENCODINGS {
            let width = tiny_config().dim.max(encoding.block_len() as u32);
            let config = Config { dim: width, hidden_dim: 2 * width, head_dim: width / 4, ..tiny_config() };
            let att_scale = (1.0 / f64::from(config.head_dim).sqrt()) as f32;
            let config = Config { rope_dim: config.head_dim, att_scale, tied_head, ..config };
            let model = TinyModel::random(config, 2);
            let bytes = model.gguf(encoding).bytes();
            let source = open(&bytes).unwrap();
            assert_eq!(source.config, model.config);
            assert_tensors(&source, &model, encoding);
        }
    }
}

#[test]
fn gguf_order_and_alignment_do_not_matter() {
    let model = tiny();
    for alignment in [1, 8, 64, 4096] {
        for version in [2, 3] {
            let mut writer = model.gguf(Encoding::Q8_0);
            (writer.alignment, writer.version) = (alignment, version);
            writer.tensors.reverse();
            assert_tensors(&open(&writer.bytes()).unwrap(), &model, Encoding::Q8_0);
        }
    }
}

#[test]
fn gguf_fields() {
    let mut writer = tiny().gguf(Encoding::F32);
    writer
        .set("general.name", "a name")
        .set("general.license", "mit")
        .set("general.organization", "somebody")
        .set("general.source.url", "somewhere")
        .set("tokenizer.chat_template", "{{ x }}")
        .set("llama.rope.freq_base", Value::F32(500000.0))
        .set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-6));
    let bytes = writer.bytes();
    let source = open(&bytes).unwrap();
    assert_eq!(source.name, "a name");
    assert_eq!(source.licence, "mit");
    assert_eq!(source.origin, "somebody, somewhere");
    assert_eq!(source.chat_template.as_deref(), Some("{{ x }}"));
    assert_eq!(source.rope_base, 500000.0);
    assert_eq!(source.rope_scaling, RopeScaling::None);
    assert!(source.rope_factors.is_empty());
    assert!(source.vocab.is_none());
    let config = source.config;
    assert_eq!(config, Config { norm_eps: 1e-6, ..tiny_config() });
    assert_eq!((config.rope_pairs, config.activation), (RopePairs::Interleaved, Activation::Silu));
}

/// What a changed writer gives.
fn with(
    change: impl FnOnce(&mut GgufWriter) -> &mut GgufWriter,
) -> Result<(Config, f64, RopeScaling, Vec<f32>), ImportError> {
    let mut writer = tiny().gguf(Encoding::F32);
    change(&mut writer);
    let bytes = writer.bytes();
    let source = open(&bytes)?;
    Ok((source.config, source.rope_base, source.rope_scaling, source.rope_factors))
}

#[test]
fn gguf_defaults() {
    let (config, base, scaling, _) =
        with(|w| w.unset("llama.rope.dimension_count").set("llama.attention.head_count_kv", Value::U32s(vec![2, 2])))
            .unwrap();
    assert_eq!(config, tiny_config());
    assert_eq!((base, scaling), (10000.0, RopeScaling::None));

    // Without head_count_kv there are as many as query heads.
    let model = TinyModel::random(Config { n_kv_heads: 4, ..tiny_config() }, 1);
    let mut writer = model.gguf(Encoding::F32);
    writer.unset("llama.attention.head_count_kv");
    assert_eq!(open(&writer.bytes()).unwrap().config, model.config);

    // Heads wider than dim / n_heads, rotated in part, and integers of other widths.
    let model =
        TinyModel::random(Config { head_dim: 32, rope_dim: 16, att_scale: 1.0 / 32f32.sqrt(), ..tiny_config() }, 1);
    let mut writer = model.gguf(Encoding::F32);
    writer.set("llama.attention.value_length", Value::U64(32)).set("llama.block_count", Value::I32(2));
    assert_eq!(open(&writer.bytes()).unwrap().config, model.config);

    // A sliding window shortens the context, and only shortens it.
    for (window, seq_len) in [(0, 128), (100, 100), (128, 128), (4096, 128)] {
        let (config, ..) = with(|w| w.set("llama.attention.sliding_window", Value::U32(window))).unwrap();
        assert_eq!(config.seq_len, seq_len);
    }
}

#[test]
fn gguf_architectures() {
    for (name, config) in tiny_model::architectures(tiny_config(), 20) {
        let mut writer = TinyModel::random(config, 1).gguf(Encoding::Q8_0);
        let source = open(&writer.bytes()).map(|source| (source.config, source.rope_base, source.rope_base_local));
        assert_eq!(source, Ok((config, 10_000.0, 10_000.0)), "{name}");
        writer.set(&format!("{name}.rope.freq_base"), Value::F32(1e6));
        writer.set(&format!("{name}.rope.freq_base_swa"), Value::F32(5e3));
        let bytes = writer.bytes();
        let source = open(&bytes).unwrap();
        assert_eq!((source.rope_base, source.rope_base_local), (1e6, 5e3), "{name}");
        assert_eq!(source.tensors.len(), config.tensors().count());
        // Each where it belongs, of one tensor in the file or of three.
        for (tensor, want) in source.tensors.iter().zip(TinyModel::random(config, 1).tensors) {
            assert_eq!((tensor.kind, tensor.layer), (want.kind, want.layer));
            let mut row = vec![0.0; tensor.cols];
            for (r, want) in want.values.chunks(tensor.cols).enumerate() {
                tensor.dequantize_row(r, &mut row);
                let close = row.iter().zip(want).all(|(got, want)| (got - want).abs() < 0.02);
                assert!(close, "{name}, {} of layer {}, row {r}: {row:?}, not {want:?}", want.len(), tensor.layer);
            }
        }
        // One tensor less of any kind, or in another shape, is found out.
        for at in 0..writer.tensors.len() {
            let mut less = writer.clone();
            let gone = less.tensors.remove(at);
            // Without a head it is tied.
            assert!(open(&less.bytes()).is_err(), "{name} without {}", gone.name);
            let mut other = writer.clone();
            other.tensors[at].dims[0] += 32;
            assert!(open(&other.bytes()).is_err(), "{name} with another {}", gone.name);
        }
    }
}

#[test]
fn gguf_windows() {
    let [_, _, (_, config), _] = tiny_model::architectures(Config { n_layers: 6, ..tiny_config() }, 20);
    let model = TinyModel::random(Config { n_layers: 6, ..config }, 1);
    let arch = |change: &dyn Fn(&mut GgufWriter) -> &mut GgufWriter| {
        let mut writer = model.gguf(Encoding::F32);
        change(&mut writer);
        open(&writer.bytes()).map(|source| source.config.arch)
    };
    let gemma3 = |window, global_every| Ok(Arch::Gemma3 { window, global_every });
    let (window, pattern) = ("gemma3.attention.sliding_window", "gemma3.attention.sliding_window_pattern");
    assert_eq!(arch(&|w| w), gemma3(20, 3));
    assert_eq!(arch(&|w| w.unset(pattern)), gemma3(20, 6));
    assert_eq!(arch(&|w| w.unset(window)), gemma3(0, 3));
    assert_eq!(arch(&|w| w.set(window, Value::U32(512)).set(pattern, Value::U32(0))), gemma3(512, 0));
    // A flag a layer: type 7.
    let flags = |flags: &[u8]| {
        let array = [&7u32.to_le_bytes()[..], &(flags.len() as u64).to_le_bytes(), flags].concat();
        arch(&|w| w.set(pattern, Value::Raw(9, array.clone())))
    };
    assert_eq!(flags(&[1, 1, 0, 1, 1, 0]), gemma3(20, 3));
    assert_eq!(flags(&[1, 1, 1, 1, 0, 1]), gemma3(20, 5));
    assert_eq!(flags(&[0, 0, 0, 0, 0, 0]), gemma3(20, 1));
    assert_eq!(flags(&[1, 1, 1, 1, 1, 1]), gemma3(20, 0));
    for irregular in [&[1, 0, 0, 1, 0, 0][..], &[1, 0, 1, 0, 1, 1], &[1, 1, 0], &[]] {
        let error = flags(irregular).unwrap_err().to_string();
        assert!(error.contains("sliding_window_pattern without a period"), "{error}");
    }
    assert!(matches!(flags(&[1, 1, 2, 1, 1, 2]), Err(ImportError::WrongType { .. })));
    assert!(matches!(arch(&|w| w.set(pattern, "six")), Err(ImportError::WrongType { .. })));
    // Gemma 3's context is not shortened by its window, and its largest scales queries otherwise.
    let mut writer = model.gguf(Encoding::F32);
    writer.set(window, Value::U32(20));
    assert_eq!(open(&writer.bytes()).unwrap().config, model.config);
    let largest = TinyModel::random(Config { n_layers: 62, n_heads: 2, n_kv_heads: 2, ..config }, 1);
    let found = open(&largest.gguf(Encoding::F32).bytes()).map(|source| source.config.att_scale);
    assert_eq!(found, Ok(1.0 / 32f32.sqrt()));
}

#[test]
fn gguf_rope_scaling() {
    let scaling = |kind: Option<&str>, key: &str, factor: f32| {
        with(|w| {
            w.set(key, Value::F32(factor));
            if let Some(kind) = kind {
                w.set("llama.rope.scaling.type", kind);
            }
            w
        })
        .map(|(_, _, scaling, _)| scaling)
    };
    let key = "llama.rope.scaling.factor";
    assert_eq!(scaling(Some("linear"), key, 4.0), Ok(RopeScaling::Linear { factor: 4.0 }));
    assert_eq!(scaling(None, key, 4.0), Ok(RopeScaling::Linear { factor: 4.0 }));
    assert_eq!(scaling(None, "llama.rope.scale_linear", 2.0), Ok(RopeScaling::Linear { factor: 2.0 }));
    assert_eq!(scaling(Some("none"), key, 4.0), Ok(RopeScaling::None));
    assert_eq!(scaling(Some("linear"), key, 1.0), Ok(RopeScaling::None));
    for factor in [f32::NAN, f32::INFINITY, -1.0] {
        assert!(matches!(scaling(None, key, factor), Err(ImportError::BadValue { .. })));
    }
    for kind in ["yarn", "longrope"] {
        assert!(
            matches!(scaling(Some(kind), key, 4.0), Err(ImportError::Unsupported { what, .. }) if what.contains(kind))
        );
    }

    let factors = |values: &[f32]| {
        with(|w| w.tensor("rope_freqs.weight", &[values.len() as u64], 0, encode(values, Encoding::F32)))
    };
    let values = [1.0, 1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0];
    let (_, _, scaling, found) = factors(&values).unwrap();
    assert_eq!((scaling, found.as_slice()), (RopeScaling::Factors, values.as_slice()));
    assert!(matches!(factors(&values[1..]), Err(ImportError::Shape { .. })));
    // Two ways to stretch at once.
    let both = with(|w| {
        w.tensor("rope_freqs.weight", &[8], 0, encode(&values, Encoding::F32));
        w.set("llama.rope.scaling.factor", Value::F32(2.0))
    });
    assert!(matches!(both, Err(ImportError::Unsupported { .. })));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let values = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, bad];
        assert!(matches!(factors(&values), Err(ImportError::BadValue { .. })));
    }
}

#[test]
fn gguf_refusals_by_name() {
    // What the error says, and the change that provokes it.
    type Change = fn(&mut GgufWriter) -> &mut GgufWriter;
    let cases: [(&str, Change); 42] = [
        ("GGUF version 1 cannot be read", |w| {
            w.version = 1;
            w
        }),
        ("GGUF version 4 cannot be read", |w| {
            w.version = 4;
            w
        }),
        ("big-endian", |w| {
            w.version = 3u32.swap_bytes();
            w
        }),
        ("general.architecture is missing", |w| w.unset("general.architecture")),
        ("\"mamba\" is not supported; llama (", |w| w.set("general.architecture", "mamba")),
        ("general.architecture is of type u32", |w| w.set("general.architecture", Value::U32(1))),
        ("llama.block_count is missing", |w| w.unset("llama.block_count")),
        ("layer_norm_rms_epsilon is missing", |w| w.unset("llama.attention.layer_norm_rms_epsilon")),
        ("llama.block_count is of type f32", |w| w.set("llama.block_count", Value::F32(2.0))),
        ("llama.block_count is -2", |w| w.set("llama.block_count", Value::I32(-2))),
        ("layers is 0", |w| w.set("llama.block_count", Value::U32(0))),
        ("layers is 5000", |w| w.set("llama.block_count", Value::U32(5000))),
        ("blk.2.attn_norm.weight\" is missing", |w| w.set("llama.block_count", Value::U32(3))),
        ("blk.1.attn_norm.weight\" is not part", |w| w.set("llama.block_count", Value::U32(1))),
        ("embedding_length is 64; it must be a multiple", |w| w.set("llama.attention.head_count", Value::U32(0))),
        ("must be a multiple of the 5 heads", |w| w.set("llama.attention.head_count", Value::U32(5))),
        ("a divisor of the number of heads, 4", |w| w.set("llama.attention.head_count_kv", Value::U32(3))),
        ("key/value heads is 0", |w| w.set("llama.attention.head_count_kv", Value::U32(0))),
        ("differs between layers (2 and 1)", |w| w.set("llama.attention.head_count_kv", Value::U32s(vec![2, 1]))),
        ("an empty array", |w| w.set("llama.attention.head_count_kv", Value::U32s(vec![]))),
        ("array of integers is needed", |w| w.set("llama.attention.head_count_kv", Value::F32s(vec![2.0]))),
        ("the size of a head is 15", |w| w.set("llama.attention.key_length", Value::U32(15))),
        ("value_length is 8; it must be the head size, 16", |w| w.set("llama.attention.value_length", Value::U32(8))),
        ("rotated dimensions is 3", |w| w.set("llama.rope.dimension_count", Value::U32(3))),
        ("rotated dimensions is 18", |w| w.set("llama.rope.dimension_count", Value::U32(18))),
        ("rope.freq_base is 0", |w| w.set("llama.rope.freq_base", Value::F32(0.0))),
        ("epsilon is NaN", |w| w.set("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN))),
        ("a mixture of 8 experts", |w| w.set("llama.expert_count", Value::U32(8))),
        ("split into 2 files", |w| w.set("split.count", Value::U32(2))),
        ("llama.logit_scale = 2", |w| w.set("llama.logit_scale", Value::F32(2.0))),
        ("not causal", |w| w.set("llama.attention.causal", Value::Bool(false))),
        ("\"blk.0.attn_q.bias\" is not part", |w| w.tensor("blk.0.attn_q.bias", &[64], 0, vec![0; 256])),
        ("\"mm.0.weight\" is not part", |w| w.tensor("mm.0.weight", &[64], 0, vec![0; 256])),
        ("is IQ2_XS, which cannot be read; F32,", |w| {
            w.tensor_mut("blk.1.attn_k.weight").type_code = 17;
            w
        }),
        ("has 64 columns; its encoding needs a multiple of 256", |w| {
            w.tensor_mut("blk.1.attn_k.weight").type_code = 12;
            w
        }),
        ("type 77", |w| {
            w.tensor_mut("blk.1.attn_k.weight").type_code = 77;
            w
        }),
        ("shape [64, 32]; [32, 64] is needed", |w| {
            w.tensor_mut("blk.1.attn_k.weight").dims = vec![32, 64];
            w
        }),
        ("shape [2, 16, 64]", |w| {
            w.tensor_mut("blk.1.attn_k.weight").dims = vec![64, 16, 2];
            w
        }),
        ("not a multiple of 32", |w| {
            w.tensor_mut("blk.1.attn_k.weight").offset = Some(33);
            w
        }),
        ("bytes at offset", |w| {
            w.tensor_mut("blk.1.attn_k.weight").offset = Some(1 << 40);
            w
        }),
        ("\"output_norm.weight\" is missing", |w| {
            w.tensors.retain(|t| t.name != "output_norm.weight");
            w
        }),
        ("\"token_embd.weight\" is missing", |w| {
            w.tensors.retain(|t| t.name != "token_embd.weight");
            w
        }),
    ];
    for (message, change) in cases {
        let error = with(change).expect_err(message).to_string();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn gguf_duplicates_and_odd_sizes() {
    let mut writer = tiny().gguf(Encoding::F32);
    writer.metadata.push(("general.name".into(), "again".into()));
    assert!(matches!(open(&writer.bytes()), Err(ImportError::Duplicate { what: "metadata key", .. })));
    let mut writer = tiny().gguf(Encoding::F32);
    writer.tensors.push(writer.tensors[3].clone());
    assert!(matches!(open(&writer.bytes()), Err(ImportError::Duplicate { what: "tensor", .. })));
    let mut writer = tiny().gguf(Encoding::F32);
    writer.alignment = 24;
    assert!(matches!(open(&writer.bytes()), Err(ImportError::BadValue { what, .. }) if what == "general.alignment"));
    // Columns that do not fill a block.
    let model = TinyModel::random(Config { hidden_dim: 80, ..tiny_config() }, 1);
    assert!(open(&model.gguf(Encoding::F32).bytes()).is_ok());
    let error = open(&model.gguf(Encoding::Q8_0).bytes()).unwrap_err();
    assert_eq!(error, ImportError::Columns { tensor: "blk.0.ffn_down.weight".into(), cols: 80, block: 32 });
}

/// A small byte-level vocabulary: 256 letters, two merges, three names.
fn bpe(writer: &mut GgufWriter) -> &mut GgufWriter {
    let mut tokens: Vec<String> =
        ["a", "b", "Ġ", "ab", "Ġab", "<|im_start|>", "<|im_end|>", "<user>"].map(String::from).into();
    tokens.resize_with(300, || "x".into());
    for (i, token) in tokens.iter_mut().enumerate().skip(8) {
        *token = format!("x{i}");
    }
    let mut kinds = vec![1; 300];
    kinds[5..8].copy_from_slice(&[3, 3, 4]);
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "smollm")
        .set("tokenizer.ggml.tokens", Value::Strs(tokens))
        .set("tokenizer.ggml.token_type", Value::I32s(kinds))
        .set("tokenizer.ggml.merges", Value::Strs(["a b", "Ġ ab", "a q", "ab a", "none", ""].map(String::from).into()))
        .set("tokenizer.ggml.eos_token_id", Value::U32(7))
}

/// A small SentencePiece vocabulary.
fn sentence_piece(writer: &mut GgufWriter) -> &mut GgufWriter {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<0x0A>", "▁a", "b"].map(String::from).into();
    tokens.resize(300, "c".into());
    let mut kinds = vec![1; 300];
    kinds[..4].copy_from_slice(&[2, 3, 3, 6]);
    let mut scores = vec![0.0; 300];
    scores[4..6].copy_from_slice(&[-1.0, -2.5]);
    writer
        .set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", Value::Strs(tokens))
        .set("tokenizer.ggml.token_type", Value::I32s(kinds))
        .set("tokenizer.ggml.scores", Value::F32s(scores))
}

fn vocab(change: impl FnOnce(&mut GgufWriter) -> &mut GgufWriter) -> Result<VocabSource, ImportError> {
    let mut writer = GgufWriter::default();
    change(&mut writer);
    gguf::vocab_only(&writer.bytes())
}

#[test]
fn byte_level_vocabulary() {
    let v = vocab(bpe).unwrap();
    assert_eq!(v.model, VocabModel::Bpe(PreTokenizer::Smollm));
    assert_eq!(v.tokens.len(), 300);
    let bytes: Vec<&[u8]> = v.tokens[..8].iter().map(|token| token.bytes.as_slice()).collect();
    assert_eq!(bytes, [&b"a"[..], b"b", b" ", b"ab", b" ab", b"<|im_start|>", b"<|im_end|>", b"<user>"]);
    assert_eq!(v.tokens[5].kind, TokenKind::Control);
    assert_eq!(v.tokens[7].kind, TokenKind::UserDefined);
    // Merges with a part or a result outside the vocabulary are left out.
    assert_eq!(v.merges, [[0, 1, 3], [2, 3, 4]]);
    assert_eq!((v.bos, v.eos, v.unknown, v.add_bos), (None, Some(7), None, false));
    assert_eq!(v.stops, [6, 7]);

    let v = vocab(|w| {
        bpe(w);
        w.set("tokenizer.ggml.pre", "gpt-2").set("tokenizer.ggml.add_bos_token", Value::Bool(true));
        w.set("tokenizer.ggml.bos_token_id", Value::U32(5)).set("tokenizer.ggml.eot_token_id", Value::U32(299));
        w.set("tokenizer.ggml.unknown_token_id", Value::U32(9))
    })
    .unwrap();
    assert_eq!(v.model, VocabModel::Bpe(PreTokenizer::Gpt2));
    assert_eq!((v.bos, v.eos, v.unknown, v.add_bos), (Some(5), Some(7), Some(9), true));
    assert_eq!(v.stops, [6, 7, 299]);
}

/// Names of the same rules, and what else a name says.
#[test]
fn pre_tokenizers_by_name() {
    let named = |name: &str, bos: bool| {
        vocab(|w| {
            bpe(w);
            if bos {
                w.set("tokenizer.ggml.bos_token_id", Value::U32(5));
            }
            w.set("tokenizer.ggml.pre", name)
        })
        .unwrap()
    };
    let cases: [(&[&str], PreTokenizer, bool, bool); 9] = [
        (&["gpt-2", "gpt2", "mpt", "olmo", "phi-2", "jais"], PreTokenizer::Gpt2, false, false),
        (&["smollm", "starcoder", "refact", "command-r", "exaone"], PreTokenizer::Smollm, false, false),
        (&["llama-bpe", "llama3", "llama-v3", "falcon3", "lfm2"], PreTokenizer::Llama3, true, true),
        (&["glm4"], PreTokenizer::Llama3, true, false),
        (&["dbrx", "smaug-bpe", "chatglm-bpe"], PreTokenizer::Llama3, false, false),
        (&["qwen2", "deepseek-r1-qwen", "megrez", "hunyuan"], PreTokenizer::Qwen2, false, false),
        (&["qwen35"], PreTokenizer::Qwen35, false, false),
        (&["falcon"], PreTokenizer::Falcon, false, false),
        (&["deepseek-coder"], PreTokenizer::DeepseekCoder, false, false),
    ];
    for (names, pre, ignore_merges, add_bos) in cases {
        for name in names {
            let v = named(name, true);
            let expected = (VocabModel::Bpe(pre), ignore_merges, add_bos);
            assert_eq!((v.model, v.ignore_merges, v.add_bos), expected, "{name}");
            // Nothing to put before a text.
            assert!(!named(name, false).add_bos, "{name}");
        }
    }
    let v = vocab(|w| {
        bpe(w);
        w.set("tokenizer.ggml.bos_token_id", Value::U32(5)).set("tokenizer.ggml.add_bos_token", Value::Bool(false));
        w.set("tokenizer.ggml.pre", "llama-bpe")
    });
    assert!(!v.unwrap().add_bos);
}

#[test]
fn sentence_piece_vocabulary() {
    let v = vocab(sentence_piece).unwrap();
    assert_eq!(v.model, VocabModel::SentencePiece { add_space_prefix: true });
    let found: Vec<_> = v.tokens[..6].iter().map(|token| (token.bytes.as_slice(), token.score, token.kind)).collect();
    assert_eq!(
        found,
        [
            (&b"<unk>"[..], 0.0, TokenKind::Unknown),
            (b"<s>", 0.0, TokenKind::Control),
            (b"</s>", 0.0, TokenKind::Control),
            (b"\n", 0.0, TokenKind::Byte),
            (b" a", -1.0, TokenKind::Normal),
            (b"b", -2.5, TokenKind::Normal),
        ]
    );
    assert_eq!((v.bos, v.eos, v.unknown, v.add_bos), (Some(1), Some(2), Some(0), true));
    assert_eq!(v.stops, [2]);
    let v = vocab(|w| {
        sentence_piece(w);
        w.set("tokenizer.ggml.add_space_prefix", Value::Bool(false))
            .set("tokenizer.ggml.add_bos_token", Value::Bool(false))
    })
    .unwrap();
    assert_eq!((v.model, v.add_bos), (VocabModel::SentencePiece { add_space_prefix: false }, false));
}

#[test]
fn vocabulary_refusals_by_name() {
    type Change = fn(&mut GgufWriter) -> &mut GgufWriter;
    let cases: [(&str, Change); 15] = [
        ("tokenizer.ggml.model is missing", |w| w.unset("tokenizer.ggml.model")),
        ("tokenizer bert is not supported", |w| w.set("tokenizer.ggml.model", "bert")),
        ("pre-tokenizer \"viking\"", |w| w.set("tokenizer.ggml.pre", "viking")),
        ("pre-tokenizer \"default\"", |w| w.set("tokenizer.ggml.pre", "default")),
        ("without a pre-tokenizer", |w| w.unset("tokenizer.ggml.pre")),
        ("merges is missing", |w| w.unset("tokenizer.ggml.merges")),
        ("merges is of type u32; an array of strings", |w| w.set("tokenizer.ggml.merges", Value::U32s(vec![1]))),
        ("tokens is missing", |w| w.unset("tokenizer.ggml.tokens")),
        ("number of tokens is 0", |w| w.set("tokenizer.ggml.tokens", Value::Strs(vec![]))),
        ("token_type is 2; it must be the number of tokens, 300", |w| {
            w.set("tokenizer.ggml.token_type", Value::I32s(vec![1, 1]))
        }),
        ("token 0 has a type", |w| w.set("tokenizer.ggml.token_type", Value::I32s(vec![9; 300]))),
        ("token 0 has a score", |w| w.set("tokenizer.ggml.scores", Value::F32s(vec![f32::NAN; 300]))),
        ("eos_token_id is 300; it must be below", |w| w.set("tokenizer.ggml.eos_token_id", Value::U32(300))),
        ("bos_token_id is -1", |w| w.set("tokenizer.ggml.bos_token_id", Value::I32(-1))),
        ("add_bos_token is of type u32", |w| w.set("tokenizer.ggml.add_bos_token", Value::U32(1))),
    ];
    for (message, change) in cases {
        let error = vocab(|w| {
            bpe(w);
            change(w)
        });
        let error = error.expect_err(message).to_string();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }
    assert!(vocab(|w| w).is_err());
}

#[test]
fn vocabulary_and_embedding_must_agree() {
    let model = tiny();
    let mut writer = model.gguf(Encoding::F32);
    bpe(&mut writer);
    assert_eq!(open(&writer.bytes()).unwrap().vocab, Some(vocab(bpe).unwrap()));
    let model = TinyModel::random(Config { vocab_size: 299, ..tiny_config() }, 1);
    let mut writer = model.gguf(Encoding::F32);
    bpe(&mut writer);
    assert_eq!(open(&writer.bytes()).unwrap_err(), ImportError::VocabSize { tokens: 300, rows: 299 });
}

#[test]
fn llama2c_versions() {
    for tied_head in [true, false] {
        let model = TinyModel::random(Config { tied_head, ..tiny_config() }, 3);
        // 64 x 64 is no multiple of 48.
        assert!(open(&model.llama2c_v2(64)).is_ok());
        assert!(matches!(open(&model.llama2c_v2(48)), Err(ImportError::BadValue { .. })));
        for (bytes, encoding) in [
            (model.llama2c_v0(), Encoding::F32),
            (model.llama2c_v1(), Encoding::F32),
            (model.llama2c_v2(64), Encoding::Llama2cQ80 { group: 64 }),
            // A group that crosses rows of 96.
            (model.llama2c_v2(128), Encoding::Llama2cQ80 { group: 128 }),
        ] {
            let source = open(&bytes).unwrap();
            assert_eq!(source.config, model.config);
            assert_eq!((source.rope_base, source.rope_scaling), (10000.0, RopeScaling::None));
            assert!(source.vocab.is_none() && source.chat_template.is_none());
            assert_tensors(&source, &model, encoding);
        }
    }
}

#[test]
fn llama2c_refusals_by_name() {
    let model = tiny();
    let error = |mut bytes: Vec<u8>, at: usize, with: &[u8]| {
        bytes[at..at + with.len()].copy_from_slice(with);
        open(&bytes).unwrap_err().to_string()
    };
    assert!(error(model.llama2c_v1(), 4, &[3]).contains("version 3 cannot be read; 0, 1 and 2 can"));
    assert!(error(model.llama2c_v1(), 36, &[2]).contains("flag for a tied head is 2"));
    assert!(error(model.llama2c_v1(), 8, &[0]).contains("dim in the header is 0"));
    assert!(error(model.llama2c_v1(), 28, &(-300i32).to_le_bytes()).contains("vocab_size in the header is -300"));
    assert!(error(model.llama2c_v2(64), 37, &[0]).contains("the group size"));
    assert!(error(model.llama2c_v0(), 12, &[3]).contains("a multiple of the 3 heads"));
    assert!(error(model.llama2c_v0(), 16, &[3]).contains("a divisor of the number of heads, 4"));
    for mut bytes in [model.llama2c_v0(), model.llama2c_v1(), model.llama2c_v2(32)] {
        let need = bytes.len() as u64;
        bytes.push(0);
        let want = ImportError::Length { what: "the model", need, have: need + 1 };
        assert_eq!(open(&bytes).unwrap_err(), want);
    }
}

#[test]
fn a_tokenizer_of_its_own() {
    let model = tiny();
    let bytes = model.llama2c_v0();
    let tokens: Vec<(f32, &[u8])> = vec![(0.0, b"x"); 300];
    let tokenizer = tokenizer_bin(&tokens);
    assert_eq!(import::open(&bytes, Some(&tokenizer)).unwrap().vocab.unwrap().tokens.len(), 300);
    assert!(import::open(&bytes, Some(&tokenizer_bin(&tokens[1..]))).is_err());
    let mut writer = GgufWriter::default();
    bpe(&mut writer);
    assert_eq!(import::open(&bytes, Some(&writer.bytes())).unwrap().vocab, Some(vocab(bpe).unwrap()));
    let other = TinyModel::random(Config { vocab_size: 299, ..tiny_config() }, 1).llama2c_v0();
    let error = import::open(&other, Some(&writer.bytes())).unwrap_err();
    assert_eq!(error, ImportError::VocabSize { tokens: 300, rows: 299 });
}

#[test]
fn shapes_of_all_tensors() {
    let config = Config { head_dim: 8, tied_head: false, ..tiny_config() };
    for (kind, shape) in [
        (TensorKind::TokenEmbedding, (300, 64)),
        (TensorKind::OutputHead, (300, 64)),
        (TensorKind::RmsFinal, (1, 64)),
        (TensorKind::RmsAtt, (1, 64)),
        (TensorKind::Wq, (32, 64)),
        (TensorKind::Wk, (16, 64)),
        (TensorKind::Wv, (16, 64)),
        (TensorKind::Wo, (64, 32)),
        (TensorKind::RmsFfn, (1, 64)),
        (TensorKind::W1, (96, 64)),
        (TensorKind::W2, (64, 96)),
        (TensorKind::W3, (96, 64)),
    ] {
        assert_eq!(config.shape(kind), shape, "{}", kind.name());
        assert!(config.has(kind));
    }
    assert!(!tiny_config().has(TensorKind::OutputHead));
}
