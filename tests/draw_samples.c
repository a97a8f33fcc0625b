/* Draws figures of made-up tables, to look at: draw_samples FOLDER, then
 * gnuplot in FOLDER, beside a copy of style.gp. */
#include "config.h"

#include "figure_fixture.h"

#include "base/num.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>

static const double lrs[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.2};

static void add_row(struct figure_text *t, const double *v, size_t n)
{
  char text[NUM_TEXT];
  for (size_t i = 0; i < n; i++)
    figure_add(t, "%s%s", num_text(v[i], text), i + 1 < n ? "," : "\n");
}

/* Gain peaks in S; the largest S fails. */
static char *noise_table(struct arena *a)
{
  struct figure_text t = {.arena = a};
  struct rng r = rng_at(1, RNG_TEST, 0, 0, 0);
  figure_add(&t, "lr,batch,S,epoch,gain,fit,failed\n");
  for (int b = 32; b <= 512; b *= 2) {
    for (size_t l = 0; l < 6; l++) {
      for (int epoch = 20; epoch <= 200; epoch += 20) {
        double s = lrs[l] / (b * 0.01), u = log10(s) + 0.6;
        double gain = 2.4 * exp(-u * u) - 0.3 + 0.25 * rng_normal(&r);
        bool failed = s > 0.6;
        if (s > 0.4)
          gain = failed ? NAN : -1.5;
        add_row(&t, (double[]){lrs[l], b, s, epoch, gain, exp(-2 * u) * 0.01, failed}, 7);
      }
    }
  }
  return t.s;
}

static char *sweep_table(struct arena *a, uint32_t seed, double scale)
{
  struct figure_text t = {.arena = a};
  struct rng r = rng_at(seed, RNG_TEST, 0, 0, 0);
  figure_add(&t, "lr,epoch,gain,single,failed\n");
  for (size_t l = 0; l < 6; l++) {
    for (int epoch = 20; epoch <= 600; epoch += 20) {
      double base = 0.5 + 0.3 * (1 - exp(-epoch / 200.0)) + 0.02 * (double)l;
      double gain = scale * ((double)l * epoch / 600.0 + 0.3 * rng_normal(&r));
      bool failed = l == 5 && epoch > 300;
      if (failed && epoch > 400)
        gain = NAN;
      add_row(&t,
              (double[]){lrs[l], epoch, gain, failed ? 0.1 : base + 0.01 * rng_normal(&r), failed},
              5);
    }
  }
  return t.s;
}

static const char subtitle[] =
    "small tier; stand-ins: Fashion-MNIST pairs at 14×14, 100 classes (for CIFAR-100), "
    "Fashion-MNIST at 14×14 (for SVHN), ResNet 16 wide with 3 stages of one block (for ResNet18)";

#define GAIN                                                                                       \
  {                                                                                                \
    .column = "gain", .label = "gain in accuracy (points)", .statistic = REDUCED(MEDIAN, "gain"),  \
    .band = PLAN_SPREAD_QUARTILES                                                                  \
  }
#define PLAIN(of, text)                                                                            \
  {                                                                                                \
    .column = of, .label = text                                                                    \
  }
#define LOG(of, text)                                                                              \
  {                                                                                                \
    .column = of, .label = text, .log = true                                                       \
  }

static const struct plan_panel noise_panels[] = {
    {"a",
     "by batch size",
     PLAN_PANEL_LINES,
     0,
     NULL,
     LOG("lr", "learning rate"),
     GAIN,
     {0},
     "batch",
     "batch size",
     NULL},
    {"b",
     "by learning rate",
     PLAN_PANEL_LINES,
     0,
     NULL,
     LOG("batch", "batch size"),
     GAIN,
     {0},
     "lr",
     "learning rate",
     NULL},
    {"c",
     "against the noise scale",
     PLAN_PANEL_LINES,
     0,
     NULL,
     LOG("S", "effective noise scale S"),
     GAIN,
     {0},
     "batch",
     "batch size",
     NULL},
};

#define TOP(name, title, table, omitted)                                                           \
  {                                                                                                \
    name, title, PLAN_PANEL_BOX, table, omitted, LOG("lr", "learning rate"),                       \
        PLAIN("gain", "gain (points)"), {0}, NULL, NULL, NULL                                      \
  }
#define BOTTOM(name, table, omitted)                                                               \
  {                                                                                                \
    name, "", PLAN_PANEL_SCATTER, table, omitted, PLAIN("single", "single accuracy"),              \
        PLAIN("gain", "gain (points)"), {0}, "lr", "learning rate", "epoch"                        \
  }
#define LATER "DenseNet121 on TinyImageNet: not available yet"

