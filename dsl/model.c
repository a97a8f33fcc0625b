#include "dsl/model.h"

#include "base/file.h"
#include "dsl/words.h"

#include <math.h>
#include <string.h>

/* Merges of merges, and models of experiments that have them of others. */
enum { MAX_DEEP = 64 };

size_t model_branch_count(const struct ast_stmt *branch)
{
  return branch->count && branch->count->number >= 1 ? (size_t)branch->count->number : 1;
}

size_t model_index(const struct ast_stmt *const *list, size_t n, const char *name)
{
  for (size_t i = 0; i < n; i++)
    if (!strcmp(list[i]->name.text, name))
      return i;
  return SIZE_MAX;
}

bool model_maps(const struct ast_expr *call)
{
  return call->kind == AST_CALL && !strcmp(call->text, "swa");
}

const struct ast_expr *model_first(const struct ast_expr *call)
{
  for (size_t i = 0; i < call->n_args; i++)
    if (!call->args[i].name.text)
      return call->args[i].value;
  return NULL;
}

/* ---- names ---- */

static bool find_name(const struct dsl_experiment *e, const char *name, struct model_name *out)
{
  out->member = SIZE_MAX;
  out->index = 0;
  if (!strcmp(name, "trunk") && e->trunk) {
    out->kind = MODEL_TRUNK;
    return true;
  }
  if (!strcmp(name, "start") && e->trunk) {
    out->kind = MODEL_START;
    return true;
  }
  const struct {
    enum model_kind kind;
    const struct ast_stmt *const *list;
    size_t n;
  } lists[] = {{MODEL_MERGE, e->merges, e->n_merges},
               {MODEL_BRANCH, e->branches, e->n_branches},
               {MODEL_USE, e->uses, e->n_uses}};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    out->kind = lists[i].kind;
    out->index = model_index(lists[i].list, lists[i].n, name);
    if (out->index != SIZE_MAX)
      return true;
  }
  return false;
}

static size_t members(const struct dsl_experiment *e, const struct model_name *m, unsigned depth);

/* How many models `ends`, `ends[0]` or `ends of base` are. */
static size_t count_of(const struct dsl_experiment *e, const struct ast_expr *x, unsigned depth)
{
  struct model_name m;
  if (x->kind == AST_OF) {
    const struct dsl_experiment *target = model_target(e->dsl, x);
    return target ? count_of(target, x->args[0].value, depth + 1) : 1;
  }
  if (x->kind != AST_NAME || depth > MAX_DEEP || !find_name(e, x->text, &m))
    return 1;
  return members(e, &m, depth + 1);
}

static size_t members(const struct dsl_experiment *e, const struct model_name *m, unsigned depth)
{
  const struct ast_expr *x;
  switch (m->kind) {
  case MODEL_BRANCH:
    return model_branch_count(e->branches[m->index]);
  case MODEL_USE:
    return count_of(e, e->uses[m->index]->value, depth);
  case MODEL_MERGE:
    x = e->merges[m->index]->value;
    return model_maps(x) && model_first(x) ? count_of(e, model_first(x), depth) : 1;
  default:
    return 1;
  }
}

size_t model_members(const struct dsl_experiment *e, const struct model_name *m)
{
  return members(e, m, 0);
}

size_t model_count(const struct dsl_experiment *e, const struct model_name *m)
{
  return m->member == SIZE_MAX ? members(e, m, 0) : 1;
}

static bool unknown_model(const struct dsl_experiment *e, const struct ast_expr *x, struct diag *d)
{
  size_t n = 0;
  if (!strcmp(x->text, "trunk") || !strcmp(x->text, "start")) {
    diag_error(d, x->text_span, "`%s` has no trunk", e->name);
    return false;
  }
  const char **words = arena_array(e->dsl->arena, e->n_branches + e->n_merges + e->n_uses + 3,
                                   sizeof *words);
  if (e->trunk) {
    words[n++] = "trunk";
    words[n++] = "start";
  }
  for (size_t i = 0; i < e->n_branches; i++)
    words[n++] = e->branches[i]->name.text;
  for (size_t i = 0; i < e->n_uses; i++)
    words[n++] = e->uses[i]->name.text;
  for (size_t i = 0; i < e->n_merges; i++)
    words[n++] = e->merges[i]->name.text;
  diag_error(d, x->text_span, "no branch, merge or use is called `%s`", x->text);
  char *all = arena_strdup(e->dsl->arena, "");
  for (size_t i = 0; i < n; i++)
    all = arena_printf(e->dsl->arena, "%s%s`%s`", all, i ? ", " : "", words[i]);
  if (diag_nearest(x->text, words, n))
    formula_suggest(x->text, words, n, d);
  else if (n)
    diag_hint(d, "the models of `%s` are: %s", e->name, all);
  return false;
}

