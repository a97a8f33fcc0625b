#include "run/bind_int.h"

#include "engine/net_linear.h"
#include "engine/optim.h"
#include "merge/fuse.h"
#include "merge/match.h"
#include "run/bind_calibrate.h"
#include "run/peak.h"

#include <math.h>
#include <string.h>

/* An architecture on data of one shape, whatever the seed. */
struct network {
  const char *name;
  const struct net *net; /* NULL: the engine cannot make it */
  struct data_set shape;
  double match_flops, match_sample_flops; /* of a pass of weight matching; merge/match.h */
  /* Without convolutions, and with them: of a sample, and bytes of all layers and of the largest.
   */
  double gram_flops[2], gram_bytes[2], gram_largest[2];
};

/* Seconds of a sample, as calibrated. */
struct rate {
  const struct network *network;
  enum calibrate_what what;
  unsigned batch;
  bool augment;
  double seconds;
};

/* Memory of a network at work. */
struct room {
  const struct network *network;
  unsigned batch;
  bool train;
  double bytes;
};

struct known_init {
  struct hash key;
  const struct network *network; /* NULL: the place is empty */
};

struct bind_costs {
  struct arena *arena;
  struct calibration *calibration;
  const struct network **networks;
  size_t n_networks, cap_networks;
  struct rate *rates;
  size_t n_rates, cap_rates;
  struct room *rooms;
  size_t n_rooms, cap_rooms;
  double resident; /* bytes of this process, with the plan, before anything is computed */
  struct known_init *inits; /* hashed */
  size_t n_inits, n_places;
};

void bind_calibrate(struct bind *b, struct arena *a, struct store *store)
{
  b->costs = arena_alloc(a, sizeof *b->costs);
  b->costs->arena = a;
  b->costs->calibration = calibration_open(a, store);
  b->costs->resident = peak_now();
}

void bind_calibrate_save(struct bind *b)
{
  if (b->costs)
    calibration_save(b->costs->calibration);
}

/* ---- networks by their first weights ---- */

static struct known_init *place_of(struct bind_costs *c, struct hash key)
{
  size_t at = (size_t)hash_short(key) & (c->n_places - 1);
  while (c->inits[at].network && !hash_equal(c->inits[at].key, key))
    at = (at + 1) & (c->n_places - 1);
  return &c->inits[at];
}

static void make_places(struct bind_costs *c)
{
  struct known_init *old = c->inits;
  size_t n = c->n_places;
  c->n_places = n ? 2 * n : 256;
  c->inits = arena_array(c->arena, c->n_places, sizeof *c->inits);
  for (size_t i = 0; i < n; i++)
    if (old[i].network)
      *place_of(c, old[i].key) = old[i];
}

static void count_grams(struct arena *a, struct network *n)
{
  size_t count = 0;
  const struct net_linear *l = n->net ? net_linears(a, n->net, &count) : NULL;
  for (size_t i = 0; i < count; i++)
    for (int unfolded = l[i].convolution; unfolded < 2; unfolded++) {
      const double square = (double)l[i].in * (double)l[i].in;
      n->gram_flops[unfolded] += (double)l[i].rows * square;
      n->gram_bytes[unfolded] += sizeof(double) * square;
      n->gram_largest[unfolded] = fmax(n->gram_largest[unfolded], sizeof(double) * square);
    }
}

static const struct network *make_network(struct bind_costs *c, const struct plan *plan,
                                          const struct plan_step *init)
{
  struct network *n = arena_alloc(c->arena, sizeof *n);
  struct diag *d = diag_new(c->arena);
  const struct plan_step *data = plan_step(plan, init->inputs[0]);
  struct data_spec spec = bind_data_spec(data);
  struct plan_step unseeded = *init; /* and wherever its weights come from */
  struct plan_attr *attrs = arena_array(c->arena, init->n_attrs + 1, sizeof *attrs);
  unseeded.n_attrs = 0;
  for (uint32_t i = 0; i < init->n_attrs; i++)
    if (init->attrs[i].id != PLAN_A_seed && init->attrs[i].id != PLAN_A_weights &&
        init->attrs[i].id != PLAN_A_head)
      attrs[unseeded.n_attrs++] = init->attrs[i];
  unseeded.attrs = attrs;
  if (!data_shape(&spec, &n->shape, d))
    n->shape.channels = 0;
  n->name = arena_printf(c->arena, "%s, %ux%ux%u, %u classes", plan_step_text(c->arena, &unseeded),
                         n->shape.height, n->shape.width, n->shape.channels, n->shape.classes);
  for (size_t i = 0; i < c->n_networks; i++)
    if (!strcmp(c->networks[i]->name, n->name) &&
        c->networks[i]->shape.split[DATA_TRAIN].n == n->shape.split[DATA_TRAIN].n &&
        c->networks[i]->shape.split[DATA_TEST].n == n->shape.split[DATA_TEST].n &&
        c->networks[i]->shape.split[DATA_OOD].n == n->shape.split[DATA_OOD].n)
      return c->networks[i];
  n->net = n->shape.channels ? bind_make_net(c->arena, plan, init, false, d) : NULL;
  const struct net_groups *groups = n->net ? net_groups_new(c->arena, n->net, d) : NULL;
  n->match_flops = groups ? match_pass_flops(groups) : 0;
  n->match_sample_flops = groups ? match_sample_flops(groups) : 0;
  count_grams(c->arena, n);
  const struct network *made = n;
  ARENA_PUSH(c->arena, c->networks, c->n_networks, c->cap_networks, made);
  return made;
}

