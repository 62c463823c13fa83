//! The program from outside: what it prints, how it ends, what it leaves behind.

mod architectures;
mod bench;
mod cache;
mod chat;
mod corpus;
mod digits;
mod folders;
mod gemma;
mod program;
mod state;
mod tokenize;
mod toy;

use std::{
    fs,
    io::{Read, Write},
    process::Stdio,
};

use pipsqueak::{
    Config, Image,
    kernels::{Format, Panel, select},
};
use pipsqueak_cli::source::Encoding;
use pipsqueak_tests::{
    data,
    engine::TinyFile,
    gguf_writer::Value,
    small_vocab,
    tiny_model::{TinyModel, tiny_config},
};
use program::{Folder, command, run};

/// stories260K in a folder, with the words that name it.
struct Stories {
    folder: Folder,
    model: String,
    tokenizer: String,
}

impl Stories {
    fn new(name: &str) -> Option<Self> {
        let (model, tokenizer) = (data::shared("stories260K.bin")?, data::shared("tok512.bin")?);
        let folder = Folder::new(name);
        let (model, tokenizer) = (folder.file("model.bin", &model), folder.file("tok.bin", &tokenizer));
        Some(Self { folder, model, tokenizer })
    }

    fn run(&self, command: &str, args: &[&str]) -> program::Run {
        run(&[&[command, &self.model, "--tokenizer", &self.tokenizer], args].concat())
    }
}

