#include "figure/compare.h"

#include "base/num.h"
#include "figure/figure_int.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static const char *const colours[COMPARE_VERDICTS] = {
    [COMPARE_EQUAL] = "\033[32m",     [COMPARE_ADDED] = "",
    [COMPARE_WITHIN] = "\033[32m",    [COMPARE_MISSING] = "\033[33m",
    [COMPARE_SHIFTED] = "\033[1;33m", [COMPARE_FLIPPED] = "\033[1;31m",
};

/* ---- the summary ---- */

/* Of a figure: series [first, end). */
struct figure_sum {
  size_t first, end;
  enum compare_verdict verdict;
  size_t of[COMPARE_VERDICTS], places, outside;
  const struct compare_series *worst; /* largest difference beside its tolerance, or NULL */
};

static double ratio(const struct compare_series *s)
{
  const double d = fabs(s->value[1] - s->value[0]);
  return !s->at ? -1 : isfinite(d) ? d / fmax(s->tolerance, 1e-300) : INFINITY;
}

static struct figure_sum sum_up(const struct compare *c, size_t first)
{
  struct figure_sum f = {.first = first, .end = first};
  for (; f.end < c->n_series && !strcmp(c->series[f.end].figure, c->series[first].figure);
       f.end++) {
    const struct compare_series *s = &c->series[f.end];
    f.verdict = s->verdict > f.verdict ? s->verdict : f.verdict;
    f.of[s->verdict]++;
    f.places += s->places;
    f.outside += s->outside;
    if (s->verdict != COMPARE_EQUAL && s->at && (!f.worst || ratio(s) > ratio(f.worst)))
      f.worst = s;
  }
  return f;
}

/* Verdicts that changed to or from UNDECIDED, though the statistic is within tolerance. */
static size_t count_undecided(const struct compare *c)
{
  size_t n = 0;
  for (size_t i = 0; i < c->n_claims; i++)
    n += c->claims[i].verdict == COMPARE_WITHIN &&
         strcmp(c->claims[i].verdicts[0], c->claims[i].verdicts[1]);
  return n;
}

static void print_counts(const char *one, const char *many, const size_t of[COMPARE_VERDICTS],
                         FILE *out)
{
  size_t n = 0;
  const char *comma = ": ";
  for (int v = 0; v < COMPARE_VERDICTS; v++)
    n += of[v];
  fprintf(out, "%zu %s", n, n == 1 ? one : many);
  for (int v = 0; v < COMPARE_VERDICTS; v++)
    if (of[v]) {
      fprintf(out, "%s%zu %s", comma, of[v],
              v == COMPARE_WITHIN ? "within tolerance" : compare_verdict_name(v));
      comma = ", ";
    }
  fputc('\n', out);
}

static void print_verdict(const char *name, int width, enum compare_verdict v, bool colour,
                          FILE *out)
{
  const char *paint = colour ? colours[v] : "";
  fprintf(out, "%-*s  %s%-8s%s", width, name, paint, compare_verdict_name(v),
          *paint ? "\033[0m" : "");
}

/* "-0.012 -> 0.034, tolerance 0.02 (spread)" */
static void print_worst(const struct compare_series *s, FILE *out)
{
  fprintf(out, "%.4g -> %.4g, tolerance %.2g (%s)", s->value[0], s->value[1], s->tolerance,
          compare_basis_name(s->basis));
}

static void print_place(const struct compare_series *s, FILE *out)
{
  fprintf(out, "%s%s%s, x=%s: ", s->panel, *s->series ? ", " : "", s->series, s->at);
}

static void print_figure(const struct compare *c, const struct figure_sum *f, bool colour,
                         FILE *out)
{
  print_verdict(c->series[f->first].figure, 6, f->verdict, colour, out);
  if (!f->places) {
    fputc('\n', out);
    return;
  }
  fprintf(out, "  %4zu of %4zu places outside", f->outside, f->places);
  if (f->worst) {
    fputs("; most at ", out);
    print_place(f->worst, out);
    print_worst(f->worst, out);
  }
  fputc('\n', out);
}

