"""What several sources of knowledge say of the same data, and where they contradict each other."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ...priors import PriorNetwork

SOURCE_COLUMNS = (
    "source",
    "edges_in",
    "edges_used",
    "unknown_regulator",
    "unknown_target",
    "self_edges",
    "signed",
    "regulators",
    "targets",
    "share_of_pairs",
    "only_here",
    "contradicted",
)


def describe_sources(
    networks: Mapping[str, PriorNetwork], tfs: Sequence[str], targets: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """What every source contributes after matching, and what is noteworthy.

    Parameters
    ----------
    networks
        Prior networks by name of the source.
    tfs, targets
        Of the data.

    Returns
    -------
    table, notes
        One row a source: edges listed and used, why the others are not, how many are signed, regulators and targets
        with an edge, their share of all pairs, edges that no other source has, and edges whose sign another source
        contradicts. Notes are sentences: a source that contradicts another in sign, with an example; one that repeats
        another.

    Raises
    ------
    ValueError
        A source of which no edge matches the data, by its name and with the likely cause (`PriorNetwork.align`).
    """
    sign, listed, rows = {}, {}, []
    for name, network in networks.items():
        aligned, report = network.align(tfs, targets)
        probability, sign[name] = aligned.matrix(tfs, targets)
        listed[name] = probability > 0
        rows.append(
            {
                "source": name,
                "edges_in": report.edges_in,
                "edges_used": report.edges_out,
                "unknown_regulator": report.dropped_unknown_source,
                "unknown_target": report.dropped_unknown_target,
                "self_edges": report.dropped_self,
                "signed": int((sign[name] != 0).sum()),
                "regulators": len(aligned.sources),
                "targets": len(aligned.targets),
                "share_of_pairs": float(listed[name].sum() / _num_pairs(tfs, targets)),
            }
        )
    notes, contradicted = [], {name: np.zeros(0, dtype=np.int64) for name in networks}
    for a, b in combinations(networks, 2):
        opposite = np.flatnonzero(sign[a] * sign[b] < 0)
        both = int(((sign[a] != 0) & (sign[b] != 0)).sum())
        if opposite.size:
            tf, gene = divmod(int(opposite[0]), len(targets))
            marks = {1: "activates", -1: "represses"}
            notes.append(
                f"sources '{a}' and '{b}' contradict each other in sign on {opposite.size} of the {both} edges that "
                f"both give a sign, e.g. {tfs[tf]} -> {targets[gene]} ({marks[int(sign[a][tf, gene])]} in '{a}', "
                f"{marks[int(sign[b][tf, gene])]} in '{b}'): each source's trust in signs is learned, and a sign "
                "that one gives and another takes away counts for neither"
            )
            contradicted[a] = np.union1d(contradicted[a], opposite)
            contradicted[b] = np.union1d(contradicted[b], opposite)
        if np.array_equal(listed[a], listed[b]):
            notes.append(f"sources '{a}' and '{b}' list the same edges: the data cannot tell them apart")
    for row in rows:
        name = str(row["source"])
        others = [listed[other] for other in networks if other != name]
        elsewhere = np.any(others, axis=0) if others else np.zeros_like(listed[name])
        row["only_here"] = int((listed[name] & ~elsewhere).sum())
        row["contradicted"] = int(contradicted[name].size)
    return pd.DataFrame(rows, columns=list(SOURCE_COLUMNS)), notes


def _num_pairs(tfs: Sequence[str], targets: Sequence[str]) -> int:
    return len(tfs) * len(targets) - len(set(tfs) & set(targets))
