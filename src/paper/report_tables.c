/* The report's provenance, costs, stand-ins, assumptions and machines. */
#include "paper/report_int.h"

#include <string.h>

/* ---- provenance ---- */

static void machines_of(const struct report *r, const struct paper_provenance *v)
{
  size_t said = 0;
  for (size_t i = 0; i < r->machines.n; i++)
    if (v->machines & 1ull << (i < PAPER_LAST_MACHINE ? i : PAPER_LAST_MACHINE)) {
      fprintf(r->out, "%s<a href=\"#machine-%zu\">", said++ ? ", " : "", i + 1);
      html_text(r->out, r->machines.list[i].host);
      fprintf(r->out, " (M%zu)</a>", i + 1);
    }
  if (!said)
    fputs("–", r->out);
}

static void cached_text(const struct report *r, const struct paper_provenance *v)
{
  if (v->stored == v->cached)
    fputs("all results were in the store", r->out);
  else if (v->cached)
    fprintf(r->out, "%u of %u results were in the store, the others computed for this page",
            v->cached, v->stored);
  else
    fputs("all results were computed for this page", r->out);
}

static void memory_text(FILE *out, double bytes)
{
  if (bytes > 0)
    fprintf(out, "%.0f MB", bytes / 1e6);
  else
    fputs("unknown", out);
}

void report_provenance(const struct report *r, size_t figure)
{
  FILE *out = r->out;
  const struct paper_provenance *v = &r->provenance[figure];
  const struct paper_cost *c = &r->costs[figure];
  size_t said = 0;
  char hex[HASH_HEX];
  hash_hex(plan_step(r->p->plan, c->step)->key, hex);
  fprintf(out, "<dl>\n<dt>Steps</dt><dd>%u (", c->steps);
  for (int k = 0; k < PLAN_KIND_COUNT; k++)
    if (v->of_kind[k])
      fprintf(out, "%s%u %s", said++ ? ", " : "", v->of_kind[k],
              plan_kind_name((enum plan_kind)k));
  fprintf(out, ")</dd>\n<dt>Training steps</dt><dd>%.0f</dd>\n<dt>Time</dt><dd>",
          c->optimizer_steps);
  html_seconds(out, c->seconds);
  fputs(" of one worker, measured; ", out);
  html_seconds(out, c->alone);
  fprintf(out,
          " for this figure alone</dd>\n<dt>Stored</dt><dd>%.1f MB in %u results</dd>\n"
          "<dt>Memory</dt><dd>",
          c->bytes / 1e6, v->stored);
  memory_text(out, c->memory);
  fprintf(out, "</dd>\n<dt>Seeds</dt><dd>%s</dd>\n<dt>Machine</dt><dd>", v->seeds);
  machines_of(r, v);
  fputs("</dd>\n<dt>Computed</dt><dd>", out);
  html_text(out, v->first ? v->first : "–");
  if (v->first && strcmp(v->first, v->last)) {
    fputs(" to ", out);
    html_text(out, v->last);
  }
  if (r->p->cached) {
    fputs("</dd>\n<dt>Cache</dt><dd>", out);
    cached_text(r, v);
  }
  fprintf(out, "</dd>\n<dt>Key</dt><dd><code>%s</code></dd>\n</dl>\n", hex);
}

/* ---- costs ---- */

static void cost_cells(const struct report *r, const struct paper_cost *c)
{
  fprintf(r->out, "<td class=num>%u</td><td class=num>%.0f</td><td class=num>", c->steps,
          c->optimizer_steps);
  html_seconds(r->out, c->seconds);
  fputs("</td><td class=num>", r->out);
  html_seconds(r->out, c->alone);
  fprintf(r->out, "</td><td class=num>%.1f MB</td><td class=num>", c->bytes / 1e6);
  memory_text(r->out, c->memory);
  fputs("</td></tr>\n", r->out);
}

void report_costs(const struct report *r)
{
  report_section(r, "costs", "Cost by figure");
  report_table(r, "Cost by figure, scrolls sideways",
               "As measured when the results were computed, on one worker. What figures share "
               "counts for each of them; alone: what no other figure needs. Memory: the most that "
               "a worker had resident during one of the steps, with the plan and the data that it "
               "kept; there is a worker for each core.");
  fputs("<th scope=col>Figure</th><th scope=col class=num>Steps</th>"
        "<th scope=col class=num>Training steps</th><th scope=col class=num>Time</th>"
        "<th scope=col class=num>Alone</th><th scope=col class=num>Disk</th>"
        "<th scope=col class=num>Memory</th></tr></thead>\n<tbody>\n",
        r->out);
  for (size_t f = 0; f < r->n; f++) {
    const struct plan_figure *figure = r->costs[f].figure;
    fprintf(r->out, "<tr><th scope=row><a href=\"#%s\">%u. ", plan_figure_id(r->p->arena, figure),
            figure->number);
    html_text(r->out, figure->title);
    fputs("</a></th>", r->out);
    cost_cells(r, &r->costs[f]);
  }
  fputs("<tr><th scope=row>All together, what is shared once</th>", r->out);
  cost_cells(r, &r->costs[r->n]);
  fputs("</tbody>\n</table></div>\n</section>\n", r->out);
}

