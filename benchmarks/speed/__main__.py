"""The codec against ComfyUI's stock VAE: ``python -m benchmarks.speed [--side 512] [--rounds 3]``.

Prints what is counted (operations, bytes alive at once in bfloat16, the same everywhere) and what is timed here in
turns, on the GPU in bfloat16 where there is one, else on the CPU in float32, with random weights.
"""

from __future__ import annotations

import argparse

import torch

from ..timing import machine
from .codec import both, counts
from .turns import in_turns

SIDES = (512, 1024, 2048, 4096)


def main() -> None:
    """Count, time, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("--side", type=int, default=512, help="pixels of the timed picture")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way")
    options = parser.parse_args()
    print("| | side | operations | ours, TFLOP | memory | ours, MB |\n|---|---|---|---|---|---|")
    for half, sides in counts(SIDES).items():
        for side, who in sides.items():
            ours, stock = who["ours"], who["stock"]
            print(
                f"| {half} | {side} | {ours.operations / stock.operations:.3f}x | {ours.operations / 1e12:.2f} "
                f"| {ours.peak / stock.peak:.3f}x | {ours.peak / 1e6:.0f} |"
            )
    on_gpu = torch.cuda.is_available()
    halves = both("cuda" if on_gpu else "cpu", torch.bfloat16 if on_gpu else torch.float32)
    print(f"\n{machine()}{', ' + torch.cuda.get_device_name() if on_gpu else ''}\n")
    print(
        "| | side | ours | stock | ours of stock | from turn to turn |\n|---|---|---|---|---|---|"
    )
    for half, ways in (("decode", halves.decodes), ("encode", halves.encodes)):
        with torch.no_grad():
            spent = in_turns(ways(options.side), options.rounds)
        ratios = [ours / stock for ours, stock in zip(spent["ours"], spent["stock"], strict=True)]
        middle = sorted(ratios)[len(ratios) // 2]
        print(
            f"| {half} | {options.side} | {min(spent['ours']):.2f} s | {min(spent['stock']):.2f} s | {middle:.3f}x "
            f"| {min(ratios):.3f} to {max(ratios):.3f} |"
        )


if __name__ == "__main__":
    main()
