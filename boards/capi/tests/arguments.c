/* Pointers, lengths and handles that are wrong: every argument of every function. */
#include <string.h>

#include "check.h"

/* A pointer that is not NULL but one byte off. It is never followed. */
#define OFF(pointer) ((void *)((char *)(pointer) + 1))

static uint32_t tokens[16], work[64];
static size_t a, b;
static uint32_t token;
static bool flag;
static char text[32];
static const char *found;
static const float *logits;
static pipsqueak_info info;
static pipsqueak_memory memory;
static pipsqueak_sampling sampling;
static pipsqueak_encoder encoder;
static const pipsqueak_options options = {CONTEXT, PIPSQUEAK_KV_I8, 1};

#define MODEL_IS_BAD(code, model) \
    do { \
        ARGUMENT(code, 1, pipsqueak_model_close(model, &failure)); \
        ARGUMENT(code, 1, pipsqueak_model_verify(model, &failure)); \
        ARGUMENT(code, 1, pipsqueak_model_suits(model, &failure)); \
        ARGUMENT(code, 1, pipsqueak_model_info(model, &info, &failure)); \
        ARGUMENT(code, 1, pipsqueak_model_text(model, PIPSQUEAK_MODEL_NAME, &found, &a, &failure)); \
        ARGUMENT(code, 1, pipsqueak_model_stops(model, 0, &flag, &failure)); \
        ARGUMENT(code, 1, pipsqueak_plan(model, &options, &memory, &failure)); \
        ARGUMENT(code, 1, pipsqueak_encode(model, "a", 1, 0, tokens, 16, work, 64, &a, &failure)); \
        ARGUMENT(code, 2, pipsqueak_encoder_open(&encoder, model, "a", 1, 0, tokens, 16, work, 64, &failure)); \
        static pipsqueak_session none; \
        ARGUMENT(code, 2, pipsqueak_session_open(&none, model, &options, scratch, scratch_bytes, kv, kv_bytes, &failure)); \
    } while (0)

