#include "engine/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

/* A set in memory, of random pixels. */
static struct data_set noise(struct arena *a, unsigned n, unsigned h, unsigned w, unsigned c)
{
  struct data_set set = {.channels = c, .height = h, .width = w, .classes = 10};
  uint8_t *p = arena_array(a, n, (size_t)h * w * c);
  int32_t *labels = arena_array(a, n, sizeof *labels);
  uint32_t state = 1;
  for (size_t i = 0; i < (size_t)n * h * w * c; i++)
    p[i] = (uint8_t)((state = state * 1664525 + 1013904223) >> 24);
  for (unsigned i = 0; i < n; i++)
    labels[i] = (int32_t)(i % 10);
  for (unsigned i = 0; i < c; i++) {
    set.mean[i] = 0.1f * (float)(i + 1);
    set.std[i] = 0.3f + 0.05f * (float)i;
  }
  set.split[DATA_TRAIN] = (struct data_samples){.n = n, .pixels = p, .labels = labels};
  return set;
}

static double value(const struct data_set *set, unsigned i, int y, int x, unsigned c)
{
  bool in = y >= 0 && x >= 0 && y < (int)set->height && x < (int)set->width;
  size_t at =
      (((size_t)i * set->height + (size_t)(in ? y : 0)) * set->width + (size_t)(in ? x : 0)) *
          set->channels +
      c;
  double v = in ? set->split[DATA_TRAIN].pixels[at] : 0;
  return (v / 255 - (double)set->mean[c]) / (double)set->std[c];
}

static bool is_shifted(const struct data_set *set, unsigned i, int dy, int dx, bool flip,
                       const float *x)
{
  for (int r = 0; r < (int)set->height; r++)
    for (int q = 0; q < (int)set->width; q++)
      for (unsigned c = 0; c < set->channels; c++, x++) {
        int from = (flip ? (int)set->width - 1 - q : q) + dx;
        if (fabs((double)*x - value(set, i, r + dy, from, c)) > 1e-5)
          return false;
      }
  return true;
}

/* What a user brings is normalised already. */
static void values_are_taken_as_they_are(void **state)
{
  struct arena *arena = *state;
  struct data_set set = noise(arena, 4, 2, 3, 2);
  float v[4 * 12], x[3 * 12];
  const uint32_t indices[] = {2, 0, 2};
  int32_t labels[3];
  for (int i = 0; i < 4 * 12; i++)
    v[i] = (float)(i - 20);
  set.split[DATA_TRAIN].values = v;
  data_batch(&set, DATA_TRAIN, indices, 3, NULL, 0, 0, 0, x, labels);
  for (int i = 0; i < 3; i++) {
    assert_memory_equal(x + i * 12, v + indices[i] * 12, 12 * sizeof *v);
    assert_int_equal(labels[i], (int)indices[i]);
  }
}

static void batches_are_normalised(void **state)
{
  struct arena *arena = *state;
  for (unsigned c = 1; c <= 4; c++) {
    struct data_set set = noise(arena, 20, 5, 7, c);
    uint32_t indices[] = {7, 0, 19, 7};
    float *x = arena_array(arena, 4 * 35 * c, sizeof *x);
    int32_t labels[4];
    data_batch(&set, DATA_TRAIN, indices, 4, NULL, 1, 2, 3, x, labels);
    for (unsigned i = 0; i < 4; i++) {
      assert_int_equal(labels[i], indices[i] % 10);
      assert_true(is_shifted(&set, indices[i], 0, 0, false, x + i * 35 * c));
    }
  }
}

