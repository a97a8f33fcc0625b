/* Building a network and initialising its weights. */
#include "engine/net_int.h"

#include "base/rng.h"
#include "engine/zoo.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

struct pending {
  struct net_tensor tensor;
  struct net_initial initial;
  bool decays;
};

/* EXEMPT: a parameter that does not decay where only weights do. */
enum role { WEIGHT, EXEMPT, BUFFER };

struct net_builder {
  struct arena *arena;
  struct net *net;
  struct pending *tensors; /* in the order of listing */
  size_t n_tensors, cap_tensors;
};

const char *net_name(struct net_builder *b, const char *fmt, ...)
{
  va_list args;
  va_start(args, fmt);
  const char *name = arena_vprintf(b->arena, fmt, args);
  va_end(args);
  return name;
}

unsigned net_channels(const struct net_builder *b, unsigned value)
{
  return b->net->values[value].c;
}

/* Returns the tensor's number in the order of listing. */
static size_t add_named(struct net_builder *b, const char *name, enum role role,
                        struct net_initial initial, unsigned rank, const size_t *shape)
{
  struct pending p = {
      .tensor = {.name = name, .rank = rank, .buffer = role == BUFFER},
      .initial = initial,
      .decays = role == WEIGHT,
  };
  p.tensor.count = 1;
  for (unsigned i = 0; i < rank; i++) {
    p.tensor.shape[i] = shape[i];
    p.tensor.count *= shape[i];
  }
  ARENA_PUSH(b->arena, b->tensors, b->n_tensors, b->cap_tensors, p);
  return b->n_tensors - 1;
}

static size_t add_tensor(struct net_builder *b, const char *name, const char *what, enum role role,
                         struct net_initial initial, unsigned rank, const size_t *shape)
{
  return add_named(b, net_name(b, "%s.%s", name, what), role, initial, rank, shape);
}

static unsigned add_value(struct net_builder *b, struct net_value v)
{
  struct net *net = b->net;
  v.whole = (unsigned)net->n_values;
  ARENA_PUSH(b->arena, net->values, net->n_values, net->cap_values, v);
  return v.whole;
}

static unsigned add_layer(struct net_builder *b, struct net_layer layer, struct net_value out)
{
  struct net *net = b->net;
  out.gradient = layer.kind == LAYER_CONV || layer.kind == LAYER_BATCHNORM ||
                 layer.kind == LAYER_LINEAR || layer.kind == LAYER_EMBEDDING ||
                 layer.kind == LAYER_LAYERNORM || layer.kind == LAYER_DENSE ||
                 layer.kind == LAYER_SCALED || layer.kind == LAYER_DEPTHWISE ||
                 layer.kind == LAYER_CLASS_TOKEN || net->values[layer.in].gradient;
  layer.out = add_value(b, out);
  ARENA_PUSH(b->arena, net->layers, net->n_layers, net->cap_layers, layer);
  return layer.out;
}

unsigned net_conv(struct net_builder *b, unsigned x, const char *name, unsigned out, unsigned k,
                  unsigned stride)
{
  const struct net_value in = b->net->values[x];
  const struct ops_conv c = {in.h, in.w, in.c, out, k, stride, k / 2, 0};
  const struct net_value y = {.h = ops_conv_out(&c, in.h), .w = ops_conv_out(&c, in.w), .c = out};
  const struct net_initial initial = {INIT_NORMAL, sqrt(2.0 / ((double)out * k * k))};
  b->net->flops += 2.0 * y.h * y.w * out * in.c * k * k;
  const struct net_layer layer = {
      .kind = LAYER_CONV,
      .in = x,
      .residual = NET_NONE,
      .conv = c,
      .weight = add_tensor(b, name, "weight", WEIGHT, initial, 4, (size_t[]){out, in.c, k, k}),
  };
  return add_layer(b, layer, y);
}

