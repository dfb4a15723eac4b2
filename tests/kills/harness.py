"""Starts commands, kills them at random moments, resumes them, and says what was not as it must be."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kills.jobs import JOBS, Job, tables

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
MOST_KILLS = 4  # of one run, before it is left to finish
LONGEST = 600.0  # seconds that a run may take, on a machine that is busy: longer is a hang
WORKERS_GONE = 30.0  # seconds after the parent's death (a worker that is still importing has no watch yet)


@dataclass
class Outcome:
    """Of one run: what was done to it, and what was wrong."""

    job: str
    kills: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    distance: float = 0.0


class Server:
    """The process that forks the commands (`server.py`)."""

    def __init__(self) -> None:
        folder = Path(__file__).resolve().parent
        path = os.pathsep.join([str(folder.parent), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kills.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", "the server did not start"

    def ask(self, **request: object) -> int | None:
        """One request and its answer."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def warm(self, inputs: Path) -> None:
        """Have it import and compile what a fit and its report need, which each command would do for itself else."""
        with tempfile.TemporaryDirectory() as folder:
            words = ["infer", str(inputs / "linear" / "expression.h5ad"), "--steps", "4", "--restarts", "2"]
            assert self.ask(here=[*words, "--out", f"{folder}/run"]) == 0

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()


