/*
 * Pipsqueak for C: small language models inside firmware, over memory that the caller owns.
 *
 * Made from boards/capi/src by boards/capi/header: edit there.
 *
 * A program opens an image (pipsqueak_model_open), asks for the memory (pipsqueak_plan, or the macros below when compiling),
 * opens a session over two arenas (pipsqueak_session_open), and then feeds tokens, does steps of bounded work, samples, and
 * takes the text. Nothing is allocated, nothing is kept in variables of the library. boards/capi/example is such a program.
 *
 * THE RULES
 *
 * What returns an error, always: a NULL pointer; a misaligned pointer; a length that does not fit
 * the address space; a buffer that is too small; arenas, handles and image that overlap; a handle that is closed, zeroed,
 * or a copy of an open one; a setting out of its range; a token that is not in the vocabulary; any bytes whatever as image
 * or text. Results are then left as they were; buffers and arenas may have been cleared, and a handle that was to be opened is
 * closed. The last argument of most functions, a pipsqueak_failure, takes the numbers of the error, and pipsqueak_message puts
 * them into words; it may be NULL.
 *
 * What is undefined behaviour, as anywhere in C:
 *  - a pointer to memory that is not the caller's, or to less of it than the length beside it says;
 *  - writing to an image, a handle or an arena while a model or session that was opened over it is in use, moving it, or
 *    using it for something else;
 *  - opening a model anew over one that a session still uses;
 *  - using one session (or encoder) from two threads or interrupts at once, or opening and closing sessions of one model
 *    from two at once. Different sessions of one model may work at the same time.
 *
 * Handles may be uninitialised memory before they are opened, but then nothing except opening may be done with them. So may
 * arenas. A handle that is not needed any more is closed, or simply forgotten: it holds nothing but memory.
 */

#ifndef PIPSQUEAK_H
#define PIPSQUEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Alignment of a type; define it beforehand for a compiler that has another word for it. */
#ifndef PIPSQUEAK_ALIGNED
#ifdef _MSC_VER
#define PIPSQUEAK_ALIGNED(n) __declspec(align(n))
#else
#define PIPSQUEAK_ALIGNED(n) __attribute__((aligned(n)))
#endif
#endif

#if UINTPTR_MAX > 0xffffffffu
#define PIPSQUEAK_64_BIT
#else
#define PIPSQUEAK_32_BIT
#endif

/**
 * The version of this interface. A header and a library belong together when
 * `PIPSQUEAK_ABI_VERSION == pipsqueak_abi_version()`.
 */
#define PIPSQUEAK_ABI_VERSION 1

/**
 * "None": no such token, no layer.
 */
#define PIPSQUEAK_NONE UINT32_MAX

/**
 * Bytes of `pipsqueak_failure.what`.
 */
#define PIPSQUEAK_WHAT_BYTES 28

/**
 * A buffer of this many bytes holds every message.
 */
#define PIPSQUEAK_MESSAGE_BYTES 192

#if defined(PIPSQUEAK_32_BIT)
/**
 * Words of 64 bits of a `pipsqueak_model`.
 */
#define PIPSQUEAK_MODEL_WORDS 56
#endif

#if defined(PIPSQUEAK_64_BIT)
/**
 * Words of 64 bits of a `pipsqueak_model`.
 */
#define PIPSQUEAK_MODEL_WORDS 76
#endif

#if defined(PIPSQUEAK_32_BIT)
/**
 * Words of 64 bits of a `pipsqueak_session`.
 */
#define PIPSQUEAK_SESSION_WORDS 136
#endif

#if defined(PIPSQUEAK_64_BIT)
/**
 * Words of 64 bits of a `pipsqueak_session`.
 */
#define PIPSQUEAK_SESSION_WORDS 216
#endif

#if defined(PIPSQUEAK_32_BIT)
/**
 * Words of 64 bits of a `pipsqueak_encoder`.
 */
#define PIPSQUEAK_ENCODER_WORDS 36
#endif

#if defined(PIPSQUEAK_64_BIT)
/**
 * Words of 64 bits of a `pipsqueak_encoder`.
 */
#define PIPSQUEAK_ENCODER_WORDS 60
#endif

/**
 * The model's name, for `pipsqueak_model_text`.
 */
#define PIPSQUEAK_MODEL_NAME 1

/**
 * The licence's identifier.
 */
#define PIPSQUEAK_MODEL_LICENCE 2

/**
 * Where the model came from.
 */
#define PIPSQUEAK_MODEL_ORIGIN 3

/**
 * The chat template.
 */
#define PIPSQUEAK_MODEL_CHAT_TEMPLATE 4

/**
 * Keys and values as 32-bit floats: 8 bytes a pair, nothing lost.
 */
#define PIPSQUEAK_KV_F32 0

/**
 * Keys and values as 16-bit floats: 4 bytes a pair.
 */
#define PIPSQUEAK_KV_F16 1

/**
 * Keys and values as 8-bit integers with a scale: 2 bytes a pair and a little.
 */
#define PIPSQUEAK_KV_I8 2

/**
 * Bytes of a line: the alignment of images and arenas.
 */
#define PIPSQUEAK_LINE_BYTES 64

