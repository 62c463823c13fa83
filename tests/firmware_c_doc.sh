#!/usr/bin/env bash
# Does what the section "From C" of docs/firmware.md tells a new user to do, in the folder $1: its commands in order, with the
# file that stands between them, and compares what the board says with what the page says.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
cd "$1"
rm -rf talking-c pipsqueak
ln -s "$repository" pipsqueak
sed -n '/^## From C/,/^## The model/p' "$repository/docs/firmware.md" >section
# The blocks of one language, with a line that ends each.
blocks() {
    awk -v language="$1" -v end="${2:-}" '
        /^```/ { if (inside) { if (mine && end != "") print end; inside = 0 } else { inside = 1; mine = $0 == "```" language }; next }
        inside && mine' section
}
{
    blocks sh END | awk '/^END$/ { exit } { print }'
    echo 'cp ../main.c .'
    blocks sh END | awk 'after; /^END$/ { after = 1 }' | sed '/^END$/d'
} >commands
blocks c >main.c
blocks '' >expected
[ "$(wc -l <commands)" -gt 8 ] && [ -s main.c ] && [ -s expected ]
timeout 600 bash -euo pipefail commands >said
cmp said expected
