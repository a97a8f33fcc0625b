#include "config.h"

#include "merge/merge_files_int.h"

#include "base/file.h"
#include "base/floats.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t shown_every = 8 << 20; /* bytes */

void files_advance(struct files *f, uint64_t read, uint64_t written)
{
  f->read += read;
  f->written += written;
  uint64_t done = f->read + f->written;
  if (f->task->progress && done >= f->shown + shown_every) {
    f->task->progress(f->task->context, done, done > f->total ? done : f->total);
    f->shown = done;
  }
}

/* ---- pieces ---- */

static bool load(void *context, size_t k, uint64_t first, size_t n, double *const *in,
                 struct diag *d)
{
  struct files *f = context;
  const size_t tensor = f->merged_at[k];
  const bool found = files_ahead_find(f->ahead, k, first, n, f->found);
  bool fine = true;
  for (size_t i = 0; i < f->n_in; i++) {
    const struct checkpoint_tensor *t = files_tensor(f, tensor, i);
    const size_t width = safetensors_dtype_bytes(t->dtype);
    if (!found && !checkpoint_read(&f->in[i], t, first * width, f->bytes, n * width, d))
      return false;
    floats_read(t->dtype, found ? f->found[i] : f->bytes, n, in[i]);
    fine = fine && floats_finite(in[i], n);
    for (size_t j = 0; i >= f->n_alike && j < n && fine; j++)
      fine = in[i][j] >= 0;
    files_advance(f, n * width, 0);
  }
  return fine || files_explain_input(f, tensor, first, n, in);
}

static bool store(void *context, size_t k, uint64_t first, size_t n, const double *const *in,
                  const double *out, struct diag *d)
{
  struct files *f = context;
  const size_t tensor = f->merged_at[k];
  const enum safetensors_dtype dtype = f->dtype[tensor];
  if (!floats_within(out, n, floats_largest(dtype)) &&
      !files_explain_output(f, tensor, first, n, in, out))
    return false;
  floats_write(dtype, out, n, f->out + f->held);
  const size_t length = n * safetensors_dtype_bytes(dtype);
  f->held += length;
  files_advance(f, 0, length);
  if (first + n < f->merged[k].count && f->held + MERGE_PIECE * sizeof(double) <= FILES_BLOCK)
    return true;
  const size_t held = f->held;
  f->held = 0;
  return checkpoint_put(f->writer, tensor, f->out, held, d);
}

static void announce(void *context, size_t from, size_t to, bool buffers)
{
  struct files *f = context;
  files_ahead_begin(f->ahead, from, to, buffers);
}

/* What is not merged, as the first model has it. */
static bool copy_others(struct files *f)
{
  for (size_t i = 0; i < f->n_tensors; i++) {
    const struct checkpoint_tensor *t = files_tensor(f, i, 0);
    for (uint64_t at = 0; !safetensors_is_float(t->dtype) && at < t->bytes; at += FILES_BLOCK) {
      size_t n = t->bytes - at < FILES_BLOCK ? (size_t)(t->bytes - at) : FILES_BLOCK;
      if (!checkpoint_read(&f->in[0], t, at, f->bytes, n, f->diag) ||
          !checkpoint_put(f->writer, i, f->bytes, n, f->diag))
        return false;
      files_advance(f, n, n);
    }
  }
  return true;
}

/* ---- the whole ---- */

static bool open_all(struct files *f)
{
  unsigned before = diag_errors(f->diag);
  for (size_t k = 0; k < f->n_in; k++)
    checkpoint_open(f->arena, f->task->inputs[k], &f->in[k], f->diag);
  if (f->task->grams)
    files_open_grams(f);
  return diag_errors(f->diag) == before;
}

/* The types of the result, and which tensors are merged; what there is to read and write. */
static void plan(struct files *f)
{
  f->merged = arena_array(f->arena, f->n_tensors, sizeof *f->merged);
  f->merged_at = arena_array(f->arena, f->n_tensors, sizeof *f->merged_at);
  f->dtype = arena_array(f->arena, f->n_tensors, sizeof *f->dtype);
  for (size_t i = 0; i < f->n_tensors; i++) {
    const struct checkpoint_tensor *t = files_tensor(f, i, 0);
    bool as_float = safetensors_is_float(t->dtype);
    f->dtype[i] = as_float && f->task->dtype != SAFETENSORS_DTYPE_COUNT ? f->task->dtype : t->dtype;
    f->total += t->count * safetensors_dtype_bytes(f->dtype[i]);
    if (!as_float) {
      f->total += t->bytes;
      continue;
    }
    for (size_t k = 0; k < f->n_in; k++)
      f->total += files_tensor(f, i, k)->bytes * (1 + f->task->method->scans);
    for (size_t k = 0; f->grams && k < f->task->n_models; k++) {
      const struct checkpoint_tensor *gram = checkpoint_find(&f->grams[k], t->name);
      f->total += gram ? gram->bytes : 0;
    }
    f->merged_at[f->n_merged] = i;
    f->merged[f->n_merged++] = (struct merge_tensor){t->name, t->count, merge_is_buffer(t->name)};
  }
}

