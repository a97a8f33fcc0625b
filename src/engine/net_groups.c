/* Every channel of every value gets a number; layers that keep channels as they are (norms,
 * pooling, additions) unite the numbers of what goes in and comes out.  Two united channels that
 * come out of the same layers, of those that make channels anew, are interchangeable. */
#include "engine/net_groups.h"

#include "engine/net_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* The channels of a value; each takes `run` places of it. */
struct axis {
  uint32_t *channels; /* numbers */
  unsigned n, run;
  enum { NO_HEADS, QUERIES_KEYS_VALUES, MIXED } heads;
};

struct deriving {
  struct arena *arena, *scratch;
  const struct net *net;
  struct axis *axes;                /* by value */
  uint32_t *parent, *block, *index; /* by channel: united with; its group, and place in it */
  uint32_t n_channels;
  uint32_t n_blocks;        /* block 0: fixed channels */
  struct net_group *groups; /* by block */
  struct diag *diag;
};

static bool not_known(struct deriving *d, const char *why)
{
  diag_error(d->diag, SPAN_NONE,
             "matching does not know which channels of this network it may "
             "permute: %s",
             why);
  return false;
}

static uint32_t root(struct deriving *d, uint32_t i)
{
  while (d->parent[i] != i)
    i = d->parent[i] = d->parent[d->parent[i]];
  return i;
}

static bool unite(struct deriving *d, unsigned a, unsigned b)
{
  const struct axis *x = &d->axes[a], *y = &d->axes[b];
  if (x->n != y->n || x->run != y->run)
    return not_known(d, "pixels and channels are added");
  for (unsigned i = 0; i < x->n; i++) {
    const uint32_t p = root(d, x->channels[i]), q = root(d, y->channels[i]);
    d->parent[p > q ? p : q] = p > q ? q : p; /* the smallest is the root */
  }
  return true;
}

/* Numbers for all channels; a part of a value has the whole's. */
static void number_channels(struct deriving *d)
{
  const struct net *net = d->net;
  size_t n = 0, next = 0;
  for (size_t i = 0; i < net->n_values; i++)
    n += net->values[i].c;
  d->parent = arena_array(d->scratch, n, sizeof *d->parent);
  d->block = arena_array(d->scratch, n, sizeof *d->block);
  d->index = arena_array(d->scratch, n, sizeof *d->index);
  d->n_channels = (uint32_t)n;
  uint32_t *numbers = arena_array(d->scratch, n, sizeof *numbers);
  for (uint32_t i = 0; i < n; i++)
    numbers[i] = d->parent[i] = i;
  d->axes = arena_array(d->scratch, net->n_values, sizeof *d->axes);
  for (size_t i = 0; i < net->n_values; i++) {
    const unsigned c = net->values[i].c;
    d->axes[i] = (struct axis){numbers + next, c, 1, NO_HEADS};
    next += c;
  }
  for (size_t i = 0; i < net->n_values; i++) {
    const struct net_value *v = &net->values[i];
    if (v->whole != i)
      d->axes[i].channels = d->axes[v->whole].channels + v->first;
  }
}

static bool makes_channels(const struct net_layer *l)
{
  return l->kind == LAYER_CONV || l->kind == LAYER_LINEAR || l->kind == LAYER_DENSE ||
         l->kind == LAYER_SCALED || l->kind == LAYER_EMBEDDING;
}

/* A head's queries, keys and values, and what attention makes of them, move together. */
static void unite_heads(struct deriving *d, const struct net_layer *l)
{
  const struct ops_attention *at = &l->attention;
  struct axis *in = &d->axes[l->in];
  uint32_t *heads = arena_array(d->scratch, 3 * (size_t)at->heads, sizeof *heads);
  for (unsigned i = 0; i < 3 * at->heads; i++)
    heads[i] = in->channels[i % at->heads * at->size];
  *in = (struct axis){heads, 3 * at->heads, at->size, QUERIES_KEYS_VALUES};
  d->axes[l->out] = (struct axis){heads, at->heads, at->size, MIXED};
}

