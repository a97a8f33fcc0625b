/* A multilayer perceptron: Flatten, `layers` hidden Linear + ReLU of `width`
 * (defaults 2 and 512), Linear.  Tensors are fc1.weight, fc1.bias, fc2.weight, ... */
#include "engine/net_int.h"
#include "engine/zoo.h"

bool zoo_mlp(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
             struct diag *diag)
{
  (void)diag;
  const unsigned hidden = spec->layers ? spec->layers : 2;
  const unsigned width = spec->width ? spec->width : 512;
  unsigned x = net_flatten(b, 0);
  for (unsigned k = 1; k <= hidden; k++)
    x = net_linear(b, x, net_name(b, "fc%u", k), width, true);
  *logits = net_linear(b, x, net_name(b, "fc%u", hidden + 1), spec->classes, false);
  return true;
}
