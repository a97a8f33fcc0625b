"""The engine and PyTorch from the same weights on the same batches must agree: logits,
the first gradients, and 20 SGD steps (losses, final weights, running statistics).

A value within a rounding error of zero may fall on either side of a ReLU; from
there the two runs part, as two runs of PyTorch do whose weights differ in the
last bit (10 of 20 did), and the faster the wider the network and the larger the learning
rate.  So several seeds are tried: logits and the first losses must agree with every
seed, and all else with one; and wide networks learn slowly.

Run by parity.sh:  parity.py path/to/parity_driver [all]
`all` adds the paper's sizes, with two images.
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

try:
    import torchvision.models as zoo
except ImportError:
    zoo = None

STEPS, BATCH, SEEDS = 20, 16, 8
LOGITS, GRADIENTS, TRAINED = 1e-4, 1e-3, 1e-3


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


def compare(driver, name, model, options):
    """Returns what differs too much; ends where that cannot be chance."""
    steps, batch, size = (options[k] for k in ("steps", "batch", "size"))
    x = torch.randn(steps, batch, options["channels"], size, size)
    y = torch.randint(0, options["classes"], (steps, batch))
    ours, final, gradient, logits = run_driver(driver, name, model.state_dict(), x, y, options)
    model.eval()
    with torch.no_grad():
        before = differ(logits[0], model(x[0]))
    model.train()
    total = math.sqrt(sum(float(gradient[key].norm()) ** 2 for key, _ in model.named_parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=options["lr"], momentum=0.9, weight_decay=5e-4)
    theirs, bad, steep = [], [], 0.0
    for s in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[s]), y[s])
        loss.backward()
        for key, p in model.named_parameters() if s == 0 else ():
            # What a later norm undoes has a gradient of 0, and rounding errors in its place.
            d = float((gradient[key] - p.grad).norm()) / max(float(p.grad.norm()), 1e-4 * total)
            steep = max(steep, d)
            bad += [] if d < GRADIENTS else [f"gradient of {key} ({d:.1e})"]
        optimizer.step()
        theirs.append(float(loss))
    apart = [abs(a - b) / abs(b) for a, b in zip(ours, theirs)]
    bad += [] if max(apart) < TRAINED else [f"a loss ({max(apart):.1e})"]
    state, far = model.state_dict(), 0.0
    if set(final) != set(state) or len(ours) != len(theirs) or not before < LOGITS \
            or not max(apart[:2]) < LOGITS:
        sys.exit(f"{name}: FAILED: other tensors, or the first logits or losses differ: "
                 f"{before}, {apart}")
    for key, value in state.items():
        if value.dtype == torch.float32:
            # A bias that began at 0 counts as a small weight.
            least = 0.01 * math.sqrt(value.numel())
            d = float((final[key] - value).norm()) / max(float(value.norm()), least)
            far = max(far, d)
            if final[key].shape != value.shape or not d < TRAINED:
                bad.append(f"{key} ({d:.1e})")
    model.eval()
    with torch.no_grad():
        after = differ(logits[1], model(x[-1]))
    bad += [] if after < TRAINED else [f"the last logits ({after:.1e})"]
    text = " ".join(f"{k}={v}" for k, v in options.items() if k not in ("batch", "steps"))
    print(f"{name} {text}: logits differ by {before:.1e}, gradients by {steep:.1e}, after {steps} "
          f"steps losses by {max(apart):.1e}, tensors by {far:.1e}, logits by {after:.1e}"
          + (f": too much at {len(bad)}: {', '.join(bad[:4])}" if bad else ""), flush=True)
    return not bad


def some_seed(driver, name, make, steps=STEPS, batch=BATCH, lr=0.05, **options):
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        if compare(driver, name, make(), dict(options, batch=batch, steps=steps, lr=lr)):
            return True
    print(f"{name}: FAILED with {SEEDS} seeds")
    return False


def small(driver):
    good = some_seed(driver, "resnet18", lambda: ResNet(8, 3, 1, 2, 20),
                     width=8, stages=3, blocks=1, channels=2, size=14, classes=20)
    good &= some_seed(driver, "resnet18", lambda: ResNet(12, 2, 2, 3, 10),
                      width=12, stages=2, blocks=2, channels=3, size=9, classes=10)
    good &= some_seed(driver, "mlp", lambda: MLP(48, 2, 3, 7, 10),
                      width=48, layers=2, channels=3, size=7, classes=10)
    if not zoo:
        print("parity: torchvision is not installed (Debian: python3-torchvision); its networks "
              "are skipped")
        return good
    for stem, size in ("cifar", 12), ("imagenet", 40):
        good &= some_seed(driver, "resnet18", lambda: torchvision_resnet(stem, 3, 10), lr=1e-4,
                          stem=stem, channels=3, size=size, classes=10)
        good &= some_seed(driver, "densenet121",
                          lambda: torchvision_densenet(stem, 12, (3, 3, 3), 2, 20),
                          lr=1e-3, stem=stem, growth=12, stages=3, layers=3, channels=2, size=size,
                          classes=20)
    good &= some_seed(driver, "densenet121",
                      lambda: torchvision_densenet("cifar", 4, (2, 2), 1, 10),
                      growth=4, stages=2, layers=2, channels=1, size=14, classes=10)
    return good


def paper(driver):
    layers, good = (6, 12, 24, 16), True
    for stem, size in ("cifar", 64), ("imagenet", 224):
        good &= some_seed(driver, "resnet18", lambda: torchvision_resnet(stem, 3, 200), 20, 2, 1e-4,
                          stem=stem, channels=3, size=size, classes=200)
        good &= some_seed(driver, "densenet121",
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
