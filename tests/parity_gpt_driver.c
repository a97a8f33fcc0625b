/* Trains a GPT on given batches, for tests/parity_gpt.py.
 *
 *   parity_gpt_driver WIDTH LAYERS HEADS BLOCK VOCABULARY BATCH STEPS RULE FOLDER
 *
 * FOLDER holds `weights` (.safetensors) and `batches`: per step, ids [batch][block] as floats
 * and targets as int32.  Written there: `logits` [batch][block][vocabulary] and `gradient`
 * (.safetensors) of the first batch before the first step, and `result`, the last weights.
 * Prints one loss a line.  RULE: sgd (lr 0.05, momentum 0.9) or adamw (lr 1e-3, weight decay
 * 0.1, norms and biases exempt). */
#include "config.h"

#include "engine/net.h"
#include "engine/ops.h"
#include "engine/optim.h"

#include <stdio.h>
#include <stdlib.h>

struct run {
  const struct net *net;
  const struct ops *ops;
  struct optim optim;
  struct net_work *work;
  unsigned batch, steps;
  size_t tokens; /* of a batch */
  float *flat, *grad, *states[OPTIM_MOST_STATES], *ids, *logits;
  int32_t *labels;
  const char *folder;
  struct arena *arena;
  struct diag *diag;
};

static const char *in_folder(const struct run *r, const char *name)
{
  return arena_printf(r->arena, "%s/%s", r->folder, name);
}

static bool dump_logits(const struct run *r)
{
  const size_t n = r->tokens * net_classes(r->net);
  net_logits(r->work, r->flat, r->ids, r->batch, r->logits);
  FILE *f = fopen(in_folder(r, "logits"), "wb");
  const bool ok = f && fwrite(r->logits, sizeof *r->logits, n, f) == n;
  return f && !fclose(f) && ok;
}

static bool train(const struct run *r, FILE *batches)
{
  for (unsigned i = 0; i < r->steps; i++) {
    if (fread(r->ids, sizeof *r->ids, r->tokens, batches) != r->tokens ||
        fread(r->labels, sizeof *r->labels, r->tokens, batches) != r->tokens ||
        (!i && !dump_logits(r)))
      return false;
    printf("%.9g\n",
           (double)net_loss_gradient(r->work, r->flat, r->ids, r->labels, r->batch, r->grad));
    if (!i && !net_save(r->net, r->grad, in_folder(r, "gradient"), r->diag))
      return false;
    optim_step(r->ops, &r->optim, i, net_params(r->net), r->flat, r->states, r->grad);
  }
  return net_save(r->net, r->flat, in_folder(r, "result"), r->diag);
}

static bool run(struct run *r, const struct net_spec *spec, const char *rule)
{
  const size_t n = net_count(r->net);
  r->optim = (struct optim){.rule = optim_find(rule), .lr = 0.05, .momentum = 0.9};
  if (!r->optim.rule)
    return false;
  if (r->optim.rule->n_states == 2)
    r->optim = (struct optim){.rule = r->optim.rule,
                              .lr = 1e-3,
                              .weight_decay = 0.1,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .epsilon = 1e-8};
  r->optim.ranges = optim_ranges(r->arena, r->net, &r->optim.n_ranges);
  r->work = net_work_new(r->net, r->ops, r->batch, true);
  r->tokens = (size_t)r->batch * spec->block;
  r->flat = arena_array(r->arena, n, sizeof *r->flat);
  r->grad = arena_array(r->arena, n, sizeof *r->grad);
  for (int i = 0; i < OPTIM_MOST_STATES; i++)
    r->states[i] = arena_array(r->arena, n, sizeof *r->grad);
  r->ids = arena_array(r->arena, r->tokens, sizeof *r->ids);
  r->labels = arena_array(r->arena, r->tokens, sizeof *r->labels);
  r->logits = mem_alloc(r->tokens * spec->classes * sizeof *r->logits);
  FILE *batches = fopen(in_folder(r, "batches"), "rb");
  const bool ok =
      batches && net_load(r->net, in_folder(r, "weights"), r->flat, r->diag) && train(r, batches);
  if (batches)
    fclose(batches);
  free(r->logits);
  net_work_free(r->work);
  return ok;
}

int main(int argc, char **argv)
{
  if (argc != 10) {
    fprintf(stderr, "parity_gpt_driver: run by tests/parity_gpt.py\n");
    return 2;
  }
  unsigned number[7];
  for (int i = 0; i < 7; i++)
    number[i] = (unsigned)strtoul(argv[i + 1], NULL, 10);
  const struct net_spec spec = {.model = "gpt",
                                .width = number[0],
                                .layers = number[1],
                                .heads = number[2],
                                .channels = 1,
                                .height = 1,
                                .image_width = number[3],
                                .block = number[3],
                                .classes = number[4]};
  struct arena *arena = arena_new();
  struct diag *diag = diag_new(arena);
  struct run r = {.net = net_new(arena, &spec, diag),
                  .ops = ops_cpu(),
                  .batch = number[5],
                  .steps = number[6],
                  .folder = argv[9],
                  .arena = arena,
                  .diag = diag};
  const bool ok = r.net && run(&r, &spec, argv[8]);
  if (!ok) {
    diag_print(diag, NULL, stderr, false);
    fprintf(stderr, "parity_gpt_driver: failed\n");
  }
  arena_free(arena);
  return ok ? 0 : 2;
}
