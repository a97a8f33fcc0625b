/* ResNet of basic blocks (He et al. 2016).  The stem is the one for small images (3x3
 * convolution, stride 1, no pooling) or ImageNet's (7x7, stride 2, then the largest of
 * 3x3 windows, stride 2).  Names are torchvision's for resnet18.
 * Stage k has width << k channels and, from k = 1 on, starts with stride 2.
 * Defaults: width 64, 4 stages of 2 blocks. */
#include "engine/net_int.h"
#include "engine/zoo.h"

static unsigned basic_block(struct net_builder *b, unsigned x, const char *name, unsigned out,
                            unsigned stride)
{
  unsigned y = net_conv(b, x, net_name(b, "%s.conv1", name), out, 3, stride);
  y = net_batchnorm(b, y, net_name(b, "%s.bn1", name), NET_NONE, true);
  y = net_conv(b, y, net_name(b, "%s.conv2", name), out, 3, 1);
  unsigned shortcut = x;
  if (stride != 1 || net_channels(b, x) != out) {
    shortcut = net_conv(b, x, net_name(b, "%s.downsample.0", name), out, 1, stride);
    shortcut = net_batchnorm(b, shortcut, net_name(b, "%s.downsample.1", name), NET_NONE, false);
  }
  return net_batchnorm(b, y, net_name(b, "%s.bn2", name), shortcut, true);
}

bool zoo_resnet18(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
                  struct diag *diag)
{
  const unsigned width = spec->width ? spec->width : 64;
  const unsigned stages = spec->stages ? spec->stages : 4;
  const unsigned blocks = spec->blocks ? spec->blocks : 2;
  if (stages > 8 || (uint64_t)width << (stages - 1) > NET_MAX_CHANNELS) {
    diag_error(diag, (struct span){0}, "resnet18: width %u with %u stages is too wide", width,
               stages);
    diag_hint(diag, "width << (stages - 1) may be at most %d, stages at most 8", NET_MAX_CHANNELS);
    return false;
  }
  const bool large = zoo_large_stem(spec);
  unsigned x = net_conv(b, 0, "conv1", width, large ? 7 : 3, large ? 2 : 1);
  x = net_batchnorm(b, x, "bn1", NET_NONE, true);
  if (large)
    x = net_max(b, x, 3, 2, 1);
  for (unsigned k = 0; k < stages; k++) {
    for (unsigned j = 0; j < blocks; j++)
      x = basic_block(b, x, net_name(b, "layer%u.%u", k + 1, j), width << k, k && !j ? 2 : 1);
  }
  *logits = net_linear(b, net_pool(b, x), "fc", spec->classes, false);
  return true;
}
