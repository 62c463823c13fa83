#!/usr/bin/env bash
# The boards under QEMU: every demo's output against boards/demos/*.out, every text and every bit against the host's, and the
# tables boards/{sizes,instructions,matvec}.txt, made anew in the folder $1. ./check.sh boards calls it.
#
#   PIPSQUEAK            the host's program
#   PIPSQUEAK_DATA       folder with stories260K.bin and tok512.bin; without them the model in the box is all there is
#   BOARDS               some of the boards (default: all)
#
# With --groups: prints the boards there are, those of one target on a line, as these have their programs in one folder.
set -euo pipefail
cd "$(dirname "$0")/.."

target_of() { sed -n 's/^target = "\(.*\)"/\1/p' "boards/$1/.cargo/config.toml"; }

# The boards that QEMU has, the longest line first.
groups() {
    local config board
    for config in boards/*/.cargo/config.toml; do
        if grep -q 'qemu\.sh' "$config"; then
            board=$(basename "${config%/.cargo/*}")
            echo "$(target_of "$board") $board"
        fi
    done | awk '{ boards[$1] = boards[$1] " " $2; count[$1]++ } END { for (t in boards) print count[t] boards[t] }' |
        sort -rn | cut -d' ' -f2-
}
if [ "$1" = --groups ]; then
    groups
    exit
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
read -ra boards <<<"${BOARDS:-$(groups | tr '\n' ' ')}"
box=$PWD/host-cli/box/stories.pips
prompt="Once upon a time"
rm -f "$out"/*.txt

fail() { echo "boards: $*" >&2; exit 1; }

# Runs a demo; its text goes to $out/text, its numbers to $out/stats. The board says by its exit status whether all is well.
run() {
    local board=$1 demo=$2
    boards/run.sh "$@" >"$out/said" 2>"$out/errors" </dev/null || { cat "$out/said" "$out/errors" >&2; fail "$* failed"; }
    grep -v '^stat ' "$out/said" >"$out/text" || true
    grep '^stat ' "$out/said" >"$out/stats" || true
}

stat() { awk -v name="$1" '$2 == name { print $3 }' "$out/stats"; }

# A demo's text is the committed one.
same_text() { cmp "$out/text" "boards/demos/$1.out" || { diff "$out/text" "boards/demos/$1.out" | head -5 >&2; fail "$2 $1: another text"; }; }

compiler_of() { boards/cargo.sh "$(target_of "$1")"; }

# The program of a board's demo, as cargo has written it.
program() {
    local target folder=${CARGO_TARGET_DIR:-boards/target}
    target=$(target_of "$1")
    case $compiler in debian-*) folder=$folder/debian ;; esac
    echo "$folder/$target/release/$2"
}

# A line of sizes.txt: sections in bytes, and the stack's high-water mark. `size` counts a model that is linked in, so the
# fourth column is what the constants are without it.
measure_size() {
    local board=$1 demo=$2 model=$3
    size -A "$(program "$board" "$demo")" | awk -v board="$board" -v demo="$demo" -v model="$model" -v stack="$(stat stack)" \
        -v compiler="$compiler" '
        $1 == ".text" || $1 == ".vector_table" || $1 == ".init" { text += $2 }
        $1 == ".rodata" { rodata += $2 }
        $1 == ".data" { data += $2 }
        $1 == ".bss" { bss += $2 }
        END { printf "%-14s %-13s %7d %7d %7d %6d %7d %6d  %s\n", board, demo, text, rodata - model, model, data, bss, stack, compiler }
        ' >>"$out/sizes.txt"
}

# A line of instructions.txt. $3: the model's file, for its multiply-adds.
measure_speed() {
    local board=$1 model=$2 macs
    macs=$("$PIPSQUEAK" inspect --json "$3" | sed -n 's/.*"macs_per_token":\([0-9]*\).*/\1/p')
    printf '%-14s %-18s %6d %12d %7s %12d %12d %11d  %s\n' "$board" "$model" "$(stat tokens)" "$(stat instructions_a_token)" \
        "$(awk -v a="$(stat instructions_a_token)" -v m="$macs" 'BEGIN { printf "%.2f", a / m }')" \
        "$(stat instructions_to_first_token)" "$(stat instructions_full_context)" "$(stat worst_slice)" "$compiler" \
        >>"$out/instructions.txt"
}

# Lines of matvec.txt, a format each.
measure_products() {
    local board=$1 format small large
    for format in q8 q4 q4m; do
        small=$(stat $format/64) large=$(stat $format/288)
        [ -n "$small" ] && [ -n "$large" ] || { cat "$out/text" >&2; fail "$board matvec: no figure for $format"; }
        awk -v board="$board" -v name="$(stat kernels)/$format" -v small="$small" -v large="$large" -v compiler="$compiler" '
            BEGIN {
                printf "%-14s %-11s %10d %10d %8.3f %8.3f  %s\n", board, name, small, large, small / (64 * 64), large / (288 * 288), compiler
            }' >>"$out/matvec.txt"
    done
}

