#include "dsl/resolve_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

static const char *const block_words[] = {"experiment", "figure", "panel", "claim", "tier"};

bool dsl_knows_all(const struct ast_program *p)
{
  for (size_t i = 0; i < p->n_includes; i++)
    if (!p->includes[i].file)
      return false;
  for (size_t i = 0; i < p->n_blocks; i++)
    if (p->blocks[i].kind == AST_EXPERIMENT && !p->blocks[i].name.text)
      return false;
  return true;
}

static const struct ast_block *find_block(const struct dsl *dsl, enum ast_block_kind kind,
                                          const char *name)
{
  size_t i = names_find(&dsl->blocks, kind, name);
  return i == SIZE_MAX ? NULL : &dsl->program->blocks[i];
}

void dsl_suggest_block(struct arena *a, const struct ast_program *p, enum ast_block_kind kind,
                          const char *name, struct diag *d)
{
  const char **words = arena_array(a, p->n_blocks + 1, sizeof *words);
  size_t n = 0;
  for (size_t i = 0; i < p->n_blocks; i++)
    if (p->blocks[i].kind == kind && p->blocks[i].name.text)
      words[n++] = p->blocks[i].name.text;
  const char *near = diag_nearest(name, words, n);
  if (near)
    diag_hint(d, "did you mean `%s`?", near);
}

static void report_duplicate(const struct ast_block *b, const struct ast_block *first,
                             struct diag *d)
{
  if (b->kind == AST_FIGURE)
    diag_error(d, b->span, "figure %g is defined twice", b->number->number);
  else
    diag_error(d, b->name.span, "%s `%s` is defined twice", block_words[b->kind], b->name.text);
  diag_note(d, first->span, "first defined here");
}

/* Finds the blocks of one kind and name on the way. */
static void index_blocks(struct dsl *dsl, struct diag *d)
{
  const struct ast_program *p = dsl->program;
  for (size_t i = 0; i < p->n_blocks; i++) {
    const struct ast_block *b = &p->blocks[i];
    const char *name = b->name.text;
    if (b->kind == AST_FIGURE)
      name = b->number ? arena_printf(dsl->arena, "%.17g", b->number->number) : NULL;
    if (!name)
      continue;
    size_t first = names_add(dsl->arena, &dsl->blocks, b->kind, name, i);
    if (first != i)
      report_duplicate(b, &p->blocks[first], d);
    if (b->kind == AST_EXPERIMENT && b->base.text)
      names_add(dsl->arena, &dsl->bases, 0, b->base.text, 0);
  }
}

/* Once a cycle: by the first of its blocks. */
static void report_cycle(const struct ast_block *b, const struct ast_block *const *up, size_t n,
                         const struct ast_block *again, struct diag *d)
{
  if (again != b)
    return; /* it leads to a cycle, and is not part of it */
  for (size_t i = 0; i < n; i++)
    if (up[i] < b)
      return;
  diag_error(d, b->base.span, "%s `%s` inherits from itself", block_words[b->kind], b->name.text);
  for (size_t i = 1; i < n; i++)
    diag_note(d, up[i]->span, "by way of `%s`", up[i]->name.text);
}

/* Fills chain with the block's ancestors, root first, itself last. */
static size_t ancestry(const struct dsl *dsl, const struct ast_block *b,
                       const struct ast_block *chain[MAX_DEPTH], struct diag *d)
{
  const struct ast_block *up[MAX_DEPTH];
  size_t n = 0;
  for (const struct ast_block *at = b; at;) {
    for (size_t i = 0; i < n; i++)
      if (up[i] == at) {
        report_cycle(b, up, n, at, d);
        return 0;
      }
    if (n == MAX_DEPTH) {
      diag_error(d, b->span, "inheritance is more than %d levels deep", MAX_DEPTH);
      return 0;
    }
    up[n++] = at;
    if (!at->base.text)
      break;
    const struct ast_block *base = find_block(dsl, b->kind, at->base.text);
    if (!base) {
      if (at == b && dsl_knows_all(dsl->program)) {
        diag_error(d, at->base.span, "unknown %s `%s`", block_words[b->kind], at->base.text);
        dsl_suggest_block(dsl->arena, dsl->program, b->kind, at->base.text, d);
      }
      return 0;
    }
    at = base;
  }
  for (size_t i = 0; i < n; i++)
    chain[i] = up[n - 1 - i];
  return n;
}

