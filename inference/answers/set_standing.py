"""Whether a program still is the gene set that it is named after: which part of its genes the set lists."""

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
    def minority(self) -> bool:
        """Whether the set is no more than half of the genes that the program holds: it is then another program."""
        return self.kept <= self.added

    def label(self, name: str) -> str:
        """The name of the program, or that it is mostly not what it is named after."""
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
    """Programs of a library that hold mostly other genes, and all of its programs; ``libraries`` by program, joined by
    ``+`` where several have the set."""
    own = [found[name] for name, text in libraries.items() if name in found and library in text.split("+")]
    return sum(one.minority for one in own), len(own)


def standing_checks(libraries: Mapping[str, str], found: Mapping[str, Standing]) -> Iterator[Check]:
    """A row a library: the share of its programs that hold mostly genes which their set does not list."""
    for library in dict.fromkeys(one for text in libraries.values() for one in text.split("+") if one):
        other, number = of_library(library, libraries, found)
        if not number:
            continue
        meaning = f"Of {number} programs named after sets of {library!r}, {other} hold mostly genes from outside them"
        meaning += ": they are called 'mostly not SET', and are not that set." if other else "."
        yield Check(f"gene sets hold: {library}", other / number, MOST_OTHER, other / number <= MOST_OTHER, meaning)
