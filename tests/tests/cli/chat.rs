//! `chat` from outside: what it says, what it computes, and how it ends.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use pipsqueak::{
    Config,
    kernels::{Format, Panel},
};
use pipsqueak_tests::{
    data,
    engine::TinyFile,
    small_vocab::{self, TEMPLATES, UNEVEN},
    tiny_model::{TinyModel, tiny_config},
};
use serde_json::Value;

use crate::program::{Folder, Run, command, run};

/// A small model with a chat template, as an image with pieces where the template can be split.
fn model(folder: &Folder, name: &str, template: &str, seq_len: u32) -> String {
    let mut file = TinyFile::new(TinyModel::random(Config { seq_len, ..tiny_config() }, 7));
    file.vocab = Some(small_vocab::chat(small_vocab::bpe()));
    file.chat_template = Some(template.into());
    folder.file(name, file.pack(Format::Q8, Panel::R1).bytes())
}

/// Runs `chat` with these lines on stdin.
fn chat(args: &[&str], lines: &str) -> Run {
    let mut child = command(&[&["chat"], args].concat());
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the program runs");
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("stdin").write_all(lines.as_bytes());
    child.wait_with_output().expect("its end").into()
}

fn events(run: &Run) -> Vec<Value> {
    let text = std::str::from_utf8(&run.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn answers(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["event"] == "answer").collect()
}

fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("{field}: {event}"))
}

#[test]
fn three_turns_and_their_events() {
    let folder = Folder::new("chat");
    for (name, template) in [("even", TEMPLATES[1].1), ("uneven", UNEVEN)] {
        let model = model(&folder, name, template, 512);
        let args = [model.as_str(), "-n", "20", "--temp", "0", "--system", "Be a cat."];
        let lines = "the cat?\nand the hat?\n\nand 12?\n";
        let output = chat(&[&args[..], &["--json", "--stats"]].concat(), lines);
        assert_eq!(output.status, 0, "{}", output.stderr);
        let events = events(&output);
        let ready = &events[0];
        assert_eq!((&ready["event"], number(ready, "context")), (&"ready".into(), 512));
        assert!(ready["model"].as_str().unwrap().ends_with(name) && number(ready, "threads") == 1);
        let all = answers(&events);
        assert_eq!(all.len(), 3);
        let mut texts = Vec::new();
        let mut in_cache = 0;
        for (index, answer) in all.iter().enumerate() {
            assert_eq!(number(answer, "turn"), index as u64 + 1);
            let (prompt, new) = (number(answer, "prompt_tokens"), number(answer, "new_prompt_tokens"));
            let tokens = answer["tokens"].as_array().unwrap().len() as u64;
            if name == "even" {
                // The last token that was drawn may not have been fed.
                assert!(new == prompt - in_cache || new == prompt - in_cache + 1, "{answer}");
            }
            in_cache = prompt + tokens;
            assert_eq!(number(answer, "context"), 512);
            assert!(matches!(answer["stopped"].as_str(), Some("length" | "stop")), "{answer}");
            assert!(answer["prefill_tokens_per_s"].is_number() && answer["decode_tokens_per_s"].is_number());
            texts.push(answer["text"].as_str().unwrap().to_string());
        }
        if name == "even" {
            assert!(number(all[2], "new_prompt_tokens") * 4 < number(all[2], "prompt_tokens"), "{}", all[2]);
        }
        // The pieces of text are the texts.
        let streamed: String =
            events.iter().filter(|event| event["event"] == "text").map(|e| e["text"].as_str().unwrap()).collect();
        assert_eq!(streamed, texts.concat());
        assert_eq!(output.stderr.matches("[turn ").count(), 3, "{}", output.stderr);
        let split = output.stderr.contains("written anew for every turn: what comes before an answer");
        assert_eq!(split, name == "uneven", "{}", output.stderr);
        // Plain, and with other kernels and without drafts: the same texts.
        for more in [&[][..], &["--kernels", "scalar", "--draft", "0"], &["--batch", "1", "--threads", "2"]] {
            let plain = chat(&[&args[..], more].concat(), lines);
            let want: String = texts.iter().map(|text| format!("{text}\n")).collect();
            assert_eq!(plain.text(), want, "{more:?}");
        }
    }
}