static const struct network *network_of(struct bind_costs *c, const struct plan *plan,
                                        const struct plan_step *model)
{
  const struct plan_step *init = plan_model_of(plan, model);
  if (2 * c->n_inits >= c->n_places)
    make_places(c);
  struct known_init *known = place_of(c, init->key);
  if (!known->network) {
    *known = (struct known_init){init->key, make_network(c, plan, init)};
    c->n_inits++;
  }
  return known->network;
}

static double sample_seconds(struct bind_costs *c, const struct network *n,
                             enum calibrate_what what, unsigned batch, bool augment)
{
  for (size_t i = 0; i < c->n_rates; i++) {
    const struct rate *r = &c->rates[i];
    if (r->network == n && r->what == what && r->batch == batch && r->augment == augment)
      return r->seconds;
  }
  struct rate r = {
      n, what, batch, augment,
      calibration_sample(c->calibration, n->name, n->net, &n->shape, what, batch, augment)};
  ARENA_PUSH(c->arena, c->rates, c->n_rates, c->cap_rates, r);
  return r.seconds;
}

/* ---- steps ---- */

/* What result.json and a .safetensors header take; a data set is unpacked and
 * scaled at about this speed. */
static const double result_bytes = 1200, header_bytes = 2000, data_seconds = 0.3;
/* About the speeds of reading and checking a stored model, and of products of
 * matrices in double. */
static const double read_speed = 1e9, product_speed = 1e10;

static bool augments(const struct plan_step *s)
{
  const struct plan_attr *at = plan_attr(s, PLAN_A_augment);
  return at && at->str && strcmp(at->str, "none") != 0;
}

static double split_size(const struct network *n, const struct plan_step *s)
{
  return plan_attr(s, PLAN_A_split) ? n->shape.split[bind_split(s)].n : 0;
}

/* Some of all samples, where the step says so. */
static double asked(const struct plan_step *s, enum plan_attr_id id, double all)
{
  const struct plan_attr *at = plan_attr(s, id);
  return at ? fmin(at->num, all) : all;
}

/* Samples whose gradient a measurement takes, and for a Hessian a forward pass more; of the largest
 * eigenvalue about half of the products that it may take are needed. */
static double gradients_of(const struct plan_step *s, double all)
{
  const char *name = plan_str(s, PLAN_A_measurement);
  const struct plan_attr *at = plan_attr(s, PLAN_A_samples);
  const double each = at ? fmin(at->num, all) : 0;
  if (!strcmp(name, "sharpness"))
    return 1.2 * each * plan_num(s, PLAN_A_products);
  if (!strcmp(name, "hessian_trace"))
    return 2.4 * each * plan_num(s, PLAN_A_probes);
  return !strcmp(name, "gradient_noise") || !strcmp(name, "tail_index") ? 2 * each : 0;
}

static unsigned gradient_batch(const struct plan_step *s)
{
  const struct plan_attr *own = plan_attr(s, PLAN_A_batch);
  return own ? (unsigned)own->num : BIND_GRADIENT_BATCH;
}

static double room_bytes(struct bind_costs *c, const struct network *n, unsigned batch, bool train)
{
  for (size_t i = 0; i < c->n_rooms; i++)
    if (c->rooms[i].network == n && c->rooms[i].batch == batch && c->rooms[i].train == train)
      return c->rooms[i].bytes;
  struct room room = {n, batch, train, (double)net_work_need(n->net, bind_ops(), batch, train)};
  ARENA_PUSH(c->arena, c->rooms, c->n_rooms, c->cap_rooms, room);
  return room.bytes;
}

