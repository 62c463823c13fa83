//! The built program, and what it did when it ran.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// The program: `$PIPSQUEAK_BIN`, or built now, with the profile of these tests.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = env::var_os("PIPSQUEAK_BIN") {
            return path.into();
        }
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "pipsqueak-cli", "--bin", "pipsqueak", "--message-format", "json"]);
        // The tests lie in `<target folder>/<profile's folder>/deps`.
        let this = env::current_exe().expect("this test's file");
        let profile = this.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str());
        build.args(["--profile", profile.filter(|name| *name != "debug").unwrap_or("dev")]);
        build.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
        let output = build.output().expect("cargo runs");
        assert!(output.status.success(), "the program does not build");
        let text = String::from_utf8(output.stdout).expect("JSON lines");
        let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let executable = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
        executable.expect("a program was built")
    })
}

/// A folder that goes away with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.0.join(name), bytes).expect("a file");
        self.name(name)
    }

    /// The name of a file in it, whether or not it is there.
    pub(crate) fn name(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().expect("a plain name")
    }

    /// The names of all that is in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("an exit status, not a signal"),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("plain text"),
        }
    }
}

impl Run {
    /// Its text, of a run that went well.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.status, 0, "{}", self.stderr);
        String::from_utf8(self.stdout).expect("UTF-8")
    }

    /// Its JSON: one value on one line.
    pub(crate) fn json(self) -> serde_json::Value {
        let text = self.text();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// A run that failed as it should: this status, nothing on stdout, one plain line with all of these words.
    pub(crate) fn fails(&self, status: i32, words: &[&str]) {
        let one_line = self.stderr.ends_with('\n') && self.stderr.matches('\n').count() == 1;
        let named = words.iter().all(|word| self.stderr.contains(word));
        let plain = one_line && !self.stderr.contains("Usage:");
        let fine = self.status == status && self.stdout.is_empty() && plain && named;
        assert!(fine && self.stderr.starts_with("pipsqueak: "), "want {status} and {words:?}, got {self:?}");
    }
}

/// Runs the program, with nothing on stdin and no downloaded model.
pub(crate) fn run(args: &[&str]) -> Run {
    command(args).stdin(Stdio::null()).output().expect("the program runs").into()
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-cache"));
    command
}
