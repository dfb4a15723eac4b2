"""What names of genes a command knows beside its TFs, and whether the truth has anything to do with the data."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pandas as pd

from ...models import ExpressionData
from ...priors import PriorNetwork
from ...priors.alignment import explain_mismatch


def known_names(
    networks: Mapping[str, object],
    truth: pd.DataFrame | None = None,
    gene_sets: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
) -> dict[str, Collection[str]]:
    """Names of genes by where they come from, to find out where the genes of an expression file are."""
    known: dict[str, Collection[str]] = {}
    for name, network in networks.items():
        if isinstance(network, PriorNetwork):
            known[f"prior {name!r}"] = {*network.sources, *network.targets}
        elif isinstance(network, pd.DataFrame):
            known[f"evidence {name!r}"] = {*map(str, network.index), *map(str, network.columns)}
    if truth is not None:
        known["the truth"] = {*truth["source"].astype(str), *truth["target"].astype(str)}
    for name, sets in (gene_sets or {}).items():
        known[f"gene sets {name!r}"] = {gene for genes in sets.values() for gene in genes}
    return known


def network_notes(networks: Mapping[str, PriorNetwork]) -> list[str]:
    """What was said of the files of networks when they were read, for the report."""
    return [f"prior {name!r}: {note}" for name, network in networks.items() for note in network.notes]


def check_truth(truth: pd.DataFrame, data: ExpressionData, name: str) -> None:
    """Refuse a truth of which no edge lies between the candidate regulators and the genes of the data.

    Raises
    ------
    ValueError
        No such edge, with the likely cause.
    """
    source, target = truth["source"].astype(str), truth["target"].astype(str)
    tfs, genes, apart = set(data.tfs), set(data.genes), np.asarray(source != target)
    if bool((source.isin(tfs) & target.isin(genes) & apart).any()):
        return
    swapped = int((source.isin(genes) & target.isin(tfs) & apart).sum())
    names = list(dict.fromkeys(source)), list(dict.fromkeys(target))
    raise ValueError("--" + explain_mismatch(name, *names, data.tfs, data.genes, swapped, kind="truth"))
