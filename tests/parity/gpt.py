"""GPT-2 with Hugging Face's names and layouts, with a head tied to the embedding."""
import math

import torch
import torch.nn as nn

from harness import Case, adamw, relu_of_tokens, sgd, text


class Conv1D(nn.Module):
    """Hugging Face's linear layer of GPT-2: weight [in][out]."""

    def __init__(self, i, o, scale=1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(i, o) * scale / math.sqrt(i))
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, c, heads, scale):
        super().__init__()
        self.c_attn, self.c_proj, self.heads = Conv1D(c, 3 * c), Conv1D(c, c, scale), heads

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = (z.view(n, t, self.heads, -1).transpose(1, 2)
                   for z in self.c_attn(x).split(c, 2))
        s = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        mask = torch.ones(t, t, dtype=torch.bool).triu(1)
        p = s.masked_fill(mask, float("-inf")).softmax(-1)
        return self.c_proj((p @ v).transpose(1, 2).reshape(n, t, c))


def gelu_tanh(u):
    return 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u ** 3)))


class MLP(nn.Module):
    def __init__(self, c, scale, act, hidden):
        super().__init__()
        self.c_fc, self.c_proj, self.act = Conv1D(c, hidden), Conv1D(hidden, c, scale), act

    def forward(self, x):
        return self.c_proj(self.act(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, c, heads, scale, act, hidden):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(c), Attention(c, heads, scale)
        self.ln_2, self.mlp = nn.LayerNorm(c), MLP(c, scale, act, hidden)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Weights start larger than GPT-2's, so that attention and logits are not all alike."""

    def __init__(self, width, layers, heads, block, vocabulary, act=gelu_tanh, hidden=0):
        super().__init__()
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(vocabulary, width), wpe=nn.Embedding(block, width),
            h=nn.ModuleList(Block(width, heads, 1 / math.sqrt(2 * layers), act, hidden or 4 * width)
                            for _ in range(layers)),
            ln_f=nn.LayerNorm(width)))
        for table in (self.transformer.wte, self.transformer.wpe):
            nn.init.normal_(table.weight, 0, 0.1)

    def forward(self, ids):
        t = self.transformer
        x = t.wte(ids) + t.wpe.weight[:ids.shape[1]]
        for block in t.h:
            x = block(x)
        return t.ln_f(x) @ t.wte.weight.t()


def case(width, layers, heads, block, vocabulary, batch, optimizer, size="small", said="", **more):
    return Case(f"gpt(width={width},layers={layers},heads={heads}{said})",
                lambda: GPT(width, layers, heads, block, vocabulary, **more),
                text(block, vocabulary, batch), optimizer, size, size == "small")


CASES = [case(32, 2, 4, 24, 61, 3, sgd(0.05), said=",activation=relu", act=relu_of_tokens),
         case(32, 2, 4, 24, 61, 3, sgd(0.05)),
         case(32, 2, 4, 24, 61, 3, adamw(1e-3), said=",hidden=37", hidden=37),
         case(48, 3, 3, 70, 256, 4, adamw(1e-3)),
         case(128, 2, 4, 256, 50257, 2, adamw(1e-3), "paper"),
         case(512, 6, 8, 512, 50257, 1, adamw(1e-3), "paper")]
