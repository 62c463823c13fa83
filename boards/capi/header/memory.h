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
