//! Architectures beside Llama's: the same image as from GGUF, the logits of the float64 reference, fields, and what is refused.

use pipsqueak::{
    Config,
    config::{Activation, Arch, RopePairs},
    kernels::{Format, Panel},
    tensor::TensorKind,
};
use pipsqueak_cli::{
    import::{self, ImportError, check_finite, huggingface, huggingface::InFile},
    pack::Quant,
    source::{Encoding, RopeScaling},
};
use pipsqueak_tests::{
    engine::{TinyFile, bits, packed, some_ids},
    huggingface_architectures::hf_name,
    huggingface_writer::{HfFolder, HfModel},
    reference::Reference,
    rng::Rng,
    tiny_model::{TinyModel, architectures, tiny_config},
};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::{DTYPES, merge, rejects::exercise, run};

/// Shapes of the other architectures, with windows of nine positions.
fn shapes(tied_head: bool) -> [(&'static str, Config); 4] {
    architectures(Config { tied_head, ..tiny_config() }, 9)
}

fn shape(name: &str) -> Config {
    shapes(true).into_iter().find(|(other, _)| *other == name).unwrap().1
}

/// Random weights whose vectors all types hold exactly, those of norms as their distance from 1 too.
fn model(config: Config, seed: u64) -> TinyModel {
    let mut model = TinyModel::random(config, seed);
    for tensor in model.tensors.iter_mut().filter(|tensor| tensor.rows == 1) {
        tensor.values.iter_mut().for_each(|x| *x = (*x * 64.0).round() / 64.0);
    }
    model
}

#[test]
fn a_folder_and_a_gguf_of_the_same_weights_are_one_image() {
    let ids = some_ids(24, 300, 4);
    for (name, config) in shapes(true).into_iter().chain(shapes(false)) {
        let model = model(config, 3);
        for encoding in DTYPES {
            let bytes = model.gguf(encoding).bytes();
            let gguf = import::open(&bytes, None).unwrap();
            let quants = [Quant::Keep, Quant::To(Format::Q8), Quant::To(Format::Q4)];
            let want = quants.map(|quant| packed(&gguf, quant, Panel::R8));
            for shards in [None, Some(4)] {
                let folder = model.huggingface(encoding).folder(shards);
                let source = huggingface::open(&folder.files()).unwrap();
                assert_eq!(source.config, gguf.config, "{name}");
                source.tensors.iter().for_each(|tensor| check_finite(tensor).unwrap());
                for (quant, want) in quants.into_iter().zip(&want) {
                    let got = packed(&source, quant, Panel::R8);
                    assert!(got.bytes() == want.bytes(), "{name} {encoding:?} {shards:?} {quant:?}");
                    if (shards, quant) == (None, Quant::Keep) {
                        let [got, want] = [&got, want].map(|packed| run(packed.bytes(), &ids));
                        assert_eq!(bits(&got), bits(&want));
                    }
                }
            }
        }
    }
}

/// The engine's logits of a folder against the reference's of the model that was written, which no importer has seen.
#[test]
fn the_engine_is_close_to_the_reference() {
    let odd = Config { n_heads: 3, n_kv_heads: 1, head_dim: 10, rope_dim: 10, dim: 48, ..tiny_config() };
    let odd = Config { att_scale: (1.0 / 10f64.sqrt()) as f32, tied_head: false, ..odd };
    for (name, config) in shapes(true).into_iter().chain(architectures(odd, 9)) {
        let config = match config.arch {
            Arch::Gpt2 => Config { dim: config.n_heads * config.head_dim, ..config },
            // Not by the size of its heads.
            Arch::Gemma3 { .. } => Config { att_scale: (1.0 / 24f64.sqrt()) as f32, ..config },
            _ => config,
        };
        let model = TinyModel::random(config, 5);
        let mut folder = model.huggingface(Encoding::F32);
        let mut file = TinyFile::new(model);
        if config.arch != Arch::Gpt2 {
            let stretched = json!({"rope_type": "linear", "factor": 8.0});
            merge(&mut folder, &json!({"rope_theta": 50000, "rope_local_base_freq": 700.0, "rope_scaling": stretched}));
            (file.rope_base, file.rope_base_local) = (50000.0, 700.0);
            file.rope_scaling = RopeScaling::Linear { factor: 8.0 };
        }
        let folder = folder.folder(Some(2));
        let source = huggingface::open(&folder.files()).unwrap();
        let ids = some_ids(24, 300, 6);
        let want = Reference::new(&file.source()).logits(&ids);
        let got = run(packed(&source, Quant::Keep, Panel::R1).bytes(), &ids);
        let size = want.iter().map(|x| x * x).sum::<f64>();
        let error = got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum::<f64>();
        let relative = (error / size).sqrt();
        println!("{name}: {relative:.1e}");
        assert!(relative < 2e-6, "{name}: {relative}");
    }
}

/// The folder of an architecture's small model, its `config.json` changed.
fn changed(name: &str, changes: &Value) -> HfFolder {
    let mut folder = model(shape(name), 1).huggingface(Encoding::BF16);
    merge(&mut folder, changes);
    folder.folder(None)
}

#[test]
fn fields_and_their_defaults() {
    let open = |name: &str, changes: Value| {
        let folder = changed(name, &changes);
        let source = huggingface::open(&folder.files()).unwrap();
        (source.config, [source.rope_base, source.rope_base_local], source.rope_scaling)
    };
    let plain = |name: &str| (shape(name), [10000.0; 2], RopeScaling::None);
    let config = |name: &str, changes: Value| open(name, changes).0;
    for (name, _) in shapes(true) {
        assert_eq!(open(name, json!({})), plain(name));
    }

    // Qwen: biases whatever is said of them, and no window unless it is switched on for a layer that is there.
    for name in ["qwen2", "qwen3"] {
        let context = |changes| config(name, changes).seq_len;
        assert_eq!(context(json!({"sliding_window": 32})), 128);
        assert_eq!(context(json!({"use_sliding_window": null, "sliding_window": 32, "max_window_layers": null})), 128);
        let on = |max: u32| json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": max});
        assert_eq!([0, 1, 2, 28].map(|max| context(on(max))), [32, 32, 128, 128]);
        let typed = |kinds: [&str; 2]| json!({"use_sliding_window": true, "sliding_window": 32, "layer_types": kinds});
        assert_eq!(context(typed(["full_attention", "sliding_attention"])), 32);
        assert_eq!(context(typed(["full_attention"; 2])), 128);
    }
    assert_eq!(config("qwen2", json!({"attention_bias": true})), shape("qwen2"));
    assert_eq!(shape("qwen3").rope_pairs, RopePairs::HalfSplit);
    let head = Config { tied_head: false, ..shape("qwen3") };
    let untied = model(head, 1).huggingface(Encoding::F32);
    let mut silent = untied.clone();
    merge(&mut silent, &json!({"tie_word_embeddings": null, "rms_norm_eps": null, "hidden_act": null}));
    let folder = silent.folder(None);
    assert_eq!(huggingface::open(&folder.files()).unwrap().config, Config { norm_eps: 1e-6, ..head });

    // Gemma 3: one layer in three of four has no window.
    let gemma3 = shape("gemma3");
    let windows = |changes| config("gemma3", changes).arch;
    let arch = |window, global_every| Arch::Gemma3 { window, global_every };
    assert_eq!((gemma3.arch, gemma3.activation, gemma3.tied_head), (arch(9, 3), Activation::Gelu, true));
    let silent = json!({"sliding_window_pattern": null, "rope_theta": null, "rope_local_base_freq": null,
        "hidden_activation": null, "tie_word_embeddings": null, "rms_norm_eps": null});
    let defaults = Config { arch: arch(9, 6), norm_eps: 1e-6, ..gemma3 };
    assert_eq!(open("gemma3", silent), (defaults, [1e6, 1e4], RopeScaling::None));
    assert_eq!(windows(json!({"sliding_window_pattern": null, "_sliding_window_pattern": 2})), arch(9, 2));
    let kinds = |text: &str| -> Value {
        text.chars().map(|c| if c == 's' { "sliding_attention" } else { "full_attention" }).collect()
    };
    // They have the last word.
    for (text, every) in [("ssfs", 3), ("sfsf", 2), ("ssss", 0), ("ffff", 1), ("sssf", 4)] {
        assert_eq!(windows(json!({"layer_types": kinds(text), "sliding_window_pattern": 3})), arch(9, every), "{text}");
    }
    let scale = |scalar: Value| config("gemma3", json!({"query_pre_attn_scalar": scalar})).att_scale;
    assert_eq!([scale(json!(64)), scale(json!(168.0))], [0.125, (1.0 / 168f64.sqrt()) as f32]);
    let linear = json!({"rope_theta": 1e6, "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    assert_eq!(open("gemma3", linear), (gemma3, [1e6, 1e4], RopeScaling::Linear { factor: 8.0 }));
    let newer = json!({"rope_theta": null, "rope_local_base_freq": null, "rope_scaling": null, "rope_parameters": {
        "full_attention": {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0},
        "sliding_attention": {"rope_theta": 2e4, "rope_type": "default"}}});
    assert_eq!(open("gemma3", newer), (gemma3, [5e5, 2e4], RopeScaling::Linear { factor: 4.0 }));
    // What other fields say of the window is Qwen's.
    assert_eq!(config("gemma3", json!({"use_sliding_window": false, "max_window_layers": 0})), gemma3);

    let gpt2 = shape("gpt2");
    assert_eq!((gpt2.rope_pairs, gpt2.rope_dim, gpt2.activation), (RopePairs::None, 0, Activation::Gelu));
    let silent = json!({"n_positions": null, "layer_norm_epsilon": null, "activation_function": null,
        "tie_word_embeddings": null, "scale_attn_weights": null, "scale_attn_by_inverse_layer_idx": null});
    assert_eq!(config("gpt2", silent), gpt2);
    assert_eq!(config("gpt2", json!({"layer_norm_epsilon": 1e-6})), Config { norm_eps: 1e-6, ..gpt2 });
    assert_eq!(config("gpt2", json!({"n_ctx": 5, "reorder_and_upcast_attn": true})), gpt2);
    assert_eq!(config("gpt2", json!({"activation_function": "gelu_pytorch_tanh"})), gpt2);
    let wide = Config { hidden_dim: 4 * gpt2.dim, ..gpt2 };
    for n_inner in [json!(null), json!(256)] {
        let mut folder = model(wide, 1).huggingface(Encoding::F16);
        folder.config["n_inner"] = n_inner;
        assert_eq!(huggingface::open(&folder.folder(None).files()).unwrap().config, wide);
    }
}

/// GPT-2's tensors by both of their names, with those that say nothing new.
#[test]
fn gpt2_by_either_name() {
    let model = model(shape("gpt2"), 7);
    let plain = model.huggingface(Encoding::F32);
    let image = |model: &HfModel| {
        let folder = model.folder(None);
        packed(&huggingface::open(&folder.files()).unwrap(), Quant::Keep, Panel::R1).bytes().to_vec()
    };
    let want = image(&plain);
    let mut prefixed = plain.clone();
    prefixed.tensors.iter_mut().for_each(|tensor| tensor.name = format!("transformer.{}", tensor.name));
    for (prefix, model) in [("", &plain), ("transformer.", &prefixed)] {
        let mut model = model.clone();
        for (name, dtype) in [("attn.bias", Dtype::U8), ("attn.masked_bias", Dtype::F32)] {
            let mut more = model.tensors[0].clone();
            more.name = format!("{prefix}h.1.{name}");
            (more.dtype, more.shape, more.data) = (dtype, vec![4], vec![0; 4 * dtype.bitsize() / 8]);
            model.tensors.push(more);
        }
        // The tied head, stored all the same.
        let mut head = model.tensors.iter().find(|tensor| tensor.name.ends_with("wte.weight")).unwrap().clone();
        head.name = "lm_head.weight".into();
        model.tensors.push(head);
        assert!(image(&model) == want, "{prefix:?}");
    }
    // By both at once.
    let mut both = plain.clone();
    both.tensors.extend(prefixed.tensors.iter().find(|tensor| tensor.name.ends_with("c_attn.bias")).cloned());
    let error = refused(&both.folder(None)).error;
    assert!(matches!(&error, ImportError::Duplicate { name, .. } if name.ends_with("h.0.attn.c_attn.bias")), "{error}");
}

fn refused(folder: &HfFolder) -> InFile {
    let error = huggingface::open(&folder.files()).expect_err("should be refused");
    assert!(!error.error.to_string().contains('\n'), "{}", error.error);
    error
}

#[test]
fn configurations_that_are_refused() {
    for (name, changes, words) in [
        ("qwen2", json!({"use_sliding_window": true, "sliding_window": null}), "sliding_window is missing"),
        ("qwen2", json!({"use_sliding_window": true, "sliding_window": 0}), "context length is 0"),
        ("qwen2", json!({"use_sliding_window": "yes"}), "invalid type: string \"yes\", expected a boolean"),
        (
            "qwen2",
            json!({"use_sliding_window": true, "layer_types": ["full_attention"]}),
            "the length of layer_types is 1; it must be the number of layers, 2",
        ),
        (
            "qwen3",
            json!({"use_sliding_window": true, "layer_types": ["full_attention", "chunked_attention"]}),
            "a layer of type \"chunked_attention\" is not supported",
        ),
        ("qwen3", json!({"attention_bias": true}), "attention_bias = true is not supported"),
        ("qwen3", json!({"hidden_act": "gelu"}), "hidden_act = \"gelu\" is not supported; silu is"),
        ("qwen2", json!({"is_causal": false}), "attention that is not causal is not supported"),
        ("qwen2", json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}), "type \"yarn\" is not supported"),
        (
            "qwen3",
            json!({"rope_scaling": null, "rope_parameters": {"partial_rotary_factor": 0.25}}),
            "partial_rotary_factor = 0.25",
        ),
        ("gemma3", json!({"attention_bias": true}), "attention_bias = true is not supported"),
        ("gemma3", json!({"attn_logit_softcapping": 50.0}), "attn_logit_softcapping = 50 is not supported"),
        ("gemma3", json!({"final_logit_softcapping": 30.0}), "final_logit_softcapping = 30 is not supported"),
        ("gemma3", json!({"final_logit_softcapping": 0.0}), "final_logit_softcapping = 0 is not supported"),
        ("gemma3", json!({"use_bidirectional_attention": true}), "not causal is not supported"),
        ("gemma3", json!({"hidden_activation": "gelu"}), "hidden_activation = \"gelu\" is not supported"),
        ("gemma3", json!({"query_pre_attn_scalar": null}), "query_pre_attn_scalar is missing"),
        ("gemma3", json!({"query_pre_attn_scalar": 0.5}), "query_pre_attn_scalar is 0.5; it must be from 1 to 1048576"),
        ("gemma3", json!({"query_pre_attn_scalar": 1e300}), "it must be from 1 to 1048576"),
        ("gemma3", json!({"sliding_window": null}), "sliding_window is missing"),
        ("gemma3", json!({"sliding_window": 0}), "sliding_window is 0; it must be from 1 to 16777216"),
        ("gemma3", json!({"sliding_window": u32::MAX}), "sliding_window is 4294967295"),
        ("gemma3", json!({"sliding_window": -1}), "integer `-1`, expected u32"),
        ("gemma3", json!({"sliding_window_pattern": 0}), "sliding_window_pattern is 0; it must be at least 1"),
        (
            "gemma3",
            json!({"layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]}),
            "layer_types without a period are not supported",
        ),
        (
            "gemma3",
            json!({"layer_types": ["full_attention", "full_attention", "full_attention"]}),
            "the length of layer_types is 3; it must be the number of layers, 4",
        ),
        ("gemma3", json!({"rope_local_base_freq": 0.0}), "rope_local_base_freq is 0; it must be finite and at least 1"),
        (
            "gemma3",
            json!({"rope_scaling": null, "rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}}),
            "RoPE that is stretched in layers with a sliding window is not supported",
        ),
        (
            "gemma3",
            json!({"rope_scaling": null, "rope_parameters": {"full_attention": {"partial_rotary_factor": 0.5}}}),
            "partial_rotary_factor = 0.5",
        ),
        ("gpt2", json!({"n_embd": null}), "n_embd is missing"),
        ("gpt2", json!({"n_layer": null}), "n_layer is missing"),
        ("gpt2", json!({"n_head": null}), "n_head is missing"),
        ("gpt2", json!({"n_positions": null, "n_ctx": null}), "n_positions is missing"),
        ("gpt2", json!({"n_head": 0}), "n_embd is 64; it must be a multiple of the 0 heads"),
        ("gpt2", json!({"n_head": 3}), "n_embd is 64; it must be a multiple of the 3 heads"),
        ("gpt2", json!({"n_head": 64}), "the size of a head is 1; it must be even"),
        ("gpt2", json!({"n_embd": u32::MAX, "n_head": 1, "n_inner": null}), "the width (dim) is 4294967295"),
        ("gpt2", json!({"n_embd": 1.5}), "floating point `1.5`, expected u32"),
        ("gpt2", json!({"layer_norm_epsilon": 0.0}), "epsilon is 0"),
        (
            "gpt2",
            json!({"activation_function": "relu"}),
            "activation_function = \"relu\" is not supported; gelu_new is",
        ),
        ("gpt2", json!({"activation_function": "gelu"}), "activation_function = \"gelu\" is not supported"),
        ("gpt2", json!({"scale_attn_weights": false}), "scale_attn_weights = false is not supported"),
        ("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}), "scale_attn_by_inverse_layer_idx = true is not"),
        ("gpt2", json!({"add_cross_attention": true}), "add_cross_attention = true is not supported"),
        ("gpt2", json!({"quantization_config": {"quant_method": "awq"}}), "quantised by \"awq\" are not supported"),
        ("gpt2", json!({"architectures": ["LlamaForCausalLM"]}), "hidden_size is missing"),
    ] {
        let InFile { file, error } = refused(&changed(name, &changes));
        assert!(file == "config.json" && error.to_string().contains(words), "{name} {changes}: {file}: {error}");
    }
}

#[test]
fn tensors_that_are_refused() {
    for (_, config) in shapes(false) {
        let whole = model(config, 1).huggingface(Encoding::BF16);
        for index in 0..whole.tensors.len() {
            let without = |change: &dyn Fn(&mut HfModel)| {
                let mut model = whole.clone();
                change(&mut model);
                refused(&model.folder(None)).error
            };
            let name = whole.tensors[index].name.clone();
            let missing = without(&|model| drop(model.tensors.remove(index)));
            assert_eq!(missing, ImportError::MissingTensor { tensor: name.clone() });
            // One output or input more.
            let shape = whole.tensors[index].shape.clone();
            for axis in 0..shape.len() {
                let error = without(&|model| {
                    let tensor = &mut model.tensors[index];
                    tensor.shape[axis] += 1;
                    tensor.data.resize(2 * tensor.shape.iter().product::<usize>(), 0);
                });
                let want = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let want = if shape.len() == 1 { format!("[1, {want}]") } else { format!("[{want}]") };
                assert!(error.to_string().contains(&format!("{want} is needed")), "{name}: {error}");
            }
        }
    }
    // Other architectures' tensors.
    for (name, tensor) in [
        ("qwen2", "model.layers.0.self_attn.o_proj.bias"),
        ("qwen2", "model.layers.0.self_attn.q_norm.weight"),
        ("qwen3", "model.layers.1.self_attn.q_proj.bias"),
        ("gemma3", "model.layers.0.mlp.gate_proj.bias"),
        ("gpt2", "h.0.attn.q_attn.weight"),
        ("gpt2", "h.0.ln_cross_attn.weight"),
        ("gpt2", "score.weight"),
    ] {
        let mut model = model(shape(name), 1).huggingface(Encoding::F32);
        let mut more = model.tensors[0].clone();
        more.name = tensor.into();
        model.tensors.push(more);
        assert_eq!(refused(&model.folder(None)).error, ImportError::UnexpectedTensor { tensor: tensor.into() });
    }
    // Not a number among GPT-2's values: of that tensor, by its own rows and columns.
    let mut gpt2 = model(shape("gpt2"), 1).huggingface(Encoding::F32);
    let fused = gpt2.tensor_mut(&hf_name(Arch::Gpt2, TensorKind::Wv, 1));
    fused.data[4 * (5 * 192 + 128 + 7)..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let folder = gpt2.folder(None);
    let source = huggingface::open(&folder.files()).unwrap();
    let errors: Vec<_> = source.tensors.iter().filter_map(|tensor| check_finite(tensor).err()).collect();
    assert_eq!(errors, [ImportError::NotFinite { tensor: "layer 1 wv".into(), row: 7, col: 5, what: "value" }]);
}

/// Fields of `config.json` that hold anything at all: refused or imported, and nothing panics.
#[test]
fn any_value_in_any_field() {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(3),
        json!(64),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("silu"),
        json!([]),
        json!([1, "full_attention"]),
        json!({}),
        json!({"rope_type": "linear", "factor": 1e30, "full_attention": {"full_attention": {}}}),
    ];
    let mut rng = Rng::new(0x51de);
    for (name, config) in shapes(true) {
        let whole = smallest(config).huggingface(Encoding::BF16);
        let mut fields: Vec<String> = whole.config.as_object().unwrap().keys().cloned().collect();
        fields.extend(
            ["layer_types", "rope_parameters", "_sliding_window_pattern", "max_window_layers"].map(String::from),
        );
        let (mut imported, mut refused) = (0, 0);
        for field in &fields {
            for value in &values {
                let mut model = whole.clone();
                model.config[field] = value.clone();
                // And one more.
                if rng.below(2) == 0 {
                    model.config[&fields[rng.below(fields.len())]] = values[rng.below(values.len())].clone();
                }
                *(if exercise(&model.folder(None)) { &mut imported } else { &mut refused }) += 1;
            }
        }
        println!("{name}: {imported} imported, {refused} refused");
        assert!(imported > 0 && refused > 0, "{name}");
    }
}

/// So small that every length can be tried.
fn smallest(config: Config) -> TinyModel {
    let rope_dim = config.rope_dim.min(2);
    let small = Config { dim: 4, hidden_dim: 4, n_layers: 1, n_heads: 2, head_dim: 2, rope_dim, seq_len: 8, ..config };
    model(Config { n_kv_heads: config.n_kv_heads.min(2), vocab_size: 7, ..small }, 5)
}

#[test]
fn damaged_folders_never_panic() {
    let mut rng = Rng::new(0x9abd);
    for (name, config) in shapes(true) {
        let folder = smallest(config).huggingface(Encoding::BF16).folder(Some(2));
        assert!(exercise(&folder), "{name}: {:?}", huggingface::open(&folder.files()).err());
        for (file, bytes) in &folder.0 {
            for len in (0..bytes.len()).step_by(7) {
                let mut cut = folder.clone();
                cut.0.insert(file.clone(), bytes[..len].into());
                assert!(!exercise(&cut), "{name}: {file} cut to {len} of {} bytes was imported", bytes.len());
            }
        }
        let names: Vec<&String> = folder.0.keys().collect();
        let mut imported = 0;
        for _ in 0..1500 {
            let mut damaged = folder.clone();
            let bytes = damaged.0.get_mut(names[rng.below(names.len())]).unwrap();
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] ^= 1 << rng.below(8),
                1 => bytes[at] = bytes[rng.below(bytes.len())],
                _ => drop(bytes.splice(at..at, b"999999999999"[..1 + rng.below(12)].iter().copied())),
            }
            imported += usize::from(exercise(&damaged));
        }
        assert!(imported > 0 && imported < 1500, "{name}: {imported}");
    }
}