unsigned net_batchnorm(struct net_builder *b, unsigned x, const char *name, unsigned residual,
                       bool relu)
{
  const struct net_value v = b->net->values[x];
  const size_t shape[] = {v.c};
  const struct net_initial one = {INIT_CONSTANT, 1}, zero = {INIT_CONSTANT, 0};
  struct net_layer layer = {.kind = LAYER_BATCHNORM, .in = x, .residual = residual, .relu = relu};
  layer.weight = add_tensor(b, name, "weight", EXEMPT, one, 1, shape);
  layer.bias = add_tensor(b, name, "bias", EXEMPT, zero, 1, shape);
  layer.mean = add_tensor(b, name, "running_mean", BUFFER, zero, 1, shape);
  layer.var = add_tensor(b, name, "running_var", BUFFER, one, 1, shape);
  return add_layer(b, layer, (struct net_value){.h = v.h, .w = v.w, .c = v.c});
}

unsigned net_depthwise(struct net_builder *b, unsigned x, const char *name, double std)
{
  const struct net_value v = b->net->values[x];
  const struct net_initial normal = {INIT_NORMAL, std}, zero = {INIT_CONSTANT, 0};
  const unsigned k = OPS_DEPTHWISE_SIDE;
  struct net_layer layer = {
      .kind = LAYER_DEPTHWISE, .in = x, .residual = NET_NONE, .depthwise = {v.h, v.w, v.c}};
  layer.weight = add_tensor(b, name, "weight", WEIGHT, normal, 4, (size_t[]){v.c, 1, k, k});
  layer.bias = add_tensor(b, name, "bias", EXEMPT, zero, 1, (size_t[]){v.c});
  b->net->flops += 2.0 * v.h * v.w * v.c * k * k;
  return add_layer(b, layer, (struct net_value){.h = v.h, .w = v.w, .c = v.c});
}

unsigned net_linear(struct net_builder *b, unsigned x, const char *name, unsigned out, bool relu)
{
  const struct net_value v = b->net->values[x];
  assert(v.h == 1 && v.w == 1);
  const struct net_initial initial = {INIT_UNIFORM, 1 / sqrt((double)v.c)};
  b->net->flops += 2.0 * v.c * out;
  struct net_layer layer = {.kind = LAYER_LINEAR, .in = x, .residual = NET_NONE, .relu = relu};
  layer.weight = add_tensor(b, name, "weight", WEIGHT, initial, 2, (size_t[]){out, v.c});
  layer.bias = add_tensor(b, name, "bias", EXEMPT, initial, 1, (size_t[]){out});
  return add_layer(b, layer, (struct net_value){.h = 1, .w = 1, .c = out});
}

unsigned net_pool(struct net_builder *b, unsigned x)
{
  const struct net_layer layer = {.kind = LAYER_POOL, .in = x, .residual = NET_NONE};
  return add_layer(b, layer, (struct net_value){.h = 1, .w = 1, .c = b->net->values[x].c});
}

static unsigned add_windows(struct net_builder *b, unsigned x, enum net_layer_kind kind, unsigned k,
                            unsigned stride, unsigned pad)
{
  const struct net_value v = b->net->values[x];
  const struct net_layer layer = {
      .kind = kind, .in = x, .residual = NET_NONE, .conv = {v.h, v.w, v.c, v.c, k, stride, pad, 0}};
  const struct ops_conv *c = &layer.conv;
  assert(v.h + 2 * pad >= k && v.w + 2 * pad >= k);
  return add_layer(
      b, layer, (struct net_value){.h = ops_conv_out(c, v.h), .w = ops_conv_out(c, v.w), .c = v.c});
}

unsigned net_average(struct net_builder *b, unsigned x, unsigned k, unsigned stride)
{
  return add_windows(b, x, LAYER_AVERAGE, k, stride, 0);
}

unsigned net_max(struct net_builder *b, unsigned x, unsigned k, unsigned stride, unsigned pad)
{
  return add_windows(b, x, LAYER_MAX, k, stride, pad);
}

unsigned net_embedding(struct net_builder *b, const char *words, const char *positions,
                       unsigned vocabulary, unsigned c)
{
  const struct net_value in = b->net->values[0];
  const struct net_initial initial = {INIT_NORMAL, 0.02};
  struct net_layer layer = {.kind = LAYER_EMBEDDING, .residual = NET_NONE};
  layer.weight = add_tensor(b, words, "weight", WEIGHT, initial, 2, (size_t[]){vocabulary, c});
  layer.bias = add_tensor(b, positions, "weight", WEIGHT, initial, 2, (size_t[]){in.w, c});
  return add_layer(b, layer, (struct net_value){.h = 1, .w = in.w, .c = c});
}

