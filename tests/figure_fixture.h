/* A page of a figure from tables given as text, without a store. */
#ifndef MERGESCAPE_TESTS_FIGURE_FIXTURE_H
#define MERGESCAPE_TESTS_FIGURE_FIXTURE_H

#include "figure/figure_int.h"

/* mean(column): REDUCED(MEAN, "column"). */
#define REDUCED(how, of)                                                                           \
  &(const struct plan_claim_node)                                                                  \
  {                                                                                                \
    .op = PLAN_CLAIM_##how, .n_args = 1, .args = {                                                 \
      &(const struct plan_claim_node){.op = PLAN_CLAIM_COLUMN, .text = of}                         \
    }                                                                                              \
  }

/* An axis of the column as it is. */
#define NO_AGG(of)                                                                                 \
  {                                                                                                \
    .column = of, .label = of                                                                      \
  }

/* tables[k] is what panel->table = k draws.  false: see diag. */
bool figure_fixture_page(struct arena *, const struct plan_figure *, const char *const *tables,
                         struct figure_page *, struct diag *);
/* Writes figNN.csv and figNN.gp. */
bool figure_fixture_write(struct arena *, const struct figure_page *, const char *folder,
                          struct diag *);

#endif
