/* mergescape diff on random checkpoints: what it prints against plain sums.  Run from the build
 * folder. */
#include "config.h"

#include "base/checkpoint.h"
#include "base/floats.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <sys/wait.h>

enum { MOST = 12, ROUNDS = 40 };

static const enum safetensors_dtype types[] = {SAFETENSORS_F32,  SAFETENSORS_F16, SAFETENSORS_BF16,
                                               SAFETENSORS_F64,  SAFETENSORS_I64, SAFETENSORS_U8,
                                               SAFETENSORS_BOOL, SAFETENSORS_I16};
enum { FLOATS = 4, TYPES = 8 };

/* A tensor of one of both; of floating-point ones the values as they are in the file. */
struct side {
  bool there;
  enum safetensors_dtype dtype;
  uint32_t rank;
  uint64_t shape[3];
  size_t count;
  unsigned char *bytes;
  double *values;
};

enum { A, B, BASE, SIDES };

struct pair {
  const char *name, *layer;
  bool buffer;
  struct side side[SIDES];
};

/* ---- random pairs, and a base ---- */

static void fill(struct arena *a, struct rng *r, struct side *s, const struct side *like)
{
  const size_t width = safetensors_dtype_bytes(s->dtype);
  s->count = 1;
  for (uint32_t d = 0; d < s->rank; d++)
    s->count *= s->shape[d];
  s->bytes = arena_alloc(a, s->count * width + 1);
  if (!safetensors_is_float(s->dtype)) {
    for (size_t i = 0; i < s->count * width; i++)
      s->bytes[i] = (unsigned char)rng_below(r, 2);
    return;
  }
  double *v = s->values = arena_array(a, s->count + 1, sizeof *v);
  for (size_t i = 0; i < s->count; i++)
    v[i] = like && like->values && i < like->count ? like->values[i] + 0.01 * rng_normal(r)
                                                   : rng_normal(r);
  if (!rng_below(r, 6))
    memset(v, 0, s->count * sizeof *v);
  floats_write(s->dtype, v, s->count, s->bytes);
  floats_read(s->dtype, s->bytes, s->count, v);
}

/* Mostly tensors that fit; some that one side lacks, or has in another shape or type. */
static void draw_pair(struct arena *a, struct rng *r, struct pair *p, unsigned k)
{
  static const char *const names[MOST] = {
      "a.weight",   "a.bias",       "a.running_mean", "b.0.weight", "b.0.running_var",
      "b.1.weight", "with,\"q\".w", "\xcf\x80",       "ids",        "a.b.c.d",
      "z",          "b.1.bias"};
  static const char *const layers[MOST] = {"a",          "a",        "a",   "b.0",   "b.0", "b.1",
                                           "with,\"q\"", "\xcf\x80", "ids", "a.b.c", "z",   "b.1"};
  struct side *one = &p->side[0], *two = &p->side[1];
  *p = (struct pair){.name = names[k], .layer = layers[k], .buffer = k == 2 || k == 4};
  one->there = two->there = true;
  one->dtype = types[rng_below(r, 4) ? rng_below(r, FLOATS) : rng_below(r, TYPES)];
  one->rank = rng_below(r, 4);
  for (uint32_t d = 0; d < one->rank; d++)
    one->shape[d] = rng_below(r, d ? 9 : 300);
  fill(a, r, one, NULL);
  two->dtype = safetensors_is_float(one->dtype) ? types[rng_below(r, FLOATS)] : one->dtype;
  two->rank = one->rank;
  memcpy(two->shape, one->shape, sizeof two->shape);
  switch (rng_below(r, 12)) {
  case 0:
    p->side[rng_below(r, 2)].there = false;
    break;
  case 1:
    two->rank = (one->rank + 1) % 4;
    break;
  case 2:
    two->shape[0] += two->rank > 0;
    break;
  case 3:
    two->dtype = types[rng_below(r, TYPES)];
    break;
  default:
    break;
  }
  fill(a, r, two, one);
  if (!safetensors_is_float(one->dtype) && two->dtype == one->dtype && one->count == two->count &&
      rng_below(r, 2))
    memcpy(two->bytes, one->bytes, one->count * safetensors_dtype_bytes(one->dtype));
}

