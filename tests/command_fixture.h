/* Running the program in a scratch folder, on files of networks and samples.  Include after
 * scratch.h. */
#ifndef MERGESCAPE_TESTS_COMMAND_FIXTURE_H
#define MERGESCAPE_TESTS_COMMAND_FIXTURE_H

#include "base/rng.h"
#include "base/safetensors.h"
#include "engine/net.h"

#include <math.h>
#include <stdio.h>
#include <sys/wait.h>

/* Runs `mergescape ARGUMENTS`; the exit status.  What it says is in *said. */
static inline int command_run(const struct scratch *s, const char *arguments, const char **said)
{
  enum { CAP = 1 << 14 };
  char *text = arena_alloc(s->arena, CAP);
  FILE *f = popen(arena_printf(s->arena, "NO_COLOR=1 ./mergescape %s 2>&1", arguments), "r");
  assert_non_null(f);
  text[fread(text, 1, CAP - 1, f)] = 0;
  const int code = pclose(f);
  assert_true(WIFEXITED(code));
  *said = text;
  return WEXITSTATUS(code);
}

/* It is done, and says the text. */
static inline void command_does(const struct scratch *s, const char *arguments, const char *says)
{
  const char *said;
  const int status = command_run(s, arguments, &said);
  if (status || !strstr(said, says))
    fail_msg("%s: %d, %s", arguments, status, said);
}

/* It fails so, says the text, and leaves nothing at `out`. */
static inline void command_fails(const struct scratch *s, const char *arguments, int status,
                                 const char *says, const char *out)
{
  const char *said;
  const int got = command_run(s, arguments, &said);
  if (got != status || !strstr(said, says))
    fail_msg("%s: %d, %s", arguments, got, said);
  assert_false(file_exists(out));
}

/* Samples as a user has them, with labels below `classes` (0: none). */
static inline void command_write_input(const struct scratch *s, const char *path,
                                       const struct net_spec *spec, unsigned samples,
                                       unsigned classes)
{
  const size_t each = spec->block ? spec->block : spec->channels * spec->height * spec->image_width;
  const size_t n = samples * each;
  float *v = arena_array(s->arena, n, sizeof *v);
  int64_t *ids = arena_array(s->arena, n, sizeof *ids);
  int64_t *labels = arena_array(s->arena, samples, sizeof *labels);
  struct rng r = rng_at(4, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < n; i++) {
    v[i] = (float)rng_normal(&r);
    ids[i] = rng_below(&r, spec->classes);
  }
  for (unsigned i = 0; i < samples; i++)
    labels[i] = classes ? i % classes : 0;
  struct safetensors_tensor t[2] = {
      {.name = "input",
       .dtype = SAFETENSORS_F32,
       .rank = 4,
       .shape = {samples, spec->channels, spec->height, spec->image_width},
       .bytes = n * sizeof *v,
       .data = v},
      {.name = "labels",
       .dtype = SAFETENSORS_I64,
       .rank = 1,
       .shape = {samples},
       .bytes = samples * sizeof *labels,
       .data = labels}};
  if (spec->block)
    t[0] = (struct safetensors_tensor){.name = "input",
                                       .dtype = SAFETENSORS_I64,
                                       .rank = 2,
                                       .shape = {samples, spec->block},
                                       .bytes = n * sizeof *ids,
                                       .data = ids};
  const struct safetensors what = {.tensors = t, .n_tensors = classes ? 2 : 1};
  assert_true(safetensors_write(path, &what, s->diag));
}

/* What `mergescape forward` computes; *n floats. */
static inline const float *command_forward(const struct scratch *s, const char *model,
                                           const char *weights, const char *input, size_t *n)
{
  struct safetensors file;
  const char *out = scratch_path(s, "logits.safetensors");
  command_does(s,
               arena_printf(s->arena, "forward --model '%s' --weights %s --input %s -o %s", model,
                            weights, input, out),
               "output F32");
  assert_true(safetensors_open(s->arena, out, &file, s->diag));
  const struct safetensors_tensor *t = safetensors_find(&file, "output");
  *n = t->bytes / sizeof(float);
  const float *copy = arena_copy(s->arena, t->data, t->bytes);
  safetensors_close(&file);
  return copy;
}

/* The largest difference of two files' logits, as a share of the largest logit. */
static inline double command_apart(const struct scratch *s, const char *model_a, const char *a,
                                   const char *model_b, const char *b, const char *input)
{
  size_t n, m;
  const float *x = command_forward(s, model_a, a, input, &n);
  const float *y = command_forward(s, model_b, b, input, &m);
  double difference = 0, largest = 0;
  assert_int_equal(n, m);
  for (size_t i = 0; i < n; i++) {
    difference = fmax(difference, fabs((double)x[i] - (double)y[i]));
    largest = fmax(largest, fabs((double)x[i]));
  }
  return difference / largest;
}

#endif
