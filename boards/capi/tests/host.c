/* The console of a machine with an operating system. */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

void write_bytes(int stream, const char *text, size_t bytes)
{
    fwrite(text, 1, bytes, stream == OUT ? stdout : stderr);
}

void write_text(int stream, const char *text)
{
    fputs(text, stream == OUT ? stdout : stderr);
}

_Noreturn void leave(int status)
{
    exit(status);
}
