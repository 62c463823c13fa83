//! A firmware's `build.rs`, as docs/firmware.md shows it.

use std::{env, fs, path::Path};

use pipsqueak_cli::{
    failure::Failure,
    pack::{Quant, Recipe},
};

fn main() -> Result<(), Failure> {
    let model = Path::new("models/stories.gguf");
    println!("cargo::rerun-if-changed={}", model.display());
    // What `pipsqueak pack models/stories.gguf --quant keep --for netduinoplus2` does: the board's kernels, or a set by its name.
    let recipe = Recipe { quant: Quant::Keep, ..Recipe::for_target("netduinoplus2") };
    let image = recipe.pack(Some(model))?;
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("stories.pips"), image.bytes()).map_err(Failure::new)
}