static bool pick_member(const struct dsl_experiment *e, const struct ast_expr *x,
                        struct model_name *out, struct diag *d)
{
  const struct ast_expr *index = x->args[0].value;
  size_t n = members(e, out, 0);
  if (index->kind == AST_NUMBER && !index->unit.text && index->number == floor(index->number) &&
      index->number >= 0 && index->number < (double)n) {
    out->member = (size_t)index->number;
    return true;
  }
  if (n == 1)
    diag_error(d, index->span, "`%s` is one model: write `%s`, or `%s[0]`", x->text, x->text,
               x->text);
  else if (index->kind != AST_NUMBER)
    diag_error(d, index->span, "which member of `%s` is said by a whole number, from 0 to %zu",
               x->text, n - 1);
  else
    diag_error(d, index->span, "`%s` has %zu members, `%s[0]` %s `%s[%zu]`", x->text, n, x->text,
               n == 2 ? "and" : "to", x->text, n - 1);
  return false;
}

bool model_find(const struct dsl_experiment *e, const struct ast_expr *x, struct model_name *out,
                struct diag *d)
{
  if (model_file(x)) {
    diag_error(d, x->span, "only a trunk can start from a file");
    diag_hint(d, "write `start = %s(\"%s\");` in an experiment, and take models of it", x->text,
              model_file(x));
    return false;
  }
  if (x->kind == AST_OF) {
    const struct ast_expr *target = x->args[1].value;
    diag_error(d, x->span, "a model of another experiment needs a name here");
    diag_hint(d, "write `use other = %s of %s;`, and `other` here",
              x->args[0].value->text ? x->args[0].value->text : "trunk",
              target->text ? target->text : "...");
    return false;
  }
  if (x->kind != AST_NAME && x->kind != AST_INDEX) {
    diag_error(d, x->span, "the name of a branch, a merge or a use is expected here");
    return false;
  }
  if (!find_name(e, x->text, out))
    return unknown_model(e, x, d);
  return x->kind == AST_NAME || pick_member(e, x, out, d);
}

/* ---- other experiments ---- */

const char *model_file(const struct ast_expr *x)
{
  bool file = x->kind == AST_CALL && !strcmp(x->text, "file") && x->n_args == 1 &&
              x->args[0].value->kind == AST_STRING;
  return file ? x->args[0].value->text : NULL;
}

char *model_file_path(struct arena *a, const struct dsl *dsl, const struct ast_expr *x)
{
  const char *path = model_file(x), *from = source_name(dsl->program->sources, x->span.file);
  const char *slash = strrchr(from, '/');
  if (*path == '/' || !slash)
    return arena_strdup(a, path);
  return arena_printf(a, "%.*s/%s", (int)(slash - from), from, path);
}

struct dsl_experiment *model_target(const struct dsl *dsl, const struct ast_expr *of)
{
  const struct ast_expr *target = of->args[1].value;
  return target->text ? dsl_experiment(dsl, target->text) : NULL;
}

const struct ast_expr *model_argument(const struct ast_expr *of, const char *name)
{
  const struct ast_expr *target = of->args[1].value;
  for (size_t i = 0; target->kind == AST_CALL && i < target->n_args; i++)
    if (target->args[i].name.text && !strcmp(target->args[i].name.text, name))
      return target->args[i].value;
  return NULL;
}

static bool is_swept(const struct dsl_var *v)
{
  return v->stmt->kind == AST_SWEEP;
}

