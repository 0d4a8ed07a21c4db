"""`python -m benchmarks.peak LENGTH`: megabytes that a forward pass over so many tokens adds to the process or GPU."""

import argparse
import re
from pathlib import Path

import torch

from benchmarks.material import full_size, song
from benchmarks.measure import Options


def peak(device: str) -> float:
    """The most memory that this process has had on a device, in MB (Linux). `getrusage` would count the parent's in."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / (1 << 20)
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    if found is None:
        raise SystemExit("benchmarks.peak: /proc/self/status must have a line VmHWM")
    return int(found[1]) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("length", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = arguments.device
    model = full_size(Options(arguments.quick, None, None, Path(), Path(), device))
    with torch.no_grad():
        model(song(64, device=device)[None])
        before = peak(device)
        model(song(arguments.length, device=device)[None])
    print(peak(device) - before)
