"""Tidy result rows, each with the seed, commit and machine that made it."""

import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

COLUMNS = ("task", "method", "seed", "score", "value", "se")
MADE_BY = ("commit", "machine")
TEXT = dict.fromkeys(("seed", "commit"), str)  # a commit may be of digits alone, `7222277`, or look like 1e10
WHOLE = "whole part", 0, "CPU seconds"  # method, seed and score of the row with which a part ends


@dataclass
class Results:
    """Rows ``task, method, seed, score, value, se`` of one section; written with commit and machine after every
    addition. ``anew``: rows that another commit made, or changes that are in none, are not taken up again."""

    path: Path
    rows: list[dict] = field(default_factory=list)
    anew: bool = False

    def add(self, task: str, method: str, seed: int | str, score: str, value: float, se: float = float("nan")) -> None:
        """Add one row, print it, and rewrite the file."""
        row = dict(zip(COLUMNS, (task, method, seed, score, value, se), strict=True))
        self.rows.append(row)
        spread = "" if se != se else f" ± {se:.3g}"
        print(f"{task:<34} {method:<34} {score:<24} {value:.4g}{spread}")
        self.write()

    def write(self) -> None:
        """Write all rows."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(self.rows, columns=[*COLUMNS, *MADE_BY]).astype(dict.fromkeys(MADE_BY, object))
        for column, value in zip(MADE_BY, (commit(), machine()), strict=True):
            table[column] = table[column].fillna(value)
        table.to_csv(self.path, index=False, float_format="%.6g")

    def resume(self) -> None:
        """Take the rows that the file has, with the commit and machine that made them."""
        if self.path.exists():
            table = pd.read_csv(self.path, dtype=TEXT)
            rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
            current = None if commit().endswith("+") else commit()
            self.rows = [row for row in rows if not self.anew or row["commit"] == current]

    def resume_parts(self) -> None:
        """Take the rows of parts that have ended (`part`); what an interrupted one left, and files from before there
        were parts, are made again."""
        self.resume()
        ends = [place for place, row in enumerate(self.rows) if row["method"] == WHOLE[0]]
        self.rows = self.rows[: ends[-1] + 1] if ends else []

    def part(self, name: str, make: Callable[[], object]) -> None:
        """Make a part, unless the file has the row with which it ends: its processor seconds."""
        if self.value(name, *WHOLE) is None:
            started = time.process_time()
            make()
            self.add(name, *WHOLE, time.process_time() - started)

    def has(self, task: str, score: str | None = None) -> bool:
        """Whether there is any row of a task, or of one of its scores."""
        return any(row["task"] == task and score in (None, row["score"]) for row in self.rows)

    def value(self, task: str, method: str, seed: int | str, score: str) -> float | None:
        """Of the last such row; ``None`` if there is none."""
        wanted = (task, method, str(seed), score)
        found = [row["value"] for row in self.rows if tuple(str(row[c]) for c in COLUMNS[:4]) == wanted]
        return float(found[-1]) if found else None


@cache
def commit() -> str:
    """The checkout's commit, with ``+`` if anything but rows of results has changed since, as it was when this process
    first asked."""
    here = Path(__file__).parent
    run = lambda *a: subprocess.run(["git", *a], cwd=here, capture_output=True, text=True, check=False).stdout.strip()
    name = run("rev-parse", "--short", "HEAD") or "unknown"
    changed = run("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)experiments/results")
    return name + ("+" if changed else "")


def machine() -> str:
    """Processor family, threads in use, accelerator, torch version."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.machine()} {torch.get_num_threads()} thread(s), {accelerator}, torch {torch.__version__}"


def mean_se(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error over replicates; NaN of one, and of values that are not all finite."""
    array = np.asarray(list(values), dtype=float)
    known = len(array) > 1 and bool(np.isfinite(array).all())
    error = array.std(ddof=1) / len(array) ** 0.5 if known else float("nan")
    return float(array.mean()), float(error)
