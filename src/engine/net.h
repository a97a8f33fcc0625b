/* A network: an architecture listed as layers, over one flat vector of weights.
 *
 * The flat vector holds the trainable parameters first, in the order of the
 * tensor table, then the buffers (batch-norm running mean and variance).  Each
 * tensor has PyTorch's name, shape and layout (linear [out][in], convolution
 * [out][in][kh][kw]), so that a checkpoint is a plain dump of the views.
 * Merging, distances and optimizer updates are passes over flat memory.
 *
 * Activations are channels last: [sample][row][column][channel].  A sample of text is
 * `block` token ids as floats, with a target for each: the token that follows. */
#ifndef MERGESCAPE_ENGINE_NET_H
#define MERGESCAPE_ENGINE_NET_H

#include "base/arena.h"
#include "base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raise when arithmetic changes: it is part of the key of every trained result. */
#define ENGINE_VERSION "8"

struct net;
struct ops; /* the backend's table of operations, ops.h */

struct net_spec {
  const char *model;                              /* a name of the zoo */
  unsigned width, stages, blocks, layers, growth; /* 0: the architecture's default */
  const char *stem; /* "cifar" (NULL too): 3x3, stride 1; "imagenet": 7x7 and pooling, stride 4 */
  unsigned heads, patch;
  unsigned hidden; /* transformers: feed-forward neurons of a block; 0: 4 times the width */
  /* Of a transformer's feed-forward part: "gelu", in gpt its tanh form, else the exact one,
   * "quick_gelu" or "relu"; NULL: the architecture's own. */
  const char *activation;
  bool untied; /* gpt: a head of its own, lm_head.weight, drawn as the embedding is */
  /* clip_vit_b_16: a linear layer visual.turn behind visual.ln_pre, so that what the blocks read
   * and write can be turned.  No other program has it. */
  bool turned;
  unsigned channels, height, image_width, classes; /* the data's shape */
  unsigned block; /* text: tokens a sample, and then the shape is 1, 1, block, vocabulary */
};

struct net_tensor {
  const char *name; /* "layer1.0.conv1.weight" */
  unsigned rank;
  size_t shape[4];
  size_t offset, count; /* floats, in the flat vector */
  bool buffer;          /* not trained: batch-norm running statistics */
};

/* NULL: unknown model or a shape that it cannot take (diagnostic). */
struct net *net_new(struct arena *, const struct net_spec *, struct diag *);

size_t net_inputs(const struct net *); /* floats of a sample */
size_t net_count(const struct net *);  /* floats in the flat vector */
size_t net_params(const struct net *); /* of these, trainable: they come first */
const struct net_tensor *net_tensors(const struct net *, size_t *n);
double net_flops(const struct net *); /* of one sample's forward pass: 2 a multiply-add */
bool net_has_batchnorm(const struct net *);
unsigned net_classes(const struct net *); /* of text: the vocabulary */
unsigned net_targets(const struct net *); /* a sample's labels: 1, or of text block */
bool net_reads_text(const struct net *);  /* token ids, below net_classes */
/* The classifier is the linear layer that makes the logits; it comes last.  What it
 * reads, floats a sample, are the features of the penultimate layer.  A language model's
 * head is tied to the embedding: no tensor is the classifier's alone, so that `head = new`
 * draws nothing; its features are the mean over a sample's tokens of the last norm's output. */
bool net_in_classifier(const struct net *, const struct net_tensor *);
unsigned net_features(const struct net *);

/* Does the tensor decay under `decay = weights`?  As its architecture's author exempts: not norms,
 * biases and layer scales, nor a vision transformer's class token and positions. */
bool net_decays(const struct net *, const struct net_tensor *);

/* Multiplying this tensor by a number changes nothing: a batch norm follows
 * (Li & Arora 2020). */
bool net_scale_invariant(const struct net *, const struct net_tensor *);

/* PyTorch's default initialisation: Kaiming-uniform (a = sqrt 5) for linear and
 * convolution weights, uniform(+-1/sqrt(fan_in)) biases, ones and zeros for norms,
 * except where the original model's code says otherwise (torchvision's ResNet:
 * Kaiming-normal, fan out).  Each tensor draws from its own random stream. */
void net_init(const struct net *, uint64_t seed, float *flat);

struct net_work; /* activations, gradients and scratch for up to max_batch samples */

/* `train`: also what backward needs.  Memory is planned here; a step allocates
 * nothing.  Release with net_work_free. */