# Nothing of these in a program that promises it.
no_panic() {
    local symbols
    symbols=$(nm "$(program "$1" "$2")" | awk '{ print $NF }')
    if grep -E '9panicking|__rust_alloc|__rg_alloc|__rdl_alloc|5alloc|5defmt' <<<"$symbols"; then fail "$1 $2 links these"; fi
    # The reader is at work.
    grep -q 9pipsqueak <<<"$symbols" || fail "nm finds nothing in $1 $2"
}

has_demo() { grep -q "name = \"$2\"" "boards/$1/Cargo.toml"; }

# Ids and logits that the board has computed, against the host's for the same ids.
same_bits() {
    local board=$1 model=$2 kv=$3 context=$4 ids sum
    PIPSQUEAK_MODEL=$model run "$board" flashed ids n=12 "ctx=$context" "kv=$kv" "$prompt"
    ids=$(sed -n '1s/ *$//;1s/ /,/gp' "$out/text")
    sum=$(sed -n 's/^logits //p' "$out/text")
    "$PIPSQUEAK" logits "$model" --ids "$ids" --kv "$kv" -o "$out/logits" 2>/dev/null
    [ "$sum" = "$(python3 -c 'import sys, zlib; print("%08x" % zlib.crc32(open(sys.argv[1], "rb").read()))' "$out/logits")" ] ||
        fail "$board $(basename "$model") $kv: other logits than the host's"
}

# The text of the host for the same model and settings.
same_story() {
    local board=$1 model=$2
    "$PIPSQUEAK" run "$model" -p "$prompt" -n "$(stat tokens)" --temp 0 --kv i8 --ctx 128 >"$out/expected" 2>/dev/null
    # The host's ends without a line's end where the text does.
    [ "$(cat "$out/text")" = "$(cat "$out/expected")" ] || fail "$board $(basename "$model"): another story than the host's"
}

# What is wrong is said in words: `refuses NAME WORDS ARGUMENTS...` with the model in $PIPSQUEAK_FLASH.
refuses() {
    local name=$1 words=$2 status=0
    shift 2
    boards/run.sh "$bad_board" flashed "$@" >"$out/said" 2>"$out/errors" </dev/null || status=$?
    [ $status = 1 ] && grep -q "^error: .*$words" "$out/said" || {
        cat "$out/said" "$out/errors" >&2
        fail "$bad_board, $name: status $status, and no error with the words \"$words\""
    }
}

# A byte of the model's $1 with one bit flipped. Between the tensors there is padding, in which it changes nothing.
flip() {
    python3 - "$out/own.pips" "$out/flipped.pips" "$1" <<'PYTHON'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
at = int(sys.argv[3])
data[at] ^= 1 << at % 8
open(sys.argv[2], "wb").write(data)
PYTHON
}

bad_images() {
    local bad_board=netduinoplus2 at=0x08080000 len i
    # The model for this board's kernels.
    "$PIPSQUEAK" pack "$box" --quant keep --for "$bad_board" -o "$out/own.pips" 2>/dev/null
    len=$(wc -c <"$out/own.pips")
    export PIPSQUEAK_FLASH
    PIPSQUEAK_FLASH=$out/flipped.pips@$at
    for ((i = 0; i < 256; i += 17)); do flip $i; refuses "bit of byte $i flipped" ""; done
    for ((i = 1; i < 40; i++)); do flip $((i * len / 40)); refuses "bit of byte $((i * len / 40)) flipped" "CRC-32"; done
    head -c 100000 "$out/own.pips" >"$out/cut.pips"
    PIPSQUEAK_FLASH=$out/cut.pips@$at
    refuses "cut to 100000 bytes" "CRC-32"
    head -c 600 "$out/own.pips" >"$out/cut.pips"
    refuses "cut to 600 bytes" "CRC-32"
    echo >"$out/cut.pips"
    refuses "no model at all" "not a Pipsqueak image"
    # Longer than the flash that is kept for it.
    python3 -c 'import sys; d = bytearray(open(sys.argv[1], "rb").read()); d[8:16] = (1 << 20).to_bytes(8, "little")
import zlib; d[252:256] = zlib.crc32(d[:252]).to_bytes(4, "little"); open(sys.argv[2], "wb").write(d)' "$out/own.pips" "$out/cut.pips"
    refuses "longer than its flash" "image has 524288 bytes and needs 1048576"
    "$PIPSQUEAK" pack "$box" --quant keep --for neon -o "$out/other.pips" 2>/dev/null
    PIPSQUEAK_FLASH=$out/other.pips@$at
    refuses "packed for NEON" "packed for other kernels"
    PIPSQUEAK_FLASH=$out/own.pips@$at
    refuses "too small a buffer" "114688 are set aside: short by" ctx=512
    refuses "a prompt too long" "the prompt has 105 bytes, at most 100 are taken" "$(printf 'fifteen letters%.0s' 1 2 3 4 5 6 7)"
    refuses "a prompt longer than the context" "do not fit the context of 3" ctx=3
    refuses "a full context" "1 tokens do not fit the context of 32, of which 32 are in use" ctx=32 n=100
    unset PIPSQUEAK_FLASH
    echo "$bad_board: flipped bits, cut and foreign models, too little memory, too long a text: each an error in words"
}

