"""What ArviZ cannot compute from a posterior, and why, in words: its own messages are of indices and shapes."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from ..models import ExpressionData, Model
from .answers.registry import answers_of
from .draws.fitted import PosteriorLike

MAX_DENSITY = 10_000_000  # edges, or loadings, whose joint density takes 200 bytes each, in float64
LEAST_DRAWS = 25  # the tail of a Pareto fit needs five draws: a fifth of them, in ArviZ 1


def unpredicted(posterior: PosteriorLike[Model], data: ExpressionData | None) -> str | None:
    """Why there are no densities of single values; None where there are, or could be."""
    if data is None:
        return "the data were not given: `to_datatree(data)`"
    answers = answers_of(posterior.model)
    why = answers.unpredictable(posterior.model, data)
    if why is None and not answers.has_joint_density(posterior.model):
        why = "the factors of cells were not kept"
    return None if why is None else why.removeprefix("Not checked: ").rstrip(".")


def limits(groups: Mapping[str, xr.Dataset], why: str | None = None, *, point: bool = False) -> list[str]:
    """Sentences, one for each reason.

    Parameters
    ----------
    groups
        Of the DataTree.
    why
        There are no densities of single values, as `unpredicted`.
    point
        Every chain is one point, however often it is repeated.
    """
    sizes = groups["posterior"].sizes
    number = sizes["chain"] * sizes["draw"]
    said = []
    if point and number > 1:
        said.append(
            "a point estimate: draws repeat one point a chain, and chains differ by where restarts ended, so no sd, "
            "interval, rhat, loo, compare or psense of it means anything"
        )
    elif number == 1:
        said.append(
            "one draw, a point estimate: summary and plots show its values, and no spread; loo, compare and psense "
            "need many draws"
        )
    elif number < LEAST_DRAWS:
        said.append(f"{number} draws: loo, compare and psense need at least {LEAST_DRAWS}")
    if sizes["chain"] == 1 and number > 1 and not point:
        said.append("one chain: rhat compares chains, fit more")
    if "log_likelihood" not in groups:
        said.append("no log_likelihood, so no loo, compare or psense of it" + ("" if why is None else f": {why}"))
    if "log_prior" not in groups:
        because = "the draws lack sites of the joint density"
        if "prior" in groups:  # which is made where there is such a density
            because = f"of more than {MAX_DENSITY:,} edges the joint density of a draw takes too much memory"
        said.append(f"no log_prior, so no psense of it: {because}")
    return said


def with_limits(
    attributes: Mapping[str, Any], groups: Mapping[str, xr.Dataset], why: str | None, *, point: bool = False
) -> dict[str, Any]:
    """The attributes with ``limits``, where there are any."""
    said = limits(groups, why, point=point)
    return {**attributes, "limits": "; ".join(said)} if said else dict(attributes)