/* Is it said which of the target's values is meant? */
static bool is_bound(const struct dsl_experiment *asking, const struct dsl_experiment *target,
                     const struct ast_expr *of, const char *name)
{
  if (model_argument(of, name) || dsl_var(asking, name))
    return true;
  const struct dsl_var *v = dsl_var(target, name);
  for (size_t i = 0; v && i < v->stmt->n_names; i++)
    if (model_argument(of, v->stmt->names[i].text) || dsl_var(asking, v->stmt->names[i].text))
      return true;
  return false;
}

/* A word must be one of those that the target's sweep has, or a variable of one's own. */
static void check_argument_word(const struct dsl_experiment *asking,
                                const struct dsl_experiment *target, const struct ast_arg *arg,
                                struct diag *d)
{
  const struct dsl_var *v = dsl_var(target, arg->name.text);
  const struct ast_expr *x = arg->value;
  if (!v || x->kind != AST_NAME || dsl_var(asking, x->text) || words_setting(x->text))
    return;
  const char **words = arena_array(target->dsl->arena, v->n_values + asking->n_vars + 1,
                                   sizeof *words);
  size_t n = 0;
  for (size_t i = 0; i < v->n_values; i++) {
    if (v->values[i]->text && !strcmp(v->values[i]->text, x->text))
      return;
    if (v->values[i]->kind == AST_NAME)
      words[n++] = v->values[i]->text;
  }
  for (size_t i = 0; i < asking->n_vars; i++)
    words[n++] = asking->vars[i].name;
  diag_error(d, x->span, "`%s` does not sweep `%s` over `%s`, and `%s` has nothing of this name",
             target->name, v->name, x->text, asking->name);
  formula_suggest(x->text, words, n, d);
  diag_note(d, v->stmt->span, "the sweep");
}

static bool check_arguments(const struct dsl_experiment *asking,
                            const struct dsl_experiment *target, const struct ast_expr *of,
                            struct diag *d)
{
  const struct ast_expr *call = of->args[1].value;
  unsigned errors = diag_errors(d);
  const char **names = arena_array(target->dsl->arena, target->n_vars + 2, sizeof *names);
  size_t n = 0;
  for (size_t i = 0; i < target->n_vars; i++)
    if (is_swept(&target->vars[i]))
      names[n++] = target->vars[i].name;
  names[n++] = "checkpoint";
  for (size_t i = 0; call->kind == AST_CALL && i < call->n_args; i++) {
    const struct ast_name *name = &call->args[i].name;
    bool known = false;
    for (size_t k = 0; name->text && k < n; k++)
      known |= !strcmp(names[k], name->text);
    if (!name->text) {
      diag_error(d, call->args[i].value->span, "which of the settings that `%s` sweeps is this?",
                 target->name);
      diag_hint(d, "such as `%s = ...`", names[0]);
    } else if (!known) {
      const struct dsl_var *v = dsl_var(target, name->text);
      diag_error(d, name->span, "`%s` does not sweep `%s`", target->name, name->text);
      formula_suggest(name->text, names, n, d);
      if (v)
        diag_note(d, v->stmt->span, "it has one value");
    } else {
      check_argument_word(asking, target, &call->args[i], d);
    }
    for (size_t k = 0; name->text && k < i; k++)
      if (call->args[k].name.text && !strcmp(call->args[k].name.text, name->text))
        diag_error(d, name->span, "`%s` is given twice", name->text);
  }
  return diag_errors(d) == errors;
}

bool model_check_reference(const struct dsl_experiment *asking, const struct ast_expr *of,
                           struct diag *d)
{
  const struct dsl_experiment *target = model_target(asking->dsl, of);
  const struct ast_expr *name = of->args[1].value;
  struct model_name m;
  if (!target) {
    if (!dsl_knows_all(asking->dsl->program))
      return false;
    dsl_unknown_experiment(asking->dsl, name->text, name->text_span, d);
    return false;
  }
  if (!target->complete || !model_find(target, of->args[0].value, &m, d) ||
      !check_arguments(asking, target, of, d))
    return false;
  for (size_t i = 0; i < target->n_vars; i++) {
    const struct dsl_var *v = &target->vars[i];
    if (!is_swept(v) || v->n_values < 2 || is_bound(asking, target, of, v->name))
      continue;
    diag_error(d, of->span, "`%s` sweeps `%s`: which of its values is meant?", target->name,
               v->name);
    diag_note(d, v->stmt->span, "the sweep");
    diag_hint(d, "write `%s(%s = ...)`, or sweep `%s` here too: `sweep %s over %s of %s;`",
              target->name, v->name, v->name, v->name, v->name, target->name);
    return false;
  }
  return true;
}

