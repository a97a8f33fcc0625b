/* A checkpoint with its channels in another order, and else as it is: types, names, what it says
 * of itself. */
#include "engine/net_copy.h"
#include "engine/net_groups.h"

#include <stdlib.h>
#include <string.h>

struct permuting {
  const struct net *net;
  const struct net_groups *groups;
  uint32_t *const *perms;
};

/* In place, what each group does to the axes of a tensor. */
static bool permute(void *context, size_t tensor, const struct safetensors_tensor *to, void *data,
                    struct diag *diag)
{
  const struct permuting *p = context;
  const size_t width = safetensors_dtype_bytes(to->dtype);
  size_t n;
  const struct net_tensor *tensors = net_tensors(p->net, &n);
  unsigned char *bytes = data, *before = mem_alloc(to->bytes);
  (void)diag;
  for (size_t g = 0; g < p->groups->n && tensor != SIZE_MAX; g++)
    for (size_t k = 0; k < p->groups->v[g].n_uses; k++) {
      const struct net_use *u = &p->groups->v[g].uses[k];
      if (u->tensor != tensor)
        continue;
      memcpy(before, bytes, to->bytes);
      for (size_t o = 0; o < u->outer; o++)
        for (size_t i = 0; i < p->groups->v[g].size; i++) {
          const size_t row = u->offset - tensors[tensor].offset + o * u->stride;
          memcpy(bytes + (row + i * u->run) * width,
                 before + (row + p->perms[g][i] * u->run) * width, u->run * width);
        }
    }
  free(before);
  return true;
}

bool net_permute_file(const struct net *net, const struct net_groups *groups,
                      uint32_t *const *perms, const char *from, const char *to,
                      uint64_t shard_bytes, const struct safetensors_meta *also, struct diag *diag)
{
  struct permuting p = {net, groups, perms};
  const struct net_copier how = {&p, NULL, permute};
  return net_copy_file(net, &how, from, to, shard_bytes, also, diag);
}
