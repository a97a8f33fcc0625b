/* The union step: the rows of several experiments' tables in one. */
#include "figure/figure_int.h"

#include "base/file.h"

#include <string.h>

/* Columns that the union takes over: of each table where they stand. */
struct shared {
  const char **names;
  size_t **at; /* [column][table] */
  size_t n;
};

/* Those of the first table that all have, in its order. */
static struct shared find_shared(struct arena *a, const struct figure_csv *tables, size_t n)
{
  struct shared s = {arena_array(a, tables[0].n_columns, sizeof *s.names),
                     arena_array(a, tables[0].n_columns, sizeof *s.at), 0};
  for (size_t c = 0; c < tables[0].n_columns; c++) {
    const char *name = tables[0].names[c];
    size_t *at = arena_array(a, n, sizeof *at), k = 0;
    if (!strcmp(name, "failed") || !strcmp(name, "experiment"))
      continue;
    while (k < n && (at[k] = figure_csv_column(&tables[k], name)) != SIZE_MAX)
      k++;
    if (k < n)
      continue;
    s.names[s.n] = name;
    s.at[s.n++] = at;
  }
  return s;
}

static void add_rows(struct figure_text *t, const struct shared *s, const struct figure_csv *table,
                     size_t which, const char *experiment)
{
  size_t failed = figure_csv_column(table, "failed");
  for (size_t r = 0; r < table->n_rows; r++) {
    const char **row = table->text + r * table->n_columns;
    figure_csv_field(t, experiment);
    for (size_t c = 0; c < s->n; c++) {
      figure_add(t, ",");
      figure_csv_field(t, row[s->at[c][which]]);
    }
    figure_add(t, ",%s\n", failed == SIZE_MAX ? "0" : row[failed]);
  }
}

bool figure_execute_union(void *context, struct store *store, const struct plan *plan,
                          const struct plan_step *step, struct diag *d)
{
  (void)context;
  struct arena *a = arena_new();
  struct figure_csv *tables = arena_array(a, step->n_inputs, sizeof *tables);
  bool ok = true;
  for (uint32_t i = 0; ok && i < step->n_inputs; i++)
    ok = figure_read_table(a, store, plan, plan_step(plan, step->inputs[i]), &tables[i], d);
  if (ok) {
    struct shared s = find_shared(a, tables, step->n_inputs);
    struct figure_text t = {.arena = a};
    size_t rows = 0;
    figure_add(&t, "experiment");
    for (size_t c = 0; c < s.n; c++) {
      figure_add(&t, ",");
      figure_csv_field(&t, s.names[c]);
    }
    figure_add(&t, ",failed\n");
    for (uint32_t i = 0; i < step->n_inputs; i++) {
      add_rows(&t, &s, &tables[i], i, plan_step(plan, step->inputs[i])->table->experiment);
      rows += tables[i].n_rows;
    }
    ok = figure_commit_table(a, store, plan, step, &t, rows, d);
  }
  arena_free(a);
  return ok;
}
