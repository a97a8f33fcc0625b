#include "config.h"

#include "base/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* A file in memory: header text and `n` bytes of data 0, 1, 2, ... */
static char *build(struct arena *a, const char *header, size_t n, size_t *length)
{
  size_t m = strlen(header);
  char *p = arena_alloc(a, 8 + m + n);
  for (int i = 0; i < 8; i++)
    p[i] = (char)(m >> (8 * i));
  memcpy(p + 8, header, m);
  for (size_t i = 0; i < n; i++)
    p[8 + m + i] = (char)i;
  *length = 8 + m + n;
  return p;
}

static bool parse(struct scratch *s, const char *header, size_t n, struct safetensors *out)
{
  size_t length;
  char *bytes = build(s->arena, header, n, &length);
  return safetensors_parse(s->arena, "w.safetensors", bytes, length, out, s->diag);
}

static void refuses(struct scratch *s, const char *header, size_t n, const char *a, const char *b)
{
  struct safetensors out;
  if (parse(s, header, n, &out))
    fail_msg("accepted: %s", header);
  assert_int_equal(out.n_tensors, 0);
  assert_non_null(strstr(diag_message(s->diag, 0), "w.safetensors"));
  scratch_expect(s, a, b);
}

#define T(dtype, shape, from, to)                                                                  \
  "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void reads_what_the_format_allows(void **state)
{
  struct scratch *s = *state;
  struct safetensors out;
  /* Order of the header other than of the data, a scalar, an empty tensor, an
   * unknown field, spaces behind. */
  assert_true(
      parse(s,
            "{\"b\":" T("F32", "[2,1]", 4, 12) ",\"__metadata__\":{\"format\":\"pt\"},"
                                               "\"a\":" T("I16", "[2]", 0, 4) ",\"s\":" T(
                                                   "U8", "[]", 12, 13) ",\"e\":" T("F64", "[0,7]",
                                                                                   13, 13) "}   ",
            13, &out));
  assert_int_equal(diag_count(s->diag), 0);
  assert_int_equal(out.n_tensors, 4);
  assert_string_equal(out.tensors[0].name, "b");
  assert_string_equal(out.tensors[1].name, "a");
  const struct safetensors_tensor *b = safetensors_find(&out, "b");
  assert_int_equal(b->dtype, SAFETENSORS_F32);
  assert_int_equal(b->rank, 2);
  assert_int_equal(b->shape[0], 2);
  assert_int_equal(b->shape[1], 1);
  assert_int_equal(b->bytes, 8);
  assert_int_equal(*(const char *)b->data, 4);
  assert_int_equal(safetensors_find(&out, "s")->rank, 0);
  assert_int_equal(safetensors_find(&out, "s")->bytes, 1);
  assert_int_equal(safetensors_find(&out, "e")->bytes, 0);
  assert_null(safetensors_find(&out, "c"));
  assert_int_equal(out.n_meta, 1);
  assert_string_equal(out.meta[0].key, "format");
  assert_string_equal(out.meta[0].value, "pt");
  assert_true(parse(s, "{}", 0, &out));
  assert_int_equal(out.n_tensors, 0);
}

static void refuses_broken_headers(void **state)
{
  struct scratch *s = *state;
  refuses(s, "", 0, "not a JSON object", NULL);
  refuses(s, "{", 0, "not JSON", NULL);
  refuses(s, "{\"a\"", 0, "not JSON: ':' expected (byte 4)", NULL);
  refuses(s, "{\"a\":", 0, "not JSON", NULL);
  refuses(s, "{\"a\":" T("F32", "[1]", 0, 4) " \"b\"", 4, "not JSON: ',' or '}'", NULL);
  refuses(s, "{\"a\":" T("F32", "[1]", 0, 4) ",}", 4, "not JSON: a name", NULL);
  refuses(s, "{,}", 0, "not JSON: a name", NULL);
  refuses(s, "{\"__metadata__\":{\"k\":\"v\"", 0, "not JSON", NULL);
  refuses(s, "{\"__metadata__\":{\"k\":\"v\",\"k\":\"v\"}}", 0, "duplicate", "\"k\"");
  refuses(s, "{} x", 0, "not JSON", NULL);
  refuses(s, "[]", 0, "not a JSON object", NULL);
  refuses(s, "{\"a\":1}", 0, "\"a\"", "object");
  refuses(s, "{\"a\":" T("F32", "[1]", 0, 4) ",\"a\":" T("F32", "[1]", 4, 8) "}", 8, "duplicate",
          "\"a\"");
  refuses(s, "{\"__metadata__\":{\"k\":1}}", 0, "\"k\"", "not a string");
  refuses(s, "{\"__metadata__\":[]}", 0, "__metadata__", NULL);
  refuses(s, "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate", NULL);
  refuses(s, "{\"a\\u0000b\":" T("F32", "[1]", 0, 4) "}", 4, "not JSON", NULL);
}