static const char *interval(struct arena *a, const struct compare_claim *c, int k)
{
  if (!*c->verdicts[k])
    return "not there";
  if (isnan(c->statistic[k]))
    return c->verdicts[k];
  if (isnan(c->low[k]))
    return arena_printf(a, "%s %.3g", c->verdicts[k], c->statistic[k]);
  return arena_printf(a, "%s %.3g [%.3g, %.3g]", c->verdicts[k], c->statistic[k], c->low[k],
                      c->high[k]);
}

/* ---- the details ---- */

static void print_series(const struct compare_series *s, FILE *out)
{
  fprintf(out, "%s %s%s%s: %s", s->figure, s->panel, *s->series ? ", " : "", s->series,
          compare_verdict_name(s->verdict));
  if (s->lost || s->gained)
    fprintf(out, "; %zu places lost, %zu gained", s->lost, s->gained);
  if (s->places)
    fprintf(out, "; %zu of %zu places outside, rms difference %.3g", s->outside, s->places, s->rms);
  if (s->failed[0] != s->failed[1])
    fprintf(out, "; %zu rows diverged in the first run, %zu in the second", s->failed[0],
            s->failed[1]);
  if (s->at && s->verdict != COMPARE_EQUAL) {
    fprintf(out, "\n  most at x=%s: ", s->at);
    print_worst(s, out);
  }
  fputc('\n', out);
}

void compare_print(const struct compare *c, bool all, bool colour, FILE *out)
{
  struct arena *a = arena_new();
  size_t figures[COMPARE_VERDICTS] = {0}, series[COMPARE_VERDICTS] = {0};
  size_t claims[COMPARE_VERDICTS] = {0}, told = 0;
  for (size_t i = 0; i < c->n_series; i++) {
    series[c->series[i].verdict] += *c->series[i].panel != '\0';
    told += all || c->series[i].verdict >= COMPARE_MISSING;
  }
  for (size_t i = 0, end; i < c->n_series; i = end) {
    const struct figure_sum f = sum_up(c, i);
    figures[f.verdict]++;
    end = f.end;
  }
  for (size_t i = 0; i < c->n_claims; i++)
    claims[c->claims[i].verdict]++;
  fprintf(out, "%s -> %s\n", c->names[0], c->names[1]);
  print_counts("figure", "figures", figures, out);
  print_counts("series", "series", series, out);
  print_counts("claim", "claims", claims, out);
  if (count_undecided(c))
    fprintf(out, "  (%zu of those within tolerance were decided in one of the runs only)\n",
            count_undecided(c));
  if (c->n_series)
    fputc('\n', out);
  for (size_t i = 0; i < c->n_series;) {
    const struct figure_sum f = sum_up(c, i);
    print_figure(c, &f, colour, out);
    i = f.end;
  }
  if (c->n_claims)
    fputc('\n', out);
  for (size_t i = 0; i < c->n_claims; i++) {
    const struct compare_claim *one = &c->claims[i];
    print_verdict(one->name, 6, one->verdict, colour, out);
    fprintf(out, "  %s", interval(a, one, 0));
    if (one->verdict != COMPARE_EQUAL)
      fprintf(out, " -> %s", interval(a, one, 1));
    fputc('\n', out);
  }
  if (told)
    fputs(all ? "\nEvery series:\n" : "\nNot within tolerance:\n", out);
  for (size_t i = 0; i < c->n_series; i++)
    if (all || c->series[i].verdict >= COMPARE_MISSING)
      print_series(&c->series[i], out);
  arena_free(a);
}

/* ---- as data ---- */

static void add_number(struct figure_text *t, double v)
{
  char text[NUM_TEXT];
  figure_add(t, ",%s", isfinite(v) ? num_text(v, text) : "");
}

static void add_text(struct figure_text *t, const char *s)
{
  figure_add(t, ",");
  figure_csv_field(t, s);
}

