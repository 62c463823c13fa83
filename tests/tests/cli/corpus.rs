//! `corpus`: texts split in two, and texts written by a model.

use std::fs;

use crate::{
    Stories,
    program::{Folder, run},
    tiny_image,
};

#[test]
fn a_text_is_split() {
    let folder = Folder::new("split");
    let stories: Vec<String> = (0..40).map(|i| format!("Story {i}.\n\nIt ends.")).collect();
    let text = folder.file("text.txt", stories.join("\r\n<|endoftext|>\n\n").as_bytes());
    let [train, test] = ["train.txt", "test.txt"].map(|name| folder.name(name));
    let split = |more: &[&str]| {
        let output = run(&[&["corpus", "split", &text, "--train", &train, "--test", &test], more].concat());
        assert!(output.status == 0 && output.stdout.is_empty(), "{output:?}");
        let read = |name| fs::read_to_string(name).unwrap();
        (output.stderr, read(&train), read(&test))
    };
    let (said, for_train, for_test) = split(&[]);
    assert_eq!(said, "38 documents to train on, 2 held out\n");
    let (mut both, held_out) = (documents(&for_train), documents(&for_test));
    assert_eq!((both.len(), held_out.len()), (38, 2));
    both.extend(held_out);
    both.sort_by_key(|story| stories.iter().position(|other| other == story));
    assert_eq!(both, stories);
    // The same again, another part when asked.
    assert_eq!(split(&[]), (said, for_train, for_test));
    assert_eq!(documents(&split(&["--held-out", "0.5"]).2).len(), 20);
    assert_eq!(folder.names(), ["test.txt", "text.txt", "train.txt"]);
}

#[test]
fn what_cannot_be_split() {
    let folder = Folder::new("no-split");
    let fine = folder.file("fine.txt", b"one\n<|endoftext|>\ntwo");
    let one = folder.file("one.txt", b"one\n<|endoftext|>\none\n");
    let empty = folder.file("empty.txt", b"");
    let blank = folder.file("blank.txt", b" \n<|endoftext|>\n");
    let binary = folder.file("binary.txt", b"abc\xff");
    let (out, out2, missing) = (folder.name("out"), folder.name("out2"), folder.name("missing.txt"));
    let nowhere = folder.name("no/such/folder");
    let split = |text: &str, more: &[&str]| run(&[&["corpus", "split", text], more].concat());
    let files = ["--train", &out, "--test", &out2];
    split(&one, &files).fails(1, &["one.txt", "2 documents (1 different)", "<|endoftext|>"]);
    split(&empty, &files).fails(1, &["empty.txt", "no document"]);
    split(&blank, &files).fails(1, &["blank.txt", "no document"]);
    split(&binary, &files).fails(1, &["binary.txt", "UTF-8", "byte 3"]);
    split(&missing, &files).fails(1, &["missing.txt"]);
    split(&fine, &["--train", &out, "--test", &nowhere]).fails(1, &["no/such/folder"]);
    split(&fine, &["--train", &out, "--test", &out]).fails(2, &["--train", "--test", "two files"]);
    split(&fine, &["--train", &out]).fails(2, &["--test"]);
    for wrong in ["0", "1", "-1", "nan", "some"] {
        split(&fine, &[&files[..], &["--held-out", wrong]].concat()).fails(2, &["--held-out", wrong]);
    }
    run(&["corpus", "mangle"]).fails(2, &["mangle"]);
    assert_eq!(folder.names(), ["binary.txt", "blank.txt", "empty.txt", "fine.txt", "one.txt"]);
    assert!(run(&["corpus", "split", "--help"]).text().contains("--held-out"));
}

/// What stories260K writes, and what the program says about it.
fn written(stories: &Stories, more: &[&str]) -> (String, String) {
    let out = stories.folder.name("out.txt");
    let words = ["corpus", "write", &stories.model, "--tokenizer", &stories.tokenizer, "-o", &out];
    let output = run(&[&words, more].concat());
    assert!(output.status == 0 && output.stdout.is_empty() && output.stderr.matches('\n').count() == 1, "{output:?}");
    (fs::read_to_string(&out).unwrap(), output.stderr)
}

fn documents(text: &str) -> Vec<&str> {
    text.strip_suffix("\n<|endoftext|>\n").expect("a last line").split("\n<|endoftext|>\n").collect()
}

