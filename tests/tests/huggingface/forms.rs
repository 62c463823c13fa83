//! `tokenizer.json` in the forms that the models' publishers give it, beside the vocabularies that GGUF has of them.

use pipsqueak::{Vocab, tokenizer::EncodeOptions};
use pipsqueak_cli::{
    import::huggingface,
    source::Encoding,
    vocab::{self, PreTokenizer, Token, TokenKind, VocabModel, VocabSource},
};
use pipsqueak_tests::{huggingface_writer::tokenizer_json, rng::Rng, small_vocab};
use serde_json::{Value, json};

use super::{
    tiny,
    vocabulary::{assert_same, sentencepiece},
};

fn token(text: &str, kind: TokenKind) -> Token {
    Token { bytes: text.into(), score: 0.0, kind }
}

/// The vocabulary of a folder with these files and these fields of `config.json`.
fn read(tokenizer: &Value, tokenizer_config: &Value, generation: &Value, config: &Value) -> VocabSource {
    let mut model = tiny().huggingface(Encoding::BF16);
    super::merge(&mut model, config);
    for (name, value) in [
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", tokenizer_config),
        ("generation_config.json", generation),
    ] {
        model.beside.insert(name.into(), value.clone());
    }
    let folder = model.folder(None);
    let source = huggingface::open(&folder.files()).unwrap();
    source.vocab.unwrap_or_else(|| panic!("{:?}", source.vocab_left_out))
}

fn encode(vocab: &VocabSource, text: &str) -> Vec<u32> {
    let built = vocab::build(vocab).unwrap();
    let options = EncodeOptions { add_bos: vocab.add_bos, parse_special: false };
    vocab::encode(&Vocab::new(&built).unwrap(), text, options).unwrap()
}

/// A regular expression and byte-level BPE, texts composed first: those are taken as they are, as llama.cpp takes them.
#[test]
fn qwen() {
    let mut want = VocabSource { model: VocabModel::Bpe(PreTokenizer::Qwen2), ..small_vocab::bpe() };
    want.tokens[297] = token("<|im_start|>", TokenKind::Control);
    want.tokens[298] = token("<|im_end|>", TokenKind::Control);
    want.tokens[299] = token("<tool_call>", TokenKind::UserDefined);
    (want.bos, want.eos, want.stops) = (Some(0), Some(298), vec![0, 298]);
    let mut json = tokenizer_json(&want);
    json["normalizer"] = json!({"type": "NFC"});
    let regex = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}, byte_level]});
    json["post_processor"] = byte_level.clone();
    json["decoder"] = byte_level;
    let tokenizer_config = json!({"add_prefix_space": false, "add_bos_token": false, "bos_token": null,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": null});
    let generation = json!({"bos_token_id": 0, "eos_token_id": [298, 0], "pad_token_id": 0});
    let got = read(&json, &tokenizer_config, &generation, &json!({"bos_token_id": 0, "eos_token_id": 298}));
    assert_same(&got, &want);
    assert_eq!(encode(&got, "the thé 12")[..2], [258, 33], "no BOS");
    // The letter with its accent apart is another text, with other tokens.
    assert_eq!(encode(&got, "e\u{301}"), "e\u{301}".bytes().map(|byte| u32::from(byte) + 1).collect::<Vec<_>>());
    assert_ne!(encode(&got, "e\u{301}"), encode(&got, "\u{e9}"));
}

/// Byte-level BPE by the expression that `ByteLevel` has itself; the file names no algorithm and no BOS.
#[test]
fn gpt2() {
    let want = VocabSource { model: VocabModel::Bpe(PreTokenizer::Gpt2), bos: Some(0), ..small_vocab::bpe() };
    let mut json = tokenizer_json(&want);
    json["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
    json["post_processor"] = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false});
    for field in ["type", "byte_fallback", "ignore_merges"] {
        json["model"].as_object_mut().unwrap().remove(field);
    }
    json["model"]["continuing_subword_prefix"] = json!("");
    json["model"]["end_of_word_suffix"] = json!("");
    let got =
        read(&json, &json!({"model_max_length": 1024}), &json!({}), &json!({"bos_token_id": 0, "eos_token_id": 0}));
    assert_same(&got, &want);
}

/// SentencePiece's scores as a list of merges, no space before the text, and tokens that are found before anything is merged: runs
/// of line breaks and spaces. The token for pictures has an id, but a model of texts has no row for it.
#[test]
fn gemma() {
    let mut want = VocabSource { model: VocabModel::SentencePiece { add_space_prefix: false }, ..sentencepiece() };
    want.tokens[296] = token("<start_of_turn>", TokenKind::Control);
    want.tokens[297] = token("<end_of_turn>", TokenKind::Control);
    want.tokens[298] = token("\n\n", TokenKind::UserDefined);
    want.tokens[299] = token("  ", TokenKind::UserDefined);
    want.stops = vec![2, 297];
    let mut json = tokenizer_json(&want);
    json["normalizer"] = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    json["pre_tokenizer"] =
        json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
    json["model"]["merges"].as_array_mut().unwrap().insert(0, json!(["▁", "▁"]));
    let picture = json!({"id": 300, "content": "<image_soft_token>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true});
    json["added_tokens"].as_array_mut().unwrap().push(picture);
    let tokenizer_config =
        json!({"add_bos_token": true, "add_eos_token": false, "bos_token": "<s>", "eos_token": "</s>"});
    let generation = json!({"bos_token_id": 1, "eos_token_id": [2, 297]});
    for listed in [false, true] {
        // In the vocabulary, too.
        if listed {
            json["model"]["vocab"]["<image_soft_token>"] = json!(300);
        }
        let got = read(&json, &tokenizer_config, &generation, &json!({"eos_token_id": [2, 297]}));
        assert_same(&got, &want);
        let mut rng = Rng::new(18);
        for _ in 0..300 {
            let parts =
                ["the ", "and", "a", " ", "  ", "\n", "\n\n", "é", "ing", "q", "big red", "<end_of_turn>", "🙂"];
            let text: String = (0..rng.below(40)).map(|_| parts[rng.below(parts.len())]).collect();
            assert_eq!(encode(&got, &text), encode(&want, &text), "{text:?}");
        }
        assert_eq!(encode(&got, "the")[0], 1, "BOS");
    }
    // One that is no special token would be found in a text.
    let last = json["added_tokens"].as_array_mut().unwrap().last_mut().unwrap();
    last["special"] = json!(false);
    for listed in [true, false] {
        if !listed {
            json["model"]["vocab"].as_object_mut().unwrap().remove("<image_soft_token>");
        }
        let error = huggingface::tokenizer_alone(json.to_string().as_bytes(), 300).unwrap_err().to_string();
        assert!(error.contains("\"<image_soft_token>\" is 300; it must be below the number of tokens, 300"), "{error}");
    }
}
