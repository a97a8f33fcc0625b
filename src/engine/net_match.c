#include "engine/net_match.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

const char *net_tracked_name(struct arena *arena, const struct net_tensor *t)
{
  static const char suffix[] = ".running_var";
  const size_t n = strlen(t->name), m = sizeof suffix - 1;
  if (!t->buffer || n < m || strcmp(t->name + n - m, suffix))
    return NULL;
  return arena_printf(arena, "%.*s.num_batches_tracked", (int)(n - m), t->name);
}

/* What training frameworks put before every name. */
static size_t wrapper(const struct checkpoint *file)
{
  static const char *const wrappers[] = {"module.", "model.", "_orig_mod."};
  size_t skip = 0;
  for (size_t w = 0; w < sizeof wrappers / sizeof *wrappers; w++) {
    const size_t n = strlen(wrappers[w]);
    size_t i = 0;
    while (i < file->n_tensors && !strncmp(file->tensors[i].name + skip, wrappers[w], n))
      i++;
    if (i && i == file->n_tensors) {
      skip += n;
      w = SIZE_MAX; /* from the first again */
    }
  }
  return skip;
}

struct known {
  const char *name;
  size_t tensor; /* SIZE_MAX: known, and not used */
};

struct matching {
  struct arena *arena;
  const struct net *net;
  struct zoo_names names;
  struct known *known; /* by name */
  size_t n_known;
  struct net_match *match;
};

static int by_name(const void *a, const void *b)
{
  return strcmp(((const struct known *)a)->name, ((const struct known *)b)->name);
}

static void list_known(struct matching *m)
{
  const struct net *net = m->net;
  m->known = arena_array(m->arena, 2 * net->n_tensors, sizeof *m->known);
  for (size_t i = 0; i < net->n_tensors; i++) {
    const char *tracked = net_tracked_name(m->arena, &net->tensors[i]);
    m->known[m->n_known++] = (struct known){net->tensors[i].name, i};
    if (tracked)
      m->known[m->n_known++] = (struct known){tracked, SIZE_MAX};
  }
  qsort(m->known, m->n_known, sizeof *m->known, by_name);
}

static const struct known *find_known(const struct matching *m, const char *name)
{
  const struct known key = {name, 0};
  return bsearch(&key, m->known, m->n_known, sizeof key, by_name);
}

static void take(struct matching *m, size_t tensor, const struct checkpoint_tensor *t)
{
  struct net_match *match = m->match;
  if (match->of[tensor]) {
    match->again[tensor] = t;
  } else {
    match->of[tensor] = t;
    match->found++;
  }
}

/* Is the tensor known by this name? */
static bool take_as(struct matching *m, const char *name, const struct checkpoint_tensor *t)
{
  struct net_match *match = m->match;
  const struct known *known = find_known(m, name);
  if (known) {
    if (known->tensor != SIZE_MAX)
      take(m, known->tensor, t);
    return true;
  }
  for (int i = 0; i < ZOO_TIED && m->names.tied[i].first; i++) {
    const struct known *same = find_known(m, m->names.tied[i].second);
    if (strcmp(m->names.tied[i].first, name) || !same || match->n_tied == ZOO_TIED)
      continue;
    match->tied[match->n_tied++] = (struct net_tied){t, same->tensor};
    return true;
  }
  for (int i = 0; i < ZOO_IGNORED && m->names.ignored[i]; i++)
    if (!fnmatch(m->names.ignored[i], name, 0))
      return true;
  return false;
}

static bool take_renamed(struct matching *m, const char *name, const struct checkpoint_tensor *t)
{
  for (int i = 0; i < ZOO_RENAMED && m->names.renamed[i].first; i++) {
    const struct zoo_pair *p = &m->names.renamed[i];
    const char *at = strstr(name, p->first);
    if (!at)
      continue;
    name = arena_printf(m->arena, "%.*s%s%s", (int)(at - name), name, p->second,
                        at + strlen(p->first));
    if (take_as(m, name, t))
      return true;
  }
  return false;
}

struct net_match net_match(struct arena *arena, const struct net *net,
                           const struct checkpoint *file)
{
  struct net_match match = {
      .of = arena_array(arena, net->n_tensors, sizeof *match.of),
      .again = arena_array(arena, net->n_tensors, sizeof *match.again),
      .wrapped = wrapper(file),
  };
  struct matching m = {.arena = arena, .net = net, .names = zoo_names(net->model), .match = &match};
  list_known(&m);
  for (size_t i = 0; i < file->n_tensors; i++) {
    const struct checkpoint_tensor *t = &file->tensors[i];
    const char *name = t->name + match.wrapped;
    if (!take_as(&m, name, t) && !take_renamed(&m, name, t))
      ARENA_PUSH(arena, match.extra, match.n_extra, match.cap_extra, t);
  }
  return match;
}
