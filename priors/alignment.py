"""What became of a prior network when it met the genes of a data set, and why nothing matched."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from .formats.files import shorten
from .formats.names import whole_number

ENSEMBL = re.compile(r"^ENS[A-Z]{0,4}[GTP]\d{6,}(\.\d+)?$")


def _same(name: str) -> str:
    return name


def without_version(name: str) -> str:
    """An Ensembl id without its version; other names as they are."""
    return name.split(".")[0] if ENSEMBL.match(name) else name


# How two lists of names of the same genes differ most often: what to do to the prior's names and to the data's.
RENAMINGS: tuple[tuple[str, Callable[[str], str], Callable[[str], str]], ...] = (
    ("upper-casing the prior's", str.upper, _same),
    ("lower-casing the prior's", str.lower, _same),
    ("capitalising the prior's", str.capitalize, _same),
    ("ignoring upper and lower case", str.casefold, str.casefold),
    ("removing Ensembl version suffixes", without_version, without_version),
    ("reading numbers such as 7157.0 as 7157", whole_number, whole_number),
)


@dataclass(frozen=True)
class AlignmentReport:
    """Counts of `PriorNetwork.align`; ``edges_in`` is the sum of ``edges_out`` and the three ``dropped_*``.

    Attributes
    ----------
    name
        Name of the network.
    edges_in, edges_out
        Edges before and after.
    dropped_unknown_source
        Edges whose source is not among the TFs.
    dropped_unknown_target
        Edges whose source is, but whose target is not among the targets.
    dropped_self
        Remaining edges of a gene to itself.
    sources_in, targets_in
        Different sources and targets of the network before.
    sources_matched, targets_matched
        How many of these are among the TFs, among the targets.
    num_tfs, num_targets
        How many names were given.
    unknown_sources, unknown_targets
        Up to five examples of names that did not match.
    """

    name: str
    edges_in: int
    edges_out: int
    dropped_unknown_source: int
    dropped_unknown_target: int
    dropped_self: int
    sources_in: int
    targets_in: int
    sources_matched: int
    targets_matched: int
    num_tfs: int
    num_targets: int
    unknown_sources: tuple[str, ...]
    unknown_targets: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"prior '{self.name}': {self.edges_out} of {self.edges_in} edges kept; {self.sources_matched} of "
            f"{self.sources_in} sources and {self.targets_matched} of {self.targets_in} targets are in the data "
            f"({self.num_tfs} TFs, {self.num_targets} targets)"
        ]
        if self.edges_out < self.edges_in:
            lines.append(
                f"dropped: {self.dropped_unknown_source} edges with unknown source, {self.dropped_unknown_target} with "
                f"unknown target, {self.dropped_self} self-edges"
            )
        if self.unknown_sources or self.unknown_targets:
            unknown = f"sources {shorten(self.unknown_sources)}, targets {shorten(self.unknown_targets)}"
            lines.append(f"not in the data, e.g. {unknown}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The same as plain values, ready for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def explain_mismatch(
    name: str,
    sources: Sequence[str],
    targets: Sequence[str],
    tfs: Collection[str],
    genes: Collection[str],
    num_swapped: int,
    *,
    kind: str = "prior",
) -> str:
    """One line on why no edge of a network lies between the TFs and the targets of the data: likely cause and remedy.

    Parameters
    ----------
    name
        Name of the network.
    sources, targets
        Its different sources and targets.
    tfs, genes
        TFs and targets of the data.
    num_swapped
        Edges that would match with source and target exchanged.
    kind
        What the network is called in the message. Default ``"prior"``.
    """
    start = f"{kind} '{name}' has no edge between the {len(tfs)} TFs and {len(genes)} targets of the data: "
    if not sources:
        return start + "it has no edges at all"
    if num_swapped:
        return start + (
            f"looks like the {kind}'s columns are swapped ({num_swapped} edges match with source and target "
            "exchanged); exchange them"
        )
    known_sources, known_targets = set(sources) & set(tfs), set(targets) & set(genes)
    if known_sources and known_targets:
        return start + (
            f"{len(known_sources)} sources and {len(known_targets)} targets are in the data, but no edge has both; "
            f"choose TFs and targets that the {kind} connects, or another {kind}"
        )
    network, data = list(dict.fromkeys([*sources, *targets])), list(dict.fromkeys([*tfs, *genes]))
    for change, rename_prior, rename_data in RENAMINGS:
        original = {rename_data(n): n for n in data}
        pairs = [(n, original[rename_prior(n)]) for n in network if rename_prior(n) in original]
        pairs = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
        if pairs:
            mine, theirs = pairs[0]
            return start + (
                f"{len(pairs)} of its {len(network)} names match only after {change.replace('prior', kind)} "
                f"({kind} '{mine}', data '{theirs}'); rename one side, names are never changed silently"
            )
    kinds = [("Ensembl ids" if _mostly_ensembl(names) else "other names (symbols?)") for names in (network, data)]
    examples = f"{kind} e.g. {shorten(network, 3)}, data e.g. {shorten(data, 3)}"
    if kinds[0] != kinds[1]:
        return start + f"the {kind} has {kinds[0]}, the data {kinds[1]} ({examples}); translate one side"
    return start + f"the names have nothing in common ({examples}); is it the right species and kind of identifier?"


def rename_hint(names: Sequence[str], data: Sequence[str]) -> str | None:
    """How names would match those of the data (version suffixes of Ensembl, 7157.0 for 7157), or None."""
    for change, rename, rename_data in RENAMINGS:
        found = {rename_data(name): name for name in data}
        pair = next(((n, found[rename(n)]) for n in names if found.get(rename(n), n) != n), None)
        if pair is not None:
            how = change.replace("the prior's", "the listed names")
            return f"They match after {how} ({pair[0]!r}, {pair[1]!r}): use one spelling in both files"
    return None


def _mostly_ensembl(names: Sequence[str]) -> bool:
    sample = names[:: max(1, len(names) // 200)]
    return bool(sample) and bool(np.mean([ENSEMBL.match(n) is not None for n in sample]) > 0.5)


def refuse_swapped(name: str, num_kept: int, num_turned: int, num_sources: int, num_targets: int) -> None:
    """Refuse a network of which clearly more edges match with source and target exchanged, ``num_turned``, than as they
    are: a quarter more, and beyond three standard errors."""
    if num_turned > 1.25 * num_kept + 3 * np.sqrt(num_turned + num_kept):
        raise ValueError(
            f"prior '{name}' looks like the prior's columns are swapped: {num_kept} edges match "
            f"the data, {num_turned} with source and target exchanged, and it has {num_sources} "
            f"sources but only {num_targets} targets; exchange them (or pass check_orientation=False)"
        )


def is_among(names: Sequence[str], known: Iterable[str]) -> np.ndarray:
    """Whether each name is known, shape (name,)."""
    lookup = set(known)
    return np.fromiter((n in lookup for n in names), dtype=bool, count=len(names))


def places(axis: Sequence[str] | np.ndarray, names: Sequence[str] | np.ndarray, what: str) -> np.ndarray:
    """Position of each name on an axis or -1, shape (name,)."""
    position = {n: i for i, n in enumerate(axis)}
    if len(position) < len(axis):
        index = pd.Index(axis)
        raise ValueError(
            f"`{what}` holds names twice: {shorten(index[index.duplicated()].unique().tolist())}; pass each once"
        )
    return np.fromiter((position.get(n, -1) for n in names), dtype=np.int64, count=len(names))
