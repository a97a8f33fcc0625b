#include "config.h"

#include "run_fixture.h"

#include "base/file.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const char *const versions[PLAN_KIND_COUNT] = {"1", "1", "1", "1", "1", "1", "1", "1"};

int fixture_begin(void **state)
{
  struct arena *a = arena_new();
  struct fixture *f = arena_alloc(a, sizeof *f);
  f->arena = a;
  f->diag = diag_new(a);
  const char *temp = getenv("TMPDIR");
  snprintf(f->root, sizeof f->root, "%s/mergescape-test-XXXXXX", temp ? temp : "/tmp");
  assert_non_null(mkdtemp(f->root));
  f->store = store_open(a, file_join(a, f->root, "store"), f->diag);
  assert_non_null(f->store);
  f->plan = plan_new(a, versions);
  *state = f;
  return 0;
}

int fixture_end(void **state)
{
  struct fixture *f = *state;
  assert_true(file_remove_tree(f->root, f->diag));
  arena_free(f->arena);
  return 0;
}

uint32_t fixture_step(struct fixture *f, enum plan_kind kind, double seed, const uint32_t *inputs,
                      uint32_t n_inputs)
{
  struct plan_attr attr = {.id = PLAN_A_seed, .num = seed};
  struct plan_step step = {.kind = kind,
                           .n_attrs = 1,
                           .attrs = &attr,
                           .n_inputs = n_inputs,
                           .inputs = inputs,
                           .origin = {"noise", "lr=0.1 batch=32", {1, 4, 9}, NULL}};
  step.origin.point = arena_printf(f->arena, "seed=%g", seed);
  return plan_add_step(f->plan, &step);
}

const char *fixture_path(struct fixture *f, uint32_t step, const char *name)
{
  char hex[HASH_HEX];
  hash_hex(plan_step(f->plan, step)->key, hex);
  return arena_printf(f->arena, "%s/objects/%.2s/%s/%s", store_path(f->store), hex, hex, name);
}

unsigned fixture_entries(struct fixture *f, const char *folder)
{
  unsigned n = 0;
  DIR *dir = opendir(file_join(f->arena, store_path(f->store), folder));
  assert_non_null(dir);
  for (struct dirent *e; (e = readdir(dir));)
    n += e->d_name[0] != '.';
  closedir(dir);
  return n;
}

void fixture_write(const char *path, const char *text)
{
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  fputs(text, out);
  assert_int_equal(fclose(out), 0);
}

char *fixture_read(struct fixture *f, const char *path, size_t *length)
{
  size_t n;
  char *text = file_read(f->arena, path, length ? length : &n, f->diag);
  assert_non_null(text);
  return text;
}

bool fixture_said(const struct diag *d, const char *text)
{
  for (unsigned k = 0; k < diag_count(d); k++)
    if (strstr(diag_message(d, k), text))
      return true;
  return false;
}

double fixture_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