static double sample_bytes(const struct data_set *d)
{
  return d->block ? 2.0 * (d->block + 1) : (double)d->channels * d->height * d->width + 4;
}

static double data_bytes(const struct data_set *d)
{
  double samples = 0;
  for (int k = 0; k < DATA_SPLIT_COUNT; k++)
    samples += d->split[k].n;
  return samples * sample_bytes(d);
}

static struct data_set shape_of(const struct plan_step *data)
{
  const struct data_spec spec = bind_data_spec(data);
  struct arena *a = arena_new();
  struct data_set shape;
  if (!data_shape(&spec, &shape, diag_new(a)))
    shape = (struct data_set){0};
  arena_free(a);
  return shape;
}

/* Libraries and kernels that a worker touches, and what malloc keeps. */
static const double library_bytes = 5e6;

/* Of RegMean: models, then data. */
static double gram_models(const struct plan_step *s)
{
  return s->n_inputs / 2;
}

static int unfolds(const struct plan_step *s)
{
  return !strcmp(plan_str(s, PLAN_A_convolutions), "unfolded");
}

/* Those that are held, and of the largest layer the sum and one more. */
static double gram_memory(const struct network *n, const struct plan_step *s)
{
  return fmin(gram_models(s) * n->gram_bytes[unfolds(s)], BIND_GRAMS_HELD) +
         2 * n->gram_largest[unfolds(s)];
}

/* Of the worker while it computes the step: what it began with, the data, the network at work,
 * and vectors of weights.  Both sorts of work stay for the next step, and so do data sets. */
static double step_memory(struct bind_costs *c, const struct network *n,
                          const struct plan_step *s)
{
  const struct plan_attr *at = plan_attr(s, PLAN_A_batch);
  const unsigned batch = at ? (unsigned)at->num : BIND_GRADIENT_BATCH;
  const double params = 4 * (double)net_params(n->net), count = 4 * (double)net_count(n->net);
  double bytes = c->resident + library_bytes + data_bytes(&n->shape), vectors = s->n_inputs + 1;
  if (s->kind == PLAN_INIT)
    return bytes + 2 * count;
  if (s->kind == PLAN_TRAIN) {
    const struct optim_rule *rule = optim_find(plan_str(s, PLAN_A_optimizer));
    bytes += room_bytes(c, n, batch, true);
    vectors += 1 + (rule ? 2 * rule->n_states : 1); /* the gradient; what it goes on from */
  } else if (s->kind == PLAN_MERGE && plan_attr(s, PLAN_A_convolutions)) {
    bytes += room_bytes(c, n, BIND_EVAL_BATCH, false) + gram_memory(n, s);
    vectors += gram_models(s); /* with their own classifiers */
  } else if (s->kind == PLAN_MERGE) {
    enum match_method method;
    const bool matches = match_find(plan_str(s, PLAN_A_method), &method);
    const bool forward = !matches && batch <= BIND_EVAL_BATCH;
    if (at && !forward)
      bytes += room_bytes(c, n, batch, true);
    if (matches || (at && forward))
      bytes += room_bytes(c, n, BIND_EVAL_BATCH, false);
  } else {
    bytes += room_bytes(c, n, BIND_EVAL_BATCH, false);
    if (gradients_of(s, 1) > 0)
      bytes += room_bytes(c, n, gradient_batch(s), true) + 6 * params; /* products, directions */
  }
  return bytes + vectors * count;
}

static struct cost measure_cost(struct bind_costs *c, const struct network *n,
                                const struct plan_step *s)
{
  const char *name = plan_str(s, PLAN_A_measurement);
  double products = 0, samples = 0;
  if (!strcmp(name, "evaluate")) {
    samples = asked(s, PLAN_A_samples, split_size(n, s));
  } else if (!strcmp(name, "cka")) {
    double each = fmin(plan_num(s, PLAN_A_samples), split_size(n, s)), p = net_features(n->net);
    samples = 2 * each;
    products = 6 * each * p * p;
  } else if (!strcmp(name, "disagreement")) {
    samples = 2 * split_size(n, s);
  } else if (!strcmp(name, "average_sharpness")) {
    samples = (1 + plan_num(s, PLAN_A_directions)) *
              fmin(plan_num(s, PLAN_A_samples), split_size(n, s));
  }
  struct cost cost = {.flops = net_flops(n->net) * samples + products,
                      .seconds = products / product_speed};
  const double gradients = gradients_of(s, split_size(n, s));
  if (gradients > 0) {
    cost.flops += 3 * net_flops(n->net) * gradients;
    cost.seconds += gradients * sample_seconds(c, n, CALIBRATE_GRADIENT, gradient_batch(s), false);
  }
  if (samples > 0)
    cost.seconds += samples * sample_seconds(c, n, CALIBRATE_EVALUATE, BIND_EVAL_BATCH, false);
  return cost;
}