/// A small image with a vocabulary, as a file.
fn tiny_image(folder: &Folder, name: &str, change: impl FnOnce(&mut [u8], &Image<'_>)) -> String {
    let mut file = TinyFile::new(TinyModel::random(tiny_config(), 1));
    file.vocab = Some(small_vocab::sentencepiece());
    let packed = file.pack(Format::F32, Panel::R1);
    let mut bytes = packed.bytes().to_vec();
    change(&mut bytes, &Image::open(packed.bytes()).unwrap());
    folder.file(name, &bytes)
}

fn close(value: &serde_json::Value, want: f64, by: f64) -> bool {
    (value.as_f64().expect("a number") - want).abs() < by
}

#[test]
fn run_tells_the_story() {
    let (Some(stories), Some(want)) = (Stories::new("run"), data::shared("stories260K.txt")) else { return };
    let prompt = ["-p", "Once upon a time", "--temp", "0", "-n", "200"];
    for more in [&[][..], &["--kernels", "scalar"], &["--threads", "2", "--kv", "f32", "--batch", "1"], &["--verify"]] {
        let output = stories.run("run", &[&prompt, more].concat());
        assert_eq!(output.stderr.matches('\n').count(), 1, "{}", output.stderr);
        assert!(output.text().as_bytes() == want, "{more:?}");
    }
    let report = stories.run("run", &[&prompt[..], &["--json"]].concat()).json();
    assert_eq!(report["text"].as_str().unwrap().as_bytes(), want.strip_suffix(b"\n").unwrap());
    assert_eq!(report["prompt_tokens"], serde_json::json!([1, 403, 407, 261, 378]));
    assert_eq!(report["tokens"].as_array().unwrap().len(), 196);
    assert_eq!((report["stopped"].as_str(), report["threads"].as_u64()), (Some("length"), Some(1)));
    assert!(report["kernels"].is_string() && report["decode_tokens_per_s"].as_f64().unwrap() > 0.0);

    // The same seed, the same text; another, another.
    let sampled = |seed| stories.run("run", &["-n", "60", "--temp", "1", "--seed", seed]).text();
    assert_eq!(sampled("5"), sampled("5"));
    assert_ne!(sampled("5"), sampled("6"));
    // A full context ends a text, and says so.
    let output = stories.run("run", &[&prompt[..4], &["--ctx", "8", "-n", "50"]].concat());
    assert!(output.status == 0 && output.stderr.contains("the context of 8 tokens is full"), "{}", output.stderr);
}

#[test]
fn tokenize_prints_ids() {
    let Some(stories) = Stories::new("tokenize") else { return };
    let text = |args: &[&str]| stories.run("tokenize", args).text();
    assert_eq!(text(&["Once upon a time"]), "403 407 261 378\n");
    assert_eq!(text(&["Once upon a time", "--bos"]), "1 403 407 261 378\n");
    assert_eq!(text(&["Once upon a time", "--json"]), "[403,407,261,378]\n");
    assert_eq!(text(&["", "--json"]), "[]\n");
    assert_eq!(text(&["1 403 407 261 378", "--decode"]), "Once upon a time");
    assert_eq!(text(&["[1, 403, 407]", "--decode", "--json"]), "\"Once upon\"\n");
    // From stdin, byte for byte there and back.
    let pipe = |args: &[&str], input: &[u8]| {
        let words = ["tokenize", &stories.model, "--tokenizer", &stories.tokenizer];
        let mut child = command(&[&words, args].concat());
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        program::Run::from(child.wait_with_output().unwrap())
    };
    let odd = "  two  spaces\n\ttab, été 漢字 🙂\n";
    let ids = pipe(&["-"], odd.as_bytes()).text();
    assert_eq!(pipe(&["-", "--decode"], ids.as_bytes()).text(), odd);
    pipe(&["-"], b"a\xff").fails(1, &["stdin", "UTF-8"]);
}

#[test]
fn eval_counts_as_documented() {
    let (Some(stories), Some(text)) = (Stories::new("eval"), data::shared("tinystories.txt")) else { return };
    let text = String::from_utf8(text).unwrap();
    let end = text.match_indices("<|endoftext|>").nth(19).unwrap().0;
    let file = stories.folder.file("text.txt", &text.as_bytes()[..end]);
    // As an implementation of its own in numpy (f64) has it: BOS, the first 20 documents, cut at 512.
    let report = stories.run("eval", &["--text", &file, "--documents", "--kv", "f32", "--json"]).json();
    assert!(close(&report["bits_per_char"], 0.907_966, 2e-6), "{report}");
    assert!(close(&report["perplexity"], 3.799_343, 1e-5), "{report}");
    assert_eq!((report["tokens"].as_u64(), report["chars"].as_u64()), (Some(6_449), Some(13_678)));
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 4, "{keys:?}");

    // Windows, the second half of each scored.
    let report = stories.run("eval", &["--text", &file, "--ctx", "128", "--json"]).json();
    let ids = stories.run("tokenize", &["--bos", &text[..end]]).text();
    let windows = ids.split_whitespace().count() / 128;
    assert_eq!(report["tokens"].as_u64(), Some(63 * windows as u64));
    let readable = stories.run("eval", &["--text", &file, "--ctx", "128"]).text();
    assert!(readable.starts_with("perplexity ") && readable.lines().count() == 4, "{readable}");

    let short = stories.folder.file("short.txt", b"Once upon a time");
    stories.run("eval", &["--text", &short]).fails(1, &["5 tokens", "512", "--ctx"]);
    stories.run("eval", &["--text", &short, "--ctx", "2"]).fails(2, &["--ctx 2"]);
    let empty = stories.folder.file("empty.txt", b"\n<|endoftext|>\n\n");
    stories.run("eval", &["--text", &empty, "--documents"]).fails(1, &["no document"]);
    let binary = stories.folder.file("binary.txt", b"abc\xff");
    stories.run("eval", &["--text", &binary]).fails(1, &["binary.txt", "UTF-8", "byte 3"]);
    stories.run("eval", &["--text", &stories.folder.name("none")]).fails(1, &["none"]);
    stories.run("eval", &[]).fails(2, &["--text"]);
}

