/* Images: cut short, with flipped bits, and with other contents under a checksum that is right. */
#include <string.h>

#include "check.h"

/* Fields of an image; core/src/image has the table. */
enum {
    VERSION = 4, ARITHMETIC = 6, FILE_BYTES = 8, TENSORS = 16, SHAPE = 24, NORM_EPS = 60, SECTIONS = 96, HEADER_CRC = 252,
    HEADER_BYTES = 256,
    /* Of a section: offset (u64), length (u64), CRC-32. */
    SECTION_BYTES = 24, DIRECTORY = 0, ROPE = 1, VOCABULARY = 2, TEXT = 3, GOLDEN = 4,
    /* Of a directory's entry: key, format, panel, rows, columns, offset (u64), length (u64), CRC-32. */
    ENTRY_BYTES = 40, PANEL = 5, ROWS = 8, OFFSET = 16, LENGTH = 24,
    /* core/src/tokenizer/layout.rs */
    VOCABULARY_FLAGS = 8, VOCABULARY_BOS = 20,
};

static pipsqueak_model damaged;

static uint32_t crc32(const char *bytes, size_t count)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        crc ^= (uint8_t)bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

static uint32_t get(size_t at)
{
    uint32_t value;
    memcpy(&value, image_copy() + at, sizeof value);
    return value;
}

static void put(size_t at, uint32_t value)
{
    memcpy(image_copy() + at, &value, sizeof value);
}

/* Where a section's bytes are. */
static size_t section(int which)
{
    return get(SECTIONS + (size_t)which * SECTION_BYTES);
}

/* Makes the checksums of a section, and of the header, right again. */
static void seal(int which)
{
    const size_t at = SECTIONS + (size_t)which * SECTION_BYTES;
    put(at + 16, crc32(image_copy() + get(at), get(at + 8)));
    put(HEADER_CRC, crc32(image_copy(), HEADER_CRC));
}

static pipsqueak_error reopened(void)
{
    return pipsqueak_model_open(&damaged, image_copy(), image_bytes(), &failure);
}

/* The code of a copy with one field changed, and sealed. */
static void field(pipsqueak_error code, int which, size_t at, uint32_t value)
{
    fresh_copy();
    put(at, value);
    seal(which);
    EXPECT(code, reopened());
    /* What could not be opened is closed. */
    EXPECT(code == PIPSQUEAK_OK ? PIPSQUEAK_OK : PIPSQUEAK_ERROR_NOT_OPEN, pipsqueak_model_close(&damaged, &failure));
}

