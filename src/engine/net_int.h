/* Inside of a network: values and layers; and the calls that build it. */
#ifndef MERGESCAPE_ENGINE_NET_INT_H
#define MERGESCAPE_ENGINE_NET_INT_H

#include "engine/net.h"
#include "engine/ops.h"

#define NET_NONE UINT32_MAX
enum { NET_MAX_CHANNELS = 4096, NET_MAX_HIDDEN = 4 * NET_MAX_CHANNELS };

/* What flows between layers: [n][h][w][c].  Value 0 is the input.  A value may be some
 * channels of another one, whose rows are longer: so a dense block's layers append to
 * what they read, and nothing is copied. */
struct net_value {
  unsigned h, w, c;
  bool gradient;         /* is something trained behind it? */
  unsigned whole, first; /* it is channels first... of value `whole`; mostly 0 of itself */
};

enum net_layer_kind {
  LAYER_CONV,
  LAYER_BATCHNORM,
  LAYER_POOL,
  LAYER_AVERAGE,
  LAYER_MAX,
  LAYER_FLATTEN,
  LAYER_DEPTHWISE,
  LAYER_LINEAR,
  LAYER_EMBEDDING,
  LAYER_LAYERNORM,
  LAYER_DENSE,
  LAYER_SCALED, /* dense, its output scaled by channel */
  LAYER_ATTENTION,
  LAYER_PATCHES,
  LAYER_CLASS_TOKEN,
  LAYER_FIRST_TOKEN,
  LAYER_HEAD /* dense, last; makes the logits only where they are asked for */
};

struct net_layer {
  enum net_layer_kind kind;
  unsigned in, out, residual; /* values; residual NET_NONE: none */
  bool relu;
  union {
    struct ops_conv conv; /* of windows too */
    struct ops_dense dense;
    struct ops_attention attention;
    struct ops_patches patches;
    struct ops_depthwise depthwise;
    float eps; /* layer norm */
  };
  /* Offsets in the flat vector; `bias` is a norm's beta, or the positions of an embedding or
   * behind a class token.  SIZE_MAX: none. */
  size_t weight, bias, mean, var, scale;
};

enum net_init_kind { INIT_CONSTANT, INIT_UNIFORM, INIT_NORMAL };

struct net_initial {
  enum net_init_kind kind;
  double scale; /* value, bound, or standard deviation */
};

struct net {
  const char *model; /* the zoo's name */
  struct net_value *values;
  size_t n_values, cap_values;
  struct net_layer *layers;
  size_t n_layers, cap_layers;
  struct net_tensor *tensors; /* parameters, then buffers */
  struct net_initial *initial;
  bool *decays; /* [n_tensors] */
  size_t n_tensors;
  size_t count, params;
  unsigned logits; /* value */
  double flops;
};

/* Building.  Each call adds a layer and returns its value; names are kept, not copied. */
struct net_builder;

