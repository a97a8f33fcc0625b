#include "merge/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

enum { N = 1300, MODELS = 5 };

static float models[MODELS][N];
static const float *const pointers[MODELS] = {models[0], models[1], models[2], models[3],
                                              models[4]};

/* Numbers of very different sizes. */
static int fill(void **state)
{
  (void)state;
  uint32_t r = 7;
  for (int k = 0; k < MODELS; k++)
    for (int i = 0; i < N; i++) {
      r = r * 1664525 + 1013904223;
      models[k][i] = ldexpf((float)(int32_t)r, (int)(r >> 8) % 40 - 50);
    }
  return 0;
}

/* What is merged, in one tensor and one of running statistics behind it. */
static bool merge_all(const char *name, struct merge_args args, const float *const *inputs,
                      size_t n_inputs, size_t n_params, size_t n, float *out, struct diag *d)
{
  const struct merge_method *m = merge_find(name);
  assert_non_null(m);
  size_t n_models = m->extra == MERGE_BASE ? n_inputs - 1 : n_inputs;
  assert_int_equal(merge_inputs(m, n_models), n_inputs);
  assert_true(n_models >= m->min_models && (!m->max_models || n_models <= m->max_models));
  const struct merge_tensor tensors[] = {{"weight", n_params, false},
                                         {"running_mean", n - n_params, true}};
  return merge_flat(m, &args, n_models, tensors, 2, inputs, out, d);
}

/* With a method that cannot fail, or whose models are fit for it. */
static void merge_parts(const char *name, struct merge_args args, const float *const *inputs,
                        size_t n_inputs, size_t n_params, size_t n, float *out)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  if (!merge_all(name, args, inputs, n_inputs, n_params, n, out, d))
    fail_msg("%s: %s", name, diag_message(d, 0));
  assert_int_equal(diag_count(d), 0);
  arena_free(a);
}

static void merge_with(const char *name, struct merge_args args, const float *const *inputs,
                       size_t n_inputs, size_t n, float *out)
{
  merge_parts(name, args, inputs, n_inputs, n, n, out);
}

static void linear(double alpha, const float *const *from, size_t n_models, size_t n, float *out)
{
  merge_with("linear", (struct merge_args){.alpha = alpha}, from, n_models, n, out);
}

static void the_table(void **state)
{
  (void)state;
  static const struct {
    const char *name;
    size_t least, most;
    enum merge_extra extra;
  } expected[] = {
      {"linear", 1, 0, MERGE_NO_EXTRA},
      {"slerp", 2, 2, MERGE_NO_EXTRA},
      {"task_arithmetic", 1, 0, MERGE_BASE},
      {"ties", 1, 0, MERGE_BASE},
      {"dare", 1, 0, MERGE_BASE},
      {"fisher", 1, 0, MERGE_FISHERS},
      {"regmean", 1, 0, MERGE_GRAMS},
      {"swa", 1, 0, MERGE_NO_EXTRA},
      {"plane", 3, 3, MERGE_NO_EXTRA},
  };
  size_t n = sizeof expected / sizeof *expected;
  for (size_t i = 0; i < n; i++) {
    const struct merge_method *m = merge_find(expected[i].name);
    assert_non_null(m);
    assert_ptr_equal(m, merge_at(i));
    assert_string_equal(m->name, expected[i].name);
    assert_int_equal(m->min_models, expected[i].least);
    assert_int_equal(m->max_models, expected[i].most);
    assert_int_equal(m->extra, expected[i].extra);
  }
  assert_null(merge_at(n));
  assert_null(merge_find("linea"));
  assert_null(merge_find(""));
}

static void two_models_interpolate(void **state)
{
  (void)state;
  static float out[N];
  static const double alphas[] = {0.5, 0.25, -0.5, 1.5, 1.0 / 3};
  for (int k = 0; k < 5; k++) {
    linear(alphas[k], pointers, 2, N, out);
    for (int i = 0; i < N; i++) {
      double a = (double)models[0][i], b = (double)models[1][i];
      double expected = (1 - alphas[k]) * a + alphas[k] * b;
      assert_true(fabs((double)out[i] - expected) <= 1e-7 * (fabs(a) + fabs(b)));
    }
  }
}