static void refuses_broken_tensors(void **state)
{
  struct scratch *s = *state;
  refuses(s, "{\"a\":" T("F8_E4M3", "[1]", 0, 1) "}", 1, "unknown dtype \"F8_E4M3\"", "BF16");
  refuses(s, "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"a\"", "no dtype");
  refuses(s, "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "\"a\"", "no shape");
  refuses(s, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "\"a\"", "data_offsets");
  refuses(s, "{\"a\":" T("F32", "[-1]", 0, 4) "}", 4, "\"a\"", "dimension 0");
  refuses(s, "{\"a\":" T("F32", "[1,1.0]", 0, 4) "}", 4, "\"a\"", "dimension 1");
  refuses(s, "{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) "}", 4, "\"a\"", "9 dimensions");
  refuses(s, "{\"a\":" T("F32", "[4294967296,4294967296]", 0, 4) "}", 4, "\"a\"", "larger than");
  refuses(s, "{\"a\":" T("F32", "[4611686018427387904]", 0, 0) "}", 0, "\"a\"", "larger than");
  refuses(s, "{\"a\":" T("F32", "[2]", 0, 4) "}", 4, "need 8 bytes", "span 4");
  refuses(s, "{\"a\":" T("F32", "[1]", 4, 0) "}", 4, "\"a\"", "data_offsets");
  refuses(s, "{\"a\":" T("F32", "[1]", -4, 0) "}", 4, "\"a\"", "data_offsets");
  refuses(s, "{\"a\":" T("F32", "[18446744073709551615]", 0, 4) "}", 4, "not JSON", "integer");
  refuses(s, "{\"a\":" T("F32", "[1]", 0, 18446744073709551620) "}", 4, "not JSON", "integer");
  refuses(s, "{\"a\":" T("U8", "[9223372036854775807]", 0, 9223372036854775807) "}", 4, "\"a\"",
          "ends at byte 9223372036854775807");
  refuses(s, "{\"a\":" T("F32", "[2]", 0, 8) "}", 7, "\"a\" ends at byte 8", "cut off");
}

/* Neither the stack nor a terminal is filled. */
static void refuses_what_is_too_deep_or_long(void **state)
{
  struct scratch *s = *state;
  enum { N = 200000 };
  char *text = arena_alloc(s->arena, N + 1), *name = arena_alloc(s->arena, N + 1);
  memset(text, '[', N);
  refuses(s, text, 0, "not a JSON object", NULL);
  refuses(s, arena_printf(s->arena, "{\"a\":%s", text), 0, "not JSON", "depth");
  for (int i = 0; i < N; i++)
    text[i] = ",0"[i % 2];
  refuses(s, arena_printf(s->arena, "{\"a\":[0%s]}", text), 0, "more than 65536 bytes at byte 5",
          NULL);
  for (int i = 0; i + 5 < N; i += 5)
    memcpy(text + i, "{\"a\":", 5);
  refuses(s, text, 0, "not JSON", "depth");
  memset(name, 'n', N);
  refuses(s, arena_printf(s->arena, "{\"%s\":" T("F32", "[1]", 0, 4) "}", name), 4,
          "nnn...\" has a name of 200000 bytes, more than 1000", NULL);
}

static void refuses_broken_layouts(void **state)
{
  struct scratch *s = *state;
  refuses(s, "{\"a\":" T("F32", "[2]", 0, 8) ",\"b\":" T("F32", "[2]", 4, 12) "}", 12,
          "\"a\" and \"b\" overlap", NULL);
  refuses(s, "{\"a\":" T("F32", "[1]", 0, 4) ",\"b\":" T("F32", "[1]", 0, 4) "}", 4, "overlap",
          NULL);
  refuses(s, "{\"a\":" T("F32", "[1]", 0, 4) ",\"b\":" T("F32", "[1]", 6, 10) "}", 10,
          "2 bytes before tensor \"b\"", NULL);
  refuses(s, "{\"a\":" T("F32", "[1]", 0, 4) "}", 5, "1 bytes at the end", NULL);
}