static bool unite_layer(struct deriving *d, const struct net_layer *l)
{
  const struct net_value *in = &d->net->values[l->in];
  struct axis *from = &d->axes[l->in], *to = &d->axes[l->out];
  switch (l->kind) {
  case LAYER_CONV:
  case LAYER_LINEAR:
  case LAYER_DENSE:
  case LAYER_SCALED:
  case LAYER_EMBEDDING:
  case LAYER_HEAD:
    break;
  case LAYER_ATTENTION:
    unite_heads(d, l);
    break;
  case LAYER_DEPTHWISE:
  case LAYER_BATCHNORM:
  case LAYER_LAYERNORM:
  case LAYER_POOL:
  case LAYER_AVERAGE:
  case LAYER_MAX:
  case LAYER_CLASS_TOKEN:
  case LAYER_FIRST_TOKEN:
    if (from->run > 1)
      *to = *from;
    else if (!unite(d, l->in, l->out))
      return false;
    break;
  case LAYER_FLATTEN: /* [channel][row][column] */
  case LAYER_PATCHES:
    *to = *from;
    to->run *= l->kind == LAYER_PATCHES ? l->patches.k * l->patches.k : in->h * in->w;
    break;
  }
  return l->residual == NET_NONE || unite(d, l->residual, l->out);
}

/* Channels of this axis part from those of their block that are not on it. */
static void part(struct deriving *d, const struct axis *axis, uint32_t *parted)
{
  const uint32_t before = d->n_blocks;
  memset(parted, 0xff, before * sizeof *parted);
  for (unsigned i = 0; i < axis->n; i++) {
    const uint32_t c = root(d, axis->channels[i]), b = d->block[c];
    if (!b || b >= before)
      continue;
    if (parted[b] == NONE)
      parted[b] = d->n_blocks++;
    d->block[c] = parted[b];
  }
}

static void fix(struct deriving *d, const struct axis *axis)
{
  for (unsigned i = 0; i < axis->n; i++)
    d->block[root(d, axis->channels[i])] = 0;
}

/* Blocks of interchangeable channels, and each channel's place in its own. */
static void part_channels(struct deriving *d)
{
  const struct net *net = d->net;
  /* Each layer parts as many blocks as it has channels, at most. */
  uint32_t *parted = arena_array(d->scratch, 2 + (size_t)d->n_channels, sizeof *parted);
  d->n_blocks = 2;
  for (uint32_t i = 0; i < d->n_channels; i++)
    d->block[i] = 1;
  fix(d, &d->axes[0]);
  fix(d, &d->axes[net->logits]);
  for (size_t i = 0; i < net->n_layers; i++)
    if (makes_channels(&net->layers[i]))
      part(d, &d->axes[net->layers[i].out], parted);
  d->groups = arena_array(d->scratch, d->n_blocks, sizeof *d->groups);
  for (uint32_t i = 0; i < d->n_channels; i++)
    if (root(d, i) == i)
      d->index[i] = d->groups[d->block[i]].size++;
}

/* The groups along an axis, one after the other, each in its own order. */
static bool next_group(struct deriving *d, const struct axis *axis, unsigned *at,
                       struct net_group **group, unsigned *first)
{
  while (*at < axis->n && !d->block[root(d, axis->channels[*at])])
    ++*at;
  *group = NULL;
  if (*at == axis->n)
    return true;
  const uint32_t b = d->block[root(d, axis->channels[*at])];
  const unsigned size = d->groups[b].size;
  *first = *at;
  for (unsigned i = 0; i < size; i++, ++*at) {
    const uint32_t c = *at < axis->n ? root(d, axis->channels[*at]) : NONE;
    if (c == NONE || d->block[c] != b || d->index[c] != i)
      return not_known(d, "its layers tie them together in different orders");
  }
  *group = &d->groups[b];
  return true;
}

static uint32_t tensor_at(const struct net *net, size_t offset)
{
  uint32_t i = 0;
  while (net->tensors[i].offset != offset)
    i++;
  return i;
}

static enum net_role role_at(const struct axis *axis, unsigned at, enum net_role role)
{
  static const enum net_role parts[] = {NET_QUERIES, NET_KEYS, NET_VALUES};
  if (axis->heads == QUERIES_KEYS_VALUES)
    return parts[at / (axis->n / 3)];
  return axis->heads == MIXED ? NET_MIXES : role;
}

/* `on`: the tensor's axis; none has channels on two axes behind the first. */
static bool add_uses(struct deriving *d, unsigned value, size_t tensor_offset, unsigned on,
                     enum net_role role)
{
  const struct axis *axis = &d->axes[value];
  const uint32_t number = tensor_at(d->net, tensor_offset);
  const struct net_tensor *t = &d->net->tensors[number];
  struct net_use use = {
      .tensor = number, .axis = on > 0, .buffer = t->buffer, .outer = 1, .stride = 1};
  for (unsigned k = 0; k < t->rank; k++)
    *(k < on ? &use.outer : &use.stride) *= t->shape[k];
  use.run = use.stride / axis->n; /* taps, and pixels where it was flattened */
  assert(use.stride == axis->n * use.run && use.run % axis->run == 0);
  struct net_group *g;
  for (unsigned at = 0, first;;) {
    if (!next_group(d, axis, &at, &g, &first))
      return false;
    if (!g)
      return true;
    use.offset = t->offset + first * use.run;
    use.role = role_at(axis, first, role);
    g->inner = axis->heads ? axis->run : 1;
    g->name = g->name ? g->name : t->name;
    ARENA_PUSH(d->arena, g->uses, g->n_uses, g->cap_uses, use);
  }
}

