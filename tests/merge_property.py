"""Random merges of random checkpoints by the program, against plain merges in NumPy.

    merge_property.py PROGRAM ROUNDS [SEED]

Files are written and read here by the format's description, tensors as PyTorch sees their bytes.
A number may be off by half a unit in the last place of its type, which is what one rounding does; of
RegMean's linear layers also by what solving a linear system may do, see check_layer.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch

FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
OTHERS = {"I64": torch.int64, "I16": torch.int16, "U8": torch.uint8, "BOOL": torch.bool}
TYPES = {**FLOATS, **OTHERS}
DIGITS = {"F64": 53, "F32": 24, "F16": 11, "BF16": 8}
LEAST = {"F64": -1074, "F32": -149, "F16": -24, "BF16": -133}
NAMES = ["a.weight", "a.bias", "n.running_var", "n.num_batches_tracked", "\u03c0/\"x\"", "e",
         "long." * 20 + "w", "z.weight"]
METHODS = ["linear", "slerp", "task_arithmetic", "ties", "dare", "fisher", "swa", "plane",
           "regmean"]
SYSTEM = 4 * np.finfo(float).eps / 2  # of Cholesky's bound, times n (3 n + 1)
MOST_INPUTS = 200


# ---- files ----

def write_file(path, tensors, meta):
    header, parts, at = {"__metadata__": meta} if meta else {}, [], 0
    for name, (dtype, x) in tensors.items():
        raw = x.reshape(-1).view(torch.int16).numpy().tobytes() if dtype == "BF16" \
            else x.numpy().tobytes()
        header[name] = {"dtype": dtype, "shape": list(x.shape),
                        "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        parts.append(raw)
    text = json.dumps(header).encode("utf-8")
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def write_model(rng, path, tensors, meta):
    """One file, or a folder of shards with an index."""
    if rng.random() < 0.7:
        write_file(path + ".safetensors", tensors, meta)
        return path + ".safetensors"
    os.mkdir(path)
    names, index = list(tensors), {}
    n = int(rng.integers(1, 4))
    for k in range(n):
        part = {name: tensors[name] for name in names[k::n]}
        file = f"model-{k + 1:05}-of-{n:05}.safetensors"
        write_file(os.path.join(path, file), part, meta)
        index.update({name: file for name in part})
    with open(os.path.join(path, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"weight_map": index}, f)
    return path


def read_file(path):
    with open(path, "rb") as f:
        raw = f.read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length].decode("utf-8"))
    meta, data, tensors, at = header.pop("__metadata__", {}), raw[8 + length:], {}, 0
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = t["data_offsets"]
        assert begin == at, f"{name}: a gap or an overlap"
        at, count = end, int(np.prod(t["shape"], dtype=np.int64))
        x = torch.frombuffer(bytearray(data[begin:end]), dtype=TYPES[t["dtype"]]) if count \
            else torch.empty(0, dtype=TYPES[t["dtype"]])
        assert x.numel() == count, f"{name}: its size"
        tensors[name] = (t["dtype"], x.reshape(t["shape"]))
    assert at == len(data), "bytes behind the last tensor"
    return tensors, meta


def read_model(path):
    if not os.path.isdir(path):
        return read_file(path)
    files = sorted(f for f in os.listdir(path) if f.endswith(".safetensors"))
    tensors, meta = {}, {}
    for file in files:
        part, meta = read_file(os.path.join(path, file))
        assert not tensors.keys() & part.keys(), "a tensor is in two files"
        tensors.update(part)
    if len(files) > 1:
        with open(os.path.join(path, "model.safetensors.index.json"), encoding="utf-8") as f:
            index = json.load(f)["weight_map"]
        assert index.keys() == tensors.keys(), "the index"
    return tensors, meta


# ---- plain merges, of lists of float64 vectors ----

def all_equal(models):
    return np.all([m == models[0] for m in models], axis=0)


def linear(models, args):
    return sum(w * m for w, m in zip(args["weights"], models))


def slerp(models, args, counted):
    a, b = (np.concatenate([m[name] for name in counted] or [np.zeros(0)]) for m in models)
    length = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = a @ b / length if length else 1
    t, angle = args["t"], np.arccos(np.clip(cosine, -1, 1))
    if abs(cosine) > 0.9995:
        return 1 - t, t
    return np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)


def magnitudes(delta):
    return np.abs(delta.astype(np.float32))


def elect(deltas, undecided, aggregate):
    above, below = (sum(np.where(s * d > 0, s * d, 0) for d in deltas) for s in (1, -1))
    n_above, n_below = (sum((s * d > 0).astype(float) for d in deltas) for s in (1, -1))
    sign = np.where(above > below, 1, np.where(above < below, -1, undecided))
    total, voters = np.where(sign > 0, above, below), np.where(sign > 0, n_above, n_below)
    some = (sign != 0) & (voters > 0)
    value = sign * total / (np.where(some, voters, 1) if aggregate == "mean" else 1)
    return np.where(some, value, 0), above, below


def ties_least(model, base, names, keep):
    """The magnitude of the K-th largest entry of a task vector."""
    all_ = np.sort(magnitudes(np.concatenate([model[n] - base[n] for n in names])))[::-1]
    return all_[max(1, int(np.floor(keep * len(all_) + 0.5))) - 1]


def philox(counter, key):
    c, k, low = [np.uint64(0) + x for x in counter], list(key), np.uint64(0xffffffff)
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), q & low,
             (p >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), p & low]
        k = [(k[0] + 0x9E3779B9) & 0xffffffff, (k[1] + 0xBB67AE85) & 0xffffffff]
    return np.stack(c, axis=1).reshape(-1)


def dare_kept(name, n, model, args):
    (short,) = struct.unpack("<Q", hashlib.blake2b(name.encode("utf-8"), digest_size=16).digest()[:8])
    blocks = np.arange((n + 3) // 4, dtype=np.uint64)
    words = [blocks] + [np.full_like(blocks, w)
                        for w in (short & 0xffffffff, short >> 32, 10 << 20 ^ model)]
    drawn = philox(words, (args["seed"] & 0xffffffff, args["seed"] >> 32))[:n]
    return drawn >= np.round(args["drop"] * 2.0 ** 32)


def plane(models, args, counted):
    a, b, c = (np.concatenate([m[name] for name in counted] or [np.zeros(0)]) for m in models)
    u, v = b - a, c - a
    along = u @ v / (u @ u) if u @ u > 0 else 0
    length, rest = np.linalg.norm(u), np.linalg.norm(v - along * u)
    if length == 0 and rest == 0:
        return 0, 0, 0
    return along, args["x"], args["y"] * length / rest if args["y"] else 0


def merge_plainly(method, models, extra, args, names, buffers):
    counted = [n for n in names if n not in buffers]
    out, base = {}, extra[0] if extra else None
    least, sign = {}, {}
    scopes = [[n] for n in names] if args.get("scope") == "tensor" else [names]
    for group in scopes:
        ranked = [n for n in group if n not in buffers]
        for name in group:
            if method == "slerp":
                least[name] = slerp(models, args, ranked)
            elif method == "ties" and sum(base[n].size for n in ranked):
                least[name] = [ties_least(m, base, ranked, args["keep"]) for m in models]
        if method == "ties" and args["undecided"] == "majority":
            votes = 0
            for name in ranked:
                _, above, below = elect(trim(models, base, name, least.get(name), buffers), 0, "sum")
                votes += int(np.sum(np.sign(above - below)))
            sign.update({name: np.sign(votes) for name in group})
    for name in names:
        here = [m[name] for m in models]
        if method == "linear":
            average = abs(sum(args["weights"]) - 1) < 1e-9
            x = np.where(average & all_equal(here), here[0], linear(here, args))
        elif method in ("swa", "regmean"):  # layers that have Gram matrices are looked at apart
            x = np.where(all_equal(here), here[0], sum(here) / len(here))
        elif method == "slerp":
            x = least[name][0] * here[0] + least[name][1] * here[1]
        elif method == "task_arithmetic":
            x = base[name] + sum(s * (m - base[name]) for s, m in zip(args["scales"], here))
        elif method == "ties":
            kept = trim(models, base, name, least.get(name), buffers)
            x = base[name] + args["scale"] * elect(kept, sign.get(name, 0), args["aggregate"])[0]
        elif method == "dare":
            x = base[name] + dare(here, base[name], name, args, name in buffers)
        elif method == "fisher":
            f = [np.maximum(m[name], args["floor"]) for m in extra]
            total = sum(f)
            x = np.where(total > 0, sum(a * b for a, b in zip(f, here)) /
                         np.where(total > 0, total, 1), sum(here) / len(here))
        else:
            along, right, up = args["plane"] = args.get("plane") or plane(models, args, counted)
            u, v = here[1] - here[0], here[2] - here[0]
            x = here[0] + right * u + up * (v - along * u)
        out[name] = x
    return out


def trim(models, base, name, least, buffers):
    deltas = [m[name] - base[name] for m in models]
    if name in buffers or least is None:
        return deltas
    return [np.where(magnitudes(d) >= t, d, 0) for d, t in zip(deltas, least)]


def dare(models, base, name, args, buffer):
    deltas = [m - base for m in models]
    if not buffer and args["drop"] > 0:
        deltas = [np.where(dare_kept(name, d.size, k, args), d / (1 - args["drop"]), 0)
                  for k, d in enumerate(deltas)]
    if args["combine"] != "ties":
        return args["scale"] * sum(deltas)
    value, above, below = elect(deltas, 0, args["aggregate"])
    # What was divided is rounded, and that may decide an election.
    tied = (above > 0) & (np.abs(above - below) <= 1e-14 * above)
    return np.where(tied, np.nan, args["scale"] * value)


# ---- RegMean ----

def as_layer(x, first):
    """A weight as [out][in]."""
    x = x.to(torch.float64).numpy()
    return x.reshape(x.shape[0], -1).T if first else x.reshape(x.shape[0], -1)


def check_layer(name, dtype, got, models, grams, args):
    """x solves x S = B, S = sum G_k, B = sum D_k G_k, of what models D_k and the result x differ from the
    mean by.  By Cholesky's method with S = C H C, H's diagonal 1, it is off by

        |(x - true) C| <= cond(H) e |true C|,   e = 4 n (3 n + 1) u

    (Higham 2002, theorems 10.4 and 10.6); here as well, so that twice that is allowed.  Where S is
    singular x is one of many: then |x S - B| is small against what it is a sum of, by e, and inputs
    that no model has seen stay at the mean.  The result was rounded to its type once."""
    layers = [as_layer(m, args["first"]) for m in models]
    grams = [g.to(torch.float64).numpy() for g in grams]
    mean, n = sum(layers) / len(layers), grams[0].shape[0]
    scaled = [np.where(np.eye(n, dtype=bool), g, args["gram_scale"] * g) for g in grams]
    total = sum(scaled)
    right = sum((w - mean) @ g for w, g in zip(layers, scaled))
    got = as_layer(got, args["first"])
    c = np.sqrt(np.diag(total))
    e, seen = SYSTEM * n * (3 * n + 1), c > 0
    values = np.linalg.eigvalsh(total[np.ix_(seen, seen)] / np.outer(c[seen], c[seen]))
    half = 0.5 * unit_of(dtype, got) * (1 + 1e-6)
    unseen = np.abs(got - mean) <= half + 1e-15 * sum(np.abs(w) for w in layers)
    assert unseen[:, ~seen].all(), f"{name}: an input that was never seen is not at the mean"
    if seen.any() and values[0] > 1e-8 * values[-1]:
        h = total[np.ix_(seen, seen)] / np.outer(c[seen], c[seen])
        true = np.zeros_like(mean)
        true[:, seen] = np.linalg.solve(h, (right[:, seen] / c[seen]).T).T / c[seen]
        length = np.linalg.norm(true * c, axis=1, keepdims=True)
        allowed = half + 1e-15 * np.abs(mean) + \
            2 * values[-1] / values[0] * e * length / np.where(seen, c, 1)
        bad = np.abs(got - mean - true) > allowed
        assert not bad.any(), f"{name} ({dtype}): {bad.sum()} of {bad.size} weights are off"
        return
    x = got - mean
    size = np.abs(x) @ np.abs(total) + \
        sum(np.abs(w - mean) @ np.abs(g) for w, g in zip(layers, scaled))
    allowed = (half + 1e-15 * np.abs(mean)) @ np.abs(total) + e * np.max(size, initial=0)
    bad = np.abs(x @ total - right) > allowed
    assert not bad.any(), f"{name} ({dtype}): {bad.sum()} of {bad.size} products are off"


def draw_grams(rng, like, n, first):
    """X'X of some layers.  X is of whole numbers, so that all types hold it exactly; fewer samples than
    inputs and inputs that are always 0 make it singular."""
    files = [{} for _ in range(n)]
    for name, (shape, kind, _) in like.items():
        inputs = 0 if len(shape) < 2 else shape[0] if first else int(np.prod(shape[1:]))
        wanted = name == "a.weight" or rng.random() < 0.7
        if kind in OTHERS or 0 in shape or not 0 < inputs <= MOST_INPUTS or not wanted:
            continue
        few = rng.random() < 0.5
        rows = int(rng.integers(0, inputs // (2 * n) + 1 if few else 61))
        rows, dead = min(rows, 60), rng.random(inputs) < 0.1
        for file in files:
            x = rng.integers(-2, 3, (rows, inputs)) * ~dead  # entries up to 240: BF16 has 8 digits
            dtype = str(rng.choice(list(FLOATS)))
            file[name] = (dtype, torch.tensor(x.T @ x, dtype=TYPES[dtype]))
    return files


# ---- recipes ----

def draw_shape(rng):
    kind = rng.integers(0, 10)
    if kind == 0:
        return ()
    if kind == 1:
        return (int(rng.integers(0, 4)), 0, 3)
    if kind == 2:
        return (int(rng.integers(30001, 90000)),)
    return tuple(int(k) for k in rng.integers(1, 40, size=rng.integers(1, 4)))


def draw_model(rng, like, fisher):
    """A tensor of each name: some numbers equal to others', some zero, some of equal size."""
    model = {}
    for name, (shape, kind, fixed) in like.items():
        if kind in OTHERS:
            fresh = name.endswith("num_batches_tracked")
            model[name] = (kind, torch.tensor(rng.integers(0, 2, shape), dtype=TYPES[kind])
                           if fresh else fixed)
            continue
        dtype = str(rng.choice(list(FLOATS)))
        x = rng.normal(size=shape)
        x = np.where(rng.random(shape) < 0.4, np.round(8 * x) / 8, x)
        x = np.where(rng.random(shape) < 0.3, fixed.numpy(), x)
        x = np.abs(x) if fisher else x
        model[name] = (dtype, torch.tensor(x, dtype=TYPES[dtype]))
    return model