#[test]
fn pack_inspect_logits_and_selftest_agree() {
    let Some(stories) = Stories::new("pack") else { return };
    let f32_image = stories.folder.name("f32.pips");
    let output = stories.run("pack", &["-o", &f32_image]);
    assert!(output.stdout.is_empty() && output.status == 0 && output.stderr.contains(&f32_image), "{output:?}");
    // An image continues like its source: 196 new tokens are 200 steps.
    if let Some(want) = data::shared("stories260K.txt") {
        let story = run(&["run", &f32_image, "-p", "Once upon a time", "--temp", "0", "-n", "196"]).text();
        assert!(story.as_bytes() == want);
    }
    for quant in ["q8", "q4", "q4m", "f16"] {
        for target in ["scalar", "avx2", "neon", "mps3-an547"] {
            let image = stories.folder.name(&format!("{quant}-{target}.pips"));
            assert_eq!(stories.run("pack", &["-o", &image, "--quant", quant, "--for", target]).status, 0);
            if target != "neon" {
                continue;
            }
            // Rows in panels that this CPU has to repack or to read slowly.
            let check = run(&["selftest", &image]);
            let golden = check.stderr.matches("golden vector").count();
            let right = check.stderr.matches("cache is right").count();
            let fine = check.status == 0 && golden == right && right == 3 * select::all().count();
            assert!(fine && check.stderr.contains("all checksums are right"), "{check:?}");
            let report = run(&["inspect", &image, "--json"]).json();
            assert_eq!(report["config"]["dim"], 64);
            assert_eq!(report["bytes"].as_u64(), Some(fs::metadata(&image).unwrap().len()));
        }
        // Repacked for this CPU from one panel or the other, or read in place: the same bits.
        let logits = |image: &str, more: &[&str]| {
            let out = stories.folder.name("logits.f32");
            let args = [&["logits", image, "--ids", "1,403,407,261,378", "-o", &out], more].concat();
            assert!(run(&args).text().is_empty());
            fs::read(&out).unwrap()
        };
        let first = logits(&stories.folder.name(&format!("{quant}-scalar.pips")), &[]);
        assert_eq!(first.len(), 5 * 512 * 4);
        for target in ["avx2", "neon"] {
            let image = stories.folder.name(&format!("{quant}-{target}.pips"));
            for more in [&[][..], &["--kernels", "scalar"], &["--threads", "2", "--batch", "2"]] {
                assert!(logits(&image, more) == first, "{quant} {target} {more:?}");
            }
        }
    }
    // The kernel sets for 64-bit Arm share their panels.
    let neon = fs::read(stories.folder.name("q4-neon.pips")).unwrap();
    for target in ["dotprod", "i8mm"] {
        let image = stories.folder.name(&format!("{target}.pips"));
        assert_eq!(stories.run("pack", &["-o", &image, "--quant", "q4", "--for", target]).status, 0);
        assert!(fs::read(&image).unwrap() == neon, "{target}");
    }
    let text = stories.run("inspect", &[]).text();
    assert!(text.contains("5 layers") && text.contains("microbit"), "{text}");
    let calibration = stories.folder.file("some.txt", "Lily and the cat sat on the mat. ".repeat(20).as_bytes());
    let image = stories.folder.name("calibrated.pips");
    assert_eq!(stories.run("pack", &["-o", &image, "--quant", "q4", "--calibrate", &calibration]).status, 0);
    stories.run("pack", &["-o", &image, "--for", "nope"]).fails(2, &["--for nope", "avx2", "microbit"]);
    assert_eq!(run(&["selftest"]).status, 0);
}

