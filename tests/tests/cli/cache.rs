//! `--cache`: the packed twin of a model in the cache folder, and what becomes of it when something is wrong.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, SystemTime},
};

use pipsqueak::Config;
use pipsqueak_cli::source::Encoding;
use pipsqueak_tests::{
    data,
    tiny_model::{TinyModel, tiny_config},
};

use crate::program::{Folder, Run, command};

/// A model and a cache folder.
struct Place {
    folder: Folder,
    model: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let model = folder.name("model.gguf");
        let place = Self { folder, model };
        place.write(1);
        place
    }

    /// Writes the model of a seed, in blocks that every CPU lays out for itself.
    fn write(&self, seed: u64) {
        let model = TinyModel::random(tiny_config(), seed);
        fs::write(&self.model, model.gguf(Encoding::Q8_0).bytes()).unwrap();
    }

    fn command(&self, more: &[&str]) -> std::process::Command {
        let out = self.folder.name(&format!("out-{}", more.join("")));
        let mut command = command(&[&["logits", &self.model, "--ids", "1,2,3,4", "-o", &out], more].concat());
        command.env("XDG_CACHE_HOME", self.folder.path().join("cache")).stdin(Stdio::null());
        command
    }

    /// The logits, and what was said on stderr.
    fn logits(&self, more: &[&str]) -> (Vec<u8>, String) {
        let run = Run::from(self.command(more).output().expect("the program runs"));
        assert_eq!(run.status, 0, "{run:?}");
        (fs::read(self.folder.name(&format!("out-{}", more.join("")))).unwrap(), run.stderr)
    }

    /// All that is in the cache.
    fn cached(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("cache/pipsqueak"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    fn twin(&self) -> PathBuf {
        let cached = self.cached();
        assert_eq!(cached.len(), 1, "{cached:?}");
        cached[0].clone()
    }
}

#[test]
fn a_twin_is_kept_when_asked_and_used_the_next_time() {
    let place = Place::new("twin");
    let (want, said) = place.logits(&[]);
    assert!(said.is_empty() && place.cached().is_empty());
    assert_eq!(place.logits(&["--cache"]), (want.clone(), String::new()));
    let twin = place.twin();
    let (bytes, made) = (fs::read(&twin).unwrap(), fs::metadata(&twin).unwrap().modified().unwrap());
    assert_eq!(place.logits(&["--cache"]), (want.clone(), String::new()));
    // It was not written again.
    assert_eq!((fs::read(&twin).unwrap(), fs::metadata(&twin).unwrap().modified().unwrap()), (bytes, made));
    // Kernels that lay a model out in another way have a twin of their own.
    assert_eq!(place.logits(&["--cache", "--kernels", "scalar"]), (want, String::new()));
    let many = pipsqueak::kernels::select::best().name() != "scalar";
    assert_eq!(place.cached().len(), 1 + usize::from(many));
    // A model that is changed, though its size is the same, has a new twin in the old one's place.
    place.write(2);
    let soon = SystemTime::now() + Duration::from_secs(2);
    fs::File::options().write(true).open(&place.model).unwrap().set_modified(soon).unwrap();
    let (other, _) = place.logits(&[]);
    let (got, said) = place.logits(&["--cache"]);
    assert!(got == other && said.lines().count() == 1 && said.contains("stale"), "{said}");
    assert_eq!(place.logits(&["--cache"]), (other, String::new()));
    assert_eq!(place.cached().len(), 1 + usize::from(many));
}

/// `bench` and `inspect` make the same twin, and use it.
#[test]
fn bench_and_inspect_share_the_twin() {
    let place = Place::new("twin-of-all");
    let run = |words: &[&str]| {
        let mut command = command(&[&words[..1], &[place.model.as_str()], &words[1..]].concat());
        let command = command.env("XDG_CACHE_HOME", place.folder.path().join("cache")).stdin(Stdio::null());
        let run = Run::from(command.output().expect("the program runs"));
        assert!(run.status == 0 && run.stderr.is_empty(), "{run:?}");
        run
    };
    let bench = ["bench", "-p", "4", "-n", "2", "-t", "1", "--repeat", "1"];
    run(&bench);
    run(&["inspect"]);
    assert!(place.cached().is_empty());
    let report = run(&["inspect", "--cache", "--json"]).json();
    let twin = place.twin();
    let made = fs::metadata(&twin).unwrap().modified().unwrap();
    // The record behind the image is none of the model's bytes.
    assert!(report["bytes"].as_u64().unwrap() < fs::metadata(&twin).unwrap().len());
    let measured = run(&[&bench[..], &["--cache", "--json"]].concat()).json();
    assert_eq!(measured["model"]["bytes"], report["bytes"]);
    assert_eq!((place.twin(), fs::metadata(&twin).unwrap().modified().unwrap()), (twin, made));
    // A twin that is damaged is seen, so it was looked at.
    let twin = place.twin();
    fs::write(&twin, b"PIPS").unwrap();
    for words in [&["inspect", "--cache"][..], &[&bench[..], &["--cache"]].concat()] {
        let mut command = command(&[&words[..1], &[place.model.as_str()], &words[1..]].concat());
        let command = command.env("XDG_CACHE_HOME", place.folder.path().join("cache")).stdin(Stdio::null());
        let run = Run::from(command.output().expect("the program runs"));
        assert!(run.status == 0 && run.stderr.contains("damaged"), "{run:?}");
        fs::write(&twin, b"PIPS").unwrap();
    }
}

/// What became of weights that were converted is said whether they are converted now or were before.
#[test]
fn a_converted_model_says_so_with_a_twin_too() {
    let place = Place::new("converted-twin");
    let config = Config { dim: 256, hidden_dim: 256, head_dim: 64, rope_dim: 64, ..tiny_config() };
    let model = TinyModel::random(config, 1);
    fs::write(&place.model, model.gguf(Encoding::Q6K).bytes()).unwrap();
    let (want, said) = place.logits(&[]);
    let words = "pipsqueak: 15 tensors of Q6_K stored as q8, relative RMS error 0.003";
    assert!(said.starts_with(words) && said.lines().count() == 1, "{said}");
    assert_eq!(place.logits(&["--cache"]), (want.clone(), said.clone()));
    let made = fs::metadata(place.twin()).unwrap().modified().unwrap();
    assert_eq!(place.logits(&["--cache"]), (want, said));
    assert_eq!(fs::metadata(place.twin()).unwrap().modified().unwrap(), made);
}

#[test]
fn a_damaged_twin_is_made_anew() {
    let place = Place::new("damaged-twin");
    let (want, _) = place.logits(&["--cache"]);
    let twin = place.twin();
    let good = fs::read(&twin).unwrap();
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let n = good.len();
    // Header, directory, weights all over, the record, its length, its checksum, its end; cut, empty, something else.
    let mut bad: Vec<_> = (0..8).map(|i| flip(4 + i * (n - 1024) / 8)).collect();
    bad.extend([n - 40, n - 14, n - 10, n - 1].map(flip));
    bad.extend([good[..n - 1].to_vec(), good[..n / 2].to_vec(), Vec::new(), b"PIPS".to_vec(), vec![0; 5000]]);
    for (case, bytes) in bad.into_iter().enumerate() {
        fs::write(&twin, &bytes).unwrap();
        let (got, said) = place.logits(&["--cache"]);
        assert!(got == want, "{case}");
        let told = said.lines().count() == 1 && said.contains("damaged") && said.contains("made anew");
        assert!(told && said.contains(twin.to_str().unwrap()), "{case}: {said}");
        assert!(fs::read(&twin).unwrap() == good, "{case}");
        assert_eq!(place.cached().len(), 1, "{case}");
    }
}

#[test]
fn many_at_once_and_a_cache_that_cannot_be_written() {
    let place = Place::new("twins");
    let (want, _) = place.logits(&[]);
    let runs: Vec<_> = (1..5)
        .map(|threads| {
            let more = ["--cache", "--threads", &threads.to_string()];
            let mut command = place.command(&more);
            (command.stderr(Stdio::piped()).spawn().unwrap(), place.folder.name(&format!("out-{}", more.join(""))))
        })
        .collect();
    for (run, out) in runs {
        let run = Run::from(run.wait_with_output().unwrap());
        assert!(run.status == 0 && run.stderr.is_empty(), "{run:?}");
        assert!(fs::read(out).unwrap() == want);
    }
    let twin = place.twin();
    // What a writer that was killed has left goes, what one writes now stays.
    let folder = twin.parent().unwrap();
    let name = twin.file_name().unwrap().to_str().unwrap();
    let (old, new) = (folder.join(format!(".{name}.1")), folder.join(format!(".{name}.2")));
    for (path, age) in [(&old, 7200), (&new, 60)] {
        fs::write(path, "half").unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
    fs::remove_file(&twin).unwrap();
    assert_eq!(place.logits(&["--cache"]), (want.clone(), String::new()));
    assert!(!old.exists() && new.exists() && twin.exists());
    // A file where the folder should be.
    fs::remove_dir_all(place.folder.path().join("cache")).unwrap();
    place.folder.file("cache", b"");
    let (got, said) = place.logits(&["--cache"]);
    assert!(got == want && said.lines().count() == 1 && said.contains("not kept"), "{said}");
}

/// Bytes that a run may keep beside image and cache.
const BESIDE: u64 = 16 << 20;

#[test]
fn a_run_keeps_its_image_its_cache_and_little_else_in_memory() {
    if !cfg!(target_os = "linux") {
        println!("skipped: only Linux says what a process keeps in memory");
        return;
    }
    let Some(model) = data::smollm2() else { return };
    let folder = Folder::new("memory");
    let model = folder.file("smollm2.gguf", &model);
    let cache = folder.path().join("cache");
    for more in [&[][..], &["--cache"], &["--cache"]] {
        let args = ["run", &model, "-p", "The capital of France is", "-n", "20", "--temp", "0", "--json"];
        let mut command = command(&[&args, more].concat());
        let run = Run::from(command.env("XDG_CACHE_HOME", &cache).stdin(Stdio::null()).output().unwrap());
        let report = run.json();
        let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
        let needed = number("image_bytes") + number("kv_bytes");
        let resident = number("resident_bytes");
        assert!(resident <= needed + BESIDE, "{more:?}: {resident} bytes for {needed}");
        // The weights were counted: all of them are used.
        assert!(resident >= number("image_bytes"), "{report}");
    }
}
