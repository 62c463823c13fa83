//! A writer of Hugging Face folders, right or wrong as the test asks.

use std::{collections::BTreeMap, fs, path::Path};

use pipsqueak_cli::{
    import::huggingface::{Files, names},
    source::Encoding,
    vocab::{PreTokenizer, TokenKind, VocabModel, VocabSource},
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use crate::{
    expressions::expressions,
    huggingface_architectures,
    tiny_model::{TinyModel, encode},
};

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct HfTensor {
    /// Its name.
    pub name: String,
    /// Outermost first.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: Dtype,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A model in parts, so that a test can change one of them.
#[derive(Clone, Debug)]
pub struct HfModel {
    /// `config.json`
    pub config: Value,
    /// Other JSON files, by name.
    pub beside: BTreeMap<String, Value>,
    /// The weights.
    pub tensors: Vec<HfTensor>,
}

/// A folder in memory: names and bytes.
#[derive(Clone, Debug, Default)]
pub struct HfFolder(pub BTreeMap<String, Vec<u8>>);

impl TinyModel {
    /// As Hugging Face has its architecture: matrices and vectors in `encoding` (`F32`, `F16` or `BF16`), as
    /// [`huggingface_architectures`] lays them out.
    ///
    /// # Panics
    /// When safetensors have no such encoding.
    pub fn huggingface(&self, encoding: Encoding) -> HfModel {
        let dtype = match encoding {
            Encoding::F32 => Dtype::F32,
            Encoding::F16 => Dtype::F16,
            Encoding::BF16 => Dtype::BF16,
            other => panic!("no safetensors of {other:?}"),
        };
        let tensors = huggingface_architectures::stored(self).into_iter();
        let tensors =
            tensors.map(|(name, shape, values)| HfTensor { name, shape, dtype, data: encode(&values, encoding) });
        let config = huggingface_architectures::config_json(&self.config);
        HfModel { config, beside: BTreeMap::new(), tensors: tensors.collect() }
    }
}

/// A safetensors file.
///
/// # Panics
/// When a tensor's bytes are not those of its shape.
pub fn safetensors_file(tensors: &[HfTensor]) -> Vec<u8> {
    let views = tensors.iter().map(|t| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.data).expect("whole tensors");
        (t.name.clone(), view)
    });
    safetensors::serialize(views, None).expect("a header")
}

impl HfModel {
    /// The tensor of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn tensor_mut(&mut self, name: &str) -> &mut HfTensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor of this name")
    }

    /// Adds a vocabulary, as `tokenizer.json` and `tokenizer_config.json`.
    #[must_use]
    pub fn with_vocab(mut self, vocab: &VocabSource) -> Self {
        self.beside.insert(names::TOKENIZER.into(), tokenizer_json(vocab));
        self.beside.insert(names::TOKENIZER_CONFIG.into(), tokenizer_config_json(vocab));
        (self.config["bos_token_id"], self.config["eos_token_id"]) = (json!(vocab.bos), json!(vocab.eos));
        self
    }

    /// The folder, its weights in one file, or in so many shards with an index.
    pub fn folder(&self, shards: Option<usize>) -> HfFolder {
        let mut folder = HfFolder::default();
        folder.put(names::CONFIG, &self.config);
        self.beside.iter().for_each(|(name, value)| folder.put(name, value));
        let Some(shards) = shards else {
            folder.0.insert(names::WEIGHTS.into(), safetensors_file(&self.tensors));
            return folder;
        };
        let mut map = serde_json::Map::new();
        for (i, tensors) in self.tensors.chunks(self.tensors.len().div_ceil(shards)).enumerate() {
            let name = format!("model-{:05}-of-{shards:05}.safetensors", i + 1);
            tensors.iter().for_each(|tensor| drop(map.insert(tensor.name.clone(), json!(name))));
            folder.0.insert(name, safetensors_file(tensors));
        }
        folder.put(names::INDEX, &json!({"metadata": {"total_size": 1}, "weight_map": map}));
        folder
    }
}

impl HfFolder {
    fn put(&mut self, name: &str, value: &Value) {
        self.0.insert(name.into(), value.to_string().into_bytes());
    }

    /// What the importer is given; a shard that is not there has no bytes. The folder is called `tiny`.
    pub fn files(&self) -> Files<'_> {
        let get = |name: &str| self.0.get(name).map(Vec::as_slice);
        let index = get(names::INDEX).filter(|_| !self.0.contains_key(names::WEIGHTS));
        let shards = self.0.iter().filter(|(name, _)| name.ends_with(".safetensors"));
        Files {
            name: "tiny",
            config: get(names::CONFIG).unwrap_or_default(),
            generation_config: get(names::GENERATION_CONFIG),
            tokenizer: get(names::TOKENIZER),
            tokenizer_config: get(names::TOKENIZER_CONFIG),
            chat_template: get(names::CHAT_TEMPLATE),
            index,
            weights: shards.map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect(),
        }
    }

    /// Writes all files to a folder, which is made.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder");
        for (name, bytes) in &self.0 {
            fs::write(folder.join(name), bytes).expect("a file");
        }
    }
}

/// What byte-level BPE writes for a byte: itself where it is printable Latin-1, else the next of the characters from U+0100.
/// Source: Radford et al. 2019, `bytes_to_unicode`.
fn stand_in(byte: u8) -> char {
    let printable = |byte: u8| (33..=126).contains(&byte) || (161..=172).contains(&byte) || byte >= 174;
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    char::from_u32(256 + before as u32).expect("a character")
}