static void reports_every_tensor_up_to_a_limit(void **state)
{
  struct scratch *s = *state;
  struct safetensors out;
  assert_false(parse(s, "{\"a\":1,\"b\":" T("F33", "[1]", 0, 4) ",\"c\":2}", 4, &out));
  assert_int_equal(diag_errors(s->diag), 3);
  diag_clear(s->diag);
  char *header = arena_strdup(s->arena, "{\"x\":1");
  for (int i = 0; i < 100; i++)
    header = arena_printf(s->arena, "%s,\"t%d\":1", header, i);
  assert_false(parse(s, arena_printf(s->arena, "%s}", header), 0, &out));
  assert_int_equal(diag_errors(s->diag), 20);
}

static void refuses_broken_lengths(void **state)
{
  struct scratch *s = *state;
  struct safetensors out;
  unsigned char bytes[16] = {0};
  assert_false(safetensors_parse(s->arena, "f", bytes, 7, &out, s->diag));
  scratch_expect(s, "f: not a safetensors file: only 7 bytes", NULL);
  bytes[0] = 9;
  assert_false(safetensors_parse(s->arena, "f", bytes, 16, &out, s->diag));
  scratch_expect(s, "header has 9 bytes, but the file only 16", "cut off");
  memcpy(bytes, (unsigned char[]){0, 0, 0, 0, 2, 0, 0, 0}, 8); /* 8 GB */
  assert_false(safetensors_parse(s->arena, "f", bytes, 16, &out, s->diag));
  scratch_expect(s, "header of 8589934592", NULL);
  memset(bytes, 0xff, 8);
  assert_false(safetensors_parse(s->arena, "f", bytes, 16, &out, s->diag));
  scratch_expect(s, "header of 18446744073709551615", NULL);
}

static void opens_and_reports_paths(void **state)
{
  struct scratch *s = *state;
  struct safetensors out;
  char *path = scratch_path(s, "w");
  assert_false(safetensors_open(s->arena, path, &out, s->diag));
  scratch_expect(s, path, "no such file");
  assert_false(safetensors_open(s->arena, s->dir, &out, s->diag));
  scratch_expect(s, s->dir, "is a directory");
  assert_true(file_write_synced(path, "", 0, s->diag));
  assert_false(safetensors_open(s->arena, path, &out, s->diag));
  scratch_expect(s, path, "only 0 bytes");
}

static struct safetensors sample(struct arena *a)
{
  static const float f[3] = {1.5f, -2, 3e-40f};
  static const int64_t i[2] = {-1, INT64_MAX};
  static const uint8_t u[3] = {1, 2, 255};
  static struct safetensors_meta meta[] = {{"format", "pt"}, {"quote \" \\", "Z\xc3\xbcrich\n"}};
  const struct safetensors_tensor t[] = {
      {"odd \"name\"", SAFETENSORS_U8, 1, {3}, 3, u}, {"f", SAFETENSORS_F32, 2, {3, 1}, 12, f},
      {"empty", SAFETENSORS_F32, 2, {3, 0}, 0, NULL}, {"count", SAFETENSORS_I64, 0, {0}, 8, i},
      {"i", SAFETENSORS_I64, 1, {2}, 16, i},
  };
  return (struct safetensors){
      .tensors = arena_copy(a, t, sizeof t), .n_tensors = 5, .meta = meta, .n_meta = 2};
}

static void round_trip(void **state)
{
  struct scratch *s = *state;
  struct safetensors in = sample(s->arena), out;
  char *path = scratch_path(s, "w");
  assert_true(safetensors_write(path, &in, s->diag));
  assert_true(safetensors_open(s->arena, path, &out, s->diag));
  assert_int_equal(diag_count(s->diag), 0);
  assert_int_equal(out.n_tensors, in.n_tensors);
  for (size_t i = 0; i < in.n_tensors; i++) {
    const struct safetensors_tensor *a = &in.tensors[i], *b = &out.tensors[i];
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->rank, b->rank);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->shape, b->shape, a->rank * sizeof *a->shape);
    if (a->bytes)
      assert_memory_equal(a->data, b->data, a->bytes);
    assert_int_equal((uintptr_t)b->data % safetensors_dtype_bytes(b->dtype), 0);
  }
  assert_int_equal(out.n_meta, 2);
  assert_string_equal(out.meta[1].key, in.meta[1].key);
  assert_string_equal(out.meta[1].value, in.meta[1].value);
  const unsigned char *length = out.map;
  assert_int_equal(length[0] % 8, 0);
  safetensors_close(&out);
  safetensors_close(&out);
}

