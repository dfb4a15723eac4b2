"""Gene-set libraries as sources of an ablation: which sets count, what each library says, and what a change leaves."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from ...priors import PriorNetwork, gene_sets_to_network
from ...priors.alignment import rename_hint
from ...priors.corruption import choose_share
from .changes import Change
from .program_models import MIN_OVERLAP

Library = Mapping[str, Sequence[str]] | PriorNetwork
COLUMNS = ("source", "edges_in", "edges_used", "sets_in", "sets_used", "unknown_gene", "genes", "only_here", "signed")


def as_networks(libraries: Mapping[str, Library]) -> dict[str, PriorNetwork]:
    """Libraries as networks from sets to genes."""
    return {
        name: library if isinstance(library, PriorNetwork) else gene_sets_to_network(library, name=name)
        for name, library in libraries.items()
    }


def measured_sets(
    libraries: Mapping[str, Library], genes: Sequence[str], *, min_overlap: int = MIN_OVERLAP
) -> dict[str, PriorNetwork]:
    """The sets with at least ``min_overlap`` measured genes, and those genes alone.

    Raises
    ------
    ValueError
        A library without such a set, or a set that two libraries have.
    """
    known, found = set(genes), {}
    origin: dict[str, str] = {}
    for name, network in as_networks(libraries).items():
        inside = np.array([target in known for target in network.target], dtype=bool)
        names, count = np.unique(network.source[inside].astype(str), return_counts=True)
        kept = set(names[count >= min_overlap].tolist())
        if not kept:
            hint = rename_hint(network.targets, genes) if not inside.any() else None
            raise ValueError(
                f"gene sets '{name}': none of {len(network.sources)} sets has {min_overlap} of the {len(genes)} "
                f"measured genes (the largest overlap is {int(count.max(initial=0))}). "
                + (hint or "Use one kind of gene names, or lower the smallest overlap (--min-overlap)")
            )
        found[name] = _rows(network, inside & np.isin(network.source.astype(str), list(kept)))
        for label in kept:
            if label in origin:
                raise ValueError(
                    f"set '{label}' is in '{origin[label]}' and in '{name}': programs are named by their sets, rename "
                    "one"
                )
            origin[label] = name
    return found


def set_names(libraries: Mapping[str, PriorNetwork]) -> tuple[str, ...]:
    """All sets, in the order of the libraries."""
    return tuple(dict.fromkeys(str(name) for network in libraries.values() for name in network.source))


def members(libraries: Mapping[str, PriorNetwork], names: Sequence[str], genes: Sequence[str]) -> np.ndarray:
    """``(set, gene)`` whether a library has the gene in the set."""
    row, column = ({name: i for i, name in enumerate(labels)} for labels in (names, genes))
    table = np.zeros((len(names), len(genes)), dtype=bool)
    for network in libraries.values():
        table[[row[s] for s in network.source], [column[t] for t in network.target]] = True
    return table


def describe_libraries(
    given: Mapping[str, Library], used: Mapping[str, PriorNetwork], genes: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """What every library contributes, one row each, and notes: sets too small, libraries that repeat each other."""
    rows, notes, known = [], [], set(genes)
    whole = as_networks(given)
    pairs = {name: {(str(s), str(t)) for s, t in zip(n.source, n.target, strict=True)} for name, n in used.items()}
    gene_lists = {name: {frozenset(_genes(n, s)) for s in n.sources} for name, n in used.items()}
    for name, network in used.items():
        all_of = whole[name]
        elsewhere = {t for other, found in pairs.items() if other != name for _, t in found}
        rows.append(
            {
                "source": name,
                "edges_in": len(all_of),
                "edges_used": len(network),
                "sets_in": len(all_of.sources),
                "sets_used": len(network.sources),
                "unknown_gene": sum(t not in known for t in all_of.target),
                "genes": len(network.targets),
                "only_here": sum(t not in elsewhere for _, t in pairs[name]),
                "signed": 0,  # a program has no sign before the data
            }
        )
        small = len(all_of.sources) - len(network.sources)
        if small:
            notes.append(f"gene sets '{name}': {small} of {len(all_of.sources)} sets have too few measured genes")
    for a, b in combinations(used, 2):
        if gene_lists[a] == gene_lists[b]:
            notes.append(f"gene sets '{a}' and '{b}' hold the same genes: the data cannot tell them apart")
    return pd.DataFrame(rows, columns=list(COLUMNS)), notes


def apply_to_sets(
    change: Change, libraries: Mapping[str, PriorNetwork], genes: Sequence[str], seed: int
) -> tuple[dict[str, PriorNetwork], tuple[str, ...]]:
    """The libraries of a change, damaged, and the genes that are held out; as `apply_change` of networks.

    ``"moved"`` puts memberships into any set of the library and on any gene; ``"shuffled"`` exchanges genes between the
    sets of a library, which keep their sizes, as genes keep the number of their sets; ``"held-out"`` leaves a share of
    the genes out of all sets. A set that is left without a gene has no program of its own; a library without a set is
    left out.
    """
    held: tuple[str, ...] = ()
    if change.damage == "held-out":
        listed = {t for name in change.sources for t in libraries[name].targets}
        names = [gene for gene in genes if gene in listed]
        chosen = choose_share(len(names), change.fraction, np.random.default_rng([seed, 0]))
        held = tuple(names[i] for i in np.sort(chosen))
    result = {}
    for name in change.sources:
        network = libraries[name]
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        match change.damage:
            case "moved":
                network = network.corrupted(change.fraction, generator, sources=network.sources, targets=genes)
            case "shuffled":
                network = network.shuffled(generator)
            case "dropped":
                network = network.dropped(change.fraction, generator)
            case "held-out":
                network = network.held_out([gene for gene in held if gene in set(network.targets)])
        if len(network):
            result[name] = network
    return result, held


def _genes(network: PriorNetwork, name: str) -> list[str]:
    return [str(t) for s, t in zip(network.source, network.target, strict=True) if s == name]


def _rows(network: PriorNetwork, chosen: np.ndarray) -> PriorNetwork:
    columns = {name: getattr(network, name)[chosen] for name in ("source", "target", "probability", "evidence")}
    return replace(network, **columns, sign=0 * network.sign[chosen])