#[test]
fn commands() {
    let folder = Folder::new("chat-commands");
    let model = model(&folder, "tiny.pips", TEMPLATES[0].1, 512);
    let file = folder.name("two.state");
    let args = [model.as_str(), "-n", "15", "--temp", "0", "--json"];
    let lines = format!(
        "the cat?\nand the hat?\n/save {file}\n/reset\nthe cat?\n/system Be a mat.\nthe cat?\n/system\n/load {file}\nand 12?\n/help\n\
         //slash\n/quit\nnever said\n"
    );
    let output = chat(&args, &lines);
    assert_eq!(output.status, 0, "{}", output.stderr);
    let all = events(&output);
    let names: Vec<_> =
        all.iter().map(|event| event["event"].as_str().unwrap()).filter(|name| *name != "text").collect();
    assert_eq!(
        names,
        [
            "ready", "answer", "answer", "saved", "reset", "answer", "system", "answer", "system", "loaded", "answer",
            "answer"
        ]
    );
    let [first, second, again, _, third, slash] = answers(&all)[..] else { panic!("{names:?}") };
    // Begun anew, the same answer, from the cache.
    assert_eq!((&again["text"], number(again, "turn"), number(again, "new_prompt_tokens")), (&first["text"], 1, 1));
    assert_eq!((number(third, "turn"), number(slash, "turn")), (3, 4));
    let loaded = all.iter().find(|event| event["event"] == "loaded").unwrap();
    assert_eq!((number(loaded, "turns"), loaded["file"].as_str()), (2, Some(file.as_str())));
    assert!(number(third, "new_prompt_tokens") < 30, "{third}");
    assert!(output.stderr.contains("/system TEXT") && output.stderr.contains("/save FILE"), "{}", output.stderr);
    // Without the pause: the same conversation.
    let straight = chat(&args, "the cat?\nand the hat?\nand 12?\n/slash\n//slash\n");
    let straight_events = events(&straight);
    let straight_answers = answers(&straight_events);
    assert_eq!(
        straight_answers.iter().map(|answer| &answer["text"]).collect::<Vec<_>>(),
        [&first["text"], &second["text"], &third["text"], &slash["text"]]
    );
    let refused: Vec<_> = straight_events.iter().filter(|event| event["event"] == "refused").collect();
    assert!(refused.len() == 1 && refused[0]["message"].as_str().unwrap().contains("no command /slash"));
    assert!(straight.status == 1 && straight.stderr.is_empty(), "{straight:?}");
    // Another process goes on too, whatever its kernels.
    let other = chat(&[&args[..], &["--kernels", "scalar"]].concat(), &format!("/load {file}\nand 12?\n"));
    let other_events = events(&other);
    let got = answers(&other_events)[0];
    assert_eq!((&got["text"], &got["new_prompt_tokens"]), (&third["text"], &third["new_prompt_tokens"]));

    // What is refused is said, and the conversation goes on.
    let before = fs::read(&file).unwrap();
    let run_state = folder.name("run.state");
    assert_eq!(run(&["run", &model, "-p", "the", "-n", "3", "--save", &run_state]).status, 0);
    for (line, words) in [
        ("/save", &["/save needs the name of a file"][..]),
        ("/load", &["/load needs"]),
        ("/load no/such/file", &["no/such/file"]),
        (&format!("/load {model}"), &["tiny.pips", "not a saved session"]),
        (&format!("/load {run_state}"), &["run.state", "not saved by chat"]),
        ("/save no/such/folder/x", &["no/such/folder"]),
        ("/reset now", &["/reset takes no words"]),
        ("/nothing", &["no command /nothing", "/help"]),
    ] {
        let output = chat(&args[..5], &format!("the cat?\n{line}\nand the hat?\n"));
        assert_eq!(output.status, 1, "{line}: {output:?}");
        let said: Vec<_> = output.stderr.lines().collect();
        assert!(said.len() == 1 && said[0].starts_with("pipsqueak: "), "{line}: {}", output.stderr);
        assert!(words.iter().all(|word| said[0].contains(word)), "{line}: {}", output.stderr);
        let want = [first, second].map(|answer| format!("{}\n", answer["text"].as_str().unwrap())).concat();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), want, "{line}");
    }
    assert!(fs::read(&file).unwrap() == before);
    assert_eq!(folder.names(), ["run.state", "tiny.pips", "two.state"]);
}

#[test]
fn a_full_context_says_what_to_do() {
    let folder = Folder::new("chat-full");
    let model = model(&folder, "tiny.pips", TEMPLATES[0].1, 512);
    let long = "é".repeat(40);
    let lines = format!("the cat?\n{long}\n/reset\nthe cat?\n");
    let output = chat(&[&model, "--ctx", "80", "-n", "10", "--temp", "0", "--json"], &lines);
    let all = events(&output);
    let refused = all.iter().find(|event| event["event"] == "refused").expect("a refusal")["message"].as_str().unwrap();
    let first = answers(&all)[0];
    let used = number(first, "prompt_tokens") + first["tokens"].as_array().unwrap().len() as u64;
    for word in ["80", &used.to_string(), "/reset", "/save", "--ctx", "512", "nothing is lost"] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    assert_eq!((output.status, answers(&all).len()), (1, 2));
    // An answer that is cut off is kept, and it is said.
    let output = chat(&[&model, "--ctx", "60", "-n", "500", "--temp", "0"], "the cat?\n");
    assert!(output.status == 0 && output.stderr.contains("context of 60 tokens is full"), "{output:?}");
    assert!(output.stderr.contains("/reset") && output.stderr.lines().count() == 1, "{output:?}");
}