static void test_cut(void)
{
    const size_t bytes = image_bytes();
    /* Of every length in the header, then of some: in a buffer of just that length, so that a reader that goes too far is seen. */
    fresh_copy();
    for (size_t cut = 0; cut < bytes; cut += cut < HEADER_BYTES + 64 ? 1 : 997) {
        EXPECT(PIPSQUEAK_ERROR_TRUNCATED, pipsqueak_model_open(&damaged, image_copy(), cut, &failure));
        CHECK(failure.got == cut && failure.need > cut);
    }
    EXPECT(PIPSQUEAK_ERROR_TRUNCATED, pipsqueak_model_open(&damaged, image_copy(), bytes - 1, &failure));
    CHECK(failure.need == bytes && failure.got == bytes - 1);
    /* More than the image is no harm: what follows may be anything. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_open(&damaged, image_copy(), bytes + 64, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&damaged, &failure));
    memmove(image_copy() + 4, model_image, bytes - 4);
    ARGUMENT(PIPSQUEAK_ERROR_MISALIGNED, 2, pipsqueak_model_open(&damaged, image_copy() + 4, bytes, &failure));
    CHECK(failure.need == 64 && failure.got == 4);
}

/* A flipped bit is found when opening, or by verify. */
static void test_flipped(void)
{
    const size_t bytes = image_bytes();
    fresh_copy();
    for (size_t at = 0; at < bytes; at += at < HEADER_BYTES ? 1 : 1499) {
        const char bit = (char)(1 << at % 8);
        image_copy()[at] ^= bit;
        pipsqueak_error code = reopened();
        if (code == PIPSQUEAK_OK) {
            code = pipsqueak_model_verify(&damaged, &failure);
            /* Between two parts there may be bytes that belong to none, and are zeros. */
            CHECK(code == PIPSQUEAK_ERROR_CHECKSUM || (code == PIPSQUEAK_OK && model_image[at] == 0));
            CHECK(code == PIPSQUEAK_OK || (failure.what[0] != 0 && failure.need != failure.got));
        }
        image_copy()[at] ^= bit;
    }
    /* The bytes of a tensor are the last of an image. */
    image_copy()[bytes - 64] ^= 4;
    EXPECT(PIPSQUEAK_OK, reopened());
    EXPECT(PIPSQUEAK_ERROR_CHECKSUM, pipsqueak_model_verify(&damaged, &failure));
}

static void test_header(void)
{
    fresh_copy();
    image_copy()[3] = 's';
    EXPECT(PIPSQUEAK_ERROR_MAGIC, reopened());
    CHECK(failure.need == 0x53504950 && failure.got == 0x73504950);
    field(PIPSQUEAK_OK, DIRECTORY, VERSION, 0x00010001);
    field(PIPSQUEAK_ERROR_VERSION, DIRECTORY, VERSION, 0x00010002);
    CHECK(get(VERSION) == 0x00010002);
    field(PIPSQUEAK_ERROR_ARITHMETIC, DIRECTORY, VERSION, 0x00020001);
    field(PIPSQUEAK_ERROR_TRUNCATED, DIRECTORY, FILE_BYTES, (uint32_t)image_bytes() + 1);
    field(PIPSQUEAK_ERROR_TRUNCATED, DIRECTORY, FILE_BYTES + 4, 1);
    field(PIPSQUEAK_ERROR_SHAPE, DIRECTORY, SHAPE, 0);
    field(PIPSQUEAK_ERROR_SHAPE, DIRECTORY, SHAPE + 12, 0xffffffff);
    field(PIPSQUEAK_ERROR_SHAPE, DIRECTORY, NORM_EPS, 0x7fc00000);
    field(PIPSQUEAK_ERROR_SECTION, DIRECTORY, TENSORS, 1);
    for (int which = DIRECTORY; which <= GOLDEN; which++) {
        fresh_copy();
        put(SECTIONS + (size_t)which * SECTION_BYTES, (uint32_t)image_bytes() & ~63u);
        put(SECTIONS + (size_t)which * SECTION_BYTES + 8, 128);
        put(HEADER_CRC, crc32(image_copy(), HEADER_CRC));
        EXPECT(PIPSQUEAK_ERROR_RANGE, reopened());
        CHECK(failure.need == (image_bytes() & ~(size_t)63) + 128 && failure.got == image_bytes());
        fresh_copy();
        put(SECTIONS + (size_t)which * SECTION_BYTES + 16, ~get(SECTIONS + (size_t)which * SECTION_BYTES + 16));
        put(HEADER_CRC, crc32(image_copy(), HEADER_CRC));
        EXPECT(PIPSQUEAK_ERROR_CHECKSUM, reopened());
    }
    static const char *const names[] = {"directory", "rope", "vocabulary", "text", "golden"};
    CHECK(strcmp(failure.what, names[GOLDEN]) == 0);
}

static void test_directory(void)
{
    fresh_copy();
    const size_t first = section(DIRECTORY), last = first + (get(TENSORS) - 1u) * ENTRY_BYTES;
    field(PIPSQUEAK_ERROR_UNEXPECTED_TENSOR, DIRECTORY, first, 99);
    CHECK(failure.code == PIPSQUEAK_ERROR_NOT_OPEN);
    field(PIPSQUEAK_ERROR_UNEXPECTED_TENSOR, DIRECTORY, last, 0);
    field(PIPSQUEAK_ERROR_TENSOR_SHAPE, DIRECTORY, last + ROWS, 1);
    field(PIPSQUEAK_ERROR_RANGE, DIRECTORY, last + OFFSET, 0xffffffc0);
    field(PIPSQUEAK_ERROR_LAYOUT, DIRECTORY, last + LENGTH, 64);
    /* One layer more than there are tensors for. */
    fresh_copy();
    field(PIPSQUEAK_ERROR_MISSING_TENSOR, DIRECTORY, SHAPE + 8, get(SHAPE + 8) + 1);
    /* One token more than the vocabulary has; its matrix would have another shape, but the vocabulary is looked at first. */
    fresh_copy();
    field(PIPSQUEAK_ERROR_VOCABULARY_SIZE, DIRECTORY, SHAPE + 28, get(SHAPE + 28) + 1);
    fresh_copy();
    field(PIPSQUEAK_ERROR_VOCABULARY, VOCABULARY, section(VOCABULARY), 0);
    /* A vocabulary that expects a first token and has none: so encoding cannot miss it later. */
    fresh_copy();
    put(section(VOCABULARY) + VOCABULARY_FLAGS, get(section(VOCABULARY) + VOCABULARY_FLAGS) | 1);
    put(section(VOCABULARY) + VOCABULARY_BOS, PIPSQUEAK_NONE);
    seal(VOCABULARY);
    EXPECT(PIPSQUEAK_ERROR_VOCABULARY, reopened());
    fresh_copy();
    field(PIPSQUEAK_ERROR_SECTION, GOLDEN, section(GOLDEN), 0);
}

/* A model without its vocabulary, and without its golden vector; weights that are not numbers; another machine's sums. */
static void test_contents(void)
{
    uint32_t tokens[4], work[16], token;
    size_t count;
    bool stops;
    char text[8];
    pipsqueak_info info;
    pipsqueak_encoder encoder;
    const pipsqueak_options options = {CONTEXT, PIPSQUEAK_KV_I8, 1};
#define OPEN_SESSION() pipsqueak_session_open(&session, &damaged, &options, scratch, scratch_bytes, kv, kv_bytes, &failure)

    fresh_copy();
    put(SECTIONS + VOCABULARY * SECTION_BYTES + 8, 0);
    put(SECTIONS + GOLDEN * SECTION_BYTES + 8, 0);
    seal(VOCABULARY);
    seal(GOLDEN);
    EXPECT(PIPSQUEAK_OK, reopened());
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_info(&damaged, &info, &failure));
    CHECK(!info.has_vocabulary && !info.adds_bos && info.text_bytes == 0);
    CHECK(info.bos == PIPSQUEAK_NONE && info.eos == PIPSQUEAK_NONE);
    EXPECT(PIPSQUEAK_ERROR_NO_VOCABULARY, pipsqueak_model_stops(&damaged, 0, &stops, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_VOCABULARY, pipsqueak_encode(&damaged, "a", 1, 0, tokens, 4, work, 16, &count, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_VOCABULARY, pipsqueak_encoder_open(&encoder, &damaged, "a", 1, 0, tokens, 4, work, 16, &failure));
    EXPECT(PIPSQUEAK_OK, OPEN_SESSION());
    EXPECT(PIPSQUEAK_ERROR_NO_VOCABULARY, pipsqueak_session_begin_text(&session, PIPSQUEAK_TEXT_BEGIN, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_VOCABULARY, pipsqueak_session_text(&session, 0, text, sizeof text, &count, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_VOCABULARY, pipsqueak_session_end_text(&session, text, sizeof text, &count, &failure));
    EXPECT(PIPSQUEAK_ERROR_NO_GOLDEN, pipsqueak_session_selftest(&session, &count, &failure));
    /* It talks in tokens all the same. */
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_decode(&session, 0, &token, &failure));
    CHECK(token < info.vocab_size);

    /* The last checksum of the golden vector is of the logits with the int8 cache; the first of those, of layer 0. */
    fresh_copy();
    const size_t sums = section(GOLDEN) + get(SECTIONS + GOLDEN * SECTION_BYTES + 8);
    put(sums - 4, ~get(sums - 4));
    seal(GOLDEN);
    EXPECT(PIPSQUEAK_OK, reopened());
    EXPECT(PIPSQUEAK_OK, OPEN_SESSION());
    EXPECT(PIPSQUEAK_ERROR_GOLDEN, pipsqueak_session_selftest(&session, &count, &failure));
    CHECK(strcmp(failure.what, "logits") == 0 && failure.layer == PIPSQUEAK_NONE && failure.need == (uint32_t)~failure.got);
    const size_t layer0 = sums - 4 * (get(SHAPE + 8) + 1);
    put(layer0, ~get(layer0));
    seal(GOLDEN);
    EXPECT(PIPSQUEAK_OK, reopened());
    EXPECT(PIPSQUEAK_OK, OPEN_SESSION());
    EXPECT(PIPSQUEAK_ERROR_GOLDEN, pipsqueak_session_selftest(&session, &count, &failure));
    CHECK(strcmp(failure.what, "residual") == 0 && failure.layer == 0);

    /* The weights of a norm, a vector of floats, become NaN: the session says where, and stands where it stood. */
    fresh_copy();
    const size_t entries = section(DIRECTORY), tensors = get(TENSORS);
    for (size_t i = 0; i < tensors; i++) {
        if (get(entries + i * ENTRY_BYTES) == 2) {
            put(get(entries + i * ENTRY_BYTES + OFFSET), 0x7fc00000);
        }
    }
    EXPECT(PIPSQUEAK_OK, reopened());
    EXPECT(PIPSQUEAK_ERROR_CHECKSUM, pipsqueak_model_verify(&damaged, &failure));
    EXPECT(PIPSQUEAK_OK, OPEN_SESSION());
    EXPECT(PIPSQUEAK_ERROR_NOT_FINITE, pipsqueak_session_decode(&session, 0, &token, &failure));
    CHECK(failure.what[0] != 0);
    EXPECT(PIPSQUEAK_ERROR_NO_LOGITS, pipsqueak_session_sample(&session, &token, &failure));
    size_t used, context;
    EXPECT(PIPSQUEAK_OK, pipsqueak_session_position(&session, &used, &context, &failure));
    CHECK(used == 0);

    /* Another panel than this library's kernels read: the entry alone is changed, so it cannot be laid out, or it can, and is
     * only slow. */
    fresh_copy();
    bool foreign = false;
    for (size_t i = 0; i < tensors && !foreign; i++) {
        for (char panel = 0; panel < 4 && !foreign; panel++) {
            fresh_copy();
            image_copy()[entries + i * ENTRY_BYTES + PANEL] = panel;
            seal(DIRECTORY);
            if (reopened() == PIPSQUEAK_OK) {
                const pipsqueak_error code = pipsqueak_model_suits(&damaged, &failure);
                CHECK(code == PIPSQUEAK_OK || code == PIPSQUEAK_ERROR_FOREIGN_KERNELS);
                foreign = code == PIPSQUEAK_ERROR_FOREIGN_KERNELS && failure.what[0] != 0 && failure.need != failure.got;
            }
        }
    }
    CHECK(foreign);
}

static void test_good(void)
{
    pipsqueak_info info;
    const char *text;
    size_t bytes;
    bool stops;
    open_model();
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_verify(&model, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_suits(&model, &failure));
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_info(&model, &info, &failure));
    fresh_copy();
    CHECK(info.dim == get(SHAPE) && info.hidden_dim == get(SHAPE + 4) && info.n_layers == get(SHAPE + 8));
    CHECK(info.n_heads == get(SHAPE + 12) && info.n_kv_heads == get(SHAPE + 16) && info.head_dim == get(SHAPE + 20));
    CHECK(info.rope_dim == get(SHAPE + 24) && info.vocab_size == get(SHAPE + 28) && info.seq_len == get(SHAPE + 32));
    CHECK(info.has_vocabulary && info.text_bytes > 4 && info.image_bytes == image_bytes());
    for (uint32_t which = PIPSQUEAK_MODEL_NAME; which <= PIPSQUEAK_MODEL_CHAT_TEMPLATE; which++) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_model_text(&model, which, &text, &bytes, &failure));
        CHECK(bytes == 0 || (text > model_image && text + bytes <= model_image_end));
    }
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_text(&model, PIPSQUEAK_MODEL_NAME, &text, &bytes, &failure));
    CHECK(bytes != 0);
    unsigned stopping = 0;
    for (uint32_t token = 0; token < info.vocab_size; token++) {
        EXPECT(PIPSQUEAK_OK, pipsqueak_model_stops(&model, token, &stops, &failure));
        stopping += stops;
        CHECK(token != info.eos || stops);
    }
    CHECK(stopping > 0 && stopping < info.vocab_size);
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_stops(&model, PIPSQUEAK_NONE, &stops, &failure));
    CHECK(!stops);
    EXPECT(PIPSQUEAK_OK, pipsqueak_model_close(&model, &failure));
}

void test_images(void)
{
    test_good();
    test_cut();
    test_flipped();
    test_header();
    test_directory();
    test_contents();
}
