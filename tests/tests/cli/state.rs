//! `run --save`, `--load` and `--stop`: sessions kept in files, and texts that end where they should.

use std::fs;

use serde_json::Value;

use crate::{
    Stories,
    program::{Folder, run},
    tiny_image,
};

fn ids(report: &Value, field: &str) -> Vec<u64> {
    report[field].as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id")).collect()
}

#[test]
fn a_kept_session_goes_on_as_if_it_had_never_stopped() {
    let folder = Folder::new("state");
    let file = folder.name("text.state");
    for (i, kv) in ["f32", "f16", "i8"].into_iter().enumerate() {
        for sampling in [&["--temp", "0"][..], &["--seed", "3"], &["--temp", "0.9", "--repeat-penalty", "1.2"]] {
            let whole =
                run(&[&["run", "-p", "Lily and Tom", "-n", "60", "--kv", kv, "--json"], sampling].concat()).json();
            let want = ids(&whole, "tokens");
            assert_eq!(want.len(), 60, "{whole}");
            let one: &[&str] = [&["--threads", "2"][..], &["--batch", "1"], &["--kernels", "scalar"]][i];
            let first = ["run", "-p", "Lily and Tom", "-n", "25", "--kv", kv, "--json", "--save", &file, "--ctx", "40"];
            let first = run(&[&first, sampling, one].concat()).json();
            assert_eq!(ids(&first, "tokens"), want[..25]);
            for more in [&[][..], &["--kernels", "scalar", "--batch", "3"], &["--threads", "2"], &["--draft", "0"]] {
                let rest = ["run", "--load", &file, "-n", "35", "--kv", kv, "--json"];
                let rest = run(&[&rest, sampling, more].concat()).json();
                assert_eq!(ids(&rest, "tokens"), want[25..], "{kv} {sampling:?} {more:?}");
                let before = ids(&whole, "prompt_tokens").len() as u64;
                // The last token had been chosen and not fed.
                assert_eq!(rest["loaded_tokens"].as_u64(), Some(before + 24));
                assert_eq!((&rest["prompt"], ids(&rest, "prompt_tokens").len()), (&"".into(), 0));
                let text = |report: &Value| report["text"].as_str().unwrap().to_string();
                assert_eq!(text(&first) + &text(&rest), text(&whole));
            }
        }
    }
    assert_eq!(folder.names(), ["text.state"]);
}

#[test]
fn a_prefix_is_computed_once() {
    let Some(stories) = Stories::new("prefix") else { return };
    let prefix = stories.folder.name("prefix.state");
    let text = "Once upon a time there was a little girl who liked to play with her big red ball";
    let options = ["--kv", "i8", "--temp", "0", "--json"];
    let saved = stories.run("run", &[&["-p", text, "-n", "0", "--save", &prefix], &options[..]].concat()).json();
    assert_eq!((saved["text"].as_str(), ids(&saved, "tokens").len()), (Some(text), 0));
    let before = fs::read(&prefix).unwrap();
    for more in [" in the park.", ". One day", " and her cat\n\nThe end"] {
        let whole = stories.run("run", &[&["-p", &format!("{text}{more}"), "-n", "80"], &options[..]].concat()).json();
        let got = stories.run("run", &[&["--load", &prefix, "-p", more, "-n", "80"], &options[..]].concat()).json();
        // As if the prefix had been given too: the vocabulary cuts the text in the same place.
        let joined = [ids(&saved, "prompt_tokens"), ids(&got, "prompt_tokens")].concat();
        assert_eq!(joined, ids(&whole, "prompt_tokens"), "{more:?}");
        assert_eq!(ids(&got, "tokens"), ids(&whole, "tokens"), "{more:?}");
        let all = whole["text"].as_str().unwrap();
        assert_eq!(got["text"].as_str(), all.strip_prefix(text), "{more:?}");
        assert_eq!(got["loaded_tokens"].as_u64(), Some(ids(&saved, "prompt_tokens").len() as u64));
    }
    assert!(fs::read(&prefix).unwrap() == before);
    let told = stories.run("run", &["--load", &prefix, "-p", " in the park.", "-n", "60", "--kv", "i8"]);
    assert_eq!(ids(&saved, "prompt_tokens").len(), 26);
    assert!(told.stderr.starts_with("[26 tokens loaded; 6 prompt tokens, "), "{}", told.stderr);
    assert!(told.text().starts_with(" in the park."));
}