def draw_args(rng, method, n):
    args, options = {}, []

    def say(name, value):
        args[name] = value
        options.append(f"--{name.replace('_', '-')}={value}")

    def one_of(*words):
        return str(rng.choice(words))

    def number(low, high):
        return float(np.round(rng.uniform(low, high), 3))

    if method == "linear" and rng.random() < 0.4:
        args["weights"] = [1 / n] * n
    elif method == "linear":
        weights = [number(0.1, 1) for _ in range(n)]
        way = one_of("--as-given", "--normalize")
        args["weights"] = [w / (sum(weights) if way == "--normalize" else 1) for w in weights]
        options += ["--weights=" + ",".join(map(str, weights)), way]
    if method == "slerp":
        say("t", number(0, 1))
    if method in ("slerp", "ties"):
        say("scope", one_of("model", "tensor"))
    if method in ("ties", "dare"):
        say("scale", number(-1, 1.5))
        say("aggregate", one_of("mean", "sum"))
    if method == "task_arithmetic":
        args["scales"] = [number(-1, 1) for _ in range(n)]
        options.append("--scale=" + ",".join(map(str, args["scales"])))
    if method == "task_arithmetic" and n == 1:
        options[-1] = f"--scale={args['scales'][0]}"
    if method == "ties":
        say("keep", number(0.01, 1))
        say("undecided", one_of("neither", "majority"))
    if method == "dare":
        say("drop", number(0, 0.95))
        say("seed", int(rng.integers(0, 2 ** 53)))
        say("combine", one_of("sum", "ties"))
        if args["combine"] == "sum":
            options = [o for o in options if not o.startswith("--aggregate")]
    if method == "fisher":
        say("floor", one_of("0", "0.1"))
        args["floor"] = float(args["floor"])
    if method == "regmean":
        say("gram_scale", one_of("1", "1", "0.9", "0.1", "0"))
        args["gram_scale"], args["first"] = float(args["gram_scale"]), bool(rng.random() < 0.3)
        options += ["--inputs-first"] if args["first"] else []
    if method == "plane":
        say("x", number(-1, 2))
        say("y", number(-1, 2))
    return args, options


