/* Text to tokens and back: at once, in slices, in buffers that are too small, with characters cut in two. */
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { TEXT_BYTES = 80 };
static const char story[] = "Once upon a time, there was a caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xad.";
static uint32_t tokens[PIPSQUEAK_MAX_TOKENS(TEXT_BYTES)], work[PIPSQUEAK_WORK_WORDS(TEXT_BYTES)];
enum { TOKENS = sizeof tokens / sizeof *tokens, WORDS = sizeof work / sizeof *work };

static size_t encoded(const char *text, uint32_t flags)
{
    size_t count = 0;
    EXPECT(PIPSQUEAK_OK, pipsqueak_encode(&model, text, strlen(text), flags, tokens, TOKENS, work, WORDS, &count, &failure));
    return count;
}

/* The text of tokens, all that is put out and at most `capacity` bytes at a time. */
static void decoded(const uint32_t *ids, size_t count, char *out, size_t room)
{
    size_t length = 0, bytes;
    for (size_t i = 0; i < count; i++) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_text(&session, ids[i], out + length, room - length, &bytes, &failure));
        CHECK(strlen(out + length) == bytes);
        length += bytes;
    }
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_end_text(&session, out + length, room - length, &bytes, &failure));
}

static void test_encode(void)
{
    size_t count, sliced;
    bool more;
    char text[TEXT_BYTES];
    pipsqueak_info info;
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_info(&model, &info, &failure));
    const size_t all = encoded(story, 0);
    CHECK(all > 5 && all <= PIPSQUEAK_MAX_TOKENS(sizeof story - 1));
    CHECK(!info.adds_bos || tokens[0] == info.bos);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_begin_text(&session, PIPSQUEAK_TEXT_BEGIN, &failure));
    decoded(tokens, all, text, sizeof text);
    CHECK(strcmp(text, story) == 0);

    /* The same in slices, of any size. */
    for (uint32_t budget = 1; budget < 300; budget += 71) {
        static uint32_t other[TOKENS];
        pipsqueak_encoder encoder;
        unsigned slices = 0;
        EXPECT(PIPSQUEAK_OK, pipsqueak_encoder_open(&encoder, &model, story, sizeof story - 1, 0, other, TOKENS, work, WORDS,
                                                    &failure));
        do {
            EXPECT(PIPSQUEAK_OK, pipsqueak_encoder_step(&encoder, budget, &more, &sliced, &failure));
            slices++;
        } while (more);
        CHECK(slices > 1);
        CHECK(sliced == all && memcmp(tokens, other, all * sizeof *tokens) == 0);
    }

    /* A text that goes on; an empty one; control tokens by name only when asked for. */
    const uint32_t second = tokens[info.adds_bos ? 1 : 0];
    CHECK(encoded(story, PIPSQUEAK_ENCODE_CONTINUE) == all - (info.adds_bos ? 1 : 0) && tokens[0] == second);
    CHECK(encoded("", PIPSQUEAK_ENCODE_CONTINUE) == 0);
    CHECK(encoded("", 0) == (info.adds_bos ? 1 : 0));
    EXPECT(PIPSQUEAK_OK, pipsqueak_encode(&model, NULL, 0, PIPSQUEAK_ENCODE_CONTINUE, NULL, 0, NULL, 0, &count, &failure));
    CHECK(count == 0);
    if (info.eos != PIPSQUEAK_NONE) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_begin_text(&session, PIPSQUEAK_TEXT_SPECIAL, &failure));
        decoded(&info.eos, 1, text, sizeof text);
        CHECK(strlen(text) > 2);
        CHECK(encoded(text, PIPSQUEAK_ENCODE_CONTINUE | PIPSQUEAK_ENCODE_SPECIAL) == 1 && tokens[0] == info.eos);
        CHECK(encoded(text, PIPSQUEAK_ENCODE_CONTINUE) > 1);
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_begin_text(&session, 0, &failure));
        decoded(&info.eos, 1, text, sizeof text);
        CHECK(text[0] == 0);
    }
}

