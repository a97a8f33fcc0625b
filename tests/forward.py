"""mergescape forward against PyTorch: torchvision's models and GPT-2 with Hugging Face's names,
in each type that weights come in. Logits must agree within 1e-4 of the largest.

Run by forward.sh:  forward.py path/to/mergescape
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import torch
import torchvision
from torch.nn import functional as F

TOLERANCE = 1e-4
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
          torch.float64: "F64", torch.int64: "I64"}


def save(path, tensors):
    """The safetensors format, by hand: Debian has no package for it."""
    header, blobs, offset = {}, [], 0
    for name, t in tensors.items():
        t = t.detach().contiguous()
        blob = (t.view(torch.int16) if t.dtype == torch.bfloat16 else t).numpy().tobytes()
        header[name] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load(path):
    """All tensors by their names."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header, types = json.loads(data[8:8 + n]), {name: t for t, name in DTYPES.items()}
    header.pop("__metadata__", None)
    return {name: torch.frombuffer(bytearray(data[8 + n + t["data_offsets"][0]:
                                                  8 + n + t["data_offsets"][1]]),
                                   dtype=types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}


def forward(program, folder, model, weights, x):
    """The logits, or None where the model is not available yet."""
    w, i, o = (os.path.join(folder, name + ".safetensors") for name in "wxy")
    save(w, weights)
    save(i, {"input": x})
    done = subprocess.run([program, "forward", "--model", model, "--weights", w, "--input", i,
                           "-o", o], capture_output=True, text=True)
    if "is not available yet" in done.stderr:
        return None
    if done.returncode:
        sys.exit(f"forward: {model}: exit status {done.returncode}: {done.stderr}")
    return load(o)["output"]


def compare(what, ours, theirs):
    if ours is None:
        print(f"{what}: not available yet; skipped")
        return True
    far = float((ours - theirs).abs().max() / theirs.abs().max())
    good = ours.shape == theirs.shape and far < TOLERANCE
    print(f"{what}: logits differ by {far:.1e}" + ("" if good else ": FAILED"))
    return good


def randomise(model):
    """Statistics and weights of a network that was trained, as far as sizes go."""
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.3)
            m.running_var.uniform_(0.5, 2)
        if isinstance(m, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.2)
    return model.eval()


def gpt2(t, ids, layers, heads):
    """GPT-2 by its tensors."""
    x = t["wte.weight"][ids] + t["wpe.weight"][:ids.shape[1]]
    n, tokens, c = x.shape
    mask = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    for k in range(layers):
        def linear(name, z):
            return z @ t[f"h.{k}.{name}.weight"] + t[f"h.{k}.{name}.bias"]

        def norm(name, z):
            return F.layer_norm(z, (c,), t[f"h.{k}.{name}.weight"], t[f"h.{k}.{name}.bias"])

        q, key, v = (z.view(n, tokens, heads, -1).transpose(1, 2)
                     for z in linear("attn.c_attn", norm("ln_1", x)).split(c, 2))
        p = (q @ key.transpose(2, 3) / math.sqrt(c / heads)).masked_fill(mask, -math.inf)
        x = x + linear("attn.c_proj", (p.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, c))
        u = linear("mlp.c_fc", norm("ln_2", x))
        u = u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u ** 3))) / 2
        x = x + linear("mlp.c_proj", u)
    head = t.get("lm_head.weight", t["wte.weight"])
    return F.layer_norm(x, (c,), t["ln_f.weight"], t["ln_f.bias"]) @ head.t()


def gpt2_tensors(vocabulary, block, c, layers):
    shapes = {"wte.weight": (vocabulary, c), "wpe.weight": (block, c),
              "ln_f.weight": (c,), "ln_f.bias": (c,)}
    for k in range(layers):
        for norm in ("ln_1", "ln_2"):
            shapes[f"h.{k}.{norm}.weight"] = shapes[f"h.{k}.{norm}.bias"] = (c,)
        for name, i, o in (("attn.c_attn", c, 3 * c), ("attn.c_proj", c, c),
                           ("mlp.c_fc", c, 4 * c), ("mlp.c_proj", 4 * c, c)):
            shapes[f"h.{k}.{name}.weight"], shapes[f"h.{k}.{name}.bias"] = (i, o), (o,)
    return {name: torch.randn(s) * 0.2 + (".ln_" in "." + name and name.endswith("weight"))
            for name, s in shapes.items()}


def vit_b_16(num_classes):
    model = torchvision.models.vit_b_16(num_classes=num_classes, image_size=80)
    model.heads.head.weight.data.normal_(0, 0.1)  # torchvision begins at zero
    return model