static void draw_base(struct arena *a, struct rng *r, struct pair *p)
{
  const struct side *one = &p->side[A];
  struct side *base = &p->side[BASE];
  *base = *one;
  base->there = rng_below(r, 25) > 0;
  base->shape[0] += base->rank && !rng_below(r, 25);
  if (safetensors_is_float(one->dtype))
    base->dtype = types[rng_below(r, FLOATS)];
  base->values = NULL;
  fill(a, r, base, one);
  if (!safetensors_is_float(one->dtype) && base->count == one->count && rng_below(r, 2))
    memcpy(base->bytes, one->bytes, one->count * safetensors_dtype_bytes(one->dtype));
}

static char *write_side(struct scratch *s, struct rng *r, const struct pair *pairs, int side,
                              unsigned round)
{
  struct safetensors_tensor t[MOST];
  struct safetensors what = {.tensors = t};
  const void *bytes[MOST];
  const bool folder = rng_below(r, 3) == 0;
  char *path = scratch_path(
      s, arena_printf(s->arena, "%c%u%s", "abc"[side], round, folder ? "" : ".safetensors"));
  for (unsigned k = 0; k < MOST; k++) {
    const struct side *v = &pairs[k].side[side];
    if (!v->there)
      continue;
    bytes[what.n_tensors] = v->bytes;
    t[what.n_tensors++] =
        (struct safetensors_tensor){.name = pairs[k].name,
                                    .dtype = v->dtype,
                                    .rank = v->rank,
                                    .shape = {v->shape[0], v->shape[1], v->shape[2]},
                                    .bytes = v->count * safetensors_dtype_bytes(v->dtype)};
  }
  struct checkpoint_writer *w =
      checkpoint_create(s->arena, path, &what, folder ? 1 + rng_below(r, 4000) : 0, s->diag);
  assert_non_null(w);
  for (size_t k = 0; k < what.n_tensors; k++)
    assert_true(checkpoint_put(w, k, bytes[k], t[k].bytes, s->diag));
  assert_true(checkpoint_commit(w, s->diag));
  return path;
}

/* ---- plain sums ---- */

struct sums {
  long double aa, bb, ab, dd;
  size_t n;
};

/* `n`: 2 sides, or 3, of which the last is the base of task vectors. */
static void add_pair(struct sums *s, const struct pair *p, int n)
{
  const double *a = p->side[A].values, *b = p->side[B].values, *base = p->side[BASE].values;
  for (size_t i = 0; i < p->side[A].count; i++) {
    const long double from = n > BASE ? (long double)base[i] : 0;
    const long double x = (long double)a[i] - from, y = (long double)b[i] - from;
    s->aa += x * x;
    s->bb += y * y;
    s->ab += x * y;
    s->dd += (x - y) * (x - y);
  }
  s->n += p->side[A].count;
}

enum fit { COMPARED, EQUAL, DIFFERENT, MISFIT };

static unsigned sides_there(const struct pair *p, int n)
{
  unsigned there = 0;
  for (int k = 0; k < n; k++)
    there += p->side[k].there;
  return there;
}

static enum fit fit_of(const struct pair *p, int n)
{
  const struct side *a = &p->side[A];
  bool floats = true, equal = true;
  if (sides_there(p, n) < (unsigned)n)
    return MISFIT;
  for (int k = 0; k < n; k++) {
    const struct side *b = &p->side[k];
    if (a->rank != b->rank || memcmp(a->shape, b->shape, a->rank * sizeof *a->shape))
      return MISFIT;
    floats &= b->values != NULL;
  }
  if (floats)
    return COMPARED;
  for (int k = 1; k < n; k++) {
    if (a->dtype != p->side[k].dtype)
      return MISFIT;
    equal &= !memcmp(a->bytes, p->side[k].bytes, a->count * safetensors_dtype_bytes(a->dtype));
  }
  return equal ? EQUAL : DIFFERENT;
}

