/* Sessions: slices of any size give the same bits, the context fills and is rolled back, settings choose tokens. */
#include <string.h>

#include "check.h"

enum { PROMPT = 6 };
static uint32_t prompt[PROMPT];
static pipsqueak_info info;
static float kept[1 << 13];

/* Forgets all, and feeds the prompt in slices of `budget`. */
static void feed_prompt(size_t budget)
{
    size_t done = 0, taken;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_reset(&session, &failure));
    while (done < PROMPT) {
        bool more = true;
        unsigned slices = 0;
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_feed(&session, prompt + done, PROMPT - done, &taken, &failure));
        CHECK(taken == (PROMPT - done < 4 ? PROMPT - done : 4));
        done += taken;
        while (more) {
            if (!EXPECT(PIPSQUEAK_OK, pipsqueak_session_step(&session, budget, &more, &failure))) {
                return;
            }
            slices++;
        }
        CHECK(budget == SIZE_MAX ? slices == 1 : slices > 1);
    }
}

static bool same_logits(void)
{
    const float *logits;
    size_t count;
    return EXPECT(PIPSQUEAK_OK, pipsqueak_session_logits(&session, &logits, &count, &failure)) &&
           CHECK(count == info.vocab_size) && CHECK(memcmp(kept, logits, count * sizeof *logits) == 0);
}

static uint32_t sampled(void)
{
    uint32_t token = PIPSQUEAK_NONE;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_sample(&session, &token, &failure));
    CHECK(token < info.vocab_size);
    return token;
}

static void test_slices(void)
{
    static const size_t budgets[] = {1, 1000, 4000, 100000, SIZE_MAX};
    const float *logits;
    size_t count, used, context;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_prefill(&session, prompt, PROMPT, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_logits(&session, &logits, &count, &failure));
    CHECK(count == info.vocab_size && count <= sizeof kept / sizeof *kept);
    memcpy(kept, logits, count * sizeof *kept);
    const uint32_t likely = sampled();
    for (size_t i = 0; i < count; i++) {
        CHECK(kept[i] <= kept[likely]);
    }
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        feed_prompt(budgets[i]);
        CHECK(same_logits());
    }
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_position(&session, &used, &context, &failure));
    CHECK(used == PROMPT && context == CONTEXT);

    /* The last token again, one way and the other. */
    uint32_t next = PIPSQUEAK_NONE;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_truncate(&session, PROMPT - 1, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_decode(&session, prompt[PROMPT - 1], &next, &failure));
    CHECK(next == likely);
    CHECK(same_logits());
    /* Nothing to do. */
    bool more = true;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_step(&session, 1, &more, &failure));
    CHECK(!more);
}

