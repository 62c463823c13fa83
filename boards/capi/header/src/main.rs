//! Writes `../include/pipsqueak.h`; with `--check` it only says whether that is what would be written.

use std::{env, error::Error, fmt::Write, fs, path::Path};

/// What rustdoc and clippy want said, and C's header says once, at its top.
const SAFETY: &str = " *\n * # Safety\n * The rules at the top.\n";
/// Where the header's declarations end.
const END: &str = "#ifdef __cplusplus\n}  // extern \"C\"";

/// The table of sizes and offsets as assertions for a C compiler: a packed struct, or enums of another size, do not compile.
fn layout(source: &str) -> Result<String, Box<dyn Error>> {
    let (_, table) = source.split_once("\nlayout! {\n").ok_or("no table in layout.rs")?;
    let mut out = String::from(
        "\n/* The library's layout of the structures above, for 32-bit and 64-bit pointers; a C11 or C++11 compiler looks whether its\n \
         * own is the same. */\n#if defined(__cplusplus) && __cplusplus >= 201103L\n\
         #define PIPSQUEAK_ASSERT(what) static_assert(what, \"another layout than the library's\")\n\
         #elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L\n\
         #define PIPSQUEAK_ASSERT(what) _Static_assert(what, \"another layout than the library's\")\n#endif\n\
         #ifdef PIPSQUEAK_ASSERT\n#ifdef PIPSQUEAK_32_BIT\n#define PIPSQUEAK_EITHER(on32, on64) on32\n#else\n\
         #define PIPSQUEAK_EITHER(on32, on64) on64\n#endif\n",
    );
    let mut structure = "";
    for line in table.lines() {
        let words: Vec<&str> = line.split([' ', ':', ',', '{', '}']).filter(|word| !word.is_empty()).collect();
        let (what, numbers) = match (words.as_slice(), line.contains('{')) {
            ([name, on32, on64], true) => {
                structure = name;
                (format!("sizeof({name})"), (on32, on64))
            }
            ([field, on32, on64], false) => (format!("offsetof({structure}, {field})"), (on32, on64)),
            ([], _) => continue,
            _ => return Err(format!("layout.rs: `{line}`").into()),
        };
        writeln!(out, "PIPSQUEAK_ASSERT({what} == PIPSQUEAK_EITHER({}, {}));", numbers.0, numbers.1)?;
    }
    out += "#undef PIPSQUEAK_EITHER\n#undef PIPSQUEAK_ASSERT\n#endif\n";
    Ok(out)
}

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
    let macros =
        fs::read_to_string(here.join("memory.h"))? + &layout(&fs::read_to_string(capi.join("src/layout.rs"))?)?;
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