/* About how many passes weight matching makes, from anywhere and from where it last ended. */
static const double first_passes = 8, next_passes = 2;
/* Fusing: passes until nothing changes, and distances of units, operations a second. */
static const double fuse_passes = 4, distance_speed = 1e9;

static struct cost match_cost(struct bind_costs *c, const struct network *n,
                              const struct plan_step *s, enum match_method method)
{
  const double all = n->shape.split[DATA_TRAIN].n;
  struct cost cost = {0};
  if (method == MATCH_ACTIVATIONS) {
    const double samples = fmin(plan_num(s, PLAN_A_samples), all);
    cost.flops = samples * (2 * net_flops(n->net) + n->match_sample_flops);
    cost.seconds = samples * n->match_sample_flops / product_speed +
                   2 * samples * sample_seconds(c, n, CALIBRATE_EVALUATE, BIND_EVAL_BATCH, false);
    return cost;
  }
  cost.flops = first_passes * plan_num(s, PLAN_A_restarts) * n->match_flops;
  if (method == MATCH_LEARNED) {
    const double epochs = plan_num(s, PLAN_A_epochs), batch = plan_num(s, PLAN_A_batch);
    const double looks = 1 + MATCH_LEARNED_LOOKS * epochs;
    const double samples = epochs * all + looks * fmin(all, MATCH_LEARNED_SAMPLES);
    cost.flops += epochs * all / batch * next_passes * n->match_flops;
    cost.seconds = cost.flops / product_speed +
                   samples * sample_seconds(c, n, CALIBRATE_GRADIENT, (unsigned)batch, false);
    cost.flops += 3 * samples * net_flops(n->net);
    return cost;
  }
  cost.seconds = cost.flops / product_speed;
  return cost;
}

/* Gradients of single samples, of all labels or of one, of each model; all are about as large. */
static void add_fisher_cost(struct bind_costs *c, const struct network *n,
                            const struct plan_step *s, struct cost *cost)
{
  const bool exact = !strcmp(plan_str(s, PLAN_A_expectation), "exact");
  const double samples = fmin(plan_num(s, PLAN_A_samples), n->shape.split[DATA_TRAIN].n);
  const double gradients =
      samples * (exact ? net_classes(n->net) : 1) * (s->n_inputs / 2); /* models, then data */
  cost->flops += 3 * gradients * net_flops(n->net);
  cost->seconds += gradients * sample_seconds(c, n, CALIBRATE_GRADIENT, 1, false);
}

/* Forward passes of each model, one for what is held at a time; an unfolded Gram matrix costs a
 * row's `in` where the layer itself has its `out`.  Factorizing is a few samples' worth. */
static void add_gram_cost(struct bind_costs *c, const struct network *n, const struct plan_step *s,
                          struct cost *cost)
{
  const double samples =
      fmin(plan_num(s, PLAN_A_samples), n->shape.split[DATA_TRAIN].n) * gram_models(s);
  const double products = samples * n->gram_flops[unfolds(s)];
  const double passes = ceil(gram_models(s) * n->gram_bytes[unfolds(s)] / BIND_GRAMS_HELD);
  cost->flops += passes * samples * net_flops(n->net) + products;
  cost->seconds +=
      passes * samples * sample_seconds(c, n, CALIBRATE_EVALUATE, BIND_EVAL_BATCH, false) +
      products / product_speed;
}

/* Distances of the units of the first model that is fused, and what its gradient takes. */
static void add_fuse_cost(struct bind_costs *c, const struct plan *plan, const struct plan_step *s,
                          struct cost *cost)
{
  enum fuse_method method;
  if (s->kind != PLAN_MERGE || !fuse_find(plan_str(s, PLAN_A_method), &method))
    return;
  const bool pair = method == FUSE_OT;
  const struct network *n = network_of(c, plan, plan_step(plan, s->inputs[!pair]));
  const double passes = pair ? fmin(plan_num(s, PLAN_A_passes), fuse_passes) : 1;
  cost->flops += passes * n->match_flops;
  cost->seconds += passes * n->match_flops / distance_speed;
  if (!n->net || !plan_attr(s, PLAN_A_samples))
    return;
  const double samples = fmin(plan_num(s, PLAN_A_samples), n->shape.split[DATA_TRAIN].n);
  cost->flops += 3 * samples * net_flops(n->net);
  cost->seconds += samples * sample_seconds(c, n, CALIBRATE_GRADIENT, BIND_GRADIENT_BATCH, false);
  cost->memory += room_bytes(c, n, BIND_GRADIENT_BATCH, true) + 8 * (double)net_params(n->net);
}

