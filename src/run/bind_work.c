#include "run/bind_work.h"

#include <string.h>
#include <time.h>

const char work_weights_file[] = "weights.safetensors";
const char work_optimizer_file[] = "optimizer.safetensors";

double work_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const struct plan_step *work_input(const struct work *w, uint32_t k)
{
  return plan_step(w->plan, w->step->inputs[k]);
}

const struct data_set *work_data(struct work *w, const struct plan_step *model, bool labelled)
{
  return work_data_at(w, w->step->n_inputs - 1, model, labelled);
}

const struct data_set *work_data_at(struct work *w, uint32_t k, const struct plan_step *model,
                                    bool labelled)
{
  const struct data_set *set =
      bind_data(w->bind, w->store, w->plan, work_input(w, k), w->diag);
  const struct data_set for_net = bind_shape(w->plan, model);
  if (!set || (set->channels == for_net.channels && set->height == for_net.height &&
               set->width == for_net.width && (!labelled || set->classes == for_net.classes)))
    return set;
  diag_error(w->diag, SPAN_NONE,
             "the model is for data of %ux%ux%u and %u classes, these are %ux%ux%u and %u classes",
             for_net.height, for_net.width, for_net.channels, for_net.classes, set->height,
             set->width, set->channels, set->classes);
  return NULL;
}

bool work_commit(struct work *w)
{
  w->result.seconds = work_now() - w->started;
  w->result.threads = w->bind->threads ? w->bind->threads : 1;
  if (!w->draft)
    w->draft = store_begin(w->store, w->arena, w->diag);
  return w->draft && store_commit(w->draft, w->plan, w->step, &w->result, w->diag);
}

const char *work_draft_file(struct work *w, const char *name)
{
  if (!w->draft)
    w->draft = store_begin(w->store, w->arena, w->diag);
  if (!w->draft)
    return NULL;
  struct store_file file = {.name = name};
  ARENA_PUSH(w->arena, w->result.files, w->result.n_files, w->result.cap_files, file);
  return store_draft_path(w->draft, name);
}

bool work_save_weights(struct work *w, const struct net *net, const float *flat)
{
  const char *path = work_draft_file(w, work_weights_file);
  return path && net_save(net, flat, path, w->diag);
}

const char *work_file(struct work *w, const struct plan_step *from, const char *name)
{
  const char *path = store_file(w->store, from->key, name, w->arena, w->diag);
  if (!path && !diag_errors(w->diag))
    diag_error(w->diag, SPAN_NONE, "the weights that this step starts from are not in the store");
  return path;
}

typedef bool loader(const struct net *, const char *path, float *flat, struct diag *);

/* `net` is the bind's, canonical; the file's weights are not. */
static bool load_as_canonical(struct work *w, const struct net *net, const char *path, loader *load,
                              float *flat)
{
  const struct net_groups *groups = net_groups_new(w->arena, net, w->diag);
  const struct net *plain = bind_make_net(w->arena, w->plan, w->bind->init, false, w->diag);
  float *as_is = plain ? arena_array(w->arena, net_count(plain), sizeof *as_is) : NULL;
  return groups && plain && load(plain, path, as_is, w->diag) &&
         match_canonical(plain, as_is, net, groups, flat, w->diag);
}

static bool in_another_form(const struct work *w, const struct plan_step *from)
{
  return w->bind->canonical && !bind_is_canonical(w->plan, from);
}

float *work_weights(struct work *w, const struct net *net, const struct plan_step *from)
{
  const char *path = work_file(w, from, work_weights_file);
  float *flat = arena_array(w->arena, net_count(net), sizeof *flat);
  if (!path)
    return NULL;
  const bool ok = in_another_form(w, from) ? load_as_canonical(w, net, path, net_load, flat)
                                           : net_load(net, path, flat, w->diag);
  return ok ? flat : NULL;
}

bool work_body(struct work *w, const struct net *net, const struct plan_step *from, float *flat)
{
  const char *path = work_file(w, from, work_weights_file);
  if (!path || !in_another_form(w, from))
    return path && net_load_body(net, path, flat, w->diag);
  size_t n;
  const struct net_tensor *t = net_tensors(net, &n);
  float *body = arena_array(w->arena, net_count(net), sizeof *body);
  if (!load_as_canonical(w, net, path, net_load_body, body))
    return false;
  for (size_t i = 0; i < n; i++)
    if (!net_in_classifier(net, &t[i]))
      memcpy(flat + t[i].offset, body + t[i].offset, t[i].count * sizeof *flat);
  return true;
}

bool work_all_finite(const float *v, size_t n)
{
  /* 0 * x is NaN for every x that is not finite. */
  float sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += 0 * v[i];
  return sum == 0;
}

struct data_augment work_augment(const struct plan_step *s)
{
  bool on = !strcmp(plan_str(s, PLAN_A_augment), "flip_crop");
  return (struct data_augment){on, on ? (unsigned)plan_num(s, PLAN_A_crop_padding) : 0};
}

bool work_inherits_divergence(struct work *w, bool *diverged)
{
  *diverged = false;
  for (uint32_t k = 0; k < w->step->n_inputs; k++) {
    struct store_result r = {0};
    if (work_input(w, k)->kind == PLAN_DATA)
      continue;
    if (!store_read(w->store, work_input(w, k)->key, w->arena, &r, w->diag)) {
      if (!diag_errors(w->diag))
        diag_error(w->diag, SPAN_NONE, "an input of this step is not in the store");
      return false;
    }
    if (r.diverged) {
      w->result.diverged = *diverged = true;
      w->result.note = r.note;
    }
  }
  return true;
}
