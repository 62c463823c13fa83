//! What is wrong with a folder is said in one line, with its file and its numbers; nothing panics.

use pipsqueak_cli::{
    import::{
        ImportError, check_finite,
        huggingface::{self, InFile},
    },
    source::Encoding,
};
use pipsqueak_tests::{
    engine::try_pack,
    huggingface_writer::{HfFolder, HfModel, safetensors_file},
    rng::Rng,
    small_vocab,
    tiny_model::TinyModel,
};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::{Config, merge, tiny, tiny_config};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn refused(folder: &HfFolder) -> InFile {
    let error = huggingface::open(&folder.files()).expect_err("should be refused");
    assert!(!error.error.to_string().contains('\n'), "{}", error.error);
    error
}

/// A folder whose `config.json` was changed is refused with these words.
#[track_caller]
fn config_refused(changes: &Value, words: &str) {
    let mut model = tiny().huggingface(Encoding::F32);
    merge(&mut model, changes);
    let InFile { file, error } = refused(&model.folder(None));
    assert!(file == "config.json" && error.to_string().contains(words), "{changes}: {file}: {error}");
}

#[test]
fn configurations() {
    for (changes, words) in [
        (json!({"architectures": ["PhiForCausalLM"]}), "architecture \"PhiForCausalLM\" is not supported; llama ("),
        (json!({"architectures": ["A", "B"]}), "architecture \"A, B\""),
        (json!({"architectures": []}), "architectures is missing"),
        (json!({"architectures": null}), "architectures is missing"),
        (json!({"architectures": "Llama"}), "invalid type: string \"Llama\", expected a sequence at line 1"),
        (json!({"hidden_size": null}), "hidden_size is missing"),
        (json!({"hidden_size": -64}), "invalid value: integer `-64`, expected u32"),
        (json!({"hidden_size": 64.5}), "floating point `64.5`"),
        (json!({"hidden_size": 1u64 << 40}), "integer `1099511627776`, expected u32"),
        (json!({"hidden_size": u32::MAX, "head_dim": 16}), "the width (dim) is 4294967295; it must be from 1 to"),
        (json!({"hidden_size": 0}), "is 0; it must be"),
        (json!({"hidden_size": 66, "head_dim": null}), "hidden_size is 66; it must be a multiple of the 4 heads"),
        (json!({"intermediate_size": 0}), "(hidden_dim) is 0"),
        (json!({"num_hidden_layers": 1_000_000}), "layers is 1000000"),
        (
            json!({"num_attention_heads": 0, "head_dim": null}),
            "hidden_size is 64; it must be a multiple of the 0 heads",
        ),
        (json!({"num_attention_heads": u32::MAX}), "heads is 4294967295"),
        (json!({"num_key_value_heads": 3}), "key/value heads is 3; it must be a divisor of the number of heads, 4"),
        (json!({"num_key_value_heads": 8}), "key/value heads is 8"),
        (json!({"head_dim": 15}), "head is 15; it must be even"),
        (json!({"head_dim": 1 << 20}), "heads times head size is 4194304"),
        (json!({"vocab_size": u32::MAX}), "vocabulary's size is 4294967295"),
        (json!({"max_position_embeddings": 0}), "context length is 0"),
        (json!({"rms_norm_eps": 0.0}), "epsilon is 0"),
        (json!({"rms_norm_eps": 1e30}), "epsilon is 1"),
        (json!({"rope_theta": 0.5}), "rope_theta is 0.5; it must be finite and at least 1"),
        (json!({"rope_theta": "big"}), "invalid type: string \"big\", expected f64"),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
            "rope_scaling of type \"yarn\" is not supported",
        ),
        (
            json!({"rope_scaling": {"rope_type": "linear", "factor": 0.5}}),
            "factor is 0.5; it must be finite and at least 1",
        ),
        (json!({"rope_scaling": {"rope_type": "linear"}}), "rope_scaling's factor is missing"),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                "original_max_position_embeddings": 8192}}),
            "high_freq_factor is 4; it must be above low_freq_factor, 4",
        ),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 0, "high_freq_factor": 4}}),
            "low_freq_factor is 0",
        ),
        (json!({"hidden_act": "gelu"}), "hidden_act = \"gelu\" is not supported"),
        (json!({"attention_bias": true}), "attention_bias = true is not supported"),
        (json!({"mlp_bias": true}), "mlp_bias = true"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor = 0.5"),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
            "quantised by \"gptq\" are not supported",
        ),
        (json!({"num_hidden_layers": 1}), "tensor \"model.layers.1.input_layernorm.weight\" is not part"),
    ] {
        config_refused(&changes, words);
    }
    let mut folder = tiny().huggingface(Encoding::F32).folder(None);
    for (text, words) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{\"hidden_size\": 64", "EOF while parsing an object at line 1 column 18"),
        ("[1]", "at line 1"),
        ("{\"hidden_size\": 1, \"hidden_size\": 2}", "duplicate field `hidden_size`"),
        ("{\"rope_theta\": 1e999}", "number out of range"),
    ] {
        folder.0.insert("config.json".into(), text.into());
        let InFile { file, error } = refused(&folder);
        let named = matches!(error, ImportError::Json { what: "a model's configuration", .. });
        assert!(named && file == "config.json" && error.to_string().contains(words), "{text}: {error}");
    }
    let deep = "[".repeat(100_000);
    folder.0.insert("config.json".into(), deep.into());
    assert!(matches!(refused(&folder).error, ImportError::Json { .. }));
}