#[test]
fn wrong_words_end_with_2() {
    let folder = Folder::new("words");
    let model = tiny_image(&folder, "tiny.pips", |_, _| {});
    let cases: &[(&[&str], &[&str])] = &[
        (&["run", &model, "--foo"], &["--foo"]),
        (&["nonsense"], &["nonsense"]),
        (&["run", &model, "-n", "many"], &["many", "--tokens"]),
        (&["run", &model, "--temp", "-1"], &["-1"]),
        (&["run", &model, "--temp", "nan"], &["nan", "--temp"]),
        (&["run", &model, "--top-p", "1.5"], &["1.5", "--top-p"]),
        (&["run", &model, "--repeat-penalty", "0"], &["--repeat-penalty"]),
        (&["run", &model, "--kv", "q4"], &["q4", "--kv", "i8"]),
        (&["run", &model, "--threads", "0"], &["--threads"]),
        (&["run", &model, "--batch", "0"], &["--batch"]),
        (&["run", &model, "--kernels", "mmx"], &["--kernels mmx", "scalar"]),
        (&["selftest", &model, "--kernels", "mmx"], &["--kernels mmx", "scalar"]),
        (&["run", &model, "--ctx", "129"], &["--ctx 129", "128"]),
        (&["run", &model, "--ctx", "0"], &["--ctx"]),
        (&["bench", &model, "-t", "0"], &["-t 0"]),
        (&["bench", &model, "-t", "1,0"], &["-t 0"]),
        (&["logits", &model, "--ids", "1,x", "-o", "never"], &["x", "--ids"]),
        (&["logits", &model, "--ids", "-1", "-o", "never"], &["-1"]),
        (&["logits", &model, "--ids", "1,300", "-o", "never"], &["--ids 300", "0 to 299"]),
        (&["tokenize", &model, "5 300", "--decode"], &["300"]),
        (&["logits", &model, "-o", "never"], &["--ids"]),
        (&["logits", &model, "--ids", "1"], &["-o"]),
        (&["tokenize", &model, "1 x", "--decode"], &["x", "not a token id"]),
        (&["pack", &model], &["-o"]),
        (&["pack", &model, "-o", "never", "--quant", "q3"], &["q3", "--quant", "q4m"]),
        (&["eval", &model], &["--text"]),
    ];
    for (args, words) in cases {
        run(args).fails(2, words);
    }
    assert_eq!(folder.names(), ["tiny.pips"]);
    let help = run(&["--help"]);
    assert!(help.stderr.is_empty() && help.text().contains("Usage: pipsqueak"));
    assert!(run(&["run", "--help"]).text().contains("--top-k"));
    assert!(run(&["--version"]).text().starts_with("pipsqueak "));
}

#[test]
fn without_a_model_the_box_tells_a_story() {
    let story = run(&[]);
    assert_eq!(story.status, 0, "{}", story.stderr);
    assert!(story.stderr.contains("tokens, ") && story.stderr.contains("Try next"), "{}", story.stderr);
    let text = story.text();
    assert!(text.starts_with("Once upon a time") && text.len() > 300, "{text}");
    assert_eq!(run(&["run", "-n", "450"]).text(), text);
    assert_eq!(run(&["inspect", "--json"]).json()["name"], "stories");
    let check = run(&["selftest"]);
    assert!(check.status == 0 && check.stderr.contains("all checksums are right"), "{}", check.stderr);
}

#[test]
fn drafts_leave_the_text_alone() {
    // A text that the model has said before, so that there is something to guess.
    let once = run(&["run", "-p", "Once upon a time", "-n", "100", "--temp", "0"]).text();
    let prompt = format!("{} {}", once.trim(), once.trim());
    let mut accepted = 0;
    for sampling in [&["--temp", "0"][..], &["--seed", "3"], &["--temp", "0.5", "--repeat-penalty", "1.1"]] {
        let report = |more: &[&str]| {
            let args = ["run", "-p", &prompt, "-n", "120", "--ctx", "512", "--json"];
            run(&[&args, sampling, more].concat()).json()
        };
        let plain = report(&["--draft", "0"]);
        assert_eq!((&plain["drafts_verified"], &plain["drafts_accepted"]), (&0.into(), &0.into()));
        for more in
            [&[][..], &["--draft", "1"], &["--draft", "200"], &["--draft", "15", "--batch", "4"], &["--batch", "1"]]
        {
            let drafted = report(more);
            for same in ["text", "tokens", "stopped"] {
                assert_eq!(drafted[same], plain[same], "{sampling:?} {more:?}");
            }
            let count = |name: &str| drafted[name].as_u64().expect("a number");
            assert!(count("drafts_accepted") <= count("drafts_verified"));
            accepted += count("drafts_accepted");
        }
    }
    assert!(accepted > 0);
    run(&["run", "--draft", "256"]).fails(2, &["--draft", "256"]);
}

