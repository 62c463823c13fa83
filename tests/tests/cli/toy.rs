//! `pipsqueak toy`: what it shows, that it repeats itself, and how it refuses.

use super::program::{Folder, run};

#[test]
fn toy_tells_its_lesson() {
    let output = run(&["toy"]);
    assert!(output.stderr.is_empty(), "{}", output.stderr);
    let text = output.text();
    let parts = [
        "\n  the cat drinks milk\n",
        "\n  drinks -> milk, water\n",
        "\n  step      0  loss 2.",
        "\n  step   1000  loss 0.39",
        "\n  at best      loss 0.3902",
        "\n  cat     step      0 ",
        "\n  before (",
        "\n  after (",
        "cat,dog",
        "\n  cat     dog ",
        "both are followed by drinks",
        "\n  bird   -> eats 99.",
        "\nA SENTENCE from `the`",
    ];
    // All there, in this order.
    let mut rest = text.as_str();
    for part in parts {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("no `{part}` in what is left of\n{text}")).1;
    }
    assert!(rest.ends_with(" .\n"), "{rest}");
    // The same seed, the same lesson; another, another.
    assert_eq!(run(&["toy", "--seed", "0"]).text(), text);
    assert_ne!(run(&["toy", "--seed", "1"]).text(), text);
}

#[test]
fn toy_learns_sentences_of_ones_own() {
    let folder = Folder::new("toy");
    let file = folder.file("own.txt", "Red apples fall\nGreen apples fall!\nsnow melts. ".as_bytes());
    let options = ["--dim", "2", "--hidden", "12", "--steps", "1500", "--rate", "0.3", "--seed", "7", "--json"];
    let report = run(&[&["toy", "--sentences", &file], &options[..]].concat()).json();
    assert_eq!(report["sentences"], serde_json::json!(["red apples fall", "green apples fall", "snow melts"]));
    assert_eq!(report["pairs"][6], serde_json::json!(["snow", "melts"]));
    assert_eq!(
        (report["dim"].as_u64(), report["seed"].as_u64(), report["steps"].as_u64()),
        (Some(2), Some(7), Some(1500))
    );
    assert_eq!(report["generated"], "red apples fall .");
    assert_eq!(report["losses"][0]["step"], 0);
    let words = report["words"].as_array().unwrap();
    assert_eq!(words.len(), 6);
    for word in words {
        assert_eq!(word["vectors"][0]["vector"].as_array().unwrap().len(), 2);
        // Every word of this text has one next word only.
        let first = &word["next"][0];
        assert!(first["probability"].as_f64().unwrap() > 0.9 && first["in_text"].as_u64().unwrap() > 0, "{word}");
        let sum: f64 = word["next"].as_array().unwrap().iter().map(|next| next["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
    assert_eq!((&words[0]["word"], &words[0]["nearest"][0]["word"]), (&"red".into(), &"green".into()));
    assert_eq!(words[0]["nearest"][0]["both_followed_by"], serde_json::json!(["apples"]));
    // A text on the command line is read the same way.
    let given = run(&[&["toy", "--text", "Red apples fall. Green apples fall! snow melts"], &options[..]].concat());
    assert_eq!(given.json(), report);
}

#[test]
fn toy_refuses_what_it_cannot_learn() {
    let folder = Folder::new("toy-refuses");
    let many = (0..65).map(|i| format!("w{i} ")).collect::<String>();
    let (empty, one) = (folder.file("empty.txt", b"\n. \n"), folder.file("one.txt", b"word"));
    let (binary, missing) = (folder.file("binary", b"a b \xff"), folder.name("missing.txt"));
    let long = folder.file("long.txt", "a b c. ".repeat(400).as_bytes());
    let cases: &[(i32, &[&str], &[&str])] = &[
        (2, &["--text", ""], &["--text", "0 different words", "at least 2"]),
        (2, &["--text", "word"], &["--text", "1 different words", "at least 2"]),
        (2, &["--text", &many], &["--text", "65 different words", "at most 64"]),
        (2, &["--text", "a b", "--sentences", &one], &["--text", "--sentences"]),
        (2, &["--rate", "nan"], &["--rate", "nan"]),
        (2, &["--rate", "0"], &["--rate", "more than 0"]),
        (2, &["--rate", "-0.5"], &["--rate", "-0.5"]),
        (2, &["--steps", "0"], &["--steps"]),
        (2, &["--dim", "0"], &["--dim", "1..=64"]),
        (2, &["--hidden", "257"], &["--hidden", "257", "1..=256"]),
        (2, &["--seed", "-1"], &["-1"]),
        (1, &["--rate", "1e9"], &["--rate 1000000000", "too large", "by step", "2."]),
        (1, &["--rate", "1000", "--steps", "7", "--json"], &["--rate 1000", "too large", "by step", "2."]),
        (1, &["--sentences", &empty], &["empty.txt", "0 different words"]),
        (1, &["--sentences", &one], &["one.txt", "1 different words"]),
        (1, &["--sentences", &long], &["long.txt", "1200 words", "at most 1000"]),
        (1, &["--sentences", &binary], &["binary", "UTF-8"]),
        (1, &["--sentences", &missing], &["missing.txt"]),
    ];
    for (status, args, words) in cases {
        run(&[&["toy"], *args].concat()).fails(*status, words);
    }
}
