//! The model in the box: what runs when no model is named. It is part of the program, so that a fresh machine tells a story
//! without a network; see `box/stories.md`.

use std::path::PathBuf;

/// Its name, where a path would stand.
pub const NAME: &str = "stories (in the box)";

/// The prompt of the main job.
pub const PROMPT: &str = "Once upon a time";

/// The packed image, in the canonical panel; a host lays it out for its own kernels when it opens it.
static STORIES: &[u8] = pipsqueak::include_image!("../box/stories.pips");

/// The model in the box.
pub fn stories() -> &'static [u8] {
    STORIES
}

/// The folder for downloaded models: `$XDG_CACHE_HOME/pipsqueak`, or `~/.cache/pipsqueak`.
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Some(base?.join("pipsqueak"))
}
