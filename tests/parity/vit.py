"""Vision transformers with timm's names (vit_s_16, vit_b_16), and CLIP's with open_clip's and a
classifier behind it."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from harness import Case, adamw, images, relu_of_tokens, sgd


def parameter(*shape):
    return nn.Parameter(torch.randn(shape) * 0.1)


class Attention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(c, 3 * c), nn.Linear(c, c), heads

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        p = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((p @ v).transpose(1, 2).reshape(n, t, c))


class MLP(nn.Module):
    def __init__(self, c, act, hidden):
        super().__init__()
        self.fc1, self.fc2, self.act = nn.Linear(c, hidden), nn.Linear(hidden, c), act

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, c, heads, act, hidden):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(c, eps=1e-6), Attention(c, heads)
        self.norm2, self.mlp = nn.LayerNorm(c, eps=1e-6), MLP(c, act, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, c, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, c, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    def __init__(self, c, layers, heads, patch, size, classes, act=F.gelu, hidden=0):
        super().__init__()
        self.cls_token, self.patch_embed = parameter(1, 1, c), Patches(c, patch)
        self.pos_embed = parameter(1, (size // patch) ** 2 + 1, c)
        self.blocks = nn.Sequential(*(Block(c, heads, act, hidden or 4 * c) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(c, eps=1e-6), nn.Linear(c, classes)

    def forward(self, x):
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], 1)
        return self.head(self.norm(self.blocks(x + self.pos_embed))[:, 0])


def quick_gelu(u):
    return u * torch.sigmoid(1.702 * u)


class CLIPBlock(nn.Module):
    def __init__(self, c, heads, act, hidden):
        super().__init__()
        self.act = act
        self.ln_1, self.attn = nn.LayerNorm(c), nn.MultiheadAttention(c, heads, batch_first=True)
        self.ln_2, self.mlp = nn.LayerNorm(c), nn.ModuleDict(dict(c_fc=nn.Linear(c, hidden),
                                                                  c_proj=nn.Linear(hidden, c)))

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp.c_proj(self.act(self.mlp.c_fc(self.ln_2(x))))


class CLIPEncoder(nn.Module):
    def __init__(self, c, layers, heads, patch, size, act, hidden):
        super().__init__()
        self.conv1 = nn.Conv2d(3, c, patch, patch, bias=False)
        self.class_embedding = parameter(c)
        self.positional_embedding = parameter((size // patch) ** 2 + 1, c)
        self.ln_pre, self.ln_post, self.proj = nn.LayerNorm(c), nn.LayerNorm(c), parameter(c, 2 * c // 3)
        self.transformer = nn.ModuleDict(dict(
            resblocks=nn.Sequential(*(CLIPBlock(c, heads, act, hidden) for _ in range(layers)))))

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1)
        x = self.transformer.resblocks(self.ln_pre(x + self.positional_embedding))
        return self.ln_post(x[:, 0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self, c, layers, heads, patch, size, classes, act=quick_gelu, hidden=0):
        super().__init__()
        self.visual = CLIPEncoder(c, layers, heads, patch, size, act, hidden or 4 * c)
        self.classifier = nn.Linear(2 * c // 3, classes)

    def forward(self, x):
        return self.classifier(self.visual(x))


def small(name, make, optimizer, said="", **more):
    return Case(f"{name}(width=48,layers=2,heads=3,patch=8{said})",
                lambda: make(48, 2, 3, 8, 32, 10, **more), images(32, 3, 10, 8), optimizer, "small",
                True)


def paper(name, make, c, heads):
    return Case(name, lambda: make(c, 12, heads, 16, 224, 100), images(224, 3, 100, 2), adamw(1e-4),
                "paper")


CASES = [small("vit_s_16", ViT, sgd(0.02)), small("vit_b_16", ViT, adamw(1e-3, "all")),
         small("clip_vit_b_16", CLIP, adamw(1e-3)),
         small("vit_b_16", ViT, sgd(0.02), ",activation=relu", act=relu_of_tokens),
         small("clip_vit_b_16", CLIP, adamw(1e-3), ",activation=gelu", act=F.gelu),
         small("vit_s_16", ViT, adamw(1e-3), ",hidden=57", hidden=57),
         small("clip_vit_b_16", CLIP, sgd(0.02), ",hidden=57", hidden=57),
         paper("vit_s_16", ViT, 384, 6), paper("vit_b_16", ViT, 768, 12),
         paper("clip_vit_b_16", CLIP, 768, 12)]