struct net_work *net_work_new(const struct net *, const struct ops *, unsigned max_batch,
                              bool train);
void net_work_free(struct net_work *);
size_t net_work_bytes(const struct net_work *);
/* What it would be, without allocating it. */
size_t net_work_need(const struct net *, const struct ops *, unsigned max_batch, bool train);

/* x [n][h][w][c], labels [n][net_targets].  Training mode: batch statistics; the running
 * ones in `flat` move by PyTorch's momentum 0.1 (unbiased variance).  Mean
 * cross-entropy; its gradient into grad [net_params]. */
float net_loss_gradient(struct net_work *, float *flat, const float *x, const int32_t *labels,
                        unsigned n, float *grad);

/* The same of what inference computes: batch norm with its running statistics, which stay,
 * so that a sample's part does not depend on the others. */
float net_inference_gradient(struct net_work *, const float *flat, const float *x,
                             const int32_t *labels, unsigned n, float *grad);
/* The same with ReLUs that let through what they let through at the `flat` of the last
 * net_record_relu for these samples.  As a function of the weights it is smooth, and its
 * derivative at that point is what automatic differentiation calls the Hessian. */
void net_record_relu(struct net_work *, const float *flat, const float *x, unsigned n);
float net_fixed_relu_gradient(struct net_work *, const float *flat, const float *x,
                              const int32_t *labels, unsigned n, float *grad);

/* Inference mode: running statistics.  logits [n][net_targets][classes]. */
void net_logits(struct net_work *, const float *flat, const float *x, unsigned n, float *logits);

/* The same as far as the classifier's input: features [n][net_features]. */
void net_penultimate(struct net_work *, const float *flat, const float *x, unsigned n,
                     float *features);

/* What a layer put out: rows (samples times pixels) of c channels, `row` floats apart. */
struct net_activation {
  const float *y;
  size_t rows;
  unsigned c, row;
};
typedef void net_visitor(void *context, unsigned value, const struct net_activation *);

/* A forward pass in inference mode that shows what each layer puts out, in order and as it is
 * made: the memory is another layer's afterwards.  `value` names the place in the network. */
void net_visit(struct net_work *, const float *flat, const float *x, unsigned n, net_visitor *,
               void *context);

/* Training-mode forward pass that moves the running statistics by `momentum`
 * and nothing else: with momentum 1/(k+1) at the k-th batch (from 0) they become
 * the plain average over batches (recalibration after merging). */
void net_update_statistics(struct net_work *, float *flat, const float *x, unsigned n,
                           float momentum);

/* Checkpoints: every tensor by name, plus num_batches_tracked (I64) beside each
 * pair of running statistics, so that PyTorch's strict loading succeeds. */
bool net_save(const struct net *, const float *flat, const char *path, struct diag *);
/* The same as checkpoint_create writes: whole or not at all, with metadata `also`. */
struct safetensors_meta;
bool net_save_as(const struct net *, const float *flat, const char *path, uint64_t shard_bytes,
                 const struct safetensors_meta *also, struct diag *);
/* From a checkpoint.h path (a file, or a folder of shards with an index) of F32, F16, BF16 or F64,
 * whose names may be those of zoo_names.h.  Every missing, extra, misshaped or wrongly typed
 * tensor is reported, up to 20 of a kind.  Positions for more tokens than the network reads are
 * cut; those for another square of patches are resampled (net_positions.h), with a warning. */
bool net_load(const struct net *, const char *path, float *flat, struct diag *);
/* All but the classifier, which stays in `flat` as it is; the file's may have any
 * shape, or be missing. */
bool net_load_body(const struct net *, const char *path, float *flat, struct diag *);
/* What net_load would report, but for hints; shapes where they are known. */
bool net_check_file(const struct net *, const char *path, bool shapes, struct diag *);

/* What a file's tensors say of its network: classes, and of text the most tokens; 0: nothing.
 * untied: it has a language model's head of the embedding's shape and with other numbers.
 * `like` is of the same model, for any data, and tied. */
struct net_sizes {
  unsigned classes, tokens;
  bool untied;
};
bool net_file_sizes(const struct net *like, const char *path, struct net_sizes *, struct diag *);

/* Names each tensor of `flat`, read from `path`, that is somewhere NaN or infinite, or a running
 * variance below 0. */
bool net_check_values(const struct net *, const float *flat, const char *path, struct diag *);

#endif