/* Vectors of the value's channels: an embedding's words and positions, a class token. */
static bool use_vectors(struct deriving *d, unsigned value, size_t tensor_offset,
                        enum net_role role)
{
  return add_uses(d, value, tensor_offset,
                  d->net->tensors[tensor_at(d->net, tensor_offset)].rank - 1, role);
}

static bool is_embedding(const struct net *net, size_t tensor_offset)
{
  for (size_t i = 0; i < net->n_layers; i++)
    if (net->layers[i].kind == LAYER_EMBEDDING && net->layers[i].weight == tensor_offset)
      return true;
  return false;
}

static bool use_layer(struct deriving *d, const struct net_layer *l)
{
  if (l->kind == LAYER_EMBEDDING || l->kind == LAYER_CLASS_TOKEN)
    return use_vectors(d, l->out, l->weight, NET_WRITES) &&
           use_vectors(d, l->out, l->bias, NET_WRITES);
  if (l->kind == LAYER_HEAD) /* a tied one reads what the embedding writes */
    return is_embedding(d->net, l->weight) || use_vectors(d, l->in, l->weight, NET_READS);
  if (l->kind == LAYER_BATCHNORM)
    return add_uses(d, l->out, l->weight, 0, NET_SCALES) &&
           add_uses(d, l->out, l->bias, 0, NET_SHIFTS) &&
           add_uses(d, l->out, l->mean, 0, NET_SHIFTS) &&
           add_uses(d, l->out, l->var, 0, NET_SCALES);
  if (l->kind == LAYER_LAYERNORM || l->kind == LAYER_DEPTHWISE)
    return add_uses(d, l->out, l->weight, 0, NET_SCALES) &&
           add_uses(d, l->out, l->bias, 0, NET_SHIFTS);
  if (!makes_channels(l))
    return true;
  if (l->kind == LAYER_SCALED && !add_uses(d, l->out, l->scale, 0, NET_SCALES))
    return false;
  const unsigned out_axis = l->kind == LAYER_DENSE && l->dense.in_first;
  return add_uses(d, l->out, l->weight, out_axis, NET_WRITES) &&
         add_uses(d, l->in, l->weight, !out_axis, NET_READS) &&
         (l->kind == LAYER_CONV || l->bias == SIZE_MAX ||
          add_uses(d, l->out, l->bias, 0, NET_WRITES));
}

static bool activates(const struct net_layer *l)
{
  return l->relu || (l->kind == LAYER_DENSE && l->dense.act != OPS_IDENTITY);
}

/* Where the groups' channels can be looked at: behind an activation function; for those that
 * have no such place, behind any layer. */
static bool add_places(struct deriving *d, bool activated, const bool *wanted)
{
  for (size_t i = 0; i < d->net->n_layers; i++) {
    const struct net_layer *l = &d->net->layers[i];
    const struct axis *axis = &d->axes[l->out];
    const struct net_value *v = &d->net->values[l->out];
    struct net_group *g;
    if (activates(l) != activated || (axis->run != 1 && l->kind != LAYER_ATTENTION))
      continue;
    for (unsigned at = 0, first;;) {
      if (!next_group(d, axis, &at, &g, &first))
        return false;
      if (!g)
        break;
      const struct net_place place = {l->out, first * axis->run, v->h * v->w, axis->run};
      if (wanted[g - d->groups])
        ARENA_PUSH(d->arena, g->places, g->n_places, g->cap_places, place);
    }
  }
  return true;
}

/* `held`: by block. */
static void hold(struct deriving *d, unsigned value, bool *held)
{
  for (unsigned i = 0; i < d->axes[value].n; i++)
    held[d->block[root(d, d->axes[value].channels[i])]] = true;
}

