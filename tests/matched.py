"""What the program writes of networks, in PyTorch: a file that loads strictly, and what it computes.

Run by matched.sh:  matched.py path/to/mergescape
"""
import os
import subprocess
import sys
import tempfile

import torch
import torchvision
from torch.nn import functional as F
from torchvision.models.vision_transformer import VisionTransformer

from forward import compare, gpt2, gpt2_tensors, load, randomise, save


VIT = "--model=vit_b_16(width = 24, layers = 2, heads = 3, patch = 8)"


class Program:
    """Runs it on files in a folder."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def file(self, name):
        return os.path.join(self.folder, name + ".safetensors")

    def run(self, *arguments, out="out"):
        command = [self.path, *arguments, "-q", "-o", self.file(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.returncode}: {done.stderr}")
        return load(self.file(out))


def language(program):
    """GPT2LMHeadModel's names, and a head that is no longer tied."""
    c, layers, heads = 48, 2, 4
    a, b = (gpt2_tensors(61, 16, c, layers) for _ in range(2))
    ids = torch.randint(0, 61, (5, 16))
    save(program.file("a"), {"transformer." + k: v for k, v in a.items()})
    save(program.file("b"), b)
    out = program.run("merge", "weight_matching", "--symmetries=general",
                      f"--model=gpt(width = {c}, layers = {layers}, heads = {heads})",
                      "--canonical-a=" + program.file("canonical"), program.file("a"),
                      program.file("b"))
    good = True
    for what, file, own in (("OUT", out, b), ("A", load(program.file("canonical")), a)):
        assert {k.removeprefix("transformer.") for k in file} == {"lm_head.weight", *own}, file
        now = {k.removeprefix("transformer."): v for k, v in file.items()}
        good &= compare(f"gpt, {what} in canonical form", gpt2(now, ids, layers, heads),
                        gpt2(own, ids, layers, heads))
    return good


def vit(num_classes=7):
    model = VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24,
                              mlp_dim=96, num_classes=num_classes)
    model.heads.head.weight.data.normal_(0, 0.3)
    return randomise(model)


def vision(program):
    """torchvision's names stay, so that its own model loads the file."""
    a, b, matched = vit(), vit(), vit()
    x = torch.randn(6, 3, 32, 32)
    save(program.file("a"), a.state_dict())
    save(program.file("b"), b.state_dict())
    good = True
    for options in (["--symmetries=general", "--canonical-a=" + program.file("canonical")], []):
        matched.load_state_dict(program.run("merge", "weight_matching", VIT, "--shape=3x32x32",
                                            *options,
                                            program.file("a"), program.file("b")))
        with torch.no_grad():
            good &= compare(f"vit_b_16, OUT {' '.join(options[:1])}", matched(x), b(x))
    matched.load_state_dict(load(program.file("canonical")))
    with torch.no_grad():
        return good & compare("vit_b_16, A in canonical form", matched(x), a(x))


def far(what, ours, theirs):
    """By the largest of each tensor."""
    most = max(float((ours[name].double() - t.double()).abs().max() / t.double().abs().max())
               for name, t in theirs.items())
    print(f"{what}: differs by {most:.1e}" + ("" if most < 1e-4 else ": FAILED"))
    return most < 1e-4


def fisher(program):
    """Squares of each sample's gradient, by automatic differentiation."""
    model, x, labels = vit(), torch.randn(5, 3, 32, 32), torch.randint(0, 7, (5,))
    wanted = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for k in range(5):
        model.zero_grad()
        F.cross_entropy(model(x[k:k + 1]), labels[k:k + 1]).backward()
        for name, p in model.named_parameters():
            wanted[name] += p.grad ** 2 / 5
    save(program.file("a"), model.state_dict())
    save(program.file("x"), {"input": x, "labels": labels})
    ours = program.run("fisher", VIT, "--expectation=empirical", "--input=" + program.file("x"),
                       program.file("a"))
    assert ours.keys() == wanted.keys()
    return far("vit_b_16, Fisher matrix", ours, wanted)


def gram(program):
    """Products of what linear layers read."""
    model, x, wanted, hooks = vit(), torch.randn(5, 3, 32, 32), {}, []
    first = "encoder.layers.encoder_layer_0.mlp."
    for name, layer in model.named_modules():
        def look(_, read, __, name=name + ".weight"):
            rows = read[0].flatten(0, -2).double()
            wanted[name] = rows.t() @ rows
        if name in (first + "0", first + "3", "heads.head"):
            hooks.append(layer.register_forward_hook(look))
    with torch.no_grad():
        model(x)
    save(program.file("a"), model.state_dict())
    save(program.file("x"), {"input": x})
    ours = program.run("gram", VIT, "--input=" + program.file("x"), program.file("a"))
    assert len(wanted) == 3
    return far("vit_b_16, Gram matrices", ours, wanted)


def statistics(program):
    """torch.optim.swa_utils.update_bn on one batch."""
    model, x = randomise(torchvision.models.resnet18(num_classes=5)), torch.randn(12, 3, 64, 64)
    save(program.file("a"), model.state_dict())
    save(program.file("x"), {"input": x})
    ours = program.run("recalibrate", "--model=resnet18(stem = imagenet)",
                       "--input=" + program.file("x"), program.file("a"))
    torch.optim.swa_utils.update_bn([x], model)
    theirs = {name: t for name, t in model.state_dict().items() if t.is_floating_point()}
    good = far("resnet18, running statistics", ours, theirs)
    other = torchvision.models.resnet18(num_classes=5)
    other.load_state_dict(ours)
    model.eval(), other.eval()
    with torch.no_grad():
        return good & compare("resnet18, recalibrated", other(x), model(x))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        program = Program(os.path.abspath(sys.argv[1]), folder)
        for part in (language, vision, fisher, gram, statistics):
            good &= part(program)
    sys.exit(0 if good else 1)


main()
