/* ConvNeXt (Liu et al. 2022).  A block: 7x7 depthwise convolution, layer norm, two dense layers
 * with GELU between them, four times as wide inside, scaled by channel (1e-6 at first) and added
 * to what the block read.  The stem is a 4x4 convolution of stride 4; between stages a layer norm
 * and a 2x2 convolution of stride 2 halve the image and double the channels.  Convolutions drop
 * the pixels that are left over.  Names and initialisation are torchvision's for convnext_tiny
 * (its normal distribution is cut off at 100 standard deviations: not cut off).
 *
 * Stochastic depth is 0, timm's default for fine-tuning; torchvision trains with 0.1.
 * Defaults: width 96, 4 stages of 3, 3, 9 and 3 blocks. */
#include "engine/net_int.h"
#include "engine/zoo.h"

enum { STEM = 4, DOWN = 2, WIDER = 4, MAX_STAGES = 6 };

static const float EPS = 1e-6f;
static const double STD = 0.02;

/* k x k, stride k. */
static unsigned convolution(struct net_builder *b, unsigned x, const char *name, unsigned out,
                            unsigned k)
{
  const struct net_dense d = {.weight = net_name(b, "%s.weight", name),
                              .bias = net_name(b, "%s.bias", name),
                              .kernel = k,
                              .op = {.out = out},
                              .std = STD,
                              .residual = NET_NONE};
  return net_dense_layer(b, net_patches(b, x, k), &d);
}

static unsigned block(struct net_builder *b, unsigned x, const char *name)
{
  const unsigned c = net_channels(b, x);
  const struct ops_dense up = {.out = WIDER * c, .act = OPS_GELU};
  const struct net_dense down = {.weight = net_name(b, "%s.block.5.weight", name),
                                 .bias = net_name(b, "%s.block.5.bias", name),
                                 .scale = net_name(b, "%s.layer_scale", name),
                                 .scale_start = 1e-6,
                                 .op = {.out = c},
                                 .std = STD,
                                 .residual = x};
  unsigned y = net_depthwise(b, x, net_name(b, "%s.block.0", name), STD);
  y = net_layernorm(b, y, net_name(b, "%s.block.2", name), EPS);
  y = net_dense(b, y, net_name(b, "%s.block.3", name), &up, STD, NET_NONE);
  return net_dense_layer(b, y, &down);
}

/* The paper's, or the same number in each stage. */
static unsigned blocks_of(const struct net_spec *spec, unsigned stage)
{
  static const unsigned paper[] = {3, 3, 9, 3};
  return spec->blocks ? spec->blocks : paper[stage];
}

static bool fits(const struct net_spec *spec, unsigned width, unsigned stages, struct diag *diag)
{
  const unsigned size = spec->height < spec->image_width ? spec->height : spec->image_width;
  if (stages > MAX_STAGES || (stages > 4 && !spec->blocks)) {
    diag_error(diag, SPAN_NONE, "convnext_tiny: %u stages are too many", stages);
    diag_hint(diag, "there are 4, or up to %d of the same number of `blocks`", MAX_STAGES);
    return false;
  }
  if ((uint64_t)width << (stages - 1) > NET_MAX_CHANNELS) {
    diag_error(diag, SPAN_NONE, "convnext_tiny: width %u with %u stages is too wide", width,
               stages);
    diag_hint(diag, "each stage doubles the channels, of which there may be %d", NET_MAX_CHANNELS);
    return false;
  }
  if (size / STEM >> (stages - 1) == 0) {
    diag_error(diag, SPAN_NONE, "convnext_tiny: %u stages leave nothing of %u x %u pixels", stages,
               spec->height, spec->image_width);
    diag_hint(diag,
              "the stem divides the image by %d, and each stage after the first by %d: %d "
              "pixels are the fewest",
              STEM, DOWN, STEM << (stages - 1));
    return false;
  }
  return true;
}

bool zoo_convnext_tiny(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
                       struct diag *diag)
{
  const unsigned width = spec->width ? spec->width : 96;
  const unsigned stages = spec->stages ? spec->stages : 4;
  if (!fits(spec, width, stages, diag))
    return false;
  unsigned x = convolution(b, 0, "features.0.0", width, STEM);
  x = net_layernorm(b, x, "features.0.1", EPS);
  for (unsigned k = 0; k < stages; k++) {
    for (unsigned j = 0; j < blocks_of(spec, k); j++)
      x = block(b, x, net_name(b, "features.%u.%u", 2 * k + 1, j));
    if (k + 1 == stages)
      break;
    const char *name = net_name(b, "features.%u", 2 * k + 2);
    x = net_layernorm(b, x, net_name(b, "%s.0", name), EPS);
    x = convolution(b, x, net_name(b, "%s.1", name), width << (k + 1), DOWN);
  }
  x = net_layernorm(b, net_pool(b, x), "classifier.0", EPS);
  *logits = net_linear(b, x, "classifier.2", spec->classes, false);
  net_initial(b, "classifier.2.weight", (struct net_initial){INIT_NORMAL, STD});
  net_initial(b, "classifier.2.bias", (struct net_initial){INIT_CONSTANT, 0});
  return true;
}
