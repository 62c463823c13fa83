/* Memory: the header's macros against pipsqueak_plan, and arenas of just that size, and of a byte less. */
#include <string.h>

#include "check.h"
#include "model_shape.h"

static void same_plan(uint32_t context, uint32_t cache, uint32_t batch)
{
    const pipsqueak_options options = {context, cache, batch};
    pipsqueak_memory memory;
    EXPECT(PIPSQUEAK_OK, pipsqueak_plan(&model, &options, &memory, &failure));
    CHECK(memory.scratch_bytes == PIPSQUEAK_LINE_BYTES * PIPSQUEAK_SCRATCH_LINES(MODEL_SHAPE, context, cache, batch));
    CHECK(memory.kv_bytes == PIPSQUEAK_LINE_BYTES * PIPSQUEAK_KV_LINES(MODEL_SHAPE, context, cache));
    CHECK(memory.alignment == PIPSQUEAK_LINE_BYTES);
    if (memory.scratch_bytes > scratch_bytes || memory.kv_bytes > kv_bytes) {
        return;
    }
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_open(&session, &model, &options, scratch, memory.scratch_bytes, kv,
                                                memory.kv_bytes, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    ARGUMENT(PIPSQUEAK_ERROR_SCRATCH_TOO_SMALL, 4,
             pipsqueak_session_open(&session, &model, &options, scratch, memory.scratch_bytes - 1, kv, memory.kv_bytes,
                                    &failure));
    CHECK(failure.need == memory.scratch_bytes && failure.got == memory.scratch_bytes - 1);
    ARGUMENT(PIPSQUEAK_ERROR_KV_TOO_SMALL, 6,
             pipsqueak_session_open(&session, &model, &options, scratch, memory.scratch_bytes, kv, memory.kv_bytes - 1,
                                    &failure));
    CHECK(failure.need == memory.kv_bytes && failure.got == memory.kv_bytes - 1);
}

static void bad_options(pipsqueak_options options, const char *what, uint64_t need)
{
    pipsqueak_memory memory = {1, 2, 3};
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 2, pipsqueak_plan(&model, &options, &memory, &failure));
    CHECK(strcmp(failure.what, what) == 0 && failure.need == need);
    CHECK(memory.scratch_bytes == 1 && memory.kv_bytes == 2 && memory.alignment == 3);
    ARGUMENT(PIPSQUEAK_ERROR_SETTING, 3,
             pipsqueak_session_open(&session, &model, &options, scratch, scratch_bytes, kv, kv_bytes, &failure));
}

void test_plans(void)
{
    static const uint32_t contexts[] = {1, 2, 31, 32, 33, 64, 100, 128, 255, 256};
    pipsqueak_info info;
    open_model();
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_info(&model, &info, &failure));
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        for (uint32_t cache = PIPSQUEAK_KV_F32; cache <= PIPSQUEAK_KV_I8; cache++) {
            for (uint32_t batch = 1; batch <= contexts[i] && batch <= 9; batch++) {
                same_plan(contexts[i], cache, batch);
            }
        }
    }
    bad_options((pipsqueak_options){0, PIPSQUEAK_KV_I8, 1}, "context", info.seq_len);
    bad_options((pipsqueak_options){info.seq_len + 1, PIPSQUEAK_KV_I8, 1}, "context", info.seq_len);
    bad_options((pipsqueak_options){UINT32_MAX, PIPSQUEAK_KV_I8, 1}, "context", info.seq_len);
    bad_options((pipsqueak_options){8, 3, 1}, "kv", PIPSQUEAK_KV_I8);
    bad_options((pipsqueak_options){8, UINT32_MAX, 1}, "kv", PIPSQUEAK_KV_I8);
    bad_options((pipsqueak_options){8, PIPSQUEAK_KV_I8, 0}, "batch", 8);
    bad_options((pipsqueak_options){8, PIPSQUEAK_KV_I8, 9}, "batch", 8);
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}
