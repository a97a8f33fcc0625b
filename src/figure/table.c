#include "figure/figure_int.h"

#include "base/file.h"
#include "base/num.h"

/* Every input is read once; a table has thousands of rows over them. */
static struct store_result *read_inputs(struct arena *a, struct store *store,
                                        const struct plan *plan, const struct plan_step *step,
                                        struct diag *d)
{
  struct store_result *results = arena_array(a, step->n_inputs, sizeof *results);
  for (uint32_t i = 0; i < step->n_inputs; i++) {
    const struct plan_step *input = plan_step(plan, step->inputs[i]);
    if (!store_read(store, input->key, a, &results[i], d)) {
      diag_error(d, SPAN_NONE, "the result of %s is not in the store", plan_step_text(a, input));
      diag_hint(d, "run the plan again: it computes what is missing");
      return NULL;
    }
  }
  return results;
}

static void add_cell(struct figure_text *t, const struct plan_cell *cell)
{
  char text[NUM_TEXT];
  if (cell->str)
    figure_csv_field(t, cell->str);
  else
    figure_add(t, "%s", num_text(cell->num, text));
}

static void add_row(struct figure_text *t, const struct plan_table *table, size_t row,
                    const struct store_result *results, double *slots)
{
  char text[NUM_TEXT];
  bool failed = false;
  for (size_t s = 0; s < table->n_slots; s++) {
    const struct plan_slot *slot = &table->slots[row * table->n_slots + s];
    if (slot->input == PLAN_SLOT_NUMBER) {
      slots[s] = slot->num;
      continue;
    }
    slots[s] = store_get(&results[slot->input], slot->value);
    failed = failed || results[slot->input].diverged;
  }
  for (size_t c = 0; c < table->n_columns; c++) {
    if (table->columns[c].measured)
      figure_add(t, "%s", num_text(plan_expr_eval(&table->columns[c].expr, slots), text));
    else
      add_cell(t, &table->cells[row * table->n_columns + c]);
    figure_add(t, ",");
  }
  figure_add(t, "%d\n", failed);
}

bool figure_commit_table(struct arena *a, struct store *store, const struct plan *plan,
                         const struct plan_step *step, const struct figure_text *t, size_t rows,
                         struct diag *d)
{
  struct store_draft *draft = store_begin(store, a, d);
  if (!draft)
    return false;
  if (!file_write_synced(store_draft_path(draft, "table.csv"), t->s, t->n, d)) {
    store_abandon(draft);
    return false;
  }
  struct store_result result = {0};
  store_set(a, &result, "rows", (double)rows);
  struct store_file file = {.name = "table.csv"};
  ARENA_PUSH(a, result.files, result.n_files, result.cap_files, file);
  return store_commit(draft, plan, step, &result, d);
}

bool figure_execute_table(void *context, struct store *store, const struct plan *plan,
                          const struct plan_step *step, struct diag *d)
{
  (void)context;
  struct arena *a = arena_new();
  const struct plan_table *table = step->table;
  struct store_result *results = read_inputs(a, store, plan, step, d);
  bool ok = results != NULL;
  if (ok) {
    struct figure_text t = {.arena = a};
    double *slots = arena_array(a, table->n_slots + 1, sizeof *slots);
    for (size_t c = 0; c < table->n_columns; c++) {
      figure_csv_field(&t, table->columns[c].name);
      figure_add(&t, ",");
    }
    figure_add(&t, "failed\n");
    for (size_t r = 0; r < table->n_rows; r++)
      add_row(&t, table, r, results, slots);
    ok = figure_commit_table(a, store, plan, step, &t, table->n_rows, d);
  }
  arena_free(a);
  return ok;
}
