/* Merges see their models in pieces, and loops are compiled for several instruction sets: the
 * bits are the same. */
#include "merge/merge_select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "merge_fixture.h"

/* ---- pieces ---- */

struct source {
  size_t n_inputs;
  const float *const *in;
  double *out;
};

static bool load(void *context, size_t tensor, uint64_t first, size_t n, double *const *in,
                 struct diag *d)
{
  const struct source *s = context;
  (void)d;
  for (size_t k = 0; k < s->n_inputs; k++)
    for (size_t i = 0; i < n; i++)
      in[k][i] = (double)s->in[k][offsets[tensor] + first + i];
  return true;
}

static bool store(void *context, size_t tensor, uint64_t first, size_t n, const double *const *in,
                  const double *out, struct diag *d)
{
  const struct source *s = context;
  (void)in, (void)d;
  memcpy(s->out + offsets[tensor] + first, out, n * sizeof *out);
  return true;
}

/* Bit for bit, in double: no method knows where its pieces begin. */
static void pieces_do_not_matter(void **state)
{
  (void)state;
  static double whole[N], parts[N];
  static float fishers[MODELS][N];
  static const size_t sizes[] = {1, 3, 255, 256, 1000};
  struct rng r = rng_at(8, RNG_TEST, 0, 0, 0);
  for (int k = 0; k < MODELS; k++)
    for (int i = 0; i < N; i++)
      fishers[k][i] = (float)rng_uniform(&r);
  fill(8, false);
  for (size_t m = 0; merge_at(m); m++)
    for (int variant = 0; variant < 2; variant++) {
      const struct merge_method *method = merge_at(m);
      size_t n = method->max_models ? method->max_models : 3;
      const float *from[2 * MODELS] = {inputs[0], inputs[1], inputs[2], inputs[3]};
      for (size_t k = 0; k < n && method->extra == MERGE_FISHERS; k++)
        from[n + k] = fishers[k];
      const struct merge_args args = {.alpha = 0.3,
                                      .scale = 0.7,
                                      .keep = 0.4,
                                      .drop = 0.3,
                                      .seed = 11,
                                      .x = 0.2,
                                      .y = 0.4,
                                      .elect = variant,
                                      .undecided = variant ? MERGE_MAJORITY : MERGE_NEITHER,
                                      .scope = variant ? MERGE_EACH_TENSOR : MERGE_WHOLE_MODEL};
      for (int c = -1; c < 5; c++) {
        struct arena *a = arena_new();
        struct source s = {merge_inputs(method, n), from, c < 0 ? whole : parts};
        struct merge_io io = {
            .context = &s, .load = load, .store = store, .piece = c < 0 ? 0 : sizes[c]};
        memset(s.out, 0xff, sizeof whole);
        assert_true(merge_tensors(method, &args, n, tensors, TENSORS, &io, NULL, a, diag_new(a)));
        if (c >= 0 && memcmp(whole, parts, sizeof whole))
          fail_msg("%s in pieces of %zu differs", method->name, sizes[c]);
        arena_free(a);
      }
    }
}

/* Two passes at model scope: one for the thresholds, one to merge; the sample is not counted. */
static void ties_reads_twice(void **state)
{
  (void)state;
  enum { BIG = 5 << 20 };
  struct arena *a = arena_new();
  float *v[3], *out = arena_array(a, BIG, sizeof *out);
  struct rng r = rng_at(3, RNG_TEST, 0, 0, 0);
  for (int k = 0; k < 3; k++) {
    v[k] = arena_array(a, BIG, sizeof *out);
    for (size_t i = 0; i < BIG; i++)
      v[k][i] = (float)rng_uniform(&r) * (float)(1 + i / 100000 % 5);
  }
  const struct merge_tensor tensor = {"w", BIG, false};
  const float *const models[] = {v[0], v[1], v[2]};
  double *doubles = arena_array(a, BIG, sizeof *doubles);
  struct source s = {3, models, doubles};
  struct merge_io io = {.context = &s, .load = load, .store = store};
  const struct merge_args args = {.keep = 0.2, .scale = 1};
  struct merge_report report;
  assert_true(merge_tensors(&merge_ties, &args, 2, &tensor, 1, &io, &report, a, diag_new(a)));
  assert_int_equal(report.scans, 1);
  assert_string_equal(report.remark, "20 % of the task vectors' entries were kept");
  /* As the whole vector at once has it. */
  assert_true(merge_flat(&merge_ties, &args, 2, &tensor, 1, models, out, diag_new(a)));
  for (size_t i = 0; i < BIG; i++)
    assert_true(out[i] == (float)doubles[i]);
  arena_free(a);
}

/* ---- instruction sets ---- */

static void fill_loops(struct rng *r, double *x, size_t n)
{
  for (size_t i = 0; i < n; i++)
    x[i] = rng_below(r, 3) ? rng_normal(r) : (double)rng_below(r, 3) - 1;
}

enum { LOOPS_OUT = 10, BINS = 1000, BLOCKS = MERGE_VOTES / 4 + 8 };

