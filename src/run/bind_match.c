#include "run/bind_work.h"

#include <string.h>

struct matching {
  struct work *w;
  enum match_method method;
  bool general;   /* its symmetries are */
  bool canonical; /* the form of the weights is; always where it is general */
  struct match match;
  float *matched;
};

/* What a canonical model was trained or thinned out to may have lost the form. */
static bool regain_form(struct work *w, const struct matching *m, const struct plan_step *from,
                        float *flat)
{
  const struct net *net = m->match.net;
  if (!m->general || !bind_is_canonical(w->plan, from))
    return true;
  float *copy = arena_copy(w->arena, flat, net_count(net) * sizeof *flat);
  return match_canonical(net, copy, net, m->match.groups, flat, w->diag);
}

static float *load_model(struct matching *m, const struct plan_step *from)
{
  struct work *w = m->w;
  const struct net *net = m->match.net;
  float *flat = NULL;
  if (bind_shape(w->plan, from).classes == net_classes(net)) {
    flat = work_weights(w, net, from);
  } else {
    /* The classifier of another task has nothing to say about this one's. */
    flat = arena_array(w->arena, net_count(net), sizeof *flat);
    flat = work_body(w, net, from, flat) ? flat : NULL;
  }
  return flat && regain_form(w, m, from, flat) ? flat : NULL;
}

/* The model that is permuted, the one that stays, and their network. */
static bool load(struct matching *m)
{
  struct work *w = m->w;
  struct match *match = &m->match;
  match->ops = bind_step_ops(w->bind);
  match->net = bind_net(w->bind, w->plan, w->step, w->diag);
  match->groups = match->net ? net_groups_new(w->arena, match->net, w->diag) : NULL;
  match->from = match->groups ? load_model(m, work_input(w, 0)) : NULL;
  match->to = match->from ? load_model(m, work_input(w, 1)) : NULL;
  return match->to != NULL;
}

static struct match_search search_of(const struct plan_step *s)
{
  return (struct match_search){.passes = (unsigned)plan_num(s, PLAN_A_passes),
                               .restarts = (unsigned)plan_num(s, PLAN_A_restarts),
                               .seed = (uint64_t)plan_num(s, PLAN_A_seed)};
}

static bool match_by_weights(struct matching *m, uint32_t **perms, struct match_maps *maps)
{
  const struct match_search how = search_of(m->w->step);
  if (maps)
    match_general(&m->match, &how, maps);
  else
    match_weights(&m->match, &how, perms);
  return true;
}

static bool match_by_activations(struct matching *m, uint32_t **perms)
{
  struct work *w = m->w;
  const struct data_set *data = work_data(w, w->step, false);
  return data && match_activations(&m->match, bind_eval_work(w->bind), BIND_EVAL_BATCH, data,
                                   (unsigned)plan_num(w->step, PLAN_A_samples), perms, w->diag);
}

static bool match_by_learning(struct matching *m, uint32_t **perms, struct match_maps *maps)
{
  struct work *w = m->w;
  const struct plan_step *s = w->step;
  const struct data_set *data = work_data(w, s, true);
  const struct match_learning how = {.search = search_of(s),
                                     .epochs = (unsigned)plan_num(s, PLAN_A_epochs),
                                     .batch = (unsigned)plan_num(s, PLAN_A_batch),
                                     .lr = plan_num(s, PLAN_A_lr),
                                     .momentum = plan_num(s, PLAN_A_momentum)};
  if (!data)
    return false;
  struct net_work *work = bind_train_work(w->bind, how.batch);
  if (maps)
    match_general_learned(&m->match, &how, work, data, maps);
  else
    match_learned(&m->match, &how, work, data, perms);
  return true;
}

static bool find_match(struct matching *m)
{
  const struct match *match = &m->match;
  struct arena *a = m->w->arena;
  /* Without heads, permutations are all there is. */
  struct match_maps *maps =
      m->general && match_has_heads(match->groups) ? match_maps_new(a, match->groups) : NULL;
  uint32_t **perms = match_identity(a, match->groups);
  bool found = false;
  switch (m->method) {
  case MATCH_WEIGHTS:
    found = match_by_weights(m, perms, maps);
    break;
  case MATCH_ACTIVATIONS:
    found = match_by_activations(m, perms);
    break;
  case MATCH_LEARNED:
    found = match_by_learning(m, perms, maps);
    break;
  }
  m->matched = arena_array(a, net_count(match->net), sizeof *m->matched);
  if (maps)
    match_map(maps, match->from, net_count(match->net), m->matched);
  else
    net_permute(match->net, match->groups, perms, match->from, m->matched);
  return found;
}

/* As the model that it was made of, in that one's own form. */
static bool computes_the_same(const struct matching *m)
{
  struct work *w = m->w;
  const struct plan_step *from = work_input(w, 0);
  const struct net *net = m->match.net;
  struct net_work *work = bind_eval_work(w->bind);
  if (bind_is_canonical(w->plan, from) == m->canonical)
    return match_same_function(net, work, m->match.from, work, m->matched, w->diag);
  const struct net *own = bind_make_net(w->arena, w->plan, w->bind->init, false, w->diag);
  const char *path = own ? work_file(w, from, work_weights_file) : NULL;
  float *flat = own ? arena_array(w->arena, net_count(own), sizeof *flat) : NULL;
  if (!path || !net_load(own, path, flat, w->diag))
    return false;
  struct net_work *own_work = net_work_new(own, bind_step_ops(w->bind), MATCH_CHECKED, false);
  const bool same = match_same_function(own, own_work, flat, work, m->matched, w->diag);
  net_work_free(own_work);
  return same;
}

bool work_match(struct work *w, enum match_method method)
{
  const struct plan_attr *symmetries = plan_attr(w->step, PLAN_A_symmetries);
  struct matching m = {.w = w,
                       .method = method,
                       .general = symmetries && !strcmp(symmetries->str, "general"),
                       .canonical = bind_is_canonical(w->plan, w->step)};
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return work_commit(w);
  return load(&m) && find_match(&m) && computes_the_same(&m) &&
         work_save_weights(w, m.match.net, m.matched) && work_commit(w);
}
