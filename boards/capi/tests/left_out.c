/* A library that was built for the model in the box alone: what it lacks is refused by name. See the Makefile. */
#include <string.h>

#include "check.h"

static void refused(uint32_t cache, const char *feature)
{
    const pipsqueak_options options = {CONTEXT, cache, 1};
    EXPECT(PIPSQUEAK_ERROR_LEFT_OUT,
           pipsqueak_session_open(&session, &model, &options, scratch, scratch_bytes, kv, kv_bytes, &failure));
    CHECK(strcmp(failure.what, feature) == 0);
}

void test_left_out(void)
{
    size_t compared;
    open_model();
    refused(PIPSQUEAK_KV_F32, "cache-f32");
    refused(PIPSQUEAK_KV_F16, "cache-f16");
    open_session();
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_selftest(&session, &compared, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_close(&session, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}
