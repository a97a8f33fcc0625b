#include "engine/zoo_names.h"

#include <string.h>

static const struct zoo_names rows[] = {
    {.model = "resnet18", .origin = "in torchvision"},
    {.model = "convnext_tiny",
     .origin = "in torchvision",
     /* timm's. */
     .renamed = {{"head.norm.", "classifier.0."},
                 {"head.fc.", "classifier.2."},
                 {"stem.", "features.0."},
                 {"stages.0.blocks.", "features.1."},
                 {"stages.1.downsample.", "features.2."},
                 {"stages.1.blocks.", "features.3."},
                 {"stages.2.downsample.", "features.4."},
                 {"stages.2.blocks.", "features.5."},
                 {"stages.3.downsample.", "features.6."},
                 {"stages.3.blocks.", "features.7."},
                 {".conv_dw.", ".block.0."},
                 {".norm.", ".block.2."},
                 {".mlp.fc1.", ".block.3."},
                 {".mlp.fc2.", ".block.5."},
                 {".gamma", ".layer_scale"}}},
    {.model = "densenet121",
     .origin = "in torchvision",
     /* Files from before torchvision 0.3. */
     .renamed = {{".norm.1.", ".norm1."},
                 {".norm.2.", ".norm2."},
                 {".conv.1.", ".conv1."},
                 {".conv.2.", ".conv2."}}},
    {.model = "vit_s_16", .origin = "in timm"},
    {.model = "vit_b_16",
     .origin = "in timm",
     /* torchvision's. */
     .renamed = {{"class_token", "cls_token"},
                 {"encoder.pos_embedding", "pos_embed"},
                 {"conv_proj.", "patch_embed.proj."},
                 {"encoder.layers.encoder_layer_", "blocks."},
                 {".ln_", ".norm"},
                 {".self_attention.in_proj_", ".attn.qkv."},
                 {".self_attention.out_proj.", ".attn.proj."},
                 {".mlp.linear_", ".mlp.fc"},
                 {".mlp.0.", ".mlp.fc1."},
                 {".mlp.3.", ".mlp.fc2."},
                 {"encoder.ln.", "norm."},
                 {"heads.head.", "head."}}},
    {.model = "clip_vit_b_16",
     .origin = "in open_clip",
     /* The language model, and what both share. */
     .ignored = {"transformer.*", "token_embedding.weight", "positional_embedding", "ln_final.*",
                 "text_projection", "text.*", "logit_scale", "logit_bias"}},
    {.model = "gpt",
     .origin = "in Hugging Face's GPT-2",
     .renamed = {{"", "transformer."}},
     .ignored = {"transformer.h.*.attn.bias", "transformer.h.*.attn.masked_bias"},
     .tied = {{"lm_head.weight", "transformer.wte.weight"}}},
};

struct zoo_names zoo_names(const char *model)
{
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (!strcmp(rows[i].model, model))
      return rows[i];
  return (struct zoo_names){.model = model, .origin = "in files of this program"};
}