#[test]
fn wrong_files_end_with_1() {
    let folder = Folder::new("files");
    let fine = tiny_image(&folder, "tiny.pips", |_, _| {});
    let gguf = |encoding| TinyModel::random(Config { n_layers: 1, ..tiny_config() }, 1).gguf(encoding);
    let whole = gguf(Encoding::Q8_0).bytes();
    let mut other = gguf(Encoding::F32);
    other.set("general.architecture", Value::from("mamba"));
    let mut nan = TinyModel::random(tiny_config(), 1);
    nan.tensors[3].values[7] = f32::NAN;
    let missing = folder.name("missing.gguf");
    let empty = folder.file("empty.gguf", b"");
    let text = folder.file("notes.txt", b"# Notes\nThis is not a model, only some text of a few lines.\n");
    let cut = folder.file("cut.gguf", &whole[..whole.len() - 1]);
    let cut_early = folder.file("early.gguf", &whole[..100]);
    let other = folder.file("mamba.gguf", &other.bytes());
    let nan = folder.file("nan.gguf", &nan.gguf(Encoding::F16).bytes());
    let silent = folder.file("silent.gguf", &whole);
    let cut_image = tiny_image(&folder, "cut.pips", |_, _| {});
    let bytes = fs::read(&cut_image).unwrap();
    fs::write(&cut_image, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = tiny_image(&folder, "damaged.pips", |bytes, _| bytes[30] ^= 4);
    let wrong_weight = |bytes: &mut [u8], image: &Image<'_>, new: [u8; 4]| {
        let entry = image.entries().find(|entry| entry.kind == pipsqueak::TensorKind::W2).unwrap();
        bytes[entry.offset as usize..][..4].copy_from_slice(&new);
    };
    let not_finite = tiny_image(&folder, "nan.pips", |bytes, image| wrong_weight(bytes, image, [0, 0, 0xc0, 0x7f]));
    let flipped = tiny_image(&folder, "flipped.pips", |bytes, image| wrong_weight(bytes, image, [0, 0, 0, 0x3f]));
    let folder_name = folder.name("");
    let out = folder.name("out");

    let cases: &[(&[&str], &[&str])] = &[
        (&[&missing], &["missing.gguf"]),
        (&[&folder_name], &["folder"]),
        (&[&empty], &["empty.gguf"]),
        (&[&text], &["notes.txt"]),
        (&[&cut], &["cut.gguf"]),
        (&[&cut_early], &["early.gguf"]),
        (&[&other], &["mamba.gguf", "mamba"]),
        (&[&nan], &["nan.gguf", "not a finite number", "row 0, column 7"]),
        (&[&cut_image], &["cut.pips"]),
        (&[&damaged], &["damaged.pips", "header", "CRC-32"]),
        (&[&fine, "--tokenizer", &missing], &["tiny.pips", "--tokenizer"]),
    ];
    for (words, named) in cases {
        for rest in [
            &["run", "-n", "3"][..],
            &["logits", "--ids", "1", "-o", &out],
            &["pack", "-o", &out],
            &["inspect"],
            &["bench", "-p", "2", "-n", "2", "-t", "1"],
            &["eval", "--text", &text],
        ] {
            let (command, rest) = rest.split_first().unwrap();
            run(&[&[*command], *words, rest].concat()).fails(1, named);
        }
    }
    run(&["run", &silent]).fails(1, &["no vocabulary"]);
    run(&["tokenize", &silent, "text"]).fails(1, &["silent.gguf", "tokenizer"]);
    run(&["eval", &silent, "--text", &text]).fails(1, &["no vocabulary"]);
    run(&["run", &not_finite, "-n", "3"]).fails(1, &["NaN", "layer 1"]);
    run(&["logits", &not_finite, "--ids", "1,2", "-o", &out]).fails(1, &["NaN", "layer 1"]);
    run(&["pack", &not_finite, "-o", &out]).fails(1, &["nan.pips", "w2 of layer 0", "NaN"]);
    run(&["run", &flipped, "--verify"]).fails(1, &["flipped.pips", "w2 of layer 0", "CRC-32"]);
    run(&["run", &fine, "-p", &"word ".repeat(100)]).fails(1, &["tokens and the context 128"]);
    run(&["run", &fine, "-p", "one two three", "--ctx", "2"]).fails(1, &["context 2", "--ctx"]);
    run(&["logits", &fine, "--ids", &["1"; 129].join(","), "-o", &out]).fails(1, &["129", "128"]);
    let check = run(&["selftest", &flipped]);
    assert!(check.status == 1 && check.stdout.is_empty() && check.stderr.contains("w2 of layer 0"), "{check:?}");
    let left = folder.names();
    assert!(!left.iter().any(|name| name == "out" || name.starts_with('.')), "{left:?}");
}