/* Every beginning of a whole file is refused, none is read beyond its end. */
static void every_truncation_is_refused(void **state)
{
  struct scratch *s = *state;
  struct safetensors in = sample(s->arena), out;
  char *path = scratch_path(s, "w");
  size_t length;
  assert_true(safetensors_write(path, &in, s->diag));
  char *whole = file_read(s->arena, path, &length, s->diag);
  for (size_t n = 0; n < length; n++) {
    char *part = mem_alloc(n);
    memcpy(part, whole, n);
    assert_false(safetensors_parse(s->arena, "f", part, n, &out, s->diag));
    assert_true(diag_errors(s->diag) > 0);
    diag_clear(s->diag);
    free(part);
  }
}

static void write_errors(void **state)
{
  struct scratch *s = *state;
  struct safetensors in = sample(s->arena);
  char *path = scratch_path(s, "no/w");
  assert_false(safetensors_write(path, &in, s->diag));
  scratch_expect(s, path, "no such file");
  if (!access("/dev/full", W_OK)) {
    assert_false(safetensors_write("/dev/full", &in, s->diag));
    scratch_expect(s, "/dev/full", "no space left");
  }
  path = scratch_path(s, "w");
  in.tensors[1].name = "i";
  assert_false(safetensors_write(path, &in, s->diag));
  scratch_expect(s, path, "\"i\"");
  in.tensors[1].name = "__metadata__";
  assert_false(safetensors_write(path, &in, s->diag));
  scratch_expect(s, path, "__metadata__");
  in.tensors[1].name = "\xff";
  assert_false(safetensors_write(path, &in, s->diag));
  scratch_expect(s, path, "UTF-8");
  assert_false(file_exists(path));
}

/* What F16 and BF16 bits mean, from the definition, in double. */
static double by_definition(uint16_t bits, int exponent_bits, int bias)
{
  int fraction_bits = 15 - exponent_bits, most = (1 << exponent_bits) - 1;
  int exponent = bits >> fraction_bits & most, fraction = bits & ((1 << fraction_bits) - 1);
  double sign = bits & 0x8000 ? -1 : 1, m = ldexp(fraction, -fraction_bits);
  if (exponent == most)
    return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? ldexp(1 + m, exponent - bias) : ldexp(m, 1 - bias));
}

static void narrow_floats_keep_their_values(void **state)
{
  static const struct {
    enum safetensors_dtype dtype;
    int exponent_bits, bias;
  } kinds[] = {{SAFETENSORS_F16, 5, 15}, {SAFETENSORS_BF16, 8, 127}};
  static uint16_t all[1 << 16];
  static float got[1 << 16];
  (void)state;
  for (uint32_t i = 0; i < 1 << 16; i++)
    all[i] = (uint16_t)i;
  for (int k = 0; k < 2; k++) {
    const struct safetensors_tensor t = {
        .name = "t", .dtype = kinds[k].dtype, .rank = 1, .bytes = sizeof all, .data = all};
    safetensors_floats(&t, 0, 1 << 16, got);
    for (uint32_t i = 0; i < 1 << 16; i++) {
      double v = by_definition((uint16_t)i, kinds[k].exponent_bits, kinds[k].bias);
      if (isnan(v) ? !isnan(got[i]) : (double)got[i] != v || !signbit(got[i]) != !signbit(v))
        fail_msg("%s 0x%04x: %a, not %a", safetensors_dtype_name(kinds[k].dtype), (unsigned)i,
                 (double)got[i], v);
    }
  }
}

static void wide_floats_are_rounded(void **state)
{
  static const double from[] = {1,          0.1,      -1e300, 1e-300,       0x1p-149,
                                0x1.8p-150, 0x1p-150, -0.0,   0x1.000001p0, 0x1.0000010000001p0};
  static const float to[] = {1,         0.1f, -INFINITY, 0, 0x1p-149f,
                             0x1p-149f, 0,    -0.0f,     1, 0x1.000002p0f};
  enum { N = sizeof from / sizeof *from };
  float got[N];
  (void)state;
  const struct safetensors_tensor t = {
      .name = "t", .dtype = SAFETENSORS_F64, .rank = 1, .bytes = sizeof from, .data = from};
  safetensors_floats(&t, 0, N, got);
  assert_memory_equal(got, to, sizeof to);
}

