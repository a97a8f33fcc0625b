/* What was assumed, and what the figures cost. */
#include "paper/paper_int.h"

#include <math.h>
#include <string.h>

/* As measured when a step was computed; zeros: there is no result. */
struct step_cost {
  double seconds, bytes, memory;
};

static struct step_cost *read_costs(const struct paper *p, const uint32_t *needed_by,
                                    struct diag *d)
{
  const uint32_t n = plan_count(p->plan);
  struct step_cost *costs = arena_array(p->arena, n + 1, sizeof *costs);
  for (uint32_t i = 0; i < n; i++) {
    struct store_result r = {0};
    struct arena *scratch = arena_new();
    const struct hash key = plan_step(p->plan, i)->key;
    if (needed_by[i] && store_has(p->store, key) && store_read(p->store, key, scratch, &r, d))
      costs[i] = (struct step_cost){r.seconds, store_bytes(p->store, key), r.memory};
    arena_free(scratch);
  }
  return costs;
}

struct paper_cost *paper_costs(const struct paper *p, size_t *n, struct diag *d)
{
  const uint32_t steps = plan_count(p->plan);
  struct paper_cost *costs = arena_array(p->arena, p->lowered->n + 1, sizeof *costs);
  bool *wanted = arena_array(p->arena, steps + 1, sizeof *wanted);
  uint32_t *needed_by = arena_array(p->arena, steps + 1, sizeof *needed_by);
  size_t n_figures = 0;
  for (size_t i = 0; i < p->lowered->n; i++) {
    const uint32_t step = p->lowered->targets[i].step;
    if (plan_step(p->plan, step)->kind == PLAN_FIGURE && !p->lowered->targets[i].unavailable &&
        (!p->wanted || p->wanted[step]))
      costs[n_figures++] =
          (struct paper_cost){.figure = plan_step(p->plan, step)->figure, .step = step};
  }
  struct paper_cost *all = &costs[n_figures];
  *all = (struct paper_cost){0};
  for (size_t f = 0; f < n_figures; f++) {
    plan_closure(p->plan, &costs[f].step, 1, wanted);
    for (uint32_t i = 0; i < steps; i++)
      needed_by[i] += wanted[i];
  }
  const struct step_cost *of = read_costs(p, needed_by, d);
  for (size_t f = 0; f <= n_figures; f++) {
    struct paper_cost *c = &costs[f];
    if (f < n_figures)
      plan_closure(p->plan, &c->step, 1, wanted);
    for (uint32_t i = 0; i < steps; i++) {
      const struct plan_step *s = plan_step(p->plan, i);
      if (f < n_figures ? !wanted[i] : !needed_by[i])
        continue;
      c->steps++;
      c->stored += of[i].seconds > 0;
      c->seconds += of[i].seconds;
      c->bytes += of[i].bytes;
      c->alone += needed_by[i] == 1 ? of[i].seconds : 0;
      c->memory = fmax(c->memory, of[i].memory);
      if (s->kind == PLAN_TRAIN)
        c->optimizer_steps += plan_num(s, PLAN_A_to) - plan_num(s, PLAN_A_from);
    }
  }
  *n = n_figures;
  return costs;
}

/* The statement on one line, without its annotations and comments. */
static const char *statement_text(const struct paper *p, const struct ast_stmt *s)
{
  size_t length, n = 0;
  const char *text = source_text(p->program->sources, s->span.file, &length);
  char *out = arena_alloc(p->arena, s->span.end - s->span.begin + 1);
  bool quoted = false;
  for (uint32_t i = s->span.begin; i < s->span.end && text[i] != ';'; i++) {
    quoted ^= text[i] == '"';
    if (text[i] == '@' && !quoted)
      break;
    const bool blank = text[i] == ' ' || text[i] == '\n' || text[i] == '\t';
    if (!blank || (n && out[n - 1] != ' '))
      out[n++] = blank ? ' ' : text[i];
  }
  while (n && out[n - 1] == ' ')
    n--;
  out[n] = '\0';
  return out;
}

struct paper_assumption *paper_assumptions(const struct paper *p, size_t *n)
{
  struct paper_assumption *v = NULL;
  size_t count = 0, cap = 0;
  for (size_t i = 0; i < p->program->n_blocks; i++) {
    const struct ast_block *b = &p->program->blocks[i];
    for (size_t s = 0; b->kind != AST_TIER && s < b->n_stmts; s++)
      for (size_t k = 0; k < b->stmts[s].n_notes; k++) {
        const struct ast_note *note = &b->stmts[s].notes[k];
        if (strcmp(note->name.text, "assumed"))
          continue;
        const struct paper_assumption one = {
            paper_file_name(p, b->span.file),
            b->name.text ? b->name.text : b->title.text ? b->title.text : "",
            statement_text(p, &b->stmts[s]), note->text.text ? note->text.text : ""};
        ARENA_PUSH(p->arena, v, count, cap, one);
      }
  }
  *n = count;
  return v;
}