/* Bytes of the models that a step reads.  All are about as large as its own. */
static double read_bytes(const struct network *n, const struct plan *plan,
                         const struct plan_step *s)
{
  double models = s->kind == PLAN_INIT && plan_attr(s, PLAN_A_weights) ? 2 : 0; /* digest, load */
  for (uint32_t k = 0; k < s->n_inputs; k++)
    models += plan_step(plan, s->inputs[k])->kind != PLAN_DATA;
  return models * 4 * (double)net_count(n->net);
}

static struct cost model_cost(struct bind_costs *c, const struct network *n,
                              const struct plan_step *s)
{
  struct cost cost = {0};
  enum match_method method;
  double flops = net_flops(n->net), samples = 0;
  if (s->kind == PLAN_TRAIN) {
    unsigned batch = (unsigned)plan_num(s, PLAN_A_batch);
    const double steps = plan_num(s, PLAN_A_to) - plan_num(s, PLAN_A_from);
    const bool adamw = !strcmp(plan_str(s, PLAN_A_optimizer), "adamw");
    samples = batch * steps;
    cost.flops = 3 * flops * samples;
    cost.seconds =
        samples * sample_seconds(c, n, CALIBRATE_GRADIENT, batch, augments(s)) +
        steps * sample_seconds(c, n, adamw ? CALIBRATE_ADAMW : CALIBRATE_SGD, 1, false);
  } else if (s->kind == PLAN_MEASURE) {
    cost = measure_cost(c, n, s);
  } else if (s->kind == PLAN_MERGE && match_find(plan_str(s, PLAN_A_method), &method)) {
    cost = match_cost(c, n, s, method);
  } else if (s->kind == PLAN_MERGE && !strcmp(plan_str(s, PLAN_A_batchnorm), "recalibrated") &&
             net_has_batchnorm(n->net)) {
    unsigned batch = (unsigned)plan_num(s, PLAN_A_batch);
    samples = asked(s, PLAN_A_recalibration, n->shape.split[DATA_TRAIN].n);
    cost.flops = flops * samples;
    cost.seconds = samples * sample_seconds(c, n, CALIBRATE_STATISTICS, batch, augments(s));
  }
  if (s->kind == PLAN_MERGE && plan_attr(s, PLAN_A_expectation))
    add_fisher_cost(c, n, s, &cost);
  if (s->kind == PLAN_MERGE && plan_attr(s, PLAN_A_convolutions))
    add_gram_cost(c, n, s, &cost);
  if (s->kind != PLAN_MEASURE)
    cost.bytes += header_bytes + 4 * (double)net_count(n->net);
  if (s->kind == PLAN_TRAIN && bind_keeps_momentum(s)) {
    const struct optim_rule *rule = optim_find(plan_str(s, PLAN_A_optimizer));
    cost.bytes += header_bytes + 4 * (double)net_params(n->net) * (rule ? rule->n_states : 1);
  }
  return cost;
}

struct cost bind_cost(void *context, const struct plan *plan, const struct plan_step *s)
{
  struct bind *b = context;
  struct cost cost = {0};
  unsigned files = 1;
  if (!b->costs)
    bind_calibrate(b, b->arena, NULL);
  if (s->kind == PLAN_DATA) {
    struct data_set shape = shape_of(s);
    cost.seconds = data_seconds;
    cost.memory = b->costs->resident + library_bytes + data_bytes(&shape);
  } else if (s->kind == PLAN_INIT || s->kind == PLAN_TRAIN || s->kind == PLAN_MERGE ||
             s->kind == PLAN_MEASURE) {
    const struct plan_step *model = s->kind == PLAN_MEASURE ? plan_step(plan, s->inputs[0]) : s;
    const struct network *n = network_of(b->costs, plan, model);
    if (n->net) {
      cost = model_cost(b->costs, n, s);
      cost.memory = step_memory(b->costs, n, s);
      add_fuse_cost(b->costs, plan, s, &cost);
      cost.seconds += read_bytes(n, plan, s) / read_speed;
    }
    files += (s->kind != PLAN_MEASURE) + (s->kind == PLAN_TRAIN && bind_keeps_momentum(s));
  }
  cost.bytes += result_bytes;
  cost.seconds += calibration_commit(b->costs->calibration, files, cost.bytes);
  return cost;
}

double bind_seconds(void *context, const struct plan *plan, const struct plan_step *s)
{
  return bind_cost(context, plan, s).seconds;
}
