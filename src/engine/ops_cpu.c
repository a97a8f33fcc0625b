/* The CPU backend's tables, and which one this machine runs. */
#include "engine/ops_int.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#define TABLE(set)                                                                                 \
  {                                                                                                \
    .numerics = "f32-cpu", .isa = #set, .kernels = &kernels_##set,                                 \
    .conv_scratch = cpu_conv_scratch, .conv_forward = cpu_conv_forward,                            \
    .conv_backward_data = cpu_conv_backward_data,                                                  \
    .conv_backward_weights = cpu_conv_backward_weights, .norm_statistics = cpu_norm_statistics,    \
    .depthwise_scratch = cpu_depthwise_scratch, .depthwise_forward = cpu_depthwise_forward,        \
    .depthwise_backward_data = cpu_depthwise_backward_data,                                        \
    .depthwise_backward_weights = cpu_depthwise_backward_weights,                                  \
    .norm_apply = cpu_norm_apply, .norm_backward = cpu_norm_backward,                              \
    .pool_forward = cpu_pool_forward, .pool_backward = cpu_pool_backward,                          \
    .average_forward = cpu_average_forward, .average_backward = cpu_average_backward,              \
    .max_forward = cpu_max_forward, .max_backward = cpu_max_backward,                              \
    .flatten_forward = cpu_flatten_forward, .flatten_backward = cpu_flatten_backward,              \
    .linear_forward = cpu_linear_forward, .linear_backward = cpu_linear_backward,                  \
    .softmax_loss = cpu_softmax_loss, .sgd = cpu_sgd, .adamw = cpu_adamw,                          \
    .patches_forward = cpu_patches_forward, .patches_backward = cpu_patches_backward,              \
    .dense_scratch = cpu_dense_scratch, .dense_forward = cpu_dense_forward,                        \
    .dense_backward = cpu_dense_backward, .layernorm_forward = cpu_layernorm_forward,              \
    .layernorm_backward = cpu_layernorm_backward, .attention_scratch = cpu_attention_scratch,      \
    .attention_forward = cpu_attention_forward, .attention_backward = cpu_attention_backward,      \
    .class_token_forward = cpu_class_token_forward,                                                \
    .class_token_backward = cpu_class_token_backward,                                              \
    .first_token_forward = cpu_first_token_forward,                                                \
    .first_token_backward = cpu_first_token_backward,                                              \
    .embedding_forward = cpu_embedding_forward, .embedding_backward = cpu_embedding_backward,      \
    .dense_backward_weights = cpu_dense_backward_weights,                                          \
    .dense_backward_data = cpu_dense_backward_data,                                                \
    .layernorm_backward_weights = cpu_layernorm_backward_weights,                                  \
    .layernorm_backward_data = cpu_layernorm_backward_data, .softmax_rows = cpu_softmax_rows,      \
    .scaled_scratch = cpu_scaled_scratch, .scaled_forward = cpu_scaled_forward,                    \
    .scaled_backward_weights = cpu_scaled_backward_weights,                                        \
    .scaled_backward_data = cpu_scaled_backward_data,                                              \
    .token_loss_scratch = cpu_token_loss_scratch, .token_loss = cpu_token_loss,                    \
  }

static const struct ops tables[] = {
#ifdef __x86_64__
    TABLE(avx512),
    TABLE(avx2),
#endif
    TABLE(baseline),
};

enum { TABLES = sizeof tables / sizeof *tables };

static bool runs_here(const char *isa)
{
#ifdef __x86_64__
  __builtin_cpu_init();
  if (!strcmp(isa, "avx512"))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!strcmp(isa, "avx2"))
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return !strcmp(isa, "baseline");
}

/* Numbers below 1e-38 count as zero.  In a run that collapses most activations
 * become such, and each costs a hundred cycles: such a run took three times as
 * long as the others. */
static void flush_denormals(void)
{
#ifdef __SSE2__
  enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x40 };
  _mm_setcsr(_mm_getcsr() | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
#endif
}

/* OpenBLAS has one thread: parallelism is one worker a core, and results must not
 * depend on how many threads there are. */
static const struct ops *ready(const struct ops *ops)
{
  openblas_set_num_threads(1);
  flush_denormals();
  return ops;
}

const struct ops *ops_cpu_isa(const char *isa)
{
  for (int i = 0; i < TABLES; i++) {
    if (!strcmp(tables[i].isa, isa) && runs_here(isa))
      return ready(&tables[i]);
  }
  return NULL;
}

const struct ops *ops_cpu(void)
{
  const char *wish = getenv("MERGESCAPE_ISA");
  const struct ops *ops = wish ? ops_cpu_isa(wish) : NULL;
  for (int i = 0; !ops; i++)
    ops = ops_cpu_isa(tables[i].isa);
  return ops;
}
