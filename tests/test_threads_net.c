/* Whole training steps on threads give the bits that they give on one; how work is split, and the
 * team that does it. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "threads_fixture.h"

#include "engine/team.h"

#include <sys/wait.h>
#include <unistd.h>

/* ---- whole networks ---- */

struct net_case {
  struct net_spec spec;
  unsigned batch;
};

static void training(const struct ops *ops, const void *shape, struct outcome *o)
{
  const struct net_case *s = shape;
  struct diag *diag = diag_new(o->arena);
  const struct net *net = net_new(o->arena, &s->spec, diag);
  if (!net)
    fail_msg("%s: %s", s->spec.model, diag_message(diag, 0));
  const size_t n = net_count(net), params = net_params(net);
  const size_t each = (size_t)s->spec.height * s->spec.image_width * s->spec.channels;
  float *x = random_floats(o, s->batch * each, 0), *grad = nothing(o, params);
  float *flat = nothing(o, n), *states[OPTIM_MOST_STATES];
  const bool text = s->spec.block > 0;
  const struct optim optim = {.rule = optim_find(text ? "adamw" : "sgd"),
                              .lr = 1e-3,
                              .weight_decay = 1e-3,
                              .momentum = 0.9,
                              .beta1 = 0.9,
                              .beta2 = 0.99,
                              .epsilon = 1e-8};
  const size_t targets = (size_t)s->batch * net_targets(net);
  int32_t *labels = arena_array(o->arena, targets, sizeof *labels);
  for (size_t i = 0; i < targets; i++)
    labels[i] = (int32_t)(i * 3 % s->spec.classes);
  for (size_t i = 0; text && i < s->batch * each; i++)
    x[i] = (float)(i * 11 % s->spec.classes);
  for (int k = 0; k < OPTIM_MOST_STATES; k++)
    states[k] = nothing(o, params);
  net_init(net, 3, flat);
  struct net_work *work = net_work_new(net, ops, s->batch, true);
  for (unsigned step = 0; step < 3; step++) {
    const float loss = net_loss_gradient(work, flat, x, labels, s->batch - step % 2, grad);
    keep(o, &loss, 1);
    keep(o, grad, params);
    optim_step(ops, &optim, step, params, flat, states, grad);
  }
  keep(o, flat, n);
  float *logits = nothing(o, targets * net_classes(net));
  net_logits(work, flat, x, s->batch, logits);
  keep(o, logits, targets * net_classes(net));
  net_work_free(work);
}

static void training_keeps_every_bit(void **state)
{
  (void)state;
  static const struct net_case shapes[] = {
      {{.model = "resnet18",
        .width = 32,
        .stages = 3,
        .blocks = 1,
        .channels = 3,
        .height = 16,
        .image_width = 16,
        .classes = 10},
       9},
      {{.model = "densenet121",
        .growth = 12,
        .stages = 3,
        .layers = 3,
        .channels = 2,
        .height = 14,
        .image_width = 14,
        .classes = 10},
       10},
      {{.model = "mlp",
        .width = 300,
        .layers = 2,
        .channels = 1,
        .height = 14,
        .image_width = 14,
        .classes = 10},
       64},
      {{.model = "gpt",
        .width = 64,
        .layers = 2,
        .heads = 2,
        .block = 70,
        .channels = 1,
        .height = 1,
        .image_width = 70,
        .classes = 256},
       6},
      {{.model = "convnext_tiny",
        .width = 32,
        .stages = 2,
        .blocks = 1,
        .channels = 3,
        .height = 64,
        .image_width = 64,
        .classes = 10},
       7},
      {{.model = "clip_vit_b_16",
        .width = 64,
        .layers = 2,
        .heads = 2,
        .patch = 4,
        .channels = 3,
        .height = 32,
        .image_width = 32,
        .classes = 10},
       6},
  };
  struct test_case cases[sizeof shapes / sizeof *shapes];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    cases[i] = (struct test_case){shapes[i].spec.model, &shapes[i], training};
  CHECK_CASES(cases);
}

/* ---- the split itself ---- */

/* A base whose convolution counts its calls, and the samples that they add up to. */
static struct {
  const struct ops *real;
  unsigned calls, samples;
} counted;

static void count_forward(const struct ops *ops, const struct ops_conv *c, unsigned n,
                          const float *x, const float *w, float *y, float *scratch)
{
  (void)ops;
  __atomic_fetch_add(&counted.calls, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&counted.samples, n, __ATOMIC_RELAXED);
  counted.real->conv_forward(counted.real, c, n, x, w, y, scratch);
}

static unsigned parts_of(const struct ops_conv *c, unsigned n, unsigned threads)
{
  struct ops base = *ops_cpu();
  struct outcome o = {.arena = arena_new()};
  const struct image_case s = {*c, n};
  base.conv_forward = count_forward;
  counted.real = ops_cpu();
  counted.calls = counted.samples = 0;
  const struct ops *ops = ops_threads_new(&base, threads);
  float *scratch = mem_alloc(ops->conv_scratch(ops, c, n) * sizeof *scratch);
  ops->conv_forward(ops, c, n, random_floats(&o, x_floats(&s), 0),
                    random_floats(&o, (size_t)c->co * c->ci * c->k * c->k, 1),
                    nothing(&o, y_floats(&s)), scratch);
  assert_int_equal(counted.samples, n);
  free(scratch);
  ops_threads_free(ops);
  arena_free(o.arena);
  return counted.calls;
}

static void large_work_alone_is_split(void **state)
{
  (void)state;
  const struct ops_conv large = {16, 16, 32, 64, 3, 1, 1, 0}, small = {7, 7, 8, 8, 3, 1, 1, 0};
  assert_int_equal(parts_of(&large, 9, 4), 4);
  assert_int_equal(parts_of(&large, 3, 4), 3);
  assert_int_equal(parts_of(&large, 9, 1), 1);
  assert_int_equal(parts_of(&small, 9, 4), 1);
}

static void mark(void *context, unsigned k)
{
  unsigned *marks = context;
  marks[k]++;
}

static void a_team_runs_each_part_once(void **state)
{
  (void)state;
  enum { THREADS = 7, JOBS = 2000 };
  struct team *team = team_new(THREADS);
  unsigned marks[THREADS] = {0};
  for (unsigned i = 1; i <= JOBS; i++) {
    if (i % 500 == 0)
      usleep(2000); /* long enough to fall asleep */
    team_run(team, mark, marks);
    for (unsigned k = 0; k < THREADS; k++)
      assert_int_equal(marks[k], i);
  }
  team_free(team);
  team_free(team_new(3)); /* that never ran */
  team_free(NULL);
}

/* A forked process has none of its parent's threads: it starts its own. */
static void a_team_outlives_a_fork(void **state)
{
  (void)state;
  struct team *team = team_new(3);
  unsigned marks[3] = {0};
  team_run(team, mark, marks);
  const pid_t child = fork();
  if (!child) {
    alarm(60);
    team_run(team, mark, marks);
    team_run(team, mark, marks);
    _exit(marks[0] == 3 && marks[1] == 3 && marks[2] == 3 ? 0 : 1);
  }
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  team_run(team, mark, marks);
  for (int k = 0; k < 3; k++)
    assert_int_equal(marks[k], 2);
  team_free(team);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_team_runs_each_part_once),
      cmocka_unit_test(a_team_outlives_a_fork),
      cmocka_unit_test(large_work_alone_is_split),
      cmocka_unit_test(training_keeps_every_bit),
  };
  return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
