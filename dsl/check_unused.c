/* Measures that no figure, claim or other measure uses. */
#include "dsl/check.h"

#include <string.h>

struct search {
  const char *name;
  bool found;
};

static void look_for(struct search *s, const struct ast_expr *x)
{
  if (!x || s->found)
    return;
  s->found = x->kind == AST_NAME && !strcmp(x->text, s->name);
  for (size_t i = 0; i < x->n_args; i++)
    look_for(s, x->args[i].value);
}

static bool names(const struct ast_block *b, const char *name)
{
  struct search s = {name, false};
  for (size_t i = 0; i < b->n_stmts; i++) {
    look_for(&s, b->stmts[i].value);
    for (size_t k = 0; k < b->stmts[i].n_words; k++) /* the places of marks */
      look_for(&s, b->stmts[i].words[k].value);
  }
  return s.found;
}

static bool has_measure(const struct dsl_experiment *e, const struct ast_stmt *s)
{
  for (size_t i = 0; e && i < e->n_measures; i++)
    if (e->measures[i] == s)
      return true;
  return false;
}

/* Is the panel or the claim about an experiment with this measure, and does it use it? */
static void look_in(struct dsl *dsl, const struct ast_block *b, const struct ast_stmt *s,
                    bool *drawn, bool *used)
{
  for (size_t i = 0; i < b->n_of; i++)
    if (has_measure(dsl_experiment(dsl, b->of[i].text), s)) {
      *drawn = true;
      *used |= names(b, s->name.text);
    }
}

static bool used_by_measures(const struct dsl *dsl, const struct ast_stmt *s)
{
  struct search search = {s->name.text, false};
  for (size_t i = 0; i < dsl->n_experiments; i++)
    for (size_t k = 0; has_measure(&dsl->experiments[i], s) && k < dsl->experiments[i].n_measures;
         k++)
      look_for(&search, dsl->experiments[i].measures[k]->value);
  return search.found;
}

static void check_measure(struct dsl *dsl, const struct ast_stmt *s, struct diag *d)
{
  const struct ast_program *p = dsl->program;
  bool drawn = false, used = false;
  for (size_t i = 0; i < p->n_blocks; i++) {
    look_in(dsl, &p->blocks[i], s, &drawn, &used);
    for (size_t k = 0; k < p->blocks[i].n_blocks; k++)
      look_in(dsl, &p->blocks[i].blocks[k], s, &drawn, &used);
  }
  if (!drawn || used || used_by_measures(dsl, s))
    return;
  diag_warning(d, s->name.span, "no figure and no claim uses the measure `%s`", s->name.text);
}

/* What common files measure is for the figures of other files too; and where
 * nothing of an experiment is drawn, its table is what is wanted. */
void check_unused(struct dsl *dsl, struct diag *d)
{
  const struct ast_program *p = dsl->program;
  enum { MANY = 2000 }; /* each measure is looked for everywhere */
  for (size_t i = 0; p->n_blocks <= MANY && i < p->n_blocks; i++) {
    const struct ast_block *b = &p->blocks[i];
    if (b->kind != AST_EXPERIMENT || dsl_is_included(p, b->span.file))
      continue;
    for (size_t k = 0; k < b->n_stmts; k++)
      if (b->stmts[k].kind == AST_MEASURE)
        check_measure(dsl, &b->stmts[k], d);
  }
}
