"""What is changed from one run of an ablation to the next: which sources are in, how they are damaged."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...priors import PriorNetwork
from ...priors.corruption import check_fraction, choose_share

DAMAGES = ("moved", "flipped", "shuffled", "dropped", "held-out")
NO_SOURCE = "no source"
ALL_SOURCES = "all sources"


@dataclass(frozen=True)
class Change:
    """One configuration of prior knowledge.

    Parameters
    ----------
    name
        What tables and figures call it.
    sources
        Names of the sources that are in; empty for none.
    damage
        What is done to every one of them before the fit: ``"moved"`` (`PriorNetwork.corrupted`: a share of the edges at
        random places), ``"flipped"`` (the sign of a share of the signed edges), ``"shuffled"`` (a random network of the
        same degrees), ``"dropped"`` (a share of the edges left out), ``"held-out"`` (all edges into a share of the
        targets left out, the same targets of every source: scores are then of those targets alone), or ``None``.
    fraction
        The share, in [0, 1]; 1 for ``"shuffled"``, 0 without damage.

    Raises
    ------
    ValueError
        An unknown damage, a share outside [0, 1], damage of no source.
    """

    name: str
    sources: tuple[str, ...]
    damage: str | None = None
    fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.damage is not None and self.damage not in DAMAGES:
            raise ValueError(f"change '{self.name}': unknown damage {self.damage!r}: choose from {', '.join(DAMAGES)}")
        check_fraction(self.fraction, f"fraction of change '{self.name}'")
        if self.damage is None and self.fraction:
            raise ValueError(f"change '{self.name}' has a fraction of {self.fraction} and no damage: name the damage")
        if self.damage is not None and not self.sources:
            raise ValueError(f"change '{self.name}' damages no source: name the sources that are in")
        object.__setattr__(self, "sources", tuple(self.sources))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which ``Change(**values)`` is the same change."""
        return {
            "name": self.name,
            "sources": list(self.sources),
            "damage": self.damage,
            "fraction": self.fraction,
        }


def standard_changes(
    sources: Sequence[str],
    *,
    corrupt: Iterable[float] = (),
    flip: Iterable[float] = (),
    shuffle: bool = False,
    drop: Iterable[float] = (),
    hold_out: Iterable[float] = (),
    damage_of: Sequence[str] | None = None,
) -> list[Change]:
    """No source, each alone, each left out, all of them; and damaged ones.

    Parameters
    ----------
    sources
        Names of the sources.
    corrupt, flip, drop, hold_out
        Shares of ``"moved"``, ``"flipped"``, ``"dropped"`` edges and ``"held-out"`` targets; 0 is the undamaged run and
        is left out here, because it is there anyway.
    shuffle
        Also the degree-preserving shuffle.
    damage_of
        Which sources are in, and damaged, in the damaged runs. Default all of them at once.

    Raises
    ------
    ValueError
        Unknown names, shares outside [0, 1].
    """
    sources = tuple(sources)
    changes = [Change(NO_SOURCE, ())]
    if len(sources) > 1:
        changes += [Change(f"{name} alone", (name,)) for name in sources]
        if len(sources) > 2:
            changes += [Change(f"without {name}", tuple(s for s in sources if s != name)) for name in sources]
    if sources:
        changes.append(Change(ALL_SOURCES if len(sources) > 1 else sources[0], sources))
    damaged = sources if damage_of is None else tuple(damage_of)
    unknown = [name for name in damaged if name not in sources]
    if unknown:
        raise ValueError(f"sources to damage {unknown} are not among the sources {list(sources)}")
    label = next((c.name for c in changes if set(c.sources) == set(damaged)), " + ".join(damaged))
    if damaged and not any(set(c.sources) == set(damaged) for c in changes):
        changes.append(Change(label, damaged))
    each = {"moved": corrupt, "flipped": flip, "dropped": drop, "held-out": hold_out}
    for damage, shares in each.items():
        for share in sorted({check_fraction(s, damage) for s in shares} - {0.0}):
            what = "of targets held out" if damage == "held-out" else damage
            changes.append(Change(f"{label}, {100 * share:g}% {what}", damaged, damage, share))
    if shuffle and damaged:
        changes.append(Change(f"{label}, shuffled", damaged, "shuffled", 1.0))
    return changes


def apply_change(
    change: Change,
    networks: Mapping[str, PriorNetwork],
    tfs: Sequence[str],
    targets: Sequence[str],
    seed: int,
) -> tuple[dict[str, PriorNetwork], tuple[str, ...]]:
    """The networks of a change, matched to the data and damaged, and the targets that are held out.

    Networks are matched to the data before they are damaged, so that a share is one of the edges that count; moved
    edges land anywhere between ``tfs`` and ``targets``. A source that the damage leaves without an edge is left out.
    Each source has its own random numbers for each seed: they do not depend on which other sources are in.
    """
    aligned = {name: networks[name].align(tfs, targets)[0] for name in change.sources}
    held: tuple[str, ...] = ()
    if change.damage == "held-out":
        listed = {t for network in aligned.values() for t in network.targets}
        names = [t for t in targets if t in listed]
        chosen = choose_share(len(names), change.fraction, np.random.default_rng([seed, 0]))
        held = tuple(names[i] for i in np.sort(chosen))
    result = {}
    for name, network in aligned.items():
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        match change.damage:
            case "moved":
                network = network.corrupted(change.fraction, generator, sources=tfs, targets=targets)
            case "flipped":
                network = network.sign_flipped(change.fraction, generator)
            case "shuffled":
                network = network.shuffled(generator)
            case "dropped":
                network = network.dropped(change.fraction, generator)
            case "held-out":
                network = network.held_out([t for t in held if t in set(network.targets)])
        if len(network):
            result[name] = network
    return result, held
