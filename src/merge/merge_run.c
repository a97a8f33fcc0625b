/* The passes of a method over the pieces of its models. */
#include "merge/merge_int.h"

#include <string.h>

enum { SAMPLE_PIECE = 256 };

struct work {
  const struct merge_method *method;
  struct merge_run *run;
  const struct merge_tensor *tensors;
  const struct merge_io *io;
  struct diag *diag;
  size_t piece;
  double **in; /* [inputs][MERGE_PIECE] */
  double *out; /* [MERGE_PIECE] */
};

static bool load(const struct work *w, size_t tensor, uint64_t first, size_t n,
                 struct merge_piece *p)
{
  const struct merge_tensor *t = &w->tensors[tensor];
  *p = (struct merge_piece){.tensor = t->name,
                            .first = first,
                            .n = n,
                            .buffer = t->buffer,
                            .in = (const double *const *)w->in};
  return w->io->load(w->io->context, tensor, first, n, w->in, w->diag);
}

static size_t piece_size(const struct merge_tensor *t, uint64_t first, size_t most)
{
  return t->count - first < most ? (size_t)(t->count - first) : most;
}

static void announce(const struct work *w, size_t from, size_t to, bool buffers)
{
  if (w->io->announce)
    w->io->announce(w->io->context, from, to, buffers);
}

/* Of each stretch of `every` pieces the first, counted over all tensors: a tensor is
 * sampled in proportion to its size.  What is sampled are small pieces, for neighbours
 * are alike. */
static bool scan(const struct work *w, size_t from, size_t to, uint64_t every)
{
  const size_t most = every > 1 && w->piece > SAMPLE_PIECE ? SAMPLE_PIECE : w->piece;
  uint64_t skip = 0;
  if (every == 1)
    announce(w, from, to, false);
  for (size_t k = from; k < to; k++) {
    const struct merge_tensor *t = &w->tensors[k];
    uint64_t first = 0;
    while (!t->buffer && first < t->count) {
      size_t n = piece_size(t, first, most);
      if (skip >= n) {
        skip -= n;
      } else {
        struct merge_piece p;
        first += skip;
        n -= (size_t)skip;
        if (!load(w, k, first, n, &p))
          return false;
        w->method->scan(w->run, &p);
        skip = (every - 1) * most;
      }
      first += n;
    }
  }
  return true;
}

/* A tensor that is in memory as a whole: loaded and stored in pieces as well. */
static bool apply_whole(const struct work *w, size_t k)
{
  const struct merge_tensor *t = &w->tensors[k];
  const size_t n_inputs = w->run->n_models, count = (size_t)t->count;
  const size_t padded = count + MERGE_LANES; /* for the loops */
  struct arena *a = arena_new();
  double **whole = arena_array(a, n_inputs, sizeof *whole);
  double *out = arena_array(a, padded, sizeof *out);
  const double **in = arena_array(a, n_inputs, sizeof *in);
  bool ok = true;
  for (size_t i = 0; i < n_inputs; i++)
    whole[i] = arena_array(a, padded, sizeof **whole);
  for (uint64_t first = 0, n; first < t->count && ok; first += n) {
    struct merge_piece p;
    n = piece_size(t, first, w->piece);
    ok = load(w, k, first, (size_t)n, &p);
    for (size_t i = 0; i < n_inputs && ok; i++)
      memcpy(whole[i] + first, p.in[i], (size_t)n * sizeof **whole);
  }
  ok = ok && w->method->apply_whole(w->run, k, count, (const double *const *)whole, out);
  for (uint64_t first = 0, n; first < t->count && ok; first += n) {
    n = piece_size(t, first, w->piece);
    for (size_t i = 0; i < n_inputs; i++)
      in[i] = whole[i] + first;
    ok = w->io->store(w->io->context, k, first, (size_t)n, in, out + first, w->diag);
  }
  arena_free(a);
  return ok;
}

static bool apply(const struct work *w, size_t from, size_t to)
{
  announce(w, from, to, true);
  for (size_t k = from; k < to; k++) {
    const struct merge_tensor *t = &w->tensors[k];
    if (w->method->is_whole && w->method->is_whole(w->run, k)) {
      if (!apply_whole(w, k))
        return false;
      continue;
    }
    for (uint64_t first = 0; first < t->count;) {
      size_t n = piece_size(t, first, w->piece);
      struct merge_piece p;
      if (!load(w, k, first, n, &p))
        return false;
      w->method->apply(w->run, &p, w->out);
      if (!w->io->store(w->io->context, k, first, n, p.in, w->out, w->diag))
        return false;
      first += n;
    }
  }
  return true;
}

