/* forward: inference on any arrays, with anybody's weights. */
#include "config.h"

#include "base/safetensors.h"
#include "dsl/option.h"
#include "dsl/parse.h"
#include "dsl/words.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "engine/ops_threads.h"
#include "engine/zoo.h"
#include "run/bind.h"
#include "session.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHOWN = 20, MOST_SAMPLES = 128, PROBE_PIXELS = 224 };

/* What a batch may take, activations, input and logits together. */
static const size_t batch_bytes = (size_t)256 << 20;

struct forward {
  const struct forward_options *o;
  struct arena *arena;
  struct diag *diag;
  const char *model;    /* "resnet18 width=64 ..." */
  struct net_spec spec; /* its data are those of the input */
  bool text;            /* the model reads token ids */
  struct safetensors input;
  const struct safetensors_tensor *x; /* NULL: no tensor of a shape that a model can read */
  uint64_t samples;
  size_t values; /* of a sample */
  struct net *net;
};

/* ---- the input's shape ---- */

static const char *shape_text(struct arena *a, const struct safetensors_tensor *t)
{
  const char *text = "";
  for (uint32_t i = 0; i < t->rank; i++)
    text = arena_printf(a, "%s%s%" PRIu64, text, i ? ", " : "", t->shape[i]);
  return arena_printf(a, "%s [%s]", safetensors_dtype_name(t->dtype), text);
}

static const char *wanted_text(const struct forward *f)
{
  return f->text ? "I64 [samples, tokens]" : "F32 [samples, channels, height, width]";
}

/* Sets x, where the shape can be read at all. */
static void check_shape(struct forward *f, const struct safetensors_tensor *t)
{
  const uint32_t rank = f->text ? 2 : 4;
  bool small = t->rank == rank;
  for (uint32_t k = 1; k < t->rank; k++)
    small = small && t->shape[k] > 0 && t->shape[k] <= 65536;
  if (t->rank != rank || t->dtype != (f->text ? SAFETENSORS_I64 : SAFETENSORS_F32)) {
    diag_error(f->diag, SPAN_NONE, "%s: tensor \"input\" is %s, %s reads %s", f->o->input,
               shape_text(f->arena, t), f->spec.model, wanted_text(f));
  } else if (!small) {
    diag_error(f->diag, SPAN_NONE, "%s: tensor \"input\" is %s: %s has no sizes from 1 to 65536",
               f->o->input, shape_text(f->arena, t), f->text ? "a text" : "an image");
  }
  if (!small)
    return;
  f->x = t;
  f->samples = t->shape[0];
  f->values = 1;
  for (uint32_t k = 1; k < rank; k++)
    f->values *= (size_t)t->shape[k];
}

/* Opens the input; what is wrong with it is reported. */
static void read_input(struct forward *f)
{
  if (!safetensors_open(f->arena, f->o->input, &f->input, f->diag))
    return;
  const struct safetensors_tensor *t = safetensors_find(&f->input, "input");
  if (t)
    check_shape(f, t);
  else
    diag_error(f->diag, SPAN_NONE, "%s: tensor \"input\" is missing", f->o->input);
  for (size_t i = 0; i < f->input.n_tensors && i <= MOST_SHOWN; i++) {
    const char *name = f->input.tensors[i].name;
    if (i == MOST_SHOWN)
      diag_warning(f->diag, SPAN_NONE, "%s: and %zu more tensors are not read", f->o->input,
                   f->input.n_tensors - i);
    else if (strcmp(name, "input") != 0 && strcmp(name, "labels") != 0) /* other commands' */
      diag_warning(f->diag, SPAN_NONE, "%s: tensor \"%s\" is not read", f->o->input, name);
  }
}

/* ---- the network ---- */