/// One file of weights with this header, and so many bytes of data.
fn with_header(header: &str, data: usize) -> HfFolder {
    let mut folder = tiny().huggingface(Encoding::F32).folder(None);
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat();
    folder.0.insert(WEIGHTS.into(), bytes);
    folder
}

#[test]
fn headers() {
    let entry = |name: &str, dtype: &str, shape: &str, from: u64, to: u64| {
        format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
    };
    let object = |entries: &[String]| format!("{{{}}}", entries.join(","));
    let two = |from, to| object(&[entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", from, to)]);
    let offsets = |start, end, want| ImportError::Offsets { tensor: "b".into(), start, end, want };
    for (header, data, want) in [
        (two(4, 12), 12, offsets(4, 12, 8)),
        (two(0, 8), 8, offsets(0, 8, 8)),
        (two(12, 20), 20, offsets(12, 20, 8)),
        (two(8, 0), 8, offsets(8, 0, 8)),
        (two(u64::MAX - 8, u64::MAX), 8, offsets(u64::MAX - 8, u64::MAX, 8)),
        (two(8, 12), 12, ImportError::TensorBytes { tensor: "b".into(), have: 4, need: 8 }),
        (two(8, u64::MAX), 8, ImportError::TensorBytes { tensor: "b".into(), have: u64::MAX - 8, need: 8 }),
        (
            object(&[entry("c", "F32", "[4294967296,4294967296,8]", 0, 8)]),
            8,
            ImportError::Overflow { what: "tensor \"c\"".into() },
        ),
        (
            object(&[entry("c", "F64", "[2305843009213693951]", 0, u64::MAX - 7)]),
            8,
            ImportError::Overflow { what: "tensor \"c\"".into() },
        ),
    ] {
        let InFile { file, error } = refused(&with_header(&header, data));
        assert_eq!((file.as_str(), error), (WEIGHTS, want), "{header}");
    }
    // Shorter or longer than the tensors.
    for data in [0, 8, 15, 17, 1000] {
        let header = two(8, 16);
        let (need, have) = (8 + header.len() as u64 + 16, 8 + header.len() as u64 + data);
        let error = refused(&with_header(&header, data as usize)).error;
        assert_eq!(error, ImportError::Length { what: "the file", need, have });
    }
    // Sizes that would only fit together if sums were not checked: eight tensors of 2^61 bytes.
    let huge: Vec<String> = (0..8u64)
        .map(|i| entry(&i.to_string(), "U8", "[2305843009213693951]", i * ((1 << 61) - 1), (i + 1) * ((1 << 61) - 1)))
        .collect();
    assert!(matches!(refused(&with_header(&object(&huge), 8)).error, ImportError::Length { .. }));
    for (header, words) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "at line 1"),
        ("{\"a\":1}", "invalid type: integer `1`"),
        ("{\"a\":{\"dtype\":\"F31\",\"shape\":[],\"data_offsets\":[0,4]}}", "unknown variant `F31`"),
        ("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "invalid value: integer `-1`"),
        ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "missing field `data_offsets`"),
        ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "invalid length 1"),
        ("{\"__metadata__\":{\"a\":1}}", "invalid type: integer `1`"),
    ] {
        let error = refused(&with_header(header, 4)).error.to_string();
        assert!(error.contains("safetensors header") && error.contains(words), "{header}: {error}");
    }
}

