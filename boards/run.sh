#!/usr/bin/env bash
# Builds a demo for a board and runs it under QEMU:
#
#   boards/run.sh mps2-an386 story                                  the model in the box tells its story
#   boards/run.sh mps2-an386 story n=50 temp=80 Lily and Ben        settings, then a prompt
#   boards/run.sh mps2-an386 repl                                   prompts as you type them
#   boards/run.sh mps2-an386 flashed                                the model apart from the program (PIPSQUEAK_MODEL, or the box)
#   boards/run.sh                                                   the boards and demos there are
#
#   PIPSQUEAK_MODEL        a packed model in place of the one in the box
#   PIPSQUEAK_DEBIAN_RUST  1: Debian's Rust, even where rustup has a library for the board; see cargo.sh
#   PIPSQUEAK_LOG          1: with the feature defmt; text goes to standard error, and the log's lines, decoded by `defmt-print`
#                          (cargo install defmt-print), to standard output; DEFMT_LOG says how much (default info)
#   PIPSQUEAK_CARGO        what cargo does: `run` if nothing else is said, `build` to run nothing, `clippy` for all demos
set -euo pipefail
boards=$(cd "$(dirname "$0")" && pwd)

if [ $# -lt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
    for manifest in "$boards"/*/.cargo/config.toml; do
        board=$(dirname "$(dirname "$manifest")")
        echo "  $(basename "$board"): $(sed -n 's/.*name = "\([a-z_]*\)", path = "\.\.\/demos.*/\1/p' "$board/Cargo.toml" | tr '\n' ' ')"
    done
    exit 2
fi
board=$1 demo=$2
shift 2
cd "$boards/$board"
target=$(sed -n 's/^target = "\(.*\)"/\1/p' .cargo/config.toml)

cargo=("$boards/cargo.sh" "$target")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$boards/target}

model=${PIPSQUEAK_MODEL:-$boards/../host-cli/box/stories.pips}
case $model in /*) ;; *) model=$OLDPWD/$model ;; esac
# Where the board's kernels have a panel of their own, its .cargo/config.toml names the folder of the model packed for them.
set=$(sed -n 's|.*target/models/\([a-z0-9]*\)/.*|\1|p' .cargo/config.toml)
if [ -n "$set" ]; then
    packed=$boards/target/models/$set/$(basename "$model")
    if [ ! "$packed" -nt "$model" ]; then
        mkdir -p "$(dirname "$packed")"
        (cd "$boards/.." && cargo run --quiet --release -p pipsqueak-cli -- pack "$model" --quant keep --for "$set" -o "$packed")
    fi
    model=$packed
fi
[ "$demo" != pair ] || export PIPSQUEAK_CORES=2
if [ "$demo" = flashed ]; then
    # Region::new in its lib.rs says where the model's flash is.
    address=$(sed -n 's/.*Region::new(\(0x[0-9a-f_]*\),.*/\1/p' src/lib.rs | tr -d _)
    export PIPSQUEAK_FLASH=${PIPSQUEAK_FLASH:-$model@$address}
elif [ -n "${PIPSQUEAK_MODEL:-}" ]; then
    export PIPSQUEAK_IMAGE=$model
fi
if [ -n "${PIPSQUEAK_LOG:-}" ]; then
    # A folder of its own: other flags for the linker make everything anew.
    export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/log DEFMT_LOG=${DEFMT_LOG:-info}
    logged=(--config "target.$target.rustflags=['-C', 'link-arg=-Tdefmt.x']" --features defmt --release --bin "$demo")
    "${cargo[@]}" build --quiet "${logged[@]}"
    program=$(find "$CARGO_TARGET_DIR" -path "*/$target/release/$demo" -type f)
    "${cargo[@]}" run --quiet "${logged[@]}" -- "$@" | defmt-print -e "$program"
    exit
fi
# Demos that have the model in the box linked in need no code for any other.
features=()
if [ -z "${PIPSQUEAK_MODEL:-}" ] && grep -q '^box-model' Cargo.toml; then
    case $demo in story | repl | blink | heap) features=(--no-default-features --features box-model) ;; esac
fi
case ${PIPSQUEAK_CARGO:-run} in
run) exec "${cargo[@]}" run --quiet --release "${features[@]}" --bin "$demo" -- "$@" ;;
clippy) exec "${cargo[@]}" clippy --quiet --release --bins -- -D warnings ;;
*) exec "${cargo[@]}" "$PIPSQUEAK_CARGO" --release "${features[@]}" --bin "$demo" ;;
esac