static struct dsl_var *own_var(struct dsl_experiment *e, const char *name)
{
  for (size_t i = 0; i < e->n_vars; i++)
    if (!strcmp(e->vars[i].name, name))
      return &e->vars[i];
  return NULL;
}

static void set_var(struct arena *a, struct dsl_experiment *e, const char *name,
                    const struct ast_stmt *stmt, struct ast_expr *const *values, size_t n,
                    bool tier)
{
  struct dsl_var var = {.name = name, .stmt = stmt, .values = values, .n_values = n,
                        .from_tier = tier};
  struct dsl_var *old = own_var(e, name);
  if (!old) {
    ARENA_PUSH(a, e->vars, e->n_vars, e->cap_vars, var);
    return;
  }
  if (tier)
    var.paper = old->from_tier ? old->paper : old->stmt;
  *old = var;
}

static void set_stmt(struct arena *a, const struct ast_stmt ***list, size_t *n, size_t *cap,
                     const struct ast_stmt *s)
{
  for (size_t i = 0; i < *n; i++)
    if (!strcmp((*list)[i]->name.text, s->name.text)) {
      (*list)[i] = s;
      return;
    }
  ARENA_PUSH(a, *list, *n, *cap, s);
}

static void add_setting(struct arena *a, struct dsl_experiment *e, const struct ast_stmt *s,
                        bool tier)
{
  set_var(a, e, s->name.text, s, &s->value, 1, tier);
  /* optimizer = sgd(momentum = 0.9) says momentum = 0.9 as well, so that it can be swept. */
  if (!strcmp(s->name.text, "optimizer") && s->value && s->value->kind == AST_CALL)
    for (size_t i = 0; i < s->value->n_args; i++)
      if (s->value->args[i].name.text)
        set_var(a, e, s->value->args[i].name.text, s, &s->value->args[i].value, 1, tier);
}

/* Its values are written out once all experiments are there: they may be those
 * of another one's sweep. */
static void add_sweep(struct arena *a, struct dsl_experiment *e, const struct ast_stmt *s,
                      bool tier)
{
  for (size_t c = 0; s->n_values && c < (s->n_names ? s->n_names : 1); c++)
    set_var(a, e, s->n_names ? s->names[c].text : s->name.text, s, NULL, 0, tier);
}

static void add_layer(struct arena *a, struct dsl_experiment *e, const struct ast_block *b,
                      bool tier)
{
  for (size_t i = 0; i < b->n_stmts; i++) {
    const struct ast_stmt *s = &b->stmts[i];
    switch (s->kind) {
    case AST_SETTING:
      add_setting(a, e, s, tier);
      break;
    case AST_LET:
      set_var(a, e, s->name.text, s, &s->value, 1, tier);
      break;
    case AST_SWEEP:
      add_sweep(a, e, s, tier);
      break;
    case AST_WHERE:
      ARENA_PUSH(a, e->wheres, e->n_wheres, e->cap_wheres, s);
      break;
    case AST_TRUNK:
      e->trunk = s;
      break;
    case AST_BRANCH:
      set_stmt(a, &e->branches, &e->n_branches, &e->cap_branches, s);
      break;
    case AST_MERGE:
      set_stmt(a, &e->merges, &e->n_merges, &e->cap_merges, s);
      break;
    case AST_MEASURE:
      set_stmt(a, &e->measures, &e->n_measures, &e->cap_measures, s);
      break;
    case AST_USE:
      set_stmt(a, &e->uses, &e->n_uses, &e->cap_uses, s);
      break;
    case AST_REPLACE:
    case AST_EXPECT:
      break;
    }
  }
}