#[test]
fn a_model_writes_documents() {
    let Some(stories) = Stories::new("write-corpus") else { return };
    let (text, said) = written(&stories, &["--tokens", "3000", "--seed", "7", "--threads", "1"]);
    let tales = documents(&text);
    assert!((5..40).contains(&tales.len()) && said.contains(&format!("{} documents, ", tales.len())), "{said}");
    assert!(tales.iter().all(|tale| tale.trim() == *tale && tale.ends_with(['.', '!', '?', '"'])), "{text}");
    assert!((1..tales.len()).all(|i| !tales[..i].contains(&tales[i])), "a tale is told twice");
    // Tokens as told: all of them were asked for, and the last document was finished.
    let tokens: u32 = said.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((3000..3512).contains(&tokens), "{said}");
    // The same with any number of threads; more of the same when more is asked for; others with another seed.
    for threads in ["2", "5"] {
        let (again, _) = written(&stories, &["--tokens", "3000", "--seed", "7", "--threads", threads]);
        assert!(again == text, "{threads} threads");
    }
    let (more, _) = written(&stories, &["--tokens", "6000", "--seed", "7"]);
    assert!(more.starts_with(&text) && more.len() > text.len());
    let (other, _) = written(&stories, &["--tokens", "3000", "--seed", "8"]);
    assert!(documents(&other).iter().all(|tale| !tales.contains(tale)));
    // The temperature counts: the most likely document, again and again.
    let (same, _) = written(&stories, &["--tokens", "900", "--temp", "0", "--kv", "f32"]);
    let same = documents(&same);
    assert!(same.len() > 2 && same.iter().all(|tale| *tale == same[0]));

    // Cut by the context, but behind a sentence.
    let (short, _) = written(&stories, &["--tokens", "2000", "--ctx", "64"]);
    let whole = documents(&short).iter().filter(|tale| tale.ends_with(['.', '!', '?', '"'])).count();
    assert!(whole * 10 >= documents(&short).len() * 9, "{short}");
    assert!(stories.folder.names() == ["model.bin", "out.txt", "tok.bin"]);
}

#[test]
fn documents_begin_as_others_do() {
    let Some(stories) = Stories::new("openings") else { return };
    let openings = ["Tom had a red hat. He ran.", "Mia saw a frog! It was big.", "\"Hi!\" said Ben. Then"];
    let file = stories.folder.file("openings.txt", openings.join("\n<|endoftext|>\n").as_bytes());
    let first = ["Tom had a red hat.", "Mia saw a frog!", "\"Hi!\""];
    let args = ["--tokens", "4000", "--openings", &file];
    let (text, _) = written(&stories, &args);
    let tales = documents(&text);
    for opening in first {
        assert!(tales.iter().any(|tale| tale.starts_with(opening)), "{opening}: {text}");
    }
    assert!(tales.iter().all(|tale| first.iter().any(|opening| tale.starts_with(opening))), "{text}");
    assert!(!tales.iter().all(|tale| openings.iter().any(|opening| tale.starts_with(opening))));
    assert!(written(&stories, &[&args[..], &["--threads", "3"]].concat()).0 == text);
    let (text, _) = written(&stories, &[&args[..], &["--opening-tokens", "2"]].concat());
    assert!(documents(&text).iter().all(|tale| tale.starts_with(['T', 'M', '"'])), "{text}");
    assert!(!documents(&text).iter().all(|tale| first.iter().any(|opening| tale.starts_with(opening))), "{text}");
}

#[test]
fn what_cannot_be_written() {
    let folder = Folder::new("no-write");
    let model = tiny_image(&folder, "tiny.pips", |_, _| {});
    let blank = folder.file("blank.txt", b"\n<|endoftext|>\n");
    let fine = folder.file("fine.txt", b"one two\n");
    let (out, missing) = (folder.name("out"), folder.name("missing"));
    let write = |more: &[&str]| run(&[&["corpus", "write", &model, "-o", &out], more].concat());
    write(&[]).fails(2, &["--tokens"]);
    for (option, value) in [
        ("--tokens", "0"),
        ("--tokens", "many"),
        ("--temp", "-1"),
        ("--top-p", "2"),
        ("--ctx", "1"),
        ("--ctx", "129"),
        ("--threads", "0"),
        ("--kernels", "mmx"),
        ("--kv", "q4"),
    ] {
        let tokens: &[&str] = if option == "--tokens" { &[] } else { &["--tokens", "10"] };
        write(&[tokens, &[option, value]].concat()).fails(2, &[option]);
    }
    write(&["--tokens", "10", "--opening-tokens", "3"]).fails(2, &["--openings"]);
    let opened = |more: &[&str]| write(&[&["--tokens", "10", "--openings"], more].concat());
    opened(&[&fine, "--opening-tokens", "64"]).fails(2, &["--opening-tokens 64", "128"]);
    opened(&[&blank]).fails(1, &["blank.txt", "no document"]);
    opened(&[&missing]).fails(1, &["missing"]);
    run(&["corpus", "write", &missing, "--tokens", "10", "-o", &out]).fails(1, &["missing"]);
    run(&["corpus", "write", &model, "--tokens", "10"]).fails(2, &["-o"]);
    run(&["corpus", "write", &model, "--tokens", "10", "-o", &folder.name("no/where")]).fails(1, &["no/where"]);
    // Damaged weights, told by whichever thread; nothing half-written stays.
    let nan = tiny_image(&folder, "nan.pips", |bytes, image| {
        let entry = image.entries().find(|entry| entry.kind == pipsqueak::TensorKind::W2).unwrap();
        bytes[entry.offset as usize..][..4].copy_from_slice(&[0, 0, 0xc0, 0x7f]);
    });
    run(&["corpus", "write", &nan, "--tokens", "10", "--threads", "3", "-o", &out]).fails(1, &["NaN", "layer 1"]);
    assert_eq!(folder.names(), ["blank.txt", "fine.txt", "nan.pips", "tiny.pips"]);
    // A random model writes noise, and that is fine.
    assert_eq!(write(&["--tokens", "300", "--openings", &fine, "--ctx", "20"]).status, 0);
}