/* ---- stand-ins ---- */

static void stand_in(const struct report *r, const struct ast_stmt *s)
{
  size_t length;
  const char *text = source_text(r->p->program->sources, s->value->span.file, &length);
  fprintf(r->out, "<tr><th scope=row>%s <code>", s->kind_word.text);
  html_words(r->out, s->name.text);
  fputs("</code></th><td class=text><code>", r->out);
  html_bytes(r->out, text + s->value->span.begin, s->value->span.end - s->value->span.begin);
  fputs("</code></td><td class=text>", r->out);
  html_text(r->out, s->label.text ? s->label.text : "–");
  fputs("</td></tr>\n", r->out);
}

void report_stand_ins(const struct report *r)
{
  const struct dsl *dsl = r->p->dsl;
  size_t n = 0;
  report_section(r, "standins", "What stands in for what");
  for (size_t t = 0; t < dsl->n_tiers; t++)
    for (size_t s = 0; s < dsl->tiers[t]->n_stmts; s++) {
      if (dsl->tiers[t]->stmts[s].kind != AST_REPLACE)
        continue;
      if (!n++) {
        report_table(r, "Stand-ins, scrolls sideways",
                     "What the tier puts in the place of the paper's data and models; each "
                     "figure says under its title what of it is meant there");
        fputs("<th scope=col>The paper's</th><th scope=col>Here</th>"
              "<th scope=col>As figures say it</th></tr></thead>\n<tbody>\n",
              r->out);
      }
      stand_in(r, &dsl->tiers[t]->stmts[s]);
    }
  fputs(n ? "</tbody>\n</table></div>\n</section>\n"
          : "<p>Nothing: the tier has the paper's data and models.</p>\n</section>\n",
        r->out);
}

/* ---- assumptions ---- */

void report_assumptions(const struct report *r)
{
  size_t n, next;
  const struct paper_assumption *v = paper_assumptions(r->p, &n);
  report_section(r, "assumptions", "Assumptions");
  fprintf(r->out,
          "<p>The paper leaves %zu statements of the experiments open. Each says what was chosen, "
          "and why.</p>\n",
          n);
  for (size_t i = 0; i < n; i = next) {
    for (next = i; next < n && !strcmp(v[next].file, v[i].file);)
      next++;
    fputs("<details><summary>", r->out);
    html_text(r->out, v[i].file);
    fprintf(r->out, ": %zu</summary>\n", next - i);
    report_table(r, "Assumptions of a file, scrolls sideways", "Chosen where the paper is silent");
    fputs("<th scope=col>In</th><th scope=col>Statement</th><th scope=col>Why</th></tr></thead>\n"
          "<tbody>\n",
          r->out);
    for (size_t k = i; k < next; k++) {
      fputs("<tr><th scope=row>", r->out);
      html_words(r->out, v[k].block);
      fputs("</th><td><code>", r->out);
      html_words(r->out, v[k].what);
      fputs("</code></td><td class=text>", r->out);
      html_text(r->out, v[k].why);
      fputs("</td></tr>\n", r->out);
    }
    fputs("</tbody>\n</table></div></details>\n", r->out);
  }
  fputs("</section>\n", r->out);
}

/* ---- machines ---- */

void report_machines(const struct report *r)
{
  report_section(r, "machines", "Where it was computed");
  report_table(r, "Machines, scrolls sideways", "Hosts and versions that the results name");
  fputs("<th scope=col>Machine</th><th scope=col>Host</th><th scope=col>Versions</th>"
        "<th scope=col class=num>Results</th><th scope=col>From</th><th scope=col>To</th>"
        "</tr></thead>\n<tbody>\n",
        r->out);
  for (size_t i = 0; i < r->machines.n; i++) {
    const struct paper_machine *m = &r->machines.list[i];
    fprintf(r->out, "<tr id=machine-%zu><th scope=row>M%zu</th><td>", i + 1, i + 1);
    html_text(r->out, m->host);
    fputs("</td><td class=text>", r->out);
    html_text(r->out, m->versions);
    fprintf(r->out, "</td><td class=num>%zu</td><td class=line>", m->results);
    html_text(r->out, m->first);
    fputs("</td><td class=line>", r->out);
    html_text(r->out, m->last);
    fputs("</td></tr>\n", r->out);
  }
  fputs("</tbody>\n</table></div>\n</section>\n", r->out);
}
