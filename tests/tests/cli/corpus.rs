//! `corpus`: texts split in two, and texts written by a model.

use std::fs;

use crate::program::{Folder, run};

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
    let documents = |text: &str| -> Vec<String> {
        let parts = text.strip_suffix("\n<|endoftext|>\n").unwrap().split("\n<|endoftext|>\n");
        parts.map(String::from).collect()
    };
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
