//! Hugging Face folders: shape, tensors and vocabulary, what they give, and what is refused.

mod architectures;
mod forms;
mod rejects;
mod vocabulary;

use pipsqueak::{
    Image, KvType, PlanOptions,
    config::{Activation, Config, RopePairs},
    kernels::{Format, Panel, select, team::Team},
    tensor::TensorKind,
};
use pipsqueak_cli::{
    import::{self, check_finite, huggingface},
    pack::Quant,
    source::{Encoding, RopeScaling, RowOrder, Source, SourceTensor},
};
use pipsqueak_tests::{
    engine::{bits, logits, packed, some_ids},
    huggingface_architectures::in_halves,
    huggingface_writer::HfModel,
    reference::Reference,
    tiny_model::{TinyModel, encode, tiny_config},
};
use serde_json::json;

const DTYPES: [Encoding; 3] = [Encoding::F32, Encoding::F16, Encoding::BF16];

fn tiny() -> TinyModel {
    TinyModel::random(tiny_config(), 1)
}

/// A tensor's values, in the engine's order of rows.
fn values(tensor: &SourceTensor<'_>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.rows * tensor.cols];
    for (row, out) in values.chunks_exact_mut(tensor.cols).enumerate() {
        tensor.dequantize_row(row, out);
    }
    values
}

#[test]
fn every_type_in_one_file_and_in_shards() {
    for tied_head in [true, false] {
        let model = TinyModel::random(Config { tied_head, ..tiny_config() }, 2);
        for encoding in DTYPES {
            let bytes = model.gguf(encoding).bytes();
            let gguf = import::open(&bytes, None).unwrap();
            for shards in [None, Some(1), Some(3), Some(20)] {
                let folder = model.huggingface(encoding).folder(shards);
                let source = huggingface::open(&folder.files()).unwrap();
                assert_eq!(source.config, model.config);
                assert_eq!((source.rope_base, source.rope_scaling), (10000.0, RopeScaling::None));
                assert_eq!((source.name.as_str(), source.tensors.len()), ("tiny", model.tensors.len()));
                for (tensor, same) in source.tensors.iter().zip(&gguf.tensors) {
                    assert_eq!((tensor.kind, tensor.layer), (same.kind, same.layer));
                    assert_eq!(tensor.encoding, encoding, "vectors too");
                    check_finite(tensor).unwrap();
                    // GGUF's vectors are F32 always; here they are rounded.
                    let want = if tensor.rows > 1 { values(same) } else { rounded(&values(same), encoding) };
                    assert!(values(tensor) == want, "{encoding:?}: {}", tensor.label());
                }
            }
        }
    }
}

fn rounded(values: &[f32], encoding: Encoding) -> Vec<f32> {
    let data = encode(values, encoding);
    let mut out = vec![0.0; values.len()];
    let (kind, order, cols) = (TensorKind::RmsAtt, RowOrder::InPlace, values.len());
    SourceTensor { kind, layer: 0, rows: 1, cols, encoding, order, shift: 0.0, data: &data }
        .dequantize_row(0, &mut out);
    out
}

/// The same weights in both formats make the same image, and so the same bits of logits.
#[test]
fn a_folder_and_a_gguf_of_the_same_weights_are_one_image() {
    for tied_head in [true, false] {
        // Vectors that all types hold exactly.
        let mut model = TinyModel::random(Config { tied_head, ..tiny_config() }, 3);
        for tensor in model.tensors.iter_mut().filter(|tensor| tensor.rows == 1) {
            tensor.values.iter_mut().for_each(|x| *x = (*x * 64.0).round() / 64.0);
        }
        let ids = some_ids(20, 300, 4);
        for encoding in DTYPES {
            let bytes = model.gguf(encoding).bytes();
            let gguf = import::open(&bytes, None).unwrap();
            for shards in [None, Some(4)] {
                let folder = model.huggingface(encoding).folder(shards);
                let source = huggingface::open(&folder.files()).unwrap();
                for quant in [Quant::Keep, Quant::To(Format::Q8), Quant::To(Format::Q4), Quant::To(Format::Q4M)] {
                    let [ours, same] = [&source, &gguf].map(|source| packed(source, quant, Panel::R8));
                    assert!(ours.bytes() == same.bytes(), "{encoding:?} {shards:?} {quant:?}");
                    let [got, want] = [&ours, &same].map(|packed| run(packed.bytes(), &ids));
                    assert_eq!(bits(&got), bits(&want));
                }
            }
        }
    }
}

fn run(image: &[u8], ids: &[u32]) -> Vec<f32> {
    let image = Image::open(image).unwrap();
    let options = PlanOptions { context: ids.len(), kv: KvType::F32, batch: 7, logits: 7, threads: 1 };
    logits(&image, select::best(), &Team::alone(), options, ids)
}