#[test]
fn models_that_cannot_chat_say_so() {
    let folder = Folder::new("chat-models");
    let no_system = model(&folder, "nosystem.pips", TEMPLATES[4].1, 128);
    let plain = model(&folder, "plain.pips", TEMPLATES[0].1, 128);
    let silent = folder
        .file("silent.gguf", &TinyModel::random(tiny_config(), 1).gguf(pipsqueak_cli::source::Encoding::F32).bytes());
    let no_template = {
        let mut file = TinyFile::new(TinyModel::random(tiny_config(), 7));
        file.vocab = Some(small_vocab::bpe());
        folder.file("none.pips", file.pack(Format::F32, Panel::R1).bytes())
    };
    chat(&[], "").fails(2, &["no chat template", "MODEL"]);
    chat(&[&no_template], "").fails(1, &["none.pips", "no chat template", "`run`"]);
    chat(&[&silent], "").fails(1, &["no vocabulary"]);
    chat(&[&no_system, "--system", "x"], "").fails(2, &["--system", "takes no system text"]);
    chat(&[&plain, "--ctx", "129"], "").fails(2, &["--ctx 129", "128"]);
    chat(&[&plain, "--stop", ""], "").fails(2, &["--stop"]);
    chat(&[&plain, "--foo"], "").fails(2, &["--foo"]);
    chat(&[&folder.name("missing.pips")], "").fails(1, &["missing.pips"]);
    let said = chat(&[&no_system], "/system Be a cat.\n");
    assert!(said.status == 1 && said.stderr.contains("/system: this model's chat template takes no"), "{said:?}");
    let said = chat(&[&plain, "-n", "3"], "a\n");
    assert_eq!(said.status, 0, "{said:?}");
    // Bytes that are no text, lines with CR LF, and nothing at all.
    let mut child = command(&["chat", &plain, "-n", "3", "--temp", "0"]);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a\xff\nthe\r\n\n  \n").unwrap();
    let said = Run::from(child.wait_with_output().unwrap());
    assert!(said.status == 1 && said.stderr.contains("not UTF-8: byte 1"), "{said:?}");
    let the = chat(&[&plain, "-n", "3", "--temp", "0"], "the").text();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), the);
    assert!(chat(&[&plain], "").text().is_empty());

    // Damaged pieces are found where they are used, and by the self-test; so is a digest that is another's.
    let good = fs::read(&plain).unwrap();
    let section = pipsqueak::image::Extras::read(&good).chat;
    let mut bytes = good.clone();
    bytes[section.offset as usize + 20] ^= 1;
    let damaged = folder.file("damaged.pips", &bytes);
    let read_in_place = ["--kernels", "scalar"];
    chat(&[&[damaged.as_str()], &read_in_place[..]].concat(), "a\n")
        .fails(1, &["damaged.pips", "chat pieces are damaged", "CRC-32"]);
    let check = run(&["selftest", &damaged]);
    assert!(check.status == 1 && check.stderr.contains("chat pieces are damaged"), "{check:?}");
    let kept = folder.name("kept.pips");
    assert_eq!(run(&["pack", &plain, "-o", &kept]).status, 0);
    assert_eq!(run(&["selftest", &kept]).status, 0);
    let mut bytes = fs::read(&kept).unwrap();
    bytes[240] ^= 1;
    pipsqueak_tests::engine::repair(&mut bytes);
    let check = run(&["selftest", &folder.file("kept.pips", &bytes)]);
    assert!(check.status == 1 && check.stderr.contains("the digest is"), "{check:?}");

    // Templates that are broken, or run away.
    for (name, template, words) in [
        ("broken", "{% for m in messages %}", &["chat template fails in line 1"][..]),
        ("refuses", "{{ raise_exception('never') }}", &["refuses this conversation: never"]),
        ("spends", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", &["used up"]),
        (
            "runs",
            "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
            &["goes on and on"],
        ),
    ] {
        // Without pieces, as packing would have looked at the template.
        let mut file = TinyFile::new(TinyModel::random(tiny_config(), 7));
        file.vocab = Some(small_vocab::bpe());
        let packed = file.pack(Format::F32, Panel::R1);
        let image = pipsqueak::Image::open(packed.bytes()).unwrap();
        let mut parts = pipsqueak_cli::pack::ModelParts::from_image(&image);
        parts.text.extend(4u32.to_le_bytes());
        parts.text.extend((template.len() as u32).to_le_bytes());
        parts.text.extend(template.bytes());
        let panel = |_: Format| Panel::R1;
        let packed = pipsqueak_cli::pack::pack(&parts, &pipsqueak_cli::pack::PackOptions::keep(&panel, 1)).unwrap();
        let path = folder.file(&format!("{name}.pips"), packed.bytes());
        chat(&[&path], "a\n").fails(1, &[&[name], words].concat());
        // Packing says so, and packs all the same, unless the template cannot be stopped.
        let out = folder.name(&format!("{name}-again.pips"));
        let packed = run(&["pack", &path, "-o", &out]);
        let fine = if name == "runs" { packed.status == 1 } else { packed.status == 0 && fs::metadata(&out).is_ok() };
        assert!(fine && words.iter().all(|word| packed.stderr.contains(word)), "{packed:?}");
        assert_eq!(run(&["run", &path, "-p", "the", "-n", "2"]).status, 0);
    }
}