/**
 * For `pipsqueak_session_begin_text`: a text begins, so that the space which some vocabularies put before it is taken away.
 */
#define PIPSQUEAK_TEXT_BEGIN 1

/**
 * For `pipsqueak_session_begin_text`: control tokens give their names.
 */
#define PIPSQUEAK_TEXT_SPECIAL 2

/**
 * For encoding: no token to begin with, although the model expects one: the text goes on with an earlier one.
 */
#define PIPSQUEAK_ENCODE_CONTINUE 1

/**
 * For encoding: names of control tokens in the text become those tokens. Not for text from outside.
 */
#define PIPSQUEAK_ENCODE_SPECIAL 2

/**
 * What went wrong. The numbers stay as they are; new ones may follow, so a `switch` should have a `default`.
 */
enum pipsqueak_error
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing.
   */
  PIPSQUEAK_OK = 0,
  /**
   * A pointer is NULL. `argument`.
   */
  PIPSQUEAK_ERROR_NULL = 1,
  /**
   * A pointer is not a multiple of `need`, but `got` above one. `argument`.
   */
  PIPSQUEAK_ERROR_MISALIGNED = 2,
  /**
   * A length, `got`, does not fit the address space. `argument`.
   */
  PIPSQUEAK_ERROR_LENGTH = 3,
  /**
   * Image, handles and arenas share memory.
   */
  PIPSQUEAK_ERROR_OVERLAP = 4,
  /**
   * A handle is closed, was never opened, or is a copy of one. `argument`.
   */
  PIPSQUEAK_ERROR_NOT_OPEN = 5,
  /**
   * A model has `got` sessions open, and so cannot be closed.
   */
  PIPSQUEAK_ERROR_IN_USE = 6,
  /**
   * A setting, `what`, is `got`; the limit is `need`. `argument`.
   */
  PIPSQUEAK_ERROR_SETTING = 7,
  /**
   * A buffer has `got` bytes (or tokens) and needs `need`. `argument`.
   */
  PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL = 8,
  /**
   * A sampling setting, `what`, is out of its range or not a number; `got` are the bits of the float.
   */
  PIPSQUEAK_ERROR_SAMPLING = 9,
  /**
   * The image has `got` bytes and needs `need`.
   */
  PIPSQUEAK_ERROR_TRUNCATED = 20,
  /**
   * Not a Pipsqueak image: it starts with `got`, little-endian, not with `need`.
   */
  PIPSQUEAK_ERROR_MAGIC = 21,
  /**
   * The image has format version `got`; this library reads `need`.
   */
  PIPSQUEAK_ERROR_VERSION = 22,
  /**
   * The image asks for arithmetic contract `got`; this library computes `need`.
   */
  PIPSQUEAK_ERROR_ARITHMETIC = 23,
  /**
   * Bytes of `what` were changed: its CRC-32 is `got`, stored was `need`.
   */
  PIPSQUEAK_ERROR_CHECKSUM = 24,
  /**
   * `what` ends at byte `need`, the image at `got`; or it is not aligned.
   */
  PIPSQUEAK_ERROR_RANGE = 25,
  /**
   * The model's shape makes no sense: `what` is `got` (for floats the bits), the limit where there is one is `need`.
   */
  PIPSQUEAK_ERROR_SHAPE = 26,
  /**
   * Tensor `what` is missing.
   */
  PIPSQUEAK_ERROR_MISSING_TENSOR = 27,
  /**
   * The tensor directory has an entry with the key `got`, which is unknown, out of order or not needed.
   */
  PIPSQUEAK_ERROR_UNEXPECTED_TENSOR = 28,
  /**
   * Tensor `what` has the shape `got` and must have `need`: rows times 2^32 and columns.
   */
  PIPSQUEAK_ERROR_TENSOR_SHAPE = 29,
  /**
   * Tensor `what` has `got` bytes and needs `need`, or it cannot be laid out as it says.
   */
  PIPSQUEAK_ERROR_LAYOUT = 30,
  /**
   * The vocabulary's table `what` makes no sense: entry or limit `need`, found `got`.
   */
  PIPSQUEAK_ERROR_VOCABULARY = 31,
  /**
   * The vocabulary has `got` tokens and the model `need`.
   */
  PIPSQUEAK_ERROR_VOCABULARY_SIZE = 32,
  /**
   * The content of `what` makes no sense.
   */
  PIPSQUEAK_ERROR_SECTION = 33,
  /**
   * Tensor `what` is packed for other kernels: its panel is `got`, this library's is `need`. It would be read slowly.
   */
  PIPSQUEAK_ERROR_FOREIGN_KERNELS = 34,
  /**
   * The library was built without the code for this: `what` is the cargo feature that links it.
   */
  PIPSQUEAK_ERROR_LEFT_OUT = 35,
  /**
   * The model has no vocabulary and takes token ids only.
   */
  PIPSQUEAK_ERROR_NO_VOCABULARY = 40,
  /**
   * The text is not UTF-8 from byte `got` on.
   */
  PIPSQUEAK_ERROR_NOT_UTF8 = 41,
  /**
   * The text has `got` bytes; at most `need` can be encoded.
   */
  PIPSQUEAK_ERROR_TEXT_TOO_LONG = 42,
  /**
   * The work buffer has `got` words; a word of the text needs `need`.
   */
  PIPSQUEAK_ERROR_WORK_TOO_SMALL = 43,
  /**
   * The vocabulary has no token to begin a text with.
   */
  PIPSQUEAK_ERROR_NO_BOS = 44,
  /**
   * The scratch arena has `got` bytes and needs `need`.
   */
  PIPSQUEAK_ERROR_SCRATCH_TOO_SMALL = 60,
  /**
   * The arena for keys and values has `got` bytes and needs `need`.
   */
  PIPSQUEAK_ERROR_KV_TOO_SMALL = 61,
  /**
   * The context has `got` positions; with these tokens it would need `need`. Nothing was taken.
   */
  PIPSQUEAK_ERROR_CONTEXT_FULL = 62,
  /**
   * There is no token `got`; the vocabulary has `need`.
   */
  PIPSQUEAK_ERROR_TOKEN = 63,
  /**
   * Tokens were fed, and the steps for them are not all done.
   */
  PIPSQUEAK_ERROR_BUSY = 64,
  /**
   * No token can be chosen: none was fed yet, or its steps are not all done, or more of the text is to come.
   */
  PIPSQUEAK_ERROR_NO_LOGITS = 65,
  /**
   * A value became NaN or infinite in stage `what` of layer `layer`: the weights are damaged or overflow.
   */
  PIPSQUEAK_ERROR_NOT_FINITE = 66,
  /**
   * The image changed while it was in use.
   */
  PIPSQUEAK_ERROR_IMAGE_CHANGED = 67,
  /**
   * The library and its engine disagree; a fault of the library.
   */
  PIPSQUEAK_ERROR_INTERNAL = 68,
  /**
   * The model carries no golden vector to compare with.
   */
  PIPSQUEAK_ERROR_NO_GOLDEN = 69,
  /**
   * The residual stream after layer `layer`, or `what`, the logits, is not what the packer computed: its CRC-32 is `got`, not
   * `need`.
   */
  PIPSQUEAK_ERROR_GOLDEN = 70,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pipsqueak_error pipsqueak_error;
