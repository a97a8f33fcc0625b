"""parity/run.py DRIVER quick|all: prints a table of the cases, one a line; PARITY=TEXT in the
environment takes those alone whose line has TEXT.  Exit status 1: one differs too much; 77: all were
skipped."""
import collections
import importlib
import multiprocessing
import os
import subprocess
import sys
import time

import torch

import harness

FAMILIES = "mlp", "resnet", "densenet", "gpt", "vit", "convnext"
FORMAT = "{:55} {:5} {:31} {:>8} {:>8} {:>8} {:>8} {:>6}  {}"


def names(case):
    data, optimizer = case.data[1], case.optimizer[1]
    shape = "x".join(str(data[k]) for k in ("batch", "channels", "size", "block") if k in data)
    return (case.model, case.size, f"{shape} {case.optimizer[0]} {optimizer['lr']:g} "
                                   f"{optimizer['decay']}")


def judge(apart):
    """The columns behind the names, and what is wrong."""
    if isinstance(apart, str):
        return [""] * len(harness.LIMITS), apart
    worst = {what: max((far if far == far else float("inf"), which) for which, far in d.items())
             for what, d in apart.items()}
    bad = [f"{what} ({worst[what][1]})" for what, limit in harness.LIMITS.items()
           if not worst[what][0] <= limit]
    return [f"{worst[what][0]:.1e}" for what in harness.LIMITS], ", ".join(bad)


def run(case, driver):
    """The columns behind the names, what there is to say, and how long it took."""
    start, columns = time.monotonic(), [""] * len(harness.LIMITS)
    torch.set_num_threads(1)
    try:
        columns, bad = judge(harness.compare(driver, case))
        said = "FAILED: " + bad if bad else "good"
    except subprocess.CalledProcessError as e:
        said = f"FAILED: the driver returned {e.returncode}"
    except ModuleNotFoundError as missing:
        said = f"skipped: no Python module {missing.name} (Debian: python3-{missing.name})"
    return columns, said, time.monotonic() - start


def run_nth(i):
    return run(CASES[i], sys.argv[1])


CASES = [c for family in FAMILIES for c in importlib.import_module(family).CASES
         if (c.quick or sys.argv[2] == "all") and os.environ.get("PARITY", "") in " ".join(names(c))]


def main():
    print(FORMAT.format("architecture", "size", "batch, optimizer, decay", *harness.LIMITS, "s", ""))
    print(FORMAT.format("limit", "", "", *(f"{v:.0e}" for v in harness.LIMITS.values()), "", ""))
    count = collections.Counter()
    with multiprocessing.Pool(1 if sys.argv[2] == "quick" else min(os.cpu_count(), 4)) as pool:
        for case, (columns, said, seconds) in zip(CASES, pool.imap(run_nth, range(len(CASES)))):
            count[said.split(":")[0]] += 1
            print(FORMAT.format(*names(case), *columns, f"{seconds:.1f}", said), flush=True)
    print(", ".join(f"{n} {said}" for said, n in count.items()) or "no such case")
    sys.exit(0 if count["good"] and not count["FAILED"] else 77 if count["skipped"] else 1)


main()