static void resolve_tiers(struct dsl *dsl, const char *tier, struct diag *d)
{
  if (!tier)
    return;
  const struct ast_block *b = find_block(dsl, AST_TIER, tier);
  if (!b) {
    diag_error(d, SPAN_NONE, "no file defines tier `%s`", tier);
    dsl_suggest_block(dsl->arena, dsl->program, AST_TIER, tier, d);
    return;
  }
  const struct ast_block *chain[MAX_DEPTH];
  size_t n = ancestry(dsl, b, chain, d);
  size_t room = sizeof dsl->tiers / sizeof *dsl->tiers;
  if (n > room) {
    diag_error(d, b->span, "tier `%s` inherits more than %zu levels deep", tier, room);
    return;
  }
  memcpy(dsl->tiers, chain, n * sizeof *chain);
  dsl->n_tiers = n;
}

static void add_overlays(struct dsl *dsl, struct dsl_experiment *e,
                         const struct ast_block *const *chain, size_t n)
{
  for (size_t t = 0; t < dsl->n_tiers; t++)
    add_layer(dsl->arena, e, dsl->tiers[t], true);
  for (size_t i = 0; i < n; i++)
    for (size_t t = 0; t < dsl->n_tiers; t++)
      for (size_t o = 0; o < dsl->tiers[t]->n_blocks; o++)
        if (!strcmp(dsl->tiers[t]->blocks[o].name.text, chain[i]->name.text))
          add_layer(dsl->arena, e, &dsl->tiers[t]->blocks[o], true);
}

static void resolve_experiment(struct dsl *dsl, const struct ast_block *b, struct diag *d)
{
  struct dsl_experiment e = {.dsl = dsl, .block = b, .name = b->name.text}, *paper;
  const struct ast_block *chain[MAX_DEPTH];
  size_t n = ancestry(dsl, b, chain, d);
  paper = arena_copy(dsl->arena, &e, sizeof e);
  for (size_t i = 0; i < n; i++) {
    add_layer(dsl->arena, &e, chain[i], false);
    add_layer(dsl->arena, paper, chain[i], false);
  }
  e.paper = paper;
  add_overlays(dsl, &e, chain, n);
  e.complete = n > 0;
  for (size_t i = 0; i < n; i++)
    e.complete &= !chain[i]->incomplete;
  names_add(dsl->arena, &dsl->experiments_by_name, 0, e.name, dsl->n_experiments);
  ARENA_PUSH(dsl->arena, dsl->experiments, dsl->n_experiments, dsl->cap_experiments, e);
}

static void add_drawn(struct dsl *dsl, const struct ast_block *b)
{
  for (size_t i = 0; i < b->n_of; i++)
    names_add(dsl->arena, &dsl->drawn, 0, b->of[i].text, 0);
}

/* By a figure, or by a claim. */
static void index_drawn(struct dsl *dsl)
{
  for (size_t i = 0; i < dsl->program->n_blocks; i++) {
    const struct ast_block *b = &dsl->program->blocks[i];
    add_drawn(dsl, b);
    for (size_t k = 0; b->kind == AST_FIGURE && k < b->n_blocks; k++)
      add_drawn(dsl, &b->blocks[k]);
  }
}

/* Is one word the other with a letter more, less, or another one?  Names such as
 * lr_svhn and wd_svhn are near each other, and both are meant. */
static bool is_one_slip(const char *a, const char *b)
{
  while (*a && *a == *b) {
    a++;
    b++;
  }
  return (*a && !strcmp(a + 1, b)) || (*b && !strcmp(a, b + 1)) ||
         (*a && *b && !strcmp(a + 1, b + 1)) ||
         (*a && *b && a[0] == b[1] && a[1] == b[0] && !strcmp(a + 2, b + 2));
}