/* The passes over some tensors, then the merge of them. */
static bool merge_some(const struct work *w, size_t from, size_t to, unsigned *scans)
{
  struct merge_run *run = w->run;
  run->passes = 0;
  run->n_counted = 0;
  for (size_t k = from; k < to; k++)
    run->n_counted += w->tensors[k].buffer ? 0 : w->tensors[k].count;
  for (unsigned full = 0;;) {
    enum merge_next next = w->method->next ? w->method->next(run) : MERGE_APPLY;
    uint64_t every = 1;
    if (next == MERGE_FAIL)
      return false;
    if (next == MERGE_APPLY)
      return apply(w, from, to);
    if (next == MERGE_SAMPLE)
      every = (run->n_counted + MERGE_SAMPLES - 1) / MERGE_SAMPLES;
    if (!scan(w, from, to, every ? every : 1))
      return false;
    run->passes++;
    full += every <= 1;
    *scans = full > *scans ? full : *scans;
  }
}

bool merge_tensors(const struct merge_method *method, const struct merge_args *args,
                   size_t n_models, const struct merge_tensor *tensors, size_t n_tensors,
                   const struct merge_io *io, struct merge_report *report, struct arena *arena,
                   struct diag *d)
{
  struct arena *a = arena_new();
  struct merge_run run = {
      .args = args, .loops = merge_loops(), .n_models = n_models, .arena = a, .diag = d};
  size_t n_inputs = merge_inputs(method, n_models);
  struct work w = {.method = method,
                   .run = &run,
                   .tensors = tensors,
                   .io = io,
                   .diag = d,
                   .piece = io->piece ? io->piece : MERGE_PIECE,
                   .in = arena_array(a, n_inputs, sizeof *w.in),
                   .out = arena_array(a, MERGE_PIECE, sizeof *w.out)};
  for (size_t k = 0; k < n_inputs; k++)
    w.in[k] = arena_array(a, MERGE_PIECE, sizeof **w.in);
  struct merge_report done = {0};
  bool ok = true;
  if (method->takes_scope && args->scope == MERGE_EACH_TENSOR)
    for (size_t k = 0; k < n_tensors && ok; k++)
      ok = merge_some(&w, k, k + 1, &done.scans);
  else
    ok = merge_some(&w, 0, n_tensors, &done.scans);
  if (ok && method->remark)
    done.remark = method->remark(&run, arena);
  if (report)
    *report = done;
  arena_free(a);
  return ok;
}

/* ---- in memory ---- */

struct flat {
  const struct merge_tensor *tensors;
  size_t n_inputs;
  const float *const *in;
  float *out;
  size_t *offset;
};

static bool load_flat(void *context, size_t tensor, uint64_t first, size_t n, double *const *in,
                      struct diag *d)
{
  const struct flat *f = context;
  (void)d;
  for (size_t k = 0; k < f->n_inputs; k++) {
    const float *from = f->in[k] + f->offset[tensor] + first;
    for (size_t i = 0; i < n; i++)
      in[k][i] = (double)from[i];
  }
  return true;
}

static bool store_flat(void *context, size_t tensor, uint64_t first, size_t n,
                       const double *const *in, const double *out, struct diag *d)
{
  const struct flat *f = context;
  float *to = f->out + f->offset[tensor] + first;
  (void)in, (void)d;
  for (size_t i = 0; i < n; i++)
    to[i] = (float)out[i];
  return true;
}

bool merge_flat(const struct merge_method *method, const struct merge_args *args, size_t n_models,
                const struct merge_tensor *tensors, size_t n_tensors, const float *const *inputs,
                float *out, struct diag *d)
{
  struct arena *a = arena_new();
  struct flat f = {tensors, merge_inputs(method, n_models), inputs, out,
                   arena_array(a, n_tensors + 1, sizeof *f.offset)};
  const struct merge_io io = {.context = &f, .load = load_flat, .store = store_flat};
  for (size_t k = 0; k < n_tensors; k++)
    f.offset[k + 1] = f.offset[k] + (size_t)tensors[k].count;
  bool ok = merge_tensors(method, args, n_models, tensors, n_tensors, &io, NULL, a, d);
  arena_free(a);
  return ok;
}
