/* A case computed in one piece and split over threads, for every instruction set of this machine:
 * the bits must be the same.  Include after cmocka.h. */
#ifndef MERGESCAPE_TESTS_THREADS_FIXTURE_H
#define MERGESCAPE_TESTS_THREADS_FIXTURE_H

#include "base/arena.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "engine/ops_threads.h"
#include "engine/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned team_sizes[] = {2, 3, 5};
enum { TEAMS = sizeof team_sizes / sizeof *team_sizes };

/* What a case wrote, array behind array. */
struct outcome {
  struct arena *arena;
  float *v;
  size_t n, cap;
};

static inline void keep(struct outcome *o, const float *v, size_t n)
{
  for (size_t i = 0; i < n; i++)
    ARENA_PUSH(o->arena, o->v, o->n, o->cap, v[i]);
}

/* Between -1 and 1; drawing takes no longer than the operations. */
static inline float *random_floats(struct outcome *o, size_t n, uint32_t stream)
{
  float *v = arena_array(o->arena, n + 1, sizeof *v);
  uint32_t state = stream + 1;
  for (size_t i = 0; i < n; i++) {
    state = state * 1664525 + 1013904223;
    v[i] = (float)((int32_t)(state >> 8) - (1 << 23)) / (1 << 23);
  }
  return v;
}

static inline float *nothing(struct outcome *o, size_t n)
{
  return arena_array(o->arena, n + 1, sizeof(float));
}

struct test_case {
  const char *name;
  const void *shape;
  void (*run)(const struct ops *, const void *shape, struct outcome *);
};

static inline void check_case(const struct ops *base, const struct test_case *c)
{
  struct outcome want = {.arena = arena_new()};
  c->run(base, c->shape, &want);
  for (unsigned t = 0; t < TEAMS; t++) {
    const unsigned threads = team_sizes[t];
    struct outcome got = {.arena = arena_new()};
    const struct ops *ops = ops_threads_new(base, threads);
    c->run(ops, c->shape, &got);
    assert_int_equal(got.n, want.n);
    for (size_t i = 0; i < want.n; i++)
      if (memcmp(&got.v[i], &want.v[i], sizeof got.v[i]))
        fail_msg("%s, %s, %u threads: [%zu] is %.9g, not %.9g", base->isa, c->name, threads, i,
                 (double)got.v[i], (double)want.v[i]);
    ops_threads_free(ops);
    arena_free(got.arena);
  }
  arena_free(want.arena);
}

static inline void check_cases(const struct test_case *cases, size_t n)
{
  static const char *const sets[] = {"baseline", "avx2", "avx512"};
  for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
    const struct ops *base = ops_cpu_isa(sets[s]);
    for (size_t i = 0; base && i < n; i++)
      check_case(base, &cases[i]);
  }
}

#define CHECK_CASES(cases) check_cases(cases, sizeof(cases) / sizeof *(cases))

struct image_case {
  struct ops_conv c;
  unsigned n;
};

static inline size_t x_floats(const struct image_case *s)
{
  return (size_t)s->n * s->c.h * s->c.w * s->c.ci;
}

static inline size_t y_floats(const struct image_case *s)
{
  return (size_t)s->n * ops_conv_out(&s->c, s->c.h) * ops_conv_out(&s->c, s->c.w) *
         ops_conv_y_pixel(&s->c);
}

#endif
