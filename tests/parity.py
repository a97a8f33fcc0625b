"""20 SGD steps of the engine and of PyTorch from the same weights on the same
batches must agree: losses, final weights, running statistics, inference.

A value within a rounding error of zero may fall on either side of a ReLU; from
there the two runs part, as two runs of PyTorch do whose weights differ in the
last bit (10 of 20 did).  So several seeds are
tried: the first losses must agree with every seed, and all else with one.

Run by parity.sh:  parity.py path/to/parity_driver
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS, BATCH, TOLERANCE, SEEDS = 20, 16, 1e-4, 8


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


def differ(a, b):
    return float((a - b).norm() / max(float(b.norm()), 1e-12))


def compare(driver, name, model, shape):
    """shape: width, stages, blocks, layers, channels, size, classes."""
    channels, size, classes = shape[4:]
    x = torch.randn(STEPS, BATCH, channels, size, size)
    y = torch.randint(0, classes, (STEPS, BATCH))
    with tempfile.TemporaryDirectory() as folder:
        weights, batches, result = (os.path.join(folder, n) for n in ("w", "b", "r"))
        save(weights, model.state_dict())
        with open(batches, "wb") as f:
            for s in range(STEPS):
                f.write(x[s].permute(0, 2, 3, 1).contiguous().numpy().tobytes())
                f.write(y[s].to(torch.int32).numpy().tobytes())
        arguments = [driver, name, *map(str, shape), str(BATCH), str(STEPS), weights, batches, result]
        printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        ours, final = list(map(float, printed.split())), load(result)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    theirs = []
    for s in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[s]), y[s])
        loss.backward()
        optimizer.step()
        theirs.append(float(loss))
    model.eval()
    with torch.no_grad():
        theirs.append(float((model(x[-1]) ** 2).sum()))
    apart = [abs(a - b) / abs(b) for a, b in zip(ours, theirs)]
    bad = [] if max(apart) < TOLERANCE and len(ours) == len(theirs) else ["a loss"]
    state, far = model.state_dict(), 0.0
    if set(final) != set(state) or not max(apart[:2]) < TOLERANCE:
        sys.exit(f"{name}: FAILED: other tensors, or the first losses differ: {apart}")
    for key, value in state.items():
        if value.dtype == torch.float32:
            d = differ(final[key], value)
            far = max(far, d)
            if final[key].shape != value.shape or not d < TOLERANCE:
                bad.append(key)
    print(f"{name}: losses and logits differ by at most {max(apart):.1e}, tensors by {far:.1e}"
          + (f": too much at {', '.join(bad)}" if bad else ""))
    return not bad


def some_seed(driver, name, make, shape):
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        if compare(driver, name, make(), shape):
            return True
    print(f"{name}: FAILED with {SEEDS} seeds")
    return False


def main():
    torch.set_num_threads(1)
    driver = sys.argv[1]
    good = some_seed(driver, "resnet18", lambda: ResNet(8, 3, 1, 2, 20), (8, 3, 1, 0, 2, 14, 20))
    good &= some_seed(driver, "resnet18", lambda: ResNet(12, 2, 2, 3, 10), (12, 2, 2, 0, 3, 9, 10))
    good &= some_seed(driver, "mlp", lambda: MLP(48, 2, 3, 7, 10), (48, 0, 0, 2, 3, 7, 10))
    sys.exit(0 if good else 1)


main()