char *compare_csv(struct arena *a, const struct compare *c)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "what,figure,panel,series,verdict,places,outside,lost,gained,rms,at,first,second,"
                 "tolerance,basis\n");
  for (size_t i = 0; i < c->n_series; i++) {
    const struct compare_series *s = &c->series[i];
    figure_add(&t, *s->panel ? "series" : "figure");
    add_text(&t, s->figure);
    add_text(&t, s->panel);
    add_text(&t, s->series);
    figure_add(&t, ",%s,%zu,%zu,%zu,%zu", compare_verdict_name(s->verdict), s->places, s->outside,
               s->lost, s->gained);
    add_number(&t, s->rms);
    add_text(&t, s->at ? s->at : "");
    add_number(&t, s->at ? s->value[0] : NAN);
    add_number(&t, s->at ? s->value[1] : NAN);
    add_number(&t, s->at ? s->tolerance : NAN);
    figure_add(&t, ",%s\n", s->at ? compare_basis_name(s->basis) : "");
  }
  for (size_t i = 0; i < c->n_claims; i++) {
    const struct compare_claim *one = &c->claims[i];
    figure_add(&t, "claim,");
    add_text(&t, one->name);
    figure_add(&t, ",,%s,1,%d,,", compare_verdict_name(one->verdict),
               one->verdict >= COMPARE_SHIFTED);
    add_number(&t, fabs(one->statistic[1] - one->statistic[0]));
    add_text(&t, arena_printf(a, "%s -> %s", one->verdicts[0], one->verdicts[1]));
    add_number(&t, one->statistic[0]);
    add_number(&t, one->statistic[1]);
    figure_add(&t, ",,%s\n", "interval");
  }
  return t.s;
}

static json_t *number_json(double v)
{
  return isfinite(v) ? json_real(v) : json_null();
}

static json_t *series_json(const struct compare_series *s)
{
  json_t *j = json_pack("{s:s, s:s, s:s, s:s}", "figure", s->figure, "panel", s->panel, "series",
                        s->series, "verdict", compare_verdict_name(s->verdict));
  const struct {
    const char *name;
    size_t n;
  } counts[] = {
      {"places", s->places}, {"outside", s->outside},        {"lost", s->lost},
      {"gained", s->gained}, {"failed_first", s->failed[0]}, {"failed_second", s->failed[1]}};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    json_object_set_new(j, counts[i].name, json_integer((json_int_t)counts[i].n));
  json_object_set_new(j, "rms", number_json(s->rms));
  if (s->at)
    json_object_set_new(j, "worst",
                        json_pack("{s:s, s:o, s:o, s:o, s:s}", "x", s->at, "first",
                                  number_json(s->value[0]), "second", number_json(s->value[1]),
                                  "tolerance", number_json(s->tolerance), "basis",
                                  compare_basis_name(s->basis)));
  return j;
}

static json_t *side_json(const struct compare_claim *c, int k)
{
  if (!*c->verdicts[k])
    return json_null();
  return json_pack("{s:s, s:o, s:o, s:o}", "verdict", c->verdicts[k], "statistic",
                   number_json(c->statistic[k]), "low", number_json(c->low[k]), "high",
                   number_json(c->high[k]));
}

bool compare_json(const struct compare *c, FILE *out)
{
  json_t *series = json_array(), *claims = json_array();
  for (size_t i = 0; i < c->n_series; i++)
    json_array_append_new(series, series_json(&c->series[i]));
  for (size_t i = 0; i < c->n_claims; i++) {
    const struct compare_claim *one = &c->claims[i];
    json_array_append_new(claims, json_pack("{s:s, s:s, s:o, s:o}", "claim", one->name, "verdict",
                                            compare_verdict_name(one->verdict), "first",
                                            side_json(one, 0), "second", side_json(one, 1)));
  }
  json_t *root = json_pack("{s:s, s:s, s:b, s:o, s:o}", "first", c->names[0], "second", c->names[1],
                           "agrees", compare_agrees(c), "series", series, "claims", claims);
  const bool ok = root && !json_dumpf(root, out, JSON_INDENT(1)) && fputc('\n', out) != EOF;
  json_decref(root);
  return ok;
}