#else
typedef int32_t pipsqueak_error;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * An error with its numbers. Every function that can fail takes a pointer to one, which may be NULL.
 */
typedef struct {
  /**
   * The code that the function returned.
   */
  pipsqueak_error code;
  /**
   * The argument it is about, counted from 1; 0 when it is about none.
   */
  uint32_t argument;
  /**
   * The model's layer it is about, counted from 0; `PIPSQUEAK_NONE` when it is about none.
   */
  uint32_t layer;
  /**
   * The tensor, table, stage or setting it is about, as text; empty when there is none.
   */
  char what[PIPSQUEAK_WHAT_BYTES];
  /**
   * What would have been right; see the code.
   */
  uint64_t need;
  /**
   * What was found; see the code.
   */
  uint64_t got;
} pipsqueak_failure;

/**
 * A model that is open: a view of an image, which stays where it is. All zeros: closed.
 */
typedef struct {
  uint64_t opaque[PIPSQUEAK_MODEL_WORDS];
} pipsqueak_model;

/**
 * What a model is.
 */
typedef struct {
  /**
   * Width of the residual stream.
   */
  uint32_t dim;
  /**
   * Width of the feed-forward block.
   */
  uint32_t hidden_dim;
  /**
   * Layers.
   */
  uint32_t n_layers;
  /**
   * Query heads.
   */
  uint32_t n_heads;
  /**
   * Key and value heads.
   */
  uint32_t n_kv_heads;
  /**
   * Elements of a head.
   */
  uint32_t head_dim;
  /**
   * Elements of a head that RoPE turns.
   */
  uint32_t rope_dim;
  /**
   * Tokens of the vocabulary; ids are below it.
   */
  uint32_t vocab_size;
  /**
   * The longest context the model was trained for.
   */
  uint32_t seq_len;
  /**
   * The token that begins a text; `PIPSQUEAK_NONE` when there is none.
   */
  uint32_t bos;
  /**
   * The token that ends a text; `PIPSQUEAK_NONE` when there is none.
   */
  uint32_t eos;
  /**
   * Whether the model expects `bos` before every text.
   */
  bool adds_bos;
  /**
   * Whether the model has a vocabulary: text can be encoded, tokens have text.
   */
  bool has_vocabulary;
  /**
   * Bytes of a buffer that holds any token's text and its NUL; 0 without a vocabulary.
   */
  size_t text_bytes;
  /**
   * Bytes of the image.
   */
  size_t image_bytes;
} pipsqueak_info;

/**
 * What the user chooses before memory can be planned.
 */
typedef struct {
  /**
   * Positions of the cache, prompt and answer together: from 1 to the model's `seq_len`.
   */
  uint32_t context;
  /**
   * `PIPSQUEAK_KV_I8`, `PIPSQUEAK_KV_F16` or `PIPSQUEAK_KV_F32`.
   */
  uint32_t kv;
  /**
   * Tokens of a prompt that are worked on at once, at least 1. More is faster and takes more scratch.
   */
  uint32_t batch;
} pipsqueak_options;