models=("$box")
if [ -f "${PIPSQUEAK_DATA:-}/stories260K.bin" ] && [ -f "${PIPSQUEAK_DATA:-}/tok512.bin" ]; then
    for quant in q8 q4; do
        # Plain panels; boards/run.sh repacks for boards whose kernels have another.
        "$PIPSQUEAK" pack "$PIPSQUEAK_DATA/stories260K.bin" --tokenizer "$PIPSQUEAK_DATA/tok512.bin" --quant $quant --for scalar \
            -o "$out/stories260K-$quant.pips" 2>/dev/null
        models+=("$out/stories260K-$quant.pips")
    done
fi

cat >"$out/instructions.txt" <<'HEADER'
# Instructions, simulated: counted by QEMU's -icount, not cycles. From boards with the int8 cache, one token at a time, after
# "Once upon a time": a token of the answer on average (forward pass, choice, text), the same by the model's multiply-adds
# (attention's are not among them), up to the first character of the answer, the token that fills the context,
# and the longest slice of `step(4000)` (`step(24000)` with Helium), the tokenizer or the sampler.
# Written by `UPDATE=1 ./check.sh boards`; compared within 3 % when the compiler is the same.
#
# board        model/context      tokens      a token a mult.  first token full context worst slice  compiler
HEADER
cat >"$out/matvec.txt" <<'HEADER'
# Instructions, simulated: counted by QEMU's -icount, not cycles. A square matrix in the panel of the board's kernels times
# one token: all of it (block scales, preparing the activations, the call), and by its multiply-adds.
# Written by `UPDATE=1 ./check.sh boards`; compared within 3 % when the compiler is the same.
#
# board        set/format       64 x 64  288 x 288  a mult.  a mult.  compiler
HEADER
cat >"$out/sizes.txt" <<'HEADER'
# Bytes of each program: code, constants without the model, the model that is linked in, initialised data, zeroed data (with
# the arenas), and how deep the stack has been.
# Written by `UPDATE=1 ./check.sh boards`; compared within 3 % when the compiler is the same.
#
# board        demo             text  rodata   model   data     bss  stack  compiler
HEADER

for board in "${boards[@]}"; do
    compiler=$(compiler_of "$board")
    for demo in story selftest kernel_tests digits repl heap blink tasks pair; do
        has_demo "$board" $demo || continue
        model=0
        case $demo in
        story | heap) run "$board" $demo full ;;
        repl)
            boards/run.sh "$board" repl <boards/demos/repl.in >"$out/text" 2>"$out/errors" || fail "$board repl failed"
            : >"$out/stats"
            ;;
        *) run "$board" $demo ;;
        esac
        # The heap's story is the story.
        same_text ${demo/heap/story} "$board"
        [ $demo != story ] || measure_speed "$board" stories/256 "$box"
        case $demo in
        story | heap | repl | selftest | blink | tasks | pair) model=$(wc -c <"$box") ;;
        digits) model=$(wc -c <host-cli/box/digits-hidden.pipc) ;;
        esac
        [ $demo = repl ] || measure_size "$board" $demo "$model"
        case $demo in story | selftest | digits | blink | repl) no_panic "$board" $demo ;; esac
    done
    if has_demo "$board" matvec; then
        run "$board" matvec
        measure_products "$board"
    fi
    if has_demo "$board" flashed; then
        for model in "${models[@]}"; do
            name=$(basename "$model" .pips)
            PIPSQUEAK_MODEL=$model run "$board" flashed n=32 ctx=128 full "$prompt"
            same_story "$board" "$model"
            measure_speed "$board" "$name/128" "$model"
            for kv in f16 i8; do
                same_bits "$board" "$model" $kv 64
            done
        done
        measure_size "$board" flashed 0
        no_panic "$board" flashed
    fi
    echo "$board: $compiler: output, text and bits are the host's"
done

case " ${boards[*]} " in *" netduinoplus2 "*) bad_images ;; esac
