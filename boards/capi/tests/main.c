/* Tests of the C interface: every function, every error that a caller can bring about. For the host and for a chip. */
#include <string.h>

#include "check.h"
#include "model_shape.h"

pipsqueak_failure failure;
static unsigned checks, failures;

pipsqueak_model model;
pipsqueak_session session;
/* The largest cache, and a batch, so that all others fit too. */
pipsqueak_line scratch[PIPSQUEAK_SCRATCH_LINES(MODEL_SHAPE, CONTEXT, PIPSQUEAK_KV_I8, 4)];
pipsqueak_line kv[PIPSQUEAK_KV_LINES(MODEL_SHAPE, CONTEXT, PIPSQUEAK_KV_F32)];
const size_t scratch_bytes = sizeof scratch, kv_bytes = sizeof kv;

static pipsqueak_line copy[1u << 13];

void write_number(uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    write_bytes(ERR, digits + at, sizeof digits - at);
}

static void where(const char *file, int line)
{
    /* A loop that waits for what never comes would fail for ever. */
    if (++failures > 40) {
        write_text(ERR, "and more\n");
        leave(1);
    }
    write_text(ERR, file);
    write_text(ERR, ":");
    write_number((uint64_t)line);
    write_text(ERR, ": ");
}

bool check(bool good, const char *what, const char *file, int line)
{
    checks++;
    if (!good) {
        where(file, line);
        write_text(ERR, what);
        write_text(ERR, " is false\n");
    }
    return good;
}

bool expect(pipsqueak_error got, pipsqueak_error want, const char *call, const char *file, int line)
{
    checks++;
    if (got == want && failure.code == want) {
        return true;
    }
    char message[PIPSQUEAK_MESSAGE_BYTES];
    pipsqueak_message(&failure, message, sizeof message);
    where(file, line);
    write_text(ERR, call);
    write_text(ERR, " gave ");
    write_text(ERR, pipsqueak_error_name(got));
    write_text(ERR, " (");
    write_text(ERR, message);
    write_text(ERR, ") and not ");
    write_text(ERR, pipsqueak_error_name(want));
    write_text(ERR, "\n");
    return false;
}

bool about(bool expected, uint32_t argument, const char *file, int line)
{
    if (!expected || failure.argument == argument) {
        return expected;
    }
    where(file, line);
    write_text(ERR, "the error is about argument ");
    write_number(failure.argument);
    write_text(ERR, " and not ");
    write_number(argument);
    write_text(ERR, "\n");
    return false;
}

size_t image_bytes(void)
{
    return (size_t)(model_image_end - model_image);
}

char *image_copy(void)
{
    return (char *)copy;
}

void fresh_copy(void)
{
    memcpy(copy, model_image, image_bytes());
}

void open_model(void)
{
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_open(&model, model_image, image_bytes(), &failure));
}

void open_session(void)
{
    const pipsqueak_options options = {CONTEXT, PIPSQUEAK_KV_I8, 4};
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_open(&session, &model, &options, scratch, scratch_bytes, kv, kv_bytes,
                                                &failure));
}

int main(void)
{
    if (image_bytes() > sizeof copy) {
        write_text(ERR, "the model is too large for these tests\n");
        return 1;
    }
#ifdef LEFT_OUT
    test_left_out();
#else
    test_constants();
    test_arguments();
    test_images();
    test_plans();
    test_text();
    test_sessions();
#endif
    write_number(checks);
    write_text(ERR, " checks, ");
    write_number(failures);
    write_text(ERR, " failed, kernels ");
    write_text(ERR, pipsqueak_kernels_name());
    write_text(ERR, "\n");
    return failures == 0 ? 0 : 1;
}
