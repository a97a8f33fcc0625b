/* libFuzzer target for the language:
 *
 *   ./configure CC=clang CFLAGS='-g -O1 -fsanitize=fuzzer-no-link,address,undefined'
 *   make libdsl.a libbase.a
 *   make tests/fuzz_parse LDFLAGS=-fsanitize=fuzzer
 *   tests/fuzz_parse -max_len=4000 corpus tests/diag tests/parse */
#include "config.h"

#include "dsl/parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
  struct arena *a = arena_new();
  struct ast_program *program = ast_program_new(a);
  struct diag *diag = diag_new(a);
  char *text = NULL;
  size_t shown = 0;
  parse_text(program, "fuzz.exp", (const char *)bytes, length, diag);
  FILE *out = open_memstream(&text, &shown);
  if (out) {
    diag_print(diag, program->sources, out, true);
    ast_dump(program, out);
    fclose(out);
  }
  free(text);
  arena_free(a);
  return 0;
}
