/* What matching does for pairs of networks that were trained from different starts, and how long
 * it takes.
 *
 *   bench/matching barriers DATA_DIR     Fashion-MNIST, two MLPs and two ResNets
 *   bench/matching language DATA_DIR     the King James Bible, byte by byte, two small GPTs
 *   bench/matching time                  assignments; weight matching of ResNet18, 64 wide
 *
 * The barrier is the largest excess of the test loss over the straight line between the ends, of
 * 11 points.  Times are processor time of one thread. */
#include "config.h"

#include "base/rng.h"
#include "engine/optim.h"
#include "engine/schedule.h"
#include "measure/measure.h"
#include "merge/assignment.h"
#include "merge/match.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 128, BLOCK = 64, TEXT_BATCH = 16, LEARNED_BATCH = 32, EVALUATED = 200, POINTS = 11 };

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- barriers ---- */

struct pair {
  struct arena *arena;
  struct diag *diag;
  const struct data_set *data;
  const struct net *net;
  const struct net_groups *groups;
  struct net_work *train, *evaluate;
  float *a, *b, *matched, *middle;
  const struct net_spec *spec; /* of text */
};

static void fail(struct diag *d)
{
  diag_print(d, NULL, stderr, false);
  exit(2);
}

static void allocate(struct pair *p, unsigned batch)
{
  float **const flats[] = {&p->a, &p->b, &p->matched, &p->middle};
  p->train = net_work_new(p->net, ops_cpu(), batch, true);
  p->evaluate = net_work_new(p->net, ops_cpu(), EVALUATED, false);
  for (int k = 0; k < 4; k++)
    *flats[k] = arena_array(p->arena, net_count(p->net), sizeof(float));
}

static void release(struct pair *p)
{
  net_work_free(p->train);
  net_work_free(p->evaluate);
}

static void train(const struct pair *p, float *flat, uint64_t seed, unsigned epochs, double lr)
{
  const unsigned n = p->data->split[DATA_TRAIN].n, batches = n / BATCH;
  const size_t params = net_params(p->net);
  const struct data_augment augment = {true, 2};
  float *velocity = mem_zalloc(params * sizeof *velocity), *grad = mem_alloc(params * sizeof *grad);
  float *x = mem_alloc(BATCH * net_inputs(p->net) * sizeof *x);
  uint32_t *order = mem_alloc(n * sizeof *order);
  int32_t labels[BATCH];
  net_init(p->net, seed, flat);
  for (uint32_t epoch = 0; epoch < epochs; epoch++) {
    data_order(seed, 0, epoch, order, n);
    for (unsigned k = 0; k < batches; k++) {
      const double t = (double)(epoch * batches + k);
      const struct optim_sgd sgd = {
          .lr = (float)(lr * schedule_factor(SCHEDULE_COSINE, t, (double)epochs * batches, 0)),
          .momentum = 0.9f,
          .weight_decay = 5e-4f};
      data_batch(p->data, DATA_TRAIN, order + (size_t)k * BATCH, BATCH, &augment, seed, 0, epoch, x,
                 labels);
      net_loss_gradient(p->train, flat, x, labels, BATCH, grad);
      optim_sgd_step(ops_cpu(), &sgd, params, flat, velocity, grad);
    }
  }
  free(order);
  free(x);
  free(grad);
  free(velocity);
}

static struct measure_evaluation at(const struct pair *p, const float *b, double alpha,
                                    bool recalibrated)
{
  for (size_t i = 0; i < net_count(p->net); i++)
    p->middle[i] = (float)((1 - alpha) * (double)p->a[i] + alpha * (double)b[i]);
  if (recalibrated)
    measure_recalibrate(p->train, BATCH, p->middle, p->net, p->data, NULL, 0, 1);
  return measure_evaluate(p->evaluate, EVALUATED, p->middle, p->net, p->data, DATA_TEST, 0);
}

