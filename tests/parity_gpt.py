"""GPT of the engine and of PyTorch, from the same weights on the same batches: logits,
gradients, and 20 optimizer steps must agree.

Run by parity_gpt.sh:  parity_gpt.py path/to/parity_gpt_driver [paper]
`paper` runs the paper's vocabulary and block alone (minutes, and some GB).
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F

LOGITS, GRADIENTS, STEPS = 1e-4, 1e-3, 1e-3


def save(path, tensors):
    """The safetensors format, by hand: Debian has no package for it."""
    header, blobs, offset = {}, [], 0
    for name, t in tensors.items():
        blob = t.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            raw = bytearray(data[8 + n + begin:8 + n + end])
            tensors[name] = torch.frombuffer(raw, dtype=torch.float32).reshape(t["shape"])
    return tensors


class Conv1D(nn.Module):
    """Hugging Face's linear layer of GPT-2: weight [in][out]."""

    def __init__(self, i, o, std):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(i, o) * std)
        self.bias = nn.Parameter(torch.randn(o) * 0.02)

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, c, heads, std):
        super().__init__()
        self.c_attn, self.c_proj, self.heads = Conv1D(c, 3 * c, 0.1), Conv1D(c, c, std), heads

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = (z.view(n, t, self.heads, -1).transpose(1, 2)
                   for z in self.c_attn(x).split(c, 2))
        s = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        mask = torch.ones(t, t, dtype=torch.bool).triu(1)
        p = s.masked_fill(mask, float("-inf")).softmax(-1)
        return self.c_proj((p @ v).transpose(1, 2).reshape(n, t, c))


class MLP(nn.Module):
    def __init__(self, c, std):
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(c, 4 * c, 0.1), Conv1D(4 * c, c, std)

    def forward(self, x):
        u = self.c_fc(x)
        gelu = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u ** 3)))
        return self.c_proj(gelu)


class Block(nn.Module):
    def __init__(self, c, heads, std):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(c), Attention(c, heads, std)
        self.ln_2, self.mlp = nn.LayerNorm(c), MLP(c, std)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, width, layers, heads, block, vocabulary):
        super().__init__()
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(vocabulary, width), wpe=nn.Embedding(block, width),
            h=nn.ModuleList(Block(width, heads, 0.1 / math.sqrt(2 * layers))
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


def differ(a, b):
    return float((a - b).norm() / max(float(b.norm()), 1e-12))


def most(ours, theirs):
    """The largest relative difference among tensors, and whose it is."""
    if set(ours) != set(theirs):
        sys.exit(f"gpt: FAILED: tensors {sorted(set(ours) ^ set(theirs))}")
    return max((differ(ours[k], theirs[k]), k) for k in theirs)


def comparable(tensors):
    """Without the keys' biases: they change no probability, so that their gradient is rounding
    error alone, and AdamW divides it by its own size."""
    cut = {}
    for name, t in tensors.items():
        if name.endswith("attn.c_attn.bias"):
            q, _, v = t.chunk(3)
            t = torch.cat([q, v])
        cut[name] = t
    return cut


def optimizer_of(model, rule):
    if rule == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    groups = [[p for p in model.parameters() if p.dim() >= 2],
              [p for p in model.parameters() if p.dim() < 2]]
    return torch.optim.AdamW([dict(params=groups[0], weight_decay=0.1),
                              dict(params=groups[1], weight_decay=0.0)], lr=1e-3)


def compare(driver, shape, batch, steps, rule):
    """shape: width, layers, heads, block, vocabulary."""
    torch.manual_seed(0)
    model, block, vocabulary = GPT(*shape), shape[3], shape[4]
    text = torch.randint(0, vocabulary, (steps, batch, block + 1))
    with tempfile.TemporaryDirectory() as folder:
        save(os.path.join(folder, "weights"), model.state_dict())
        with open(os.path.join(folder, "batches"), "wb") as f:
            for s in range(steps):
                f.write(text[s, :, :-1].contiguous().float().numpy().tobytes())
                f.write(text[s, :, 1:].contiguous().int().numpy().tobytes())
        arguments = [driver, *map(str, shape), str(batch), str(steps), rule, folder]
        printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        losses = list(map(float, printed.split()))
        with open(os.path.join(folder, "logits"), "rb") as f:
            logits = torch.frombuffer(bytearray(f.read()), dtype=torch.float32)
        gradient = load(os.path.join(folder, "gradient"))
        result = load(os.path.join(folder, "result"))
    optimizer, apart = optimizer_of(model, rule), []
    for s in range(steps):
        optimizer.zero_grad()
        z = model(text[s, :, :-1])
        loss = F.cross_entropy(z.flatten(0, 1), text[s, :, 1:].flatten())
        loss.backward()
        if s == 0:
            far_logits = differ(logits, z.detach().flatten())
            far_gradient = most(gradient, {k: p.grad for k, p in model.named_parameters()})
        optimizer.step()
        apart.append(abs(losses[s] - float(loss)) / abs(float(loss)))
    far_result = most(comparable(result),
                      comparable({k: p.detach() for k, p in model.named_parameters()}))
    good = (len(losses) == steps and far_logits < LOGITS and far_gradient[0] < GRADIENTS and
            max(apart) < STEPS and far_result[0] < STEPS)
    print(f"gpt {shape} {rule}: logits differ by {far_logits:.1e}, gradients by "
          f"{far_gradient[0]:.1e} ({far_gradient[1]}), {steps} losses by {max(apart):.1e}, "
          f"weights by {far_result[0]:.1e} ({far_result[1]})" + ("" if good else ": FAILED"))
    return good


def main():
    torch.set_num_threads(1)
    driver = sys.argv[1]
    if sys.argv[2:] == ["paper"]:
        good = compare(driver, (128, 2, 4, 256, 50257), 2, 20, "adamw")
    else:
        good = compare(driver, (32, 2, 4, 24, 61), 3, 20, "sgd")
        good &= compare(driver, (48, 3, 3, 70, 256), 4, 20, "adamw")
        good &= compare(driver, (128, 2, 4, 128, 256), 2, 20, "adamw")
    sys.exit(0 if good else 1)


main()
