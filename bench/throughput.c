/* Training-step throughput: forward, loss, backward and update (SGD; gpt, vit: AdamW),
 * data in memory, no augmentation; on one thread unless --threads says otherwise.
 *
 *   bench/throughput resnet --width 16 --stages 3 --blocks 1 --size 14 --channels 2
 *                           --classes 100 --batch 32 [--seconds 4]
 *   bench/throughput densenet --growth 12 --layers 4 --stages 3 --size 14 --channels 2
 *                             --classes 100 --batch 32
 *   bench/throughput mlp --width 256 --layers 2 --size 14 --channels 1 --classes 10 --batch 32
 *   bench/throughput convnext --width 16 --stages 2 --blocks 1 --size 14 --channels 2
 *                             --classes 100 --batch 32
 *
 *   bench/throughput gpt --width 128 --layers 2 --heads 4 --block 128 --vocab 256 --batch 32
 *   bench/throughput vit --width 192 --layers 4 --heads 3 --patch 16 --size 224 --channels 3
 *                        --classes 100 --batch 8
 *
 * A sample is an image, or of gpt a token.  Prints the median; with --cpu 1 of the processor's
 * time, for a machine that others use too.  Floating-point operations are the
 * products' alone, three times the forward pass. */
#include "config.h"

#include "base/rng.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "engine/ops_threads.h"
#include "engine/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct option {
  const char *name;
  unsigned *value;
};

/* What is not the network's. */
struct setting {
  unsigned batch, seconds, threads;
  unsigned cpu; /* not 0: the processor's time, for a machine that others use too */
};

