/* A temporary folder for a test program, and questions about diagnostics.
 * Include after cmocka.h. */
#ifndef MERGESCAPE_TESTS_SCRATCH_H
#define MERGESCAPE_TESTS_SCRATCH_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* What every test gets as *state. */
struct scratch {
  struct arena *arena;
  struct diag *diag;
  char *dir; /* new and empty; removed with all it holds */
};

static inline int scratch_setup(void **state)
{
  struct arena *a = arena_new();
  struct scratch *s = arena_alloc(a, sizeof *s);
  const char *tmp = getenv("TMPDIR");
  s->arena = a;
  s->diag = diag_new(a);
  s->dir = arena_printf(a, "%s/mergescape-test-XXXXXX", tmp ? tmp : "/tmp");
  *state = s;
  return mkdtemp(s->dir) ? 0 : -1;
}

static inline int scratch_teardown(void **state)
{
  struct scratch *s = *state;
  struct diag *d = diag_new(s->arena);
  bool ok = file_remove_tree(s->dir, d);
  arena_free(s->arena);
  return ok ? 0 : -1;
}

static inline char *scratch_path(const struct scratch *s, const char *name)
{
  return file_join(s->arena, s->dir, name);
}

/* Exactly one diagnostic, and each of the texts is in it or in its hint; it is
 * forgotten afterwards. */
static inline void scratch_expect(const struct scratch *s, const char *a, const char *b)
{
  assert_int_equal(diag_count(s->diag), 1);
  const char *message = diag_message(s->diag, 0), *hint = diag_hint_of(s->diag, 0);
  const char *texts[] = {a, b};
  for (int i = 0; i < 2; i++)
    if (texts[i] && !strstr(message, texts[i]) && !(hint && strstr(hint, texts[i])))
      fail_msg("\"%s\" is not in \"%s\" (hint: %s)", texts[i], message, hint ? hint : "none");
  diag_clear(s->diag);
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

#endif
