/* GPT-2 (Radford et al. 2019) as nanoGPT trains it: norms before each half of a block, GELU in
 * its tanh form (or net_spec.activation: ReLU as OPT has it, Zhang et al. 2022), a head tied to the
 * embedding (but for net_spec.untied), no dropout.  Names and layouts are Hugging Face's:
 * transformer.wte.weight, transformer.h.0.attn.c_attn.weight [in][out], ...
 * Weights start normal 0.02; what is added to the residual stream 0.02 / sqrt(2 layers).
 * Defaults: width 128, 2 layers, 4 heads, 4 x width feed-forward neurons a block. */
#include "engine/net_int.h"
#include "engine/zoo.h"

#include <math.h>

static const float EPS = 1e-5f;

static unsigned half_block(struct net_builder *b, unsigned x, const char *name, unsigned inner,
                           double std)
{
  const struct ops_dense down = {.out = net_channels(b, x), .in_first = true};
  return net_dense(b, inner, name, &down, std, x);
}

static unsigned block(struct net_builder *b, unsigned x, const char *name, unsigned heads,
                      const struct ops_dense *up, double std)
{
  const unsigned c = net_channels(b, x);
  const struct ops_dense qkv = {.out = 3 * c, .in_first = true};
  unsigned y = net_layernorm(b, x, net_name(b, "%s.ln_1", name), EPS);
  y = net_dense(b, y, net_name(b, "%s.attn.c_attn", name), &qkv, 0.02, NET_NONE);
  y = net_attention(b, y, heads, true, 0);
  x = half_block(b, x, net_name(b, "%s.attn.c_proj", name), y, std);
  y = net_layernorm(b, x, net_name(b, "%s.ln_2", name), EPS);
  y = net_dense(b, y, net_name(b, "%s.mlp.c_fc", name), up, 0.02, NET_NONE);
  return half_block(b, x, net_name(b, "%s.mlp.c_proj", name), y, std);
}

bool zoo_gpt(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
             struct diag *diag)
{
  const unsigned width = spec->width ? spec->width : 128;
  const unsigned layers = spec->layers ? spec->layers : 2;
  const unsigned heads = spec->heads ? spec->heads : 4;
  const unsigned hidden = spec->hidden ? spec->hidden : 4 * width;
  if (width % heads || width > NET_MAX_CHANNELS) {
    diag_error(diag, SPAN_NONE, "gpt: width %u with %u heads", width, heads);
    diag_hint(diag, "the width is at most %d and a multiple of the heads", NET_MAX_CHANNELS);
    return false;
  }
  if (hidden > NET_MAX_HIDDEN) {
    diag_error(diag, SPAN_NONE, "gpt: %u feed-forward neurons, of at most %d", hidden,
               NET_MAX_HIDDEN);
    return false;
  }
  const unsigned embedding =
      net_embedding(b, "transformer.wte", "transformer.wpe", spec->classes, width);
  const struct ops_dense up = {
      .out = hidden, .in_first = true, .act = zoo_activation(spec, OPS_GELU_TANH, OPS_GELU_TANH)};
  unsigned x = embedding;
  for (unsigned k = 0; k < layers; k++)
    x = block(b, x, net_name(b, "transformer.h.%u", k), heads, &up, 0.02 / sqrt(2.0 * layers));
  x = net_layernorm(b, x, "transformer.ln_f", EPS);
  *logits = spec->untied ? net_untied_head(b, x, "lm_head", spec->classes)
                         : net_tied_head(b, x, embedding);
  return true;
}
