/* Gram matrices in checkpoints: of each linear layer that has one a square tensor with the name of
 * its weight. */
#include "merge/merge_files_int.h"

#include "base/floats.h"

#include <math.h>
#include <string.h>

/* The size of a weight's Gram matrix, 0: its shape has none. */
static uint64_t inputs_of(const struct checkpoint_tensor *weight, bool in_first)
{
  if (weight->rank < 2 || !weight->shape[0])
    return 0;
  return in_first ? weight->shape[0] : weight->count / weight->shape[0];
}

static bool check_gram(struct files *f, const struct checkpoint *file,
                       const struct checkpoint_tensor *gram)
{
  const struct checkpoint *model = &f->in[0];
  const struct checkpoint_tensor *weight = checkpoint_find(model, gram->name);
  const uint64_t in = weight ? inputs_of(weight, f->task->in_first) : 0;
  if (!weight || !safetensors_is_float(weight->dtype)) {
    diag_error(f->diag, SPAN_NONE, "%s has a tensor \"%s\", which %s has not to merge", file->path,
               gram->name, model->path);
    return false;
  }
  if (in && gram->rank == 2 && gram->shape[0] == in && gram->shape[1] == in &&
      safetensors_is_float(gram->dtype))
    return true;
  diag_error(f->diag, SPAN_NONE, "%s: \"%s\" is %s %s, and the weight is %s", file->path,
             gram->name, safetensors_dtype_name(gram->dtype), checkpoint_shape(f->arena, gram),
             checkpoint_shape(f->arena, weight));
  diag_hint(f->diag, "a Gram matrix has a row and a column for each input; a weight's inputs are "
                     "its last axes, or with --inputs-first its first");
  return false;
}

static bool same_tensors(struct files *f, const struct checkpoint *a, const struct checkpoint *b)
{
  for (size_t i = 0; i < a->n_tensors; i++) {
    if (checkpoint_find(b, a->tensors[i].name))
      continue;
    diag_error(f->diag, SPAN_NONE, "%s has no tensor \"%s\", which is in %s", b->path,
               a->tensors[i].name, a->path);
    return false;
  }
  return true;
}

bool files_open_grams(struct files *f)
{
  const size_t n = f->task->n_models;
  const unsigned before = diag_errors(f->diag);
  f->grams = arena_array(f->arena, n, sizeof *f->grams);
  for (size_t k = 0; k < n; k++)
    f->grams[k].fd = -1;
  for (size_t k = 0; k < n; k++)
    checkpoint_open(f->arena, f->task->grams[k], &f->grams[k], f->diag);
  return diag_errors(f->diag) == before;
}

bool files_check_grams(struct files *f)
{
  bool ok = true;
  for (size_t k = 0; k < f->task->n_models; k++) {
    const struct checkpoint *file = &f->grams[k];
    for (size_t i = 0; i < file->n_tensors; i++)
      ok &= check_gram(f, file, &file->tensors[i]);
    ok = ok && same_tensors(f, &f->grams[0], file) && same_tensors(f, file, &f->grams[0]);
  }
  return ok;
}

static const struct checkpoint_tensor *weight_at(const struct files *f, size_t tensor)
{
  return files_tensor(f, f->merged_at[tensor], 0);
}

bool files_find_gram(void *context, size_t tensor, struct merge_gram *g)
{
  const struct files *f = context;
  const struct checkpoint_tensor *weight = weight_at(f, tensor);
  if (!checkpoint_find(&f->grams[0], weight->name))
    return false;
  const size_t in = (size_t)inputs_of(weight, f->task->in_first);
  *g = (struct merge_gram){in, (size_t)weight->count / in, f->task->in_first};
  return true;
}

bool files_load_gram(void *context, size_t tensor, size_t model, double *gram, struct diag *d)
{
  struct files *f = context;
  struct checkpoint *file = &f->grams[model];
  const struct checkpoint_tensor *t = checkpoint_find(file, weight_at(f, tensor)->name);
  const size_t width = safetensors_dtype_bytes(t->dtype), most = FILES_BLOCK / width;
  const size_t count = (size_t)t->count, in = (size_t)t->shape[0];
  bool fine = true;
  for (size_t first = 0, n; first < count; first += n) {
    n = count - first < most ? count - first : most;
    if (!checkpoint_read(file, t, first * width, f->bytes, n * width, d))
      return false;
    floats_read(t->dtype, f->bytes, n, gram + first);
    fine = fine && floats_finite(gram + first, n);
    files_advance(f, n * width, 0);
  }
  for (size_t i = 0; i < in && fine; i++)
    fine = gram[i * in + i] >= 0;
  if (!fine) {
    diag_error(d, SPAN_NONE, "%s: \"%s\" is no Gram matrix: it has a value that is not finite, or "
                             "one below 0 on its diagonal", file->path, t->name);
  }
  return fine;
}
