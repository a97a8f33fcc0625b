/* Trains a network on given batches, for tests/parity/harness.py.
 *
 *   driver MODEL DATA OPTIMIZER FOLDER
 *
 * Each of the three is NAME(KEY=VALUE,...): a model of the zoo with fields of net_spec;
 * images(size, channels, classes, batch, steps) or text(block, classes, batch, steps); sgd or
 * adamw with their arguments, lr, and decay=weights or all.
 *
 * Reads FOLDER/weights.safetensors; FOLDER/batches: a step's x as floats, then its labels as
 * int32; and FOLDER/shifts.safetensors: "3.fc1.bias" is added to fc1.bias before step 3.
 * Writes FOLDER/gradient.safetensors (the first step's; 0 for buffers),
 * FOLDER/trained.safetensors, and FOLDER/logits: the first batch's in inference mode before
 * training, and the last one's behind it, as floats.  Prints one loss a line. */
#include "config.h"

#include "base/safetensors.h"
#include "engine/net.h"
#include "engine/ops.h"
#include "engine/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
  struct net_spec spec;
  unsigned size, batch, steps;
  double lr, momentum, weight_decay, beta1, beta2, epsilon;
  const char *data, *optimizer, *decay;
};

static bool set(struct options *o, const char *key, const char *value)
{
  struct net_spec *s = &o->spec;
  const struct {
    const char *key;
    unsigned *count;
    double *number;
    const char **word;
  } fields[] = {{"width", &s->width, NULL, NULL},
                {"stages", &s->stages, NULL, NULL},
                {"blocks", &s->blocks, NULL, NULL},
                {"layers", &s->layers, NULL, NULL},
                {"growth", &s->growth, NULL, NULL},
                {"heads", &s->heads, NULL, NULL},
                {"patch", &s->patch, NULL, NULL},
                {"hidden", &s->hidden, NULL, NULL},
                {"stem", NULL, NULL, &s->stem},
                {"activation", NULL, NULL, &s->activation},
                {"channels", &s->channels, NULL, NULL},
                {"classes", &s->classes, NULL, NULL},
                {"block", &s->block, NULL, NULL},
                {"size", &o->size, NULL, NULL},
                {"batch", &o->batch, NULL, NULL},
                {"steps", &o->steps, NULL, NULL},
                {"lr", NULL, &o->lr, NULL},
                {"momentum", NULL, &o->momentum, NULL},
                {"weight_decay", NULL, &o->weight_decay, NULL},
                {"beta1", NULL, &o->beta1, NULL},
                {"beta2", NULL, &o->beta2, NULL},
                {"epsilon", NULL, &o->epsilon, NULL},
                {"decay", NULL, NULL, &o->decay}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (strcmp(fields[i].key, key) != 0)
      continue;
    if (fields[i].count)
      *fields[i].count = (unsigned)strtoul(value, NULL, 10);
    else if (fields[i].number)
      *fields[i].number = strtod(value, NULL);
    else
      *fields[i].word = value;
    return true;
  }
  return false;
}

/* NAME(KEY=VALUE,...) or NAME, taken apart in place; NULL: something else. */
static const char *parse(struct options *o, char *text)
{
  const char *name = text;
  text = strchr(text, '(');
  if (!text)
    return name;
  *text = 0;
  for (char *pair = strtok(text + 1, ",)"); pair; pair = strtok(NULL, ",)")) {
    char *value = strchr(pair, '=');
    if (!value)
      return NULL;
    *value++ = 0;
    if (!set(o, pair, value))
      return NULL;
  }
  return name;
}

static bool parse_all(struct options *o, char **texts)
{
  *o = (struct options){.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .decay = "all"};
  o->spec.model = parse(o, texts[0]);
  o->data = parse(o, texts[1]);
  o->optimizer = parse(o, texts[2]);
  if (!o->spec.model || !o->data || !o->optimizer || !optim_find(o->optimizer))
    return false;
  const bool text = !strcmp(o->data, "text");
  if (text)
    o->spec.channels = 1;
  o->spec.height = text ? 1 : o->size;
  o->spec.image_width = text ? o->spec.block : o->size;
  return true;
}

static struct optim optimizer(struct arena *a, const struct net *net, const struct options *o)
{
  struct optim optim = {.rule = optim_find(o->optimizer),
                        .lr = o->lr,
                        .momentum = o->momentum,
                        .weight_decay = o->weight_decay,
                        .beta1 = o->beta1,
                        .beta2 = o->beta2,
                        .epsilon = o->epsilon};
  if (!strcmp(o->decay, "weights"))
    optim.ranges = optim_ranges(a, net, &optim.n_ranges);
  return optim;
}