static const char *free_key(const struct files *f)
{
  const struct checkpoint *first = &f->in[0];
  const char *key = "merged";
  for (unsigned try = 2;; try++) {
    bool taken = false;
    for (size_t i = 0; i < first->n_meta; i++)
      taken |= !strcmp(first->meta[i].key, key);
    if (!taken)
      return key;
    key = arena_printf(f->arena, "merged.%u", try);
  }
}

static bool create(struct files *f, const char *out)
{
  const struct checkpoint *first = &f->in[0];
  struct safetensors s = {.n_tensors = f->n_tensors, .n_meta = first->n_meta};
  s.tensors = arena_array(f->arena, f->n_tensors, sizeof *s.tensors);
  s.meta = arena_array(f->arena, first->n_meta + 1, sizeof *s.meta);
  if (first->n_meta)
    memcpy(s.meta, first->meta, first->n_meta * sizeof *s.meta);
  if (f->task->how)
    s.meta[s.n_meta++] = (struct safetensors_meta){free_key(f), f->task->how};
  for (size_t i = 0; i < f->n_tensors; i++) {
    const struct checkpoint_tensor *t = files_tensor(f, i, 0);
    s.tensors[i] = (struct safetensors_tensor){
        .name = t->name,
        .dtype = f->dtype[i],
        .rank = t->rank,
        .bytes = (size_t)(t->count * safetensors_dtype_bytes(f->dtype[i])),
    };
    memcpy(s.tensors[i].shape, t->shape, sizeof t->shape);
  }
  f->writer = checkpoint_create(f->arena, out, &s, f->task->shard_bytes, f->diag);
  return f->writer != NULL;
}

/* A link is followed: what it names is replaced, not the link.  NULL: it is one of the inputs. */
static const char *find_out(struct files *f)
{
  const char *out = f->task->out;
  const size_t n_grams = f->grams ? f->task->n_models : 0;
  for (size_t k = 0; k < f->n_in + n_grams; k++)
    if (checkpoint_holds(k < f->n_in ? &f->in[k] : &f->grams[k - f->n_in], out)) {
      diag_error(f->diag, SPAN_NONE, "%s is one of the models that are merged", out);
      diag_hint(f->diag, "write the result to another file");
      return NULL;
    }
  char *real = realpath(out, NULL);
  if (real)
    out = arena_strdup(f->arena, real);
  free(real);
  return out;
}

static bool merge_opened(struct files *f, struct merge_report *run)
{
  const struct merge_files *task = f->task;
  const struct merge_io io = {.context = f, .load = load, .store = store, .announce = announce};
  const struct merge_grams grams = {f, files_find_gram, files_load_gram};
  const char *out = find_out(f);
  struct merge_args args = task->args;
  if (!out || !files_check(f) || (task->grams && !files_check_grams(f)))
    return false;
  args.grams = task->grams ? &grams : NULL;
  plan(f);
  if (!create(f, out))
    return false;
  if (copy_others(f) && merge_tensors(task->method, &args, task->n_models, f->merged, f->n_merged,
                                      &io, run, f->arena, f->diag))
    return checkpoint_commit(f->writer, f->diag);
  checkpoint_discard(f->writer);
  return false;
}

bool merge_files(struct arena *a, const struct merge_files *task, struct merge_files_report *report,
                 struct diag *d)
{
  struct files f = {.arena = a, .task = task, .diag = d};
  f.n_in = merge_inputs(task->method, task->n_models);
  f.n_alike = task->method->extra == MERGE_FISHERS ? task->n_models : f.n_in;
  f.in = arena_array(a, f.n_in, sizeof *f.in);
  for (size_t k = 0; k < f.n_in; k++)
    f.in[k].fd = -1;
  f.found = arena_array(a, f.n_in, sizeof *f.found);
  f.bytes = mem_alloc(FILES_BLOCK);
  f.out = mem_alloc(FILES_BLOCK);
  f.ahead = files_ahead_new(&f);
  bool ok = open_all(&f) && merge_opened(&f, &report->run);
  files_ahead_free(f.ahead);
  for (size_t k = 0; k < f.n_in; k++)
    checkpoint_close(&f.in[k]);
  for (size_t k = 0; f.grams && k < task->n_models; k++)
    checkpoint_close(&f.grams[k]);
  free(f.bytes);
  free(f.out);
  report->merged = f.n_merged;
  report->copied = f.n_tensors - f.n_merged;
  report->read = f.read;
  report->written = f.written;
  return ok;
}