static const struct plan_panel lr_panels[] = {
    TOP("a", "MLP, SVHN", 0, NULL),
    TOP("b", "ResNet18, CIFAR-10", 1, NULL),
    TOP("c", "ResNet18, CIFAR-100", 2, NULL),
    TOP("d", "DenseNet121, TinyImageNet", 0, LATER),
    BOTTOM("e", 0, NULL),
    BOTTOM("f", 1, NULL),
    BOTTOM("g", 2, NULL),
    BOTTOM("h", 0, LATER),
};

static const struct plan_panel odd_panels[] = {
    {"a",
     "no rows",
     PLAN_PANEL_LINES,
     0,
     NULL,
     LOG("x", "x"),
     PLAIN("y", "y"),
     {0},
     "s",
     "s",
     NULL},
    {"b",
     "all failed",
     PLAN_PANEL_LINES,
     1,
     NULL,
     LOG("x", "x"),
     PLAIN("y", "y"),
     {0},
     "s",
     "s",
     NULL},
    {"c",
     "one point",
     PLAN_PANEL_LINES,
     2,
     NULL,
     LOG("x", "x"),
     PLAIN("y", "y"),
     {0},
     NULL,
     NULL,
     NULL},
    {"d",
     "negative on a log axis",
     PLAN_PANEL_LINES,
     3,
     NULL,
     PLAIN("x", "x"),
     LOG("y", "y"),
     {0},
     NULL,
     NULL,
     NULL},
    {"e",
     "constant, x is text",
     PLAN_PANEL_LINES,
     4,
     NULL,
     PLAIN("s", "augmentation"),
     PLAIN("y", "y"),
     {0},
     NULL,
     NULL,
     NULL},
    {"f",
     "odd_names {50%} a^b \\ it's \"so\" & ~@",
     PLAN_PANEL_LINES,
     4,
     NULL,
     PLAIN("x", "x_1"),
     PLAIN("y", "y^2"),
     {0},
     "s",
     "odd_series",
     NULL},
    {"g",
     "boxes by series",
     PLAN_PANEL_BOX,
     5,
     NULL,
     PLAIN("x", "x"),
     PLAIN("y", "a long label that takes two lines beside it"),
     {0},
     "s",
     "augmentation",
     NULL},
    {"h",
     "long categories",
     PLAN_PANEL_BOX,
     4,
     NULL,
     PLAIN("s", "s"),
     LOG("y", "y"),
     {0},
     NULL,
     NULL,
     NULL},
    {"i",
     "scatter over a small range with a title that takes two lines",
     PLAN_PANEL_SCATTER,
     6,
     NULL,
     LOG("x", "x"),
     PLAIN("y", "y"),
     {0},
     NULL,
     NULL,
     NULL},
};

static const char *const odd_tables[] = {
    "x,y,s,failed\n",
    "x,y,s,failed\n0.1,nan,a,1\n1,nan,a,1\n10,nan,b,1\n",
    "x,y,failed\n0.01,0.5,0\n",
    "x,y,failed\n1,0.001,0\n2,-3,0\n3,0.02,0\n4,12,0\n5,0,1\n",
    "x,y,s,failed\n1,2,on_a%,0\n2,2,on_a%,0\n1,2,\"of{f}, \"\"b\\c\"\"\",0\n3,2,it's,0\n",
    ("x,y,s,failed\n1,2,off,0\n1,3,off,0\n1,2.2,off,0\n1,4,on,0\n1,4.4,on,0\n1,5,on,0\n"
     "2,1,off,0\n2,2.5,off,0\n2,2.7,off,0\n2,nan,on,1\n"),
    "x,y,failed\n1.01,1e-05,0\n1.03,2e-05,0\n1.04,1.5e-05,0\n",
};

static const struct plan_panel one_panel[] = {{"a",
                                               "",
                                               PLAN_PANEL_LINES,
                                               0,
                                               NULL,
                                               LOG("lr", "learning rate"),
                                               LOG("fit", "training loss"),
                                               {0},
                                               "batch",
                                               "batch size",
                                               NULL}};

/* Accuracy of merges across two sweeps; where both rates are large nothing converges. */
static char *pairs_table(struct arena *a, size_t n, bool triangle, double shift)
{
  struct figure_text t = {.arena = a};
  char text[2][NUM_TEXT];
  figure_add(&t, "lr_a,lr_b,alpha,gain,failed\n");
  for (size_t i = 0; i < n; i++)
    for (size_t j = triangle ? i + 1 : 0; j < n; j++)
      for (int k = 0; k <= 10; k++) {
        double x = (double)i / (double)(n - 1), y = (double)j / (double)(n - 1), m = k / 10.0;
        double v = 90 - 40 * (x - y) * (x - y) - 20 * (1 - x) + 30 * m * (1 - m) + shift;
        bool failed = x + y > 1.7;
        figure_add(&t, "%s,%s,%g,", num_text(pow(10, -4 + 3 * x), text[0]),
                   num_text(pow(10, -4 + 3 * y), text[1]), m);
        figure_add(&t, failed ? "nan,1\n" : "%.4f,%d\n", v, i + j == 3 && k == 1);
      }
  return t.s;
}