/// Nothing half-written stays, and what was there before does.
#[cfg(unix)]
#[test]
fn failing_to_write_leaves_nothing() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let folder = Folder::new("write");
    let model = tiny_image(&folder, "tiny.pips", |_, _| {});
    let logits = |out: &str| run(&["logits", &model, "--ids", "1,2", "-o", out]);
    let pack = |out: &str| run(&["pack", &model, "-o", out]);
    for (target, words) in
        [(folder.name("no/such/folder/out"), "no/such/folder/out"), (folder.name(""), "is a directory")]
    {
        logits(&target).fails(1, &[words]);
        pack(&target).fails(1, &[words]);
    }
    // Devices by another name: should the program replace one after all, then only the link.
    let (full, null) = (folder.name("full"), folder.name("null"));
    symlink("/dev/full", &full).unwrap();
    symlink("/dev/null", &null).unwrap();
    logits(&full).fails(1, &["full", "No space left"]);
    pack(&full).fails(1, &["full", "No space left"]);
    assert_eq!((logits(&null).status, pack(&null).status), (0, 0));
    for device in [&full, &null] {
        assert!(fs::metadata(device).unwrap().file_type().is_char_device(), "{device} was replaced");
    }
    assert_eq!(folder.names(), ["full", "null", "tiny.pips"]);

    // A folder nobody may write to. Root may; then the file is simply written.
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let output = logits(&folder.name("locked/out"));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
    if output.status != 0 {
        output.fails(1, &["locked/out"]);
        assert_eq!(fs::read_dir(&locked).unwrap().count(), 0);
    }

    // An error half-way keeps the old file, and leaves no other.
    let old = folder.file("old", b"precious");
    let nan = tiny_image(&folder, "nan.pips", |bytes, image| {
        let entry = image.entries().find(|entry| entry.kind == pipsqueak::TensorKind::TokenEmbedding).unwrap();
        bytes[entry.offset as usize + 64 * 4 * 7..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    run(&["logits", &nan, "--ids", "1,2,7", "--batch", "1", "-o", &old]).fails(1, &["NaN"]);
    run(&["pack", &nan, "-o", &old]).fails(1, &["NaN"]);
    let names = folder.names();
    assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");
    assert_eq!(fs::read(&old).unwrap(), b"precious");
    assert_eq!(logits(&old).status, 0);
    assert_eq!(fs::read(&old).unwrap().len(), 2 * 300 * 4);
    // Packing a model over itself: it is read to the end before anything is written.
    assert_eq!(pack(&model).status, 0);
    assert_eq!(run(&["selftest", &model]).status, 0);
}

/// A reader that has seen enough is no error worth a line.
#[test]
fn a_closed_pipe_makes_no_noise() {
    let folder = Folder::new("pipe");
    let model = tiny_image(&folder, "tiny.pips", |_, _| {});
    for args in [&["run", &model, "-n", "120"][..], &["inspect", &model], &["inspect", &model, "--json"]] {
        let mut child =
            command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let noise = ["panicked", "Broken pipe", "os error"].iter().any(|word| stderr.contains(word));
        assert!(output.status.code().is_some() && !noise, "{args:?}: {stderr}");
    }
}
