//! Gemma 3 270M, from a file of K-quants, says what it says elsewhere.

use pipsqueak_tests::data;

use crate::program::{Folder, run};

#[test]
fn capitals() {
    let Some(model) = data::gemma3_path() else { return };
    let model = model.to_str().unwrap();
    let says = |prompt: &str, tokens: &str| run(&["run", model, "-p", prompt, "-n", tokens, "--temp", "0"]).text();
    let question = "Question: What is the capital of France?\nAnswer:";
    assert_eq!(says(question, "1"), format!("{question} Paris\n"));
    // The base model evades without a question. llama.cpp writes the same eight tokens.
    let begun = "The capital of France is";
    assert_eq!(says(begun, "8"), format!("{begun} the capital of the country of France.\n"));
    let city = "The capital of France is the city of";
    assert_eq!(says(city, "1"), format!("{city} Paris\n"));
}

#[test]
fn perplexity() {
    let (Some(model), Some(text)) = (data::gemma3_path(), data::shared("tinystories.txt")) else { return };
    let folder = Folder::new("gemma");
    let text = folder.file("text.txt", &text[..10_000]);
    let said = run(&["eval", model.to_str().unwrap(), "--text", &text, "--ctx", "512"]).text();
    let number = said.lines().find_map(|line| line.strip_prefix("perplexity ")).expect("a perplexity");
    let ours: f64 = number.trim().parse().unwrap();
    // llama-perplexity's of the same file, text and windows.
    let theirs = 6.1957;
    println!("Gemma 3 270M: perplexity {ours}, llama-perplexity {theirs}");
    assert!((ours / theirs - 1.0).abs() < 0.01, "{ours}");
}