static void the_ends_are_exact(void **state)
{
  (void)state;
  static float out[N];
  linear(0, pointers, 2, N, out);
  assert_memory_equal(out, models[0], sizeof out);
  linear(1, pointers, 2, N, out);
  assert_memory_equal(out, models[1], sizeof out);
}

static void equal_models_merge_to_themselves(void **state)
{
  (void)state;
  static float out[N];
  const float *same[MODELS] = {models[2], models[2], models[2], models[2], models[2]};
  for (size_t n = 1; n <= MODELS; n++)
    for (double alpha = 0; alpha <= 1; alpha += 0.1) {
      memset(out, 0xff, sizeof out);
      linear(alpha, same, n, N, out);
      assert_memory_equal(out, models[2], sizeof out);
    }
}

static void more_models_average(void **state)
{
  (void)state;
  static float out[N];
  for (size_t n = 3; n <= MODELS; n++) {
    linear(0.5, pointers, n, N, out);
    for (int i = 0; i < N; i++) {
      double sum = 0, size = 0;
      for (size_t k = 0; k < n; k++) {
        sum += (double)models[k][i];
        size += fabs((double)models[k][i]);
      }
      assert_true(fabs((double)out[i] - sum / (double)n) <= 1e-7 * size);
    }
  }
}

static void sums_do_not_overflow(void **state)
{
  (void)state;
  const float a = 3e38f, b = -3e38f;
  const float *const p[] = {&a, &a, &a}, *const q[] = {&a, &b};
  float out;
  linear(0.5, p, 3, 1, &out);
  assert_true(out == a);
  linear(0.5, q, 2, 1, &out);
  assert_true(out == 0);
}

/* ---- the other methods, against the formulas ---- */

static double dot(const double *a, const double *b, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += a[i] * b[i];
  return sum;
}

static void as_double(const float *from, double *to)
{
  for (int i = 0; i < N; i++)
    to[i] = (double)from[i];
}

static void assert_close(const float *out, const double *expected, double tolerance)
{
  for (int i = 0; i < N; i++)
    if (!(fabs((double)out[i] - expected[i]) <= tolerance))
      fail_msg("[%d]: %g, not %g", i, (double)out[i], expected[i]);
}

/* Models of one size: random directions in many dimensions are nearly at right angles. */
static float even[MODELS][N];
static const float *const evens[MODELS] = {even[0], even[1], even[2], even[3], even[4]};

static void fill_even(void)
{
  uint32_t r = 99;
  for (int k = 0; k < MODELS; k++)
    for (int i = 0; i < N; i++) {
      r = r * 1664525 + 1013904223;
      even[k][i] = ldexpf((float)(int32_t)r, -31) + 0.1f;
    }
}

static void swa_is_the_mean(void **state)
{
  (void)state;
  static float out[N];
  fill_even();
  for (size_t n = 1; n <= MODELS; n++) {
    double expected[N] = {0};
    for (size_t k = 0; k < n; k++)
      for (int i = 0; i < N; i++)
        expected[i] += (double)even[k][i] / (double)n;
    merge_with("swa", (struct merge_args){.alpha = 0.25}, evens, n, N, out);
    assert_close(out, expected, 1e-7);
  }
}

static void task_arithmetic_adds_differences(void **state)
{
  (void)state;
  static float out[N];
  static const double scales[] = {0, 0.3, 1, -2};
  fill_even();
  for (size_t n = 2; n <= MODELS; n++)
    for (int s = 0; s < 4; s++) {
      double expected[N];
      for (int i = 0; i < N; i++) {
        double base = (double)even[n - 1][i], sum = 0;
        for (size_t k = 0; k + 1 < n; k++)
          sum += (double)even[k][i] - base;
        expected[i] = base + scales[s] * sum;
      }
      merge_with("task_arithmetic", (struct merge_args){.scale = scales[s]}, evens, n, N, out);
      assert_close(out, expected, 1e-6);
      if (scales[s] == 0)
        assert_memory_equal(out, even[n - 1], sizeof out);
    }
  merge_with("task_arithmetic", (struct merge_args){.scale = 1}, pointers, 2, N, out);
  assert_memory_equal(out, models[0], sizeof out);
}

