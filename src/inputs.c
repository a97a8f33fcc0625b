#include "inputs.h"

#include "base/checkpoint.h"
#include "base/num.h"
#include "dsl/option.h"
#include "dsl/parse.h"
#include "dsl/words.h"
#include "engine/net_copy.h"
#include "engine/zoo.h"
#include "run/bind.h"
#include "session.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_SHOWN = 20, MOST_TOKEN = 65535 };

/* ---- the model ---- */

int inputs_model(struct inputs *in, const char *option, const char *text)
{
  in->model = text;
  if (!in->program)
    in->program = ast_program_new(in->arena);
  if (!dsl_model_option(in->program, option, text, &in->init, in->diag))
    return EXIT_EXPERIMENT;
  bind_model_spec(&in->init, &in->spec);
  in->text = zoo_reads_text(in->spec.model);
  return EXIT_DONE;
}

int inputs_shape(struct inputs *in, const char *text)
{
  struct net_spec *s = &in->spec;
  int end = 0;
  if (in->text && text) {
    diag_error(in->diag, SPAN_NONE, "--shape: %s reads text", s->model);
    return EXIT_ENVIRONMENT;
  }
  text = text ? text : "3x32x32";
  const int n = sscanf(text, "%5ux%5ux%5u%n", &s->channels, &s->height, &s->image_width, &end);
  if (n == 3 && !text[end] && s->channels && s->height && s->image_width)
    return EXIT_DONE;
  diag_error(in->diag, SPAN_NONE, "--shape: `%s` is no shape such as 1x28x28", text);
  return EXIT_ENVIRONMENT;
}

const char *inputs_expression(struct arena *a, const struct plan_step *init)
{
  const struct words_thing *model = words_thing(WORDS_MODEL, plan_str(init, PLAN_A_model));
  const struct words_param *p;
  const char *list = "";
  for (size_t k = 0; (p = words_param_at(model, k)); k++) {
    const struct plan_attr *at = plan_attr(init, p->attr);
    char number[NUM_TEXT];
    if (at)
      list = arena_printf(a, "%s%s%s = %s", list, *list ? ", " : "", p->name,
                          at->str ? at->str : num_text(at->num, number));
  }
  return arena_printf(a, *list ? "%s(%s)" : "%s%s", model->name, list);
}

/* ---- samples ---- */

static bool is_whole(enum safetensors_dtype t)
{
  return t != SAFETENSORS_BOOL && t != SAFETENSORS_U64 && !safetensors_is_float(t);
}

/* The k-th element of a tensor of whole numbers. */
static int64_t whole_at(const struct safetensors_tensor *t, uint64_t k)
{
#define CASE(dtype, type)                                                                          \
  case SAFETENSORS_##dtype: {                                                                      \
    type v;                                                                                        \
    memcpy(&v, (const char *)t->data + k * sizeof v, sizeof v);                                    \
    return (int64_t)v;                                                                             \
  }
  switch (t->dtype) {
    CASE(U8, uint8_t)
    CASE(I8, int8_t)
    CASE(I16, int16_t)
    CASE(U16, uint16_t)
    CASE(I32, int32_t)
    CASE(U32, uint32_t)
  default:
    CASE(I64, int64_t)
  }
#undef CASE
}

static void misshaped(struct inputs *in, const struct safetensors_tensor *t, const char *name,
                      const char *wanted)
{
  if (!t) {
    diag_error(in->diag, SPAN_NONE, "%s: tensor \"%s\" is missing: %s", in->samples_path, name,
               wanted);
    return;
  }
  struct checkpoint_tensor like = {.rank = t->rank};
  memcpy(like.shape, t->shape, sizeof like.shape);
  diag_error(in->diag, SPAN_NONE, "%s: tensor \"%s\" is %s %s, not %s", in->samples_path, name,
             safetensors_dtype_name(t->dtype), checkpoint_shape(in->arena, &like), wanted);
}

/* Is it of this rank, with sizes that a sample can have? */
static bool has_sizes(const struct safetensors_tensor *t, uint32_t rank)
{
  bool fits = t && t->rank == rank && t->shape[0] > 0 && t->shape[0] <= INT32_MAX;
  for (uint32_t k = 1; fits && k < rank; k++)
    fits = t->shape[k] > 0 && t->shape[k] <= 65536;
  return fits;
}

/* Channels last. */
static void take_images(struct inputs *in, const struct safetensors_tensor *x)
{
  struct data_set *set = &in->samples;
  const size_t channels = (size_t)x->shape[1], pixels = (size_t)x->shape[2] * x->shape[3];
  const size_t n = (size_t)x->shape[0];
  const char *p = x->data;
  float *v = arena_array(in->arena, n * channels * pixels, sizeof *v);
  uint64_t bad = 0, first = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; c < channels; c++)
      for (size_t k = 0; k < pixels; k++, p += sizeof *v) {
        float *to = &v[(i * pixels + k) * channels + c];
        memcpy(to, p, sizeof *v);
        if (!isfinite(*to) && !bad++)
          first = i;
      }
  if (bad)
    diag_error(in->diag, SPAN_NONE,
               "%s: %" PRIu64 " values are not finite, the first of sample %" PRIu64
               " (counted from 0)",
               in->samples_path, bad, first);
  *set = (struct data_set){.channels = (unsigned)channels,
                           .height = (unsigned)x->shape[2],
                           .width = (unsigned)x->shape[3],
                           .targets = 1};
  set->split[DATA_TRAIN] = (struct data_samples){.n = (unsigned)n, .values = v};
  set->split[DATA_TRAIN].labels = arena_array(in->arena, n, sizeof(int32_t));
  in->spec.channels = set->channels;
  in->spec.height = set->height;
  in->spec.image_width = set->width;
}