/* A loss over a plane, on n by n points. */
static char *plane_table(struct arena *a, int n, bool holes)
{
  struct figure_text t = {.arena = a};
  figure_add(&t, "x,y,loss,failed\n");
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      double x = -0.5 + 2.0 * i / (n - 1), y = -0.5 + 2.0 * j / (n - 1);
      double v = 0.05 + (x - 0.2) * (x - 0.2) * x * x + 0.8 * (y - 0.3 * x) * (y - 0.3 * x);
      bool failed = holes && i > n - 4 && j > n - 4;
      if (failed)
        v = NAN;
      add_row(&t, (double[]){x, y, v, failed}, 4);
    }
  return t.s;
}

static const struct plan_claim_node alpha_node = {.op = PLAN_CLAIM_COLUMN, .text = "alpha"};
static const struct plan_claim_node path_node = {
    .op = PLAN_CLAIM_BY, .n_args = 2, .args = {REDUCED(MEAN, "gain"), &alpha_node}};
static const struct plan_claim_node best_node = {
    .op = PLAN_CLAIM_MAX, .n_args = 1, .args = {&path_node}};
#define BEST                                                                                       \
  {                                                                                                \
    .label = "best normalized accuracy (%)", .statistic = &best_node                               \
  }
#define CELLS(of)                                                                                  \
  {                                                                                                \
    .column = of, .label = of, .statistic = REDUCED(MEAN, of)                                      \
  }
#define MAP(how, of, at, up, by) .kind = PLAN_PANEL_##how, .table = of, .x = at, .y = up, .z = by

static const struct plan_panel map_panels[] = {
    {.name = "a",
     .title = "pairs of rates",
     MAP(HEATMAP, 0, LOG("lr_a", "learning rate on FMoW"), LOG("lr_b", "learning rate on RESISC45"),
         BEST)},
    {.name = "b",
     .title = "both signs, twelve values",
     MAP(HEATMAP, 1, PLAIN("lr_a", "learning rate"), PLAIN("lr_b", "learning rate"),
         CELLS("gain"))},
    {.name = "c",
     .title = "pairs without order",
     MAP(HEATMAP, 2, PLAIN("lr_a", "first"), PLAIN("lr_b", "second"), CELLS("gain"))},
    {.name = "d",
     .title = "the loss in the plane",
     MAP(CONTOUR, 3, PLAIN("x", "along the first"), PLAIN("y", "towards the third"),
         PLAIN("loss", "test loss"))},
    {.name = "e",
     .title = "few points, log colours",
     MAP(CONTOUR, 4, PLAIN("x", "along the first"), PLAIN("y", "towards the third"),
         LOG("loss", "test loss"))},
    {.name = "f",
     .title = "lines beside maps",
     .kind = PLAN_PANEL_LINES,
     .table = 0,
     .x = PLAIN("alpha", "alpha"),
     .y = {.column = "gain",
           .label = "normalized accuracy (%)",
           .statistic = REDUCED(MEAN, "gain"),
           .band = PLAN_SPREAD_SE,
           .bars = true}},
};

#define FITTED(of, text)                                                                           \
  {                                                                                                \
    .column = of, .label = text, .fit = true                                                       \
  }
static const struct plan_panel fit_panels[] = {
    {.name = "a",
     .title = "a line a series",
     .kind = PLAN_PANEL_SCATTER,
     .table = 0,
     .x = PLAIN("single", "single accuracy"),
     .y = FITTED("gain", "gain (points)"),
     .series = "lr",
     .series_label = "learning rate",
     .opacity = "epoch"},
    {.name = "b",
     .title = "one line",
     .kind = PLAN_PANEL_SCATTER,
     .table = 1,
     .x = LOG("epoch", "epoch"),
     .y = FITTED("gain", "gain (points)")},
    {.name = "c",
     .title = "bars",
     .kind = PLAN_PANEL_LINES,
     .table = 2,
     .x = LOG("S", "S"),
     .series = "batch",
     .series_label = "batch size",
     .y = {.column = "gain",
           .label = "gain (points)",
           .statistic = REDUCED(MEAN, "gain"),
           .band = PLAN_SPREAD_SD,
           .bars = true,
           .fit = true}},
};