static void slerp_turns_at_a_constant_rate(void **state)
{
  (void)state;
  static float out[N];
  static double a[N], b[N], o[N], expected[N];
  static const double alphas[] = {0.25, 0.5, 0.9, -0.2, 1.3};
  fill_even();
  as_double(even[0], a);
  as_double(even[1], b);
  double la = sqrt(dot(a, a, N)), lb = sqrt(dot(b, b, N));
  double angle = acos(dot(a, b, N) / la / lb);
  assert_true(angle > 1 && angle < 2);
  for (int k = 0; k < 5; k++) {
    for (int i = 0; i < N; i++)
      expected[i] =
          (sin((1 - alphas[k]) * angle) * a[i] + sin(alphas[k] * angle) * b[i]) / sin(angle);
    merge_with("slerp", (struct merge_args){.alpha = alphas[k]}, evens, 2, N, out);
    assert_close(out, expected, 1e-6);
  }
  /* Between two of one length, a length kept and an angle in proportion. */
  for (int i = 0; i < N; i++)
    even[1][i] = (float)(b[i] * la / lb);
  merge_with("slerp", (struct merge_args){.alpha = 0.3}, evens, 2, N, out);
  as_double(out, o);
  assert_true(fabs(sqrt(dot(o, o, N)) / la - 1) < 1e-6);
  assert_true(fabs(acos(dot(o, a, N) / la / la) - 0.3 * angle) < 1e-6);
}

static void slerp_of_near_models_is_linear(void **state)
{
  (void)state;
  static float near[N], zero[N], out[N], straight[N];
  fill_even();
  for (int i = 0; i < N; i++)
    near[i] = 2 * even[0][i] + 0.01f * even[1][i];
  const float *const parallel[] = {even[0], near}, *const with_zero[] = {even[0], zero};
  const float *const *const both[] = {parallel, with_zero};
  for (int k = 0; k < 2; k++) {
    merge_with("slerp", (struct merge_args){.alpha = 0.4}, both[k], 2, N, out);
    linear(0.4, both[k], 2, N, straight);
    assert_memory_equal(out, straight, sizeof out);
  }
  for (int end = 0; end < 2; end++) {
    merge_with("slerp", (struct merge_args){.alpha = end}, evens, 2, N, out);
    assert_memory_equal(out, even[end], sizeof out);
  }
}

static void plane(double x, double y, const float *const *from, float *out)
{
  merge_with("plane", (struct merge_args){.x = x, .y = y}, from, 3, N, out);
}

static void the_plane_has_its_axes(void **state)
{
  (void)state;
  static float out[N];
  static double a[N], b[N], c[N], u[N], w[N], expected[N];
  static const double points[][2] = {{0.5, 0.5}, {-1, 2}, {2, -0.25}, {0, 1}};
  fill_even();
  as_double(even[0], a);
  as_double(even[1], b);
  as_double(even[2], c);
  for (int i = 0; i < N; i++) {
    u[i] = b[i] - a[i];
    w[i] = c[i] - a[i];
  }
  double along = dot(u, w, N) / dot(u, u, N);
  for (int i = 0; i < N; i++)
    w[i] -= along * u[i];
  double unit = sqrt(dot(u, u, N)), rest = sqrt(dot(w, w, N));
  assert_true(fabs(dot(u, w, N)) < 1e-9 * unit * rest);
  for (int k = 0; k < 4; k++) {
    for (int i = 0; i < N; i++)
      expected[i] = a[i] + points[k][0] * u[i] + points[k][1] * unit * w[i] / rest;
    plane(points[k][0], points[k][1], evens, out);
    assert_close(out, expected, 1e-6);
  }
  plane(along, rest / unit, evens, out);
  assert_close(out, c, 1e-6);
  plane(0, 0, evens, out);
  assert_memory_equal(out, even[0], sizeof out);
  plane(1, 0, evens, out);
  assert_memory_equal(out, even[1], sizeof out);
}

static void refused(const float *const *from, const char *why)
{
  static float out[N];
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  const struct merge_args args = {.x = 0.5, .y = 0.5};
  assert_false(merge_all("plane", args, from, 3, N, N, out, d));
  assert_int_equal(diag_errors(d), 1);
  assert_non_null(strstr(diag_message(d, 0), why));
  assert_non_null(diag_hint_of(d, 0));
  arena_free(a);
}

