//! `tokenizer.json`: the vocabularies it gives, beside those that other files give, and what is refused.

use pipsqueak::{Vocab, tokenizer::EncodeOptions};
use pipsqueak_cli::{
    import::{
        ImportError,
        huggingface::{self, InFile, tokenizer_alone},
    },
    source::Encoding,
    vocab::{self, PreTokenizer, Token, TokenKind, VocabModel, VocabSource},
};
use pipsqueak_tests::{
    huggingface_writer::{HfFolder, tokenizer_config_json, tokenizer_json},
    rng::Rng,
    small_vocab,
};
use serde_json::{Value, json};

use super::tiny;

fn folder(vocab: &VocabSource) -> HfFolder {
    tiny().huggingface(Encoding::BF16).with_vocab(vocab).folder(None)
}

fn read(folder: &HfFolder) -> VocabSource {
    let files = folder.files();
    let source = huggingface::open(&files).unwrap();
    let vocab = source.vocab.unwrap_or_else(|| panic!("{:?}", source.vocab_left_out));
    assert_same(&huggingface::vocab_only(&files).unwrap(), &vocab);
    vocab
}

/// Compares all but scores, which a merge list gives in other numbers; without printing hundreds of tokens.
#[track_caller]
pub(super) fn assert_same(got: &VocabSource, want: &VocabSource) {
    for (id, (got, want)) in got.tokens.iter().zip(&want.tokens).enumerate() {
        assert_eq!((&got.bytes, got.kind), (&want.bytes, want.kind), "token {id}");
    }
    let rest = |vocab: &VocabSource| VocabSource { tokens: Vec::new(), ..vocab.clone() };
    assert_eq!((got.tokens.len(), rest(got)), (want.tokens.len(), rest(want)));
}

/// The small SentencePiece vocabulary with every text once, as a JSON object has it.
pub(super) fn sentencepiece() -> VocabSource {
    let mut vocab = small_vocab::sentencepiece();
    for id in 0..vocab.tokens.len() {
        let (before, rest) = vocab.tokens.split_at_mut(id);
        let same = |token: &Token| token.kind == TokenKind::Normal && token.bytes == rest[0].bytes;
        if rest[0].kind == TokenKind::Normal && before.iter().any(same) {
            rest[0] = Token { bytes: Vec::new(), score: 0.0, kind: TokenKind::Unused };
        }
    }
    vocab
}

#[test]
fn byte_level() {
    let mut want = small_vocab::bpe();
    let token = |text: &str, kind| Token { bytes: text.into(), score: 0.0, kind };
    want.tokens[290] = token("<|im_end|>", TokenKind::Control);
    want.tokens[291] = token("two words", TokenKind::UserDefined);
    want.stops = vec![0, 290];
    assert_same(&read(&folder(&want)), &want);
    for pre in
        [PreTokenizer::Gpt2, PreTokenizer::Qwen2, PreTokenizer::Qwen35, PreTokenizer::Gpt4o, PreTokenizer::Tekken]
    {
        let other = VocabSource { model: VocabModel::Bpe(pre), ..want.clone() };
        assert_same(&read(&folder(&other)), &other);
    }
    let llama3 = VocabSource { model: VocabModel::Bpe(PreTokenizer::Llama3), ignore_merges: true, ..want.clone() };
    assert_same(&read(&folder(&llama3)), &llama3);
    // Qwen's normalizer changes nothing here.
    let mut composed = folder(&want);
    let mut json = tokenizer_json(&want);
    json["normalizer"] = json!({"type": "NFC"});
    composed.0.insert("tokenizer.json".into(), json.to_string().into());
    assert_same(&read(&composed), &want);
    // Merges as pairs.
    let mut pairs = folder(&want);
    let mut json = tokenizer_json(&want);
    for merge in json["model"]["merges"].as_array_mut().unwrap() {
        *merge = merge.as_str().unwrap().split(' ').collect();
    }
    pairs.0.insert("tokenizer.json".into(), json.to_string().into());
    assert_same(&read(&pairs), &want);
    // A merge that makes a token which is found before anything is merged can never apply.
    let mut special = want.clone();
    special.tokens[special.merges[0][2] as usize].kind = TokenKind::UserDefined;
    let gone = want.merges[0][2];
    let left: Vec<[u32; 3]> = want.merges.iter().filter(|ids| !ids.contains(&gone)).copied().collect();
    assert_eq!(read(&folder(&special)).merges, left);
}