/* From any byte on, a part, and F32 with its bits. */
static void floats_may_lie_anywhere(void **state)
{
  static const float values[] = {1, -2, 3e-40f, 4};
  unsigned char bytes[sizeof values + 1];
  float got[2];
  (void)state;
  memcpy(bytes + 1, values, sizeof values);
  const struct safetensors_tensor t = {
      .name = "t", .dtype = SAFETENSORS_F32, .rank = 1, .bytes = sizeof values, .data = bytes + 1};
  safetensors_floats(&t, 2, 2, got);
  assert_memory_equal(got, values + 2, sizeof got);
  safetensors_floats(&t, 4, 0, got);
  assert_true(safetensors_is_float(SAFETENSORS_BF16));
  assert_false(safetensors_is_float(SAFETENSORS_I64));
}

static unsigned entries(const char *path)
{
  unsigned n = 0;
  DIR *dir = opendir(path);
  assert_non_null(dir);
  while (readdir(dir))
    n++;
  closedir(dir);
  return n - 2;
}

/* The same bytes as in one piece, whatever the order they come in. */
static void pieces_make_the_same_file(void **state)
{
  struct scratch *s = *state;
  struct safetensors in = sample(s->arena);
  char *whole = scratch_path(s, "whole"), *pieces = scratch_path(s, "pieces");
  size_t n, m;
  assert_true(safetensors_write(whole, &in, s->diag));
  struct safetensors_writer *w = safetensors_writer_new(pieces, &in, s->diag);
  assert_non_null(w);
  assert_false(file_exists(pieces));
  for (size_t i = in.n_tensors; i-- > 0;)
    for (size_t at = in.tensors[i].bytes; at-- > 0;)
      assert_true(
          safetensors_writer_put(w, i, at, (const char *)in.tensors[i].data + at, 1, s->diag));
  assert_true(safetensors_writer_commit(w, s->diag));
  char *a = file_read(s->arena, whole, &n, s->diag), *b = file_read(s->arena, pieces, &m, s->diag);
  assert_int_equal(n, m);
  assert_memory_equal(a, b, n);
  assert_int_equal(entries(s->dir), 2);
}

static void abandoned_pieces_leave_nothing(void **state)
{
  struct scratch *s = *state;
  struct safetensors in = sample(s->arena);
  char *path = scratch_path(s, "w");
  assert_true(file_write_synced(path, "old", 3, s->diag));
  struct safetensors_writer *w = safetensors_writer_new(path, &in, s->diag);
  assert_non_null(w);
  assert_true(safetensors_writer_put(w, 1, 4, "1234", 4, s->diag));
  safetensors_writer_abandon(w);
  size_t n;
  assert_string_equal(file_read(s->arena, path, &n, s->diag), "old");
  assert_int_equal(entries(s->dir), 1);
  in.tensors[1].name = "i";
  assert_null(safetensors_writer_new(path, &in, s->diag));
  scratch_expect(s, path, "\"i\"");
  in.tensors[1].name = "f";
  in.tensors[1].bytes = (size_t)1 << 60;
  assert_null(safetensors_writer_new(path, &in, s->diag));
  scratch_expect(s, "cannot write", path);
  assert_null(safetensors_writer_new(s->dir, &in, s->diag));
  scratch_expect(s, "cannot write", "is a directory");
  if (!access("/dev/null", W_OK)) {
    assert_null(safetensors_writer_new("/dev/null", &in, s->diag));
    scratch_expect(s, "/dev/null", NULL);
  }
  assert_int_equal(entries(s->dir), 1);
}

static void dtypes(void **state)
{
  (void)state;
  assert_string_equal(safetensors_dtype_name(SAFETENSORS_BF16), "BF16");
  assert_int_equal(safetensors_dtype_bytes(SAFETENSORS_BF16), 2);
  assert_int_equal(safetensors_dtype_bytes(SAFETENSORS_F64), 8);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(reads_what_the_format_allows),
      SCRATCH_TEST(refuses_broken_headers),
      SCRATCH_TEST(refuses_broken_tensors),
      SCRATCH_TEST(refuses_what_is_too_deep_or_long),
      SCRATCH_TEST(refuses_broken_layouts),
      SCRATCH_TEST(reports_every_tensor_up_to_a_limit),
      SCRATCH_TEST(refuses_broken_lengths),
      SCRATCH_TEST(opens_and_reports_paths),
      SCRATCH_TEST(round_trip),
      SCRATCH_TEST(every_truncation_is_refused),
      SCRATCH_TEST(write_errors),
      SCRATCH_TEST(pieces_make_the_same_file),
      SCRATCH_TEST(abandoned_pieces_leave_nothing),
      cmocka_unit_test(narrow_floats_keep_their_values),
      cmocka_unit_test(wide_floats_are_rounded),
      cmocka_unit_test(floats_may_lie_anywhere),
      cmocka_unit_test(dtypes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
