/* Trains a network on given batches, for tests/parity.py.
 *
 *   parity_driver MODEL WIDTH STAGES BLOCKS LAYERS CHANNELS SIZE CLASSES BATCH STEPS
 *                 WEIGHTS BATCHES RESULT
 *
 * BATCHES holds, per step, x [batch][h][w][c] as floats and labels as int32; RESULT
 * gets the final weights.  Prints one loss a line, then the logits' sum in inference mode
 * on the last batch.  SGD: lr 0.05, momentum 0.9, weight decay 5e-4. */
#include "config.h"

#include "engine/net.h"
#include "engine/ops.h"
#include "engine/optim.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned number(const char *text)
{
  return (unsigned)strtoul(text, NULL, 10);
}

struct run {
  const struct net *net;
  const struct ops *ops;
  struct net_work *work;
  unsigned batch, steps;
  size_t values; /* floats in a batch */
  float *flat, *grad, *velocity, *x, *logits;
  int32_t *labels;
};

static bool train(const struct run *r, FILE *batches)
{
  const struct optim_sgd sgd = {.lr = 0.05f, .momentum = 0.9f, .weight_decay = 5e-4f};
  for (unsigned i = 0; i < r->steps; i++) {
    if (fread(r->x, sizeof *r->x, r->values, batches) != r->values ||
        fread(r->labels, sizeof *r->labels, r->batch, batches) != r->batch)
      return false;
    printf("%.9g\n",
           (double)net_loss_gradient(r->work, r->flat, r->x, r->labels, r->batch, r->grad));
    optim_sgd_step(r->ops, &sgd, net_params(r->net), r->flat, r->velocity, r->grad);
  }
  net_logits(r->work, r->flat, r->x, r->batch, r->logits);
  double sum = 0;
  for (size_t i = 0; i < (size_t)r->batch * net_classes(r->net); i++)
    sum += (double)(r->logits[i] * r->logits[i]);
  printf("%.9g\n", sum);
  return true;
}

int main(int argc, char **argv)
{
  if (argc != 14) {
    fprintf(stderr, "parity_driver: run by tests/parity.py\n");
    return 2;
  }
  const unsigned size = number(argv[7]);
  const struct net_spec spec = {.model = argv[1],
                                .width = number(argv[2]),
                                .stages = number(argv[3]),
                                .blocks = number(argv[4]),
                                .layers = number(argv[5]),
                                .channels = number(argv[6]),
                                .height = size,
                                .image_width = size,
                                .classes = number(argv[8])};
  struct arena *arena = arena_new();
  struct diag *diag = diag_new(arena);
  struct run r = {.net = net_new(arena, &spec, diag),
                  .ops = ops_cpu(),
                  .batch = number(argv[9]),
                  .steps = number(argv[10])};
  FILE *batches = fopen(argv[12], "rb");
  bool ok = r.net && batches;
  if (ok) {
    r.work = net_work_new(r.net, r.ops, r.batch, true);
    r.values = (size_t)r.batch * size * size * spec.channels;
    r.flat = arena_array(arena, net_count(r.net), sizeof *r.flat);
    r.grad = arena_array(arena, net_count(r.net), sizeof *r.grad);
    r.velocity = arena_array(arena, net_count(r.net), sizeof *r.velocity);
    r.x = arena_array(arena, r.values, sizeof *r.x);
    r.labels = arena_array(arena, r.batch, sizeof *r.labels);
    r.logits = arena_array(arena, r.batch, spec.classes * sizeof *r.logits);
    ok = net_load(r.net, argv[11], r.flat, diag) && train(&r, batches) &&
         net_save(r.net, r.flat, argv[13], diag);
    net_work_free(r.work);
  }
  if (!ok) {
    diag_print(diag, NULL, stderr, false);
    fprintf(stderr, "parity_driver: failed\n");
  }
  if (batches)
    fclose(batches);
  arena_free(arena);
  return ok ? 0 : 2;
}
