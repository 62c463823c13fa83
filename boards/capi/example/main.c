/*
 * A C firmware that tells a story: the model is in flash, its memory is known when compiling, and between two slices of work
 * the core is free for others.
 */
#include <pipsqueak.h>
#include <string.h>

#include "model_shape.h"
#include "semihosting.h"

enum { CONTEXT = 256, TOKENS = 200, PROMPT_BYTES = 100, SLICE = 4000 };

/* image.S */
extern const char model_image[], model_image_end[];

static const pipsqueak_options options = {.context = CONTEXT, .kv = PIPSQUEAK_KV_I8, .batch = 1};

/* All the memory there is. Does it fit? The linker says so. */
static pipsqueak_line scratch[PIPSQUEAK_SCRATCH_LINES(MODEL_SHAPE, CONTEXT, PIPSQUEAK_KV_I8, 1)];
static pipsqueak_line kv[PIPSQUEAK_KV_LINES(MODEL_SHAPE, CONTEXT, PIPSQUEAK_KV_I8)];
static pipsqueak_model model;
static pipsqueak_session session;

/* Shows what went wrong: the code's name, and in words with the numbers. */
static void show(const pipsqueak_failure *failure)
{
    static char message[PIPSQUEAK_MESSAGE_BYTES];
    pipsqueak_message(failure, message, sizeof message);
    write_text(ERR, pipsqueak_error_name(failure->code));
    write_text(ERR, ": ");
    write_text(ERR, message);
    write_text(ERR, "\n");
}

/* Does this board compute what the packer's machine computed? The session begins anew. */
static bool computes_correctly(pipsqueak_failure *failure)
{
    size_t compared;
    return pipsqueak_session_selftest(&session, &compared, failure) == PIPSQUEAK_OK;
}

/* One token, or several of a prompt, through the model. */
static bool forward(const uint32_t *tokens, size_t count, pipsqueak_failure *failure)
{
    while (count != 0) {
        size_t taken;
        if (pipsqueak_session_feed(&session, tokens, count, &taken, failure) != PIPSQUEAK_OK) {
            return false;
        }
        tokens += taken;
        count -= taken;
        for (bool more = true; more;) {
            if (pipsqueak_session_step(&session, SLICE, &more, failure) != PIPSQUEAK_OK) {
                return false;
            }
            /* Here the radio and the watchdog have their turn. */
        }
    }
    return true;
}

static bool tell(const char *prompt, pipsqueak_failure *failure)
{
    static uint32_t tokens[PIPSQUEAK_MAX_TOKENS(PROMPT_BYTES)], work[PIPSQUEAK_WORK_WORDS(PROMPT_BYTES)];
    size_t count;
    if (pipsqueak_encode(&model, prompt, strlen(prompt), 0, tokens, sizeof tokens / sizeof *tokens, work,
                         sizeof work / sizeof *work, &count, failure) != PIPSQUEAK_OK ||
        !forward(tokens, count, failure)) {
        return false;
    }
    write_text(OUT, prompt);
    for (int i = 0; i < TOKENS; i++) {
        uint32_t token;
        bool stops;
        char text[64];
        size_t bytes;
        if (pipsqueak_session_sample(&session, &token, failure) != PIPSQUEAK_OK ||
            pipsqueak_model_stops(&model, token, &stops, failure) != PIPSQUEAK_OK) {
            return false;
        }
        if (stops) {
            break;
        }
        if (pipsqueak_session_text(&session, token, text, sizeof text, &bytes, failure) != PIPSQUEAK_OK) {
            return false;
        }
        write_bytes(OUT, text, bytes);
        if (!forward(&token, 1, failure)) {
            return false;
        }
    }
    write_text(OUT, "\n");
    return true;
}

/* Errors as they would come: each is shown, and none does any harm. True when all came. */
static bool look_at_errors(void)
{
    pipsqueak_failure failure;
    bool all = true;
    size_t taken;
    uint32_t token = 1;

    /* An image in RAM, so that a bit of it can be flipped: first of the header, then of a weight. */
    const size_t bytes = (size_t)(model_image_end - model_image);
    static pipsqueak_line copy[1u << 14];
    static pipsqueak_model damaged;
    if (bytes > sizeof copy) {
        write_text(ERR, "no room for a copy of the model\n");
        return false;
    }
    memcpy(copy, model_image, bytes);
    copy[0].bytes[30] ^= 1;
    all &= pipsqueak_model_open(&damaged, copy, bytes, &failure) == PIPSQUEAK_ERROR_CHECKSUM;
    show(&failure);
    copy[0].bytes[30] ^= 1;
    copy[bytes / 128].bytes[0] ^= 1;
    all &= pipsqueak_model_open(&damaged, copy, bytes, &failure) == PIPSQUEAK_OK;
    all &= pipsqueak_model_verify(&damaged, &failure) == PIPSQUEAK_ERROR_CHECKSUM;
    show(&failure);
    all &= pipsqueak_model_open(&damaged, copy, bytes - 1, &failure) == PIPSQUEAK_ERROR_TRUNCATED;
    show(&failure);
    copy[0].bytes[0] = 'G';
    all &= pipsqueak_model_open(&damaged, copy, bytes, &failure) == PIPSQUEAK_ERROR_MAGIC;
    show(&failure);

    /* A session that is closed, an arena that is too small, a token that is none, a context that is full. */
    all &= pipsqueak_session_feed(&session, &token, 1, &taken, &failure) == PIPSQUEAK_ERROR_NOT_OPEN;
    show(&failure);
    all &= pipsqueak_session_open(&session, &model, &options, scratch, sizeof scratch, kv, sizeof kv - 1, &failure) ==
           PIPSQUEAK_ERROR_KV_TOO_SMALL;
    show(&failure);
    all &= pipsqueak_session_open(&session, &model, &options, scratch, sizeof scratch, kv, sizeof kv, &failure) ==
           PIPSQUEAK_OK;
    token = PIPSQUEAK_NONE;
    all &= pipsqueak_session_feed(&session, &token, 1, &taken, &failure) == PIPSQUEAK_ERROR_TOKEN;
    show(&failure);
    token = 1;
    while (forward(&token, 1, &failure)) {
    }
    all &= failure.code == PIPSQUEAK_ERROR_CONTEXT_FULL;
    show(&failure);
    if (!all) {
        write_text(ERR, "an error did not come, or another one did\n");
    }
    return all;
}

int main(void)
{
    pipsqueak_failure failure;
    const size_t bytes = (size_t)(model_image_end - model_image);
    if (pipsqueak_abi_version() != PIPSQUEAK_ABI_VERSION) {
        write_text(ERR, "pipsqueak.h and the library are of different versions\n");
        return 1;
    }
    if (pipsqueak_model_open(&model, model_image, bytes, &failure) != PIPSQUEAK_OK ||
        pipsqueak_model_verify(&model, &failure) != PIPSQUEAK_OK ||
        pipsqueak_model_suits(&model, &failure) != PIPSQUEAK_OK ||
        pipsqueak_session_open(&session, &model, &options, scratch, sizeof scratch, kv, sizeof kv, &failure) !=
            PIPSQUEAK_OK ||
        !computes_correctly(&failure) || !tell("Once upon a time", &failure) || pipsqueak_session_close(&session, &failure) != PIPSQUEAK_OK) {
        show(&failure);
        return 1;
    }
    return look_at_errors() ? 0 : 1;
}
