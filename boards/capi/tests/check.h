/* What the tests of the C interface share. */
#ifndef CHECK_H
#define CHECK_H

#include <pipsqueak.h>

enum { OUT, ERR };

/* The console of the machine the tests run on: host.c, or the example's semihosting.c. */
void write_bytes(int stream, const char *text, size_t bytes);
void write_text(int stream, const char *text);
void write_number(uint64_t number);
_Noreturn void leave(int status);

/* image.S: a model packed for the library's kernels, with a vocabulary and a golden vector. */
extern const char model_image[], model_image_end[];
size_t image_bytes(void);
/* The image in memory that can be changed. */
char *image_copy(void);
void fresh_copy(void);

extern pipsqueak_failure failure;

/* A line for everything that is not as it must be; counts what was looked at. */
bool check(bool good, const char *what, const char *file, int line);
bool expect(pipsqueak_error got, pipsqueak_error want, const char *call, const char *file, int line);
bool about(bool expected, uint32_t argument, const char *file, int line);
#define CHECK(what) check(what, #what, __FILE__, __LINE__)
/* The code that a call returns and writes to `failure`. */
#define EXPECT(code, call) expect(call, code, #call, __FILE__, __LINE__)
/* The same, and the number of the argument that it is about. */
#define ARGUMENT(code, number, call) about(EXPECT(code, call), number, __FILE__, __LINE__)

/* A model and a session over it, for the tests that need them open. */
enum { CONTEXT = 32 };
extern pipsqueak_model model;
extern pipsqueak_session session;
extern pipsqueak_line scratch[], kv[];
extern const size_t scratch_bytes, kv_bytes;
void open_model(void);
void open_session(void);

void test_constants(void);
void test_arguments(void);
void test_images(void);
void test_plans(void);
void test_text(void);
void test_sessions(void);
void test_left_out(void);

#endif
