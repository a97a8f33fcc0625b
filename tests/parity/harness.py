"""The engine and PyTorch, from the same weights on the same batches: logits, gradients and
20 optimizer steps must agree.  Cases are listed beside their reference models (mlp.py, ...).

What is compared, by relative norms ||ours - PyTorch's|| / ||PyTorch's||, the largest over
tensors:
  logits    of the first batch, in inference mode
  gradient  of the first step
  20 steps  the losses, the weights and running statistics at the end, and the logits that
            they give to the last batch
  update    what the 20 steps added, of all weights as one vector: weights that hardly move agree
            even where the optimizer is wrong, their change does not
Where a tensor's gradient is less than 1e-4 of the whole, it counts as that large: a scale that
the next norm undoes has a gradient of 0, and rounding in its place.

A ReLU has no derivative at 0: a value within rounding of 0 falls on either side, and its part of
the gradient is there or not.  If a share p of the values is that near, gradients differ by about
sqrt(p) a layer however careful the arithmetic, and p is 1e-6 in float: with two images of 64 x 64,
DenseNet-121's first gradient was 8e-3 off here and 6e-3 in PyTorch, from PyTorch's in double
precision, and 20 steps of it up to a tenth.  So in each step both get the same small shifts of
biases (`Parted`), some thousandths of their channel's spread, after which no value of the batch
lies that near.  What then differs is arithmetic.
"""
import collections
import functools
import json
import math
import os
import re
import struct
import subprocess
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = 20
EXEMPT = "cls_token", "pos_embed", "class_embedding", "positional_embedding", "layer_scale"
LIMITS = {"logits": 1e-4, "gradient": 1e-3, "20 steps": 1e-3, "update": 1e-3}

# model: the engine's name for it, with its arguments.  make: PyTorch's.  quick: in `make check`.
Case = collections.namedtuple("Case", "model make data optimizer size quick", defaults=[False])
# tensors by name; logits: of the first batch before training, of the last one behind it
Result = collections.namedtuple("Result", "losses logits gradient weights")


def expression(name, fields):
    return name + "(" + ",".join(f"{k}={v}" for k, v in fields.items()) + ")"


def images(size, channels, classes, batch):
    return "images", dict(size=size, channels=channels, classes=classes, batch=batch)


def text(block, vocabulary, batch):
    return "text", dict(block=block, classes=vocabulary, batch=batch)


def sgd(lr, decay="all"):
    return "sgd", dict(lr=lr, momentum=0.9, weight_decay=0.05, decay=decay)


def adamw(lr, decay="weights"):
    return "adamw", dict(lr=lr, beta1=0.9, beta2=0.95, weight_decay=0.1, decay=decay)


def save(path, tensors):
    """The safetensors format, by hand: Debian has no package for it."""
    header, blobs, offset = {}, [], 0
    for name, t in tensors.items():
        kind = "I64" if t.dtype == torch.int64 else "F32"
        blob = t.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": kind, "shape": list(t.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        for blob in blobs:
            f.write(blob)