/* What is no 16-bit number is found against the vocabulary, inputs_sizes. */
static void take_texts(struct inputs *in, const struct safetensors_tensor *x)
{
  struct data_set *set = &in->samples;
  const size_t n = (size_t)x->shape[0], tokens = (size_t)x->shape[1];
  uint16_t *v = arena_array(in->arena, n * tokens, sizeof *v);
  for (size_t i = 0; i < n * tokens; i++) {
    const int64_t id = whole_at(x, i);
    v[i] = id < 0 || id > MOST_TOKEN ? MOST_TOKEN : (uint16_t)id;
  }
  *set = (struct data_set){.channels = 1,
                           .height = 1,
                           .width = (unsigned)tokens - 1,
                           .block = (unsigned)tokens - 1,
                           .targets = (unsigned)tokens - 1};
  set->split[DATA_TRAIN] = (struct data_samples){.n = (unsigned)n, .tokens = v};
}

/* Whether there is such a class is known later. */
static void take_labels(struct inputs *in, const struct safetensors_tensor *t)
{
  const unsigned n = in->samples.split[DATA_TRAIN].n;
  if (!t || t->rank != 1 || t->shape[0] != n || !is_whole(t->dtype)) {
    misshaped(in, t, "labels",
              arena_printf(in->arena, "whole numbers [%u]: each sample's class", n));
    return;
  }
  int32_t *labels = arena_array(in->arena, n, sizeof *labels);
  for (unsigned i = 0; i < n; i++) {
    const int64_t label = whole_at(t, i);
    labels[i] = label < 0 || label > INT32_MAX ? -1 : (int32_t)label;
  }
  in->samples.split[DATA_TRAIN].labels = labels;
}

static void take_samples(struct inputs *in, const struct safetensors *file)
{
  const struct safetensors_tensor *x = safetensors_find(file, "input");
  if (in->text) {
    if (has_sizes(x, 2) && x->shape[1] > 1 && is_whole(x->dtype))
      take_texts(in, x);
    else
      misshaped(in, x, "input", "token ids, I64 [samples, tokens], two tokens or more");
    return;
  }
  if (!has_sizes(x, 4) || x->dtype != SAFETENSORS_F32) {
    misshaped(in, x, "input", "images, F32 [samples, channels, height, width]");
    return;
  }
  take_images(in, x);
  if (in->labelled)
    take_labels(in, safetensors_find(file, "labels"));
}

int inputs_samples(struct inputs *in, const char *path, bool labelled)
{
  const unsigned before = diag_errors(in->diag);
  struct safetensors file;
  in->samples_path = path;
  in->labelled = labelled && !in->text;
  if (!safetensors_open(in->arena, path, &file, in->diag))
    return EXIT_ENVIRONMENT;
  take_samples(in, &file);
  safetensors_close(&file);
  return diag_errors(in->diag) == before ? EXIT_DONE : EXIT_ENVIRONMENT;
}

/* Labels, or tokens, that a classifier with so many outputs knows. */
static void check_classes(struct inputs *in, unsigned classes)
{
  const struct data_samples *s = &in->samples.split[DATA_TRAIN];
  const size_t each = in->text ? in->samples.block + 1 : 1, n = s->n * each;
  const char *what = in->text ? "token" : "label";
  size_t bad = 0;
  for (size_t i = 0; (in->text || in->labelled) && i < n; i++) {
    const int64_t v = in->text ? s->tokens[i] : s->labels[i];
    if ((v >= 0 && v < (int64_t)classes) || bad++ >= MOST_SHOWN)
      continue;
    diag_error(in->diag, SPAN_NONE, "%s: a %s of sample %zu is outside 0 to %u (counted from 0)",
               in->samples_path, what, i / each, classes - 1);
  }
  if (bad > MOST_SHOWN)
    diag_error(in->diag, SPAN_NONE, "%s: %zu more %ss are outside of it", in->samples_path,
               bad - MOST_SHOWN, what);
  in->samples.classes = classes;
}

/* ---- weights ---- */

static const struct net *make_net(struct inputs *in, unsigned tokens, bool untied)
{
  struct net_spec s = in->spec;
  s.untied = untied;
  if (in->text) {
    s.channels = s.height = 1;
    s.image_width = s.block = tokens;
  }
  return net_new(in->arena, &s, in->diag);
}

const struct net *inputs_net(struct inputs *in, bool untied)
{
  return make_net(in, in->spec.block, untied);
}

