#include "engine/net_copy.h"

#include "engine/net_match.h"

#include <stdlib.h>
#include <string.h>

struct copy {
  struct arena *arena;
  const struct net *net;
  const struct net_copier *how;
  struct checkpoint file;
  size_t *of; /* of each of the file's tensors: the network's number */
  struct safetensors out;
  size_t *from; /* of each tensor that is written: the file's number */
  struct checkpoint_writer *writer;
  struct diag *diag;
};

/* Which of the network's tensors it is, or SIZE_MAX. */
static size_t tensor_of(const struct net *net, const struct net_match *match,
                        const struct checkpoint_tensor *t)
{
  for (size_t i = 0; i < net->n_tensors; i++)
    if (match->of[i] == t)
      return i;
  for (size_t i = 0; i < match->n_tied; i++)
    if (match->tied[i].tensor == t)
      return match->tied[i].same;
  return SIZE_MAX;
}

static bool has_size(const struct net *net, size_t i, const struct checkpoint *file,
                     const struct checkpoint_tensor *t, struct diag *diag)
{
  if (i == SIZE_MAX || t->count == net->tensors[i].count)
    return true;
  diag_error(diag, SPAN_NONE, "%s: \"%s\" is for another size of %s", file->path, t->name,
             net_reads_text(net) ? "texts" : "images");
  return false;
}

bool net_copy_fits(const struct net *net, const char *path, struct diag *diag)
{
  struct arena *a = arena_new();
  struct checkpoint file;
  bool fits = checkpoint_open(a, path, &file, diag);
  if (fits) {
    const struct net_match match = net_match(a, net, &file);
    for (size_t k = 0; k < file.n_tensors && fits; k++)
      fits = has_size(net, tensor_of(net, &match, &file.tensors[k]), &file, &file.tensors[k], diag);
    checkpoint_close(&file);
  }
  arena_free(a);
  return fits;
}

static bool describe(struct copy *c)
{
  const struct checkpoint *file = &c->file;
  const struct net_match match = net_match(c->arena, c->net, file);
  c->of = arena_array(c->arena, file->n_tensors + 1, sizeof *c->of);
  c->from = arena_array(c->arena, file->n_tensors + 1, sizeof *c->from);
  c->out.tensors = arena_array(c->arena, file->n_tensors + 1, sizeof *c->out.tensors);
  for (size_t k = 0; k < file->n_tensors; k++) {
    const struct checkpoint_tensor *t = &file->tensors[k];
    const size_t i = c->of[k] = tensor_of(c->net, &match, t);
    struct safetensors_tensor to = {
        .name = t->name, .dtype = t->dtype, .rank = t->rank, .bytes = (size_t)t->bytes};
    memcpy(to.shape, t->shape, sizeof to.shape);
    if (c->how->describe && !c->how->describe(c->how->context, i, &to))
      continue;
    if (!has_size(c->net, i, file, t, c->diag))
      return false;
    to.bytes = safetensors_dtype_bytes(to.dtype);
    for (uint32_t d = 0; d < to.rank; d++)
      to.bytes *= (size_t)to.shape[d];
    c->from[c->out.n_tensors] = k;
    c->out.tensors[c->out.n_tensors++] = to;
  }
  return true;
}

static void add_meta(struct copy *c, const struct safetensors_meta *also)
{
  c->out.meta = arena_array(c->arena, c->file.n_meta + 1, sizeof *c->out.meta);
  for (size_t i = 0; i < c->file.n_meta; i++)
    if (!also || strcmp(c->file.meta[i].key, also->key) != 0)
      c->out.meta[c->out.n_meta++] = c->file.meta[i];
  if (also)
    c->out.meta[c->out.n_meta++] = *also;
}

static bool copy_tensor(struct copy *c, size_t k)
{
  const struct safetensors_tensor *to = &c->out.tensors[k];
  const struct checkpoint_tensor *t = &c->file.tensors[c->from[k]];
  unsigned char *bytes = mem_zalloc(to->bytes);
  const bool same = to->bytes == t->bytes;
  bool ok = !same || checkpoint_read(&c->file, t, 0, bytes, to->bytes, c->diag);
  ok = ok && c->how->fill(c->how->context, c->of[c->from[k]], to, bytes, c->diag) &&
       checkpoint_put(c->writer, k, bytes, to->bytes, c->diag);
  free(bytes);
  return ok;
}

bool net_copy_file(const struct net *net, const struct net_copier *how, const char *from,
                   const char *to, uint64_t shard_bytes, const struct safetensors_meta *also,
                   struct diag *diag)
{
  struct copy c = {.arena = arena_new(), .net = net, .how = how, .diag = diag};
  bool ok = checkpoint_open(c.arena, from, &c.file, diag);
  if (ok) {
    ok = describe(&c);
    add_meta(&c, also);
    if (ok)
      c.writer = checkpoint_create(c.arena, to, &c.out, shard_bytes, diag);
    ok = c.writer != NULL;
    for (size_t k = 0; k < c.out.n_tensors && ok; k++)
      ok = copy_tensor(&c, k);
    if (ok)
      ok = checkpoint_commit(c.writer, diag);
    else if (c.writer)
      checkpoint_discard(c.writer);
    checkpoint_close(&c.file);
  }
  arena_free(c.arena);
  return ok;
}

/* ---- weights ---- */

struct weights {
  const struct net *net;
  const float *flat;
};

static bool as_float(void *context, size_t i, struct safetensors_tensor *to)
{
  (void)context;
  if (i != SIZE_MAX)
    to->dtype = SAFETENSORS_F32;
  return true;
}

static bool put_weights(void *context, size_t i, const struct safetensors_tensor *to, void *bytes,
                        struct diag *diag)
{
  const struct weights *w = context;
  (void)diag;
  if (i != SIZE_MAX)
    memcpy(bytes, w->flat + w->net->tensors[i].offset, to->bytes);
  return true;
}

bool net_copy_weights(const struct net *net, const float *flat, const char *from, const char *to,
                      uint64_t shard_bytes, const struct safetensors_meta *also, struct diag *diag)
{
  struct weights w = {net, flat};
  const struct net_copier how = {&w, as_float, put_weights};
  return net_copy_file(net, &how, from, to, shard_bytes, also, diag);
}