static void check_number(const json_t *row, const char *key, long double wanted, long double size)
{
  const json_t *v = json_object_get(row, key);
  if (isnan((double)wanted) || isinf((double)wanted)) {
    assert_true(json_is_null(v));
    return;
  }
  assert_true(json_is_real(v));
  if (!(fabs(json_real_value(v) - (double)wanted) <= 1e-12 * (double)size))
    fail_msg("%s is %.17g, not %.17g", key, json_real_value(v), (double)wanted);
}

static void check_row(const json_t *row, const struct sums *s)
{
  const long double a = sqrtl(s->aa), b = sqrtl(s->bb), d = sqrtl(s->dd);
  assert_int_equal(json_integer_value(json_object_get(row, "elements")), s->n);
  check_number(row, "norm_a", a, a);
  check_number(row, "norm_b", b, b);
  check_number(row, "distance", d, d);
  check_number(row, "relative", d / a, d / a);
  check_number(row, "cosine", s->ab / (a * b), 1);
}

/* ---- the program ---- */

static char *run(struct scratch *s, const char *options, const char *a, const char *b, int *status)
{
  size_t n = 0, cap = 1 << 16;
  char *text = arena_alloc(s->arena, cap);
  FILE *f = popen(
      arena_printf(s->arena, "./mergescape diff %s '%s' '%s' 2>/dev/null", options, a, b), "r");
  assert_non_null(f);
  n = fread(text, 1, cap - 1, f);
  text[n] = 0;
  const int code = pclose(f);
  assert_true(WIFEXITED(code));
  *status = WEXITSTATUS(code);
  return text;
}

static const json_t *find_row(const json_t *rows, const char *name)
{
  const json_t *row, *found = NULL;
  size_t i;
  json_array_foreach(rows, i, row)
  {
    if (strcmp(json_string_value(json_object_get(row, "name")), name))
      continue;
    assert_null(found);
    found = row;
  }
  return found;
}

/* A row for each tensor that is compared, the others by the reason. */
static void check_tensors(const json_t *root, const struct pair *pairs, int sides)
{
  const json_t *rows = json_object_get(root, "rows"), *other = json_object_get(root, "not_numbers");
  const json_t *misfit = json_object_get(root, "mismatched");
  struct sums total = {0};
  size_t n[4] = {0};
  for (unsigned k = 0; k < MOST; k++) {
    const struct pair *p = &pairs[k];
    const enum fit fit = fit_of(p, sides);
    if (!sides_there(p, sides))
      continue;
    n[fit]++;
    if (fit == COMPARED) {
      struct sums s = {0};
      add_pair(&s, p, sides);
      if (!p->buffer)
        add_pair(&total, p, sides);
      assert_non_null(find_row(rows, p->name));
      check_row(find_row(rows, p->name), &s);
      continue;
    }
    const char *why = json_string_value(json_object_get(fit == MISFIT ? misfit : other, p->name));
    assert_non_null(why);
    if (fit != MISFIT)
      assert_non_null(strstr(why, fit == EQUAL ? ", equal" : ", differs"));
    else if (sides_there(p, sides) < (unsigned)sides)
      assert_non_null(strstr(why, "only in "));
    else
      assert_non_null(strstr(why, safetensors_dtype_name(p->side[1].dtype)));
  }
  assert_int_equal(json_array_size(rows), n[COMPARED]);
  assert_int_equal(json_object_size(other), n[EQUAL] + n[DIFFERENT]);
  assert_int_equal(json_object_size(misfit), n[MISFIT]);
  check_row(json_object_get(root, "total"), &total);
}

/* A row for each layer, without running statistics. */
static void check_layers(const json_t *root, const struct pair *pairs, int sides)
{
  const json_t *rows = json_object_get(root, "rows");
  size_t layers = 0;
  for (unsigned k = 0; k < MOST; k++) {
    struct sums s = {0};
    bool before = false, any = false;
    for (unsigned j = 0; j < MOST; j++) {
      if (strcmp(pairs[j].layer, pairs[k].layer) || pairs[j].buffer ||
          fit_of(&pairs[j], sides))
        continue;
      add_pair(&s, &pairs[j], sides);
      before |= j < k;
      any = true;
    }
    const json_t *row = find_row(rows, pairs[k].layer);
    assert_true(any == (row != NULL));
    if (row)
      check_row(row, &s);
    layers += any && !before && !pairs[k].buffer && !fit_of(&pairs[k], sides);
  }
  assert_true(layers <= json_array_size(rows));
}