/* The model for the input's shape, or where that is unknown for one that most fit. */
static struct net_spec shaped(const struct forward *f, unsigned tokens, unsigned classes)
{
  struct net_spec s = f->spec;
  s.classes = classes;
  if (f->text) {
    s.channels = s.height = 1;
    s.image_width = s.block = tokens;
  } else {
    s.channels = f->x ? (unsigned)f->x->shape[1] : 3;
    s.height = f->x ? (unsigned)f->x->shape[2] : PROBE_PIXELS;
    s.image_width = f->x ? (unsigned)f->x->shape[3] : PROBE_PIXELS;
  }
  return s;
}

/* A network for the input.  A model that cannot be built for any is a wrong --model: *status
 * says whose fault it is. */
static struct net *make_net(struct forward *f, unsigned tokens, unsigned classes, int *status)
{
  const struct net_spec spec = shaped(f, tokens, classes);
  struct net *net = net_new(f->arena, &spec, f->diag);
  if (net)
    return net;
  struct forward plain = *f;
  plain.x = NULL;
  const struct net_spec other = shaped(&plain, 1, 2);
  *status = net_new(f->arena, &other, diag_new(f->arena)) ? EXIT_ENVIRONMENT : EXIT_EXPERIMENT;
  return NULL;
}

/* Tokens of the samples; those that positions are for, where it is not known. */
static unsigned tokens_of(struct forward *f, unsigned positions)
{
  const uint64_t tokens = f->text && f->x ? f->x->shape[1] : 0;
  if (!tokens)
    return positions ? positions : 1;
  if (!positions || tokens <= positions)
    return (unsigned)tokens;
  diag_error(f->diag, SPAN_NONE, "%s: texts of %" PRIu64 " tokens, but %s has positions for %u",
             f->o->input, tokens, f->o->weights, positions);
  return positions;
}

/* "width, stages, blocks, stem" */
static const char *arguments(struct arena *a, const char *model)
{
  const struct words_thing *thing = words_thing(WORDS_MODEL, model);
  const struct words_param *p;
  const char *text = "";
  for (size_t k = 0; (p = words_param_at(thing, k)); k++)
    text = arena_printf(a, "%s%s%s", text, k ? ", " : "", p->name);
  return text;
}

/* What the weights were asked for, unless a hint has said what it takes. */
static void explain_mismatch(const struct forward *f, const struct net_sizes *sizes)
{
  if (!f->x || !sizes->classes || diag_hint_of(f->diag, diag_count(f->diag) - 1))
    return;
  const struct net_spec s = shaped(f, 1, sizes->classes);
  const char *data = f->text ? ""
                             : arena_printf(f->arena, " for the input's %u x %u x %u", s.channels,
                                            s.height, s.image_width);
  diag_hint(f->diag, "the model is %s%s, with the weights' %u classes; --model may say its %s",
            f->model, data, sizes->classes, arguments(f->arena, f->spec.model));
}

/* The network that input and weights are of, with every mismatch reported; an exit status. */
static int choose_net(struct forward *f)
{
  int status = EXIT_DONE;
  struct net_sizes sizes;
  read_input(f);
  const struct net *like = make_net(f, 1, 2, &status);
  if (!like)
    return status;
  if (!net_file_sizes(like, f->o->weights, &sizes, f->diag))
    return EXIT_ENVIRONMENT;
  f->spec.untied = sizes.untied;
  if (sizes.untied)
    diag_warning(f->diag, SPAN_NONE,
                 "%s: \"lm_head.weight\" is not the embedding: it is taken as a head of its own",
                 f->o->weights);
  f->net = make_net(f, tokens_of(f, sizes.tokens), sizes.classes ? sizes.classes : 2, &status);
  if (!f->net)
    return status;
  if (!net_check_file(f->net, f->o->weights, f->x || f->text, f->diag))
    explain_mismatch(f, &sizes);
  return EXIT_DONE;
}

/* ---- the input's values ---- */

