/* DenseNet-BC (Huang et al. 2017): a layer is norm, ReLU, 1x1 convolution to 4 * growth
 * channels, norm, ReLU, 3x3 convolution to `growth` channels, which are appended to what
 * it read.  Between blocks a transition halves channels and image.  The stem makes
 * 2 * growth channels: 3x3, stride 1 for small images, or ImageNet's (7x7, stride 2, the
 * largest of 3x3 windows, stride 2).  Names are torchvision's for densenet121.
 * Defaults: growth 32, 4 stages of 6, 12, 24 and 16 layers. */
#include "engine/net_int.h"
#include "engine/zoo.h"

#include <math.h>

enum { BOTTLENECK = 4, MAX_STAGES = 8 };

/* torchvision draws DenseNet's convolutions by their fan in. */
static unsigned conv(struct net_builder *b, unsigned x, const char *name, unsigned out, unsigned k,
                     unsigned stride)
{
  const double fan_in = (double)net_channels(b, x) * k * k;
  const unsigned y = net_conv(b, x, name, out, k, stride);
  net_initial(b, net_name(b, "%s.weight", name),
              (struct net_initial){INIT_NORMAL, sqrt(2 / fan_in)});
  return y;
}

static unsigned dense_layer(struct net_builder *b, unsigned x, const char *name, unsigned growth)
{
  x = net_batchnorm(b, x, net_name(b, "%s.norm1", name), NET_NONE, true);
  x = conv(b, x, net_name(b, "%s.conv1", name), BOTTLENECK * growth, 1, 1);
  x = net_batchnorm(b, x, net_name(b, "%s.norm2", name), NET_NONE, true);
  return conv(b, x, net_name(b, "%s.conv2", name), growth, 3, 1);
}

/* Returns all that the layers made and read. */
static unsigned dense_block(struct net_builder *b, unsigned x, unsigned number, unsigned layers,
                            unsigned growth)
{
  unsigned c = net_channels(b, x);
  const unsigned block = net_block(b, x, c + layers * growth);
  net_place(b, x, block, 0);
  for (unsigned i = 1; i <= layers; i++, c += growth) {
    const char *name = net_name(b, "features.denseblock%u.denselayer%u", number, i);
    net_place(b, dense_layer(b, net_first(b, block, c), name, growth), block, c);
  }
  return block;
}

static unsigned stem(struct net_builder *b, const struct net_spec *spec, unsigned out)
{
  const bool large = zoo_large_stem(spec);
  unsigned x = conv(b, 0, "features.conv0", out, large ? 7 : 3, large ? 2 : 1);
  x = net_batchnorm(b, x, "features.norm0", NET_NONE, true);
  return large ? net_max(b, x, 3, 2, 1) : x;
}

static unsigned layers_of(const struct net_spec *spec, unsigned stage)
{
  static const unsigned paper[] = {6, 12, 24, 16};
  return spec->layers ? spec->layers : paper[stage];
}

/* Do the channels stay in bounds, and is there a pixel left? */
static bool fits(const struct net_spec *spec, unsigned stages, unsigned growth, struct diag *diag)
{
  uint64_t c = 2 * (uint64_t)growth, most = BOTTLENECK * (uint64_t)growth;
  unsigned size = spec->height < spec->image_width ? spec->height : spec->image_width;
  for (int i = 0; i < 2 && zoo_large_stem(spec); i++)
    size = (size + 1) / 2;
  if (stages > MAX_STAGES || (stages > 4 && !spec->layers)) {
    diag_error(diag, (struct span){0}, "densenet121: %u stages are too many", stages);
    diag_hint(diag, "there are 4, or up to %d of the same number of `layers`", MAX_STAGES);
    return false;
  }
  for (unsigned k = 0; k < stages; k++) {
    c = (k ? c / 2 : c) + layers_of(spec, k) * (uint64_t)growth;
    most = c > most ? c : most;
    size = k ? size / 2 : size;
  }
  if (most > NET_MAX_CHANNELS) {
    diag_error(diag, (struct span){0}, "densenet121: growth %u makes %llu channels, more than %d",
               growth, (unsigned long long)most, NET_MAX_CHANNELS);
    return false;
  }
  if (!size) {
    diag_error(diag, (struct span){0}, "densenet121: %u stages leave nothing of %u x %u pixels",
               stages, spec->height, spec->image_width);
    diag_hint(diag, "each stage after the first halves the image%s",
              zoo_large_stem(spec) ? "; the stem does it twice" : "");
    return false;
  }
  return true;
}

bool zoo_densenet121(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
                     struct diag *diag)
{
  const unsigned growth = spec->growth ? spec->growth : 32;
  const unsigned stages = spec->stages ? spec->stages : 4;
  if (!fits(spec, stages, growth, diag))
    return false;
  unsigned x = stem(b, spec, 2 * growth);
  for (unsigned k = 1; k <= stages; k++) {
    x = dense_block(b, x, k, layers_of(spec, k - 1), growth);
    if (k == stages)
      break;
    const char *name = net_name(b, "features.transition%u", k);
    x = net_batchnorm(b, x, net_name(b, "%s.norm", name), NET_NONE, true);
    x = conv(b, x, net_name(b, "%s.conv", name), net_channels(b, x) / 2, 1, 1);
    x = net_average(b, x, 2, 2);
  }
  x = net_batchnorm(b, x, "features.norm5", NET_NONE, true);
  *logits = net_linear(b, net_pool(b, x), "classifier", spec->classes, false);
  net_initial(b, "classifier.bias", (struct net_initial){INIT_CONSTANT, 0});
  return true;
}
