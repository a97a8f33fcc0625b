#include "run/bind_work.h"

/* The model that is permuted, the one that stays, and their network. */
static bool load(struct work *w, struct match *match)
{
  const struct plan_step *to = work_input(w, 1);
  match->net = bind_net(w->bind, w->plan, w->step, w->diag);
  match->groups = match->net ? net_groups_new(w->arena, match->net, w->diag) : NULL;
  match->from = match->groups ? work_weights(w, match->net, work_input(w, 0)) : NULL;
  if (!match->from)
    return false;
  if (bind_shape(w->plan, to).classes == net_classes(match->net))
    return (match->to = work_weights(w, match->net, to));
  /* The classifier of another task has nothing to say about this one's. */
  float *body = arena_array(w->arena, net_count(match->net), sizeof *body);
  match->to = body;
  return work_body(w, match->net, to, body);
}

static struct match_search search_of(const struct plan_step *s)
{
  return (struct match_search){.passes = (unsigned)plan_num(s, PLAN_A_passes),
                               .restarts = (unsigned)plan_num(s, PLAN_A_restarts),
                               .seed = (uint64_t)plan_num(s, PLAN_A_seed)};
}

static bool by_weights(const struct work *w, const struct match *match, uint32_t **perms)
{
  const struct match_search how = search_of(w->step);
  match_weights(match, &how, perms);
  return true;
}

static bool by_activations(struct work *w, const struct match *match, uint32_t **perms)
{
  const struct data_set *data = work_data(w, w->step, false);
  return data && match_activations(match, bind_eval_work(w->bind), BIND_EVAL_BATCH, data,
                                   (unsigned)plan_num(w->step, PLAN_A_samples), perms, w->diag);
}

static bool by_learning(struct work *w, const struct match *match, uint32_t **perms)
{
  const struct plan_step *s = w->step;
  const struct data_set *data = work_data(w, s, true);
  const struct match_learning how = {.search = search_of(s),
                                     .epochs = (unsigned)plan_num(s, PLAN_A_epochs),
                                     .batch = (unsigned)plan_num(s, PLAN_A_batch),
                                     .lr = plan_num(s, PLAN_A_lr),
                                     .momentum = plan_num(s, PLAN_A_momentum)};
  if (!data)
    return false;
  match_learned(match, &how, bind_train_work(w->bind, how.batch), data, perms);
  return true;
}

static bool find_perms(struct work *w, enum match_method method, const struct match *match,
                       uint32_t **perms)
{
  switch (method) {
  case MATCH_WEIGHTS:
    return by_weights(w, match, perms);
  case MATCH_ACTIVATIONS:
    return by_activations(w, match, perms);
  case MATCH_LEARNED:
    return by_learning(w, match, perms);
  }
  return false;
}

bool work_match(struct work *w, enum match_method method)
{
  struct match match = {.ops = bind_step_ops(w->bind)};
  bool diverged;
  if (!work_inherits_divergence(w, &diverged))
    return false;
  if (diverged)
    return work_commit(w);
  if (!load(w, &match))
    return false;
  uint32_t **perms = match_identity(w->arena, match.groups);
  if (!find_perms(w, method, &match, perms))
    return false;
  float *matched = arena_array(w->arena, net_count(match.net), sizeof *matched);
  net_permute(match.net, match.groups, perms, match.from, matched);
  return match_same_function(match.net, bind_eval_work(w->bind), match.from, matched, w->diag) &&
         work_save_weights(w, match.net, matched) && work_commit(w);
}
