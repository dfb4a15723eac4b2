"""Regulators and prior networks as people at a notebook have them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from ...models.data.checks import some
from ...priors import EdgePrior, PriorNetwork
from ..commands.options import make_edge_prior

Network: TypeAlias = PriorNetwork | pd.DataFrame | str | Path
"""A network, a table of its edges (``source, target``, and what `PriorNetwork.from_edges` reads), or a file."""
Networks: TypeAlias = Network | Mapping[str, Network]


def regulators_of(adata: Any, tfs: Sequence[str] | Path | str | None) -> Sequence[str] | Path | None:
    """Names, or the path of a list; a text that is a column of ``adata.var`` stands for the genes that are True in it.

    Raises
    ------
    ValueError
        A column that is not of truth values, or in which no gene is True; a text that is neither a column nor a file.
    """
    if not isinstance(tfs, str):
        return tfs
    if tfs in adata.var:
        flags = adata.var[tfs]
        if flags.dtype != bool:
            raise ValueError(f".var[{tfs!r}] holds {flags.dtype}: expected True for regulators and False for others")
        if not flags.any():
            raise ValueError(f".var[{tfs!r}] is False for every gene: no regulator is named")
        return [str(name) for name in adata.var_names[flags.to_numpy()]]
    if Path(tfs).exists():
        return Path(tfs)
    raise ValueError(
        f"tfs={tfs!r} is neither a column of .var ({some(list(map(str, adata.var.columns))) or 'it has none'}) nor a "
        "file: pass names of genes"
    )


def networks_of(priors: Networks | None) -> dict[str, PriorNetwork]:
    """Prior networks by name of the source; a single one keeps its own name, or is called ``prior``.

    Raises
    ------
    ValueError, FileNotFoundError
        As `PriorNetwork.from_edges` and `PriorNetwork.read`.
    """
    if priors is None:
        return {}
    if isinstance(priors, Mapping):
        return {str(name): _network(given, str(name)) for name, given in priors.items()}
    found = _network(priors, None)
    return {found.name: found}


def prior_of(edge_prior: EdgePrior | str | None) -> dict[str, EdgePrior]:
    """The argument ``edge_prior`` of a model, from a prior or its name on the command line; none where none was given.

    Raises
    ------
    ValueError
        An unknown name.
    """
    if edge_prior is None:
        return {}
    return {"edge_prior": make_edge_prior(edge_prior, {}) if isinstance(edge_prior, str) else edge_prior}


def _network(given: Network, name: str | None) -> PriorNetwork:
    if isinstance(given, PriorNetwork):
        return given
    if isinstance(given, pd.DataFrame):
        return PriorNetwork.from_edges(given, name=name or "prior")
    return PriorNetwork.read(given, name=name)
