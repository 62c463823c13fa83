//! `pipsqueak train` from outside: what it learns, that a killed run goes on as if it had not been, and what it refuses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pipsqueak");

/// The small model of these tests; `--held-out` leaves enough to measure.
const SMALL: &str = "--dim 32 --layers 2 --heads 4 --kv-heads 2 --hidden 64 --ctx 32 --vocab-size 300 \
                     --step-tokens 256 --warmup 10 --rate 1e-2 --held-out 0.1 --checkpoint-every 10 --look-every 30";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("text.txt"), text(120)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn train(&self, out: &str, words: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.0.path()).args(["train", "text.txt", "-o", out]);
        let words: Vec<_> = words.split_whitespace().collect();
        let small: Vec<_> = SMALL.split_whitespace().collect();
        // A vocabulary comes with a model.
        let taken = |flag: &str| words.contains(&flag) || (flag == "--vocab-size" && words.contains(&"--teacher"));
        small.chunks(2).filter(|pair| !taken(pair[0])).for_each(|pair| {
            command.args(pair);
        });
        command.args(words);
        command
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Documents of a small language with a grammar, so that there is something to learn.
fn text(documents: usize) -> String {
    let names = ["Tom", "Lily", "the cat", "a dog", "the old bear"];
    let verbs = ["sees", "likes", "finds", "wants"];
    let things = ["a red ball", "the big tree", "some milk", "a little house", "the moon"];
    let sentence = |n: usize| format!("{} {} {}. ", names[n % 5], verbs[n / 5 % 4], things[n / 7 % 5]);
    let document = |i: usize| (0..6).map(|j| sentence(i * 13 + j * 29)).collect::<String>();
    (0..documents).map(|i| format!("{}\n<|endoftext|>\n", document(i).trim())).collect()
}

fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(output.stdout.is_empty(), "stdout is for text");
    stderr
}

/// The one line that a refused run ends with.
fn refused(mut command: Command, status: i32) -> String {
    let Output { status: got, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(got.code(), Some(status), "{stderr}");
    let line = stderr.lines().last().unwrap_or_default().to_string();
    assert!(line.starts_with("pipsqueak: "), "{stderr}");
    line
}

/// Rows of the log.
fn log(path: &Path) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(|word| word.parse().unwrap()).collect()).collect()
}