/* ---- which sweep point ---- */

/* What the asking experiment says about one of the target's variables. */
struct binding {
  const struct dsl_var *var; /* of the target */
  struct formula_value value;
  struct span span;
};

static bool same_value(const struct formula_value *a, const struct formula_value *b)
{
  if (a->str || b->str)
    return a->str && b->str && !strcmp(a->str, b->str);
  return a->num == b->num || fabs(a->num - b->num) <= 1e-12 * fabs(a->num);
}

/* false: an error; *said tells whether there is anything. */
static bool bind_variable(const struct formula_point *asking, const struct ast_expr *of,
                          const struct dsl_var *v, struct binding *b, bool *said, struct diag *d)
{
  const struct ast_expr *x = model_argument(of, v->name);
  const struct dsl_var *same = dsl_var(asking->experiment, v->name);
  b->var = v;
  *said = x || same;
  if (!x && !same)
    return true;
  b->span = x ? x->span : of->span;
  if (!x)
    return formula_value(asking, same, &b->value, d);
  const struct ast_expr *value = formula_follow(asking, x);
  b->value.str = formula_word(asking, x);
  if (!b->value.str && value->kind == AST_NUMBER && value->unit.text) {
    b->value.num = value->number;
    return true;
  }
  return b->value.str || formula_number(asking, x, &b->value.num, d);
}

static bool meets(const struct formula_point *at, const struct binding *b, size_t n, bool *yes,
                  struct diag *d)
{
  const struct dsl_experiment *e = at->experiment;
  *yes = true;
  for (size_t i = 0; i < n && *yes; i++) {
    struct formula_value v;
    if (!formula_value(at, b[i].var, &v, d))
      return false;
    *yes = same_value(&v, &b[i].value);
  }
  for (size_t i = 0; i < e->n_wheres && *yes; i++)
    if (!formula_condition(at, e->wheres[i]->value, yes, d))
      return false;
  return true;
}

/* Does the variable ever have the value that is asked for? */
static bool is_ever(const struct dsl_experiment *target, const struct binding *b)
{
  size_t *choice = arena_array(target->dsl->arena, target->n_vars + 1, sizeof *choice);
  struct formula_point at = {target, choice};
  struct diag *quiet = diag_new(target->dsl->arena);
  for (size_t k = 0; k < b->var->n_values; k++) {
    struct formula_value v;
    choice[b->var - target->vars] = k;
    if (formula_value(&at, b->var, &v, quiet) && same_value(&v, &b->value))
      return true;
  }
  return false;
}

static void no_point(const struct dsl_experiment *target, const struct binding *b, size_t n,
                     const struct ast_expr *of, struct diag *d)
{
  char *text = arena_strdup(target->dsl->arena, "");
  for (size_t i = 0; i < n; i++)
    text = b[i].value.str
               ? arena_printf(target->dsl->arena, "%s%s%s = %s", text, i ? ", " : "",
                              b[i].var->name, b[i].value.str)
               : arena_printf(target->dsl->arena, "%s%s%s = %g", text, i ? ", " : "",
                              b[i].var->name, b[i].value.num);
  diag_error(d, of->span, "`%s` has no sweep point%s%s", target->name, n ? " at " : "", text);
  for (size_t i = 0; i < n; i++)
    if (!is_ever(target, &b[i])) {
      diag_note(d, b[i].var->stmt->span, "the values of `%s`", b[i].var->name);
      return;
    }
  if (target->n_wheres)
    diag_note(d, target->wheres[0]->span, "only where this holds there is one");
  else if (n)
    diag_note(d, b[0].var->stmt->span, "what it sweeps");
}

