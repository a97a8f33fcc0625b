/* What must hold of checkpoints that are to be merged, and of their numbers. */
#include "merge/merge_files_int.h"

#include "base/floats.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LISTED = 20, TEXT = 512 };

/* The first of many are listed, the others counted. */
struct complaints {
  struct diag *diag;
  size_t n;
};

__attribute__((format(printf, 2, 3))) static void complain(struct complaints *c, const char *fmt,
                                                           ...)
{
  char text[TEXT];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (c->n++ < LISTED)
    diag_error(c->diag, SPAN_NONE, "%s", text);
}

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

static bool is_last_part(const char *name, const char *part)
{
  size_t n = strlen(name), m = strlen(part);
  return ends_with(name, part) && (n == m || name[n - m - 1] == '.');
}

bool merge_is_buffer(const char *tensor)
{
  return is_last_part(tensor, "running_mean") || is_last_part(tensor, "running_var");
}

static bool is_fisher(const struct files *f, size_t input)
{
  return input >= f->n_alike;
}

/* ---- names, shapes and types ---- */

/* "module.conv.weight" where "conv.weight" is looked for, or the other way round. */
static void hint_prefix(const struct checkpoint *a, const struct checkpoint *b, const char *name,
                        struct diag *d)
{
  for (size_t i = 0; i < b->n_tensors; i++) {
    const char *other = b->tensors[i].name;
    size_t n = strlen(name), m = strlen(other);
    if (m > n && is_last_part(other, name)) {
      diag_hint(d, "%s calls it \"%s\": take \"%.*s\" off its names", b->path, other, (int)(m - n),
                other);
      return;
    }
    if (n > m && is_last_part(name, other)) {
      diag_hint(d, "%s calls it \"%s\": take \"%.*s\" off the names of %s", b->path, other,
                (int)(n - m), name, a->path);
      return;
    }
  }
}

static void compare(struct files *f, struct complaints *c, const struct checkpoint_tensor *a,
                    size_t input, const struct checkpoint_tensor *b)
{
  const struct checkpoint *first = &f->in[0], *other = &f->in[input];
  bool as_float = safetensors_is_float(a->dtype);
  if (a->rank != b->rank || memcmp(a->shape, b->shape, a->rank * sizeof *a->shape))
    complain(c, "\"%s\" is %s in %s, but %s in %s", a->name, checkpoint_shape(f->arena, a),
             first->path, checkpoint_shape(f->arena, b), other->path);
  else if (as_float != safetensors_is_float(b->dtype) || (!as_float && a->dtype != b->dtype))
    complain(c, "\"%s\" is %s in %s, but %s in %s", a->name, safetensors_dtype_name(a->dtype),
             first->path, safetensors_dtype_name(b->dtype), other->path);
}

static void compare_names(struct files *f, struct complaints *c, size_t input)
{
  const struct checkpoint *first = &f->in[0], *other = &f->in[input];
  bool hinted = false;
  for (size_t i = 0; i < f->n_tensors; i++) {
    const struct checkpoint_tensor *a = files_tensor(f, i, 0);
    const struct checkpoint_tensor *b = checkpoint_find(other, a->name);
    f->tensors[i * f->n_in + input] = b;
    if (b) {
      compare(f, c, a, input, b);
    } else if (!is_fisher(f, input) || safetensors_is_float(a->dtype)) {
      complain(c, "%s has no tensor \"%s\", which is in %s", other->path, a->name, first->path);
      if (!hinted && c->n <= LISTED)
        hint_prefix(first, other, a->name, f->diag);
      hinted = true;
    }
  }
  for (size_t i = 0; i < other->n_tensors; i++)
    if (!checkpoint_find(first, other->tensors[i].name))
      complain(c, "%s has a tensor \"%s\", which is not in %s", other->path, other->tensors[i].name,
               first->path);
}

/* ---- what is copied ---- */