unsigned net_layernorm(struct net_builder *b, unsigned x, const char *name, float eps)
{
  const struct net_value v = b->net->values[x];
  const struct net_initial one = {INIT_CONSTANT, 1}, zero = {INIT_CONSTANT, 0};
  struct net_layer layer = {.kind = LAYER_LAYERNORM, .in = x, .residual = NET_NONE, .eps = eps};
  layer.weight = add_tensor(b, name, "weight", EXEMPT, one, 1, (size_t[]){v.c});
  layer.bias = add_tensor(b, name, "bias", EXEMPT, zero, 1, (size_t[]){v.c});
  return add_layer(b, layer, (struct net_value){.h = v.h, .w = v.w, .c = v.c});
}

unsigned net_dense_layer(struct net_builder *b, unsigned x, const struct net_dense *d)
{
  const struct net_value v = b->net->values[x];
  const struct net_initial normal = {INIT_NORMAL, d->std}, zero = {INIT_CONSTANT, 0};
  const unsigned in = v.c, out = d->op.out, k = d->kernel;
  const size_t plain[] = {d->op.in_first ? in : out, d->op.in_first ? out : in};
  const size_t windows[] = {out, k ? in / k / k : 0, k, k};
  struct net_layer layer = {
      .kind = LAYER_DENSE, .in = x, .residual = d->residual, .dense = d->op, .bias = SIZE_MAX};
  layer.relu = d->op.act == OPS_RELU;
  assert(d->residual == NET_NONE || d->op.act == OPS_IDENTITY);
  assert(!k || (in % (k * k) == 0 && !d->op.in_first));
  assert(d->bias || (d->residual == NET_NONE && d->op.act == OPS_IDENTITY));
  layer.dense.in = in;
  layer.weight = add_named(b, d->weight, WEIGHT, normal, k ? 4 : 2, k ? windows : plain);
  if (d->bias)
    layer.bias = add_named(b, d->bias, EXEMPT, zero, 1, (size_t[]){out});
  if (d->scale) {
    const struct net_initial start = {INIT_CONSTANT, d->scale_start};
    assert(d->bias && d->residual != NET_NONE && !d->op.in_first);
    layer.kind = LAYER_SCALED;
    layer.scale = add_named(b, d->scale, EXEMPT, start, 3, (size_t[]){out, 1, 1});
  }
  b->net->flops += 2.0 * v.h * v.w * in * out;
  return add_layer(b, layer, (struct net_value){.h = v.h, .w = v.w, .c = out});
}

unsigned net_dense(struct net_builder *b, unsigned x, const char *name,
                   const struct ops_dense *kind, double std, unsigned residual)
{
  const struct net_dense d = {.weight = net_name(b, "%s.weight", name),
                              .bias = net_name(b, "%s.bias", name),
                              .op = *kind,
                              .std = std,
                              .residual = residual};
  return net_dense_layer(b, x, &d);
}

unsigned net_patches(struct net_builder *b, unsigned x, unsigned k)
{
  const struct net_value v = b->net->values[x];
  const struct net_layer layer = {.kind = LAYER_PATCHES,
                                  .in = x,
                                  .residual = NET_NONE,
                                  .patches = {.h = v.h, .w = v.w, .c = v.c, .k = k}};
  assert(k && v.h >= k && v.w >= k);
  return add_layer(b, layer, (struct net_value){.h = v.h / k, .w = v.w / k, .c = v.c * k * k});
}

unsigned net_class_token(struct net_builder *b, unsigned x, const char *token,
                         const char *positions, bool rank_3, double std)
{
  const struct net_value v = b->net->values[x];
  const struct net_initial normal = {INIT_NORMAL, std};
  const unsigned tokens = v.h * v.w + 1;
  const size_t one[] = {1, 1, v.c}, all[] = {1, tokens, v.c};
  struct net_layer layer = {.kind = LAYER_CLASS_TOKEN, .in = x, .residual = NET_NONE};
  layer.weight = add_named(b, token, EXEMPT, normal, rank_3 ? 3 : 1, rank_3 ? one : one + 2);
  layer.bias = add_named(b, positions, EXEMPT, normal, rank_3 ? 3 : 2, rank_3 ? all : all + 1);
  return add_layer(b, layer, (struct net_value){.h = 1, .w = tokens, .c = v.c});
}

