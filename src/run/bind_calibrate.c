#include "config.h"

#include "run/bind_calibrate.h"

#include "base/file.h"
#include "engine/optim.h"
#include "measure/measure.h"
#include "run/bind_int.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A probe goes on until it has both, or has taken the most seconds; its batch
 * shrinks until one run is small. */
enum { PROBE_RUNS = 5, PROBE_MOST = 100, PROBE_SAMPLES = 512 };
static const double probe_seconds = 0.05, probe_most = 0.2, probe_flops = 5e9;

struct entry {
  const char *host, *isa, *engine, *what, *network;
  unsigned batch;
  bool augment;
  double seconds;
};

struct calibration {
  struct arena *arena;
  const char *path; /* of the file; NULL: kept nowhere */
  struct store *store;
  char host[256];
  struct entry *entries;
  size_t n, cap;
  bool changed;
};

static const char *const what_names[] = {"gradient", "statistics", "evaluate", "sgd", "adamw"};
static const char file_name[] = "calibration.json";

/* ---- the file ---- */

static void read_entries(struct calibration *c)
{
  json_t *root = json_load_file(c->path, JSON_REJECT_DUPLICATES, NULL), *item;
  size_t i;
  json_array_foreach(root, i, item)
  {
    const char *host, *isa, *engine, *what, *network;
    int batch, augment;
    double seconds;
    if (json_unpack(item, "{s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:F}", "host", &host, "isa", &isa,
                    "engine", &engine, "what", &what, "network", &network, "batch", &batch,
                    "augment", &augment, "seconds", &seconds) ||
        !(seconds > 0) || batch < 0)
      continue;
    struct entry e = {arena_strdup(c->arena, host),
                      arena_strdup(c->arena, isa),
                      arena_strdup(c->arena, engine),
                      arena_strdup(c->arena, what),
                      arena_strdup(c->arena, network),
                      (unsigned)batch,
                      augment,
                      seconds};
    ARENA_PUSH(c->arena, c->entries, c->n, c->cap, e);
  }
  json_decref(root);
}

struct calibration *calibration_open(struct arena *a, struct store *store)
{
  struct calibration *c = arena_alloc(a, sizeof *c);
  c->arena = a;
  if (gethostname(c->host, sizeof c->host - 1) || !c->host[0])
    snprintf(c->host, sizeof c->host, "localhost");
  if (!store)
    return c;
  c->path = file_join(a, store_path(store), file_name);
  read_entries(c);
  if (store_is_view(store))
    c->path = NULL; /* nothing is kept, nor tried in it */
  else
    c->store = store;
  return c;
}

void calibration_save(struct calibration *c)
{
  if (!c->changed || !c->path)
    return;
  c->changed = false;
  json_t *root = json_array();
  for (size_t i = 0; i < c->n; i++) {
    const struct entry *e = &c->entries[i];
    json_array_append_new(root, json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:f}", "host",
                                          e->host, "isa", e->isa, "engine", e->engine, "what",
                                          e->what, "network", e->network, "batch", (int)e->batch,
                                          "augment", (int)e->augment, "seconds", e->seconds));
  }
  char *text = json_dumps(root, JSON_INDENT(1));
  json_decref(root);
  struct arena *a = arena_new();
  if (text)
    file_write_atomic(c->path, text, strlen(text), diag_new(a));
  free(text);
  arena_free(a);
}

static const struct entry *find(const struct calibration *c, const char *what, const char *network,
                                unsigned batch, bool augment)
{
  for (size_t i = 0; i < c->n; i++) {
    const struct entry *e = &c->entries[i];
    if (e->batch == batch && e->augment == augment && !strcmp(e->what, what) &&
        !strcmp(e->network, network) && !strcmp(e->host, c->host) &&
        !strcmp(e->isa, bind_ops()->isa) && !strcmp(e->engine, ENGINE_VERSION))
      return e;
  }
  return NULL;
}

static double keep(struct calibration *c, const char *what, const char *network, unsigned batch,
                   bool augment, double seconds)
{
  struct entry e = {c->host, bind_ops()->isa, ENGINE_VERSION, what, arena_strdup(c->arena, network),
                    batch,   augment,         seconds};
  ARENA_PUSH(c->arena, c->entries, c->n, c->cap, e);
  c->changed = true;
  return seconds;
}

