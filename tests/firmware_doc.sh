#!/usr/bin/env bash
# Does what docs/firmware.md tells a new user to do, in an empty folder, and compares what the board says with what the page
# says. A file of the page is a block of code after a line that begins with its name and ends in a colon. $1: cargo's folder.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
built=$(cd "$1" && pwd)
# Not below the repository: cargo would take the new package for one of its workspace.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ln -s "$repository" "$folder/pipsqueak"
cd "$folder"
page=$repository/docs/firmware.md

# The page's own first command.
sh -euc "$(sed -n 's/^mkdir -p talking/mkdir -p talking/p' "$page" | sed 's/ && cd talking$//')"
cd talking
awk '
    /^`[A-Za-z.\/]*`.*:$/ { split($0, part, "`"); file = part[2]; next }
    /^```/ && file != "" { if (writing) { writing = 0; file = "" } else writing = 1; next }
    writing { print > file }
' "$page"
[ -s Cargo.toml ] && [ -s memory.x ] && [ -s src/main.rs ] && [ -s .cargo/config.toml ]
target=$(sed -n 's/^target = "\(.*\)"/\1/p' .cargo/config.toml)
CARGO_TARGET_DIR=$built timeout 600 "$repository/boards/cargo.sh" "$target" run --quiet --release >"$folder/said"
awk '/^Then `cargo run --release`/ { wait = 1; next } wait && /^```/ { if (inside) exit; inside = 1; next } inside' "$page" >"$folder/expected"
cmp "$folder/said" "$folder/expected"
