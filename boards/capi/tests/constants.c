/* Sizes, versions, names and messages. Offsets are asserted by the header itself. */
#include <string.h>

#include "check.h"

/* Numbers of codes are for ever. The other tests bring each about, but for three that nobody can who keeps the rules: IMAGE_CHANGED,
 * INTERNAL, and NO_BOS, whose images are not opened. */
static const struct {
    int32_t number;
    int32_t code;
    const char *name;
} codes[] = {
#define CODE(number, name) {number, name, #name}
    CODE(0, PIPSQUEAK_OK),
    CODE(1, PIPSQUEAK_ERROR_NULL),
    CODE(2, PIPSQUEAK_ERROR_MISALIGNED),
    CODE(3, PIPSQUEAK_ERROR_LENGTH),
    CODE(4, PIPSQUEAK_ERROR_OVERLAP),
    CODE(5, PIPSQUEAK_ERROR_NOT_OPEN),
    CODE(6, PIPSQUEAK_ERROR_IN_USE),
    CODE(7, PIPSQUEAK_ERROR_SETTING),
    CODE(8, PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL),
    CODE(9, PIPSQUEAK_ERROR_SAMPLING),
    CODE(20, PIPSQUEAK_ERROR_TRUNCATED),
    CODE(21, PIPSQUEAK_ERROR_MAGIC),
    CODE(22, PIPSQUEAK_ERROR_VERSION),
    CODE(23, PIPSQUEAK_ERROR_ARITHMETIC),
    CODE(24, PIPSQUEAK_ERROR_CHECKSUM),
    CODE(25, PIPSQUEAK_ERROR_RANGE),
    CODE(26, PIPSQUEAK_ERROR_SHAPE),
    CODE(27, PIPSQUEAK_ERROR_MISSING_TENSOR),
    CODE(28, PIPSQUEAK_ERROR_UNEXPECTED_TENSOR),
    CODE(29, PIPSQUEAK_ERROR_TENSOR_SHAPE),
    CODE(30, PIPSQUEAK_ERROR_LAYOUT),
    CODE(31, PIPSQUEAK_ERROR_VOCABULARY),
    CODE(32, PIPSQUEAK_ERROR_VOCABULARY_SIZE),
    CODE(33, PIPSQUEAK_ERROR_SECTION),
    CODE(34, PIPSQUEAK_ERROR_FOREIGN_KERNELS),
    CODE(35, PIPSQUEAK_ERROR_LEFT_OUT),
    CODE(40, PIPSQUEAK_ERROR_NO_VOCABULARY),
    CODE(41, PIPSQUEAK_ERROR_NOT_UTF8),
    CODE(42, PIPSQUEAK_ERROR_TEXT_TOO_LONG),
    CODE(43, PIPSQUEAK_ERROR_WORK_TOO_SMALL),
    CODE(44, PIPSQUEAK_ERROR_NO_BOS),
    CODE(60, PIPSQUEAK_ERROR_SCRATCH_TOO_SMALL),
    CODE(61, PIPSQUEAK_ERROR_KV_TOO_SMALL),
    CODE(62, PIPSQUEAK_ERROR_CONTEXT_FULL),
    CODE(63, PIPSQUEAK_ERROR_TOKEN),
    CODE(64, PIPSQUEAK_ERROR_BUSY),
    CODE(65, PIPSQUEAK_ERROR_NO_LOGITS),
    CODE(66, PIPSQUEAK_ERROR_NOT_FINITE),
    CODE(67, PIPSQUEAK_ERROR_IMAGE_CHANGED),
    CODE(68, PIPSQUEAK_ERROR_INTERNAL),
    CODE(69, PIPSQUEAK_ERROR_NO_GOLDEN),
    CODE(70, PIPSQUEAK_ERROR_GOLDEN),
};
enum { CODES = sizeof codes / sizeof *codes };

/* Values that a program may have compiled in. */
_Static_assert(PIPSQUEAK_NONE == 0xffffffff, "NONE");
_Static_assert(PIPSQUEAK_KV_F32 == 0 && PIPSQUEAK_KV_F16 == 1 && PIPSQUEAK_KV_I8 == 2, "KV");
_Static_assert(PIPSQUEAK_TEXT_BEGIN == 1 && PIPSQUEAK_TEXT_SPECIAL == 2, "TEXT");
_Static_assert(PIPSQUEAK_ENCODE_CONTINUE == 1 && PIPSQUEAK_ENCODE_SPECIAL == 2, "ENCODE");
_Static_assert(PIPSQUEAK_MODEL_NAME == 1 && PIPSQUEAK_MODEL_LICENCE == 2 && PIPSQUEAK_MODEL_ORIGIN == 3 &&
                   PIPSQUEAK_MODEL_CHAT_TEMPLATE == 4,
               "MODEL");
_Static_assert(PIPSQUEAK_WHAT_BYTES == 28 && PIPSQUEAK_LINE_BYTES == 64, "bytes");
_Static_assert(_Alignof(pipsqueak_line) == 64, "a line is aligned");

static void test_names(void)
{
    size_t known = 0;
    for (size_t i = 0; i < CODES; i++) {
        CHECK(codes[i].number == codes[i].code);
        CHECK(strcmp(pipsqueak_error_name(codes[i].code), codes[i].name) == 0);
        CHECK(strcmp(pipsqueak_error_text(codes[i].code), "no such error") != 0);
    }
    /* And the library knows no others. */
    for (int32_t code = -1000; code < 1000; code++) {
        known += strcmp(pipsqueak_error_name(code), "PIPSQUEAK_ERROR_UNKNOWN") != 0;
    }
    CHECK(known == CODES);
    CHECK(strcmp(pipsqueak_error_text(INT32_MIN), "no such error") == 0);
}