#define SESSION_IS_BAD(code, session) \
    do { \
        ARGUMENT(code, 1, pipsqueak_session_close(session, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_set_sampling(session, &sampling, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_feed(session, tokens, 1, &a, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_step(session, 1, &flag, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_prefill(session, tokens, 1, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_decode(session, 0, &token, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_selftest(session, &a, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_sample(session, &token, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_logits(session, &logits, &a, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_position(session, &a, &b, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_truncate(session, 0, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_reset(session, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_begin_text(session, 0, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_text(session, 0, text, sizeof text, &a, &failure)); \
        ARGUMENT(code, 1, pipsqueak_session_end_text(session, text, sizeof text, &a, &failure)); \
    } while (0)

#define ENCODER_IS_BAD(code, encoder) ARGUMENT(code, 1, pipsqueak_encoder_step(encoder, 1, &flag, &a, &failure))

static void test_handles(void)
{
    /* NULL, one byte off, never opened (zeros), closed, a copy. */
    MODEL_IS_BAD(PIPSQUEAK_ERROR_NULL, (pipsqueak_model *)NULL);
    SESSION_IS_BAD(PIPSQUEAK_ERROR_NULL, (pipsqueak_session *)NULL);
    ENCODER_IS_BAD(PIPSQUEAK_ERROR_NULL, (pipsqueak_encoder *)NULL);
    MODEL_IS_BAD(PIPSQUEAK_ERROR_MISALIGNED, (pipsqueak_model *)OFF(&model));
    SESSION_IS_BAD(PIPSQUEAK_ERROR_MISALIGNED, (pipsqueak_session *)OFF(&session));
    ENCODER_IS_BAD(PIPSQUEAK_ERROR_MISALIGNED, (pipsqueak_encoder *)OFF(&encoder));
    static pipsqueak_model no_model;
    static pipsqueak_session no_session;
    static pipsqueak_encoder no_encoder;
    MODEL_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &no_model);
    SESSION_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &no_session);
    ENCODER_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &no_encoder);

    open_model();
    open_session();
    memcpy(&no_model, &model, sizeof model);
    memcpy(&no_session, &session, sizeof session);
    MODEL_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &no_model);
    SESSION_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &no_session);
    EXPECT(PIPSQUEAK_OK, pipsqueak_encoder_open(&encoder, &model, "a", 1, 0, tokens, 16, work, 64, &failure));
    memcpy(&no_encoder, &encoder, sizeof encoder);
    ENCODER_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &no_encoder);
    /* A handle of one type is none of another. */
    memset(&no_session, 0xff, sizeof no_session);
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_open((pipsqueak_model *)(void *)&no_session, model_image, image_bytes(), &failure));
    SESSION_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &no_session);

    /* A model with a session cannot be closed; without it can, once. */
    ARGUMENT(PIPSQUEAK_ERROR_IN_USE, 1, pipsqueak_model_close(&model, &failure));
    CHECK(failure.got == 1);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    SESSION_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &session);
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
    MODEL_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &model);
}

/* Each pointer but the first of functions that take a model. */
static void test_model_arguments(void)
{
    const size_t bytes = image_bytes();
    open_model();
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_model_info(&model, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 2, pipsqueak_model_info(&model, OFF(&info), &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_model_text(&model, 1, NULL, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 3, pipsqueak_model_text(&model, 1, OFF(&found), &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 4, pipsqueak_model_text(&model, 1, &found, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 4, pipsqueak_model_text(&model, 1, &found, OFF(&a), &failure));
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 2, pipsqueak_model_text(&model, 0, &found, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 2, pipsqueak_model_text(&model, 5, &found, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_model_stops(&model, 0, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_plan(&model, NULL, &memory, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 2, pipsqueak_plan(&model, OFF(&options), &memory, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_plan(&model, &options, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 3, pipsqueak_plan(&model, &options, OFF(&memory), &failure));

    static pipsqueak_model other;
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 1, pipsqueak_model_open(NULL, model_image, bytes, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 1, pipsqueak_model_open(OFF(&other), model_image, bytes, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_model_open(&other, NULL, bytes, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 2, pipsqueak_model_open(&other, model_image, SIZE_MAX, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 2, pipsqueak_model_open(&other, model_image, SIZE_MAX / 2 + 1, &failure));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, pipsqueak_model_open(&other, &other, sizeof other, &failure));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, pipsqueak_model_open(&other, (char *)&other + sizeof other - 1, 64, &failure));
    EXPECT(PIPSQUEAK_ERROR_TRUNCATED, pipsqueak_model_open(&other, (char *)&other, 0, &failure));
    /* Without a place for the numbers the code is there all the same. */
    CHECK(pipsqueak_model_open(&other, NULL, bytes, NULL) == PIPSQUEAK_ERROR_NULL);
    CHECK(pipsqueak_model_verify(&model, NULL) == PIPSQUEAK_OK);
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}

static void test_encoder_arguments(void)
{
    open_model();
#define ENCODE(text, bytes, flags, tokens, capacity, work, words, count) \
    pipsqueak_encode(&model, text, bytes, flags, tokens, capacity, work, words, count, &failure)
#define OPEN(text, bytes, flags, tokens, capacity, work, words) \
    pipsqueak_encoder_open(&encoder, &model, text, bytes, flags, tokens, capacity, work, words, &failure)
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, ENCODE(NULL, 1, 0, tokens, 16, work, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 2, ENCODE("a", SIZE_MAX, 0, tokens, 16, work, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 4, ENCODE("a", 1, 4, tokens, 16, work, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 5, ENCODE("a", 1, 0, NULL, 16, work, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 5, ENCODE("a", 1, 0, OFF(tokens), 15, work, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 5, ENCODE("a", 1, 0, tokens, SIZE_MAX / 4, work, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 7, ENCODE("a", 1, 0, tokens, 16, NULL, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 7, ENCODE("a", 1, 0, tokens, 16, OFF(work), 63, &a));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 7, ENCODE("a", 1, 0, tokens, 16, work, SIZE_MAX / 2, &a));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 9, ENCODE("a", 1, 0, tokens, 16, work, 64, NULL));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 9, ENCODE("a", 1, 0, tokens, 16, work, 64, OFF(&a)));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, ENCODE("a", 1, 0, work, 16, work, 64, &a));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, ENCODE((char *)tokens, 1, 0, tokens, 16, work, 64, &a));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, ENCODE((char *)work + 255, 1, 0, tokens, 16, work, 64, &a));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 1, pipsqueak_encoder_open(NULL, &model, "a", 1, 0, tokens, 16, work, 64, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, OPEN(NULL, 1, 0, tokens, 16, work, 64));
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 5, OPEN("a", 1, 4, tokens, 16, work, 64));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 6, OPEN("a", 1, 0, NULL, 16, work, 64));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 8, OPEN("a", 1, 0, tokens, 16, NULL, 64));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, OPEN((char *)&encoder, 1, 0, tokens, 16, work, 64));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, OPEN("a", 1, 0, (uint32_t *)(void *)&encoder, 1, work, 64));
    /* What could not be opened is closed. */
    ENCODER_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &encoder);
    EXPECT(PIPSQUEAK_OK, OPEN("a", 1, 0, tokens, 16, work, 64));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_encoder_step(&encoder, 1, NULL, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 4, pipsqueak_encoder_step(&encoder, 1, &flag, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 4, pipsqueak_encoder_step(&encoder, 1, &flag, OFF(&a), &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}

static void test_session_open_arguments(void)
{
    open_model();
#define SESSION(options, scratch, scratch_bytes, kv, kv_bytes) \
    pipsqueak_session_open(&session, &model, options, scratch, scratch_bytes, kv, kv_bytes, &failure)
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 1,
             pipsqueak_session_open(NULL, &model, &options, scratch, scratch_bytes, kv, kv_bytes, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, SESSION(NULL, scratch, scratch_bytes, kv, kv_bytes));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 3, SESSION(OFF(&options), scratch, scratch_bytes, kv, kv_bytes));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 4, SESSION(&options, NULL, scratch_bytes, kv, kv_bytes));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 4, SESSION(&options, (char *)scratch + 32, scratch_bytes - 32, kv, kv_bytes));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 4, SESSION(&options, scratch, SIZE_MAX, kv, kv_bytes));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 6, SESSION(&options, scratch, scratch_bytes, NULL, kv_bytes));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 6, SESSION(&options, scratch, scratch_bytes, (char *)kv + 8, kv_bytes - 8));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 6, SESSION(&options, scratch, scratch_bytes, kv, SIZE_MAX / 2 + 1));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, SESSION(&options, kv, kv_bytes, kv, kv_bytes));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, SESSION(&options, scratch, scratch_bytes, (char *)scratch + 64, kv_bytes));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, SESSION(&options, (void *)model_image, scratch_bytes, kv, kv_bytes));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, SESSION(&options, scratch, scratch_bytes, &model, kv_bytes));
    EXPECT(PIPSQUEAK_ERROR_OVERLAP, SESSION(&options, scratch, scratch_bytes, &session, kv_bytes));
    SESSION_IS_BAD(PIPSQUEAK_ERROR_NOT_OPEN, &session);
    /* Nothing that failed counts as a session. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}

/* Each pointer but the first of functions that take a session. */
static void test_session_arguments(void)
{
    open_model();
    open_session();
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_set_sampling(&session, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 2, pipsqueak_session_set_sampling(&session, OFF(&sampling), &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_feed(&session, NULL, 1, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 2, pipsqueak_session_feed(&session, OFF(tokens), 1, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 2, pipsqueak_session_feed(&session, tokens, SIZE_MAX / 4, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 4, pipsqueak_session_feed(&session, tokens, 1, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_session_step(&session, 1, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_prefill(&session, NULL, 1, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 2, pipsqueak_session_prefill(&session, tokens, SIZE_MAX, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_session_decode(&session, 0, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_selftest(&session, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_sample(&session, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 2, pipsqueak_session_sample(&session, OFF(&token), &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_logits(&session, NULL, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_session_logits(&session, &logits, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_position(&session, NULL, &b, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_session_position(&session, &a, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 3, pipsqueak_session_text(&session, 0, NULL, 1, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_LENGTH, 3, pipsqueak_session_text(&session, 0, text, SIZE_MAX, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL, 3, pipsqueak_session_text(&session, 0, text, 0, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 5, pipsqueak_session_text(&session, 0, text, sizeof text, NULL, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 2, pipsqueak_session_end_text(&session, NULL, 1, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL, 2, pipsqueak_session_end_text(&session, text, 0, &a, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_NULL, 4, pipsqueak_session_end_text(&session, text, sizeof text, NULL, &failure));
    /* Two results in one place: the second stays. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_position(&session, &a, &a, &failure));
    CHECK(a == CONTEXT);
    CHECK(pipsqueak_sampling_greedy(NULL) == PIPSQUEAK_ERROR_NULL);
    CHECK(pipsqueak_sampling_greedy(OFF(&sampling)) == PIPSQUEAK_ERROR_MISALIGNED);
    CHECK(pipsqueak_sampling_default(NULL) == PIPSQUEAK_ERROR_NULL);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}

void test_arguments(void)
{
    test_handles();
    test_model_arguments();
    test_encoder_arguments();
    test_session_open_arguments();
    test_session_arguments();
}
