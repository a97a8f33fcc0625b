/* A checkpoint with its channels in another order, and else as it is: types, names, what it says
 * of itself. */
#include "engine/net_groups.h"
#include "engine/net_match.h"

#include <stdlib.h>
#include <string.h>

/* In place, what each group does to the axes of a tensor; `width` bytes an element. */
static void permute(const struct net_groups *groups, uint32_t *const *perms, size_t tensor,
                    size_t begin, size_t width, unsigned char *bytes, size_t length)
{
  unsigned char *before = mem_alloc(length);
  for (size_t g = 0; g < groups->n; g++)
    for (size_t k = 0; k < groups->v[g].n_uses; k++) {
      const struct net_use *u = &groups->v[g].uses[k];
      if (u->tensor != tensor)
        continue;
      memcpy(before, bytes, length);
      for (size_t o = 0; o < u->outer; o++)
        for (size_t i = 0; i < groups->v[g].size; i++) {
          const size_t row = u->offset - begin + o * u->stride;
          memcpy(bytes + (row + i * u->run) * width, before + (row + perms[g][i] * u->run) * width,
                 u->run * width);
        }
    }
  free(before);
}

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

struct copy {
  struct arena *arena;
  const struct net *net;
  const struct net_groups *groups;
  uint32_t *const *perms;
  struct checkpoint file;
  struct checkpoint_writer *out;
  struct diag *diag;
};

static bool copy_tensor(struct copy *c, const struct net_match *match, size_t k)
{
  const struct checkpoint_tensor *t = &c->file.tensors[k];
  const size_t i = tensor_of(c->net, match, t);
  if (i != SIZE_MAX && t->count != c->net->tensors[i].count) {
    diag_error(c->diag, SPAN_NONE, "%s: \"%s\" is for another size of images", c->file.path,
               t->name);
    return false;
  }
  unsigned char *bytes = mem_alloc((size_t)t->bytes);
  bool ok = checkpoint_read(&c->file, t, 0, bytes, (size_t)t->bytes, c->diag);
  if (ok && i != SIZE_MAX)
    permute(c->groups, c->perms, i, c->net->tensors[i].offset, safetensors_dtype_bytes(t->dtype),
            bytes, (size_t)t->bytes);
  ok = ok && checkpoint_put(c->out, k, bytes, (size_t)t->bytes, c->diag);
  free(bytes);
  return ok;
}

static bool create(struct copy *c, const char *to, uint64_t shard_bytes,
                   const struct safetensors_meta *also)
{
  const struct checkpoint *from = &c->file;
  struct safetensors s = {.n_tensors = from->n_tensors, .n_meta = from->n_meta};
  s.tensors = arena_array(c->arena, s.n_tensors + 1, sizeof *s.tensors);
  s.meta = arena_array(c->arena, s.n_meta + 1, sizeof *s.meta);
  for (size_t i = 0; i < from->n_meta; i++)
    s.meta[i] = from->meta[i];
  if (also)
    s.meta[s.n_meta++] = *also;
  for (size_t i = 0; i < s.n_tensors; i++) {
    const struct checkpoint_tensor *t = &from->tensors[i];
    s.tensors[i] = (struct safetensors_tensor){
        .name = t->name, .dtype = t->dtype, .rank = t->rank, .bytes = (size_t)t->bytes};
    memcpy(s.tensors[i].shape, t->shape, sizeof t->shape);
  }
  c->out = checkpoint_create(c->arena, to, &s, shard_bytes, c->diag);
  return c->out != NULL;
}

bool net_permute_file(const struct net *net, const struct net_groups *groups,
                      uint32_t *const *perms, const char *from, const char *to,
                      uint64_t shard_bytes, const struct safetensors_meta *also, struct diag *diag)
{
  struct copy c = {arena_new(), net, groups, perms, .diag = diag};
  bool ok = checkpoint_open(c.arena, from, &c.file, diag);
  if (ok) {
    const struct net_match match = net_match(c.arena, net, &c.file);
    ok = create(&c, to, shard_bytes, also);
    for (size_t k = 0; k < c.file.n_tensors && ok; k++)
      ok = copy_tensor(&c, &match, k);
    if (ok)
      ok = checkpoint_commit(c.out, diag);
    else if (c.out)
      checkpoint_discard(c.out);
    checkpoint_close(&c.file);
  }
  arena_free(c.arena);
  return ok;
}