#[test]
fn lengths_of_headers() {
    let whole = safetensors_file(&tiny().huggingface(Encoding::BF16).tensors);
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap());
    let with = |bytes: &[u8]| {
        let mut folder = tiny().huggingface(Encoding::BF16).folder(None);
        folder.0.insert(WEIGHTS.into(), bytes.into());
        refused(&folder).error
    };
    for len in 0..8 {
        let error = ImportError::Truncated { what: "a safetensors header's length", offset: 0, need: 8, have: len };
        assert_eq!(with(&whole[..len as usize]), error);
    }
    for have in [0, 1, header / 2, header - 1] {
        let error = ImportError::Truncated { what: "a safetensors header", offset: 8, need: header, have };
        assert_eq!(with(&whole[..8 + have as usize]), error);
    }
    let mut longer = whole.clone();
    let (have, need) = (whole.len() as u64 - 8, whole.len() as u64 - 7);
    longer[..8].copy_from_slice(&need.to_le_bytes());
    assert_eq!(with(&longer), ImportError::Truncated { what: "a safetensors header", offset: 8, need, have });
    for len in [100_000_001, u64::MAX - 7, u64::MAX] {
        longer[..8].copy_from_slice(&len.to_le_bytes());
        let error = with(&longer).to_string();
        assert!(error.contains(&format!("header is {len}; it must be at most 100000000")), "{error}");
    }
    for cut in [1, 2, 100] {
        let (need, have) = (whole.len() as u64, whole.len() as u64 - cut);
        assert_eq!(with(&whole[..have as usize]), ImportError::Length { what: "the file", need, have });
    }
}

type Change = fn(&mut HfModel);