def unit_of(dtype, x):
    exponent = np.frexp(np.abs(x))[1] - DIGITS[dtype]
    return np.ldexp(1.0, np.maximum(exponent, LEAST[dtype]))


def check_numbers(name, dtype, got, wanted, size):
    allowed = 0.5 * unit_of(dtype, wanted) * (1 + 1e-6) + 1e-12 * size
    bad = ~(np.abs(got - wanted) <= allowed) & ~np.isnan(wanted)  # see dare
    if bad.any():
        k = int(np.argmax(bad))
        raise AssertionError(f"{name} ({dtype}) is {got[k]!r} at {k}, not {wanted[k]!r}")


def doubles(model):
    return {name: x.to(torch.float64).numpy().reshape(-1) for name, (dtype, x) in model.items()
            if dtype in FLOATS}


def one_round(program, folder, seed):
    rng = np.random.default_rng(seed)
    method = METHODS[seed % len(METHODS)]
    n = {"slerp": 2, "plane": 3}.get(method) or int(rng.integers(1, 5))
    like = {}
    for name in rng.permutation(NAMES)[:rng.integers(1, len(NAMES) + 1)]:
        whole = name.endswith("tracked") or rng.random() < 0.15
        kind = str(rng.choice(list(OTHERS))) if whole else "float"
        shape = draw_shape(rng)
        fixed = torch.tensor(rng.integers(0, 2, shape), dtype=TYPES[kind]) if whole \
            else torch.tensor(rng.normal(size=shape), dtype=torch.float32)
        like[str(name)] = (shape, kind, fixed)
    if method == "regmean":  # one layer at least
        shape = tuple(int(k) for k in rng.integers(1, 40, size=2))
        fixed = torch.tensor(rng.normal(size=shape), dtype=torch.float32)
        like["a.weight"] = (shape, "float", fixed)
    models = [draw_model(rng, like, False) for _ in range(n)]
    extra = [draw_model(rng, like, method == "fisher")
             for _ in range({"fisher": n, "ties": 1, "dare": 1, "task_arithmetic": 1}.get(method, 0))]
    args, options = draw_args(rng, method, n)
    if method == "regmean":
        extra = draw_grams(rng, like, n, args["first"])
    meta = {"format": "pt", "\u00e4": "\u00f6\n"} if rng.random() < 0.5 else {}
    paths = [write_model(rng, os.path.join(folder, f"m{k}"), m, meta)
             for k, m in enumerate(models + extra)]
    if method == "fisher":
        options.append("--fisher=" + ",".join(paths[n:]))
    elif method == "regmean":
        options.append("--gram=" + ",".join(paths[n:]))
    elif extra:
        options.append("--base=" + paths[n])
    dtype = str(rng.choice(list(FLOATS))) if rng.random() < 0.4 else None
    options += ["--dtype=" + dtype] if dtype else []
    out = os.path.join(folder, "out" if rng.random() < 0.3 else "out.safetensors")
    if not out.endswith(".safetensors"):
        options.append(f"--shard-size={int(rng.integers(1000, 100000))}")
    command = [program, "merge", method, *options, *paths[:n], "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if method == "plane" and done.returncode == 2 and "plane: " in done.stderr:
        return  # models by chance on a line
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    compare(method, models, extra, args, dtype, out, meta)


def compare(method, models, extra, args, dtype, out, meta):
    got, got_meta = read_model(out)
    assert got.keys() == models[0].keys(), "other names"
    assert json.loads(got_meta.pop("merged"))["method"] == method
    assert got_meta == meta, "other metadata"
    grams = extra if method == "regmean" else [{}]
    floats = [doubles(m) for m in models]
    others = [] if method == "regmean" else [doubles(m) for m in extra]
    names = list(floats[0])
    buffers = {n for n in names if n.endswith("running_var")}
    wanted = merge_plainly(method, floats, others, args, names, buffers)
    coefficient = max([1] + [abs(v) for v in args.values() if isinstance(v, float)])
    for name, (kind, first) in models[0].items():
        got_kind, x = got[name]
        assert x.shape == first.shape, f"{name}: other shape"
        assert got_kind == (dtype or kind if kind in FLOATS else kind), f"{name}: other type"
        if name in grams[0]:
            check_layer(name, got_kind, x, [m[name][1] for m in models],
                        [g[name][1] for g in grams], args)
        elif kind in FLOATS:
            size = sum(np.abs(m[name]) for m in floats + others) * coefficient * 20
            check_numbers(name, got_kind, x.to(torch.float64).numpy().reshape(-1), wanted[name],
                          size)
        else:
            assert torch.equal(x, first), f"{name}: not copied"


def main():
    program, rounds = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    for seed in range(first, first + rounds):
        with tempfile.TemporaryDirectory(prefix="mergescape-property-") as folder:
            try:
                one_round(program, folder, seed)
            except AssertionError as error:
                print(f"FAIL with seed {seed} ({METHODS[seed % len(METHODS)]}): {error}")
                return 1
    print(f"{rounds} merges agree")
    return 0


sys.exit(main())