struct run {
  struct arena *arena;
  const struct net *net;
  struct safetensors shifts;
  const struct ops *ops;
  struct net_work *work;
  unsigned batch, steps;
  struct optim optim;
  size_t values, targets, n_logits; /* in a batch */
  float *flat, *grad, *states[OPTIM_MOST_STATES], *x, *logits;
  int32_t *labels;
};

static bool read_batch(const struct run *r, FILE *batches)
{
  return fread(r->x, sizeof *r->x, r->values, batches) == r->values &&
         fread(r->labels, sizeof *r->labels, r->targets, batches) == r->targets;
}

static bool write_logits(const struct run *r, FILE *to)
{
  net_logits(r->work, r->flat, r->x, r->batch, r->logits);
  return fwrite(r->logits, sizeof *r->logits, r->n_logits, to) == r->n_logits;
}

static void shift(const struct run *r, unsigned step)
{
  size_t n;
  const struct net_tensor *t = net_tensors(r->net, &n);
  for (size_t i = 0; i < n; i++) {
    const char *name = arena_printf(r->arena, "%u.%s", step, t[i].name);
    const struct safetensors_tensor *s = safetensors_find(&r->shifts, name);
    for (size_t k = 0; s && k < t[i].count; k++)
      r->flat[t[i].offset + k] += ((const float *)s->data)[k];
  }
}

static bool train(const struct run *r, FILE *batches, FILE *logits, const char *gradient,
                  struct diag *diag)
{
  for (unsigned i = 0; i < r->steps; i++) {
    if (!read_batch(r, batches) || (!i && !write_logits(r, logits)))
      return false;
    shift(r, i);
    printf("%.9g\n",
           (double)net_loss_gradient(r->work, r->flat, r->x, r->labels, r->batch, r->grad));
    if (!i && !net_save(r->net, r->grad, gradient, diag))
      return false;
    optim_step(r->ops, &r->optim, i, net_params(r->net), r->flat, r->states, r->grad);
  }
  return write_logits(r, logits);
}

static struct run new_run(struct arena *a, const struct net *net, const struct options *o)
{
  struct run r = {.arena = a, .net = net, .ops = ops_cpu(), .batch = o->batch, .steps = o->steps};
  r.work = net_work_new(net, r.ops, r.batch, true);
  r.values = r.batch * net_inputs(net);
  r.targets = (size_t)r.batch * net_targets(net);
  r.n_logits = r.targets * net_classes(net);
  r.optim = optimizer(a, net, o);
  r.flat = arena_array(a, net_count(net), sizeof *r.flat);
  r.grad = arena_array(a, net_count(net), sizeof *r.grad);
  for (unsigned k = 0; k < r.optim.rule->n_states; k++)
    r.states[k] = arena_array(a, net_params(net), sizeof *r.states[k]);
  r.x = arena_array(a, r.values, sizeof *r.x);
  r.labels = arena_array(a, r.targets, sizeof *r.labels);
  r.logits = arena_array(a, r.n_logits, sizeof *r.logits);
  return r;
}

static bool run(struct arena *a, const struct options *o, const char *folder, struct diag *diag)
{
  const struct net *net = net_new(a, &o->spec, diag);
  if (!net)
    return false;
  struct run r = new_run(a, net, o);
  FILE *batches = fopen(arena_printf(a, "%s/batches", folder), "rb");
  FILE *logits = fopen(arena_printf(a, "%s/logits", folder), "wb");
  bool ok =
      batches && logits &&
      safetensors_open(a, arena_printf(a, "%s/shifts.safetensors", folder), &r.shifts, diag) &&
      net_load(net, arena_printf(a, "%s/weights.safetensors", folder), r.flat, diag) &&
      train(&r, batches, logits, arena_printf(a, "%s/gradient.safetensors", folder), diag) &&
      net_save(net, r.flat, arena_printf(a, "%s/trained.safetensors", folder), diag);
  if (batches)
    fclose(batches);
  if (logits)
    ok = !fclose(logits) && ok;
  if (r.shifts.map)
    safetensors_close(&r.shifts);
  net_work_free(r.work);
  return ok;
}

int main(int argc, char **argv)
{
  struct options o;
  if (argc != 5 || !parse_all(&o, argv + 1)) {
    fprintf(stderr, "driver: run by tests/parity/harness.py\n");
    return 2;
  }
  struct arena *arena = arena_new();
  struct diag *diag = diag_new(arena);
  const bool ok = run(arena, &o, argv[4], diag);
  if (!ok) {
    diag_print(diag, NULL, stderr, false);
    fprintf(stderr, "driver: failed\n");
  }
  arena_free(arena);
  return ok ? 0 : 2;
}
