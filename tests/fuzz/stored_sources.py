"""What one command leaves and a later one reads: an interrupted fit, a fit without its report, a begun ablation, an
interrupted training, and weights of one's own."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from command_line import call
from pyrogrn.experiments.commands import infer_run
from pyrogrn.inference import amortised

INFER = (
    *("infer", "x.csv", "--method", "linear", "--tfs", "tfs.txt", "--restarts", "1", "--steps", "6"),
    *("--guide", "mean-field", "--out", "made"),
)
ABLATE = (
    *("ablate", "x.csv", "--prior", "m=truth.csv", "--tfs", "tfs.txt", "--truth", "truth.csv", "--strategy", "mask"),
    *("--chains", "1", "--steps", "8", "--backend", "serial", "--seeds", "1", "--out", "made"),
)
TRAIN = (
    *("train", "glad-tf", "--family", "clean", "--batches", "1", "--graphs", "1", "--steps", "1"),
    *("--iterations", "1", "--out", "made.npz"),
)


class StopAt:
    """Interrupts a fit at a step, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, state: Any) -> None:
        """Called after each step."""
        if state.step >= self.step:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Nothing is open."""


def interrupt(*_: Any, **__: Any) -> None:
    """In place of what would have come next."""
    raise KeyboardInterrupt


def make_stored(folder: Path) -> dict[str, str]:
    """In ``folder``: ``interrupted/made.partial``, ``unreported/made``, ``ablated/made``, ``training/made.npz.work``
    and ``weights.npz``; returns what was said of those that did not come out."""
    fit = infer_run.fit
    stopped = lambda *a, callbacks, **k: fit(*a, callbacks=(*callbacks, StopAt(3)), **k)
    steps: Sequence[tuple[str, tuple[str, ...], tuple[Any, str, Callable[..., Any]] | None, str, int]] = (
        ("interrupted", INFER, (infer_run, "fit", stopped), "made.partial/checkpoint.pt", 130),
        ("unreported", INFER, (infer_run, "write_reports", interrupt), "made/unfinished.txt", 130),
        ("ablated", ABLATE, None, "made/rows.csv", 0),
        ("training", TRAIN, (amortised, "save_weights", interrupt), "made.npz.work/head.pt", 130),
        ("trained", TRAIN, None, "made.npz", 0),
    )
    refused, before = {}, os.getcwd()
    os.chdir(folder)  # the paths of the commands that go on are the same
    try:
        for name, words, patch, left, wanted in steps:
            Path(name).mkdir()
            if name == "trained":  # from what the interrupted one kept
                shutil.copytree("training/made.npz.work", "trained/made.npz.work")
            with mock.patch.object(*patch) if patch else nullcontext():
                code, _, said = call(*placed(words, name))
            if code != wanted or not (Path(name) / left).exists():
                refused[name] = f"exit {code}: {said}"
        shutil.move("trained/made.npz", "weights.npz")
    finally:
        os.chdir(before)
    return refused


def placed(words: Sequence[str], name: str) -> list[str]:
    """The command with its output in the folder ``name``."""
    return [f"{name}/{word}" if word.startswith("made") else word for word in words]
