"""What an ablation is of: edges of networks, or memberships of gene programs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...models import ExpressionData
from ...priors import PriorNetwork
from ..matching import named_pairs
from .changes import Change
from .measures import Measured
from .program_models import MIN_OVERLAP, PROGRAMS
from .program_sources import describe_libraries, measured_sets, set_names
from .settings import Settings
from .sources import describe_sources

Described = tuple[pd.DataFrame, list[str]]


class Networks:
    """Sources are networks, between regulators and genes."""

    def prepared(self, given: Mapping[str, Any], data: ExpressionData, settings: Settings) -> dict[str, PriorNetwork]:
        """The sources of all runs."""
        return dict(given)

    def described(self, given: Mapping[str, Any], used: Mapping[str, PriorNetwork], data: ExpressionData) -> Described:
        """A table with a row for each source, and notes."""
        return describe_sources(used, data.tfs, data.genes)

    def measured(
        self, data: ExpressionData, used: Mapping[str, PriorNetwork], truth: pd.DataFrame | None, within_truth: bool
    ) -> Measured:
        """The truth over all pairs."""
        return Measured.of(data, truth, within_truth=within_truth)

    def check(self, changes: Sequence[Change]) -> None:
        """Refuse a change that has no meaning here."""

    def counts(self, data: ExpressionData, used: Mapping[str, PriorNetwork]) -> dict[str, int]:
        """What there is, for the settings."""
        return {"regulators": len(data.tfs)}


class Programs(Networks):
    """Sources are libraries of gene sets."""

    def prepared(self, given: Mapping[str, Any], data: ExpressionData, settings: Settings) -> dict[str, PriorNetwork]:
        overlap = settings.model.get("min_overlap", MIN_OVERLAP)
        return measured_sets(given, data.genes, min_overlap=int(overlap))

    def described(self, given: Mapping[str, Any], used: Mapping[str, PriorNetwork], data: ExpressionData) -> Described:
        return describe_libraries(given, used, data.genes)

    def measured(
        self, data: ExpressionData, used: Mapping[str, PriorNetwork], truth: pd.DataFrame | None, within_truth: bool
    ) -> Measured:
        names, genes = set_names(used), data.genes
        possible = np.ones((len(names), len(genes)), dtype=bool)
        if truth is None:
            return Measured(genes, possible, None, None)
        row, column = ({name: i for i, name in enumerate(labels)} for labels in (names, genes))
        pairs = named_pairs(truth, "truth").drop_duplicates()
        inside = pairs["source"].isin(row) & pairs["target"].isin(column)
        if not inside.any():
            raise ValueError(
                f"none of the {len(pairs)} true memberships lies among {len(names)} sets x {len(genes)} genes, e.g. "
                f"{pairs['source'].iloc[0]} -> {pairs['target'].iloc[0]}: the sets of the truth are those of the "
                f"libraries, by name (e.g. {names[0]})"
            )
        true = np.zeros_like(possible)
        true[pairs.loc[inside, "source"].map(row), pairs.loc[inside, "target"].map(column)] = True
        scored = possible & true.any(1, keepdims=True) if within_truth else possible
        return Measured(genes, possible, true, scored, int((~inside).sum()))

    def check(self, changes: Sequence[Change]) -> None:
        flipped = next((change for change in changes if change.damage == "flipped"), None)
        if flipped is not None:
            raise ValueError(f"change '{flipped.name}': gene sets have no signs to flip: leave out the flips (--flip)")

    def counts(self, data: ExpressionData, used: Mapping[str, PriorNetwork]) -> dict[str, int]:
        return {"regulators": 0, "gene_sets": len(set_names(used))}


def subject_of(methods: Sequence[str]) -> Networks:
    """What methods infer, together.

    Raises
    ------
    ValueError
        Some infer networks and some programs: their sources are not the same.
    """
    programs = [method for method in methods if method in PROGRAMS]
    if not programs:
        return Networks()
    others = [method for method in methods if method not in PROGRAMS]
    if others:
        raise ValueError(
            f"methods {', '.join(programs)} infer programs from gene sets, {', '.join(others)} a network from prior "
            "networks: ablate them in two runs"
        )
    return Programs()
