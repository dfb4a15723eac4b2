"""One case: what is tried, how it is changed, and how it ended; decided by a seed and a number."""

import os
import resource
import shutil
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyrogrn.experiments.commands import infer_run

from .known import KNOWN
from .mutations import mutate
from .option_values import change_options
from .oracle import judge, place_of
from .targets import Target, commands, readers

MEMORY = 6 << 30  # bytes of address space; Torch alone takes two
SHARES = {"known": 0.12, "command": 0.25}  # of the cases; readers are the rest
FULL_REPORT = 0.1  # of the commands; the others leave out the figures, which take most of the time of a small fit


@dataclass(frozen=True)
class Outcome:
    """Of one case.

    Attributes
    ----------
    case
        Its number.
    name
        What was tried, and the mutations.
    ended
        ``read``, ``refused``, ``exit 2``, …
    wrong
        What is wrong with that; "" where nothing is.
    """

    case: int
    name: str
    ended: str
    wrong: str


def limit_memory(limit: int = MEMORY) -> None:
    """More memory than this is refused to this process."""
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run_case(seed: int, case: int, sources: Path, *, kinds: Sequence[str] = ("known", "command", "reader")) -> Outcome:
    """Make the input, try it, judge; in a folder of its own that is removed. Cases below zero are the valid inputs,
    each target's as it is, which must be read: what refuses them shields what it guards from every mutation."""
    rng = np.random.default_rng([seed, abs(case)])
    at = rng.random()
    kind = "known" if at < SHARES["known"] else "command" if at < sum(SHARES.values()) else "reader"
    kind = kind if kind in kinds else kinds[case % len(kinds)]
    here, folder = os.getcwd(), Path(tempfile.mkdtemp(prefix="fuzz-")) / "in"
    folder.mkdir()
    try:
        os.chdir(folder)
        if case < 0:
            return _valid(case, sources, folder)
        return _known(rng, case, folder) if kind == "known" else _mutated(rng, case, sources, folder, kind)
    finally:
        os.chdir(here)
        shutil.rmtree(folder.parent, ignore_errors=True)


def valid_cases(sources: Path) -> list[int]:
    """Numbers of the valid inputs."""
    return [-1 - i for i in range(len(_present(sources, "reader")) + len(_present(sources, "command")))]


def _present(sources: Path, kind: str) -> list[Target]:
    targets = commands() if kind == "command" else readers(sources)
    return [t for t in targets if all((sources / name).exists() for name in needed(t, sources))]


def _valid(case: int, sources: Path, folder: Path) -> Outcome:
    target = [*_present(sources, "reader"), *_present(sources, "command")][-1 - case]
    copy_files(target, sources, folder)
    with _reports(full=False):
        ended, wrong = judge(target, list(target.command), folder)
    if not wrong and ended not in ("read", "exit 0"):
        wrong = "valid input refused"
    return Outcome(case, f"{target.name} | valid", "valid", wrong)


def needed(target: Target, sources: Path) -> tuple[str, ...]:
    """The files of a target, and those that its command names."""
    words = (word.rpartition("=")[2] for word in target.command)
    return tuple(dict.fromkeys((*target.files, *(w for w in words if w and (sources / w).is_file()))))


def copy_files(target: Target, sources: Path, folder: Path) -> None:
    """What it reads, in the folder of the case."""
    for name in needed(target, sources):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            (shutil.copytree if (sources / name).is_dir() else shutil.copyfile)(sources / name, place)


def _known(rng: np.random.Generator, case: int, folder: Path) -> Outcome:
    chosen = KNOWN[int(rng.integers(len(KNOWN)))]
    path = chosen.change(rng, folder)
    try:
        chosen.outcome(path)
    except AssertionError as error:
        return Outcome(case, chosen.name, "wrong outcome", f"{chosen.name}: {error}")
    except (ValueError, FileNotFoundError) as error:
        return Outcome(case, chosen.name, "refused", f"{chosen.name}: refused: {str(error)[:200]}")
    except Exception as error:
        return Outcome(case, chosen.name, "error", place_of(error))
    return Outcome(case, chosen.name, "as it should", "")


def _mutated(rng: np.random.Generator, case: int, sources: Path, folder: Path, kind: str) -> Outcome:
    targets = _present(sources, kind)
    weight = np.array([t.weight for t in targets])
    target = targets[int(rng.choice(len(targets), p=weight / weight.sum()))]
    copy_files(target, sources, folder)
    words, changes = list(target.command), []
    of_options = kind == "command" and (not target.files or rng.random() < 0.5)
    for _ in range(int(rng.integers(1, 3))):
        if of_options:
            words, said = change_options(rng, words)
        else:
            said = mutate(rng, folder / target.files[int(rng.integers(len(target.files)))])
        changes.append(said)
    name = f"{target.name} | {', '.join(changes)}"
    with _reports(full=rng.random() < FULL_REPORT):
        ended, wrong = judge(target, words, folder)
    return Outcome(case, name, ended, wrong)


class _reports:
    """Leave out posterior.nc, the figures and the report, unless ``full``."""

    def __init__(self, *, full: bool) -> None:
        self.full, self.kept = full, infer_run.write_reports

    def __enter__(self) -> None:
        if not self.full:
            infer_run.write_reports = lambda folder, posterior, data, page: posterior.diagnose(data)

    def __exit__(self, *_: object) -> None:
        infer_run.write_reports = self.kept


def explain(error: BaseException) -> str:
    """An error of the harness itself, whole."""
    return "".join(traceback.format_exception(error))[-1500:]


def target_named(name: str, sources: Path) -> Target:
    """A target by its name."""
    return next(t for t in (*commands(), *readers(sources)) if t.name == name)