/// Bits a character on the held-out documents, as `eval` counts them.
fn eval(place: &Place, model: &str) -> f64 {
    let mut split = Command::new(PROGRAM);
    split.current_dir(place.0.path());
    split.args(["corpus", "split", "text.txt", "--held-out", "0.1", "--train", "train.txt", "--test", "test.txt"]);
    assert!(split.output().unwrap().status.success());
    let output = Command::new(PROGRAM)
        .current_dir(place.0.path())
        .args(["eval", model, "--text", "test.txt", "--documents", "--ctx", "32", "--json"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = text.split_once("bits_per_char\":").unwrap();
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn a_model_learns_is_packed_and_runs() {
    let place = Place::new();
    let stderr = ok(place.train("a.pips", "--steps 120 --quant q4 --prompt Tom --name grammar"));
    let log = log(&place.path("a.csv"));
    assert_eq!(log.len(), 120);
    assert!(log[119][3] < 0.5 * log[0][3], "the loss fell from {} to {} only", log[0][3], log[119][3]);
    assert!(stderr.contains("step 120 of 120") && stderr.contains("bits a character"), "{stderr}");
    assert!(String::from_utf8(place.read("a.svg")).unwrap().starts_with("<svg"));
    // The figure of the last look is the packed image's own.
    let (_, last) = stderr.rsplit_once(" nats a token, ").unwrap();
    let measured = eval(&place, "a.pips");
    assert_eq!(last.split(' ').next(), Some(format!("{measured:.4}").as_str()));
    assert!(measured < 1.0, "{measured}");
    let run = Command::new(PROGRAM)
        .current_dir(place.0.path())
        .args(["run", "a.pips", "-p", "Tom", "-n", "20", "--temp", "0"])
        .output()
        .unwrap();
    assert!(run.status.success() && String::from_utf8_lossy(&run.stdout).starts_with("Tom"), "{run:?}");

    // Its student learns from what it writes and from its distribution; a fine-tuned one starts where it ended.
    ok(place.train("student.pips", "--teacher a.pips --write 2000 --steps 60 --quant q8"));
    assert!(place.path("student.written.txt").exists());
    let mut tuned = Command::new(PROGRAM);
    tuned.current_dir(place.0.path()).args(["train", "text.txt", "-o", "tuned.pips", "--from", "a.pips"]);
    tuned.args(["--ctx", "32", "--step-tokens", "256", "--steps", "5", "--rate", "1e-4", "--quant", "f32"]);
    ok(tuned);
    assert!(self::log(&place.path("tuned.csv"))[0][3] < log[0][3] * 0.5);
}

#[test]
fn a_killed_run_goes_on_as_if_it_had_not_been() {
    let place = Place::new();
    let words = "--steps 90 --quant q4 --round-from 0.05";
    ok(place.train("whole.pips", &format!("{words} --threads 2")));
    let mut child = place.train("killed.pips", &format!("{words} --threads 2")).stderr(Stdio::null()).spawn().unwrap();
    // Until it has saved something, and then in the middle of whatever it does.
    while !place.path("killed.checkpoint").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it saved");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("killed.pips").exists(), "it was done before it was killed");
    let line = refused(place.train("killed.pips", words), 2);
    assert!(line.contains("--resume"), "{line}");
    // Another number of threads gives the same bits.
    let stderr = ok(place.train("killed.pips", &format!("{words} --threads 1 --resume")));
    assert!(stderr.contains("going on after step "), "{stderr}");
    assert!(place.read("killed.csv") == place.read("whole.csv"), "the losses differ");
    assert!(place.read("killed.pips") == place.read("whole.pips"), "the images differ");
    let left = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let half: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    // The killed process may leave its own unfinished file; the resumed run none.
    assert!(half.len() <= 1, "{half:?}");
}

#[test]
fn bad_input_is_one_line_and_what_was_saved_stays() {
    let place = Place::new();
    let with = |text: &str, words: &str, status| {
        fs::write(place.path("text.txt"), text).unwrap();
        refused(place.train("bad.pips", words), status)
    };
    let grammar = text(60);
    for (text, words, status, expected) in [
        ("", "--steps 2", 1, "the text is empty"),
        ("\n<|endoftext|>\n \n", "--steps 2", 1, "the text is empty"),
        ("Only one document.", "--steps 2", 1, "1"),
        (&grammar, "--steps 2 --ctx 100000 --step-tokens 100000", 1, "the context 100000"),
        (&grammar, "--steps 2 --vocab-size 50000", 2, "a vocabulary of 50000 tokens: this text is enough for"),
        (&grammar, "--steps 2 --vocab-size 10", 2, "a vocabulary of 10 tokens"),
        (&grammar, "--steps 0", 2, "--steps 0"),
        (&grammar, "--steps 2 --held-out 1", 2, "--held-out 1"),
        (&grammar, "--steps 2 --quant q5", 2, "q5"),
        (&grammar, "--steps 2 --rate -1", 2, "--rate"),
        (&grammar, "--steps 2 --dim 30", 2, "--dim 30 cannot be shared out over --heads 4"),
        (&grammar, "--steps 2 --kv-heads 3", 2, "4 query heads"),
        (&grammar, "--steps 2 --teacher no.pips", 1, "no.pips"),
        (&grammar, "--steps 2 --resume", 1, "bad.checkpoint"),
        (&grammar, "--steps 2 --config no.toml", 1, "no.toml"),
    ] {
        let line = with(text, words, status);
        assert!(line.contains(expected), "{words}: {line}");
        assert!(!place.path("bad.pips").exists() && !place.path("bad.checkpoint").exists(), "{words}");
    }
    let line = refused(place.train("no-such-folder/a.pips", "--steps 2"), 1);
    assert!(line.contains("no-such-folder"), "{line}");
    let line = refused(place.train("a.csv", "--steps 2"), 2);
    assert!(line.contains("a.csv") && line.contains(".pips"), "{line}");
    fs::write(place.path("bad.toml"), "dim = 32\nlayer = 2\n").unwrap();
    let line = with(&grammar, "--steps 2 --config bad.toml", 2);
    assert!(line.contains("bad.toml, line 2") && line.contains("layer"), "{line}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint() {
    let place = Place::new();
    ok(place.train("a.pips", "--steps 20"));
    let saved = place.read("a.checkpoint");
    // Rate times decay is 1000: every step makes the weights a thousand times larger.
    let line = refused(place.train("a.pips", "--steps 400 --rate 10 --decay 100 --warmup 1 --restart"), 1);
    assert!(line.contains("the loss is") && line.contains("--rate, which is 10"), "{line}");
    assert_eq!(place.read("a.checkpoint"), saved);
}

#[test]
fn a_damaged_checkpoint_is_named_and_left_alone() {
    let place = Place::new();
    ok(place.train("a.pips", "--steps 30"));
    let whole = place.read("a.checkpoint");
    fs::write(place.path("a.checkpoint"), &whole[..whole.len() / 2]).unwrap();
    let line = refused(place.train("a.pips", "--steps 30 --resume"), 1);
    assert!(line.contains("cut short or damaged") && line.contains("a.checkpoint.old"), "{line}");
    assert_eq!(place.read("a.checkpoint"), &whole[..whole.len() / 2]);
    let mut flipped = whole.clone();
    let at = whole.len() - 100;
    flipped[at] ^= 1;
    fs::write(place.path("a.checkpoint"), flipped).unwrap();
    let line = refused(place.train("a.pips", "--steps 30 --resume"), 1);
    assert!(line.contains("checksum"), "{line}");
    // The one before it goes on to the same end.
    let end = place.read("a.pips");
    fs::rename(place.path("a.checkpoint.old"), place.path("a.checkpoint")).unwrap();
    ok(place.train("a.pips", "--steps 30 --resume"));
    assert_eq!(place.read("a.pips"), end);
    let line = refused(place.train("a.pips", "--steps 31 --resume"), 1);
    assert!(line.contains("steps was 30 and is 31"), "{line}");
}

/// A disk without room, played by a limit on the size of files.
#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_what_was_saved_stays() {
    let place = Place::new();
    let limited = |blocks: u32, out: &str, words: &str| {
        let train = place.train(out, words);
        let mut shell = Command::new("sh");
        shell.current_dir(place.0.path());
        shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
        shell.arg(train.get_program()).args(train.get_args());
        shell
    };
    // Room for the image, not for a checkpoint: the run goes on and says so.
    let stderr = ok(limited(100, "a.pips", "--steps 20 --quant q4"));
    assert_eq!(stderr.matches("not saved").count(), 2, "{stderr}");
    assert!(!place.path("a.checkpoint").exists() && place.path("a.pips").exists());
    // Room for neither.
    let line = refused(limited(4, "b.pips", "--steps 5"), 1);
    assert!(line.contains("b.pips"), "{line}");
    assert!(!place.path("b.pips").exists());
    let hidden = fs::read_dir(place.0.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "half a file stayed");
}
