/* Stored results, computed again. */
#include "config.h"

#include "run_fake.h"

#include "base/file.h"
#include "base/safetensors.h"
#include "run/verify.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 60 };

static unsigned n_of(const bool *chosen, uint32_t n)
{
  unsigned sum = 0;
  for (uint32_t i = 0; i < n; i++)
    sum += chosen[i];
  return sum;
}

/* So many as are asked for, the same by the same seed, and each about as often. */
static void test_choose(void **state)
{
  struct fixture *f = *state;
  enum { TRIES = 600, SIZE = 6 };
  bool may[N], chosen[N], again[N];
  unsigned often[N] = {0};
  fake_random_plan(f, N);
  for (int i = 0; i < N; i++)
    may[i] = i % 3 != 0;
  for (unsigned seed = 0; seed < TRIES; seed++) {
    assert_int_equal(verify_choose(f->plan, may, SIZE, seed, chosen), SIZE);
    assert_int_equal(n_of(chosen, N), SIZE);
    assert_int_equal(verify_choose(f->plan, may, SIZE, seed, again), SIZE);
    assert_memory_equal(chosen, again, sizeof chosen);
    for (int i = 0; i < N; i++)
      often[i] += chosen[i];
  }
  for (int i = 0; i < N; i++) /* 90 times, give or take four standard deviations of 8.8 */
    assert_in_range(often[i], may[i] ? 55 : 0, may[i] ? 125 : 0);
  assert_int_equal(verify_choose(f->plan, may, 1000, 1, chosen), n_of(may, N));
  assert_memory_equal(chosen, may, sizeof may);
  assert_int_equal(verify_choose(f->plan, may, 0, 1, chosen), 0);
  assert_int_equal(n_of(chosen, N), 0);
}

/* What the store holds, to see that nothing of it changes. */
static char *listing(struct setup *s)
{
  char *text = "";
  for (uint32_t i = 0; i < plan_count(s->f->plan); i++)
    text = arena_printf(s->f->arena, "%s%s\n", text,
                        fixture_read(s->f, fixture_path(s->f, i, "result.json"), NULL));
  return text;
}

static struct verify_finding *verify_all(struct setup *s, const bool *chosen, unsigned jobs)
{
  struct fixture *f = s->f;
  struct verify_finding *findings = arena_array(f->arena, N, sizeof *findings);
  struct store *view = store_view(f->arena, store_path(f->store), f->diag);
  const struct run_options options = {.jobs = jobs};
  const char *temporary = file_join(f->arena, f->root, "temporary");
  assert_true(file_make_dir(temporary, f->diag));
  unlink(s->fake->log);
  const struct run_summary sum = verify_run(f->plan, chosen, view, s->kinds, &options, temporary,
                                            f->arena, findings, f->diag);
  assert_int_equal(sum.failed + sum.skipped, 0);
  assert_int_equal(sum.ran, n_of(chosen, plan_count(f->plan)));
  assert_true(rmdir(temporary) == 0); /* it is empty again */
  return findings;
}

/* Only what is chosen is computed, from stored inputs, and the store stays as it is. */
static void test_same(void **state)
{
  bool chosen[N];
  fake_random_plan(*state, N);
  struct setup s = fake_setup(state, 2);
  assert_int_equal(fake_run(&s).ran, N);
  const char *before = listing(&s);
  for (unsigned jobs = 0; jobs < 3; jobs++) {
    verify_choose(s.f->plan, s.wanted, 20, jobs, chosen);
    const struct verify_finding *found = verify_all(&s, chosen, jobs);
    double seeds[N + 1];
    assert_int_equal(fake_logged(&s, seeds, NULL, N + 1), 20);
    for (int k = 0; k < 20; k++)
      assert_true(chosen[(int)seeds[k] - 1]);
    for (int i = 0; i < N; i++) {
      assert_int_equal(found[i].verdict, chosen[i] ? VERIFY_SAME : VERIFY_NOT_TRIED);
      assert_true(isnan(found[i].difference) || !chosen[i]);
    }
  }
  assert_string_equal(listing(&s), before);
  assert_int_equal(fixture_entries(s.f, "tmp"), 0);
  assert_int_equal(fixture_entries(s.f, "damaged"), 0);
  assert_int_equal(diag_count(s.f->diag), 0);
}

/* Stores a result with other numbers, that its checksum fits. */
static void forge(struct setup *s, uint32_t step, double sum, const char *weights)
{
  fake_lose(s, step);
  struct store_draft *draft = store_begin(s->f->store, s->f->arena, s->f->diag);
  struct store_file file = {.name = "weights.bin"};
  struct store_result r = {.files = &file, .n_files = 1};
  store_set(s->f->arena, &r, "sum", sum);
  assert_true(file_write_synced(store_draft_path(draft, "weights.bin"), weights, strlen(weights),
                                s->f->diag));
  assert_true(
      store_commit(draft, s->f->plan, plan_step(s->f->plan, step), &r, s->f->diag));
}