#[test]
fn tensors() {
    let wq = "model.layers.0.self_attn.q_proj.weight";
    let cases: [(&str, Change); 8] = [
        ("tensor \"model.norm.weight\" is missing", |m| m.tensors.retain(|t| t.name != "model.norm.weight")),
        ("tensor \"lm_head.weight\" is missing", |m| m.config["tie_word_embeddings"] = json!(false)),
        ("shape [32, 128]; [64, 64] is needed", |m| {
            let tensor = m.tensor_mut("model.layers.0.self_attn.q_proj.weight");
            (tensor.shape, tensor.data) = (vec![32, 128], vec![0; 32 * 128 * 4]);
        }),
        ("shape [64, 64, 1]; [64, 64] is needed", |m| {
            m.tensor_mut("model.layers.0.self_attn.q_proj.weight").shape = vec![64, 64, 1];
        }),
        ("shape [1, 64]; [1, 64] is needed", |m| m.tensor_mut("model.norm.weight").shape = vec![1, 64]),
        ("is F64, which cannot be read", |m| {
            let tensor = m.tensor_mut("model.layers.0.self_attn.q_proj.weight");
            (tensor.dtype, tensor.data) = (Dtype::F64, vec![0; 64 * 64 * 8]);
        }),
        ("is I8, which cannot be read", |m| {
            let tensor = m.tensor_mut("model.layers.1.mlp.up_proj.weight");
            (tensor.dtype, tensor.data) = (Dtype::I8, vec![0; 96 * 64]);
        }),
        ("\"model.layers.0.self_attn.q_proj.bias\" is not part", |m| {
            let mut more = m.tensor_mut("model.norm.weight").clone();
            more.name = "model.layers.0.self_attn.q_proj.bias".into();
            m.tensors.push(more);
        }),
    ];
    for (words, change) in cases {
        let mut model = tiny().huggingface(Encoding::F32);
        change(&mut model);
        let InFile { file, error } = refused(&model.folder(None));
        assert!(file == WEIGHTS && error.to_string().contains(words), "{file}: {error}, not {words:?}");
    }
    // Not a number: found when it is packed.
    let mut model = tiny().huggingface(Encoding::BF16);
    model.tensor_mut(wq).data[64 * 2 * 3 + 10..][..2].copy_from_slice(&[0xc0, 0x7f]);
    let folder = model.folder(None);
    let source = huggingface::open(&folder.files()).unwrap();
    let error = source.tensors.iter().find_map(|tensor| check_finite(tensor).err()).unwrap();
    assert!(matches!(error, ImportError::NotFinite { row: 3, col: 5, what: "value", .. }), "{error}");
}

#[test]
fn shards() {
    let model = tiny().huggingface(Encoding::F16);
    let folder = model.folder(Some(3));
    let name = |i: usize| format!("model-{i:05}-of-00003.safetensors");
    let with_map = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut folder = folder.clone();
        let mut index: Value = serde_json::from_slice(&folder.0[INDEX]).unwrap();
        change(index["weight_map"].as_object_mut().unwrap());
        folder.0.insert(INDEX.into(), index.to_string().into());
        folder
    };
    let norm = "model.norm.weight";
    // A tensor that no shard holds, of the model or not.
    let InFile { file, error } = refused(&with_map(&|map| drop(map.insert("x".into(), json!(name(2))))));
    assert_eq!((file.as_str(), error), (INDEX, ImportError::NotInShard { tensor: "x".into(), shard: name(2) }));
    let mut gone = model.clone();
    gone.tensors.retain(|tensor| tensor.name != norm);
    let mut without = folder.clone();
    for i in 1..=3 {
        let names: Value = serde_json::from_slice(&folder.0[INDEX]).unwrap();
        let here = |t: &&pipsqueak_tests::huggingface_writer::HfTensor| names["weight_map"][&t.name] == json!(name(i));
        let tensors: Vec<_> = gone.tensors.iter().filter(here).cloned().collect();
        without.0.insert(name(i), safetensors_file(&tensors));
    }
    let shard = serde_json::from_slice::<Value>(&folder.0[INDEX]).unwrap()["weight_map"][norm].clone();
    let shard = shard.as_str().unwrap().to_string();
    assert_eq!(refused(&without).error, ImportError::NotInShard { tensor: norm.into(), shard: shard.clone() });
    // A tensor in another shard than the index has it in, or in none.
    let other = name(if shard == name(1) { 2 } else { 1 });
    let error = refused(&with_map(&|map| drop(map.insert(norm.into(), json!(other))))).error.to_string();
    assert!(error.contains(&format!("is in {other}; it must be in {shard}")), "{error}");
    let error = refused(&with_map(&|map| drop(map.remove(norm)))).error.to_string();
    assert!(error.contains(&format!("is nowhere; it must be in {shard}")), "{error}");
    // A shard cut short is named.
    let mut cut = folder.clone();
    cut.0.get_mut(&name(3)).unwrap().pop();
    let InFile { file, error } = refused(&cut);
    assert!(file == name(3) && matches!(error, ImportError::Length { .. }), "{file}: {error}");
    // The index itself.
    for (text, words) in [
        ("{}", "missing field `weight_map`"),
        ("{\"weight_map\": []}", "expected an object"),
        ("{\"weight_map\": {\"a\": 1}}", "invalid type: integer `1`, expected a string"),
        ("{\"weight_map\": {\"a\": \"../../etc/x.safetensors\"}}", "it must be the name of a .safetensors file beside"),
        ("{\"weight_map\": {\"a\": \"/etc/x.safetensors\"}}", "beside the index"),
        ("{\"weight_map\": {\"a\": \"x.bin\"}}", "beside the index"),
        ("{\"weight_map\": {\"a\": \"x.safetensors\", \"a\": \"y.safetensors\"}}", "tensor \"a\" is there twice"),
        ("{\"weight_map\": {\"a\": \"x.safetensors\"", "EOF"),
    ] {
        let mut folder = folder.clone();
        folder.0.insert(INDEX.into(), text.into());
        let InFile { file, error } = refused(&folder);
        assert!(file == INDEX && error.to_string().contains(words), "{text}: {error}");
        assert_eq!(
            huggingface::shards(text.as_bytes()).err(),
            Some(error).filter(|_| !text.contains("{}")).or(huggingface::shards(b"{}").err())
        );
    }
}