static void test_states(void)
{
    uint32_t token;
    size_t taken = 77, count, used, context;
    const float *logits;
    bool more;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_reset(&session, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_LOGITS, pipsqueak_session_sample(&session, &token, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_LOGITS, pipsqueak_session_logits(&session, &logits, &count, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_feed(&session, NULL, 0, &taken, &failure));
    CHECK(taken == 0);

    /* Half-way: busy, no logits, the position is the old one; then it is dropped, or the session closed and opened anew. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_feed(&session, prompt, 2, &taken, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_step(&session, 1, &more, &failure));
    CHECK(taken == 2 && more);
    EXPECT(PIPSQUEAK_ERROR_BUSY, pipsqueak_session_feed(&session, prompt, 1, &taken, &failure));
    EXPECT(PIPSQUEAK_ERROR_BUSY, pipsqueak_session_prefill(&session, prompt, 1, &failure));
    EXPECT(PIPSQUEAK_ERROR_BUSY, pipsqueak_session_decode(&session, 0, &token, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_LOGITS, pipsqueak_session_sample(&session, &token, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_position(&session, &used, &context, &failure));
    CHECK(used == 0);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    open_session();
    feed_prompt(SIZE_MAX);
    CHECK(same_logits());

    /* No such token; nothing was taken. */
    const uint32_t bad[] = {0, info.vocab_size};
    EXPECT(PIPSQUEAK_ERROR_TOKEN, pipsqueak_session_feed(&session, bad, 2, &taken, &failure));
    CHECK(failure.got == info.vocab_size && failure.need == info.vocab_size);
    EXPECT(PIPSQUEAK_ERROR_TOKEN, pipsqueak_session_prefill(&session, bad, 2, &failure));
    EXPECT(PIPSQUEAK_ERROR_TOKEN, pipsqueak_session_decode(&session, PIPSQUEAK_NONE, &token, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_position(&session, &used, &context, &failure));
    CHECK(used == PROMPT);
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 2, pipsqueak_session_truncate(&session, PROMPT + 1, &failure));
    CHECK(failure.need == PROMPT && failure.got == PROMPT + 1);
}

static void test_full(void)
{
    uint32_t token, many[CONTEXT + 1] = {0};
    size_t taken = 77, used, context;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_reset(&session, &failure));
    /* A prompt that is too long: nothing is taken of it. */
    EXPECT(PIPSQUEAK_ERROR_CONTEXT_FULL, pipsqueak_session_feed(&session, many, CONTEXT + 1, &taken, &failure));
    CHECK(failure.need == CONTEXT + 1 && failure.got == CONTEXT && taken == 77);
    EXPECT(PIPSQUEAK_ERROR_CONTEXT_FULL, pipsqueak_session_prefill(&session, many, CONTEXT + 1, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_prefill(&session, many, CONTEXT, &failure));
    (void)sampled();
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_position(&session, &used, &context, &failure));
    CHECK(used == CONTEXT && context == CONTEXT);
    EXPECT(PIPSQUEAK_ERROR_CONTEXT_FULL, pipsqueak_session_decode(&session, 0, &token, &failure));
    CHECK(failure.need == CONTEXT + 1 && failure.got == CONTEXT);
    /* Rolled back, it goes on. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_truncate(&session, CONTEXT - 1, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_decode(&session, 0, &token, &failure));
    feed_prompt(SIZE_MAX);
    CHECK(same_logits());
}

static void bad_sampling(pipsqueak_sampling sampling, const char *what, uint32_t bits)
{
    ARGUMENT(PIPSQUEAK_ERROR_SAMPLING, 2, pipsqueak_session_set_sampling(&session, &sampling, &failure));
    CHECK(strcmp(failure.what, what) == 0 && failure.got == bits);
}

static float not_a_number(void)
{
    const uint32_t bits = 0x7fc00000;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Tokens that the model likes to follow with one of them. */
static uint32_t told[CONTEXT];

static size_t tell_until_repeated(void)
{
    size_t count = PROMPT;
    memcpy(told, prompt, sizeof prompt);
    feed_prompt(SIZE_MAX);
    for (uint32_t token = sampled(); count < CONTEXT; count++) {
        for (size_t i = 0; i < count; i++) {
            if (told[i] == token) {
                return count;
            }
        }
        told[count] = token;
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_decode(&session, token, &token, &failure));
    }
    CHECK(!"no token was repeated");
    return count - 1;
}

/* Feeds these tokens, in one way or the other. */
static void feed_told(size_t count, bool sliced)
{
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_reset(&session, &failure));
    if (!sliced) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_prefill(&session, told, count, &failure));
        return;
    }
    for (size_t done = 0, taken = 0; done < count && failure.code == PIPSQUEAK_OK; done += taken) {
        bool more = true;
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_feed(&session, told + done, count - done, &taken, &failure));
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_step(&session, SIZE_MAX, &more, &failure));
    }
}

/* The most likely token when the logits of those fed are divided by `penalty`, or multiplied if negative. */
static uint32_t likely_with(float penalty, size_t fed)
{
    static float penalised[sizeof kept / sizeof *kept];
    const float *logits;
    size_t count;
    uint32_t best = 0;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_logits(&session, &logits, &count, &failure));
    memcpy(penalised, logits, count * sizeof *logits);
    for (size_t i = 0; i < fed; i++) {
        const float logit = logits[told[i]];
        penalised[told[i]] = logit > 0 ? logit / penalty : logit * penalty;
    }
    for (uint32_t token = 0; token < count; token++) {
        best = penalised[token] > penalised[best] ? token : best;
    }
    return best;
}