static double now(bool cpu)
{
  struct timespec t;
  clock_gettime(cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static bool set_option(const struct option *options, const char *name, const char *value)
{
  for (; options->name; options++) {
    if (!strcmp(name, options->name)) {
      *options->value = (unsigned)strtoul(value, NULL, 10);
      return true;
    }
  }
  return false;
}

struct bench {
  struct net_work *work;
  size_t params;
  struct optim optim;
  uint64_t steps;
  float *flat, *velocity, *square, *grad, *x;
  int32_t *labels;
  unsigned batch;
};

static void step(struct bench *b, const struct ops *ops)
{
  float *states[OPTIM_MOST_STATES] = {b->velocity, b->square};
  net_loss_gradient(b->work, b->flat, b->x, b->labels, b->batch, b->grad);
  optim_step(ops, &b->optim, b->steps++, b->params, b->flat, states, b->grad);
}

static void fill(const struct bench *b, size_t values, size_t targets, const struct net_spec *spec)
{
  struct rng r = rng_at(0, RNG_TEST, 0, 0, 0);
  for (size_t i = 0; i < values; i++)
    b->x[i] = spec->block ? (float)rng_below(&r, spec->classes) : (float)rng_normal(&r);
  for (size_t i = 0; i < targets; i++)
    b->labels[i] = (int32_t)rng_below(&r, spec->classes);
}

/* Median seconds of a step. */
static double measure(struct bench *b, const struct ops *ops, const struct setting *set)
{
  size_t n = 0, cap = 1024;
  double *times = malloc(cap * sizeof *times);
  if (!times)
    exit(2);
  step(b, ops);
  step(b, ops);
  for (double end = now(false) + set->seconds; n < 3 || now(false) < end; n++) {
    if (n == cap) {
      cap *= 2;
      double *more = realloc(times, cap * sizeof *times);
      if (!more)
        exit(2);
      times = more;
    }
    const double start = now(set->cpu);
    step(b, ops);
    times[n] = now(set->cpu) - start;
  }
  qsort(times, n, sizeof *times, by_value);
  const double median = times[n / 2];
  free(times);
  return median;
}

/* What the arguments ask for; false: usage. */
static bool parse(int argc, char **argv, struct net_spec *spec, struct setting *set)
{
  static const char *const models[][2] = {{"resnet", "resnet18"}, {"densenet", "densenet121"},
                                          {"mlp", "mlp"},         {"gpt", "gpt"},
                                          {"vit", "vit_s_16"},    {"convnext", "convnext_tiny"}};
  unsigned size = 32, block = 128, vocab = 256;
  const struct option options[] = {{"--width", &spec->width},
                                   {"--stages", &spec->stages},
                                   {"--blocks", &spec->blocks},
                                   {"--layers", &spec->layers},
                                   {"--growth", &spec->growth},
                                   {"--heads", &spec->heads},
                                   {"--patch", &spec->patch},
                                   {"--block", &block},
                                   {"--vocab", &vocab},
                                   {"--size", &size},
                                   {"--channels", &spec->channels},
                                   {"--classes", &spec->classes},
                                   {"--batch", &set->batch},
                                   {"--seconds", &set->seconds},
                                   {"--threads", &set->threads},
                                   {"--cpu", &set->cpu},
                                   {NULL, NULL}};
  bool good = argc >= 2 && argc % 2 == 0;
  for (size_t i = 0; good && i < sizeof models / sizeof *models; i++) {
    if (!strcmp(argv[1], models[i][0]))
      spec->model = models[i][1];
  }
  if (good && !strcmp(argv[1], "densenet")) { /* as the peer's */
    spec->stages = 3;
    spec->growth = 12;
    spec->layers = 6;
  }
  if (good && !strcmp(argv[1], "convnext")) { /* ConvNeXt-T */
    spec->width = 96;
    spec->blocks = 0;
  }
  good = good && spec->model;
  for (int i = 2; good && i + 1 < argc; i += 2)
    good = set_option(options, argv[i], argv[i + 1]);
  spec->height = spec->image_width = size;
  if (good && !strcmp(argv[1], "gpt")) {
    spec->channels = spec->height = 1;
    spec->image_width = spec->block = block;
    spec->classes = vocab;
  }
  return good;
}

static bool is_transformer(const struct net_spec *s)
{
  return s->block || !strcmp(s->model, "vit_s_16");
}

static void print_shape(const struct net_spec *s, const char *model)
{
  printf("%s width=%u ", model, s->width);
  if (s->block)
    printf("layers=%u heads=%u block=%u vocab=%u ", s->layers, s->heads, s->block, s->classes);
  else if (is_transformer(s))
    printf("layers=%u heads=%u patch=%u size=%u channels=%u classes=%u ", s->layers, s->heads,
           s->patch, s->image_width, s->channels, s->classes);
  else
    printf("stages=%u blocks=%u layers=%u growth=%u size=%u channels=%u classes=%u ", s->stages,
           s->blocks, s->layers, s->growth, s->image_width, s->channels, s->classes);
}

static const struct optim sgd = {.lr = 0.01, .momentum = 0.9, .weight_decay = 5e-4};
static const struct optim adamw = {
    .lr = 1e-3, .weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};

int main(int argc, char **argv)
{
  struct setting set = {.batch = 128, .seconds = 4, .threads = 1};
  struct net_spec spec = {.width = 64,
                          .stages = 4,
                          .blocks = 2,
                          .layers = 2,
                          .heads = 4,
                          .patch = 16,
                          .channels = 3,
                          .classes = 100};
  if (!parse(argc, argv, &spec, &set)) {
    fprintf(stderr,
            "usage: throughput resnet|densenet|convnext|mlp [--width N] [--stages N] [--blocks N] "
            "[--layers N] [--growth N]\n"
            "         [--size N] [--channels N] [--classes N] [COMMON]\n"
            "       throughput gpt [--width N] [--layers N] [--heads N] [--block N] [--vocab N] "
            "[COMMON]\n"
            "       throughput vit [--width N] [--layers N] [--heads N] [--patch N] [--size N]\n"
            "         [--channels N] [--classes N] [COMMON]\n"
            "       COMMON: [--batch N] [--seconds N] [--threads N] [--cpu 1]\n");
    return 2;
  }
  struct arena *arena = arena_new();
  struct diag *diag = diag_new(arena);
  const struct net *net = net_new(arena, &spec, diag);
  if (!net) {
    diag_print(diag, NULL, stderr, false);
    return 2;
  }
  const struct ops *threaded = set.threads > 1 ? ops_threads_new(ops_cpu(), set.threads) : NULL;
  const struct ops *ops = threaded ? threaded : ops_cpu();
  const size_t values = (size_t)set.batch * spec.height * spec.image_width * spec.channels;
  const size_t targets = (size_t)set.batch * net_targets(net);
  struct bench b = {
      .work = net_work_new(net, ops, set.batch, true),
      .params = net_params(net),
      .optim = is_transformer(&spec) ? adamw : sgd,
      .flat = mem_alloc(net_count(net) * sizeof(float)),
      .velocity = mem_zalloc(net_count(net) * sizeof(float)),
      .square = mem_zalloc(net_count(net) * sizeof(float)),
      .grad = mem_zalloc(net_count(net) * sizeof(float)),
      .x = mem_alloc(values * sizeof(float)),
      .labels = mem_alloc(targets * sizeof(int32_t)),
      .batch = set.batch,
  };
  b.optim.rule = optim_find(is_transformer(&spec) ? "adamw" : "sgd");
  net_init(net, 0, b.flat);
  fill(&b, values, targets, &spec);
  const double dt = measure(&b, ops, &set);
  print_shape(&spec, argv[1]);
  printf("batch=%u isa=%s threads=%u samples_per_s=%.1f gflops=%.1f\n", set.batch, ops->isa,
         set.threads, (double)targets / dt, 3 * set.batch * net_flops(net) / dt / 1e9);
  free(b.flat);
  free(b.velocity);
  free(b.square);
  free(b.grad);
  free(b.x);
  free(b.labels);
  net_work_free(b.work);
  ops_threads_free(threaded);
  arena_free(arena);
  return 0;
}