#[test]
fn sentence_piece() {
    for add_space_prefix in [true, false] {
        let model = VocabModel::SentencePiece { add_space_prefix };
        let want = VocabSource { model, ..sentencepiece() };
        let got = read(&folder(&want));
        assert_same(&got, &want);
        // The scores are others; they make the same tokens of any text.
        let (got, want) = (vocab::build(&got).unwrap(), vocab::build(&want).unwrap());
        let (got, want) = (Vocab::new(&got).unwrap(), Vocab::new(&want).unwrap());
        let mut rng = Rng::new(17);
        for _ in 0..500 {
            let text: String = (0..rng.below(60))
                .map(|_| {
                    ["the ", "there", "and", "a", "n", "d", " ", "  ", "é", "ing", "q", "\n", "bi", "g red", "🙂"]
                        [rng.below(15)]
                })
                .collect();
            let options = EncodeOptions { add_bos: true, parse_special: false };
            let [got, want] = [got, want].map(|vocab| vocab::encode(&vocab, &text, options).unwrap());
            assert_eq!(got, want, "{text:?}");
        }
    }
    // Metaspace in place of the normalizers, as newer files have it; Gemma's split at spaces that are no more.
    let want = sentencepiece();
    for (normalizer, pre_tokenizer, prefix) in [
        (
            Value::Null,
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}),
            true,
        ),
        (
            Value::Null,
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false}),
            false,
        ),
        (
            json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}),
            false,
        ),
    ] {
        let mut json = tokenizer_json(&want);
        (json["normalizer"], json["pre_tokenizer"]) = (normalizer, pre_tokenizer);
        let got = tokenizer_alone(json.to_string().as_bytes(), 300).unwrap();
        assert_eq!(got.model, VocabModel::SentencePiece { add_space_prefix: prefix });
    }
}

/// Which tokens begin and end a text, from the files that say so.
#[test]
fn special_tokens() {
    let vocab = sentencepiece();
    let with = |change: &dyn Fn(&mut HfFolder, &mut Value, &mut Value)| {
        let mut folder = folder(&vocab);
        let (mut tokenizer, mut config) = (tokenizer_json(&vocab), tokenizer_config_json(&vocab));
        change(&mut folder, &mut tokenizer, &mut config);
        folder.0.insert("tokenizer.json".into(), tokenizer.to_string().into());
        folder.0.insert("tokenizer_config.json".into(), config.to_string().into());
        let got = read(&folder);
        (got.bos, got.eos, got.stops, got.add_bos)
    };
    let plain = (Some(1), Some(2), vec![2], true);
    assert_eq!(with(&|_, _, _| {}), plain);
    // The tokenizer's configuration has the last word.
    assert_eq!(with(&|_, _, config| config["add_bos_token"] = json!(false)), (Some(1), Some(2), vec![2], false));
    assert_eq!(with(&|_, _, config| config["eos_token"] = json!("<s>")), (Some(1), Some(1), vec![1, 2], true));
    // Without it: ids of other files, and the template.
    let none = |_: &mut HfFolder, _: &mut Value, config: &mut Value| *config = json!({});
    assert_eq!(with(&none), plain);
    let generation = |text: &'static str| {
        move |folder: &mut HfFolder, _: &mut Value, config: &mut Value| {
            *config = json!({});
            folder.0.insert("generation_config.json".into(), text.into());
        }
    };
    assert_eq!(
        with(&generation("{\"eos_token_id\": [7, 5], \"bos_token_id\": 4}")),
        (Some(4), Some(7), vec![2, 5, 7], true)
    );
    assert_eq!(with(&generation("{\"eos_token_id\": null}")), plain);
    let no_template = |_: &mut HfFolder, tokenizer: &mut Value, config: &mut Value| {
        (tokenizer["post_processor"], *config) = (Value::Null, json!({}));
    };
    assert_eq!(with(&no_template), (Some(1), Some(2), vec![2], false));
}

