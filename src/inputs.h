/* What commands on a user's own files work with: a model of the language, files of its weights,
 * and samples. */
#ifndef MERGESCAPE_INPUTS_H
#define MERGESCAPE_INPUTS_H

#include "dsl/ast.h"
#include "engine/data.h"
#include "engine/net.h"
#include "plan/plan.h"

/* Filled in this order: arena and diag by the caller, inputs_model, then inputs_samples or
 * inputs_shape, then inputs_sizes.  What is wrong is in diag. */
struct inputs {
  struct arena *arena;
  struct diag *diag;
  struct ast_program *program; /* for diag_print: what a message on --model points into */
  const char *model;           /* as it was said */
  struct plan_step init;       /* all that it says, by default too */
  struct net_spec spec;        /* with the shape of the data, and what a file of weights tells */
  bool text;
  struct data_set samples; /* all in DATA_TRAIN; where there are none, n is 0 */
  const char *samples_path;
  bool labelled;
};

/* A file of weights with its network. */
struct inputs_weights {
  const char *path;
  const struct net *net; /* a text's positions are all that the file has */
  bool untied;           /* a language model's head is its own */
  float *flat;
};

/* --model and its like (`option` for messages).  An exit status. */
int inputs_model(struct inputs *, const char *option, const char *text);
/* "1x28x28", or NULL for 3x32x32; nothing where the model reads text.  An exit status, as below. */
int inputs_shape(struct inputs *, const char *text);
/* A .safetensors file with a tensor "input" as `mergescape forward` reads it, and where `labelled`
 * is asked for of images "labels", whole numbers [samples].  Of text the label is the next token,
 * so that the last of a sample is nothing but a label. */
int inputs_samples(struct inputs *, const char *path, bool labelled);
/* Classes, and of text how many positions there are, by a file of weights; also holds samples
 * against them. */
int inputs_sizes(struct inputs *, const char *weights);

/* A file of weights, every number checked.  An exit status. */
int inputs_weights(struct inputs *, const char *path, struct inputs_weights *);

/* The same of a file that is to be written anew: positions are not cut or resampled. */
int inputs_weights_to_change(struct inputs *, const char *path, struct inputs_weights *);

/* The network for the samples, with a head of its own or not; NULL: a diagnostic.  It differs from
 * that of a file in how many positions a text has. */
const struct net *inputs_sample_net(struct inputs *, bool untied);
/* The same for the positions of the file. */
const struct net *inputs_net(struct inputs *, bool untied);
/* And for texts of at most so many tokens. */
const struct net *inputs_short_net(struct inputs *, unsigned tokens, bool untied);
/* Weights of one of these as those of the other: positions that only one has are left out, or
 * 0. */
void inputs_convey(const struct net *from, const float *flat, const struct net *to, float *out);

/* "resnet18(width = 32, stages = 4, ...)": a model of the language, said in full. */
const char *inputs_expression(struct arena *, const struct plan_step *init);

/* Neither a file that is read; paths NULL are left out.  false: a diagnostic. */
bool inputs_check_output(struct inputs *, const char *output, const char *const *read, size_t n);
/* checkpoint_create's shard_bytes for a path: 0 where it ends in .safetensors. */
uint64_t inputs_shard_bytes(const char *output);
/* The last part of a path: where it lay says more about a machine than about a model. */
const char *inputs_last_part(struct arena *, const char *path);

#endif