unsigned net_first_token(struct net_builder *b, unsigned x)
{
  const struct net_layer layer = {.kind = LAYER_FIRST_TOKEN, .in = x, .residual = NET_NONE};
  return add_layer(b, layer, (struct net_value){.h = 1, .w = 1, .c = b->net->values[x].c});
}

unsigned net_attention(struct net_builder *b, unsigned x, unsigned heads, bool causal,
                       unsigned queries)
{
  const struct net_value v = b->net->values[x];
  const unsigned c = v.c / 3, tokens = v.h * v.w;
  const struct net_layer layer = {.kind = LAYER_ATTENTION,
                                  .in = x,
                                  .residual = NET_NONE,
                                  .attention = {.tokens = tokens,
                                                .heads = heads,
                                                .size = c / heads,
                                                .causal = causal,
                                                .queries = queries}};
  assert(c * 3 == v.c && c % heads == 0);
  b->net->flops += 4.0 * ops_attention_queries(&layer.attention) * tokens * c;
  return add_layer(
      b, layer, (struct net_value){.h = queries ? 1 : v.h, .w = queries ? queries : v.w, .c = c});
}

static unsigned add_head(struct net_builder *b, unsigned x, size_t words, unsigned vocabulary)
{
  const struct net_value v = b->net->values[x];
  b->net->flops += 2.0 * v.h * v.w * v.c * vocabulary;
  const struct net_layer layer = {.kind = LAYER_HEAD,
                                  .in = x,
                                  .residual = NET_NONE,
                                  .dense = {.in = v.c, .out = vocabulary},
                                  .weight = words,
                                  .bias = SIZE_MAX};
  return add_layer(b, layer, (struct net_value){.h = v.h, .w = v.w, .c = vocabulary});
}

unsigned net_untied_head(struct net_builder *b, unsigned x, const char *name, unsigned vocabulary)
{
  const struct net_initial initial = {INIT_NORMAL, 0.02};
  const size_t shape[] = {vocabulary, b->net->values[x].c};
  return add_head(b, x, add_tensor(b, name, "weight", false, initial, 2, shape), vocabulary);
}

unsigned net_tied_head(struct net_builder *b, unsigned x, unsigned embedding)
{
  const struct net *net = b->net;
  size_t i = 0;
  while (net->layers[i].out != embedding)
    i++;
  assert(net->layers[i].kind == LAYER_EMBEDDING && net->values[embedding].c == net->values[x].c);
  const size_t words = net->layers[i].weight;
  return add_head(b, x, words, (unsigned)b->tensors[words].tensor.shape[0]);
}

void net_initial(struct net_builder *b, const char *name, struct net_initial initial)
{
  size_t i = b->n_tensors;
  while (i > 0 && strcmp(b->tensors[i - 1].tensor.name, name) != 0)
    i--;
  assert(i > 0);
  b->tensors[i - 1].initial = initial;
}

unsigned net_block(struct net_builder *b, unsigned like, unsigned c)
{
  const struct net_value v = b->net->values[like];
  return add_value(b, (struct net_value){.h = v.h, .w = v.w, .c = c, .gradient = true});
}

void net_place(struct net_builder *b, unsigned value, unsigned block, unsigned first)
{
  struct net_value *v = &b->net->values[value];
  const struct net_value *whole = &b->net->values[block];
  assert(v->whole == value && whole->whole == block);
  assert(v->h == whole->h && v->w == whole->w && first + v->c <= whole->c);
  v->whole = block;
  v->first = first;
}

unsigned net_first(struct net_builder *b, unsigned block, unsigned c)
{
  if (c == b->net->values[block].c)
    return block;
  const unsigned part = net_block(b, block, c);
  net_place(b, part, block, 0);
  return part;
}

unsigned net_flatten(struct net_builder *b, unsigned x)
{
  const struct net_value v = b->net->values[x];
  if (v.h == 1 && v.w == 1)
    return x;
  const struct net_layer layer = {.kind = LAYER_FLATTEN, .in = x, .residual = NET_NONE};
  return add_layer(b, layer, (struct net_value){.h = 1, .w = 1, .c = v.h * v.w * v.c});
}

