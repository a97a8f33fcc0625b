#include "figure/figure_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void figure_add(struct figure_text *t, const char *fmt, ...)
{
  for (;;) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->s ? t->s + t->n : NULL, t->s ? t->cap - t->n : 0, fmt, args);
    va_end(args);
    if (t->s && t->n + (size_t)n < t->cap) {
      t->n += (size_t)n;
      return;
    }
    size_t cap = 2 * (t->n + (size_t)n + 128);
    char *s = arena_alloc(t->arena, cap);
    if (t->n > 0)
      memcpy(s, t->s, t->n);
    t->s = s;
    t->cap = cap;
  }
}

void figure_csv_field(struct figure_text *t, const char *s)
{
  if (!strpbrk(s, ",\"\r\n")) {
    figure_add(t, "%s", s);
    return;
  }
  figure_add(t, "\"");
  for (; *s; s++)
    figure_add(t, *s == '"' ? "\"\"" : "%c", *s);
  figure_add(t, "\"");
}

struct reader {
  struct arena *arena;
  const char *at, *end;
  size_t line;
};

/* Reads one field; sets *last at the end of its record.  NULL: an open quote. */
static const char *read_field(struct reader *r, bool *last)
{
  char *out;
  if (r->at < r->end && *r->at == '"') {
    struct figure_text t = {.arena = r->arena};
    figure_add(&t, "%s", "");
    for (r->at++;; r->at++) {
      if (r->at == r->end)
        return NULL;
      if (*r->at == '"') {
        if (r->at + 1 == r->end || r->at[1] != '"')
          break;
        r->at++;
      }
      r->line += *r->at == '\n';
      figure_add(&t, "%c", *r->at);
    }
    r->at++;
    out = t.s;
  } else {
    const char *from = r->at;
    while (r->at < r->end && *r->at != ',' && *r->at != '\r' && *r->at != '\n')
      r->at++;
    out = arena_strndup(r->arena, from, (size_t)(r->at - from));
  }
  *last = r->at == r->end || *r->at != ',';
  if (*last) {
    while (r->at < r->end && *r->at != '\n') /* only \r, in a well-formed file */
      r->at++;
    r->at += r->at < r->end;
    r->line++;
  } else {
    r->at++;
  }
  return out;
}

static double number(const char *s, bool *is_number)
{
  char *end;
  double v = strtod(s, &end);
  *is_number = *s != '\0' && *end == '\0';
  return *is_number ? v : NAN;
}

bool figure_csv_parse(struct arena *a, const char *path, const char *text, size_t length,
                      struct figure_csv *csv, struct diag *d)
{
  struct reader r = {a, text, text + length, 1};
  const char **fields = NULL;
  size_t n = 0, cap = 0;
  *csv = (struct figure_csv){0};
  while (r.at < r.end) {
    size_t line = r.line, before = n;
    bool last = false;
    while (!last) {
      const char *field = read_field(&r, &last);
      if (!field) {
        diag_error(d, SPAN_NONE, "%s:%zu: a quote is never closed", path, line);
        return false;
      }
      ARENA_PUSH(a, fields, n, cap, field);
    }
    if (csv->n_columns == 0)
      csv->n_columns = n;
    if (n - before != csv->n_columns) {
      diag_error(d, SPAN_NONE, "%s:%zu: %zu fields where the header has %zu", path, line,
                 n - before, csv->n_columns);
      return false;
    }
  }
  if (csv->n_columns == 0) {
    diag_error(d, SPAN_NONE, "%s: the table has no header line", path);
    return false;
  }
  csv->names = fields;
  csv->text = fields + csv->n_columns;
  csv->n_rows = n / csv->n_columns - 1;
  csv->num = arena_array(a, csv->n_rows * csv->n_columns, sizeof *csv->num);
  csv->numeric = arena_array(a, csv->n_columns, sizeof *csv->numeric);
  for (size_t c = 0; c < csv->n_columns; c++) {
    csv->numeric[c] = true;
    for (size_t i = c; i < csv->n_rows * csv->n_columns; i += csv->n_columns) {
      bool is_number;
      csv->num[i] = number(csv->text[i], &is_number);
      csv->numeric[c] = csv->numeric[c] && is_number;
    }
  }
  return true;
}

size_t figure_csv_column(const struct figure_csv *csv, const char *name)
{
  for (size_t c = 0; c < csv->n_columns; c++) {
    if (strcmp(csv->names[c], name) == 0)
      return c;
  }
  return SIZE_MAX;
}