/// What the folder says, not what this importer makes of it: rows as they are stored, turned `i` with `i + half`.
fn as_stored<'a>(model: &TinyModel, data: &'a [Vec<u8>]) -> Source<'a> {
    let tensors = model.tensors.iter().zip(data).map(|(tensor, data)| SourceTensor {
        kind: tensor.kind,
        layer: tensor.layer,
        rows: tensor.rows,
        cols: tensor.cols,
        encoding: Encoding::F32,
        order: RowOrder::InPlace,
        shift: 0.0,
        data,
    });
    Source {
        config: Config { rope_pairs: RopePairs::HalfSplit, ..model.config },
        rope_base: 10000.0,
        rope_base_local: 10000.0,
        rope_scaling: RopeScaling::None,
        rope_factors: Vec::new(),
        tensors: tensors.collect(),
        vocab: None,
        name: String::new(),
        licence: String::new(),
        origin: String::new(),
        chat_template: None,
        vocab_left_out: None,
    }
}

/// The engine against the float64 forward pass over the file's own order of rows.
#[test]
fn the_engine_is_close_to_the_reference() {
    let odd = Config { n_heads: 3, n_kv_heads: 1, head_dim: 10, rope_dim: 10, dim: 48, ..tiny_config() };
    let odd = Config { att_scale: (1.0 / 10f64.sqrt()) as f32, tied_head: false, ..odd };
    for config in [tiny_config(), odd] {
        let model = TinyModel::random(config, 5);
        let data: Vec<Vec<u8>> = model
            .tensors
            .iter()
            .map(|tensor| encode(&in_halves(tensor, config.head_dim as usize), Encoding::F32))
            .collect();
        let mut stored = as_stored(&model, &data);
        let ids = some_ids(24, 300, 6);
        for (changes, base, scaling) in [
            (json!({}), 10000.0, RopeScaling::None),
            (
                json!({"rope_theta": 500000, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
                500000.0,
                RopeScaling::Llama3 {
                    factor: 8.0,
                    low_freq_factor: 1.0,
                    high_freq_factor: 4.0,
                    original_context: 64.0,
                },
            ),
            (json!({"rope_scaling": {"type": "linear", "factor": 2.0}}), 10000.0, RopeScaling::Linear { factor: 2.0 }),
        ] {
            let mut hf = model.huggingface(Encoding::F32);
            merge(&mut hf, &changes);
            let folder = hf.folder(Some(2));
            let source = huggingface::open(&folder.files()).unwrap();
            assert_eq!((source.rope_base, source.rope_scaling), (base, scaling));
            (stored.rope_base, stored.rope_scaling) = (base, scaling);
            let want = Reference::new(&stored).logits(&ids);
            let got = run(packed(&source, Quant::Keep, Panel::R1).bytes(), &ids);
            let size = want.iter().map(|x| x * x).sum::<f64>();
            let error = got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum::<f64>();
            let relative = (error / size).sqrt();
            assert!(relative < 2e-6, "{relative}");
        }
    }
}

/// Sets fields of `config.json`; null takes them out.
fn merge(model: &mut HfModel, changes: &serde_json::Value) {
    let config = model.config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            config.remove(key);
        } else {
            config.insert(key.clone(), value.clone());
        }
    }
}

#[test]
fn fields_and_their_defaults() {
    let open = |changes: serde_json::Value| {
        let mut model = tiny().huggingface(Encoding::F32);
        merge(&mut model, &changes);
        let folder = model.folder(None);
        let source = huggingface::open(&folder.files()).unwrap();
        (source.config, source.rope_base, source.rope_scaling)
    };
    let plain = (tiny_config(), 10000.0, RopeScaling::None);
    assert_eq!(open(json!({})), plain);
    let nothing = json!({"head_dim": null, "rope_theta": null, "rope_scaling": null, "hidden_act": null, "model_type": null,
        "attention_bias": null, "use_cache": null});
    assert_eq!(open(nothing), plain);
    assert_eq!(open(json!({"rms_norm_eps": null})).0, Config { norm_eps: 1e-6, ..tiny_config() });
    assert_eq!(open(json!({"rms_norm_eps": 1e-7, "max_position_embeddings": 99})).0, {
        Config { norm_eps: 1e-7, seq_len: 99, ..tiny_config() }
    });
    // Newer files: one object for RoPE.
    let newer = json!({"rope_theta": null, "rope_scaling": null, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}});
    assert_eq!(open(newer), (tiny_config(), 1e6, RopeScaling::None));
    assert_eq!(open(json!({"rope_scaling": {"type": "linear", "factor": 1.0}})), plain);
    // Mistral is a Llama within its window.
    let mistral = json!({"architectures": ["MistralForCausalLM"], "sliding_window": 32});
    assert_eq!(open(mistral).0, Config { seq_len: 32, ..tiny_config() });
    assert_eq!((plain.0.rope_pairs, plain.0.activation), (RopePairs::Interleaved, Activation::Silu));
}

/// Tensors that say nothing new are passed over: tables of RoPE, and a tied head that is stored all the same.
#[test]
fn tensors_that_say_nothing_new() {
    let mut model = tiny().huggingface(Encoding::F32);
    let mut more = model.tensors[0].clone();
    more.name = "lm_head.weight".into();
    model.tensors.push(more);
    let mut more = model.tensors.iter().find(|tensor| tensor.shape.len() == 1).unwrap().clone();
    more.name = "model.layers.1.self_attn.rotary_emb.inv_freq".into();
    model.tensors.push(more);
    let folder = model.folder(Some(3));
    let source = huggingface::open(&folder.files()).unwrap();
    assert!(source.config.tied_head && source.tensors.iter().all(|tensor| tensor.kind != TensorKind::OutputHead));
}
