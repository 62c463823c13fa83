#!/usr/bin/env bash
# Compares the program's logits byte by byte: every kernel set, number of threads, prefill batch and packed image of a
# model must give the same file, for each type of KV cache.
#
#   tests/same_bits.sh MODEL IDS [TOKENIZER]
#
#   PIPSQUEAK   the program (default: pipsqueak on the PATH)
#   KERNELS     the kernel sets it runs here (default: scalar)
#   OTHER       a command line of the program on another machine: `qemu-aarch64 ... pipsqueak`; optional
#   OTHER_KERNELS  the kernel sets it runs there (best first; default: that one only)
#   OTHER_IDS   how many of the ids that one gets (default: all), for it may be slow
#   FULL        1 for every combination, 0 (default) for each setting by itself, for models that take long
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
model=$1
ids=$2
tokenizer=()
[ $# -lt 3 ] || tokenizer=(--tokenizer "$3")
program=${PIPSQUEAK:-pipsqueak}
read -ra kernels <<<"${KERNELS:-scalar}"
read -ra other <<<"${OTHER:-}"
read -ra other_kernels <<<"${OTHER_KERNELS:-}"
fastest=${kernels[0]}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compared=0

# Compares the logits of `$2...` with those of the cache type $1.
same() {
    local expected=$folder/$1
    shift
    "$@" -o "$folder/got"
    if ! cmp "$expected" "$folder/got"; then
        echo "same_bits: other logits from: $*" >&2
        exit 1
    fi
    compared=$((compared + 1))
}

sources=("$model")
for target in scalar neon avx2 avxvnni avx512vnni; do
    "$program" pack "$model" "${tokenizer[@]}" --for "$target" -o "$folder/$target.pips" 2>"$folder/messages" || {
        cat "$folder/messages" >&2
        exit 1
    }
    sources+=("$folder/$target.pips")
done

for kv in f32 f16 i8; do
    # What everything is compared with: scalar code, one thread, one token after the other.
    "$program" logits "$model" "${tokenizer[@]}" --ids "$ids" --kv $kv --kernels scalar --threads 1 --batch 1 \
        -o "$folder/$kv"
    for source in "${sources[@]}"; do
        run=("$program" logits "$source" --ids "$ids" --kv $kv)
        [ "$source" != "$model" ] || run+=("${tokenizer[@]}")
        if [ "${FULL:-0}" = 1 ]; then
            for kernel in "${kernels[@]}"; do
                for threads in 1 2 3; do
                    for batch in 1 7 32 256; do
                        same $kv "${run[@]}" --kernels "$kernel" --threads $threads --batch $batch
                    done
                done
            done
        else
            same $kv "${run[@]}" --kernels "$fastest" --threads 2 --batch 7
        fi
    done
    if [ "${FULL:-0}" != 1 ]; then
        run=("$program" logits "$folder/avx2.pips" --ids "$ids" --kv $kv)
        for kernel in "${kernels[@]}"; do
            same $kv "${run[@]}" --kernels "$kernel" --threads 3 --batch 32
        done
        for batch in 1 7 256; do
            same $kv "${run[@]}" --kernels "$fastest" --threads 1 --batch $batch
        done
    fi
    if [ ${#other[@]} -gt 0 ]; then
        some=$(cut -d, -f "1-${OTHER_IDS:-}" <<<"$ids")
        cp "$folder/$kv" "$folder/all"
        "$program" logits "$model" "${tokenizer[@]}" --ids "$some" --kv $kv -o "$folder/$kv"
        same $kv "${other[@]}" logits "$folder/neon.pips" --ids "$some" --kv $kv --threads 2 --batch 7
        for kernel in "${other_kernels[@]:1}"; do
            same $kv "${other[@]}" logits "$folder/neon.pips" --ids "$some" --kv $kv --threads 2 --batch 7 --kernels "$kernel"
        done
        same $kv "${other[@]}" logits "$folder/avx2.pips" --ids "$some" --kv $kv --threads 1
    fi
done
count=$(tr ',' '\n' <<<"$ids" | wc -l)
echo "$(basename "$model"): $compared runs over $count tokens (and ${OTHER_IDS:-$count} elsewhere: ${other[*]:-no other machine}), the same bits"