/* ---- probing ---- */

static double clock_seconds(clockid_t clock)
{
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

struct probe {
  const struct net *net;
  struct net_work *work;
  struct data_set data; /* noise, of the right shape */
  unsigned batch;
  bool augment;
  float *flat, *states[OPTIM_MOST_STATES], *grad, *x;
  int32_t *labels;
  uint32_t order[PROBE_SAMPLES], at;
};

static void run_gradient(struct probe *p)
{
  struct data_augment augment = {true, 2};
  uint32_t order[PROBE_SAMPLES];
  for (unsigned i = 0; i < p->batch; i++)
    order[i % PROBE_SAMPLES] = p->order[p->at++ % PROBE_SAMPLES];
  for (unsigned done = 0, m; done < p->batch; done += m) {
    m = p->batch - done < PROBE_SAMPLES ? p->batch - done : PROBE_SAMPLES;
    size_t pixels = (size_t)p->data.channels * p->data.height * p->data.width;
    data_batch(&p->data, DATA_TRAIN, order, m, p->augment ? &augment : NULL, 0, 0, 0,
               p->x + done * pixels, p->labels + (size_t)done * p->data.targets);
  }
  net_loss_gradient(p->work, p->flat, p->x, p->labels, p->batch, p->grad);
}

static void run_update(struct probe *p, const char *optimizer)
{
  const struct optim o = {.rule = optim_find(optimizer),
                          .lr = 1e-3,
                          .weight_decay = 5e-4,
                          .momentum = 0.9,
                          .beta1 = 0.9,
                          .beta2 = 0.999,
                          .epsilon = 1e-8};
  optim_step(bind_ops(), &o, 0, net_params(p->net), p->flat, p->states, p->grad);
}

static bool is_update(enum calibrate_what what)
{
  return what == CALIBRATE_SGD || what == CALIBRATE_ADAMW;
}

static void run_once(struct probe *p, enum calibrate_what what)
{
  struct data_augment augment = {true, 2};
  p->data.split[DATA_TRAIN].n = what == CALIBRATE_GRADIENT ? PROBE_SAMPLES : p->batch;
  if (is_update(what))
    run_update(p, what_names[what]);
  else if (what == CALIBRATE_GRADIENT)
    run_gradient(p);
  else if (what == CALIBRATE_STATISTICS)
    measure_recalibrate(p->work, p->batch, p->flat, p->net, &p->data, p->augment ? &augment : NULL,
                        0, 0);
  else
    measure_evaluate(p->work, p->batch, p->flat, p->net, &p->data, DATA_TRAIN, 0);
}

static struct data_set noise(struct arena *a, const struct data_set *shape, unsigned n)
{
  struct data_set set = *shape;
  struct data_samples samples = {.n = n};
  size_t bytes = (size_t)n * set.channels * set.height * set.width;
  uint32_t state = 1;
  if (set.block) {
    uint16_t *tokens = arena_array(a, n, (set.block + 1) * sizeof *tokens);
    for (size_t i = 0; i < (size_t)n * (set.block + 1); i++) {
      state = state * 1664525 + 1013904223;
      tokens[i] = (uint16_t)((state >> 16) % set.classes);
    }
    samples.tokens = tokens;
    for (int k = 0; k < DATA_SPLIT_COUNT; k++)
      set.split[k] = samples;
    return set;
  }
  uint8_t *pixels = arena_alloc(a, bytes);
  int32_t *labels = arena_array(a, n, sizeof *labels);
  for (size_t i = 0; i < bytes; i++) {
    state = state * 1664525 + 1013904223;
    pixels[i] = (uint8_t)(state >> 24);
  }
  for (unsigned i = 0; i < n; i++)
    labels[i] = (int32_t)(i % set.classes);
  samples.pixels = pixels;
  samples.labels = labels;
  for (int k = 0; k < DATA_MAX_CHANNELS; k++) {
    set.mean[k] = 0.5f;
    set.std[k] = 0.3f;
  }
  for (int k = 0; k < DATA_SPLIT_COUNT; k++)
    set.split[k] = samples;
  return set;
}

/* Small numbers of both signs, and variances of one: drawing true first weights
 * takes longer than the probe. */
static void fill_weights(const struct net *net, float *flat)
{
  uint32_t state = 1;
  for (size_t i = 0; i < net_count(net); i++) {
    state = state * 1664525 + 1013904223;
    flat[i] = i < net_params(net) ? ((float)(state >> 24) - 127.5f) * 5e-4f : 1;
  }
}

/* Processor seconds of a run: the lower quartile, as what disturbs a run only
 * makes it longer. */
static double probe(const struct net *net, const struct data_set *shape, enum calibrate_what what,
                    unsigned batch, bool augment)
{
  struct arena *a = arena_new();
  unsigned n = batch > PROBE_SAMPLES ? batch : PROBE_SAMPLES, runs = 0;
  struct probe p = {.net = net, .batch = batch, .augment = augment};
  size_t pixels = (size_t)shape->channels * shape->height * shape->width;
  p.data = noise(a, shape, n);
  if (!is_update(what))
    p.work = net_work_new(net, bind_ops(), batch,
                          what == CALIBRATE_GRADIENT ||
                              (what == CALIBRATE_STATISTICS && batch > BIND_EVAL_BATCH));
  p.flat = arena_array(a, net_count(net), sizeof *p.flat);
  for (int k = 0; k < OPTIM_MOST_STATES && is_update(what); k++)
    p.states[k] = arena_array(a, net_params(net), sizeof *p.states[k]);
  p.grad = arena_array(a, net_params(net), sizeof *p.grad);
  p.x = arena_array(a, batch * pixels, sizeof *p.x);
  p.labels = arena_array(a, (size_t)batch * shape->targets, sizeof *p.labels);
  for (uint32_t i = 0; i < PROBE_SAMPLES; i++)
    p.order[i] = i;
  fill_weights(net, p.flat);
  run_once(&p, what); /* caches and pages */
  double times[PROBE_MOST], sum = 0;
  while (runs < PROBE_MOST && sum < probe_most && (runs < PROBE_RUNS || sum < probe_seconds)) {
    double begun = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    run_once(&p, what);
    sum += times[runs++] = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - begun;
  }
  qsort(times, runs, sizeof *times, by_size);
  net_work_free(p.work);
  arena_free(a);
  return fmax(times[runs / 4], 1e-9);
}

double calibration_sample(struct calibration *c, const char *network, const struct net *net,
                          const struct data_set *shape, enum calibrate_what what, unsigned batch,
                          bool augment)
{
  double flops = net_flops(net) * (what == CALIBRATE_GRADIENT ? 3 : 1);
  double most = fmax(floor(probe_flops / fmax(flops, 1)), 1);
  if (batch > most)
    batch = (unsigned)most;
  const struct entry *known = find(c, what_names[what], network, batch, augment);
  double seconds = known ? known->seconds
                         : keep(c, what_names[what], network, batch, augment,
                                probe(net, shape, what, batch, augment));
  return seconds / batch;
}

/* ---- the disk ---- */

enum { DISK_SMALL = 4096, DISK_LARGE = 4 << 20 };

/* Median of three, by the clock on the wall: a sync waits.  In a draft, so that
 * whatever happens the file does not stay. */
static double probe_write(struct store *store, size_t bytes)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  struct store_draft *draft = store_begin(store, a, d);
  char *zeros = arena_alloc(a, bytes);
  double times[3] = {0};
  for (int i = 0; draft && i < 3; i++) {
    double begun = clock_seconds(CLOCK_MONOTONIC);
    file_write_atomic(store_draft_path(draft, "probe"), zeros, bytes, d);
    times[i] = clock_seconds(CLOCK_MONOTONIC) - begun;
  }
  if (draft)
    store_abandon(draft);
  qsort(times, 3, sizeof *times, by_size);
  arena_free(a);
  return fmax(times[1], 1e-6);
}

static double disk_seconds(struct calibration *c, unsigned bytes)
{
  const struct entry *known = find(c, "write", "", bytes, false);
  if (known)
    return known->seconds;
  return c->store ? keep(c, "write", "", bytes, false, probe_write(c->store, bytes)) : 1e-3;
}

double calibration_commit(struct calibration *c, unsigned files, double bytes)
{
  double small = disk_seconds(c, DISK_SMALL), large = disk_seconds(c, DISK_LARGE);
  return files * small + bytes * fmax(large - small, 0) / (DISK_LARGE - DISK_SMALL);
}