class Harness:
    """Runs of jobs in ``folder``, which has the inputs in ``inputs``."""

    def __init__(self, server: Server, folder: Path, inputs: Path) -> None:
        self.server, self.folder, self.inputs = server, folder, inputs
        server.warm(inputs)
        self.references: dict[str, tuple[dict[str, np.ndarray], float]] = {}

    # -- one process ----
    def start(self, job: Job, place: Path, *, resume: bool) -> int:
        words = [word.replace("IN/", f"{self.inputs}/") for word in job.words]
        words += ["--out", str(place / job.out), *(job.resume if resume else ())]
        (place / "tmp").mkdir(parents=True, exist_ok=True)
        files = {"stdout": str(place / "stdout"), "stderr": str(place / "stderr")}
        number = self.server.ask(start=files | {"words": words, "folder": str(place), "temporary": str(place / "tmp")})
        assert number is not None
        return number

    def reference(self, name: str) -> tuple[dict[str, np.ndarray], float]:
        """What a run that is not interrupted gives, and how long it takes."""
        if name not in self.references:
            place, started = self.folder / f"whole {name}", time.monotonic()
            number = self.start(JOBS[name], place, resume=False)
            code = self.server.ask(wait=number, seconds=LONGEST)
            assert code == 0, f"{name} ended with {code}: {(place / 'stderr').read_text()}"
            self.references[name] = tables(place / JOBS[name].out), time.monotonic() - started
            self.places = place
        return self.references[name]

    # -- one run, killed some times ----
    def run(self, name: str, seed: int) -> Outcome:
        """Kill the job at random moments, resume it as its own words say, and compare it with the reference."""
        dice, outcome, job = random.Random(seed), Outcome(name), JOBS[name]
        whole, seconds = self.reference(name)
        place = self.folder / f"{name} {seed}"
        resume = False
        for turn in range(MOST_KILLS + 1):
            number = self.start(job, place, resume=resume)
            # every run is killed once; later turns more and more seldom
            if turn == MOST_KILLS or (turn and dice.random() < 0.4):
                code = self.server.ask(wait=number, seconds=LONGEST)
            else:
                code = self.kill(number, dice, seconds, outcome)
            error = (place / "stderr").read_text(errors="replace")
            self.check(job, place, code, error, whole, outcome)
            if code == 0 or outcome.wrong:
                break
            resume = self.can_resume(job, place)
        else:
            outcome.wrong.append("did not finish")
        if not outcome.wrong:
            self.compare(job, place, whole, outcome)
            self.leftovers(job, place, outcome)
        return outcome

    def kill(self, number: int, dice: random.Random, seconds: float, outcome: Outcome) -> int | None:
        moment, kind = dice.uniform(0.01, seconds), dice.choice(SIGNALS)
        code = self.server.ask(wait=number, seconds=moment)
        if code is not None:
            return code
        outcome.kills.append(f"{kind.name} at {moment:.2f} of {seconds:.2f} s")
        group = kind == signal.SIGINT  # Ctrl-C at a terminal goes to the workers too
        with suppress(ProcessLookupError):
            os.killpg(number, kind) if group else os.kill(number, kind)
        code = self.server.ask(wait=number, seconds=LONGEST)
        if code is None:
            outcome.wrong.append(f"hangs after {kind.name}")
            os.killpg(number, signal.SIGKILL)
            return self.server.ask(wait=number, seconds=10)
        end = time.monotonic() + WORKERS_GONE
        while processes(number) and time.monotonic() < end:
            time.sleep(0.1)
        if processes(number):
            outcome.wrong.append(f"workers {processes(number)} are left after {kind.name}")
            os.killpg(number, signal.SIGKILL)
        return code

    def can_resume(self, job: Job, place: Path) -> bool:
        out = place / job.out
        if job.words[0] == "ablate":
            return (out / "runs").is_dir()
        return (out.with_name(out.name + ".partial") / "checkpoint.pt").exists() or (out / "unfinished.txt").exists()

    # -- oracles ----
    def check(
        self, job: Job, place: Path, code: int | None, error: str, whole: dict[str, np.ndarray], outcome: Outcome
    ) -> None:
        """After a process has ended: no traceback, an exit code that is known, output absent or whole, a true word."""
        if "Traceback" in error or "Exception ignored" in error:
            outcome.wrong.append(f"a traceback after {outcome.kills}: {error[-1500:]}")
        if code not in (0, 130, -signal.SIGKILL):
            outcome.wrong.append(f"exit code {code}: {error[-500:]}")
        out = place / job.out
        if "continue with --resume" in error and code == 130 and not self.can_resume(job, place):
            outcome.wrong.append("'continue with --resume' is said, and there is nothing to resume")
        command = job.words[0] != "sweep"  # which is a function, and says nothing
        if command and code == 130 and not [line for line in error.splitlines() if line.startswith("interrupted")]:
            outcome.wrong.append(f"no line says that it was interrupted: {error[-300:]!r}")
        if job.words[0] in ("infer", "train") and out.exists():
            found = tables(out)
            if set(found) != set(whole):
                outcome.wrong.append(f"{job.out} is there in part: {sorted(set(whole) ^ set(found))[:5]}")

    def compare(self, job: Job, place: Path, whole: dict[str, np.ndarray], outcome: Outcome) -> None:
        found = tables(place / job.out)
        if set(found) != set(whole):
            outcome.wrong.append(f"other tables: {sorted(set(found) ^ set(whole))[:5]}")
            return
        for name, value in whole.items():
            other = found[name]
            if value.shape == other.shape and np.array_equal(value, other, equal_nan=value.dtype.kind == "f"):
                continue
            if value.shape != other.shape or value.dtype.kind != "f":
                outcome.wrong.append(f"{name} differs")
                continue
            scale = max(float(np.nanmax(np.abs(value))), 1e-12)
            outcome.distance = max(outcome.distance, float(np.nanmax(np.abs(value - other))) / scale)
        if outcome.distance > job.tolerance:
            outcome.wrong.append(f"differs by {outcome.distance:.2g} of the largest value")

    def leftovers(self, job: Job, place: Path, outcome: Outcome) -> None:
        known = {job.out, "stdout", "stderr", "tmp", "swept.done"}
        left = [path.name for path in place.iterdir() if path.name not in known]
        left += [p.name for p in (place / "tmp").iterdir() if not p.name.startswith("torchinductor_")]  # torch keeps it
        out = place / job.out
        if out.is_dir():
            endings = (".partial", ".part", ".lock", ".pt", "unfinished.txt")
            hidden = [p for p in out.rglob("*") if p.name.startswith(".") or p.name.endswith(endings)]
            left += [str(path.relative_to(place)) for path in hidden]
        if left:
            outcome.wrong.append(f"left over: {left}")


def processes(group: int) -> list[int]:
    """Processes of a group that are there (Linux; elsewhere none is seen)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(int(path.parent.name))
    return found
