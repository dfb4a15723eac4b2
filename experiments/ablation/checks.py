"""What no experiment can be made of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .changes import NO_SOURCE, Change
from .ways import level_name


def refuse(
    networks: Mapping[str, Any],
    *,
    methods: Sequence[str],
    strategies: Sequence[str] | None,
    trust: Sequence[str | float],
    seeds: Sequence[int],
    hold_out_cells: float,
) -> None:
    """What no experiment can be made of: nothing to compare, lists that are empty or repeat themselves, bad shares."""
    if not networks:
        raise ValueError("no sources of knowledge: pass at least one network (--prior NAME=FILE)")
    if not all(isinstance(seed, int | np.integer) and seed >= 0 for seed in seeds):
        raise ValueError(f"seeds are {list(seeds)}; expected whole numbers of at least 0")
    given: dict[str, Sequence[Any]] = {
        "methods": methods,
        "seeds": seeds,
        "trust": [level_name(level) for level in trust],
    }
    given |= {} if strategies is None else {"strategies": strategies}
    for what, values in given.items():
        if isinstance(values, str) or not len(values):
            raise ValueError(f"{what} is {values!r}: expected at least one, in a list")
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise ValueError(f"{what} has {twice[0]!r} more than once: give each once")
    if not 0 <= hold_out_cells < 1:
        raise ValueError(f"hold_out_cells is {hold_out_cells}; expected a share of at least 0 and below 1")


def checked(changes: list[Change], networks: Mapping[str, Any]) -> list[Change]:
    """The changes with the one without sources first; unknown sources and repeated names are refused."""
    for change in changes:
        unknown = [name for name in change.sources if name not in networks]
        if unknown:
            raise ValueError(f"change '{change.name}' has sources {unknown}; there are {list(networks)}")
    others = [c for c in changes if c.sources]
    for change in others:
        if change.name == NO_SOURCE:
            raise ValueError(f"change '{NO_SOURCE}' is the run without sources, and has {list(change.sources)}")
    names = [c.name for c in others]
    if len(set(names)) < len(names):
        raise ValueError(f"changes share a name: {sorted({n for n in names if names.count(n) > 1})}. Rename one")
    return [Change(NO_SOURCE, ()), *others]


def unsigned(changes: Sequence[Change], signed: Mapping[str, int]) -> list[str]:
    """Notes on flipped signs of sources that have none; refused where no source of a change has one."""
    notes = []
    for change in (c for c in changes if c.damage == "flipped"):
        without = [name for name in change.sources if not signed[name]]
        if len(without) == len(change.sources):
            raise ValueError(
                f"change '{change.name}': no edge of {without} that matches the data has a sign to flip: leave out the "
                "flips (--flip), or give the edges a column sign"
            )
        if without:
            notes.append(f"change '{change.name}': {without} have no signs, and are as without damage")
    return notes