static void test_too_small(void)
{
    size_t count = 77;
    const size_t all = encoded(story, 0);
    /* Every capacity that is too small says one that is enough, or at least more. */
    for (size_t capacity = 0; capacity < all; capacity++) {
        ARGUMENT(PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL, 5,
                 pipsqueak_encode(&model, story, sizeof story - 1, 0, tokens, capacity, work, WORDS, &count, &failure));
        CHECK(failure.got == capacity && failure.need > capacity && count == 77);
    }
    EXPECT(PIPSQUEAK_OK, pipsqueak_encode(&model, story, sizeof story - 1, 0, tokens, all, work, WORDS, &count, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_WORK_TOO_SMALL, 7,
             pipsqueak_encode(&model, story, sizeof story - 1, 0, tokens, TOKENS, work, 2, &count, &failure));
    CHECK(failure.got == 2 && failure.need > 2);
    pipsqueak_encoder encoder;
    bool more = true;
    pipsqueak_error code = PIPSQUEAK_OK;
    EXPECT(PIPSQUEAK_OK, pipsqueak_encoder_open(&encoder, &model, story, sizeof story - 1, 0, tokens, 2, work, WORDS, &failure));
    while (code == PIPSQUEAK_OK && more) {
        code = pipsqueak_encoder_step(&encoder, 10, &more, &count, &failure);
    }
    CHECK(code == PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL && failure.got == 2);
    /* Not UTF-8: from which byte on. */
    ARGUMENT(PIPSQUEAK_ERROR_NOT_UTF8, 2, pipsqueak_encode(&model, "ab\xff", 3, 0, tokens, TOKENS, work, WORDS, &count, &failure));
    CHECK(failure.got == 2);
    ARGUMENT(PIPSQUEAK_ERROR_NOT_UTF8, 3,
             pipsqueak_encoder_open(&encoder, &model, "\xc3", 1, 0, tokens, TOKENS, work, WORDS, &failure));
#if UINTPTR_MAX > 0xffffffff
    /* Zeros that nobody writes to take no memory. */
    const size_t huge = ((size_t)1 << 30) - 1;
    char *const text = calloc(huge, 1);
    if (CHECK(text != NULL)) {
        EXPECT(PIPSQUEAK_ERROR_TEXT_TOO_LONG, pipsqueak_encode(&model, text, huge, 0, tokens, TOKENS, work, WORDS, &count, &failure));
        CHECK(failure.got == huge && failure.need == huge - 1);
        free(text);
    }
#endif
}

/* Characters come whole, whatever the tokens. */
static void test_streaming(void)
{
    char text[TEXT_BYTES];
    size_t bytes = 77;
    pipsqueak_info info;
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_info(&model, &info, &failure));
    const size_t count = encoded("\xf0\x9f\x90\xad", PIPSQUEAK_ENCODE_CONTINUE);
    CHECK(count > 1);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_begin_text(&session, 0, &failure));
    for (size_t i = 0; i + 1 < count; i++) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_text(&session, tokens[i], text, sizeof text, &bytes, &failure));
        CHECK(bytes == 0 || strcmp(text, " ") == 0);
    }
    /* The last in a buffer that is too small changes nothing, and can be given again. */
    for (size_t capacity = 1; capacity < 5; capacity++) {
        bytes = 77;
        ARGUMENT(PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL, 3,
                 pipsqueak_session_text(&session, tokens[count - 1], text, capacity, &bytes, &failure));
        CHECK(failure.need == 5 && failure.got == capacity && bytes == 77 && text[0] == 0);
    }
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_text(&session, tokens[count - 1], text, 5, &bytes, &failure));
    CHECK(bytes == 4 && strcmp(text, "\xf0\x9f\x90\xad") == 0);
    /* A beginning without its end. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_begin_text(&session, 0, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_text(&session, tokens[count - 4], text, sizeof text, &bytes, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL, 2, pipsqueak_session_end_text(&session, text, 3, &bytes, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_end_text(&session, text, 4, &bytes, &failure));
    CHECK(bytes == 3 && strcmp(text, "\xef\xbf\xbd") == 0);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_end_text(&session, text, 1, &bytes, &failure));
    CHECK(bytes == 0 && text[0] == 0);
    /* Reset forgets a beginning. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_text(&session, tokens[count - 4], text, sizeof text, &bytes, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_reset(&session, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_end_text(&session, text, sizeof text, &bytes, &failure));
    CHECK(bytes == 0);
    /* text_bytes are enough for every token, also after a beginning. */
    static char long_text[1024];
    CHECK(info.text_bytes <= sizeof long_text);
    for (uint32_t token = 0; token < info.vocab_size; token++) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_begin_text(&session, PIPSQUEAK_TEXT_SPECIAL, &failure));
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_text(&session, tokens[count - 4], text, sizeof text, &bytes, &failure));
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_text(&session, token, long_text, info.text_bytes, &bytes, &failure));
    }
    ARGUMENT(PIPSQUEAK_ERROR_TOKEN, 2, pipsqueak_session_text(&session, info.vocab_size, text, sizeof text, &bytes, &failure));
    CHECK(failure.need == info.vocab_size && failure.got == info.vocab_size);
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 2, pipsqueak_session_begin_text(&session, 4, &failure));
}

void test_text(void)
{
    open_model();
    open_session();
    test_encode();
    test_too_small();
    test_streaming();
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}