/// A token as `tokenizer.json` spells it.
fn spelling(vocab: &VocabSource, id: usize) -> String {
    let token = &vocab.tokens[id];
    let text = || String::from_utf8(token.bytes.clone()).expect("UTF-8");
    match (vocab.model, token.kind) {
        (_, TokenKind::Control | TokenKind::Unknown) => text(),
        (VocabModel::Bpe(_), TokenKind::UserDefined) => text(),
        (VocabModel::Bpe(_), _) => token.bytes.iter().map(|byte| stand_in(*byte)).collect(),
        (_, TokenKind::Byte) => format!("<0x{:02X}>", token.bytes[0]),
        _ => text().replace(' ', "\u{2581}"),
    }
}

/// All pairs of tokens that spell another one, by that one's score: what a converter makes of SentencePiece's scores.
fn merges_of_scores(vocab: &VocabSource) -> Vec<[String; 2]> {
    let plain = |id: &usize| vocab.tokens[*id].kind == TokenKind::Normal && !vocab.tokens[*id].bytes.is_empty();
    let mut order: Vec<usize> = (0..vocab.tokens.len()).filter(plain).collect();
    let texts: Vec<String> = order.iter().map(|id| spelling(vocab, *id)).collect();
    order.sort_by(|a, b| vocab.tokens[*b].score.total_cmp(&vocab.tokens[*a].score));
    let mut merges = Vec::new();
    for id in order {
        let text = spelling(vocab, id);
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if [left, right].iter().all(|part| texts.iter().any(|text| text == part)) {
                merges.push([left.into(), right.into()]);
            }
        }
    }
    merges
}

/// `tokenizer.json` of a vocabulary; unused tokens are not written.
pub fn tokenizer_json(vocab: &VocabSource) -> Value {
    let used = |id: &usize| vocab.tokens[*id].kind != TokenKind::Unused;
    let ids = || (0..vocab.tokens.len()).filter(used);
    let all: serde_json::Map<String, Value> = ids().map(|id| (spelling(vocab, id), json!(id))).collect();
    let special =
        |id: &usize| matches!(vocab.tokens[*id].kind, TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined);
    let added = |id: usize| {
        let special = vocab.tokens[id].kind != TokenKind::UserDefined;
        json!({"id": id, "content": spelling(vocab, id), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special})
    };
    let added: Vec<Value> = ids().filter(special).map(added).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let name = |id: Option<u32>| id.map(|id| spelling(vocab, id as usize));
    let (normalizer, pre_tokenizer, merges) = match vocab.model {
        VocabModel::Bpe(pre) => {
            let steps = match pre {
                PreTokenizer::Gpt2 => byte_level.clone(),
                PreTokenizer::Smollm => json!({"type": "Sequence", "pretokenizers": [digits, byte_level]}),
                one => {
                    let [expression] = &expressions(one)[..] else { panic!("{one:?} has no form here") };
                    let split = json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
                    let mut byte_level = byte_level.clone();
                    byte_level["use_regex"] = json!(false);
                    json!({"type": "Sequence", "pretokenizers": [split, byte_level]})
                }
            };
            let pair =
                |ids: &[u32; 3]| json!(format!("{} {}", name(Some(ids[0])).unwrap(), name(Some(ids[1])).unwrap()));
            (Value::Null, steps, vocab.merges.iter().map(pair).collect::<Vec<_>>())
        }
        VocabModel::SentencePiece { add_space_prefix } => {
            let mut steps = vec![json!({"type": "Prepend", "prepend": "\u{2581}"})];
            steps.truncate(usize::from(add_space_prefix));
            steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}));
            let merges = merges_of_scores(vocab).into_iter().map(|pair| json!(pair)).collect();
            (json!({"type": "Sequence", "normalizers": steps}), Value::Null, merges)
        }
    };
    let bos = name(vocab.bos.filter(|_| vocab.add_bos));
    let mut single: Vec<Value> = bos.iter().map(|bos| json!({"SpecialToken": {"id": bos, "type_id": 0}})).collect();
    single.push(json!({"Sequence": {"id": "A", "type_id": 0}}));
    let pair = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]);
    let tokens: serde_json::Map<String, Value> =
        bos.into_iter().map(|bos| (bos.clone(), json!({"id": bos, "ids": [vocab.bos], "tokens": [bos]}))).collect();
    let sentence_piece = matches!(vocab.model, VocabModel::SentencePiece { .. });
    let space = json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "});
    let decoder = if sentence_piece {
        json!({"type": "Sequence", "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}]})
    } else {
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens},
        "decoder": decoder,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": name(vocab.unknown), "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": sentence_piece, "byte_fallback": sentence_piece, "ignore_merges": vocab.ignore_merges,
            "vocab": all, "merges": merges,
        },
    })
}

/// `tokenizer_config.json` of a vocabulary.
pub fn tokenizer_config_json(vocab: &VocabSource) -> Value {
    let name = |id: Option<u32>| id.map(|id| spelling(vocab, id as usize));
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": name(vocab.bos),
        "eos_token": name(vocab.eos).map(|eos| json!({"__type": "AddedToken", "content": eos, "lstrip": false})),
        "chat_template": "{{ messages }}",
    })
}
