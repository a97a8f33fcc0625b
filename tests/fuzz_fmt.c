/* libFuzzer target for the formatter: what parses is formatted, and formatting it
 * again changes nothing.  Built like fuzz_parse:
 *
 *   ./configure CC=clang CFLAGS='-g -O1 -fsanitize=fuzzer-no-link,address,undefined'
 *   make libdsl.a libbase.a
 *   make tests/fuzz_fmt LDFLAGS=-fsanitize=fuzzer
 *   tests/fuzz_fmt -max_len=4000 corpus tests/diag tests/parse tests/plan experiments */
#include "config.h"

#include "dsl/fmt.h"
#include "dsl/parse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
  struct arena *a = arena_new();
  struct diag *diag = diag_new(a);
  size_t n, again;
  char *text =
      fmt_text(ast_program_new(a), "fuzz.exp", (const char *)bytes, length, &n, diag);
  if (text) {
    char *twice = fmt_text(ast_program_new(a), "fuzz.exp", text, n, &again, diag);
    if (!twice || n != again || memcmp(text, twice, n))
      abort();
  } else if (!strncmp(diag_message(diag, diag_count(diag) - 1), "fuzz.exp: the layout", 20)) {
    abort();
  }
  arena_free(a);
  return 0;
}