static void check_csv(const char *text, const json_t *root)
{
  static const char *const columns[] = {"norm_a", "norm_b", "distance", "relative", "cosine"};
  const json_t *rows = json_object_get(root, "rows"), *row;
  const char *line = strchr(text, '\n');
  size_t i;
  assert_memory_equal(text, "name,elements,norm_a,norm_b,distance,relative,cosine\n",
                      (size_t)(line + 1 - text));
  json_array_foreach(rows, i, row)
  {
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *p = line + 1;
    line = strchr(p, '\n');
    assert_non_null(line);
    if (!strcmp(name, "with,\"q\".w"))
      name = "\"with,\"\"q\"\".w\"";
    assert_memory_equal(p, name, strlen(name));
    p += strlen(name);
    assert_int_equal(*p, ',');
    char *end;
    assert_int_equal(strtoll(p + 1, &end, 10),
                     json_integer_value(json_object_get(row, "elements")));
    for (int k = 0; k < 5; k++) {
      const json_t *v = json_object_get(row, columns[k]);
      assert_int_equal(*end, ',');
      p = end + 1;
      const double got = strtod(p, &end);
      assert_true(end == p ? json_is_null(v) : got == json_real_value(v));
    }
    assert_ptr_equal(end, line);
  }
  assert_string_equal(line + 1, "");
}

/* What all kinds of output say of the first `sides` checkpoints; false: something does not fit. */
static bool check_output(struct scratch *s, const struct pair *pairs, char *const *paths, int sides)
{
  const char *base =
      sides > BASE ? arena_printf(s->arena, "--base='%s'", paths[BASE]) : "";
  json_error_t error;
  int status[3];
  bool misfit = false;
  for (unsigned k = 0; k < MOST; k++)
    misfit |= sides_there(&pairs[k], sides) && fit_of(&pairs[k], sides) == MISFIT;
  json_t *root = json_loads(run(s, arena_printf(s->arena, "--json %s", base), paths[A], paths[B],
                                &status[0]), 0, &error);
  json_t *layers = json_loads(run(s, arena_printf(s->arena, "--json -l %s", base), paths[A],
                                  paths[B], &status[1]), 0, &error);
  assert_non_null(root);
  assert_non_null(layers);
  check_tensors(root, pairs, sides);
  check_layers(layers, pairs, sides);
  assert_true((json_object_get(root, "base") != NULL) == (sides > BASE));
  check_csv(run(s, arena_printf(s->arena, "--csv %s", base), paths[A], paths[B], &status[2]), root);
  for (int k = 0; k < 3; k++)
    assert_int_equal(status[k], misfit);
  json_decref(root);
  json_decref(layers);
  return !misfit;
}

static void all_numbers_are_those_of_plain_sums(void **state)
{
  struct scratch *s = *state;
  struct rng r = rng_at(21, RNG_TEST, 0, 0, 0);
  unsigned fits = 0, tasks_fit = 0;
  for (unsigned round = 0; round < ROUNDS; round++) {
    struct pair pairs[MOST];
    char *paths[SIDES];
    for (unsigned k = 0; k < MOST; k++) {
      draw_pair(s->arena, &r, &pairs[k], k);
      if (round % 4 == 0 && fit_of(&pairs[k], 2) == MISFIT)
        pairs[k].side[A].there = pairs[k].side[B].there = false;
      draw_base(s->arena, &r, &pairs[k]);
      pairs[k].side[BASE].there &= sides_there(&pairs[k], 2) > 0 || round % 4 != 0;
    }
    for (int k = 0; k < SIDES; k++)
      paths[k] = write_side(s, &r, pairs, k, round);
    fits += check_output(s, pairs, paths, 2);
    tasks_fit += check_output(s, pairs, paths, 3);
  }
  assert_in_range(fits, ROUNDS / 4, ROUNDS - 1);
  assert_in_range(tasks_fit, ROUNDS / 10, ROUNDS - 1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      SCRATCH_TEST(all_numbers_are_those_of_plain_sums),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