/**
 * The memory a session needs.
 */
typedef struct {
  /**
   * Bytes of the scratch arena.
   */
  size_t scratch_bytes;
  /**
   * Bytes of the arena for keys and values.
   */
  size_t kv_bytes;
  /**
   * Where both must start: at a multiple of this.
   */
  size_t alignment;
} pipsqueak_memory;

/**
 * How tokens are chosen. Applied in this order: penalty, top-k, top-p, min-p, temperature.
 */
typedef struct {
  /**
   * Logits are divided by it; 0 takes the most likely token.
   */
  float temperature;
  /**
   * Only the k most likely tokens; 0 for all.
   */
  uint32_t top_k;
  /**
   * Only the most likely tokens whose probabilities together reach p, from 0 to 1; 1 for all.
   */
  float top_p;
  /**
   * Only tokens at least this fraction as likely as the most likely one, from 0 to 1; 0 for all.
   */
  float min_p;
  /**
   * Logits of recent tokens are divided by it where positive, multiplied where negative; above 0, 1 for none.
   */
  float repeat_penalty;
  /**
   * Names the sequence of random draws: the same seed gives the same tokens, on every machine.
   */
  uint64_t seed;
} pipsqueak_sampling;

/**
 * A conversation with a model: its cache, its sampler, its text. All zeros: closed.
 */
typedef struct {
  uint64_t opaque[PIPSQUEAK_SESSION_WORDS];
} pipsqueak_session;

/**
 * The encoding of one text under way. All zeros: closed.
 */
typedef struct {
  uint64_t opaque[PIPSQUEAK_ENCODER_WORDS];
} pipsqueak_encoder;

/**
 * A line of an arena, aligned as arenas must be: `static pipsqueak_line scratch[PIPSQUEAK_SCRATCH_LINES(...)];`
 */
typedef struct PIPSQUEAK_ALIGNED(64) {
  /**
   * Any bytes.
   */
  uint8_t bytes[PIPSQUEAK_LINE_BYTES];
} pipsqueak_line;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The interface's version that this library was built with.
 */
uint32_t pipsqueak_abi_version(void);

/**
 * The library's version, as in `0.1.0`.
 */
const char *pipsqueak_version(void);

/**
 * The name of a code, `PIPSQUEAK_ERROR_NULL` for instance; `PIPSQUEAK_ERROR_UNKNOWN` for a number that is none.
 */
const char *pipsqueak_error_name(int32_t code);

/**
 * What a code means, in words without numbers.
 */
const char *pipsqueak_error_text(int32_t code);

/**
 * Writes to `text` what went wrong, in words and with the numbers of `failure`, as much as `capacity` bytes hold with the NUL
 * at the end. Returns the length that the whole message has without the NUL, as `snprintf` does; 0 for a NULL `failure`.
 * `text` may be NULL when `capacity` is 0. `PIPSQUEAK_MESSAGE_BYTES` are always enough.
 */
size_t pipsqueak_message(const pipsqueak_failure *failure,
                         char *text,
                         size_t capacity);

/**
 * Alignment of the three handles, for those who do not compile the header.
 */
size_t pipsqueak_handle_alignment(void);

/**
 * Bytes of a `pipsqueak_model`, for those who do not compile the header.
 */
size_t pipsqueak_model_bytes(void);

/**
 * Bytes of a `pipsqueak_session`.
 */
size_t pipsqueak_session_bytes(void);

/**
 * Bytes of a `pipsqueak_encoder`.
 */
size_t pipsqueak_encoder_bytes(void);

/**
 * The name of the kernel set in this library: `scalar`, `dsp`, `helium` or `neon`.
 */
const char *pipsqueak_kernels_name(void);

/**
 * Opens the image at `image`, a line of 64 bytes, of at most `image_bytes` bytes; what follows the image is not looked at,
 * so that a whole flash region can be given.
 *
 * Header, directory, vocabulary and all tables are checked, with their checksums; the weights are not read, see
 * `pipsqueak_model_verify`. The image stays where it is and is used in place. `model` is memory for a handle, initialised
 * or not; when the opening fails it is closed.
 *
 * Errors: `NULL`, `MISALIGNED`, `LENGTH`, `OVERLAP`, and all about images, `TRUNCATED` to `SECTION`; `LEFT_OUT` names what this library was
 * built without.
 */
pipsqueak_error pipsqueak_model_open(pipsqueak_model *model,
                                     const void *image,
                                     size_t image_bytes,
                                     pipsqueak_failure *failure);

/**
 * Closes a model. Its memory and the image are the caller's again.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `IN_USE` while sessions over it are open.
 */
pipsqueak_error pipsqueak_model_close(pipsqueak_model *model, pipsqueak_failure *failure);

/**
 * Compares all weights with their checksums. Reads the whole image once.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `CHECKSUM` names the first damaged tensor.
 */
pipsqueak_error pipsqueak_model_verify(const pipsqueak_model *model, pipsqueak_failure *failure);

/**
 * Whether the image is packed for this library's kernels. Any other works too, to the same bits, but slowly.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `FOREIGN_KERNELS` names the first tensor that is packed otherwise.
 */
