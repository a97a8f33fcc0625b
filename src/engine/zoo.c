#include "engine/zoo.h"

#include <string.h>

static const struct zoo_model models[] = {
    {"mlp", zoo_mlp},
    {"gpt", zoo_gpt},
    {"densenet121", zoo_densenet121},
    {"resnet18", zoo_resnet18},
    {"vit_s_16", zoo_vit_s_16},
    {"vit_b_16", zoo_vit_b_16},
    {"clip_vit_b_16", zoo_clip_vit_b_16},
    {"convnext_tiny", zoo_convnext_tiny},
};

enum { MODELS = sizeof models / sizeof *models };

bool zoo_reads_text(const char *model)
{
  return !strcmp(model, "gpt");
}

bool zoo_large_stem(const struct net_spec *spec)
{
  return spec->stem && !strcmp(spec->stem, "imagenet");
}

enum ops_act zoo_activation(const struct net_spec *spec, enum ops_act own, enum ops_act gelu)
{
  if (!spec->activation)
    return own;
  if (!strcmp(spec->activation, "relu"))
    return OPS_RELU;
  return strcmp(spec->activation, "gelu") ? OPS_QUICK_GELU : gelu;
}

const struct zoo_model *zoo_find(const char *name, struct diag *diag)
{
  const char *names[MODELS];
  for (int i = 0; i < MODELS; i++) {
    names[i] = models[i].name;
    if (!strcmp(names[i], name))
      return &models[i];
  }
  diag_error(diag, (struct span){0}, "unknown model \"%s\"", name);
  const char *nearest = diag_nearest(name, names, MODELS);
  if (nearest)
    diag_hint(diag, "did you mean \"%s\"?", nearest);
  else
    diag_hint(diag, "models are mlp, resnet18, densenet121, convnext_tiny, gpt, vit_s_16, vit_b_16 "
                    "and clip_vit_b_16");
  return NULL;
}