static void report_value(struct forward *f, uint64_t sample, size_t at, const unsigned char *bytes)
{
  const uint64_t *shape = f->x->shape;
  int64_t id;
  float v;
  if (f->text) {
    memcpy(&id, bytes, sizeof id);
    diag_error(f->diag, SPAN_NONE,
               "%s: token %" PRId64 " of sample %" PRIu64 ", position %zu, is outside 0 to %u",
               f->o->input, id, sample, at, net_classes(f->net) - 1);
    return;
  }
  memcpy(&v, bytes, sizeof v);
  diag_error(f->diag, SPAN_NONE,
             "%s: sample %" PRIu64 " is %s at channel %" PRIu64 ", row %" PRIu64
             ", column %" PRIu64,
             f->o->input, sample, isnan(v) ? "NaN" : "infinite", at / (shape[2] * shape[3]),
             at / shape[3] % shape[2], at % shape[3]);
}

static bool is_good(const struct forward *f, const unsigned char *bytes)
{
  int64_t id;
  float v;
  if (!f->text) {
    memcpy(&v, bytes, sizeof v);
    return isfinite(v);
  }
  memcpy(&id, bytes, sizeof id);
  return id >= 0 && id < (int64_t)net_classes(f->net);
}

/* Tokens of the vocabulary; numbers. */
static void check_values(struct forward *f)
{
  const size_t width = safetensors_dtype_bytes(f->x->dtype);
  const unsigned char *p = f->x->data;
  uint64_t bad = 0;
  for (uint64_t i = 0; i < f->samples; i++)
    for (size_t k = 0; k < f->values; k++, p += width)
      if (!is_good(f, p) && bad++ < MOST_SHOWN)
        report_value(f, i, k, p);
  if (bad > MOST_SHOWN)
    diag_error(f->diag, SPAN_NONE, "%s: %" PRIu64 " more %s", f->o->input, bad - MOST_SHOWN,
               f->text ? "tokens are outside of the vocabulary" : "values are not finite");
  if (bad)
    diag_hint(f->diag, "counted from 0");
}

/* ---- computing ---- */

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
  (void)number;
  stop = 1;
}

static void catch_signals(void)
{
  struct sigaction act = {.sa_handler = on_signal};
  sigaction(SIGINT, &act, NULL);
  sigaction(SIGTERM, &act, NULL);
}

/* Samples first... as the network reads them: [n][h][w][c], or token ids. */
static void take_samples(const struct forward *f, uint64_t first, unsigned n, float *x)
{
  const size_t width = safetensors_dtype_bytes(f->x->dtype);
  const unsigned char *p = (const unsigned char *)f->x->data + first * f->values * width;
  if (f->text) {
    for (size_t i = 0; i < n * f->values; i++) {
      int64_t id;
      memcpy(&id, p + i * width, sizeof id);
      x[i] = (float)id;
    }
    return;
  }
  const size_t channels = (size_t)f->x->shape[1], pixels = f->values / channels;
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; c < channels; c++)
      for (size_t k = 0; k < pixels; k++, p += width)
        memcpy(&x[(i * pixels + k) * channels + c], p, sizeof *x);
}

/* As many samples at once as fit into batch_bytes, by what one needs. */
static struct net_work *make_work(const struct forward *f, const struct ops *ops, size_t logits,
                                  unsigned *batch)
{
  struct net_work *one = net_work_new(f->net, ops, 1, false);
  const size_t bytes = net_work_bytes(one) + (logits + f->values) * sizeof(float);
  const size_t most = f->samples < MOST_SAMPLES ? (size_t)f->samples : MOST_SAMPLES;
  const size_t fit = batch_bytes / bytes;
  *batch = (unsigned)(fit < 1 ? 1 : fit < most ? fit : most);
  if (*batch == 1)
    return one;
  net_work_free(one);
  return net_work_new(f->net, ops, *batch, false);
}

