#include "base/floats.h"

#include "base/rng.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { ALL = 1 << 16, N = 100003 };

static const enum safetensors_dtype narrow[] = {SAFETENSORS_F16, SAFETENSORS_BF16};

static bool same(double a, double b)
{
  return isnan(a) ? isnan(b) : !memcmp(&a, &b, sizeof a);
}

static void every_narrow_number_is_read_and_written_back(void **state)
{
  (void)state;
  static uint16_t bits[ALL], back[ALL];
  static double wide[ALL], plain[ALL];
  for (int i = 0; i < ALL; i++)
    bits[i] = (uint16_t)i;
  for (int t = 0; t < 2; t++)
    for (enum floats_isa isa = FLOATS_PLAIN; isa <= floats_widest(); isa++) {
      floats_read_isa(isa, narrow[t], bits, ALL, wide);
      floats_read_isa(FLOATS_PLAIN, narrow[t], bits, ALL, plain);
      for (int i = 0; i < ALL; i++)
        assert_true(same(wide[i], plain[i]));
      assert_true(wide[0x3c00] == (t ? 0x1p-7 : 1));
      assert_true(wide[0x8001] == (t ? -0x1p-133 : -0x1p-24));
      memset(back, 0, sizeof back);
      floats_write_isa(isa, narrow[t], wide, ALL, back);
      for (int i = 0; i < ALL; i++)
        if (!isnan(wide[i]))
          assert_int_equal(back[i], bits[i]);
        else
          assert_int_equal(back[i] & (t ? 0x7fc0 : 0x7e00), t ? 0x7fc0 : 0x7e00);
    }
}

/* Between two neighbours: the middle goes to the even one, and a hair beside it to the
 * nearer, even where a float cannot tell it from the middle. */
static void rounding_is_to_nearest_even(void **state)
{
  (void)state;
  for (int t = 0; t < 2; t++) {
    const int largest = t ? 0x7f7f : 0x7bff;
    for (int i = 0; i < largest; i++) {
      uint16_t ends[2] = {(uint16_t)i, (uint16_t)(i + 1)}, out[8];
      double v[2], x[8];
      floats_read(narrow[t], ends, 2, v);
      double middle = (v[0] + v[1]) / 2;
      const double beside[4] = {nextafter(middle, 0), middle, nextafter(middle, INFINITY), v[1]};
      for (int k = 0; k < 8; k++)
        x[k] = k < 4 ? beside[k] : -beside[k - 4];
      const int expected[4] = {i, i % 2 ? i + 1 : i, i + 1, i + 1};
      for (enum floats_isa isa = FLOATS_PLAIN; isa <= floats_widest(); isa++) {
        floats_write_isa(isa, narrow[t], x, 8, out);
        for (int k = 0; k < 8; k++)
          assert_int_equal(out[k], expected[k % 4] | (k < 4 ? 0 : 0x8000));
      }
    }
  }
}

static void the_largest_are_finite(void **state)
{
  (void)state;
  static const enum safetensors_dtype types[] = {SAFETENSORS_F16, SAFETENSORS_BF16, SAFETENSORS_F32,
                                                 SAFETENSORS_F64};
  static const double expected[] = {65504, 0x1.fep127, (double)FLT_MAX, DBL_MAX};
  for (int t = 0; t < 4; t++) {
    double most = floats_largest(types[t]), back[2];
    const double x[] = {most, nextafter(most, INFINITY)};
    unsigned char bytes[16];
    floats_write(types[t], x, 2, bytes);
    floats_read(types[t], bytes, 2, back);
    assert_true(back[0] == expected[t]);
    assert_true(isinf(back[1]));
  }
}

/* The wide ways and the plain ones, at odd lengths and addresses, on numbers of all sizes. */
static void wide_is_as_plain(void **state)
{
  (void)state;
  static double x[N], a[N], b[N];
  static unsigned char bytes[8 * N + 3], others[8 * N + 3];
  static const enum safetensors_dtype types[] = {SAFETENSORS_F16, SAFETENSORS_BF16, SAFETENSORS_F32,
                                                 SAFETENSORS_F64};
  struct rng r = rng_at(1, RNG_TEST, 0, 0, 0);
  for (int i = 0; i < N; i++) {
    uint64_t bits = (uint64_t)rng_u32(&r) << 32 | rng_u32(&r);
    memcpy(&x[i], &bits, sizeof bits);
    if (i % 3)
      x[i] = ldexp(rng_normal(&r), (int)rng_below(&r, 60) - 40);
  }
  for (int t = 0; t < 4; t++)
    for (size_t n = N - 17; n <= N; n++) {
      const enum floats_isa isa = (enum floats_isa)(n % (floats_widest() + 1));
      size_t width = safetensors_dtype_bytes(types[t]);
      memset(bytes, 1, sizeof bytes);
      memset(others, 1, sizeof others);
      floats_write_isa(isa, types[t], x, n, bytes + 1);
      floats_write_isa(FLOATS_PLAIN, types[t], x, n, others + 1);
      floats_read_isa(isa, types[t], bytes + 1, n, a);
      floats_read_isa(FLOATS_PLAIN, types[t], others + 1, n, b);
      for (size_t i = 0; i < n; i++)
        if (!same(a[i], b[i]))
          fail_msg("%s: %a is %a and %a", safetensors_dtype_name(types[t]), x[i], a[i], b[i]);
      assert_int_equal(bytes[0], 1);
      assert_int_equal(bytes[1 + n * width], 1);
    }
}

static void one_bad_number_is_found(void **state)
{
  (void)state;
  enum { LENGTH = 41 };
  double x[LENGTH] = {0};
  for (enum floats_isa isa = FLOATS_PLAIN; isa <= floats_widest(); isa++) {
    memset(x, 0, sizeof x);
    for (size_t n = 0; n <= LENGTH; n++)
      assert_true(floats_within_isa(isa, x, n, DBL_MAX));
    for (size_t i = 0; i < LENGTH; i++) {
      const double bad[] = {NAN, INFINITY, -INFINITY};
      for (int k = 0; k < 3; k++) {
        x[i] = bad[k];
        assert_false(floats_within_isa(isa, x, LENGTH, DBL_MAX));
        assert_true(floats_within_isa(isa, x, i, DBL_MAX));
      }
      x[i] = i % 2 ? DBL_MAX : -DBL_MAX;
    }
    assert_true(floats_within_isa(isa, x, LENGTH, DBL_MAX));
    for (size_t i = 0; i < LENGTH; i++)
      x[i] = i % 2 ? 4 : -4;
    assert_true(floats_within_isa(isa, x, LENGTH, 4));
    assert_false(floats_within_isa(isa, x, LENGTH, nextafter(4, 0)));
  }
  assert_true(floats_finite(x, LENGTH));
  x[3] = NAN;
  assert_false(floats_finite(x, LENGTH));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_narrow_number_is_read_and_written_back),
      cmocka_unit_test(rounding_is_to_nearest_even),
      cmocka_unit_test(the_largest_are_finite),
      cmocka_unit_test(wide_is_as_plain),
      cmocka_unit_test(one_bad_number_is_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
