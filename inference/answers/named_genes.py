"""Genes that a question names: whether they are in the data, and whether they regulate anything there."""

from collections.abc import Iterable, Sequence

from ...models.data.checks import some


def check_measured(named: Iterable[str], genes: Sequence[str], *, what: str = "genes") -> None:
    """Refuse names that are no genes of the fit.

    Raises
    ------
    ValueError
        Which are not in the data, and which gene may be meant.
    """
    known = set(genes)
    unknown = list(dict.fromkeys(name for name in named if name not in known))
    if not unknown:
        return
    if "" in unknown:
        raise ValueError(f"an empty name among the {what}: expected names of genes, such as {some(genes, 3)}")
    lowered = {gene.lower().strip(): gene for gene in genes}
    meant = {name: lowered[name.lower().strip()] for name in unknown if name.lower().strip() in lowered}
    hint = ", ".join(f"{name!r} is written {gene!r} there" for name, gene in list(meant.items())[:3])
    raise ValueError(
        f"not in the data: {some(unknown)}, not among the {len(genes)} genes of this fit "
        f"({hint or f'such as {some(genes, 3)}'}). Name measured genes"
    )


def check_regulators(named: Sequence[str], genes: Sequence[str], tfs: Sequence[str]) -> None:
    """Refuse names that are no genes of the fit, and genes that are no candidate regulators of it.

    Raises
    ------
    ValueError
        Which, and which of both they are.
    """
    check_measured(named, genes)
    regulators = set(tfs)
    idle = [name for name in named if name not in regulators]
    if idle:
        raise ValueError(
            f"not among the {len(tfs)} regulators of this fit: {idle}, in the data as targets only. A gene that "
            "regulates nothing changes nothing: fit it as a candidate regulator (`tfs=`) to ask for its effects"
        )