static double barrier(const struct pair *p, const float *b, bool recalibrated)
{
  double loss[POINTS], most = 0;
  for (int k = 0; k < POINTS; k++)
    loss[k] = at(p, b, (double)k / (POINTS - 1), recalibrated).loss;
  for (int k = 0; k < POINTS; k++) {
    const double alpha = (double)k / (POINTS - 1);
    most = fmax(most, loss[k] - (1 - alpha) * loss[0] - alpha * loss[POINTS - 1]);
  }
  return most;
}

static void report(const struct pair *p, const char *what, const float *b, double seconds)
{
  const bool recalibrates = net_has_batchnorm(p->net);
  printf("  %-22s", what);
  for (int recalibrated = 0; recalibrated <= recalibrates; recalibrated++) {
    const struct measure_evaluation middle = at(p, b, 0.5, recalibrated);
    printf("  %s barrier %6.3f, midpoint %6.3f %5.2f %%",
           !recalibrates  ? ""
           : recalibrated ? "; recalibrated:"
                          : "as it is:",
           barrier(p, b, recalibrated), middle.loss, 100 * middle.accuracy);
  }
  printf("; %.2f s\n", seconds);
  fflush(stdout);
}

static void match(const struct pair *p, const char *what, enum match_method method,
                  unsigned restarts)
{
  const struct match m = {ops_cpu(), p->net, p->groups, p->a, p->b};
  const struct match_search search = {100, restarts, 0};
  const bool text = net_reads_text(p->net);
  const struct match_learning learning = {search, text ? 1 : 10, text ? TEXT_BATCH : BATCH, 1e-2,
                                          0.9};
  uint32_t **perms = match_identity(p->arena, p->groups);
  const double before = now();
  if (method == MATCH_WEIGHTS)
    match_weights(&m, &search, perms);
  else if (method == MATCH_LEARNED)
    match_learned(&m, &learning, p->train, p->data, perms);
  else if (!match_activations(&m, p->evaluate, EVALUATED, p->data, 2048, perms, p->diag))
    fail(p->diag);
  const double seconds = now() - before;
  net_permute(p->net, p->groups, perms, p->b, p->matched);
  if (!match_same_function(p->net, p->evaluate, p->b, p->evaluate, p->matched, p->diag))
    fail(p->diag);
  report(p, what, p->matched, seconds);
}

static void compare(const struct data_set *data, const struct net_spec *spec, unsigned epochs,
                    double lr)
{
  struct pair p = {.arena = arena_new(), .data = data};
  p.diag = diag_new(p.arena);
  p.net = net_new(p.arena, spec, p.diag);
  p.groups = p.net ? net_groups_new(p.arena, p.net, p.diag) : NULL;
  if (!p.groups)
    fail(p.diag);
  allocate(&p, BATCH);
  train(&p, p.a, 1, epochs, lr);
  train(&p, p.b, 2, epochs, lr);
  const struct measure_evaluation a = at(&p, p.b, 0, false), b = at(&p, p.b, 1, false);
  printf("%s, %u wide, %u epochs of %u samples: loss %.3f and %.3f, accuracy %.2f and %.2f %%\n",
         spec->model, spec->width, epochs, data->split[DATA_TRAIN].n, a.loss, b.loss,
         100 * a.accuracy, 100 * b.accuracy);
  report(&p, "not matched", p.b, 0);
  match(&p, "weights", MATCH_WEIGHTS, 1);
  match(&p, "weights, 10 restarts", MATCH_WEIGHTS, 10);
  match(&p, "activations", MATCH_ACTIVATIONS, 1);
  match(&p, "learned, 10 epochs", MATCH_LEARNED, 1);
  release(&p);
  arena_free(p.arena);
}

static void barriers(const char *dir)
{
  const struct data_spec spec = {.name = "fashion_mnist", .image_size = 14, .size = {10000, 5000}};
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct data_set data;
  if (!data_load(a, &spec, &dir, 1, &data, d))
    fail(d);
  struct net_spec net = {.model = "mlp",
                         .width = 256,
                         .layers = 2,
                         .channels = 1,
                         .height = 14,
                         .image_width = 14,
                         .classes = 10};
  compare(&data, &net, 20, 0.05);
  net.model = "resnet18";
  net.stages = 3;
  net.blocks = 1;
  for (net.width = 8; net.width <= 32; net.width *= 2)
    compare(&data, &net, 10, 0.1);
  arena_free(a);
}

