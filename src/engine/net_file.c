/* Networks as .safetensors files that PyTorch loads strictly. */
#include "engine/net_int.h"

#include "base/safetensors.h"

#include <inttypes.h>
#include <string.h>

static const char TRACKED[] = "num_batches_tracked";

/* "bn1.running_var" -> "bn1.num_batches_tracked"; NULL: another tensor. */
static const char *tracked_name(struct arena *arena, const struct net_tensor *t)
{
  static const char suffix[] = ".running_var";
  const size_t n = strlen(t->name), m = sizeof suffix - 1;
  if (!t->buffer || n < m || strcmp(t->name + n - m, suffix))
    return NULL;
  return arena_printf(arena, "%.*s.%s", (int)(n - m), t->name, TRACKED);
}

bool net_save(const struct net *net, const float *flat, const char *path, struct diag *diag)
{
  static const int64_t zero = 0;
  struct arena *arena = arena_new();
  struct safetensors file = {
      .tensors = arena_array(arena, 2 * net->n_tensors, sizeof *file.tensors),
  };
  for (size_t i = 0; i < net->n_tensors; i++) {
    const struct net_tensor *t = &net->tensors[i];
    struct safetensors_tensor *s = &file.tensors[file.n_tensors++];
    *s = (struct safetensors_tensor){.name = t->name,
                                     .dtype = SAFETENSORS_F32,
                                     .rank = t->rank,
                                     .bytes = t->count * sizeof *flat,
                                     .data = flat + t->offset};
    for (unsigned k = 0; k < t->rank; k++)
      s->shape[k] = t->shape[k];
    const char *tracked = tracked_name(arena, t);
    if (tracked)
      file.tensors[file.n_tensors++] = (struct safetensors_tensor){
          .name = tracked, .dtype = SAFETENSORS_I64, .bytes = sizeof zero, .data = &zero};
  }
  const bool ok = safetensors_write(path, &file, diag);
  arena_free(arena);
  return ok;
}

static const char *shape_text(struct arena *arena, uint32_t rank, const uint64_t *shape)
{
  const char *text = "";
  for (uint32_t i = 0; i < rank; i++)
    text = arena_printf(arena, "%s%s%" PRIu64, text, i ? ", " : "", shape[i]);
  return arena_printf(arena, "[%s]", text);
}

static bool same_shape(const struct net_tensor *t, const struct safetensors_tensor *s,
                       uint64_t *shape)
{
  bool same = s->rank == t->rank;
  for (unsigned k = 0; k < t->rank; k++) {
    shape[k] = t->shape[k];
    same = same && s->shape[k] == shape[k];
  }
  return same;
}

static void load_tensor(struct arena *arena, const char *path, const struct net_tensor *t,
                        const struct safetensors_tensor *s, float *flat, struct diag *diag)
{
  uint64_t shape[SAFETENSORS_MAX_RANK];
  if (!s)
    diag_error(diag, SPAN_NONE, "%s: tensor \"%s\" is missing", path, t->name);
  else if (s->dtype != SAFETENSORS_F32)
    diag_error(diag, SPAN_NONE, "%s: tensor \"%s\" has type %s, not F32", path, t->name,
               safetensors_dtype_name(s->dtype));
  else if (!same_shape(t, s, shape))
    diag_error(diag, SPAN_NONE, "%s: tensor \"%s\" has shape %s, the model needs %s", path, t->name,
               shape_text(arena, s->rank, s->shape), shape_text(arena, t->rank, shape));
  else
    memcpy(flat + t->offset, s->data, t->count * sizeof *flat);
}

/* "fc.weight" of the classifier -> "fc." */
static bool of_classifier(const struct net *net, const char *name)
{
  for (size_t i = 0; i < net->n_tensors; i++) {
    const char *own = net->tensors[i].name, *end = strrchr(own, '.');
    if (net_in_classifier(net, &net->tensors[i]) && end &&
        !strncmp(own, name, (size_t)(end + 1 - own)))
      return true;
  }
  return false;
}

static bool is_known(struct arena *arena, const struct net *net, const char *name)
{
  for (size_t i = 0; i < net->n_tensors; i++) {
    const char *tracked = tracked_name(arena, &net->tensors[i]);
    if (!strcmp(net->tensors[i].name, name) || (tracked && !strcmp(tracked, name)))
      return true;
  }
  return false;
}

/* num_batches_tracked is not used: it may be anything, or missing.
 * Returns the errors outside of the classifier. */
static unsigned load_tensors(struct arena *arena, const struct net *net, const char *path,
                             const struct safetensors *file, bool body, float *flat,
                             struct diag *diag)
{
  const unsigned before = diag_errors(diag);
  unsigned classifier = 0;
  for (size_t i = 0; i < net->n_tensors; i++) {
    const struct net_tensor *t = &net->tensors[i];
    const unsigned errors = diag_errors(diag);
    if (!net_in_classifier(net, t) || !body)
      load_tensor(arena, path, t, safetensors_find(file, t->name), flat, diag);
    if (net_in_classifier(net, t))
      classifier += diag_errors(diag) - errors;
  }
  for (size_t i = 0; i < file->n_tensors; i++) {
    const char *name = file->tensors[i].name;
    if (is_known(arena, net, name) || (body && of_classifier(net, name)))
      continue;
    diag_error(diag, SPAN_NONE, "%s: tensor \"%s\" is not of this model", path, name);
    classifier += of_classifier(net, name);
  }
  return diag_errors(diag) - before - classifier;
}

static bool load(const struct net *net, const char *path, bool body, float *flat,
                 struct diag *diag)
{
  struct arena *arena = arena_new();
  struct safetensors file;
  const unsigned before = diag_errors(diag);
  if (safetensors_open(arena, path, &file, diag)) {
    if (load_tensors(arena, net, path, &file, body, flat, diag))
      diag_hint(diag, "is \"%s\" a checkpoint of the same model, width and data?", path);
    else if (diag_errors(diag) > before)
      diag_hint(diag, "only the classifier differs: `head = new` draws one for these data");
    safetensors_close(&file);
  }
  arena_free(arena);
  return diag_errors(diag) == before;
}

bool net_load(const struct net *net, const char *path, float *flat, struct diag *diag)
{
  return load(net, path, false, flat, diag);
}

bool net_load_body(const struct net *net, const char *path, float *flat, struct diag *diag)
{
  return load(net, path, true, flat, diag);
}
