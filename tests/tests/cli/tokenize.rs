//! `tokenize`: vocabularies of all kinds, there and back.

use std::{io::Write, process::Stdio};

use pipsqueak_tests::{
    data,
    gguf_writer::{GgufWriter, Value},
};

use super::program::{Folder, Run, command, run};

/// A run with this on stdin.
fn pipe(args: &[&str], input: &[u8]) -> Run {
    let mut child = command(args);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Of its own accord: the program may print before it has read all.
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.into()
}

/// A file with a vocabulary alone: the bytes, some merges, and Llama 3's marks.
fn llama3(pre: &str) -> Vec<u8> {
    let mut tokens: Vec<String> = (' '..='~').map(String::from).collect();
    tokens[0] = "Ġ".into();
    tokens.extend(["th", "the", "Ġthe", "123", "Ċ", "<|begin_of_text|>", "<|eot_id|>"].map(String::from));
    let mut kinds = vec![1; tokens.len()];
    kinds[tokens.len() - 2..].fill(3);
    let bos = tokens.len() as u32 - 2;
    let mut writer = GgufWriter::default();
    writer
        .set("general.architecture", "llama")
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", pre)
        .set("tokenizer.ggml.tokens", Value::Strs(tokens))
        .set("tokenizer.ggml.token_type", Value::I32s(kinds))
        .set("tokenizer.ggml.merges", Value::Strs(["t h", "th e", "Ġ the"].map(String::from).into()))
        .set("tokenizer.ggml.bos_token_id", Value::U32(bos));
    writer.bytes()
}

#[test]
fn a_vocabulary_alone_will_do() {
    let folder = Folder::new("vocabulary");
    let file = folder.file("llama3.gguf", &llama3("llama-bpe"));
    let text = |args: &[&str]| run(&[&["tokenize", &file], args].concat()).text();
    // The whole word 123 is a token, though no merge makes it; four digits are three and one.
    assert_eq!(text(&["the the 1234"]), "96 97 0 98 20\n");
    assert_eq!(text(&["1", "--bos"]), "100 17\n");
    assert_eq!(text(&["a<|eot_id|>", "--special"]), "65 101\n");
    assert_eq!(text(&["a<|eot_id|>"]), "65 28 92 69 79 84 63 73 68 92 30\n");
    assert_eq!(text(&["96 97 0 98 20", "--decode"]), "the the 1234");
    assert_eq!(text(&["65 101", "--decode"]), "a");
    assert_eq!(text(&["65 101", "--decode", "--special"]), "a<|eot_id|>");
    // The same vocabulary, cut as GPT-2 does: a space belongs to the digits, and merges alone count.
    let gpt2 = folder.file("gpt2.gguf", &llama3("gpt-2"));
    assert_eq!(run(&["tokenize", &gpt2, "the 123"]).text(), "96 0 17 18 19\n");
    // One that is not known is named.
    let other = folder.file("other.gguf", &llama3("viking"));
    run(&["tokenize", &other, "a"]).fails(1, &["other.gguf", "\"viking\"", "llama-bpe", "qwen2"]);
}

/// Pages of mixed scripts, digits, spaces, emoji and code come back byte for byte.
#[test]
fn pages_come_back_from_smollm2() {
    let Some(model) = data::smollm2_path() else { return };
    let model = model.to_str().unwrap();
    for (path, page) in data::pages() {
        for mode in [&[][..], &["--special"]] {
            let ids = pipe(&[&["tokenize", model, "-"], mode].concat(), page.as_bytes()).text();
            let back = pipe(&[&["tokenize", model, "-", "--decode"], mode].concat(), ids.as_bytes()).text();
            assert!(back == page, "{}, {mode:?}", path.display());
        }
    }
}