/* ---- language ---- */

/* AdamW as nanoGPT has it, with a linear rise and a cosine. */
static void train_text(const struct pair *p, float *flat, uint64_t seed, unsigned steps, double lr)
{
  const unsigned n = p->data->split[DATA_TRAIN].n, batches = n / TEXT_BATCH;
  const size_t params = net_params(p->net);
  struct optim adamw = {.rule = optim_find("adamw"),
                        .weight_decay = 0.1,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .epsilon = 1e-8};
  float *states[2] = {mem_zalloc(params * sizeof(float)), mem_zalloc(params * sizeof(float))};
  float *grad = mem_alloc(params * sizeof *grad);
  float x[TEXT_BATCH * BLOCK];
  int32_t labels[TEXT_BATCH * BLOCK];
  uint32_t *order = mem_alloc(n * sizeof *order);
  adamw.ranges = optim_ranges(p->arena, p->net, &adamw.n_ranges);
  net_init(p->net, seed, flat);
  for (unsigned k = 0; k < steps; k++) {
    if (k % batches == 0)
      data_order(seed, 0, k / batches, order, n);
    data_batch(p->data, DATA_TRAIN, order + (size_t)(k % batches) * TEXT_BATCH, TEXT_BATCH, NULL, 0,
               0, 0, x, labels);
    net_loss_gradient(p->train, flat, x, labels, TEXT_BATCH, grad);
    adamw.lr = lr * schedule_factor(SCHEDULE_WARMUP_COSINE, k, steps, 20);
    optim_step(ops_cpu(), &adamw, k, params, flat, states, grad);
  }
  free(order);
  free(grad);
  free(states[0]);
  free(states[1]);
}

/* Both models brought into canonical form, and the second matched in it. */
static void match_text(struct pair *p, enum match_method method, unsigned epochs, double lr)
{
  const struct net *own = p->net;
  struct net_spec spec = *p->spec;
  spec.untied = true;
  struct pair c = {.arena = p->arena, .diag = p->diag, .data = p->data};
  c.net = net_new(p->arena, &spec, p->diag);
  c.groups = net_groups_new(p->arena, c.net, p->diag);
  allocate(&c, LEARNED_BATCH);
  if (!match_canonical(own, p->a, c.net, c.groups, c.a, p->diag) ||
      !match_canonical(own, p->b, c.net, c.groups, c.b, p->diag))
    fail(p->diag);
  const struct match m = {ops_cpu(), c.net, c.groups, c.a, c.b};
  struct match_maps *maps = match_maps_new(p->arena, c.groups);
  const struct match_learning learning = {{15, 1, 0}, epochs, LEARNED_BATCH, lr, 0.9};
  if (method == MATCH_WEIGHTS)
    report(&c, "canonical form alone", c.b, 0);
  const double before = now();
  if (method == MATCH_WEIGHTS)
    match_general(&m, &learning.search, maps);
  else
    match_general_learned(&m, &learning, c.train, c.data, maps);
  const double seconds = now() - before;
  match_map(maps, c.b, net_count(c.net), c.matched);
  if (!match_same_function(own, p->evaluate, p->b, c.evaluate, c.matched, p->diag))
    fail(p->diag);
  report(&c,
         method == MATCH_WEIGHTS ? "general, weights"
                                 : arena_printf(p->arena, "general, lr %g", lr),
         c.matched, seconds);
  release(&c);
}

