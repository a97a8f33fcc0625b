/* Evaluating a claim's statistic over rows of a table. */
#ifndef MERGESCAPE_FIGURE_CLAIMS_INT_H
#define MERGESCAPE_FIGURE_CLAIMS_INT_H

#include "figure/claims.h"
#include "figure/figure_int.h"

/* Rows that share a column's value, ascending where it is a number. */
struct claims_groups {
  size_t n;
  uint32_t *of;      /* [n_rows]: which group */
  const double *num; /* [n]: the value; NaN where it is text */
};

struct claims_table {
  struct arena *arena;
  const struct figure_csv *csv;
  struct claims_groups **groups; /* [n_columns], made when first asked for */
};

struct claims_table claims_table(struct arena *, const struct figure_csv *);
/* NULL: no such column. */
const struct claims_groups *claims_groups(struct claims_table *, const char *column);

/* Over `rows`, which may hold a row several times; scratch memory is taken from
 * the arena that is given. */
double claims_eval(struct claims_table *, struct arena *, const struct plan_claim_node *,
                   const uint32_t *rows, size_t n);

/* claims_stat.c: values that are not finite are dropped, pairs of which one is
 * not are dropped together.  NaN: too few are left. */
double claims_reduce(enum plan_claim_op, struct arena *, const double *v, size_t n, double q);
double claims_pearson(struct arena *, const double *x, const double *y, size_t n);
double claims_spearman(struct arena *, const double *x, const double *y, size_t n);
double claims_partial(struct arena *, const double *x, const double *y, const double *z, size_t n);
double claims_peak(const double *v, size_t n);

/* A curve: finite values over ascending x. */
struct claims_curve {
  size_t n;
  const double *x, *v;
};

/* Mean absolute difference of two curves, interpolated linearly (in log x when
 * `log`), over the range of x that both have.  NaN: they have none. */
double claims_distance(const struct claims_curve *, const struct claims_curve *, bool log);

#endif
