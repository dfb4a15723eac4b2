"""What commands share: a line for the person at the terminal, tables read and written."""

import sys
from contextlib import suppress
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
    with whole_file(path) as scratch:
        table.to_csv(scratch, index=False, float_format="%.6g")


def write_figure(figure: "Figure", path: Path) -> None:
    """A picture, written whole or not at all."""
    with whole_file(path) as scratch:
        figure.savefig(scratch, dpi=150, bbox_inches="tight")