pipsqueak_error pipsqueak_model_suits(const pipsqueak_model *model, pipsqueak_failure *failure);

/**
 * Writes what the model is to `info`.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
 */
pipsqueak_error pipsqueak_model_info(const pipsqueak_model *model, pipsqueak_info *info, pipsqueak_failure *failure);

/**
 * Finds a text that the image carries: `which` is `PIPSQUEAK_MODEL_NAME` or another of its kind. The text stays in the
 * image, `bytes` long and without a NUL; `bytes` is 0 when the image does not have it.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SETTING` when `which` is none of these.
 */
pipsqueak_error pipsqueak_model_text(const pipsqueak_model *model,
                                     uint32_t which,
                                     const char **text,
                                     size_t *bytes,
                                     pipsqueak_failure *failure);

/**
 * Writes to `stops` whether `token` ends generation.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `NO_VOCABULARY`.
 */
pipsqueak_error pipsqueak_model_stops(const pipsqueak_model *model,
                                      uint32_t token,
                                      bool *stops,
                                      pipsqueak_failure *failure);

/**
 * Writes to `memory` what a session with these options needs, to the byte. The header's macros `PIPSQUEAK_SCRATCH_LINES` and
 * `PIPSQUEAK_KV_LINES` give the same when compiling.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SETTING` names the option that is out of its range.
 */
pipsqueak_error pipsqueak_plan(const pipsqueak_model *model,
                               const pipsqueak_options *options,
                               pipsqueak_memory *memory,
                               pipsqueak_failure *failure);

/**
 * Writes the settings that always take the most likely token; a new session has them.
 *
 * Errors: `NULL`, `MISALIGNED`.
 */
pipsqueak_error pipsqueak_sampling_greedy(pipsqueak_sampling *sampling);

/**
 * Writes settings that suit most models: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalty, seed 0.
 *
 * Errors: `NULL`, `MISALIGNED`.
 */
pipsqueak_error pipsqueak_sampling_default(pipsqueak_sampling *sampling);

/**
 * Opens a session over an open model and two arenas, which must start at a multiple of 64; `pipsqueak_plan` says how long they
 * must be. `session` is memory for a handle, initialised or not; when the opening fails it is closed.
 *
 * Model, image and arenas are in use until the session is closed or forgotten; opening it anew forgets it. Several sessions
 * may share a model, which cannot be closed before all of them are.
 *
 * Errors: `NULL`, `MISALIGNED`, `LENGTH`, `OVERLAP`, `NOT_OPEN`, `SETTING`; `SCRATCH_TOO_SMALL` and `KV_TOO_SMALL` with the bytes
 * that are needed; `LEFT_OUT` when this library was built without this kind of cache.
 */
pipsqueak_error pipsqueak_session_open(pipsqueak_session *session,
                                       const pipsqueak_model *model,
                                       const pipsqueak_options *options,
                                       void *scratch,
                                       size_t scratch_bytes,
                                       void *kv,
                                       size_t kv_bytes,
                                       pipsqueak_failure *failure);

/**
 * Closes a session, at any time, also half-way through a token. Its memory and arenas are the caller's again.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
 */
pipsqueak_error pipsqueak_session_close(pipsqueak_session *session, pipsqueak_failure *failure);

/**
 * Has tokens chosen in another way from now on. The repetition penalty looks at tokens that are fed from now on.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SAMPLING` names the setting that is out of its range.
 */
pipsqueak_error pipsqueak_session_set_sampling(pipsqueak_session *session,
                                               const pipsqueak_sampling *sampling,
                                               pipsqueak_failure *failure);

/**
 * Takes the first tokens of `tokens`, at most a batch of them, and writes to `taken` how many; `pipsqueak_session_step` does
 * their work. When all `count` were taken, a token can be chosen after the last step. Either all of the tokens fit the context,
 * or none is taken.
 *
 * Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `BUSY`, `CONTEXT_FULL`, `TOKEN`.
 */
pipsqueak_error pipsqueak_session_feed(pipsqueak_session *session,
                                       const uint32_t *tokens,
                                       size_t count,
                                       size_t *taken,
                                       pipsqueak_failure *failure);

/**
 * Does at most `budget` multiply-adds of work for the tokens that were fed, but at least one unit of it, and writes to `more`
 * whether there is more to do. Any budget gives the same bits.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `NOT_FINITE` and `IMAGE_CHANGED`, after which the session stands where it stood before
 * the tokens were fed.
 */
pipsqueak_error pipsqueak_session_step(pipsqueak_session *session,
                                       size_t budget,
                                       bool *more,
                                       pipsqueak_failure *failure);

/**
 * Feeds all of `tokens` and does all of their work; afterwards a token can be chosen. On an error, position and cache are as they
 * were. Takes as long as it takes: `pipsqueak_session_feed` and `pipsqueak_session_step` do the same in slices.
 *
 * Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `BUSY`, `CONTEXT_FULL`, `TOKEN`, `NOT_FINITE`, `IMAGE_CHANGED`.
 */
pipsqueak_error pipsqueak_session_prefill(pipsqueak_session *session,
                                          const uint32_t *tokens,
                                          size_t count,
                                          pipsqueak_failure *failure);

