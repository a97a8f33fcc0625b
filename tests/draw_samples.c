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
    "gain", "gain in accuracy (points)", PLAN_AGG_MEDIAN, PLAN_SPREAD_QUARTILES, false               \
  }
#define PLAIN(column, label)                                                                       \
  {                                                                                                \
    column, label, PLAN_AGG_NONE, PLAN_SPREAD_NONE, false                                            \
  }
#define LOG(column, label)                                                                         \
  {                                                                                                \
    column, label, PLAN_AGG_NONE, PLAN_SPREAD_NONE, true                                             \
  }

static const struct plan_panel noise_panels[] = {
    {"a", "by batch size", PLAN_PANEL_LINES, 0, NULL, LOG("lr", "learning rate"), GAIN, "batch",
     "batch size", NULL},
    {"b", "by learning rate", PLAN_PANEL_LINES, 0, NULL, LOG("batch", "batch size"), GAIN, "lr",
     "learning rate", NULL},
    {"c", "against the noise scale", PLAN_PANEL_LINES, 0, NULL, LOG("S", "effective noise scale S"),
     GAIN, "batch", "batch size", NULL},
};

#define TOP(name, title, table, omitted)                                                           \
  {                                                                                                \
    name, title, PLAN_PANEL_BOX, table, omitted, LOG("lr", "learning rate"),                       \
        PLAIN("gain", "gain (points)"), NULL, NULL, NULL                                           \
  }
#define BOTTOM(name, table, omitted)                                                               \
  {                                                                                                \
    name, "", PLAN_PANEL_SCATTER, table, omitted, PLAIN("single", "single accuracy"),              \
        PLAIN("gain", "gain (points)"), "lr", "learning rate", "epoch"                             \
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
    {"a", "no rows", PLAN_PANEL_LINES, 0, NULL, LOG("x", "x"), PLAIN("y", "y"), "s", "s", NULL},
    {"b", "all failed", PLAN_PANEL_LINES, 1, NULL, LOG("x", "x"), PLAIN("y", "y"), "s", "s", NULL},
    {"c", "one point", PLAN_PANEL_LINES, 2, NULL, LOG("x", "x"), PLAIN("y", "y"), NULL, NULL, NULL},
    {"d", "negative on a log axis", PLAN_PANEL_LINES, 3, NULL, PLAIN("x", "x"), LOG("y", "y"), NULL,
     NULL, NULL},
    {"e", "constant, x is text", PLAN_PANEL_LINES, 4, NULL, PLAIN("s", "augmentation"),
     PLAIN("y", "y"), NULL, NULL, NULL},
    {"f", "odd_names {50%} a^b \\ it's \"so\" & ~@", PLAN_PANEL_LINES, 4, NULL, PLAIN("x", "x_1"),
     PLAIN("y", "y^2"), "s", "odd_series", NULL},
    {"g", "boxes by series", PLAN_PANEL_BOX, 5, NULL, PLAIN("x", "x"),
     PLAIN("y", "a long label that takes two lines beside it"), "s", "augmentation", NULL},
    {"h", "long categories", PLAN_PANEL_BOX, 4, NULL, PLAIN("s", "s"), LOG("y", "y"), NULL, NULL,
     NULL},
    {"i", "scatter over a small range with a title that takes two lines", PLAN_PANEL_SCATTER, 6,
     NULL, LOG("x", "x"), PLAIN("y", "y"), NULL, NULL, NULL},
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

static const struct plan_panel one_panel[] = {
    {"a", "", PLAN_PANEL_LINES, 0, NULL, LOG("lr", "learning rate"), LOG("fit", "training loss"),
     "batch", "batch size", NULL}};

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
      {4, "One panel", subtitle, 0, PANELS(one_panel)}};
  const char *noise[] = {noise_table(a)};
  const char *sweeps[] = {sweep_table(a, 3, 0.1), sweep_table(a, 4, 0.5), sweep_table(a, 5, 1)};
  const char *const *tables[] = {noise, sweeps, odd_tables, noise};
  for (size_t k = 0; k < 4; k++) {
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