static void test_sampling(void)
{
    pipsqueak_sampling greedy, usual;
    CHECK(pipsqueak_sampling_greedy(&greedy) == PIPSQUEAK_OK);
    CHECK(greedy.temperature == 0 && greedy.top_k == 0 && greedy.top_p == 1 && greedy.min_p == 0 &&
          greedy.repeat_penalty == 1 && greedy.seed == 0);
    CHECK(pipsqueak_sampling_default(&usual) == PIPSQUEAK_OK);
    CHECK(usual.temperature == 0.8f && usual.top_k == 40 && usual.top_p == 0.95f && usual.min_p == 0.05f &&
          usual.repeat_penalty == 1 && usual.seed == 0);

    pipsqueak_sampling bad = greedy;
    bad.temperature = -1;
    bad_sampling(bad, "temperature", 0xbf800000);
    bad.temperature = not_a_number();
    bad_sampling(bad, "temperature", 0x7fc00000);
    bad = greedy, bad.top_p = 2;
    bad_sampling(bad, "top_p", 0x40000000);
    bad = greedy, bad.min_p = not_a_number();
    bad_sampling(bad, "min_p", 0x7fc00000);
    bad = greedy, bad.repeat_penalty = 0;
    bad_sampling(bad, "repeat_penalty", 0);

    /* The most likely token in three ways. */
    feed_prompt(SIZE_MAX);
    const uint32_t likely = sampled();
    pipsqueak_sampling sampling = usual;
    sampling.top_k = 1;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &sampling, &failure));
    CHECK(sampled() == likely);
    sampling = usual, sampling.top_p = 0;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &sampling, &failure));
    CHECK(sampled() == likely);
    sampling = usual, sampling.min_p = 1;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &sampling, &failure));
    CHECK(sampled() == likely);

    /* A seed names its draws; hot enough, seeds differ. */
    sampling = greedy, sampling.temperature = 50;
    unsigned different = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
        sampling.seed = seed << 40;
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &sampling, &failure));
        const uint32_t token = sampled();
        CHECK(sampled() == token);
        different += token != likely;
    }
    CHECK(different > 0);

    /* The penalty looks at what was fed, in either way; reset and new settings forget it. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &greedy, &failure));
    const size_t fed = tell_until_repeated();
    sampling = greedy, sampling.repeat_penalty = 1e6f;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &sampling, &failure));
    for (unsigned sliced = 0; sliced < 2; sliced++) {
        feed_told(fed, sliced);
        const uint32_t another = likely_with(sampling.repeat_penalty, fed);
        CHECK(another != likely_with(1, fed));
        CHECK(sampled() == another);
    }
    feed_prompt(SIZE_MAX);
    CHECK(sampled() == likely);
    feed_told(fed, false);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &sampling, &failure));
    CHECK(sampled() == likely_with(1, fed));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_set_sampling(&session, &greedy, &failure));
}

static void test_selftest(void)
{
    size_t compared = 0, used, context;
    for (uint32_t cache = PIPSQUEAK_KV_F32; cache <= PIPSQUEAK_KV_I8; cache++) {
        const pipsqueak_options options = {CONTEXT, cache, 3};
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_open(&session, &model, &options, scratch, scratch_bytes, kv, kv_bytes, &failure));
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_selftest(&session, &compared, &failure));
        CHECK(compared == info.n_layers + 1);
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_position(&session, &used, &context, &failure));
        CHECK(used == 0);
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    }
    const pipsqueak_options options = {1, PIPSQUEAK_KV_I8, 1};
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_open(&session, &model, &options, scratch, scratch_bytes, kv, kv_bytes, &failure));
    EXPECT(PIPSQUEAK_ERROR_CONTEXT_FULL, pipsqueak_session_selftest(&session, &compared, &failure));
    CHECK(failure.got == 1 && failure.need > 1);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
}

/* Two sessions of one model, step by step in turn, do not see each other; the model is in use until both are closed. */
static void test_two(void)
{
    static pipsqueak_session other;
    static pipsqueak_line more_scratch[1 << 9], more_kv[1 << 11];
    const pipsqueak_options options = {16, PIPSQUEAK_KV_F16, 1};
    uint32_t next;
    bool more = true;
    size_t taken;
    open_session();
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_open(&other, &model, &options, more_scratch, sizeof more_scratch, more_kv,
                                                sizeof more_kv, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_prefill(&session, prompt, PROMPT - 1, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_feed(&session, prompt + PROMPT - 1, 1, &taken, &failure));
    for (uint32_t token = 0; more; token = (token + 1) % info.vocab_size) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_step(&session, 20000, &more, &failure));
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_reset(&other, &failure));
        EXPECT(PIPSQUEAK_OK, pipsqueak_session_decode(&other, token, &next, &failure));
    }
    CHECK(same_logits());
    EXPECT(PIPSQUEAK_ERROR_IN_USE, pipsqueak_model_close(&model, &failure));
    CHECK(failure.got == 2);
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&other, &failure));
    EXPECT(PIPSQUEAK_ERROR_IN_USE, pipsqueak_model_close(&model, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
}

void test_sessions(void)
{
    open_model();
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_info(&model, &info, &failure));
    for (uint32_t i = 0; i < PROMPT; i++) {
        prompt[i] = (i * 97 + 11) % info.vocab_size;
    }
    open_session();
    test_slices();
    test_states();
    test_full();
    test_sampling();
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    test_selftest();
    test_two();
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}
