#!/usr/bin/env bash
# Builds the library and says where it is:
#
#   boards/capi/build.sh thumbv7em-none-eabihf          for a Rust target
#   boards/capi/build.sh thumbv7em-none-eabihf dsp      with another kernel set
#   boards/capi/build.sh                                for this machine
#
# With rustup's library for the target where it is installed, else with Debian's Rust (rustc-web, cargo-web,
# rust-web-src), which builds that library along.
#
#   PIPSQUEAK_DEBIAN_RUST  1: Debian's Rust in any case
set -euo pipefail
capi=$(cd "$(dirname "$0")" && pwd)
target=${1:-$(rustc -vV | sed -n 's/^host: //p')}
folder=${CARGO_TARGET_DIR:-$capi/../target}/capi

if [ -z "${PIPSQUEAK_DEBIAN_RUST:-}" ] && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    cargo=(cargo)
elif [ -x /usr/bin/cargo ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/core" ]; then
    # core is built as rustup's is: formatting a u64 in it has a bounds check that only full optimisation sees through.
    cargo=(env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo -Zbuild-std=core
        --config 'profile.release.package.core.opt-level=3')
    # Another compiler's work is not mixed with rustup's.
    folder=$folder-debian
else
    echo "no Rust for $target: rustup target add $target, or Debian's rustc-web, cargo-web and rust-web-src" >&2
    exit 1
fi
# A kernel set's library is beside the others, not in their place.
folder=$folder${2:+-$2}
# As a static library alone: with any other kind beside it, cargo leaves out link-time optimisation.
"${cargo[@]}" rustc --quiet --release --lib --crate-type staticlib --manifest-path "$capi/Cargo.toml" --target "$target" --target-dir "$folder" \
    ${2:+--features "$2"}
echo "$(cd "$folder" && pwd)/$target/release/libpipsqueak_capi.a"
