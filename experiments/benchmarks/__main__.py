"""Run all sections, or those named; each writes one tidy csv."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from . import calibration, knowledge, speed, stability
from .edges import run_baselines, run_linear
from .results import Results

Section = Callable[[Path, Results], None]
SECTIONS: dict[str, Section] = {
    "speed": speed.run,
    "calibration": calibration.run,
    "knowledge": knowledge.run,
    "stability": stability.run,
    "linear": run_linear,
    "baselines": run_baselines,
}


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default all")
    parser.add_argument("--data", type=Path, required=True, help="folder of benchmark data")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown sections {sorted(unknown)}: choose from {', '.join(SECTIONS)}")
    if not arguments.data.is_dir():
        parser.error(f"no folder {arguments.data}: the benchmarks need the data; nothing was run")
    torch.set_num_threads(1)
    for name in arguments.sections or SECTIONS:
        started = time.perf_counter()
        print(f"== {name}")
        SECTIONS[name](arguments.data, Results(arguments.out / f"{name}.csv"))
        print(f"== {name}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
