"""Gene sets: reading, writing, and as a prior network."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .formats.files import read_text
from .formats.gmt import parse_gmt, write_gmt_text
from .network import PriorNetwork


def read_gmt(path: str | os.PathLike) -> dict[str, tuple[str, ...]]:
    """Read a GMT file (MSigDB, Enrichr, Reactome; plain or gzip).

    Parameters
    ----------
    path
        One set per line: name, description (any text, also none), genes, separated by tabs.

    Returns
    -------
    dict
        Set name -> its genes without repeats, both in file order and in the file's case.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not text, a line has no name or no genes, or two sets share a name; with the line number.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "sets.gmt"
    >>> write_gmt({"HYPOXIA": ["PGK1", "PDK1"]}, path, descriptions={"HYPOXIA": "low oxygen"})
    >>> read_gmt(path)
    {'HYPOXIA': ('PGK1', 'PDK1')}
    """
    return parse_gmt(read_text(path), Path(path))


def write_gmt(
    sets: Mapping[str, Sequence[str]], path: str | os.PathLike, *, descriptions: Mapping[str, str] | None = None
) -> None:
    """Write gene sets as GMT, compressed if the name ends in ``.gz``.

    Parameters
    ----------
    sets
        Name -> genes.
    path
        File to write; an existing one is replaced only when the new one is complete.
    descriptions
        Name -> second column, empty where not given.

    Raises
    ------
    ValueError
        If there is no set, a set has no name or no genes, or a name holds a tab or line break.
    """
    if not sets:
        raise ValueError(f"{path}: there are no gene sets to write")
    write_gmt_text(sets, Path(path), descriptions or {})


def gene_sets_to_network(sets: Mapping[str, Sequence[str]], *, name: str, probability: float = 0.9) -> PriorNetwork:
    """Gene sets as a prior network with the set as source and its genes as targets.

    For regulon collections, where the set is named after the regulator, this is a network of TFs; for pathways it is
    the program x gene annotation that a loading prior starts from.

    Parameters
    ----------
    sets
        Name -> genes; a gene listed twice counts once.
    name
        Name of the network.
    probability
        Of every membership; 0.9 as for any unweighted edge (`PriorNetwork.from_edges`).

    Raises
    ------
    ValueError
        If there is no set or a name is empty.
    """
    pairs = [(source, gene) for source, genes in sets.items() for gene in dict.fromkeys(genes)]
    if not pairs:
        raise ValueError(f"gene sets {name!r}: there are no memberships; expected at least one set with a gene")
    source, target = (np.array(column, dtype=object) for column in zip(*pairs, strict=True))
    return PriorNetwork(
        name=name,
        source=source,
        target=target,
        probability=np.full(len(pairs), probability),
        sign=np.zeros(len(pairs), dtype=np.int8),
        evidence=np.full(len(pairs), name, dtype=object),
    )