static void check_overlays(const struct dsl *dsl, struct diag *d)
{
  for (size_t t = 0; t < dsl->n_tiers; t++)
    for (size_t o = 0; o < dsl->tiers[t]->n_blocks; o++) {
      const struct ast_name *name = &dsl->tiers[t]->blocks[o].name;
      if (find_block(dsl, AST_EXPERIMENT, name->text))
        continue;
      /* A tier serves all files; one figure's files alone do not define them all. */
      const char **words = arena_array(dsl->arena, dsl->n_experiments + 1, sizeof *words);
      for (size_t i = 0; i < dsl->n_experiments; i++)
        words[i] = dsl->experiments[i].name;
      const char *near = diag_nearest(name->text, words, dsl->n_experiments);
      if (near && is_one_slip(name->text, near)) {
        diag_warning(d, name->span, "no experiment `%s` is among the files", name->text);
        diag_hint(d, "did you mean `%s`?", near);
      }
    }
}

bool dsl_is_included(const struct ast_program *p, uint32_t file)
{
  for (size_t i = 0; i < p->n_files; i++)
    if (p->files[i].file == file)
      return p->files[i].included_at.file != 0;
  return false;
}

/* Does it leave nothing open that training needs? */
static bool is_whole(const struct dsl_experiment *e)
{
  if (!e->trunk)
    return e->n_uses && e->n_measures;
  return dsl_var(e, "data") && dsl_var(e, "model") && dsl_var(e, "lr") && dsl_var(e, "batch") &&
         e->trunk && e->n_measures;
}

/* Experiments that others have models of. */
static void mark_asked(void *context, const struct ast_expr *x)
{
  const struct dsl *dsl = context;
  if (x->kind != AST_OF || !x->args[1].value->text)
    return;
  struct dsl_experiment *e = dsl_experiment(dsl, x->args[1].value->text);
  if (e && !e->asked) {
    e->asked = true;
    dsl_walk(e, mark_asked, context);
  }
}

static bool is_planned(const struct dsl *dsl, const struct dsl_experiment *e)
{
  if (names_find(&dsl->drawn, 0, e->name) != SIZE_MAX)
    return true;
  return names_find(&dsl->bases, 0, e->name) == SIZE_MAX &&
         (is_whole(e) || !dsl_is_included(dsl->program, e->block->span.file));
}

struct dsl *dsl_resolve(struct arena *a, const struct ast_program *p, const char *tier,
                        struct diag *d)
{
  struct dsl *dsl = arena_alloc(a, sizeof *dsl);
  dsl->arena = a;
  dsl->program = p;
  index_blocks(dsl, d);
  index_drawn(dsl);
  resolve_tiers(dsl, tier, d);
  for (size_t i = 0; i < p->n_blocks; i++)
    if (p->blocks[i].kind == AST_EXPERIMENT && p->blocks[i].name.text)
      resolve_experiment(dsl, &p->blocks[i], d);
  struct diag *quiet = diag_new(a);
  for (size_t i = 0; i < dsl->n_experiments; i++) {
    struct dsl_experiment *e = &dsl->experiments[i];
    dsl_read_sweeps(dsl, e, false, d);
    dsl_read_sweeps(dsl, e->paper, true, quiet);
    e->planned = is_planned(dsl, e);
  }
  for (size_t i = 0; i < dsl->n_experiments; i++)
    if (dsl->experiments[i].planned)
      dsl_walk(&dsl->experiments[i], mark_asked, dsl);
  check_overlays(dsl, d);
  return dsl;
}

void dsl_unknown_experiment(const struct dsl *dsl, const char *name, struct span at,
                            struct diag *d)
{
  diag_error(d, at, "unknown experiment `%s`", name);
  dsl_suggest_block(dsl->arena, dsl->program, AST_EXPERIMENT, name, d);
}

struct dsl_experiment *dsl_experiment(const struct dsl *dsl, const char *name)
{
  size_t i = names_find(&dsl->experiments_by_name, 0, name);
  return i == SIZE_MAX ? NULL : &dsl->experiments[i];
}

