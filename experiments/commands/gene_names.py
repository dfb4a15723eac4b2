"""Genes that options name: lists in which a name may have a comma of its own."""

import csv
from collections.abc import Collection


def listed_genes(option: str, text: str | None, known: Collection[str]) -> tuple[str, ...]:
    """``"A,B"`` -> ``("A", "B")``; a name with a comma stands in double quotes, or alone where it is a gene of the fit.

    Spaces around a name are no part of it, unless it is a gene with them.

    Raises
    ------
    ValueError
        An empty name, one that is listed twice, or several lines.

    Examples
    --------
    >>> listed_genes("--knockout", 'A, "B,C"', ["A", "B,C"])
    ('A', 'B,C')
    >>> listed_genes("--knockout", "B,C", ["A", "B,C"])
    ('B,C',)
    """
    if text is None:
        return ()
    if text in known:
        return (text,)
    try:
        parts = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:  # a line break that is not at the end
        raise ValueError(f"{option} {text!r}: expected GENE[,GENE...] in one line") from error
    names = tuple(part if part in known else part.strip() for part in parts)
    if not names or ("" in names and "" not in known):
        raise ValueError(f"{option} {text}: has an empty name, expected GENE[,GENE...]")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{option} {text}: names {twice[0]!r} twice")
    return names