/* A reading error is no difference: it is in the diagnostics already. */
static bool is_equal(struct files *f, size_t tensor, size_t input, bool *ok)
{
  const struct checkpoint_tensor *a = files_tensor(f, tensor, 0);
  const size_t half = FILES_BLOCK / 2;
  for (uint64_t at = 0; at < a->bytes; at += half) {
    size_t n = a->bytes - at < half ? (size_t)(a->bytes - at) : half;
    *ok = checkpoint_read(&f->in[0], a, at, f->bytes, n, f->diag) &&
          checkpoint_read(&f->in[input], files_tensor(f, tensor, input), at, f->bytes + half, n,
                          f->diag);
    if (!*ok)
      return false;
    if (memcmp(f->bytes, f->bytes + half, n))
      return false;
  }
  return true;
}

static bool compare_copied(struct files *f, struct complaints *c)
{
  bool ok = true;
  for (size_t i = 0; i < f->n_tensors && ok; i++) {
    const struct checkpoint_tensor *a = files_tensor(f, i, 0);
    if (safetensors_is_float(a->dtype) || is_last_part(a->name, "num_batches_tracked"))
      continue;
    for (size_t k = 1; k < f->n_alike && ok; k++)
      if (!is_equal(f, i, k, &ok) && ok)
        complain(c, "\"%s\" is %s, which cannot be merged, and differs between %s and %s", a->name,
                 safetensors_dtype_name(a->dtype), f->in[0].path, f->in[k].path);
  }
  return ok;
}

bool files_check(struct files *f)
{
  struct complaints c = {f->diag, 0};
  f->n_tensors = f->in[0].n_tensors;
  f->tensors = arena_array(f->arena, f->n_tensors * f->n_in + 1, sizeof *f->tensors);
  for (size_t i = 0; i < f->n_tensors; i++)
    f->tensors[i * f->n_in] = &f->in[0].tensors[i];
  for (size_t k = 1; k < f->n_in; k++)
    compare_names(f, &c, k);
  bool ok = c.n || compare_copied(f, &c);
  if (c.n > LISTED)
    diag_error(f->diag, SPAN_NONE, "... and %zu more of this kind", c.n - LISTED);
  return ok && !c.n;
}

/* ---- numbers ---- */

static const char *place(const struct files *f, size_t tensor, uint64_t index)
{
  return checkpoint_place(f->arena, files_tensor(f, tensor, 0), index);
}

static bool differs(const struct files *f, double *const *in, size_t i)
{
  for (size_t k = 1; k < f->n_alike; k++)
    if (in[k][i] != in[0][i])
      return true;
  return false;
}

bool files_explain_input(const struct files *f, size_t tensor, uint64_t first, size_t n,
                         double *const *in)
{
  const char *name = files_tensor(f, tensor, 0)->name;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < f->n_in; k++) {
      const char *path = f->in[k].path;
      double v = in[k][i];
      if (isnan(v)) {
        diag_error(f->diag, SPAN_NONE, "%s: \"%s\" has a NaN at %s", path, name,
                   place(f, tensor, first + i));
        diag_hint(f->diag, "a model that diverged cannot be merged");
        return false;
      }
      if (isinf(v) && (is_fisher(f, k) || differs(f, in, i))) {
        diag_error(f->diag, SPAN_NONE, "%s: \"%s\" is infinite at %s, and not so in all models",
                   path, name, place(f, tensor, first + i));
        return false;
      }
      if (is_fisher(f, k) && v < 0) {
        diag_error(f->diag, SPAN_NONE, "%s: \"%s\" is %g at %s", path, name, v,
                   place(f, tensor, first + i));
        diag_hint(f->diag, "a Fisher matrix has no negative entry on its diagonal");
        return false;
      }
    }
  return true;
}

bool files_explain_output(const struct files *f, size_t tensor, uint64_t first, size_t n,
                          const double *const *in, const double *out)
{
  const enum safetensors_dtype dtype = f->dtype[tensor];
  for (size_t i = 0; i < n; i++) {
    if (fabs(out[i]) <= floats_largest(dtype) || isinf(in[0][i]))
      continue;
    diag_error(f->diag, SPAN_NONE, "\"%s\" would be %g at %s, which %s cannot hold",
               files_tensor(f, tensor, 0)->name, out[i], place(f, tensor, first + i),
               safetensors_dtype_name(dtype));
    diag_hint(f->diag, "choose smaller coefficients, or another type with --dtype");
    return false;
  }
  return true;
}
