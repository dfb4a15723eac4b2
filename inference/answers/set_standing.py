"""Whether a program still is the gene set that it is named after: which part of its genes the set lists."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from ..checks import Check

LARGEST = 20  # loadings of a program that a reader looks at
MOST_OTHER = 0.5  # of the programs of a library, beyond which its sets are not borne out


class Standing(NamedTuple):
    """Of a program that is named after a set: genes ``kept`` of the set and ``added`` from outside it, and of its
    largest loadings (20) how many are of the set."""

    kept: int
    added: int
    largest: int

    @property
    def empty(self) -> bool:
        """Whether the program holds no gene at all: these cells show neither its set nor another program."""
        return self.kept + self.added == 0

    @property
    def single(self) -> bool:
        """Whether it holds one gene: what that gene does by itself is its noise as well as a program."""
        return self.kept + self.added == 1

    @property
    def told(self) -> bool:
        """Whether it holds genes that go together, so that it can be asked which."""
        return self.kept + self.added > 1

    @property
    def minority(self) -> bool:
        """Whether the set is no more than half of the genes that the program holds: it is then another program."""
        return self.kept <= self.added and self.told

    def label(self, name: str) -> str:
        """The name of the program, that it has no gene or one, or that it is mostly not what it is named after."""
        if not self.told:
            return f"{name} ({'no' if self.empty else 'one'} gene)"
        if not self.minority:
            return name
        return f"mostly not {name} ({self.kept} of {self.kept + self.added} genes)"


def standings(sets: pd.DataFrame | None, loadings: pd.DataFrame) -> dict[str, Standing]:
    """By program that has a gene set.

    Parameters
    ----------
    sets
        `Posterior.refined_sets`; None where no program has a set.
    loadings
        `Posterior.programs`, each program by falling size.
    """
    if sets is None:
        return {}
    number = sets.groupby(["program", "status"]).size()
    top = loadings[loadings["program"].isin(set(sets["program"]))].groupby("program").head(LARGEST)
    inside = top[top["prior"] > 0].groupby("program").size()
    return {
        name: Standing(
            int(number.get((name, "kept"), 0)), int(number.get((name, "added"), 0)), int(inside.get(name, 0))
        )
        for name in dict.fromkeys(sets["program"])
    }


def of_library(library: str, libraries: Mapping[str, str], found: Mapping[str, Standing]) -> tuple[int, int]:
    """Programs of a library that hold mostly other genes, and all of its programs that hold several; ``libraries`` by
    program, joined by ``+`` where several have the set."""
    own = _own(library, libraries, found)
    return sum(one.minority for one in own), sum(one.told for one in own)


def _own(library: str, libraries: Mapping[str, str], found: Mapping[str, Standing]) -> list[Standing]:
    return [found[name] for name, text in libraries.items() if name in found and library in text.split("+")]


def standing_checks(libraries: Mapping[str, str], found: Mapping[str, Standing]) -> Iterator[Check]:
    """A row a library: of its programs of several genes, the share that hold mostly genes which their set does not
    list."""
    for library in dict.fromkeys(one for text in libraries.values() for one in text.split("+") if one):
        name = f"gene sets hold: {library}"
        own = _own(library, libraries, found)
        other, number = of_library(library, libraries, found)
        single = sum(one.single for one in own)
        if own and not number:
            meaning = f"No program named after a set of {library!r} has several genes: these cells do not show these "
            meaning += "sets."
            yield Check(name, math.nan, MOST_OTHER, None, meaning)
        if not number:
            continue
        meaning = f"Of {number} programs named after sets of {library!r}, {other} hold mostly genes from outside them"
        meaning += ": they are called 'mostly not SET', and are not that set." if other else "."
        if single:
            meaning += f" {single} more have one gene, which may as well be its noise."
        if number + single < len(own):
            meaning += f" {len(own) - number - single} more have no gene: these cells do not show their sets."
        yield Check(name, other / number, MOST_OTHER, other / number <= MOST_OTHER, meaning)
