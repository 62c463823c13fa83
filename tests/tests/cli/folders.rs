//! Hugging Face folders on the command line, and their twins in the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use pipsqueak::{Image, image::Text};
use pipsqueak_cli::source::Encoding;
use pipsqueak_tests::{
    huggingface_writer::HfFolder,
    small_vocab,
    tiny_model::{TinyModel, tiny_config},
};

use crate::program::{Folder, Run, command, run};

fn tiny(encoding: Encoding, shards: Option<usize>, seed: u64) -> HfFolder {
    let model = TinyModel::random(tiny_config(), seed).huggingface(encoding);
    model.with_vocab(&small_vocab::bpe()).folder(shards)
}

fn path(folder: &Folder, name: &str) -> PathBuf {
    folder.path().join(name)
}

#[test]
fn every_command_takes_a_folder() {
    let folder = Folder::new("hf");
    tiny(Encoding::BF16, Some(3), 1).write(&path(&folder, "my model"));
    let name = folder.name("my model");
    // A GGUF of the same weights says the same: its vectors are F32, which BF16 would round.
    let mut model = TinyModel::random(tiny_config(), 1);
    for tensor in model.tensors.iter_mut().filter(|tensor| tensor.rows == 1) {
        tensor.values.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32());
    }
    let gguf = folder.file("model.gguf", &model.gguf(Encoding::BF16).bytes());
    let logits = |model: &str, out: &str| {
        let out = folder.name(out);
        assert_eq!(run(&["logits", model, "--ids", "5,6,7,8", "-o", &out]).text(), "");
        fs::read(out).unwrap()
    };
    assert!(logits(&name, "hf.bin") == logits(&gguf, "gguf.bin"));

    let text = run(&["run", &name, "-p", "the and", "-n", "6", "--temp", "0"]);
    assert!(text.stderr.lines().count() == 1, "{}", text.stderr);
    assert!(text.text().starts_with("the and"));
    // New tokens are counted, not llama2.c's steps.
    let report = run(&["run", &name, "-p", "the and", "-n", "6", "--temp", "0", "--json"]).json();
    assert_eq!(report["tokens"].as_array().unwrap().len(), 6, "{report}");
    assert_eq!(run(&["tokenize", &name, "the and12"]).text(), "258 33 261 50 51\n");
    assert_eq!(run(&["tokenize", &name, "the"]).text(), "258\n");
    let inspected = run(&["inspect", &name, "--json"]).json();
    assert_eq!((inspected["name"].as_str(), inspected["config"]["dim"].as_u64()), (Some("my model"), Some(64)));
    let file = folder.file("text.txt", "the and the ".repeat(40).as_bytes());
    assert!(
        run(&["eval", &name, "--text", &file, "--ctx", "16", "--json"]).json()["perplexity"].as_f64().unwrap() > 1.0
    );

    let packed = folder.name("packed.pips");
    let said = run(&["pack", &name, "-o", &packed, "--quant", "q8", "--for", "scalar"]);
    assert!(said.status == 0 && said.stdout.is_empty(), "{said:?}");
    let bytes = fs::read(&packed).unwrap();
    let image = pipsqueak_tests::engine::Aligned::new(&bytes);
    let image = Image::open(image.bytes()).unwrap();
    assert_eq!((image.text(Text::Name), image.text(Text::ChatTemplate)), (Some("my model"), Some("{{ messages }}")));
    let self_test = run(&["selftest", &packed, "--kernels", "scalar"]);
    assert_eq!(self_test.status, 0, "{self_test:?}");
    // A vocabulary alone will do to cut text.
    for shard in 1..=3 {
        fs::remove_file(path(&folder, &format!("my model/model-{shard:05}-of-00003.safetensors"))).unwrap();
    }
    assert_eq!(run(&["tokenize", &name, "the"]).text(), "258\n");
}

