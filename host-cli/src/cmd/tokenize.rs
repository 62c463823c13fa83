//! `tokenize`: text to ids and back.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use pipsqueak::Vocab;

use super::print;
use crate::{
    args::{ModelArgs, TokenizeArgs},
    boxed, engine,
    failure::Failure,
    input::{self, Input},
    vocab,
};

pub(super) fn run(args: &TokenizeArgs) -> Result<(), Failure> {
    let (model, text) = words(args)?;
    let text = match text {
        Some(text) => text,
        None => {
            let mut text = String::new();
            let read = std::io::stdin().lock().read_to_string(&mut text);
            read.map_err(|error| Failure::new(format_args!("stdin: {error}")))?;
            text
        }
    };
    let section = section(&model)?;
    let vocab = Vocab::new(&section).map_err(Failure::new)?;
    if args.decode { decode(&vocab, &text, args) } else { encode(&vocab, &text, args) }
}

fn encode(vocab: &Vocab<'_>, text: &str, args: &TokenizeArgs) -> Result<(), Failure> {
    if args.bos && vocab.bos().is_none() {
        return Err(Failure::usage("--bos: this vocabulary has no BOS token"));
    }
    let ids = engine::encode(vocab, text, args.bos, args.special)?;
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    print(&if args.json { format!("[{}]\n", words.join(",")) } else { words.join(" ") + "\n" })
}

fn decode(vocab: &Vocab<'_>, text: &str, args: &TokenizeArgs) -> Result<(), Failure> {
    use std::io::Write;
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']')).filter(|word| !word.is_empty());
    let ids: Result<Vec<u32>, _> = words
        .map(|word| word.parse().map_err(|_| Failure::usage(format_args!("`{word}` is not a token id"))))
        .collect();
    let ids = ids?;
    let bytes = vocab::decode(vocab, &ids, args.special).map_err(Failure::usage)?;
    if args.json {
        let text = serde_json::to_string(&String::from_utf8_lossy(&bytes)).map_err(Failure::new)?;
        return print(&(text + "\n"));
    }
    // As it was, byte for byte: no line feed is added.
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&bytes).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}

/// Model and text of the command line. A single word is the model if such a file exists or it ends like one.
fn words(args: &TokenizeArgs) -> Result<(ModelArgs, Option<String>), Failure> {
    let tokenizer = args.tokenizer.clone();
    let text = |word: &String| if word == "-" { None } else { Some(word.clone()) };
    let looks_like_model = |word: &str| {
        let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("gguf" | "bin" | "pips")) || Path::new(word).is_file()
    };
    let (model, text) = match args.words.as_slice() {
        [] => (None, None),
        [word] if looks_like_model(word) => (Some(PathBuf::from(word)), None),
        [word] => (None, text(word)),
        [model, word, ..] => (Some(PathBuf::from(model)), text(word)),
    };
    Ok((ModelArgs { model, tokenizer }, text))
}

/// The vocabulary's section. Weights are not touched, and a GGUF or a folder that holds a vocabulary alone will do.
fn section(args: &ModelArgs) -> Result<Vec<u8>, Failure> {
    let tokenizer = args.tokenizer.tokenizer.as_deref();
    // A vocabulary by itself.
    let (path, tokenizer) = match args.model.as_deref() {
        None => (tokenizer, None),
        path => (path, tokenizer),
    };
    let named = path.unwrap_or(Path::new(boxed::NAME)).display().to_string();
    let fail = |error: &dyn std::fmt::Display| Failure::new(format_args!("{named}: {error}"));
    if !path.is_some_and(Path::is_dir) {
        let input = Input::open(path)?;
        if let Some(bytes) = input.image() {
            let image = pipsqueak::Image::open(bytes).map_err(|error| fail(&error))?;
            engine::vocab(&image, None)?;
            return Ok(image.vocab_bytes().to_vec());
        }
    }
    let source = input::vocab(path, tokenizer)?;
    let source = source.ok_or_else(|| fail(&"no vocabulary in it: name llama2.c's tokenizer.bin with --tokenizer"))?;
    vocab::build(&source).map_err(|error| fail(&error))
}
