//! Vocabularies of real models: the texts that llama.cpp is tested with give the tokens that it gives. The files are
//! `ggml-vocab-NAME.gguf` (a vocabulary alone), `.gguf.inp` (texts, with a line between them) and `.gguf.out` (a line of token ids
//! each).

use std::{fs, path::Path};

use pipsqueak::tokenizer::{EncodeOptions, PreTokenizer, Vocab};
use pipsqueak_cli::{
    import::{ImportError, gguf},
    vocab::{self, VocabModel, VocabSource},
};
use pipsqueak_tests::data;

const PLAIN: EncodeOptions = EncodeOptions { add_bos: false, parse_special: false };
const SPECIAL: EncodeOptions = EncodeOptions { add_bos: false, parse_special: true };

const SENTENCE_PIECE: VocabModel = VocabModel::SentencePiece { add_space_prefix: true };

/// The vocabularies that have texts and are supported.
const SUPPORTED: [(&str, VocabModel); 12] = [
    ("gpt-2", VocabModel::Bpe(PreTokenizer::Gpt2)),
    ("mpt", VocabModel::Bpe(PreTokenizer::Gpt2)),
    ("starcoder", VocabModel::Bpe(PreTokenizer::Smollm)),
    ("refact", VocabModel::Bpe(PreTokenizer::Smollm)),
    ("command-r", VocabModel::Bpe(PreTokenizer::Smollm)),
    ("llama-bpe", VocabModel::Bpe(PreTokenizer::Llama3)),
    ("qwen2", VocabModel::Bpe(PreTokenizer::Qwen2)),
    ("qwen35", VocabModel::Bpe(PreTokenizer::Qwen35)),
    ("falcon", VocabModel::Bpe(PreTokenizer::Falcon)),
    ("deepseek-llm", VocabModel::Bpe(PreTokenizer::DeepseekLlm)),
    ("deepseek-coder", VocabModel::Bpe(PreTokenizer::DeepseekCoder)),
    ("llama-spm", SENTENCE_PIECE),
];

fn open(folder: &Path, name: &str) -> Result<VocabSource, ImportError> {
    let path = folder.join(format!("ggml-vocab-{name}.gguf"));
    gguf::vocab_only(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The texts of a vocabulary and the tokens of each.
fn pairs(folder: &Path, name: &str) -> Vec<(String, Vec<u32>)> {
    let file = |end: &str| fs::read_to_string(folder.join(format!("ggml-vocab-{name}.gguf.{end}"))).unwrap();
    let (texts, tokens) = (file("inp"), file("out"));
    // A line behind each of them, also the last.
    const LINE: &str = "\n__ggml_vocab_test__\n";
    let texts: Vec<_> = texts.strip_suffix(LINE).unwrap().split(LINE).collect();
    let tokens: Vec<Vec<u32>> =
        tokens.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    assert!(texts.len() == tokens.len() && texts.len() > 40, "{} texts, {} lines of tokens", texts.len(), tokens.len());
    texts.into_iter().map(String::from).zip(tokens).collect()
}

#[test]
fn texts_give_the_tokens_that_llama_cpp_gives_and_come_back() {
    let Some(folder) = data::ggml_vocab() else { return };
    for (name, model) in SUPPORTED.into_iter().chain([("phi-3", SENTENCE_PIECE)]) {
        let source = open(&folder, name).unwrap();
        assert_eq!(source.model, model, "{name}");
        let section = vocab::build(&source).unwrap();
        let vocab = Vocab::new(&section).unwrap();
        for (text, expected) in pairs(&folder, name) {
            assert_eq!(vocab::encode(&vocab, &text, PLAIN).unwrap(), expected, "{name}: {text:?}");
            let back = vocab::decode(&vocab, &expected, false).unwrap();
            assert_eq!(String::from_utf8_lossy(&back), text, "{name}");
        }
        for (path, page) in data::pages() {
            let (ids, lost) = vocab::encode_counting(&vocab, &page, SPECIAL).unwrap();
            let back = vocab::decode(&vocab, &ids, true).unwrap();
            // Falcon's has no token for the vertical tab.
            let expected = if name == "falcon" { page.replace('\u{b}', "") } else { page.clone() };
            assert!(back == expected.as_bytes(), "{name}, {}", path.display());
            assert_eq!(lost, page.len() - expected.len());
        }
    }
}

/// What else llama.cpp has a vocabulary of.
#[test]
fn others_are_refused_by_name() {
    let Some(folder) = data::ggml_vocab() else { return };
    for (name, named) in [
        ("gemma-4", "gemma4"),
        ("bert-bge", "bert"),
        ("nomic-bert-moe", "t5"),
        ("aquila", "gpt2 without a pre-tokenizer (tokenizer.ggml.pre)"),
        ("gpt-neox", "gpt2 without a pre-tokenizer (tokenizer.ggml.pre)"),
    ] {
        assert_eq!(open(&folder, name), Err(ImportError::Tokenizer { found: named.into() }), "{name}");
    }
    assert_eq!(open(&folder, "baichuan").unwrap().model, SENTENCE_PIECE);
}

#[test]
fn names_of_llama_3_are_tokens_when_asked_for() {
    let Some(folder) = data::ggml_vocab() else { return };
    let source = open(&folder, "llama-bpe").unwrap();
    assert!(source.add_bos && source.ignore_merges);
    let section = vocab::build(&source).unwrap();
    let vocab = Vocab::new(&section).unwrap();
    let encode = |text, options| vocab::encode(&vocab, text, options).unwrap();
    let text = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>";
    assert_eq!(encode(text, SPECIAL), [128006, 882, 128007, 271, 13347, 128009]);
    let plain = encode(text, PLAIN);
    assert!(plain.iter().all(|id| *id < 128_000) && plain.len() > 12, "{plain:?}");
    let with_bos = vocab::encode(&vocab, "Hi", EncodeOptions { add_bos: true, ..PLAIN }).unwrap();
    assert_eq!(with_bos, [128000, 13347]);
    assert!(vocab.is_stop(128001) && vocab.is_stop(128009));
}
