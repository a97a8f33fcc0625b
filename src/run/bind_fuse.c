/* Fusing units by optimal transport: a narrower network, or two networks in one. */
#include "run/bind_work.h"

/* A model beside the step's own network, which may be of another width; in the step's arena. */
static bool load_model(struct work *w, uint32_t k, const struct net *net, struct fuse_model *m)
{
  m->net = net;
  m->groups = net ? net_groups_new(w->arena, net, w->diag) : NULL;
  m->flat = m->groups ? work_weights(w, net, work_input(w, k)) : NULL;
  return m->flat != NULL;
}

static struct net *make_net(struct work *w, uint32_t k)
{
  return bind_make_net(w->arena, w->plan, plan_model_of(w->plan, work_input(w, k)), false,
                       w->diag);
}

/* intra_fusion: the first input is an initialisation of the network that comes out. */
static bool narrow(struct work *w, const struct net *net, float *fused)
{
  struct fuse_model from, to = {.net = net, .groups = net_groups_new(w->arena, net, w->diag)};
  return to.groups && load_model(w, 1, make_net(w, 1), &from) &&
         fuse_narrower(&from, &to, fused, w->diag);
}

static bool pair(struct work *w, const struct net *net, float *fused)
{
  struct fuse_model a, b;
  return load_model(w, 0, net, &a) && load_model(w, 1, make_net(w, 1), &b) &&
         fuse_pair(&a, &b, plan_num(w->step, PLAN_A_alpha),
                   (unsigned)plan_num(w->step, PLAN_A_passes), fused, w->diag);
}

bool work_fuse(struct work *w, enum fuse_method method)
{
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return work_commit(w);
  const struct net *net = bind_net(w->bind, w->plan, w->step, w->diag);
  if (!net)
    return false;
  float *fused = arena_array(w->arena, net_count(net), sizeof *fused);
  return (method == FUSE_INTRA ? narrow(w, net, fused) : pair(w, net, fused)) &&
         work_save_merge(w, net, fused);
}