#[test]
fn what_is_wrong_with_a_folder_is_said_in_one_line() {
    let folder = Folder::new("hf-wrong");
    let at = |name: &str| folder.name(name);
    let logits = |name: &str| run(&["logits", name, "--ids", "1", "-o", &at("out")]);
    fs::create_dir(path(&folder, "empty")).unwrap();
    logits(&at("empty")).fails(1, &["empty: is a folder without config.json"]);
    let change = |name: &str, shards: Option<usize>, change: &dyn Fn(&Path)| {
        let model = path(&folder, name);
        tiny(Encoding::F16, shards, 1).write(&model);
        change(&model);
        logits(&at(name))
    };
    let remove = |name: &'static str| move |model: &Path| fs::remove_file(model.join(name)).unwrap();
    change("unweighted", None, &remove("model.safetensors")).fails(1, &["unweighted: no weights: neither"]);
    let torch = |model: &Path| {
        fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).unwrap();
    };
    change("torch", None, &torch).fails(1, &["torch: no weights but pytorch_model.bin, which cannot be read"]);
    let shard = "model-00002-of-00003.safetensors";
    change("gap", Some(3), &remove(shard)).fails(1, &["gap/model-00002-of-00003.safetensors: ", "No such file"]);
    let cut = |model: &Path| {
        let bytes = fs::read(model.join(shard)).unwrap();
        fs::write(model.join(shard), &bytes[..bytes.len() - 2]).unwrap();
    };
    change("cut", Some(3), &cut)
        .fails(1, &["cut/model-00002-of-00003.safetensors: the file should be ", "is it complete?"]);
    let empty = |model: &Path| fs::write(model.join("config.json"), "").unwrap();
    change("blank", None, &empty).fails(1, &["blank/config.json: not the JSON of a model's configuration: EOF"]);
    let folder_in_place = |model: &Path| {
        fs::remove_file(model.join("config.json")).unwrap();
        fs::create_dir(model.join("config.json")).unwrap();
    };
    change("nested", None, &folder_in_place).fails(1, &["nested/config.json: is a folder"]);
    let other = |model: &Path| {
        let text = fs::read_to_string(model.join("config.json")).unwrap();
        fs::write(model.join("config.json"), text.replace("LlamaFor", "PhiFor")).unwrap();
    };
    change("other", None, &other).fails(1, &["other/config.json: architecture \"PhiForCausalLM\""]);
    change("speechless", None, &remove("tokenizer.json"));
    run(&["run", &at("speechless"), "-p", "a"]).fails(1, &["no tokenizer.json"]);
    // The weights by themselves.
    logits(&at("other/model.safetensors")).fails(1, &["not a model file", "a Hugging Face model, named by its folder"]);
}

/// A folder's twin is stale when any of the files it was made from has changed, has gone, or has come.
#[test]
fn a_folder_has_a_twin() {
    let folder = Folder::new("hf-twin");
    let model = path(&folder, "model");
    let write = |shards, seed| {
        let _ = fs::remove_dir_all(&model);
        tiny(Encoding::F16, shards, seed).write(&model);
    };
    let logits = |more: &[&str]| {
        let (name, out) = (folder.name("model"), folder.name("out"));
        let mut command = command(&[&["logits", &name, "--ids", "1,2,3", "-o", &out], more].concat());
        command.env("XDG_CACHE_HOME", path(&folder, "cache")).stdin(Stdio::null());
        let run = Run::from(command.output().unwrap());
        assert_eq!(run.status, 0, "{run:?}");
        (fs::read(out).unwrap(), run.stderr)
    };
    let twins = || {
        let entries = fs::read_dir(path(&folder, "cache/pipsqueak")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    write(Some(3), 1);
    let (want, _) = logits(&[]);
    assert_eq!(logits(&["--cache"]), (want.clone(), String::new()));
    assert!(twins().len() == 1 && twins()[0].starts_with("model."), "{:?}", twins());
    let made = || fs::metadata(path(&folder, "cache/pipsqueak").join(&twins()[0])).unwrap().modified().unwrap();
    let first = made();
    assert_eq!(logits(&["--cache"]), (want.clone(), String::new()));
    assert_eq!(made(), first);
    // Files that are not read do not matter.
    fs::write(model.join("README.md"), "x").unwrap();
    assert_eq!(logits(&["--cache"]), (want.clone(), String::new()));

    let later = |name: &str, seconds: u64| {
        let file = fs::File::options().write(true).open(model.join(name)).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(seconds)).unwrap();
    };
    let stale = |what: &str| {
        let (_, said) = logits(&["--cache"]);
        assert!(said.lines().count() == 1 && said.contains("the twin is stale"), "{what}: {said}");
        let (_, said) = logits(&["--cache"]);
        assert!(said.is_empty() && twins().len() == 1, "{what}: {said}");
    };
    for (seconds, name) in [
        (5, "config.json"),
        (6, "tokenizer.json"),
        (7, "tokenizer_config.json"),
        (8, "model.safetensors.index.json"),
        (9, "model-00001-of-00003.safetensors"),
        (10, "model-00003-of-00003.safetensors"),
    ] {
        later(name, seconds);
        stale(name);
    }
    fs::remove_file(model.join("tokenizer_config.json")).unwrap();
    stale("a file less");
    fs::write(model.join("generation_config.json"), "{}").unwrap();
    stale("a file more");
    // Another model in its place.
    write(None, 2);
    let (want, _) = logits(&[]);
    stale("another model");
    assert_eq!(logits(&["--cache"]), (want, String::new()));
}
