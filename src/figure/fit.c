#include "figure/figure_int.h"

#include <math.h>

/* Linear where the axis is: log10 of a logarithmic one. */
static double scaled(double v, bool log)
{
  return log ? log10(v) : v;
}

static double unscaled(double v, bool log)
{
  return log ? pow(10, v) : v;
}

struct sums {
  size_t n;
  double x, y, lo, hi; /* means; range of x */
  double xx, yy, xy;   /* about the means */
};

static bool takes_part(const struct figure_panel *p, const struct figure_point *q, uint32_t series)
{
  const struct plan_panel *plan = p->plan;
  return q->series == series && !q->spoilt && isfinite(q->x) && isfinite(q->y) &&
         (!plan->x.log || q->x > 0) && (!plan->y.log || q->y > 0);
}

static struct sums add_up(const struct figure_panel *p, uint32_t series)
{
  bool log_x = p->plan->x.log, log_y = p->plan->y.log;
  struct sums s = {.lo = INFINITY, .hi = -INFINITY};
  for (size_t i = 0; i < p->n_points; i++) {
    if (!takes_part(p, &p->points[i], series))
      continue;
    double x = scaled(p->points[i].x, log_x);
    s.n++;
    s.x += x;
    s.y += scaled(p->points[i].y, log_y);
    s.lo = fmin(s.lo, x);
    s.hi = fmax(s.hi, x);
  }
  s.x /= (double)s.n;
  s.y /= (double)s.n;
  for (size_t i = 0; i < p->n_points; i++) {
    if (!takes_part(p, &p->points[i], series))
      continue;
    double dx = scaled(p->points[i].x, log_x) - s.x, dy = scaled(p->points[i].y, log_y) - s.y;
    s.xx += dx * dx;
    s.yy += dy * dy;
    s.xy += dx * dy;
  }
  return s;
}

/* The part of the line that lies between the ends of the vertical axis. */
static void cut(struct figure_fit *f, const struct figure_panel *p, double lo, double hi)
{
  bool log_x = p->plan->x.log, log_y = p->plan->y.log;
  double bottom = scaled(p->y.lo, log_y), top = scaled(p->y.hi, log_y), x[2] = {lo, hi};
  for (int i = 0; i < 2; i++) {
    double y = f->intercept + f->slope * x[i], edge = fmin(fmax(y, bottom), top);
    if (edge < y || edge > y)
      x[i] = fmin(fmax((edge - f->intercept) / f->slope, lo), hi);
    y = fmin(fmax(f->intercept + f->slope * x[i], bottom), top);
    f->x[i] = unscaled(x[i], log_x);
    f->y[i] = unscaled(y, log_y);
  }
}

void figure_fits(struct arena *a, struct figure_panel *p)
{
  size_t n_series = p->series.n ? p->series.n : 1;
  bool drawn = p->plan->kind == PLAN_PANEL_LINES || p->plan->kind == PLAN_PANEL_SCATTER;
  if (!p->plan->y.fit || !drawn || p->x_categories)
    return;
  p->fits = arena_array(a, n_series, sizeof *p->fits);
  for (size_t k = 0; k < n_series; k++) {
    struct sums s = add_up(p, (uint32_t)k);
    if (s.n < 2 || !(s.xx > 0))
      continue;
    struct figure_fit f = {.series = (uint32_t)k, .n = s.n, .slope = s.xy / s.xx};
    f.intercept = s.y - f.slope * s.x;
    f.r = s.n > 2 && s.yy > 0 ? s.xy / sqrt(s.xx * s.yy) : NAN;
    cut(&f, p, s.lo, s.hi);
    p->fits[p->n_fits++] = f;
  }
}