/* A value, a file, a byte: each is noticed. */
static void test_not_the_same(void **state)
{
  struct setup s = fake_setup(state, 1);
  for (uint32_t i = 0; i < 5; i++)
    fixture_step(s.f, PLAN_TRAIN, i + 1, NULL, 0);
  assert_int_equal(fake_run(&s).ran, 5);
  forge(&s, 1, 2.5, "0x1p+1");
  forge(&s, 2, 3, "other bytes");
  fixture_write(fixture_path(s.f, 3, "weights.bin"), "0x1.1p+2");
  const struct verify_finding *found = verify_all(&s, s.wanted, 1);
  assert_int_equal(found[0].verdict, VERIFY_SAME);
  assert_int_equal(found[1].verdict, VERIFY_DIFFERS);
  assert_true(found[1].difference == 0.5);
  assert_string_equal(found[1].what, "sum is 2.5 in the store and 2 now");
  assert_int_equal(found[2].verdict, VERIFY_DIFFERS);
  assert_true(isnan(found[2].difference));
  assert_string_equal(found[2].what, "weights.bin has other bytes");
  assert_int_equal(found[3].verdict, VERIFY_DAMAGED);
  assert_string_equal(found[3].what, "weights.bin does not match its checksum");
  assert_int_equal(found[4].verdict, VERIFY_SAME);
  assert_true(fake_there(&s, 3));
}

/* What cannot be computed again is told with its reason, and takes nothing with it. */
static void test_failed(void **state)
{
  struct setup s = fake_setup(state, 2);
  const uint32_t a = fixture_step(s.f, PLAN_DATA, 1, NULL, 0);
  const uint32_t b = fixture_step(s.f, PLAN_TRAIN, 2, &a, 1);
  const uint32_t c = fixture_step(s.f, PLAN_TRAIN, 3, &b, 1);
  assert_int_equal(fake_run(&s).ran, 3);
  s.fake->fail = 2;
  const struct verify_finding *found = verify_all(&s, s.wanted, 2);
  assert_int_equal(found[a].verdict, VERIFY_SAME);
  assert_int_equal(found[b].verdict, VERIFY_FAILED);
  assert_string_equal(found[b].what, "no such data");
  assert_int_equal(found[c].verdict, VERIFY_SAME);
  s.fake->fail = 0;
  fixture_write(fixture_path(s.f, a, "weights.bin"), "spoilt");
  found = verify_all(&s, s.wanted, 2);
  assert_int_equal(found[a].verdict, VERIFY_DAMAGED);
  assert_int_equal(found[b].verdict, VERIFY_FAILED);
  assert_string_equal(found[b].what, "an input of it is damaged");
  assert_int_equal(found[c].verdict, VERIFY_SAME);
}

static void put_tensors(struct fixture *f, struct store *store, uint32_t step, float third)
{
  float one[] = {1, 2, third, 4}, two[] = {5, 6};
  struct safetensors_tensor t[] = {
      {"conv.weight", SAFETENSORS_F32, 1, {4}, sizeof one, one},
      {"conv.bias", SAFETENSORS_F32, 1, {2}, sizeof two, two}};
  const struct safetensors file = {.tensors = t, .n_tensors = 2};
  struct store_draft *draft = store_begin(store, f->arena, f->diag);
  struct store_file named = {.name = "weights.safetensors"};
  struct store_result r = {.files = &named, .n_files = 1};
  store_set(f->arena, &r, "loss", NAN);
  assert_true(safetensors_write(store_draft_path(draft, named.name), &file, f->diag));
  assert_true(store_commit(draft, f->plan, plan_step(f->plan, step), &r, f->diag));
}

/* Of weights the largest difference is told, and where. */
static void test_weights(void **state)
{
  struct fixture *f = *state;
  struct store *other = store_open(f->arena, file_join(f->arena, f->root, "other"), f->diag);
  const float last_bit = nextafterf(3, 4);
  const float thirds[] = {3, last_bit, 7, -0.0f, 0};
  for (uint32_t i = 0; i < 5; i++) {
    const struct hash key = plan_step(f->plan, fixture_step(f, PLAN_TRAIN, i, NULL, 0))->key;
    put_tensors(f, f->store, i, i < 3 ? 3 : 0);
    put_tensors(f, other, i, thirds[i]);
    const struct verify_finding found = verify_compare(f->store, other, key, f->arena);
    const bool same = thirds[i] == 3 || i == 4;
    assert_int_equal(found.verdict, same ? VERIFY_SAME : VERIFY_DIFFERS);
    if (same)
      continue;
    assert_string_equal(found.what, "weights.safetensors: 1 of 4 numbers of conv.weight");
    assert_true(found.difference == fabs((i < 3 ? 3.0 : 0.0) - thirds[i]));
  }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_begin, fixture_end)
  const struct CMUnitTest tests[] = {
      TEST(test_choose), TEST(test_same),    TEST(test_not_the_same),
      TEST(test_failed), TEST(test_weights),
  };
  return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
