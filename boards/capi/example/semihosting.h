/* The console of QEMU, or of a debug probe that speaks semihosting. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum { OUT, ERR };

/* Writes text to standard output or standard error. */
void write_bytes(int stream, const char *text, size_t bytes);
void write_text(int stream, const char *text);

/* Leaves the emulator with a status. */
_Noreturn void leave(int status);

#endif
