"""What the program writes of networks, in PyTorch: a file that loads strictly, and what it computes.

Run by matched.sh:  matched.py path/to/mergescape
"""
import os
import subprocess
import sys
import tempfile

import torch
from torchvision.models.vision_transformer import VisionTransformer

from forward import compare, gpt2, gpt2_tensors, load, randomise, save


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
    model = "--model=vit_b_16(width = 24, layers = 2, heads = 3, patch = 8)"
    good = True
    for options in (["--symmetries=general", "--canonical-a=" + program.file("canonical")], []):
        matched.load_state_dict(program.run("merge", "weight_matching", model, *options,
                                            program.file("a"), program.file("b")))
        with torch.no_grad():
            good &= compare(f"vit_b_16, OUT {' '.join(options[:1])}", matched(x), b(x))
    matched.load_state_dict(load(program.file("canonical")))
    with torch.no_grad():
        return good & compare("vit_b_16, A in canonical form", matched(x), a(x))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        program = Program(os.path.abspath(sys.argv[1]), folder)
        for part in (language, vision):
            good &= part(program)
    sys.exit(0 if good else 1)


main()
