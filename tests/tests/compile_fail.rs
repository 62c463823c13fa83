//! Memory that does not fit does not compile, and the compiler says what is missing.

use std::{path::Path, process::Command};

/// What `cargo check` says about tests/compile-fail with a feature, and whether it compiled.
fn check(feature: &str) -> (bool, String) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("compile-fail/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile-fail");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--features", feature, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        // The caller's flags are for the caller's target.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .expect("cargo runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_fits_compiles_and_what_does_not_says_by_how_much() {
    let (compiles, said) = check("");
    assert!(compiles, "{said}");
    for (feature, message) in [
        (
            "little-ram",
            "the model needs 77568 bytes of RAM with 256 positions (KV 69632, scratch 7936): short by 12032 bytes of 65536",
        ),
        ("short-scratch", "the scratch arena has 6400 bytes of 7936: short by 1536 bytes"),
        ("short-kv", "the KV arena has 64000 bytes of 69632: short by 5632 bytes"),
        ("long-context", "the model has been trained for 1 to 512 positions, not 1024"),
        ("no-model", "not a packed model: `pipsqueak pack` makes one"),
        ("float-cache", "the model needs the feature cache-f16, which is left out"),
        ("damaged-model", "the image is damaged: a section's checksum is wrong"),
    ] {
        let (compiles, said) = check(feature);
        assert!(!compiles, "{feature} compiled");
        assert!(said.contains(message), "{feature}: {said}");
    }
}