/* c on the line through a and b, but for rounding: y = 0 can be had. */
static void models_on_a_line_span_no_plane(void **state)
{
  (void)state;
  static float beyond[N], out[N], straight[N];
  static const double at[] = {-30, 0.3, 0, 1, 2, 30};
  fill_even();
  const float *const line[] = {even[0], even[1], beyond};
  for (int k = 0; k < 6; k++) {
    linear(at[k], evens, 2, N, beyond);
    refused(line, "on a line");
    plane(0.3, 0, line, out);
    linear(0.3, evens, 2, N, straight);
    assert_memory_equal(out, straight, sizeof out);
  }
  const float *const twice[] = {even[0], even[0], even[1]};
  refused(twice, "equal");
}

/* Infinities too, where a method needs no lengths, and a zero's sign. */
static void every_method_keeps_equal_models(void **state)
{
  (void)state;
  static float out[N], same[N], weights[N];
  static const double thirds[] = {0.3, 0.3, 0.4}, scales[] = {0.5, -1, 2};
  memcpy(same, models[2], sizeof same);
  same[7] = -0.0f;
  for (int i = 0; i < N; i++)
    weights[i] = (float)(i % 3);
  for (size_t k = 0; merge_at(k); k++) {
    const struct merge_method *m = merge_at(k);
    bool lengths = !strcmp(m->name, "slerp") || !strcmp(m->name, "plane");
    same[9] = lengths ? 1 : INFINITY;
    for (int listed = 0; listed < 2; listed++) {
      const float *inputs[] = {same, same, same, weights, weights, models[1]};
      size_t n_models = m->max_models ? m->max_models : 3;
      if (m->extra == MERGE_BASE)
        inputs[3] = same;
      const struct merge_args args = {.alpha = 0.3,
                                      .scale = 0.7,
                                      .keep = 0.4,
                                      .drop = 0.3,
                                      .x = 0.2,
                                      .y = 0.4,
                                      .elect = listed,
                                      .weights = listed ? thirds : NULL,
                                      .scales = listed ? scales : NULL};
      memset(out, 0xff, sizeof out);
      if (m->extra == MERGE_FISHERS) {
        struct arena *a = arena_new();
        const struct merge_tensor tensor = {"w", N, false};
        assert_true(merge_flat(m, &args, 3, &tensor, 1, inputs, out, diag_new(a)));
        arena_free(a);
      } else {
        merge_with(m->name, args, inputs, merge_inputs(m, n_models), N, out);
      }
      if (memcmp(out, same, sizeof out))
        fail_msg("%s does not keep equal models", m->name);
    }
  }
}

/* Angles and lengths are those of the parameters: what lies behind takes the
 * same coefficients, and changes none. */
static void buffers_do_not_count(void **state)
{
  (void)state;
  enum { PARAMS = N - 100 };
  static float whole[N], part[N];
  static const char *const names[] = {"slerp", "plane"};
  fill_even();
  for (int k = 0; k < 3; k++)
    for (int i = PARAMS; i < N; i++)
      even[k][i] = 1000.0f * (float)(k + 1);
  for (int i = 0; i < 2; i++) {
    size_t n = merge_find(names[i])->max_models;
    struct merge_args args = {.alpha = 0.3, .x = 0.2, .y = 0.4};
    merge_parts(names[i], args, evens, n, PARAMS, N, whole);
    merge_with(names[i], args, evens, n, PARAMS, part);
    assert_memory_equal(whole, part, PARAMS * sizeof *whole);
    assert_true(isfinite(whole[N - 1]) && fabsf(whole[N - 1]) > 100);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_table),
      cmocka_unit_test(two_models_interpolate),
      cmocka_unit_test(the_ends_are_exact),
      cmocka_unit_test(equal_models_merge_to_themselves),
      cmocka_unit_test(more_models_average),
      cmocka_unit_test(sums_do_not_overflow),
      cmocka_unit_test(swa_is_the_mean),
      cmocka_unit_test(task_arithmetic_adds_differences),
      cmocka_unit_test(slerp_turns_at_a_constant_rate),
      cmocka_unit_test(slerp_of_near_models_is_linear),
      cmocka_unit_test(the_plane_has_its_axes),
      cmocka_unit_test(models_on_a_line_span_no_plane),
      cmocka_unit_test(every_method_keeps_equal_models),
      cmocka_unit_test(buffers_do_not_count),
  };
  return cmocka_run_group_tests(tests, fill, NULL);
}
