#!/usr/bin/env python3
"""bench/throughput against another program that takes the same arguments and prints such a line
(PyTorch's, say): by turns, so that what slows the machine down slows both.

  against_peer.py [--rounds N] [--seconds N] [--log FILE] --peer COMMAND [SHAPE...]

Prints a Markdown table of the medians over rounds, with the ratio of each round's pair, and the
peak memory of a whole process.  With --log, runs add up over several calls; --rounds 0 prints what
there is.  Both programs run on one thread.
"""
import argparse
import json
import os
import re
import shlex
import statistics
import subprocess

SMALL = "--stages 3 --blocks 1 --size 14 --channels 2 --classes 100 --batch 32"
SHAPES = {  # name: arguments, ratio to reach
    "resnet18": ("resnet --width 64 --stages 4 --blocks 2 --size 32 --channels 3 --classes 100 "
                 "--batch 128", 1.4),
    "resnet16": ("resnet --width 16 " + SMALL, 2.2),
    "resnet8": ("resnet --width 8 " + SMALL, 3.5),
    "densenet": ("densenet --growth 12 --layers 4 --size 14 --channels 2 --classes 100 --batch 32",
                 2.5),
    "mlp512": ("mlp --width 512 --size 28 --channels 1 --classes 10 --batch 128", 1.2),
    "mlp256": ("mlp --width 256 --size 14 --channels 1 --classes 10 --batch 32", 2.2),
    "gpt": ("gpt --width 128 --layers 2 --heads 4 --block 128 --vocab 256 --batch 32", 2.8),
}
SIDES = ("ours", "peer")


def measure(command, shape, seconds):
    """Samples a second, GFLOP/s, and the peak memory in MB."""
    one_thread = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                      MKL_NUM_THREADS="1")
    command = command + shlex.split(SHAPES[shape][0]) + ["--seconds", str(seconds)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=one_thread)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(r"samples_per_s=([\d.]+) gflops=([\d.]+)", output)
    if child.returncode or not found:
        raise SystemExit(f"{shlex.join(command)}: exit status {child.returncode}, "
                         f"printed {output!r}")
    return [float(found[1]), float(found[2]), usage.ru_maxrss * 1024 / 1e6]


def number(x):
    return f"{x:.1f}" if x < 100 else f"{x:.0f}"


def table(rounds):
    lines = ["| shape | ours, samples/s | peer | ours, GFLOP/s | peer | "
             "ratio (lowest to highest) | floor | memory, MB: ours | peer |",
             "|---|---|---|---|---|---|---|---|---|"]
    for shape, (_, floor) in SHAPES.items():
        mine = [r for r in rounds if r["shape"] == shape]
        if not mine:
            continue
        rate, flops, memory = ([statistics.median(r[side][k] for r in mine) for side in SIDES]
                               for k in range(3))
        ratios = sorted(r["ours"][0] / r["peer"][0] for r in mine)
        cells = [shape, *map(number, rate), *map(number, flops),
                 f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", floor,
                 *(f"{m:.0f}" for m in memory)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2,
                        help="of a run, which has 3 steps at least")
    parser.add_argument("--log", help="keep runs here")
    parser.add_argument("--ours", default="bench/throughput")
    parser.add_argument("--peer", required=True, help="a command")
    parser.add_argument("shape", nargs="*", help=", ".join(SHAPES) + "; none: all")
    options = parser.parse_args()
    shapes = options.shape or list(SHAPES)
    for shape in shapes:
        if shape not in SHAPES:
            parser.error(f"no shape {shape!r}; there are {', '.join(SHAPES)}")
    rounds = []
    if options.log and os.path.exists(options.log):
        with open(options.log) as file:
            rounds = [json.loads(line) for line in file]
    commands = {side: shlex.split(getattr(options, side)) for side in SIDES}
    for i in range(options.rounds):
        for shape in shapes:
            order = SIDES if i % 2 == 0 else SIDES[::-1]
            found = {side: measure(commands[side], shape, options.seconds) for side in order}
            rounds.append({"shape": shape, **found})
            if options.log:
                with open(options.log, "a") as file:
                    file.write(json.dumps(rounds[-1]) + "\n")
    print(table(rounds))


if __name__ == "__main__":
    main()