/// A program that is talked to line by line.
struct Talk {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn new(args: &[&str]) -> Self {
        let mut child = command(&[&["chat", "--json"], args].concat());
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    /// The next event of this name.
    fn event(&mut self, name: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the program has ended before {name}");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    #[cfg(unix)]
    fn interrupt(&self) {
        let sent = std::process::Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

/// Ctrl-C ends the answer and not the program; where there is no answer, the program.
#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer() {
    let folder = Folder::new("chat-interrupt");
    let model = model(&folder, "long.pips", TEMPLATES[0].1, 1 << 16);
    let args = [model.as_str(), "--ctx", "65536", "-n", "65000", "--temp", "0", "--kv", "i8", "--draft", "0"];
    let mut talk = Talk::new(&args);
    talk.event("ready");
    for turn in 1..3 {
        talk.say("the cat?");
        talk.event("text");
        talk.interrupt();
        let answer = talk.event("answer");
        assert_eq!((answer["stopped"].as_str(), number(&answer, "turn")), (Some("interrupted"), turn), "{answer}");
        let count = answer["tokens"].as_array().unwrap().len();
        assert!((1..65000).contains(&count), "{count}");
    }
    talk.say("/reset");
    talk.event("reset");
    talk.interrupt();
    let mut rest = String::new();
    assert_eq!(talk.output.read_line(&mut rest).unwrap(), 0, "{rest}");
    assert_eq!(talk.child.wait().unwrap().code(), Some(130));
}

/// The real thing: from the GGUF and from its image, kept and gone on with.
#[test]
fn smollm2_chats() {
    let Some(bytes) = data::smollm2() else { return };
    let folder = Folder::new("chat-smollm2");
    let gguf = folder.file("smollm2.gguf", &bytes);
    let image = folder.name("smollm2.pips");
    let packed = run(&["pack", &gguf, "-o", &image]);
    assert!(packed.status == 0 && packed.stderr.lines().count() == 1, "{packed:?}");
    let file = folder.name("two.state");
    let args = |model: &str| {
        let system = "You answer in one short sentence.";
        ["--system", system, "--temp", "0", "-n", "24", "--ctx", "256", "--json", "--stop", "!", model]
            .map(String::from)
    };
    let lines = format!("What is the capital of France?\nAnd of Italy?\n/save {file}\nAnd of Spain?\n");
    let mut texts = Vec::new();
    for model in [&gguf, &image] {
        let args = args(model);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let output = chat(&args, &lines);
        assert!(output.status == 0 && output.stderr.is_empty(), "{output:?}");
        let all = events(&output);
        let all = answers(&all);
        let field = |field: &str| all.iter().map(|answer| answer[field].clone()).collect::<Vec<_>>();
        let said = field("text");
        for (text, word) in said.iter().zip(["Paris", "Rome", "Madrid"]) {
            assert!(text.as_str().unwrap().contains(word), "{said:?}");
        }
        // `<|im_end|>`, a line feed, `<|im_start|>user` and another, four words, and so on.
        let new = field("new_prompt_tokens").iter().map(|new| new.as_u64().unwrap()).collect::<Vec<_>>();
        let prompts = field("prompt_tokens").iter().map(|all| all.as_u64().unwrap()).collect::<Vec<_>>();
        assert!(new[0] == prompts[0] && new[1] < 20 && new[2] < 20 && prompts[2] > 60, "{new:?} {prompts:?}");
        texts.push((said, field("tokens"), new));
    }
    assert_eq!(texts[0], texts[1]);
    let from_image = args(&image);
    let from_image: Vec<_> = from_image.iter().map(String::as_str).collect();
    let output = chat(&from_image, &format!("/load {file}\nAnd of Spain?\n"));
    let all = events(&output);
    let third = answers(&all)[0];
    assert_eq!((&third["text"], number(third, "new_prompt_tokens")), (&texts[0].0[2], texts[0].2[2]), "{output:?}");
}
