//! `bench`: what its sweeps measure, in which shape they come, and what it refuses.

use serde_json::Value;

use crate::{
    program::{Folder, run},
    tiny_image,
};

const CONTEXT: u64 = 128;

/// A model whose context is [`CONTEXT`], in a folder.
fn tiny(name: &str) -> (Folder, String) {
    let folder = Folder::new(name);
    let model = tiny_image(&folder, "tiny.pips", |_, _| {});
    (folder, model)
}

fn bench(model: &str, args: &str) -> Value {
    let words = ["bench", model, "--repeat", "3", "--kernels", "scalar", "--json"];
    run(&words.into_iter().chain(args.split_whitespace()).collect::<Vec<_>>()).json()
}

fn number(run: &Value, name: &str) -> u64 {
    run[name].as_u64().unwrap_or_else(|| panic!("{name} in {run}"))
}

/// Test, cache, threads, batch and depth of every run.
fn places(report: &Value) -> Vec<(&str, &str, u64, u64, u64)> {
    let place =
        |run: &'_ Value| -> (u64, u64, u64) { (number(run, "threads"), number(run, "batch"), number(run, "depth")) };
    let runs = report["runs"].as_array().expect("runs").iter();
    runs.map(|run| {
        let (threads, batch, depth) = place(run);
        (run["test"].as_str().expect("a name"), run["kv"].as_str().expect("a name"), threads, batch, depth)
    })
    .collect()
}

#[test]
fn every_combination_of_the_lists_is_measured() {
    let (_folder, model) = tiny("bench-sweep");
    let report = bench(&model, "-p 8 -n 4 -d 32,0 -t 1,2 --batch 4,64 --kv i8,f32");
    let mut want = Vec::new();
    for kv in ["i8", "f32"] {
        for threads in [1, 2] {
            for (batch, decoded) in [(4, true), (8, false)] {
                for depth in [0, 32] {
                    // No batch is larger than what is prefilled.
                    want.push(("prefill", kv, threads, batch, depth));
                    // Decode has no batches.
                    want.extend(decoded.then_some(("decode", kv, threads, 1, depth)));
                }
            }
        }
    }
    assert_eq!(places(&report), want);
    // What is not to be measured is not there.
    assert_eq!(places(&bench(&model, "-p 0 -n 4 -t 1")), [("decode", "f16", 1, 1, 0)]);
    assert_eq!(places(&bench(&model, "-p 4 -n 0 -t 1")), [("prefill", "f16", 1, 4, 0)]);
}

#[test]
fn the_report_says_all_that_a_figure_needs() {
    let (_folder, model) = tiny("bench-json");
    let report = bench(&model, "-p 8 -n 4 -d 0,100 -t 1 --kv f32");
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&report), ["cores", "cpu", "measured_at", "model", "runs", "version"]);
    assert_eq!(keys(&report["model"]), ["bytes", "file", "name", "parameters"]);
    assert_eq!(report["model"]["file"], "tiny.pips");
    assert_eq!(number(&report["model"], "bytes"), std::fs::metadata(&model).expect("the model").len());
    let inspected = run(&["inspect", &model, "--json"]).json();
    assert_eq!(report["model"]["parameters"], inspected["parameters"]);

    let runs = report["runs"].as_array().expect("runs");
    for run in runs {
        let wanted = [
            "batch",
            "bytes_per_token",
            "ceiling_tokens_per_s",
            "depth",
            "kernels",
            "kv",
            "macs_per_token",
            "repeat",
            "test",
            "threads",
            "tokens",
            "tokens_per_s",
        ];
        assert_eq!(keys(run), wanted);
        assert_eq!((run["kernels"].as_str(), number(run, "repeat")), (Some("scalar"), 3));
        let [least, median, most] =
            ["least", "median", "most"].map(|name| run["tokens_per_s"][name].as_f64().expect(name));
        assert!(0.0 < least && least <= median && median <= most, "{run}");
        assert!(run["ceiling_tokens_per_s"].as_f64().expect("a ceiling") > 0.0);
    }
    let [prefill, decode, _, deep] = runs.as_slice() else { panic!("four runs in {report}") };
    assert_eq!((number(prefill, "tokens"), number(decode, "tokens")), (8, 4));
    // What a token costs, by hand from the shape: attention with the positions before the mean one, a key and a value
    // of every head; the cache is in floats, in lines of 64 bytes. The output head is multiplied once a prefill.
    let shape = |name| number(&inspected["config"], name);
    let (layers, vocab, dim) = (shape("n_layers"), shape("vocab_size"), shape("dim"));
    let attention = |position| 2 * layers * position * shape("n_heads") * shape("head_dim");
    let products = number(&inspected, "macs_per_token");
    assert_eq!(number(decode, "macs_per_token"), products + attention(2));
    assert_eq!(number(deep, "macs_per_token"), products + attention(102));
    assert_eq!(number(prefill, "macs_per_token"), products - vocab * dim + vocab * dim / 8 + attention(4));
    let row = 2 * 4 * shape("n_kv_heads") * shape("head_dim");
    let more = number(deep, "bytes_per_token") - number(decode, "bytes_per_token");
    assert!(
        more.abs_diff(100 * layers * row) <= 1024,
        "{more} bytes for 100 positions of {layers} layers with {row} each"
    );
}

#[test]
fn the_table_has_a_line_a_run() {
    let (_folder, model) = tiny("bench-table");
    let text = run(&["bench", &model, "-p", "4", "-n", "2", "-t", "1", "--depth", "0,16", "--repeat", "2"]).text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    for word in ["test", "depth", "batch", "least to most", "ceiling", "share"] {
        assert!(lines[0].contains(word), "{text}");
    }
    assert!(lines[4].starts_with("decode") && lines[4].contains(" 16 ") && lines[4].contains('%'), "{text}");
    assert!(lines[5].contains("median of 2 runs"), "{text}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let (_folder, model) = tiny("bench-refused");
    let refused = |args: &str, words: &[&str]| {
        run(&["bench", &model].into_iter().chain(args.split_whitespace()).collect::<Vec<_>>()).fails(2, words);
    };
    refused("-t 0", &["-t 0"]);
    refused("-t 1,0", &["-t 0"]);
    refused("-t x", &["x", "--threads"]);
    // The longer of the two counts, after the deepest context.
    refused("-p 20 -n 129", &["129", "128"]);
    refused("-p 64 -n 8 --depth 0,65", &["--depth 65", "129", "128"]);
    refused("-p 1 -n 1 --depth 128", &["--depth 128", "129", "128"]);
    refused("--depth 4294967295", &["--depth 4294967295", "128"]);
    refused("--depth -1", &["-1"]);
    refused("--depth 1,x", &["x", "--depth"]);
    refused("--batch 0", &["0", "--batch"]);
    refused("--batch 8,0", &["0", "--batch"]);
    refused("--kv f16,q4", &["q4", "--kv"]);
    refused("--repeat 0", &["--repeat"]);
    // The last position of the context can be reached.
    let report = bench(&model, "-p 1 -n 1 -t 1 --depth 127");
    assert_eq!(number(&report["runs"][1], "depth") + 1, CONTEXT);
}