def load(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        kind = {"F32": torch.float32, "I64": torch.int64}[t["dtype"]]
        raw = bytearray(data[8 + n + begin:8 + n + end])
        tensors[name] = torch.frombuffer(raw, dtype=kind).reshape(t["shape"])
    return tensors


def relu_of_tokens(x):
    return F.relu(x.flatten(0, 1)).view(x.shape)


def draw_batches(case):
    kind, d = case.data
    if kind == "text":
        ids = torch.randint(0, d["classes"], (STEPS, d["batch"], d["block"] + 1))
        return [(t[:, :-1], t[:, 1:]) for t in ids]
    shape = d["batch"], d["channels"], d["size"], d["size"]
    return [(torch.randn(shape), torch.randint(0, d["classes"], (d["batch"],)))
            for _ in range(STEPS)]


def write_batches(path, batches):
    with open(path, "wb") as f:
        for x, y in batches:
            x = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
            f.write(x.contiguous().float().numpy().tobytes())
            f.write(y.contiguous().int().numpy().tobytes())


def run_driver(driver, case, state, batches, shifts):
    with tempfile.TemporaryDirectory() as folder:
        path = functools.partial(os.path.join, folder)
        save(path("weights.safetensors"), state)
        save(path("shifts.safetensors"), shifts)
        write_batches(path("batches"), batches)
        data = expression(case.data[0], dict(case.data[1], steps=STEPS))
        arguments = [driver, case.model, data, expression(*case.optimizer), folder]
        printed = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout
        with open(path("logits"), "rb") as f:
            logits = torch.frombuffer(bytearray(f.read()), dtype=torch.float32)
        return Result(list(map(float, printed.split())), logits.reshape(2, -1),
                      load(path("gradient.safetensors")), load(path("trained.safetensors")))


def is_weight(name, p):
    """What decay=weights is for: no bias and no norm, and none of the originals' exemptions."""
    return p.dim() > 1 and not name.endswith(EXEMPT)


def optimizer_of(model, rule, o):
    groups = [{"params": [p for name, p in model.named_parameters() if is_weight(name, p) == weights],
               "weight_decay": o["weight_decay"] if weights or o["decay"] == "all" else 0}
              for weights in (True, False)]
    if rule == "sgd":
        return torch.optim.SGD(groups, lr=o["lr"], momentum=o["momentum"])
    return torch.optim.AdamW(groups, lr=o["lr"], betas=(o["beta1"], o["beta2"]))


def infer(model, x):
    model.eval()
    with torch.no_grad():
        return model(x).flatten()


def shift_into_gap(x):
    """By channel of x [n][c]...: what to add so that zero lies in the middle of the nearest gap
    between values, if it is 1e-4 of their spread wide; or of a near and wide one."""
    rows = x.transpose(0, 1).flatten(1)
    nearest = rows.abs().topk(min(32, rows.shape[1]), largest=False)[1]
    near = rows.gather(1, nearest).sort(1)[0]
    width, middle = near.diff(dim=1), (near[:, 1:] + near[:, :-1]) / 2
    wanted = 1e-4 * rows.std(1, keepdim=True)
    best = (middle.abs() - 1e3 * torch.minimum(width, wanted)).argmin(1, keepdim=True)
    return -middle.gather(1, best).squeeze(1)


class Parted:
    """Within it a ReLU's values [n][c]... are shifted into a gap, by the bias of the layer that
    ran last; `shifts` keeps by how much, by the step and the bias."""

    def __init__(self, model):
        self.names = {m: name for name, m in model.named_modules()
                      if getattr(m, "bias", None) is not None}
        self.shifts, self.step, self.last, self.relu = {}, 0, None, F.relu

    def __enter__(self):
        self.hooks = [m.register_forward_hook(self.ran) for m in self.names]
        F.relu = self.shifted_relu

    def __exit__(self, *_):
        F.relu = self.relu
        for hook in self.hooks:
            hook.remove()
        self.step += 1

    def ran(self, module, *_):
        self.last = module

    def shifted_relu(self, x, inplace=False):
        shift = shift_into_gap(x.detach())
        with torch.no_grad():
            self.last.bias += shift
        self.shifts[f"{self.step}.{self.names[self.last]}.bias"] = shift
        return self.relu(x + shift.reshape(-1, *[1] * (x.dim() - 2)))


def run_torch(case, model, batches):
    """Its result, and the shifts."""
    logits, losses, gradient = [infer(model, batches[0][0])], [], {}
    model.train()
    optimizer, parted = optimizer_of(model, *case.optimizer), Parted(model)
    for x, y in batches:
        optimizer.zero_grad()
        with parted:
            loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        if not losses:
            gradient = {key: p.grad.clone() for key, p in model.named_parameters()}
        optimizer.step()
        losses.append(float(loss))
    logits.append(infer(model, batches[-1][0]))
    return Result(losses, logits, gradient, model.state_dict()), parted.shifts


def draw_vectors(model):
    """Scales and biases as training leaves them."""
    with torch.no_grad():
        for p in model.parameters():
            if p.numel() == max(p.shape):
                p.copy_(torch.randn(p.shape) * 0.1 + (1 if (p == 1).all() else 0))


def relative(a, b, least=1e-30):
    return float((a - b).norm()) / max(float(b.norm()), least)


def without_keys(name, t):
    """A key's bias changes no probability: its gradient is 0, and AdamW divides what rounding
    makes of it by its own size."""
    if not re.search(r"(c_attn\.|qkv\.|in_proj_)bias$", name):
        return t
    q, _, v = t.chunk(3)
    return torch.cat([q, v])


def update_distance(ours, theirs, before):
    """Of the trained weights' way from `before`."""
    apart = way = 0
    for key in theirs.gradient:
        here, there, start = (without_keys(key, t[key])
                              for t in (ours.weights, theirs.weights, before))
        apart += float((here - there).norm()) ** 2
        way += float((there - start).norm()) ** 2
    return math.sqrt(apart / way)


def distances(ours, theirs, before):
    """{what: {which: how far apart}}"""
    total = math.sqrt(sum(float(g.norm()) ** 2 for g in theirs.gradient.values()))
    steps = {f"loss {i + 1}": abs(p - q) / abs(q)
             for i, (p, q) in enumerate(zip(ours.losses, theirs.losses))}
    steps["logits"] = relative(ours.logits[1], theirs.logits[1])
    steps.update((key, relative(without_keys(key, ours.weights[key]), without_keys(key, t)))
                 for key, t in theirs.weights.items() if t.is_floating_point())
    return {"logits": {"logits": relative(ours.logits[0], theirs.logits[0])},
            "gradient": {key: relative(ours.gradient[key], g, 1e-4 * total)
                         for key, g in theirs.gradient.items()},
            "20 steps": steps,
            "update": {"all": update_distance(ours, theirs, before)}}


def same_tensors(ours, theirs):
    return (len(ours.losses) == len(theirs.losses) and set(ours.weights) == set(theirs.weights) and
            all(ours.weights[key].shape == t.shape for key, t in theirs.weights.items()))


def compare(driver, case):
    """The distances, or what is wrong."""
    torch.manual_seed(0)
    model, batches = case.make(), draw_batches(case)
    draw_vectors(model)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    theirs, shifts = run_torch(case, model, batches)
    ours = run_driver(driver, case, before, batches, shifts)
    if not same_tensors(ours, theirs):
        return "other tensors"
    return distances(ours, theirs, before)
