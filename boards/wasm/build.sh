#!/usr/bin/env bash
# Builds the module, packs a model for it and puts both with the page and the scripts into a folder:
#
#   boards/wasm/build.sh                  boards/target/wasm, with the model in the box
#   boards/wasm/build.sh FOLDER MODEL     another model: anything `pipsqueak pack` reads
#
#   PIPSQUEAK              the program that packs (default: built for this)
#   PIPSQUEAK_SIMD         0: without SIMD, for an engine that has none
#   PIPSQUEAK_DEBIAN_RUST  1: Debian's Rust, even where rustup has a library for WebAssembly; see ../cargo.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../target/wasm}
model=${2:-$here/../../host-cli/box/stories.pips}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
model=$(cd "$(dirname "$model")" && pwd)/$(basename "$model")
target=wasm32-unknown-unknown
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/../target}

simd=+
[ "${PIPSQUEAK_SIMD:-1}" != 0 ] || simd=-
cd "$here"
# The module's path is what cargo says: with Debian's Rust the folder is another.
module=$(RUSTFLAGS="-C target-feature=${simd}simd128" ../cargo.sh $target build --quiet --release --target $target \
    --message-format json-render-diagnostics | sed -n 's/.*"filenames":\["\([^"]*\.wasm\)".*/\1/p' | tail -1)
cp "$module" "$folder/pipsqueak.wasm"
cp index.html pipsqueak.mjs tell.mjs "$folder/"
cd ../..
pack=(cargo run --quiet --release -p pipsqueak-cli --)
[ -z "${PIPSQUEAK:-}" ] || pack=("$PIPSQUEAK")
"${pack[@]}" pack "$model" --quant keep --for simd128 -o "$folder/model.pips"