/* What every loop makes of the same numbers. */
struct loops_result {
  double out[LOOPS_OUT][MERGE_VOTES];
  int32_t keys[MERGE_VOTES];
  uint64_t bins[BINS], above;
  uint32_t drawn[4 * (BLOCKS + MERGE_LANES)];
};

struct loops_case {
  double a[MERGE_VOTES], b[MERGE_VOTES], c[MERGE_VOTES];
  size_t n, n_blocks;
  int undecided;
  int32_t low;
  uint32_t limit;
  struct merge_draws draws;
};

static void draw_case(struct rng *r, struct loops_case *c)
{
  c->n = 1 + rng_below(r, MERGE_VOTES);
  c->n_blocks = (c->n + 3) / 4 + rng_below(r, 8);
  fill_loops(r, c->a, MERGE_VOTES);
  fill_loops(r, c->b, MERGE_VOTES);
  memcpy(c->c, rng_below(r, 2) ? c->a : c->b, sizeof c->c);
  c->undecided = (int)rng_below(r, 3) - 1;
  c->low = (int32_t)rng_below(r, 0x3f800000);
  c->limit = rng_below(r, 9) ? rng_u32(r) : rng_below(r, 2) ? 0 : UINT32_MAX;
  for (int k = 0; k < 6; k++)
    (k < 2 ? c->draws.key : c->draws.counter)[k < 2 ? k : k - 2] = rng_u32(r);
}

static void run_loops(const struct merge_loops *l, const struct loops_case *c,
                      struct loops_result *o)
{
  static struct merge_votes v, w;
  const double *const models[] = {c->a, c->b, c->c};
  const double weights[] = {0.3, -0.7, 1.4};
  const int32_t least[] = {0x3f000000, 0x3f100000, c->low};
  const size_t n = c->n;
  memset(o, 0, sizeof *o);
  l->between(0.3, c->a, c->b, n, o->out[0]);
  l->delta(c->a, c->b, n, o->out[1]);
  l->add(c->a, 0.7, c->b, n, o->out[2]);
  l->mix(models, 3, weights, 1, false, n, o->out[3]);
  l->mix(models, 3, NULL, 3, true, n, o->out[4]);
  memcpy(o->out[5], c->b, sizeof c->b);
  l->accumulate(0.6, c->a, n, o->out[5]);
  l->draw(&c->draws, c->n_blocks, o->drawn);
  memcpy(o->out[6], c->a, sizeof c->a);
  l->drop(o->drawn, c->limit, 1.7, n, o->out[6]);
  l->keys(c->a, c->b, n, o->keys);
  o->above = l->count(o->keys, n, c->low, BINS, o->bins);
  merge_votes_clear(&w, n);
  l->vote(&w, 0.5, c->a, n);
  l->vote(&w, -2, c->b, n);
  l->elect(&w, true, c->undecided, 0.4, c->a, n, o->out[7]);
  l->ballot(models, c->b, least, 3, n, &v);
  l->elect(&v, true, c->undecided, 0.4, c->a, n, o->out[8]);
  l->elect(&v, false, c->undecided, 0.4, c->a, n, o->out[9]);
}

/* The numbers that nothing else compares with a plain reference. */
static void check_draws(const struct loops_case *c, const struct loops_result *o)
{
  size_t larger = 0;
  for (size_t i = 0; i < c->n_blocks; i++) {
    uint32_t counter[4], plain[4];
    memcpy(counter, c->draws.counter, sizeof counter);
    counter[0] += (uint32_t)i;
    rng_philox(counter, c->draws.key, plain);
    assert_memory_equal(plain, o->drawn + 4 * i, sizeof plain);
  }
  for (size_t i = 0; i < c->n; i++) {
    larger += o->keys[i] >= c->low + BINS;
    assert_true(o->out[6][i] == (o->drawn[i] < c->limit ? 0 : c->a[i] * 1.7));
  }
  assert_int_equal(o->above, larger);
}

/* The same bits, whatever the instruction set. */
static void loops_agree(void **state)
{
  (void)state;
  static const char *const names[] = {"avx2", "avx512"};
  static struct loops_case c;
  static struct loops_result plain, other;
  struct rng r = rng_at(9, RNG_TEST, 0, 0, 0);
  for (unsigned round = 0; round < 200; round++) {
    draw_case(&r, &c);
    run_loops(merge_loops_isa("baseline"), &c, &plain);
    check_draws(&c, &plain);
    for (int k = 0; k < 2; k++) {
      if (!merge_loops_isa(names[k]))
        continue;
      run_loops(merge_loops_isa(names[k]), &c, &other);
      for (int j = 0; j < LOOPS_OUT; j++)
        if (memcmp(plain.out[j], other.out[j], c.n * sizeof **plain.out))
          fail_msg("%s: loop %d gives other bits", names[k], j);
      assert_memory_equal(plain.keys, other.keys, c.n * sizeof *plain.keys);
      assert_memory_equal(plain.bins, other.bins, sizeof plain.bins);
      assert_int_equal(plain.above, other.above);
      assert_memory_equal(plain.drawn, other.drawn, 16 * c.n_blocks);
    }
  }
  assert_null(merge_loops_isa("avx"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pieces_do_not_matter),
      cmocka_unit_test(ties_reads_twice),
      cmocka_unit_test(loops_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