/**
 * Feeds one token, does all of its work, chooses the token after it and writes that to `next`: prefill and sample in one.
 *
 * Errors: as `pipsqueak_session_prefill`.
 */
pipsqueak_error pipsqueak_session_decode(pipsqueak_session *session,
                                         uint32_t token,
                                         uint32_t *next,
                                         pipsqueak_failure *failure);

/**
 * Whether this machine computes what the packer's did: feeds the model's golden prompt, a few tokens, to this session and compares
 * the checksums of the residual stream after every layer, and of the logits. Writes to `compared` how many were right. The
 * session begins anew, before and after.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `NO_GOLDEN`, `NOT_FINITE`, `IMAGE_CHANGED`; `CONTEXT_FULL` when the session's context is shorter
 * than the prompt; `GOLDEN` names the first layer that differs.
 */
pipsqueak_error pipsqueak_session_selftest(pipsqueak_session *session,
                                           size_t *compared,
                                           pipsqueak_failure *failure);

/**
 * Chooses the next token and writes it to `token`. It is not part of the conversation until it is fed.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `NO_LOGITS` when there is nothing to choose from.
 */
pipsqueak_error pipsqueak_session_sample(pipsqueak_session *session, uint32_t *token, pipsqueak_failure *failure);

/**
 * Writes to `logits` where the logits of the last token are, `count` of them, as many as the vocabulary has tokens. They stay
 * there until the next call with this session.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `NO_LOGITS`.
 */
pipsqueak_error pipsqueak_session_logits(pipsqueak_session *session,
                                         const float **logits,
                                         size_t *count,
                                         pipsqueak_failure *failure);

/**
 * Writes to `used` how many positions of the context are in use, and to `context` how many there are.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
 */
pipsqueak_error pipsqueak_session_position(pipsqueak_session *session,
                                           size_t *used,
                                           size_t *context,
                                           pipsqueak_failure *failure);

/**
 * Rolls the conversation back to its first `position` tokens, and drops tokens whose steps are not done. The repetition penalty
 * and the text begin anew.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SETTING` when there are fewer tokens.
 */
pipsqueak_error pipsqueak_session_truncate(pipsqueak_session *session,
                                           size_t position,
                                           pipsqueak_failure *failure);

/**
 * Begins a new conversation: `pipsqueak_session_truncate` to nothing.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
 */
pipsqueak_error pipsqueak_session_reset(pipsqueak_session *session, pipsqueak_failure *failure);

/**
 * Begins a text: what `pipsqueak_session_text` gives from now on. `flags` is 0 for a text that goes on after a prompt, as a new
 * session takes it; or `PIPSQUEAK_TEXT_BEGIN`, `PIPSQUEAK_TEXT_SPECIAL`.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `SETTING`, `NO_VOCABULARY`.
 */
pipsqueak_error pipsqueak_session_begin_text(pipsqueak_session *session,
                                             uint32_t flags,
                                             pipsqueak_failure *failure);

/**
 * Writes the text of the next token to `text`, with a NUL at its end, and to `bytes` how long it is without the NUL.
 *
 * The text is whole UTF-8 characters: the beginning of one is held back until its end comes, and bytes that are none are given
 * as U+FFFD. So a token's text may be empty. `pipsqueak_info.text_bytes` are enough for every token's.
 *
 * Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `NO_VOCABULARY`, `TOKEN`; `OUTPUT_TOO_SMALL` says how many bytes would be enough, and
 * the token can be given again.
 */
pipsqueak_error pipsqueak_session_text(pipsqueak_session *session,
                                       uint32_t token,
                                       char *text,
                                       size_t capacity,
                                       size_t *bytes,
                                       pipsqueak_failure *failure);

/**
 * Ends a text: writes U+FFFD when the beginning of a character is held back, else nothing, as `pipsqueak_session_text` does.
 * Four bytes are enough.
 *
 * Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `NO_VOCABULARY`, `OUTPUT_TOO_SMALL`.
 */
pipsqueak_error pipsqueak_session_end_text(pipsqueak_session *session,
                                           char *text,
                                           size_t capacity,
                                           size_t *bytes,
                                           pipsqueak_failure *failure);

/**
 * The most tokens that a text of `text_bytes` bytes can have; `PIPSQUEAK_MAX_TOKENS` is the same as a macro.
 */
size_t pipsqueak_max_tokens(size_t text_bytes);

/**
 * Words of work that are enough for a text of `text_bytes` bytes; `PIPSQUEAK_WORK_WORDS` is the same as a macro.
 */
size_t pipsqueak_work_words(size_t text_bytes);

/**
 * Turns the UTF-8 text `text`, `text_bytes` bytes without a NUL, into tokens. Writes them to `tokens`, room for `capacity`,
 * and their number to `count`. `work` is scratch of `work_words` words; `PIPSQUEAK_WORK_WORDS(text_bytes)` are enough.
 * `flags` is 0, or `PIPSQUEAK_ENCODE_CONTINUE`, `PIPSQUEAK_ENCODE_SPECIAL`.
 *
 * Takes time in proportion to the text; `pipsqueak_encoder_open` does the same in slices.
 *
 * Errors: `NULL`, `MISALIGNED`, `LENGTH`, `OVERLAP`, `NOT_OPEN`, `SETTING`, `NO_VOCABULARY`, `NOT_UTF8`, `TEXT_TOO_LONG`, `NO_BOS`;
 * `OUTPUT_TOO_SMALL` and `WORK_TOO_SMALL` with what would be enough.
 */
