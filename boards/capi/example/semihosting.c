#include "semihosting.h"

#include <string.h>

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_EXIT_EXTENDED = 0x20, MODE_WRITE = 4, MODE_APPEND = 8 };

static uintptr_t call(uintptr_t operation, const void *arguments)
{
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void write_bytes(int stream, const char *text, size_t bytes)
{
    /* ":tt" is the console: opened to write it is standard output, to append standard error. */
    static uintptr_t handles[2];
    if (handles[stream] == 0) {
        const uintptr_t arguments[3] = {(uintptr_t)":tt", stream == OUT ? MODE_WRITE : MODE_APPEND, 3};
        handles[stream] = call(SYS_OPEN, arguments);
    }
    const uintptr_t arguments[3] = {handles[stream], (uintptr_t)text, bytes};
    call(SYS_WRITE, arguments);
}

void write_text(int stream, const char *text)
{
    write_bytes(stream, text, strlen(text));
}

_Noreturn void leave(int status)
{
    /* ADP_Stopped_ApplicationExit */
    const uintptr_t arguments[2] = {0x20026, (uintptr_t)status};
    call(SYS_EXIT_EXTENDED, arguments);
    for (;;) {
    }
}
