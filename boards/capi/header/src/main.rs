//! Writes `../include/pipsqueak.h`; with `--check` it only says whether that is what would be written.

use std::{env, error::Error, fs, path::Path};

/// What rustdoc and clippy want said, and C's header says once, at its top.
const SAFETY: &str = " *\n * # Safety\n * The rules at the top.\n";
/// Where the header's declarations end.
const END: &str = "#ifdef __cplusplus\n}  // extern \"C\"";

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let capi = here.parent().ok_or("no folder above this one")?;
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml"))?;
    // The source alone, without cargo and dependencies.
    let builder = cbindgen::Builder::new().with_config(config).with_src(capi.join("src/lib.rs"));
    let mut bytes = Vec::new();
    builder.generate()?.write(&mut bytes);
    let text = String::from_utf8(bytes)?.replace(SAFETY, "");
    let (declarations, end) = text.split_once(END).ok_or("cbindgen ends its headers in another way")?;
    let macros = fs::read_to_string(here.join("memory.h"))?;
    let fresh = format!("{declarations}{END}{}", end.replacen("#endif  /*", &format!("{macros}\n#endif  /*"), 1));

    let path = capi.join("include/pipsqueak.h");
    if env::args().nth(1).as_deref() != Some("--check") {
        fs::write(path, fresh)?;
        return Ok(());
    }
    let committed = fs::read_to_string(path)?;
    let mut lines = committed.lines().zip(fresh.lines()).enumerate();
    if let Some((at, (old, new))) = lines.find(|(_, (old, new))| old != new) {
        return Err(format!("pipsqueak.h, line {}: `{old}`, but the source gives `{new}`", at + 1).into());
    }
    if committed != fresh {
        return Err("pipsqueak.h is longer or shorter than what the source gives".into());
    }
    Ok(())
}
