/* Vision transformers (Dosovitskiy et al. 2021): patches as tokens, a class token before them,
 * blocks with norms before each half, a linear head that reads the class token.  No dropout.
 *
 * vit_s_16, vit_b_16 are timm's vit_small_patch16_224 and vit_base_patch16_224: exact GELU,
 * epsilon 1e-6, timm's names and layouts (cls_token, pos_embed, patch_embed.proj.weight,
 * blocks.0.attn.qkv.weight, ..., norm, head).  timm draws linear weights and positions normal
 * 0.02, the class token normal 1e-6, biases zero, and the patches' convolution as PyTorch does.
 * Defaults: width 384 with 6 heads, width 768 with 12 heads; 12 layers, patches of 16, 4 x width
 * feed-forward neurons a block.
 *
 * clip_vit_b_16 is CLIP's vision encoder (Radford et al. 2021) without its language model, as
 * open_clip names and draws it (visual.conv1.weight, ..., visual.proj): no bias at the patches, a
 * norm before the blocks too, QuickGELU, epsilon 1e-5.  Behind it lies a linear layer
 * `classifier`.
 * A choice: it reads the image features, 2/3 of the width, as visual.proj leaves them.  Where the
 * classifier is made of CLIP's text features, the image features are normalised first (Wortsman
 * et al. 2022); here it is drawn, and would begin with logits near zero.
 *
 * net_spec.activation takes another one's place: open_clip has models with the exact GELU, and the
 * transformer of Vaswani et al. 2017 has ReLU.
 *
 * Behind the last block's attention only the class token counts; the other tokens end there. */
#include "engine/net_int.h"
#include "engine/zoo.h"

#include <math.h>

/* What differs: names, and a few rules. */
struct style {
  const char *patches, *patches_bias, *token, *positions; /* bias NULL: none */
  const char *first_norm;                                 /* NULL: none */
  const char *blocks, *norm1, *qkv_weight, *qkv_bias, *out, *norm2, *up, *down;
  const char *last_norm;
  enum ops_act act;
  float eps;
};

static const struct style timm = {
    .patches = "patch_embed.proj.weight",
    .patches_bias = "patch_embed.proj.bias",
    .token = "cls_token",
    .positions = "pos_embed",
    .blocks = "blocks",
    .norm1 = "norm1",
    .qkv_weight = "attn.qkv.weight",
    .qkv_bias = "attn.qkv.bias",
    .out = "attn.proj",
    .norm2 = "norm2",
    .up = "mlp.fc1",
    .down = "mlp.fc2",
    .last_norm = "norm",
    .act = OPS_GELU,
    .eps = 1e-6f,
};

static const struct style open_clip = {
    .patches = "visual.conv1.weight",
    .token = "visual.class_embedding",
    .positions = "visual.positional_embedding",
    .first_norm = "visual.ln_pre",
    .blocks = "visual.transformer.resblocks",
    .norm1 = "ln_1",
    .qkv_weight = "attn.in_proj_weight",
    .qkv_bias = "attn.in_proj_bias",
    .out = "attn.out_proj",
    .norm2 = "ln_2",
    .up = "mlp.c_fc",
    .down = "mlp.c_proj",
    .last_norm = "visual.ln_post",
    .act = OPS_QUICK_GELU,
    .eps = 1e-5f,
};

struct vit {
  struct net_builder *b;
  const struct style *style;
  unsigned width, layers, heads, patch, hidden;
  enum ops_act act;
  bool turned;
};

enum { MLP_RATIO = 4 };
static const double STD = 0.02;

static void draw(const struct vit *v, const char *name, enum net_init_kind kind, double scale)
{
  net_initial(v->b, name, (struct net_initial){kind, scale});
}

/* PyTorch's own initialisation of a layer that reads `in` values. */
static void draw_as_pytorch(const struct vit *v, const char *weight, const char *bias, unsigned in)
{
  draw(v, weight, INIT_UNIFORM, 1 / sqrt(in));
  if (bias)
    draw(v, bias, INIT_UNIFORM, 1 / sqrt(in));
}

static unsigned patches(const struct vit *v)
{
  const struct style *s = v->style;
  const unsigned x = net_patches(v->b, 0, v->patch);
  const struct net_dense conv = {.weight = s->patches,
                                 .bias = s->patches_bias,
                                 .kernel = v->patch,
                                 .op = {.out = v->width},
                                 .residual = NET_NONE};
  const unsigned y = net_dense_layer(v->b, x, &conv);
  draw_as_pytorch(v, s->patches, s->patches_bias, net_channels(v->b, x));
  return y;
}

static unsigned dense(const struct vit *v, unsigned x, const char *name, unsigned out,
                      enum ops_act act, unsigned residual)
{
  const struct ops_dense kind = {.out = out, .act = act};
  return net_dense(v->b, x, name, &kind, STD, residual);
}

static unsigned tokens(const struct vit *v)
{
  const struct style *s = v->style;
  const bool clip = s == &open_clip;
  unsigned x = patches(v);
  x = net_class_token(v->b, x, s->token, s->positions, !clip, clip ? 1 / sqrt(v->width) : STD);
  if (!clip)
    draw(v, s->token, INIT_NORMAL, 1e-6);
  x = s->first_norm ? net_layernorm(v->b, x, s->first_norm, s->eps) : x;
  return v->turned ? dense(v, x, "visual.turn", v->width, OPS_IDENTITY, NET_NONE) : x;
}

