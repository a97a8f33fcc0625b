#include "merge/match.h"

#include "merge/assignment.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Activations that are kept at a time: 128 MB. */
enum { MOST_KEPT = 1 << 24 };

enum { TO, FROM };

/* Of a group's channels at one place, over all rows so far. */
struct moments {
  unsigned n; /* channels */
  struct net_place place;
  double rows, *sum[2], *square[2]; /* [n] */
  double *cross;                    /* [n][n], of TO and FROM */
  double *kept;                     /* of this batch, [rows][n], of TO */
};

/* Places of all groups, one group's after the other's. */
struct looking {
  struct moments *moments;
  size_t n;
  int which;
  double *kept, *other; /* memory; `other` is FROM's activations of one place */
};

static void begin(struct looking *l, struct arena *a, const struct net_groups *groups)
{
  size_t n = 0;
  for (size_t g = 0; g < groups->n; g++)
    n += groups->v[g].n_places;
  *l = (struct looking){.moments = arena_array(a, n + 1, sizeof *l->moments)};
  for (size_t g = 0; g < groups->n; g++) {
    for (size_t k = 0; k < groups->v[g].n_places; k++) {
      struct moments *m = &l->moments[l->n++];
      m->n = groups->v[g].size;
      m->place = groups->v[g].places[k];
      for (int which = 0; which < 2; which++) {
        m->sum[which] = arena_array(a, m->n, sizeof(double));
        m->square[which] = arena_array(a, m->n, sizeof(double));
      }
      m->cross = arena_array(a, (size_t)m->n * m->n, sizeof(double));
    }
  }
}

/* Memory for as many samples as fit, but at most `batch`; returns how many. */
static unsigned make_room(struct looking *l, unsigned batch)
{
  size_t sample = 1, most = 1;
  for (size_t k = 0; k < l->n; k++) {
    const struct net_place *at = &l->moments[k].place;
    const size_t floats = (size_t)at->pixels * at->run * l->moments[k].n;
    sample += floats;
    most = floats > most ? floats : most;
  }
  const size_t fits = MOST_KEPT / sample + 1;
  batch = fits < batch ? (unsigned)fits : batch;
  double *at = l->kept = mem_alloc(batch * sample * sizeof *l->kept);
  l->other = mem_alloc(batch * most * sizeof *l->other);
  for (size_t k = 0; k < l->n; k++) {
    l->moments[k].kept = at;
    at += (size_t)batch * l->moments[k].place.pixels * l->moments[k].place.run * l->moments[k].n;
  }
  return batch;
}

/* The units of a place as rows of doubles, and their sums; a head's channels are rows. */
static void take(struct moments *m, int which, const struct net_activation *a, double *rows)
{
  double *sum = m->sum[which], *square = m->square[which];
  const unsigned run = m->place.run;
  for (size_t r = 0; r < a->rows * run; r++) {
    const float *x = a->y + r / run * a->row + m->place.first + r % run;
    for (unsigned i = 0; i < m->n; i++) {
      const double v = (double)x[i * run];
      rows[r * m->n + i] = v;
      sum[i] += v;
      square[i] += v * v;
    }
  }
}

static void look(void *context, unsigned value, const struct net_activation *a)
{
  struct looking *l = context;
  for (size_t k = 0; k < l->n; k++) {
    struct moments *m = &l->moments[k];
    const blasint n = (blasint)m->n;
    if (m->place.value != value)
      continue;
    take(m, l->which, a, l->which == TO ? m->kept : l->other);
    if (l->which == TO)
      continue;
    const size_t rows = a->rows * m->place.run;
    m->rows += (double)rows;
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, n, (blasint)rows, 1, m->kept, n,
                l->other, n, 1, m->cross, n);
  }
}

/* Zero for a channel that does not vary, but for rounding. */
static double inverse_deviation(const struct moments *m, int which, unsigned i)
{
  const double mean = m->sum[which][i] / m->rows, square = m->square[which][i] / m->rows;
  const double variance = square - mean * mean;
  return variance > 1e-12 * square ? 1 / sqrt(variance) : 0;
}

static void add_correlations(const struct moments *m, double *correlation)
{
  double *inverse = mem_alloc(m->n * sizeof *inverse);
  for (unsigned j = 0; j < m->n; j++)
    inverse[j] = inverse_deviation(m, FROM, j);
  for (unsigned i = 0; i < m->n; i++) {
    const double scale = inverse_deviation(m, TO, i), mean = m->sum[TO][i] / m->rows;
    for (unsigned j = 0; j < m->n; j++) {
      const double covariance =
          m->cross[(size_t)i * m->n + j] / m->rows - mean * (m->sum[FROM][j] / m->rows);
      correlation[(size_t)i * m->n + j] += covariance * scale * inverse[j];
    }
  }
  free(inverse);
}

static bool assign(const struct looking *l, const struct net_groups *groups, uint32_t **perms,
                   struct diag *d)
{
  const struct moments *m = l->moments;
  for (size_t g = 0; g < groups->n; g++) {
    const size_t n = groups->v[g].size;
    double *correlation = mem_zalloc(n * n * sizeof *correlation);
    for (size_t k = 0; k < groups->v[g].n_places; k++)
      add_correlations(m++, correlation);
    const bool found = assignment_solve(n, correlation, ASSIGNMENT_MAXIMISE, perms[g], NULL, NULL);
    free(correlation);
    if (found)
      continue;
    diag_error(d, SPAN_NONE, "activation matching: activations behind `%s` are not finite",
               groups->v[g].name);
    return false;
  }
  return true;
}

/* Training samples first... of n, evenly spaced. */
static void take_spaced(const struct data_set *set, unsigned n, unsigned first, unsigned count,
                        float *x)
{
  const unsigned all = set->split[DATA_TRAIN].n;
  uint32_t *indices = mem_alloc(count * sizeof *indices);
  int32_t *labels = mem_alloc((size_t)count * set->targets * sizeof *labels);
  for (unsigned i = 0; i < count; i++)
    indices[i] = (uint32_t)((uint64_t)(first + i) * all / n);
  data_batch(set, DATA_TRAIN, indices, count, NULL, 0, 0, 0, x, labels);
  free(labels);
  free(indices);
}

bool match_activations(const struct match *match, struct net_work *work, unsigned batch,
                       const struct data_set *set, unsigned samples, uint32_t **perms,
                       struct diag *d)
{
  const unsigned all = set->split[DATA_TRAIN].n, n = samples < all ? samples : all;
  struct arena *a = arena_new();
  struct looking l;
  begin(&l, a, match->groups);
  batch = make_room(&l, batch);
  float *x = arena_array(a, batch * net_inputs(match->net), sizeof *x);
  for (unsigned first = 0, m; first < n; first += m) {
    m = n - first < batch ? n - first : batch;
    take_spaced(set, n, first, m, x);
    for (l.which = TO; l.which <= FROM; l.which++)
      net_visit(work, l.which == TO ? match->to : match->from, x, m, look, &l);
  }
  const bool ok = assign(&l, match->groups, perms, d);
  free(l.kept);
  free(l.other);
  arena_free(a);
  return ok;
}

double match_sample_flops(const struct net_groups *groups)
{
  double flops = 0;
  for (size_t g = 0; g < groups->n; g++) {
    const struct net_group *group = &groups->v[g];
    for (size_t k = 0; k < group->n_places; k++)
      flops += 2.0 * group->places[k].pixels * group->places[k].run * group->size * group->size;
  }
  return flops;
}