/// So small that every length can be tried.
fn smallest(shards: Option<usize>) -> HfFolder {
    let config = Config {
        dim: 4,
        hidden_dim: 4,
        n_layers: 1,
        n_heads: 1,
        n_kv_heads: 1,
        head_dim: 2,
        rope_dim: 2,
        seq_len: 8,
        ..tiny_config()
    };
    TinyModel::random(config, 5).huggingface(Encoding::BF16).with_vocab(&small_vocab::bpe()).folder(shards)
}

/// Whether the folder is imported; whatever it gives is looked at.
pub(super) fn exercise(folder: &HfFolder) -> bool {
    let _ = huggingface::vocab_only(&folder.files()).map(|vocab| pipsqueak_cli::vocab::build(&vocab));
    let files = folder.files();
    let Ok(source) = huggingface::open(&files) else { return false };
    let _ = source.tensors.iter().try_for_each(check_finite);
    try_pack(&source);
    true
}

#[test]
fn every_truncation() {
    for shards in [None, Some(2)] {
        let folder = smallest(shards);
        assert!(exercise(&folder), "{:?}", huggingface::open(&folder.files()).err());
        for (name, bytes) in &folder.0 {
            // The vocabulary's file is long; its end matters as much as any place.
            let step = if bytes.len() > 4000 { 37 } else { 1 };
            for len in (0..bytes.len()).step_by(step) {
                let mut cut = folder.clone();
                cut.0.insert(name.clone(), bytes[..len].into());
                assert!(!exercise(&cut), "{name} cut to {len} of {} bytes was imported", bytes.len());
            }
        }
    }
}

#[test]
fn damaged_folders_never_panic() {
    let mut rng = Rng::new(0x9abc);
    let folder = smallest(Some(2));
    let names: Vec<&String> = folder.0.keys().collect();
    let mut imported = 0;
    let rounds = 6000;
    for _ in 0..rounds {
        let mut damaged = folder.clone();
        let bytes = damaged.0.get_mut(names[rng.below(names.len())]).unwrap();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len());
            match rng.below(6) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => bytes[at] ^= 1 << rng.below(8),
                // Another digit, bracket or letter of the same file.
                2 | 3 => bytes[at] = bytes[rng.below(bytes.len())],
                4 => drop(bytes.drain(at..bytes.len().min(at + 1 + rng.below(8)))),
                _ => drop(bytes.splice(at..at, b"999999999999"[..1 + rng.below(12)].iter().copied())),
            }
            if bytes.is_empty() {
                break;
            }
        }
        imported += usize::from(exercise(&damaged));
    }
    println!("{imported} of {rounds} damaged folders could still be imported");
    assert!(imported > 0 && imported < rounds);
}
