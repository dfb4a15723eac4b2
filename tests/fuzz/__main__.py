"""``python -m fuzz --seed 1 --cases 10000``: many cases in worker processes that may crash or hang.

Ends with 0 where every case ended as it may, else with 1 and one line for each kind of failure, with the number of a
case to make again (``--case``).
"""

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from .cases import Outcome, explain, limit_memory, run_case, valid_cases
from .sources import make_sources

HANG = 60.0  # seconds; the slowest case takes a few


def work(seed: int, sources: Path, connection: Connection) -> None:
    """Cases by number until there are no more; what a case prints is lost."""
    torch.set_num_threads(1)
    limit_memory()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    parent = os.getppid()
    while True:
        while not connection.poll(5.0):
            if os.getppid() != parent:  # it was killed
                return
        if (case := connection.recv()) is None:
            return
        try:
            outcome = run_case(seed, case, sources)
        except Exception as error:
            outcome = Outcome(case, "harness", "error", f"harness: {explain(error)}")
        connection.send(outcome)


class Worker:
    """A process, the case it works on, and since when."""

    def __init__(self, seed: int, sources: Path) -> None:
        self.connection, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=work, args=(seed, sources, other), daemon=False
        )
        self.process.start()
        other.close()
        self.case: int | None = None
        self.since = time.monotonic()

    def give(self, case: int | None) -> None:
        """The next case, or none: the end."""
        self.case, self.since = case, time.monotonic()
        with contextlib.suppress(OSError):
            self.connection.send(case)

    def answer(self) -> Outcome | None:
        """How the case ended, a crash and a hang included; None while it goes on."""
        assert self.case is not None
        if self.connection.poll():
            with contextlib.suppress(EOFError, OSError):
                return self.connection.recv()
        if not self.process.is_alive():
            return Outcome(self.case, "", "crash", f"crash: the process ended with {self.process.exitcode}")
        if time.monotonic() - self.since > HANG:
            self.process.kill()
            self.process.join()
            return Outcome(self.case, "", "hang", f"hang: no answer in {HANG:.0f} s")
        return None


def run(seed: int, cases: list[int], sources: Path, workers: int, seconds: float) -> list[Outcome]:
    """Every case, in as many processes; stops giving out cases after ``seconds``."""
    waiting, done, start = list(reversed(cases)), [], time.monotonic()
    crew = [Worker(seed, sources) for _ in range(workers)]
    for worker in crew:
        worker.give(waiting.pop() if waiting else None)
    while any(worker.case is not None for worker in crew):
        time.sleep(0.002)
        for i, worker in enumerate(crew):
            outcome = None if worker.case is None else worker.answer()
            if outcome is None:
                continue
            done.append(outcome)
            if outcome.wrong:  # at once, so that a run that is ended early has said it
                print(
                    f"case {outcome.case}: {outcome.name[:200]}: {outcome.wrong[:200]!r}", file=sys.stderr, flush=True
                )
            if outcome.ended in ("crash", "hang"):
                worker.process.join()
                worker = crew[i] = Worker(seed, sources)
            late = time.monotonic() - start > seconds
            worker.give(waiting.pop() if waiting and not late else None)
    for worker in crew:
        worker.process.join()
    return done


def main() -> int:
    """Read the command line, run, report."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--case", type=int, action="append", help="only this case; repeatable")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=600.0, help="give out no more cases after this long")
    parser.add_argument("--sources", type=Path, help="keep and reuse the valid inputs here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        sources = (options.sources or Path(place) / "sources").absolute()
        if not sources.exists():
            make_sources(sources)
        cases = options.case or [*valid_cases(sources), *range(options.cases)]
        made = time.monotonic() - start
        done = run(options.seed, cases, sources, options.workers, options.seconds - made)
    return report(done, options.seed, len(cases), time.monotonic() - start)


def report(done: list[Outcome], seed: int, asked: int, seconds: float) -> int:
    """What came of it, on stdout; the exit code."""
    print(f"seed {seed}: {len(done)} of {asked} cases in {seconds:.0f} s")
    for ended, number in Counter(outcome.ended for outcome in done).most_common():
        print(f"  {number:6d} {ended}")
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in sorted((o for o in done if o.wrong), key=lambda o: o.case):
        kinds[outcome.wrong.partition(" (")[0][:110]].append(outcome)
    for outcomes in sorted(kinds.values(), key=len, reverse=True):
        first = outcomes[0]
        others = [o.case for o in outcomes[1:6]]
        print(f"\n{len(outcomes)} x {first.wrong[:700]}\n    {first.name[:300]}")
        print(f"    again: --seed {seed} --case {first.case}   (also {others})")
    if len(done) < asked:
        print(f"\n{asked - len(done)} cases were not reached in time")
    return 1 if kinds or len(done) < asked else 0


if __name__ == "__main__":
    sys.exit(main())