const struct net *inputs_sample_net(struct inputs *in, bool untied)
{
  return make_net(in, in->samples.block, untied);
}

const struct net *inputs_short_net(struct inputs *in, unsigned tokens, bool untied)
{
  return make_net(in, tokens < in->spec.block ? tokens : in->spec.block, untied);
}

static bool file_sizes(struct inputs *in, const char *path, struct net_sizes *sizes, int *status)
{
  const unsigned classes = in->spec.classes;
  in->spec.classes = 2;
  const struct net *like = make_net(in, 1, false);
  in->spec.classes = classes;
  *status = like ? EXIT_ENVIRONMENT : EXIT_EXPERIMENT;
  return like && net_file_sizes(like, path, sizes, in->diag);
}

int inputs_sizes(struct inputs *in, const char *weights)
{
  const unsigned before = diag_errors(in->diag);
  struct net_sizes sizes = {0};
  int status;
  if (!file_sizes(in, weights, &sizes, &status))
    return status;
  in->spec.classes = sizes.classes ? sizes.classes : 2;
  if (in->text)
    in->spec.block = sizes.tokens ? sizes.tokens : 1;
  if (!inputs_net(in, false))
    return EXIT_EXPERIMENT;
  if (!sizes.classes)
    return EXIT_DONE; /* nothing to hold samples against: loading says what is missing */
  if (in->text && in->samples.block > in->spec.block)
    diag_error(in->diag, SPAN_NONE, "%s: texts of %u tokens, but %s has positions for %u",
               in->samples_path, in->samples.block + 1, weights, in->spec.block);
  check_classes(in, in->spec.classes);
  return diag_errors(in->diag) == before ? EXIT_DONE : EXIT_ENVIRONMENT;
}

int inputs_weights(struct inputs *in, const char *path, struct inputs_weights *w)
{
  const unsigned before = diag_errors(in->diag);
  struct net_sizes sizes = {0};
  int status;
  if (!file_sizes(in, path, &sizes, &status))
    return status;
  *w = (struct inputs_weights){.path = path, .untied = sizes.untied};
  w->net = inputs_net(in, sizes.untied);
  if (net_check_file(w->net, path, true, in->diag)) {
    w->flat = arena_array(in->arena, net_count(w->net), sizeof *w->flat);
    if (net_load(w->net, path, w->flat, in->diag))
      net_check_values(w->net, w->flat, path, in->diag);
  }
  if (diag_errors(in->diag) == before)
    return EXIT_DONE;
  if (!diag_hint_of(in->diag, diag_count(in->diag) - 1)) {
    if (in->text)
      diag_hint(in->diag, "the network is %s", in->model);
    else
      diag_hint(in->diag, "the network is %s for images of %u x %u x %u (--shape, --input)",
                in->model, in->spec.channels, in->spec.height, in->spec.image_width);
  }
  return EXIT_ENVIRONMENT;
}

int inputs_weights_to_change(struct inputs *in, const char *path, struct inputs_weights *w)
{
  const int status = inputs_weights(in, path, w);
  if (status != EXIT_DONE || net_copy_fits(w->net, path, in->diag))
    return status;
  if (in->text)
    diag_hint(in->diag, "both models must have as many positions");
  else
    diag_hint(in->diag, "images are %u x %u x %u here: %s must be what the positions are for",
              in->spec.channels, in->spec.height, in->spec.image_width,
              in->samples_path ? "--input" : "--shape");
  return EXIT_ENVIRONMENT;
}

void inputs_convey(const struct net *from, const float *flat, const struct net *to, float *out)
{
  size_t n, m;
  const struct net_tensor *a = net_tensors(from, &n), *b = net_tensors(to, &m);
  memset(out, 0, net_count(to) * sizeof *out);
  for (size_t i = 0; i < m; i++)
    for (size_t k = 0; k < n; k++)
      if (!strcmp(a[k].name, b[i].name))
        memcpy(out + b[i].offset, flat + a[k].offset,
               (a[k].count < b[i].count ? a[k].count : b[i].count) * sizeof *out);
}

/* ---- output ---- */

bool inputs_check_output(struct inputs *in, const char *output, const char *const *read, size_t n)
{
  for (size_t k = 0; k < n; k++) {
    struct checkpoint from;
    if (!read[k])
      continue;
    if (!checkpoint_open(in->arena, read[k], &from, in->diag))
      return false;
    const bool same = checkpoint_holds(&from, output);
    checkpoint_close(&from);
    if (same) {
      diag_error(in->diag, SPAN_NONE, "%s is one of the files that are read", output);
      diag_hint(in->diag, "write the result to another file");
      return false;
    }
  }
  return true;
}

uint64_t inputs_shard_bytes(const char *output)
{
  const size_t n = strlen(output), m = strlen(".safetensors");
  return n >= m && !strcmp(output + n - m, ".safetensors") ? 0 : UINT64_C(5000000000);
}

const char *inputs_last_part(struct arena *a, const char *path)
{
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/')
    n--;
  char *whole = arena_strndup(a, path, n), *slash = strrchr(whole, '/');
  return slash && slash[1] ? slash + 1 : whole;
}