static void draw_clip_block(const struct vit *v, const char *name)
{
  const struct style *s = v->style;
  struct net_builder *b = v->b;
  /* Xavier, [3 * width][width] taken as one matrix. */
  draw(v, net_name(b, "%s.%s", name, s->qkv_weight), INIT_UNIFORM, sqrt(6.0 / (4 * v->width)));
  draw_as_pytorch(v, net_name(b, "%s.%s.weight", name, s->out), NULL, v->width);
  draw_as_pytorch(v, net_name(b, "%s.%s.weight", name, s->up),
                  net_name(b, "%s.%s.bias", name, s->up), v->width);
  draw_as_pytorch(v, net_name(b, "%s.%s.weight", name, s->down),
                  net_name(b, "%s.%s.bias", name, s->down), v->hidden);
}

/* The class token is taken before the norm that reads all: so the norm's gradient is there
 * first, and the class token's is added to few rows. */
static unsigned block(const struct vit *v, unsigned x, unsigned number)
{
  const struct style *s = v->style;
  struct net_builder *b = v->b;
  const bool last = number + 1 == v->layers;
  const char *name = net_name(b, "%s.%u", s->blocks, number);
  const struct net_dense qkv = {.weight = net_name(b, "%s.%s", name, s->qkv_weight),
                                .bias = net_name(b, "%s.%s", name, s->qkv_bias),
                                .op = {.out = 3 * v->width},
                                .std = STD,
                                .residual = NET_NONE};
  const unsigned kept = last ? net_first_token(b, x) : x;
  unsigned y = net_layernorm(b, x, net_name(b, "%s.%s", name, s->norm1), s->eps);
  y = net_dense_layer(b, y, &qkv);
  y = net_attention(b, y, v->heads, false, last ? 1 : 0);
  x = dense(v, y, net_name(b, "%s.%s", name, s->out), v->width, OPS_IDENTITY, kept);
  y = net_layernorm(b, x, net_name(b, "%s.%s", name, s->norm2), s->eps);
  y = dense(v, y, net_name(b, "%s.%s", name, s->up), v->hidden, v->act, NET_NONE);
  y = dense(v, y, net_name(b, "%s.%s", name, s->down), v->width, OPS_IDENTITY, x);
  if (s == &open_clip)
    draw_clip_block(v, name);
  return y;
}

/* The class token behind the last norm. */
static unsigned encoder(const struct vit *v)
{
  unsigned x = tokens(v);
  for (unsigned k = 0; k < v->layers; k++)
    x = block(v, x, k);
  return net_layernorm(v->b, x, v->style->last_norm, v->style->eps);
}

static struct vit from_spec(struct net_builder *b, const struct net_spec *spec,
                            const struct style *style, unsigned width, unsigned heads)
{
  width = spec->width ? spec->width : width;
  return (struct vit){
      .b = b,
      .style = style,
      .width = width,
      .layers = spec->layers ? spec->layers : 12,
      .heads = spec->heads ? spec->heads : heads,
      .patch = spec->patch ? spec->patch : 16,
      .hidden = spec->hidden ? spec->hidden : MLP_RATIO * width,
      .act = zoo_activation(spec, style->act, OPS_GELU),
      .turned = spec->turned && style->first_norm,
  };
}

static bool fits(const struct vit *v, const struct net_spec *spec, struct diag *diag)
{
  const unsigned before = diag_errors(diag);
  if (v->width % v->heads || v->width > NET_MAX_CHANNELS || v->width < 2) {
    diag_error(diag, SPAN_NONE, "%s: width %u with %u heads", spec->model, v->width, v->heads);
    diag_hint(diag, "the width is from 2 to %d and a multiple of the heads", NET_MAX_CHANNELS);
  }
  if (v->hidden > NET_MAX_HIDDEN)
    diag_error(diag, SPAN_NONE, "%s: %u feed-forward neurons, of at most %d", spec->model,
               v->hidden, NET_MAX_HIDDEN);
  if (spec->height % v->patch || spec->image_width % v->patch) {
    diag_error(diag, SPAN_NONE, "%s: images of %ux%u pixels cannot be cut into patches of %ux%u",
               spec->model, spec->height, spec->image_width, v->patch, v->patch);
    diag_hint(diag, "the patch must divide height and width");
  }
  return diag_errors(diag) == before;
}

static bool build_timm(struct net_builder *b, const struct net_spec *spec, unsigned width,
                       unsigned heads, unsigned *logits, struct diag *diag)
{
  const struct vit v = from_spec(b, spec, &timm, width, heads);
  if (!fits(&v, spec, diag))
    return false;
  *logits = net_linear(b, encoder(&v), "head", spec->classes, false);
  draw(&v, "head.weight", INIT_NORMAL, STD);
  draw(&v, "head.bias", INIT_CONSTANT, 0);
  return true;
}

bool zoo_vit_s_16(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
                  struct diag *diag)
{
  return build_timm(b, spec, 384, 6, logits, diag);
}

bool zoo_vit_b_16(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
                  struct diag *diag)
{
  return build_timm(b, spec, 768, 12, logits, diag);
}

bool zoo_clip_vit_b_16(struct net_builder *b, const struct net_spec *spec, unsigned *logits,
                       struct diag *diag)
{
  const struct vit v = from_spec(b, spec, &open_clip, 768, 12);
  if (!fits(&v, spec, diag))
    return false;
  const struct net_dense projection = {.weight = "visual.proj",
                                       .op = {.out = 2 * v.width / 3, .in_first = true},
                                       .std = 1 / sqrt(v.width),
                                       .residual = NET_NONE};
  const unsigned features = net_dense_layer(b, encoder(&v), &projection);
  *logits = net_linear(b, features, "classifier", spec->classes, false);
  return true;
}