static void language(const char *dir)
{
  const struct data_spec text = {
      .name = "king_james", .block = BLOCK, .tokenizer = "bytes", .size = {16000, 500}};
  const struct net_spec spec = {.model = "gpt",
                                .width = 64,
                                .layers = 2,
                                .heads = 4,
                                .channels = 1,
                                .height = 1,
                                .image_width = BLOCK,
                                .block = BLOCK,
                                .classes = 256};
  static const unsigned steps[] = {400, 2000};
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct data_set data;
  if (!data_load(a, &text, &dir, 1, &data, d))
    fail(d);
  for (int k = 0; k < 2; k++) {
    struct pair p = {.arena = a, .diag = d, .data = &data, .spec = &spec};
    p.net = net_new(a, &spec, d);
    p.groups = net_groups_new(a, p.net, d);
    allocate(&p, TEXT_BATCH);
    train_text(&p, p.a, 1, steps[k], 3e-3);
    train_text(&p, p.b, 2, steps[k], 3e-3);
    printf("gpt, 64 wide, %u steps: loss %.3f and %.3f\n", steps[k], at(&p, p.b, 0, false).loss,
           at(&p, p.b, 1, false).loss);
    report(&p, "not matched", p.b, 0);
    match(&p, "permutations, weights", MATCH_WEIGHTS, 1);
    match(&p, "permutations, learned", MATCH_LEARNED, 1);
    match_text(&p, MATCH_WEIGHTS, 0, 0);
    match_text(&p, MATCH_LEARNED, 1, 3e-4);
    match_text(&p, MATCH_LEARNED, 1, 3e-3);
    release(&p);
  }
  arena_free(a);
}

/* ---- times ---- */

static void time_assignment(size_t n, const char *costs)
{
  double *c = mem_alloc(n * n * sizeof *c);
  uint32_t *column = mem_alloc(n * sizeof *column);
  struct rng r = rng_at(1, RNG_TEST, 0, 0, 0);
  for (size_t k = 0; k < n * n; k++) {
    const double drawn = rng_uniform(&r);
    c[k] = costs[0] == 'r'   ? drawn
           : costs[0] == 't' ? floor(10 * drawn)
                             : drawn + 8 * (k / n == k % n);
  }
  const double before = now();
  if (!assignment_solve(n, c, ASSIGNMENT_MAXIMISE, column, NULL, NULL))
    exit(2);
  printf("assignment of %4zu, %-10s %8.1f ms\n", n, costs, 1e3 * (now() - before));
  free(column);
  free(c);
}

static void time_matching(void)
{
  const struct net_spec spec = {.model = "resnet18",
                                .width = 64,
                                .stages = 4,
                                .blocks = 2,
                                .channels = 3,
                                .height = 32,
                                .image_width = 32,
                                .classes = 10};
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  const struct net *net = net_new(a, &spec, d);
  const struct net_groups *groups = net_groups_new(a, net, d);
  float *to = arena_array(a, net_count(net), sizeof *to);
  float *from = arena_array(a, net_count(net), sizeof *from);
  const struct match m = {ops_cpu(), net, groups, to, from};
  net_init(net, 1, to);
  net_init(net, 2, from);
  for (unsigned passes = 1; passes <= 100; passes = passes == 1 ? 100 : passes + 1) {
    const struct match_search search = {passes, 1, 0};
    uint32_t **perms = match_identity(a, groups);
    const double before = now();
    const double product = match_weights(&m, &search, perms);
    printf("weight matching of ResNet18, 64 wide, %zu groups, at most %3u passes: %.1f s "
           "(inner product %.1f; a pass has %.1f GFLOP)\n",
           groups->n, passes, now() - before, product, 1e-9 * match_pass_flops(groups));
  }
  arena_free(a);
}

int main(int argc, char **argv)
{
  openblas_set_num_threads(1);
  if (argc == 3 && !strcmp(argv[1], "barriers")) {
    barriers(argv[2]);
  } else if (argc == 3 && !strcmp(argv[1], "language")) {
    language(argv[2]);
  } else if (argc == 2 && !strcmp(argv[1], "time")) {
    static const char *const costs[] = {"random", "ties", "diagonal"};
    for (int k = 0; k < 3; k++)
      for (size_t n = 512; n <= 2048; n *= 2)
        time_assignment(n, costs[k]);
    time_matching();
  } else {
    fprintf(stderr, "usage: bench/matching barriers DATA_DIR | language DATA_DIR | time\n");
    return 2;
  }
  return 0;
}
