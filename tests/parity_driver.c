/* Trains a network on given batches, for tests/parity.py.
 *
 *   parity_driver MODEL [NAME=VALUE]... WEIGHTS BATCHES RESULT
 *
 * The names are those of a net_spec and `size` (height and width), `batch`, `steps`, `lr`.
 * BATCHES holds, per step, x [batch][h][w][c] as floats and labels as int32.  RESULT
 * gets the final weights, RESULT.grad the first step's gradient (0 for buffers), and
 * RESULT.logits the first batch's logits in inference mode before training and the
 * last one's behind it, as floats.  Prints one loss a line.
 * SGD: momentum 0.9, weight decay 5e-4; with optimizer=adamw: betas 0.9 and 0.95, weight
 * decay 0.1 but for norms and biases. */
#include "config.h"

#include "engine/net.h"
#include "engine/ops.h"
#include "engine/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned number(const char *text)
{
  return (unsigned)strtoul(text, NULL, 10);
}

struct run {
  const struct net *net;
  const struct ops *ops;
  struct net_work *work;
  unsigned batch, steps;
  struct optim optim;
  size_t values; /* floats in a batch */
  float *flat, *grad, *states[OPTIM_MOST_STATES], *x, *logits;
  int32_t *labels;
};

static bool read_batch(const struct run *r, FILE *batches)
{
  return fread(r->x, sizeof *r->x, r->values, batches) == r->values &&
         fread(r->labels, sizeof *r->labels, r->batch, batches) == r->batch;
}

static bool write_logits(const struct run *r, FILE *to)
{
  const size_t n = (size_t)r->batch * net_classes(r->net);
  net_logits(r->work, r->flat, r->x, r->batch, r->logits);
  return fwrite(r->logits, sizeof *r->logits, n, to) == n;
}

static bool train(const struct run *r, FILE *batches, FILE *logits, const char *gradient,
                  struct diag *diag)
{
  for (unsigned i = 0; i < r->steps; i++) {
    if (!read_batch(r, batches) || (!i && !write_logits(r, logits)))
      return false;
    printf("%.9g\n",
           (double)net_loss_gradient(r->work, r->flat, r->x, r->labels, r->batch, r->grad));
    if (!i && !net_save(r->net, r->grad, gradient, diag))
      return false;
    optim_step(r->ops, &r->optim, i, net_params(r->net), r->flat, r->states, r->grad);
  }
  return write_logits(r, logits);
}

struct options {
  struct net_spec spec;
  unsigned size, batch, steps;
  float lr;
  bool adamw;
};

static struct optim optimizer(struct arena *a, const struct net *net, const struct options *o)
{
  struct optim optim = {
      .rule = optim_find("sgd"), .lr = (double)o->lr, .momentum = 0.9, .weight_decay = 5e-4};
  if (!o->adamw)
    return optim;
  optim = (struct optim){.rule = optim_find("adamw"),
                         .lr = (double)o->lr,
                         .weight_decay = 0.1,
                         .beta1 = 0.9,
                         .beta2 = 0.95,
                         .epsilon = 1e-8};
  optim.ranges = optim_ranges(a, net, &optim.n_ranges);
  return optim;
}

static bool set_option(struct options *o, char *text)
{
  struct net_spec *s = &o->spec;
  const struct {
    const char *name;
    unsigned *value;
  } numbers[] = {{"width", &s->width},       {"stages", &s->stages},   {"blocks", &s->blocks},
                 {"layers", &s->layers},     {"growth", &s->growth},   {"size", &o->size},
                 {"channels", &s->channels}, {"classes", &s->classes}, {"batch", &o->batch},
                 {"steps", &o->steps}};
  char *value = strchr(text, '=');
  if (!value)
    return false;
  *value++ = 0;
  if (!strcmp(text, "stem")) {
    s->stem = value;
    return true;
  }
  if (!strcmp(text, "optimizer")) {
    o->adamw = !strcmp(value, "adamw");
    return o->adamw;
  }
  if (!strcmp(text, "lr")) {
    o->lr = strtof(value, NULL);
    return true;
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (!strcmp(text, numbers[i].name)) {
      *numbers[i].value = number(value);
      return true;
    }
  }
  return false;
}

int main(int argc, char **argv)
{
  struct options o = {.spec.model = argc > 1 ? argv[1] : ""};
  bool ok = argc >= 5;
  for (int i = 2; ok && i < argc - 3; i++)
    ok = set_option(&o, argv[i]);
  if (!ok) {
    fprintf(stderr, "parity_driver: run by tests/parity.py\n");
    return 2;
  }
  o.spec.height = o.spec.image_width = o.size;
  struct arena *arena = arena_new();
  struct diag *diag = diag_new(arena);
  const char *weights = argv[argc - 3], *result = argv[argc - 1];
  struct run r = {
      .net = net_new(arena, &o.spec, diag), .ops = ops_cpu(), .batch = o.batch, .steps = o.steps};
  FILE *batches = fopen(argv[argc - 2], "rb");
  FILE *logits = fopen(arena_printf(arena, "%s.logits", result), "wb");
  ok = r.net && batches && logits;
  if (ok) {
    r.work = net_work_new(r.net, r.ops, r.batch, true);
    r.values = (size_t)r.batch * o.size * o.size * o.spec.channels;
    r.flat = arena_array(arena, net_count(r.net), sizeof *r.flat);
    r.grad = arena_array(arena, net_count(r.net), sizeof *r.grad);
    r.optim = optimizer(arena, r.net, &o);
    for (int k = 0; k < OPTIM_MOST_STATES; k++)
      r.states[k] = arena_array(arena, net_count(r.net), sizeof *r.states[k]);
    r.x = arena_array(arena, r.values, sizeof *r.x);
    r.labels = arena_array(arena, r.batch, sizeof *r.labels);
    r.logits = arena_array(arena, r.batch, o.spec.classes * sizeof *r.logits);
    ok = net_load(r.net, weights, r.flat, diag) &&
         train(&r, batches, logits, arena_printf(arena, "%s.grad", result), diag) &&
         net_save(r.net, r.flat, result, diag);
    net_work_free(r.work);
  }
  if (!ok) {
    diag_print(diag, NULL, stderr, false);
    fprintf(stderr, "parity_driver: failed\n");
  }
  if (batches)
    fclose(batches);
  if (logits)
    ok = !fclose(logits) && ok;
  arena_free(arena);
  return ok ? 0 : 2;
}