static void message_is(const char *want)
{
    char message[PIPSQUEAK_MESSAGE_BYTES];
    const size_t bytes = pipsqueak_message(&failure, message, sizeof message);
    if (!CHECK(strcmp(message, want) == 0)) {
        write_text(ERR, message);
        write_text(ERR, "\n");
    }
    CHECK(bytes == strlen(message));
}

static void test_messages(void)
{
    memset(&failure, 0, sizeof failure);
    message_is("no error");
    failure = (pipsqueak_failure){PIPSQUEAK_ERROR_KV_TOO_SMALL, 6, PIPSQUEAK_NONE, "", 69632, 0};
    message_is("the arena for keys and values is too small: 0 bytes, needed 69632");
    failure = (pipsqueak_failure){PIPSQUEAK_ERROR_CHECKSUM, 0, 3, "wq", 0xdeadbeef, 10};
    message_is("the image is damaged: wq in layer 3, checksum 0xa, stored 0xdeadbeef");
    failure.layer = PIPSQUEAK_NONE;
    message_is("the image is damaged: wq, checksum 0xa, stored 0xdeadbeef");
    failure = (pipsqueak_failure){PIPSQUEAK_ERROR_TRUNCATED, 0, 0, "", UINT64_MAX, UINT64_MAX - 9};
    message_is("the image is cut short: 18446744073709551606 bytes of 18446744073709551615");
    failure = (pipsqueak_failure){PIPSQUEAK_ERROR_MISALIGNED, 2, 0, "", 64, 1};
    message_is("a pointer is not aligned: argument 2 is 1 above a multiple of 64");
    /* Numbers that are no code, and text without an end, as they may come from C. */
    memset(&failure, 0x7f, sizeof failure);
    message_is("no such error");
    failure.code = PIPSQUEAK_ERROR_SETTING;
    char message[PIPSQUEAK_MESSAGE_BYTES];
    CHECK(pipsqueak_message(&failure, message, sizeof message) < PIPSQUEAK_MESSAGE_BYTES);
    /* The longest there can be. */
    for (size_t i = 0; i < CODES; i++) {
        memset(&failure, 0xff, sizeof failure);
        memset(failure.what, 'w', sizeof failure.what);
        failure.code = codes[i].code;
        failure.layer = UINT32_MAX - 1;
        CHECK(pipsqueak_message(&failure, message, sizeof message) < PIPSQUEAK_MESSAGE_BYTES);
        CHECK(strlen(message) == pipsqueak_message(&failure, NULL, 0));
    }

    /* Cut where the buffer ends, and not a byte is written after it. */
    failure = (pipsqueak_failure){PIPSQUEAK_ERROR_BUSY, 0, 0, "", 0, 0};
    const char *const whole = "steps for the tokens before are not done";
    for (size_t capacity = 0; capacity < sizeof message; capacity++) {
        memset(message, '#', sizeof message);
        CHECK(pipsqueak_message(&failure, message, capacity) == strlen(whole));
        const size_t kept = capacity == 0 ? 0 : capacity <= strlen(whole) ? capacity - 1 : strlen(whole);
        CHECK(memcmp(message, whole, kept) == 0);
        CHECK(capacity == 0 || message[kept] == 0);
        CHECK(message[capacity == 0 ? 0 : kept + 1] == '#');
    }
    CHECK(pipsqueak_message(NULL, message, sizeof message) == 0 && message[0] == 0);
    CHECK(pipsqueak_message(NULL, NULL, 0) == 0);
    CHECK(pipsqueak_message(&failure, NULL, 10) == strlen(whole));
    /* A failure anywhere in memory. */
    char anywhere[sizeof failure + 1];
    memcpy(anywhere + 1, &failure, sizeof failure);
    CHECK(pipsqueak_message((const pipsqueak_failure *)(const void *)(anywhere + 1), message, sizeof message) == strlen(whole));
}

void test_constants(void)
{
    CHECK(pipsqueak_abi_version() == PIPSQUEAK_ABI_VERSION);
    CHECK(strchr(pipsqueak_version(), '.') != NULL);
    CHECK(strlen(pipsqueak_kernels_name()) != 0);
    CHECK(pipsqueak_model_bytes() == sizeof(pipsqueak_model));
    CHECK(pipsqueak_session_bytes() == sizeof(pipsqueak_session));
    CHECK(pipsqueak_encoder_bytes() == sizeof(pipsqueak_encoder));
    CHECK(pipsqueak_handle_alignment() == _Alignof(pipsqueak_model));
    CHECK(pipsqueak_handle_alignment() == _Alignof(pipsqueak_session));
    CHECK(pipsqueak_handle_alignment() == _Alignof(pipsqueak_encoder));
    for (size_t bytes = 0; bytes < 1000; bytes++) {
        CHECK(PIPSQUEAK_MAX_TOKENS(bytes) == pipsqueak_max_tokens(bytes));
        CHECK(PIPSQUEAK_WORK_WORDS(bytes) == pipsqueak_work_words(bytes));
    }
    CHECK(pipsqueak_max_tokens(SIZE_MAX) > SIZE_MAX / 4);
    CHECK(pipsqueak_work_words(SIZE_MAX) > SIZE_MAX / 4);
    test_names();
    test_messages();
}
