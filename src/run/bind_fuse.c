/* Fusing units by optimal transport: a narrower network, or two networks in one. */
#include "run/bind_work.h"

#include "measure/measure.h"

#include <string.h>

/* An input, whose network may be of another width than the step's: in the step's arena, and
 * bind_net's as well, whose form work_weights reads. */
static bool load_input(struct work *w, uint32_t k, struct fuse_model *m)
{
  const struct plan_step *model = work_input(w, k);
  const bool canonical = bind_is_canonical(w->plan, w->step);
  if (!bind_net_as(w->bind, w->plan, model, canonical, w->diag))
    return false;
  m->net = bind_make_net(w->arena, w->plan, plan_model_of(w->plan, model), canonical, w->diag);
  m->groups = net_groups_new(w->arena, m->net, w->diag);
  m->flat = m->groups ? work_weights(w, m->net, model) : NULL;
  return m->flat != NULL;
}

/* Of the loss of input 1, on its own task's training data.  bind_net holds its network
 * afterwards. */
static const double *gradient_of(struct work *w, const float *flat)
{
  const struct plan_step *model = work_input(w, 1);
  const struct net *net =
      bind_net_as(w->bind, w->plan, model, bind_is_canonical(w->plan, w->step), w->diag);
  const struct data_set *set = net ? work_data(w, model, true) : NULL;
  if (!set)
    return NULL;
  const struct measure_loss loss = {.work = bind_train_work(w->bind, BIND_GRADIENT_BATCH),
                                    .net = net,
                                    .set = set,
                                    .split = DATA_TRAIN,
                                    .samples = (unsigned)plan_num(w->step, PLAN_A_samples),
                                    .batch = BIND_GRADIENT_BATCH};
  double *gradient = arena_array(w->arena, net_params(net), sizeof *gradient);
  measure_gradient(&loss, flat, gradient);
  return gradient;
}

static bool says(const struct plan_step *s, enum plan_attr_id id, const char *word)
{
  const struct plan_attr *a = plan_attr(s, id);
  return a && !strcmp(a->str, word);
}

static bool read_how(struct work *w, const struct fuse_model *from, struct fuse_how *how)
{
  const struct plan_attr *importance = plan_attr(w->step, PLAN_A_importance);
  *how = (struct fuse_how){.marginals_by_importance = says(w->step, PLAN_A_marginals, "importance"),
                           .sequential = says(w->step, PLAN_A_order, "sequential")};
  if (importance && !fuse_importance_find(importance->str, &how->importance))
    return false;
  if (how->importance == FUSE_TAYLOR)
    how->gradient = gradient_of(w, from->flat);
  return how->importance != FUSE_TAYLOR || how->gradient;
}

/* The first input is an initialisation of the network that comes out; the second is looked at, and
 * fused where there is no third. */
static bool narrow(struct work *w, const struct net **net, float **fused)
{
  struct fuse_model from, third, to = {0};
  struct fuse_how how;
  const bool carries = w->step->n_inputs == 4;
  if (!load_input(w, 1, &from) || (carries && !load_input(w, 2, &third)) ||
      !read_how(w, &from, &how))
    return false;
  to.net = *net = bind_net(w->bind, w->plan, w->step, w->diag);
  to.groups = to.net ? net_groups_new(w->arena, to.net, w->diag) : NULL;
  if (!to.groups)
    return false;
  *fused = arena_array(w->arena, net_count(to.net), sizeof **fused);
  return fuse_narrower(&from, carries ? &third : NULL, &how, &to, *fused, w->diag);
}

static bool pair(struct work *w, const struct net **net, float **fused)
{
  struct fuse_model a, b;
  if (!load_input(w, 1, &b) || !load_input(w, 0, &a) ||
      !(*net = bind_net(w->bind, w->plan, w->step, w->diag)))
    return false;
  *fused = arena_array(w->arena, net_count(*net), sizeof **fused);
  return fuse_pair(&a, &b, plan_num(w->step, PLAN_A_alpha),
                   (unsigned)plan_num(w->step, PLAN_A_passes), *fused, w->diag);
}

bool work_fuse(struct work *w, enum fuse_method method)
{
  const struct net *net = NULL;
  float *fused = NULL;
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return work_commit(w);
  return (method == FUSE_INTRA ? narrow : pair)(w, &net, &fused) && work_save_merge(w, net, fused);
}