/* Gives every tensor its place: parameters first, then buffers. */
static void finish(struct net_builder *b)
{
  struct net *net = b->net;
  const size_t n = b->n_tensors;
  net->tensors = arena_array(b->arena, n, sizeof *net->tensors);
  net->initial = arena_array(b->arena, n, sizeof *net->initial);
  net->decays = arena_array(b->arena, n, sizeof *net->decays);
  size_t *offset = arena_array(b->arena, n, sizeof *offset);
  for (int buffer = 0; buffer < 2; buffer++) {
    for (size_t i = 0; i < n; i++) {
      struct pending *p = &b->tensors[i];
      if (p->tensor.buffer != (buffer == 1))
        continue;
      p->tensor.offset = offset[i] = net->count;
      net->count += p->tensor.count;
      net->tensors[net->n_tensors] = p->tensor;
      net->decays[net->n_tensors] = p->decays;
      net->initial[net->n_tensors++] = p->initial;
    }
    if (!buffer)
      net->params = net->count;
  }
  for (size_t i = 0; i < net->n_layers; i++) {
    struct net_layer *l = &net->layers[i];
    const struct net_value *in = &net->values[l->in], *out = &net->values[l->out];
    if (l->kind == LAYER_CONV || l->kind == LAYER_AVERAGE || l->kind == LAYER_MAX)
      l->conv.y_pixel = net->values[out->whole].c;
    assert(in->whole == l->in || l->kind == LAYER_BATCHNORM);
    assert(out->whole == l->out || l->kind == LAYER_CONV || l->kind == LAYER_BATCHNORM ||
           l->kind == LAYER_AVERAGE || l->kind == LAYER_MAX);
    assert(l->residual == NET_NONE || out->whole == l->out);
    if (l->kind == LAYER_POOL || l->kind == LAYER_AVERAGE || l->kind == LAYER_MAX ||
        l->kind == LAYER_FLATTEN || l->kind == LAYER_ATTENTION || l->kind == LAYER_PATCHES ||
        l->kind == LAYER_FIRST_TOKEN)
      continue;
    l->weight = offset[l->weight];
    l->bias = l->bias == SIZE_MAX ? SIZE_MAX : offset[l->bias];
    l->scale = offset[l->scale];
    l->mean = offset[l->mean];
    l->var = offset[l->var];
  }
}

static bool shape_fits(const struct net_spec *s, struct diag *diag)
{
  const struct span nowhere = {0};
  const unsigned before = diag_errors(diag);
  const bool text = s->block > 0;
  if (text != zoo_reads_text(s->model))
    diag_error(diag, nowhere, "model \"%s\" reads %s, the data are %s", s->model,
               text ? "images" : "text", text ? "text" : "images");
  assert(!text || (s->image_width == s->block && s->height == 1 && s->channels == 1));
  if (!s->channels || !s->height || !s->image_width || !s->classes)
    diag_error(diag, nowhere, "model \"%s\": data of %u x %u pixels, %u channels, %u classes",
               s->model, s->height, s->image_width, s->channels, s->classes);
  if (s->channels > NET_MAX_CHANNELS || s->height > 4096 || s->image_width > 65536 ||
      (s->image_width > 4096 && !text) || s->classes > 1u << 20)
    diag_error(diag, nowhere,
               "model \"%s\": data of %u x %u pixels, %u channels, %u classes is "
               "too large",
               s->model, s->height, s->image_width, s->channels, s->classes);
  if (s->width > 65536 || s->layers > 1000 || s->blocks > 1000 || s->growth > 65536)
    diag_error(diag, nowhere,
               "model \"%s\": width %u, growth %u, %u layers, %u blocks is too large", s->model,
               s->width, s->growth, s->layers, s->blocks);
  if (s->stem && strcmp(s->stem, "cifar") != 0 && strcmp(s->stem, "imagenet") != 0) {
    diag_error(diag, nowhere, "model \"%s\": unknown stem \"%s\"", s->model, s->stem);
    diag_hint(diag, "stems are cifar and imagenet");
  }
  if (s->activation && strcmp(s->activation, "gelu") != 0 && strcmp(s->activation, "relu") != 0 &&
      strcmp(s->activation, "quick_gelu") != 0) {
    diag_error(diag, nowhere, "model \"%s\": unknown activation \"%s\"", s->model, s->activation);
    diag_hint(diag, "activations are gelu, quick_gelu and relu");
  }
  return diag_errors(diag) == before;
}

