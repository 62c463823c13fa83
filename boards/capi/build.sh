#!/usr/bin/env bash
# Builds the library and says where it is:
#
#   boards/capi/build.sh thumbv7em-none-eabihf          for a Rust target, with the scalar kernels (NEON on aarch64)
#   boards/capi/build.sh thumbv7em-none-eabihf dsp      with another kernel set: dsp (Cortex-M4F, M7, M33), helium (M55, M85)
#   boards/capi/build.sh                                for this machine
#
#   PIPSQUEAK_FEATURES     what the library can do, in place of everything: `weights-q4 panel-d4 cache-i8 ...`, see docs/firmware.md
#   PIPSQUEAK_DEBIAN_RUST  1: Debian's Rust, even where rustup has a library for the target; see ../cargo.sh
set -euo pipefail
capi=$(cd "$(dirname "$0")" && pwd)
target=${1:-$(rustc -vV | sed -n 's/^host: //p')}
# Of a kernel set in assembly only the smaller part is compiled.
features=(${2:+--features "$2" --config 'profile.release.package.pipsqueak-kernels.opt-level=2'}
    ${PIPSQUEAK_FEATURES:+--no-default-features --features "$PIPSQUEAK_FEATURES"})
# The library of a kernel set, or of some features, is beside the others, not in their place.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$capi/../target}/capi${2:+-$2}${PIPSQUEAK_FEATURES:+-some}
# As a static library alone: with any other kind beside it, cargo leaves out link-time optimisation.
"$capi/../cargo.sh" "$target" rustc --quiet --release --lib --crate-type staticlib --manifest-path "$capi/Cargo.toml" \
    --target "$target" "${features[@]}"
# Where cargo.sh puts the work of each compiler.
case $("$capi/../cargo.sh" "$target") in debian-*) CARGO_TARGET_DIR=$CARGO_TARGET_DIR/debian ;; esac
echo "$(cd "$CARGO_TARGET_DIR" && pwd)/$target/release/libpipsqueak_capi.a"
