#include "plan/explain.h"

#include "base/num.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* A text that is not UTF-8 (a file's name may be) loses its odd bytes. */
static json_t *text_json(const char *text)
{
  json_t *j = json_string(text);
  if (j)
    return j;
  struct arena *a = arena_new();
  char *plain = arena_strdup(a, text);
  for (char *p = plain; *p; p++)
    if ((unsigned char)*p >= 0x80)
      *p = '?';
  j = json_string(plain);
  arena_free(a);
  return j;
}

static json_t *number_json(double v)
{
  char text[NUM_TEXT];
  if (!isfinite(v))
    return json_string(num_text(v, text));
  if (v == floor(v) && fabs(v) < 1e15)
    return json_integer((json_int_t)v);
  return json_real(v);
}

static json_t *cost_json(struct cost c)
{
  return json_pack("{s:o, s:o, s:o, s:o}", "flops", number_json(c.flops), "seconds",
                   number_json(c.seconds), "bytes", number_json(c.bytes), "memory",
                   number_json(c.memory));
}

static json_t *total_json(const struct explain *e, enum explain_state state)
{
  struct cost_total total = explain_total(e, state);
  json_t *j = cost_json(total.sum);
  json_object_set_new(j, "steps", json_integer(total.steps));
  json_object_set_new(j, "longest_chain", number_json(total.chain));
  json_object_set_new(j, "wall_seconds", number_json(cost_wall(&total, e->jobs)));
  return j;
}

static json_t *step_json(const struct explain *e, uint32_t i, struct arena *a)
{
  static const char *const states[] = {"not needed", "cached", "to do", "later"};
  const struct plan_step *s = plan_step(e->plan, i);
  char hex[HASH_HEX];
  hash_hex(s->key, hex);
  json_t *attrs = json_object(), *inputs = json_array();
  for (uint32_t k = 0; k < s->n_attrs; k++)
    json_object_set_new(attrs, plan_attr_name(s->attrs[k].id),
                        s->attrs[k].str ? text_json(s->attrs[k].str)
                                        : number_json(s->attrs[k].num));
  for (uint32_t k = 0; k < s->n_inputs; k++)
    json_array_append_new(inputs, json_integer(s->inputs[k]));
  json_t *j = json_pack("{s:i, s:s, s:s, s:o, s:o, s:s, s:{s:o, s:o, s:o}, s:i, s:o}", "number",
                        (int)i, "key", hex, "kind", plan_kind_name(s->kind), "attributes", attrs,
                        "inputs", inputs, "state", states[e->states[i]], "origin", "experiment",
                        text_json(s->origin.experiment), "point", text_json(s->origin.point),
                        "line", text_json(source_line_name(e->sources, s->origin.span, a)),
                        "asked", (int)e->asked[i], "cost", cost_json(e->costs[i]));
  if (s->figure)
    json_object_set_new(j, "figure", json_integer(s->figure->number));
  if (s->table)
    json_object_set_new(j, "rows", json_integer((json_int_t)s->table->n_rows));
  return j;
}

static json_t *sharing_json(const struct explain *e, struct arena *a)
{
  struct plan_sharing sharing = plan_sharing(e->plan, e->wanted);
  struct explain_figures f = explain_figures(e, a);
  json_t *pairs = json_array();
  for (size_t i = 0; i < f.n; i++)
    for (size_t k = i + 1; k < f.n; k++)
      if (f.steps[i * f.n + k] > 0)
        json_array_append_new(pairs,
                              json_pack("{s:[i, i], s:o}", "figures", (int)f.figures[i]->number,
                                        (int)f.figures[k]->number, "training_steps",
                                        number_json(f.steps[i * f.n + k])));
  return json_pack("{s:o, s:o, s:o}", "training_steps", number_json(sharing.steps),
                   "training_steps_unshared", number_json(sharing.steps_unshared), "pairs", pairs);
}

/* A step a line: jansson would hold and indent the whole plan. */
bool explain_json(const struct explain *e, FILE *out)
{
  struct arena *a = arena_new();
  const char *comma = "";
  fputs("{\"steps\": [", out);
  for (uint32_t i = 0; i < plan_count(e->plan); i++) {
    if (!e->wanted[i])
      continue;
    json_t *j = step_json(e, i, a);
    fprintf(out, "%s\n  ", comma);
    json_dumpf(j, out, JSON_COMPACT);
    json_decref(j);
    comma = ",";
  }
  json_t *parts[] = {sharing_json(e, a), total_json(e, EXPLAIN_UNWANTED),
                     total_json(e, EXPLAIN_TODO)};
  static const char *const names[] = {"sharing", "planned", "to_do"};
  fputs("\n]", out);
  for (int k = 0; k < 3; k++) {
    fprintf(out, ",\n\"%s\": ", names[k]);
    json_dumpf(parts[k], out, 0);
    json_decref(parts[k]);
  }
  fprintf(out, ",\n\"jobs\": %u}\n", e->jobs);
  arena_free(a);
  return !ferror(out);
}
