"""What commands share: a line for the person at the terminal, tables read and written."""

import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..files.whole import whole_file

if TYPE_CHECKING:  # not at run time: `--help` waits for no pandas
    import pandas as pd
    from matplotlib.figure import Figure

LEVEL = 0.89  # of intervals, as `inference.draws.intervals.LEVEL`, whose import takes seconds (a test holds them equal)
LARGEST_SEED = 2**32 - 1  # of all generators in use


def say(text: str) -> None:
    """A line for the person at the terminal (results go to files, or to stdout with --json).

    Where nobody listens (the stream is closed, or on a full disk) it is lost, and the work goes on.
    """
    with suppress(OSError, ValueError, AttributeError):
        typer.echo(text, err=True)


def say_interrupted(text: str) -> None:
    """What there is to go on with after an interrupt; said once, and `main` then says nothing more."""
    Interrupted.told = True
    say(text)


class Interrupted:
    """Whether the person at the terminal knows what an interrupt has left."""

    told = False


def result(text: str) -> None:
    """A line of results on stdout.

    Raises
    ------
    ValueError
        There is no stdout: the results would be lost without a word.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise ValueError("standard output is closed, and the results go there: leave it open, or redirect it to a file")
    typer.echo(text)


def read_edges(path: Path) -> "pd.DataFrame":
    """Any network file, or FILE?KEY=VALUE, as a table of edges (`network_files.read_edges`); says what was not used."""
    from ..files.network_files import read_edges as read

    table, notes = read(path)
    for note in notes:
        say(f"{path}: {note}")
    return table


def write_table(table: "pd.DataFrame", path: Path) -> None:
    """A csv, written whole or not at all."""
    from ..files.result_tables import write_csv

    with whole_file(path) as scratch:
        write_csv(table, scratch)


def write_table_and_figure(table: "pd.DataFrame", figure: "Figure", path: Path) -> Path:
    """A csv and a picture of the same name beside it, both or neither; returns the place of the picture.

    Raises
    ------
    ValueError
        Both would be the same file, or a folder is where one goes.
    """
    from ..files.result_tables import write_csv

    picture = path.with_suffix(".png")
    if picture == path:
        raise ValueError(f"--out {path}: is the table, and its figure is written beside it as .png: name it .csv")
    if folder := next((place for place in (path, picture) if place.is_dir()), None):
        raise ValueError(f"--out: {folder} is a folder, and a file is to be written there: choose another name")
    with ExitStack() as stack:
        first, second = (stack.enter_context(whole_file(place)) for place in (path, picture))
        write_csv(table, first)
        figure.savefig(second, dpi=150, bbox_inches="tight")
    return picture


def write_figure(figure: "Figure", path: Path) -> None:
    """A picture, written whole or not at all."""
    with whole_file(path) as scratch:
        figure.savefig(scratch, dpi=150, bbox_inches="tight")
