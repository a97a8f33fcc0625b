"""The engine and PyTorch from the same weights on the same batches must agree: logits,
the first gradients, and 20 steps of SGD or AdamW (losses, final weights, running statistics).

A value within a rounding error of zero may fall on either side of a ReLU; from
there the two runs part, as two runs of PyTorch do whose weights differ in the
last bit (10 of 20 did), and the faster the wider the network and the larger the learning
rate.  So where the two are too far apart, PyTorch in double precision decides: the engine
may not be farther from it than a few times PyTorch's own distance.  With two images a
single such value shows; so with one of several seeds all must agree, and with every seed
the logits and the first loss.

Run by parity.sh:  parity.py path/to/parity_driver [all]
`all` adds the paper's sizes, with two images.
"""
import copy
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F

try:
    import torchvision.models as zoo
except ImportError:
    zoo = None

STEPS, BATCH, SEEDS = 20, 16, 8
LOGITS, GRADIENTS, TRAINED = 1e-4, 1e-3, 1e-3
CHANCE = 5  # how much farther from the truth than PyTorch bad luck may take us


def save(path, tensors):
    """The safetensors format, by hand: Debian has no package for it."""
    header, blobs, offset = {}, [], 0
    for name, t in tensors.items():
        kind = "I64" if t.dtype == torch.int64 else "F32"
        blob = t.contiguous().numpy().tobytes()
        header[name] = {"dtype": kind, "shape": list(t.shape),
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
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        kind = {"F32": torch.float32, "I64": torch.int64}[t["dtype"]]
        raw = bytearray(data[8 + n + begin:8 + n + end])
        tensors[name] = torch.frombuffer(raw, dtype=kind).reshape(t["shape"])
    return tensors


class Block(nn.Module):
    """torchvision's BasicBlock, with its names."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False),
                                            nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, width, stages, blocks, channels, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.stages, i = stages, width
        for k in range(stages):
            layer = []
            for j in range(blocks):
                layer.append(Block(i, width << k, 2 if k and not j else 1))
                i = width << k
            setattr(self, f"layer{k + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(i, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for k in range(self.stages):
            x = getattr(self, f"layer{k + 1}")(x)
        return self.fc(x.mean((2, 3)))


class MLP(nn.Module):
    def __init__(self, width, layers, channels, size, classes):
        super().__init__()
        i, self.layers = channels * size * size, layers
        for k in range(layers):
            setattr(self, f"fc{k + 1}", nn.Linear(i, width))
            i = width
        setattr(self, f"fc{layers + 1}", nn.Linear(i, classes))

    def forward(self, x):
        x = x.flatten(1)
        for k in range(self.layers):
            x = F.relu(getattr(self, f"fc{k + 1}")(x))
        return getattr(self, f"fc{self.layers + 1}")(x)


def small_stem(features, conv, pool, channels, width):
    setattr(features, conv, nn.Conv2d(channels, width, 3, 1, 1, bias=False))
    setattr(features, pool, nn.Identity())


def torchvision_resnet(stem, channels, classes):
    net = zoo.resnet18(num_classes=classes)
    net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    if stem == "cifar":
        small_stem(net, "conv1", "maxpool", channels, 64)
    return net


def torchvision_densenet(stem, growth, layers, channels, classes):
    net = zoo.DenseNet(growth, layers, 2 * growth, 4, num_classes=classes)
    net.features.conv0 = nn.Conv2d(channels, 2 * growth, 7, 2, 3, bias=False)
    if stem == "cifar":
        small_stem(net.features, "conv0", "pool0", channels, 2 * growth)
    return net


def differ(a, b):
    return float((a - b).norm() / max(float(b.norm()), 1e-12))


def run_driver(driver, name, state, x, y, options):
    """Losses, final tensors, first gradients, logits before and after."""
    with tempfile.TemporaryDirectory() as folder:
        weights, batches, result = (os.path.join(folder, n) for n in ("w", "b", "r"))
        save(weights, state)
        with open(batches, "wb") as f:
            for images, labels in zip(x, y):
                f.write(images.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
                f.write(labels.to(torch.int32).numpy().tobytes())
        arguments = [driver, name, *(f"{k}={v}" for k, v in options.items()), weights, batches,
                     result]
        printed = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout
        with open(result + ".logits", "rb") as f:
            logits = torch.frombuffer(bytearray(f.read()), dtype=torch.float32)
        return (list(map(float, printed.split())), load(result), load(result + ".grad"),
                logits.reshape(2, options["batch"], -1))


def optimizer_of(model, options):
    """SGD, or AdamW that spares norms and biases."""
    if options.get("optimizer") != "adamw":
        return torch.optim.SGD(model.parameters(), lr=options["lr"], momentum=0.9,
                               weight_decay=5e-4)
    groups = [{"params": [p for p in model.parameters() if (p.dim() >= 2) == decays],
               "weight_decay": 0.1 if decays else 0.0} for decays in (True, False)]
    return torch.optim.AdamW(groups, lr=options["lr"], betas=(0.9, 0.95))


def run_torch(model, x, y, options):
    """What run_driver returns, of PyTorch in the model's precision."""
    model.eval()
    with torch.no_grad():
        logits = [model(x[0])]
    model.train()
    optimizer = optimizer_of(model, options)
    losses, gradient = [], {}
    for images, labels in zip(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        if not losses:
            gradient = {key: p.grad.clone() for key, p in model.named_parameters()}
        optimizer.step()
        losses.append(float(loss))
    model.eval()
    with torch.no_grad():
        logits.append(model(x[-1]))
    return losses, model.state_dict(), gradient, logits


def distances(a, b):
    """Of two runs' results, by name: (how far apart, how far they may be)."""
    total = math.sqrt(sum(float(g.norm()) ** 2 for g in b[2].values()))
    found = {"logits": (differ(a[3][0], b[3][0]), LOGITS),
             "the last logits": (differ(a[3][1], b[3][1]), TRAINED)}
    for i, (p, q) in enumerate(zip(a[0], b[0])):
        found[f"loss {i + 1}"] = abs(p - q) / abs(q), TRAINED if i else LOGITS
    for key, g in b[2].items():
        # What a later norm undoes has a gradient of 0, and rounding errors in its place.
        least = max(float(g.norm()), 1e-4 * total)
        found["gradient of " + key] = float((a[2][key] - g).norm()) / least, GRADIENTS
    for key, value in b[1].items():
        if value.is_floating_point():
            # A bias that began at 0 counts as a small weight.
            least = max(float(value.norm()), 0.01 * math.sqrt(value.numel()))
            found[key] = float((a[1][key] - value).norm()) / least, TRAINED
    return found


def compare(driver, name, model, options):
    """PyTorch in double precision is asked only where the two in single precision part."""
    steps, batch, size = (options[k] for k in ("steps", "batch", "size"))
    x = torch.randn(steps, batch, options["channels"], size, size)
    y = torch.randint(0, options["classes"], (steps, batch))
    exact = copy.deepcopy(model).double()
    ours = run_driver(driver, name, model.state_dict(), x, y, options)
    theirs = run_torch(model, x, y, options)
    text = name + " " + " ".join(f"{k}={v}" for k, v in options.items())
    if set(ours[1]) != set(theirs[1]) or len(ours[0]) != len(theirs[0]) or any(
            ours[1][key].shape != value.shape for key, value in theirs[1].items()):
        print(f"{text}: FAILED: other tensors")
        return False
    found = distances(ours, theirs)
    most = {kind: max(d for key, (d, _) in found.items() if re.match(kind, key))
            for kind in ("logits", "gradient", "loss")}
    tensors = max(found[key][0] for key in theirs[1] if key in found)
    bad = [key for key, (d, limit) in found.items() if not d < limit]
    print(f"{text}: logits differ by {most['logits']:.1e}, gradients by {most['gradient']:.1e}, "
          f"losses by {most['loss']:.1e}, tensors in the end by {tensors:.1e}", flush=True)
    if bad:
        exact = run_torch(exact, x.double(), y, options)
        near, far = distances(ours, exact), distances(theirs, exact)
        still = [key for key in bad if not near[key][0] < max(near[key][1], CHANCE * far[key][0])]
        worst = max(bad, key=lambda key: found[key][0])
        print(f"  {len(bad)} apart, {worst} most; from double precision, it is "
              f"{near[worst][0]:.1e} off here and {far[worst][0]:.1e} in PyTorch"
              + (f": too much at {', '.join(still[:4])}" if still else ""), flush=True)
        if "logits" in bad or "loss 1" in bad:
            sys.exit(f"{name}: FAILED: that is no chance")
        return not still
    return True


def agrees(driver, name, make, steps=STEPS, batch=BATCH, lr=0.05, **options):
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        if compare(driver, name, make(), dict(options, batch=batch, steps=steps, lr=lr)):
            return True
    print(f"{name}: FAILED with {SEEDS} seeds")
    return False


def small(driver):
    good = agrees(driver, "resnet18", lambda: ResNet(8, 3, 1, 2, 20),
                     width=8, stages=3, blocks=1, channels=2, size=14, classes=20)
    good &= agrees(driver, "resnet18", lambda: ResNet(12, 2, 2, 3, 10),
                      width=12, stages=2, blocks=2, channels=3, size=9, classes=10)
    good &= agrees(driver, "mlp", lambda: MLP(48, 2, 3, 7, 10),
                      width=48, layers=2, channels=3, size=7, classes=10)
    good &= agrees(driver, "mlp", lambda: MLP(48, 2, 3, 7, 10), lr=1e-3, optimizer="adamw",
                      width=48, layers=2, channels=3, size=7, classes=10)
    good &= agrees(driver, "resnet18", lambda: ResNet(8, 3, 1, 2, 20), lr=1e-4, optimizer="adamw",
                      width=8, stages=3, blocks=1, channels=2, size=14, classes=20)
    if not zoo:
        print("parity: torchvision is not installed (Debian: python3-torchvision); its networks "
              "are skipped")
        return good
    for stem, size in ("cifar", 12), ("imagenet", 40):
        good &= agrees(driver, "resnet18", lambda: torchvision_resnet(stem, 3, 10), lr=1e-4,
                          stem=stem, channels=3, size=size, classes=10)
        good &= agrees(driver, "densenet121",
                          lambda: torchvision_densenet(stem, 12, (3, 3, 3), 2, 20),
                          lr=1e-3, stem=stem, growth=12, stages=3, layers=3, channels=2, size=size,
                          classes=20)
    good &= agrees(driver, "densenet121",
                      lambda: torchvision_densenet("cifar", 4, (2, 2), 1, 10),
                      growth=4, stages=2, layers=2, channels=1, size=14, classes=10)
    return good


def paper(driver):
    layers, good = (6, 12, 24, 16), True
    for stem, size in ("cifar", 64), ("imagenet", 224):
        good &= agrees(driver, "resnet18", lambda: torchvision_resnet(stem, 3, 200), 20, 2, 1e-4,
                          stem=stem, channels=3, size=size, classes=200)
        good &= agrees(driver, "densenet121",
                          lambda: torchvision_densenet(stem, 32, layers, 3, 200), 20, 2,
                          1e-4,
                          stem=stem, channels=3, size=size, classes=200)
    return good


def main():
    torch.set_num_threads(1)
    good = small(sys.argv[1])
    if sys.argv[2:] == ["all"] and zoo:
        good &= paper(sys.argv[1])
    sys.exit(0 if good else 1)


main()
