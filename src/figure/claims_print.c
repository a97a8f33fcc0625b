#include "figure/claims_int.h"

#include "base/file.h"
#include "base/num.h"

#include <math.h>
#include <string.h>

static const struct {
  const char *name, *colour;
} verdicts[] = {
    [CLAIMS_PASS] = {"PASS", "\033[1;32m"},
    [CLAIMS_FAIL] = {"FAIL", "\033[1;31m"},
    [CLAIMS_UNDECIDED] = {"UNDECIDED", "\033[1;33m"},
    [CLAIMS_NOT_JUDGED] = {"not judged", ""},
    [CLAIMS_NOT_AVAILABLE] = {"not available yet", ""},
};

/* ---- the table ---- */

const char *claims_verdict_name(enum claims_verdict v)
{
  return verdicts[v].name;
}

const char *claims_interval_text(struct arena *a, const struct claims_result *r)
{
  if (isnan(r->statistic))
    return "-";
  if (isnan(r->low))
    return arena_printf(a, "%.3g", r->statistic);
  return arena_printf(a, "%.3g [%.3g, %.3g]", r->statistic, r->low, r->high);
}

const char *claims_bound_text(struct arena *a, const struct plan_claim *c)
{
  char *text = arena_printf(a, "%c %g", c->greater ? '>' : '<', c->bound);
  return c->tolerance > 0
             ? arena_printf(a, "%s %c %g", text, c->greater ? '+' : '-', c->tolerance) : text;
}

const char *claims_units_text(struct arena *a, const struct plan_claim *c, size_t n)
{
  return arena_printf(a, "%zu %s%s", n, c->unit, n == 1 ? "" : "s");
}

size_t claims_notes(struct arena *a, const struct claims_row *row,
                    const char *notes[CLAIMS_MAX_NOTES])
{
  const struct claims_result *r = &row->result;
  size_t n = 0;
  if (r->note)
    notes[n++] = r->note;
  if (r->n_dropped)
    notes[n++] = arena_printf(a, "%zu of %zu rows failed and were left out", r->n_dropped,
                              r->n_rows);
  if (r->verdict != CLAIMS_UNDECIDED || isnan(r->needed))
    return n;
  if (r->needed > 1000)
    notes[n++] = arena_printf(a, "more than 1000 %ss would be needed: it lies on the bound",
                              row->claim->unit);
  else
    notes[n++] = arena_printf(a, "%s %s would decide, if it stays where it is",
                              isnan(r->low) ? "at least" : "about",
                              claims_units_text(a, row->claim, (size_t)r->needed));
  return n;
}

static void print_row(struct arena *a, const struct claims_row *row, bool colour, FILE *out)
{
  const struct claims_result *r = &row->result;
  const char *name = verdicts[r->verdict].name, *notes[CLAIMS_MAX_NOTES];
  const char *paint = colour ? verdicts[r->verdict].colour : "";
  bool judged = r->verdict <= CLAIMS_UNDECIDED;
  fprintf(out, "%-6s %s%s%s%*s", row->claim->name, paint, name, *paint ? "\033[0m" : "",
          judged ? 10 - (int)strlen(name) : 2, "");
  if (judged)
    fprintf(out, "%-28s %-12s %-10s ", claims_interval_text(a, r),
            claims_bound_text(a, row->claim), claims_units_text(a, row->claim, r->n_units));
  fprintf(out, "%s\n       %s\n", row->file, row->claim->text);
  const size_t n = claims_notes(a, row, notes);
  for (size_t i = 0; i < n; i++)
    fprintf(out, "       %s\n", notes[i]);
}

static size_t count(const struct claims_row *rows, size_t n, enum claims_verdict v)
{
  size_t k = 0;
  for (size_t i = 0; i < n; i++)
    k += rows[i].result.verdict == v;
  return k;
}

void claims_print(const struct claims_row *rows, size_t n, const char *tier, bool colour, FILE *out)
{
  struct arena *a = arena_new();
  bool checkpoints = false, few = false;
  fprintf(out, "%zu claim%s at tier %s: statistic [95 %% interval] and what is claimed of it\n\n",
          n, n == 1 ? "" : "s", tier);
  for (size_t i = 0; i < n; i++) {
    print_row(a, &rows[i], colour, out);
    bool judged = isfinite(rows[i].result.low);
    checkpoints = checkpoints || (judged && strcmp(rows[i].claim->unit, "seed"));
    few = few || (judged && rows[i].result.n_units < CLAIMS_FULL_UNITS);
  }
  fprintf(out, "\n%zu PASS, %zu FAIL, %zu UNDECIDED", count(rows, n, CLAIMS_PASS),
          count(rows, n, CLAIMS_FAIL), count(rows, n, CLAIMS_UNDECIDED));
  for (int v = CLAIMS_NOT_JUDGED; v <= CLAIMS_NOT_AVAILABLE; v++)
    if (count(rows, n, (enum claims_verdict)v))
      fprintf(out, ", %zu %s", count(rows, n, (enum claims_verdict)v), verdicts[v].name);
  fprintf(out, "\nIntervals: bootstrap of whole units, %d resamples.\n", CLAIMS_RESAMPLES);
  if (checkpoints)
    fprintf(out, "Units other than seeds are checkpoints of one run: they are not independent,\n"
                 "and these intervals are narrower than those over seeds would be.\n");
  if (few)
    fprintf(out, "With fewer than %d units no interval reaches 95 %%: take these as hints.\n",
            CLAIMS_FULL_UNITS);
  arena_free(a);
}

/* ---- claims.csv ---- */

static void add_number(struct figure_text *t, double v)
{
  char text[NUM_TEXT];
  figure_add(t, "%s,", isfinite(v) ? num_text(v, text) : "");
}

static void add_text(struct figure_text *t, const char *s, char end)
{
  figure_csv_field(t, s);
  figure_add(t, "%c", end);
}

char *claims_csv(struct arena *a, const struct claims_row *rows, size_t n, const char *tier)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "claim,verdict,statistic,low,high,side,bound,tolerance,units,unit,needed,rows,"
                 "dropped,tier,experiment,file,expression,text\n");
  for (size_t i = 0; i < n; i++) {
    const struct plan_claim *c = rows[i].claim;
    const struct claims_result *r = &rows[i].result;
    add_text(&t, c->name, ',');
    add_text(&t, verdicts[r->verdict].name, ',');
    add_number(&t, r->statistic);
    add_number(&t, r->low);
    add_number(&t, r->high);
    figure_add(&t, "%s,", c->greater ? "above" : "below");
    add_number(&t, c->bound);
    add_number(&t, c->tolerance);
    figure_add(&t, "%zu,", r->n_units);
    add_text(&t, c->unit, ',');
    add_number(&t, r->needed);
    figure_add(&t, "%zu,%zu,", r->n_rows, r->n_dropped);
    add_text(&t, tier, ',');
    add_text(&t, c->experiment, ',');
    add_text(&t, rows[i].file, ',');
    add_text(&t, plan_claim_text(a, c->statistic), ',');
    add_text(&t, c->text, '\n');
  }
  return t.s;
}

bool claims_write_csv(const char *path, const struct claims_row *rows, size_t n, const char *tier,
                      struct diag *d)
{
  struct arena *a = arena_new();
  const char *text = claims_csv(a, rows, n, tier);
  bool ok = file_write_atomic(path, text, strlen(text), d);
  arena_free(a);
  return ok;
}