pipsqueak_error pipsqueak_encode(const pipsqueak_model *model,
                                 const char *text,
                                 size_t text_bytes,
                                 uint32_t flags,
                                 uint32_t *tokens,
                                 size_t capacity,
                                 uint32_t *work,
                                 size_t work_words,
                                 size_t *count,
                                 pipsqueak_failure *failure);

/**
 * Begins to encode a text, as `pipsqueak_encode` does; `pipsqueak_encoder_step` does the work. Text, `tokens` and `work` are
 * in use until the last step. `encoder` is memory for a handle, initialised or not.
 *
 * Errors: as `pipsqueak_encode`, but for those of buffers that are too small.
 */
pipsqueak_error pipsqueak_encoder_open(pipsqueak_encoder *encoder,
                                       const pipsqueak_model *model,
                                       const char *text,
                                       size_t text_bytes,
                                       uint32_t flags,
                                       uint32_t *tokens,
                                       size_t capacity,
                                       uint32_t *work,
                                       size_t work_words,
                                       pipsqueak_failure *failure);

/**
 * Does about `budget` table look-ups of an encoding, and writes to `more` whether there is more to do, and to `count` how many
 * tokens there are so far.
 *
 * Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `OUTPUT_TOO_SMALL` and `WORK_TOO_SMALL` with what would be enough.
 */
pipsqueak_error pipsqueak_encoder_step(pipsqueak_encoder *encoder,
                                       uint32_t budget,
                                       bool *more,
                                       size_t *count,
                                       pipsqueak_failure *failure);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/*
 * Memory when compiling. `shape` is nine numbers, as they stand in an image from byte 24 on: dim, hidden_dim, n_layers,
 * n_heads, n_kv_heads, head_dim, rope_dim, vocab_size, seq_len. On a command line, for `#define MODEL_SHAPE ...`:
 *
 *   od -An -v -w36 -tu4 -j24 -N36 MODEL.pips | xargs | tr ' ' ,
 *
 *   static pipsqueak_line scratch[PIPSQUEAK_SCRATCH_LINES(MODEL_SHAPE, 256, PIPSQUEAK_KV_I8, 1)];
 *   static pipsqueak_line kv[PIPSQUEAK_KV_LINES(MODEL_SHAPE, 256, PIPSQUEAK_KV_I8)];
 *
 * They give what pipsqueak_plan gives; the numbers of a wrong shape are found by pipsqueak_session_open.
 */

/* Lines of the scratch arena. */
#define PIPSQUEAK_SCRATCH_LINES(shape, context, kv, batch) PIPSQUEAK_SCRATCH_LINES_OF(shape, context, kv, batch)
/* Lines of the arena for keys and values. */
#define PIPSQUEAK_KV_LINES(shape, context, kv) PIPSQUEAK_KV_LINES_OF(shape, context, kv)

#define PIPSQUEAK_LINES(bytes) (((size_t)(bytes) + 63u) / 64u)
#define PIPSQUEAK_CEIL(n, of) (((size_t)(n) + (of) - 1u) / (of))
#define PIPSQUEAK_MAX(a, b) ((size_t)(a) > (size_t)(b) ? (size_t)(a) : (size_t)(b))
#define PIPSQUEAK_WORDS(n) PIPSQUEAK_LINES((size_t)4u * (n))
#define PIPSQUEAK_BLOCKS(n) (PIPSQUEAK_LINES((size_t)32u * (n)) + 2u * PIPSQUEAK_WORDS(n))
#define PIPSQUEAK_SCRATCH_LINES_OF(dim, hidden, layers, heads, kv_heads, head_dim, rope_dim, vocab, seq, context, kv, batch) \
    (PIPSQUEAK_WORDS((size_t)(batch) * (dim)) + \
     PIPSQUEAK_WORDS((size_t)(batch) * PIPSQUEAK_MAX(dim, (heads) * (head_dim))) + \
     PIPSQUEAK_WORDS((size_t)(batch) * PIPSQUEAK_MAX(((heads) + 2 * (kv_heads)) * (head_dim), 2 * (hidden))) + \
     PIPSQUEAK_BLOCKS((batch) * \
                      PIPSQUEAK_CEIL(PIPSQUEAK_MAX(dim, PIPSQUEAK_MAX((heads) * (head_dim), hidden)), 32u)) + \
     PIPSQUEAK_WORDS((size_t)(batch) * (rope_dim)) + \
     ((kv) == PIPSQUEAK_KV_I8 ? PIPSQUEAK_BLOCKS((size_t)(batch) * (heads) * PIPSQUEAK_CEIL(head_dim, 32u)) : 0u) + \
     PIPSQUEAK_WORDS(context) + 2u * PIPSQUEAK_WORDS(vocab) + PIPSQUEAK_WORDS(batch))
