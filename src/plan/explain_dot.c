#include "plan/explain.h"

#include "base/num.h"

#include <string.h>

static void put_quoted(const char *text, FILE *out)
{
  for (; *text; text++) {
    if (*text == '"' || *text == '\\')
      fputc('\\', out);
    fputc(*text == '\n' ? ' ' : *text, out);
  }
}

/* What tells a step from its neighbours; the rest is in its tooltip. */
static void put_label(const struct plan_step *s, uint32_t i, FILE *out)
{
  static const enum plan_attr_id shown[] = {PLAN_A_data,  PLAN_A_model,  PLAN_A_lr,
                                            PLAN_A_batch, PLAN_A_method, PLAN_A_alpha,
                                            PLAN_A_split};
  char number[NUM_TEXT];
  fprintf(out, "#%u %s", (unsigned)i, plan_kind_name(s->kind));
  if (s->kind >= PLAN_TABLE)
    fputc(' ', out);
  if (s->kind == PLAN_TABLE)
    put_quoted(s->table->experiment, out);
  if (s->kind == PLAN_UNION)
    put_quoted(s->origin.experiment, out);
  if (s->kind == PLAN_FIGURE)
    fprintf(out, "%u", s->figure->number);
  for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) {
    const struct plan_attr *at = plan_attr(s, shown[k]);
    if (!at)
      continue;
    fprintf(out, "\\n%s ", plan_attr_name(at->id));
    put_quoted(at->str ? at->str : num_text(at->num, number), out);
  }
  if (s->kind == PLAN_TRAIN)
    fprintf(out, "\\nsteps %.0f to %.0f", plan_num(s, PLAN_A_from), plan_num(s, PLAN_A_to));
}

static void put_node(const struct explain *e, uint32_t i, struct arena *a, FILE *out)
{
  const struct plan_step *s = plan_step(e->plan, i);
  fprintf(out, "  s%u [label=\"", (unsigned)i);
  put_label(s, i, out);
  fputs("\", tooltip=\"", out);
  put_quoted(plan_step_text(a, s), out);
  fputs(" [", out);
  put_quoted(s->origin.experiment, out);
  fputs(*s->origin.point ? " " : "", out);
  put_quoted(s->origin.point, out);
  fprintf(out, ", %s]\"", source_line_name(e->sources, s->origin.span, a));
  if (e->states[i] == EXPLAIN_LATER)
    fputs(", style=dashed", out);
  else if (e->states[i] != EXPLAIN_TODO)
    fputs(", fillcolor=gray90, fontcolor=gray40", out);
  if (s->kind >= PLAN_TABLE)
    fputs(", shape=box", out);
  if (e->asked[i] > 1)
    fputs(", penwidth=2", out);
  fputs("];\n", out);
}

void explain_dot(const struct explain *e, FILE *out)
{
  struct arena *a = arena_new();
  fputs("// grey: cached; dashed: cannot be computed yet; a thick line: shared\n"
        "digraph plan {\n"
        "  rankdir=LR;\n"
        "  node [shape=ellipse, style=filled, fillcolor=white, fontsize=10];\n",
        out);
  for (uint32_t i = 0; i < plan_count(e->plan); i++)
    if (e->wanted[i])
      put_node(e, i, a, out);
  for (uint32_t i = 0; i < plan_count(e->plan); i++) {
    const struct plan_step *s = plan_step(e->plan, i);
    for (uint32_t k = 0; e->wanted[i] && k < s->n_inputs; k++)
      fprintf(out, "  s%u -> s%u;\n", (unsigned)s->inputs[k], (unsigned)i);
  }
  fputs("}\n", out);
  arena_free(a);
}
