"""Which commit made each results file, and what of the code it measures has changed since."""

import importlib
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = __name__.partition(".experiments.")[0]
DEPTH = 2  # a section's imports, and theirs: further on everything imports everything
FOLDERS = ("priors", "models", "inference")
COLUMNS = ("task", "method", "seed", "score", "value", "se")


def measured(module: ModuleType) -> set[str]:
    """Files of the library, relative to the checkout, of what a section uses, and of what that uses."""
    found: set[str] = set()
    modules = {module.__name__: module}
    for _ in range(DEPTH):
        named = {getattr(value, "__module__", None) for each in modules.values() for value in vars(each).values()}
        names = {name for name in named if isinstance(name, str) and name.startswith(f"{PACKAGE}.")}
        modules = {name: importlib.import_module(name) for name in names - set(modules)}
        files = [Path(each.__file__).resolve() for each in modules.values() if each.__file__]
        found |= {str(file.relative_to(ROOT)) for file in files if file.is_relative_to(ROOT)}
    return {file for file in found if file.startswith(FOLDERS)}


def git(*arguments: str) -> str:
    """What git says in the checkout; nothing where it cannot."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def made_by(file: Path) -> list[str]:
    """Commits of a results file's rows, in the order of the rows; ``+`` marks one with changes of its own."""
    return list(dict.fromkeys(pd.read_csv(file, dtype=str)["commit"].dropna()))


def provenance(sections: Mapping[str, Callable[..., Any]], results: Path) -> pd.DataFrame:
    """Rows for each section that has results: by commit, the number of rows; and, since the oldest of these commits,
    how many commits have changed a file that it measures, and how many such files there are.

    A commit that the history does not have leaves these absent.
    """
    rows: list[tuple[str, str, str, str, float, float]] = []
    for name, run in sections.items():
        file = results / f"{name}.csv"
        if not file.exists():
            continue
        table = pd.read_csv(file, dtype=str)
        commits = made_by(file)
        for commit in commits:
            count = int((table["commit"] == commit).sum())
            rows.append(
                (name, "rows", commit, git("log", "-1", "--format=%as", commit.rstrip("+")), count, float("nan"))
            )
        dated = {git("log", "-1", "--format=%ct", commit.rstrip("+")): commit.rstrip("+") for commit in commits}
        if "" in dated or not dated:
            continue
        oldest = dated[min(dated, key=int)]
        files = sorted(measured(importlib.import_module(run.__module__)))
        since = git("log", "--format=%h", f"{oldest}..HEAD", "--", *files).split() if files else []
        changed = git("diff", "--name-only", oldest, "HEAD", "--", *files).split() if files else []
        for score, value in (("commits since", len(since)), ("files changed", len(changed)), ("files", len(files))):
            rows.append((name, "library", oldest, score, float(value), float("nan")))
    return pd.DataFrame(rows, columns=COLUMNS)


def write(sections: Mapping[str, Callable[..., Any]], results: Path) -> Path:
    """`provenance` into ``provenance.csv`` beside the results."""
    out = results / "provenance.csv"
    provenance(sections, results).to_csv(out, index=False, float_format="%.6g")
    return out