def vit_positions(program, folder):
    """Positions for other images than ours: resampled as timm does it."""
    good = True
    for ours, theirs in ((80, 112), (112, 80)):
        small, model = (randomise(torchvision.models.vit_b_16(num_classes=7, image_size=size))
                        for size in (ours, theirs))
        small.heads.head.weight.data.normal_(0, 0.1)
        small.encoder.pos_embedding.data.normal_(0, 0.5)
        weights = small.state_dict()
        first, grid = weights["encoder.pos_embedding"].split([1, (ours // 16) ** 2], 1)
        grid = grid.reshape(1, ours // 16, ours // 16, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(theirs // 16,) * 2, mode="bicubic", antialias=True)
        grid = grid.permute(0, 2, 3, 1).flatten(1, 2)
        model.load_state_dict({**weights, "encoder.pos_embedding": torch.cat([first, grid], 1)})
        x = torch.randn(2, 3, theirs, theirs)
        with torch.no_grad():
            logits = model(x)
        good &= compare(f"vit_b_16 of {ours} pixels on {theirs}",
                        forward(program, folder, "vit_b_16", weights, x), logits)
    return good


def timm_convnext(name, t):
    """A tensor of torchvision's ConvNeXt as timm names and shapes it."""
    part = name.split(".")
    if part[0] == "classifier":
        return f"head.{'norm' if part[1] == '0' else 'fc'}.{part[2]}", t
    stage, odd = divmod(int(part[1]), 2)
    if not odd:
        return ".".join((f"stages.{stage}.downsample" if stage else "stem", *part[2:])), t
    block = f"stages.{stage}.blocks.{part[2]}"
    if part[3] == "layer_scale":
        return f"{block}.gamma", t.flatten()
    inside = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}
    return f"{block}.{inside[part[4]]}.{part[5]}", t


def convnext_of_timm(program, folder):
    model = randomise(torchvision.models.convnext_tiny(num_classes=9))
    weights = dict(timm_convnext(name, t) for name, t in model.state_dict().items())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs = model(x)
    return compare("convnext_tiny with timm's names",
                   forward(program, folder, "convnext_tiny", weights, x), theirs)


def vision(program, folder):
    models = torchvision.models
    cases = [("resnet18(stem = imagenet)", models.resnet18, 224, 2, torch.float32),
             ("resnet18(stem = imagenet)", models.resnet18, 65, 9, torch.float16),
             ("densenet121(stem = imagenet)", models.densenet121, 97, 2, torch.bfloat16),
             ("convnext_tiny", models.convnext_tiny, 96, 2, torch.float64),
             ("vit_b_16", vit_b_16, 80, 3, torch.float32)]
    good = True
    for text, make, size, n, dtype in cases:
        model = randomise(make(num_classes=37))
        weights = {k: v.to(dtype) if v.is_floating_point() else v
                   for k, v in model.state_dict().items()}
        model.load_state_dict({k: v.float() if v.is_floating_point() else v
                               for k, v in weights.items()})
        weights = {"module." + k: v for k, v in weights.items()}
        x = torch.randn(n, 3, size, size)
        with torch.no_grad():
            theirs = model(x)
        good &= compare(f"{text}, {size} pixels, {DTYPES[dtype]}",
                        forward(program, folder, text, weights, x), theirs)
    return good


def language(program, folder):
    vocabulary, block, c, layers, heads = 301, 48, 96, 3, 6
    text = f"gpt(width = {c}, layers = {layers}, heads = {heads})"
    tensors = gpt2_tensors(vocabulary, block, c, layers)
    ids = torch.randint(0, vocabulary, (5, 33))
    theirs = gpt2(tensors, ids, layers, heads)
    masks = {f"h.{k}.attn.bias": torch.ones(1, 1, block, block).tril() for k in range(layers)}
    masks.update({f"h.{k}.attn.masked_bias": torch.tensor(-1e4) for k in range(layers)})
    with_head = {"transformer." + k: v for k, v in tensors.items()}
    with_head["lm_head.weight"] = tensors["wte.weight"]
    good = compare("GPT2Model's names", forward(program, folder, text, {**tensors, **masks}, ids),
                   theirs)
    return good & compare("GPT2LMHeadModel's names",
                          forward(program, folder, text, with_head, ids), theirs)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        good = vision(sys.argv[1], folder)
        good &= vit_positions(sys.argv[1], folder)
        good &= convnext_of_timm(sys.argv[1], folder)
        good &= language(sys.argv[1], folder)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
