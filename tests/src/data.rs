//! Real models, where this machine has them. They are too large to commit.

use std::{env, fs, path::PathBuf};

/// A file of the folder `$PIPSQUEAK_DATA`, or of `shared/data` beside the workspace.
///
/// `None`, with a line that says so, where it is not there; a panic instead where `CI` is set.
pub fn shared(name: &str) -> Option<Vec<u8>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = env::var_os("PIPSQUEAK_DATA").map_or_else(beside, PathBuf::from);
    read(folder.join(name), "PIPSQUEAK_DATA")
}

/// SmolLM2-135M-Instruct as GGUF: `$PIPSQUEAK_SMOLLM2`, or the file in the cache folder.
///
/// `None`, with a line that says so, where it is not there; a panic where the variable names a file that is not.
pub fn smollm2() -> Option<Vec<u8>> {
    if let Some(path) = env::var_os("PIPSQUEAK_SMOLLM2") {
        return Some(fs::read(&path).unwrap_or_else(|error| panic!("PIPSQUEAK_SMOLLM2 = {path:?}: {error}")));
    }
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_default();
    let path = cache.join("pipsqueak/SmolLM2-135M-Instruct.Q4_1.gguf");
    let bytes = fs::read(&path).ok();
    if bytes.is_none() {
        println!("skipped: no {} (or set PIPSQUEAK_SMOLLM2)", path.display());
    }
    bytes
}

fn read(path: PathBuf, variable: &str) -> Option<Vec<u8>> {
    match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if env::var_os("CI").is_some() => panic!("{}: {error}; set {variable}", path.display()),
        Err(error) => {
            println!("skipped: {}: {error} (or set {variable})", path.display());
            None
        }
    }
}