const struct dsl_var *dsl_var(const struct dsl_experiment *e, const char *name)
{
  for (size_t i = 0; i < e->n_vars; i++)
    if (!strcmp(e->vars[i].name, name))
      return &e->vars[i];
  return NULL;
}

const struct dsl_var *dsl_leader(const struct dsl_experiment *e, const struct dsl_var *v)
{
  for (size_t i = 0; v->stmt->n_names && i < e->n_vars; i++)
    if (e->vars[i].stmt == v->stmt)
      return &e->vars[i];
  return v;
}

bool dsl_next_point(const struct dsl_experiment *e, size_t *choice)
{
  bool more = false;
  for (size_t i = e->n_vars; i-- > 0 && !more;) {
    if (dsl_leader(e, &e->vars[i]) != &e->vars[i])
      continue;
    more = ++choice[i] < e->vars[i].n_values;
    if (!more)
      choice[i] = 0;
  }
  for (size_t i = 0; i < e->n_vars; i++)
    choice[i] = choice[dsl_leader(e, &e->vars[i]) - e->vars];
  return more;
}

static void walk(const struct ast_expr *x, dsl_visit *visit, void *context)
{
  if (!x)
    return;
  visit(context, x);
  for (size_t i = 0; i < x->n_args; i++)
    walk(x->args[i].value, visit, context);
}

static void walk_stmt(const struct ast_stmt *s, dsl_visit *visit, void *context)
{
  walk(s->value, visit, context);
  walk(s->every, visit, context);
  walk(s->length, visit, context);
  walk(s->schedule, visit, context);
  walk(s->snapshots, visit, context);
  for (size_t i = 0; s->kind != AST_SWEEP && i < s->n_values; i++)
    walk(s->values[i], visit, context);
}

void dsl_walk(const struct dsl_experiment *e, dsl_visit *visit, void *context)
{
  for (size_t i = 0; i < e->n_vars; i++)
    for (size_t k = 0; k < e->vars[i].n_values; k++)
      walk(e->vars[i].values[k], visit, context);
  if (e->trunk)
    walk_stmt(e->trunk, visit, context);
  const struct {
    const struct ast_stmt *const *list;
    size_t n;
  } lists[] = {{e->wheres, e->n_wheres}, {e->branches, e->n_branches}, {e->uses, e->n_uses},
               {e->merges, e->n_merges}, {e->measures, e->n_measures}};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
    for (size_t k = 0; k < lists[i].n; k++)
      walk_stmt(lists[i].list[k], visit, context);
}

const struct ast_stmt *dsl_replacement(const struct dsl *dsl, const char *sort, const char *name)
{
  for (size_t t = dsl->n_tiers; t-- > 0;)
    for (size_t i = 0; i < dsl->tiers[t]->n_stmts; i++) {
      const struct ast_stmt *s = &dsl->tiers[t]->stmts[i];
      if (s->kind == AST_REPLACE && !strcmp(s->kind_word.text, sort) &&
          !strcmp(s->name.text, name))
        return s;
    }
  return NULL;
}

const struct ast_expr *dsl_replaced(const struct dsl *dsl, const struct dsl_var *var,
                                    const struct ast_expr *value)
{
  if (strcmp(var->name, "data") && strcmp(var->name, "model"))
    return value;
  if (var->from_tier || (value->kind != AST_NAME && value->kind != AST_CALL))
    return value;
  const struct ast_stmt *r = dsl_replacement(dsl, var->name, value->text);
  return r && r->value ? r->value : value;
}

const struct ast_stmt *dsl_said_by(const struct dsl *dsl, const struct dsl_var *v)
{
  bool thing = !strcmp(v->name, "data") || !strcmp(v->name, "model");
  if (!thing || v->from_tier || v->n_values != 1 || !v->values[0]->text)
    return v->stmt;
  const struct ast_stmt *by = dsl_replacement(dsl, v->name, v->values[0]->text);
  return by ? by : v->stmt;
}
