"""`python -m benchmarks.peak LENGTH`: megabytes that a forward pass over so many tokens adds to the process."""

import argparse
import re
from pathlib import Path

import torch

from benchmarks.material import full_size, song
from benchmarks.measure import Options


def peak() -> float:
    """The most memory that this process has had, in MB (Linux). `getrusage` would count the parent's in."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    if found is None:
        raise SystemExit("benchmarks.peak: /proc/self/status must have a line VmHWM")
    return int(found[1]) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("length", type=int)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    model = full_size(Options(arguments.quick, None, None, Path(), Path()))
    with torch.no_grad():
        model(song(64)[None])
        before = peak()
        model(song(arguments.length)[None])
    print(peak() - before)