/* Every output is one of the possible shifts; all shifts occur. */
static void augmentation_shifts_and_flips(void **state)
{
  struct arena *arena = *state;
  static const unsigned paddings[] = {0, 2, 9};
  for (unsigned c = 1; c <= 3; c++)
    for (int k = 0; k < 3; k++)
      for (int flips = 0; flips < 2; flips++) {
        enum { N = 300 };
        int pad = (int)paddings[k], side = 2 * pad + 1, seen_flips = 0;
        struct data_set set = noise(arena, N, 6, 5, c);
        struct data_augment augment = {.flip = flips, .padding = paddings[k]};
        bool *seen = arena_array(arena, (size_t)(side * side), sizeof *seen);
        uint32_t indices[N];
        int32_t labels[N];
        float *x = arena_array(arena, (size_t)N * 30 * c, sizeof *x);
        for (uint32_t i = 0; i < N; i++)
          indices[i] = i;
        data_batch(&set, DATA_TRAIN, indices, N, &augment, 5, 0, 1, x, labels);
        for (unsigned i = 0; i < N; i++) {
          bool found = false;
          for (int m = 0; m < side * side * (flips + 1) && !found; m++) {
            int dy = m / (flips + 1) / side - pad, dx = m / (flips + 1) % side - pad;
            bool flip = flips && m % 2;
            found = is_shifted(&set, i, dy, dx, flip, x + (size_t)i * 30 * c);
            if (found) {
              seen[(dy + pad) * side + dx + pad] = true;
              seen_flips += flip;
            }
          }
          assert_true(found);
        }
        for (int m = 0; m < side * side && pad < 9; m++)
          assert_true(seen[m]);
        assert_true(pad == 9 || !flips || (seen_flips > 110 && seen_flips < 190));
      }
}

static void augmentation_depends_on_the_sample_alone(void **state)
{
  struct arena *arena = *state;
  struct data_set set = noise(arena, 100, 14, 14, 2);
  struct data_augment augment = {.flip = true, .padding = 2};
  uint32_t many[] = {4, 50, 99, 17, 3, 17}, one = 17;
  enum { FLOATS = 392 };
  float x[6][FLOATS], y[FLOATS];
  int32_t labels[6];
  unsigned same = 0;
  data_batch(&set, DATA_TRAIN, many, 6, &augment, 9, 1, 4, x[0], labels);
  data_batch(&set, DATA_TRAIN, &one, 1, &augment, 9, 1, 4, y, labels);
  assert_memory_equal(x[3], y, sizeof y);
  assert_memory_equal(x[5], y, sizeof y);
  for (unsigned i = 0; i < 30; i++) { /* another seed, stream or epoch */
    data_batch(&set, DATA_TRAIN, &one, 1, &augment, 9 + (i % 3 == 0) * (1 + i),
               1 + (i % 3 == 1) * i, 4 + (i % 3 == 2) * i, y, labels);
    same += !memcmp(x[3], y, sizeof y);
  }
  assert_true(same < 5); /* 1 in 50 by chance */
}

static void orders_are_permutations(void **state)
{
  (void)state;
  enum { N = 1000 };
  uint32_t order[N], other[4][N];
  bool seen[N] = {false};
  data_order(3, 1, 5, order, N);
  for (unsigned i = 0; i < N; i++) {
    assert_true(order[i] < N && !seen[order[i]]);
    seen[order[i]] = true;
  }
  data_order(3, 1, 5, other[0], N);
  data_order(4, 1, 5, other[1], N);
  data_order(3, 2, 5, other[2], N);
  data_order(3, 1, 6, other[3], N);
  assert_memory_equal(order, other[0], sizeof order);
  for (int k = 1; k < 4; k++)
    assert_memory_not_equal(order, other[k], sizeof order);
}

static int setup(void **state)
{
  *state = arena_new();
  return 0;
}

static int teardown(void **state)
{
  arena_free(*state);
  return 0;
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST_OF(batches_are_normalised),
      TEST_OF(augmentation_shifts_and_flips),
      TEST_OF(augmentation_depends_on_the_sample_alone),
      TEST_OF(values_are_taken_as_they_are),
      cmocka_unit_test(orders_are_permutations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