static const struct plan_panel single_map[] = {
    {.name = "a",
     .title = "",
     MAP(HEATMAP, 0, LOG("lr_a", "learning rate on FMoW"), LOG("lr_b", "learning rate on RESISC45"),
         BEST)}};
static const struct plan_panel odd_maps[] = {
    {.name = "a",
     .title = "no rows",
     MAP(HEATMAP, 0, PLAIN("x", "x"), PLAIN("y", "y"), PLAIN("z", "z"))},
    {.name = "b",
     .title = "all failed",
     MAP(HEATMAP, 1, PLAIN("x", "x"), PLAIN("y", "y"), PLAIN("z", "z"))},
    {.name = "c",
     .title = "one cell",
     MAP(HEATMAP, 2, PLAIN("x", "x"), PLAIN("y", "y"),
         PLAIN("z", "a long label of what the colour says"))},
    {.name = "d",
     .title = "one line",
     MAP(CONTOUR, 3, PLAIN("x", "x"), PLAIN("y", "y"), PLAIN("z", "z"))},
    {.name = "e",
     .title = "all failed",
     MAP(CONTOUR, 1, PLAIN("x", "x"), PLAIN("y", "y"), PLAIN("z", "z"))},
    {.name = "f", .title = "holes", MAP(CONTOUR, 4, LOG("x", "x"), LOG("y", "y"), PLAIN("z", "z"))},
    {.name = "g",
     .title = "words",
     MAP(HEATMAP, 5, PLAIN("x", "augmentation"), PLAIN("y", "of a%"), PLAIN("z", "z"))},
    {.name = "h", .title = "omitted", .kind = PLAN_PANEL_HEATMAP, .omitted = "not available yet"},
    {.name = "i",
     .title = "no rows",
     MAP(CONTOUR, 0, PLAIN("x", "x"), PLAIN("y", "y"), PLAIN("z", "z"))},
};
static const char *const odd_map_tables[] = {
    "x,y,z,failed\n",
    "x,y,z,failed\n1,1,nan,1\n2,1,nan,1\n1,2,nan,1\n2,2,nan,1\n",
    "x,y,z,failed\n1,1,-0.000123,0\n",
    "x,y,z,failed\n1,1,1,0\n2,1,3,0\n",
    "x,y,z,failed\n1,1,1,0\n10,1,3,0\n100,1,2,0\n1,2,-2,0\n10,2,nan,1\n100,2,1,0\n1,4,0,0\n100,4,9,"
    "0\n",
    "x,y,z,failed\non_{x},50%,1e6,0\n\"o\"\"f,f\",50%,2e6,0\non_{x},it's\\,-3e6,0\n",
};

#define PANELS(p) sizeof(p) / sizeof *(p), p

int main(int argc, char **argv)
{
  struct arena *a = arena_new();
  struct diag *d = diag_new(a);
  const struct plan_figure figures[] = {
      {1, "Effective noise scale controls the effectiveness of merging", subtitle, 0,
       PANELS(noise_panels)},
      {2, "A larger learning rate gives a larger gain from merging, up to where training fails",
       subtitle, 4, PANELS(lr_panels)},
      {3, "Degenerate input", "none of this should be clipped or overlap", 3, PANELS(odd_panels)},
      {4, "One panel", subtitle, 0, PANELS(one_panel)},
      {5, "Maps of what was swept", subtitle, 0, PANELS(map_panels)},
      {6, "Lines through points", subtitle, 0, PANELS(fit_panels)},
      {7, "One map", subtitle, 0, PANELS(single_map)},
      {8, "Odd maps", "nothing should be clipped or overlap", 0, PANELS(odd_maps)}};
  enum { N = sizeof figures / sizeof *figures };
  const char *noise[] = {noise_table(a)};
  const char *sweeps[] = {sweep_table(a, 3, 0.1), sweep_table(a, 4, 0.5), sweep_table(a, 5, 1)};
  const char *maps[] = {pairs_table(a, 6, false, 0), pairs_table(a, 12, false, -85),
                        pairs_table(a, 7, true, 0), plane_table(a, 21, true),
                        plane_table(a, 6, false)};
  const char *fits[] = {sweeps[0], sweeps[2], noise[0]};
  const char *const *tables[] = {noise, sweeps, odd_tables, noise,
                                 maps,  fits,   maps,       odd_map_tables};
  for (size_t k = 0; k < N; k++) {
    struct figure_page page;
    if (!figure_fixture_page(a, &figures[k], tables[k], &page, d) ||
        !figure_fixture_write(a, &page, argc > 1 ? argv[1] : ".", d))
      break;
  }
  diag_print(d, NULL, stderr, false);
  int status = diag_errors(d) > 0;
  arena_free(a);
  return status;
}
