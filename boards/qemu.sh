#!/bin/sh
# Cargo's runner: qemu.sh "QEMU MACHINE..." PROGRAM [ARGUMENTS...]
#
# One instruction takes one nanosecond of the emulated time, so that timers count instructions. The arguments are what
# the program reads through semihosting.
#
#   PIPSQUEAK_FLASH   FILE@ADDRESS: a model in flash, apart from the program
#   PIPSQUEAK_CORES   2: a second core, at the same time as the first, so that nothing is counted
#   PIPSQUEAK_LIMIT   seconds until a program that hangs is ended (default 600)
set -eu
machine=$1
program=$2
shift 2
words="enable=on,target=native,arg=demo"
for word in "$@"; do
    # A comma in an option of QEMU is written twice.
    words="$words,arg=$(printf %s "$word" | sed 's/,/,,/g')"
done
flash=${PIPSQUEAK_FLASH:-}
[ -z "$flash" ] || machine="$machine -device loader,file=${flash%@*},addr=${flash##*@},force-raw=on"
time="-icount shift=0"
[ -z "${PIPSQUEAK_CORES:-}" ] || time="-smp $PIPSQUEAK_CORES -accel tcg,thread=multi"
# Split into words: machine and time are several.
exec timeout "${PIPSQUEAK_LIMIT:-600}" $machine $time -display none -monitor none -serial none \
    -semihosting-config "$words" -kernel "$program"
