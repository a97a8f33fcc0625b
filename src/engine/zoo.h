/* The architectures.  One is a function that lists layers (ZOO_* below, one
 * file each); the calls that it makes are in net_int.h. */
#ifndef MERGESCAPE_ENGINE_ZOO_H
#define MERGESCAPE_ENGINE_ZOO_H

#include "engine/net.h"
#include "engine/ops.h"

struct net_builder;

struct zoo_model {
  const char *name;
  /* Lists the layers; returns the logits' value, or false where the shape doesn't fit. */
  bool (*build)(struct net_builder *, const struct net_spec *, unsigned *logits, struct diag *);
};

/* Is it ImageNet's, 7x7? */
bool zoo_reads_text(const char *model); /* or images */
bool zoo_large_stem(const struct net_spec *);

/* What a spec says of the activation: `own` where it says nothing, `gelu` where it says so; a word
 * that net_new has let pass. */
enum ops_act zoo_activation(const struct net_spec *, enum ops_act own, enum ops_act gelu);

/* NULL: no such model (a diagnostic names the nearest). */
const struct zoo_model *zoo_find(const char *name, struct diag *);

bool zoo_mlp(struct net_builder *, const struct net_spec *, unsigned *logits, struct diag *);
bool zoo_densenet121(struct net_builder *, const struct net_spec *, unsigned *logits,
                     struct diag *);
bool zoo_convnext_tiny(struct net_builder *, const struct net_spec *, unsigned *logits,
                       struct diag *);
bool zoo_gpt(struct net_builder *, const struct net_spec *, unsigned *logits, struct diag *);
bool zoo_vit_s_16(struct net_builder *, const struct net_spec *, unsigned *logits, struct diag *);
bool zoo_vit_b_16(struct net_builder *, const struct net_spec *, unsigned *logits, struct diag *);
bool zoo_clip_vit_b_16(struct net_builder *, const struct net_spec *, unsigned *logits,
                       struct diag *);
bool zoo_resnet18(struct net_builder *, const struct net_spec *, unsigned *logits, struct diag *);

#endif