static bool compute(struct forward *f, const float *flat, struct safetensors_writer *out)
{
  const size_t logits = (size_t)net_targets(f->net) * net_classes(f->net);
  unsigned batch;
  if (!f->samples)
    return true;
  const struct ops *ops = ops_threads_new(ops_cpu(), f->o->threads);
  struct net_work *work = make_work(f, ops, logits, &batch);
  float *x = mem_alloc(batch * f->values * sizeof *x);
  float *y = mem_alloc(batch * logits * sizeof *y);
  uint64_t bad = 0, first_bad = 0;
  bool ok = true;
  for (uint64_t i = 0; ok && !stop && i < f->samples; i += batch) {
    const unsigned n = f->samples - i < batch ? (unsigned)(f->samples - i) : batch;
    take_samples(f, i, n, x);
    net_logits(work, flat, x, n, y);
    for (size_t k = 0; k < n * logits; k++)
      if (!isfinite(y[k]) && !bad++)
        first_bad = i + k / logits;
    ok = safetensors_writer_put(out, 0, i * logits * sizeof *y, y, n * logits * sizeof *y, f->diag);
  }
  if (bad)
    diag_warning(f->diag, SPAN_NONE,
                 "%" PRIu64 " logits are not finite, the first of sample %" PRIu64, bad, first_bad);
  free(y);
  free(x);
  net_work_free(work);
  ops_threads_free(ops);
  return ok;
}

static struct safetensors_tensor output_tensor(const struct forward *f)
{
  struct safetensors_tensor t = {.name = "output", .dtype = SAFETENSORS_F32};
  t.shape[t.rank++] = f->samples;
  if (f->text)
    t.shape[t.rank++] = net_targets(f->net);
  t.shape[t.rank++] = net_classes(f->net);
  t.bytes = sizeof(float);
  for (uint32_t k = 0; k < t.rank; k++)
    t.bytes *= (size_t)t.shape[k];
  return t;
}

/* All is checked: loads the weights, computes, writes. */
static int run(struct forward *f)
{
  float *flat = mem_alloc(net_count(f->net) * sizeof *flat);
  struct safetensors_tensor t = output_tensor(f);
  const struct safetensors file = {.tensors = &t, .n_tensors = 1};
  bool ok = net_load(f->net, f->o->weights, flat, f->diag) &&
            net_check_values(f->net, flat, f->o->weights, f->diag);
  if (ok)
    catch_signals();
  struct safetensors_writer *out = ok ? safetensors_writer_new(f->o->output, &file, f->diag) : NULL;
  ok = out && compute(f, flat, out) && !stop;
  if (ok)
    ok = safetensors_writer_commit(out, f->diag);
  else
    safetensors_writer_abandon(out);
  free(flat);
  if (stop && !ok)
    return EXIT_INTERRUPTED;
  if (ok && !f->o->quiet)
    printf("%s: output %s\n", f->o->output, shape_text(f->arena, &t));
  return ok ? EXIT_DONE : EXIT_ENVIRONMENT;
}

static int forward(struct forward *f, struct ast_program *program)
{
  struct plan_step init;
  if (!dsl_model_option(program, "--model", f->o->model, &init, f->diag))
    return EXIT_EXPERIMENT;
  bind_model_spec(&init, &f->spec);
  f->model = plan_step_text(f->arena, &init) + strlen("init model=");
  f->text = zoo_reads_text(f->spec.model);
  const int status = choose_net(f);
  if (status == EXIT_DONE && f->x)
    check_values(f);
  if (status == EXIT_DONE && !diag_errors(f->diag))
    return run(f);
  return status == EXIT_DONE ? EXIT_ENVIRONMENT : status;
}

int command_forward(const struct forward_options *o)
{
  struct arena *a = arena_new();
  struct ast_program *program = ast_program_new(a);
  struct forward f = {.o = o, .arena = a, .diag = diag_new(a)};
  int status = forward(&f, program);
  safetensors_close(&f.input);
  /* A full disk or a closed pipe must not look like success. */
  if (fflush(stdout) || ferror(stdout))
    status = EXIT_ENVIRONMENT;
  diag_print(f.diag, program->sources, stderr, diag_colour(stderr));
  arena_free(a);
  return status;
}