const char *net_name(struct net_builder *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
unsigned net_channels(const struct net_builder *, unsigned value);
/* NAME.weight, Kaiming normal (fan out); k x k, padding k / 2, no bias. */
unsigned net_conv(struct net_builder *, unsigned x, const char *name, unsigned out, unsigned k,
                  unsigned stride);
/* NAME.weight, .bias, .running_mean, .running_var; then + residual, then ReLU. */
unsigned net_batchnorm(struct net_builder *, unsigned x, const char *name, unsigned residual,
                       bool relu);
/* NAME.weight [c][1][7][7], normal `std`, NAME.bias zero. */
unsigned net_depthwise(struct net_builder *, unsigned x, const char *name, double std);
/* NAME.weight, NAME.bias, PyTorch's default initialisation. */
unsigned net_linear(struct net_builder *, unsigned x, const char *name, unsigned out, bool relu);
unsigned net_pool(struct net_builder *, unsigned x); /* the mean over the image */
/* The mean or the largest of k x k windows, with padding `pad` (the mean: none). */
unsigned net_average(struct net_builder *, unsigned x, unsigned k, unsigned stride);
unsigned net_max(struct net_builder *, unsigned x, unsigned k, unsigned stride, unsigned pad);
unsigned net_flatten(struct net_builder *, unsigned x); /* in PyTorch's order */

/* Transformers: values are [n][1][tokens][channels]. */
/* WORDS.weight [vocabulary][c], normal 0.02, and POSITIONS.weight [tokens][c], normal 0.02, of
 * the token ids that the input holds; their sum. */
unsigned net_embedding(struct net_builder *, const char *words, const char *positions,
                       unsigned vocabulary, unsigned c);
/* NAME.weight, NAME.bias; over channels. */
unsigned net_layernorm(struct net_builder *, unsigned x, const char *name, float eps);
/* NAME.weight [in][out] or [out][in], normal `std`, NAME.bias zero; a residual (NET_NONE: none)
 * is for layers without activation. */
unsigned net_dense(struct net_builder *, unsigned x, const char *name, const struct ops_dense *kind,
                   double std, unsigned residual);
/* The same with all that there is to choose. */
struct net_dense {
  const char *weight, *bias; /* names of the tensors; bias NULL: none */
  const char *scale;         /* [out][1][1]: of the output, before the residual; NULL: none */
  double scale_start;
  unsigned kernel;           /* x's channels are windows [c][k][k]: the weight is [out][c][k][k] */
  struct ops_dense op;       /* `in` is what x has */
  double std;                /* the weight starts normal */
  unsigned residual;         /* NET_NONE: none */
};
unsigned net_dense_layer(struct net_builder *, unsigned x, const struct net_dense *);
/* Windows k x k side by side, [h / k][w / k][c * k * k] in the order of a convolution's weight:
 * with net_dense_layer a convolution of stride k.  What is left over at the right and below is
 * dropped, as a convolution without padding does. */
unsigned net_patches(struct net_builder *, unsigned x, unsigned k);
/* A class token, then x's pixels, and positions added; [1][1 + pixels][c].  Tensors TOKEN [c] and
 * POSITIONS [1 + pixels][c], or with ones in front to have rank 3; normal, `std`. */
unsigned net_class_token(struct net_builder *, unsigned x, const char *token, const char *positions,
                         bool rank_3, double std);
unsigned net_first_token(struct net_builder *, unsigned x); /* [1][1][c] */
/* From queries, keys and values, [3][heads][size] a token; the first `queries` tokens ask (0:
 * all). */
unsigned net_attention(struct net_builder *, unsigned x, unsigned heads, bool causal,
                       unsigned queries);
/* Logits by the words of the embedding layer that made value `embedding` (a tied head). */
unsigned net_tied_head(struct net_builder *, unsigned x, unsigned embedding);
/* By words of its own: NAME.weight [vocabulary][c], normal 0.02. */
unsigned net_untied_head(struct net_builder *, unsigned x, const char *name, unsigned vocabulary);

/* Draws the tensor NAME, listed before, in another way than the layer's. */
void net_initial(struct net_builder *, const char *name, struct net_initial);

/* A block: an image like `like` with c channels, of which layers make some each.  Convolutions,
 * norms and windows can make a part; norms can read the first ones.  The first layer that
 * goes over it backward must read it whole. */
unsigned net_block(struct net_builder *, unsigned like, unsigned c);
/* `value`, which a layer made, lies in `block` from channel `first` on. */
void net_place(struct net_builder *, unsigned value, unsigned block, unsigned first);
/* The first c channels of a block. */
unsigned net_first(struct net_builder *, unsigned block, unsigned c);

/* The last layer where it is a language model's head, or NULL. */
static inline const struct net_layer *net_head(const struct net *net)
{
  const struct net_layer *last = &net->layers[net->n_layers - 1];
  return last->kind == LAYER_HEAD ? last : NULL;
}

/* Where activations and gradients lie: buffers that live over a span of a
 * step's operations share memory with those that live at other times. */
struct net_buffer {
  size_t floats, offset; /* offset: result */
  unsigned first, last;  /* operations, inclusive */
};

/* Returns the floats that all need together; buffers of 0 floats are left out. */
size_t net_plan_memory(struct arena *, struct net_buffer *, size_t n);

#endif
