#!/bin/sh
# Runs cargo for 64-bit Arm Linux, with QEMU as the machine unless this is one:
#
#   tests/cross/aarch64.sh test -p pipsqueak-kernels --features testing
#   AARCH64_CPU=cortex-a53 tests/cross/aarch64.sh test -p pipsqueak-kernels
#
# Needs qemu-aarch64 (Debian: qemu-user), aarch64-linux-gnu-gcc and its C library (gcc-aarch64-linux-gnu,
# libc6-dev-arm64-cross), and a standard library: `rustup target add aarch64-unknown-linux-gnu`, or any toolchain
# with its sources (rustup: rust-src; Debian: rustc-web, cargo-web and rust-web-src), from which one is built.
#
#   AARCH64_CPU      QEMU's CPU model: max (default), cortex-a53, cortex-a76 ...; on an Arm machine only where it is given
#   AARCH64_SYSROOT  folder with the Arm C library (default /usr/aarch64-linux-gnu)
set -eu

target=aarch64-unknown-linux-gnu
if [ $# -eq 0 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
command=$1
shift

export CARGO_BUILD_TARGET=$target
if [ "$(uname -m)" != aarch64 ]; then
    cpu=${AARCH64_CPU:-max}
    sysroot=${AARCH64_SYSROOT:-/usr/aarch64-linux-gnu}
    : "${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:=aarch64-linux-gnu-gcc}"
    : "${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER:=qemu-aarch64 -cpu $cpu -L $sysroot}"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER
    for tool in "$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER" "${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER%% *}"; do
        if ! command -v "$tool" >/dev/null; then
            echo "$0: $tool is not installed" >&2
            exit 1
        fi
    done
elif [ -n "${AARCH64_CPU:-}" ]; then
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $AARCH64_CPU"
fi

# A toolchain that has the target's standard library.
has_target() {
    [ -d "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/$target/lib" ]
}
# A toolchain that has the standard library's sources.
has_sources() {
    [ -f "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

if has_target rustc; then
    exec cargo "$command" "$@"
fi
for bin in "" /usr/bin/; do
    if has_sources "${bin}rustc" && [ -n "$(command -v "${bin}cargo")" ]; then
        # -Zbuild-std is an unstable option, which a stable toolchain accepts with this.
        export RUSTC_BOOTSTRAP=1 RUSTC="${bin}rustc" RUSTDOC="${bin}rustdoc"
        exec "${bin}cargo" "$command" -Zbuild-std=std,panic_unwind,test "$@"
    fi
done
echo "$0: no standard library for $target: rustup target add $target" >&2
exit 1
