"""``make kills``: runs of every kind of command, killed at random moments and resumed."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from kills.harness import Harness, Server
from kills.jobs import JOBS, make_inputs


def main() -> int:
    parser = argparse.ArgumentParser(prog="kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each has the next")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--only", choices=JOBS, action="append", help="kinds of jobs; repeatable [default: all]")
    options = parser.parse_args()
    names, bad, started = options.only or list(JOBS), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = Server()
        harness = Harness(server, folder, make_inputs(folder / "inputs"))
        for run in range(options.runs):
            name, seed = names[run % len(names)], options.seed + run
            outcome = harness.run(name, seed)
            bad += bool(outcome.wrong)
            said = "WRONG " + "; ".join(outcome.wrong) if outcome.wrong else "equal"
            distance = f" to {outcome.distance:.1e}" if outcome.distance else ""
            print(f"seed {seed:3d} {name:<20} {said}{distance}  [{', '.join(outcome.kills)}]", flush=True)
        server.close()
    print(f"{options.runs} runs, {bad} wrong, {time.monotonic() - started:.0f} s, first seed {options.seed}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