#define PIPSQUEAK_KV_LINES_OF(dim, hidden, layers, heads, kv_heads, head_dim, rope_dim, vocab, seq, context, kv) \
    (2u * ((kv) == PIPSQUEAK_KV_I8 \
               ? PIPSQUEAK_LINES((size_t)(layers) * (kv_heads) * (head_dim) * (context)) + \
                     PIPSQUEAK_LINES((size_t)2u * (layers) * PIPSQUEAK_CEIL(kv_heads, PIPSQUEAK_MAX(32 / (head_dim), 1)) * \
                                     (context)) \
               : PIPSQUEAK_LINES((size_t)(layers) * (kv_heads) * (head_dim) * (context) * \
                                 ((kv) == PIPSQUEAK_KV_F16 ? 2u : 4u))))

/* The most tokens that a text of `text_bytes` bytes can have, and words of work that are enough to encode it. */
#define PIPSQUEAK_MAX_TOKENS(text_bytes) (2u * (size_t)(text_bytes) + 1u)
#define PIPSQUEAK_WORK_WORDS(text_bytes) (3u * ((size_t)(text_bytes) + 1u))

/* The library's layout of the structures above, for 32-bit and 64-bit pointers; a C11 or C++11 compiler looks whether its
 * own is the same. */
#if defined(__cplusplus) && __cplusplus >= 201103L
#define PIPSQUEAK_ASSERT(what) static_assert(what, "another layout than the library's")
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define PIPSQUEAK_ASSERT(what) _Static_assert(what, "another layout than the library's")
#endif
#ifdef PIPSQUEAK_ASSERT
#ifdef PIPSQUEAK_32_BIT
#define PIPSQUEAK_EITHER(on32, on64) on32
#else
#define PIPSQUEAK_EITHER(on32, on64) on64
#endif
PIPSQUEAK_ASSERT(sizeof(pipsqueak_error) == PIPSQUEAK_EITHER(4, 4));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_failure) == PIPSQUEAK_EITHER(56, 56));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_failure, code) == PIPSQUEAK_EITHER(0, 0));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_failure, argument) == PIPSQUEAK_EITHER(4, 4));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_failure, layer) == PIPSQUEAK_EITHER(8, 8));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_failure, what) == PIPSQUEAK_EITHER(12, 12));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_failure, need) == PIPSQUEAK_EITHER(40, 40));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_failure, got) == PIPSQUEAK_EITHER(48, 48));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_model) == PIPSQUEAK_EITHER(448, 608));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_session) == PIPSQUEAK_EITHER(1088, 1728));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_encoder) == PIPSQUEAK_EITHER(288, 480));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_info) == PIPSQUEAK_EITHER(56, 64));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, dim) == PIPSQUEAK_EITHER(0, 0));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, hidden_dim) == PIPSQUEAK_EITHER(4, 4));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, n_layers) == PIPSQUEAK_EITHER(8, 8));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, n_heads) == PIPSQUEAK_EITHER(12, 12));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, n_kv_heads) == PIPSQUEAK_EITHER(16, 16));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, head_dim) == PIPSQUEAK_EITHER(20, 20));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, rope_dim) == PIPSQUEAK_EITHER(24, 24));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, vocab_size) == PIPSQUEAK_EITHER(28, 28));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, seq_len) == PIPSQUEAK_EITHER(32, 32));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, bos) == PIPSQUEAK_EITHER(36, 36));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, eos) == PIPSQUEAK_EITHER(40, 40));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, adds_bos) == PIPSQUEAK_EITHER(44, 44));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, has_vocabulary) == PIPSQUEAK_EITHER(45, 45));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, text_bytes) == PIPSQUEAK_EITHER(48, 48));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_info, image_bytes) == PIPSQUEAK_EITHER(52, 56));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_line) == PIPSQUEAK_EITHER(64, 64));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_line, bytes) == PIPSQUEAK_EITHER(0, 0));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_options) == PIPSQUEAK_EITHER(12, 12));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_options, context) == PIPSQUEAK_EITHER(0, 0));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_options, kv) == PIPSQUEAK_EITHER(4, 4));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_options, batch) == PIPSQUEAK_EITHER(8, 8));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_memory) == PIPSQUEAK_EITHER(12, 24));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_memory, scratch_bytes) == PIPSQUEAK_EITHER(0, 0));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_memory, kv_bytes) == PIPSQUEAK_EITHER(4, 8));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_memory, alignment) == PIPSQUEAK_EITHER(8, 16));
PIPSQUEAK_ASSERT(sizeof(pipsqueak_sampling) == PIPSQUEAK_EITHER(32, 32));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_sampling, temperature) == PIPSQUEAK_EITHER(0, 0));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_sampling, top_k) == PIPSQUEAK_EITHER(4, 4));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_sampling, top_p) == PIPSQUEAK_EITHER(8, 8));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_sampling, min_p) == PIPSQUEAK_EITHER(12, 12));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_sampling, repeat_penalty) == PIPSQUEAK_EITHER(16, 16));
PIPSQUEAK_ASSERT(offsetof(pipsqueak_sampling, seed) == PIPSQUEAK_EITHER(24, 24));
#undef PIPSQUEAK_EITHER
#undef PIPSQUEAK_ASSERT
#endif

#endif  /* PIPSQUEAK_H */