/* `normed`: by value, is it a norm's output? */
static void hold_by_layer(struct deriving *d, const struct net_layer *l, bool *normed, bool *held)
{
  switch (l->kind) {
  case LAYER_LAYERNORM: {
    struct net_group *g = &d->groups[d->block[root(d, d->axes[l->in].channels[0])]];
    g->turns = true;
    if (normed[l->in] || d->axes[l->in].n != g->size)
      hold(d, l->in, held);
    normed[l->out] = true;
    break;
  }
  case LAYER_LINEAR:
  case LAYER_DENSE:
  case LAYER_HEAD:
    if (!normed[l->in])
      hold(d, l->in, held);
    if (activates(l))
      hold(d, l->out, held);
    break;
  case LAYER_EMBEDDING:
    break;
  case LAYER_CLASS_TOKEN:
  case LAYER_FIRST_TOKEN:
    if (normed[l->in])
      hold(d, l->in, held);
    break;
  default:
    hold(d, l->in, held);
    hold(d, l->out, held);
  }
  if (l->residual != NET_NONE && normed[l->residual])
    hold(d, l->residual, held);
}

static void find_streams(struct deriving *d)
{
  bool *held = arena_array(d->scratch, d->n_blocks, sizeof *held);
  bool *normed = arena_array(d->scratch, d->net->n_values, sizeof *normed);
  held[0] = true; /* fixed channels */
  for (size_t i = 0; i < d->net->n_layers; i++)
    hold_by_layer(d, &d->net->layers[i], normed, held);
  for (uint32_t b = 0; b < d->n_blocks; b++)
    d->groups[b].turns = d->groups[b].turns && !held[b];
}

static void find_relus(struct deriving *d)
{
  bool *bent = arena_array(d->scratch, d->n_blocks, sizeof *bent);
  bool *held = arena_array(d->scratch, d->n_blocks, sizeof *held);
  held[0] = true; /* fixed channels */
  for (size_t i = 0; i < d->net->n_layers; i++) {
    const struct net_layer *l = &d->net->layers[i];
    const bool linear = l->kind == LAYER_LINEAR || l->kind == LAYER_DENSE;
    hold(d, l->out, linear && l->relu ? bent : held);
    if (!linear && l->kind != LAYER_HEAD)
      hold(d, l->in, held);
    if (l->residual != NET_NONE)
      hold(d, l->residual, held);
  }
  for (uint32_t b = 0; b < d->n_blocks; b++)
    d->groups[b].relu = bent[b] && !held[b];
}

static bool derive(struct deriving *d)
{
  const struct net *net = d->net;
  number_channels(d);
  for (size_t i = 0; i < net->n_layers; i++)
    if (!unite_layer(d, &net->layers[i]))
      return false;
  part_channels(d);
  for (size_t i = 0; i < net->n_layers; i++)
    if (!use_layer(d, &net->layers[i]))
      return false;
  find_streams(d);
  find_relus(d);
  bool *wanted = arena_array(d->scratch, d->n_blocks, sizeof *wanted);
  memset(wanted, true, d->n_blocks * sizeof *wanted);
  if (!add_places(d, true, wanted))
    return false;
  for (uint32_t b = 0; b < d->n_blocks; b++)
    wanted[b] = !d->groups[b].n_places;
  return add_places(d, false, wanted);
}

const struct net_groups *net_groups_new(struct arena *arena, const struct net *net,
                                        struct diag *diag)
{
  struct deriving d = {.arena = arena, .scratch = arena_new(), .net = net, .diag = diag};
  struct net_groups *all = NULL;
  if (derive(&d)) {
    all = arena_alloc(arena, sizeof *all);
    all->v = arena_array(arena, d.n_blocks, sizeof *all->v);
    for (uint32_t b = 1; b < d.n_blocks; b++)
      if (d.groups[b].size > 1 && d.groups[b].n_uses)
        all->v[all->n++] = d.groups[b];
  }
  arena_free(d.scratch);
  return all;
}

void net_permute_group(const struct net_group *g, const uint32_t *perm, float *flat)
{
  size_t most = 0;
  for (size_t k = 0; k < g->n_uses; k++)
    most = g->uses[k].run > most ? g->uses[k].run : most;
  float *old = mem_alloc(g->size * most * sizeof *old);
  for (size_t k = 0; k < g->n_uses; k++) {
    const struct net_use *u = &g->uses[k];
    for (size_t o = 0; o < u->outer; o++) {
      float *at = flat + u->offset + o * u->stride;
      memcpy(old, at, g->size * u->run * sizeof *old);
      for (unsigned i = 0; i < g->size; i++)
        memcpy(at + i * u->run, old + perm[i] * u->run, u->run * sizeof *at);
    }
  }
  free(old);
}

void net_permute(const struct net *net, const struct net_groups *groups, uint32_t *const *perms,
                 const float *flat, float *out)
{
  memcpy(out, flat, net->count * sizeof *out);
  for (size_t g = 0; g < groups->n; g++)
    net_permute_group(&groups->v[g], perms[g], out);
}
