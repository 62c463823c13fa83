#!/usr/bin/env bash
# Cargo for a bare-metal target: cargo.sh TARGET ARGUMENTS...
#
# With rustup's library for the target where it is installed, else with Debian's Rust (rustc-web, cargo-web, rust-web-src),
# which builds that library along, and whose work has a folder of its own. `cargo.sh TARGET` alone names the compiler.
#
#   PIPSQUEAK_DEBIAN_RUST  1: Debian's Rust in any case
#   CARGO_TARGET_DIR       as for cargo; must be set
set -euo pipefail
target=$1
shift
if [ -z "${PIPSQUEAK_DEBIAN_RUST:-}" ] && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    [ $# -gt 0 ] || { echo "rustc-$(rustc --version | cut -d' ' -f2)"; exit; }
    exec cargo "$@"
elif [ -x /usr/bin/cargo ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/core" ]; then
    [ $# -gt 0 ] || { echo "debian-$(/usr/bin/rustc --version | cut -d' ' -f2)"; exit; }
    # core is built as rustup's is: formatting a u64 in it has a bounds check that only full optimisation sees through.
    CARGO_TARGET_DIR=$CARGO_TARGET_DIR/debian RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 exec /usr/bin/cargo \
        -Zbuild-std=core,alloc --config 'profile.release.package.core.opt-level=3' "$@"
else
    echo "no Rust for $target: rustup target add $target, or Debian's rustc-web, cargo-web and rust-web-src" >&2
    exit 1
fi