struct net *net_new(struct arena *arena, const struct net_spec *spec, struct diag *diag)
{
  const struct zoo_model *model = zoo_find(spec->model, diag);
  if (!model || !shape_fits(spec, diag))
    return NULL;
  struct net_builder b = {.arena = arena, .net = arena_alloc(arena, sizeof *b.net)};
  struct net *net = b.net;
  net->model = model->name;
  const struct net_value input = {.h = spec->height, .w = spec->image_width, .c = spec->channels};
  ARENA_PUSH(arena, net->values, net->n_values, net->cap_values, input);
  if (!model->build(&b, spec, &net->logits, diag))
    return NULL;
  finish(&b);
  return net;
}

size_t net_inputs(const struct net *net)
{
  const struct net_value *v = &net->values[0];
  return (size_t)v->h * v->w * v->c;
}

size_t net_count(const struct net *net)
{
  return net->count;
}

size_t net_params(const struct net *net)
{
  return net->params;
}

const struct net_tensor *net_tensors(const struct net *net, size_t *n)
{
  *n = net->n_tensors;
  return net->tensors;
}

double net_flops(const struct net *net)
{
  return net->flops;
}

bool net_has_batchnorm(const struct net *net)
{
  return net->count > net->params;
}

unsigned net_classes(const struct net *net)
{
  return net->values[net->logits].c;
}

unsigned net_targets(const struct net *net)
{
  const struct net_value *v = &net->values[net->logits];
  return v->h * v->w;
}

bool net_reads_text(const struct net *net)
{
  return net->layers[0].kind == LAYER_EMBEDDING;
}

static const struct net_layer *classifier(const struct net *net)
{
  const struct net_layer *last = &net->layers[net->n_layers - 1];
  assert((last->kind == LAYER_LINEAR || last->kind == LAYER_HEAD) && last->out == net->logits);
  return last;
}

bool net_in_classifier(const struct net *net, const struct net_tensor *t)
{
  const struct net_layer *l = classifier(net);
  if (l->kind == LAYER_HEAD)
    return false;
  return t->offset == l->weight || t->offset == l->bias;
}

bool net_decays(const struct net *net, const struct net_tensor *t)
{
  return net->decays[t - net->tensors];
}

static bool only_a_norm_reads(const struct net *net, unsigned value)
{
  bool norm = false;
  for (size_t i = 0; i < net->n_layers; i++) {
    const struct net_layer *l = &net->layers[i];
    if (l->residual == value || (l->in == value && l->kind != LAYER_BATCHNORM))
      return false;
    norm = norm || l->in == value;
  }
  return norm;
}

bool net_scale_invariant(const struct net *net, const struct net_tensor *t)
{
  for (size_t i = 0; i < net->n_layers; i++) {
    const struct net_layer *l = &net->layers[i];
    if (l->kind == LAYER_CONV && l->weight == t->offset)
      return net->values[l->out].whole == l->out && only_a_norm_reads(net, l->out);
  }
  return false;
}

unsigned net_features(const struct net *net)
{
  return net->values[classifier(net)->in].c;
}

void net_init(const struct net *net, uint64_t seed, float *flat)
{
  for (size_t i = 0; i < net->n_tensors; i++) {
    const struct net_tensor *t = &net->tensors[i];
    const struct net_initial *initial = &net->initial[i];
    struct rng r = rng_at(seed, RNG_INIT, 0, 0, (uint32_t)i);
    for (size_t k = 0; k < t->count; k++) {
      double v = initial->scale;
      if (initial->kind == INIT_UNIFORM)
        v *= 2 * rng_uniform(&r) - 1;
      else if (initial->kind == INIT_NORMAL)
        v *= rng_normal(&r);
      flat[t->offset + k] = (float)v;
    }
  }
}