#[test]
fn chat_templates() {
    let vocab = small_vocab::bpe();
    let template = |folder: &HfFolder| huggingface::open(&folder.files()).unwrap().chat_template;
    let mut folder = folder(&vocab);
    assert_eq!(template(&folder).as_deref(), Some("{{ messages }}"));
    let many = json!({"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]});
    folder.0.insert("tokenizer_config.json".into(), many.to_string().into());
    assert_eq!(template(&folder).as_deref(), Some("b"));
    folder.0.insert("chat_template.jinja".into(), "{{ of its own }}".into());
    assert_eq!(template(&folder).as_deref(), Some("{{ of its own }}"));
    folder.0.insert("chat_template.jinja".into(), vec![0xff]);
    let error = huggingface::open(&folder.files()).unwrap_err();
    assert_eq!(
        (error.file.as_str(), error.error),
        ("chat_template.jinja", ImportError::NotUtf8 { what: "the chat template".into() })
    );
    folder.0.remove("chat_template.jinja");
    folder.0.remove("tokenizer_config.json");
    assert_eq!(template(&folder), None);
}

type Change = fn(&mut Value);

/// Tokenizers that are something else leave the weights usable, and are named.
#[test]
fn other_tokenizers_are_left_out_by_name() {
    let (bpe, sentence_piece) = (small_vocab::bpe(), sentencepiece());
    let cases: [(&VocabSource, &str, Change); 18] = [
        (&bpe, "\"Unigram\"", |j| j["model"] = json!({"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 0})),
        (&bpe, "\"WordPiece\"", |j| j["model"]["type"] = json!("WordPiece")),
        (&bpe, "gpt2 with a pre-tokenizer of Digits, ByteLevel", |j| {
            j["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = json!(false);
        }),
        (&bpe, "gpt2 with a normalizer of type NFKC", |j| j["normalizer"] = json!({"type": "NFKC"})),
        (&bpe, "gpt2 with byte_fallback", |j| j["model"]["byte_fallback"] = json!(true)),
        (&bpe, "neither byte-level nor with byte fallback", |j| j["pre_tokenizer"] = Value::Null),
        (&bpe, "subwords", |j| j["model"]["continuing_subword_prefix"] = json!("##")),
        (&bpe, "subwords", |j| j["model"]["end_of_word_suffix"] = json!("</w>")),
        (&bpe, "dropout of 0.1", |j| j["model"]["dropout"] = json!(0.1)),
        (&bpe, "(token 270, \"<x>\")", |j| {
            let added = j["added_tokens"].as_array_mut().unwrap();
            added.push(json!({"id": 270, "content": "<x>", "rstrip": true, "special": false}));
        }),
        (&sentence_piece, "a normalizer of type Precompiled", |j| {
            j["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
        }),
        (&sentence_piece, "a normalizer of type Prepend", |j| {
            j["normalizer"]["normalizers"][0]["prepend"] = json!("_")
        }),
        (&sentence_piece, "a normalizer of type Replace", |j| {
            j["normalizer"]["normalizers"][1]["pattern"] = json!({"Regex": " +"});
        }),
        (&sentence_piece, "a pre-tokenizer of type Metaspace", |j| {
            j["pre_tokenizer"] =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
        }),
        (&sentence_piece, "a pre-tokenizer of type Whitespace", |j| j["pre_tokenizer"] = json!({"type": "Whitespace"})),
        (&sentence_piece, "does not escape spaces", |j| j["normalizer"] = Value::Null),
        (&sentence_piece, "is spelled by a pair that is not in the list", |j| {
            drop(j["model"]["merges"].as_array_mut().unwrap().pop())
        }),
        (&sentence_piece, "has merges apart from each other", |j| {
            let merges = j["model"]["merges"].as_array_mut().unwrap();
            // A token of several pairs: its first one goes to the end.
            let text =
                |merge: &Value| merge.as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect::<String>();
            let at = (1..merges.len()).find(|i| text(&merges[*i]) == text(&merges[i - 1])).unwrap();
            let merge = merges.remove(at - 1);
            merges.push(merge);
        }),
    ];
    for (vocab, words, change) in cases {
        let mut folder = folder(vocab);
        let mut json = tokenizer_json(vocab);
        change(&mut json);
        folder.0.insert("tokenizer.json".into(), json.to_string().into());
        let files = folder.files();
        let source = huggingface::open(&files).unwrap();
        let why = source.vocab_left_out.expect("a reason");
        assert!(source.vocab.is_none() && why.starts_with("tokenizer ") && why.contains(words), "{why}, not {words}");
        assert!(matches!(huggingface::vocab_only(&files), Err(InFile { error: ImportError::Tokenizer { .. }, .. })));
    }
    // No vocabulary at all is no error, until text is asked for.
    let mut folder = folder(&bpe);
    folder.0.remove("tokenizer.json");
    let files = folder.files();
    let source = huggingface::open(&files).unwrap();
    assert!(source.vocab.is_none() && source.vocab_left_out.unwrap().contains("tokenizer.json"));
}

/// Bytes that are no tokenizer are an error, with the file's name and the numbers.
#[test]
fn damaged_tokenizers_are_refused() {
    let bpe = small_vocab::bpe();
    let cases: [(&str, Change); 12] = [
        ("missing field `model`", |j| *j = json!({})),
        ("missing field `vocab`", |j| j["model"] = json!({"type": "BPE"})),
        ("expected an object", |j| j["model"]["vocab"] = json!([])),
        ("invalid value: integer `-1`, expected u32", |j| j["model"]["vocab"]["x"] = json!(-1)),
        ("the id of token \"x\" is 300; it must be below the number of tokens, 300", |j| {
            j["model"]["vocab"]["x"] = json!(300)
        }),
        ("the id of token \"x\" is 4294967295", |j| j["model"]["vocab"]["x"] = json!(u32::MAX)),
        ("token 5 is there twice", |j| j["model"]["vocab"]["x y"] = json!(5)),
        ("token 7 is in the vocabulary by another id", |j| j["added_tokens"] = json!([{"id": 7, "content": "a"}])),
        ("merge 0 is \"a ?\"; it must be two tokens that spell a third one", |j| j["model"]["merges"] = json!(["a ?"])),
        ("merge 1 is \"ab\"; it must be", |j| j["model"]["merges"] = json!(["t h", "ab"])),
        ("a merge: two tokens in an array", |j| j["model"]["merges"] = json!([["a", "b", "c"]])),
        ("expected a boolean", |j| j["model"]["ignore_merges"] = json!(1)),
    ];
    for (words, change) in cases {
        let mut folder = folder(&bpe);
        let mut json = tokenizer_json(&bpe);
        change(&mut json);
        folder.0.insert("tokenizer.json".into(), json.to_string().into());
        let InFile { file, error } = huggingface::open(&folder.files()).expect_err(words);
        assert!(file == "tokenizer.json" && error.to_string().contains(words), "{file}: {error}, not {words}");
        assert!(!error.to_string().contains('\n'), "{error}");
        assert_eq!(tokenizer_alone(json.to_string().as_bytes(), 300).unwrap_err(), error);
    }
    // More tokens than rows, and rows that a file of this size does not fill.
    let text = tokenizer_json(&bpe).to_string();
    assert!(matches!(tokenizer_alone(text.as_bytes(), 100), Err(ImportError::VocabSize { tokens: 264, rows: 100 })));
    assert!(matches!(tokenizer_alone(text.as_bytes(), 1 << 24), Err(ImportError::VocabSize { tokens: 264, .. })));
    // Ids of other files.
    for (name, text, words) in [
        (
            "generation_config.json",
            "{\"eos_token_id\": [300]}",
            "ends a text is 300; it must be below the number of tokens, 300",
        ),
        ("generation_config.json", "{\"eos_token_id\": \"x\"}", "a token's id, an array of them, or null"),
        ("generation_config.json", "{\"eos_token_id\": -5}", "a token's id, an array of them, or null"),
        ("tokenizer_config.json", "{\"bos_token\": 7}", "a token's text, or an object with its content"),
        ("tokenizer_config.json", "nothing", "expected ident at line 1 column 2"),
        ("config.json", "", "EOF"),
    ] {
        let mut folder = folder(&bpe);
        folder.0.insert(name.into(), text.into());
        let InFile { file, error } = huggingface::open(&folder.files()).expect_err(words);
        assert!(file == name && error.to_string().contains(words), "{file}: {error}, not {words}");
    }
}