#[test]
fn states_that_do_not_fit_are_refused_in_words() {
    let folder = Folder::new("state-refused");
    let [one, other] = ["one.pips", "other.pips"].map(|name| {
        tiny_image(&folder, name, |bytes, image| {
            // Another weight, as another training run would give.
            if name == "other.pips" {
                let entry = image.entries().next().unwrap();
                bytes[entry.offset as usize] ^= 1;
            }
        })
    });
    let state = folder.name("one.state");
    let save = |to: &str| run(&["run", &one, "-p", "Once upon a time", "-n", "20", "--kv", "i8", "--save", to]);
    assert_eq!(save(&state).status, 0);
    let good = fs::read(&state).unwrap();
    let load =
        |model: &str, state: &str, more: &[&str]| run(&[&["run", model, "--load", state, "-n", "3"], more].concat());
    load(&one, &state, &["--kv", "i8"]).text();
    load(&one, &state, &[]).fails(1, &["one.state", "type i8", "f16", "--kv i8"]);
    load(&other, &state, &["--kv", "i8"]).fails(1, &["one.state", "another model"]);
    load(&one, &state, &["--kv", "i8", "--ctx", "10"]).fails(1, &["context 10", "--ctx"]);
    load(&one, &folder.name("none"), &[]).fails(1, &["none"]);
    load(&one, &folder.name(""), &[]).fails(1, &["directory"]);
    load(&one, &one, &[]).fails(1, &["one.pips", "not a saved session"]);
    let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        folder.file(name, &bytes)
    };
    let cases: [(String, &[&str]); 5] = [
        (with("cut", &|b| b.truncate(b.len() - 1)), &["cut", "needs"]),
        (with("short", &|b| b.truncate(30)), &["short", "30 bytes", "64"]),
        (with("empty", &Vec::clear), &["empty", "0 bytes"]),
        (with("header", &|b| b[22] ^= 1), &["header", "CRC-32"]),
        (with("rows", &|b| b[400] ^= 1), &["rows", "damaged", "CRC-32"]),
    ];
    for (file, words) in &cases {
        load(&one, file, &["--kv", "i8"]).fails(1, words);
    }
    // What cannot be written leaves nothing, and what was there stays.
    let names = folder.names();
    let failed = save(&folder.name("no/such/folder"));
    assert!(failed.status == 1 && failed.stderr.contains("no/such/folder"), "{failed:?}");
    assert_eq!(folder.names(), names);
    assert!(fs::read(&state).unwrap() == good);
    run(&["run", &one, "--load"]).fails(2, &["--load"]);
}

#[test]
fn a_stop_string_ends_the_text() {
    let whole = run(&["run", "-n", "120", "--temp", "0", "--json"]).json();
    let text = whole["text"].as_str().unwrap();
    let prompt = whole["prompt"].as_str().unwrap();
    let continuation = text.strip_prefix(prompt).unwrap();
    // Any piece of the text: of one token, of several, from the middle of one to the middle of another.
    for (start, len) in [(20, 1), (31, 4), (33, 9), (50, 25), (70, 2)] {
        let stop = &continuation[start..start + len];
        let at = continuation.find(stop).unwrap();
        for more in [&[][..], &["--draft", "0"], &["--stop", "never comes"]] {
            let args = [&["run", "-n", "120", "--temp", "0", "--json", "--stop", stop], more].concat();
            let report = run(&args).json();
            assert_eq!(report["stopped"], "stop_text", "{stop:?}");
            assert_eq!(report["text"].as_str().unwrap(), format!("{prompt}{}", &continuation[..at]), "{stop:?}");
            // The tokens are those of the text, the last one perhaps with the beginning of what stops it.
            let (kept, all) = (ids(&report, "tokens"), ids(&whole, "tokens"));
            assert!(all.starts_with(&kept) && kept.len() < all.len());
        }
        let plain = run(&["run", "-n", "120", "--temp", "0", "--stop", stop]).text();
        assert_eq!(plain, format!("{prompt}{}\n", &continuation[..at]));
    }
    // The prompt may hold it, and what never comes changes nothing.
    let free = run(&["run", "-n", "120", "--temp", "0", "--stop", prompt, "--stop", "xyzzy", "--json"]).json();
    assert_eq!(free["text"], whole["text"]);
    run(&["run", "--stop", ""]).fails(2, &["--stop", "empty"]);
}