/* A paired sweep can have a value more than once. */
static void several_points(const struct dsl_experiment *target, const struct binding *b, size_t n,
                           size_t found, const struct ast_expr *of, struct diag *d)
{
  diag_error(d, of->span, "%zu sweep points of `%s` could be meant", found, target->name);
  for (size_t i = 0; i < target->n_vars; i++) {
    const struct dsl_var *v = &target->vars[i];
    bool said = !is_swept(v) || v->n_values < 2;
    for (size_t k = 0; k < n && !said; k++)
      said = b[k].var == v;
    if (said)
      continue;
    diag_hint(d, "say its `%s` too: `%s(..., %s = ...)`", v->name, target->name, v->name);
    diag_note(d, v->stmt->span, "the sweep");
    return;
  }
}

/* The variables that are swept together with v, by v's k-th value: are they as asked? */
static bool group_meets(struct formula_point *at, size_t *choice, const struct dsl_var *leader,
                        size_t k, const struct binding *b, size_t n, bool *yes, struct diag *d)
{
  const struct dsl_experiment *e = at->experiment;
  *yes = true;
  for (size_t i = 0; i < e->n_vars; i++)
    if (dsl_leader(e, &e->vars[i]) == leader)
      choice[i] = k;
  for (size_t i = 0; i < n && *yes; i++) {
    struct formula_value v;
    if (dsl_leader(e, b[i].var) != leader)
      continue;
    if (!formula_value(at, b[i].var, &v, d))
      return false;
    *yes = same_value(&v, &b[i].value);
  }
  return true;
}

/* Where no value hangs on another sweep, each sweep is looked at by itself. */
static bool find_by_sweep(const struct dsl_experiment *e, const struct binding *b, size_t n,
                          size_t *choice, size_t *found, struct diag *d)
{
  struct formula_point at = {e, choice};
  *found = 1;
  for (size_t i = 0; i < e->n_vars && *found; i++) {
    const struct dsl_var *v = &e->vars[i];
    size_t matches = 0, at_k = 0;
    if (dsl_leader(e, v) != v)
      continue;
    for (size_t k = 0; k < v->n_values; k++) {
      bool yes;
      if (!group_meets(&at, choice, v, k, b, n, &yes, d))
        return false;
      at_k = yes && !matches++ ? k : at_k;
    }
    *found *= matches;
    bool yes;
    if (matches && !group_meets(&at, choice, v, at_k, NULL, 0, &yes, d))
      return false;
  }
  bool yes = *found > 0;
  return !yes || (meets(&at, NULL, 0, &yes, d) && ((*found *= yes), true));
}

static bool find_among_all(const struct dsl_experiment *e, const struct binding *b, size_t n,
                           size_t *choice, size_t *found, struct diag *d)
{
  size_t *at = arena_array(e->dsl->arena, e->n_vars + 1, sizeof *at);
  struct formula_point point = {e, at};
  *found = 0;
  do {
    bool yes;
    if (!meets(&point, b, n, &yes, d))
      return false;
    if (yes && (*found)++ == 0)
      memcpy(choice, at, e->n_vars * sizeof *at);
  } while (dsl_next_point(e, at));
  return true;
}

static bool is_plain(const struct ast_expr *x)
{
  return x->kind == AST_NUMBER || (x->kind == AST_NAME && !words_setting(x->text));
}

bool model_point(const struct formula_point *asking, const struct ast_expr *of, size_t *choice,
                 struct diag *d)
{
  const struct dsl_experiment *e = model_target(asking->experiment->dsl, of);
  struct binding *b = arena_array(e->dsl->arena, e->n_vars + 1, sizeof *b);
  size_t n = 0, found;
  bool plain = true;
  for (size_t i = 0; i < e->n_vars; i++) {
    bool said;
    if (!is_swept(&e->vars[i]))
      continue;
    if (!bind_variable(asking, of, &e->vars[i], &b[n], &said, d))
      return false;
    n += said;
    for (size_t k = 0; k < e->vars[i].n_values; k++)
      plain = plain && is_plain(e->vars[i].values[k]);
  }
  if (!(plain ? find_by_sweep(e, b, n, choice, &found, d)
              : find_among_all(e, b, n, choice, &found, d)))
    return false;
  if (found == 1)
    return true;
  if (!found)
    no_point(e, b, n, of, d);
  else
    several_points(e, b, n, found, of, d);
  return false;
}
